"""What an account says in several ways: postings and columns, counts of both, presence, live contacts, suppression.

Each as readers see it, the base under the overlay, but worked out in another way: one shard at a time, in copies.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from pyroaring import BitMap

from segidx.kernels.columns import CHUNK_ROWS, decode_chunk
from segidx.kernels.deltas import key_of
from segidx.model.errors import CorruptData
from segidx.model.schema import MAX_CONTACT_ID_BYTES, Field, FieldType
from segidx.model.writes import SUPPRESSING, Channel
from segidx.store.layout import (
    DB_COLUMNS,
    DB_COUNTS,
    DB_POSTINGS,
    DB_STRINGS,
    IDS_TABLE,
    LIVE_CODE,
    SHARD_BITS,
    SYSTEM_FIELD,
    block_key,
    channel_code,
    posting_key,
    split_posting_key,
)
from segidx.store.postings import bitmap_of, read_shard
from segidx.store.snapshot import Snapshot
from segidx.store.verify.context import CHANNEL_FLAGS, CODED, Context, difference
from segidx.store.verify.overlay import all_of

Codes = npt.NDArray[np.int64]
Ordinals = npt.NDArray[np.uint32]


def check_across(c: Context, snapshot: Snapshot) -> Iterator[str]:
    layered = _Layered(c, snapshot)
    yield from _contacts(c, layered)
    for field_id, field in c.fields.items():
        if field.type is FieldType.TAGS:
            yield from _tags(c, layered, field_id, field)
        else:
            yield from _single_valued(c, layered, field_id, field)


class _Layered:
    """Shards of the account, the overlay applied to copies of the base."""

    def __init__(self, c: Context, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.size = snapshot.size
        self.shards = range(-(-self.size >> SHARD_BITS))
        self._c = c
        self._changes = all_of(snapshot.view)

    def end(self, shard: int) -> int:
        """The ordinal behind the shard's last that was given out."""
        return min((shard + 1) << SHARD_BITS, self.size)

    def bitmap(self, field_id: int, code: int, shard: int) -> BitMap:
        self._c.tick()
        bitmap = read_shard(self._c.txn, self._c.dbs[DB_POSTINGS], field_id, code, shard)
        changes, key = self._changes, key_of(field_id, code)
        at = int(np.searchsorted(changes.keys, np.uint64(key)))
        if at < len(changes.keys) and int(changes.keys[at]) == key:
            added, removed = changes.memberships(at)
            bitmap -= bitmap_of(_within(removed, shard))
            bitmap |= bitmap_of(_within(added, shard))
        return bitmap

    def values(self, field_id: int, shard: int) -> tuple[Codes, npt.NDArray[np.bool_]]:
        """(values, present) of the shard's ordinals."""
        first, end = shard << SHARD_BITS, self.end(shard)
        rows = -(-(end - first) // CHUNK_ROWS) * CHUNK_ROWS
        values, present = np.zeros(rows, np.int64), np.zeros(rows, np.bool_)
        for start in range(0, rows, CHUNK_ROWS):
            self._c.tick()
            key = block_key(field_id, (first + start) // CHUNK_ROWS)
            chunk = self._c.txn.get(key, db=self._c.dbs[DB_COLUMNS])
            if chunk is not None:
                values[start : start + CHUNK_ROWS], mask = decode_chunk(chunk)
                present[start : start + CHUNK_ROWS] = mask != 0
        changed = self._changes.values_of(field_id)
        if changed is not None:
            lo, hi = bisect_left(changed.ordinals, first), bisect_left(changed.ordinals, end)
            places = changed.ordinals[lo:hi].astype(np.int64) - first
            values[places], present[places] = changed.values[lo:hi], changed.present[lo:hi]
        return values[: end - first], present[: end - first]

    def stored(self, field_id: int) -> npt.NDArray[np.uint64]:
        """shard << 32 | code of every posting that the base stores of a field, ascending."""
        keys = self._c.keys(DB_POSTINGS, posting_key(field_id, 0, 0)[:2])
        parts = (split_posting_key(key) for key in keys if len(key) == 8)
        return np.sort(np.fromiter((shard << 32 | code for _, code, shard in parts), np.uint64))

    def codes(self, field_id: int, shard: int, stored: npt.NDArray[np.uint64]) -> Codes:
        """The codes whose postings have something stored, or changed, in a shard; `stored` is the field's."""
        lo, hi = np.searchsorted(stored, np.array([shard << 32, (shard + 1) << 32], np.uint64)).tolist()
        codes = [(stored[lo:hi] & np.uint64(0xFFFFFFFF)).astype(np.int64)]
        changes, here = self._changes, self._changes.keys_of(field_id)
        for listed, ends in ((changes.adds, changes.add_ends), (changes.removes, changes.remove_ends)):
            first = int(ends[here.start - 1]) if here.start else 0
            last = int(ends[here.stop - 1]) if here.stop > here.start else first
            hits = np.flatnonzero(listed[first:last] >> SHARD_BITS == shard) + first
            owners = here.start + np.unique(np.searchsorted(ends[here], hits, "right"))
            codes.append((changes.keys[owners] & np.uint64(0xFFFFFFFF)).astype(np.int64))
        return np.unique(np.concatenate(codes))


def _within(ordinals: Ordinals, shard: int) -> Ordinals:
    """Those of ascending ordinals that lie in a shard."""
    return ordinals[bisect_left(ordinals, shard << SHARD_BITS) : bisect_left(ordinals, (shard + 1) << SHARD_BITS)]


# --- contacts ---


def _contacts(c: Context, layered: _Layered) -> Iterator[str]:
    """Live contacts against ids, and what the system's other postings may hold."""
    codes = [code for code in (LIVE_CODE, *c.fields, *CHANNEL_FLAGS) if c.readable(DB_POSTINGS, SYSTEM_FIELD, code)]
    held = dict.fromkeys(codes, 0)
    for shard in layered.shards:
        found = {code: layered.bitmap(SYSTEM_FIELD, code, shard) for code in codes}
        for code, bitmap in found.items():
            held[code] += len(bitmap)
        if LIVE_CODE in found:
            live = found[LIVE_CODE]
            if c.readable(DB_STRINGS, IDS_TABLE):
                yield from _ids(c, layered, shard, live)
            for code, bitmap in found.items():
                outside = bitmap - live
                if outside:
                    yield (
                        f"posting of {c.value(SYSTEM_FIELD, code)}, shard {shard}: holds {len(outside)} contacts that"
                        f" are not live (first ordinal {outside.min()})"
                    )
        for channel in Channel:
            suppressed, flags = channel_code(channel, None), [channel_code(channel, flag) for flag in SUPPRESSING]
            if all(code in found for code in (suppressed, *flags)):
                problem = difference(found[suppressed], BitMap.union(*(found[flag] for flag in flags)))
                if problem:
                    what = f"posting of {c.value(SYSTEM_FIELD, suppressed)}, shard {shard}"
                    yield f"{what}: {problem}, compared with the flags that suppress"
    if c.readable(DB_COUNTS, SYSTEM_FIELD):
        for code in codes:
            counted = layered.snapshot.value_count(SYSTEM_FIELD, code)
            if counted != held[code]:
                yield f"{c.value(SYSTEM_FIELD, code)}: {counted} contacts are counted, and {held[code]} hold it"


def _ids(c: Context, layered: _Layered, shard: int, live: BitMap) -> Iterator[str]:
    """A contact is live exactly while it has an id: those of erased ones are blank."""
    first = shard << SHARD_BITS
    lengths = pc.binary_length(layered.snapshot.ids.slice(first, layered.end(shard))).to_numpy()
    problem = difference(live, bitmap_of((np.flatnonzero(lengths) + first).astype(np.uint32)))
    if problem:
        yield f"posting of {c.value(SYSTEM_FIELD, LIVE_CODE)}, shard {shard}: {problem}, compared with the ids"
    for at in np.flatnonzero(lengths > MAX_CONTACT_ID_BYTES).tolist():
        yield f"the id of ordinal {first + at} has {lengths[at]} bytes, over the limit of {MAX_CONTACT_ID_BYTES}"


# --- fields ---


def _single_valued(c: Context, layered: _Layered, field_id: int, field: Field) -> Iterator[str]:
    """A column against presence, and of categories, texts and bools against postings and counts."""
    if not c.readable(DB_COLUMNS, field_id):
        return
    coded = field.type in CODED or field.type is FieldType.BOOL
    size = _size(layered, field_id, field)
    if size is None:
        return
    counted, kept = _counted(c, layered, field_id, field, size)
    seen = np.zeros(size, np.int64)
    stored = layered.stored(field_id) if coded else np.zeros(0, np.uint64)
    for shard in layered.shards:
        values, present = layered.values(field_id, shard)
        rows = np.flatnonzero(present)
        ordinals = (rows + (shard << SHARD_BITS)).astype(np.uint32)
        yield from _presence(c, layered, field_id, shard, bitmap_of(ordinals), "the column")
        if not coded:
            continue
        codes = values[rows]
        bad = (codes < 0) | (codes >= size)
        for at in np.flatnonzero(bad).tolist():
            yield f"column of {c.name(field_id)}, ordinal {ordinals[at]}: code {codes[at]} is none of its {size} codes"
        order = np.argsort(codes[~bad], kind="stable")
        codes, ordinals = codes[~bad][order], ordinals[~bad][order]
        distinct, starts, numbers = np.unique(codes, return_index=True, return_counts=True)
        seen[distinct] += numbers
        if not c.readable(DB_POSTINGS, field_id):
            continue
        for code in _compared(np.union1d(layered.codes(field_id, shard, stored), distinct), kept).tolist():
            at = int(np.searchsorted(distinct, code))
            there = at < len(distinct) and int(distinct[at]) == code
            wanted = bitmap_of(ordinals[starts[at] : starts[at] + numbers[at]]) if there else BitMap()
            problem = difference(layered.bitmap(field_id, code, shard), wanted)
            if problem:
                yield f"posting of {c.value(field_id, code)}, shard {shard}: {problem}, compared with the column"
    yield from _count_problems(c, field_id, counted, seen)


def _tags(c: Context, layered: _Layered, field_id: int, field: Field) -> Iterator[str]:
    """The postings of tags against presence and counts."""
    if not c.readable(DB_POSTINGS, field_id):
        return
    size = _size(layered, field_id, field)
    if size is None:
        return
    counted, _ = _counted(c, layered, field_id, field, size)
    seen = np.zeros(size, np.int64)
    stored = layered.stored(field_id)
    for shard in layered.shards:
        some = BitMap()
        for code in layered.codes(field_id, shard, stored).tolist():
            bitmap = layered.bitmap(field_id, code, shard)
            some |= bitmap
            if code < size:
                seen[code] += len(bitmap)
        yield from _presence(c, layered, field_id, shard, some, "the tags")
    yield from _count_problems(c, field_id, counted, seen)


def _presence(c: Context, layered: _Layered, field_id: int, shard: int, wanted: BitMap, by: str) -> Iterator[str]:
    """The posting of those that have the field set."""
    if c.readable(DB_POSTINGS, SYSTEM_FIELD, field_id):
        problem = difference(layered.bitmap(SYSTEM_FIELD, field_id, shard), wanted)
        if problem:
            yield f"posting of {c.value(SYSTEM_FIELD, field_id)}, shard {shard}: {problem}, compared with {by}"


def _size(layered: _Layered, field_id: int, field: Field) -> int | None:
    """How many codes a field has; None where the state of its dictionary cannot be read."""
    if field.type is FieldType.BOOL:
        return 2
    if field.type not in CODED:
        return 0
    try:
        return len(layered.snapshot.table(field_id))
    except CorruptData:  # which `check_strings` names
        return None


def _compared(codes: Codes, kept: npt.NDArray[np.bool_] | None) -> Codes:
    """The codes whose postings are in use: where some are rare, those that are `kept`."""
    if kept is None:
        return codes
    return codes[kept[np.minimum(codes, len(kept) - 1)] & (codes < len(kept))] if len(kept) else codes[:0]


def _counted(
    c: Context, layered: _Layered, field_id: int, field: Field, size: int
) -> tuple[npt.NDArray[np.uint32] | None, npt.NDArray[np.bool_] | None]:
    """(contacts that are counted for each code, None where that cannot be read; of texts, which have postings)."""
    rare = field.type is FieldType.TEXT
    if not size or not c.readable(DB_COUNTS, field_id):
        return None, np.zeros(size, np.bool_) if rare else None
    if field.type is FieldType.BOOL:
        return np.array([layered.snapshot.value_count(field_id, code) for code in (0, 1)], np.uint32), None
    counted, kept = layered.snapshot.value_counts(field)
    return counted, kept if rare else None


def _count_problems(c: Context, field_id: int, counted: npt.NDArray[np.uint32] | None, seen: Codes) -> Iterator[str]:
    if counted is None:
        return
    c.tick()
    for code in np.flatnonzero(counted != seen).tolist():
        yield f"{c.value(field_id, code)}: {counted[code]} contacts are counted, and {seen[code]} hold it"
