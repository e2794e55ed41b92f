"""Orders from rows of a caller: what is refused, what is worked out, what counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from segidx.ingest.event_rows import orders_from_rows
from segidx.ingest.orders import line_amount
from segidx.model.errors import InvalidValue
from segidx.model.events import MAX_LINES, Order, OrderLine
from segidx.model.schema import MAX_MINOR_UNITS, AccountInfo

ACCOUNT = AccountInfo("shop", "Europe/Warsaw", "PLN")
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
NOW = int(NOON.timestamp() * 1000)


def batch_of(*orders, account=ACCOUNT):
    return orders_from_rows(orders, account, NOW)


def cells(column):
    values = column.values.tolist() if not hasattr(column.values, "to_pylist") else column.values.to_pylist()
    return [v if p else None for v, p in zip(values, column.present.tolist(), strict=True)]


def order(**given):
    return Order(**{"order_id": "o", "contact_id": "anna", "time": NOON, **given})


def test_columns():
    batch = batch_of(
        order(source="shop", paid=True, amount=Decimal("12.5"), lines=[OrderLine(product="ma\u0308rz", quantity=2)]),
        Order("p", "bert", datetime(1970, 1, 1, tzinfo=UTC)),
    )
    assert batch.ids.to_pylist() == ["o", "p"]
    assert batch.contacts.to_pylist() == ["anna", "bert"]
    assert batch.times.tolist() == [NOW, 0]
    assert batch.line_counts.tolist() == [1, 0]
    assert [cells(c) for c in batch.properties] == [["shop", None], [1, None], [1250, None], [1, 1]]
    assert [cells(c) for c in batch.lines] == [["m\u00e4rz"], [None], [None], [2000], [None], [None], [1]]
    assert batch.rejects == ()


def test_amounts_are_worked_out():
    batch = batch_of(
        order(
            lines=[
                OrderLine(quantity=Decimal("0.5"), unit_price=Decimal("0.01")),
                OrderLine(quantity=Decimal("-0.5"), unit_price=Decimal("0.01")),
                OrderLine(unit_price=Decimal("3.10")),
                OrderLine(quantity=3, unit_price=1, amount=Decimal("2.50")),
                OrderLine(product="gift"),
            ]
        ),
        Order("given", "anna", NOON, amount=1, lines=[OrderLine(amount=5)]),
        Order("unknown", "anna", NOON, lines=[OrderLine()]),
    )
    assert cells(batch.lines[5]) == [1, -1, 310, 250, None, 500, None]
    assert cells(batch.lines[3]) == [500, -500, 1000, 3000, 1000, 1000, 1000]
    assert cells(batch.properties[2]) == [560, 100, None]


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        ({}, 1),
        ({"amount": 0}, 1),
        ({"amount": -1}, 0),
        ({"amount": -1, "lines": [OrderLine()]}, 1),
        ({"lines": [OrderLine(quantity=-1), OrderLine(quantity=Decimal("0.001"))]}, 1),
        ({"amount": 9, "lines": [OrderLine(quantity=-1), OrderLine(quantity=0)]}, 0),
    ],
)
def test_what_counts(given, counts):
    assert cells(batch_of(order(**given)).properties[3]) == [counts]


@pytest.mark.parametrize(
    ("given", "field", "reason", "says"),
    [
        ({"order_id": ""}, "order_id", "INVALID_VALUE", "order id '' has 0 bytes; 1 to 255"),
        ({"order_id": "x" * 256}, "order_id", "INVALID_VALUE", "256 bytes"),
        ({"order_id": "\ud800"}, "order_id", "INVALID_VALUE", "not valid UTF-8"),
        ({"order_id": None}, "order_id", "INVALID_VALUE", "there is no order id"),
        ({"order_id": 7}, "order_id", "INVALID_VALUE", "an order id is a string, not int 7"),
        ({"contact_id": ""}, "contact_id", "INVALID_CONTACT_ID", "contact id '' has 0 bytes"),
        ({"time": None}, "time", "INVALID_VALUE", "an order has a time"),
        ({"time": datetime(2026, 1, 1)}, "time", "INVALID_VALUE", "no time zone"),
        ({"time": datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)}, "time", "INVALID_VALUE", "is before 1970"),
        ({"time": NOON + timedelta(hours=24, milliseconds=1)}, "time", "INVALID_VALUE", "24 hours ahead of the clock"),
        ({"source": 5}, "source", "INVALID_VALUE", "category takes a string, not int 5"),
        ({"paid": "maybe"}, "paid", "INVALID_VALUE", "'maybe' is neither true nor false"),
        ({"amount": Decimal("1.234")}, "amount", "INVALID_VALUE", "1.234 has more than 2 decimals"),
        ({"lines": [OrderLine()] * (MAX_LINES + 1)}, "lines", "INVALID_VALUE", "at most 5,000 lines, not 5,001"),
        ({"lines": ["x"]}, "lines[0]", "INVALID_VALUE", "a line is an OrderLine, not str 'x'"),
        (
            {"lines": [OrderLine(), OrderLine(quantity=Decimal("0.0001"))]},
            "lines[1].quantity",
            "INVALID_VALUE",
            "lines[1]: field 'quantity': 0.0001 has more than 3 decimals",
        ),
        ({"lines": [OrderLine(quantity=10**12, unit_price=10**12)]}, "lines[0].amount", "INVALID_VALUE", "beyond"),
        ({"lines": [OrderLine(amount=MAX_MINOR_UNITS // 100)] * 2}, "amount", "INVALID_VALUE", "beyond"),
    ],
)
def test_refused(given, field, reason, says):
    batch = batch_of(Order("before", "anna", NOON), order(**given), Order("after", "anna", NOON))
    assert batch.ids.to_pylist() == ["before", "after"]
    (reject,) = batch.rejects
    assert (reject.index, reject.field, reject.reason) == (1, field, reason)
    assert reject.message.startswith("row 1: ")
    assert says in reject.message


def test_the_latest_times_that_are_taken():
    batch = batch_of(order(time=NOON + timedelta(hours=24)), Order("p", "anna", NOON + timedelta(microseconds=999)))
    assert batch.times.tolist() == [NOW + 86_400_000, NOW]


def test_money_has_the_accounts_decimals():
    yen = AccountInfo("tokyo", currency="JPY", money_scale=0)
    batch = batch_of(order(lines=[OrderLine(quantity=Decimal("1.5"), unit_price=3)]), account=yen)
    assert cells(batch.lines[5]) == [5]
    (reject,) = batch_of(order(amount=Decimal("0.5")), account=yen).rejects
    assert "0.5 has more than 0 decimals" in reject.message


def test_the_last_valid_order_of_an_id_stands():
    batch = batch_of(
        order(amount=1, contact_id="first"),
        Order("q", "bert", NOON),
        order(amount=2, lines=[OrderLine()]),
        order(amount="?"),
    )
    assert batch.ids.to_pylist() == ["q", "o"]
    assert cells(batch.properties[2]) == [None, 200]
    assert batch.line_counts.tolist() == [0, 1]
    assert batch.duplicates == 1
    assert batch.superseded.contacts.to_pylist() == ["first"]
    assert batch.superseded.rows.tolist() == [1]
    assert [r.index for r in batch.rejects] == [3]


def test_no_orders():
    batch = batch_of()
    assert len(batch.ids) == len(batch.times) == len(batch.line_counts) == 0
    assert [len(c.present) for c in batch.lines] == [0] * 7


@pytest.mark.parametrize(
    ("quantity", "price", "amount"),
    [(500, 1, 1), (499, 1, 0), (-500, 1, -1), (1500, -1, -2), (1000, MAX_MINOR_UNITS, MAX_MINOR_UNITS), (0, 5, 0)],
)
def test_line_amounts_are_rounded_away_from_zero(quantity, price, amount):
    assert line_amount(quantity, price) == amount


def test_line_amounts_out_of_range():
    with pytest.raises(InvalidValue, match="beyond the largest number"):
        line_amount(1001, MAX_MINOR_UNITS)
