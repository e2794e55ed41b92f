"""Events, by the oracle: what is kept of one, and what a contact's events come to.

Written from the words of `segidx/model/expression/nodes.py` alone. It must not import anything but the model and the
oracle's calendar. The readings chosen are in the list of `oracle`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType

from segidx.model.events import EventType
from segidx.model.results import FieldData
from segidx.testing.oracle_time import LocalTime, civil


@dataclass(frozen=True, slots=True)
class Event:
    """One event, an order or a line among others. `properties` holds those that are set, given or worked out; a line
    has the id of its order, and its place among the lines. `type` is that of the event itself, also in a group."""

    time: int
    properties: Mapping[str, FieldData]
    counts: bool
    event_id: str = ""
    line: int = 0
    type: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of an id: its event, and of an order the lines."""

    type: str
    contact_id: str
    event: Event
    lines: tuple[Event, ...] = ()

    def events(self, type: str) -> tuple[Event, ...]:
        if type == "line":
            return self.lines
        return (self.event,) if type == self.type else ()


@dataclass(frozen=True, slots=True)
class Subject:
    """What a condition looks at: a contact, by its fields and its events; or an event, by its properties."""

    fields: Mapping[str, FieldData]
    kept: Sequence[Kept] = ()


def with_sources(kept: Sequence[tuple[str, Kept]], minutes: int) -> list[Kept]:
    """What is kept of the events of one contact, given with their ids: an order that says no `source` has that of
    the last visit that has one, not later than the order and not more than so many minutes earlier, and its `paid` too
    unless it says that itself. Of visits at one time the last is that of the greatest id."""
    visits = sorted(
        ((each.event.time, event_id.encode(), each.event) for event_id, each in kept if each.type == "visit"),
        key=lambda visit: visit[:2],
    )

    def told(order: Kept) -> Kept:
        event = order.event
        if not minutes or order.type != "order" or "source" in event.properties:
            return order
        for time, _, visit in reversed(visits):
            if event.time - minutes * 60_000 <= time <= event.time and "source" in visit.properties:
                taken = {name: visit.properties[name] for name in ("source", "paid") if name in visit.properties}
                return replace(order, event=replace(event, properties={**taken, **event.properties}))
        return order

    return [told(each) for _, each in kept]


def seen(
    event: Event, type: EventType, local: LocalTime, of_product: Mapping[str, FieldData] = MappingProxyType({})
) -> Subject:
    """An event as filters see it: the hour, the weekday (Monday is 1) and the month (January is 1) at its local time,
    unless its type has a property of that name; what the catalogue says of its product; and its properties."""
    day, milliseconds = local.wall(event.time)
    clock = {
        "hour": Decimal(milliseconds // 3_600_000),
        "weekday": Decimal((day - 1) % 7 + 1),  # the calendar's first day is a Monday
        "month": Decimal(civil(day)[1]),
    }
    for declared in type.properties:
        clock.pop(declared.name, None)
    return Subject({**clock, **of_product, **event.properties})


def _number(event: Event, name: str) -> Fraction:
    return Fraction(event.properties[name])  # type: ignore[arg-type]


def count_of(events: Iterable[Event]) -> Fraction:
    """How many of them count."""
    return Fraction(sum(event.counts for event in events))


def values_in(events: Iterable[Event], name: str) -> set[FieldData]:
    """The different values of a property that those which count have."""
    return {event.properties[name] for event in events if event.counts and name in event.properties}


def days_of(events: Iterable[Event], local: LocalTime) -> set[int]:
    """The local days on which those that count were."""
    return {local.day(event.time) for event in events if event.counts}


def average_of(events: Sequence[Event], name: str, type: str) -> Fraction | None:
    """The sum over how many have the property; of orders, over how many count, with the property or without."""
    total = sum_of(events, name)
    if type == "order":
        divisor = sum(event.counts for event in events)
    else:
        divisor = sum(name in event.properties for event in events)
    return None if total is None or not divisor else total / divisor


def end_of(events: Iterable[Event], name: str, *, least: bool) -> Fraction | None:
    """The least or the greatest value of a property; None where no event has it."""
    numbers = [_number(event, name) for event in events if name in event.properties]
    return (min if least else max)(numbers, default=None)


def time_of(events: Iterable[Event], *, first: bool) -> int | None:
    """When the first or the last of those that count was, in milliseconds since 1970."""
    times = [event.time for event in events if event.counts]
    return (min if first else max)(times, default=None)


def population_of(events: Iterable[Event], *, filtered: bool) -> list[Event]:
    """Those that `only` looks at, of those selected: with a filter all of them, else no cancellations and returns
    (which only orders and lines can be)."""
    if filtered:
        return list(events)
    return [e for e in events if (_number(e, "quantity") > 0 if e.type == "line" else e.counts)]


def sum_of(events: Iterable[Event], name: str) -> Fraction | None:
    """A property of all of them that have it, returns included; None where none has."""
    numbers = [_number(event, name) for event in events if name in event.properties]
    return sum(numbers, Fraction(0)) if numbers else None
