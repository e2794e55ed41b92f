"""Postings: the stored bitmap of one (field, code), one value a shard, in the portable Roaring format.

Reading hands LMDB's own pages to the kernels, zero copy. Writing is the writer's only; it builds with pyroaring.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.kernels.bitmaps import CorruptPosting, Posting
from segidx.kernels.grouping import group_pairs
from segidx.model.errors import CorruptData
from segidx.store.layout import (
    HEADER_BYTES,
    KIND_POSTING,
    SHARD_BITS,
    Handle,
    Reader,
    Writer,
    open_value,
    posting_key,
    seal,
)

Ordinals = npt.NDArray[np.uint32]
Codes = npt.NDArray[np.int64]


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
    what = f"posting of field {field}, code {code}, shard {shard}"
    cardinality, payload = open_value(KIND_POSTING, value, what, checksum=True)
    try:
        bitmap = BitMap.deserialize(bytes(payload))
    except ValueError as error:
        raise CorruptData(f"{what}: {error}; restore from a backup") from error
    if len(bitmap) != cardinality:
        raise CorruptData(f"{what}: holds {len(bitmap)} contacts where its header says {cardinality}")
    return bitmap


def write_shard(txn: Writer, db: Handle, field: int, code: int, shard: int, bitmap: BitMap) -> None:
    """Store one shard of a posting; an empty one is deleted."""
    key = posting_key(field, code, shard)
    if not bitmap:
        txn.delete(key, db=db)
        return
    bitmap.run_optimize()
    txn.put(key, seal(KIND_POSTING, len(bitmap), bitmap.serialize()), db=db)


def bitmap_of(ordinals: Ordinals) -> BitMap:
    """A bitmap of ordinals (u32, any order)."""
    # An array.array is the only buffer that pyroaring takes whole; numpy arrays it would read one by one.
    return BitMap(array("I", np.ascontiguousarray(ordinals, np.uint32).tobytes()))


def groups(codes: Codes, ordinals: Ordinals) -> Iterator[tuple[int, int, Ordinals]]:
    """(code, shard, ascending ordinals) of pairs in any order, in key order. Pairs must be distinct."""
    if not len(codes):
        return
    codes, ordinals = group_pairs(codes, ordinals)
    shards = ordinals >> SHARD_BITS
    starts = np.flatnonzero(np.r_[True, (codes[1:] != codes[:-1]) | (shards[1:] != shards[:-1])])
    ends = np.r_[starts[1:], len(codes)]
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        yield int(codes[start]), int(shards[start]), ordinals[start:end]


def change_postings(
    txn: Writer,
    db: Handle,
    field: int,
    added: tuple[Codes, Ordinals],
    removed: tuple[Codes, Ordinals],
) -> None:
    """Add and remove (code, ordinal) pairs. A pair is never in both; each list holds a pair once."""
    gone = {(code, shard): ordinals for code, shard, ordinals in groups(*removed)}
    for code, shard, ordinals in groups(*added):
        bitmap = read_shard(txn, db, field, code, shard)
        less = gone.pop((code, shard), None)
        if less is not None:
            bitmap -= bitmap_of(less)
        new = bitmap_of(ordinals)
        write_shard(txn, db, field, code, shard, bitmap | new if bitmap else new)
    for (code, shard), ordinals in gone.items():
        bitmap = read_shard(txn, db, field, code, shard)
        write_shard(txn, db, field, code, shard, bitmap - bitmap_of(ordinals))
