"""The orders of the load: what an import sends, the same for the writer and for the model. Knows nothing of segidx.

Ids come back with another contact, another time and other lines. Some contacts are written by nothing but orders and
events, which have to create them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime

CONTACTS = 400  # c0 and so on, as all batches write them; many are not there yet when an import names them
BUYERS = 500  # b0 and so on, whom only orders and events name; with the contacts still fewer than a preview may hold
WINDOW = 120  # order ids that an import draws from; the window moves on slowly, so that there are always new ones
FIRST_TIME = 1_704_067_200_000  # 2024-01-01
DAYS = 130
MIDDLE = 1_709_251_200_000  # 2024-03-01
DAY = 86_400_000

SOURCES = ("shop", "email", "phone")
PRODUCTS = tuple(f"p{i}" for i in range(9))
PRODUCERS = tuple(f"m{i}" for i in range(4))
CATEGORIES = ("books", "tea")


@dataclass(frozen=True)
class Line:
    """Quantities are whole here, or missing; money is in hundredths."""

    product: str | None
    producer: str | None
    category: str | None
    quantity: int | None
    unit_price: int | None
    amount: int | None


@dataclass(frozen=True)
class Order:
    order_id: str
    contact_id: str
    time: int  # ms since 1970
    source: str | None
    paid: bool | None
    amount: int | None  # in hundredths
    lines: tuple[Line, ...]
    bad: bool = False  # its contact has no id, for which every writer refuses it
    revision: int | None = None


def draw_orders(rng: random.Random, number: int) -> tuple[Order, ...]:
    """The orders of import `number`. Each import changes something that can be seen: its first order has an id of its
    own, and is valid."""
    ids = [number // 20 + n for n in rng.sample(range(WINDOW), rng.choice((1, 8, 25, 60)))]
    orders = [draw_order(rng, f"o{n}", number) for n in ids]
    if len(orders) > 1:  # one id twice: the later one counts
        orders.insert(1, draw_order(rng, orders[-1].order_id, number))
    return (draw_order(rng, f"only {number}", number, bad=False), *orders[1:])


def draw_revision(rng: random.Random, number: int) -> int | None:
    """Mostly none, so that what has one outlives much that is sent behind it; some outdo all but the newest."""
    return rng.choice((None, None, None, None, None, None, 1 + rng.randrange(3), 4 + number // 20))


def draw_order(rng: random.Random, order_id: str, number: int, *, bad: bool | None = None) -> Order:
    """An order of this id."""
    bad = rng.random() < 0.03 if bad is None else bad
    shared = rng.random() < 0.7
    contact = f"c{rng.randrange(CONTACTS)}" if shared else f"b{(number // 6 + rng.randrange(30)) % BUYERS}"
    midnight = FIRST_TIME + rng.randrange(9) * DAY  # one of few, so that orders of a contact share their time
    drawn = rng.choice((MIDDLE - 1, MIDDLE, midnight, FIRST_TIME + rng.randrange(DAYS * DAY)))
    return Order(
        order_id,
        "" if bad else contact,
        drawn,
        rng.choice((None, *SOURCES, f"campaign {number}")),
        rng.choice((None, True, False)),
        rng.choice((None, None, rng.randrange(-5_000, 50_000))),
        tuple(_line(rng, number) for _ in range(rng.choice((0, 1, 1, 2, 5)))),
        bad,
        draw_revision(rng, number),
    )


def _line(rng: random.Random, number: int) -> Line:
    return Line(
        rng.choice((None, *PRODUCTS, f"novelty {number}")),
        rng.choice((None, *PRODUCERS)),
        rng.choice((None, *CATEGORIES)),
        rng.choice((None, 1, 2, 3, 12, -1, 0)),
        rng.choice((None, rng.randrange(10_000))),
        rng.choice((None, None, rng.randrange(-10_000, 30_000))),
    )


def as_time(millis: int) -> datetime:
    return datetime.fromtimestamp(millis // 1000, UTC).replace(microsecond=millis % 1000 * 1000)
