"""Columns of derived numbers: each chunk against what the events in the blocks of its range come to, with what
its opening balance holds of those that are dropped; and the bitmaps of their bands against the columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.kernels.columns import CHUNK_ROWS, decode_chunk
from segidx.model.derived import value_text
from segidx.model.errors import CorruptData
from segidx.store.bands import CHUNKS, band_key, new_value, stored_places
from segidx.store.columns import read_chunk, stored_chunks
from segidx.store.derived import Maintained, NumberTooLarge, add_opening
from segidx.store.event_blocks import LAST_MONTH
from segidx.store.layout import (
    CONTAINER_BITS,
    DB_COLUMNS,
    DB_EVENTS,
    DB_POSTINGS,
    HEADER_BYTES,
    balance_column,
    block_key,
    derived_column,
    split_block_key,
)
from segidx.store.snapshot import Snapshot
from segidx.store.verify.context import Context, difference

Numbers = npt.NDArray[np.int64]


def check_derived(c: Context, snapshot: Snapshot, maintained: Iterable[Maintained]) -> Iterator[str]:
    """`maintained` are the columns that follow, bound to the snapshot."""
    for each in maintained:
        if c.readable(DB_COLUMNS, derived_column(each.kept.number)) and c.readable(DB_EVENTS, each.type.number):
            yield from _check_column(c, snapshot, each)
            if each.thresholds is not None and c.readable(DB_POSTINGS, derived_column(each.kept.number)):
                yield from _check_bands(c, each, each.thresholds)


def _check_column(c: Context, snapshot: Snapshot, column: Maintained) -> Iterator[str]:
    kept = column.kept
    field = derived_column(kept.number)
    prefix = block_key(field, 0)[:4]
    stored = {split_block_key(key)[1] for key in c.keys(DB_COLUMNS, prefix) if len(key) == 8}
    try:
        months = snapshot.event_months(column.type, 0, LAST_MONTH)
    except CorruptData:
        return  # which `check_events` names
    last = max((month.last for month in months), default=-1)
    dropped: list[int] = []
    if column.opening is not None:
        if not c.readable(DB_COLUMNS, balance_column(column.opening)):
            return
        dropped = stored_chunks(c.txn, c.dbs[DB_COLUMNS], balance_column(column.opening))
    for ordinals in sorted({*range(last + 1), *stored, *dropped}):
        c.tick()
        what = f"{value_text(kept.value)}, chunk {ordinals}"
        if not kept.has(ordinals):
            if ordinals in stored:
                yield f"{what} is stored, and the column is built up to {kept.built}"
            continue
        values, present = np.zeros(CHUNK_ROWS, np.int64), np.zeros(CHUNK_ROWS, np.uint8)
        if ordinals in stored:
            values, present = decode_chunk(c.value_of(DB_COLUMNS, block_key(field, ordinals)))
        try:
            owners, numbers = column.collected(months, (), (ordinals, ordinals + 1))
        except NumberTooLarge:
            yield f"{what} is kept, though a contact's is more than a column holds"
            continue
        wanted, held = np.zeros(CHUNK_ROWS, np.int64), np.zeros(CHUNK_ROWS, np.uint8)
        rows = owners.astype(np.int64) - ordinals * CHUNK_ROWS
        wanted[rows], held[rows] = numbers, 1
        try:
            add_opening(column, c.txn, c.dbs[DB_COLUMNS], ordinals, wanted, held)
        except NumberTooLarge:
            yield f"{what} is kept, though a contact's is more than a column holds"
            continue
        there = held != 0
        wrong = np.flatnonzero((there != (present != 0)) | (there & (wanted != values)))
        if len(wrong):
            row = int(wrong[0])
            says, come_to = (
                str(number[row]) if has[row] else "nothing" for number, has in ((values, present), (wanted, there))
            )
            yield (
                f"{what} differs from the events of {len(wrong)} contacts (ordinal {ordinals * CHUNK_ROWS + row}:"
                f" says {says}, and they come to {come_to})"
            )


def _check_bands(c: Context, column: Maintained, thresholds: Numbers) -> Iterator[str]:
    kept, bands = column.kept, column.kept.bands
    assert bands is not None
    field, db = derived_column(kept.number), c.dbs[DB_COLUMNS]
    stored = set(stored_places(c.txn, c.dbs[DB_POSTINGS], kept.number))
    for place in sorted(stored.union(chunk // CHUNKS for chunk in stored_chunks(c.txn, db, field))):
        c.tick()
        what = f"bands of {value_text(kept.value)}, contacts {place}"
        if not bands.has(place * CHUNKS):
            if place in stored:
                yield f"{what} are stored, and they are built up to {bands.built}"
            continue
        chunks = [read_chunk(c.txn, db, field, place * CHUNKS + chunk) for chunk in range(CHUNKS)]
        wanted = new_value(thresholds, *(np.concatenate(each) for each in zip(*chunks, strict=True)))
        found = _members(c.value_of(DB_POSTINGS, band_key(kept.number, place)) if place in stored else None)
        if found != _members(wanted):
            names = ("below " + str(bands.thresholds[0]), *map("from {} on".format, bands.thresholds))
            for piece, name in enumerate(names):
                problem = difference(*(_contacts(each, piece, place) for each in (found, _members(wanted))))
                if problem:
                    yield f"{what}, {name}: {problem}"


def _members(value: bytes | memoryview | None) -> BitMap:
    """By piece << 16 | low half of the ordinal."""
    return BitMap() if value is None else BitMap.deserialize(bytes(value)[HEADER_BYTES:])


def _contacts(members: BitMap, piece: int, place: int) -> BitMap:
    first, end = piece << CONTAINER_BITS, piece + 1 << CONTAINER_BITS
    return BitMap(place << CONTAINER_BITS | each - first for each in members & BitMap(range(first, end)))
