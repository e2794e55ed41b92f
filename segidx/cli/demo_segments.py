"""The demo's questions, each with the same question put to pandas, and asking them of a server."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from segidx.client import connect

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

    Mask = Callable[[pd.DataFrame], "pd.Series[bool]"]

REPEATS = 5  # the quickest of so many is shown


@dataclass(frozen=True, slots=True)
class Segment:
    """A name, the expression, and which rows of the households' frame it holds."""

    name: str
    expression: str
    mask: Mask


@dataclass(frozen=True, slots=True)
class Answer:
    name: str
    expression: str
    count: int
    expected: int
    server_ms: float
    round_trip_ms: float


def _has(frame: pd.DataFrame, *wanted: str, all_: bool = False) -> pd.Series[bool]:
    test = set(wanted).issubset if all_ else lambda tags: not set(wanted).isdisjoint(tags)
    return frame.tags.map(lambda tags: tags is not None and test(tags)).astype(bool)


def _is(frame: pd.DataFrame, column: str, test: Callable[..., bool]) -> pd.Series[bool]:
    """Where the column has a value and it passes."""
    return frame[column].map(lambda value: value is not None and bool(test(value))).astype(bool)


SEGMENTS = (
    Segment("everyone", "everyone", lambda f: f.index == f.index),
    Segment("middle incomes", 'income in ("50-74K", "75-99K")', lambda f: f.income.isin(["50-74K", "75-99K"])),
    Segment("not a 35-49K income", 'income != "35-49K"', lambda f: ~_is(f, "income", lambda v: v == "35-49K")),
    Segment(
        "campaigns 8 and 13",
        'tags has all ("campaign-8", "campaign-13")',
        lambda f: _has(f, "campaign-8", "campaign-13", all_=True),
    ),
    Segment("never in a type A campaign", 'not tags has "type-a"', lambda f: ~_has(f, "type-a")),
    Segment(
        "spent 1,000 to 2,000",
        "total_sales between 1000 and 2000.00",
        lambda f: _is(f, "total_cents", lambda v: 100_000 <= v <= 200_000),
    ),
    Segment(
        "big baskets",
        "total_sales / basket_count > 50",
        lambda f: f.apply(lambda r: r.basket_count is not None and r.total_cents > 5000 * r.basket_count, axis=1),
    ),
    Segment(
        "lapsed in autumn",
        "last_shopping from 2017-09-01 to 2017-12-01",
        lambda f: _is(f, "last_shopping", lambda d: date(2017, 9, 1) <= d < date(2017, 12, 1)),
    ),
    Segment(
        "coupons, age unknown",
        "coupons_redeemed > 0 and age is not set",
        lambda f: _is(f, "coupons_redeemed", lambda v: v > 0) & f.age.isna(),
    ),
    Segment(
        "milk or beef first",
        'favourite_product contains "MILK" or favourite_product contains ci "beef"',
        lambda f: _is(f, "favourite_product", lambda v: "MILK" in v or "beef" in v.casefold()),
    ),
    Segment(
        "families worth a letter",
        '(home_ownership = "Homeowner" or kids_count in ("1", "2", "3+"))'
        ' and not (tags has any ("campaign-8", "campaign-13") or coupons_redeemed >= 3)'
        " and (total_sales >= 2500 or basket_count >= 100)",
        lambda f: (
            (_is(f, "home_ownership", lambda v: v == "Homeowner") | f.kids_count.isin(["1", "2", "3+"]))
            & ~(_has(f, "campaign-8", "campaign-13") | _is(f, "coupons_redeemed", lambda v: v >= 3))
            & (_is(f, "total_cents", lambda v: v >= 250_000) | _is(f, "basket_count", lambda v: v >= 100))
        ),
    ),
    Segment(
        "two signs of loyalty",
        'at least 2 of (basket_count > 150, coupons_redeemed >= 1, tags has "type-a",'
        ' first_shopping before 2017-01-08 and favourite_department = "GROCERY")',
        lambda f: (
            _is(f, "basket_count", lambda v: v > 150).astype(int)
            + _is(f, "coupons_redeemed", lambda v: v >= 1).astype(int)
            + _has(f, "type-a").astype(int)
            + (
                _is(f, "first_shopping", lambda d: d < date(2017, 1, 8))
                & _is(f, "favourite_department", lambda v: v == "GROCERY")
            ).astype(int)
            >= 2
        ),
    ),
)


def ask(address: str, frame: pd.DataFrame) -> list[Answer]:
    """Count every segment over gRPC and with pandas."""
    answers = []
    with connect(address, timeout=30) as client:
        account = client.account("default")
        account.count("everyone")  # opens the connection
        for segment in SEGMENTS:
            best = server = float("inf")
            for _ in range(REPEATS):
                began = time.perf_counter()
                found = account.count(segment.expression)
                best = min(best, (time.perf_counter() - began) * 1000)
                server = min(server, found.evaluation.elapsed_ms)
            expected = int(sum(segment.mask(frame)))
            answers.append(Answer(segment.name, segment.expression, found.count, expected, server, best))
    return answers
