"""Columns of derived numbers: each chunk against what the events in the blocks of its range come to, with what
its opening balance holds of those that are dropped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from segidx.kernels.columns import CHUNK_ROWS, decode_chunk
from segidx.model.derived import value_text
from segidx.model.errors import CorruptData
from segidx.store.columns import stored_chunks
from segidx.store.derived import Maintained, NumberTooLarge, add_opening
from segidx.store.event_blocks import LAST_MONTH
from segidx.store.layout import DB_COLUMNS, DB_EVENTS, balance_column, block_key, derived_column, split_block_key
from segidx.store.snapshot import Snapshot
from segidx.store.verify.context import Context


def check_derived(c: Context, snapshot: Snapshot, maintained: Iterable[Maintained]) -> Iterator[str]:
    """`maintained` are the columns that follow, bound to the snapshot."""
    for each in maintained:
        if c.readable(DB_COLUMNS, derived_column(each.kept.number)) and c.readable(DB_EVENTS, each.type.number):
            yield from _check_column(c, snapshot, each)


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
