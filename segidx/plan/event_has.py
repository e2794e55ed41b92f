"""What the first or the last event of a contact is like: two selections of events, those that pass and those that do
not, of which it is asked which has the first, or the last."""

from __future__ import annotations

from segidx.model.errors import InvalidExpression
from segidx.model.event_groups import GROUPS
from segidx.model.expression import AggregateFunction, EventHas
from segidx.model.results import Estimate
from segidx.plan.context import BindContext
from segidx.plan.event_filters import bind_filter
from segidx.plan.events import bind_events, counting, passing
from segidx.plan.nodes import EventHasScan, Plan, nothing


def bind_event_has(node: EventHas, context: BindContext, path: str) -> Plan:
    """The contacts whose first or last such event passes the filter. `path` is the predicate's. Raises
    InvalidExpression of a group, and what filters raise."""
    asked, function = node.event.events, node.event.function
    if asked.type in GROUPS:
        raise InvalidExpression(
            f"'{function.value}(...) has' looks at one event of one type, and {asked.type!r} is a group of types"
        )
    events = counting(bind_events(asked, context, f"{path}.event.events"))
    that = bind_filter(node.that, events.type, (events.start, events.end), context, f"{path}.that")
    if events.start >= events.end:
        return nothing("the window holds no instant", path)
    label = f"{function.value} of {events.type.name} events"
    estimate = Estimate(0, context.total // 10, context.total)
    last = function is AggregateFunction.LAST
    return EventHasScan(estimate, path, passing(events, *that), passing(events, *that, ("not",)), last, label)
