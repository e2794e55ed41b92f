"""The oracle's averages, extremes, times and `only` of orders and lines, against cases worked out by hand, and the laws
that they obey on random lives."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segidx.model.errors import InvalidExpression, SegidxError, TypeMismatch, UnknownProperty
from segidx.model.events import EventTypes, Order, OrderLine
from segidx.model.expression import (
    Aggregate,
    AggregateFunction,
    And,
    Between,
    Comparison,
    DaysSinceEvent,
    Did,
    Events,
    Expression,
    In,
    IsSet,
    Never,
    Not,
    Only,
    Operator,
    field,
    lines,
    orders,
    values_of,
    walk,
)
from segidx.model.expression.builder import ValueBuilder
from segidx.model.schema import Field, FieldType, Schema
from segidx.model.values import Arithmetic, ArithmeticOperator, Constant, DaysSince, FieldValue, Value
from segidx.model.windows import Absolute, AllTime, Direction, Rolling, Unit
from segidx.testing.event_lives import SeededChooser, random_life
from segidx.testing.event_questions import EventGenerator, random_event_expression
from segidx.testing.oracle import Oracle
from segidx.testing.pools import pools_for
from segidx.testing.strategies import EVERY_TYPE, contacts_for, evaluated_ats, event_expressions_for, lives_for, zones

NOON = datetime(2024, 6, 15, 12, tzinfo=UTC)
NOW_MS = 1_718_452_800_000
MS = timedelta(milliseconds=1)
DAY = timedelta(days=1)
SCHEMA = Schema(
    (Field("score", FieldType.NUMBER), Field("born", FieldType.DATE), Field("seen", FieldType.TIMESTAMP)),
)
FIRST, LAST = AggregateFunction.FIRST, AggregateFunction.LAST


def d(text: str) -> Decimal:
    return Decimal(text)


def last_days(count: int) -> Rolling:
    return Rolling(Direction.LAST, count, Unit.DAY)


def members(oracle: Oracle, expression: Expression, at: datetime = NOON) -> str:
    return " ".join(sorted(oracle.members(expression, at)))


# --- by hand -----------------------------------------------------------------------------------------------

# a2 and b1 are returns, c2 takes money back and f1 has a line of nothing: these four orders do not count. a3 and e1
# have no amount. dee ordered nothing, and c3 is not there yet at noon.
HISTORY = [
    Order(
        "a1",
        "ann",
        NOON - 100 * DAY,
        paid=True,
        lines=[OrderLine("P", quantity=d("2"), unit_price=d("10")), OrderLine("Q")],
    ),
    Order("a2", "ann", NOON - 2 * DAY, lines=[OrderLine("P", quantity=d("-1"), amount=d("-10"))]),
    Order("a3", "ann", NOON - 30 * DAY, paid=True),
    Order("b1", "bob", NOON - 9 * DAY, paid=True, lines=[OrderLine("P", quantity=d("-2"), unit_price=d("5"))]),
    Order("c1", "cid", NOON - 1 * DAY, paid=True, amount=d("7")),
    Order("c2", "cid", NOON - 8 * DAY, paid=False, amount=d("-4")),
    Order("c3", "cid", NOON + timedelta(hours=1), paid=False, amount=d("1000")),
    Order("e1", "eve", NOON - 50 * DAY, lines=[OrderLine()]),
    Order(
        "f1",
        "fay",
        NOON - 400 * DAY,
        paid=False,
        amount=d("12"),
        lines=[OrderLine("Q", quantity=d("0"), amount=d("3"))],
    ),
    Order(
        "f2",
        "fay",
        NOON - 10 * DAY,
        paid=True,
        lines=[OrderLine("P", unit_price=d("4")), OrderLine("P", quantity=d("3"), unit_price=d("4"))],
    ),
]
SEEN = {"ann": NOON - 30 * DAY, "cid": NOON - 3 * DAY, "eve": NOON - 50 * DAY + MS}


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    made = Oracle(SCHEMA, "UTC")
    names = ("ann", "bob", "cid", "dee", "eve", "fay")
    made.upsert([(name, {"seen": SEEN[name]} if name in SEEN else {}) for name in names])
    assert made.write_events(HISTORY, NOW_MS).rejects == ()
    return made


PAID = field("paid") == True  # noqa: E712
OF_P = field("product") == "P"
REFUND = field("amount") < 0
NOTHING = field("product") == "nothing"

# What each value is for those that have it.
VALUES: list[tuple[str, ValueBuilder, dict[str, str]]] = [
    ("orders", orders().average("amount"), {"ann": "5", "cid": "3", "fay": "28"}),  # 10 / 2, 3 / 1, 28 / 1
    ("paid", orders().where(PAID).average("amount"), {"ann": "10", "cid": "7", "fay": "16"}),  # a3 divides too
    ("refunds", orders().where(REFUND).average("amount"), {}),  # some to add, none that counts
    ("no amount", orders().where(~field("amount").is_set()).average("amount"), {}),  # some that count, none to add
    ("month", orders().during(last_days(30)).average("amount"), {"ann": "-10", "cid": "3", "fay": "16"}),
    ("5 days", orders().during(last_days(5)).average("amount"), {"cid": "7"}),  # ann's is a return alone
    ("least", orders().min("amount"), {"ann": "-10", "bob": "-10", "cid": "-4", "fay": "12"}),
    ("most", orders().max("amount"), {"ann": "20", "bob": "-10", "cid": "7", "fay": "16"}),
    ("least of refunds", orders().where(REFUND).min("amount"), {"ann": "-10", "bob": "-10", "cid": "-4"}),
    ("most of a week", orders().during(last_days(7)).max("amount"), {"ann": "-10", "cid": "7"}),
    ("least of none", orders().where(field("source") == "x").min("amount"), {}),
    ("lines", lines().average("amount") * 3, {"ann": "15", "bob": "-30", "fay": "19"}),  # 10 / 2, -10, 19 / 3
    ("quantity", lines().average("quantity") * 3, {"ann": "2", "bob": "-6", "eve": "3", "fay": "4"}),
    ("of P", lines().where(OF_P).average("amount"), {"ann": "5", "bob": "-10", "fay": "8"}),
    ("of nothing", lines().where(NOTHING).average("amount"), {}),
    ("price", lines().average("unit_price"), {"ann": "10", "bob": "5", "fay": "4"}),
    ("least line", lines().min("amount"), {"ann": "-10", "bob": "-10", "fay": "3"}),
    ("most line", lines().max("amount"), {"ann": "20", "bob": "-10", "fay": "12"}),
    ("least quantity", lines().min("quantity"), {"ann": "-1", "bob": "-2", "eve": "1", "fay": "0"}),
    ("most quantity", lines().max("quantity"), {"ann": "2", "bob": "-2", "eve": "1", "fay": "3"}),
    ("most of nothing", lines().where(NOTHING).max("quantity"), {}),
    ("since last", orders().days_since_last(), {"ann": "30", "cid": "1", "eve": "50", "fay": "10"}),
    ("since first", orders().days_since_first(), {"ann": "100", "cid": "1", "eve": "50", "fay": "10"}),
    ("since last paid", orders().where(PAID).days_since_last(), {"ann": "30", "cid": "1", "fay": "10"}),
    ("since refund", orders().where(REFUND).days_since_last(), {}),  # refunds are no orders
    ("since last line", lines().days_since_last(), {"ann": "2", "bob": "9", "eve": "50", "fay": "10"}),
    ("since first line", lines().days_since_first(), {"ann": "100", "bob": "9", "eve": "50", "fay": "400"}),
    ("since a P", lines().where(OF_P).during(last_days(60)).days_since_first(), {"ann": "2", "bob": "9", "fay": "10"}),
    # in arithmetic, where missing is missing
    ("spread", orders().max("amount") - orders().min("amount"), {"ann": "30", "bob": "0", "cid": "11", "fay": "4"}),
    ("value", orders().average("amount") * orders().count(), {"ann": "10", "cid": "3", "fay": "28"}),
    (
        "span",
        lines().days_since_first() - lines().days_since_last(),
        {"ann": "98", "bob": "0", "eve": "0", "fay": "390"},
    ),
    ("turned", -lines().max("amount"), {"ann": "-20", "bob": "10", "fay": "-12"}),
    ("by nothing", lines().average("amount") / lines().where(NOTHING).count(), {}),
]


@pytest.mark.parametrize(("value", "wanted"), [case[1:] for case in VALUES], ids=[case[0] for case in VALUES])
def test_numbers(oracle: Oracle, value: ValueBuilder, wanted: dict[str, str]) -> None:
    """A comparison with each number finds those that have it, and no comparison those that have none."""
    assert members(oracle, value.between(-10_000, 10_000)) == " ".join(wanted)
    assert members(oracle, (value < 0) | (value >= 0)) == " ".join(wanted)
    for number in wanted.values():
        have = {name for name, own in wanted.items() if d(own) == d(number)}
        assert oracle.members(value == d(number), NOON) == have
        assert oracle.members(value != d(number), NOON) == set(oracle.contacts) - have
        assert oracle.members(value < d(number), NOON) == {n for n, own in wanted.items() if d(own) < d(number)}
        assert oracle.members(value.isin((d(number), 12345)), NOON) == have


def test_an_average_is_exact(oracle: Oracle) -> None:
    """Fay's is 19 / 3, which no decimal is."""
    third = lines().average("amount")
    assert members(oracle, third == d("6.333333333333333333333333333333333333333")) == ""
    assert members(oracle, (third > d("6.333333333333333333333333333333333333333")) & (third < d("6.34"))) == "fay"
    assert members(oracle, third == lines().sum("amount") / 3) == "fay"


def test_the_average_order_value_may_lie_outside_of_the_amounts(oracle: Oracle) -> None:
    assert members(oracle, orders().average("amount") > orders().max("amount")) == "fay"
    assert members(oracle, orders().during(last_days(30)).average("amount") < orders().average("amount")) == "ann fay"


TIMES: list[tuple[str, ValueBuilder, dict[str, int]]] = [  # days before noon
    ("first order", orders().first_time(), {"ann": 100, "cid": 1, "eve": 50, "fay": 10}),
    ("last order", orders().last_time(), {"ann": 30, "cid": 1, "eve": 50, "fay": 10}),
    ("first line", lines().first_time(), {"ann": 100, "bob": 9, "eve": 50, "fay": 400}),
    ("last line", lines().last_time(), {"ann": 2, "bob": 9, "eve": 50, "fay": 10}),
    ("last of a return", lines().where(field("quantity") < 0).last_time(), {"ann": 2, "bob": 9}),
    ("first refund", orders().where(REFUND).first_time(), {}),
    ("first of a month", orders().during(last_days(60)).first_time(), {"ann": 30, "cid": 1, "eve": 50, "fay": 10}),
    ("last unpaid", orders().where(~PAID).last_time(), {"eve": 50}),
    ("of a source", orders().where(field("source").is_set()).last_time(), {}),
]


@pytest.mark.parametrize(("time", "wanted"), [case[1:] for case in TIMES], ids=[case[0] for case in TIMES])
def test_times(oracle: Oracle, time: ValueBuilder, wanted: dict[str, int]) -> None:
    """All of the history is at noon in UTC, so that an instant and its date say the same but of its very day."""
    assert members(oracle, (time < NOON) | (time >= NOON)) == " ".join(wanted)
    for days in wanted.values():
        then = NOON - days * DAY
        same = {name for name, own in wanted.items() if own == days}
        earlier = {name for name, own in wanted.items() if own > days}
        for moment in (then, then.date()):
            assert oracle.members(time == moment, NOON) == same
            assert oracle.members(time != moment, NOON) == set(oracle.contacts) - same
            assert oracle.members(time < moment, NOON) == earlier
            assert oracle.members(time <= moment, NOON) == earlier | same
            assert oracle.members(time > moment, NOON) == set(wanted) - earlier - same
            assert oracle.members(time >= moment, NOON) == set(wanted) - earlier
            assert oracle.members(time.isin((moment,)), NOON) == same
            assert oracle.members(time.between(moment, then), NOON) == same
        assert oracle.members(time == then + MS, NOON) == set()
        assert oracle.members(time.between(then + MS, then.date()), NOON) == set()


def test_times_compare_with_each_other_and_with_fields(oracle: Oracle) -> None:
    first, last, seen = orders().first_time(), orders().last_time(), field("seen")
    assert members(oracle, first < last) == "ann"
    assert members(oracle, first == last) == "cid eve fay"
    assert members(oracle, first != last) == "ann bob dee"  # missing is equal to nothing, not to missing either
    assert members(oracle, lines().last_time() == last) == "eve fay"
    assert members(oracle, lines().last_time() > last) == "ann"
    assert members(oracle, last == seen) == "ann"
    assert members(oracle, last < seen) == "eve"
    assert members(oracle, seen < last) == "cid"
    assert members(oracle, seen >= last) == "ann eve"
    assert members(oracle, last != seen) == "bob cid dee eve fay"
    assert members(oracle, last.between(first, seen)) == "ann eve"
    assert members(oracle, seen.between(first, last)) == "ann"
    assert members(oracle, orders().days_since_last() == seen.days_since()) == "ann eve"


ONLY: list[tuple[Expression, str]] = [
    # of orders those that count
    (orders().only(), "ann cid eve fay"),
    (orders().only(PAID), "ann cid fay"),
    (orders().only(~PAID), "eve"),  # a leaf on what is missing is false, and `not` inverts it
    (orders().only(field("paid") != True), "eve"),  # noqa: E712
    (orders().only(field("amount") >= 0), "cid fay"),  # a3 has none
    (orders().only(field("amount").is_set()), "cid fay"),
    # with a filter those that do not count, too
    (orders().where(field("amount").is_set()).only(), "ann bob cid fay"),
    (orders().where(field("amount").is_set()).only(PAID), "bob"),
    (orders().where(field("paid").is_set()).only(PAID), "ann bob"),
    (orders().where(REFUND).only(), "ann bob cid"),
    (orders().where(REFUND).only(PAID), "bob"),
    (orders().where(REFUND).only(~PAID), "ann cid"),
    (orders().where(PAID).only(PAID), "ann bob cid fay"),
    (orders().where(PAID).only(~PAID), ""),
    (orders().where(field("source") == "x").only(), ""),
    # of lines those of something
    (lines().only(), "ann eve fay"),
    (lines().only(OF_P), "fay"),
    (lines().only(~OF_P), "eve"),
    (lines().only(field("unit_price") >= 4), "fay"),
    (lines().only(field("quantity") > 0), "ann eve fay"),
    (lines().only(field("product").is_set()), "ann fay"),
    (lines().where(field("quantity") <= 0).only(), "ann bob fay"),
    (lines().where(field("quantity") <= 0).only(OF_P), "ann bob"),
    (lines().where(field("product").is_set()).only(OF_P), "bob"),
    (lines().where(OF_P).only(field("quantity") > 0), "fay"),
    # windows are those of the population
    (orders().during(last_days(30)).only(), "ann cid fay"),
    (orders().during(last_days(29)).only(), "cid fay"),
    (orders().during(last_days(20)).only(PAID), "cid fay"),
    (lines().during(last_days(60)).only(~OF_P), "eve"),
    (lines().during(last_days(60)).only(), "eve fay"),
    (lines().where(OF_P).during(last_days(60)).only(), "ann bob fay"),
    (lines().where(field("quantity") == 0).during(last_days(60)).only(), ""),
    (orders().where(field("amount").is_set()).during(last_days(20)).only(PAID), "bob fay"),
]


@pytest.mark.parametrize(("expression", "wanted"), ONLY)
def test_only(oracle: Oracle, expression: Expression, wanted: str) -> None:
    assert members(oracle, expression) == wanted
    assert oracle.members(~expression, NOON) == set(oracle.contacts) - set(wanted.split())


def test_as_of_another_instant(oracle: Oracle) -> None:
    """An event at the instant or after it is in no value."""
    c3 = NOON + timedelta(hours=1)
    assert members(oracle, orders().max("amount") == 1000, c3) == ""
    assert members(oracle, orders().max("amount") == 1000, c3 + MS) == "cid"
    assert members(oracle, orders().average("amount") == d("501.5"), c3 + MS) == "cid"  # 7 - 4 + 1000 over two
    assert members(oracle, orders().last_time() == c3, c3 + MS) == "cid"
    assert members(oracle, orders().only(PAID), c3 + MS) == "ann fay"
    assert members(oracle, orders().days_since_last() == 0, c3 + MS) == "cid"
    assert members(oracle, orders().days_since_last() >= 0, NOON - 100 * DAY) == ""
    assert members(oracle, lines().days_since_last() == 300, NOON - 100 * DAY) == "fay"


def test_an_order_that_is_sent_again_takes_its_old_self_away() -> None:
    oracle = Oracle(SCHEMA, "UTC")
    oracle.write_events(
        [
            Order("1", "ann", NOON - 9 * DAY, paid=True, amount=d("90")),
            Order("2", "ann", NOON - 5 * DAY, paid=False, amount=d("10")),
        ],
        NOW_MS,
    )
    assert members(oracle, (orders().average("amount") == 50) & (orders().max("amount") == 90)) == "ann"
    oracle.write_events([Order("1", "bob", NOON - 7 * DAY, paid=True, amount=d("80"))], NOW_MS)
    assert members(oracle, (orders().average("amount") == 10) & (orders().max("amount") == 10)) == "ann"
    assert members(oracle, orders().first_time() == NOON - 5 * DAY) == "ann"
    assert members(oracle, orders().days_since_first() == 7) == "bob"
    assert members(oracle, orders().only(PAID)) == "bob"


# --- local dates -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "time", "day"),
    [
        ("UTC", "2024-05-31T23:59:59.999Z", "2024-05-31"),
        ("UTC", "2024-06-01T00:00Z", "2024-06-01"),
        ("Europe/Warsaw", "2024-05-31T21:59:59.999Z", "2024-05-31"),
        ("Europe/Warsaw", "2024-05-31T22:00Z", "2024-06-01"),
        ("Europe/Warsaw", "2023-12-31T22:59:59.999Z", "2023-12-31"),  # an hour less in winter
        ("Europe/Warsaw", "2023-12-31T23:00Z", "2024-01-01"),
        ("America/New_York", "2024-06-01T03:59:59.999Z", "2024-05-31"),
        ("America/New_York", "2024-06-01T04:00Z", "2024-06-01"),
        ("America/New_York", "2024-03-01T04:59:59.999Z", "2024-02-29"),
        ("Asia/Kathmandu", "2024-02-28T18:14:59.999Z", "2024-02-28"),
        ("Asia/Kathmandu", "2024-02-28T18:15Z", "2024-02-29"),
        ("Pacific/Apia", "2011-12-30T09:59:59.999Z", "2011-12-29"),
        ("Pacific/Apia", "2011-12-30T10:00Z", "2011-12-31"),  # the 30th was skipped
        ("America/Sao_Paulo", "2018-11-04T02:59:59.999Z", "2018-11-03"),
        ("America/Sao_Paulo", "2018-11-04T03:00Z", "2018-11-04"),  # began at one o'clock
        ("America/St_Johns", "2010-11-07T02:30Z", "2010-11-07"),
        ("America/St_Johns", "2010-11-07T03:00Z", "2010-11-06"),  # again
    ],
)
def test_local_dates(zone: str, time: str, day: str) -> None:
    """A time compares with a date by the local one, and `days_since` counts local dates, as those of a field do."""
    then, on = datetime.fromisoformat(time), date.fromisoformat(day)
    oracle = Oracle(SCHEMA, zone)
    oracle.upsert([("ann", {"seen": then}), ("none", {})])
    oracle.write_events([Order("o", "ann", then, lines=[OrderLine()])], NOW_MS)
    for value in (orders().first_time(), orders().last_time(), lines().first_time(), field("seen")):
        assert members(oracle, value == on) == "ann"
        assert members(oracle, value != on) == "none"
        assert members(oracle, (value <= on) & (value >= on)) == "ann"
        assert members(oracle, (value < on) | (value > on)) == ""
        assert members(oracle, (value > on - DAY) & (value < on + DAY)) == "ann"
        assert members(oracle, value.between(on, on)) == "ann"
        assert members(oracle, value.between(on + DAY, on + 9 * DAY)) == ""
        assert members(oracle, value.isin((on - DAY, on))) == "ann"
        assert members(oracle, value.isin((on - DAY, on + DAY))) == ""
        assert members(oracle, value.between(on, then)) == "ann"
        assert members(oracle, value.between(then, on)) == "ann"
        assert members(oracle, value.between(then + MS, on)) == ""
    today = (date(2024, 6, 15) - on).days  # noon in UTC is the 15th in every one of the zones but Apia
    today += zone == "Pacific/Apia"
    for since in (orders().days_since_last(), lines().days_since_first(), field("seen").days_since()):
        assert members(oracle, since == today) == "ann"
        assert members(oracle, since != today) == "none"


def test_a_day_ends_at_local_midnight() -> None:
    """Days since an order of a minute before midnight are 1 a minute later, and a date on however many hours."""
    oracle = Oracle(SCHEMA, "Europe/Warsaw")
    midnight = datetime(2024, 3, 30, 23, tzinfo=UTC)  # of the 31st, a day of 23 hours
    oracle.write_events([Order("o", "ann", midnight - 60_000 * MS)], NOW_MS)
    since = orders().days_since_last()
    for at, days in (
        (midnight - MS, 0),
        (midnight, 1),
        (midnight + timedelta(hours=23) - MS, 1),
        (midnight + timedelta(hours=23), 2),
    ):
        assert members(oracle, since == days, at) == "ann"


# --- types -------------------------------------------------------------------------------------------------


def made_of(function: str, events: Events, name: str) -> ValueBuilder:
    return ValueBuilder(Aggregate(AggregateFunction(function), events, name))


ORDERS, LINES = orders().events, lines().events
LAST_ORDER, FIRST_LINE = orders().last_time(), lines().first_time()
MADE_OF = ("sum", "average", "min", "max")
BAD_FILTER = orders().where(OF_P)
COMPARED = "expression.comparison"

ILL_TYPED: list[tuple[Expression, type[SegidxError], str]] = [
    *((made_of(f, ORDERS, "source") > 1, TypeMismatch, COMPARED) for f in MADE_OF),
    *((made_of(f, ORDERS, "paid") > 1, TypeMismatch, COMPARED) for f in MADE_OF),
    *((made_of(f, LINES, "product").between(1, 2), TypeMismatch, "expression.between") for f in MADE_OF),
    *((made_of(f, ORDERS, "quantity") > 1, UnknownProperty, COMPARED) for f in MADE_OF),
    *((made_of(f, LINES, "paid").isin((1,)), UnknownProperty, "expression.in") for f in MADE_OF),
    *((1 + made_of(f, LINES, "score") > 1, UnknownProperty, COMPARED) for f in MADE_OF),
    *((made_of(f, LINES, "amount") > "a", TypeMismatch, COMPARED) for f in MADE_OF),
    *((made_of(f, LINES, "amount") > NOON, TypeMismatch, COMPARED) for f in MADE_OF),
    # an instant is no number
    (LAST_ORDER + 1 > 1, TypeMismatch, COMPARED),
    (1 - FIRST_LINE > 1, TypeMismatch, COMPARED),
    (LAST_ORDER - FIRST_LINE > 1, TypeMismatch, COMPARED),
    (LAST_ORDER - FIRST_LINE > LAST_ORDER, TypeMismatch, COMPARED),
    (orders().days_since_last() * LAST_ORDER > 1, TypeMismatch, COMPARED),
    (field("score") == -LAST_ORDER, TypeMismatch, COMPARED),
    (LAST_ORDER == 1, TypeMismatch, COMPARED),
    (orders().last_time() > orders().count(), TypeMismatch, COMPARED),
    (orders().last_time() > orders().days_since_last(), TypeMismatch, COMPARED),
    (LAST_ORDER == "2024-01-01", TypeMismatch, COMPARED),
    (LAST_ORDER != True, TypeMismatch, COMPARED),  # noqa: E712
    (LAST_ORDER.equals("a", ci=True), TypeMismatch, COMPARED),
    (orders().last_time() < field("born"), TypeMismatch, COMPARED),  # as a timestamp field and a date field
    (field("born") < LAST_ORDER, TypeMismatch, COMPARED),
    (LAST_ORDER.between(date(2024, 1, 1), 5), TypeMismatch, "expression.between"),
    (LAST_ORDER.isin((date(2024, 1, 1), "a")), TypeMismatch, "expression.in"),
    # and days are no instant
    (orders().days_since_last() == NOON, TypeMismatch, COMPARED),
    (orders().days_since_last() == date(2024, 1, 1), TypeMismatch, COMPARED),
    (orders().days_since_last() < field("seen"), TypeMismatch, COMPARED),
    # filters, wherever they are
    (BAD_FILTER.last_time() < NOON, UnknownProperty, f"{COMPARED}.left.aggregate.events.where.comparison"),
    (
        BAD_FILTER.days_since_last() < 1,
        UnknownProperty,
        f"{COMPARED}.left.days_since_event.aggregate.events.where.comparison",
    ),
    (
        1 - BAD_FILTER.days_since_last() < 1,
        UnknownProperty,
        f"{COMPARED}.left.arithmetic.right.days_since_event.aggregate.events.where.comparison",
    ),
    (
        -BAD_FILTER.average("amount") < 1,
        UnknownProperty,
        f"{COMPARED}.left.negative.aggregate.events.where.comparison",
    ),
    (BAD_FILTER.only(), UnknownProperty, "expression.only.events.where.comparison"),
    (orders().only(OF_P), UnknownProperty, "expression.only.that.comparison"),
    (
        orders().only(~(PAID & OF_P)),
        UnknownProperty,
        "expression.only.that.negation.conjunction.operands[1].comparison",
    ),
    (orders().only(field("paid") == 1), TypeMismatch, "expression.only.that.comparison"),
    # what no kind of event could make valid
    (orders().only(field("seen").in_window(AllTime())), InvalidExpression, "expression.only.that.in_window"),
    (orders().only(field("amount") + 1 > 2), InvalidExpression, "expression.only.that.comparison"),
    (orders().only(orders().did()), InvalidExpression, "expression.only.that.did"),
    (orders().only(LAST_ORDER < NOON), InvalidExpression, "expression.only.that.comparison"),
    (lines().where(lines().only()).did(), InvalidExpression, "expression.did.events.where.only"),
]


@pytest.mark.parametrize(("expression", "error", "path"), ILL_TYPED)
def test_types(oracle: Oracle, expression: Expression, error: type[SegidxError], path: str) -> None:
    for asked in (oracle, Oracle(SCHEMA, "UTC")):
        with pytest.raises(error) as raised:
            asked.members(expression, NOON)
        assert type(raised.value) is error
        assert raised.value.path == path


def test_what_is_no_value() -> None:
    for function in AggregateFunction:
        with pytest.raises(InvalidExpression):
            Aggregate(function, ORDERS, None if function.of_property else "amount")
        if not function.is_time:
            with pytest.raises(InvalidExpression):
                DaysSinceEvent(Aggregate(function, ORDERS, "amount" if function.of_property else None))


# --- laws on random lives ----------------------------------------------------------------------------------

quick = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


class Life:
    """Random contacts and orders at a random instant and zone, and selections of them."""

    def __init__(self, draw: Callable[..., Any], avoid: Iterable[str] = ()) -> None:
        self.zone: str = draw(zones().filter(lambda zone: zone not in avoid))
        self.at: datetime = draw(evaluated_ats().filter(lambda at: at.year > 1970))
        self.pools = pools_for(self.at, self.zone)
        self.oracle = Oracle(EVERY_TYPE, self.zone)
        self.oracle.upsert(draw(contacts_for(EVERY_TYPE, pools=self.pools, min_size=4, max_size=8)))
        self.everyone = set(self.oracle.contacts)
        now = round((self.at - datetime(1970, 1, 1, tzinfo=UTC)) / MS)
        for batch in draw(lives_for(list(self.oracle.contacts), self.at, self.zone)):
            assert self.oracle.write_events(batch, now).rejects == ()
        seed = draw(st.integers(0, 1 << 30))
        self.generator = EventGenerator(SeededChooser(random.Random(seed)), EVERY_TYPE, self.pools)

    def members(self, expression: Expression) -> set[str]:
        return self.oracle.members(expression, self.at)

    def present(self, value: Value) -> set[str]:
        """Those for whom a value is not missing."""
        return self.members(Comparison(value, Operator.EQ, value))


def compare(left: Value, operator: str, right: Value) -> Comparison:
    return Comparison(left, Operator(operator), right)


def narrowed(events: Events, condition: Expression) -> Events:
    """Those of the events that pass the condition too."""
    return Events(events.type, condition if events.where is None else And((events.where, condition)), events.window)


@quick
@given(st.data())
def test_laws_of_numbers(data: Any) -> None:
    life = Life(data.draw)
    for _ in range(4):
        events = life.generator.events()
        for declared in EventTypes()[events.type].properties:
            if declared.type is not FieldType.NUMBER:
                continue
            least, average, most, total = (
                Aggregate(AggregateFunction(f), events, declared.name) for f in ("min", "average", "max", "sum")
            )
            count = Aggregate(AggregateFunction.COUNT, events)
            there = life.present(total)
            assert life.present(least) == life.present(most) == there
            assert life.members(compare(least, "<=", most)) == there
            counted = life.members(Did(events)) if events.type == "order" else there
            assert life.present(average) == there & counted
            divisor = count
            if events.type == "line":
                # Lines without the property are in no average, which so lies between the least and the greatest.
                assert life.members(Between(average, least, most)) == there
                divisor = Aggregate(AggregateFunction.COUNT, narrowed(events, IsSet(declared.name)))
            again = Arithmetic(ArithmeticOperator.MULTIPLY, average, divisor)
            assert life.members(compare(again, "=", total)) == there & counted
            # The least is below a number where one event is, the greatest above it where one is.
            value = FieldValue(declared.name)
            for number in (Constant(Decimal(n)) for n in ("0", "10", "19.99")):
                for end, operator in ((least, "<"), (most, ">")):
                    beyond = narrowed(events, compare(value, operator, number))
                    some = life.present(Aggregate(AggregateFunction.SUM, beyond, declared.name))
                    assert life.members(compare(end, operator, number)) == some


@quick
@given(st.data())
def test_laws_of_times(data: Any) -> None:
    # Where dates repeat, the later of two instants may be of the earlier date.
    life = Life(data.draw, avoid=("America/St_Johns",))
    today = life.pools.dates[0]
    for _ in range(4):
        events = life.generator.events()
        first, last = (Aggregate(f, events) for f in (FIRST, LAST))
        did = life.members(Did(events))
        assert life.present(first) == life.present(last) == did
        assert life.members(compare(first, "<=", last)) == did
        assert life.members(compare(last, "<", Constant(life.at))) == did
        assert life.members(compare(DaysSinceEvent(first), ">=", DaysSinceEvent(last))) == did
        single = life.members(compare(Aggregate(AggregateFunction.COUNT, events), "=", Constant(Decimal(1))))
        assert single <= life.members(compare(first, "=", last))
        for days in (0, 1, 7, 30, 90):
            ago = Constant(today - days * DAY)
            for value in (first, last):
                since = compare(DaysSinceEvent(value), "=", Constant(Decimal(days)))
                assert life.members(compare(value, "=", ago)) == life.members(since)
                assert life.members(compare(value, "<", ago)) == life.members(
                    compare(DaysSinceEvent(value), ">", Constant(Decimal(days)))
                )
        whole = Events(events.type, events.where)
        first, last = (Aggregate(f, whole) for f in (FIRST, LAST))
        for instant in (life.generator.pick(life.pools.instants) for _ in range(4)):
            after = Did(Events(whole.type, whole.where, Absolute(instant, None)))
            before = Did(Events(whole.type, whole.where, Absolute(None, instant)))
            assert life.members(compare(last, ">=", Constant(instant))) == life.members(after)
            assert life.members(compare(first, "<", Constant(instant))) == life.members(before)


@quick
@given(st.data())
def test_laws_of_only(data: Any) -> None:
    life = Life(data.draw)
    for _ in range(4):
        events = life.generator.events()
        filters = life.generator.filters[events.type]
        one, other = filters.expression(2), filters.expression(1)
        some, both = life.members(Only(events)), life.members(Only(events, And((one, other))))
        held = life.members(Only(events, one))
        assert held <= some
        assert held & life.members(Only(events, Not(one))) == set()
        assert both == held & life.members(Only(events, other))
        if events.where is not None and events.type == "order":
            # Orders that do not count are looked at, which no `did` sees; but they are there.
            assert life.members(Did(events)) <= some
            assert held <= life.members(Only(narrowed(events, one))) <= some
            continue
        seen = events
        if events.where is None and events.type == "line":
            seen = narrowed(events, compare(FieldValue("quantity"), ">", Constant(Decimal(0))))
        assert some == life.members(Did(seen))
        assert held == some - life.members(Did(narrowed(seen, Not(one))))
        assert held <= life.members(Did(narrowed(seen, one))) & life.members(Never(narrowed(seen, Not(one))))


@quick
@given(st.data())
def test_a_time_is_as_a_timestamp_field(data: Any) -> None:
    """Where a field holds the time of the only order, whatever is asked of one is so of the other."""
    zone, at = data.draw(zones()), data.draw(evaluated_ats().filter(lambda at: at.year > 1970))
    pools = pools_for(at, zone)
    oracle = Oracle(SCHEMA, zone)
    now = round((at - datetime(1970, 1, 1, tzinfo=UTC)) / MS)
    times = [t for t in pools.instants if datetime(1970, 1, 1, tzinfo=UTC) <= t < at]
    for n in range(data.draw(st.integers(1, 12))):
        time = data.draw(st.sampled_from(times))
        oracle.upsert([(f"c{n}", {"seen": time})])
        oracle.write_events([Order(f"o{n}", f"c{n}", time, lines=[OrderLine()])], now)
    oracle.upsert([("none", {})])
    event = Aggregate(data.draw(st.sampled_from((FIRST, LAST))), data.draw(st.sampled_from((ORDERS, LINES))))
    seen, thirty = FieldValue("seen"), Constant(Decimal(30))
    constants = st.sampled_from((*pools.instants, *pools.dates)).map(Constant)
    one, other = data.draw(constants), data.draw(constants)
    for ours, field_s in (
        *((Comparison(event, o, one), Comparison(seen, o, one)) for o in Operator),
        *((Comparison(one, o, event), Comparison(one, o, seen)) for o in Operator),
        *((Comparison(event, o, seen), Comparison(seen, o, seen)) for o in Operator),
        (Between(event, one, other), Between(seen, one, other)),
        (In(event, (one.value, other.value)), In(seen, (one.value, other.value))),
        (compare(DaysSinceEvent(event), "<", thirty), compare(DaysSince("seen"), "<", thirty)),
    ):
        assert oracle.members(ours, at) == oracle.members(field_s, at), ours
    assert oracle.members(compare(DaysSinceEvent(event), "=", DaysSince("seen")), at) == set(oracle.contacts) - {"none"}


# --- what is generated -------------------------------------------------------------------------------------


def _names_of(value: Value) -> str:
    if isinstance(value, Constant):
        return "instant" if isinstance(value.value, datetime) else "date" if isinstance(value.value, date) else "number"
    if isinstance(value, Aggregate):
        return "time" if value.function.is_time else value.function.value
    return {DaysSinceEvent: "days", FieldValue: "field", Arithmetic: "arithmetic"}.get(type(value), "other")


def _shapes(node: Expression) -> set[str]:
    """What of this slice a predicate asks, in words."""
    if isinstance(node, Only):
        among = " among" if node.events.where is not None else ""
        during = " during" if node.events.window != AllTime() else ""
        return {f"only{among}{during}", "only all" if node.that is None else "only that"}
    values = values_of(node)
    found = {
        "average in arithmetic"
        for v in values
        if isinstance(v, Arithmetic) and "average" in map(_names_of, (v.left, v.right))
    }
    names = [_names_of(v) for v in values]
    if "time" in names:
        others = names[:]
        others.remove("time")
        found.add(f"time {type(node).__name__} {' '.join(sorted(others))}".rstrip())
    if "days" in names and "number" in names:
        found.add("days and a number")
    return found | (set(names) & set(MADE_OF))


WANTED = {
    "time Comparison time",
    "time Comparison date",
    "time Comparison instant",
    "time Comparison field",
    "time Between date date",
    "time Between instant instant",
    "time In",
    "days and a number",
    "average in arithmetic",
    *MADE_OF,
    "only",
    "only among",
    "only during",
    "only among during",
    "only all",
    "only that",
}


def test_the_values_of_events_are_generated_and_tell() -> None:
    """Of each shape there are many, and a good part of them hold for some and not for all."""
    rng = random.Random(12)
    pools = pools_for(NOON, "Europe/Warsaw")
    ids = [f"c{n}" for n in range(40)]
    oracle = Oracle(EVERY_TYPE, "Europe/Warsaw")
    instants = [t for t in pools.instants if 2022 <= t.year <= 2024]
    oracle.upsert([(c, {"signup": rng.choice(instants), "seen": rng.choice(instants)}) for c in ids])
    for batch in random_life(rng, ids, (60, 60, 60), at=NOON, zone="Europe/Warsaw"):
        oracle.write_events(batch, NOW_MS)
    asked: Counter[str] = Counter()
    telling: Counter[str] = Counter()
    for _ in range(2000):
        expression = random_event_expression(rng, EVERY_TYPE, pools, max_leaves=1)
        tells = 0 < oracle.count(expression, NOON) < len(ids)
        for node, _path, _depth in walk(expression):
            for shape in _shapes(node):
                asked[shape] += 1
                telling[shape] += tells
    assert {shape: asked[shape] for shape in WANTED if asked[shape] < 8} == {}
    # Whether a time is one of a few moments tells less often.
    assert {s: (telling[s], asked[s]) for s in WANTED - {"time In"} if telling[s] * 6 < asked[s]} == {}
    assert telling["time In"] > 0


def test_a_schema_without_timestamps_is_asked_about_times_too() -> None:
    schema = Schema((Field("score", FieldType.NUMBER),))
    rng = random.Random(13)
    shapes: Counter[str] = Counter()
    for _ in range(600):
        expression = random_event_expression(rng, schema, max_leaves=1)
        assert Oracle(schema, "UTC").members(expression, NOON) == set()
        for node, _path, _depth in walk(expression):
            shapes.update(_shapes(node))
    assert {"time Comparison time", "time Comparison date", "time Comparison instant"} <= set(shapes)
    assert "time Comparison field" not in shapes


@quick
@given(event_expressions_for(EVERY_TYPE))
def test_generated_expressions_are_well_typed(expression: Expression) -> None:
    assert Oracle(EVERY_TYPE, "UTC").members(expression, NOON) == set()
