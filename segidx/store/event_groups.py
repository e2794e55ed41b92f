"""Changing the blocks of events: what is void taken out of a group's rows, what is new added, the parts written anew.

A group is all rows of a type, a range (16,384 ordinals) and a month (UTC). It is stored in parts, each a block of at
most 16,384 rows and 128 KiB, sorted by contact, time, event and line (`segidx.store.event_blocks` reads them). Bulk
writes and merges both come through here; where the values go is theirs to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segidx.kernels.events import CONTACT, EVENT, TIME, CorruptEvents, EventBlock, GroupedRows, verify_block
from segidx.model.errors import CorruptData
from segidx.model.events import EventType
from segidx.store.event_blocks import LAST_MONTH, block_name, group_name, months_of, open_block
from segidx.store.layout import RANGE_BITS, Handle, Reader, event_key

MAX_BLOCK_BYTES = 128 << 10  # what the native core keeps to

_ROOM = 16  # bits of a month
_WITHIN = (1 << RANGE_BITS) - 1

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Cells = tuple[I64, npt.NDArray[np.uint8]]
Put = Callable[[bytes, bytes | None], None]  # a value under its key, or none any more


class Stale(NamedTuple):
    """Places at which what is stored is void, in any order."""

    contacts: I64  # whole ordinals
    times: I64
    events: I64

    def take(self, rows: slice | I64) -> Stale:
        return Stale(self.contacts[rows], self.times[rows], self.events[rows])


def change_groups(put: Put, txn: Reader, db: Handle, type: EventType, columns: Sequence[Cells], stale: Stale) -> None:
    """Store the rows, given in any order by the columns of a block but with whole ordinals as contacts, and take out
    what is stale of what was stored. A group is read before anything of it is put.

    Raises CorruptData when a group is damaged, or holds a row that is neither stale nor new.
    """
    rows = GroupedRows(columns)
    left = _groups(stale.contacts, stale.times)
    leaving = np.argsort(left, kind="stable")
    left, stale = left[leaving], stale.take(leaving)
    touched = np.union1d(rows.groups, left) if len(left) else rows.groups
    at = np.searchsorted(rows.groups, touched), np.searchsorted(rows.groups, touched, "right")
    places = np.searchsorted(left, touched).tolist(), np.searchsorted(left, touched, "right").tolist()
    spans = rows.starts[at[0]].tolist(), rows.starts[at[1]].tolist()
    for group, start, end, first, last in zip(touched.tolist(), *spans, *places, strict=True):
        number, month = group >> _ROOM, group & LAST_MONTH
        blocks = read_group(txn, db, type, number, month)
        gone = _gone(blocks, stale.take(slice(first, last))) if first < last else None
        try:
            parts = rows.merged(start, end, blocks, gone)
        except CorruptEvents as error:
            raise CorruptData(
                f"{group_name(type.number, number, month)}: a row that is written is there already;"
                " run `segidx verify`, restore from a backup"
            ) from error
        stored = len(blocks)
        del blocks  # they borrow what is put now
        for part, value in enumerate(parts):
            put(event_key(type.number, number, month, part), value)
        for part in range(len(parts), stored):
            put(event_key(type.number, number, month, part), None)


def read_group(txn: Reader, db: Handle, type: EventType, number: int, month: int) -> list[EventBlock]:
    """The blocks of a group, wholly verified: nothing is ever built on damaged bytes. They borrow what is stored."""
    blocks: list[EventBlock] = []
    while True:
        key = event_key(type.number, number, month, len(blocks))
        value = txn.get(key, db=db)
        if value is None:
            return blocks
        problem = verify_block(value)
        if problem is not None:
            raise CorruptData(f"{block_name(key)}: {problem}; restore from a backup")
        blocks.append(open_block(type, key, value))


def voided(contacts: I64, times: I64, events: I64, stale: Stale) -> Mask:
    """Which rows lie at a stale place; rows and places are of one group, contacts whole or within the range alike."""
    found = np.zeros(len(events), np.bool_)
    if not len(stale.events) or not len(events):
        return found
    # By contact and time first: 14 bits within a range, and 32 of a month's milliseconds.
    start = int(stale.times.min())
    moments, numbers = np.unique(_moments(stale.contacts, stale.times, start)), np.unique(stale.events)
    at, moment = _ranks(moments, _moments(contacts, times, start))
    event, number = _ranks(numbers, events)
    hits = np.flatnonzero(moment & number & (times >= start) & (times - start < 1 << 32))
    places = _ranks(moments, _moments(stale.contacts, stale.times, start))[0] << 32 | _ranks(numbers, stale.events)[0]
    found[hits] = np.isin(at[hits] << 32 | event[hits], places)
    return found


def joined(cells: Sequence[Cells]) -> Cells:
    """A column of several groups of rows, one behind another."""
    return np.concatenate([values for values, _ in cells]), np.concatenate([present for _, present in cells])


def _gone(blocks: Sequence[EventBlock], stale: Stale) -> npt.NDArray[np.uint8]:
    """Which rows of the blocks of a group lie at a stale place."""
    columns = [block.decode() for block in blocks]
    contacts, times, events = (
        np.concatenate([np.zeros(0, np.int64), *(cells[at][0] for cells in columns)]) for at in (CONTACT, TIME, EVENT)
    )
    return voided(contacts, times, events, stale).astype(np.uint8)


def _groups(contacts: I64, times: I64) -> I64:
    """The group of each row: range << 16 | month."""
    return contacts >> RANGE_BITS << _ROOM | months_of(times)


def _moments(contacts: I64, times: I64, start: int) -> I64:
    return (contacts & _WITHIN) << 32 | (times - start)


def _ranks(known: I64, values: I64) -> tuple[I64, Mask]:
    """(the place of each value among the ascending known ones, whether it is one)."""
    at = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return at, known[at] == values
