"""Columns: one value a contact, in chunks of 16,384 ordinals with a zone map each.

What a value means is the field's type: minor units of a number, milliseconds of a timestamp, days of a date,
0 or 1 of a bool, a dictionary code of a category or a text. The codec is native (`segidx.kernels.columns`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from segidx.kernels.bitmaps import Column, CorruptColumn
from segidx.kernels.columns import CHUNK_ROWS, decode_chunk, encode_chunk, verify_chunk
from segidx.model.errors import CorruptData
from segidx.store.layout import Handle, Reader, Writer, block_key

Values = npt.NDArray[np.int64]
Present = npt.NDArray[np.bool_]


def open_column(txn: Reader, db: Handle, field: int, size: int) -> Column:
    """The column over ordinals 0 to size-1. It borrows LMDB's pages, like a posting (see `open_posting`)."""
    try:
        return Column([txn.get(block_key(field, chunk), db=db) for chunk in range(-(-size // CHUNK_ROWS))])
    except CorruptColumn as error:
        raise CorruptData(f"column of field {field}: {error}; restore from a backup") from error


def _chunk(txn: Reader, db: Handle, field: int, chunk: int) -> tuple[Values, npt.NDArray[np.uint8]]:
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


def change_column(
    txn: Writer, db: Handle, field: int, ordinals: npt.NDArray[np.uint32], values: Values, present: Present
) -> tuple[Values, Present]:
    """Set the values of distinct ascending `ordinals` (missing where not `present`).

    Returns (values, present) of the same ordinals as they were before.
    """
    before = np.zeros(len(ordinals), np.int64)
    had = np.zeros(len(ordinals), np.bool_)
    chunks = ordinals // CHUNK_ROWS
    for chunk in np.unique(chunks).tolist():
        lo, hi = np.searchsorted(chunks, [chunk, chunk + 1])
        stored, mask = _chunk(txn, db, field, chunk)
        within = ordinals[lo:hi].astype(np.int64) - chunk * CHUNK_ROWS
        before[lo:hi] = stored[within]
        had[lo:hi] = mask[within] != 0
        stored[within] = values[lo:hi]
        mask[within] = present[lo:hi]
        key = block_key(field, chunk)
        if mask.any():
            txn.put(key, encode_chunk(stored, mask), db=db)
        else:
            txn.delete(key, db=db)
    return before, had


def scan_column(txn: Reader, db: Handle, field: int, size: int) -> Iterator[tuple[int, Values, Present]]:
    """(first ordinal, values, present) of every stored chunk of ordinals 0 to size-1; copies."""
    for chunk in range(-(-size // CHUNK_ROWS)):
        if txn.get(block_key(field, chunk), db=db) is not None:
            values, mask = _chunk(txn, db, field, chunk)
            yield chunk * CHUNK_ROWS, values, mask != 0
