"""`parse(format_expression(e)) == e` for expressions of every kind, and what parse counts is what check counts."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal

from hypothesis import example, given
from hypothesis import strategies as st

from segidx.model.errors import (
    EmptyOperands,
    ExpressionSyntaxError,
    ExpressionTooDeep,
    ExpressionTooLarge,
    UnfinishedExpression,
)
from segidx.model.expression import (
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
    Overdue,
    Sequence,
    Step,
    Tagged,
    TagMode,
    TextMatch,
    TextOperator,
    TimeInWindow,
    Unfinished,
    check,
)
from segidx.model.expression.tree import values_of, with_filters
from segidx.model.syntax import RESERVED, format_expression, parse
from segidx.model.values import Age, Arithmetic, ArithmeticOperator, Constant, DaysSince, FieldValue, Negative, Scalar
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

parse("everyone")  # compiles the grammar, which no example's deadline should pay for

_CHARACTERS = st.characters(codec="utf-8")
_NASTY = st.sampled_from(
    [
        '"',
        "\\",
        "\\n",
        "\n",
        "\r\n",
        "\0",
        "😀",
        "e\u0301",
        "\u2028",
        "\u202e",
        "`",
        "#",
        "\\u00e9",
        "\x7f",
        "\u017f",
        "\u212b",
    ]
)
strings = st.lists(_NASTY | st.text(_CHARACTERS, max_size=5), max_size=4).map("".join)
_SEARCHES = tuple(operator for operator in TextOperator if operator is not TextOperator.LIKE)
names = st.one_of(
    st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True),
    st.sampled_from(
        [
            *RESERVED,
            "Total Sales",
            "AND",
            "Everyone",
            "count",
            "last",
            "s",
            "1st",
            "",
            " ",
            "`",
            "``",
            "İn",
            "\u017fet",
            "a.b",
        ]
    ),
    strings,
)
numbers = st.one_of(
    st.integers(-(10**18), 10**18).map(Decimal),
    st.builds(
        lambda sign, digits, exponent: Decimal((sign, tuple(digits), exponent)),
        st.integers(0, 1),
        st.lists(st.integers(0, 9), min_size=1, max_size=40),
        st.integers(-40, 40),
    ),
)
instants = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_000), timezones=st.just(UTC)).map(
    lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000)
)
scalars: st.SearchStrategy[Scalar] = st.one_of(strings, numbers, st.booleans(), st.dates(), instants)

counts = st.integers(1, 100_000)
units = st.sampled_from(Unit)


def _ordered(kind: st.SearchStrategy) -> st.SearchStrategy[Absolute]:  # type: ignore[type-arg]
    return st.lists(kind, min_size=2, max_size=2, unique=True).map(lambda ends: Absolute(*sorted(ends)))


windows: st.SearchStrategy[Window] = st.one_of(
    st.builds(Rolling, st.sampled_from(Direction), counts, units),
    st.builds(OlderThan, counts, units),
    st.builds(
        lambda near, more, unit: Ago(near + more, near, unit), st.integers(0, 50_000), st.integers(1, 50_000), units
    ),
    st.builds(
        Calendar,
        st.sampled_from([CalendarPosition.LAST, CalendarPosition.NEXT]),
        st.sampled_from([u for u in Unit if u.is_calendar]),
        counts | st.just(1),
    ),
    st.builds(Calendar, st.just(CalendarPosition.THIS), st.sampled_from([u for u in Unit if u.is_calendar])),
    _ordered(st.dates()),
    _ordered(instants),
    st.builds(Absolute, st.dates() | instants, st.none()),
    st.builds(Absolute, st.none(), st.dates() | instants),
    st.just(AllTime()),
)

lists = st.lists(scalars, max_size=4).map(tuple)

# Filters of events: what `check` lets them be, and lists and operands that an editor has not completed.
_filter_values = st.builds(Constant, scalars) | st.builds(FieldValue, names)
_filter_leaves: st.SearchStrategy[Expression] = st.one_of(
    st.just(Unfinished()),
    st.builds(IsSet, names),
    st.builds(Comparison, _filter_values, st.sampled_from(Operator), _filter_values),
    st.builds(Comparison, _filter_values, st.sampled_from([Operator.EQ, Operator.NE]), _filter_values, st.just(True)),
    st.builds(Between, _filter_values, _filter_values, _filter_values),
    st.builds(In, _filter_values, lists, st.booleans()),
    st.builds(TextMatch, names, st.sampled_from(_SEARCHES), strings, st.booleans()),
    st.builds(TextMatch, names, st.just(TextOperator.LIKE), strings.map("/{}".format), st.booleans()),
).filter(lambda leaf: sum(isinstance(v, FieldValue) for v in values_of(leaf)) < 2)


def _nodes(below: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    operands = st.lists(below, max_size=4).map(tuple)
    return st.one_of(
        st.builds(And, operands),
        st.builds(Or, operands),
        st.builds(Not, below),
        st.builds(AtLeast, st.integers(1, 10_000), operands),
    )


_filters = st.recursive(_filter_leaves, _nodes, max_leaves=4)
filters: st.SearchStrategy[Expression] = st.deferred(lambda: _filters)
events = st.builds(Events, st.sampled_from(["order", "line"]), st.none() | filters, windows | st.just(AllTime()))
of_property = [f for f in AggregateFunction if f.of_property]
times = st.builds(Aggregate, st.sampled_from([f for f in AggregateFunction if f.is_time]), events)
of_events = [AggregateFunction.COUNT, *(f for f in AggregateFunction if f.of_gaps)]
aggregates = st.builds(Aggregate, st.sampled_from(of_events), events) | st.builds(
    Aggregate, st.sampled_from(of_property), events, names
)
favourites = st.builds(Aggregate, st.just(AggregateFunction.FAVOURITE), events, names, st.none() | names)


steps = st.builds(Events, st.sampled_from(["order", "line", "no"]), st.none() | filters)
within = st.sampled_from([1, 59, 60, 3600, 7200, 86_400, 100_001, 604_800, 60_480_000_000]) | st.integers(1, 10**8)
lengths = within.map(lambda seconds: seconds * 1000)
later = st.builds(Step, steps, st.none() | lengths)
absent = st.builds(Step, steps, lengths, st.just(True))
sequences = st.builds(
    lambda first, more, last, window: Sequence((Step(first), *more, last), window),
    steps,
    st.lists(later, max_size=3),
    later | absent,
    windows | st.just(AllTime()),
)


def _values(below: st.SearchStrategy) -> st.SearchStrategy:  # type: ignore[type-arg]
    return st.builds(Arithmetic, st.sampled_from(ArithmeticOperator), below, below) | st.builds(Negative, below)


leaf_values = st.one_of(
    st.builds(Constant, scalars),
    st.builds(FieldValue, names),
    st.builds(Age, names),
    st.builds(DaysSince, names),
    aggregates,
    favourites,
    times,
    st.builds(DaysSinceEvent, times),
)
values = st.recursive(leaf_values, _values, max_leaves=6)

predicates: st.SearchStrategy[Expression] = st.one_of(
    st.sampled_from([Everyone(), Nobody(), Unfinished()]),
    st.builds(HasTags, names, st.sampled_from(TagMode), st.lists(strings, max_size=3).map(tuple), st.booleans()),
    st.builds(IsSet, names),
    st.builds(Comparison, values, st.sampled_from(Operator), values),
    st.builds(Comparison, values, st.sampled_from([Operator.EQ, Operator.NE]), values, st.just(True)),
    st.builds(Between, values, values, values),
    st.builds(In, values, lists, st.booleans()),
    st.builds(TextMatch, names, st.sampled_from(_SEARCHES), strings, st.booleans()),
    st.builds(TextMatch, names, st.just(TextOperator.LIKE), strings.map("/{}".format), st.booleans()),
    st.builds(InWindow, names, windows),
    st.builds(Anniversary, names, windows),
    st.builds(Became, names, strings | st.booleans(), windows),
    st.builds(Tagged, st.just("tags") | names, strings, windows),
    st.builds(BandIs, names, st.lists(strings, max_size=3).map(tuple)),
    st.builds(Crossed, names, scalars.filter(lambda s: isinstance(s, Decimal)), windows),
    st.builds(Did, events),
    st.builds(Never, events),
    st.builds(Only, events, st.none() | filters),
    st.builds(EventHas, times, filters),
    st.builds(HasValue, aggregates | favourites | times),
    st.builds(TimeInWindow, times, windows),
    st.builds(TimeInWindow, st.builds(Aggregate, st.just(AggregateFunction.EXPECTED), events), windows),
    st.builds(Overdue, events),
    sequences,
    st.builds(OnChannel, st.sampled_from(Channel), st.sampled_from(ChannelState)),
)


expressions = st.recursive(predicates, _nodes, max_leaves=12)


@given(expressions)
@example(Comparison(Constant(Decimal("1E+5")), Operator.EQ, Negative(Constant(Decimal("-0")))))
@example(InWindow("a", Absolute(date.min, date.max)))
@example(Comparison(Negative(Negative(FieldValue("a"))), Operator.LT, Constant(datetime(1, 1, 1, tzinfo=UTC))))
@example(In(FieldValue("``"), (True, Decimal(1), False, Decimal(0))))
def test_text_reads_back(expression: Expression) -> None:
    text = format_expression(expression)
    again = parse(text)
    assert again == expression
    assert format_expression(again) == text


_QUOTED = re.compile(r'("(?:[^"\\]|\\.)*"|`(?:[^`]|``)*`)')


@given(expressions)
def test_spacing_and_comments_do_not_matter(expression: Expression) -> None:
    text = format_expression(expression)
    pieces = []
    for i, part in enumerate(_QUOTED.split(text)):
        pieces.append(part if i % 2 else part.replace(" ", "\n\t # x\n ").replace("(", "( "))
    assert parse("".join(pieces)) == expression


@given(expressions, st.integers(1, 8), st.integers(1, 20))
def test_limits_are_those_of_check(expression: Expression, max_depth: int, max_nodes: int) -> None:
    text = format_expression(expression)
    try:
        parse(text, max_depth=max_depth, max_nodes=max_nodes)
        accepted = True
    except (ExpressionTooDeep, ExpressionTooLarge):
        accepted = False
    assert accepted == _within(expression, max_depth, max_nodes)


def _within(expression: Expression, max_depth: int, max_nodes: int) -> bool:
    """Whether the limits hold, for check stops at the first fault of any kind."""
    try:
        check(_filled(expression), max_depth=max_depth, max_nodes=max_nodes)
    except (ExpressionTooDeep, ExpressionTooLarge):
        return False
    except (EmptyOperands, UnfinishedExpression) as error:
        raise AssertionError from error
    return True


def _filled(node: Expression) -> Expression:
    """The expression with something of size one in place of what check refuses for other reasons."""
    match node:
        case Unfinished() | And(operands=()) | Or(operands=()) | AtLeast(operands=()):
            return IsSet("a")
        case And() | Or():
            return type(node)(tuple(map(_filled, node.operands)))
        case AtLeast():
            return AtLeast(node.count, tuple(map(_filled, node.operands)))
        case Not():
            return Not(_filled(node.operand))
        case In(options=()):
            return _filled(In(node.value, ("a",)))
        case HasTags(tags=()):
            return HasTags(node.field, node.mode, ("a",))
        case BandIs(labels=()):
            return BandIs(node.name, ("a",))
    return with_filters(node, lambda where, _: _filled(where))


_BITS = [
    *'ab1 ()"`\\-.,=<+#\n',
    "\u017f",
    "İ",
    "\0",
    *("did(", "sum(", "count(order", "line.a", "last(", "only(order", ").time", "days_since(", " among "),
    *("sequence(order", " then ", " no ", " within 2 days", "overdue(", "expected(", "1 s"),
    *(f" {word} " for word in ("and", "in", "not", "last", "has", "any", "of", "where", "during", "today", "order")),
]


@given(st.lists(st.sampled_from(_BITS), max_size=20).map("".join))
def test_any_text_parses_or_is_a_syntax_error(text: str) -> None:
    try:
        expression = parse(text)
    except ExpressionSyntaxError as error:
        line, column = error.line, error.column
    else:
        assert parse(format_expression(expression)) == expression
        return
    lines = text.split("\n")
    assert 1 <= line <= len(lines)
    assert 1 <= column <= len(lines[line - 1]) + 1
