"""Retention: events that are dropped by age, behind a horizon of their type, and what is kept of them. Imports errors,
events, expressions, derived numbers, bands and windows of the model only.

A type's horizon is an instant, which only ever moves forward. Events before it are gone: a question whose window
reaches behind it is refused with PrunedHistory, unless it asks for a number over all time of which an *opening balance*
is kept: for every contact, what its dropped events came to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, tzinfo

from segidx.model.derived import OF_DERIVED, derived_value, value_text
from segidx.model.errors import InvalidArgument, PrunedHistory
from segidx.model.events import LINE, ORDER, EventType, EventTypes
from segidx.model.expression import Aggregate
from segidx.model.results import Horizon
from segidx.model.windows import AllTime, from_millis, midnight, to_millis


@dataclass(frozen=True, slots=True)
class Balance:
    """A number over all time of events of one type, of which an opening balance is kept. `number` is its own, and is
    given to another only when nothing of it is left."""

    number: int
    value: Aggregate

    @property
    def text(self) -> str:
        """The number as it is written: `sum(order.amount)`."""
        return value_text(self.value)


def horizon_at(before: date, zone: tzinfo) -> int:
    """The horizon in milliseconds since 1970 that a caller names: an instant, or a date that begins with its local
    midnight. Raises InvalidArgument for an instant without a zone or finer than milliseconds, and for anything else."""
    if not isinstance(before, date):
        raise InvalidArgument(f"events are pruned before an instant or a date, not {before!r}", argument="before")
    if not isinstance(before, datetime):
        return midnight(before, zone)
    if before.tzinfo is None or before.microsecond % 1000:
        raise InvalidArgument(f"{before} is no instant of whole milliseconds with a zone", argument="before")
    return to_millis(before)


def prunable(name: str, types: EventTypes) -> EventType:
    """The type of that name, if its events may be pruned. Raises UnknownEventType, InvalidArgument for lines."""
    if name == LINE.name:
        raise InvalidArgument("lines are pruned with their orders; name 'order'", argument="event_types")
    return types[name]


def prunable_types(types: EventTypes) -> tuple[EventType, ...]:
    """All whose events may be pruned: those of every account but lines, and those declared. The history of tracked
    fields is kept."""
    return tuple(each for each in types if each != LINE)


def horizon_of(type: EventType, horizons: Mapping[str, Horizon]) -> int:
    """Before which instant, in milliseconds since 1970, no event of a type is taken; 0 where all are."""
    found = horizons.get(type.name)
    return 0 if found is None else to_millis(found.time)


def pruned(type: EventType, horizon: int, what: str = "the window") -> PrunedHistory:
    """The refusal of a question that reaches behind the horizon of a type, in milliseconds since 1970."""
    owner = ORDER.name if type == LINE else type.name
    since = instant_text(horizon)
    return PrunedHistory(
        f"{owner} events before {since} are pruned, and {what} reaches behind: ask for a window from then on, or for a"
        " number of which an opening balance is kept",
        event=owner,
        horizon=since,
    )


def instant_text(millis: int) -> str:
    return from_millis(millis).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_stored(balances: Iterable[Balance]) -> list[dict[str, object]]:
    """Balances as they are stored, in JSON."""
    return [{"number": each.number, "value": each.text} for each in balances]


def from_stored(rows: Iterable[Mapping[str, object]]) -> tuple[Balance, ...]:
    """What `to_stored` was given. Raises InvalidArgument, KeyError or TypeError for what it never made."""
    found = []
    for row in rows:
        number, text = row["number"], row["value"]
        if not isinstance(number, int) or not isinstance(text, str):
            raise TypeError("a balance is no number and value")
        value = derived_value(text)
        if value.function not in OF_DERIVED or not isinstance(value.events.window, AllTime):
            raise InvalidArgument(f"{text!r} is no number of which a balance is kept")
        found.append(Balance(number, value))
    return tuple(found)
