"""Batches of orders from Arrow record batches of a file, one row a line: column by column, without a Python loop over
good rows; the same rules and messages as `orders_from_rows`. Imports the model, kernels and its neighbours only.

Rows of one order stand together. What is said of the order itself may stand in each of its rows or in some; a row
without any value of a line adds no line.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from segidx.ingest.arrow import given_id, read_ids
from segidx.ingest.arrow_values import Converted, convert, element, integers, mask, plain
from segidx.ingest.event_batch import TIME, EventBatch, EventColumn, Ints, Mask, check_time, event_fields, event_reject
from segidx.ingest.event_columns import CONTACT_ID, CURRENCY, equal_to
from segidx.ingest.orders import (
    ONE,
    line_amount,
    order_amount,
    too_many_lines,
    with_counts_of_lines,
    with_counts_of_orders,
)
from segidx.ingest.ragged import ragged_rows
from segidx.ingest.values import check_event_id, check_id, refuse, shown
from segidx.kernels.strings import Batch, Seen
from segidx.model.errors import InvalidContactId, InvalidValue, RaggedRow, SegidxError
from segidx.model.events import LINE, MAX_AHEAD_MILLIS, MAX_LINES, ORDER
from segidx.model.results import Reject
from segidx.model.schema import AccountInfo, Field

ORDER_ID = "order_id"
# Properties whose columns have another name, since a line has one of the same.
_ORDER_COLUMNS = {"amount": "order_amount"}
_LARGEST = 2.0**62


def _order_fields(account: AccountInfo) -> tuple[Field, ...]:
    """The order's properties under the names of their columns."""
    fields = event_fields(ORDER, account)
    return tuple(Field(_ORDER_COLUMNS.get(f.name, f.name), f.type, f.scale) for f in fields)


def column_fields(account: AccountInfo) -> dict[str, Field]:
    """The columns besides the two of ids that a file may have, by name, with what they hold."""
    lines = event_fields(LINE, account)
    return {f.name: f for f in (TIME, *_order_fields(account), CURRENCY, *lines)}


class SeenOrders:
    """Which order ids an import has met, in some 20 bytes each: ids are told apart by 128 bits of a keyed hash."""

    def __init__(self) -> None:
        self._keys = secrets.token_bytes(16), secrets.token_bytes(16)
        self._seen = Seen()

    def add(self, ids: pa.Array) -> Mask:
        """Which of these ids were met before, or come again here; all of them are met from now on."""
        batch = Batch.of(ids)
        high, low = (batch.hash(key) for key in self._keys)
        return self._seen.add(high, low)


def orders_from_arrow(
    record_batch: pa.RecordBatch,
    columns: Mapping[str, str],
    account: AccountInfo,
    now: int,
    seen: SeenOrders,
    *,
    horizon: int = 0,
    first_index: int = 0,
    behind_ragged: bool = False,
) -> EventBatch:
    """The batch of the valid orders of whole orders' rows. Bad rows are in its `rejects`, one for each, numbered from
    `first_index`; each refuses its order. Ragged rows refuse the orders beside them, whose lines they may be; where the
    batch stands `behind_ragged` ones, they refuse its first. `columns` gives the column of each name (see
    `column_fields`); naive times are local in the account's zone. Ids that were `seen`, and come again, are refused,
    and so are orders before `horizon`, in ms since 1970, which are pruned."""
    rows = _Rows(record_batch, columns, account.tz, first_index)
    rows.refuse_beside_ragged(behind=behind_ragged)
    rows.refuse_repeated(seen)
    contacts = rows.contacts()
    times = rows.times(now, horizon)
    properties = [rows.of_order(field) for field in _order_fields(account)]
    rows.check_currency(account)
    line_fields = event_fields(LINE, account)
    cells = [rows.cells(field) for field in line_fields]
    is_line = np.zeros(len(rows.owner), np.bool_)
    for cell in cells:
        is_line |= cell.present
        is_line[list(cell.bad)] = True
    rows.check_line_counts(np.bincount(rows.owner[is_line], minlength=len(rows.firsts)))

    lines = [EventColumn(cell.values, cell.present) for cell in cells]
    lines[-1] = rows.line_amounts(lines, is_line)
    properties[-1] = rows.order_amounts(properties[-1], lines[-1])

    kept = np.flatnonzero(rows.good)
    line_rows = np.flatnonzero(is_line & rows.good[rows.owner])
    line_counts = np.bincount(rows.owner[line_rows], minlength=len(rows.firsts))[kept].astype(np.int64)
    kept_lines = with_counts_of_lines(tuple(line.take(line_rows) for line in lines))
    kept_orders = tuple(column.take(kept) for column in properties)
    return EventBatch(
        type=ORDER,
        ids=rows.ids.take(pa.array(rows.firsts[kept])),
        contacts=contacts.take(pa.array(kept)),
        times=times[kept],
        properties=with_counts_of_orders(kept_orders, line_counts, kept_lines[-1]),
        revisions=np.zeros(len(kept), np.int64),
        retracts=np.zeros(len(kept), np.bool_),
        line_counts=line_counts,
        lines=kept_lines,
        rejects=rows.rejects(),
        indices=rows.firsts[kept] + first_index,
    )


@dataclass(frozen=True, slots=True)
class _First:
    """What the rows of each order say of it: the row that says it first (any row where none does)."""

    rows: Ints
    present: Mask


class _Rows:
    """The rows of a file, which order each is of, and what is wrong with them.

    `firsts` has the first row of each order, `owner` the order of each row, `good` the orders that nothing is wrong
    with so far. A row with a bad order id between two rows of one order is a row of that order; any other one is an
    order of its own. Neither is good.
    """

    def __init__(self, batch: pa.RecordBatch, columns: Mapping[str, str], zone: tzinfo, first_index: int) -> None:
        self._batch = batch
        self._columns = columns
        self._zone = zone
        self._first_index = first_index
        self._bad: dict[int, tuple[str, SegidxError]] = {}
        given = batch.column(columns[ORDER_ID])
        self.ids, valid = read_ids(given, columns[ORDER_ID], "order")
        self._goes_on = _going_on(self.ids, valid)
        self.firsts: Ints = np.flatnonzero(~self._goes_on)
        self.owner: Ints = np.cumsum(~self._goes_on) - 1
        self.good: Mask = np.ones(len(self.firsts), np.bool_)
        self._has_id: Mask = valid[self.firsts]
        self._ragged = ragged_rows(batch)
        for row, ragged in self._ragged.items():
            self._refuse(row, "", ragged)
        for row in np.flatnonzero(~valid).tolist():
            try:
                check_event_id(given_id(given, row), "order")
            except SegidxError as error:
                self._refuse(row, ORDER_ID, error)

    def _refuse(self, row: int, field: str, error: SegidxError) -> None:
        """The first thing that is wrong with a row is told."""
        self._bad.setdefault(row, (field, error))
        self.good[self.owner[row]] = False

    def rejects(self) -> tuple[Reject, ...]:
        ids = self._batch.column(self._columns[ORDER_ID])
        contacts = self._batch.column(self._columns[CONTACT_ID])
        return tuple(
            event_reject(self._first_index + row, ORDER.name, given_id(ids, row), given_id(contacts, row), field, error)
            for row, (field, error) in sorted(self._bad.items())
        )

    # --- whole orders ---

    def refuse_beside_ragged(self, *, behind: bool) -> None:
        """Refuse the orders before and after ragged rows: which order's line such a row is cannot be known, and an
        order that lacks a line says something else. `behind`: the row before the first is ragged."""
        for row in [-1, *self._ragged] if behind else self._ragged:
            for beside in (row - 1, row + 1):
                if 0 <= beside < len(self.owner) and self._has_id[self.owner[beside]]:
                    why = f"row {self._first_index + row} beside it cannot be read, and may be of the same order"
                    self._refuse(beside, ORDER_ID, RaggedRow(f"{why}; correct that row and import the file again"))

    def refuse_repeated(self, seen: SeenOrders) -> None:
        """Refuse orders whose id came before, not beside them: its lines would replace one another."""
        known = np.flatnonzero(self._has_id)
        again = seen.add(self.ids.take(pa.array(self.firsts[known])))
        for row in self.firsts[known[again]].tolist():
            why = "it came before in this import, not beside this row; sort the file by order id"
            self._refuse(row, ORDER_ID, InvalidValue(f"{why}, so that the rows of an order stand together"))

    def check_line_counts(self, counts: npt.NDArray[np.intp]) -> None:
        for order in np.flatnonzero(counts > MAX_LINES).tolist():
            self._refuse(int(self.firsts[order]), "lines", too_many_lines(int(counts[order])))

    # --- what is said of orders ---

    def contacts(self) -> pa.Array:
        """The contact of each order."""
        name = self._columns[CONTACT_ID]
        column = self._batch.column(name)
        ids, valid = read_ids(column, name)
        given = ~_nulls(column)
        for row in np.flatnonzero(given & ~valid).tolist():
            try:
                check_id(given_id(column, row))
            except SegidxError as error:
                self._refuse(row, CONTACT_ID, error)
        first = self._first(CONTACT_ID, ids, valid)
        for order in np.flatnonzero(~first.present & self.good).tolist():
            self._refuse(int(self.firsts[order]), CONTACT_ID, InvalidContactId("there is no contact id"))
        return ids.take(pa.array(first.rows))

    def times(self, now: int, horizon: int) -> Ints:
        """The time of each order."""
        cells = self.cells(TIME)
        values = np.asarray(cells.values)
        column = plain(self._batch.column(self._columns[TIME.name]))
        beyond = cells.present & ((values < max(0, horizon)) | (values > now + MAX_AHEAD_MILLIS))
        for row in np.flatnonzero(beyond).tolist():
            try:
                check_time(int(values[row]), element(column, row), now, horizon)
            except SegidxError as error:
                self._refuse(row, TIME.name, error)
        first = self._first(TIME.name, values, cells.present)
        for order in np.flatnonzero(~first.present & self.good).tolist():
            self._refuse(int(self.firsts[order]), TIME.name, refuse(TIME, "an order has a time"))
        return values[first.rows]

    def of_order(self, field: Field) -> EventColumn:
        """A property of each order."""
        cells = self.cells(field)
        first = self._first(field.name, cells.values, cells.present)
        return EventColumn(EventColumn(cells.values, cells.present).take(first.rows).values, first.present)

    def check_currency(self, account: AccountInfo) -> None:
        cells = self.cells(CURRENCY)
        for row in np.flatnonzero(cells.present & ~equal_to(cells.values, account.currency)).tolist():
            why = f"{shown(cells.values[row].as_py())} is not the account's currency, {account.currency}"
            self._refuse(row, CURRENCY.name, refuse(CURRENCY, f"{why}; convert the amounts before the import"))

    def _first(self, name: str, values: Ints | pa.Array, present: Mask) -> _First:
        """The first row of each order that says something. Later ones that say something else are refused."""
        if not len(self.firsts):
            return _First(self.firsts, np.zeros(0, np.bool_))
        count = len(self.owner)
        # Mostly all rows of an order say the same, or none says anything.
        alike = present[1:] == present[:-1]
        alike &= ~present[1:] | (_as_before(values) if isinstance(values, pa.Array) else values[1:] == values[:-1])
        if not (self._goes_on[1:] & ~alike).any():
            return _First(self.firsts, present[self.firsts])
        rows = np.minimum.reduceat(np.where(present, np.arange(count), count), self.firsts)
        said = rows < count
        rows = np.where(said, rows, self.firsts)
        if isinstance(values, pa.Array):
            values = integers(plain(values).dictionary_encode().indices, -1).astype(np.int64)
        for row in np.flatnonzero(present & (values != values[rows][self.owner])).tolist():
            other = self._first_index + int(rows[self.owner[row]])
            why = f"field {name!r}: it is not what row {other} of the same order says"
            self._refuse(row, name, InvalidValue(why, field=name))
        return _First(rows, said)

    # --- cells ---

    def cells(self, field: Field) -> Converted:
        """The values of a column; none where the file has no such column."""
        if field.name not in self._columns:
            count = len(self.owner)
            values = pa.nulls(count, pa.string()) if field.type.is_string else np.zeros(count, np.int64)
            return Converted(values, np.zeros(count, np.bool_))
        cells = convert(self._batch.column(self._columns[field.name]), field, self._zone, "", coded=True)
        for row, message in cells.bad.items():
            self._refuse(row, field.name, InvalidValue(message, field=field.name))
        return cells

    # --- amounts that are worked out ---

    def line_amounts(self, lines: list[EventColumn], is_line: Mask) -> EventColumn:
        """The amount of each row's line, and `lines` with the quantities that are not said filled in."""
        *_, quantity, unit_price, amount = lines
        quantities = np.where(quantity.present, quantity.values, ONE)
        lines[-3] = EventColumn(quantities, is_line)
        wanted = unit_price.present & ~amount.present
        prices = np.where(wanted, unit_price.values, 0)
        large = np.abs(quantities.astype(np.float64)) * np.abs(prices.astype(np.float64)) >= _LARGEST
        products = np.where(large, 0, quantities) * prices
        derived = np.sign(products) * ((np.abs(products) + ONE // 2) // ONE)
        for row in np.flatnonzero(large).tolist():
            try:
                derived[row] = line_amount(int(quantities[row]), int(prices[row]))
            except SegidxError as error:
                self._refuse(row, "amount", error)
        values = np.where(amount.present, amount.values, derived)
        return EventColumn(values, amount.present | unit_price.present)

    def order_amounts(self, given: EventColumn, lines: EventColumn) -> EventColumn:
        """The amount of each order: what is said, or else what its lines come to."""
        count = len(self.firsts)
        values = np.where(lines.present, lines.values, 0)
        some = np.bincount(self.owner[lines.present], minlength=count) > 0
        # Sums wrap around, and so do their differences: they are right where the sums of single orders fit.
        ends = np.append(self.firsts[1:], len(values)).astype(np.int64)
        running = np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])
        sums = running[ends] - running[self.firsts]
        sizes = np.bincount(self.owner, weights=np.abs(values.astype(np.float64)), minlength=count)
        for order in np.flatnonzero((sizes >= _LARGEST) & ~given.present & self.good).tolist():
            first, end = int(self.firsts[order]), int(ends[order])
            try:
                sums[order] = order_amount(values[first:end].tolist())
            except SegidxError as error:
                self._refuse(first, _ORDER_COLUMNS["amount"], error)
        return EventColumn(np.where(given.present, given.values, sums), given.present | some)


def _going_on(ids: pa.Array, valid: Mask) -> Mask:
    """Which rows are of the same order as the row before them."""
    goes_on = np.zeros(len(valid), np.bool_)
    if valid.all():
        goes_on[1:] = _as_before(ids)
        return goes_on
    known = np.flatnonzero(valid)
    same = _as_before(ids.take(pa.array(known))) if len(known) else np.zeros(0, np.bool_)
    goes_on[known[1:][same]] = True
    without = np.flatnonzero(~valid)
    behind = np.searchsorted(known, without)  # the next row that has an id
    between = (behind > 0) & (behind < len(known))
    goes_on[without[between][same[behind[between] - 1]]] = True
    return goes_on


def _as_before(strings: pa.Array) -> Mask:
    """Which strings but the first are certainly what the one before them is; n - 1 of n."""
    if isinstance(strings, pa.DictionaryArray):
        strings = strings.indices
    return mask(pc.equal(strings.slice(1), strings.slice(0, max(len(strings) - 1, 0))))


def _nulls(column: pa.Array) -> Mask:
    found: Mask = plain(column).is_null().to_numpy(zero_copy_only=False)
    return found
