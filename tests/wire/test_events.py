"""Conditions on events cross the protocol: what may be left out, what is unfinished, paths and limits as in process."""

from __future__ import annotations

import random
from typing import Any

import pytest
from google.protobuf import text_format

from segidx.model import errors
from segidx.model.expression import (
    MAX_DEPTH,
    MAX_NODES,
    Aggregate,
    AggregateFunction,
    And,
    Between,
    Comparison,
    DaysSinceEvent,
    Did,
    EventHas,
    Events,
    Expression,
    HasTags,
    HasValue,
    In,
    IsSet,
    Never,
    Not,
    Only,
    Operator,
    Overdue,
    Sequence,
    Step,
    TagMode,
    TimeInWindow,
    Unfinished,
    check,
    skip_unfinished,
)
from segidx.model.schema import Field, FieldType, Schema
from segidx.model.values import Arithmetic, ArithmeticOperator, Constant, FieldValue, Negative, Value
from segidx.model.windows import AllTime, Direction, Rolling, Unit
from segidx.testing.event_questions import random_event_expression
from segidx.v1 import counts_pb2
from segidx.v1 import expressions_pb2 as pb
from segidx.wire.decode import _Assembler, decode
from segidx.wire.expressions import read_expression, write_expression

PAID = Comparison(FieldValue("paid"), Operator.EQ, Constant(True))
LAST_90_DAYS = Rolling(Direction.LAST, 90, Unit.DAY)


def read(text: str) -> Expression:
    return read_expression(text_format.Parse(text, pb.Expression()))


def written(expression: Expression) -> pb.Expression:
    message = pb.Expression()
    write_expression(expression, message)
    return message


def through_bytes(expression: Expression) -> Expression:
    return read_expression(decode(pb.Expression, written(expression).SerializeToString()))


def count(where: Expression | None, type: str = "order") -> Aggregate:
    return Aggregate(AggregateFunction.COUNT, Events(type, where))


def some(value: Value) -> Expression:
    return Comparison(value, Operator.GT, Constant(0))


def test_numbers_that_clients_rely_on() -> None:
    assert {name: pb.Expression.DESCRIPTOR.fields_by_name[name].number for name in ("did", "never", "only")} == {
        "did": 30,
        "never": 31,
        "only": 32,
    }
    assert pb.Expression.DESCRIPTOR.fields_by_name["event_has"].number == 33
    assert pb.Expression.DESCRIPTOR.fields_by_name["has_value"].number == 36
    assert pb.AGGREGATE_FUNCTION_FAVOURITE == 10
    assert pb.Value.DESCRIPTOR.fields_by_name["aggregate"].number == 7
    assert pb.Value.DESCRIPTOR.fields_by_name["days_since_event"].number == 8


def test_a_selection_as_it_is_sent() -> None:
    window = "window { rolling { direction: ROLLING_DIRECTION_LAST count: 90 unit: TIME_UNIT_DAY } }"
    paid = (
        'where { comparison { left { field: "paid" } operator: COMPARISON_OPERATOR_EQUAL '
        "right { constant { bool_value: true } } } }"
    )
    assert read(f"did {{ events {{ type: 'order' {paid} {window} }} }}") == Did(Events("order", PAID, LAST_90_DAYS))
    total = f"aggregate {{ function: AGGREGATE_FUNCTION_SUM events {{ type: 'line' {window} }} property: \"amount\" }}"
    zero = 'constant { decimal_value: "0" }'
    found = read(f"comparison {{ left {{ {total} }} operator: COMPARISON_OPERATOR_GREATER right {{ {zero} }} }}")
    assert found == some(Aggregate(AggregateFunction.SUM, Events("line", None, LAST_90_DAYS), "amount"))


@pytest.mark.parametrize("seed", range(100))
def test_what_is_asked_of_events_survives(seed: int) -> None:
    schema = Schema((Field("score", FieldType.NUMBER), Field("born", FieldType.DATE)))
    expression = random_event_expression(random.Random(seed), schema)
    check(expression)
    assert through_bytes(expression) == expression


def test_only_and_days_since_as_they_are_sent() -> None:
    paid = 'left { field: "paid" } operator: COMPARISON_OPERATOR_EQUAL right { constant { bool_value: true } }'
    that = f"that {{ comparison {{ {paid} }} }}"
    assert read(f"only {{ events {{ type: 'order' }} {that} }}") == Only(Events("order"), PAID)
    assert read("only { events { type: 'line' } }") == Only(Events("line"))
    last = "aggregate { function: AGGREGATE_FUNCTION_LAST events { type: 'order' } }"
    zero = 'constant { decimal_value: "0" }'
    days = f"left {{ days_since_event {{ {last} }} }} operator: COMPARISON_OPERATOR_GREATER right {{ {zero} }}"
    found = read(f"comparison {{ {days} }}")
    assert found == some(DaysSinceEvent(Aggregate(AggregateFunction.LAST, Events("order"))))


def test_an_event_and_a_favourite_as_they_are_sent() -> None:
    paid = 'left { field: "paid" } operator: COMPARISON_OPERATOR_EQUAL right { constant { bool_value: true } }'
    last = "event { function: AGGREGATE_FUNCTION_LAST events { type: 'order' } }"
    found = read(f"event_has {{ {last} that {{ comparison {{ {paid} }} }} }}")
    assert found == EventHas(Aggregate(AggregateFunction.LAST, Events("order")), PAID)
    liked = "function: AGGREGATE_FUNCTION_FAVOURITE events { type: 'line' } property: 'category'"
    assert read(f"has_value {{ value {{ aggregate {{ {liked} }} }} }}") == HasValue(
        Aggregate(AggregateFunction.FAVOURITE, Events("line"), "category")
    )
    by = Comparison(Aggregate(AggregateFunction.FAVOURITE, Events("line"), "category", "a"), Operator.EQ, Constant("x"))
    wanted = "right { constant { string_value: 'x' } }"
    assert (
        read(
            f"comparison {{ left {{ aggregate {{ {liked} by: 'a' }} }} operator: COMPARISON_OPERATOR_EQUAL {wanted} }}"
        )
        == by
    )
    assert through_bytes(by) == by


def test_sequences_and_gaps_as_they_are_sent() -> None:
    found = read(
        "sequence { steps { events { type: 'cart' } }"
        " steps { events { type: 'order' } within_seconds: 60 absent: true }"
        " window { rolling { direction: ROLLING_DIRECTION_LAST count: 90 unit: TIME_UNIT_DAY } } }"
    )
    assert found == Sequence((Step(Events("cart")), Step(Events("order"), 60_000, absent=True)), LAST_90_DAYS)
    assert through_bytes(found) == found
    assert not written(Sequence((Step(Events("cart")), Step(Events("order"))))).sequence.HasField("window")
    assert read("overdue { events { type: 'order' } }") == Overdue(Events("order"))
    for number, function in (
        (11, AggregateFunction.MEAN_GAP),
        (12, AggregateFunction.GAP_DEVIATION),
        (13, AggregateFunction.EXPECTED),
    ):
        asked = some(Aggregate(function, Events("order")))
        assert written(asked).comparison.left.aggregate.function == number
        assert through_bytes(asked) == asked
    assert pb.Expression.DESCRIPTOR.fields_by_name["overdue"].number == 34
    assert pb.Expression.DESCRIPTOR.fields_by_name["sequence"].number == 35


def test_distinct_values_and_days_as_they_are_sent() -> None:
    for function, name in ((AggregateFunction.DISTINCT, "source"), (AggregateFunction.DISTINCT_DAYS, None)):
        node = some(Aggregate(function, Events("order", PAID), name))
        message = written(node)
        assert message.comparison.left.aggregate.function == {"source": 8, None: 9}[name]
        assert message.comparison.left.aggregate.property == (name or "")
        assert through_bytes(node) == node


def test_no_filter_is_every_event_and_no_window_all_time() -> None:
    bare = "never { events { type: 'line' } }"
    assert read(bare) == Never(Events("line", None, AllTime()))
    assert read("never { events { type: 'line' window { all_time {} } } }") == read(bare)
    assert written(Never(Events("line"))) == text_format.Parse(bare, pb.Expression())


def comparison(aggregate: str) -> str:
    return (
        f"comparison {{ left {{ aggregate {{ {aggregate} }} }} operator: COMPARISON_OPERATOR_GREATER "
        'right { constant { decimal_value: "1" } } }'
    )


@pytest.mark.parametrize(
    "text",
    [
        "did {}",
        "never {}",
        "did { events {} }",
        "did { events { where { everyone {} } } }",
        "did { events { type: 'order' window {} } }",
        "never { events { type: 'order' window { older_than { count: 1 } } } }",
        comparison(""),
        comparison("function: AGGREGATE_FUNCTION_COUNT"),
        comparison("function: AGGREGATE_FUNCTION_COUNT events {}"),
        comparison("events { type: 'order' }"),
        comparison("function: AGGREGATE_FUNCTION_COUNT events { type: 'order' window {} }"),
        comparison("function: AGGREGATE_FUNCTION_SUM events { type: 'order' }"),
        comparison('function: AGGREGATE_FUNCTION_SUM property: "amount"'),
        *(
            comparison(f"function: AGGREGATE_FUNCTION_{f} events {{ type: 'line' }}")
            for f in ("AVERAGE", "MIN", "MAX", "DISTINCT", "FAVOURITE")
        ),
        comparison("function: AGGREGATE_FUNCTION_DISTINCT_DAYS"),
        comparison("function: AGGREGATE_FUNCTION_FIRST"),
        comparison("function: AGGREGATE_FUNCTION_LAST events {}"),
        "comparison { left { days_since_event { aggregate { function: AGGREGATE_FUNCTION_LAST } } } "
        'operator: COMPARISON_OPERATOR_EQUAL right { field: "a" } }',
        'comparison { left { days_since_event {} } operator: COMPARISON_OPERATOR_EQUAL right { field: "a" } }',
        "event_has {}",
        "event_has { event { function: AGGREGATE_FUNCTION_LAST events { type: 'order' } } }",
        "event_has { event { events { type: 'order' } } that { everyone {} } }",
        "event_has { event { function: AGGREGATE_FUNCTION_LAST events {} } that { everyone {} } }",
        "event_has { that { everyone {} } }",
        "overdue {}",
        "overdue { events {} }",
        comparison("function: AGGREGATE_FUNCTION_MEAN_GAP"),
        "sequence {}",
        "sequence { window { all_time {} } }",
        "sequence { steps {} steps { events { type: 'order' } } }",
        "sequence { steps { events { type: 'order' } } steps { within_seconds: 5 } }",
        "sequence { steps { events { type: 'order' } } steps { events { type: 'order' } } window {} }",
        "has_value {}",
        "has_value { value {} }",
        "has_value { value { aggregate { function: AGGREGATE_FUNCTION_LAST } } }",
        "only {}",
        "only { events {} }",
        "only { events { type: 'order' window {} } }",
        "only { that { everyone {} } }",
    ],
)
def test_what_is_not_filled_in_is_unfinished(text: str) -> None:
    assert read(text) == Unfinished()


@pytest.mark.parametrize("where", ["", "unfinished {}", "is_set {}", "comparison {}"])
def test_an_unfinished_filter_is_a_node_of_its_own(where: str) -> None:
    found = read(f"did {{ events {{ type: 'order' where {{ {where} }} }} }}")
    assert found == Did(Events("order", Unfinished()))
    with pytest.raises(errors.UnfinishedExpression) as caught:
        check(found)
    assert caught.value.path == "expression.did.events.where"
    assert skip_unfinished(found) == (Did(Events("order")), ("expression.did.events.where",))


@pytest.mark.parametrize("that", ["", "unfinished {}", "is_set {}", "comparison {}"])
def test_an_unfinished_that_is_a_node_of_its_own(that: str) -> None:
    found = read(f"only {{ events {{ type: 'order' }} that {{ {that} }} }}")
    assert found == Only(Events("order"), Unfinished())
    with pytest.raises(errors.UnfinishedExpression) as caught:
        check(found)
    assert caught.value.path == "expression.only.that"
    assert skip_unfinished(found) == (Only(Events("order")), ("expression.only.that",))


@pytest.mark.parametrize("that", ["unfinished {}", "is_set {}", "comparison {}"])
def test_without_what_it_has_there_is_the_event(that: str) -> None:
    event = "event { function: AGGREGATE_FUNCTION_FIRST events { type: 'order' } }"
    found = read(f"event_has {{ {event} that {{ {that} }} }}")
    assert found == EventHas(Aggregate(AggregateFunction.FIRST, Events("order")), Unfinished())
    with pytest.raises(errors.UnfinishedExpression) as caught:
        check(found)
    assert caught.value.path == "expression.event_has.that"
    assert skip_unfinished(found) == (Did(Events("order")), ("expression.event_has.that",))


def test_days_since_of_days_since_goes_no_deeper_than_the_limit() -> None:
    """No client of ours writes one; the reader must not recurse as far as the message says."""
    message = pb.Expression()
    value = message.comparison.left
    for _ in range(MAX_DEPTH):
        value = value.days_since_event
    value.field = "born"
    with pytest.raises(errors.ExpressionTooDeep) as caught:
        read_expression(message)
    assert caught.value.path == "expression"
    with pytest.raises(errors.ExpressionTooDeep) as by_decoder:
        assembled(message.SerializeToString())
    assert by_decoder.value.path == caught.value.path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('did { events { type: "Order" } }', "did"),
        ('only { events { type: "-" } }', "only"),
        (
            'never { events { type: "line" where { comparison { operator: 99 left { field: "a" } } } } }',
            "never.events.where.comparison",
        ),
        (
            "never { events { type: 'line' where { negation { at_least { count: 0 } } } } }",
            "never.events.where.negation.at_least",
        ),
        ("did { events { type: 'line' window { older_than { count: 0 unit: TIME_UNIT_DAY } } } }", "did"),
        (comparison("function: 99 events { type: 'order' }"), "comparison"),
        (
            comparison('function: AGGREGATE_FUNCTION_COUNT events { type: "order" } property: "amount"'),
            "comparison",
        ),
        (
            comparison('function: AGGREGATE_FUNCTION_LAST events { type: "order" } property: "amount"'),
            "comparison",
        ),
        (
            "comparison { operator: COMPARISON_OPERATOR_EQUAL right { field: 'a' }"
            " left { days_since_event { field: 'born' } } }",
            "comparison",
        ),
        (
            "comparison { operator: COMPARISON_OPERATOR_EQUAL right { field: 'a' } left { days_since_event { aggregate"
            " { function: AGGREGATE_FUNCTION_COUNT events { type: 'order' } } } } }",
            "comparison",
        ),
        (
            comparison('function: AGGREGATE_FUNCTION_SUM events { type: "order" } property: "amount" by: "amount"'),
            "comparison",
        ),
        (
            "event_has { event { function: AGGREGATE_FUNCTION_COUNT events { type: 'order' } } that { everyone {} } }",
            "event_has",
        ),
        (
            "event_has { event { function: AGGREGATE_FUNCTION_LAST events { type: 'order' } } "
            "that { negation { at_least { count: 0 } } } }",
            "event_has.that.negation.at_least",
        ),
        ("has_value { value { field: 'born' } }", "has_value"),
        ("sequence { steps { events { type: 'order' } } }", "sequence"),
        ("sequence { " + 17 * "steps { events { type: 'order' } } " + "}", "sequence"),
        *(
            (
                f"sequence {{ steps {{ events {{ type: 'cart' }} {first} }}"
                f" steps {{ events {{ type: 'order' }} {last} }} }}",
                "sequence",
            )
            for first, last in (
                ("within_seconds: 5", ""),
                ("absent: true", ""),
                ("", "absent: true"),
                ("", "within_seconds: 0"),
                ("", "within_seconds: -5"),
                ("", "within_seconds: 60480000001"),
            )
        ),
        (
            "sequence { steps { events { type: 'cart' } } steps { events { type: 'order'"
            " window { older_than { count: 1 unit: TIME_UNIT_DAY } } } } }",
            "sequence",
        ),
        (
            "sequence { steps { events { type: 'cart' } } steps { events { type: 'order' where { negation {"
            " at_least { count: 0 } } } } } }",
            "sequence.steps[1].events.where.negation.at_least",
        ),
        (comparison("function: AGGREGATE_FUNCTION_EXPECTED events { type: 'order' } property: 'amount'"), "comparison"),
        (
            "only { events { type: 'order' } that { negation { at_least { count: 0 } } } }",
            "only.that.negation.at_least",
        ),
        (
            comparison(
                "function: AGGREGATE_FUNCTION_COUNT "
                "events { type: 'order' where { disjunction { operands { at_least { count: 0 } } } } }"
            ),
            "comparison.left.aggregate.events.where.disjunction.operands[0].at_least",
        ),
    ],
)
def test_what_is_wrong_names_its_node(text: str, path: str) -> None:
    with pytest.raises(errors.InvalidExpression) as caught:
        read(f"conjunction {{ operands {{ {text} }} }}")
    assert type(caught.value) is errors.InvalidExpression
    assert caught.value.path == f"expression.conjunction.operands[0].{path}"


# Every place where events stand in an expression, with its path.
PLACES = {
    "did.events.where": lambda where: Did(Events("order", where)),
    "never.events.where": lambda where: Never(Events("line", where)),
    "comparison.left.aggregate.events.where": lambda where: some(count(where)),
    "comparison.right.aggregate.events.where": lambda where: Comparison(Constant(1), Operator.LT, count(where)),
    "comparison.left.negative.aggregate.events.where": lambda where: some(Negative(count(where))),
    "comparison.left.arithmetic.left.aggregate.events.where": lambda where: some(
        Arithmetic(ArithmeticOperator.ADD, count(where), FieldValue("income"))
    ),
    "comparison.left.arithmetic.right.negative.aggregate.events.where": lambda where: some(
        Arithmetic(ArithmeticOperator.DIVIDE, Constant(1), Negative(count(where)))
    ),
    "between.value.aggregate.events.where": lambda where: Between(count(where), Constant(1), Constant(2)),
    "between.low.aggregate.events.where": lambda where: Between(Constant(1), count(where), Constant(2)),
    "between.high.aggregate.events.where": lambda where: Between(Constant(1), Constant(2), count(where)),
    "in.value.aggregate.events.where": lambda where: In(count(where), (1, 2)),
    "comparison.left.days_since_event.aggregate.events.where": lambda where: some(
        DaysSinceEvent(Aggregate(AggregateFunction.FIRST, Events("line", where)))
    ),
    "only.events.where": lambda where: Only(Events("order", where), PAID),
    "event_has.event.events.where": lambda where: EventHas(
        Aggregate(AggregateFunction.LAST, Events("order", where)), PAID
    ),
    "event_has.that": lambda where: EventHas(Aggregate(AggregateFunction.LAST, Events("order")), where),
    "has_value.value.aggregate.events.where": lambda where: HasValue(count(where)),
    "time_in_window.value.aggregate.events.where": lambda where: TimeInWindow(
        Aggregate(AggregateFunction.EXPECTED, Events("order", where)), LAST_90_DAYS
    ),
    "only.that": lambda where: Only(Events("order"), where),
    "overdue.events.where": lambda where: Overdue(Events("order", where)),
    "sequence.steps[0].events.where": lambda where: Sequence(
        (Step(Events("cart", where)), Step(Events("order", PAID)))
    ),
    "sequence.steps[1].events.where": lambda where: Sequence(
        (Step(Events("cart")), Step(Events("order", where), 60_000, absent=True)), LAST_90_DAYS
    ),
}


def below(message: Any, name: str) -> Any:
    """The part of a message that a path calls `name`, such as `events` or `steps[1]`."""
    field, _, index = name.partition("[")
    part = getattr(message, field)
    return part[int(index.removesuffix("]"))] if index else part


def levels_above(place: str) -> int:
    """The levels of an expression above a filter at this place: the predicate and the arithmetic in it."""
    return 1 + place.count(".arithmetic.") + place.count(".negative.") + place.count(".days_since_event.")


def nested(levels: int) -> Expression:
    node: Expression = IsSet("amount")
    for level in reversed(range(levels - 1)):
        node = Not(node) if level % 2 else And((node,))
    return node


def assembled(data: bytes) -> pb.Expression:
    """The message as the parser of deep ones makes it."""
    message = pb.Expression()
    _Assembler().fill(message, memoryview(data), "expression.", "expression", 1)
    return message


@pytest.mark.parametrize("place", PLACES)
def test_paths_into_filters_are_those_of_the_check(place: str) -> None:
    unfinished = PLACES[place](Not(Unfinished()))
    with pytest.raises(errors.UnfinishedExpression) as by_check:
        check(unfinished)
    assert by_check.value.path == f"expression.{place}.negation"
    assert through_bytes(unfinished) == unfinished

    message = written(PLACES[place](Not(IsSet("amount"))))
    part = message
    for name in f"{place}.negation".split("."):
        part = below(part, name)
    part.at_least.count = 0
    with pytest.raises(errors.InvalidExpression) as by_reader:
        read_expression(message)
    assert by_reader.value.path == f"expression.{place}.negation.at_least"


@pytest.mark.parametrize("place", PLACES)
def test_filters_count_as_depth(place: str) -> None:
    room = MAX_DEPTH - levels_above(place)
    deepest = PLACES[place](nested(room))
    check(deepest)
    assert through_bytes(deepest) == deepest
    data = written(deepest).SerializeToString()
    assert assembled(data) == decode(pb.Expression, data)

    deeper = PLACES[place](nested(room + 1))
    with pytest.raises(errors.ExpressionTooDeep) as by_check:
        check(deeper)
    with pytest.raises(errors.ExpressionTooDeep) as by_writer:
        written(deeper)
    assert by_check.value.path.startswith(f"expression.{place}.")
    assert by_writer.value.path == by_check.value.path

    # A message that no client of ours writes: the innermost operand of the deepest gets one of its own.
    message = written(deepest)
    part = message
    for name in by_check.value.path.removeprefix("expression.").replace(".operands[0]", ".operands").split("."):
        if name == "operands":
            part = part.operands[0] if len(part.operands) else part.operands.add()
        else:
            part = below(part, name)
    part.everyone.SetInParent()
    with pytest.raises(errors.ExpressionTooDeep) as by_reader:
        read_expression(message)
    assert by_reader.value.path == by_check.value.path
    with pytest.raises(errors.ExpressionTooDeep) as by_decoder:
        assembled(message.SerializeToString())
    assert by_decoder.value.path == by_check.value.path


def test_filters_count_as_nodes() -> None:
    where = In(FieldValue("amount"), tuple(range(MAX_NODES - 1)))
    fits = Did(Events("order", where))
    check(fits)
    assert through_bytes(fits) == fits
    more = And((fits, IsSet("a")))
    message = pb.Expression()
    message.conjunction.operands.add().CopyFrom(written(fits))
    for refused in (check, written):
        with pytest.raises(errors.ExpressionTooLarge):
            refused(more)
    with pytest.raises(errors.ExpressionTooLarge):
        read_expression(message)


def test_conditions_on_contacts_cross_in_a_filter_and_are_left_to_the_check() -> None:
    for where in (HasTags("tags", TagMode.ANY, ("vip",)), Did(Events("line")), some(count(None))):
        expression = Did(Events("order", where))
        assert through_bytes(expression) == expression
        with pytest.raises(errors.InvalidExpression) as caught:
            check(expression)
        assert caught.value.path.startswith("expression.did.events.where.")


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def filters_in_filters(numbers: tuple[int, ...], levels: int) -> bytes:
    """A request whose filters lie in one another, each below messages of these field numbers."""
    body = b""
    for number in (*reversed(numbers * levels), 2):
        body = varint(number << 3 | 2) + varint(len(body)) + body
    return body


# did, events, where; only, that; overdue, events, where; sequence, steps, events, where; comparison, left, aggregate,
# events, where; that with a negative and arithmetic
# between, and with days since.
@pytest.mark.parametrize(
    "numbers",
    [(30, 1, 2), (32, 2), (34, 1, 2), (35, 1, 1, 2), (12, 1, 7, 2, 2), (12, 1, 6, 5, 1, 7, 2, 2), (12, 1, 8, 7, 2, 2)],
)
@pytest.mark.parametrize("levels", [MAX_DEPTH, 1_000, 5_000])
def test_filters_in_filters_recurse_no_further_than_the_limit(numbers: tuple[int, ...], levels: int) -> None:
    with pytest.raises(errors.ExpressionTooDeep) as caught:
        decode(counts_pb2.CountContactsRequest, filters_in_filters(numbers, levels))
    assert caught.value.path.count("where") + caught.value.path.count("that") <= MAX_DEPTH
