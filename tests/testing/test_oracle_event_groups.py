"""The oracle's answers about groups of events, against truth tables written by hand."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from segidx.model.errors import InvalidArgument, InvalidExpression, SegidxError
from segidx.model.event_groups import GROUPS, EventGroup
from segidx.model.events import Event, EventProperty, EventType, Order, OrderLine, Retraction
from segidx.model.expression import (
    Aggregate,
    AggregateFunction,
    Comparison,
    Did,
    Events,
    Expression,
    HasValue,
    Never,
    Operator,
    field,
)
from segidx.model.schema import FieldType, Schema
from segidx.model.syntax import parse
from segidx.model.values import Constant
from segidx.model.windows import Direction, Rolling, Unit
from segidx.testing.event_lives import SeededChooser
from segidx.testing.event_pools import ALL_TYPES, DECLARED
from segidx.testing.event_questions import EventGenerator, random_event_group
from segidx.testing.generator_events import EventRow, random_event_rows
from segidx.testing.oracle import Oracle
from segidx.testing.pools import pools_for
from segidx.testing.strategies import EVERY_TYPE

NOON = datetime(2024, 6, 15, 12, tzinfo=UTC)
NOW_MS = 1_718_452_800_000
DAY = timedelta(days=1)
DEAL = EventType("deal", (EventProperty("amount", FieldType.NUMBER),))
KIND = field("kind")
IDS = ("ann", "bob", "cid", "dee", "eve")

# ann: 3 interactions, the last 1 day ago; 1 touch 5 days ago. An open is neither.
# bob: an order 100 days ago and one that was returned yesterday, which does not count; a call today.
# cid: nothing but what is sent, opened and retracted, and a task. dee: a visit that is yet to come. eve: a deal.
HISTORY: list[EventRow] = [
    Event("visit", "1", "ann", NOON - 40 * DAY),
    Event("cart", "1", "ann", NOON - 3 * DAY, {"kind": "add"}),
    Event("message", "1", "ann", NOON - DAY, {"kind": "clicked"}),
    Event("message", "2", "ann", NOON - DAY / 2, {"kind": "opened"}),
    Event("message", "3", "ann", NOON - 5 * DAY, {"kind": "sent"}),
    Order("1", "bob", NOON - 100 * DAY, lines=[OrderLine("P"), OrderLine("Q")]),
    Order("2", "bob", NOON - DAY, lines=[OrderLine("P", quantity=Decimal(-1))]),
    Event("activity", "1", "bob", NOON - DAY / 4, {"kind": "call"}),
    Event("message", "4", "cid", NOON - 200 * DAY, {"kind": "sent"}),
    Event("message", "5", "cid", NOON - 10 * DAY, {"kind": "sent"}),
    Event("message", "6", "cid", NOON - 9 * DAY, {"kind": "opened"}),
    Event("visit", "2", "cid", NOON - 2 * DAY),
    Retraction("visit", "2"),
    Event("activity", "2", "cid", NOON - DAY, {"kind": "task"}),
    Event("visit", "3", "dee", NOON + DAY / 2),
    Event("deal", "1", "eve", NOON - 20 * DAY, {"amount": 5}),
    Event("deal", "2", "eve", NOON - 10 * DAY, {"amount": 7}),
]


@pytest.fixture
def oracle() -> Oracle:
    made = Oracle(Schema(()), "UTC")
    made.declare_event_types([DEAL])
    made.upsert([(contact_id, {}) for contact_id in IDS])
    result = made.write_events(HISTORY, NOW_MS)
    assert (result.accepted, result.rejects) == (len(HISTORY) - 1, ())  # of the visit, the retraction stands
    return made


def members(oracle: Oracle, expression: Expression | str, at: datetime = NOON) -> str:
    asked = parse(expression) if isinstance(expression, str) else expression
    return " ".join(sorted(oracle.members(asked, at)))


TABLE = [
    ("did(interaction)", "ann bob"),
    ("never(interaction)", "cid dee eve"),
    ("did(touch)", "ann bob cid"),
    ("never(touch)", "dee eve"),
    ("never(interaction during last 60 days)", "bob cid dee eve"),
    ("did(interaction older than 30 days)", "ann bob"),
    ("did(touch older than 100 days)", "cid"),
    ("never(touch during last 7 days)", "cid dee eve"),
    ("count(interaction) = 3", "ann"),
    ("count(interaction) = 1", "bob"),
    ("count(interaction) = 0", "cid dee eve"),
    ("count(interaction during last 30 days) = 2", "ann"),
    ("count(touch) = 2", "cid"),
    ("count(touch) >= 1", "ann bob cid"),
    ("count(interaction) > count(touch)", "ann"),
    ("count(interaction) + count(touch) = 2", "bob cid"),
    ("first(interaction).time = 2024-05-06", "ann"),
    ("first(interaction).time before 2024-05-06", "bob"),
    ("last(interaction).time before 2024-06-14", "bob"),
    ("last(interaction).time = 2024-06-14", "ann"),
    ("last(touch).time > last(interaction).time", "bob"),
    ("last(touch).time < last(visit).time", ""),
    ("first(touch).time < 2024-01-01", "cid"),
    ("last(touch).time between 2024-06-05 and 2024-06-10", "ann cid"),
    ("days_since(last(interaction)) = 1", "ann"),
    ("days_since(last(touch)) <= 5", "ann bob"),
    ("days_since(first(interaction)) > 90", "bob"),
    ("days_since(last(interaction)) != 1", "bob cid dee eve"),
    ("did(interaction) and never(touch during last 3 days)", "ann"),
    # With a filter: what one type has, the events of the others lack.
    ('did(interaction where kind = "add")', "ann"),
    ('did(interaction where kind != "add")', "ann bob"),
    ("did(interaction where kind is not set)", "ann bob"),
    ("did(interaction where not kind is set)", "ann bob"),
    ('count(touch where kind = "sent" during last 30 days) = 1', "ann cid"),
    ("did(touch where hour = 6)", "bob"),
    ('last(touch where kind = "call").time is set', "bob"),
    ('never(interaction where kind = "clicked" or paid)', "bob cid dee eve"),
    # only
    ("only(interaction)", "ann bob"),
    ('only(interaction where kind in ("add", "clicked"))', ""),
    ('only(interaction where kind in ("add", "clicked") during last 30 days)', "ann"),
    ('only(interaction where kind in ("add", "clicked") among kind is set)', "ann"),
    ('only(touch where kind = "sent")', "ann cid"),
    ('only(touch where not kind = "sent")', "bob"),
    # the first and the last
    ("first(interaction) has kind is set", ""),
    ('last(interaction) has kind = "clicked"', "ann"),
    ('last(interaction during 10 to 2 days ago) has kind = "add"', "ann"),
    ("last(interaction) has kind is not set", "bob"),
    ('first(touch) has kind = "call"', "bob"),
    # gaps: of ann 37 days and 2
    ("mean_gap(interaction) = 19.5", "ann"),
    ("mean_gap(touch) = 190", "cid"),
    ("gap_deviation(interaction) = 17.5", "ann"),
    ("gap_deviation(touch) = 0", "cid"),
    ("expected(interaction) = 2024-07-04T00:00:00Z", "ann"),
    ("overdue(touch during last 1 year)", ""),
    ("mean_gap(interaction where kind is set) = 2", "ann"),
    # days
    ("distinct_days(interaction) = 3", "ann"),
    ("distinct_days(interaction) = 1", "bob"),
    ("distinct_days(touch) = 2", "cid"),
    ("distinct_days(touch) = 0", "dee eve"),
    # windows
    ("last(interaction).time in last 1 day", "ann"),
    ("last(interaction).time not in last 1 day", "bob cid dee eve"),
    ("last(touch).time in last 5 days", "ann bob"),
    ("first(touch).time older than 100 days", "cid"),
    ("last(touch older than 100 days).time in last 3 years", "cid"),
    ("first(interaction).time in 2024-05-06 to 2024-05-07", "ann"),
    ("expected(interaction) in next 19 days", "ann"),
    ("expected(interaction) in next 18 days", ""),
    # sequences
    ("sequence(interaction then touch)", "ann bob"),
    ("sequence(touch then interaction)", "ann"),
    ("sequence(touch then interaction within 2 days)", "ann"),
    ("sequence(touch then no interaction within 2 days)", "cid"),
    ("sequence(visit then interaction within 37 days then interaction within 2 days)", "ann"),
    ('sequence(interaction where kind = "add" then interaction where kind = "clicked")', "ann"),
]


@pytest.mark.parametrize(("asked", "wanted"), TABLE)
def test_table(oracle: Oracle, asked: str, wanted: str) -> None:
    assert members(oracle, asked) == wanted


def test_what_is_yet_to_come(oracle: Oracle) -> None:
    assert members(oracle, "did(interaction)", NOON + DAY) == "ann bob dee"
    assert members(oracle, "days_since(last(interaction)) = 0", NOON + DAY) == "dee"  # at midnight


def test_a_group_set_anew(oracle: Oracle) -> None:
    oracle.set_event_group("interaction", [Events("deal", field("amount") > 5), Events("line")])
    assert members(oracle, "did(interaction)") == "bob eve"
    assert members(oracle, "count(interaction) = 1") == "eve"  # the deal of 7
    assert members(oracle, "count(interaction) = 3") == "bob"  # lines count all
    assert members(oracle, "last(interaction).time > 2024-06-10") == "bob"
    assert members(oracle, "days_since(first(interaction)) = 10") == "eve"
    assert members(oracle, "did(touch)") == "ann bob cid"
    oracle.set_event_group("interaction", GROUPS["interaction"].members)
    assert members(oracle, "did(interaction)") == "ann bob"


def test_an_account_with_groups_of_its_own() -> None:
    own = {**GROUPS, "touch": EventGroup("touch", (Events("visit"),))}
    oracle = Oracle(Schema(()), "UTC", event_groups=own)
    oracle.write_events([row for row in HISTORY if isinstance(row, Event) and row.type == "visit"], NOW_MS)
    assert members(oracle, "did(touch)") == "ann cid"
    oracle.set_event_group("touch", [Events("cart")])
    assert members(oracle, "did(touch)") == ""
    assert own["touch"].members == (Events("visit"),)


def test_what_two_members_select_counts_twice(oracle: Oracle) -> None:
    oracle.set_event_group("touch", [Events("message"), Events("message", KIND == "sent")])
    # ann: 3 messages, of which 1 was sent; cid: 3, of which 2.
    assert members(oracle, "count(touch) = 4") == "ann"
    assert members(oracle, "count(touch) = 5") == "cid"
    assert members(oracle, "did(touch)") == "ann cid"
    oracle.set_event_group("touch", [Events("message"), Events("message")])
    assert members(oracle, "count(touch) = 6") == "ann cid"


def test_only_leaves_out_returns_by_their_type(oracle: Oracle) -> None:
    oracle.set_event_group("touch", [Events("order"), Events("line", field("product") == "P")])
    assert members(oracle, "only(touch where amount is set or quantity = 1)") == ""  # an order without an amount
    assert members(oracle, "only(touch where quantity is not set or quantity = 1)") == "bob"
    assert members(oracle, "only(touch where quantity = 1 among quantity is set)") == ""  # the return is looked at
    assert members(oracle, "only(touch during last 30 days)") == ""


def test_of_one_time_and_one_id_the_groups_order_of_types_decides(oracle: Oracle) -> None:
    """Of other ids these do, byte for byte; and of the lines of an order their places."""
    for contact_id, visit, cart in (("dee", "7", "7"), ("eve", "10", "9")):
        oracle.write_events([Event("visit", visit, contact_id, NOON - DAY)], NOW_MS)
        oracle.write_events([Event("cart", cart, contact_id, NOON - DAY, {"kind": "x"})], NOW_MS)
    asked = ("first(touch) has kind is set", "last(touch) has kind is set")
    oracle.set_event_group("touch", [Events("visit"), Events("cart")])
    assert [members(oracle, each) for each in asked] == ["", "ann dee eve"]
    oracle.set_event_group("touch", [Events("cart"), Events("visit")])
    assert [members(oracle, each) for each in asked] == ["dee", "ann eve"]
    oracle.set_event_group("touch", [Events("line", field("product") == "Q"), Events("line"), Events("order")])
    asked = ('first(touch) has product = "P"', "last(touch) has product is set", 'last(touch) has product = "Q"')
    assert [members(oracle, each) for each in asked] == ["bob", "bob", ""]


def test_what_two_members_select_has_a_gap_of_nothing(oracle: Oracle) -> None:
    oracle.set_event_group("touch", [Events("visit"), Events("visit")])
    assert members(oracle, "mean_gap(touch) = 0 and gap_deviation(touch) = 0") == "ann"
    assert members(oracle, "distinct_days(touch) = 1") == "ann"
    assert members(oracle, "sequence(touch then touch)") == ""


def test_the_window_is_that_of_the_condition(oracle: Oracle) -> None:
    """At the very edge, for members of every type."""
    for since, wanted in ((timedelta(), "ann"), (timedelta(milliseconds=1), "")):
        asked = Did(Events("interaction", None, Rolling(Direction.LAST, 24, Unit.HOUR)))
        assert members(oracle, asked, NOON + since) == wanted


GROUP = Events("interaction")


def compare(function: str, events: Events, name: str | None = None) -> Expression:
    return Comparison(Aggregate(AggregateFunction(function), events, name), Operator.GT, Constant(Decimal(1)))


REFUSED = [
    *(compare(function, GROUP, "amount") for function in ("sum", "average", "min", "max", "distinct")),
    compare("sum", GROUP, "hour"),
    compare("sum", Events("interaction", field("no_such_property") == 1), "amount"),
    HasValue(Aggregate(AggregateFunction.FAVOURITE, GROUP, "source")),
]


@pytest.mark.parametrize("asked", REFUSED)
def test_refused(oracle: Oracle, asked: Expression) -> None:
    with pytest.raises(InvalidExpression) as raised:
        oracle.members(asked, NOON)
    assert raised.value.reason == "INVALID_EXPRESSION"
    assert raised.value.path.startswith("expression.")


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("did(touch where kind = 1)", "TYPE_MISMATCH"),
        ('did(touch where url = "/a")', "UNKNOWN_PROPERTY"),  # visits have one, which are no touch
        ("count(interaction where subject is set) > 1", "UNKNOWN_PROPERTY"),
        ("only(interaction where paid = 1)", "TYPE_MISMATCH"),
        ("last(interaction) has wuhrl is set", "UNKNOWN_PROPERTY"),
        ("sequence(touch where url is set then order)", "UNKNOWN_PROPERTY"),
        ("overdue(touch where url is set)", "UNKNOWN_PROPERTY"),
        ('mean_gap(touch where hour = "x") > 1', "TYPE_MISMATCH"),
    ],
)
def test_filters_that_are_refused(oracle: Oracle, asked: str, reason: str) -> None:
    with pytest.raises(SegidxError) as raised:
        oracle.members(parse(asked), NOON)
    assert raised.value.reason == reason


def test_a_property_that_two_members_have_in_different_types(oracle: Oracle) -> None:
    """A condition fits both, or is refused."""
    oracle.declare_event_types([EventType("chat", (EventProperty("kind", FieldType.NUMBER),))])
    oracle.set_event_group("touch", [Events("chat"), Events("message")])
    for asked in ('did(touch where kind = "sent")', "did(touch where kind = 1)"):
        with pytest.raises(SegidxError) as raised:
            oracle.members(parse(asked), NOON)
        assert raised.value.reason == "TYPE_MISMATCH"
    assert members(oracle, "did(touch where kind is set)") == "ann cid"


@pytest.mark.parametrize(
    ("name", "given", "reason"),
    [
        ("visits", [Events("visit")], "INVALID_ARGUMENT"),
        ("touch", [], "INVALID_ARGUMENT"),
        ("touch", [Events("visit")] * 65, "INVALID_ARGUMENT"),
        ("touch", [Events("interaction")], "INVALID_ARGUMENT"),
        ("touch", [Events("touch")], "INVALID_ARGUMENT"),
        ("touch", [Events("visit", None, Rolling(Direction.LAST, 1, Unit.DAY))], "INVALID_ARGUMENT"),
        ("touch", [Events("visit"), Events("no_such_type")], "UNKNOWN_EVENT_TYPE"),
        ("touch", [Events("visit", KIND == "sent")], "UNKNOWN_PROPERTY"),
        ("touch", [Events("message", KIND == 1)], "TYPE_MISMATCH"),
    ],
)
def test_what_cannot_be_a_group(oracle: Oracle, name: str, given: list[Events], reason: str) -> None:
    with pytest.raises(SegidxError) as raised:
        oracle.set_event_group(name, given)
    assert raised.value.reason == reason
    assert isinstance(raised.value, InvalidArgument) == (reason == "INVALID_ARGUMENT")
    assert oracle.event_groups == GROUPS


@pytest.mark.parametrize("seed", range(3))
def test_laws(seed: int) -> None:
    """A group is its members, put together: asked in any window, of random events."""
    rng = random.Random(seed)
    oracle = Oracle(EVERY_TYPE, "Europe/Warsaw")
    oracle.declare_event_types(DECLARED)
    ids = [f"c{n}" for n in range(20)]
    oracle.upsert([(contact_id, {}) for contact_id in ids])
    types, pools = tuple(ALL_TYPES), pools_for(NOON, "Europe/Warsaw")
    for batch in random_event_rows(rng, ids, (200, 200), at=NOON, types=types, zone="Europe/Warsaw"):
        oracle.write_events(batch, NOW_MS)
    generator = EventGenerator(SeededChooser(rng), EVERY_TYPE, pools, types)
    some = 0
    for _ in range(40):
        group = random_event_group(rng, pools, types=types)
        oracle.set_event_group(group.name, group.members)
        window = generator.events().window
        asked = Events(group.name, None, window)
        parts = [Events(each.type, each.where, window) for each in group.members]
        did = oracle.members(Did(asked), NOON)
        assert did == set(ids) - oracle.members(Never(asked), NOON)
        assert did == set().union(*(oracle.members(Did(part), NOON) for part in parts))
        total = sum(number * len(holding) for number, holding in counted(oracle, asked).items())
        assert total == sum(n * len(holding) for part in parts for n, holding in counted(oracle, part).items())
        moment = Constant(pools.instants[rng.randrange(20)])
        for function, operator in ((AggregateFunction.FIRST, Operator.LT), (AggregateFunction.LAST, Operator.GT)):
            found, *each = (
                oracle.members(Comparison(Aggregate(function, events), operator, moment), NOON)
                for events in (asked, *parts)
            )
            assert found == set().union(*each)
        some += 0 < len(did) < len(ids)
    assert some > 15


def counted(oracle: Oracle, events: Events) -> dict[int, set[str]]:
    """Who has how many."""
    value = Aggregate(AggregateFunction.COUNT, events)
    found: dict[int, set[str]] = {}
    number = 0
    while sum(map(len, found.values())) < len(oracle.contacts):
        found[number] = oracle.members(Comparison(value, Operator.EQ, Constant(Decimal(number))), NOON)
        number += 1
    return found


def test_questions_ask_groups() -> None:
    rng = random.Random(5)
    generator = EventGenerator(SeededChooser(rng), EVERY_TYPE, pools_for(NOON, "UTC"), tuple(ALL_TYPES))
    asked = [generator.events_or_group() for _ in range(600)]
    groups = [events for events in asked if events.type in GROUPS]
    assert 50 < len(groups) < 200
    assert {events.type for events in groups} == set(GROUPS)
    assert 50 < sum(events.where is not None for events in groups) * 2 < 250
    assert len({events.window for events in groups}) > 10
    made = [random_event_group(rng, types=tuple(ALL_TYPES)) for _ in range(50)]
    assert {len(group.members) for group in made} >= {1, 2, 3, 4}
    assert {group.name for group in made} == set(GROUPS)
    assert any(len({each.type for each in group.members}) < len(group.members) for group in made)
