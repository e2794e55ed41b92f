"""Bands survive the wire, also with filters as deep as they may be; what cannot is refused as a whole."""

from __future__ import annotations

from decimal import Decimal

import pytest

from segidx.model.bands import Bands, bands
from segidx.model.errors import ExpressionTooDeep, InvalidArgument, InvalidValue, SegidxError, UnfinishedExpression
from segidx.model.expression import (
    MAX_DEPTH,
    Aggregate,
    AggregateFunction,
    BandIs,
    Comparison,
    Crossed,
    Events,
    Expression,
    Not,
    Operator,
    Unfinished,
    check,
    field,
)
from segidx.model.values import Constant
from segidx.model.windows import AllTime, Direction, Rolling, Unit
from segidx.v1 import expressions_pb2, schema_pb2
from segidx.wire import expressions as wire
from segidx.wire.bands import read_bands, write_bands
from segidx.wire.decode import decode

SPEND = Aggregate(AggregateFunction.SUM, Events("order"), "amount")
MONTH = Rolling(Direction.LAST, 1, Unit.MONTH)


def count_of(where: Expression | None = None, window: object = AllTime()) -> Aggregate:
    return Aggregate(AggregateFunction.COUNT, Events("message", where, window))  # type: ignore[arg-type]


def sent(of: Bands) -> schema_pb2.Bands:
    response = schema_pb2.SetBandsResponse()
    write_bands(of, response.bands)
    return decode(schema_pb2.SetBandsResponse, response.SerializeToString()).bands


def of_depth(levels: int) -> Expression:
    node: Expression = field("kind") == "clicked"
    for _ in range(levels - 1):
        node = Not(node)
    return node


@pytest.mark.parametrize(
    "of",
    [
        bands(
            "spend", Aggregate(AggregateFunction.SUM, Events("order"), "amount"), [Decimal("-0.5"), 100, Decimal("1e9")]
        ),
        bands("clicks", count_of(field("kind") == "clicked", MONTH), [1], ["none", "ż", "3+"]),
        bands("deep", count_of(of_depth(MAX_DEPTH - 1)), range(1, 65)),
    ],
    ids=lambda of: of.name,
)
def test_bands_survive(of: Bands) -> None:
    assert read_bands(sent(of)) == of


def test_labels_may_be_left_out() -> None:
    of = bands("clicks", count_of(), [1, 5])
    message = sent(of)
    assert list(message.labels) == ["none", "<1", "1-5", "5+"]
    message.ClearField("labels")
    assert read_bands(message) == of


def test_a_filter_that_is_too_deep() -> None:
    deeper = Bands("deep", count_of(of_depth(MAX_DEPTH)), (Decimal(1),), ("a", "b", "c"))
    with pytest.raises(ExpressionTooDeep) as in_process:
        check(Comparison(deeper.value, Operator.EQ, Constant(Decimal(0))))
    with pytest.raises(ExpressionTooDeep) as written:
        sent(deeper)
    assert str(written.value) == str(in_process.value)


def message(**parts: object) -> schema_pb2.Bands:
    value = {"function": "AGGREGATE_FUNCTION_COUNT", "events": {"type": "visit"}}
    return schema_pb2.Bands(**{"name": "visits", "value": value, "thresholds": ["1", "3"], **parts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (message(value=None), InvalidArgument, "have no value"),
        (message(value={}), InvalidArgument, "or one that is unfinished"),
        (message(value={"function": 1, "events": {}}), InvalidArgument, "or one that is unfinished"),
        (message(value={"function": 2, "events": {"type": "order"}}), InvalidArgument, "or one that is unfinished"),
        (message(value={"function": 3, "events": {"type": "order"}, "property": "amount"}), InvalidArgument, "a count"),
        (message(value={"function": 1, "events": {"type": "visit", "where": {}}}), UnfinishedExpression, "unfinished"),
        (message(thresholds=["1", ""]), InvalidValue, "'' is not a number"),
        (message(thresholds=["NaN"]), InvalidValue, "'NaN' is not a number"),
        (message(thresholds=[]), InvalidArgument, "1 to 64 thresholds"),
        (message(labels=["a"]), InvalidArgument, "have 4 labels"),
        (message(name=""), InvalidArgument, "no name of bands"),
    ],
)
def test_what_is_refused(wrong: schema_pb2.Bands, error: type[SegidxError], says: str) -> None:
    with pytest.raises(error, match=says):
        read_bands(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        Bands("\ud800", count_of(), (Decimal(1),), ("a", "b", "c")),
        Bands(7, count_of(), (Decimal(1),), ("a", "b", "c")),  # type: ignore[arg-type]
        Bands("x", "count(visit)", (Decimal(1),), ("a", "b", "c")),  # type: ignore[arg-type]
        Bands("x", count_of(), (Decimal(1),), ("a", 3, "c")),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_sent(wrong: Bands) -> None:
    with pytest.raises(InvalidArgument, match="cannot be sent"):
        sent(wrong)


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("band_is", {"labels": ["a"]}),
        ("crossed", {"name": "spend"}),
        ("crossed", {"threshold": {"decimal_value": "5"}}),
        ("crossed", {"name": "spend", "threshold": {"decimal_value": "5"}, "window": {}}),
    ],
)
def test_what_an_editor_has_not_filled_in(kind: str, part: dict[str, object]) -> None:
    assert wire.read_expression(expressions_pb2.Expression(**{kind: part})) == Unfinished()  # type: ignore[arg-type]


def test_windows_and_labels_may_be_absent() -> None:
    asked = expressions_pb2.Expression(crossed={"name": "spend", "threshold": {"decimal_value": "5.50"}})  # type: ignore[arg-type]
    assert wire.read_expression(asked) == Crossed("spend", Decimal("5.5"))
    asked = expressions_pb2.Expression(band_is={"name": "spend"})  # type: ignore[arg-type]
    assert wire.read_expression(asked) == BandIs("spend", ())
    wrong = expressions_pb2.Expression(crossed={"name": "spend", "threshold": {"string_value": "5"}})  # type: ignore[arg-type]
    with pytest.raises(SegidxError, match=r"expression\.crossed: what is crossed is a number"):
        wire.read_expression(wrong)
