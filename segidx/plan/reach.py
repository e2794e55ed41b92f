"""Windows and horizons: whether a question reaches behind what is kept of a type's events. Every window of events that
is read comes through `check_reach`, at binding, and once more where its blocks are looked up.

Imports the model and the context of binding only.
"""

from __future__ import annotations

from segidx.model.events import EventType
from segidx.model.expression import Aggregate
from segidx.model.retention import Balance, pruned
from segidx.plan.context import BindContext


def reaches_behind(type: EventType, start: int, end: int, context: BindContext) -> bool:
    """Whether [start, end) holds an instant before the horizon of the type."""
    horizon = context.horizon(type)
    return horizon is not None and start < min(horizon, end)


def check_reach(type: EventType, start: int, end: int, context: BindContext, what: str = "the window") -> None:
    """Raises PrunedHistory for a window that reaches behind the horizon, whether there were events or not. One that
    holds no instant reaches nowhere. `what` says in the message whose window it is."""
    horizon = context.horizon(type)
    if horizon is not None and reaches_behind(type, start, end, context):
        raise pruned(type, horizon, what)


def opening_of(aggregate: Aggregate, context: BindContext) -> Balance | None:
    """The balance of a number over all time of events of one type; None where none is kept."""
    return next((each for each in context.snapshot.catalog.balances if each.value == aggregate), None)
