"""The oracle's first and last events, favourites, gaps, months and sequences, against cases worked out by hand, and
what is refused of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import product as every_choice

import pytest

from segidx.model import expression as asked
from segidx.model.errors import InvalidExpression, SegidxError, TypeMismatch, UnknownEventType, UnknownProperty
from segidx.model.events import Event, EventProperty, EventType, EventTypes, Order, OrderLine, Retraction
from segidx.model.expression import (
    Aggregate,
    AggregateFunction,
    Between,
    Comparison,
    EventHas,
    Events,
    Everyone,
    Expression,
    HasValue,
    In,
    Not,
    Operator,
    Overdue,
    Step,
    Unfinished,
    field,
    filters_of,
    skip_unfinished,
    values_of,
    walk,
)
from segidx.model.schema import Field, FieldType, Schema
from segidx.model.values import Arithmetic, ArithmeticOperator, Constant, FieldValue, Negative, Value
from segidx.model.windows import Absolute, AllTime, Direction, Rolling, Unit, Window
from segidx.testing.event_language import FEATURES, asking_for
from segidx.testing.event_pools import ALL_TYPES, DECLARED
from segidx.testing.oracle import Oracle
from segidx.testing.oracle_sequences import ends_of_chains
from segidx.testing.strategies import EVERY_TYPE

NOON = datetime(2024, 6, 15, 12, tzinfo=UTC)
NOW_MS = 1_718_452_800_000
MS = timedelta(milliseconds=1)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
DAY_MS = 86_400_000
SCHEMA = Schema(
    (Field("score", FieldType.NUMBER), Field("seen", FieldType.TIMESTAMP), Field("email", FieldType.TEXT)),
)
F = AggregateFunction
EVER = AllTime()


def told(rows: Iterable[Order | Event | Retraction], zone: str = "UTC") -> Oracle:
    oracle = Oracle(SCHEMA, zone)
    oracle.declare_event_types(DECLARED)
    assert oracle.write_events(list(rows), NOW_MS).rejects == ()
    return oracle


def who(oracle: Oracle, expression: Expression, at: datetime = NOON) -> str:
    return " ".join(sorted(oracle.members(expression, at)))


def compare(left: Value, operator: str, right: object) -> Comparison:
    number = isinstance(right, int) and not isinstance(right, bool)
    side = right if isinstance(right, Value) else Constant(Decimal(right) if number else right)  # type: ignore[arg-type]
    return Comparison(left, Operator(operator), side)


def last(count: int, unit: Unit = Unit.DAY) -> Window:
    return Rolling(Direction.LAST, count, unit)


def first_has(that: Expression, events: Events) -> EventHas:
    return EventHas(Aggregate(F.FIRST, events), that)


def last_has(that: Expression, events: Events) -> EventHas:
    return EventHas(Aggregate(F.LAST, events), that)


# --- the first and the last --------------------------------------------------------------------------------


def visit(event_id: str, contact: str, time: datetime, **properties: object) -> Event:
    return Event("visit", event_id, contact, time, properties)  # type: ignore[arg-type]


TIED = [
    # Ids in the order of their bytes: "Z" < "a" < "é", "v10" < "v9".
    visit("v9", "ann", NOON - DAY, source="email"),
    visit("v10", "ann", NOON - DAY, source="direct"),
    visit("a", "bob", NOON - DAY, source="email", dwell=Decimal(9)),
    visit("Z", "bob", NOON - DAY, source="social"),
    visit("é", "bob", NOON - DAY),
    visit("c2", "cid", NOON - 3 * DAY, source="email"),
    visit("c1", "cid", NOON - 2 * DAY, source="direct"),
    visit("c0", "cid", NOON, source="social"),  # not seen yet at noon
]


@pytest.mark.parametrize(
    ("asked_for", "wanted"),
    [
        (first_has(field("source") == "direct", Events("visit")), "ann"),
        (last_has(field("source") == "email", Events("visit")), "ann"),
        (first_has(field("source") == "social", Events("visit")), "bob"),
        (last_has(~field("source").is_set(), Events("visit")), "bob"),
        (last_has(field("source") != "email", Events("visit")), "bob cid"),
        (first_has(field("source") == "email", Events("visit")), "cid"),
        (last_has(field("source") == "direct", Events("visit")), "cid"),
        # The filter selects, and what is asked tests that one alone.
        (last_has(field("dwell") == 9, Events("visit", field("source").is_set())), "bob"),
        (first_has(field("dwell") == 9, Events("visit", field("source").is_set())), ""),
        (first_has(field("source") == "direct", Events("visit", None, last(60, Unit.HOUR))), "ann cid"),
        (first_has(field("source") == "email", Events("visit", field("source") == "email")), "ann bob cid"),
        (first_has(field("source") == "email", Events("visit", None, last(12, Unit.HOUR))), ""),
        (Not(first_has(field("source") == "email", Events("visit", None, last(12, Unit.HOUR)))), "ann bob cid"),
        (last_has(field("hour") == 12, Events("visit")), "ann bob cid"),
    ],
)
def test_the_first_and_the_last_of_visits(asked_for: Expression, wanted: str) -> None:
    assert who(told(TIED), asked_for) == wanted


def test_as_of_earlier_and_after_replacing_and_retracting() -> None:
    email = last_has(field("source") == "email", Events("visit"))
    assert who(told(TIED), email, NOON - DAY) == ""  # half-open: c1 is the last before noon of yesterday
    assert who(told(TIED), email, NOON - 2 * DAY) == "cid"
    assert who(told([*TIED, Retraction("visit", "v9")]), email) == ""
    assert who(told([*TIED, visit("v10", "ann", NOON - DAY + MS, source="direct")]), email) == ""
    assert who(told([*TIED, visit("é", "ann", NOON - 9 * DAY)]), email) == "ann bob"


def test_the_first_and_the_last_of_orders_and_lines() -> None:
    oracle = told(
        [
            Order("o2", "ann", NOON - DAY, source="email", amount=Decimal(5)),
            Order("o3", "ann", NOON - DAY, source="direct", amount=Decimal(-5)),  # does not count
            Order(
                "l1",
                "bob",
                NOON - DAY,
                source="email",
                lines=[OrderLine("P", quantity=Decimal(-1)), OrderLine("Q"), OrderLine("R")],
            ),
            Order("l0", "bob", NOON - DAY, lines=[OrderLine("S"), OrderLine("T", quantity=Decimal(0))]),
        ]
    )
    assert who(oracle, last_has(field("source") == "email", Events("order"))) == "ann bob"
    assert who(oracle, first_has(field("source") == "email", Events("order"))) == "ann"
    assert who(oracle, first_has(field("product") == "S", Events("line"))) == "bob"
    assert who(oracle, last_has(field("product") == "R", Events("line"))) == "bob"
    some = Events("line", field("product").isin(("P", "Q", "T")))
    assert who(oracle, first_has(field("product") == "T", some)) == "bob"
    assert who(oracle, last_has(field("product") == "Q", some)) == "bob"


# --- favourites --------------------------------------------------------------------------------------------


def favourite(name: str, events: Events, by: str | None = None) -> Aggregate:
    return Aggregate(F.FAVOURITE, events, name, by)


def line(category: str | None, amount: str | None = None, quantity: str = "1") -> OrderLine:
    return OrderLine(category=category, quantity=Decimal(quantity), amount=None if amount is None else Decimal(amount))


BASKETS = [
    Order("a1", "ann", NOON - DAY, lines=[line("toys", "5"), line("toys", "5"), line("books", "11"), line(None, "99")]),
    Order("b1", "bob", NOON - DAY, lines=[line("books", "10"), line("Books", "10"), line("toys", "30")]),
    Order("b2", "bob", NOON - 40 * DAY, lines=[line("toys", "-30", "-1")]),  # a return
    Order("c1", "cid", NOON - DAY, lines=[line("toys", "-1", "-1"), line("books"), line("", "0")]),
    Order("d1", "dee", NOON - DAY, lines=[line(None, "4")]),
    Order("e1", "eve", NOON - DAY, lines=[line("toys", "1"), line("books"), line("books")]),
]
LINES = Events("line")
RECENT = Events("line", None, last(7))
NO_TOYS = Events("line", field("category") != "toys")


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (favourite("category", LINES), {"ann": "toys", "bob": "toys", "cid": "", "eve": "books"}),
        # Nothing below or at 0 is a favourite; lines without the category count for none, without an amount nothing.
        (favourite("category", LINES, "amount"), {"ann": "books", "bob": "Books", "eve": "toys"}),
        (favourite("category", LINES, "quantity"), {"ann": "toys", "bob": "Books", "cid": "", "eve": "books"}),
        (favourite("category", RECENT, "amount"), {"ann": "books", "bob": "toys", "eve": "toys"}),
        (favourite("category", RECENT), {"ann": "toys", "bob": "Books", "cid": "", "eve": "books"}),
        (favourite("category", NO_TOYS), {"ann": "books", "bob": "Books", "cid": "", "eve": "books"}),
        (favourite("product", LINES), {}),
    ],
)
def test_favourites(value: Aggregate, wanted: dict[str, str]) -> None:
    oracle = told(BASKETS)
    assert who(oracle, HasValue(value)) == " ".join(wanted)
    everyone = set(oracle.contacts)
    for text in ("toys", "books", "Books", "", "nothing"):
        have = {name for name, own in wanted.items() if own == text}
        assert oracle.members(compare(value, "=", text), NOON) == have
        assert oracle.members(Comparison(Constant(text), Operator.EQ, value), NOON) == have
        assert oracle.members(compare(value, "!=", text), NOON) == everyone - have
        assert oracle.members(In(value, (text, "nothing")), NOON) == have
    books = {name for name, own in wanted.items() if own.lower() == "books"}
    assert oracle.members(Comparison(value, Operator.EQ, Constant("BOOKS"), ci=True), NOON) == books


def test_favourites_of_orders_are_of_those_that_count() -> None:
    oracle = told(
        [
            Order("a1", "ann", NOON - DAY, source="email", amount=Decimal(-9)),
            Order("a2", "ann", NOON - DAY, source="email", amount=Decimal(-9)),
            Order("a3", "ann", NOON - DAY, source="direct", amount=Decimal(1)),
        ]
    )
    assert who(oracle, compare(favourite("source", Events("order")), "=", "direct")) == "ann"
    assert who(oracle, compare(favourite("source", Events("order"), "amount"), "=", "direct")) == "ann"


# --- gaps --------------------------------------------------------------------------------------------------

# ann: gaps of 10, 2 and 0 days; mean 4, variance (36 + 4 + 16) / 3, last 1 day ago. bob: one gap of 1 ms. cid: one
# visit. dee: gaps of 1 and 2 ms, last 1 ms ago: expected 1.5 ms later, rounded down: at noon.
VISITS = [
    *(visit(f"a{n}", "ann", NOON - n * DAY) for n in (13, 3, 1)),
    visit("a1 again", "ann", NOON - DAY),
    visit("b0", "bob", NOON - 5 * DAY),
    visit("b1", "bob", NOON - 5 * DAY + MS),
    visit("c0", "cid", NOON - DAY),
    *(visit(f"d{n}", "dee", NOON - n * MS) for n in (4, 3, 1)),
]
OF_VISITS = Events("visit")
MEAN, DEVIATION, EXPECTED = (Aggregate(f, OF_VISITS) for f in (F.MEAN_GAP, F.GAP_DEVIATION, F.EXPECTED))


def exactly(value: Value, number: Value) -> Expression:
    return compare(value, "=", number)


@pytest.mark.parametrize(
    ("asked_for", "wanted"),
    [
        (HasValue(MEAN), "ann bob dee"),
        # That of ann is 3 days ahead, that of dee now, that of bob 2 ms later than 5 days ago.
        (asked.TimeInWindow(EXPECTED, Rolling(Direction.NEXT, 4, Unit.DAY)), "ann dee"),
        (asked.TimeInWindow(EXPECTED, Rolling(Direction.NEXT, 3, Unit.DAY)), "dee"),
        (asked.TimeInWindow(EXPECTED, Absolute(NOON - 5 * DAY + 2 * MS, NOON - 5 * DAY + 3 * MS)), "bob"),
        (asked.TimeInWindow(EXPECTED, Absolute(NOON - 5 * DAY + 3 * MS, NOON)), ""),
        (HasValue(DEVIATION), "ann bob dee"),
        (HasValue(EXPECTED), "ann bob dee"),
        (compare(MEAN, "=", 4), "ann"),
        (compare(MEAN, "<", 4), "bob dee"),
        (compare(MEAN, "!=", 4), "bob cid dee"),
        (compare(Arithmetic(ArithmeticOperator.MULTIPLY, MEAN, Constant(Decimal(DAY_MS))), "=", 1), "bob"),
        (compare(Arithmetic(ArithmeticOperator.MULTIPLY, MEAN, Constant(Decimal(2 * DAY_MS))), "=", 3), "dee"),
        (compare(DEVIATION, "=", 0), "bob"),
        # 56 / 3 is 4.3204937989385733...²
        (compare(DEVIATION, ">", Constant(Decimal("4.3204937989385734"))), "ann"),
        (compare(DEVIATION, ">", Constant(Decimal("4.3204937989385735"))), ""),
        (compare(DEVIATION, ">=", -1), "ann bob dee"),
        (compare(DEVIATION, "<", -1), ""),
        (Between(DEVIATION, Constant(Decimal(0)), Constant(Decimal(1))), "bob dee"),
        (In(DEVIATION, (Decimal(0), Decimal(7))), "bob"),
        (compare(DEVIATION, ">", MEAN), "ann"),
        (compare(DEVIATION, "<=", DEVIATION), "ann bob dee"),
        (compare(EXPECTED, "=", NOON + 3 * DAY), "ann"),
        (compare(EXPECTED, "=", date(2024, 6, 18)), "ann"),
        (compare(EXPECTED, "=", NOON - 5 * DAY + 2 * MS), "bob"),
        (compare(EXPECTED, "=", NOON), "dee"),
        (compare(EXPECTED, ">", Aggregate(F.LAST, OF_VISITS)), "ann bob dee"),
        (Overdue(OF_VISITS), "bob"),  # dee's is expected right now
        (Not(Overdue(OF_VISITS)), "ann cid dee"),
        # Without the first of ann's, gaps of 2 and 0 days: expected right now.
        (Overdue(Events("visit", None, last(5))), "bob"),
        (compare(Aggregate(F.EXPECTED, Events("visit", None, last(5))), "=", NOON), "ann dee"),
        (compare(Aggregate(F.MEAN_GAP, Events("visit", None, last(1))), "=", 0), "ann"),  # two at one time
    ],
)
def test_gaps(asked_for: Expression, wanted: str) -> None:
    assert who(told(VISITS), asked_for) == wanted


def test_what_is_expected_as_of_earlier_and_later() -> None:
    oracle = told(VISITS)
    assert who(oracle, Overdue(OF_VISITS), NOON + MS) == "bob dee"
    assert who(oracle, Overdue(OF_VISITS), NOON + 3 * DAY) == "bob dee"
    assert who(oracle, Overdue(OF_VISITS), NOON + 3 * DAY + MS) == "ann bob dee"
    # Of ann's, two were seen: a gap of 10 days.
    assert who(oracle, compare(MEAN, "=", 10), NOON - DAY) == "ann"


def test_orders_that_do_not_count_make_no_gap() -> None:
    oracle = told(Order(f"o{n}", "ann", NOON - n * DAY, amount=Decimal(5 if n != 2 else -5)) for n in (1, 2, 5))
    assert who(oracle, compare(Aggregate(F.MEAN_GAP, Events("order")), "=", 4)) == "ann"


# --- months ------------------------------------------------------------------------------------------------


def test_months_are_those_of_the_wall_clock() -> None:
    rows = [
        visit("a", "ann", datetime(2023, 11, 30, 23, 30, tzinfo=UTC)),  # in Warsaw half past midnight in December
        visit("b", "bob", datetime(2023, 12, 31, 22, 59, tzinfo=UTC)),
        visit("c", "cid", datetime(2023, 12, 31, 23, 0, tzinfo=UTC)),  # January in Warsaw
        visit("d", "cid", datetime(1999, 12, 1, tzinfo=UTC)),
    ]
    december = asked.Did(Events("visit", field("month") == 12))
    assert who(told(rows, "Europe/Warsaw"), december) == "ann bob cid"
    only_december = asked.Only(OF_VISITS, field("month") == 12)
    assert who(told(rows, "Europe/Warsaw"), only_december) == "ann bob"
    assert who(told(rows), only_december) == "bob cid"
    assert who(told(rows), asked.Only(OF_VISITS, field("month").between(1, 11))) == "ann"
    share = compare(
        Aggregate(F.COUNT, Events("visit", field("month") == 12)),
        ">",
        Arithmetic(ArithmeticOperator.MULTIPLY, Constant(Decimal("0.5")), Aggregate(F.COUNT, OF_VISITS)),
    )
    assert who(told(rows), share) == "bob cid"
    assert who(told(rows, "Europe/Warsaw"), share) == "ann bob"


def test_a_type_that_had_a_month_of_its_own_keeps_it() -> None:
    """Since before there was one of the wall clock."""
    bill = EventType("bill", (EventProperty("month", FieldType.CATEGORY),), 16)
    oracle = Oracle(SCHEMA, "UTC")
    oracle.event_types = EventTypes((bill,))
    assert oracle.write_events([Event("bill", "b1", "ann", NOON, {"month": "may"})], NOW_MS).rejects == ()
    at = NOON + MS
    assert who(oracle, asked.Did(Events("bill", field("month") == "may")), at) == "ann"
    assert who(oracle, HasValue(favourite("month", Events("bill"))), at) == "ann"
    assert oracle.write_events([Event("bill", "b2", "bob", NOON, {})], NOW_MS).rejects == ()
    assert who(oracle, asked.Did(Events("bill", field("month").is_set())), at) == "ann"
    with pytest.raises(TypeMismatch):
        oracle.members(asked.Did(Events("bill", field("month") == 6)), at)


# --- sequences ---------------------------------------------------------------------------------------------


def step(source: str | None, days: int | None = None, *, absent: bool = False, type: str = "visit") -> Step:
    where = None if source is None else field("source") == source
    return Step(Events(type, where), None if days is None else days * DAY_MS, absent)


def sequence(*steps: Step, window: Window = EVER) -> asked.Sequence:
    return asked.Sequence(steps, window)


def visits_of(contact: str, *days_and_sources: tuple[float, str]) -> list[Event]:
    """Visits so many days before noon."""
    return [
        visit(f"{contact}{n}", contact, NOON - days * DAY, source=source)
        for n, (days, source) in enumerate(days_and_sources)
    ]


WALKS = [
    *visits_of("ann", (10, "a"), (8, "b"), (2, "c")),
    *visits_of("bob", (5, "a"), (5, "b"), (4, "c")),  # a and b at one time
    # The first a is too early for b, and the second b too late for c: only the other ones make a chain.
    *visits_of("cid", (30, "a"), (20, "a"), (19, "b"), (10, "b"), (18, "c")),
    *visits_of("dee", (3, "b"), (2, "a")),
    Order("o1", "dee", NOON - DAY, amount=Decimal(1)),
    Order("o2", "bob", NOON - DAY, amount=Decimal(-1)),  # does not count
]


@pytest.mark.parametrize(
    ("asked_for", "wanted"),
    [
        (sequence(step("a"), step("b")), "ann cid"),
        (sequence(step("a"), step("b", 2)), "ann cid"),
        (sequence(step("a"), step("b", 1)), "cid"),
        (sequence(step("b"), step("a")), "dee"),
        (sequence(step("a"), step("c")), "ann bob cid"),
        (sequence(step("a"), step("b"), step("c")), "ann cid"),
        (sequence(step("a"), step("b", 1), step("c", 1)), "cid"),
        (sequence(step("a"), step("b", 2), step("c", 6)), "ann cid"),
        (sequence(step("a"), step("b", 2), step("c", 5)), "cid"),
        (sequence(step(None), step(None)), "ann bob cid dee"),
        (sequence(step(None), step(None), step(None)), "ann cid"),
        (sequence(step(None), step(None), step(None), step(None), step(None)), "cid"),
        (sequence(step("a"), Step(Events("order"))), "dee"),
        (sequence(step("b"), step("a"), Step(Events("order"), DAY_MS)), "dee"),
        # all of it in the window, which is half-open: 10 days ago is in it
        (sequence(step("a"), step("b"), window=last(10)), "ann"),
        (sequence(step("a"), step("b"), window=last(9)), ""),
        (sequence(step("a"), step("c"), window=Absolute(NOON - 25 * DAY, NOON - 2 * DAY)), "bob cid"),
        (sequence(step("a"), step("c"), window=Absolute(NOON - 25 * DAY, NOON - 2 * DAY + MS)), "ann bob cid"),
        # and none came: the a of ann is followed by b at 2 days exactly
        (sequence(step("a"), step("b", 1, absent=True)), "ann bob cid dee"),
        (sequence(step("a"), step("b", 2, absent=True)), "bob cid"),  # dee's two days are not over
        (sequence(step("a"), step("b", 3, absent=True)), "bob cid"),
        (sequence(step("a"), step("b", 10, absent=True)), "cid"),  # by way of the first a
        (sequence(step("a"), step("b", 11, absent=True)), ""),  # which is followed after 11 days
        (sequence(step("a"), step("b", 5, absent=True)), "cid"),  # bob's five days end at noon, and are not over
        (sequence(step("b"), step("a"), Step(Events("order"), DAY_MS, True)), ""),
        (sequence(step("a"), Step(Events("order"), DAY_MS, True)), "ann bob cid"),
        (sequence(step("a"), step("b"), step("c", 1, absent=True)), "ann cid"),  # cid by way of the second b
        (sequence(step("a"), step("b", 2), step("c", 1, absent=True)), "ann"),
        (sequence(step("a"), step("b", 1, absent=True), window=Absolute(None, NOON - 19 * DAY)), "cid"),
        (sequence(step("a"), step("b", 1, absent=True), window=Absolute(NOON - 20 * DAY, NOON - 19 * DAY)), ""),
        (sequence(step("c"), step("b", 1, absent=True), window=Absolute(NOON - 19 * DAY, NOON - 17 * DAY)), ""),
        (sequence(step("c"), step("b", 1, absent=True), window=Absolute(None, NOON - 17 * DAY + MS)), "cid"),
    ],
)
def test_sequences(asked_for: Expression, wanted: str) -> None:
    assert who(told(WALKS), asked_for) == wanted


def test_that_time_is_over_when_it_is_past() -> None:
    oracle = told(WALKS)
    stays = sequence(step("a"), step("b", 2, absent=True))
    assert who(oracle, stays, NOON) == "bob cid"
    assert who(oracle, stays, NOON + MS) == "bob cid dee"
    # An event that comes later takes it back where it lies within, not behind.
    edge = visits_of("dee", (0, "b"))[0]
    assert who(told([*WALKS, Event("visit", "x", "dee", edge.time, edge.properties)]), stays, NOON + MS) == "bob cid"
    behind = Event("visit", "x", "dee", NOON + MS, {"source": "b"})
    assert who(told([*WALKS, behind]), stays, NOON + DAY) == "bob cid dee"


def test_chains_are_those_of_all_choices() -> None:
    """Against trying every choice of one time of each step."""
    rng = random.Random(3)
    some = 0
    for _ in range(3000):
        steps = [[rng.randrange(12) for _ in range(rng.randrange(5))] for _ in range(rng.randint(2, 4))]
        within = [None, *(rng.choice((None, 1, 2, 4)) for _ in steps[1:])]
        wanted = {
            chain[-1]
            for chain in every_choice(*steps)
            if all(
                a < b and (most is None or b - a <= most)
                for a, b, most in zip(chain, chain[1:], within[1:], strict=False)
            )
        }
        assert set(ends_of_chains(steps, within)) == wanted
        some += bool(wanted)
    assert 500 < some < 2500


# --- what cannot be ----------------------------------------------------------------------------------------

ORDERS = Events("order")
GROUP = Events("interaction")
BY_SOURCE = favourite("source", ORDERS)


@pytest.mark.parametrize(
    ("asked_for", "error"),
    [
        (first_has(field("sauce") == "a", GROUP), UnknownProperty),
        (first_has(field("product") == "a", ORDERS), UnknownProperty),
        (first_has(field("amount") == "a", ORDERS), TypeMismatch),
        (first_has(field("a") == "a", Events("no_such_type")), UnknownEventType),
        (first_has(Everyone(), ORDERS), InvalidExpression),
        (HasValue(favourite("source", Events("touch"))), InvalidExpression),
        (HasValue(favourite("amount", ORDERS)), TypeMismatch),
        (HasValue(favourite("paid", ORDERS)), TypeMismatch),
        (HasValue(favourite("hour", ORDERS)), TypeMismatch),
        (HasValue(favourite("month", ORDERS)), TypeMismatch),
        (HasValue(favourite("product", ORDERS)), UnknownProperty),
        (HasValue(favourite("source", ORDERS, "paid")), TypeMismatch),
        (HasValue(favourite("source", ORDERS, "source")), TypeMismatch),
        (HasValue(favourite("source", ORDERS, "hour")), TypeMismatch),
        (HasValue(favourite("source", ORDERS, "quantity")), UnknownProperty),
        (compare(BY_SOURCE, "=", 1), TypeMismatch),
        (compare(BY_SOURCE, "<", "a"), TypeMismatch),
        (Between(BY_SOURCE, Constant("a"), Constant("b")), TypeMismatch),
        (compare(BY_SOURCE, "=", FieldValue("email")), TypeMismatch),
        (compare(BY_SOURCE, "=", BY_SOURCE), TypeMismatch),
        (compare(Arithmetic(ArithmeticOperator.ADD, BY_SOURCE, Constant("a")), "=", "a"), TypeMismatch),
        (compare(Aggregate(F.MEAN_GAP, GROUP), ">", "a"), TypeMismatch),
        (Overdue(Events("touch", field("amount") == 1)), UnknownProperty),
        (Overdue(Events("order", field("x") == 1)), UnknownProperty),
        (compare(MEAN, "=", "a"), TypeMismatch),
        (compare(EXPECTED, ">", 1), TypeMismatch),
        (compare(Arithmetic(ArithmeticOperator.ADD, DEVIATION, Constant(Decimal(1))), ">", 1), TypeMismatch),
        (compare(Negative(DEVIATION), "<", 1), TypeMismatch),
        (Comparison(MEAN, Operator.EQ, Constant(Decimal(1)), ci=True), TypeMismatch),
        (sequence(step("a"), Step(Events("touch", field("amount") == 1))), UnknownProperty),
        (sequence(step("a"), Step(Events("no_such_type"))), UnknownEventType),
        (sequence(step("a"), Step(Events("order", field("dwell") > 1))), UnknownProperty),
        (compare(Aggregate(F.SUM, ORDERS, "month"), ">", 1), TypeMismatch),
        (field("month") == 1, SegidxError),  # a contact has none
    ],
)
def test_refused(asked_for: Expression, error: type[SegidxError]) -> None:
    with pytest.raises(error):
        told([]).members(asked_for, NOON)


@pytest.mark.parametrize(
    "make",
    [
        lambda: EventHas(Aggregate(F.COUNT, ORDERS), field("paid") == True),  # noqa: E712
        lambda: EventHas(Aggregate(F.EXPECTED, ORDERS), field("paid") == True),  # noqa: E712
        lambda: EventHas(Aggregate(F.FIRST, ORDERS), None),  # type: ignore[arg-type]
        lambda: HasValue(Constant(Decimal(1))),  # type: ignore[arg-type]
        lambda: Aggregate(F.FAVOURITE, ORDERS),
        lambda: Aggregate(F.SUM, ORDERS, "amount", "amount"),
        lambda: Aggregate(F.MEAN_GAP, ORDERS, "amount"),
        lambda: asked.DaysSinceEvent(Aggregate(F.EXPECTED, ORDERS)),
        lambda: Step(Events("order", None, last(7))),
        lambda: Step(ORDERS, 0),
        lambda: Step(ORDERS, 1500),
        lambda: Step(ORDERS, True),
        lambda: Step(ORDERS, asked.MAX_WITHIN + 1000),
        lambda: Step(ORDERS, absent=True),
        lambda: sequence(Step(ORDERS)),
        lambda: sequence(*[Step(ORDERS)] * 17),
        lambda: sequence(Step(ORDERS, 1000), Step(ORDERS)),
        lambda: sequence(Step(ORDERS), Step(ORDERS, 1000, True), Step(ORDERS)),
        lambda: asked.Sequence((Step(ORDERS), ORDERS)),  # type: ignore[arg-type]
    ],
)
def test_nodes_that_cannot_be(make: object) -> None:
    with pytest.raises(InvalidExpression):
        make()  # type: ignore[operator]


def test_paths_of_filters_and_what_is_unfinished_in_them() -> None:
    unfinished = Unfinished()
    node = asked.Sequence((Step(Events("visit", unfinished)), Step(Events("order", unfinished), 1000)))
    assert [f.place for f in filters_of(node)] == ["steps[0].events.where", "steps[1].events.where"]
    clean, skipped = skip_unfinished(node)
    assert clean == asked.Sequence((Step(Events("visit")), Step(ORDERS, 1000)))
    assert skipped == ("expression.sequence.steps[0].events.where", "expression.sequence.steps[1].events.where")
    paid = field("paid") == True  # noqa: E712
    has = first_has(paid & unfinished, Events("order", unfinished))
    assert skip_unfinished(has)[0] == first_has(asked.And((paid,)), ORDERS)
    assert skip_unfinished(first_has(unfinished, ORDERS))[0] == asked.Did(ORDERS)
    late = Overdue(Events("order", unfinished))
    assert skip_unfinished(late) == (Overdue(ORDERS), ("expression.overdue.events.where",))


# --- what is generated -------------------------------------------------------------------------------------


def test_every_kind_of_question_is_generated() -> None:
    """Well-typed all of them."""
    rng = random.Random(9)
    oracle = Oracle(EVERY_TYPE, "Europe/Warsaw")
    oracle.declare_event_types(DECLARED)
    kinds: Counter[object] = Counter()
    for feature in FEATURES:
        for _ in range(300):
            question = asking_for(feature)(rng, EVERY_TYPE, types=tuple(ALL_TYPES))
            oracle.members(question, NOON)
            for node, _place, _depth in walk(question):
                kinds[type(node)] += 1
                kinds.update(v.function for v in values_of(node) if isinstance(v, Aggregate))
                kinds.update((v.function, v.by is None) for v in values_of(node) if isinstance(v, Aggregate))
                if isinstance(node, asked.Sequence):
                    kinds.update(("absent", s.absent, s.within is None) for s in node.steps)
                    kinds[type(node.window)] += 1
                kinds["month"] += any("month" in repr(found.node) for found in filters_of(node))
    wanted: list[object] = [EventHas, HasValue, asked.TimeInWindow, Overdue, asked.Sequence, F.FAVOURITE, "month"]
    wanted += [f for f in F if f.of_gaps]
    wanted += [(F.FAVOURITE, True), (F.FAVOURITE, False), ("absent", True, False), ("absent", False, True)]
    wanted += [("absent", False, False), AllTime, Absolute, Rolling]
    assert {kind for kind in wanted if kinds[kind] < 10} == set()
