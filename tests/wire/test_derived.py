"""Derived numbers survive the wire, also with filters as deep as they may be; what cannot is refused as a whole."""

from __future__ import annotations

import pytest

from segidx.model.derived import BUILT_IN, DerivedNumber, derived_number, derived_value
from segidx.model.errors import InvalidArgument, SegidxError, UnfinishedExpression
from segidx.model.expression import MAX_DEPTH, Aggregate, AggregateFunction, Events, Expression, Not, field
from segidx.v1 import schema_pb2
from segidx.wire.decode import decode
from segidx.wire.derived import read_derived, read_listed, write_derived


def sent(of: DerivedNumber) -> schema_pb2.DerivedNumber:
    response = schema_pb2.SetDerivedNumberResponse()
    write_derived(of, response.derived_number)
    return decode(schema_pb2.SetDerivedNumberResponse, response.SerializeToString()).derived_number


def of_depth(levels: int) -> Expression:
    node: Expression = field("kind") == "clicked"
    for _ in range(levels - 1):
        node = Not(node)
    return node


@pytest.mark.parametrize(
    "of",
    [
        derived_number("spend", derived_value("sum(order.amount where amount > 3)")),
        derived_number("touched", derived_value("first(touch).time")),
        derived_number("deep", Aggregate(AggregateFunction.COUNT, Events("message", of_depth(MAX_DEPTH - 1)))),
    ],
    ids=lambda of: of.name,
)
def test_they_survive(of: DerivedNumber) -> None:
    message = sent(of)
    assert read_derived(message) == of
    assert not message.built_in


@pytest.mark.parametrize("of", BUILT_IN.values(), ids=lambda of: of.name)
def test_those_built_in_are_listed_only(of: DerivedNumber) -> None:
    message = sent(of)
    assert message.built_in
    assert read_listed(message) == of
    with pytest.raises(InvalidArgument, match="neither declared nor removed"):
        read_derived(message)


def message(**parts: object) -> schema_pb2.DerivedNumber:
    value = {"function": "AGGREGATE_FUNCTION_COUNT", "events": {"type": "visit"}}
    return schema_pb2.DerivedNumber(**{"name": "visits", "value": value, **parts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (message(value=None), InvalidArgument, "has no value"),
        (message(value={}), InvalidArgument, "or one that is unfinished"),
        (message(value={"function": 2, "events": {"type": "order"}}), InvalidArgument, "or one that is unfinished"),
        (message(value={"function": 1, "events": {"type": "visit", "where": {}}}), UnfinishedExpression, "unfinished"),
        (message(name=""), InvalidArgument, "no name of a derived number"),
    ],
)
def test_what_is_refused(wrong: schema_pb2.DerivedNumber, error: type[SegidxError], says: str) -> None:
    with pytest.raises(error, match=says):
        read_derived(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        DerivedNumber("\ud800", derived_value("count(visit)")),
        DerivedNumber(7, derived_value("count(visit)")),  # type: ignore[arg-type]
        DerivedNumber("x", "count(visit)"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_sent(wrong: DerivedNumber) -> None:
    with pytest.raises(InvalidArgument, match="cannot be sent"):
        sent(wrong)
