"""Counts of plans that are one scan of events, or what it leaves out, alone or in AND with others: the scan counts what
it finds, and that is not listed to be counted again, where it is more than a little."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from segidx.exec.compile import Materialise, compile_among, compile_plan, narrowed_by
from segidx.exec.events import count_scanned
from segidx.kernels.bitmaps import Program
from segidx.plan.context import BindContext
from segidx.plan.nodes import AllOf, Complement, EventScan, Plan, all_of, is_checked


def count_alone(
    plan: Plan, context: BindContext, materialise: Materialise, count: Callable[[Program, Plan], int]
) -> int | None:
    """How many live contacts the plan holds; None where it is of another form. `count` counts a program that is made of
    a plan. Raises Stopped."""
    asked, siblings = _one_of(plan)
    scan = asked.operands[0] if isinstance(asked, Complement) else asked
    if not isinstance(scan, EventScan):
        return None
    others = all_of(siblings, context.total, plan.path)

    def among_others(parts: Sequence[bytes]) -> int:
        return count(compile_among(others, parts, context, materialise), plan)

    narrowing = narrowed_by(siblings, scan.path, context, materialise) if siblings else None
    found = count_scanned(scan, narrowing, context, among_others)
    context.check_stop()  # where there are no events nobody has looked
    if found is None or asked is scan:
        return found
    whole = count(compile_plan(others, context, materialise), others) if siblings else context.total
    return whole - found


def _one_of(plan: Plan) -> tuple[Plan, tuple[Plan, ...]]:
    """What of an AND is answered contact by contact, where that is one operand, and the others; else the plan."""
    if isinstance(plan, AllOf):
        checked = [operand for operand in plan.operands if is_checked(operand)]
        if len(checked) == 1:
            return checked[0], tuple(operand for operand in plan.operands if operand is not checked[0])
    return plan, ()
