"""The questions of the events benchmark: each alone, and in AND with a tag of about 1 % of the contacts."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from bench.cases import Case
from bench.orders.corpus import BAND, BANDS, TAG, producer_name, product_name
from segidx.model.expression import And, Expression, band, field, lines, orders, tags
from segidx.model.windows import Direction, Rolling, Unit

PRODUCT_RANKS = (1, 10, 100, 1000)
PRODUCER_RANKS = (1, 10, 100)


def make_cases() -> list[Case]:
    """Every question, and every question with the tag, one expression each."""
    cases = []
    for name, what, expression in _questions():
        cases.append(Case(name, what, (expression,)))
        cases.append(Case(f"{name}_and_tag", f"{what} AND a tag of 1 %", (And((tags().has(TAG), expression)),)))
    return cases


def _questions() -> Iterator[tuple[str, str, Expression]]:
    for rank in PRODUCER_RANKS:
        bought = lines().where(field("producer") == producer_name(rank)).during(_last(6, Unit.MONTH))
        yield (
            f"producer_{rank}",
            f"sum of producer {rank} > 300 in 6 months",
            bought.sum("amount") > Decimal(300),
        )
    for rank in PRODUCT_RANKS:
        bought = lines().where(field("product") == product_name(rank)).during(_last(1, Unit.MONTH))
        yield f"product_{rank}", f"bought product {rank} in 1 month", bought.did()
    spent = orders().during(_last(12, Unit.MONTH)).sum("amount")
    yield "spent", "spent > 1000 in 12 months", spent > Decimal(1000)
    yield "lifetime", "spent > 1000 ever, a derived number", orders().sum("amount") > Decimal(1000)
    yield "three_orders", "3 orders in 90 days", orders().during(_last(90, Unit.DAY)).count() >= 3
    yield "never", "never an order in 60 days", orders().during(_last(60, Unit.DAY)).never()
    yield "band", "in the band 500 to 1000 of what was spent ever", band(BANDS) == BAND


def _last(count: int, unit: Unit) -> Rolling:
    return Rolling(Direction.LAST, count, unit)
