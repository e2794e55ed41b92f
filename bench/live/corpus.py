"""The contacts of the ingest benchmark: the count benchmark's, with a bool, a timestamp and a text of many values.

So each has five fields (number, category, bool, timestamp, text) and some of 140 tags.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bench.corpus import CORPUS_VERSION, INCOME_SCALE, SCALES, TAGS, Corpus, make_corpus
from bench.own import BATCH_ROWS, contact_batch
from bench.systems import stored
from segidx.database import Database
from segidx.ingest.batch import ContactBatch, FieldChange
from segidx.model.schema import Field, FieldType
from segidx.store import layout
from segidx.store.layout import FORMAT_VERSION

LIVE_VERSION = 1  # raise it whenever other contacts come out of the same seed; stored copies are then rebuilt

CITIES = 25_000
DAYS = 365
# The contacts were seen in the year before this instant; every update is later.
START = datetime(2024, 6, 1, tzinfo=UTC)
START_MS = int(START.timestamp()) * 1000
_YEAR_MS = DAYS * 86_400_000

SCHEMA = (
    Field("tags", FieldType.TAGS),
    Field("country", FieldType.CATEGORY),
    Field("income", FieldType.NUMBER, INCOME_SCALE),
    Field("active", FieldType.BOOL),
    Field("seen", FieldType.TIMESTAMP),
    Field("city", FieldType.TEXT),
)


@dataclass(frozen=True, slots=True)
class LiveCorpus:
    """`base` and three columns of its size: `active` bool, `seen` int64 in milliseconds since 1970, `city` int32 that
    indexes `city_names`. Everyone has all three."""

    base: Corpus
    active: npt.NDArray[np.bool_]
    seen: npt.NDArray[np.int64]
    city: npt.NDArray[np.int32]

    @property
    def size(self) -> int:
        return self.base.size

    @property
    def seed(self) -> int:
        return self.base.seed


def city_names() -> list[str]:
    return [f"city {number:05d}" for number in range(CITIES)]


def city_shares() -> npt.NDArray[np.float64]:
    """The cumulative shares of the cities, the largest first: the n-th has 1/n of the first one's people."""
    shares = np.cumsum(1 / np.arange(1, CITIES + 1))
    return np.asarray(shares / shares[-1])


def make_live_corpus(size: int, seed: int) -> LiveCorpus:
    """The contacts of that many rows. What is added to the base has a random stream of its own."""
    rng = np.random.default_rng([seed, TAGS + 1])
    return LiveCorpus(
        make_corpus(size, seed),
        rng.random(size, np.float32) < 0.6,
        START_MS - rng.integers(1, _YEAR_MS, size),
        np.searchsorted(city_shares(), rng.random(size), "right").astype(np.int32),
    )


def load(scale: str, seed: int, directory: Path) -> tuple[LiveCorpus, Path, float | None]:
    """(the contacts, the data directory that holds them, seconds it took to load or None if it was loaded before)."""
    corpus = make_live_corpus(SCALES[scale], seed)
    stamp = {
        "contacts": corpus.size,
        "seed": seed,
        "corpus": [CORPUS_VERSION, LIVE_VERSION],
        "format": FORMAT_VERSION,
        # Between releases the layout may change under one version; old data must not be measured with new code.
        "layout": zlib.crc32(Path(layout.__file__).read_bytes()),
    }
    return corpus, *stored(directory, stamp, lambda path: store(corpus, path))


def store(corpus: LiveCorpus, path: Path) -> None:
    """Load the contacts into a new data directory through the public bulk path."""
    with Database.open(path, create=True) as database:
        account = database.account()
        account.update_schema(SCHEMA)
        for first in range(0, corpus.size, BATCH_ROWS):
            account.apply(_batch(corpus, first, min(first + BATCH_ROWS, corpus.size)))


def _batch(corpus: LiveCorpus, first: int, last: int) -> ContactBatch:
    rows, none = np.arange(last - first), np.zeros(0, np.int64)
    batch = contact_batch(corpus.base, first, last)
    cities = pa.array(city_names(), pa.string()).take(pa.array(corpus.city[first:last]))
    more = {
        "active": FieldChange(rows, corpus.active[first:last].astype(np.int64), none),
        "seen": FieldChange(rows, corpus.seen[first:last], none),
        "city": FieldChange(rows, cities, none),
    }
    return replace(batch, changes={**batch.changes, **more})
