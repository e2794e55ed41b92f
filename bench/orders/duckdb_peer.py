"""DuckDB: tables of contacts, orders and lines, names as ENUMs, money in minor units as INTEGERs.

The same rows lie in two files: sorted by time, as they come, and by contact. Which one answers sooner depends on the
question, so both are asked. They are read into memory first, where they answer up to a third sooner than from a file.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from bench.orders.corpus import (
    CORPUS_VERSION,
    MISSING,
    TAG,
    Ints,
    OrderCorpus,
    Orders,
    category_names,
    producer_names,
    product_names,
    source_names,
)
from bench.orders.sql import count_query
from bench.peers import THREADS
from bench.systems import Run, stored
from segidx.model.expression import Expression

SORTS = ("time", "contact")
_SORTED = {"contacts": "contact", "orders": "contact, time", "lines": "contact, time"}
_TABLES = f"""
CREATE TABLE contacts (contact INTEGER NOT NULL, {TAG} BOOLEAN NOT NULL);
CREATE TABLE orders (id VARCHAR NOT NULL, contact INTEGER NOT NULL, time TIMESTAMP NOT NULL, source source,
  paid BOOLEAN, amount INTEGER NOT NULL, counts BOOLEAN NOT NULL);
CREATE TABLE lines (number INTEGER NOT NULL, contact INTEGER NOT NULL, time TIMESTAMP NOT NULL,
  product product NOT NULL, producer producer NOT NULL, category category, quantity INTEGER NOT NULL,
  unit_price INTEGER NOT NULL, amount INTEGER NOT NULL);
"""


def store_tables(corpus: OrderCorpus, directory: Path) -> tuple[dict[str, Path], float | None]:
    """(the file of each sort, seconds it took to load both or None if they were loaded before)."""
    stamp = {
        "contacts": corpus.size,
        "seed": corpus.seed,
        "corpus": [CORPUS_VERSION, _TABLES],
        "duckdb": duckdb.__version__,
    }
    path, seconds = stored(directory, stamp, lambda path: _load(corpus, path))
    return {sort: _file(path, sort) for sort in SORTS}, seconds


def _file(path: Path, sort: str) -> Path:
    return path / f"by_{sort}.duckdb"


def _load(corpus: OrderCorpus, path: Path) -> None:
    by_time, by_contact = (_file(path, sort) for sort in SORTS)
    with duckdb.connect(str(by_time), config={"threads": THREADS}) as connection:
        for name, names in _names().items():
            connection.execute(f"CREATE TYPE {name} AS ENUM ({', '.join(map(repr, names))})")
        connection.execute(_TABLES)
        tagged = np.zeros(corpus.size, np.bool_)
        tagged[corpus.tagged] = True
        _insert(connection, "contacts", {"contact": np.arange(corpus.size), TAG: tagged})
        for piece in corpus.pieces():
            _insert(connection, "orders", _orders(piece))
            _insert(connection, "lines", _lines(piece))
        connection.execute(f"ATTACH '{by_contact}' AS other")
        for table, key in _SORTED.items():
            connection.execute(f"CREATE TABLE other.{table} AS SELECT * FROM {table} ORDER BY {key}")
        connection.execute("DETACH other")


def _names() -> dict[str, list[str]]:
    return {
        "source": source_names(),
        "product": product_names(),
        "producer": producer_names(),
        "category": category_names(),
    }


def _insert(connection: duckdb.DuckDBPyConnection, table: str, columns: dict[str, pa.Array | np.ndarray]) -> None:
    connection.register("batch", pa.table(columns))
    connection.execute(f"INSERT INTO {table} SELECT * FROM batch")
    connection.unregister("batch")


def _orders(piece: Orders) -> dict[str, pa.Array | np.ndarray]:
    return {
        "id": pa.array(piece.ids(), pa.string()),
        "contact": piece.contact,
        "time": _times(piece.time),
        "source": _named(piece.source, source_names()),
        "paid": pa.array(piece.paid == 1, mask=piece.paid == MISSING),
        "amount": piece.amount,
        "counts": piece.counts,
    }


def _lines(piece: Orders) -> dict[str, pa.Array | np.ndarray]:
    names, owner = _names(), piece.owner
    return {
        "number": piece.first + owner,
        "contact": piece.contact[owner],
        "time": _times(piece.time[owner]),
        "product": _named(piece.product, names["product"]),
        "producer": _named(piece.producer, names["producer"]),
        "category": _named(piece.category, names["category"]),
        "quantity": piece.quantity,
        "unit_price": piece.unit_price,
        "amount": piece.line_amount,
    }


def _times(millis: Ints) -> pa.Array:
    return pa.array(millis * 1000, pa.timestamp("us"))


def _named(codes: Ints, names: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes == MISSING), pa.array(names)).cast(pa.string())


class DuckDbOrders:
    """The peer over the tables of one sort."""

    def __init__(self, file: Path, sort: str) -> None:
        self.name = f"duckdb_by_{sort}"
        self._connection = duckdb.connect(":memory:", config={"threads": THREADS})
        self._connection.execute(f"ATTACH '{file}' AS stored (READ_ONLY)")
        for table in _SORTED:
            self._connection.execute(f"CREATE TABLE {table} AS SELECT * FROM stored.{table}")
        self._connection.execute("DETACH stored")

    def add(self, piece: Orders) -> None:
        """Insert more orders, in memory alone."""
        _insert(self._connection, "orders", _orders(piece))
        _insert(self._connection, "lines", _lines(piece))

    def prepare(self, expression: Expression) -> Run:
        query = count_query(expression)

        def run() -> int:
            ((count,),) = self._connection.execute(query).fetchall()
            return int(count)

        return run

    def close(self) -> None:
        self._connection.close()
