"""ClickHouse inside the process (chdb): a MergeTree table with a UInt8 column a tag, a LowCardinality string and an
Int32, merged into as few parts as it wants before anything is asked. Missing values are '' and -1: ClickHouse's own
advice is to avoid Nullable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from chdb import session

from bench.corpus import CORPUS_VERSION, Corpus
from bench.peers import THREADS
from bench.peers.sql import condition, tag_masks
from bench.systems import Run, stored
from segidx.model.expression import Expression

_ROWS = 1_000_000  # of one insert


def open_peer(corpus: Corpus, directory: Path) -> Chdb:
    stamp = {"contacts": corpus.size, "seed": corpus.seed, "corpus": CORPUS_VERSION}
    path, _ = stored(directory, stamp, lambda path: _build(corpus, path))
    return Chdb(session.Session(str(path)))


def _build(corpus: Corpus, path: Path) -> None:
    opened = session.Session(str(path))
    try:
        tags = ", ".join(f"{tag.name} UInt8" for tag in corpus.tags)
        opened.query("CREATE DATABASE bench")
        opened.query(
            f"CREATE TABLE bench.contacts ({tags}, country LowCardinality(String), income Int32)"
            " ENGINE = MergeTree ORDER BY tuple()"
        )
        for first in range(0, corpus.size, _ROWS):
            batch = _batch(corpus, first, min(first + _ROWS, corpus.size))  # noqa: F841 - the query reads it by name
            opened.query("INSERT INTO bench.contacts SELECT * FROM Python(batch)")
        opened.query("OPTIMIZE TABLE bench.contacts FINAL")
    finally:
        opened.close()


def _batch(corpus: Corpus, first: int, last: int) -> pa.Table:
    columns = {name: pa.array(mask.view(np.uint8)) for name, mask in tag_masks(corpus, first, last)}
    # MISSING is -1, and so the last of these.
    names = np.array([*corpus.countries, ""], object)
    columns["country"] = pa.array(names[corpus.country[first:last]], pa.string())
    columns["income"] = pa.array(corpus.income[first:last])
    return pa.table(columns)


class Chdb:
    """The peer over its table."""

    name = "chdb"

    def __init__(self, opened: session.Session) -> None:
        self._session = opened

    def prepare(self, expression: Expression) -> Run:
        query = f"SELECT count() FROM bench.contacts WHERE {condition(expression)} SETTINGS max_threads = {THREADS}"

        def run() -> int:
            return int(self._session.query(query, "CSV").bytes())

        return run

    def close(self) -> None:
        self._session.close()
