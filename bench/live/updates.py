"""The updates that the clients send: five fields and two tags given, of contacts drawn at random.

A batch follows from the seed, the client and its number alone, so that whoever checks the answers makes the same ones
again. The clients of a run share the contacts out by their row number, so that the last write of each is known;
together they draw uniformly from all.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC

import numpy as np
import numpy.typing as npt

from bench.corpus import COUNTRIES, INCOME_LIMIT, TAGS, country_names, tag_name
from bench.live.corpus import START_MS, city_names, city_shares
from segidx.model.results import WriteResult
from segidx.model.writes import ContactWrite

_STREAM = 1001  # tells these random streams from the corpus's
INCOMES = INCOME_LIMIT // 100  # whole units


@dataclass(frozen=True, slots=True)
class Updates:
    """One batch in columns, a row each: `contacts` are row numbers of the corpus, `income` is in whole units, `tags`
    has two columns. Rows apply in their order."""

    contacts: npt.NDArray[np.int64]
    income: npt.NDArray[np.int64]
    country: npt.NDArray[np.int64]
    active: npt.NDArray[np.bool_]
    seen: npt.NDArray[np.int64]
    city: npt.NDArray[np.int64]
    tags: npt.NDArray[np.int64]


class UpdateStream:
    """The batches of client `client` of `clients`, `rows` rows each, to the contacts 0..size of a corpus."""

    what = "updates"

    def __init__(self, size: int, seed: int, client: int, clients: int, rows: int) -> None:
        self._size, self._seed, self._client, self._clients, self._rows = size, seed, client, clients, rows
        self._shares = city_shares()
        self._cities, self._countries = city_names(), country_names()
        self._tags = [tag_name(number) for number in range(TAGS)]

    def columns(self, number: int) -> Updates:
        """Batch `number`, from 0. A client's timestamps ascend from row to row and from batch to batch."""
        rng = np.random.default_rng([self._seed, _STREAM, self._clients, self._client, number])
        rows = self._rows
        first_tag = rng.integers(0, TAGS, rows)
        return Updates(
            contacts=rng.integers(0, self._size // self._clients, rows) * self._clients + self._client,
            income=rng.integers(0, INCOMES, rows),
            country=rng.integers(0, COUNTRIES, rows),
            active=rng.random(rows) < 0.6,
            seen=START_MS + np.arange(number * rows, (number + 1) * rows),
            city=np.searchsorted(self._shares, rng.random(rows), "right"),
            tags=np.stack([first_tag, (first_tag + rng.integers(1, TAGS, rows)) % TAGS], axis=1),
        )

    def batch(self, updates: Updates) -> list[ContactWrite]:
        """The rows as the client sends them."""
        cities, countries, tags = self._cities, self._countries, self._tags
        seen = updates.seen.astype("datetime64[ms]").tolist()
        return [
            ContactWrite(
                f"c{contact:09d}",
                {
                    "income": income,
                    "country": countries[country],
                    "active": active,
                    "seen": at.replace(tzinfo=UTC),
                    "city": cities[city],
                },
                {"tags": (tags[one], tags[other])},
            )
            for contact, income, country, active, at, city, (one, other) in zip(
                updates.contacts.tolist(),
                updates.income.tolist(),
                updates.country.tolist(),
                updates.active.tolist(),
                seen,
                updates.city.tolist(),
                updates.tags.tolist(),
                strict=True,
            )
        ]

    def probe(self, updates: Updates) -> tuple[int, int]:
        """The contact of the last row and its `seen`."""
        return int(updates.contacts[-1]), int(updates.seen[-1])

    def accepted(self, result: WriteResult) -> int:
        """The rows that a result speaks of, refused ones not."""
        return result.accepted + result.duplicates
