"""Postings: the stored bitmap of one (field, code), one value a shard, in the portable Roaring format.

Reading hands LMDB's own pages to the kernels, zero copy. New values are built with pyroaring.
"""

from __future__ import annotations

from array import array

import lmdb
import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.kernels.bitmaps import CorruptPosting, Posting
from segidx.kernels.deltas import changed_bitmap
from segidx.model.errors import CorruptData
from segidx.store.layout import (
    HEADER_BYTES,
    KIND_POSTING,
    Handle,
    Reader,
    open_value,
    posting_key,
    seal,
    split_posting_key,
)

Ordinals = npt.NDArray[np.uint32]

# Stored values up to this size are tried as lists of ordinals first.
_SMALL_BYTES = 8 << 10


def open_posting(txn: Reader, db: Handle, field: int, code: int, shards: int) -> Posting:
    """The posting over shards 0 to shards-1; empty where nothing is stored.

    It borrows LMDB's pages: valid only while a read transaction of the same transaction id is open.
    """
    parts = []
    for shard in range(shards):
        value = txn.get(posting_key(field, code, shard), db=db)
        if value is not None:
            parts.append(value)
    try:
        return Posting(parts, skip=HEADER_BYTES)
    except CorruptPosting as error:
        raise CorruptData(f"posting of field {field}, code {code}: {error}; restore from a backup") from error


def read_shard(txn: Reader, db: Handle, field: int, code: int, shard: int) -> BitMap:
    """A copy of one shard of a posting, its checksum verified."""
    value = txn.get(posting_key(field, code, shard), db=db)
    if value is None:
        return BitMap()
    return _bitmap(value, f"posting of field {field}, code {code}, shard {shard}")


def _bitmap(value: memoryview | bytes, what: str) -> BitMap:
    cardinality, payload = open_value(KIND_POSTING, value, what, checksum=True)
    try:
        bitmap = BitMap.deserialize(bytes(payload))
    except ValueError as error:
        raise CorruptData(f"{what}: {error}; restore from a backup") from error
    if len(bitmap) != cardinality:
        raise CorruptData(f"{what}: holds {len(bitmap)} contacts where its header says {cardinality}")
    return bitmap


def changed_shard(
    txn: Reader, db: Handle, field: int, code: int, shard: int, added: Ordinals, removed: Ordinals
) -> bytes | None:
    """The stored value of one shard after ascending ordinals were added and removed; None when it is empty then."""
    value = txn.get(posting_key(field, code, shard), db=db)
    what = f"posting of field {field}, code {code}, shard {shard}"
    if value is not None and len(value) <= _SMALL_BYTES:
        # Most values of most fields are held by few: their change should cost no more than reading them.
        cardinality, payload = open_value(KIND_POSTING, value, what, checksum=True)
        try:
            changed = changed_bitmap(payload, added, removed)
        except CorruptPosting as error:
            raise CorruptData(f"{what}: {error}; restore from a backup") from error
        if changed is not None:
            before, after, data = changed
            if before != cardinality:
                raise CorruptData(f"{what}: holds {before} contacts where its header says {cardinality}")
            return seal(KIND_POSTING, after, data) if after else None
    bitmap = BitMap() if value is None else _bitmap(value, what)
    if len(removed):
        bitmap -= bitmap_of(removed)
    if len(added):
        bitmap |= bitmap_of(added)
    return shard_value(bitmap)


def shard_value(bitmap: BitMap) -> bytes | None:
    """The stored value of one shard's bitmap; None for an empty one, which is not stored."""
    if not bitmap:
        return None
    bitmap.run_optimize()
    return seal(KIND_POSTING, len(bitmap), bitmap.serialize())


def stored_shards(txn: lmdb.Transaction, db: Handle, field: int, code: int) -> list[int]:
    """The shards of a posting that are stored, ascending."""
    found = []
    with txn.cursor(db) as cursor:
        there = cursor.set_range(posting_key(field, code, 0))
        while there:
            owner, value, shard = split_posting_key(cursor.key())
            if (owner, value) != (field, code):
                break
            found.append(shard)
            there = cursor.next()
    return found


def bitmap_of(ordinals: Ordinals) -> BitMap:
    """A bitmap of ordinals (u32, any order)."""
    # An array.array is the only buffer that pyroaring takes whole; numpy arrays it would read one by one.
    return BitMap(array("I", np.ascontiguousarray(ordinals, np.uint32).tobytes()))
