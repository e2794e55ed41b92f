"""What a row that writes or retracts an event may hold, by the oracle, and what is kept of it.

Written from the words of `segidx/model/events.py` alone. It must not import anything but the model, what the oracle
says of values, and one pure function of the engine's: `derive_source`, which says where a visit came from. Its tables
could only be copied here; it has its own tests, and the oracle says which of what it tells is kept. The readings chosen
are in the list of `oracle`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType

from segidx.ingest.visit_source import derive_source
from segidx.model import events as sent
from segidx.model.errors import InvalidValue, PrunedHistory, SegidxError, TypeMismatch, UnknownProperty
from segidx.model.events import (
    LINE,
    MAX_AHEAD_MILLIS,
    MAX_EVENT_ID_BYTES,
    MAX_LINES,
    ORDER,
    VISIT,
    EventType,
    EventTypes,
)
from segidx.model.results import FieldData
from segidx.model.schema import MAX_MINOR_UNITS, Field, Schema
from segidx.model.values import scalar as to_scalar
from segidx.testing.oracle_events import Event, Kept
from segidx.testing.oracle_rows import check_contact_id, clean_value
from segidx.testing.oracle_time import millis

_UTM = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content")

EventRow = sent.Order | sent.Event | sent.Retraction


class EventRefused(Exception):
    """A row that is refused, for a property or for the event as a whole."""

    def __init__(self, field: str, error: SegidxError) -> None:
        self.field = field
        self.error = error


@dataclass(frozen=True, slots=True)
class Taken:
    """A row that may be taken: the id that it is about, and what is to be kept of it, None to take the event back."""

    type: str
    event_id: str
    revision: int
    kept: Kept | None


@contextmanager
def _looking_at(field: str) -> Iterator[None]:
    """What is wrong in here is wrong with that field."""
    try:
        yield
    except SegidxError as error:
        raise EventRefused(field, error) from error


@lru_cache(maxsize=64)
def property_schema(type: EventType, money_scale: int = 0) -> Schema:
    """The properties of an event type, as if they were the fields of a contact."""
    return Schema(tuple(Field(p.name, p.type, p.decimals(money_scale)) for p in type.properties))


def take(
    row: EventRow,
    types: EventTypes,
    money_scale: int,
    now_ms: int,
    own_hosts: Sequence[str] = (),
    horizons: Mapping[str, int] = MappingProxyType({}),
) -> Taken:
    """What the row says, when the clock shows `now_ms` and these are own hosts, and events of types before `horizons`
    (in ms) are pruned. Raises EventRefused for the first thing wrong with it."""
    if isinstance(row, sent.Order):
        kept = _keep_order(row, money_scale, now_ms, horizons.get("order", 0))
        return Taken("order", row.order_id, _clean_revision(row.revision), kept)
    with _looking_at("type"):
        type = types[row.type]
        if type == LINE:
            raise InvalidValue("a line is written with its order")
        if type == ORDER and isinstance(row, sent.Event):
            raise InvalidValue("an order is written with its lines")
    with _looking_at("event_id"):
        _check_event_id(row.event_id)
    event = None
    if isinstance(row, sent.Event):
        event = _keep_event(row, type, money_scale, now_ms, own_hosts, horizons.get(type.name, 0))
    return Taken(row.type, row.event_id, _clean_revision(row.revision), event)


def _keep_event(
    row: sent.Event, type: EventType, money_scale: int, now_ms: int, own_hosts: Sequence[str], horizon: int
) -> Kept:
    with _looking_at("contact_id"):
        check_contact_id(row.contact_id)
    with _looking_at("time"):
        time = _clean_time(row.time, now_ms, horizon)
    known = [declared.name for declared in type.properties]
    for name in row.properties:
        if name not in known:
            raise EventRefused(name, UnknownProperty(type.name, name, known))
    properties = _clean_properties(type, row.properties, money_scale)
    if type == VISIT:
        _fill_in(properties, own_hosts)
    return Kept(type.name, row.contact_id, Event(time, properties, True, row.event_id, type=type.name))


def _fill_in(visit: dict[str, FieldData], own_hosts: Sequence[str]) -> None:
    """What a visit does not say of where it came from, of what its url and its referrer tell."""
    url, referrer, *utm = (visit.get(name) for name in ("url", "referrer", *_UTM))
    if not url and not referrer:
        return
    told = derive_source(url, referrer, own_hosts, tuple(utm))  # type: ignore[arg-type]
    if told is None:  # it came from the site itself
        return
    names = ["search_phrase", *_UTM]
    if "source" not in visit:
        names += ["source", "paid"]
    for name in names:
        value = getattr(told, name)
        if name not in visit and value is not None:
            visit[name] = value


def _keep_order(order: sent.Order, money_scale: int, now_ms: int, horizon: int) -> Kept:
    with _looking_at("order_id"):
        _check_event_id(order.order_id)
    with _looking_at("contact_id"):
        check_contact_id(order.contact_id)
    with _looking_at("time"):
        time = _clean_time(order.time, now_ms, horizon)
    given = {declared.name: getattr(order, declared.name) for declared in ORDER.properties}
    properties = _clean_properties(ORDER, given, money_scale)
    with _looking_at("lines"):
        if len(order.lines) > MAX_LINES:
            raise InvalidValue(f"an order has at most {MAX_LINES} lines, not {len(order.lines)}")
    lines = tuple(_keep_line(order, n, time, money_scale) for n in range(len(order.lines)))
    amounts = [Fraction(line.properties["amount"]) for line in lines if "amount" in line.properties]  # type: ignore[arg-type]
    if "amount" not in properties and amounts:
        with _looking_at("amount"):
            properties["amount"] = _money(sum(amounts, Fraction(0)), money_scale)
    counts = any(Fraction(line.properties["quantity"]) > 0 for line in lines)  # type: ignore[arg-type]
    if not lines:
        counts = "amount" not in properties or Fraction(properties["amount"]) >= 0  # type: ignore[arg-type]
    return Kept("order", order.contact_id, Event(time, properties, counts, order.order_id, type="order"), lines)


def _keep_line(order: sent.Order, number: int, time: int, money_scale: int) -> Event:
    line, place = order.lines[number], f"lines[{number}]."
    given = {declared.name: getattr(line, declared.name) for declared in LINE.properties}
    properties = _clean_properties(LINE, given, money_scale, place)
    properties.setdefault("quantity", Decimal(1))
    quantity = Fraction(properties["quantity"])  # type: ignore[arg-type]
    if "amount" not in properties and "unit_price" in properties:
        with _looking_at(f"{place}amount"):
            price = Fraction(properties["unit_price"])  # type: ignore[arg-type]
            properties["amount"] = _money(quantity * price, money_scale)
    return Event(time, properties, True, order.order_id, number, "line")


def _clean_properties(
    type: EventType, given: Mapping[str, object], money_scale: int, place: str = ""
) -> dict[str, FieldData]:
    found: dict[str, FieldData] = {}
    for field in property_schema(type, money_scale):
        with _looking_at(place + field.name):
            value = clean_value(field, given.get(field.name))
        if value is not None:
            found[field.name] = value
    return found


def _check_event_id(event_id: object) -> None:
    try:
        size = len(event_id.encode()) if isinstance(event_id, str) else 0
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= MAX_EVENT_ID_BYTES:
        raise InvalidValue(f"event id {event_id!r} is not 1 to {MAX_EVENT_ID_BYTES} bytes of UTF-8")


def _clean_time(time: object, now_ms: int, horizon: int) -> int:
    instant = to_scalar(time)
    if not isinstance(instant, datetime):
        raise TypeMismatch(f"the time of an event is an instant, not {time!r}")
    at = millis(instant)
    if at < 0:
        raise InvalidValue(f"{instant.isoformat()} is before 1970")
    if at < horizon:
        raise PrunedHistory("the event is behind the horizon")
    if at > now_ms + MAX_AHEAD_MILLIS:
        raise InvalidValue(f"{instant.isoformat()} is more than 24 hours ahead of the clock")
    return at


def _clean_revision(revision: object) -> int:
    """The revision, 0 where none is given."""
    if revision is None:
        return 0
    with _looking_at("revision"):
        if isinstance(revision, bool) or not isinstance(revision, int):
            raise TypeMismatch(f"a revision is a whole number, not {revision!r}")
        if not 1 <= revision <= sent.MAX_REVISION:
            raise InvalidValue(f"revision {revision} is not 1 to {sent.MAX_REVISION}")
    return revision


def _money(exact: Fraction, scale: int) -> Decimal:
    """The amount rounded to the scale: half a minor unit away from zero."""
    minor = int(abs(exact) * 10**scale + Fraction(1, 2))
    if minor > MAX_MINOR_UNITS:
        raise InvalidValue("the amount that this comes to is out of range")
    return Decimal(minor if exact >= 0 else -minor).scaleb(-scale)
