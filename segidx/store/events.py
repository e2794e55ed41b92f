"""Writing events: orders and their lines as rows, into blocks of one kind, one range of ordinals and one month.

A group is all rows of a kind, a range (16,384 ordinals) and a month (UTC). It is stored in parts, each a block of at
most 16,384 rows and 128 KiB, sorted by contact, time, event and line (`segidx.store.event_blocks` reads them). An order
is known by its event number, the code of its id, and two columns by event number say where it lies, so that sending it
again finds what it replaces. Its lines are in the group of the same range and month.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segidx.kernels.columns import CHUNK_ROWS
from segidx.kernels.events import BLOCK_ROWS, CONTACT, EVENT, LINE, TIME, EventBlock, encode_block, verify_block
from segidx.model.errors import CorruptData
from segidx.model.events import EVENT_PROPERTIES, EventKind
from segidx.store.catalog import Catalog, read_newest_event, write_newest_event
from segidx.store.columns import changed_chunk, read_cells
from segidx.store.environment import WriteTransaction
from segidx.store.event_blocks import FIRST_PROPERTY, LAST_MONTH, block_name, month_of, months_of, open_block
from segidx.store.layout import (
    DB_COLUMNS,
    DB_EVENTS,
    DB_META,
    DB_STRINGS,
    EVENT_NUMBERS,
    IDS_TABLE,
    ORDER_CONTACT,
    ORDER_IDS_TABLE,
    ORDER_TIME,
    RANGE_BITS,
    Handle,
    Reader,
    block_key,
    event_key,
)
from segidx.store.strings import StringTable

__all__ = [
    "FIRST_PROPERTY",
    "MAX_BLOCK_BYTES",
    "RANGE_BITS",
    "Cells",
    "EventBlock",
    "EventRows",
    "month_of",
    "order_places",
    "write_orders",
]

MAX_BLOCK_BYTES = 128 << 10

_ROOM = 16  # bits of a month
_WITHIN = (1 << RANGE_BITS) - 1

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Cells = tuple[I64, npt.NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class EventRows:
    """Rows of one kind in any order. `properties` are those of the kind in order, each as (values, present), and last
    whether the row counts (0 or 1, always present)."""

    contacts: npt.NDArray[np.uint32]
    times: I64  # ms since 1970
    events: npt.NDArray[np.uint32]  # codes of order ids
    lines: I64  # the line's number; of an order how many it has
    properties: Sequence[tuple[I64, Mask]]

    def __len__(self) -> int:
        return len(self.contacts)

    def groups(self) -> I64:
        """The group of each row: range << 16 | month."""
        return _groups(self.contacts.astype(np.int64), self.times)

    def cells(self, rows: I64) -> list[Cells]:
        """The columns of a block of some rows, unsorted."""
        always = np.ones(len(rows), np.uint8)
        named = (self.contacts.astype(np.int64) & _WITHIN, self.times, self.events.astype(np.int64), self.lines)
        own = [(values[rows], present[rows]) for values, present in self.properties]
        return [
            *((values[rows], always) for values in named),
            *((np.where(present, values, 0), present.astype(np.uint8)) for values, present in own),
        ]


def _groups(contacts: I64, times: I64) -> I64:
    return contacts >> RANGE_BITS << _ROOM | months_of(times)


# --- writing -----------------------------------------------------------------------------------------------


def write_orders(write: WriteTransaction, catalog: Catalog, orders: EventRows, lines: EventRows) -> None:
    """Put orders and their lines into the base, in place of what it holds of the same event numbers, and raise its
    version.

    The caller has inserted the order ids, the contacts and the strings of properties in this transaction or before.
    Raises CorruptData when a value to be changed is damaged, ValueError for rows that do not belong together.
    """
    if not len(orders) and not len(lines):
        return
    _check(write, catalog, orders, lines)
    contacts, times, there = order_places(write.txn, write.dbs[DB_COLUMNS], orders.events.astype(np.int64))
    replaced = np.sort(orders.events[there].astype(np.int64))
    left = _groups(contacts[there], times[there])
    for kind, rows in ((EventKind.ORDER, orders), (EventKind.LINE, lines)):
        _rewrite(write, kind, rows, np.unique(left), replaced)
    _place(write, orders)
    newest, before = int(orders.times.max()), read_newest_event(write.txn, write.dbs[DB_META])
    if before is None or newest > before:
        write_newest_event(write.txn, write.dbs[DB_META], newest)
    write.changed_base()


def order_places(txn: Reader, db: Handle, events: I64) -> tuple[I64, I64, Mask]:
    """(contacts, times, whether there is such an order) of event numbers."""
    contacts, there = read_cells(txn, db, ORDER_CONTACT, events)
    times, timed = read_cells(txn, db, ORDER_TIME, events)
    if not np.array_equal(there, timed):
        raise CorruptData("orders have a contact without a time; run `segidx verify`, restore from a backup")
    return contacts, times, there


def _check(write: WriteTransaction, catalog: Catalog, orders: EventRows, lines: EventRows) -> None:
    """Never store what `verify` would call damage."""
    order = np.argsort(orders.events, kind="stable")
    numbers = orders.events[order]
    if bool((np.diff(numbers.astype(np.int64)) == 0).any()):
        raise ValueError("an order is written twice at once")
    at = np.searchsorted(numbers, lines.events)
    if len(lines) and (not len(numbers) or int(at.max()) >= len(numbers) or bool((numbers[at] != lines.events).any())):
        raise ValueError("a line is written without its order")
    owners = order[at] if len(lines) else at
    if bool((orders.contacts[owners] != lines.contacts).any() or (orders.times[owners] != lines.times).any()):
        raise ValueError("a line has another contact or time than its order")
    if bool((np.bincount(owners, minlength=len(orders)) != orders.lines).any()):
        raise ValueError("an order says another number of lines than are written")
    for kind, rows in ((EventKind.ORDER, orders), (EventKind.LINE, lines)):
        if len(rows.properties) != len(EVENT_PROPERTIES[kind]) + 1 or not bool(rows.properties[-1][1].all()):
            raise ValueError(f"rows of kind {kind.value} have {len(EVENT_PROPERTIES[kind])} properties and a flag")
    for table, most in ((ORDER_IDS_TABLE, orders.events), (IDS_TABLE, orders.contacts)):
        size = len(StringTable(write.txn, write.dbs[DB_STRINGS], table, catalog.hash_key))
        if int(most.max()) >= size:
            raise ValueError(f"{int(most.max())} is no code of string table {table}, which ends at {size}")


def _rewrite(write: WriteTransaction, kind: EventKind, rows: EventRows, left: I64, replaced: I64) -> None:
    """Store the groups that gain rows, and those (`left`, ascending) that lose what is `replaced`."""
    groups = rows.groups()
    order = np.argsort(groups, kind="stable")
    groups = groups[order]
    touched = np.union1d(groups, left)
    loses = np.isin(touched, left).tolist()
    starts, ends = np.searchsorted(groups, touched).tolist(), np.searchsorted(groups, touched, "right").tolist()
    columns = rows.cells(order)
    for group, losing, start, end in zip(touched.tolist(), loses, starts, ends, strict=True):
        new = [(values[start:end], present[start:end]) for values, present in columns]
        _rewrite_group(write, kind, group, new, replaced if losing else replaced[:0])


def _rewrite_group(write: WriteTransaction, kind: EventKind, group: int, new: list[Cells], replaced: I64) -> None:
    number, month = group >> _ROOM, group & LAST_MONTH
    blocks = _read_group(write.txn, write.dbs[DB_EVENTS], kind, number, month)
    columns = [_joined(cells) for cells in zip(*blocks, new, strict=True)]
    stale = np.zeros(len(columns[EVENT][0]), np.bool_)
    if len(replaced):
        old = len(stale) - len(new[EVENT][0])
        events = columns[EVENT][0][:old]
        at = np.minimum(np.searchsorted(replaced, events), len(replaced) - 1)
        stale[:old] = replaced[at] == events
    order = np.lexsort([columns[key][0] for key in (LINE, EVENT, TIME, CONTACT)])
    order = order[~stale[order]]
    parts = list(_parts([(values[order], present[order]) for values, present in columns])) if len(order) else []
    for part, value in enumerate(parts):
        write.txn.put(event_key(EVENT_NUMBERS[kind], number, month, part), value, db=write.dbs[DB_EVENTS])
    for part in range(len(parts), len(blocks)):
        write.txn.delete(event_key(EVENT_NUMBERS[kind], number, month, part), db=write.dbs[DB_EVENTS])


def _joined(cells: Sequence[Cells]) -> Cells:
    return np.concatenate([values for values, _ in cells]), np.concatenate([present for _, present in cells])


def _read_group(txn: Reader, db: Handle, kind: EventKind, number: int, month: int) -> list[list[Cells]]:
    """Copies of the blocks of a group, wholly verified: nothing is ever built on damaged bytes."""
    blocks: list[list[Cells]] = []
    while True:
        key = event_key(EVENT_NUMBERS[kind], number, month, len(blocks))
        value = txn.get(key, db=db)
        if value is None:
            return blocks
        problem = verify_block(value)
        if problem is not None:
            raise CorruptData(f"{block_name(key)}: {problem}; restore from a backup")
        blocks.append(open_block(key, value).decode())


def _parts(columns: list[Cells]) -> Iterator[bytes]:
    """The rows as blocks, halved until each is small enough; between contacts, unless they are of one."""
    rows = len(columns[0][0])
    if rows <= BLOCK_ROWS:
        value = encode_block(columns)
        if len(value) <= MAX_BLOCK_BYTES or rows == 1:
            yield value
            return
    borders = np.flatnonzero(np.diff(columns[CONTACT][0])) + 1
    middle = rows // 2
    if len(borders):
        middle = int(borders[np.argmin(np.abs(borders - middle))])
    yield from _parts([(values[:middle], present[:middle]) for values, present in columns])
    yield from _parts([(values[middle:], present[middle:]) for values, present in columns])


def _place(write: WriteTransaction, orders: EventRows) -> None:
    """Note where the orders lie."""
    db = write.dbs[DB_COLUMNS]
    order = np.argsort(orders.events)
    events = orders.events[order].astype(np.int64)
    chunks = events // CHUNK_ROWS
    for field, values in ((ORDER_CONTACT, orders.contacts.astype(np.int64)), (ORDER_TIME, orders.times)):
        for chunk in np.unique(chunks).tolist():
            lo, hi = np.searchsorted(chunks, [chunk, chunk + 1])
            rows = events[lo:hi] - chunk * CHUNK_ROWS
            value = changed_chunk(write.txn, db, field, chunk, rows, values[order[lo:hi]], np.ones(hi - lo, np.bool_))
            assert value is not None
            write.txn.put(block_key(field, chunk), value, db=db)
