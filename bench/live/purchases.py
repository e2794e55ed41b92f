"""The orders that the clients send: three lines each and eight properties, of contacts drawn at random; and what the
account must hold of them after a run.

A batch follows from the seed, the client and its number alone. One order in fifty is one sent before, with another
contact, time and lines: it replaces that one. Knows nothing of how segidx stores or counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from bench.live.corpus import START_MS
from segidx.client import Batch
from segidx.model.events import Order, OrderLine
from segidx.model.results import WriteResult

_STREAM = 1002  # tells these random streams from the others
LINES = 3
PRODUCTS, PRODUCERS, CATEGORIES = 20_000, 300, 30
SOURCES = ("paid_search", "paid_social", "organic_search", "email", "direct", "referral")
AGAIN = 0.02
_DAY = 86_400_000
_SHOWN = 10  # products and producers that are asked for

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Purchases:
    """One batch in columns, a row an order: `numbers` tell a client's orders apart, `contacts` are row numbers of the
    corpus; `products`, `quantities` and `cents` have a column a line."""

    client: int
    numbers: Ints
    contacts: Ints
    times: Ints
    sources: Ints
    paid: npt.NDArray[np.bool_]
    products: Ints
    quantities: Ints
    cents: Ints


class PurchaseStream:
    """The batches of client `client` of `clients`, `rows` orders each, of the contacts 0..size of a corpus."""

    what = "orders"

    def __init__(self, size: int, seed: int, client: int, clients: int, rows: int) -> None:
        self._size, self._seed, self._client, self._clients, self._rows = size, seed, client, clients, rows
        shares = np.cumsum(1 / np.arange(1, PRODUCTS + 1) ** 0.8)
        self._shares = shares / shares[-1]

    def columns(self, number: int) -> Purchases:
        """Batch `number`, from 0."""
        rng = np.random.default_rng([self._seed, _STREAM, self._clients, self._client, number])
        rows, first = self._rows, number * self._rows
        numbers = np.arange(first, first + rows)
        if number:
            again = np.flatnonzero(rng.random(rows) < AGAIN)
            numbers[again] = rng.integers(0, first, len(again))
        late = rng.random(rows) < 0.05
        return Purchases(
            client=self._client,
            numbers=numbers,
            contacts=rng.integers(0, self._size // self._clients, rows) * self._clients + self._client,
            times=START_MS - np.where(late, rng.integers(1, 365 * _DAY, rows), rng.integers(1, 30 * _DAY, rows)),
            sources=rng.integers(0, len(SOURCES), rows),
            paid=rng.random(rows) < 0.9,
            products=np.searchsorted(self._shares, rng.random((rows, LINES)), "right"),
            quantities=rng.integers(1, 6, (rows, LINES)),
            cents=rng.integers(99, 9_999, (rows, LINES)),
        )

    def batch(self, purchases: Purchases) -> Batch:
        """The orders as the client sends them."""
        times = purchases.times.astype("datetime64[ms]").tolist()
        return Batch(
            events=[
                Order(
                    f"o{purchases.client}-{number}",
                    f"c{contact:09d}",
                    at.replace(tzinfo=UTC),
                    source=SOURCES[source],
                    paid=paid,
                    lines=[
                        OrderLine(
                            _product(product),
                            _producer(product % PRODUCERS),
                            f"category {product % CATEGORIES:02d}",
                            quantity,
                            Decimal(cents).scaleb(-2),
                            Decimal(quantity * cents).scaleb(-2),
                        )
                        for product, quantity, cents in zip(*lines, strict=True)
                    ],
                )
                for number, contact, at, source, paid, *lines in zip(
                    purchases.numbers.tolist(),
                    purchases.contacts.tolist(),
                    times,
                    purchases.sources.tolist(),
                    purchases.paid.tolist(),
                    purchases.products.tolist(),
                    purchases.quantities.tolist(),
                    purchases.cents.tolist(),
                    strict=True,
                )
            ]
        )

    def probe(self, _purchases: Purchases) -> None:
        """Nothing: whether a write is visible is asked of a contact's fields."""

    def accepted(self, result: WriteResult) -> int:
        """The rows that a result speaks of, refused ones not."""
        return result.events_accepted + result.events_duplicates


def _product(number: int) -> str:
    return f"product {number:05d}"


def _producer(number: int) -> str:
    return f"producer {number:03d}"


class PurchaseTruth:
    """All orders that stand, and the exact counts of questions about them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._sent: list[Purchases] = []

    def apply(self, batches: Iterable[Purchases]) -> None:
        """Apply batches; those of one client in their order."""
        self._sent += batches

    def counts(self) -> dict[str, int]:
        ids = np.concatenate([p.numbers * 64 + p.client for p in self._sent])
        # The last of each id: the first from behind.
        _, behind = np.unique(ids[::-1], return_index=True)
        rows = len(ids) - 1 - behind
        contacts, times, sources, paid, products, quantities, cents = (
            np.concatenate([getattr(p, name) for p in self._sent])[rows]
            for name in ("contacts", "times", "sources", "paid", "products", "quantities", "cents")
        )
        amounts = quantities * cents
        expected: dict[str, int] = {}
        orders = np.bincount(contacts, minlength=self._size)
        expected |= {f"count(order) >= {n}": int((orders >= n).sum()) for n in (1, 2, 3)}
        spent = np.bincount(contacts, amounts.sum(axis=1), self._size)
        expected |= {f"sum(order.amount) > {n}": int((spent > 100 * n).sum()) for n in (50, 300, 500)}
        recent = np.bincount(contacts[times >= START_MS - 7 * _DAY], minlength=self._size)
        since = np.datetime64(START_MS - 7 * _DAY, "ms")
        expected[f"never(order from {since}Z)"] = int((recent == 0).sum())
        email = (sources == SOURCES.index("email")) & paid
        expected['did(order where source = "email" and paid)'] = len(np.unique(contacts[email]))
        owners = np.repeat(contacts, LINES)
        product, money = products.ravel(), amounts.ravel()
        for number in range(_SHOWN):
            mine = product == number
            expected[f'did(line where product = "{_product(number)}")'] = len(np.unique(owners[mine]))
            made = product % PRODUCERS == number
            total = np.bincount(owners[made], money[made], self._size)
            question = f'sum(line.amount where producer = "{_producer(number)}") > 200'
            expected[question] = int((total > 20_000).sum())
        return expected
