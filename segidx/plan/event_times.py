"""The time of an event in a window: of the first or the last, or of the next that is expected."""

from __future__ import annotations

from segidx.model.expression import Operator
from segidx.model.windows import Window
from segidx.plan.context import BindContext
from segidx.plan.event_series import compare_gaps, has_gaps
from segidx.plan.events import aggregate_between, bind_has_value
from segidx.plan.nodes import Plan, all_of, nothing
from segidx.plan.values import BoundAggregate, BoundConstant, BoundGaps, BoundValue, ValueKind


def time_in_window(time: BoundValue, window: Window, context: BindContext, path: str) -> Plan:
    """The contacts whose instant, made of events, lies in the window, which is resolved in the account's zone. `path`
    is the predicate's."""
    start, end = context.bounds(window)
    if start is not None and end is not None and start >= end:
        return nothing("the window holds no instant", path)
    if isinstance(time, BoundGaps):
        ends = ((Operator.GE, start), (Operator.LT, end))
        bounds = [(operator, BoundConstant(ValueKind.INSTANT, bound)) for operator, bound in ends if bound is not None]
        found = [compare_gaps(time, *bound, context, path) for bound in bounds] or [has_gaps(time, context, path)]
        return found[0] if len(found) == 1 else all_of(found, context.total, path)
    assert isinstance(time, BoundAggregate), "the node refuses any other value"
    if start is None and end is None:
        return bind_has_value(time, context, path)
    return aggregate_between(time, start, None if end is None else end - 1, context, path)
