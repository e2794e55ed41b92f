"""ClickHouse inside the process (chdb): MergeTree tables of contacts, orders and lines sorted by contact, then time.

Names are LowCardinality strings and money is in minor units; tables are merged into as few parts as it wants before
anything is asked. Missing values are '' and -1: ClickHouse's own advice is to avoid Nullable.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from chdb import session

from bench.orders.corpus import (
    CORPUS_VERSION,
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

_TABLES = {
    "contacts": f"(contact Int32, {TAG} UInt8) ENGINE = MergeTree ORDER BY contact",
    "orders": "(contact Int32, time DateTime64(3, 'UTC'), source LowCardinality(String), paid Int8, amount Int32,"
    " counts UInt8) ENGINE = MergeTree ORDER BY (contact, time)",
    "lines": "(contact Int32, time DateTime64(3, 'UTC'), product LowCardinality(String),"
    " producer LowCardinality(String), category LowCardinality(String), quantity Int32, unit_price Int32, amount Int32)"
    " ENGINE = MergeTree ORDER BY (contact, time)",
}
_SETTINGS = f"SETTINGS max_threads = {THREADS}, session_timezone = 'UTC'"


def open_peer(corpus: OrderCorpus, directory: Path) -> tuple[Chdb, float | None]:
    """The peer, and the seconds it took to load or None if it was loaded before."""
    stamp = {"contacts": corpus.size, "seed": corpus.seed, "corpus": CORPUS_VERSION, "tables": _TABLES}
    path, seconds = stored(directory, stamp, lambda path: _load(corpus, path))
    return Chdb(session.Session(str(path))), seconds


def _load(corpus: OrderCorpus, path: Path) -> None:
    opened = session.Session(str(path))
    try:
        opened.query("CREATE DATABASE bench")
        for name, columns in _TABLES.items():
            opened.query(f"CREATE TABLE bench.{name} {columns}")
        tagged = np.zeros(corpus.size, np.uint8)
        tagged[corpus.tagged] = 1
        _insert(opened, "contacts", pa.table({"contact": np.arange(corpus.size), TAG: tagged}))
        for piece in corpus.pieces():
            _insert(opened, "orders", _orders(piece))
            _insert(opened, "lines", _lines(piece))
        for name in _TABLES:
            opened.query(f"OPTIMIZE TABLE bench.{name} FINAL")
    finally:
        opened.close()


def _insert(opened: session.Session, table: str, batch: pa.Table) -> None:
    opened.query(f"INSERT INTO bench.{table} SELECT * FROM Python(batch)")


def _orders(piece: Orders) -> pa.Table:
    return pa.table(
        {
            "contact": piece.contact,
            "time": _times(piece.time),
            "source": _named(piece.source, source_names()),
            "paid": piece.paid,
            "amount": piece.amount,
            "counts": piece.counts.astype(np.uint8),
        }
    )


def _lines(piece: Orders) -> pa.Table:
    owner = piece.owner
    return pa.table(
        {
            "contact": piece.contact[owner],
            "time": _times(piece.time[owner]),
            "product": _named(piece.product, product_names()),
            "producer": _named(piece.producer, producer_names()),
            "category": _named(piece.category, category_names()),
            "quantity": piece.quantity,
            "unit_price": piece.unit_price,
            "amount": piece.line_amount,
        }
    )


def _times(millis: Ints) -> pa.Array:
    return pa.array(millis, pa.timestamp("ms", "UTC"))


def _named(codes: Ints, names: list[str]) -> pa.Array:
    return pa.array([*names, ""], pa.string()).take(pa.array(np.where(codes < 0, len(names), codes)))


class Chdb:
    """The peer over its tables."""

    name = "chdb"

    def __init__(self, opened: session.Session) -> None:
        self._session = opened
        self._session.query("USE bench")

    def prepare(self, expression: Expression) -> Run:
        query = f"{count_query(expression)} {_SETTINGS}"

        def run() -> int:
            return int(self._session.query(query, "CSV").bytes())

        return run

    def close(self) -> None:
        self._session.close()
