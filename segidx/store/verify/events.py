"""Events: every block on its own, the blocks of a group together, and orders against where they are said to lie."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.kernels.bitmaps import Column
from segidx.kernels.columns import CHUNK_ROWS, decode_chunk
from segidx.kernels.events import CONTACT, EVENT, LINE, TIME, encode_block, verify_block
from segidx.model.errors import CorruptData
from segidx.model.events import EVENT_PROPERTIES, EventKind
from segidx.model.schema import FieldType
from segidx.store.catalog import read_newest_event
from segidx.store.columns import open_column
from segidx.store.event_blocks import (
    FIRST_PROPERTY,
    block_name,
    group_name,
    kind_of,
    month_name,
    months_of,
    open_block,
)
from segidx.store.events import MAX_BLOCK_BYTES, Cells
from segidx.store.layout import (
    DB_COLUMNS,
    DB_EVENTS,
    DB_META,
    DB_STRINGS,
    EVENT_KEY_BYTES,
    EVENT_NUMBERS,
    ORDER_CONTACT,
    ORDER_IDS_TABLE,
    ORDER_TIME,
    RANGE_BITS,
    block_key,
    event_key,
    event_table,
    split_block_key,
    split_event_key,
)
from segidx.store.postings import bitmap_of
from segidx.store.verify.context import Context

_AMOUNT, _QUANTITY = (
    FIRST_PROPERTY + [p.name for p in EVENT_PROPERTIES[kind]].index(name)
    for kind, name in ((EventKind.ORDER, "amount"), (EventKind.LINE, "quantity"))
)


def check_events(c: Context) -> Iterator[str]:
    if DB_EVENTS not in c.dbs:  # an older format
        return
    groups: set[tuple[int, int]] = set()
    for key in c.keys(DB_EVENTS):
        if len(key) != EVENT_KEY_BYTES:
            yield f"events: key {key.hex()} has {len(key)} bytes, not {EVENT_KEY_BYTES}"
            continue
        number, ordinals, month, _ = split_event_key(key)
        if kind_of(number) is None:
            yield f"events: key {key.hex()} is of kind {number}, and there is no such kind"
        else:
            groups.add((ordinals, month))
    places = _Places(c)
    seen = BitMap()
    newest: int | None = None
    for ordinals, month in sorted(groups):
        orders = yield from _group(c, EventKind.ORDER, ordinals, month)
        lines = yield from _group(c, EventKind.LINE, ordinals, month)
        for rows in (orders, lines):
            yield from places.differ(rows)
        if orders.whole and lines.whole:
            yield from _flags(orders, lines)
            yield from _numbers_of_lines(orders, lines)
        seen |= bitmap_of(np.unique(orders.column(EVENT)).astype(np.uint32))
        if len(orders):
            newest = max(newest or 0, int(orders.column(TIME).max()))
    if c.readable(DB_EVENTS, EVENT_NUMBERS[EventKind.ORDER]):
        yield from places.unseen(seen)
    yield from _newest(c, newest)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a group, as far as they could be read; whether they all could."""

    kind: EventKind
    ordinals: int
    cells: list[Cells]
    whole: bool

    def __len__(self) -> int:
        return len(self.cells[EVENT][0]) if self.cells else 0

    def column(self, at: int) -> npt.NDArray[np.int64]:
        return self.cells[at][0] if self.cells else np.zeros(0, np.int64)

    def named(self, row: int) -> str:
        """How problems call a row."""
        event = self.column(EVENT)[row]
        return f"order {event}" if self.kind is EventKind.ORDER else f"line {self.column(LINE)[row]} of order {event}"


def _group(c: Context, kind: EventKind, ordinals: int, month: int) -> Generator[str, None, _Rows]:
    """All parts of a group; returns its rows."""
    number = EVENT_NUMBERS[kind]
    keys = [k for k in c.keys(DB_EVENTS, event_key(number, ordinals, month)[:-2]) if len(k) == EVENT_KEY_BYTES]
    parts = [split_event_key(key)[3] for key in keys]
    whole = parts == list(range(len(parts)))
    if not whole:
        yield f"{group_name(number, ordinals, month)}: has the parts {parts}"
        c.lose(DB_EVENTS, number)
    blocks: list[list[Cells]] = []
    before: tuple[int, ...] | None = None
    for key in keys:
        c.tick()
        value = c.value_of(DB_EVENTS, key)
        what = block_name(key)
        problem = verify_block(value)
        if problem is None:
            try:
                cells = open_block(key, value).decode()
            except CorruptData as error:
                problem = error.message.removeprefix(f"{what}: ")
        if problem is not None:
            yield f"{what}: {problem}"
            whole = False
            before = None
            c.lose(DB_EVENTS, number)
            continue
        rows = len(cells[EVENT][0])
        if not rows:
            yield f"{what} is stored, though empty"
            continue
        if encode_block(cells) != bytes(value):
            yield f"{what} is not in its shortest form"
        if len(value) > MAX_BLOCK_BYTES and rows > 1:
            yield f"{what}: has {len(value)} bytes, over the limit of {MAX_BLOCK_BYTES}"
        for problem in _contents(c, kind, ordinals, month, cells):
            yield f"{what}: {problem}"
        first, last = (tuple(int(cells[at][0][row]) for at in (CONTACT, TIME, EVENT, LINE)) for row in (0, -1))
        if before is not None and before >= first:
            yield f"{what}: begins before the part before it ends"
        before = last
        blocks.append(cells)
    joined = [
        (np.concatenate([values for values, _ in each]), np.concatenate([present for _, present in each]))
        for each in zip(*blocks, strict=True)
    ]
    return _Rows(kind, ordinals, joined, whole)


def _contents(c: Context, kind: EventKind, ordinals: int, month: int, cells: list[Cells]) -> Iterator[str]:
    """What the rows of a block hold, against its key and against what was given out."""
    highest = (ordinals << RANGE_BITS) + int(cells[CONTACT][0].max())
    if highest >= c.base_ids:
        yield f"has events of ordinal {highest}, and only {c.base_ids} were given out"
    months = np.setdiff1d(months_of(cells[TIME][0]), month)
    if len(months):
        yield f"has events of {month_name(int(months[0]))}"
    orders = c.base_size(ORDER_IDS_TABLE)
    if int(cells[EVENT][0].max()) >= orders:
        yield f"has order {int(cells[EVENT][0].max())}, and only {orders} ids were given out"
    for index, prop in enumerate(EVENT_PROPERTIES[kind]):
        values, present = cells[FIRST_PROPERTY + index]
        values = values[present != 0]
        if prop.type is FieldType.CATEGORY and c.readable(DB_STRINGS, event_table(kind, index)):
            size = c.base_size(event_table(kind, index))
        elif prop.type is FieldType.BOOL:
            size = 2
        else:
            continue
        bad = values[(values < 0) | (values >= size)]
        if len(bad):
            yield f"{prop.name!r} has code {bad[0]}, which is none of its {size} codes"


def _flags(orders: _Rows, lines: _Rows) -> Iterator[str]:
    """Whether rows count: a line of positive quantity; an order with such a line, or without lines and not negative."""
    positive = np.zeros(0, np.bool_)
    if len(lines):
        values, present = lines.cells[_QUANTITY]
        positive = (present == 0) | (values > 0)  # without a quantity it is 1
        yield from _wrong_flags(lines, positive)
    if len(orders):
        values, present = orders.cells[_AMOUNT]
        events, owners = orders.column(EVENT), lines.column(EVENT)
        alone = ~np.isin(events, owners) & ~((present != 0) & (values < 0))
        yield from _wrong_flags(orders, alone | np.isin(events, owners[positive]))


def _numbers_of_lines(orders: _Rows, lines: _Rows) -> Iterator[str]:
    """Whether each order has as many lines as it says, numbered from 0. Lines without one are for `_Places`."""
    events, owners = orders.column(EVENT), lines.column(EVENT)
    order = np.argsort(events, kind="stable")
    at = np.searchsorted(events[order], owners)
    known = at < len(events)
    known[known] = events[order][at[known]] == owners[known]
    owner = order[at[known]] if len(events) else at[:0]
    found = np.bincount(owner, minlength=len(events))
    for row in np.flatnonzero(found != orders.column(LINE)).tolist():
        yield f"{orders.named(row)} has {found[row]} lines, and says that it has {orders.column(LINE)[row]}"
    own = lines.column(LINE)[known]
    wrong = np.zeros(len(events), np.bool_)
    wrong[owner[(own < 0) | (own >= found[owner])]] = True
    for row in np.flatnonzero(wrong & (found == orders.column(LINE))).tolist():
        yield f"{orders.named(row)} has {found[row]} lines, and they are not numbered from 0"


def _wrong_flags(rows: _Rows, wanted: npt.NDArray[np.bool_]) -> Iterator[str]:
    found = rows.column(-1) != 0
    for row in np.flatnonzero(found != wanted).tolist():
        says, should = ("counts", "should not") if found[row] else ("does not count", "should")
        yield f"{rows.named(row)} {says}, and {should}"


class _Places:
    """Where orders are said to lie: two columns by event number."""

    def __init__(self, c: Context) -> None:
        self._c = c
        self._readable = all(c.readable(DB_COLUMNS, field) for field in (ORDER_CONTACT, ORDER_TIME))
        self._columns = [self._open(field) for field in (ORDER_CONTACT, ORDER_TIME)] if self._readable else []

    def _open(self, field: int) -> Column:
        keys = self._keys(field)
        chunks = split_block_key(keys[-1])[1] + 1 if keys else 0
        return open_column(self._c.txn, self._c.dbs[DB_COLUMNS], field, chunks * CHUNK_ROWS)

    def _keys(self, field: int) -> list[bytes]:
        prefix = block_key(field, 0)
        return [key for key in self._c.keys(DB_COLUMNS, prefix[:4]) if len(key) == len(prefix)]

    def differ(self, rows: _Rows) -> Iterator[str]:
        """The rows that are not where their order is said to be."""
        if not self._readable or not len(rows):
            return
        self._c.tick()
        events = rows.column(EVENT)
        contacts = rows.column(CONTACT) + (rows.ordinals << RANGE_BITS)
        wrong = np.zeros(len(rows), np.bool_)
        for column, wanted in zip(self._columns, (contacts, rows.column(TIME)), strict=True):
            inside = events < len(column) * CHUNK_ROWS
            values, present = column.take(events[inside].astype(np.uint32))
            wrong |= ~inside
            wrong[inside] |= (np.asarray(present) == 0) | (np.asarray(values) != wanted[inside])
        for row in np.flatnonzero(wrong).tolist():
            yield (
                f"{rows.named(row)} lies at ordinal {contacts[row]}, time {rows.column(TIME)[row]}, and the order is"
                f" said to be {self._said(int(events[row]))}"
            )

    def _said(self, event: int) -> str:
        found = []
        for column in self._columns:
            inside = event < len(column) * CHUNK_ROWS
            values, present = column.take(np.array([event] if inside else [], np.uint32))
            found.append(str(values[0]) if inside and present[0] else None)
        return "nowhere" if found == [None, None] else f"at ordinal {found[0]}, time {found[1]}"

    def unseen(self, seen: BitMap) -> Iterator[str]:
        """Orders that are said to lie somewhere and do not, and ids of none."""
        if not self._readable:
            return
        said = [self._held(field) for field in (ORDER_CONTACT, ORDER_TIME)]
        for event in said[0] ^ said[1]:
            yield f"order {event} has a contact without a time, or a time without a contact"
        for event in (said[0] & said[1]) - seen:
            yield f"order {event} is said to be {self._said(event)}, and is not there"
        if self._c.readable(DB_STRINGS, ORDER_IDS_TABLE):
            given = self._c.base_size(ORDER_IDS_TABLE)
            nowhere = BitMap(range(given)) - said[0] - said[1] - seen
            if nowhere:
                yield f"{len(nowhere)} order ids have no order (the first is order {nowhere.min()})"

    def _held(self, field: int) -> BitMap:
        found = BitMap()
        for key in self._keys(field):
            self._c.tick()
            _, present = decode_chunk(self._c.value_of(DB_COLUMNS, key))
            first = split_block_key(key)[1] * CHUNK_ROWS
            found |= bitmap_of((np.flatnonzero(present) + first).astype(np.uint32))
        return found


def _newest(c: Context, newest: int | None) -> Iterator[str]:
    """It may be newer than all: an order that had it was replaced since."""
    c.tick()
    try:
        said = read_newest_event(c.txn, c.dbs[DB_META])
    except CorruptData as error:
        yield error.message
        return
    if newest is not None and (said is None or said < newest):
        yield f"the newest event is of {newest}, and the account says {'none' if said is None else said}"
