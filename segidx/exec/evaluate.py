"""Evaluation of plans: count, materialise, any; on threads where the universe is large enough to pay for them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType

from pyroaring import BitMap

from segidx.exec.compile import Materialise, compile_plan
from segidx.exec.counted import count_alone
from segidx.exec.pool import over_threads, threads
from segidx.kernels.bitmaps import Program, Stop, Stopped
from segidx.model.errors import Cancelled, DeadlineExceeded
from segidx.plan.context import BindContext
from segidx.plan.nodes import CandidateCheck, Everything, Nothing, Plan, PostingScan, RangeScan, TableScan
from segidx.store.layout import SHARD_CONTAINERS

# Below this many containers x leaves, handing work to a second thread costs more than it saves (some 50 us).
_PARALLEL_WORK = 4096


class _StopErrors:
    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Stopped):
            if error.reason == "cancelled":
                raise Cancelled("the caller cancelled the evaluation") from None
            raise DeadlineExceeded("the deadline passed before the evaluation was done; allow more time") from None


_STOP_ERRORS = _StopErrors()


def stop_errors() -> AbstractContextManager[None]:
    """Turn the kernels' Stopped into the typed errors."""
    return _STOP_ERRORS


class Counting:
    """A plan made ready to be counted: its program, and the ranges in which that is shared by threads. It borrows the
    pages of the snapshot that it was made on, and counts what that holds: good for others of the same state, if the
    plan `is_stored`."""

    __slots__ = ("_program", "_ranges")

    def __init__(self, plan: Plan, context: BindContext) -> None:
        """Raises Stopped."""
        self._program = compile_plan(plan, context, _materialiser(context))
        self._ranges = _ranges(self._program, plan)

    def count(self, stop: Stop | None) -> int:
        """How many contacts there are. Raises Stopped."""
        return _shared(self._program, self._ranges, stop)


def count_once(plan: Plan, context: BindContext) -> int:
    """How many live contacts the plan holds. Raises Stopped."""

    def count_program(program: Program, plan: Plan) -> int:
        return _shared(program, _ranges(program, plan), context.stop)

    found = count_alone(plan, context, _materialiser(context), count_program)
    return Counting(plan, context).count(context.stop) if found is None else found


def is_stored(plan: Plan) -> bool:
    """Whether all that the plan asks about is stored as it is asked for: nothing is computed before it is counted, and
    the instant of the evaluation has no part in it."""
    if plan.children and not isinstance(plan, CandidateCheck):
        return all(map(is_stored, plan.children))
    return isinstance(plan, Nothing | Everything | PostingScan | RangeScan | TableScan)


def count(plan: Plan, context: BindContext) -> int:
    """How many live contacts the plan holds. Raises DeadlineExceeded, Cancelled."""
    with stop_errors():
        return count_once(plan, context)


def materialise(plan: Plan, context: BindContext) -> BitMap:
    """The ordinals that the plan holds, a bitmap of its own. Raises DeadlineExceeded, Cancelled."""
    with stop_errors():
        program = compile_plan(plan, context, _materialiser(context))
        return BitMap.deserialize(program.materialise(stop=context.stop))


def holds_any(plan: Plan, context: BindContext) -> bool:
    """Whether the plan holds any contact. Raises DeadlineExceeded, Cancelled."""
    with stop_errors():
        program = compile_plan(plan, context, _materialiser(context))
        return program.any(stop=context.stop)


def _materialiser(context: BindContext) -> Materialise:
    return lambda program, *keys: program.materialise(*keys, context.stop)


def _shared(program: Program, ranges: list[tuple[int, int]], stop: Stop | None) -> int:
    """How many contacts the program counts in the ranges, which threads share. Raises Stopped."""
    if len(ranges) == 1:
        return program.count(*ranges[0], stop)

    def part(keys: tuple[int, int]) -> int:
        return program.count(keys[0], keys[1], stop)

    return sum(over_threads(part, ranges))


def _ranges(program: Program, plan: Plan) -> list[tuple[int, int]]:
    """Ranges of container keys, whole shards each: two a thread, or one in all for small work."""
    keys = program.keys()
    if keys is None:
        return [(0, 0)]
    first, last = keys
    containers = last - first + 1
    if threads() == 1 or containers * _leaves(plan) < _PARALLEL_WORK:
        return [(first, last)]
    shards = range(first // SHARD_CONTAINERS, last // SHARD_CONTAINERS + 1)
    step = -(-len(shards) // (2 * threads()))
    cuts = [s * SHARD_CONTAINERS for s in shards[::step]]
    return [(a, b - 1) for a, b in zip(cuts, [*cuts[1:], last + 1], strict=True)]


def _leaves(plan: Plan) -> int:
    return sum(map(_leaves, plan.children)) if plan.children else 1
