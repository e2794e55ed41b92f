"""The product catalogue as it is read: all its products in memory, once a version, shared by the snapshots that see
it.

A newer version takes over the blocks that did not change. Columns are put together when a condition first asks for
them.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import lmdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from segidx.model.schema import Field, FieldType
from segidx.store.layout import Handle
from segidx.store.product_blocks import ID, ProductBlock, column_of, decode_block, stamp_of, stored_blocks

Rows = npt.NDArray[np.int64]
# Up to so many strings are sought one by one in the catalogue, more all at once.
_FEW = 256


class Strings(Protocol):
    """A string table, as far as it is read here."""

    def __len__(self) -> int: ...

    def slice(self, first: int, last: int) -> pa.StringArray: ...


@dataclass(frozen=True, slots=True)
class ProductColumn:
    """A property of all products, one element for each that has it, of tags one for each tag: in which `rows` of the
    catalogue (ascending), and the `values`: minor units of numbers, 0 or 1 of bools, of the others codes of
    `strings`."""

    rows: Rows
    values: Rows
    strings: pa.StringArray


class Products:
    """One version of the catalogue. Its products are numbered by their place in byte order of ids: rows."""

    def __init__(self, stamp: int, blocks: tuple[ProductBlock, ...]) -> None:
        self.stamp = stamp
        self.blocks = blocks
        self.size: int = sum(block.rows.num_rows for block in blocks)
        self._bounds = [block.bound for block in blocks]
        self._lock = threading.Lock()
        self._ids: pa.StringArray | None = None
        self._columns: dict[int, ProductColumn] = {}
        self._places: dict[int, Rows] = {}  # by string table: the row of each of its strings, -1 where there is none

    def __len__(self) -> int:
        return self.size

    @property
    def ids(self) -> pa.StringArray:
        """The ids by row."""
        if self._ids is None:
            self._ids = pa.concat_arrays([pa.array([], pa.string()), *(block.rows.column(0) for block in self.blocks)])
        return self._ids

    def column(self, number: int, property: Field) -> ProductColumn:
        """A property, by its number. Raises CorruptData."""
        with self._lock:
            found = self._columns.get(number)
            if found is None:
                found = self._columns[number] = self._joined(number, property)
            return found

    def _joined(self, number: int, property: Field) -> ProductColumn:
        none = pa.array([], pa.string())
        if not self.blocks:
            return ProductColumn(np.zeros(0, np.int64), np.zeros(0, np.int64), none)
        whole = pa.concat_arrays([column_of(block.rows, number, property) for block in self.blocks])
        if property.type is FieldType.TAGS:
            rows, whole = pc.list_parent_indices(whole), whole.flatten()
        else:
            rows, whole = pc.indices_nonzero(whole.is_valid()), whole.drop_null()
        strings = none
        if whole.type == pa.string():
            encoded = whole.dictionary_encode()
            whole, strings = encoded.indices, encoded.dictionary
        return ProductColumn(_integers(rows), _integers(whole), strings)

    def places(self, table: int, strings: Strings) -> Rows:
        """The row of the product that each string of a string table names, by code; -1 where there is none. Remembered:
        string tables only grow."""
        size = len(strings)
        with self._lock:
            known = self._places.get(table)
            have = 0 if known is None else len(known)
            if have < size:
                more = self._rows_of(strings.slice(have, size))
                known = self._places[table] = more if known is None else np.concatenate([known, more])
            assert known is not None or not size
            return np.zeros(0, np.int64) if known is None else known[:size]

    def _rows_of(self, strings: pa.StringArray) -> Rows:
        if len(strings) > _FEW:
            # Sought the other way round: there are more products than strings, as a rule, and the set is hashed.
            named = pc.index_in(self.ids, value_set=strings)
            rows = np.full(len(strings), -1, np.int64)
            rows[_integers(named.drop_null())] = _integers(pc.indices_nonzero(named.is_valid()))
            return rows
        found = (self.row_of(text) for text in strings.to_pylist())
        return np.array([-1 if row is None else row for row in found], np.int64)

    def row_of(self, product_id: str) -> int | None:
        """The row of a product, or None."""
        ids, wanted = self.ids, product_id.encode()
        at = bisect_left(range(len(ids)), wanted, key=lambda row: ids[row].as_py().encode())
        return at if at < len(ids) and ids[at].as_py() == product_id else None

    def find(self, product_id: str) -> tuple[pa.RecordBatch, int] | None:
        """(block, row within it) of a product, or None."""
        home = bisect_right(self._bounds, product_id.encode()) - 1
        if home < 0:
            return None
        rows = self.blocks[home].rows
        at = rows.column(0).index(product_id).as_py()
        return None if at < 0 else (rows, at)

    def rows_after(self, product_id: str | None) -> Iterator[tuple[pa.RecordBatch, int]]:
        """(block, row within it) of the products behind an id, or of all, in byte order of ids."""
        first, wanted = 0, b""
        if product_id is not None:
            wanted = product_id.encode()
            first = max(0, bisect_right(self._bounds, wanted) - 1)
        for block in self.blocks[first:]:
            ids = block.rows.column(0).to_pylist()
            start = 0 if product_id is None else bisect_right(ids, wanted, key=str.encode)
            for row in range(start, len(ids)):
                yield block.rows, row


NO_PRODUCTS = Products(0, ())


def _integers(array: pa.Array) -> Rows:
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    found: Rows = array.to_numpy(zero_copy_only=False).astype(np.int64)
    return found


class ProductsCache:
    """The newest version of the catalogue that snapshots of one account have seen."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = NO_PRODUCTS

    def at(self, txn: lmdb.Transaction, db: Handle, stamp: int) -> Products:
        """The catalogue as the transaction sees it, which is that of the stamp. Raises CorruptData."""
        with self._lock:
            if self._held.stamp == stamp:
                return self._held
            known = {block.bound: block for block in self._held.blocks}
            blocks = []
            for bound, value in stored_blocks(txn, db):
                block = known.get(bound)
                if block is None or block.stamp != stamp_of(bound, value):
                    block = decode_block(bound, value)
                blocks.append(block)
            found = Products(stamp, tuple(blocks))
            if stamp > self._held.stamp:
                self._held = found
            return found

    def clear(self) -> None:
        with self._lock:
            self._held = NO_PRODUCTS


__all__ = ["ID", "NO_PRODUCTS", "ProductColumn", "Products", "ProductsCache"]
