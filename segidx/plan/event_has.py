"""What the first or the last event of a contact is like: two selections of events, those that pass and those that do
not, of which it is asked which has the first, or the last."""

from __future__ import annotations

from segidx.model.expression import AggregateFunction, EventHas
from segidx.model.results import Estimate
from segidx.plan.context import BindContext
from segidx.plan.events import counting, divided, selections
from segidx.plan.nodes import EventHasScan, Plan, nothing


def bind_event_has(node: EventHas, context: BindContext, path: str) -> Plan:
    """The contacts whose first or last such event passes the filter. `path` is the predicate's. Raises what filters
    raise."""
    asked, function = node.event.events, node.event.function
    events = tuple(counting(each) for each in selections(asked, context, f"{path}.event.events"))
    passing, failing = divided(events, asked.type, node.that, context, f"{path}.that")
    if events[0].start >= events[0].end:
        return nothing("the window holds no instant", path)
    label = f"{function.value} of {asked.type} events"
    estimate = Estimate(0, context.total // 10, context.total)
    return EventHasScan(estimate, path, passing, failing, function is AggregateFunction.LAST, label)
