"""String tables in LMDB: strings to dense codes and back, in bulk.

One mechanism serves contact ids (the code is the ordinal) and the dictionary of every field. Codes are 0, 1,
2, ... in order of first insertion and are never reused. Imports kernels and model only; knows LMDB by two
methods of a transaction (`Txn`), and opens and commits nothing.

All tables live in one named database. Keys, big-endian, so that a table's values lie together and in order:

    table u16 | kind u8 | 0 u8 | number u32

kind 0, the state, number 0; kind 1, hash buckets: the number is the bucket's place (the lowest fingerprint at home in
it); kind 2, forward blocks: block n holds codes 16n to 16n + 15. Blocks come last because LMDB fills pages well only
when it appends at a database's very end; so give the largest table the highest id.

The formats of blocks and buckets are in src/st_block.h and src/st_bucket.h. The state is 32 bytes, little-endian:
version u8 (1), 3 zero bytes, CRC-32 of the rest u32, count u32 (codes given), live u32 (codes not blanked),
buckets u32, unindexed u32 (0, or the first code that the buckets may not have yet: see `segidx.store.string_merge`),
and the hash of a fixed word u64, which tells a wrong hash key from damage.
docs/adr/002-string-table.md says why it is built like this, and what it costs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, NoReturn, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segidx.kernels import strings as kernel
from segidx.kernels.strings import BLOCK, MAX_STRING, CorruptStrings
from segidx.model.errors import CorruptData, InvalidArgument, InvalidValue, StorageFull

__all__ = ["LOAD", "MAX_STRING", "StringTable", "Txn", "UnknownCode"]

LOAD = 50  # mean entries a bucket: 416 bytes; one about to be split has twice that, still several a leaf page
MAX_CODES = 2**32 - 1
SLICE = 20_000  # values that are read at a time, each an object of Python's

STATE, BUCKET, FORWARD = 0, 1, 2
KEY = struct.Struct(">HBBI")
_STATE_FORMAT = struct.Struct("<B3sIIIIIQ")
_STATE_VERSION = 1
_WITNESS = b"segidx string table"


class Txn(Protocol):
    """What a table needs of an LMDB transaction; a py-lmdb `Transaction` has it.

    `get` may return memoryviews (opened with buffers=True, the quicker way) or bytes.
    """

    def get(self, key: bytes, default: Any = None, db: Any = None) -> Any: ...

    def put(self, key: bytes, value: Any, *, db: Any = None) -> bool: ...


class _Buckets(NamedTuple):
    """Buckets by ascending places, as they are stored."""

    ids: NDArray[np.uint32]
    values: list[Any]


_NO_BUCKETS = _Buckets(np.empty(0, np.uint32), [])


class UnknownCode(InvalidArgument):
    """A code that the table has not given out."""

    reason = "UNKNOWN_CODE"


class StringTable:
    """One string table as one transaction sees it; make a new one for each transaction.

    The table's size is read when it is made, so at most one object a table may insert within a transaction.
    All that it returns is copied and outlives the transaction. Not thread-safe, as its transaction is not.
    If a method that writes raises anything but InvalidValue, abort the transaction.
    """

    __slots__ = ("_buckets", "_count", "_db", "_get", "_key", "_live", "_mask", "_table", "_txn", "_unindexed")

    def __init__(
        self,
        txn: Txn,
        db: Any,
        table_id: int,
        hash_key: bytes,
        *,
        hash_mask: int = kernel.HASH_MASK,
        state: tuple[int, int, int, int] | None = None,
    ) -> None:
        """txn: a read or a write transaction, borrowed; db: the handle of the database; hash_key: 16 secret bytes,
        always the same for an environment. hash_mask serves tests, which force collisions with it. state: that of an
        object made for another transaction, which sees the same table.

        Raises CorruptData if the table's state is damaged, or was written under another hash key.
        """
        if not 0 <= table_id < 2**16:
            raise ValueError(f"table id {table_id} is not in 0 to 65535")
        self._txn = txn
        self._get = txn.get
        self._db = db
        self._table = table_id
        self._key = bytes(hash_key)
        self._mask = hash_mask
        self._count = self._live = self._buckets = self._unindexed = 0
        if state is not None:
            self._count, self._live, self._buckets, self._unindexed = state
            return
        stored = self._get(KEY.pack(table_id, STATE, 0, 0), None, db)
        if stored is not None:
            self._load_state(bytes(stored))

    @property
    def state(self) -> tuple[int, int, int, int]:
        """How the table is: (codes given out, codes not blanked, buckets, 0 or the first code that these may lack)."""
        return self._count, self._live, self._buckets, self._unindexed

    def __len__(self) -> int:
        """Codes given out, blanked ones included: the next new string gets this code."""
        return self._count

    @property
    def indexed(self) -> int:
        """The strings of the codes below are found. The others are read, and may be found: a merge is at them, or was
        cut short."""
        return self._unindexed or self._count

    # --- state ---------------------------------------------------------------------------------------------

    def _load_state(self, state: bytes) -> None:
        if len(state) != _STATE_FORMAT.size or state[0] != _STATE_VERSION:
            self._damaged("its state has an unknown format")
        _, pad, checksum, count, live, buckets, unindexed, witness = _STATE_FORMAT.unpack(state)
        if checksum != kernel.crc32(state[:4] + state[8:]):
            self._damaged("its state fails its checksum")
        if any(pad) or live > count or (count and not buckets) or (unindexed and unindexed >= count):
            self._damaged("its state contradicts itself")
        if witness != self._witness():
            self._damaged("it was written under another hash key")
        self._count, self._live, self._buckets, self._unindexed = count, live, buckets, unindexed

    def _save_state(self, count: int, live: int, buckets: int, unindexed: int = 0) -> None:
        fields = (count, live, buckets, unindexed, self._witness())
        state = _STATE_FORMAT.pack(_STATE_VERSION, b"", 0, *fields)
        checksum = kernel.crc32(state[:4] + state[8:])
        state = _STATE_FORMAT.pack(_STATE_VERSION, b"", checksum, *fields)
        self._txn.put(KEY.pack(self._table, STATE, 0, 0), state, db=self._db)
        self._count, self._live, self._buckets, self._unindexed = count, live, buckets, unindexed

    def _witness(self) -> int:
        return kernel.siphash(_WITNESS, self._key) & self._mask

    def _damaged(self, problem: object) -> NoReturn:
        raise CorruptData(
            f"string table {self._table}: {problem}; restore it from a backup or rebuild it by importing again",
            table=self._table,
        )

    # --- values --------------------------------------------------------------------------------------------

    def _keys(self, kind: int, ids: NDArray[np.uint32]) -> list[bytes]:
        raw = np.empty((len(ids), KEY.size), np.uint8)
        raw[:, :4] = np.frombuffer(KEY.pack(self._table, kind, 0, 0)[:4], np.uint8)
        raw[:, 4:] = ids.astype(">u4").view(np.uint8).reshape(-1, 4)
        packed = raw.tobytes()
        return [packed[i : i + 8] for i in range(0, len(packed), 8)]

    def _fetch(self, kind: int, ids: NDArray[np.uint32]) -> list[Any]:
        """Copies of the stored values, in the order of ids; None where there is none."""
        get, db = self._get, self._db
        # Many memoryviews held at once keep Python's cyclic garbage collector as busy as the look-ups themselves; it
        # does not count bytes.
        return [None if (value := get(key, None, db)) is None else bytes(value) for key in self._keys(kind, ids)]

    def _values(self, known: _Buckets, ids: NDArray[np.uint32]) -> list[Any]:
        """The values of buckets, of which some are at hand."""
        if not len(known.ids):
            return self._fetch(BUCKET, ids)
        at = np.minimum(np.searchsorted(known.ids, ids), len(known.ids) - 1)
        there = known.ids[at] == ids
        fetched = iter(self._fetch(BUCKET, ids[~there]))
        values = known.values
        return [values[i] if known_ else next(fetched) for i, known_ in zip(at.tolist(), there.tolist(), strict=True)]

    def _store(self, kind: int, ids: NDArray[np.uint32], values: Iterable[Any]) -> None:
        put, db = self._txn.put, self._db
        for key, value in zip(self._keys(kind, ids), values, strict=True):
            put(key, value, db=db)

    # --- strings to codes ----------------------------------------------------------------------------------

    def find(self, strings: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
        """The code of each string, -1 where it is absent or null; int64[n].

        strings: string or binary arrays of any width. Raises CorruptData.
        """
        batch = kernel.Batch.of(strings)
        codes = np.full(len(batch), -1, np.int64)
        if self._buckets and len(batch):
            self._look_up(batch, batch.hash(self._key, self._mask), codes, keep=False)
        return codes

    def _look_up(
        self, batch: kernel.Batch, hashes: NDArray[np.uint64], codes: NDArray[np.int64], *, keep: bool
    ) -> _Buckets:
        """Set the codes of the strings that are there. Returns the buckets that were looked at, so that insertion need
        not read them again; none unless they are to be kept."""
        try:
            kept, candidates = list[_Buckets](), [np.empty(0, np.uint64)]
            for places in in_steps(kernel.by_bucket(hashes, batch.valid, self._buckets)):
                buckets = _Buckets(places.ids, self._fetch(BUCKET, places.ids))
                candidates.append(kernel.probe(buckets.values, places, hashes, self._count))
                # Fewer candidates than strings: some are new.
                if keep and len(candidates[-1]) < int(places.starts[-1] - places.starts[0]):
                    kept.append(buckets)
            for places in in_steps(kernel.by_block(np.concatenate(candidates))):
                kernel.match(self._fetch(FORWARD, places.ids), places, self._count, batch, codes)
        except CorruptStrings as problem:
            self._damaged(problem)
        if not kept:
            return _NO_BUCKETS
        return _Buckets(
            np.concatenate([buckets.ids for buckets in kept]), [value for buckets in kept for value in buckets.values]
        )

    def find_one(self, string: str) -> int | None:
        """The code of one string, or None. Raises CorruptData."""
        if not self._buckets:
            return None
        data = string.encode("utf-8", "surrogatepass")  # a lone surrogate is in no table
        get, db, count = self._get, self._db, self._count
        hashed, bucket = kernel.place_one(data, self._key, self._mask, self._buckets)
        try:
            value = get(KEY.pack(self._table, BUCKET, 0, bucket), None, db)
            for code in kernel.probe_one(value, bucket, hashed, count):
                value = get(KEY.pack(self._table, FORWARD, 0, code // BLOCK), None, db)
                if kernel.holds_one(value, code, count, data):
                    return code
        except CorruptStrings as problem:
            self._damaged(problem)
        return None

    def insert(self, strings: pa.Array | pa.ChunkedArray) -> tuple[NDArray[np.int64], int]:
        """Find or append: (the code of each string, int64[n]; the first new code, len(self) before the call).

        New strings get the next codes in order of first appearance; repeats within the array get one code; nulls
        get -1 and take none. Needs a write transaction. Raises InvalidValue, having written nothing, for a new
        string over MAX_STRING bytes or not UTF-8 (metadata `row` is its index), StorageFull when codes run
        out, CorruptData.
        """
        self._check_whole()
        batch = kernel.Batch.of(strings)
        first = self._count
        codes = np.full(len(batch), -1, np.int64)
        hashes = batch.hash(self._key, self._mask)
        buckets = _NO_BUCKETS
        if self._buckets and len(batch):
            buckets = self._look_up(batch, hashes, codes, keep=True)
        fresh = kernel.assign_codes(batch, hashes, codes, first)
        if len(fresh):
            self._check_fresh(batch, fresh)
            self._append(batch, fresh, hashes[fresh], buckets)
        return codes, first

    def _check_whole(self) -> None:
        if self._unindexed:
            raise ValueError(f"string table {self._table} is not found through as a whole: finish the merge before")

    def _check_fresh(self, batch: kernel.Batch, fresh: NDArray[np.uint32]) -> None:
        invalid = kernel.first_invalid(batch, fresh)
        if invalid:
            row, problem = invalid
            size = int(batch.offsets[row + 1] - batch.offsets[row])
            what = f"has {size} bytes, over the limit of {MAX_STRING}" if problem == "long" else "is not UTF-8"
            raise InvalidValue(f"row {row}: the string {what}", row=row)
        if self._count + len(fresh) > MAX_CODES:
            raise StorageFull(
                f"string table {self._table} has given out {self._count} codes, and {len(fresh)} more would be over "
                f"the limit of {MAX_CODES}",
                table=self._table,
            )

    def _append(
        self, batch: kernel.Batch, fresh: NDArray[np.uint32], hashes: NDArray[np.uint64], looked_at: _Buckets
    ) -> None:
        first, old_buckets = self._count, self._buckets
        count, live = first + len(fresh), self._live + len(fresh)
        buckets = max(old_buckets, -(-live // LOAD))
        codes = np.arange(first, count, dtype=np.uint64)
        entries = np.sort((hashes & np.uint64(0xFFFFFFFF)) << np.uint64(32) | codes)
        grown = np.sort(kernel.place_range(old_buckets, buckets))
        try:
            last = self._get(KEY.pack(self._table, FORWARD, 0, first // BLOCK), None, self._db)
            packed, ends = kernel.pack_blocks(last if first % BLOCK else None, first, batch, fresh)
            del last  # borrowed, and good until something is written
            for places, values, value_ends in self._changed_buckets(entries, grown, old_buckets, buckets, looked_at):
                self._store(BUCKET, places, cut_values(values, value_ends))
        except CorruptStrings as problem:
            self._damaged(problem)
        blocks = np.arange(first // BLOCK, first // BLOCK + len(ends), dtype=np.uint32)
        self._save_state(count, live, buckets)
        self._store(FORWARD, blocks, cut_values(packed, ends))  # last, so that a new table only ever appends

    def _changed_buckets(
        self,
        entries: NDArray[np.uint64],
        grown: NDArray[np.uint32],
        old_buckets: int,
        buckets: int,
        looked_at: _Buckets,
    ) -> Iterator[tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.int64]]]:
        """The buckets, with their ascending places, that new entries and splits change, some at a time: a table may be
        many times as large as what is added. Entries and the places of new buckets ascend."""
        if not old_buckets:
            yield grown, *kernel.build_buckets(entries, grown, buckets)
            return
        touched = kernel.by_bucket(entries >> np.uint64(32), None, old_buckets).ids
        # A new bucket's place is a fingerprint too: its home in the smaller table is what it splits.
        ids = np.union1d(touched, kernel.places_of(grown, old_buckets))
        # A bucket has all fingerprints from its place to the next one's, and so do its halves.
        starts = ids[::SLICE][1:]
        own = np.searchsorted(entries, starts.astype(np.uint64) << np.uint64(32))
        new = np.searchsorted(grown, starts)
        for some, mine, more in zip(
            np.split(ids, range(SLICE, len(ids), SLICE)), np.split(entries, own), np.split(grown, new), strict=True
        ):
            old = kernel.gather(self._values(looked_at, some), some, old_buckets, self._count)
            places = np.sort(np.concatenate((some, more)))
            yield places, *kernel.build_buckets(np.concatenate((old, mine)), places, buckets)

    # --- codes to strings ----------------------------------------------------------------------------------

    def _checked(self, codes: NDArray[Any]) -> NDArray[np.uint32]:
        codes = np.asarray(codes)
        if codes.dtype.kind not in "iu" and codes.size:
            raise TypeError(f"codes are integers, not {codes.dtype}")
        if codes.size and (int(codes.max()) >= self._count or int(codes.min()) < 0):
            bad = int(codes[(codes < 0) | (codes >= self._count)][0])
            raise UnknownCode(
                f"string table {self._table} has codes 0 to {self._count - 1}, and not {bad}"
                if self._count
                else f"string table {self._table} is empty and has no code {bad}",
                table=self._table,
                code=bad,
            )
        return np.ascontiguousarray(codes, np.uint32)

    def get(self, codes: NDArray[Any]) -> pa.StringArray:
        """The string of each code, in the order given; "" for blanked codes.

        codes: uint32[n], repeats allowed. Raises UnknownCode, CorruptData, and OverflowError where the strings
        hold more than 2**31 - 1 bytes together.
        """
        places = kernel.by_code(self._checked(codes))
        try:
            return kernel.read(self._fetch(FORWARD, places.ids), places, self._count)
        except CorruptStrings as problem:
            self._damaged(problem)

    def get_one(self, code: int) -> str:
        """The string of one code; "" when it is blanked. Raises UnknownCode and CorruptData."""
        if not 0 <= code < self._count:
            self._checked(np.array([code]))
        value = self._get(KEY.pack(self._table, FORWARD, 0, code // BLOCK), None, self._db)
        try:
            return kernel.read_one(value, code, self._count).decode()
        except (CorruptStrings, UnicodeDecodeError) as problem:
            self._damaged(problem)

    def slice(self, first: int, last: int) -> pa.StringArray:
        """The strings of codes [first, last); "" for blanked ones. For scanning a table in steps.

        Raises UnknownCode when the range leaves [0, len(self)], CorruptData, OverflowError as `get` does.
        """
        if not 0 <= first <= last <= self._count:
            raise UnknownCode(
                f"codes {first} to {last} leave string table {self._table}, which ends at {self._count}",
                table=self._table,
            )
        stop = -(-last // BLOCK) if last > first else first // BLOCK
        ids = np.arange(first // BLOCK, stop, dtype=np.uint32)
        try:
            return kernel.read_slice(self._fetch(FORWARD, ids), first, last, self._count)
        except CorruptStrings as problem:
            self._damaged(problem)

    # --- erasing -------------------------------------------------------------------------------------------

    def blank(self, codes: NDArray[Any]) -> int:
        """Erase the strings of these codes: they become empty and can no longer be found. Returns how many were
        not blank before.

        The codes are never given out again; the same string inserted later gets a new one. The old bytes may
        stay in free pages of the file until it is compacted. Needs a write transaction. Raises UnknownCode and
        CorruptData, having written nothing.
        """
        self._check_whole()
        chosen = np.unique(self._checked(codes))
        places = kernel.by_code(chosen)
        try:
            blocks = self._fetch(FORWARD, places.ids)
            entries = kernel.entries_of(blocks, places, self._count, self._key, self._mask)
            entries = entries[entries != kernel.NO_ENTRY]
            if not len(entries):
                return 0
            homes = kernel.by_bucket(entries >> np.uint64(32), None, self._buckets)
            new_blocks = []
            for group, (block, number) in enumerate(zip(blocks, places.ids.tolist(), strict=True)):
                slots = chosen[places.indexes(group)].astype(np.uint64) % np.uint64(BLOCK)
                mask = int(np.bitwise_or.reduce(np.uint64(1) << slots))
                new_blocks.append(kernel.blank_block(block, number, self._count, mask))
            new_buckets = [
                kernel.remove_entries(bucket, number, self._buckets, self._count, entries[homes.indexes(group)])
                for group, (bucket, number) in enumerate(
                    zip(self._fetch(BUCKET, homes.ids), homes.ids.tolist(), strict=True)
                )
            ]
        except CorruptStrings as problem:
            self._damaged(problem)
        self._store(FORWARD, places.ids, new_blocks)
        self._store(BUCKET, homes.ids, new_buckets)
        self._save_state(self._count, self._live - len(entries), self._buckets)
        return len(entries)


def in_steps(places: kernel.Places) -> Iterator[kernel.Places]:
    """The queries, some values at a time."""
    for start in range(0, len(places.ids), SLICE):
        end = start + SLICE
        yield kernel.Places(places.keys, places.ids[start:end], places.starts[start : end + 1])


def cut_values(packed: NDArray[np.uint8], ends: NDArray[np.int64]) -> Iterator[memoryview]:
    """The values that stand end to end in `packed`."""
    view, start = packed.data, 0
    for end in ends.tolist():
        yield view[start:end]
        start = end
