"""The corpus of the events benchmark as two Parquet files (zstd): contacts with their tags, and orders, one row a line.

The second is as a shop exports it and as `segidx import events order` takes it: in time order, what is said of the
order in each row of it, names as strings, money and quantities as decimals. Imports nothing of segidx.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.orders.corpus import (
    CORPUS_VERSION,
    MISSING,
    MONEY_SCALE,
    QUANTITY_SCALE,
    TAG,
    Ints,
    OrderCorpus,
    Orders,
    category_names,
    producer_names,
    product_names,
    source_names,
)
from bench.systems import stored

FILES_VERSION = 1  # raise it whenever other files come out of the same corpus
COMPRESSION = "zstd"
_ROWS = 1_000_000  # contacts of a row group

_CONTACTS = pa.schema([("contact_id", pa.string()), ("tags", pa.list_(pa.string()))])
_MONEY, _QUANTITY = pa.decimal128(12, MONEY_SCALE), pa.decimal128(12, QUANTITY_SCALE)


@dataclass(frozen=True, slots=True)
class Files:
    """Both files, and how many rows of each kind they have."""

    contacts: Path
    orders: Path
    lines: int

    @property
    def bytes(self) -> int:
        return self.contacts.stat().st_size + self.orders.stat().st_size


def store_files(corpus: OrderCorpus, directory: Path) -> Files:
    """The files of the corpus, written if they are not there."""
    stamp = {"contacts": corpus.size, "seed": corpus.seed, "corpus": [CORPUS_VERSION, FILES_VERSION]}
    path, _ = stored(directory, stamp, lambda path: _write(corpus, path))
    return Files(path / "contacts.parquet", path / "orders.parquet", int((path / "lines").read_text()))


def _write(corpus: OrderCorpus, path: Path) -> None:
    with pq.ParquetWriter(path / "contacts.parquet", _CONTACTS, compression=COMPRESSION) as file:
        for first in range(0, corpus.size, _ROWS):
            file.write_table(_contacts(corpus, first, min(first + _ROWS, corpus.size)))
    names = _Names()
    lines = 0
    with pq.ParquetWriter(path / "orders.parquet", names.schema, compression=COMPRESSION) as file:
        for piece in corpus.pieces():
            file.write_table(names.rows(piece))
            lines += len(piece.product)
    (path / "lines").write_text(str(lines))


def _contacts(corpus: OrderCorpus, first: int, last: int) -> pa.Table:
    lo, hi = np.searchsorted(corpus.tagged, [first, last])
    tagged = np.zeros(last - first, np.int32)
    tagged[corpus.tagged[lo:hi] - first] = 1
    ends = pa.array(np.concatenate([np.zeros(1, np.int32), np.cumsum(tagged, dtype=np.int32)]))
    tags = pa.ListArray.from_arrays(ends, pa.array([TAG] * int(tagged.sum()), pa.string()))
    return pa.table([pa.array(corpus.ids(first, last), pa.string()), tags], _CONTACTS)


class _Names:
    """The strings of the corpus's numbers."""

    def __init__(self) -> None:
        self._source = pa.array(source_names())
        self._product = pa.array(product_names())
        self._producer = pa.array(producer_names())
        self._category = pa.array(category_names())
        text = pa.string()
        self.schema = pa.schema(
            [
                ("order_id", text),
                ("contact_id", text),
                ("time", pa.timestamp("ms", "UTC")),
                ("source", text),
                ("paid", pa.bool_()),
                ("order_amount", _MONEY),
                ("product", text),
                ("producer", text),
                ("category", text),
                ("quantity", _QUANTITY),
                ("unit_price", _MONEY),
                ("amount", _MONEY),
            ]
        )

    def rows(self, piece: Orders) -> pa.Table:
        """A row a line, in the order of the orders; one without lines has a row without anything of a line."""
        counts = np.maximum(piece.line_counts, 1)
        owner = np.repeat(np.arange(len(piece.contact)), counts)
        line = np.full(len(owner), MISSING)
        line[piece.line_counts[owner] > 0] = np.arange(len(piece.product))
        mine = pa.array(line, mask=line == MISSING)
        of_order = pa.array(owner)
        paid = pa.array(piece.paid == 1, mask=piece.paid == MISSING)
        return pa.table(
            [
                pa.array(piece.ids()).take(of_order),
                pa.array(piece.contact_ids()).take(of_order),
                pa.array(piece.time, pa.timestamp("ms", "UTC")).take(of_order),
                _named(piece.source, self._source).take(of_order),
                paid.take(of_order),
                _decimals(piece.amount, _MONEY).take(of_order),
                _named(piece.product, self._product).take(mine),
                _named(piece.producer, self._producer).take(mine),
                _named(piece.category, self._category).take(mine),
                _decimals(piece.quantity, _QUANTITY).take(mine),
                _decimals(piece.unit_price, _MONEY).take(mine),
                _decimals(piece.line_amount, _MONEY).take(mine),
            ],
            self.schema,
        )


def _named(codes: Ints, names: pa.Array) -> pa.Array:
    return names.take(pa.array(codes, mask=codes == MISSING))


def _decimals(units: Ints, kind: pa.DataType) -> pa.Array:
    """The decimals of which these are the units: their 128 bits, little-endian."""
    words = np.stack([units, units >> 63], axis=1)
    return pa.Array.from_buffers(kind, len(units), [None, pa.py_buffer(np.ascontiguousarray(words))])
