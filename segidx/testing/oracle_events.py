"""Orders and lines, by the oracle: what is kept of an order that is sent, and what a contact's events come to.

Written from the words of `segidx/model/events.py` alone. It must not import anything but the model, and what the oracle
says of values and windows. The readings chosen are in the list of `oracle`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from segidx.model.errors import InvalidValue, SegidxError, TypeMismatch
from segidx.model.events import (
    EVENT_PROPERTIES,
    MAX_AHEAD_MILLIS,
    MAX_EVENT_ID_BYTES,
    MAX_LINES,
    EventKind,
    Order,
    OrderLine,
)
from segidx.model.results import FieldData
from segidx.model.schema import MAX_MINOR_UNITS, Field, Schema
from segidx.model.values import scalar as to_scalar
from segidx.testing.oracle_rows import check_contact_id, clean_value
from segidx.testing.oracle_time import millis


@dataclass(frozen=True, slots=True)
class Event:
    """One order or one line. `properties` holds those that are set, given or worked out."""

    time: int
    properties: Mapping[str, FieldData]
    counts: bool


@dataclass(frozen=True, slots=True)
class KeptOrder:
    """An order as it is kept, with its lines."""

    contact_id: str
    order: Event
    lines: tuple[Event, ...]

    def events(self, kind: EventKind) -> tuple[Event, ...]:
        return (self.order,) if kind is EventKind.ORDER else self.lines


@dataclass(frozen=True, slots=True)
class Subject:
    """What a condition looks at: a contact, by its fields and its orders; or an event, by its properties."""

    fields: Mapping[str, FieldData]
    orders: Sequence[KeptOrder] = ()


class OrderRefused(Exception):
    """An order is not taken, for what is in one field of it."""

    def __init__(self, field: str, error: SegidxError) -> None:
        super().__init__(f"{field}: {error}")
        self.field = field
        self.error = error


@contextmanager
def _looking_at(field: str) -> Iterator[None]:
    try:
        yield
    except SegidxError as error:
        raise OrderRefused(field, error) from error


@lru_cache(maxsize=32)
def property_schema(kind: EventKind, money_scale: int = 0) -> Schema:
    """The properties of a kind of events, as if they were the fields of a contact."""
    return Schema(tuple(Field(p.name, p.type, p.decimals(money_scale)) for p in EVENT_PROPERTIES[kind]))


def keep_order(order: Order, money_scale: int, now_ms: int) -> KeptOrder:
    """The order as it is kept, when the clock shows `now_ms`. Raises OrderRefused for the first thing wrong with it."""
    with _looking_at("order_id"):
        _check_order_id(order.order_id)
    with _looking_at("contact_id"):
        check_contact_id(order.contact_id)
    with _looking_at("time"):
        time = _clean_time(order.time, now_ms)
    properties = _clean_properties(EventKind.ORDER, order, money_scale)
    with _looking_at("lines"):
        if len(order.lines) > MAX_LINES:
            raise InvalidValue(f"an order has at most {MAX_LINES} lines, not {len(order.lines)}")
    lines = tuple(_keep_line(line, time, money_scale, f"lines[{n}].") for n, line in enumerate(order.lines))
    amounts = [_number(line, "amount") for line in lines if "amount" in line.properties]
    if "amount" not in properties and amounts:
        with _looking_at("amount"):
            properties["amount"] = _money(sum(amounts, Fraction(0)), money_scale)
    counts = any(Fraction(line.properties["quantity"]) > 0 for line in lines)  # type: ignore[arg-type]
    if not lines:
        counts = "amount" not in properties or Fraction(properties["amount"]) >= 0  # type: ignore[arg-type]
    return KeptOrder(order.contact_id, Event(time, properties, counts), lines)


def _keep_line(line: OrderLine, time: int, money_scale: int, place: str) -> Event:
    properties = _clean_properties(EventKind.LINE, line, money_scale, place)
    properties.setdefault("quantity", Decimal(1))
    quantity = Fraction(properties["quantity"])  # type: ignore[arg-type]
    if "amount" not in properties and "unit_price" in properties:
        with _looking_at(f"{place}amount"):
            price = Fraction(properties["unit_price"])  # type: ignore[arg-type]
            properties["amount"] = _money(quantity * price, money_scale)
    return Event(time, properties, counts=True)


def _clean_properties(
    kind: EventKind, row: Order | OrderLine, money_scale: int, place: str = ""
) -> dict[str, FieldData]:
    found: dict[str, FieldData] = {}
    for field in property_schema(kind, money_scale):
        with _looking_at(place + field.name):
            value = clean_value(field, getattr(row, field.name))
        if value is not None:
            found[field.name] = value
    return found


def _check_order_id(order_id: object) -> None:
    try:
        size = len(order_id.encode()) if isinstance(order_id, str) else 0
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= MAX_EVENT_ID_BYTES:
        raise InvalidValue(f"order id {order_id!r} is not 1 to {MAX_EVENT_ID_BYTES} bytes of UTF-8")


def _clean_time(time: object, now_ms: int) -> int:
    instant = to_scalar(time)
    if not isinstance(instant, datetime):
        raise TypeMismatch(f"the time of an order is an instant, not {time!r}")
    at = millis(instant)
    if at < 0:
        raise InvalidValue(f"{instant.isoformat()} is before 1970")
    if at > now_ms + MAX_AHEAD_MILLIS:
        raise InvalidValue(f"{instant.isoformat()} is more than 24 hours ahead of the clock")
    return at


def _money(exact: Fraction, scale: int) -> Decimal:
    """The amount rounded to the scale: half a minor unit away from zero."""
    minor = int(abs(exact) * 10**scale + Fraction(1, 2))
    if minor > MAX_MINOR_UNITS:
        raise InvalidValue("the amount that this comes to is out of range")
    return Decimal(minor if exact >= 0 else -minor).scaleb(-scale)


def _number(event: Event, name: str) -> Fraction:
    return Fraction(event.properties[name])  # type: ignore[arg-type]


def count_of(events: Iterable[Event]) -> Fraction:
    """How many of them count."""
    return Fraction(sum(event.counts for event in events))


def average_of(events: Sequence[Event], name: str, kind: EventKind) -> Fraction | None:
    """The sum over how many have the property; of orders, over how many count, with the property or without."""
    total = sum_of(events, name)
    if kind is EventKind.ORDER:
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


def population_of(events: Iterable[Event], kind: EventKind, *, filtered: bool) -> list[Event]:
    """Those that `only` looks at, of those selected: with a filter all of them, else no cancellations and returns."""
    if filtered:
        return list(events)
    if kind is EventKind.ORDER:
        return [event for event in events if event.counts]
    return [event for event in events if _number(event, "quantity") > 0]


def sum_of(events: Iterable[Event], name: str) -> Fraction | None:
    """A property of all of them that have it, returns included; None where none has."""
    numbers = [_number(event, name) for event in events if name in event.properties]
    return sum(numbers, Fraction(0)) if numbers else None
