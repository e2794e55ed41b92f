"""Blocks of the product catalogue: products in byte order of their ids, cut into blocks by ranges of ids.

A block's key is `b` and the id from which on its products are, which is empty for the first. Its value is sealed: a
stamp, the generation in which the block was written (u64), and one Arrow record batch as an IPC stream, with the column
`id` and one for each property that some product of the block has, named by the property's number. docs/FORMAT.md says
which types they have.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import lmdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from segidx.model.errors import CorruptData
from segidx.model.schema import Field, FieldType
from segidx.store.layout import HEADER_BYTES, KIND_PRODUCTS, Handle, open_value, seal

BLOCK_ROWS = 1024
BLOCK_BYTES = 96 << 10  # of values; a block of one product may have more
_PREFIX = b"b"
_STAMP = struct.Struct("<Q")
ID = "id"
TAG_LIST = pa.list_(pa.string())
ARROW_TYPES: dict[FieldType, pa.DataType] = {
    FieldType.CATEGORY: pa.string(),
    FieldType.TAGS: TAG_LIST,
    FieldType.NUMBER: pa.int64(),
    FieldType.BOOL: pa.bool_(),
}
EMPTY = pa.record_batch([pa.array([], pa.string())], [ID])


@dataclass(frozen=True, slots=True)
class ProductBlock:
    """The products with ids from `bound` on, up to the next block's. `rows` owns its memory."""

    bound: bytes
    stamp: int
    rows: pa.RecordBatch


def block_key(bound: bytes) -> bytes:
    return _PREFIX + bound


def bound_of(key: bytes | memoryview) -> bytes:
    """Raises CorruptData for a key of no block."""
    copy = bytes(key)
    if not copy.startswith(_PREFIX):
        raise CorruptData(f"the products have a key {copy[:40].hex()} that is none; restore from a backup")
    return copy[len(_PREFIX) :]


def stored_bounds(txn: lmdb.Transaction, db: Handle) -> list[bytes]:
    """Where blocks begin, ascending."""
    with txn.cursor(db) as cursor:
        return [bound_of(key) for key in cursor.iternext(keys=True, values=False)]


def stored_blocks(txn: lmdb.Transaction, db: Handle) -> Iterator[tuple[bytes, memoryview]]:
    """(bound, value) of every block, ascending; values are borrowed."""
    with txn.cursor(db) as cursor:
        for key, value in cursor:
            yield bound_of(key), memoryview(value)


def encode_block(stamp: int, rows: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    return seal(KIND_PRODUCTS, rows.num_rows, _STAMP.pack(stamp) + sink.getvalue().to_pybytes())


def stamp_of(bound: bytes, value: memoryview) -> int:
    """The stamp of a block, without a look at the rest. Raises CorruptData."""
    if len(value) < HEADER_BYTES + _STAMP.size:
        raise CorruptData(f"{_named(bound)}: {len(value)} bytes are too few; restore from a backup")
    return int(_STAMP.unpack_from(value, HEADER_BYTES)[0])


def decode_block(bound: bytes, value: memoryview | bytes) -> ProductBlock:
    """The block, copied out of the page it lies in. Raises CorruptData for one that is damaged; what its products are,
    `verify` looks at."""
    named = _named(bound)
    cardinality, payload = open_value(KIND_PRODUCTS, value, named, checksum=True)
    if len(payload) < _STAMP.size:
        raise CorruptData(f"{named}: it has no stamp; restore from a backup")
    try:
        with pa.ipc.open_stream(pa.py_buffer(bytes(payload[_STAMP.size :]))) as reader:
            rows = reader.read_next_batch()
        types = rows.schema.types
        if rows.schema.names[0] != ID or types[0] != pa.string() or not set(types) <= set(ARROW_TYPES.values()):
            raise ValueError(f"its columns are {rows.schema.to_string()}")
    except (pa.ArrowException, OSError, ValueError, StopIteration, IndexError) as error:
        raise CorruptData(f"{named}: it cannot be read ({error}); restore from a backup") from error
    if rows.num_rows != cardinality:
        raise CorruptData(f"{named}: {rows.num_rows} products where {cardinality} are said; restore from a backup")
    return ProductBlock(bound, int(_STAMP.unpack_from(payload)[0]), rows)


def _named(bound: bytes) -> str:
    return f"products from {bound.decode(errors='replace')!r} on"


def column_of(rows: pa.RecordBatch, number: int, property: Field) -> pa.Array:
    """A property's column, by the property's number, whether the block has it or not. Raises CorruptData."""
    at = rows.schema.get_field_index(str(number))
    wanted = ARROW_TYPES[property.type]
    if at < 0:
        return pa.nulls(rows.num_rows, wanted)
    found = rows.column(at)
    if found.type != wanted:
        raise CorruptData(
            f"the products' {property.name!r} is stored as {found.type} where {wanted} is due; restore from a backup"
        )
    return found


def row_sizes(rows: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """Bytes of the values of each product, as `segidx.model.products.product_size` counts them."""
    total = np.zeros(rows.num_rows, np.int64)
    for column in rows.columns[1:]:
        if pa.types.is_list(column.type):
            flat = 4 + _lengths(column.flatten())
            parents = pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
            total += np.bincount(parents, flat, rows.num_rows).astype(np.int64)
        elif pa.types.is_string(column.type):
            total += _lengths(column)
        else:
            total += 4 * column.is_valid().to_numpy(zero_copy_only=False)
        total += 4 * column.is_valid().to_numpy(zero_copy_only=False)
    return total


def _lengths(strings: pa.Array) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = pc.fill_null(pc.binary_length(strings), 0).to_numpy(zero_copy_only=False)
    return found.astype(np.int64)


def cut(rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The rows as they are stored: in blocks of about equal size, where they are too many for one."""
    ends = np.cumsum(row_sizes(rows) + _lengths(rows.column(0)))
    n, total = rows.num_rows, int(ends[-1]) if rows.num_rows else 0
    if n <= BLOCK_ROWS and total <= BLOCK_BYTES:
        if n:
            yield rows
        return
    # Three quarters full, so that the next product does not cut them again.
    pieces = max(-(-n * 4 // (3 * BLOCK_ROWS)), -(-total * 4 // (3 * BLOCK_BYTES)))
    most_rows, most_bytes = -(-n // pieces), -(-total // pieces)
    start = 0
    while start < n:
        before = int(ends[start - 1]) if start else 0
        end = int(np.searchsorted(ends, before + most_bytes, "right"))
        end = max(start + 1, min(end, start + most_rows))
        yield rows.slice(start, end - start)
        start = end
