"""Columns: one value a contact, in chunks of 16,384 ordinals with a zone map each.

What a value means is the field's type: minor units of a number, milliseconds of a timestamp, days of a date,
0 or 1 of a bool, a dictionary code of a category or a text. The codec is native (`segidx.kernels.columns`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import lmdb
import numpy as np
import numpy.typing as npt

from segidx.kernels.bitmaps import Column, CorruptColumn
from segidx.kernels.columns import CHUNK_ROWS, decode_chunk, encode_chunk, verify_chunk
from segidx.kernels.deltas import ColumnChanges
from segidx.model.errors import CorruptData
from segidx.store.layout import Handle, Reader, block_key, split_block_key

Values = npt.NDArray[np.int64]
Present = npt.NDArray[np.bool_]


def open_column(txn: Reader, db: Handle, field: int, size: int) -> Column:
    """The column over ordinals 0 to size-1. It borrows LMDB's pages, like a posting (see `open_posting`)."""
    try:
        return Column([txn.get(block_key(field, chunk), db=db) for chunk in range(-(-size // CHUNK_ROWS))])
    except CorruptColumn as error:
        raise CorruptData(f"column of field {field}: {error}; restore from a backup") from error


def read_chunk(txn: Reader, db: Handle, field: int, chunk: int) -> tuple[Values, npt.NDArray[np.uint8]]:
    """A copy of a chunk, its checksum verified: nothing is ever built on damaged bytes."""
    value = txn.get(block_key(field, chunk), db=db)
    if value is None:
        return np.zeros(CHUNK_ROWS, np.int64), np.zeros(CHUNK_ROWS, np.uint8)
    problem = verify_chunk(value)
    if problem is not None:
        raise CorruptData(f"column of field {field}, chunk {chunk}: {problem}; restore from a backup")
    try:
        return decode_chunk(value)
    except CorruptColumn as error:
        raise CorruptData(f"column of field {field}, chunk {chunk}: {error}; restore from a backup") from error


def changed_chunk(
    txn: Reader, db: Handle, field: int, chunk: int, rows: npt.NDArray[np.int64], values: Values, present: Present
) -> bytes | None:
    """The chunk with the values of its distinct `rows` set (missing where not `present`); None when it has no value."""
    stored, mask = read_chunk(txn, db, field, chunk)
    stored[rows] = values
    mask[rows] = present
    return encode_chunk(stored, mask) if mask.any() else None


def read_cells(txn: Reader, db: Handle, field: int, ordinals: npt.NDArray[np.int64]) -> tuple[Values, Present]:
    """(values, present) of ordinals in any order, from verified chunks; a value is 0 where there is none."""
    values, present = np.zeros(len(ordinals), np.int64), np.zeros(len(ordinals), np.bool_)
    if not len(ordinals):
        return values, present
    chunks = ordinals // CHUNK_ROWS
    order = np.argsort(chunks, kind="stable")
    chunks = chunks[order]
    starts = np.flatnonzero(np.diff(chunks, prepend=-1))
    for chunk, here in zip(chunks[starts].tolist(), np.split(order, starts[1:]), strict=True):
        stored, mask = read_chunk(txn, db, field, chunk)
        rows = ordinals[here] - chunk * CHUNK_ROWS
        present[here] = mask[rows] != 0
        values[here] = np.where(present[here], stored[rows], 0)
    return values, present


def column_bounds(
    txn: Reader, db: Handle, field: int, column: Column, changes: Sequence[ColumnChanges]
) -> tuple[int | None, int | None]:
    """(least, greatest) value of a column under the `changes` of its field, those of its layers."""
    low = _end(txn, db, field, column, changes, least=True)
    high = _end(txn, db, field, column, changes, least=False)
    if low is not None and high is not None:
        return low, high
    return _searched_bounds(txn, db, field, column, np.sort(np.concatenate([c.ordinals for c in changes])))


# Rows looked at for whether they still have the value.
_TRIED = 4096


def _end(
    txn: Reader, db: Handle, field: int, column: Column, changes: Sequence[ColumnChanges], *, least: bool
) -> int | None:
    """The least or the greatest value, if a row is soon found that has what zones and changes allow at most; else None.
    Where contacts are many, some row has."""
    pick = min if least else max
    zones = {chunk: zone[0 if least else 1] for chunk in range(len(column)) if (zone := column.zone(chunk)) is not None}
    given = [c.values[c.present] for c in changes]
    ends = [*zones.values(), *(int(v.min() if least else v.max()) for v in given if len(v))]
    if not ends:
        return None
    end = pick(ends)
    rows = [c.ordinals[c.present & (c.values == end)][:_TRIED] for c in reversed(changes)]
    for chunk in (c for c, value in zones.items() if value == end):
        if sum(map(len, rows)) >= _TRIED:
            break
        stored, mask = read_chunk(txn, db, field, chunk)
        rows.append((np.flatnonzero((stored == end) & (mask != 0)) + chunk * CHUNK_ROWS).astype(np.uint32))
    values, present = column.take(np.unique(np.concatenate(rows)))
    return end if bool((np.asarray(present, np.bool_) & (np.asarray(values) == end)).any()) else None


def _searched_bounds(
    txn: Reader, db: Handle, field: int, column: Column, touched: npt.NDArray[np.uint32]
) -> tuple[int | None, int | None]:
    """The same from all that the deltas touch, ascending, repeats allowed.

    Decodes only the chunks whose zone may hold a value that is the least or the greatest.
    """
    values, present = column.take(touched)
    newest = np.asarray(values)[np.asarray(present) != 0]
    low = int(newest.min()) if len(newest) else None
    high = int(newest.max()) if len(newest) else None
    chunks = touched // CHUNK_ROWS
    starts = np.searchsorted(chunks, np.arange(len(column) + 1))
    for chunk in range(len(column)):
        zone = column.zone(chunk)
        if zone is None or (low is not None and high is not None and zone[0] >= low and zone[1] <= high):
            continue
        least, most = zone[:2]
        rows = touched[starts[chunk] : starts[chunk + 1]]
        if len(rows):
            stored, mask = read_chunk(txn, db, field, chunk)
            mask[rows.astype(np.int64) - chunk * CHUNK_ROWS] = 0
            if not mask.any():
                continue
            left = stored[mask != 0]
            least, most = int(left.min()), int(left.max())
        low = least if low is None else min(low, least)
        high = most if high is None else max(high, most)
    return low, high


def scan_column(txn: lmdb.Transaction, db: Handle, field: int) -> Iterator[tuple[int, Values, Present]]:
    """(first ordinal, values, present) of every stored chunk of a field; copies."""
    for chunk in stored_chunks(txn, db, field):
        values, mask = read_chunk(txn, db, field, chunk)
        yield chunk * CHUNK_ROWS, values, mask != 0


def has_column(txn: lmdb.Transaction, db: Handle, field: int) -> bool:
    """Whether any row of a field has a value."""
    with txn.cursor(db) as cursor:
        return bool(cursor.set_range(block_key(field, 0))) and split_block_key(cursor.key())[0] == field


def stored_chunks(txn: lmdb.Transaction, db: Handle, field: int) -> list[int]:
    """The numbers of a field's stored chunks, ascending."""
    with txn.cursor(db) as cursor:
        found = []
        there = cursor.set_range(block_key(field, 0))
        while there:
            owner, chunk = split_block_key(cursor.key())
            if owner != field:
                break
            found.append(chunk)
            there = cursor.next()
        return found
