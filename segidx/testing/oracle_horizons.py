"""Horizons, by the oracle: it keeps all events, and says which writes and which questions reach behind a horizon.

Written from the words of docs/RETENTION.md alone. It must import nothing but the model and the oracle's calendar.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from segidx.model import expression as asked
from segidx.model.bands import Bands
from segidx.model.derived import BUILT_IN, DerivedNumber
from segidx.model.errors import PrunedHistory
from segidx.model.event_groups import EventGroup
from segidx.model.events import EventTypes
from segidx.model.expression import (
    Aggregate,
    AggregateFunction,
    And,
    BandIs,
    Crossed,
    DaysSinceEvent,
    Did,
    EventHas,
    Events,
    Expression,
    HasValue,
    IsSet,
    Never,
    Only,
    Overdue,
    TextMatch,
    operands_of,
    parts_of,
    values_of,
)
from segidx.model.schema import Schema
from segidx.model.source_settings import SourceSettings
from segidx.model.values import FieldValue, Value
from segidx.model.windows import AllTime, Window
from segidx.testing import oracle_time

_BEGINNING = oracle_time.millis(datetime(1, 1, 1, tzinfo=UTC))  # of all time


@dataclass(frozen=True, slots=True)
class Account:
    """What of an account says how far questions reach."""

    types: EventTypes
    groups: Mapping[str, EventGroup]
    bands: Mapping[str, Bands]
    derived: Mapping[str, DerivedNumber]
    products: Schema
    settings: SourceSettings
    local: oracle_time.LocalTime


class Horizons:
    """Of each type of events the instant (in ms) before which they are dropped, and the numbers that stay exact."""

    def __init__(self) -> None:
        self.times: dict[str, int] = {}
        self.kept: dict[str, set[Aggregate]] = {}

    def move(self, types: Iterable[str], time: int, account: Account) -> None:
        """Drop what is earlier of some types."""
        values = [each.value for each in (*BUILT_IN.values(), *account.derived.values())]
        values += [of.value for of in account.bands.values() if of.value.events.window == AllTime()]
        declared = {
            replace(value, events=events)
            for value in values
            for events in _members(value.events, account)
            if not any(_changes(events.type, name, account) for name in _names(events.where))
        }
        for type in types:
            if time <= self.times.get(type, 0):
                continue
            mine = {value for value in declared if _owner(value.events.type) == type}
            self.kept[type] = mine if type not in self.times else self.kept[type] & mine
            self.times[type] = time

    def check(self, node: Expression, at: int, account: Account) -> None:
        """Raises PrunedHistory for an expression that reaches behind a horizon."""
        for operand in operands_of(node):
            self.check(operand, at, account)
        match node:
            case Did(events=events) | Never(events=events):
                self._number(Aggregate(AggregateFunction.COUNT, events), at, account)
            case Only(events=events, that=that):
                self._events(events, None, [*_names(that)], at, account)
            case EventHas(event=event, that=that):
                self._events(event.events, None, [*_names(that)], at, account)
            case HasValue(value=value):
                self._value(value, at, account)
            case Overdue(events=events):
                self._events(events, None, [], at, account)
            case asked.Sequence():
                for step in node.steps:
                    self._events(replace(step.events, window=node.window), None, [], at, account)
            case BandIs(name=name):
                self._number(account.bands[name].value, at, account)
            case Crossed(name=name):
                running = account.bands[name].value
                self._number(running, at, account)
                self._events(replace(running.events, window=node.window), None, [], at, account)
            case _:
                for each in values_of(node):
                    self._value(each, at, account)

    def _value(self, value: Value, at: int, account: Account) -> None:
        for part in parts_of(value):
            self._value(part, at, account)
        if isinstance(value, DaysSinceEvent):
            self._number(value.event, at, account)
        if isinstance(value, Aggregate):
            self._number(value, at, account)

    def _number(self, value: Aggregate, at: int, account: Account) -> None:
        of = AggregateFunction
        # Different values of what orders take from visits are looked up.
        taken = [value.property] if value.property and value.function in (of.DISTINCT, of.FAVOURITE) else []
        self._events(value.events, value, taken, at, account)

    def _events(self, events: Events, made: Aggregate | None, names: list[str], at: int, account: Account) -> None:
        for each in _members(events, account):
            start, end = _span(each.window, at, account)
            if start >= end:
                continue
            horizon = self.times.get(_owner(each.type))
            if horizon is not None and start < horizon:
                kept = self.kept[_owner(each.type)]
                if at < horizon or made is None or replace(made, events=each) not in kept:
                    raise PrunedHistory(f"{each.type} events")
            visits = self.times.get("visit")
            minutes = account.settings.order_minutes
            looks = {*names, *_names(each.where)} & {"source", "paid"} and each.type == "order"
            if looks and minutes and visits is not None and start - minutes * 60_000 < min(visits, end):
                raise PrunedHistory("visit events")


def _owner(type: str) -> str:
    return "order" if type == "line" else type


def _members(events: Events, account: Account) -> list[Events]:
    group = account.groups.get(events.type)
    if group is None:
        return [events]
    filters = () if events.where is None else (events.where,)
    return [
        Events(
            member.type,
            And((*((member.where,) if member.where is not None else ()), *filters)) if filters else member.where,
            events.window,
        )
        for member in group.members
    ]


def _span(window: Window, at: int, account: Account) -> tuple[int, int]:
    start, end = oracle_time.window_of_instants(window, at, account.local)
    return _BEGINNING if start is None else start, at if end is None else min(end, at)


def _changes(type: str, name: str, account: Account) -> bool:
    """Whether what a filter says of a name is decided by more than the events: what orders take from visits, what the
    catalogue says of products, and the time zone."""
    if name in ("hour", "weekday", "month") or (type == "order" and name in ("source", "paid")):
        return True
    own = {each.name: each for each in account.types[type].properties}
    if "product" not in own:
        return False
    if name in own:
        found = account.products.get(name)
        return found is not None and found.type is own[name].type
    return name.removeprefix("product.") in account.products or name in account.products


def _names(node: Expression | None) -> Iterator[str]:
    """What a filter looks at."""
    if node is None:
        return
    for operand in operands_of(node):
        yield from _names(operand)
    if isinstance(node, IsSet | TextMatch):
        yield node.field
    for value in values_of(node):
        if isinstance(value, FieldValue):
            yield value.field
