"""segidx itself: loads the corpus through its public write path, and the three ways in which a count is measured.

embedded: `account.count` of an expression object. evaluate: its plan alone, prepared before. grpc: the text of the
expression, sent by the client to a server process of its own over the loopback.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.corpus import CORPUS_VERSION, INCOME_SCALE, MISSING, Corpus
from bench.live.server import ServerProcess
from bench.systems import Run, stored
from segidx.client import connect
from segidx.database import Account, Database
from segidx.exec.evaluate import count
from segidx.exec.query import prepare
from segidx.ingest.batch import ContactBatch, FieldChange
from segidx.model.expression import Expression
from segidx.model.schema import Field, FieldType
from segidx.model.syntax import format_expression
from segidx.plan.context import BindContext
from segidx.store import layout
from segidx.store.layout import FORMAT_VERSION

BATCH_ROWS = 1_000_000


def store_corpus(corpus: Corpus, directory: Path) -> tuple[Path, float | None]:
    """(the data directory, seconds it took to load or None if it was loaded before)."""
    stamp = {
        "contacts": corpus.size,
        "seed": corpus.seed,
        "corpus": CORPUS_VERSION,
        "format": FORMAT_VERSION,
        # Between releases the layout may change under one version; old data must not be measured with new code.
        "layout": zlib.crc32(Path(layout.__file__).read_bytes()),
    }
    return stored(directory, stamp, lambda path: _load(corpus, path))


def _load(corpus: Corpus, path: Path) -> None:
    with Database.open(path, create=True) as database:
        account = database.account()
        account.update_schema(
            [
                Field("tags", FieldType.TAGS),
                Field("country", FieldType.CATEGORY),
                Field("income", FieldType.NUMBER, INCOME_SCALE),
            ]
        )
        for first in range(0, corpus.size, BATCH_ROWS):
            account.apply(contact_batch(corpus, first, min(first + BATCH_ROWS, corpus.size)))


def contact_batch(corpus: Corpus, first: int, last: int) -> ContactBatch:
    """The rows first..last, last excluded, as one batch."""
    none = np.zeros(0, np.int64)
    country, income = corpus.country[first:last], corpus.income[first:last]
    named, paid = np.flatnonzero(country != MISSING), np.flatnonzero(income != MISSING)
    names = pa.array(corpus.countries, pa.string())
    tags = _tag_lists(corpus, first, last)
    return ContactBatch(
        pa.array(corpus.ids(first, last), pa.string()),
        {
            "tags": FieldChange(np.arange(last - first), tags, none),
            "country": FieldChange(named, names.take(pa.array(country[named])), none),
            "income": FieldChange(paid, income[paid].astype(np.int64), none),
        },
    )


def _tag_lists(corpus: Corpus, first: int, last: int) -> pa.ListArray:
    """One list of tag names a row, from the tags' lists of rows."""
    keys = []
    for number, tag in enumerate(corpus.tags):
        lo, hi = np.searchsorted(tag.contacts, [first, last])
        keys.append((tag.contacts[lo:hi].astype(np.uint64) - np.uint64(first)) << np.uint64(8) | np.uint64(number))
    merged = np.sort(np.concatenate(keys))
    held = np.bincount((merged >> np.uint64(8)).astype(np.int64), minlength=last - first)
    offsets = np.concatenate([[0], np.cumsum(held)]).astype(np.int32)
    names = pa.array([tag.name for tag in corpus.tags], pa.string())
    return pa.ListArray.from_arrays(offsets, names.take(pa.array((merged & np.uint64(255)).astype(np.int64))))


class Embedded:
    """`account.count` in this process, from an expression object to the number."""

    name = "embedded"

    def __init__(self, account: Account) -> None:
        self._account = account

    def prepare(self, expression: Expression) -> Run:
        return lambda: self._account.count(expression).count

    def close(self) -> None:
        """Nothing is its own: the database is the caller's."""


class Evaluate:
    """The evaluation alone: plans are bound and rewritten once, on a snapshot that stays open until `close`. Windows
    end at `at`, in milliseconds since 1970."""

    name = "evaluate"

    def __init__(self, account: Account, at: int = 0) -> None:
        self._snapshot = account._store.snapshot()
        self._context = BindContext(self._snapshot, at, account.info.tz, None)

    def prepare(self, expression: Expression) -> Run:
        plan = prepare(expression, self._context).plan
        return lambda: count(plan, self._context)

    def close(self) -> None:
        self._snapshot.close()


class OverGrpc:
    """A server process on a free port of the loopback, and the client in this one."""

    name = "grpc"

    def __init__(self, path: Path) -> None:
        self._server = ServerProcess(path, path.parent / "server.log", read_only=True)
        self._client = connect(self._server.address)
        self._account = self._client.account("default")

    def prepare(self, expression: Expression) -> Run:
        text = format_expression(expression)
        return lambda: self._account.count(text).count

    def close(self) -> None:
        self._client.close()
        self._server.close()
