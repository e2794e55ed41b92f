"""Expressions survive the protocol unchanged; what is unfinished is `Unfinished`; what is wrong names its node."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segidx.model import errors
from segidx.model.expression import (
    MAX_DEPTH,
    MAX_NODES,
    NODE_NAMES,
    Aggregate,
    AggregateFunction,
    And,
    Anniversary,
    AtLeast,
    BandIs,
    Became,
    Between,
    ChannelState,
    Comparison,
    Crossed,
    DaysSinceEvent,
    Did,
    EventHas,
    Events,
    Everyone,
    Expression,
    HasTags,
    HasValue,
    In,
    InWindow,
    IsSet,
    Never,
    Nobody,
    Not,
    OnChannel,
    Only,
    Operator,
    Or,
    Tagged,
    TagMode,
    TextMatch,
    TextOperator,
    TimeInWindow,
    Unfinished,
    check,
)
from segidx.model.values import (
    Age,
    Arithmetic,
    ArithmeticOperator,
    Constant,
    DaysSince,
    FieldValue,
    Negative,
    Value,
)
from segidx.model.windows import (
    Absolute,
    Ago,
    AllTime,
    Calendar,
    CalendarPosition,
    Direction,
    OlderThan,
    Rolling,
    Unit,
    Window,
)
from segidx.model.writes import Channel
from segidx.v1 import expressions_pb2 as pb
from segidx.v1 import values_pb2
from segidx.wire import events as wire_events
from segidx.wire import expressions as wire
from segidx.wire import values as wire_values
from segidx.wire import windows as wire_windows
from segidx.wire.decode import decode
from segidx.wire.expressions import enums

_SEARCHES = tuple(operator for operator in TextOperator if operator is not TextOperator.LIKE)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
dates = st.dates()
instants = st.datetimes(timezones=st.just(UTC)).map(lambda d: d.replace(microsecond=d.microsecond // 1000 * 1000))
scalars = st.one_of(
    st.text(max_size=8),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**15), max_value=10**15),
    st.integers(-(10**18), 10**18).map(Decimal),
    st.booleans(),
    dates,
    instants,
)
counts = st.integers(1, 100_000)
units = st.sampled_from(Unit)


def absolute(kind: st.SearchStrategy) -> st.SearchStrategy[Absolute]:
    pair = st.tuples(kind, kind).filter(lambda p: p[0] < p[1])
    return st.one_of(
        pair.map(lambda p: Absolute(*p)), kind.map(lambda d: Absolute(d, None)), kind.map(lambda d: Absolute(None, d))
    )


windows: st.SearchStrategy[Window] = st.one_of(
    st.builds(Rolling, st.sampled_from(Direction), counts, units),
    st.builds(OlderThan, counts, units),
    st.tuples(counts, st.integers(0, 99_999), units).filter(lambda t: t[0] > t[1]).map(lambda t: Ago(*t)),
    st.builds(
        Calendar,
        st.sampled_from([CalendarPosition.LAST, CalendarPosition.NEXT]),
        st.sampled_from([u for u in Unit if u.is_calendar]),
        counts,
    ),
    st.just(Calendar(CalendarPosition.THIS, Unit.WEEK)),
    absolute(dates),
    absolute(instants),
    st.just(AllTime()),
)


def groups(below: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    return st.one_of(
        st.lists(below, max_size=3).map(lambda o: And(tuple(o))),
        st.lists(below, max_size=3).map(lambda o: Or(tuple(o))),
        below.map(Not),
        st.tuples(st.integers(1, MAX_NODES), st.lists(below, max_size=3)).map(lambda t: AtLeast(t[0], tuple(t[1]))),
    )


properties = names.map(FieldValue)
operands = st.one_of(properties, scalars.map(Constant))
filters = st.recursive(
    st.one_of(
        st.just(Unfinished()),
        st.builds(Comparison, operands, st.sampled_from(Operator), operands),
        st.builds(Between, properties, operands, operands),
        st.builds(In, properties, st.lists(scalars, max_size=3).map(tuple), st.booleans()),
        st.builds(IsSet, names),
        st.builds(TextMatch, names, st.sampled_from(_SEARCHES), st.text(max_size=5), st.booleans()),
        st.builds(TextMatch, names, st.just(TextOperator.LIKE), st.text(max_size=5).map("/{}".format), st.booleans()),
    ),
    groups,
    max_leaves=4,
)
# Deferred, since what hypothesis prints of a strategy would be very long.
events = st.deferred(lambda: st.builds(Events, st.sampled_from(["order", "line"]), st.none() | filters, windows))
times = st.builds(Aggregate, st.sampled_from([f for f in AggregateFunction if f.is_time]), events)
aggregates: st.SearchStrategy[Value] = st.one_of(
    st.builds(Aggregate, st.just(AggregateFunction.COUNT), events),
    st.builds(Aggregate, st.sampled_from([f for f in AggregateFunction if f.of_property]), events, names),
    st.builds(Aggregate, st.just(AggregateFunction.FAVOURITE), events, names, st.none() | names),
    times,
    st.builds(DaysSinceEvent, times),
)
leaves: st.SearchStrategy[Value] = st.one_of(
    scalars.map(Constant), names.map(FieldValue), names.map(Age), names.map(DaysSince), aggregates
)
values = st.recursive(
    leaves,
    lambda below: st.one_of(
        st.builds(Arithmetic, st.sampled_from(ArithmeticOperator), below, below), st.builds(Negative, below)
    ),
    max_leaves=4,
)
predicates: st.SearchStrategy[Expression] = st.one_of(
    st.just(Everyone()),
    st.just(Nobody()),
    st.just(Unfinished()),
    st.builds(HasTags, names, st.sampled_from(TagMode), st.lists(names, max_size=3).map(tuple), st.booleans()),
    st.builds(IsSet, names),
    st.builds(Comparison, values, st.sampled_from(Operator), values),
    st.builds(Comparison, values, st.sampled_from([Operator.EQ, Operator.NE]), values, st.just(True)),
    st.builds(Between, values, values, values),
    st.builds(In, values, st.lists(scalars, max_size=3).map(tuple), st.booleans()),
    st.builds(TextMatch, names, st.sampled_from(_SEARCHES), st.text(max_size=5), st.booleans()),
    st.builds(TextMatch, names, st.just(TextOperator.LIKE), st.text(max_size=5).map("/{}".format), st.booleans()),
    st.builds(InWindow, names, windows),
    st.builds(Anniversary, names, windows),
    st.builds(OnChannel, st.sampled_from(Channel), st.sampled_from(ChannelState)),
    st.builds(Became, names, st.text(max_size=5) | st.booleans(), windows),
    st.builds(Tagged, names, st.text(max_size=5), windows),
    st.builds(BandIs, names, st.lists(st.text(max_size=5), max_size=3).map(tuple)),
    st.builds(Crossed, names, scalars.filter(lambda s: isinstance(s, Decimal)), windows),
    st.builds(Did, events),
    st.builds(Never, events),
    st.builds(Only, events, st.none() | filters),
    st.builds(EventHas, times, filters),
    st.builds(HasValue, aggregates.filter(lambda value: isinstance(value, Aggregate))),
    st.builds(TimeInWindow, times, windows),
)
trees = st.recursive(predicates, groups, max_leaves=12)


def through_bytes(expression: Expression) -> Expression:
    message = pb.Expression()
    wire.write_expression(expression, message)
    return wire.read_expression(decode(pb.Expression, message.SerializeToString()))


@settings(max_examples=300, deadline=None)
@given(trees)
def test_every_expression_survives(tree: Expression) -> None:
    assert through_bytes(tree) == tree


def test_names_of_kinds_are_names_in_paths() -> None:
    kinds = {f.name for f in pb.Expression.DESCRIPTOR.oneofs_by_name["kind"].fields}
    assert kinds == set(NODE_NAMES.values())


def test_every_enum_value_is_known_both_ways() -> None:
    tables = {
        "ComparisonOperator": (enums.OPERATORS, Operator),
        "TagMode": (enums.TAG_MODES, TagMode),
        "TextOperator": (enums.TEXT_OPERATORS, TextOperator),
        "ChannelState": (enums.CHANNEL_STATES, ChannelState),
        "ArithmeticOperator": (enums.ARITHMETIC_OPERATORS, ArithmeticOperator),
        "AggregateFunction": (wire_events.FUNCTIONS, AggregateFunction),
        "TimeUnit": (wire_windows.UNITS, Unit),
        "RollingDirection": (wire_windows.DIRECTIONS, Direction),
        "CalendarPosition": (wire_windows.POSITIONS, CalendarPosition),
    }
    types = dict(pb.DESCRIPTOR.enum_types_by_name)
    assert set(tables) == set(types)
    types["Channel"] = values_pb2.DESCRIPTOR.enum_types_by_name["Channel"]
    for name, (table, enum) in {**tables, "Channel": (wire_values.CHANNELS, Channel)}.items():
        assert set(table) == {v.number for v in types[name].values} - {0}
        assert set(table.values()) == set(enum)


def read(text: str) -> Expression:
    from google.protobuf import text_format

    return wire.read_expression(text_format.Parse(text, pb.Expression()))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unfinished {}",
        "negation {}",
        "has_tags {}",
        'has_tags { field: "tags" tags: "a" }',
        'has_tags { mode: TAG_MODE_ANY tags: "a" }',
        "is_set {}",
        "comparison {}",
        'comparison { left { field: "a" } operator: COMPARISON_OPERATOR_EQUAL }',
        'comparison { left { field: "a" } right { field: "b" } }',
        'comparison { left { field: "" } operator: COMPARISON_OPERATOR_EQUAL right { field: "b" } }',
        'comparison { left { age: "" } operator: COMPARISON_OPERATOR_EQUAL right { field: "b" } }',
        'comparison { left { field: "a" } operator: COMPARISON_OPERATOR_EQUAL right { constant {} } }',
        'between { value { field: "a" } low { field: "b" } high { constant { decimal_value: "" } } }',
        'comparison { left { field: "a" } operator: COMPARISON_OPERATOR_EQUAL right { arithmetic { left { field: "a" } '
        "operator: ARITHMETIC_OPERATOR_ADD } } }",
        'comparison { left { field: "a" } operator: COMPARISON_OPERATOR_EQUAL right { arithmetic { left { field: "a" } '
        'right { field: "a" } } } }',
        'comparison { left { field: "a" } operator: COMPARISON_OPERATOR_EQUAL right { negative {} } }',
        'between { value { field: "a" } low { field: "b" } }',
        'in { options { string_value: "a" } }',
        'in { value { field: "a" } options {} }',
        'text_match { field: "a" operator: TEXT_OPERATOR_CONTAINS }',
        'text_match { field: "a" pattern: "x" }',
        'in_window { field: "a" }',
        "in_window { window { all_time {} } }",
        'in_window { field: "a" window {} }',
        'in_window { field: "a" window { rolling { count: 1 unit: TIME_UNIT_DAY } } }',
        'in_window { field: "a" window { rolling { direction: ROLLING_DIRECTION_LAST unit: TIME_UNIT_DAY } } }',
        'in_window { field: "a" window { older_than { count: 1 } } }',
        'in_window { field: "a" window { ago { far: 2 unit: TIME_UNIT_DAY } } }',
        'in_window { field: "a" window { calendar { unit: TIME_UNIT_DAY } } }',
        'in_window { field: "a" window { absolute {} } }',
        'anniversary { field: "a" }',
        "at_least { operands { everyone {} } }",
        "on_channel {}",
        "on_channel { channel: CHANNEL_EMAIL }",
        "on_channel { state: CHANNEL_STATE_REACHABLE }",
    ],
)
def test_what_is_not_filled_in_is_unfinished(text: str) -> None:
    found = read(text)
    assert found == (Not(Unfinished()) if text.startswith("negation") else Unfinished())
    with pytest.raises(errors.UnfinishedExpression):
        check(found)


def test_empty_lists_are_left_to_the_check() -> None:
    assert read("conjunction {}") == And(())
    assert read('in { value { field: "a" } }') == In(FieldValue("a"), ())


def test_an_empty_pattern_and_an_empty_string_are_values() -> None:
    assert read('text_match { field: "a" operator: TEXT_OPERATOR_CONTAINS pattern: "" }') == TextMatch(
        "a", TextOperator.CONTAINS, ""
    )
    text = (
        'comparison { left { field: "a" } operator: COMPARISON_OPERATOR_EQUAL right { constant { string_value: "" } } }'
    )
    assert read(text) == Comparison(FieldValue("a"), Operator.EQ, Constant(""))


def test_a_calendar_window_counts_one_unless_told() -> None:
    window = read(
        'in_window { field: "a" window { calendar { position: CALENDAR_POSITION_THIS unit: TIME_UNIT_MONTH } } }'
    )
    assert window == InWindow("a", Calendar(CalendarPosition.THIS, Unit.MONTH))


@pytest.mark.parametrize(
    ("text", "error", "path"),
    [
        ("at_least { count: 0 }", errors.InvalidExpression, "at_least"),
        (
            'in_window { field: "a" window { older_than { count: 0 unit: TIME_UNIT_DAY } } }',
            errors.InvalidExpression,
            "in_window",
        ),
        ('has_tags { field: "tags" mode: 99 tags: "a" }', errors.InvalidExpression, "has_tags"),
        ("on_channel { channel: CHANNEL_SMS state: 99 }", errors.InvalidExpression, "on_channel"),
        ("on_channel { channel: 99 state: CHANNEL_STATE_REACHABLE }", errors.InvalidExpression, "on_channel"),
        ('in { value { field: "a" } options { decimal_value: "1_0" } }', errors.InvalidValue, "in"),
        ('in { value { field: "a" } options { decimal_value: "NaN" } }', errors.InvalidValue, "in"),
        ('in { value { field: "a" } options { decimal_value: "1e99999" } }', errors.InvalidValue, "in"),
        (
            'in { value { field: "a" } options { date_value { year: 2026 month: 2 day: 29 } } }',
            errors.InvalidValue,
            "in",
        ),
        ('in { value { field: "a" } options { timestamp_value { nanos: 1 } } }', errors.InvalidValue, "in"),
        (
            'in { value { field: "a" } options { timestamp_value { seconds: 999999999999 } } }',
            errors.InvalidValue,
            "in",
        ),
    ],
)
def test_what_is_wrong_names_its_node(text: str, error: type[errors.SegidxError], path: str) -> None:
    with pytest.raises(error) as caught:
        read(f"conjunction {{ operands {{ everyone {{}} }} operands {{ {text} }} }}")
    assert type(caught.value) is error
    assert caught.value.path == f"expression.conjunction.operands[1].{path}"


def test_a_kind_from_the_future_is_refused_not_skipped() -> None:
    future = b"\xf2\x03\x00"  # field 62, length 0
    message = pb.Expression(negation=pb.Expression.FromString(future))
    with pytest.raises(errors.InvalidExpression, match="newer") as caught:
        wire.read_expression(message)
    assert caught.value.path == "expression.negation"
    value = pb.Value.FromString(future)
    with pytest.raises(errors.InvalidExpression, match="newer"):
        wire.read_expression(
            pb.Expression(comparison=pb.Comparison(left=value, operator=pb.COMPARISON_OPERATOR_EQUAL, right=value))
        )


def nested(kind: type[And] | type[Not], depth: int) -> Expression:
    node: Expression = IsSet("a")
    for _ in range(depth - 1):
        node = Not(node) if kind is Not else And((node,))
    return node


@pytest.mark.parametrize("kind", [And, Not])
def test_the_deepest_expression_passes_and_one_level_more_does_not(kind: type) -> None:
    assert through_bytes(nested(kind, MAX_DEPTH)) == nested(kind, MAX_DEPTH)
    with pytest.raises(errors.ExpressionTooDeep) as by_check:
        check(nested(kind, MAX_DEPTH + 1))
    with pytest.raises(errors.ExpressionTooDeep) as written:
        wire.write_expression(nested(kind, MAX_DEPTH + 1), pb.Expression())
    assert written.value.path == by_check.value.path


def test_arithmetic_counts_as_depth() -> None:
    value: Value = FieldValue("a")
    for _ in range(MAX_DEPTH - 1):
        value = Negative(value)
    deepest = Comparison(value, Operator.EQ, Constant(1))
    message = pb.Expression()
    wire.write_expression(deepest, message)
    assert wire.read_expression(message) == deepest
    check(deepest)
    message.comparison.left.CopyFrom(pb.Value(negative=message.comparison.left))
    with pytest.raises(errors.ExpressionTooDeep):
        wire.read_expression(message)
    with pytest.raises(errors.ExpressionTooDeep):
        wire.write_expression(Comparison(Negative(value), Operator.EQ, Constant(1)), pb.Expression())


def test_a_wide_message_is_left_early() -> None:
    message = pb.Expression()
    for _ in range(MAX_NODES):
        message.conjunction.operands.add().everyone.SetInParent()
    with pytest.raises(errors.ExpressionTooLarge):
        wire.read_expression(message)
    tags = HasTags("tags", TagMode.ANY, tuple(map(str, range(MAX_NODES + 1))))
    with pytest.raises(errors.ExpressionTooLarge):
        wire.write_expression(tags, pb.Expression())


def test_instants_and_dates_of_absolute_windows_stay_apart() -> None:
    day = InWindow("a", Absolute(date(2026, 1, 1), None))
    instant = InWindow("a", Absolute(datetime(2026, 1, 1, tzinfo=UTC), None))
    assert through_bytes(day) == day
    assert through_bytes(instant) == instant
    assert through_bytes(day) != through_bytes(instant)
    epoch = InWindow("a", Absolute(datetime(1970, 1, 1, tzinfo=UTC), None))
    assert through_bytes(epoch) == epoch
