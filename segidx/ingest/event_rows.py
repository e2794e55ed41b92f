"""Batches from `Order`, `Event` and `Retraction` rows of a caller, one a type.

A bad value refuses its whole row, an order with all its lines; the other rows stand. Imports the model and its
neighbours only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pyarrow as pa

from segidx.ingest.converters import converter
from segidx.ingest.event_batch import (
    TIME,
    EventBatch,
    EventColumn,
    check_revision,
    check_time,
    event_fields,
    event_reject,
    noun,
    settled_batch,
    with_counts,
    written_with_its_order,
)
from segidx.ingest.orders import (
    ONE,
    line_amount,
    order_amount,
    too_many_lines,
    with_counts_of_lines,
    with_counts_of_orders,
)
from segidx.ingest.values import Stored, check_event_id, check_id, refuse, shown, timestamp
from segidx.ingest.visits import with_sources
from segidx.model.errors import InvalidValue, SegidxError, UnknownProperty
from segidx.model.events import (
    LINE,
    MAX_EVENT_ID_BYTES,
    MAX_LINES,
    ORDER,
    VISIT,
    Event,
    EventRow,
    EventType,
    EventTypes,
    Order,
    OrderLine,
    Retraction,
)
from segidx.model.results import Horizon, Reject
from segidx.model.retention import horizon_of
from segidx.model.schema import MAX_CONTACT_ID_BYTES, AccountInfo, Field

_Values = list[Stored | None]
NOTHING_PRUNED: Mapping[str, Horizon] = MappingProxyType({})


def events_from_rows(
    rows: Iterable[EventRow],
    types: EventTypes,
    account: AccountInfo,
    now: int,
    *,
    own_hosts: Sequence[str] = (),
    horizons: Mapping[str, Horizon] = NOTHING_PRUNED,
    first_index: int = 0,
) -> tuple[EventBatch, ...]:
    """The valid rows as batches, one a type, in the order in which the types come first; they are to be committed
    together.

    Rows with one id apply one after another: the batch holds what stands in the end. Refused rows are in the batches'
    `rejects`, numbered from `first_index`; those of no type that may be written are in the first's. `now` is the clock,
    in milliseconds since 1970; `own_hosts` are those of the account's settings; `horizons` by type are
    those behind which events are pruned: none is taken there.
    """
    builders: dict[str, _Builder] = {}
    strays: list[Reject] = []
    for index, row in enumerate(rows, first_index):
        name = _type_of(row)
        builder = builders.get(name)
        if builder is None:
            try:
                type = _writable(row, name, types)
                builder = builders[name] = _Builder(type, account, now, own_hosts, horizon_of(type, horizons))
            except SegidxError as error:
                contact_id = getattr(row, "contact_id", None)
                strays.append(event_reject(index, str(name), getattr(row, "event_id", None), contact_id, "type", error))
                continue
        builder.add(index, row)
    batches = [builder.batch() for builder in builders.values()]
    if strays:
        first, *others = batches or [_Builder(ORDER, account, now).batch()]
        rejects = sorted([*first.rejects, *strays], key=lambda reject: reject.index)
        batches = [replace(first, rejects=tuple(rejects)), *others]
    return tuple(batches)


def orders_from_rows(
    orders: Iterable[Order],
    account: AccountInfo,
    now: int,
    *,
    horizons: Mapping[str, Horizon] = NOTHING_PRUNED,
    first_index: int = 0,
) -> EventBatch:
    """The batch of the valid orders, as `events_from_rows` makes it."""
    builder = _Builder(ORDER, account, now, horizon=horizon_of(ORDER, horizons))
    for index, order in enumerate(orders, first_index):
        builder.add(index, order)
    return builder.batch()


def _type_of(row: object) -> str:
    return ORDER.name if isinstance(row, Order) else getattr(row, "type", "")


def _writable(row: object, name: object, types: EventTypes) -> EventType:
    if not isinstance(row, EventRow):
        raise InvalidValue(f"a row is an Order, an Event or a Retraction, not {type(row).__name__} {shown(row)}")
    if not isinstance(name, str):
        raise InvalidValue(f"an event type is named by a string, not {type(name).__name__} {shown(name)}")
    if name == LINE.name:
        raise written_with_its_order()
    return types[name]


class _BadField(Exception):
    def __init__(self, field: str, error: SegidxError) -> None:
        super().__init__(field)
        self.field = field
        self.error = error


class _Builder:
    """Collects the rows of one type."""

    def __init__(
        self, type: EventType, account: AccountInfo, now: int, own_hosts: Sequence[str] = (), horizon: int = 0
    ) -> None:
        self._type = type
        self._horizon = horizon
        self._index = 0
        self._indices: list[int] = []
        self._own_hosts = own_hosts
        self._now = now
        self._fields = event_fields(type, account)
        self._converters = [converter(field) for field in self._fields]
        self._places = {field.name: place for place, field in enumerate(self._fields)}
        self._nothing: _Values = [None] * len(self._fields)
        self._line_fields = event_fields(LINE, account) if type == ORDER else ()
        self._line_converters = [(field.name, converter(field)) for field in self._line_fields]
        self._of = "order" if type == ORDER else "event"
        self._ids: list[str] = []
        self._contacts: list[str] = []
        self._times: list[int] = []
        self._revisions: list[int] = []
        self._retracts: list[bool] = []
        # Those of one row behind those of another: a list a row is what the garbage collector would look at for long.
        self._values: _Values = []
        self._line_counts: list[int] = []
        self._lines: _Values = []
        self._rejects: list[Reject] = []

    def add(self, index: int, row: EventRow) -> None:
        """Take one row, whole or not at all."""
        self._index = index
        try:
            if isinstance(row, Retraction):
                self._retract(row)
            elif isinstance(row, Order):
                self._order(row)
            else:
                self._event(row)
        except _BadField as bad:
            event_id = row.order_id if isinstance(row, Order) else row.event_id
            contact_id = None if isinstance(row, Retraction) else row.contact_id
            self._rejects.append(event_reject(index, self._type.name, event_id, contact_id, bad.field, bad.error))

    # --- rows ---

    def _retract(self, row: Retraction) -> None:
        name = "event_id"
        try:
            event_id = self._checked_id(row.event_id)
            name = "revision"
            revision = check_revision(row.revision)
        except SegidxError as error:
            raise _BadField(name, error) from None
        self._take(event_id, "", 0, revision, self._nothing, (), retracts=True)

    def _event(self, row: Event) -> None:
        name = "type"
        try:
            if self._type == ORDER:
                raise InvalidValue("an order is written as an Order, with its lines")
            name = "event_id"
            event_id = self._checked_id(row.event_id)
            name = "contact_id"
            contact_id = _checked_contact(row.contact_id)
            name = TIME.name
            time = self._time(row.time)
            name = "properties"
            if not isinstance(row.properties, Mapping):
                raise InvalidValue(f"properties are a mapping, not {type(row.properties).__name__}")
            values = self._properties(row.properties)
            name = "revision"
            revision = 0 if row.revision is None else check_revision(row.revision)
        except SegidxError as error:
            raise _BadField(str(name), error) from None
        self._take(event_id, contact_id, time, revision, values, ())

    def _properties(self, given: Mapping[str, object]) -> _Values:
        values = self._nothing.copy()
        places, converters = self._places, self._converters
        try:
            for name, value in given.items():
                place = places.get(name)
                if place is None:
                    raise UnknownProperty(self._type.name, str(name), places)
                if value is not None:
                    values[place] = converters[place](value)
        except SegidxError:
            raise self._first_bad(given) from None
        return values

    def _first_bad(self, given: Mapping[str, object]) -> _BadField:
        """What is told of properties of which one is bad: one that the type lacks, else the first in the type's order,
        whatever the order in which they are given."""
        for name in given:
            if name not in self._places:
                return _BadField(str(name), UnknownProperty(self._type.name, str(name), self._places))
        for name, place in self._places.items():
            try:
                if given.get(name) is not None:
                    self._converters[place](given[name])
            except SegidxError as error:
                return _BadField(name, error)
        raise AssertionError("a property is bad once and not again")

    def _order(self, row: Order) -> None:
        name = "order_id"
        try:
            order_id = self._checked_id(row.order_id)
            name = "contact_id"
            contact_id = _checked_contact(row.contact_id)
            name = TIME.name
            time = self._time(row.time)
            values: _Values = []
            for (name, _), convert in zip(self._places.items(), self._converters, strict=True):
                value = getattr(row, name)
                values.append(None if value is None else convert(value))
            name = "lines"
            if len(row.lines) > MAX_LINES:
                raise too_many_lines(len(row.lines))
            lines = [self._line(number, line) for number, line in enumerate(row.lines)]
            if values[-1] is None:
                name = "amount"
                amounts = [line[-1] for line in lines if line[-1] is not None]
                if amounts:
                    values[-1] = order_amount(amounts)  # type: ignore[arg-type]
            name = "revision"
            revision = 0 if row.revision is None else check_revision(row.revision)
        except SegidxError as error:
            raise _BadField(name, error) from None
        self._take(order_id, contact_id, time, revision, values, lines)

    def _line(self, number: int, line: OrderLine) -> _Values:
        name = ""
        try:
            if not isinstance(line, OrderLine):
                raise InvalidValue(f"a line is an OrderLine, not {type(line).__name__} {shown(line)}")
            found: _Values = []
            for name, convert in self._line_converters:
                value = getattr(line, name)
                found.append(None if value is None else convert(value))
            *_, quantity, unit_price, amount = found
            if quantity is None:
                quantity = found[-3] = ONE
            if amount is None and unit_price is not None:
                found[-1] = line_amount(quantity, unit_price)  # type: ignore[arg-type]
        except SegidxError as error:
            place = f"lines[{number}]"
            error.message = f"{place}: {error.message}"
            raise _BadField(f"{place}.{name}" if name else place, error) from None
        return found

    def _checked_id(self, value: object) -> str:
        if type(value) is str and value.isascii() and 0 < len(value) <= MAX_EVENT_ID_BYTES:
            return value
        return check_event_id(value, self._of)

    def _time(self, given: object) -> int:
        if given is None:
            raise refuse(TIME, f"{noun(self._type)} has a time")
        return check_time(timestamp(TIME, given, None), given, self._now, self._horizon)

    def _take(
        self,
        event_id: str,
        contact_id: str,
        time: int,
        revision: int,
        values: _Values,
        lines: Sequence[_Values],
        *,
        retracts: bool = False,
    ) -> None:
        self._indices.append(self._index)
        self._ids.append(event_id)
        self._contacts.append(contact_id)
        self._times.append(time)
        self._revisions.append(revision)
        self._retracts.append(retracts)
        self._values += values
        self._line_counts.append(len(lines))
        for line in lines:
            self._lines += line

    # --- what they come to ---

    def batch(self) -> EventBatch:
        columns = _columns(self._fields, self._values)
        if self._type == VISIT:
            columns = with_sources(columns, self._own_hosts)
        line_counts = np.array(self._line_counts, np.int64)
        lines: tuple[EventColumn, ...] = ()
        if self._type == ORDER:
            lines = with_counts_of_lines(_columns(self._line_fields, self._lines))
            columns = with_counts_of_orders(columns, line_counts, lines[-1])
        else:
            columns = with_counts(columns, len(self._ids))
        everything = EventBatch(
            type=self._type,
            ids=pa.array(self._ids, pa.string()),
            contacts=pa.array(self._contacts, pa.string()),
            times=np.array(self._times, np.int64),
            properties=columns,
            revisions=np.array(self._revisions, np.int64),
            retracts=np.array(self._retracts, np.bool_),
            line_counts=line_counts,
            lines=lines,
            indices=np.array(self._indices, np.int64),
        )
        return replace(settled_batch(everything), rejects=tuple(self._rejects))


def _checked_contact(value: object) -> str:
    if type(value) is str and value.isascii() and 0 < len(value) <= MAX_CONTACT_ID_BYTES:
        return value
    return check_id(value)


def _columns(fields: tuple[Field, ...], values: _Values) -> tuple[EventColumn, ...]:
    columns = []
    for place, field in enumerate(fields):
        found = pa.array(values[place :: len(fields)], pa.string() if field.type.is_string else pa.int64())
        present = np.asarray(found.is_valid().to_numpy(zero_copy_only=False), np.bool_)
        columns.append(EventColumn(found if field.type.is_string else found.fill_null(0).to_numpy(), present))
    return tuple(columns)
