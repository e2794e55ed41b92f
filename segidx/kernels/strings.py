"""The string table's kernels: hash, look up, pack and unpack strings in bulk, arrays and buffers in and out.

The typed face of the native module `_strings` (src/strings.pyx and src/st_*.c, which describe the formats).
Imports nothing of segidx but that module, and does no I/O: stored values come in as buffers, in the order of the
`ids` they belong to (None where nothing is stored), and new values go out as bytes.

Buffers are read in place during a call and not kept; whatever is returned is a copy. Stored bytes are never
trusted: whatever a function touches is bounds-checked, and damage raises `CorruptStrings`.

A lookup goes: `Batch.of` -> `Batch.hash` -> `by_bucket` -> (fetch buckets) -> `probe` -> `by_block` -> (fetch
blocks) -> `match`. An insertion goes on with `assign_codes`, `pack_blocks`, `gather` and `build_buckets`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segidx.kernels import _strings
from segidx.kernels._strings import BLOCK, MAX_STRING, CorruptStrings, Seen, crc32, siphash, utf8_valid

__all__ = [
    "BLOCK",
    "MAX_STRING",
    "Batch",
    "CorruptStrings",
    "Places",
    "Seen",
    "assign_codes",
    "blank_block",
    "build_buckets",
    "by_block",
    "by_bucket",
    "by_code",
    "check_block",
    "check_bucket",
    "crc32",
    "entries_of",
    "first_invalid",
    "gather",
    "holds_one",
    "match",
    "pack_blocks",
    "place_one",
    "place_range",
    "places_of",
    "probe",
    "probe_one",
    "read",
    "read_one",
    "read_slice",
    "remove_entries",
    "siphash",
    "utf8_valid",
]

HASH_MASK = 2**64 - 1
NO_ENTRY = np.uint64(2**64 - 1)  # what entries_of gives for a code that has none

# A bucket is known by its place: the lowest fingerprint at home in it (src/st_bucket.h).
# These functions need no dressing; _strings.pyi has their types and src/strings.pyx their meaning.
place_one = _strings.place_one
place_range = _strings.place_range
places_of = _strings.places_of
probe_one = _strings.probe_one
read_one = _strings.read_one
holds_one = _strings.holds_one
blank_block = _strings.blank_block
remove_entries = _strings.remove_entries
check_block = _strings.check_block
check_bucket = _strings.check_bucket


@dataclass(frozen=True, slots=True)
class Batch:
    """Strings in Arrow's layout: string i is data[offsets[i]:offsets[i + 1]].

    data: uint8, offsets: int64[n + 1], valid: uint8[n] with 0 for null, or None when there are no nulls.
    Borrows the Arrow array's memory and keeps it alive.
    """

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    valid: NDArray[np.uint8] | None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @staticmethod
    def of(strings: pa.Array | pa.ChunkedArray) -> Batch:
        """From a (large_)string, (large_)binary, string view, dictionary or null array, chunked or not.

        Raises TypeError for another type and ValueError for offsets that leave the data.
        """
        if isinstance(strings, pa.ChunkedArray):
            strings = strings.combine_chunks()
            if isinstance(strings, pa.ChunkedArray):  # too large for 32-bit offsets: Arrow left it in chunks
                strings = strings.cast(pa.large_binary()).combine_chunks()
        kind = strings.type
        if pa.types.is_dictionary(kind):
            return Batch.of(strings.dictionary_decode())
        if pa.types.is_null(kind) or pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
            return Batch.of(strings.cast(pa.large_binary()))
        if pa.types.is_string(kind) or pa.types.is_binary(kind):
            width: Any = np.int32
        elif pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
            width = np.int64
        else:
            raise TypeError(f"strings are expected, not {kind}")
        n, first = len(strings), strings.offset
        _, offset_buffer, data_buffer = strings.buffers()
        if n == 0:
            return Batch(np.empty(0, np.uint8), np.zeros(1, np.int64), None)
        offsets = np.frombuffer(offset_buffer, width)[first : first + n + 1].astype(np.int64)
        if data_buffer is None or data_buffer.size == 0:
            data = np.empty(0, np.uint8)
        else:
            data = np.frombuffer(data_buffer, np.uint8)
        valid = None
        if strings.null_count:
            valid = strings.is_valid().to_numpy(zero_copy_only=False).astype(np.uint8)
        bad = _strings.check_offsets(offsets, len(data))
        if bad >= 0:
            raise ValueError(f"string {bad} of the array lies outside its data")
        return Batch(data, offsets, valid)

    def hash(self, key: bytes, mask: int = HASH_MASK) -> NDArray[np.uint64]:
        """SipHash-1-3 of each string under a 16-byte key, AND mask; uint64[n], 0 for nulls."""
        return _strings.hash_batch(self.data, self.offsets, self.valid, key, mask)


@dataclass(frozen=True, slots=True)
class Places:
    """Queries in the order of the values they need.

    keys: uint64, the low 32 bits an index into the queries; ids: uint32[k], the places of buckets, or the
    numbers of blocks, ascending;
    starts: int64[k + 1]: the queries of ids[g] are keys[starts[g]:starts[g + 1]].
    """

    keys: NDArray[np.uint64]
    ids: NDArray[np.uint32]
    starts: NDArray[np.int64]

    def indexes(self, group: int) -> NDArray[np.int64]:
        """The queries' indexes of one group."""
        keys = self.keys[self.starts[group] : self.starts[group + 1]]
        return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)


def by_bucket(hashes: NDArray[np.uint64], valid: NDArray[np.uint8] | None, buckets: int) -> Places:
    """The buckets in which the valid hashes are at home, in a table of `buckets`."""
    return Places(*_strings.by_bucket(hashes, valid, buckets))


def by_block(keys: NDArray[np.uint64]) -> Places:
    """The blocks of keys (code << 32 | index), as `probe` returns them. Sorts `keys` in place."""
    return Places(*_strings.by_block(keys))


def by_code(codes: NDArray[np.uint32]) -> Places:
    """The blocks of codes; the index of a query is its position in `codes`."""
    return by_block(_strings.code_keys(codes))


def probe(values: Sequence[Any], places: Places, hashes: NDArray[np.uint64], count: int) -> NDArray[np.uint64]:
    """Every entry whose fingerprint is that of a query: uint64 (code << 32 | index), in no useful order.

    values: the bucket of each of places.ids. Raises CorruptStrings.
    """
    return _strings.probe(list(values), places.keys, places.ids, places.starts, hashes, count)


def match(values: Sequence[Any], places: Places, count: int, batch: Batch, codes: NDArray[np.int64]) -> None:
    """Confirm candidates: set codes[index] where the string of a candidate's code is that of the batch.

    values: the block of each of places.ids. codes: int64[n], -1 where not found yet. Raises CorruptStrings.
    """
    _strings.match(list(values), places.keys, places.ids, places.starts, count, batch.data, batch.offsets, codes)


def read(values: Sequence[Any], places: Places, count: int) -> pa.StringArray:
    """The string of each code, in the order of the queries; "" for blanked ones.

    Raises CorruptStrings, and OverflowError for more than 2**31 - 1 bytes together.
    """
    offsets, data = _strings.read(list(values), places.keys, places.ids, places.starts, count)
    return _string_array(offsets, data)


def read_slice(values: Sequence[Any], first: int, last: int, count: int) -> pa.StringArray:
    """The strings of codes [first, last); values: the blocks that cover them. Raises as `read` does."""
    return _string_array(*_strings.read_slice(list(values), first, last, count))


def _string_array(offsets: NDArray[np.int32], data: NDArray[np.uint8]) -> pa.StringArray:
    return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))


def assign_codes(
    batch: Batch, hashes: NDArray[np.uint64], codes: NDArray[np.int64], next_code: int
) -> NDArray[np.uint32]:
    """Give next_code, next_code + 1, ... to the strings whose code is -1, in order of first appearance.

    Fills `codes` in place (equal strings get one code, nulls stay -1); returns the index of each first appearance.
    """
    return _strings.assign_codes(batch.data, batch.offsets, batch.valid, hashes, codes, next_code)


def first_invalid(batch: Batch, chosen: NDArray[np.uint32]) -> tuple[int, str] | None:
    """(index, "long" or "utf8") of the first chosen string over MAX_STRING bytes or not UTF-8."""
    return _strings.first_invalid(batch.data, batch.offsets, chosen)


def pack_blocks(
    last_block: Any | None, count: int, batch: Batch, fresh: NDArray[np.uint32]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The values of blocks count // BLOCK onwards, with the batch's `fresh` strings appended.

    last_block: the value of block count // BLOCK, needed when it is partly full. Returns the values end to end
    and where each ends. Raises CorruptStrings if the last block fails its checksum.
    """
    return _strings.pack_blocks(last_block, count, batch.data, batch.offsets, fresh)


def gather(values: Sequence[Any], ids: NDArray[np.uint32], buckets: int, count: int) -> NDArray[np.uint64]:
    """All entries (fingerprint << 32 | code) of some buckets, which are wholly checked. Raises CorruptStrings."""
    return _strings.gather(list(values), ids, buckets, count)


def build_buckets(
    entries: NDArray[np.uint64], ids: NDArray[np.uint32], buckets: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The values of the buckets at places `ids` (ascending) that hold `entries`, end to end, and where each ends.

    ValueError if an entry is at home in none of them.
    """
    return _strings.build_buckets(entries, ids, buckets)


def entries_of(
    values: Sequence[Any], places: Places, count: int, hash_key: bytes, hash_mask: int = HASH_MASK
) -> NDArray[np.uint64]:
    """The bucket entry each code must have, or NO_ENTRY where it is blanked or in no block that is given. Checks the
    blocks wholly."""
    return _strings.entries_of(list(values), places.keys, places.ids, places.starts, count, hash_key, hash_mask)
