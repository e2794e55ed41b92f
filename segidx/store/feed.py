"""The change feed: which contacts each commit changed, and in what way, kept for a while after the log is gone.

A generation is one or several values under (generation, part): version u8, whether it is the last part u8, two zero
bytes, CRC-32 of what follows it u32, time of the commit (ms since 1970) i64, contacts u32, 0 u32, the ordinals (u32
each, ascending within the part) and one byte of kinds each: bit 0 created, 1 fields, 2 tags, 3 channels, 4 events.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import lmdb
import numpy as np
import numpy.typing as npt

from segidx.model.errors import CorruptData
from segidx.model.writes import ChangeKind
from segidx.store.layout import Handle, Writer, part_key, split_part_key

RETAINED_MILLIS = 24 * 3_600_000
RETAINED_BYTES = 256 << 20  # of pages: 2.5 million contacts a minute for 20 minutes, or a day of far fewer
_PART_CONTACTS = 24_000  # 120 KB a part
_HEADER = struct.Struct("<BB2sIqII")
_SUM_FROM = 8
_VERSION = 1

KIND_BITS = {kind: 1 << i for i, kind in enumerate(ChangeKind)}
KINDS = [frozenset(k for k, bit in KIND_BITS.items() if bits & bit) for bits in range(1 << len(KIND_BITS))]


@dataclass(frozen=True, slots=True)
class FeedPart:
    """`kinds` are sums of KIND_BITS, one an ordinal."""

    generation: int
    time: int
    ordinals: npt.NDArray[np.uint32]
    kinds: npt.NDArray[np.uint8]
    last: bool


def append_changes(
    txn: Writer,
    db: Handle,
    generation: int,
    time: int,
    ordinals: npt.NDArray[np.uint32],
    kinds: npt.NDArray[np.uint8],
) -> None:
    """Append what a commit changed; `ordinals` ascend."""
    starts = range(0, max(1, len(ordinals)), _PART_CONTACTS)
    for part, start in enumerate(starts):
        some, of = ordinals[start : start + _PART_CONTACTS], kinds[start : start + _PART_CONTACTS]
        head = _HEADER.pack(_VERSION, part == len(starts) - 1, b"", 0, time, len(some), 0)
        body = head[_SUM_FROM:] + some.astype("<u4").tobytes() + of.tobytes()
        value = head[:4] + struct.pack("<I", zlib.crc32(body)) + body
        txn.put(part_key(generation, part), value, append=True, db=db)


def read_changes(txn: lmdb.Transaction, db: Handle, after: int) -> Iterator[FeedPart]:
    """The parts of the generations behind `after`, in order. Raises CorruptData."""
    with txn.cursor(db) as cursor:
        there = cursor.set_range(part_key(after + 1, 0))
        while there:
            generation, _ = split_part_key(cursor.key())
            yield _decode(generation, bytes(cursor.value()))
            there = cursor.next()


def _decode(generation: int, value: bytes) -> FeedPart:
    what = f"the changes of generation {generation}"
    try:
        version, last, _, crc, time, count, _ = _HEADER.unpack_from(value)
        if version != _VERSION or len(value) != _HEADER.size + 5 * count or zlib.crc32(value[_SUM_FROM:]) != crc:
            raise CorruptData(f"{what} fail their checksum; restore from a backup")
        ordinals = np.frombuffer(value, "<u4", count, _HEADER.size)
        kinds = np.frombuffer(value, "u1", count, _HEADER.size + 4 * count)
        return FeedPart(generation, time, ordinals, kinds, bool(last))
    except struct.error as error:
        raise CorruptData(f"{what} cannot be read ({error}); restore from a backup") from error


def oldest_change(txn: lmdb.Transaction, db: Handle) -> int | None:
    """The oldest generation whose changes are all kept, or None when none are."""
    with txn.cursor(db) as cursor:
        if not cursor.first():
            return None
        generation, part = split_part_key(cursor.key())
        return generation if part == 0 else generation + 1


def trim_changes(txn: lmdb.Transaction, db: Handle, now: int, most: int) -> bool:
    """Delete at most `most` of the oldest parts: those too old, and those too many; whether none of them is left."""
    stat = txn.stat(db)
    # Pages are given back as parts go; by the average that is near enough.
    pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
    beyond: float = max(0, pages * stat["psize"] - RETAINED_BYTES)
    part_bytes = pages * stat["psize"] / max(1, stat["entries"])
    with txn.cursor(db) as cursor:
        for _ in range(most):
            if not cursor.first():
                return True
            generation, _ = split_part_key(cursor.key())
            time = _decode(generation, bytes(cursor.value())).time
            if beyond <= 0 and time > now - RETAINED_MILLIS:
                return True
            cursor.delete()
            beyond -= part_bytes
    return False
