"""`Snapshot`: one consistent read view of an account, for one evaluation.

It owns an LMDB read transaction and everything borrowed through it. Close it with the evaluation, after the last use
of any posting or column taken from it.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import cast

import lmdb
import numpy as np
import numpy.typing as npt

from segidx.kernels.bitmaps import Column, Posting
from segidx.model.schema import Field, FieldType
from segidx.store import counts
from segidx.store.catalog import Catalog, read_catalog
from segidx.store.columns import open_column
from segidx.store.layout import (
    DB_COLUMNS,
    DB_COUNTS,
    DB_META,
    DB_POSTINGS,
    DB_STRINGS,
    IDS_TABLE,
    LIVE_CODE,
    SHARD_BITS,
    SYSTEM_FIELD,
    Handle,
)
from segidx.store.postings import open_posting
from segidx.store.strings import StringTable

_CACHE_ENTRIES = 20_000


class PointerCache:
    """Opened postings, columns and the catalog by LMDB transaction id.

    Pages of a transaction id never change while it is the newest or a reader holds it, and the map never moves; so a
    pointer found by one snapshot serves every later snapshot of the same id. A newer id empties the cache.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._id = -1
        self._entries: dict[object, object] = {}

    def entries(self, transaction_id: int) -> dict[object, object]:
        """The entries of that transaction id; a fresh dictionary for an id older than the newest seen."""
        with self._lock:
            if transaction_id > self._id:
                self._id, self._entries = transaction_id, {}
            elif transaction_id < self._id:
                return {}
            elif len(self._entries) > _CACHE_ENTRIES:
                self._entries = {}
            return self._entries

    def clear(self) -> None:
        with self._lock:
            self._entries = {}


class Snapshot:
    """Reads of one transaction. Not for several threads at once; what it returns may be evaluated by many."""

    def __init__(self, txn: lmdb.Transaction, dbs: dict[bytes, Handle], cache: PointerCache) -> None:
        self._txn = txn
        self._dbs = dbs
        self._entries = cache.entries(txn.id())
        catalog = self._entries.get("catalog")
        if catalog is None:
            catalog = read_catalog(txn, dbs[DB_META])
            self._entries["catalog"] = catalog
        self.catalog = cast(Catalog, catalog)
        self._tables: dict[int, StringTable] = {}
        self.ids = self._table(IDS_TABLE)
        self.size = len(self.ids)  # ordinals given out, dead ones included

    @property
    def generation(self) -> int:
        return self.catalog.generation

    def _table(self, table: int) -> StringTable:
        found = self._tables.get(table)
        if found is None:
            found = StringTable(self._txn, self._dbs[DB_STRINGS], table, self.catalog.hash_key)
            self._tables[table] = found
        return found

    def field_id(self, field: Field) -> int:
        return self.catalog.field_ids[field.name]

    def posting(self, field_id: int, code: int) -> Posting:
        """The posting of a value. It borrows pages: do not use it after this snapshot is closed."""
        key = (field_id, code)
        found = self._entries.get(key)
        if found is None:
            shards = -(-self.size >> SHARD_BITS) if self.size else 0
            found = open_posting(self._txn, self._dbs[DB_POSTINGS], field_id, code, shards)
            self._entries[key] = found
        return cast(Posting, found)

    def universe(self) -> Posting:
        """The live contacts."""
        return self.posting(SYSTEM_FIELD, LIVE_CODE)

    def column(self, field_id: int) -> Column:
        """The column of a single-valued field. It borrows pages: do not use it after this snapshot is closed."""
        found = self._entries.get(field_id)
        if found is None:
            found = open_column(self._txn, self._dbs[DB_COLUMNS], field_id, self.size)
            self._entries[field_id] = found
        return cast(Column, found)

    def dictionary(self, field: Field) -> StringTable:
        """The strings of a category, text or tags field, by code."""
        return self._table(self.field_id(field))

    def live_count(self) -> int:
        return self.value_count(SYSTEM_FIELD, LIVE_CODE)

    def set_count(self, field: Field) -> int:
        """Contacts that have a value of the field (at least one tag)."""
        return self.value_count(SYSTEM_FIELD, self.field_id(field))

    def code_of(self, field: Field, text: str) -> int | None:
        """The code of a string in the field's dictionary; remembered, since an editor asks for it at every key."""
        key = (field.name, text)
        if key not in self._entries:
            self._entries[key] = self.dictionary(field).find_one(text)
        return cast("int | None", self._entries[key])

    def value_entry(self, field_id: int, code: int) -> tuple[int, bool]:
        """(contacts that hold one value, whether its count says that a posting is kept)."""
        key = (field_id, code, "count")
        found = self._entries.get(key)
        if found is None:
            found = self._entries[key] = counts.read_entry(self._txn, self._dbs[DB_COUNTS], field_id, code)
        return cast("tuple[int, bool]", found)

    def value_count(self, field_id: int, code: int) -> int:
        """Contacts that hold one value."""
        return self.value_entry(field_id, code)[0]

    def has_posting(self, field: Field, code: int) -> bool:
        """Whether the value's posting is kept. All are, but those of rare texts."""
        return field.type is not FieldType.TEXT or self.value_entry(self.field_id(field), code)[1]

    def value_counts(self, field: Field) -> tuple[counts.Counts, npt.NDArray[np.bool_]]:
        """(contacts, whether a posting is kept) for every code of a dictionary, in order of code; copies."""
        found, flags = counts.read_entries(
            self._txn, self._dbs[DB_COUNTS], self.field_id(field), len(self.dictionary(field))
        )
        return found, flags if field.type is FieldType.TEXT else np.ones_like(flags)

    def distinct(self, field: Field) -> int:
        """Values of a coded field that some contact holds."""
        return int(np.count_nonzero(self.value_counts(field)[0]))

    def stored_postings(self) -> int:
        """Stored values of postings: one for each shard of each."""
        return int(self._txn.stat(self._dbs[DB_POSTINGS])["entries"])

    def close(self) -> None:
        """End the read transaction. Everything borrowed from this snapshot is invalid from now on."""
        self._entries = {}
        self._txn.abort()

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
