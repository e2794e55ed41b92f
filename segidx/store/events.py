"""Writing events in bulk: rows of events straight into the base, in one transaction.

An event is known by its number, the code of its id, and two columns by event number say where it lies, so that sending
it again finds what it replaces (a third holds its revision, see `segidx.store.event_places`). The lines of an order are
in the group of the same range and month.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segidx.kernels.columns import CHUNK_ROWS
from segidx.kernels.events import EventBlock, EventLayer, encode_layer
from segidx.model.events import EventType
from segidx.store.catalog import Catalog, read_events_merged, read_newest_event, write_newest_event
from segidx.store.columns import changed_chunk
from segidx.store.derived import Followers, Maintained
from segidx.store.environment import WriteTransaction
from segidx.store.event_blocks import FIRST_PROPERTY, month_of
from segidx.store.event_groups import MAX_BLOCK_BYTES, Cells, Stale, change_groups
from segidx.store.event_places import stored_places
from segidx.store.layout import (
    DB_COLUMNS,
    DB_EVENTS,
    DB_META,
    DB_POSTINGS,
    DB_STRINGS,
    IDS_TABLE,
    PLACE_CONTACT,
    PLACE_TIME,
    RANGE_BITS,
    block_key,
    event_ids_table,
    event_place,
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
    "write_events",
]

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class EventRows:
    """Rows of one type in any order. `properties` are those of the type in order, each as (values, present), and last
    whether the row counts (0 or 1, always present)."""

    contacts: npt.NDArray[np.uint32]
    times: I64  # ms since 1970
    events: npt.NDArray[np.uint32]  # codes of event ids, of lines those of their order
    lines: I64  # the line's number; of an order how many it has
    properties: Sequence[tuple[I64, Mask]]

    def __len__(self) -> int:
        return len(self.contacts)

    def cells(self) -> list[Cells]:
        """The columns of a block, with whole ordinals; values mean nothing where there is none."""
        always = np.ones(len(self), np.uint8)
        named = (self.contacts.astype(np.int64), self.times, self.events.astype(np.int64), self.lines)
        return [
            *((values, always) for values in named),
            *((values, present.view(np.uint8)) for values, present in self.properties),
        ]


def write_events(
    write: WriteTransaction,
    catalog: Catalog,
    rows: Mapping[EventType, EventRows],
    first_new: int | None = None,
    maintained: Sequence[Maintained] = (),
) -> None:
    """Put events of one type, an order's with its lines ({ORDER: ..., LINE: ...}), into the base, in place of what it
    holds of the same event numbers, and raise its version.

    The caller has inserted the event ids, the contacts and the strings of properties in this transaction or before, and
    merged all that the log holds. Of event numbers from `first_new` on, if it is said, nothing is held. The columns of
    derived numbers that are `maintained` follow; others of the same types are kept no more. Raises
    CorruptData when a value to be changed is damaged, ValueError for rows that do not belong together.
    """
    (type, events), *_ = rows.items()
    if not any(map(len, rows.values())):
        return
    _check(write, catalog, rows)
    numbers = events.events.astype(np.int64)
    if first_new is not None:
        numbers = numbers[numbers < first_new]
    places = stored_places(write.txn, write.dbs[DB_COLUMNS], type, numbers)
    there = places.there
    stale = Stale(places.contacts[there], places.times[there], numbers[there])

    def put(key: bytes, value: bytes | None) -> None:
        if value is None:
            write.txn.delete(key, db=write.dbs[DB_EVENTS])
        else:
            write.txn.put(key, value, db=write.dbs[DB_EVENTS])

    followers = Followers(maintained)
    chunks = [chunk for each, its in rows.items() for chunk in _followed(followers, write, each, its, stale)]
    bands = followers.bands(write.txn, write.dbs)
    for each, its in rows.items():
        change_groups(put, write.txn, write.dbs[DB_EVENTS], each, its.cells(), stale)
    for key, value in chunks:
        if value is None:
            write.txn.delete(key, db=write.dbs[DB_COLUMNS])
        else:
            write.txn.put(key, value, db=write.dbs[DB_COLUMNS])
    for key, value in bands:
        if value is None:
            write.txn.delete(key, db=write.dbs[DB_POSTINGS])
        else:
            write.txn.put(key, value, db=write.dbs[DB_POSTINGS])
    followers.settle(write)
    _place(write, type, events)
    newest, before = int(events.times.max()), read_newest_event(write.txn, write.dbs[DB_META])
    if before is None or newest > before:
        write_newest_event(write.txn, write.dbs[DB_META], newest)
    write.changed_base()


def _followed(
    followers: Followers, write: WriteTransaction, type: EventType, rows: EventRows, stale: Stale
) -> list[tuple[bytes, bytes | None]]:
    """What becomes of the columns of derived numbers, found before the blocks change: values that were read are good
    until the next one is written."""
    if not followers.of(type):
        return []
    cells = rows.cells()
    order = np.lexsort((rows.lines, rows.events, rows.times, rows.contacts))
    leaving = np.lexsort((stale.events, stale.times, stale.contacts))
    places = stale.take(leaving)
    layer = EventLayer(
        encode_layer(
            [(values[order], present[order]) for values, present in cells],
            places.contacts.astype(np.uint32),
            places.times,
            places.events.astype(np.uint32),
        )
    )
    found = []
    for ordinals in layer.ranges().tolist():
        first, end = layer.stale_of(ordinals << RANGE_BITS, ordinals + 1 << RANGE_BITS)
        found += followers.chunks(write.txn, write.dbs, type, ordinals, layer, places.contacts[first:end])
    return found


def _check(write: WriteTransaction, catalog: Catalog, rows: Mapping[EventType, EventRows]) -> None:
    """Never store what `verify` would call damage."""
    # Layers of the log that are not in the base yet would lie above what is written here.
    if write.state.merged != write.state.generation or read_events_merged(write.txn, write.dbs[DB_META]) is not None:
        raise ValueError("events are written in bulk when all before is merged")
    (type, events), *others = rows.items()
    horizon = catalog.horizon(type)
    if horizon is not None and int(events.times.min()) < horizon:
        raise ValueError("an event is written behind the horizon of its type")
    order = _ascending(events.events)
    numbers = events.events[order]
    if bool((numbers[1:] == numbers[:-1]).any()):
        raise ValueError("an event is written twice at once")
    for _, lines in others:
        at = np.searchsorted(numbers, lines.events)
        if len(lines) and (int(at.max()) >= len(numbers) or bool((numbers[at] != lines.events).any())):
            raise ValueError("a line is written without its order")
        owners = order[at] if len(lines) else at
        if bool((events.contacts[owners] != lines.contacts).any() or (events.times[owners] != lines.times).any()):
            raise ValueError("a line has another contact or time than its order")
        if bool((np.bincount(owners, minlength=len(events)) != events.lines).any()):
            raise ValueError("an order says another number of lines than are written")
    for each, its in rows.items():
        if len(its.properties) != len(each.properties) + 1 or not bool(its.properties[-1][1].all()):
            raise ValueError(f"rows of {each.name} events have {len(each.properties)} properties and a flag")
    for table, most in ((event_ids_table(type), events.events), (IDS_TABLE, events.contacts)):
        size = len(StringTable(write.txn, write.dbs[DB_STRINGS], table, catalog.hash_key))
        if int(most.max()) >= size:
            raise ValueError(f"{int(most.max())} is no code of string table {table}, which ends at {size}")


def _place(write: WriteTransaction, type: EventType, rows: EventRows) -> None:
    """Note where the events lie."""
    db = write.dbs[DB_COLUMNS]
    order = _ascending(rows.events)
    events = rows.events[order].astype(np.int64)
    chunks = events // CHUNK_ROWS
    touched = chunks[np.flatnonzero(np.diff(chunks, prepend=-1))].tolist()
    for place, values in ((PLACE_CONTACT, rows.contacts.astype(np.int64)), (PLACE_TIME, rows.times)):
        field = event_place(type, place)
        for chunk in touched:
            lo, hi = np.searchsorted(chunks, [chunk, chunk + 1])
            at = events[lo:hi] - chunk * CHUNK_ROWS
            value = changed_chunk(write.txn, db, field, chunk, at, values[order[lo:hi]], np.ones(hi - lo, np.bool_))
            assert value is not None
            write.txn.put(block_key(field, chunk), value, db=db)


def _ascending(numbers: npt.NDArray[np.uint32]) -> I64:
    """The rows in the order of their numbers; new events come in it."""
    if bool((numbers[1:] >= numbers[:-1]).all()):
        return np.arange(len(numbers))
    return np.argsort(numbers, kind="stable")
