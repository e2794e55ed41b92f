"""Bands: which there can be, what they are called, and how they are stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segidx.model.bands import (
    Bands,
    band_value,
    bands,
    check_decimals,
    from_stored,
    generated_labels,
    to_stored,
    value_text,
)
from segidx.model.errors import EmptyOperands, InvalidArgument, InvalidValue, SegidxError, UnfinishedExpression
from segidx.model.expression import (
    Aggregate,
    AggregateFunction,
    And,
    BandIs,
    Crossed,
    Events,
    Not,
    Unfinished,
    band,
    field,
    orders,
)
from segidx.model.windows import Direction, Rolling, Unit

SPEND = Aggregate(AggregateFunction.SUM, Events("order"), "amount")
ORDERS = Aggregate(AggregateFunction.COUNT, Events("order"))
DAY = Rolling(Direction.LAST, 1, Unit.DAY)


@pytest.mark.parametrize(
    ("thresholds", "labels"),
    [
        ((100, 500, 1000), ("none", "<100", "100-500", "500-1000", "1000+")),
        ((1,), ("none", "<1", "1+")),
        (("0.50", "1E+2"), ("none", "<0.5", "0.5-100", "100+")),
        (("-10", "-0", "5"), ("none", "<-10", "-10-0", "0-5", "5+")),
    ],
)
def test_labels_are_generated(thresholds: tuple[Any, ...], labels: tuple[str, ...]) -> None:
    of = bands("spend", SPEND, map(Decimal, thresholds))
    assert of.labels == labels == generated_labels(of.thresholds)
    assert bands("spend", SPEND, of.thresholds, labels) == of


def test_equal_numbers_are_equal_thresholds() -> None:
    assert bands("spend", SPEND, [Decimal("1.50"), Decimal("1e2")]) == bands("spend", SPEND, [Decimal("1.5"), 100])


def test_labels_of_the_callers_own() -> None:
    of = bands("spend", SPEND, [100], ["nothing", "e\u0301", "much"])
    assert of.labels == ("nothing", "\u00e9", "much")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: bands("Spend", SPEND, [1]), InvalidArgument, "'Spend' is no name of bands"),
        (lambda: bands("", SPEND, [1]), InvalidArgument, "'' is no name of bands"),
        (lambda: bands(7, SPEND, [1]), InvalidArgument, "'7' is no name of bands"),  # type: ignore[arg-type]
        (lambda: bands("s", orders().average("amount").value, [1]), InvalidArgument, "a count of events or a sum"),  # type: ignore[arg-type]
        (lambda: bands("s", orders().count() + 1, [1]), InvalidArgument, "a count of events or a sum"),  # type: ignore[arg-type]
        (lambda: bands("s", Aggregate(AggregateFunction.COUNT, Events("touch")), [1]), InvalidArgument, "is a group"),
        (lambda: bands("s", SPEND, []), InvalidArgument, "have 1 to 64 thresholds, not 0"),
        (lambda: bands("s", SPEND, range(65)), InvalidArgument, "have 1 to 64 thresholds, not 65"),
        (lambda: bands("s", SPEND, [100, 100]), InvalidArgument, "thresholds ascend, but 100 comes after 100"),
        (lambda: bands("s", SPEND, [100, 50]), InvalidArgument, "thresholds ascend, but 50 comes after 100"),
        (lambda: bands("s", SPEND, ["100"]), InvalidArgument, "'100' is no threshold"),  # type: ignore[list-item]
        (lambda: bands("s", SPEND, [True]), InvalidArgument, "True is no threshold"),
        (lambda: bands("s", SPEND, [1.5]), InvalidValue, "not exact"),  # type: ignore[list-item]
        (lambda: bands("s", SPEND, [Decimal("NaN")]), InvalidValue, "not a finite number"),
        (lambda: bands("s", ORDERS, [0, 1]), InvalidArgument, "thresholds of counts begin at 1"),
        (lambda: bands("s", SPEND, [1], ["a", "b"]), InvalidArgument, "have 3 labels, from .* not 2"),
        (lambda: bands("s", SPEND, [1], []), InvalidArgument, "have 3 labels, from .* not 0"),
        (lambda: bands("s", SPEND, [1], "abc"), InvalidArgument, "a list of labels is wanted"),
        (lambda: bands("s", SPEND, [1], ["a", "b", "a"]), InvalidArgument, "two bands of the label 'a'"),
        (lambda: bands("s", SPEND, [1], ["a", "", "c"]), InvalidArgument, "a string of 1 to 255 bytes"),
        (lambda: bands("s", SPEND, [1], ["a", "ż" * 128, "c"]), InvalidArgument, "a string of 1 to 255 bytes"),
        (lambda: bands("s", SPEND, [1], ["a", 5, "c"]), InvalidArgument, "a label is a string"),  # type: ignore[list-item]
        (
            lambda: bands("s", Aggregate(AggregateFunction.COUNT, Events("order", Unfinished())), [1]),
            UnfinishedExpression,
            "unfinished",
        ),
        (
            lambda: bands("s", Aggregate(AggregateFunction.COUNT, Events("order", And(()))), [1]),
            EmptyOperands,
            "says nothing",
        ),
    ],
)
def test_what_cannot_be(make: Callable[[], Bands], error: type[SegidxError], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_decimals_are_those_of_the_value() -> None:
    check_decimals(bands("s", SPEND, [Decimal("99.95"), 100]), 2)
    check_decimals(bands("s", SPEND, [Decimal(2**62 - 1).scaleb(-2)]), 2)
    for threshold, scale, message in (
        (Decimal("99.95"), 1, "threshold 99.95 has more decimals than the 1 of its value"),
        (Decimal("0.5"), 0, "more decimals than the 0"),
        (Decimal(2**62).scaleb(-2), 2, "is larger than any value"),
        (Decimal("-1e30"), 0, "is larger than any value"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            check_decimals(bands("s", SPEND, [threshold]), scale)


@pytest.mark.parametrize(
    "text",
    ["sum(order.amount)", "count(visit)", 'sum(line.amount where product = "a)" during last 12 months)'],
)
def test_values_are_written_as_in_a_comparison(text: str) -> None:
    assert value_text(band_value(text)) == text
    assert band_value(f"{text} # all of it") == band_value(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "order",
        "5",
        "sum(order)",
        "count(order) + 1",
        "days_since(last(order))",
        "did(order)",
        "count(order) = 1",
        "count(order)) = 1 or (count(order)",
        "count(order)) = 5 #",
        "count(order) = 0 or (count(order)",
        "first(order)",
    ],
)
def test_what_is_no_value(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is no value of bands"):
        band_value(text)


@given(
    thresholds=st.sets(st.integers(-(10**12), 10**12).map(lambda n: Decimal(n).scaleb(-3)), min_size=1, max_size=64),
    value=st.sampled_from(
        [SPEND, Aggregate(AggregateFunction.SUM, Events("line", field("product") == 'a"', DAY), "quantity")]
    ),
)
def test_what_is_stored_reads_back(thresholds: set[Decimal], value: Aggregate) -> None:
    of = bands("spend", value, sorted(thresholds))
    assert from_stored("spend", json.loads(json.dumps(to_stored(of)))) == of


def test_builders() -> None:
    assert (band("spend") == "100-500") == BandIs("spend", ("100-500",))
    assert (band("spend") != "100-500") == Not(BandIs("spend", ("100-500",)))
    assert band("spend").isin(["a", "b"]) == BandIs("spend", ("a", "b"))
    assert band("spend").crossed(500) == Crossed("spend", Decimal(500))
    assert band("spend").crossed(Decimal("0.5"), DAY) == Crossed("spend", Decimal("0.5"), DAY)
    for wrong in (
        lambda: band("spend").isin("ab"),
        lambda: band("spend") == 5,
        lambda: band("spend").crossed("500"),  # type: ignore[arg-type]
        lambda: band("spend").crossed(True),
    ):
        with pytest.raises(SegidxError):
            wrong()
