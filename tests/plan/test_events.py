"""Binding of events: what a comparison with a count or a sum becomes, and which node an error names."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from segidx.database import Account, Database
from segidx.exec.query import prepare
from segidx.model.errors import InvalidExpression, SegidxError, TypeMismatch, UnknownProperty
from segidx.model.events import Order, OrderLine
from segidx.model.expression import Comparison, Did, Events, Operator
from segidx.model.schema import Field, FieldType
from segidx.model.values import FieldValue
from segidx.model.windows import to_millis
from segidx.plan.context import BindContext
from segidx.plan.nodes import AllOf, CandidateCheck, Complement, EventScan, Everything, Nothing, Plan, PostingScan

AT = datetime(2025, 6, 15, 12, tzinfo=UTC)
LINES = [OrderLine("rope", "69", quantity=Decimal(2), unit_price=Decimal("1.50")), OrderLine("mast", "7")]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with Database.open(tmp_path_factory.mktemp("x") / "data", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()
        account.update_schema([Field("score", FieldType.NUMBER, 1), Field("tags", FieldType.TAGS)])
        account.upsert([("anna", {"score": Decimal("1.5"), "tags": {"vip"}}), ("bert", {})])
        account.import_orders([Order("1", "anna", datetime(2025, 6, 1, tzinfo=UTC), "email", True, lines=LINES)])
        yield account


def plan_of(account: Account, asked: str) -> Plan:
    with account._store.snapshot() as snapshot:
        return prepare(asked, BindContext(snapshot, to_millis(AT), account.info.tz), optimised=False).plan


@pytest.mark.parametrize(
    ("asked", "low", "high"),
    [
        ("count(order) >= 3", 3, None),
        ("count(order) > 2.5", 3, None),
        ("count(order) = 2", 2, 2),
        ("3 < count(order)", 4, None),
        ("sum(order.amount) > 300", 30_001, None),
        ("sum(order.amount) >= 0.001", 1, None),
        ("sum(order.amount) <= -0.001", None, -1),
        ("sum(line.quantity) < 1.5", None, 1499),
        ("did(line)", 1, None),
        ("max(line.amount) >= 5", 500, None),
        ("distinct(line.amount) >= 5", 5, None),
        ("distinct(line.product) > 2.5", 3, None),
        ("distinct_days(order) = 2", 2, 2),
        ("min(line.quantity) < 1.5", None, 1499),
        ("last(order).time before 2025-06-01", None, 1_748_735_999_999),
        ("first(line).time >= 2025-06-01T00:00:00.001Z", 1_748_736_000_001, None),
        ("days_since(last(order)) = 14", 1_748_736_000_000, 1_748_822_399_999),
        ("days_since(first(order)) > 14", None, 1_748_735_999_999),
        ("days_since(last(order)) < 0", 1_750_032_000_000, None),
    ],
)
def test_what_is_compared_with_a_constant_is_a_range(
    account: Account, asked: str, low: int | None, high: int | None
) -> None:
    plan = plan_of(account, asked)
    assert isinstance(plan, EventScan)
    assert (plan.low, plan.high) == (low, high)


@pytest.mark.parametrize(
    ("asked", "low"),
    [
        ("count(order) < 3", 3),
        ("count(order) <= 0", 1),
        ("count(order) = 0", 1),
        ("count(order) != 2", 2),
        ("never(order)", 1),
        ("distinct(order.paid) < 3", 3),
        ("distinct_days(line) <= 0", 1),
        ("distinct_days(line) != 2", 2),
        ("sum(order.amount) != 3", 300),
    ],
)
def test_what_holds_without_events_is_a_complement(account: Account, asked: str, low: int) -> None:
    plan = plan_of(account, asked)
    assert isinstance(plan, Complement)
    (scan,) = plan.children
    assert isinstance(scan, EventScan)
    assert scan.low == low


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ("count(order) >= 0", Everything),
        ("count(order) > -1", Everything),
        ("count(order) < 0", Nothing),
        ("distinct(line.product) >= 0", Everything),
        ("distinct_days(order) < 0", Nothing),
        ("distinct(line.product) > count(order)", CandidateCheck),
        ("distinct_days(order) / 2 >= 1", CandidateCheck),
        ("count(order) = 1.5", Nothing),
        ("sum(order.amount) = 0.001", Nothing),
        ("did(order during next 3 days)", Nothing),
        ("sum(order.amount) < 1e30", EventScan),
        ("sum(order.amount) > 1e30", Nothing),
        ("count(order) > score", CandidateCheck),
        ("count(order) > count(line)", CandidateCheck),
        ("count(order) between 1 and 3", AllOf),
        ("only(order where paid)", AllOf),
        ("only(line among quantity > 1)", EventScan),
        ("average(line.amount) > 1", CandidateCheck),
        ("first(line).time < last(line).time", CandidateCheck),
        ("days_since(first(line)) > days_since(last(line))", CandidateCheck),
        ("days_since(last(order)) = 1.5", Nothing),
        ("days_since(last(order)) > 1e9", Nothing),
    ],
)
def test_what_else_there_is(account: Account, asked: str, kind: type[Plan]) -> None:
    assert isinstance(plan_of(account, asked), kind)


def test_a_window_ends_at_the_instant_of_evaluation(account: Account) -> None:
    plan = plan_of(account, "did(order)")
    assert isinstance(plan, EventScan)
    assert plan.aggregate.events.end == to_millis(AT)
    plan = plan_of(account, "did(order from 2025-01-01 to 2025-02-01)")
    assert isinstance(plan, EventScan)
    assert plan.aggregate.events.end == to_millis(datetime(2025, 2, 1, tzinfo=UTC))


def test_an_unknown_string_is_no_event(account: Account) -> None:
    for asked in ('did(line where product = "oar")', 'did(line where product in ("oar", "sail"))'):
        plan = plan_of(account, asked)
        assert isinstance(plan, EventScan)
        assert plan.aggregate.events.where[0] == ("constant", False)
        assert account.count(asked).count == 0
    assert account.count('did(line where product != "oar")').count == 1


@pytest.mark.parametrize(
    ("asked", "error", "path"),
    [
        ("did(order where product = 3)", UnknownProperty, "expression.did.events.where.comparison"),
        (
            'sum(line.amount where not quantity = "a") > 3',
            TypeMismatch,
            "aggregate.events.where.negation.comparison",
        ),
        ("score > count(order where paid and paid > false)", TypeMismatch, "where.conjunction.operands[1].comparison"),
        ("1 + -count(order where source = 3) > 0", TypeMismatch, "left.arithmetic.right.negative.aggregate.events"),
        (
            "0 between 0 and count(order where source = 3)",
            TypeMismatch,
            "between.high.aggregate.events.where",
        ),
        ("sum(line.product) > 3", TypeMismatch, "expression.comparison"),
        ("sum(line.hour) > 3", TypeMismatch, "expression.comparison"),
        ("distinct(line.weekday) > 3", TypeMismatch, "expression.comparison"),
        ("sum(line.month) > 3", TypeMismatch, "expression.comparison"),
        ("did(line where month = 2025-01-01)", TypeMismatch, "events.where.comparison"),
        ("distinct(line.prodct) > 3", UnknownProperty, "expression.comparison"),
        ('did(line where hour = "9")', TypeMismatch, "events.where.comparison"),
        ("did(line where hour)", TypeMismatch, "events.where.comparison"),
        ("did(line where weekday = 2025-01-01)", TypeMismatch, "events.where.comparison"),
        ('did(line where hour in ("9"))', TypeMismatch, "events.where.in"),
        ('did(line where weekday contains "6")', TypeMismatch, "events.where.text_match"),
        ("did(line where hours = 9)", UnknownProperty, "events.where.comparison"),
        ("sum(line.prodct) > 3", UnknownProperty, "expression.comparison"),
        ('did(order where source ci = "A" and paid contains "x")', SegidxError, ""),
        ('count(order) = "3"', TypeMismatch, "expression.comparison"),
        ("max(line.product) > 3", TypeMismatch, "expression.comparison"),
        ("last(order).time > 3", TypeMismatch, "expression.comparison"),
        ("last(order).time + 1 > 3", TypeMismatch, "expression.comparison"),
        ("only(order where paid = 3)", TypeMismatch, "expression.only.that.comparison"),
        ("only(order among not paid = 3)", TypeMismatch, "expression.only.events.where.negation.comparison"),
        (
            "days_since(last(order where paid = 3)) > 3",
            TypeMismatch,
            "left.days_since_event.aggregate.events.where.comparison",
        ),
    ],
)
def test_errors_name_the_node(account: Account, asked: str, error: type[SegidxError], path: str) -> None:
    with pytest.raises(error) as caught:
        account.count(asked)
    assert path in caught.value.path


@pytest.mark.parametrize(
    ("asked", "unit", "values"),
    [
        ("hour = 9", "hour", {9}),
        ("hour != 9", "hour", {*range(24)} - {9}),
        ("9 <= hour", "hour", {*range(9, 24)}),
        ("hour < 2.5", "hour", {0, 1, 2}),
        ("hour > 22.5", "hour", {23}),
        ("hour = 2.5", "hour", set()),
        ("hour != 2.5", "hour", {*range(24)}),
        ("hour >= -1e20", "hour", {*range(24)}),
        ("hour < 0", "hour", set()),
        ("hour > 23", "hour", set()),
        ("hour in (1, 23, 24, 1.5)", "hour", {1, 23}),
        ("hour between 9 and 17", "hour", {*range(9, 18)}),
        ("hour between 17 and 9", "hour", set()),
        ("hour >= 22 or hour < 6", "hour", {22, 23, 0, 1, 2, 3, 4, 5}),
        ("hour >= 9 and hour != 12 and hour <= 13", "hour", {9, 10, 11, 13}),
        ("weekday = 1", "weekday", {1}),
        ("weekday >= 6", "weekday", {6, 7}),
        ("weekday in (0, 7, 8)", "weekday", {7}),
        ("weekday < 1", "weekday", set()),
        ("weekday <= 8", "weekday", {1, 2, 3, 4, 5, 6, 7}),
        ("month = 12", "month", {12}),
        ("month between 0 and 2.5", "month", {1, 2}),
        ("month != 6 and month > 3", "month", {4, 5, *range(7, 13)}),
        ("month > 11.5 or month = 1", "month", {1, 12}),
    ],
)
def test_the_clock_is_a_mask(account: Account, asked: str, unit: str, values: set[int]) -> None:
    plan = plan_of(account, f"did(line where {asked})")
    assert isinstance(plan, EventScan)
    (op,) = plan.aggregate.events.where
    assert op[:2] == ("clock", unit)
    assert op[4] == sum(1 << value - (unit != "hour") for value in values)


def test_clocks_of_two_kinds_stand_apart_and_every_event_has_them(account: Account) -> None:
    plan = plan_of(account, "did(line where hour = 9 and weekday = 1)")
    assert isinstance(plan, EventScan)
    assert [op[0] for op in plan.aggregate.events.where] == ["clock", "clock", "all"]
    plan = plan_of(account, "did(line where hour is set)")
    assert isinstance(plan, EventScan)
    assert plan.aggregate.events.where == (("constant", True),)
    assert account.count("did(line where hour is not set or weekday is not set or month is not set)").count == 0


def test_what_is_wrong_with_a_clock_says_what_it_is(account: Account) -> None:
    for asked, said in (
        ("sum(line.hour) > 3", "line.hour is the hour of the event's local time, which stands in filters only"),
        ('did(line where hour starts with "1")', "'starts with' works on strings, but line.hour is a number"),
        ('did(line where weekday in ci ("1"))', "line.weekday, a number, cannot be compared with a string"),
        ("did(line where hours = 9)", "line events have no property 'hours' (did you mean 'hour'?); they have"),
    ):
        with pytest.raises(SegidxError) as caught:
            account.count(asked)
        assert said in str(caught.value)


def test_properties_are_not_compared_with_each_other(account: Account) -> None:
    compared = Comparison(FieldValue("amount"), Operator.GT, FieldValue("unit_price"))
    with pytest.raises(InvalidExpression, match="compares a property with constants") as caught:
        account.count(Did(Events("line", compared)))
    assert caught.value.path == "expression.did.events.where.comparison"


def test_events_wait_for_what_is_cheaper(account: Account) -> None:
    with account._store.snapshot() as snapshot:
        context = BindContext(snapshot, to_millis(AT), account.info.tz)
        plan = prepare('did(visit) and tags has "vip"', context).plan
    assert [type(child) for child in plan.children] == [PostingScan, EventScan]
