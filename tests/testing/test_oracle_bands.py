"""The oracle on bands, by cases worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from segidx.model.errors import (
    InvalidArgument,
    InvalidExpression,
    SegidxError,
    UnknownBand,
    UnknownBands,
    UnknownThreshold,
)
from segidx.model.events import Order, Retraction
from segidx.model.expression import Aggregate, AggregateFunction, Events
from segidx.model.schema import Schema
from segidx.model.syntax import parse
from segidx.model.windows import Direction, Rolling, Unit, to_millis
from segidx.testing.oracle import Oracle

START = datetime(2024, 1, 1, tzinfo=UTC)
SPEND = Aggregate(AggregateFunction.SUM, Events("order"), "amount")
ORDERS = Aggregate(AggregateFunction.COUNT, Events("order"))


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def order(order_id: str, contact_id: str, on: float, amount: str) -> Order:
    return Order(order_id, contact_id, day(on), amount=Decimal(amount))


@pytest.fixture
def oracle() -> Oracle:
    made = Oracle(Schema(()), "UTC")
    made.upsert([("z", {})])
    made.declare_bands("spend", SPEND, [100, 500])
    made.declare_bands("orders", ORDERS, [1, 2], ["zero", "under one", "one", "more"])
    return made


def holds(oracle: Oracle, text: str, at: float = 100) -> str:
    return "".join(sorted(oracle.members(parse(text), day(at))))


def test_a_value_that_is_equal_lies_above(oracle: Oracle) -> None:
    rows = [("a", "99.99"), ("b", "100"), ("c", "499.99"), ("d", "500"), ("e", "0"), ("f", "-3")]
    oracle.write_events([order(c, c, 1, amount) for c, amount in rows], to_millis(day(50)))
    found = {label: holds(oracle, f'band(spend) = "{label}"') for label in ("none", "<100", "100-500", "500+")}
    assert found == {"none": "z", "<100": "aef", "100-500": "bc", "500+": "d"}
    assert holds(oracle, 'band(spend) in ("none", "500+")') == "dz"
    assert holds(oracle, 'band(spend) != "<100"') == "bcdz"
    assert holds(oracle, 'band(spend) = "none"', 0.5) == "abcdefz"
    # A negative order counts not.
    assert holds(oracle, 'band(orders) = "zero"') == "fz"
    assert holds(oracle, 'band(orders) = "under one"') == ""
    assert holds(oracle, 'band(orders) = "one"') == "abcde"


def test_each_rise_is_a_crossing(oracle: Oracle) -> None:
    a = [order("1", "a", 1, "500"), order("2", "a", 2, "-1"), order("3", "a", 3, "1"), order("4", "a", 4, "100")]
    # At one time they come together: 600 and -200 are 400.
    b = [order("5", "b", 1, "600"), order("6", "b", 1, "-200"), order("7", "b", 5, "99.99")]
    oracle.write_events([*a, *b], to_millis(day(50)))
    assert holds(oracle, "crossed(spend, 500)") == "a"
    found = {n: holds(oracle, f"crossed(spend, 500) during last {4 - n} days", 4.5) for n in range(4)}
    assert found == {0: "a", 1: "a", 2: "a", 3: ""}
    assert holds(oracle, "crossed(spend, 500) during last 1 day", 2.5) == "", "it fell"
    assert holds(oracle, "crossed(spend, 500) until 2024-01-02T00:00:00.001Z") == "a"
    assert holds(oracle, "crossed(spend, 500) until 2024-01-02") == ""
    assert holds(oracle, "crossed(spend, 100)") == "ab"
    oracle.write_events([order("8", "b", 0.5, "0.01"), Retraction("order", "2")], to_millis(day(50)))
    assert holds(oracle, "crossed(spend, 500) from 2024-01-03") == "b", "one came late, one was taken back"


def test_from_no_value_is_from_below(oracle: Oracle) -> None:
    oracle.declare_bands("credit", SPEND, [Decimal(-10), Decimal(0)])
    oracle.write_events(
        [order("1", "a", 1, "-5"), order("2", "b", 1, "0"), order("3", "c", 1, "-11")], to_millis(day(9))
    )
    assert holds(oracle, "crossed(credit, -10)") == "ab"
    assert holds(oracle, "crossed(credit, 0)") == "b"
    assert holds(oracle, "crossed(orders, 1)") == "b"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('band(spent) = "none"', UnknownBands),
        ('everyone and not band(spend) in ("none", "1000+")', UnknownBand),
        ("crossed(spend, 5)", UnknownThreshold),
        ("crossed(recent, 100)", InvalidExpression),
    ],
)
def test_what_is_refused(oracle: Oracle, text: str, error: type[SegidxError]) -> None:
    month = Rolling(Direction.LAST, 1, Unit.MONTH)
    oracle.declare_bands("recent", Aggregate(AggregateFunction.SUM, Events("order", None, month), "amount"), [100])
    with pytest.raises(error) as caught:
        holds(oracle, text)
    assert type(caught.value) is error


def test_decimals_of_thresholds_are_those_of_the_value() -> None:
    Oracle(Schema(()), "UTC", money_scale=4).declare_bands("spend", SPEND, [Decimal("0.0001")])
    for value, threshold in ((SPEND, Decimal("0.001")), (ORDERS, Decimal("1.5"))):
        with pytest.raises(InvalidArgument, match="more decimals"):
            Oracle(Schema(()), "UTC").declare_bands("x", value, [threshold])
