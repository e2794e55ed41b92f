"""Binding of what the first or the last event has, of favourites, and of values that are set."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from segidx.database import Account, Database
from segidx.exec.query import prepare
from segidx.model.errors import InvalidExpression, SegidxError, TypeMismatch, UnknownEventType, UnknownProperty
from segidx.model.events import Event, EventProperty, EventType, Order, OrderLine
from segidx.model.schema import Field, FieldType
from segidx.model.windows import to_millis
from segidx.plan.context import BindContext
from segidx.plan.nodes import (
    AllOf,
    AnyOf,
    Complement,
    EventHasScan,
    EventScan,
    Everything,
    FavouriteScan,
    GapScan,
    Nothing,
    Plan,
    PostingScan,
)

AT = datetime(2025, 6, 15, 12, tzinfo=UTC)
LINES = [OrderLine("rope", "69", quantity=Decimal(2), unit_price=Decimal("1.50")), OrderLine("Rope", "7")]
DOWNLOAD = EventType(
    "download", (EventProperty("file", FieldType.CATEGORY), EventProperty("seen", FieldType.TIMESTAMP))
)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with Database.open(tmp_path_factory.mktemp("x") / "data", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()
        account.update_schema([Field("name", FieldType.CATEGORY), Field("tags", FieldType.TAGS)])
        account.upsert([("anna", {"name": "rope", "tags": {"vip"}}), ("bert", {})])
        account.declare_event_types([DOWNLOAD])
        account.import_orders([Order("1", "anna", datetime(2025, 6, 1, tzinfo=UTC), "email", True, lines=LINES)])
        seen = datetime(2025, 6, 2, 20, tzinfo=UTC)
        account.write_events([Event("download", "1", "bert", seen, {"file": "a.pdf", "seen": seen})])
        yield account


def plan_of(account: Account, asked: str, *, optimised: bool = False) -> Plan:
    with account._store.snapshot() as snapshot:
        return prepare(asked, BindContext(snapshot, to_millis(AT), account.info.tz), optimised=optimised).plan


def test_an_event_is_one_that_passes_before_one_that_does_not(account: Account) -> None:
    plan = plan_of(account, 'last(order where paid) has source = "email"')
    assert isinstance(plan, EventHasScan)
    assert plan.last
    assert plan.label == "last of order events"
    (passing,), (failing,) = plan.passing, plan.failing
    assert failing.where[:-2] == passing.where[:-1]
    assert failing.where[-2:] == (("not",), ("all", 2))
    plan = plan_of(account, "first(line) has (quantity > 1 and not product is set)")
    assert isinstance(plan, EventHasScan)
    assert not plan.last
    (passing,), (failing,) = plan.passing, plan.failing
    assert failing.where == (*passing.where, ("not",))
    assert passing.end == to_millis(AT)


def test_of_a_group_each_type_passes_what_it_has(account: Account) -> None:
    plan = plan_of(account, 'first(touch) has channel = "sms"')
    assert isinstance(plan, EventHasScan)
    assert plan.label == "first of touch events"
    assert [each.type.name for each in plan.passing] == [each.type.name for each in plan.failing]
    assert [each.type.name for each in plan.passing] == ["message", "activity"]
    assert plan.passing[1].where[-2:] == (("constant", False), ("all", 2))  # an activity has no channel
    assert plan.failing[1].where[-3:] == (("constant", False), ("not",), ("all", 2))


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ("first(order during next 3 days) has paid", Nothing),
        ('favourite(line.product) = "rope"', FavouriteScan),
        ('"rope" = favourite(line.product)', FavouriteScan),
        ('favourite(line.product) = "no such"', Nothing),
        ('favourite(line.product) != "no such"', Complement),
        ('favourite(line.product) in ("no such", "rope")', FavouriteScan),
        ('favourite(line.product) in ("no such", "neither")', Nothing),
        ('favourite(line.product) not in ("rope")', Complement),
        ('favourite(line.product during next 3 days) = "rope"', Nothing),
        ("favourite(line.product) is set", EventScan),
        ("favourite(line.product by amount) is set", FavouriteScan),
        ("favourite(line.product by amount during next 3 days) is set", Nothing),
        ("favourite(line.product by amount) is not set", Complement),
        ("sum(line.amount) is set", EventScan),
        ("last(interaction).time is set", AnyOf),
        ("last(order).time is set", EventScan),
        ("last(order).time in last 30 days", EventScan),
        ("last(order).time in all time", EventScan),
        ("last(interaction).time in all time", AnyOf),
        ("last(order during next 3 days).time in all time", Nothing),
        ("last(order).time not in last 30 days", Complement),
        ("expected(order) in next 7 days", AllOf),
        ("expected(order) older than 3 days", GapScan),
        ("expected(order) in all time", EventScan),
        ("average(order.amount) is set", AllOf),
        ("count(interaction) is set", Everything),
        ("distinct(line.product) is set", Everything),
    ],
)
def test_what_there_is(account: Account, asked: str, kind: type[Plan]) -> None:
    assert isinstance(plan_of(account, asked), kind)


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ('favourite(line.product) = "Rope"', 1),  # as often as "rope", and before it byte for byte
        ('favourite(line.product) = ci "ROPE"', 1),
        ('favourite(line.product) in ci ("ROPE", "no such")', 1),
        ('favourite(line.product) != ci "ROPE"', 1),
        ('favourite(line.product by amount) = "rope"', 1),
        ('favourite(line.product) = "rope"', 0),
        ('favourite(line.product) != "rope"', 2),
        ('favourite(download.file) = "a.pdf"', 1),
        ('favourite(download.file where seen in (2025-06-02)) = "a.pdf"', 1),
        ("last(download) has seen = 2025-06-02", 1),
        ('first(download) has file like "/a.pdf"', 0),
        ('first(download) has (hour = 20 and weekday = 1 and file ends with ".pdf")', 1),
        ("average(order.amount) is set", 1),
        ("average(order.amount) is not set", 1),
        ("sum(line.amount where quantity > 2) is set", 0),
        ("min(line.unit_price) is set and count(line) is set", 1),
        ("last(interaction).time is set", 1),
        ("last(order).time in 2025-06-01 to 2025-06-02", 1),
        ("last(order).time in 2025-06-02 to 2025-07-02", 0),
        ("last(order).time in 2025-05-01 to 2025-06-01", 0),
        ("last(order).time from 2025-06-01T00:00:00Z", 1),
        ("last(order).time until 2025-06-01T00:00:00Z", 0),
        ("last(order).time not in 2025-05-01 to 2025-06-01", 2),
        ("first(download).time in last 14 days and last(download).time in all time", 1),
        ("last(order).time in next 14 days", 0),
        ("expected(order) in all time", 0),
        ("last(touch).time is not set", 2),
        ("first(order) has paid and not last(line) has quantity > 1", 1),
    ],
)
def test_what_it_comes_to(account: Account, asked: str, count: int) -> None:
    assert account.count(asked).count == count


@pytest.mark.parametrize(
    ("asked", "error", "path"),
    [
        ("first(interaction) has knd is set", UnknownProperty, "expression.event_has.that.is_set"),
        ("first(interaction) has (paid or dwell = true)", TypeMismatch, "has.that.disjunction.operands[1].comparison"),
        ("last(touch where url is set) has kind is set", UnknownProperty, "event_has.event.events.where.is_set"),
        ("last(nothing) has kind is set", UnknownEventType, "expression.event_has"),
        ("first(order) has prodct is set", UnknownProperty, "expression.event_has.that.is_set"),
        ("first(order) has (paid and paid = 3)", TypeMismatch, "event_has.that.conjunction.operands[1].comparison"),
        ("not first(order where paid = 3) has paid", TypeMismatch, "event_has.event.events.where.comparison"),
        ('favourite(interaction.kind) = "x"', InvalidExpression, "expression.comparison"),
        ('favourite(line.quantity) = "x"', TypeMismatch, "expression.comparison"),
        ('favourite(line.hour) = "x"', TypeMismatch, "expression.comparison"),
        ('favourite(line.prodct) = "x"', UnknownProperty, "expression.comparison"),
        ('favourite(line.product by category) = "x"', TypeMismatch, "expression.comparison"),
        ('favourite(line.product by weekday) = "x"', TypeMismatch, "expression.comparison"),
        ('favourite(line.product by price) = "x"', UnknownProperty, "expression.comparison"),
        ('favourite(line.product where paid) = "x"', UnknownProperty, "comparison.left.aggregate.events.where"),
        ("favourite(line.product where paid) is set", UnknownProperty, "has_value.value.aggregate.events.where"),
        ('favourite(line.product where paid) in ("x")', UnknownProperty, "in.value.aggregate.events.where"),
        ("favourite(line.product by paid) is set", UnknownProperty, "expression.has_value"),
        ("favourite(line.product) = 3", TypeMismatch, "expression.comparison"),
        ("favourite(line.product) != 3", TypeMismatch, "expression.comparison"),
        ('favourite(line.product) in ("x", 3)', TypeMismatch, "expression.in"),
        ('favourite(line.product) < "x"', TypeMismatch, "expression.comparison"),
        ('favourite(line.product) between "a" and "x"', TypeMismatch, "expression.between"),
        ("favourite(line.product) = name", TypeMismatch, "expression.comparison"),
        ("name = favourite(line.product)", TypeMismatch, "expression.comparison"),
        ("favourite(line.product) = favourite(line.product)", TypeMismatch, "expression.comparison"),
        ("favourite(line.product) + 1 = 3", TypeMismatch, "expression.comparison"),
    ],
)
def test_errors_name_the_node(account: Account, asked: str, error: type[SegidxError], path: str) -> None:
    with pytest.raises(error) as caught:
        account.count(asked)
    assert type(caught.value) is error
    assert path in caught.value.path


def test_errors_say_what_is_wrong(account: Account) -> None:
    for asked, said in (
        ("first(interaction) has wuhrl is set", "interaction events have no property 'wuhrl' (did you mean 'url'"),
        ("first(interaction) has linc is set", "did you mean 'link'"),
        ('favourite(line.quantity) = "x"', "one of the values of a category, but line.quantity is a number"),
        ('favourite(line.product by producer) = "x"', "by the sum of a number, but line.producer is a category"),
        ('favourite(line.hour) = "x"', "which stands in filters only: nothing is made of it by favourite"),
        ('favourite(line.product) >= "x"', "compared with =, != and in, not with >="),
        ("favourite(line.product) = name", "with strings as they are written, not with fields"),
    ):
        with pytest.raises(SegidxError) as caught:
            account.count(asked)
        assert said in str(caught.value)


def test_they_wait_for_what_is_cheaper_and_explain_says_so(account: Account) -> None:
    asked = 'favourite(line.product) = "rope" and first(order) has paid and did(line) and tags has "vip"'
    plan = plan_of(account, asked, optimised=True)
    assert [type(child) for child in plan.children] == [PostingScan, EventScan, EventHasScan, FavouriteScan]
    explained = account.explain(asked, counts=True).plan
    assert [(each.operation, each.detail, each.count) for each in explained.children[2:]] == [
        ("events", "first of order events", 1),
        ("events", "favourite product of line events", 0),
    ]


def test_the_same_question_twice_is_asked_once(account: Account) -> None:
    asked = "first(order) has paid and first(order) has paid"
    assert isinstance(plan_of(account, asked, optimised=True), EventHasScan)
    asked = 'favourite(line.product) = "rope" and not "rope" = favourite(line.product)'
    assert isinstance(plan_of(account, asked, optimised=True), Nothing)
