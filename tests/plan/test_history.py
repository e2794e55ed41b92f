"""Binding of `became` and `tagged`: what is read, and what is refused, with the node that it is about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from segidx.database import Account, Database
from segidx.exec.query import prepare
from segidx.model.errors import FieldNotTracked, InvalidExpression, SegidxError, TypeMismatch, UnknownField
from segidx.model.events import CHANGE, TAGGING
from segidx.model.expression import Became, Tagged
from segidx.model.schema import Field, FieldType
from segidx.model.writes import ContactWrite
from segidx.plan.context import BindContext
from segidx.plan.nodes import AllOf, CandidateCheck, Complement, EventScan, Nothing, Plan, PostingScan

NOW = 1_700_000_000_000
DAY = 86_400_000
FIELDS = (
    Field("stage", FieldType.CATEGORY, tracked=True),
    Field("agreed", FieldType.BOOL, tracked=True),
    Field("tags", FieldType.TAGS, tracked=True),
    Field("interests", FieldType.TAGS),
    Field("city", FieldType.CATEGORY),
    Field("name", FieldType.TEXT),
    Field("score", FieldType.NUMBER),
)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with Database.open(tmp_path_factory.mktemp("x") / "data", create=True, clock=lambda: NOW) as database:
        account = database.account()
        account.update_schema(FIELDS)
        account.write([ContactWrite("anna", {"stage": "mql", "agreed": True}, {"tags": ["vip"]}), ContactWrite("bert")])
        yield account


def plan_of(account: Account, asked: str, at: int = NOW + 10) -> Plan:
    with account._store.snapshot() as snapshot:
        return prepare(asked, BindContext(snapshot, at, account.info.tz), optimised=False).plan


def test_became_is_a_count_of_changes(account: Account) -> None:
    plan = plan_of(account, 'stage became "mql" during last 7 days')
    assert isinstance(plan, EventScan)
    assert (plan.low, plan.high) == (1, None)
    events = plan.aggregate.events
    assert (events.type, events.start, events.end) == (CHANGE, NOW + 10 - 7 * DAY, NOW + 10)
    assert plan_of(account, 'stage became "mql" in next 7 days') == Nothing(plan.estimate, "", "")


def test_tagged_now_is_asked_of_those_who_hold_the_tag(account: Account) -> None:
    plan = plan_of(account, 'tagged "vip" older than 1 day')
    assert isinstance(plan, AllOf)
    posting, added = plan.operands
    assert isinstance(posting, PostingScan)
    assert isinstance(added, EventScan)
    assert (added.low, added.high) == (None, NOW + 10 - DAY - 1)
    assert added.aggregate.events.type == TAGGING
    assert isinstance(plan_of(account, 'tagged "vip" in last 1 day').operands[1], EventScan)  # type: ignore[attr-defined]


def test_tagged_in_the_past_looks_for_removals(account: Account) -> None:
    plan = plan_of(account, 'tagged "vip"', NOW)
    assert isinstance(plan, AllOf)
    added, not_removed = plan.operands
    assert isinstance(added, EventScan)
    assert isinstance(not_removed, Complement)
    (removed,) = not_removed.operands
    assert isinstance(removed, CandidateCheck)
    assert isinstance(removed.approximation, EventScan)
    assert removed.approximation.low == 1


@pytest.mark.parametrize(
    ("asked", "error", "path", "message"),
    [
        ('city became "x"', FieldNotTracked, "expression.became", "segidx schema set 'city=category tracked'"),
        ('not interests tagged "x"', FieldNotTracked, "expression.negation.tagged", "'interests' is not tracked"),
        ('nothing became "x"', UnknownField, "expression.became", "there is no field 'nothing'"),
        ('score = 1 and nothing tagged "x"', UnknownField, "expression.conjunction.operands[1].tagged", "no field"),
        ('tags became "x"', TypeMismatch, "expression.became", "'tags' is a tags field; of tags 'tagged' asks"),
        ('name became "x"', TypeMismatch, "expression.became", "'name' is a text field"),
        ("score became true", TypeMismatch, "expression.became", "'score' is a number field"),
        ("stage became true", TypeMismatch, "expression.became", "it becomes a string"),
        ('agreed became "true"', TypeMismatch, "expression.became", "it becomes true or false"),
        ('stage tagged "x"', TypeMismatch, "expression.tagged", "'stage' is a category field"),
    ],
)
def test_what_is_refused(account: Account, asked: str, error: type[SegidxError], path: str, message: str) -> None:
    with pytest.raises(error) as caught:
        plan_of(account, asked)
    assert caught.value.path == path
    assert message in caught.value.message
    if error is FieldNotTracked:
        assert caught.value.reason == "FIELD_NOT_TRACKED"


def test_nodes_refuse_what_no_schema_allows() -> None:
    with pytest.raises(InvalidExpression, match="a string, or true or false"):
        Became("stage", 3)  # type: ignore[arg-type]
    with pytest.raises(InvalidExpression, match="tags are strings"):
        Tagged("tags", 3)  # type: ignore[arg-type]
    assert Became("stage", "e\u0301") == Became("stage", "\u00e9")
    assert Tagged("tags", "e\u0301") == Tagged("tags", "\u00e9")


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ('stage became "mql"', 1),
        ('stage became "MQL"', 0),
        ('stage became "vip"', 0),
        ("agreed became true", 1),
        ("agreed became false", 0),
        ('tagged "vip"', 1),
        ('tagged "mql"', 0),
        ('tagged "nowhere"', 0),
        ('tagged ""', 0),
        ('not tagged "vip"', 1),
        ('stage became "mql" older than 1 second', 0),
    ],
)
def test_answers(account: Account, asked: str, wanted: int) -> None:
    assert account.count(asked).count == wanted
    assert account.explain(asked, counts=True).count == wanted


def test_names_of_any_form(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A field's name is kept as it is given, not in NFC as values are."""
    name = "e\u0301tape"
    with Database.open(tmp_path_factory.mktemp("y") / "data", create=True, clock=lambda: NOW) as database:
        account = database.account()
        account.update_schema([Field(name, FieldType.CATEGORY, tracked=True)])
        account.upsert([("anna", {name: "cafe\u0301"})])
        assert account.count(Became(name, "caf\u00e9")).count == 1
        assert account.count(f'`{name}` became "cafe\u0301" during last 1 day').count == 1
