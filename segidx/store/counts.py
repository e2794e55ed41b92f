"""How many contacts hold each value of a field: blocks of 4,096 codes, one u32 a code.

These are the exact cardinalities that plans are costed with and that suggestions show. The top bit of an entry says
that the value has postings; values of text fields below a frequency have none (see docs/adr/003-text-postings.md).
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from segidx.model.errors import CorruptData
from segidx.store.layout import HEADER_BYTES, KIND_COUNTS, Handle, Reader, block_key, open_value, seal

BLOCK_CODES = 4096
HAS_POSTING = 1 << 31
_ENTRY = struct.Struct("<I")
_BYTES = BLOCK_CODES * _ENTRY.size

Counts = npt.NDArray[np.uint32]


def _payload(txn: Reader, db: Handle, field: int, block: int, *, checksum: bool = False) -> memoryview | None:
    value = txn.get(block_key(field, block), db=db)
    if value is None:
        return None
    _, payload = open_value(KIND_COUNTS, value, f"counts of field {field}, block {block}", checksum=checksum)
    if len(payload) != _BYTES:
        raise CorruptData(f"counts of field {field}, block {block}: {len(payload)} bytes instead of {_BYTES}")
    return payload


def read_entry(txn: Reader, db: Handle, field: int, code: int) -> tuple[int, bool]:
    """(contacts that hold the value, whether it has postings) of one code."""
    payload = _payload(txn, db, field, code // BLOCK_CODES)
    if payload is None:
        return 0, False
    entry = _ENTRY.unpack_from(payload, code % BLOCK_CODES * _ENTRY.size)[0]
    return entry & ~HAS_POSTING, bool(entry & HAS_POSTING)


def read_block(txn: Reader, db: Handle, field: int, block: int, *, checksum: bool = False) -> Counts:
    """A copy of the 4,096 raw entries of a block (zeros where it is absent)."""
    payload = _payload(txn, db, field, block, checksum=checksum)
    return np.zeros(BLOCK_CODES, np.uint32) if payload is None else np.frombuffer(payload, "<u4").astype(np.uint32)


def read_entries(txn: Reader, db: Handle, field: int, size: int) -> tuple[Counts, npt.NDArray[np.bool_]]:
    """(counts u32[size], has-posting bool[size]) of codes 0 to size-1; copies."""
    blocks = [read_block(txn, db, field, b) for b in range(-(-size // BLOCK_CODES))]
    raw = np.concatenate(blocks)[:size] if blocks else np.zeros(0, np.uint32)
    return raw & np.uint32(HAS_POSTING - 1), (raw & np.uint32(HAS_POSTING)) != 0


def read_many(
    txn: Reader, db: Handle, field: int, codes: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """(contacts i64[n], whether a posting is kept bool[n]) of ascending codes."""
    raw = np.zeros(len(codes), np.uint32)
    blocks = codes // BLOCK_CODES
    for block in np.unique(blocks).tolist():
        payload = _payload(txn, db, field, block)
        if payload is not None:
            lo, hi = np.searchsorted(blocks, [block, block + 1])
            raw[lo:hi] = np.frombuffer(payload, "<u4")[codes[lo:hi] - block * BLOCK_CODES]
    return (raw & np.uint32(HAS_POSTING - 1)).astype(np.int64), (raw & np.uint32(HAS_POSTING)) != 0


def changed_block(
    txn: Reader,
    db: Handle,
    field: int,
    block: int,
    codes: npt.NDArray[np.int64],
    held: npt.NDArray[np.int64],
    kept: npt.NDArray[np.bool_],
) -> bytes:
    """The block with the counts of its distinct `codes` set to `held`, and flags as `kept` says or as they were."""
    entries = read_block(txn, db, field, block, checksum=True)  # never build on damage
    within = codes - block * BLOCK_CODES
    flags = (entries[within] & np.uint32(HAS_POSTING)) | np.where(kept, HAS_POSTING, 0).astype(np.uint32)
    entries[within] = held.astype(np.uint32) | flags
    in_use = int(np.count_nonzero(entries & np.uint32(HAS_POSTING - 1)))
    return seal(KIND_COUNTS, in_use, entries.astype("<u4").tobytes())


assert HEADER_BYTES + _BYTES < 32 << 10  # small enough to rewrite with a batch
