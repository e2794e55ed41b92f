"""The oracle's answers about events of any type, against truth tables written by hand; and its type rules."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from segidx.model.errors import SchemaConflict, SegidxError, TypeMismatch, UnknownEventType, UnknownProperty
from segidx.model.events import Event, EventProperty, EventType, Order, OrderLine
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
    TextMatch,
    TextOperator,
)
from segidx.model.schema import Field, FieldType, Schema
from segidx.model.values import Arithmetic, ArithmeticOperator, Constant, FieldValue, Scalar, Value
from segidx.model.windows import Direction, Rolling, Unit
from segidx.testing.event_lives import SeededChooser
from segidx.testing.event_pools import ALL_TYPES, DECLARED
from segidx.testing.event_questions import EventGenerator
from segidx.testing.generator_events import random_event_rows
from segidx.testing.oracle import Oracle
from segidx.testing.pools import ZONES, pools_for
from segidx.testing.strategies import EVERY_TYPE

NOON = datetime(2024, 6, 15, 12, tzinfo=UTC)
NOW_MS = 1_718_452_800_000
MS = timedelta(milliseconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SCHEMA = Schema((Field("score", FieldType.NUMBER), Field("seen", FieldType.TIMESTAMP)))

DOWNLOAD = EventType(
    "download",
    (
        EventProperty("title", FieldType.CATEGORY),
        EventProperty("free", FieldType.BOOL),
        EventProperty("pages", FieldType.NUMBER),
        EventProperty("price", FieldType.NUMBER, None),
        EventProperty("published", FieldType.TIMESTAMP),
    ),
)
SIGN = EventType("sign")


def d(text: str) -> Decimal:
    return Decimal(text)


def compare(left: Value, operator: str, right: Value | Scalar | int) -> Comparison:
    return Comparison(left, Operator(operator), right if isinstance(right, Value) else Constant(right))  # type: ignore[arg-type]


def aggregate(function: str, of: Events, name: str | None = None) -> Aggregate:
    return Aggregate(AggregateFunction(function), of, name)


def members(oracle: Oracle, expression: Expression, at: datetime = NOON) -> str:
    return " ".join(sorted(oracle.members(expression, at)))


# 22:30 in UTC is half past midnight of the next day in Warsaw.
LATE = datetime(2024, 6, 1, 22, 30, tzinfo=UTC)

HISTORY = [
    Event("download", "1", "ann", NOON - 10 * DAY, {"title": "guide", "free": True, "pages": 12, "published": LATE}),
    Event("download", "2", "ann", NOON - 3 * DAY, {"title": "Guide", "free": False, "pages": 30, "price": d("2.50")}),
    Event("download", "3", "bob", NOON - 2 * DAY, {"pages": -4, "published": NOON - 100 * DAY, "title": None}),
    Event("download", "4", "cid", NOON - 40 * DAY),
    Event("sign", "1", "cid", NOON - DAY),
    Event("sign", "2", "cid", NOON - DAY),
    Event("visit", "1", "ann", NOON - HOUR, {"source": "email", "paid": False, "dwell": d("1.5"), "url": "/sale/a?b"}),
    Event("visit", "2", "bob", NOON - 2 * HOUR, {"source": "direct", "paid": True, "url": "https://x.example/sale"}),
    Event("message", "1", "ann", NOON - 5 * DAY, {"kind": "delivered", "channel": "email"}),
    Event("message", "2", "ann", NOON - 4 * DAY, {"kind": "clicked", "channel": "email"}),
    Event("cart", "1", "bob", NOON - DAY, {"kind": "add", "quantity": -1, "amount": d("-3.00")}),
    Event("activity", "1", "dee", NOON - DAY, {"kind": "task", "due": NOON + DAY, "done": NOON}),
    Event("activity", "2", "dee", NOON - DAY, {"kind": "task", "due": NOON - DAY}),
    # The same id as of other types.
    Order("1", "bob", NOON - DAY, lines=[OrderLine("P", quantity=d("-1"), amount=d("-3"))]),
]


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    made = Oracle(SCHEMA, "Europe/Warsaw")
    made.declare_event_types([DOWNLOAD, SIGN])
    made.upsert([("ann", {"score": 2, "seen": LATE}), ("bob", {"score": 1}), ("cid", {}), ("dee", {})])
    result = made.write_events(HISTORY, NOW_MS)
    assert (result.accepted, result.created, result.duplicates, result.rejects) == (len(HISTORY), 0, 0, ())
    return made


DOWNLOADS, SIGNS, VISITS, CARTS = (Events(name) for name in ("download", "sign", "visit", "cart"))
TASKS = Events("activity", compare(FieldValue("kind"), "=", "task"))
TITLE, FREE, PAGES, PUBLISHED = (FieldValue(name) for name in ("title", "free", "pages", "published"))
RECENT = Rolling(Direction.LAST, 7, Unit.DAY)


def downloads(where: Expression) -> Events:
    return Events("download", where)


TABLE: list[tuple[Expression, str]] = [
    # every event counts, of whatever quantity and amount; ids are those of their type
    (Did(DOWNLOADS), "ann bob cid"),
    (Never(DOWNLOADS), "dee"),
    (Did(CARTS), "bob"),
    (Did(Events("order")), ""),
    (Did(Events("line")), "bob"),
    (compare(aggregate("count", SIGNS), "=", 2), "cid"),
    (compare(aggregate("count", SIGNS), "=", 0), "ann bob dee"),
    (compare(aggregate("count", DOWNLOADS), ">", aggregate("count", Events("message"))), "bob cid"),
    (Did(Events("download", None, RECENT)), "ann bob"),
    (Did(Events("sign", compare(Constant(d("1")), "<", 2))), "cid"),
    (Did(Events("sign", compare(Constant(d("1")), ">", 2))), ""),
    # strings and bools
    (Did(downloads(compare(TITLE, "=", "guide"))), "ann"),
    (Did(downloads(Not(compare(TITLE, "=", "guide")))), "ann bob cid"),
    (Did(downloads(Not(IsSet("title")))), "bob cid"),
    (Never(downloads(Comparison(TITLE, Operator.NE, Constant("GUIDE"), ci=True))), "ann dee"),
    (Did(downloads(compare(FREE, "=", False))), "ann"),
    (Did(downloads(compare(FREE, "!=", True))), "ann bob cid"),
    (Did(downloads(And((compare(FREE, "=", True), compare(PAGES, ">", 20))))), ""),
    (Did(Events("visit", TextMatch("url", TextOperator.LIKE, "/sale"))), "bob"),
    (Did(Events("visit", TextMatch("url", TextOperator.LIKE, "/sale/*"))), "ann"),
    # numbers: all that have the property, and only they
    (compare(aggregate("sum", DOWNLOADS, "pages"), "=", 42), "ann"),
    (compare(aggregate("sum", DOWNLOADS, "pages"), "=", -4), "bob"),
    (compare(aggregate("sum", DOWNLOADS, "pages"), "!=", 0), "ann bob cid dee"),
    (compare(aggregate("average", DOWNLOADS, "pages"), "=", 21), "ann"),
    (compare(aggregate("average", DOWNLOADS, "price"), "=", d("2.5")), "ann"),
    (compare(aggregate("min", DOWNLOADS, "pages"), "<", 13), "ann bob"),
    (compare(aggregate("max", DOWNLOADS, "pages"), ">=", 30), "ann"),
    (compare(aggregate("sum", CARTS, "amount"), "=", -3), "bob"),
    (compare(aggregate("average", CARTS, "quantity"), "=", -1), "bob"),
    (compare(aggregate("sum", VISITS, "dwell"), ">", 1), "ann"),
    # timestamps: instants by themselves, dates by the local date, which was the 2nd of June in Warsaw
    (Did(downloads(compare(PUBLISHED, "=", LATE))), "ann"),
    (Did(downloads(compare(PUBLISHED, ">", LATE - MS))), "ann"),
    (Did(downloads(compare(PUBLISHED, ">", LATE))), ""),
    (Did(downloads(compare(PUBLISHED, "=", date(2024, 6, 2)))), "ann"),
    (Did(downloads(compare(PUBLISHED, "=", date(2024, 6, 1)))), ""),
    (Did(downloads(compare(PUBLISHED, ">", date(2024, 6, 1)))), "ann"),
    (Did(downloads(compare(PUBLISHED, "<=", date(2024, 6, 1)))), "bob"),
    (Did(downloads(compare(Constant(date(2024, 6, 2)), "<=", PUBLISHED))), "ann"),
    (Did(downloads(compare(PUBLISHED, "!=", date(2024, 6, 2)))), "ann bob cid"),
    (Did(downloads(Not(compare(PUBLISHED, "<", date(2024, 6, 2))))), "ann cid"),
    (Did(downloads(In(PUBLISHED, (date(2024, 6, 2), NOON)))), "ann"),
    (Did(downloads(In(PUBLISHED, (NOON - 100 * DAY, date(2024, 6, 1))))), "bob"),
    (Did(downloads(Between(PUBLISHED, Constant(date(2024, 6, 2)), Constant(date(2024, 6, 2))))), "ann"),
    (Did(downloads(Between(PUBLISHED, Constant(LATE), Constant(date(2024, 6, 2))))), "ann"),
    (Did(downloads(Between(PUBLISHED, Constant(LATE + MS), Constant(date(2024, 6, 2))))), ""),
    (Did(downloads(IsSet("published"))), "ann bob"),
    (Did(Events("activity", Not(IsSet("done")))), "dee"),
    (Did(Events("activity", And((IsSet("done"), compare(FieldValue("due"), "<", NOON))))), ""),
    # a property may lie behind the instant: the event's own time does not
    (Did(Events("activity", compare(FieldValue("due"), ">", NOON))), "dee"),
    # first, last and days since
    (compare(aggregate("last", DOWNLOADS), "=", NOON - 3 * DAY), "ann"),
    (compare(aggregate("first", DOWNLOADS), "<", NOON - 5 * DAY), "ann cid"),
    (compare(aggregate("last", DOWNLOADS), ">", FieldValue("seen")), "ann"),
    (compare(DaysSinceEvent(aggregate("last", DOWNLOADS)), "=", 3), "ann"),
    (compare(DaysSinceEvent(aggregate("last", VISITS)), "=", 0), "ann bob"),
    (compare(DaysSinceEvent(aggregate("first", DOWNLOADS)), ">", 9), "ann cid"),
    # only: without a filter of the population all of them are looked at
    (Only(DOWNLOADS), "ann bob cid"),
    (Only(DOWNLOADS, IsSet("pages")), "ann bob"),
    (Only(DOWNLOADS, IsSet("published")), "bob"),
    (Only(CARTS, compare(FieldValue("quantity"), ">", 0)), ""),
    (Only(CARTS), "bob"),
    (Only(downloads(IsSet("title")), compare(FREE, "=", True)), ""),
    (Only(TASKS, IsSet("done")), ""),
    (Only(TASKS, IsSet("due")), "dee"),
    (Only(VISITS, compare(FieldValue("paid"), "=", True)), "bob"),
]


@pytest.mark.parametrize(("expression", "expected"), TABLE)
def test_truth(oracle: Oracle, expression: Expression, expected: str) -> None:
    assert members(oracle, expression) == expected
    assert members(oracle, Not(expression)) == " ".join(sorted(set(oracle.contacts) - set(expected.split())))


def test_events_at_the_instant_and_after_are_invisible() -> None:
    oracle = Oracle(SCHEMA, "UTC")
    sent = [Event("visit", name, name, time) for name, time in (("a", NOON - MS), ("b", NOON), ("c", NOON + DAY))]
    assert oracle.write_events(sent, NOW_MS).created == 3
    assert members(oracle, Did(VISITS)) == "a"
    assert members(oracle, Did(VISITS), NOON + MS) == "a b"
    assert members(oracle, Did(VISITS), oracle.default_instant(NOW_MS)) == "a b c"


# --- type rules --------------------------------------------------------------------------------------------

BAD_EXPRESSIONS: list[tuple[Expression, type[SegidxError]]] = [
    (Did(Events("no_such_type")), UnknownEventType),
    (Never(Events("no_such_type", compare(FREE, "=", True))), UnknownEventType),
    (Only(Events("no_such_type")), UnknownEventType),
    (compare(aggregate("count", Events("no_such_type")), ">", 1), UnknownEventType),
    (compare(aggregate("sum", Events("no_such_type"), "pages"), ">", 1), UnknownEventType),
    (compare(DaysSinceEvent(aggregate("last", Events("no_such_type"))), ">", 1), UnknownEventType),
    (Did(Events("visit", compare(PAGES, ">", 1))), UnknownProperty),
    (Did(Events("sign", IsSet("title"))), UnknownProperty),
    (compare(aggregate("sum", VISITS, "pages"), ">", 1), UnknownProperty),
    (compare(aggregate("sum", DOWNLOADS, "title"), ">", 1), TypeMismatch),
    (compare(aggregate("max", DOWNLOADS, "published"), ">", 1), TypeMismatch),
    (Did(downloads(compare(PUBLISHED, ">", 1))), TypeMismatch),
    (Did(downloads(compare(PUBLISHED, "=", "2024-06-02"))), TypeMismatch),
    (Did(downloads(compare(FREE, "<", True))), TypeMismatch),
    (Did(downloads(compare(PAGES, "=", NOON))), TypeMismatch),
    (Did(downloads(TextMatch("pages", TextOperator.CONTAINS, "1"))), TypeMismatch),
    (Did(downloads(Comparison(PUBLISHED, Operator.EQ, Constant(NOON), ci=True))), TypeMismatch),
    (Only(DOWNLOADS, compare(PUBLISHED, "=", True)), TypeMismatch),
    (Did(downloads(In(PUBLISHED, (NOON, d("1"))))), TypeMismatch),
]


@pytest.mark.parametrize(("expression", "error"), BAD_EXPRESSIONS)
def test_ill_typed(oracle: Oracle, expression: Expression, error: type[SegidxError]) -> None:
    with pytest.raises(error):
        oracle.members(expression, NOON)


def test_types_are_those_of_the_account() -> None:
    oracle = Oracle(SCHEMA, "UTC")
    with pytest.raises(UnknownEventType):
        oracle.members(Did(SIGNS), NOON)
    (reject,) = oracle.write_events([Event("sign", "1", "ann", NOON)], NOW_MS).rejects
    assert (reject.field, reject.reason, oracle.contacts) == ("type", "UNKNOWN_EVENT_TYPE", {})
    oracle.declare_event_types([SIGN])
    oracle.declare_event_types([SIGN, DOWNLOAD])
    assert oracle.write_events([Event("sign", "1", "ann", NOON - DAY)], NOW_MS).accepted == 1
    assert members(oracle, Did(SIGNS)) == "ann"
    with pytest.raises(SchemaConflict):
        oracle.declare_event_types([EventType("sign", DOWNLOAD.properties)])


# --- laws on random lives ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_laws(seed: int) -> None:
    """What the words say of each other, for random selections of random events."""
    rng = random.Random(seed)
    zone = ZONES[seed]
    oracle = Oracle(EVERY_TYPE, zone)
    oracle.declare_event_types(DECLARED)
    ids = [f"c{n}" for n in range(20)]
    oracle.upsert([(contact_id, {}) for contact_id in ids])
    for batch in random_event_rows(rng, ids, (200, 200), at=NOON, types=tuple(ALL_TYPES), zone=zone):
        oracle.write_events(batch, NOW_MS)
    everyone = set(ids)
    pools = pools_for(NOON, zone)
    generator = EventGenerator(SeededChooser(rng), EVERY_TYPE, pools, [t for t in ALL_TYPES if t.name != "order"])

    def held(expression: Expression) -> set[str]:
        return oracle.members(expression, NOON)

    def there(value: Value) -> set[str]:
        return held(Comparison(value, Operator.EQ, value))

    for _ in range(60):
        events = generator.events()
        condition = generator.filters[events.type].expression(2)
        part, rest = (narrowed(events, c) for c in (condition, Not(condition)))
        did, counted = held(Did(events)), aggregate("count", events)
        assert did == everyone - held(Never(events)) == held(compare(counted, ">=", 1))
        parts = Arithmetic(ArithmeticOperator.ADD, aggregate("count", part), aggregate("count", rest))
        assert held(Comparison(counted, Operator.EQ, parts)) == everyone
        if events.type != "line":
            assert held(Only(events)) == did
            assert held(Only(events, condition)) == did - held(Did(rest))
        first, last = aggregate("first", events), aggregate("last", events)
        assert there(first) == there(last) == held(Comparison(first, Operator.LE, last)) == did
        assert held(compare(last, "<", NOON)) == did
        for declared in oracle.event_types[events.type].properties:
            if declared.type is FieldType.TIMESTAMP:
                # A property lies on a day when it lies before the next and not before it.
                day, value = rng.choice(pools.dates[:20]), FieldValue(declared.name)
                on = held(Did(narrowed(events, compare(value, "=", day))))
                between = Between(value, Constant(day), Constant(day))
                assert on == held(Did(narrowed(events, between)))
                following = day + DAY
                both = And((compare(value, ">=", day), compare(value, "<", following)))
                assert on == held(Did(narrowed(events, both)))
            if declared.type is FieldType.NUMBER:
                least, mean, most, total = (
                    aggregate(f, events, declared.name) for f in ("min", "average", "max", "sum")
                )
                having = held(Did(narrowed(events, IsSet(declared.name))))
                assert there(least) == there(most) == there(total) == there(mean) == having
                assert held(Between(mean, least, most)) == having
                number = aggregate("count", narrowed(events, IsSet(declared.name)))
                product = Arithmetic(ArithmeticOperator.MULTIPLY, mean, number)
                assert held(Comparison(product, Operator.EQ, total)) == having


def narrowed(events: Events, condition: Expression) -> Events:
    """Those of the events that pass the condition too."""
    return Events(events.type, condition if events.where is None else And((events.where, condition)), events.window)
