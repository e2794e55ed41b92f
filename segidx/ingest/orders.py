"""Orders with their lines in columns, validated: what the writer applies, whoever made it. Here from rows of a caller;
from files in `orders_arrow`.

A bad value refuses its whole order, lines and all; the other orders stand. Imports the model and its neighbours only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segidx.ingest.values import Stored, check_id, check_order_id, id_for_report, refuse, shown, stored, timestamp
from segidx.model.errors import InvalidValue, SegidxError
from segidx.model.events import (
    EVENT_PROPERTIES,
    MAX_AHEAD_MILLIS,
    MAX_LINES,
    QUANTITY_SCALE,
    EventKind,
    Order,
    OrderLine,
)
from segidx.model.results import Reject
from segidx.model.schema import MAX_MINOR_UNITS, AccountInfo, Field, FieldType

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

TIME = Field("time", FieldType.TIMESTAMP)
ONE: int = 10**QUANTITY_SCALE  # the quantity of a line that says none


@dataclass(frozen=True, slots=True)
class EventColumn:
    """A property of n events: int64[n], or a pyarrow string array of n; meaningless where it is not `present`."""

    values: Ints | pa.Array
    present: Mask

    def take(self, rows: Ints) -> EventColumn:
        values = self.values.take(pa.array(rows)) if isinstance(self.values, pa.Array) else self.values[rows]
        return EventColumn(values, self.present[rows])


@dataclass(frozen=True, slots=True)
class OrderBatch:
    """Orders to write or to replace: `ids` is a pyarrow string array of distinct valid ids, `contacts` one of the
    contact of each.

    `properties` and `lines` have the columns of EVENT_PROPERTIES in their order, with all amounts worked out, and last
    the one that says what counts. The lines are those of the first order, then those of the next, `line_counts` of
    each. `rejects` are the orders that were refused, `duplicates` counts those that a later one with the same id
    replaced; `other_contacts` are theirs.
    """

    ids: pa.Array
    contacts: pa.Array
    times: Ints
    properties: tuple[EventColumn, ...]
    line_counts: Ints
    lines: tuple[EventColumn, ...]
    rejects: tuple[Reject, ...] = ()
    duplicates: int = 0
    other_contacts: pa.Array | None = None


def event_fields(kind: EventKind, account: AccountInfo) -> tuple[Field, ...]:
    """The properties of a kind as fields, by whose rules their values are checked."""
    return tuple(Field(p.name, p.type, p.decimals(account.money_scale)) for p in EVENT_PROPERTIES[kind])


def line_amount(quantity: int, unit_price: int) -> int:
    """The amount of a line in minor units, half a unit rounded away from zero, so that a return takes back exactly
    what its sale gave. Raises InvalidValue when it is out of range."""
    product = quantity * unit_price
    units = (abs(product) + ONE // 2) // ONE
    if units > MAX_MINOR_UNITS:
        raise InvalidValue("the amount, quantity times unit price, is beyond the largest number")
    return units if product >= 0 else -units


def order_amount(amounts: Iterable[int]) -> int:
    """The amount of an order that its lines come to. Raises InvalidValue when it is out of range."""
    total = sum(amounts)
    if abs(total) > MAX_MINOR_UNITS:
        raise InvalidValue("the amount, the sum of the lines' amounts, is beyond the largest number")
    return total


def check_time(millis: int, given: object, now: int) -> int:
    """The time of an order, if an order may have it when the clock shows `now`. Raises InvalidValue."""
    if millis < 0:
        raise refuse(TIME, f"{shown(given)} is before 1970")
    if millis > now + MAX_AHEAD_MILLIS:
        raise refuse(TIME, f"{shown(given)} is more than {MAX_AHEAD_MILLIS // 3_600_000} hours ahead of the clock")
    return millis


def too_many_lines(count: int) -> InvalidValue:
    return InvalidValue(f"an order has at most {MAX_LINES:,} lines, not {count:,}")


def order_reject(index: int, order_id: object, contact_id: object, field: str, error: SegidxError) -> Reject:
    """The refusal of an order, whose message names the row and the order."""
    name = "" if order_id is None else f"order {shown(id_for_report(order_id))}: "
    return Reject(index, id_for_report(contact_id), field, error.reason, f"row {index}: {name}{error.message}")


@dataclass(frozen=True, slots=True)
class _Checked:
    order_id: str
    contact_id: str
    time: int
    properties: list[Stored | None]
    lines: list[list[Stored | None]]


def orders_from_rows(orders: Iterable[Order], account: AccountInfo, now: int, *, first_index: int = 0) -> OrderBatch:
    """The batch of the valid orders; refused ones are in its `rejects`, numbered from `first_index`. Of several valid
    ones with one id the last counts, whole. `now` is the clock, in milliseconds since 1970."""
    check = _Checker(account, now)
    rejects: list[Reject] = []
    valid: dict[str, _Checked] = {}
    replaced: dict[str, None] = {}  # contacts of duplicates
    accepted = 0
    for index, order in enumerate(orders, first_index):
        try:
            checked = check.order(order)
        except _BadField as bad:
            rejects.append(order_reject(index, order.order_id, order.contact_id, bad.field, bad.error))
            continue
        accepted += 1
        before = valid.pop(checked.order_id, None)
        if before is not None:
            replaced[before.contact_id] = None
        valid[checked.order_id] = checked
    kept = list(valid.values())
    line_counts = np.array([len(order.lines) for order in kept], np.int64)
    columns = _columns(check.line_fields, [line for order in kept for line in order.lines])
    lines = with_counts_of_lines(columns)
    properties = _columns(check.order_fields, [order.properties for order in kept])
    return OrderBatch(
        ids=pa.array(list(valid), pa.string()),
        contacts=pa.array([order.contact_id for order in kept], pa.string()),
        times=np.array([order.time for order in kept], np.int64),
        properties=with_counts_of_orders(properties, line_counts, lines[-1]),
        line_counts=line_counts,
        lines=lines,
        rejects=tuple(rejects),
        duplicates=accepted - len(kept),
        other_contacts=pa.array(list(replaced), pa.string()),
    )


class _BadField(Exception):
    def __init__(self, field: str, error: SegidxError) -> None:
        super().__init__(field)
        self.field = field
        self.error = error


class _Checker:
    def __init__(self, account: AccountInfo, now: int) -> None:
        self.order_fields = event_fields(EventKind.ORDER, account)
        self.line_fields = event_fields(EventKind.LINE, account)
        self._now = now

    def order(self, order: Order) -> _Checked:
        """Raises _BadField for the first thing wrong with it."""
        name = "order_id"
        try:
            order_id = check_order_id(order.order_id)
            name = "contact_id"
            contact_id = check_id(order.contact_id)
            name = TIME.name
            if order.time is None:
                raise refuse(TIME, "an order has a time")
            time = check_time(timestamp(TIME, order.time, None), order.time, self._now)
            properties: list[Stored | None] = []
            for field in self.order_fields:
                name = field.name
                value = getattr(order, name)
                properties.append(None if value is None else stored(field, value))
            name = "lines"
            if len(order.lines) > MAX_LINES:
                raise too_many_lines(len(order.lines))
            lines = [self._line(line, f"lines[{number}]") for number, line in enumerate(order.lines)]
            name = "amount"
            amounts = [line[-1] for line in lines if line[-1] is not None]
            if properties[-1] is None and amounts:
                properties[-1] = order_amount(amounts)  # type: ignore[arg-type]
        except SegidxError as error:
            raise _BadField(name, error) from None
        return _Checked(order_id, contact_id, time, properties, lines)

    def _line(self, line: OrderLine, place: str) -> list[Stored | None]:
        name = place
        try:
            if not isinstance(line, OrderLine):
                raise InvalidValue(f"a line is an OrderLine, not {type(line).__name__} {shown(line)}")
            found: list[Stored | None] = []
            for field in self.line_fields:
                name = f"{place}.{field.name}"
                value = getattr(line, field.name)
                found.append(None if value is None else stored(field, value))
            *_, quantity, unit_price, amount = found
            if quantity is None:
                quantity = found[-3] = ONE
            if amount is None and unit_price is not None:
                found[-1] = line_amount(quantity, unit_price)  # type: ignore[arg-type]
        except SegidxError as error:
            error.message = f"{place}: {error.message}"
            raise _BadField(name, error) from None
        return found


def _columns(fields: tuple[Field, ...], rows: list[list[Stored | None]]) -> tuple[EventColumn, ...]:
    columns = []
    for at, field in enumerate(fields):
        values = [row[at] for row in rows]
        present = np.array([v is not None for v in values], np.bool_)
        if field.type.is_string:
            columns.append(EventColumn(pa.array(values, pa.string()), present))
        else:
            columns.append(EventColumn(np.array([v or 0 for v in values], np.int64), present))
    return tuple(columns)


# --- what counts -------------------------------------------------------------------------------------------


def with_counts_of_lines(columns: tuple[EventColumn, ...]) -> tuple[EventColumn, ...]:
    """The columns of lines, quantities filled in, and the one that says which count: those of a positive quantity."""
    quantity = columns[-3].values
    return (*columns, EventColumn((quantity > 0).astype(np.int64), np.ones(len(quantity), np.bool_)))


def with_counts_of_orders(
    columns: tuple[EventColumn, ...], line_counts: Ints, counts_of_lines: EventColumn
) -> tuple[EventColumn, ...]:
    """The same of orders: one that has a line that counts, or no line and no negative amount."""
    amount = columns[-1]
    owner = np.repeat(np.arange(len(line_counts)), line_counts)
    some = np.bincount(owner[counts_of_lines.values != 0], minlength=len(line_counts)) > 0
    counts = np.where(line_counts > 0, some, ~(amount.present & (amount.values < 0)))
    return (*columns, EventColumn(counts.astype(np.int64), np.ones(len(counts), np.bool_)))
