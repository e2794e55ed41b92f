"""The overlay that this process reads through against the log, read again: what both set must be the same.

They need not be equal. A segment that was begun before a merge and went on after it stays in the process's overlay
whole, so that it may set again what the base holds already.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.kernels.deltas import EMPTY, Delta, DeltaArrays, overlay_bitmaps, overlay_counts
from segidx.model.errors import CorruptData
from segidx.model.schema import FieldType
from segidx.store.columns import open_column
from segidx.store.counts import read_entry, read_many
from segidx.store.fresh import LayeredStrings
from segidx.store.layout import DB_COLUMNS, DB_COUNTS, DB_LOG, DB_POSTINGS, DB_STRINGS, event_ids_table
from segidx.store.overlay import Overlay, View, merged_delta, merged_layer
from segidx.store.postings import bitmap_of, read_shard, stored_shards
from segidx.store.snapshot import Snapshot
from segidx.store.strings import StringTable
from segidx.store.verify.context import Context, difference

_STEP = 1 << 16  # strings compared at a time
_LOW = np.uint64(0xFFFFFFFF)


def check_overlay(c: Context, snapshot: Snapshot) -> Generator[str, None, bool]:
    """Returns whether the process's view can be relied on."""
    sound = True
    try:
        logged = Overlay(c.catalog.hash_key).view(c.txn, c.dbs.get(DB_LOG), c.state)
    except CorruptData as error:  # strings that are in their table already
        yield error.message
        return False
    mine, log = _Side(snapshot.view, all_of(snapshot.view)), _Side(logged, all_of(logged))
    for part in (_strings, _postings, _counts, _values, _events):
        for problem in part(c, mine, log):
            sound = False
            yield f"the overlay of this process: {problem}"
    return sound


def all_of(view: View) -> DeltaArrays:
    """What a view sets, in one delta."""
    return DeltaArrays(merged_delta(view.deltas) if view.deltas else EMPTY)


@dataclass(frozen=True, slots=True)
class _Side:
    """A view, and all that it sets."""

    view: View
    changes: DeltaArrays


# --- strings ---


def _strings(c: Context, mine: _Side, log: _Side) -> Iterator[str]:
    """Codes given out, the strings of the log's codes, and those strings' codes."""
    view, logged = mine.view, log.view
    for table in sorted({*view.sizes, *logged.sizes}):
        if not c.readable(DB_STRINGS, table):
            continue
        c.tick()
        base = StringTable(c.txn, c.dbs[DB_STRINGS], table, c.catalog.hash_key)
        size = view.sizes.get(table, len(base))
        due = logged.sizes.get(table, len(base))
        if size != due:
            yield f"string table {table} has {size} strings, and {due} by the log"
            continue
        wanted = LayeredStrings(base, logged.fresh(table), due)
        found = LayeredStrings(base, view.fresh(table), size)
        for layer in view.fresh(table):
            for first in range(layer.first, min(layer.end, size), _STEP):
                c.tick()
                codes = np.arange(first, min(first + _STEP, layer.end, size))
                strings = wanted.slice(first, int(codes[-1]) + 1)
                if not layer.get(codes).equals(strings):
                    yield f"string table {table} has other strings among the codes {first} to {codes[-1]} than the log"
                    continue
                for code in codes[found.find(strings) != codes].tolist():
                    yield f"string table {table} does not find the string of code {code} at its code"


# --- postings and counts ---


def _postings(c: Context, mine: _Side, log: _Side) -> Iterator[str]:
    """The folded changes of every key: those of the view by the way of readers, those of the log by merging deltas."""
    wanted = log.changes
    for key in map(int, np.union1d(mine.changes.keys, wanted.keys)):
        c.tick()
        added, removed = (BitMap.deserialize(b) if b else BitMap() for b in overlay_bitmaps(mine.view.deltas, key))
        at = int(np.searchsorted(wanted.keys, np.uint64(key)))
        adds, removes = BitMap(), BitMap()
        if at < len(wanted.keys) and int(wanted.keys[at]) == key:
            adds, removes = (bitmap_of(ordinals) for ordinals in wanted.memberships(at))
        if added == adds and removed == removes:
            continue
        field_id, code = key >> 32, key & 0xFFFFFFFF
        if c.readable(DB_POSTINGS, field_id, code) and _in_use(c, field_id, code):
            db = c.dbs[DB_POSTINGS]
            shards = (read_shard(c.txn, db, field_id, code, s) for s in stored_shards(c.txn, db, field_id, code))
            base = BitMap.union(BitMap(), *shards)
            problem = difference(base - removed | added, base - removes | adds)
            if problem:
                yield f"{c.value(field_id, code)}: {problem}, compared with the log"


def _in_use(c: Context, field_id: int, code: int) -> bool:
    """Whether readers use the posting of a value: that of a rare text they do not, and the base keeps none."""
    field = c.fields.get(field_id)
    if field is None or field.type is not FieldType.TEXT:
        return True
    return c.readable(DB_COUNTS, field_id) and read_entry(c.txn, c.dbs[DB_COUNTS], field_id, code)[1]


def _counts(c: Context, mine: _Side, log: _Side) -> Iterator[str]:
    keys = np.union1d(mine.changes.keys, log.changes.keys)
    for field_id in np.unique(keys >> np.uint64(32)).astype(np.int64).tolist():
        if not c.readable(DB_COUNTS, field_id):
            continue
        c.tick()
        some = keys[keys >> np.uint64(32) == field_id]
        codes = (some & _LOW).astype(np.int64)
        base, _ = read_many(c.txn, c.dbs[DB_COUNTS], field_id, codes)
        found, wanted = base.copy(), base
        overlay_counts(mine.view.deltas, some, found)
        overlay_counts(log.view.deltas, some, wanted)
        for at in np.flatnonzero(found != wanted).tolist():
            yield f"{c.value(field_id, int(codes[at]))}: counts {found[at]} contacts, and {wanted[at]} by the log"


# --- values ---


def _values(c: Context, mine: _Side, log: _Side) -> Iterator[str]:
    set_by = [{column.field: column.ordinals for column in side.changes.columns()} for side in (mine, log)]
    for field_id in sorted({*set_by[0], *set_by[1]}):
        if not c.readable(DB_COLUMNS, field_id):
            continue
        c.tick()
        ordinals = np.unique(np.concatenate([s[field_id] for s in set_by if field_id in s]))
        found, wanted = (_taken(c, field_id, side.view.deltas, ordinals) for side in (mine, log))
        for at in np.flatnonzero((found[0] != wanted[0]) | (found[1] != wanted[1])).tolist():
            shown = [str(values[at]) if present[at] else "none" for values, present in (found, wanted)]
            what = f"{c.column(field_id)}, event" if field_id in c.event_columns else f"{c.name(field_id)}, ordinal"
            yield f"{what} {ordinals[at]}: the value is {shown[0]}, and {shown[1]} by the log"


def _taken(
    c: Context, field_id: int, deltas: tuple[Delta, ...], ordinals: npt.NDArray[np.uint32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """(values, present) of ordinals, through the layers of a view; values are 0 where there is none."""
    events = c.event_columns.get(field_id)
    size = c.base_size(event_ids_table(events[0])) if events else c.base_ids
    column = open_column(c.txn, c.dbs[DB_COLUMNS], field_id, size).overlaid(field_id, deltas)
    values, present = column.take(ordinals)
    return np.where(np.asarray(present) != 0, values, 0), np.asarray(present)


# --- events ---


def _events(c: Context, mine: _Side, log: _Side) -> Iterator[str]:
    """The layers of each segment: how they came together does not show."""
    held = [{s.number: s for s in side.view.segments} for side in (mine, log)]
    for number in sorted({*held[0], *held[1]}):
        layers = [held[side][number].layers if number in held[side] else {} for side in (0, 1)]
        for type in sorted({*layers[0], *layers[1]}):
            c.tick()
            found, wanted = (merged_layer(each[type]).data if type in each else b"" for each in layers)
            if found != wanted:
                yield f"the events of type {type} in segment {number} are not those of the log"
