"""Folding changes into the base: string tables, columns, postings and counts, in that order.

Where the values go is a `Sink`'s business: one transaction for all (a bulk batch), or many of at most 4 MB (a merge),
between which readers see the base half changed. That is exact for them all the same: what is folded only sets, and
their overlay, which holds it still, sets it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import lmdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segidx.kernels.columns import CHUNK_ROWS
from segidx.kernels.deltas import ColumnChanges, Delta, DeltaArrays
from segidx.model.errors import CorruptData
from segidx.model.schema import FieldType
from segidx.store.catalog import Catalog
from segidx.store.columns import changed_chunk, scan_column
from segidx.store.counts import BLOCK_CODES, changed_block, read_many
from segidx.store.environment import AccountStore, WriteTransaction
from segidx.store.layout import (
    DB_COLUMNS,
    DB_COUNTS,
    DB_POSTINGS,
    DB_STRINGS,
    SHARD_BITS,
    SYSTEM_FIELD,
    Handle,
    block_key,
    posting_key,
)
from segidx.store.log import NewStrings
from segidx.store.postings import bitmap_of, changed_shard, shard_value, stored_shards
from segidx.store.string_merge import Bounds, MergedTable, merge_strings
from segidx.store.strings import StringTable

# A text gets a posting when this many contacts hold it. Below, a posting costs more bytes a contact than the column
# and the dictionary together, and a scan of the column answers (docs/adr/003-text-postings.md).
TEXT_POSTING_MIN = 64
# Values of one transaction of a merge; commits wait no longer than for one of these.
SLICE_BYTES = 4 << 20
# Pages of a string table's buckets that one transaction dirties.
SLICE_STRINGS = 1024

_SHARD_ROOM = 12  # bits of a shard's number: there are 4,096 at most

Codes = npt.NDArray[np.int64]
Ordinals = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]


class Sink(Protocol):
    """Where a fold reads the base and puts its new values."""

    @property
    def dbs(self) -> Mapping[bytes, Handle]: ...

    def reader(self) -> lmdb.Transaction:
        """A transaction that sees what was put before the last `settle`, at least; good until the next `put`."""

    def put(self, database: bytes, key: bytes, value: bytes | None) -> None:
        """Store a value, or delete it for None. No key is put twice."""

    def settle(self) -> None:
        """Make all that was put visible to `reader`."""

    def insert(self, table: int, new: NewStrings, catalog: Catalog) -> None:
        """Append strings to a table of the base, where they are not there yet."""


class OneTransaction:
    """A sink that writes through one transaction, which its owner commits."""

    def __init__(self, write: WriteTransaction) -> None:
        self.dbs = write.dbs
        self._txn = write.txn

    def reader(self) -> lmdb.Transaction:
        return self._txn

    def put(self, database: bytes, key: bytes, value: bytes | None) -> None:
        _store(self._txn, self.dbs[database], key, value)

    def settle(self) -> None:
        pass

    def insert(self, table: int, new: NewStrings, catalog: Catalog) -> None:
        _insert(self._txn, self.dbs[DB_STRINGS], table, new, catalog)


class Slices:
    """A sink that commits every 4 MB and raises the version of the base each time."""

    def __init__(self, store: AccountStore) -> None:
        self._store = store
        self.dbs = store.databases
        self._waiting: list[tuple[bytes, bytes, bytes | None]] = []
        self._bytes = 0
        self.written = 0  # bytes of values, so far
        self._reader: lmdb.Transaction | None = None

    def reader(self) -> lmdb.Transaction:
        if self._reader is None:
            self._reader = self._store.begin()
        return self._reader

    def put(self, database: bytes, key: bytes, value: bytes | None) -> None:
        self._store.courtesy.make_way()
        self._waiting.append((database, key, value))
        self._bytes += len(key) + len(value or b"")
        if self._bytes >= SLICE_BYTES:
            self.settle()

    def settle(self) -> None:
        self.close()
        if not self._waiting:
            return
        with self._changing() as write:
            for database, key, value in self._waiting:
                _store(write.txn, self.dbs[database], key, value)
        self.written += self._bytes
        self._waiting, self._bytes = [], 0

    def insert(self, table: int, new: NewStrings, catalog: Catalog) -> None:
        @contextmanager
        def reading() -> Iterator[MergedTable]:
            self._store.courtesy.make_way()
            with self._store.begin() as txn:
                yield MergedTable(txn, self.dbs[DB_STRINGS], table, catalog.hash_key)

        @contextmanager
        def writing() -> Iterator[MergedTable]:
            self._store.courtesy.make_way()
            with self._changing() as write:
                yield MergedTable(write.txn, self.dbs[DB_STRINGS], table, catalog.hash_key)

        self.written += merge_strings(reading, writing, new.first, new.strings, Bounds(SLICE_STRINGS, SLICE_BYTES))

    def close(self) -> None:
        """End the reader: one that stays open makes the file grow."""
        if self._reader is not None:
            self._reader.abort()
            self._reader = None

    @contextmanager
    def _changing(self) -> Iterator[WriteTransaction]:
        with self._store.write() as write:
            yield write
            write.changed_base()


def _store(txn: lmdb.Transaction, db: Handle, key: bytes, value: bytes | None) -> None:
    if value is None:
        txn.delete(key, db=db)
    else:
        txn.put(key, value, db=db)


def _insert(txn: lmdb.Transaction, db: Handle, table: int, new: NewStrings, catalog: Catalog) -> None:
    codes, _ = StringTable(txn, db, table, catalog.hash_key).insert(new.strings)
    if not np.array_equal(codes, np.arange(new.first, new.first + len(new.strings))):
        raise CorruptData(
            f"string table {table} gives other codes to strings of the log than {new.first} and on;"
            " run `segidx verify`, restore from a backup",
            table=table,
        )


def fold(sink: Sink, strings: Mapping[int, NewStrings], delta: Delta, catalog: Catalog) -> None:
    """Put all that `strings` and `delta` set into the base. Doing it again, in whole or in part, changes nothing.

    Raises CorruptData when a value to be changed is damaged, and what the sink's transactions raise.
    """
    for table, new in sorted(strings.items()):
        sink.insert(table, new, catalog)
    arrays = DeltaArrays(delta)
    for column in arrays.columns():
        _fold_column(sink, column)
    sink.settle()  # postings of texts are made from columns
    texts = [catalog.field_ids[f.name] for f in catalog.schema.of_type(FieldType.TEXT)]
    for field in _steps(arrays.keys >> np.uint64(32)):
        _fold_values(sink, arrays, field, rare=field in texts)
    sink.settle()


def _fold_column(sink: Sink, column: ColumnChanges) -> None:
    chunks = column.ordinals // CHUNK_ROWS
    db = sink.dbs[DB_COLUMNS]
    for chunk in _steps(chunks):
        lo, hi = np.searchsorted(chunks, [chunk, chunk + 1])
        rows = column.ordinals[lo:hi].astype(np.int64) - chunk * CHUNK_ROWS
        value = changed_chunk(sink.reader(), db, column.field, chunk, rows, column.values[lo:hi], column.present[lo:hi])
        sink.put(DB_COLUMNS, block_key(column.field, chunk), value)


def _fold_values(sink: Sink, arrays: DeltaArrays, field: int, *, rare: bool) -> None:
    """Postings, then counts, of the field's values. Where values may be `rare`, only some have postings."""
    here = arrays.keys_of(field)
    codes = (arrays.keys[here] & np.uint64(0xFFFFFFFF)).astype(np.int64)
    held = arrays.counts[here].astype(np.int64)
    kept = np.full(len(codes), field != SYSTEM_FIELD)
    if rare:
        _, kept = read_many(sink.reader(), sink.dbs[DB_COUNTS], field, codes)
    _fold_postings(sink, arrays, here, field, codes, kept if rare else np.ones(len(codes), np.bool_))
    if rare:
        promoted = ~kept & (held >= TEXT_POSTING_MIN)
        _promote(sink, field, codes[promoted])
        kept = kept | promoted
    # Last, since a flag says that the posting is there.
    blocks = codes // BLOCK_CODES
    for block in _steps(blocks):
        lo, hi = np.searchsorted(blocks, [block, block + 1])
        value = changed_block(sink.reader(), sink.dbs[DB_COUNTS], field, block, codes[lo:hi], held[lo:hi], kept[lo:hi])
        sink.put(DB_COUNTS, block_key(field, block), value)


def _fold_postings(sink: Sink, arrays: DeltaArrays, here: slice, field: int, codes: Codes, wanted: Mask) -> None:
    """Change the postings of the keys `here` whose code is `wanted`, shard by shard."""
    added_places, added_starts, added = _pieces(arrays.add_ends, arrays.adds, here, wanted)
    removed_places, removed_starts, removed = _pieces(arrays.remove_ends, arrays.removes, here, wanted)
    places = np.union1d(added_places, removed_places)
    # Lists, since most pieces are short and there may be a hundred thousand.
    owners = codes[places >> _SHARD_ROOM].tolist()
    shards = (places & ((1 << _SHARD_ROOM) - 1)).tolist()
    add = np.searchsorted(added_places, places), np.searchsorted(added_places, places, "right")
    remove = np.searchsorted(removed_places, places), np.searchsorted(removed_places, places, "right")
    bounds = (added_starts[add[0]], added_starts[add[1]], removed_starts[remove[0]], removed_starts[remove[1]])
    db = sink.dbs[DB_POSTINGS]
    for code, shard, a, b, c, d in zip(owners, shards, *(each.tolist() for each in bounds), strict=True):
        value = changed_shard(sink.reader(), db, field, code, shard, added[a:b], removed[c:d])
        sink.put(DB_POSTINGS, posting_key(field, code, shard), value)


def _pieces(
    ends: npt.NDArray[np.uint32], listed: Ordinals, here: slice, wanted: Mask
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Ordinals]:
    """(places, starts, ordinals): the memberships of some keys cut into pieces of one key and shard. A place is
    key's index << _SHARD_ROOM | shard; piece i is ordinals[starts[i]:starts[i + 1]]."""
    first = int(ends[here.start - 1]) if here.start else 0
    stops = ends[here].astype(np.int64)
    sizes = stops - np.append(first, stops[:-1])
    owner = np.repeat(np.arange(len(sizes)), sizes)
    ordinals = listed[first : first + len(owner)]
    if not wanted.all():
        owner, ordinals = owner[wanted[owner]], ordinals[wanted[owner]]
    places = owner << _SHARD_ROOM | (ordinals >> SHARD_BITS).astype(np.int64)
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    return places[starts], np.append(starts, len(places)), ordinals


def _promote(sink: Sink, field: int, codes: Codes) -> None:
    """Make postings of the ascending codes from the column, by one scan for all."""
    if not len(codes):
        return
    wanted = np.zeros(int(codes[-1]) + 1, np.bool_)
    wanted[codes] = True
    found_codes, found_ordinals = [], []
    for first, values, present in scan_column(sink.reader(), sink.dbs[DB_COLUMNS], field):
        hits = np.flatnonzero(present & (values < len(wanted)) & wanted[np.minimum(values, len(wanted) - 1)])
        found_codes.append(values[hits])
        found_ordinals.append((hits + first).astype(np.uint32))
    all_codes, ordinals = np.concatenate(found_codes), np.concatenate(found_ordinals)
    order = np.lexsort((ordinals, all_codes))
    all_codes, ordinals = all_codes[order], ordinals[order]
    for code in codes.tolist():
        lo, hi = np.searchsorted(all_codes, [code, code + 1])
        _write_posting(sink, field, code, ordinals[lo:hi])


def _write_posting(sink: Sink, field: int, code: int, ordinals: Ordinals) -> None:
    """Make the posting anew: a merge that was cut short may have left shards of an older one, not in use yet."""
    db = sink.dbs[DB_POSTINGS]
    there = stored_shards(sink.reader(), db, field, code)
    shards = ordinals >> SHARD_BITS
    for shard in sorted({*there, *np.unique(shards).tolist()}):
        lo, hi = np.searchsorted(shards, [shard, shard + 1])
        sink.put(DB_POSTINGS, posting_key(field, code, shard), shard_value(bitmap_of(ordinals[lo:hi])))


def _steps(ascending: npt.NDArray[np.integer[Any]]) -> list[int]:
    """The distinct numbers among ascending ones. (NumPy's unique hashes them all, with the interpreter's lock held.)"""
    return [int(n) for n in ascending[np.flatnonzero(np.diff(ascending, prepend=ascending[:1] - 1))]]


def concatenated(parts: list[NewStrings]) -> NewStrings:
    """Strings that follow one another, in one."""
    if len(parts) == 1:
        return parts[0]
    return NewStrings(parts[0].first, pa.concat_arrays([p.strings for p in parts]))
