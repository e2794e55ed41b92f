"""The contacts of the events benchmark and two years of their orders, from one seed.

Activity falls like Zipf's law: few contacts order often and most once or never, few products and producers sell most.
Orders come in time order, a piece at a time, so that the whole is never in memory. Imports nothing of segidx, so that
peers and segidx meet the same arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

SCALES = {"smoke": 10_000, "small": 1_000_000, "full": 10_000_000}  # contacts
SEED = 20_240_917
CORPUS_VERSION = 1  # raise it whenever another corpus comes out of the same seed; stored copies are then rebuilt

ORDERS_EACH = 2  # mean orders of a contact
PIECE = 80_000  # orders made at once: 200,000 lines
PRODUCTS, PRODUCERS, CATEGORIES, SOURCES = 50_000, 500, 40, 6
MONEY_SCALE, QUANTITY_SCALE = 2, 3
TAGGED = 0.01  # share of the contacts that carry the tag
TAG = "tagged"
MISSING = -1
# Bands of what a contact has ever spent, by their upper thresholds; the one that is asked for, and its ends.
BANDS, THRESHOLDS = "spend", (100, 500, 1000)
BAND, BAND_ENDS = "500-1000", (500, 1000)

# Windows end at this instant, which is behind all orders, within a day and a month: no window is whole blocks.
AT = datetime(2026, 1, 15, 12, tzinfo=UTC)
START = AT - timedelta(days=731)
AT_MS, START_MS = (int(instant.timestamp()) * 1000 for instant in (AT, START))

_NO_LINES = 0.01  # shares of the orders
_RETURNED = 0.03
_LINE_RETURNED = 0.01  # share of the lines of the other orders
_MORE_LINES = 0.396  # of geometric numbers of lines, 2.5 in the mean
_MOST_LINES = 30
_LATE_MS = 60 * 86_400_000
_ONE = 10**QUANTITY_SCALE

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Orders:
    """Orders by time, and the lines of the first order, then those of the next. All arrays are int64; names are by
    number, MISSING stands where there is none, money is in minor units and quantities in thousandths."""

    first: int  # the number of the first order
    contact: Ints
    time: Ints  # milliseconds since 1970
    source: Ints
    paid: Ints  # 0, 1 or MISSING
    amount: Ints
    counts: Mask
    line_counts: Ints
    product: Ints
    producer: Ints
    category: Ints
    quantity: Ints
    unit_price: Ints
    line_amount: Ints

    @property
    def owner(self) -> Ints:
        """The order of each line, counted from the first order here."""
        return np.repeat(np.arange(len(self.contact)), self.line_counts)

    def ids(self) -> list[str]:
        return [f"order-{number:09d}" for number in range(self.first, self.first + len(self.contact))]

    def contact_ids(self) -> list[str]:
        """The id of each order's contact."""
        return [contact_id(row) for row in self.contact.tolist()]


@dataclass(frozen=True, slots=True)
class OrderCorpus:
    """`size` contacts, `tagged` the ascending row numbers of those with the tag. Products are numbered by their sales,
    the best seller first, and have a producer, a category (or MISSING) and a price each."""

    size: int
    seed: int
    tagged: Ints
    contacts: Ints  # by activity, the most active first
    producer: Ints
    category: Ints
    price: Ints

    @property
    def orders(self) -> int:
        return ORDERS_EACH * self.size

    def ids(self, first: int, last: int) -> list[str]:
        """The contact ids of the rows first..last, last excluded."""
        return [contact_id(row) for row in range(first, last)]

    def pieces(self) -> Iterator[Orders]:
        """All orders, a piece of the two years after the other. Each piece has a random stream of its own."""
        best = shares(PRODUCTS, 9)
        for first in range(0, self.orders, PIECE):
            yield _piece(self, first, min(first + PIECE, self.orders), best)

    def late(self, orders: int) -> Orders:
        """So many orders more, numbered behind all others, of the last 60 days and in no order of time."""
        return _piece(self, self.orders, self.orders + orders, shares(PRODUCTS, 9), AT_MS - _LATE_MS)


def contact_id(row: int) -> str:
    return f"c{row:09d}"


def product_name(rank: int) -> str:
    """The product of the `rank`-th best sales, from 1."""
    return f"sku-{rank:05d}"


def producer_name(rank: int) -> str:
    """The producer of the `rank`-th best sales, from 1."""
    return f"maker {rank:03d}"


def product_names() -> list[str]:
    """The products by their numbers, which are from 0."""
    return [product_name(number + 1) for number in range(PRODUCTS)]


def producer_names() -> list[str]:
    """The producers by their numbers, which are from 0."""
    return [producer_name(number + 1) for number in range(PRODUCERS)]


def category_names() -> list[str]:
    return [f"category {number:02d}" for number in range(CATEGORIES)]


def source_names() -> list[str]:
    return ["web", "email", "shop", "app", "marketplace", "phone"]


def shares(number: int, flat: int) -> npt.NDArray[np.float64]:
    """The cumulative shares of that many things: the n-th has 1 / (n + flat) of what the whole law has."""
    cumulative = np.cumsum(1 / np.arange(1 + flat, 1 + flat + number))
    return np.asarray(cumulative / cumulative[-1])


def make_orders(size: int, seed: int = SEED) -> OrderCorpus:
    """The corpus of that many contacts."""
    rng = np.random.default_rng([seed, 0])
    drawn = np.searchsorted(shares(PRODUCERS, 2), rng.random(PRODUCTS), "right")
    weights = np.diff(shares(PRODUCTS, 9), prepend=0.0)
    sales = np.bincount(drawn, weights, PRODUCERS)
    rank = np.empty(PRODUCERS, np.int64)
    rank[np.argsort(-sales, kind="stable")] = np.arange(PRODUCERS)
    category = rng.integers(0, CATEGORIES, PRODUCTS)
    category[rng.random(PRODUCTS) < 0.02] = MISSING
    price = np.clip(np.exp(rng.normal(3.0, 0.9, PRODUCTS)) * 10**MONEY_SCALE, 50, 200_000).astype(np.int64)
    rng = np.random.default_rng([seed, 1])
    tagged = np.flatnonzero(rng.random(size) < TAGGED)
    return OrderCorpus(size, seed, tagged, rng.permutation(size), rank[drawn], category, price)


def _piece(
    corpus: OrderCorpus, first: int, last: int, best: npt.NDArray[np.float64], late_from: int | None = None
) -> Orders:
    rng = np.random.default_rng([corpus.seed, 2, first])
    n = last - first
    span = AT_MS - START_MS
    start, end = (START_MS + span * number // corpus.orders for number in (first, last))
    time = np.sort(rng.integers(start, end, n)) if late_from is None else rng.integers(late_from, AT_MS, n)
    line_counts = np.minimum(rng.geometric(_MORE_LINES, n), _MOST_LINES)
    line_counts[rng.random(n) < _NO_LINES] = 0
    owner = np.repeat(np.arange(n), line_counts)
    product = np.searchsorted(best, rng.random(len(owner)), "right")
    quantity = _quantities(rng, len(owner))
    returned = (rng.random(n) < _RETURNED)[owner] | (rng.random(len(owner)) < _LINE_RETURNED)
    quantity[returned] *= -1
    unit_price = corpus.price[product]
    line_amount = np.sign(quantity) * ((np.abs(quantity) * unit_price + _ONE // 2) // _ONE)
    ends = np.cumsum(line_counts)
    amount = _sums(line_amount, ends)
    alone = np.flatnonzero(line_counts == 0)
    amount[alone] = rng.integers(-2_000, 20_000, len(alone))
    source = rng.integers(0, SOURCES, n)
    source[rng.random(n) < 0.1] = MISSING
    paid = (rng.random(n) < 0.9).astype(np.int64)
    paid[rng.random(n) < 0.05] = MISSING
    sold = _sums((quantity > 0).astype(np.int64), ends) > 0
    return Orders(
        first=first,
        contact=corpus.contacts[_active(rng, corpus.size, n)],
        time=time,
        source=source,
        paid=paid,
        amount=amount,
        counts=np.where(line_counts > 0, sold, amount >= 0),
        line_counts=line_counts,
        product=product,
        producer=corpus.producer[product],
        category=corpus.category[product],
        quantity=quantity,
        unit_price=unit_price,
        line_amount=line_amount,
    )


def _quantities(rng: np.random.Generator, n: int) -> Ints:
    """Mostly one, some 2 to 6, a few weights."""
    kind = rng.random(n)
    several = np.where(kind < 0.7, 1, rng.integers(2, 7, n)) * _ONE
    return np.asarray(np.where(kind < 0.95, several, rng.integers(50, 3 * _ONE, n)))


def _sums(values: Ints, ends: Ints) -> Ints:
    """The sum of the values of each order, whose lines end there."""
    return np.asarray(np.diff(np.concatenate([[0], np.cumsum(values)])[np.concatenate([[0], ends])]))


def _active(rng: np.random.Generator, size: int, n: int) -> Ints:
    """Ranks of contacts by activity: the density at rank r falls with (r + size / 2000) ** -0.75, so that the most
    active have some 190 orders in the two years whatever the size, and most have none or one."""
    flat, power = size / 2000, 0.25
    low, high = flat**power, (size + flat) ** power
    rank = (low + rng.random(n) * (high - low)) ** (1 / power) - flat
    return np.asarray(np.clip(rank.astype(np.int64), 0, size - 1))
