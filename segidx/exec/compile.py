"""From a plan to a native program: leaves become operands over LMDB's pages, inner nodes set algebra.

Candidate checks and scans of events are run here, before the program: the plan's other operands narrow their candidates
first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from segidx.exec.asked import Narrowing, Within
from segidx.exec.crossings import crossings
from segidx.exec.derived import derived_node
from segidx.exec.event_has import scan_event_has
from segidx.exec.events import scan
from segidx.exec.favourites import scan_favourite
from segidx.exec.gaps import scan_gaps
from segidx.exec.sequences import scan_sequence
from segidx.exec.verify import verify
from segidx.kernels.bitmaps import LAST_KEY, Posting, Program
from segidx.plan.context import BindContext
from segidx.plan.nodes import (
    AllOf,
    AnyOf,
    AtLeastOf,
    CandidateCheck,
    Complement,
    CrossingScan,
    DerivedScan,
    EventHasScan,
    EventScan,
    Everything,
    FavouriteScan,
    GapScan,
    Nothing,
    Plan,
    PostingScan,
    RangeScan,
    SequenceScan,
    TableScan,
    all_of,
    is_checked,
)

# Materialises a program from one container key to another, both included; given by `evaluate` so that a candidate check
# runs like any other evaluation.
Materialise = Callable[[Program, int, int], bytes]

_LOW, _HIGH = -(2**63), 2**63 - 1


def compile_plan(plan: Plan, context: BindContext, materialise: Materialise) -> Program:
    """The program of a plan. It borrows the snapshot's pages: run it before the snapshot is closed."""
    compiler = _Compiler(context, materialise)
    program = Program()
    program.finish(compiler.node(program, plan, ()), context.snapshot.universe())
    return program


def compile_among(siblings: Plan, found: Sequence[bytes], context: BindContext, materialise: Materialise) -> Program:
    """The program of those of a plan that are among the contacts found, parts of ascending ordinals."""
    compiler = _Compiler(context, materialise)
    program = Program()
    nodes = [compiler.node(program, siblings, ()), program.posting(Posting(found))]
    program.finish(program.all_of(nodes), context.snapshot.universe())
    return program


def narrowed_by(siblings: Sequence[Plan], path: str, context: BindContext, materialise: Materialise) -> Narrowing:
    """The contacts that the other operands of an AND, one at least, leave to the one of that path."""
    asked = all_of(siblings, context.total, path)

    def ready() -> Within:
        return partial(materialise, compile_plan(asked, context, materialise))

    return Narrowing(asked.estimate.expected, ready)


class _Compiler:
    def __init__(self, context: BindContext, materialise: Materialise) -> None:
        self._context = context
        self._materialise = materialise

    def node(self, program: Program, plan: Plan, siblings: Sequence[Plan]) -> int:
        """Add a plan to the program; `siblings` hold for every contact that its result is asked about."""
        snapshot = self._context.snapshot
        match plan:
            case Nothing():
                return program.constant(False)
            case Everything():
                return program.constant(True)
            case PostingScan():
                return program.posting(snapshot.posting(plan.field_id, plan.code))
            case RangeScan():
                low = _LOW if plan.low is None else min(max(plan.low, _LOW), _HIGH)
                high = _HIGH if plan.high is None else min(max(plan.high, _LOW), _HIGH)
                return program.range(snapshot.column(plan.field_id), low, high)
            case TableScan():
                return program.table(snapshot.column(plan.field_id), plan.base, plan.bits)
            case DerivedScan():
                return derived_node(program, plan, self._context)
            case CandidateCheck():
                return program.posting(self._checked(plan, siblings))
            case CrossingScan() | EventScan() | EventHasScan() | FavouriteScan() | GapScan() | SequenceScan():
                return program.posting(self._scanned(plan, siblings))
            case AllOf():
                cheap = [o for o in plan.operands if not is_checked(o)]
                known = (*siblings, *cheap)
                nodes = [self.node(program, o, known if is_checked(o) else ()) for o in plan.operands]
                return program.all_of(nodes)
            case AnyOf():
                return program.any_of([self.node(program, o, siblings) for o in plan.operands])
            case Complement():
                # Outside the siblings the answer is not asked for, so a check narrowed by them may be complemented.
                return program.negate(self.node(program, plan.operands[0], siblings))
            case AtLeastOf():
                return program.at_least(plan.count, [self.node(program, o, siblings) for o in plan.operands])
        raise AssertionError(plan)

    def _checked(self, plan: CandidateCheck, siblings: Sequence[Plan]) -> Posting:
        """The candidates that the siblings leave and that satisfy the comparison, as a posting of its own."""
        narrowed = all_of((*siblings, plan.approximation), self._context.total, plan.path)
        program = compile_plan(narrowed, self._context, self._materialise)
        candidates = self._materialise(program, 0, LAST_KEY)
        return Posting([verify(plan, candidates, self._context)])

    def _scanned(
        self,
        plan: CrossingScan | EventScan | EventHasScan | FavouriteScan | GapScan | SequenceScan,
        siblings: Sequence[Plan],
    ) -> Posting:
        """The contacts, of those that the siblings leave, whose events say so, as a posting of its own."""
        narrowing = narrowed_by(siblings, plan.path, self._context, self._materialise) if siblings else None
        if isinstance(plan, EventScan):
            return Posting(scan(plan, narrowing, self._context))
        candidates = None if narrowing is None else narrowing.candidates()
        match plan:
            case CrossingScan():
                return Posting([crossings(plan, candidates, self._context)])
            case EventHasScan():
                return Posting([scan_event_has(plan, candidates, self._context)])
            case FavouriteScan():
                return Posting([scan_favourite(plan, candidates, self._context)])
            case GapScan():
                return Posting([scan_gaps(plan, candidates, self._context)])
            case SequenceScan():
                return Posting([scan_sequence(plan, candidates, self._context)])
        raise AssertionError(plan)
