"""The oracle on tracked fields, by cases worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from segidx.model.errors import FieldNotTracked, TypeMismatch
from segidx.model.expression import Became, Expression, Tagged
from segidx.model.schema import Field, FieldType, Schema
from segidx.model.syntax import parse
from segidx.model.windows import to_millis
from segidx.model.writes import ContactWrite
from segidx.testing import oracle_writes
from segidx.testing.oracle import Oracle

START = datetime(2024, 1, 1, tzinfo=UTC)
SCHEMA = Schema(
    (
        Field("stage", FieldType.CATEGORY, tracked=True),
        Field("agreed", FieldType.BOOL, tracked=True),
        Field("tags", FieldType.TAGS, tracked=True),
        Field("interests", FieldType.TAGS),
        Field("city", FieldType.CATEGORY),
    )
)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


class Told:
    """An oracle that is told something each day."""

    def __init__(self) -> None:
        self.now = to_millis(START)
        self.oracle = Oracle(SCHEMA, "UTC", clock=lambda: self.now)

    def on(self, number: int, *rows: ContactWrite) -> None:
        self.now = to_millis(day(number))
        assert oracle_writes.write(self.oracle, rows).result.rejects == ()

    def holds(self, expression: Expression | str, at: datetime) -> str:
        asked = parse(expression) if isinstance(expression, str) else expression
        return "".join(sorted(self.oracle.members(asked, at)))


def test_what_a_field_became() -> None:
    told = Told()
    told.on(0, ContactWrite("a", {"stage": "lead", "agreed": False}), ContactWrite("b"))
    told.on(10, ContactWrite("a", {"stage": "mql"}), ContactWrite("b", {"stage": "lead"}))
    told.on(20, ContactWrite("a", {"stage": "mql", "agreed": True}), ContactWrite("b", {"stage": None}))
    told.on(30, ContactWrite("a", {"stage": "lead"}), ContactWrite("b", {"stage": "lead"}))
    assert told.holds('stage became "mql"', day(40)) == "a"
    assert told.holds('stage became "mql" during last 15 days', day(20)) == "a"
    assert told.holds('stage became "mql" during last 5 days', day(20)) == ""
    assert told.holds('stage became "lead" older than 25 days', day(40)) == "ab"
    assert told.holds('stage became "lead" older than 35 days', day(40)) == "a"
    assert told.holds('stage became "lead" during last 5 days', day(31)) == "ab"
    assert told.holds("agreed became true", day(40)) == "a"
    assert told.holds("agreed became false during last 30 days", day(40)) == ""
    assert told.holds('not stage became "mql"', day(40)) == "b"


def test_what_comes_at_the_instant_or_later_is_not_seen() -> None:
    told = Told()
    told.on(1, ContactWrite("a", {"stage": "lead"}, {"tags": ["x"]}))
    told.on(3, ContactWrite("a", {}, {}, {"tags": ["x"]}))
    for asked in ('stage became "lead"', 'tagged "x"'):
        assert told.holds(asked, day(1)) == ""
        assert told.holds(asked, day(1) + timedelta(milliseconds=1)) == "a"
        assert told.holds(asked, day(3)) == "a"
    assert told.holds('tagged "x"', day(3) + timedelta(milliseconds=1)) == ""


def test_when_a_tag_was_added() -> None:
    told = Told()
    told.on(0, ContactWrite("a", {}, {"tags": ["x"]}), ContactWrite("b", {"tags": ["x", "y"]}))
    told.on(10, ContactWrite("a", {}, {"tags": ["x"]}), ContactWrite("b", {"tags": ["y", "z"]}))
    told.on(20, ContactWrite("b", {}, {"tags": ["x"]}))
    assert told.holds('tagged "x"', day(30)) == "ab"
    assert told.holds('tagged "x" older than 25 days', day(30)) == "a"
    assert told.holds('tagged "x" during last 15 days', day(30)) == "b"
    assert told.holds('tagged "x" older than 1 day', day(15)) == "a"
    assert told.holds('tagged "y" older than 25 days', day(30)) == "b"
    assert told.holds('tagged "z" during 21 to 19 days ago', day(30)) == "b"


def test_a_request_is_one_change() -> None:
    told = Told()
    told.on(0, ContactWrite("a", {"stage": "lead"}, {"tags": ["x"]}))
    told.on(10, ContactWrite("a", {"stage": "mql", "tags": []}), ContactWrite("a", {"stage": "lead"}, {"tags": ["x"]}))
    assert told.holds('stage became "mql"', day(20)) == ""
    assert told.holds('tagged "x" during last 15 days', day(20)) == ""
    assert told.holds('tagged "x"', day(20)) == "a"


def test_history_begins_when_a_field_is_tracked() -> None:
    told = Told()
    told.on(0, ContactWrite("a", {"city": "x", "interests": ["x"]}))
    told.oracle.declare(
        [Field("city", FieldType.CATEGORY, tracked=True), Field("interests", FieldType.TAGS, tracked=True)]
    )
    told.on(1, ContactWrite("a", {"city": "x"}, {"interests": ["x"]}), ContactWrite("b", {"city": "x"}))
    assert told.holds('city became "x"', day(9)) == "b"
    assert told.holds('interests tagged "x"', day(9)) == ""


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        (Became("city", "x"), FieldNotTracked),
        (Tagged("interests", "x"), FieldNotTracked),
        (Became("tags", "x"), TypeMismatch),
        (Became("stage", True), TypeMismatch),
        (Became("agreed", "true"), TypeMismatch),
        (Tagged("stage", "x"), TypeMismatch),
    ],
)
def test_what_is_refused(expression: Expression, error: type[Exception]) -> None:
    with pytest.raises(error):
        Told().holds(expression, day(1))
