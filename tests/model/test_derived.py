"""Derived numbers: which there can be, those of every account, and how they are stored."""

from __future__ import annotations

from typing import Any

import pytest

from segidx.model.derived import (
    BUILT_IN,
    DerivedNumber,
    derived_number,
    derived_value,
    fields_of,
    from_stored,
    members_of,
    to_stored,
    value_text,
)
from segidx.model.errors import InvalidArgument, InvalidExpression, SegidxError, UnfinishedExpression
from segidx.model.event_groups import GROUPS
from segidx.model.expression import Aggregate, AggregateFunction, Events, In, Unfinished, field
from segidx.model.values import FieldValue


def test_those_of_every_account() -> None:
    assert {name: value_text(each.value) for name, each in BUILT_IN.items()} == {
        "first_order": "first(order).time",
        "last_interaction": "last(interaction).time",
        "last_order": "last(order).time",
        "lifetime_spend": "sum(order.amount)",
        "order_count": "count(order)",
    }
    assert list(BUILT_IN) == sorted(BUILT_IN)


@pytest.mark.parametrize(
    "text",
    [
        "sum(order.amount)",
        'count(message where kind = "clicked")',
        "min(line.quantity)",
        'max(visit.dwell where dwell > 3 and not url like "/a/**")',
        "first(cart).time",
        "last(touch).time",
        "count(interaction)",
    ],
)
def test_what_may_be_declared(text: str) -> None:
    of = derived_number("x", derived_value(text))
    assert value_text(of.value) == text
    assert from_stored("x", to_stored(of)) == of


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("average(order.amount)", InvalidArgument, "a count, sum, min or max"),
        ("distinct(order.source)", InvalidArgument, "a count, sum, min or max"),
        ("distinct_days(visit)", InvalidArgument, "a count, sum, min or max"),
        ("sum(order.amount during last 1 year)", InvalidArgument, "has a window"),
        ("sum(interaction.amount)", InvalidExpression, "is a group of event types"),
        ("count(interaction where paid)", InvalidArgument, "a filter goes with"),
        ("count(visit where ...)", UnfinishedExpression, "unfinished"),
        ("sum(order.amount) * 2", InvalidArgument, "is no derived number"),
        ("last(order)", InvalidArgument, "is an event"),
        ("income", InvalidArgument, "is no derived number"),
        ("count(visit) = 0 or (1", InvalidArgument, "is no derived number"),
    ],
)
def test_what_may_not(text: str, error: type[SegidxError], says: str) -> None:
    with pytest.raises(error, match=says):
        derived_number("x", derived_value(text))


@pytest.mark.parametrize("name", ["", "Spend", "1st", "a" * 65, 7, "lifetime_spend", "last_order"])
def test_names(name: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"no name of a derived number|every account has"):
        derived_number(name, derived_value("count(visit)"))


def test_an_unfinished_filter_is_refused() -> None:
    with pytest.raises(UnfinishedExpression):
        derived_number("x", Aggregate(AggregateFunction.COUNT, Events("visit", Unfinished())))


def test_members_of_a_group() -> None:
    last = BUILT_IN["last_interaction"].value
    assert [value_text(each) for each in members_of(last, GROUPS)] == [
        "last(visit).time",
        "last(order).time",
        "last(cart).time",
        'last(message where kind = "clicked").time',
    ]
    one = BUILT_IN["last_order"].value
    assert members_of(one, GROUPS) == (one,)


def test_fields_of_a_filter() -> None:
    where = (field("a") == 1) & ~(field("b").is_set() | field("c").contains("x")) & In(FieldValue("d"), (1, 2))
    assert sorted(fields_of(where)) == ["a", "b", "c", "d"]
    assert list(fields_of(None)) == []


@pytest.mark.parametrize("stored", [7, None, ["count(visit)"]])
def test_what_is_not_stored(stored: object) -> None:
    with pytest.raises(TypeError):
        from_stored("x", stored)
    assert from_stored("x", "count(visit)") == DerivedNumber("x", derived_value("count(visit)"))
