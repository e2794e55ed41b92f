"""The tree: building, limits, paths, unfinished nodes, constants."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from segidx.model.errors import (
    EmptyOperands,
    ExpressionTooDeep,
    ExpressionTooLarge,
    InvalidExpression,
    InvalidValue,
    UnfinishedExpression,
)
from segidx.model.expression import (
    MAX_DEPTH,
    MAX_NODES,
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
    events,
    field,
    filters_of,
    lines,
    on_channel,
    orders,
    skip_unfinished,
    tags,
    walk,
)
from segidx.model.expression.tree import with_filters
from segidx.model.values import Age, Arithmetic, ArithmeticOperator, Constant, FieldValue, Negative, scalar
from segidx.model.windows import AllTime, Direction, Rolling, Unit
from segidx.model.writes import Channel

A, B, C = IsSet("a"), IsSet("b"), IsSet("c")


def test_operators_build_the_tree() -> None:
    assert And((A, B, C)) == (A & B & C)
    assert And((A, And((B, C)))) == (A & (B & C))
    assert Or((A, B, C)) == (A | B | C)
    assert Or((And((A, B)), Not(C))) == (A & B | ~C)
    with pytest.raises(TypeError, match="no truth value"):
        bool(A)
    with pytest.raises(TypeError, match="no truth value"):
        _ = 1 < field("x") < 3  # type: ignore[operator]


def test_builders() -> None:
    x = FieldValue("x")
    assert (field("x") >= 3) == Comparison(x, Operator.GE, Constant(Decimal(3)))
    assert (field("x") != field("y")) == Comparison(x, Operator.NE, FieldValue("y"))
    add, sub, mul, div = (ArithmeticOperator(sign) for sign in "+-*/")
    one = Constant(Decimal(1))
    for built, operator, left, right in (
        (field("x") + 1, add, x, one),
        (1 + field("x"), add, one, x),
        (field("x") - 1, sub, x, one),
        (1 - field("x"), sub, one, x),
        (field("x") * field("x"), mul, x, x),
        (1 * field("x"), mul, one, x),
        (field("x") / 1, div, x, one),
        (1 / field("x"), div, one, x),
    ):
        assert built.value == Arithmetic(operator, left, right)
    assert (-field("x")).value == Negative(x)
    assert tags().has("a", "b") == HasTags("tags", TagMode.ANY, ("a", "b"))
    assert field("x").isin(["a"]) == In(x, ("a",))


@pytest.mark.parametrize("state", ChannelState)
def test_builders_of_channels(state: ChannelState) -> None:
    for channel in Channel:
        for builder in (on_channel(channel), on_channel(channel.value)):
            assert getattr(builder, state.value)() == OnChannel(channel, state)
    with pytest.raises(InvalidExpression, match="'fax'; the channels are email, sms, web_push, ads"):
        on_channel("fax")


def test_builders_of_events() -> None:
    month = Rolling(Direction.LAST, 1, Unit.MONTH)
    paid = Comparison(FieldValue("paid"), Operator.EQ, Constant(True))
    assert orders().events == Events("order", None, AllTime())
    assert lines().did() == Did(Events("line"))
    base = orders().where(field("paid") == True)  # noqa: E712
    assert base.during(month).never() == Never(Events("order", paid, month))
    assert base.where(A).where(B).did() == Did(Events("order", And((paid, A, B))))
    assert base.did() == Did(Events("order", paid))  # builders do not change
    count = Aggregate(AggregateFunction.COUNT, Events("order"))
    total = Aggregate(AggregateFunction.SUM, Events("line"), "amount")
    assert orders().count().value == count
    assert (orders().count() >= 3) == Comparison(count, Operator.GE, Constant(Decimal(3)))
    assert (orders().count() < 3) == Comparison(count, Operator.LT, Constant(Decimal(3)))
    assert (lines().sum("amount") > field("x")) == Comparison(total, Operator.GT, FieldValue("x"))
    assert (field("x") < lines().sum("amount")) == Comparison(FieldValue("x"), Operator.LT, total)
    multiply = ArithmeticOperator.MULTIPLY
    assert (2 * orders().count()).value == Arithmetic(multiply, Constant(Decimal(2)), count)
    assert (field("x").age() * orders().count()).value == Arithmetic(multiply, Age("x"), count)
    assert (-lines().sum("amount")).value == Negative(total)
    assert orders().count().isin([1, 2]) == In(count, (Decimal(1), Decimal(2)))


def test_true_and_one_are_different_constants() -> None:
    assert Constant(True) != Constant(Decimal(1))
    assert Constant(False) != Constant(Decimal(0))
    assert Constant(True) == Constant(True)
    assert Constant(Decimal("1.50")) == Constant(Decimal("1.5"))
    assert hash(Constant(Decimal("1.50"))) == hash(Constant(Decimal("1.5")))
    x = FieldValue("x")
    assert In(x, (True,)) != In(x, (Decimal(1),))
    assert In(x, ("a", Decimal(2))) == In(x, ("a", Decimal("2.0")))
    assert In(x, ("a",)) != In(x, ("a",), ci=True)
    assert len({In(x, (True,)), In(x, (Decimal(1),)), In(x, (Decimal("1.0"),))}) == 2
    assert In(x, ()) != x


@pytest.mark.parametrize(
    ("given_", "normal"),
    [
        (5, Decimal(5)),
        (True, True),
        ("e\u0301", "é"),
        (date(2026, 1, 1), date(2026, 1, 1)),
        (datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_scalars_are_normalised(given_: object, normal: object) -> None:
    result = scalar(given_)
    assert result == normal
    assert type(result) is type(normal)


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        None,
        b"x",
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("-Infinity"),
        Decimal("1E+41"),
        10**40,
        Decimal("1E-41"),
        "\ud800",
        datetime(2026, 1, 1),
        datetime(2026, 1, 1, microsecond=1, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_what_is_no_scalar(value: object) -> None:
    with pytest.raises(InvalidValue) as caught:
        scalar(value)
    assert len(str(caught.value)) < 200


def test_long_numbers_do_not_make_long_messages() -> None:
    with pytest.raises(InvalidValue) as caught:
        scalar(10**4000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "build",
    [
        lambda: AtLeast(0, (A,)),
        lambda: AtLeast(True, (A,)),
        lambda: Comparison(FieldValue("x"), Operator.LT, Constant("a"), ci=True),
        lambda: HasTags("tags", TagMode.ANY, "vip"),  # type: ignore[arg-type]
        lambda: HasTags("tags", TagMode.ANY, (3,)),  # type: ignore[arg-type]
        lambda: In(FieldValue("x"), "abc"),  # type: ignore[arg-type]
        lambda: TextMatch("x", TextOperator.CONTAINS, 3),  # type: ignore[arg-type]
        lambda: OnChannel("email", ChannelState.REACHABLE),  # type: ignore[arg-type]
        lambda: OnChannel(Channel.EMAIL, "reachable"),  # type: ignore[arg-type]
        lambda: on_channel("EMAIL"),
        lambda: on_channel("x" * 10_000),
        lambda: Aggregate(AggregateFunction.COUNT, Events("order"), "amount"),
        lambda: Aggregate(AggregateFunction.SUM, Events("order")),
        lambda: Aggregate(AggregateFunction.FAVOURITE, Events("order")),
        lambda: Aggregate(AggregateFunction.SUM, Events("order"), "amount", "amount"),
        lambda: EventHas(Aggregate(AggregateFunction.COUNT, Events("order")), A),
        lambda: EventHas(Aggregate(AggregateFunction.FIRST, Events("order")), None),  # type: ignore[arg-type]
        lambda: HasValue(FieldValue("x")),  # type: ignore[arg-type]
        lambda: (field("x") + 1).is_set(),
        lambda: TimeInWindow(FieldValue("x"), AllTime()),  # type: ignore[arg-type]
        lambda: TimeInWindow(Aggregate(AggregateFunction.MEAN_GAP, Events("order")), AllTime()),
        lambda: (field("x") + 1).in_window(AllTime()),
        lambda: events("order").count().in_window(AllTime()),
    ],
)
def test_nodes_that_cannot_be(build) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidExpression):
        build()


def test_walk_names_the_paths() -> None:
    tree = And((A, Not(Or((B, C)))))
    assert [(path, depth) for _, path, depth in walk(tree)] == [
        ("expression", 1),
        ("expression.conjunction.operands[0]", 2),
        ("expression.conjunction.operands[1]", 2),
        ("expression.conjunction.operands[1].negation", 3),
        ("expression.conjunction.operands[1].negation.disjunction.operands[0]", 4),
        ("expression.conjunction.operands[1].negation.disjunction.operands[1]", 4),
    ]


def test_filters_of_a_predicate_and_their_paths() -> None:
    one, two, three = (Events("order", where) for where in (A, B, C))
    count = Aggregate(AggregateFunction.COUNT, one)
    total = Aggregate(AggregateFunction.SUM, two, "amount")
    last = Aggregate(AggregateFunction.COUNT, three)
    for node, found in (
        (Did(one), {"events.where": A}),
        (Did(Events("order")), {}),
        (Never(one), {"events.where": A}),
        (Only(one), {"events.where": A}),
        (Only(one, B), {"events.where": A, "that": B}),
        (Only(Events("line"), B), {"that": B}),
        (EventHas(Aggregate(AggregateFunction.FIRST, one), B), {"event.events.where": A, "that": B}),
        (EventHas(Aggregate(AggregateFunction.LAST, Events("line")), B), {"that": B}),
        (HasValue(count), {"value.aggregate.events.where": A}),
        (
            TimeInWindow(Aggregate(AggregateFunction.EXPECTED, two), AllTime()),
            {"value.aggregate.events.where": B},
        ),
        (
            Comparison(Aggregate(AggregateFunction.FAVOURITE, one, "a", "b"), Operator.EQ, Constant("x")),
            {"left.aggregate.events.where": A},
        ),
        (IsSet("a"), {}),
        (And((Did(one),)), {}),
        (In(count, (Decimal(1),)), {"value.aggregate.events.where": A}),
        (
            Comparison(DaysSinceEvent(Aggregate(AggregateFunction.LAST, two)), Operator.LT, Constant(3)),
            {"left.days_since_event.aggregate.events.where": B},
        ),
        (
            Comparison(Negative(count), Operator.LT, Arithmetic(ArithmeticOperator.ADD, total, last)),
            {
                "left.negative.aggregate.events.where": A,
                "right.arithmetic.left.aggregate.events.where": B,
                "right.arithmetic.right.aggregate.events.where": C,
            },
        ),
        (
            Between(count, total, last),
            {"value.aggregate.events.where": A, "low.aggregate.events.where": B, "high.aggregate.events.where": C},
        ),
    ):
        assert {f.place: f.node for f in filters_of(node)} == found
        seen: dict[str, Expression] = {}

        def change(where: Expression, place: str, seen: dict[str, Expression] = seen) -> Expression:
            seen[place] = where
            return IsSet("other")

        changed = with_filters(node, change)
        assert seen == found
        assert {f.place: f.node for f in filters_of(changed)} == dict.fromkeys(found, IsSet("other"))
        assert filters_of(with_filters(node, lambda where, place: None)) == []


def test_what_aggregates_are_made_of() -> None:
    orders = Events("order")
    for function in AggregateFunction:
        wants = function.of_property
        assert Aggregate(function, orders, "amount" if wants else None).function is function
        with pytest.raises(InvalidExpression, match="wants a property" if wants else "takes no property"):
            Aggregate(function, orders, None if wants else "amount")
        if not function.is_time:
            with pytest.raises(InvalidExpression, match="first"):
                DaysSinceEvent(Aggregate(function, orders, "amount" if wants else None))


def nots(depth: int) -> Expression:
    node: Expression = A
    for _ in range(depth - 1):
        node = Not(node)
    return node


def sums(terms: int) -> Comparison:
    value = field("x")
    for _ in range(terms - 1):
        value = value + 1
    return value > 0


def test_limits() -> None:
    check(nots(MAX_DEPTH))
    check(sums(MAX_DEPTH))
    check(And((A,) * (MAX_NODES - 1)))
    check(field("x").isin(range(MAX_NODES)))
    check(tags().has(*map(str, range(MAX_NODES))))
    for deep in (nots(MAX_DEPTH + 1), nots(100_000), sums(MAX_DEPTH + 1), Not(sums(MAX_DEPTH))):
        with pytest.raises(ExpressionTooDeep) as caught:
            check(deep)
        assert caught.value.path.startswith("expression")
    for large in (
        And((A,) * MAX_NODES),
        field("x").isin(range(MAX_NODES + 1)),
        tags().has(*map(str, range(MAX_NODES + 1))),
        And((sums(50),) * (MAX_NODES // 100 + 1)),
    ):
        with pytest.raises(ExpressionTooLarge):
            check(large)


def test_limits_count_filters_of_events() -> None:
    check(orders().where(nots(MAX_DEPTH - 1)).did())
    check(orders().where(nots(MAX_DEPTH - 1)).count() > 3)
    check(orders().where(nots(MAX_DEPTH - 3)).count() * 2 + 1 > 3)
    check(orders().where(And((A,) * (MAX_NODES - 2))).did())
    for deep in (
        orders().where(nots(MAX_DEPTH)).never(),
        ~orders().where(nots(MAX_DEPTH - 1)).did(),
        orders().where(nots(MAX_DEPTH - 2)).count() * 2 + 1 > 3,
        orders().where(nots(100_000)).count() > 3,
    ):
        with pytest.raises(ExpressionTooDeep) as caught:
            check(deep)
        assert ".events.where.negation" in caught.value.path
    for large in (
        orders().where(And((A,) * (MAX_NODES - 1))).did(),
        orders().where(And((A,) * (MAX_NODES - 2))).count() > 3,
        orders().where(field("x").isin(range(MAX_NODES))).did(),
    ):
        with pytest.raises(ExpressionTooLarge):
            check(large)


SUM_OF_FILTERED = "expression.comparison.left.arithmetic.right.aggregate.events.where"


def sum_of(where: Expression) -> Expression:
    return 2 * lines().where(where).sum("amount") > 3


@pytest.mark.parametrize(
    ("tree", "error", "path"),
    [
        (
            Did(Events("order", And((A, Or(()))))),
            EmptyOperands,
            "expression.did.events.where.conjunction.operands[1].disjunction",
        ),
        (
            Not(Never(Events("order", Unfinished()))),
            UnfinishedExpression,
            "expression.negation.never.events.where",
        ),
        (sum_of(In(FieldValue("x"), ())), EmptyOperands, f"{SUM_OF_FILTERED}.in"),
        (sum_of(Unfinished()), UnfinishedExpression, SUM_OF_FILTERED),
        *(
            (
                sum_of(Or((A, Not(other)))),
                InvalidExpression,
                f"{SUM_OF_FILTERED}.disjunction.operands[1].negation.{name}",
            )
            for other, name in (
                (Everyone(), "everyone"),
                (Nobody(), "nobody"),
                (HasTags("x", TagMode.ANY, ("a",)), "has_tags"),
                (InWindow("x", AllTime()), "in_window"),
                (Anniversary("x", AllTime()), "anniversary"),
                (Became("x", "a"), "became"),
                (Tagged("x", "a"), "tagged"),
                (BandIs("x", ("a",)), "band_is"),
                (Crossed("x", Decimal(5)), "crossed"),
                (OnChannel(Channel.EMAIL, ChannelState.REACHABLE), "on_channel"),
                (Did(Events("line")), "did"),
                (Never(Events("line")), "never"),
                (field("x").age() > 3, "comparison"),
                (field("x") + 1 > 3, "comparison"),
                (orders().count() > 3, "comparison"),
                (field("x").between(0, -field("y")), "between"),
                ((field("x") + 1).isin([1]), "in"),
            )
        ),
        (And((A, Or(()))), EmptyOperands, "expression.conjunction.operands[1].disjunction"),
        (Not(AtLeast(1, ())), EmptyOperands, "expression.negation.at_least"),
        (In(FieldValue("x"), ()), EmptyOperands, "expression.in"),
        (HasTags("t", TagMode.ALL, ()), EmptyOperands, "expression.has_tags"),
        (Not(BandIs("b", ())), EmptyOperands, "expression.negation.band_is"),
        (Or((A, Unfinished())), UnfinishedExpression, "expression.disjunction.operands[1]"),
    ],
)
def test_what_check_refuses(tree: Expression, error: type[InvalidExpression], path: str) -> None:
    with pytest.raises(error) as caught:
        check(tree)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("tree", "cleaned", "skipped"),
    [
        (A, A, ()),
        (Unfinished(), Everyone(), ("expression",)),
        (And((A, Unfinished())), And((A,)), ("expression.conjunction.operands[1]",)),
        (Or((Not(Unfinished()), A)), Or((A,)), ("expression.disjunction.operands[0].negation",)),
        (And((Or((Unfinished(),)), A)), And((A,)), ("expression.conjunction.operands[0].disjunction.operands[0]",)),
        (AtLeast(2, (A, Unfinished())), AtLeast(1, (A,)), ("expression.at_least.operands[1]",)),
        (AtLeast(3, (A, B)), AtLeast(3, (A, B)), ()),
        (And((A, In(FieldValue("x"), ()))), And((A,)), ("expression.conjunction.operands[1].in",)),
        (Not(HasTags("t", TagMode.ANY, ())), Everyone(), ("expression.negation.has_tags",)),
        (orders().where(A).did(), orders().where(A).did(), ()),
        (orders().where(Unfinished()).did(), orders().did(), ("expression.did.events.where",)),
        (
            Not(orders().where(And((A, Not(Unfinished())))).never()),
            Not(orders().where(And((A,))).never()),
            ("expression.negation.never.events.where.conjunction.operands[1].negation",),
        ),
        (sum_of(In(FieldValue("x"), ())), 2 * lines().sum("amount") > 3, (f"{SUM_OF_FILTERED}.in",)),
        (
            Comparison(
                orders().where(Unfinished()).count().value, Operator.LT, (-lines().where(Unfinished()).count()).value
            ),
            orders().count() < -lines().count(),
            (
                "expression.comparison.left.aggregate.events.where",
                "expression.comparison.right.negative.aggregate.events.where",
            ),
        ),
    ],
)
def test_unfinished_nodes_are_skipped(tree: Expression, cleaned: Expression, skipped: tuple[str, ...]) -> None:
    assert skip_unfinished(tree) == (cleaned, skipped)


def test_skipping_refuses_what_is_too_deep() -> None:
    with pytest.raises(ExpressionTooDeep):
        skip_unfinished(nots(100_000))
