"""Events: every block on its own, the blocks of a group together, and, with what the log holds above them, events
against where they are said to lie."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.kernels.events import CONTACT, EVENT, LINE, TIME, encode_block, verify_block
from segidx.model.errors import CorruptData
from segidx.model.events import HISTORY, ORDER, EventType
from segidx.model.events import LINE as LINES
from segidx.model.schema import FieldType
from segidx.store.catalog import read_newest_change, read_newest_event
from segidx.store.event_blocks import (
    FIRST_PROPERTY,
    block_name,
    group_name,
    month_name,
    months_of,
    open_block,
)
from segidx.store.event_groups import MAX_BLOCK_BYTES, Cells
from segidx.store.layout import (
    DB_EVENTS,
    DB_META,
    DB_STRINGS,
    EVENT_KEY_BYTES,
    RANGE_BITS,
    Handle,
    Reader,
    event_ids_table,
    event_key,
    event_table,
    split_event_key,
)
from segidx.store.postings import bitmap_of
from segidx.store.verify.balances import check_balances
from segidx.store.verify.context import Context
from segidx.store.verify.event_places import Places
from segidx.store.verify.events_above import Above, repeated
from segidx.store.verify.log_events import lacking

_AMOUNT, _QUANTITY = (FIRST_PROPERTY + type.index(name) for type, name in ((ORDER, "amount"), (LINES, "quantity")))


def check_events(c: Context) -> Iterator[str]:
    if DB_EVENTS not in c.dbs:  # an older format
        return
    types = c.catalog.event_types
    groups: dict[int, set[tuple[int, int]]] = {}
    for key in c.keys(DB_EVENTS):
        if len(key) != EVENT_KEY_BYTES:
            yield f"events: key {key.hex()} has {len(key)} bytes, not {EVENT_KEY_BYTES}"
            continue
        number, ordinals, month, _ = split_event_key(key)
        if types.numbered(number) is None:
            yield f"events: key {key.hex()} is of type {number}, and there is no such type"
        else:
            groups.setdefault(number, set()).add((ordinals, month))
    newest: list[int] = []
    for type in types:
        if type == LINES:
            continue
        mine = {each: groups.get(each.number, set()) for each in ((ORDER, LINES) if type == ORDER else (type,))}
        yield from _check_type(c, type, mine, newest)
    changes: list[int] = []
    for type in HISTORY:
        yield from _check_type(c, type, {type: groups.get(type.number, set())}, changes)
    yield from _newest(c, "event", read_newest_event, max([*newest, *changes], default=None))
    yield from _newest(c, "change", read_newest_change, max(changes, default=None))


def _check_type(
    c: Context, type: EventType, stored: dict[EventType, set[tuple[int, int]]], newest: list[int]
) -> Iterator[str]:
    """The events of a type, orders with their lines, as a reader sees them. Adds the newest time that there is to
    `newest`."""
    above = {each: Above(c.snapshot, each) for each in stored}
    # Where the log cannot be read, the base alone is not comparable with anything.
    whole = all(each.readable for each in above.values()) or c.state.merged == c.state.generation
    places = None if type in HISTORY else Places(c, type)  # history has no ids, and is never moved
    seen = BitMap()
    groups = set().union(*stored.values(), *(each.groups() for each in above.values()))
    for ordinals, month in sorted(groups):
        found = []
        for each, layers in above.items():
            rows = yield from _group(c, each, ordinals, month)
            rows = replace(rows, cells=layers.over(ordinals, month, rows.cells))
            if not whole:
                continue
            for row in repeated(rows.cells).tolist():
                yield f"{group_name(each.number, ordinals, month)}: {rows.named(row)} is there twice"
            if places is not None:
                yield from _displaced(places, rows)
            found.append(rows)
        if not whole:
            continue
        events = found[0]
        if type == ORDER:
            if all(rows.whole for rows in found):
                yield from _flags(*found)
                yield from _numbers_of_lines(*found)
        elif events.whole:
            yield from _wrong_flags(events, np.ones(len(events), np.bool_))
        seen |= bitmap_of(np.unique(events.column(EVENT)).astype(np.uint32))
        if len(events):
            newest.append(int(events.column(TIME).max()))
    if whole and places is not None and c.readable(DB_EVENTS, type.number):
        yield from places.unseen(seen)
        yield from check_balances(c, type, places, seen)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a group, as far as they could be read; whether they all could."""

    type: EventType
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
        return f"line {self.column(LINE)[row]} of order {event}" if self.type == LINES else f"{self.type.name} {event}"


def _group(c: Context, type: EventType, ordinals: int, month: int) -> Generator[str, None, _Rows]:
    """All parts of a group; returns its rows."""
    number = type.number
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
                cells = open_block(type, key, value).decode()
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
        for problem in _contents(c, type, ordinals, month, cells):
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
    return _Rows(type, ordinals, joined, whole)


def _contents(c: Context, type: EventType, ordinals: int, month: int, cells: list[Cells]) -> Iterator[str]:
    """What the rows of a block hold, against its key and against what was given out."""
    highest = (ordinals << RANGE_BITS) + int(cells[CONTACT][0].max())
    if highest >= c.base_ids:
        yield f"has events of ordinal {highest}, and only {c.base_ids} were given out"
    months = np.setdiff1d(months_of(cells[TIME][0]), month)
    if len(months):
        yield f"has events of {month_name(int(months[0]))}"
    owner = ORDER if type == LINES else type
    given = c.base_size(event_ids_table(owner))
    if type not in HISTORY and int(cells[EVENT][0].max()) >= given:
        yield f"has {owner.name} {int(cells[EVENT][0].max())}, and only {given} ids were given out"
    yield from lacking(type, cells)
    for index, prop in enumerate(type.properties):
        values, present = cells[FIRST_PROPERTY + index]
        values = values[present != 0]
        if prop.type is FieldType.CATEGORY and c.readable(DB_STRINGS, event_table(type, index)):
            size = c.base_size(event_table(type, index))
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


def _displaced(places: Places, rows: _Rows) -> Iterator[str]:
    """The rows that are not where their event is said to be."""
    contacts = rows.column(CONTACT) + (rows.ordinals << RANGE_BITS)
    for row in places.differ(rows.column(EVENT), contacts, rows.column(TIME)):
        yield (
            f"{rows.named(row)} lies at ordinal {contacts[row]}, time {rows.column(TIME)[row]}, and the"
            f" {places.type.name} is said to be {places.said(int(rows.column(EVENT)[row]))}"
        )


def _newest(c: Context, what: str, read: Callable[[Reader, Handle], int | None], newest: int | None) -> Iterator[str]:
    """It may be newer than all: an order that had it was replaced since."""
    c.tick()
    try:
        said = read(c.txn, c.dbs[DB_META])
    except CorruptData as error:
        yield error.message
        return
    if newest is not None and (said is None or said < newest):
        yield f"the newest {what} is of {newest}, and the account says {'none' if said is None else said}"
