"""Where the events of a type are said to lie, and which revisions are held, in the base under the log."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.kernels.bitmaps import Column
from segidx.kernels.columns import CHUNK_ROWS, decode_chunk
from segidx.kernels.deltas import Delta, DeltaArrays
from segidx.model.events import EventType
from segidx.store.columns import open_column
from segidx.store.layout import (
    DB_COLUMNS,
    DB_STRINGS,
    PLACE_CONTACT,
    PLACE_REVISION,
    PLACE_TIME,
    block_key,
    event_ids_table,
    event_place,
    split_block_key,
)
from segidx.store.postings import bitmap_of
from segidx.store.verify.context import Context

# Events whose places are looked up at once.
_AT_ONCE = 1 << 20

I64 = npt.NDArray[np.int64]


class Places:
    """Three columns by event number: contacts, times, revisions."""

    def __init__(self, c: Context, type: EventType) -> None:
        self.type = type
        self._c = c
        self._fields = [event_place(type, place) for place in (PLACE_CONTACT, PLACE_TIME)]
        self._revisions = event_place(type, PLACE_REVISION)
        self._deltas: tuple[Delta, ...] = c.snapshot.view.deltas if c.snapshot is not None else ()
        self._horizon = c.catalog.horizon(type)
        self.readable = all(c.readable(DB_COLUMNS, field) for field in (*self._fields, self._revisions))
        self._columns = [self._open(field) for field in self._fields] if self.readable else []

    def differ(self, events: I64, contacts: I64, times: I64) -> list[int]:
        """The rows that are not where their event is said to be."""
        if not self.readable or not len(events):
            return []
        self._c.tick()
        wrong = np.zeros(len(events), np.bool_)
        for column, wanted in zip(self._columns, (contacts, times), strict=True):
            values, present = column.take(events.astype(np.uint32))
            wrong |= (np.asarray(present) == 0) | (np.asarray(values) != wanted)
        return [int(row) for row in np.flatnonzero(wrong)]

    def said(self, event: int) -> str:
        """Where an event is said to be, in words."""
        found = []
        for column in self._columns:
            values, present = column.take(np.array([event], np.uint32))
            found.append(str(values[0]) if present[0] else None)
        return "nowhere" if found == [None, None] else f"at ordinal {found[0]}, time {found[1]}"

    def unseen(self, seen: BitMap) -> Iterator[str]:
        """Events that are said to lie somewhere and do not, and ids of none; `seen` are those that do."""
        if not self.readable:
            return
        name = self.type.name
        contacts, times = (self._present(field) for field in self._fields)
        revised = self._present(self._revisions)
        held = np.array(revised.to_array(), np.uint32)
        values = np.asarray(self._open(self._revisions).take(held)[0])
        retracted = bitmap_of(held[values & 1 != 0])
        for event in held[values < 1].tolist():
            yield f"{name} {event} is said to have a revision, and has none"
        for event in contacts ^ times:
            yield f"{name} {event} has a contact without a time, or a time without a contact"
        for event in self._lost((contacts & times) - seen):
            yield f"{name} {event} is said to be {self.said(event)}, and is not there"
        for event in (contacts | times) & retracted:
            yield f"{name} {event} was retracted, and is said to be {self.said(event)}"
        if self._c.readable(DB_STRINGS, event_ids_table(self.type)):
            given = self._given()
            nowhere = BitMap(range(given)) - contacts - times - seen - retracted
            if nowhere:
                yield f"{len(nowhere)} {name} ids have no {name} (the first is {name} {nowhere.min()})"
            stray = revised - BitMap(range(given))
            if stray:
                yield f"{name} {stray.min()} has a revision, and only {given} ids were given out"

    def _lost(self, unseen: BitMap) -> BitMap:
        """Those of the events that are not there, and were not before the type's horizon: these are dropped."""
        if self._horizon is None or not unseen:
            return unseen
        events = np.array(unseen.to_array(), np.uint32)
        return bitmap_of(events[np.asarray(self._columns[1].take(events)[0]) >= self._horizon])

    def dropped(self, seen: BitMap, horizon: int) -> Iterator[tuple[I64, I64]]:
        """The contacts and times of events before the horizon that are not there, some at a time."""
        held = (self._present(self._fields[0]) & self._present(self._fields[1])) - seen
        events = np.array(held.to_array(), np.uint32)
        for first in range(0, len(events), _AT_ONCE):
            self._c.tick()
            contacts, times = (np.asarray(column.take(events[first : first + _AT_ONCE])[0]) for column in self._columns)
            before = times < horizon
            yield contacts[before], times[before]

    def _given(self) -> int:
        table = event_ids_table(self.type)
        return len(self._c.snapshot.table(table)) if self._c.snapshot is not None else self._c.base_size(table)

    def _open(self, field: int) -> Column:
        keys = self._keys(field)
        chunks = split_block_key(keys[-1])[1] + 1 if keys else 0
        column = open_column(self._c.txn, self._c.dbs[DB_COLUMNS], field, chunks * CHUNK_ROWS)
        return column.overlaid(field, self._deltas)

    def _keys(self, field: int) -> list[bytes]:
        prefix = block_key(field, 0)
        return [key for key in self._c.keys(DB_COLUMNS, prefix[:4]) if len(key) == len(prefix)]

    def _present(self, field: int) -> BitMap:
        """The events that have a value."""
        found = BitMap()
        for key in self._keys(field):
            self._c.tick()
            _, present = decode_chunk(self._c.value_of(DB_COLUMNS, key))
            first = split_block_key(key)[1] * CHUNK_ROWS
            found |= bitmap_of((np.flatnonzero(present) + first).astype(np.uint32))
        for delta in self._deltas:
            column = DeltaArrays(delta).values_of(field)
            if column is not None:
                found |= bitmap_of(column.ordinals[column.present])
                found -= bitmap_of(column.ordinals[~column.present])
        return found
