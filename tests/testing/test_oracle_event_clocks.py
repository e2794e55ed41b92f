"""The oracle's hours, weekdays, days and different values of events, against cases worked out by hand."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

import pytest

from segidx.model.errors import SegidxError, TypeMismatch, UnknownProperty
from segidx.model.events import Event, Order, OrderLine
from segidx.model.schema import Schema
from segidx.model.syntax import parse
from segidx.model.windows import to_millis
from segidx.testing.oracle import Oracle

AT = datetime.fromisoformat("2030-01-01T00:00:00Z")


def told(zone: str, times: Iterable[str]) -> Oracle:
    """A visit of each of c0, c1, ... at one of the times, and all of them of `all`."""
    oracle = Oracle(Schema(()), zone)
    rows = []
    for n, time in enumerate(times):
        at = datetime.fromisoformat(time)
        rows += [Event("visit", f"{who}{n}", who, at) for who in (f"c{n}", "all")]
    assert oracle.write_events(rows, to_millis(AT)).rejects == ()
    return oracle


def single(oracle: Oracle, asked: str) -> list[str]:
    return sorted(oracle.members(parse(asked), AT) - {"all"})


def test_the_clock_on_the_wall() -> None:
    # 1970-01-01 was a Thursday, 2024-02-29 one too.
    oracle = told("Europe/Warsaw", ("1970-01-01T00:00:00Z", "2024-02-28T22:59:59.999Z", "2024-02-28T23:00:00Z"))
    assert single(oracle, "did(visit where hour = 1)") == ["c0"]
    assert single(oracle, "did(visit where hour = 23)") == ["c1"]
    assert single(oracle, "did(visit where hour < 0.5)") == ["c2"]
    assert single(oracle, "did(visit where weekday = 4)") == ["c0", "c2"]
    assert single(oracle, "did(visit where weekday in (3, 8))") == ["c1"]
    assert single(oracle, "did(visit where hour is set and weekday is set)") == ["c0", "c1", "c2"]
    assert single(oracle, "did(visit where hour != 23 and not weekday between 5 and 7)") == ["c0", "c2"]
    assert oracle.count(parse("distinct_days(visit) = 3"), AT) == 1


def test_an_hour_that_comes_twice_and_a_day_that_never_came() -> None:
    warsaw = told("Europe/Warsaw", ("2025-10-26T00:30:00Z", "2025-10-26T01:30:00Z", "2025-03-30T01:00:00Z"))
    assert single(warsaw, "did(visit where hour = 2)") == ["c0", "c1"]
    assert single(warsaw, "did(visit where hour = 3 and weekday = 7)") == ["c2"]
    apia = told("Pacific/Apia", ("2011-12-30T09:59:59Z", "2011-12-30T10:00:00Z"))  # Thursday 29, Saturday 31
    assert single(apia, "did(visit where weekday = 4)") == ["c0"]
    assert single(apia, "did(visit where weekday = 6)") == ["c1"]
    assert single(apia, "did(visit where weekday = 5)") == []
    kathmandu = told("Asia/Kathmandu", ("2025-01-01T18:14:59Z", "2025-01-01T18:15:00Z"))
    assert single(kathmandu, "did(visit where hour = 0)") == ["c1"]
    # Clocks went back over midnight: a day ended twice.
    johns = told("America/St_Johns", ("2009-11-01T02:30:59Z", "2009-11-01T02:31:00Z", "2009-11-01T03:30:00Z"))
    assert single(johns, "did(visit where weekday = 7)") == ["c0", "c2"]
    assert single(johns, "did(visit where weekday = 6 and hour = 23)") == ["c1"]
    assert johns.count(parse("distinct_days(visit) = 2"), AT) == 1


def test_different_values() -> None:
    oracle = Oracle(Schema(()), "UTC")
    at = datetime.fromisoformat("2025-06-01T12:00:00Z")
    lines = (
        OrderLine("P", amount=Decimal("1.50")),
        OrderLine("p", amount=Decimal("1.5")),
        OrderLine(None, quantity=Decimal(-1)),
        OrderLine("P", quantity=Decimal(-2)),
    )
    oracle.upsert([("nobody", {})])
    orders = [
        Order("1", "anna", at, "email", True, lines=lines),
        Order("2", "anna", at, "direct", False, lines=lines[2:]),  # a return
        Order("3", "bert", at, "email"),
    ]
    assert oracle.write_events(orders, to_millis(AT)).accepted == 3
    for asked, wanted in (
        ("distinct(line.product) = 2", {"anna"}),
        ("distinct(line.product where quantity < 0) = 1", {"anna"}),
        ("distinct(line.amount) = 1", {"anna"}),
        ("distinct(line.quantity) = 3", {"anna"}),
        ("distinct(order.source) = 1", {"anna", "bert"}),
        ("distinct(order.paid) = 0", {"bert", "nobody"}),
        ("distinct(line.product) < 1", {"bert", "nobody"}),
        ("distinct_days(line) = 1", {"anna"}),
        ("distinct_days(order) = 0", {"nobody"}),
        ('distinct_days(order where source = "direct") = 0', {"anna", "bert", "nobody"}),
        ("distinct(order.source) + distinct_days(line) = 2", {"anna"}),
    ):
        assert oracle.members(parse(asked), AT) == wanted, asked


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ("sum(visit.hour) > 3", TypeMismatch),
        ("distinct(visit.weekday) > 3", TypeMismatch),
        ("did(visit where hour = true)", TypeMismatch),
        ('did(visit where hour = ci "9")', TypeMismatch),
        ('did(visit where weekday starts with "1")', TypeMismatch),
        ("did(visit where minute = 1)", UnknownProperty),
        ("distinct(visit.sourcs) > 3", UnknownProperty),
    ],
)
def test_what_is_refused(asked: str, error: type[SegidxError]) -> None:
    with pytest.raises(error):
        Oracle(Schema(()), "UTC").members(parse(asked), AT)
