"""Changing the blocks of events: what is void taken out of a group's rows, what is new added, the parts written anew.

A group is all rows of a type, a range (16,384 ordinals) and a month (UTC). It is stored in parts, each a block of at
most 16,384 rows and 128 KiB, sorted by contact, time, event and line (`segidx.store.event_blocks` reads them). Bulk
writes and merges both come through here; where the values go is theirs to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segidx.kernels.events import BLOCK_ROWS, CONTACT, EVENT, LINE, TIME, encode_block, verify_block
from segidx.model.errors import CorruptData
from segidx.model.events import EventType
from segidx.store.event_blocks import LAST_MONTH, block_name, group_name, months_of, open_block
from segidx.store.layout import RANGE_BITS, Handle, Reader, event_key

MAX_BLOCK_BYTES = 128 << 10

_ROOM = 16  # bits of a month
_WITHIN = (1 << RANGE_BITS) - 1
_SORTED_BY = (LINE, EVENT, TIME, CONTACT)  # the last first

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
    groups = _groups(columns[CONTACT][0], columns[TIME][0])
    order = np.argsort(groups, kind="stable")
    groups = groups[order]
    left = _groups(stale.contacts, stale.times)
    leaving = np.argsort(left, kind="stable")
    left = left[leaving]
    touched = np.union1d(groups, left)
    rows = np.searchsorted(groups, touched).tolist(), np.searchsorted(groups, touched, "right").tolist()
    places = np.searchsorted(left, touched).tolist(), np.searchsorted(left, touched, "right").tolist()
    for group, start, end, first, last in zip(touched.tolist(), *rows, *places, strict=True):
        mine = order[start:end]
        new = [(values[mine], present[mine]) for values, present in columns]
        new[CONTACT] = new[CONTACT][0] & _WITHIN, new[CONTACT][1]
        _change_group(put, txn, db, type, group, new, stale.take(leaving[first:last]))


def read_group(txn: Reader, db: Handle, type: EventType, number: int, month: int) -> list[list[Cells]]:
    """Copies of the blocks of a group, wholly verified: nothing is ever built on damaged bytes."""
    blocks: list[list[Cells]] = []
    while True:
        key = event_key(type.number, number, month, len(blocks))
        value = txn.get(key, db=db)
        if value is None:
            return blocks
        problem = verify_block(value)
        if problem is not None:
            raise CorruptData(f"{block_name(key)}: {problem}; restore from a backup")
        blocks.append(open_block(type, key, value).decode())


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


def _groups(contacts: I64, times: I64) -> I64:
    """The group of each row: range << 16 | month."""
    return contacts >> RANGE_BITS << _ROOM | months_of(times)


def _moments(contacts: I64, times: I64, start: int) -> I64:
    return (contacts & _WITHIN) << 32 | (times - start)


def _ranks(known: I64, values: I64) -> tuple[I64, Mask]:
    """(the place of each value among the ascending known ones, whether it is one)."""
    at = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return at, known[at] == values


def _change_group(
    put: Put, txn: Reader, db: Handle, type: EventType, group: int, new: list[Cells], stale: Stale
) -> None:
    number, month = group >> _ROOM, group & LAST_MONTH
    blocks = read_group(txn, db, type, number, month)
    columns = [joined(cells) for cells in zip(*blocks, new, strict=True)]
    old = len(columns[EVENT][0]) - len(new[EVENT][0])
    gone = np.zeros(len(columns[EVENT][0]), np.bool_)
    contacts, times, events = (columns[at][0][:old] for at in (CONTACT, TIME, EVENT))
    gone[:old] = voided(contacts, times, events, stale)
    order = np.lexsort([columns[key][0] for key in _SORTED_BY])
    order = order[~gone[order]]
    if _repeats(columns, order):
        raise CorruptData(
            f"{group_name(type.number, number, month)}: a row that is written is there already;"
            " run `segidx verify`, restore from a backup"
        )
    parts = list(_parts([(values[order], present[order]) for values, present in columns])) if len(order) else []
    for part, value in enumerate(parts):
        put(event_key(type.number, number, month, part), value)
    for part in range(len(parts), len(blocks)):
        put(event_key(type.number, number, month, part), None)


def _repeats(columns: list[Cells], order: I64) -> bool:
    """Whether a row is there twice, in that order."""
    same = np.ones(max(len(order) - 1, 0), np.bool_)
    for key in _SORTED_BY:
        same &= np.diff(columns[key][0][order]) == 0
    return bool(same.any())


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
