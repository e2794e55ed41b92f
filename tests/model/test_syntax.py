"""What text means, node by node, and which errors it gives where."""

import logging
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from pathlib import Path

import pytest
from lark import Lark

from segidx.model import syntax
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
    Did,
    EventHas,
    Events,
    Everyone,
    Expression,
    HasTags,
    In,
    InWindow,
    IsSet,
    Never,
    Nobody,
    Not,
    OnChannel,
    Operator,
    Or,
    Tagged,
    TagMode,
    TextMatch,
    TextOperator,
    Unfinished,
    check,
    events,
    field,
    lines,
    on_channel,
    orders,
    sequence,
    tags,
    then,
    then_no,
)
from segidx.model.syntax import RESERVED, format_expression, format_value, format_window, parse
from segidx.model.values import Age, Arithmetic, ArithmeticOperator, Constant, DaysSince, FieldValue, Negative, Value
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

A, B, C = (Comparison(FieldValue(name), Operator.EQ, Constant(True)) for name in "ABC")
PAID = field("paid") == True  # noqa: E712
MONTH = Rolling(Direction.LAST, 1, Unit.MONTH)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def value(text: str) -> Value:
    comparison = parse(f"{text} = 0")
    assert isinstance(comparison, Comparison)
    return comparison.left


def window(text: str) -> Window:
    node = parse(f"signup {text}")
    assert isinstance(node, InWindow)
    assert node.field == "signup"
    return node.window


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("A and B and C", And((A, B, C))),
        ("A or B or C", Or((A, B, C))),
        ("A and B or C", Or((And((A, B)), C))),
        ("A or B and C", Or((A, And((B, C))))),
        ("(A and B) and C", And((And((A, B)), C))),
        ("A and (B and C)", And((A, And((B, C))))),
        ("not A and B", And((Not(A), B))),
        ("not (A and B)", Not(And((A, B)))),
        ("not not A", Not(Not(A))),
        ("((((A))))", A),
        ("NOT A AnD B", And((Not(A), B))),
        ("all of (A)", And((A,))),
        ("any of (A)", Or((A,))),
        ("all of (A, B)", And((A, B))),
        ("all of ()", And(())),
        ("any of ()", Or(())),
        ("at least 2 of (A, B or C, not C)", AtLeast(2, (A, Or((B, C)), Not(C)))),
        ("at least 1 of ()", AtLeast(1, ())),
        ("everyone", Everyone()),
        ("nobody or ...", Or((Nobody(), Unfinished()))),
        ("A # comment\n# another\nand B#", And((A, B))),
        ("\ufeffA", A),
        ('tags has "vip"', tags().has("vip")),
        ('tags has ci "vip"', tags().has("vip", ci=True)),
        ('tags has any ("a", "b")', tags().has("a", "b")),
        ('tags has any ci ("a")', tags().has("a", ci=True)),
        ('tags has all ("a")', tags().has_all("a")),
        ('tags has all ci ("a", "b")', tags().has_all("a", "b", ci=True)),
        ('tags has none ("a")', tags().has_none("a")),
        ("tags has any ()", HasTags("tags", TagMode.ANY, ())),
        ("income is set", IsSet("income")),
        ("income is not set", Not(IsSet("income"))),
        ("score between 10 and 20 and A", And((field("score").between(10, 20), A))),
        ("score between low + 1 and 2 * low", Between(FieldValue("score"), value("low + 1"), value("2 * low"))),
        ('country in ("DE", "CZ")', field("country").isin(["DE", "CZ"])),
        ('country in ci ("DE")', field("country").isin(["DE"], ci=True)),
        ('country not in ("DE")', Not(field("country").isin(["DE"]))),
        ('country not in ci ("DE")', Not(field("country").isin(["DE"], ci=True))),
        ('x in (-5, 2.50, true, 2026-01-31, "a")', field("x").isin([-5, Decimal("2.5"), True, date(2026, 1, 31), "a"])),
        ("x in ()", In(FieldValue("x"), ())),
        ('email contains "@"', TextMatch("email", TextOperator.CONTAINS, "@")),
        ('email starts with ci "a"', TextMatch("email", TextOperator.STARTS_WITH, "a", ci=True)),
        ('email ends with "a"', TextMatch("email", TextOperator.ENDS_WITH, "a")),
        ('email matches ci "^a"', TextMatch("email", TextOperator.MATCHES, "^a", ci=True)),
        ('page like "/a/**"', TextMatch("page", TextOperator.LIKE, "/a/**")),
        ('page like ci "**"', field("page").like("**", ci=True)),
        ('country = ci "pl"', field("country").equals("pl", ci=True)),
        ('country != ci "pl"', Comparison(FieldValue("country"), Operator.NE, Constant("pl"), ci=True)),
        ("signup before 2026-01-31", field("signup") < date(2026, 1, 31)),
        ("signup after 2026-01-31T12:00:00Z", field("signup") > NOON),
        ("signup before renewal", Comparison(FieldValue("signup"), Operator.LT, FieldValue("renewal"))),
        ("(A)", A),
        ("(score) > 1", field("score") > 1),
        ("signup not in last 3 days", Not(InWindow("signup", Rolling(Direction.LAST, 3, Unit.DAY)))),
        ('a became "x"', Became("a", "x")),
        ('`A b` BECAME "x" in last 3 days', Became("A b", "x", Rolling(Direction.LAST, 3, Unit.DAY))),
        ("a became TRUE older than 1 year", Became("a", True, OlderThan(1, Unit.YEAR))),
        ("a became false during last 3 days", field("a").became(False, Rolling(Direction.LAST, 3, Unit.DAY))),
        ('not a became "x" in all time', Not(Became("a", "x"))),
        ('tagged "vip"', tags().tagged("vip")),
        ('TAGGED "vip" in last 3 days or A', Or((Tagged("tags", "vip", Rolling(Direction.LAST, 3, Unit.DAY)), A))),
        ('band(spend) = "100-500"', BandIs("spend", ("100-500",))),
        ('band ( `top` ) != "a"', Not(BandIs("top", ("a",)))),
        ('BAND(spend) in ("a", "b") and A', And((BandIs("spend", ("a", "b")), A))),
        ('band(spend) not in ("a")', Not(BandIs("spend", ("a",)))),
        ("band(spend) in ()", BandIs("spend", ())),
        ("crossed(spend, 500)", Crossed("spend", Decimal(500))),
        (
            "CROSSED(spend, -0.50) in last 3 days",
            Crossed("spend", Decimal("-0.5"), Rolling(Direction.LAST, 3, Unit.DAY)),
        ),
        (
            "crossed(spend, 5) from 2026-01-31 or A",
            Or((Crossed("spend", Decimal(5), Absolute(date(2026, 1, 31), None)), A)),
        ),
        ("band = true and crossed", And((field("band") == True, field("crossed") == True))),  # noqa: E712
        ('interests tagged "vip" from 2026-01-31', Tagged("interests", "vip", Absolute(date(2026, 1, 31), None))),
        ('`tagged` tagged "vip"', tags("tagged").tagged("vip")),
        ('`became` became "x" and A', And((Became("became", "x"), A))),
        ("anniversary of b in next 7 days", Anniversary("b", Rolling(Direction.NEXT, 7, Unit.DAY))),
        ("anniversary of b older than 7 days", Anniversary("b", OlderThan(7, Unit.DAY))),
        ("age(b) >= 18", Comparison(Age("b"), Operator.GE, Constant(Decimal(18)))),
        ("AGE (b) >= 18", Comparison(Age("b"), Operator.GE, Constant(Decimal(18)))),
        ("days_since(`Sign Up`) > 60", Comparison(DaysSince("Sign Up"), Operator.GT, Constant(Decimal(60)))),
        ("(a + b) * 2 > 3", Comparison(value("(a + b) * 2"), Operator.GT, Constant(Decimal(3)))),
        ("(a = 1 or b = 2)", Or((field("a") == 1, field("b") == 2))),
        ('reachable("email")', on_channel("email").reachable()),
        ('SUPPRESSED ( "sms" )', on_channel("sms").suppressed()),
        ('consented("web\\u005fpush")', on_channel("web_push").consented()),
        ('not unsubscribed(("ads")) and A', And((Not(on_channel("ads").unsubscribed()), A))),
        (
            'hard_bounced("email") or complained("email")',
            on_channel("email").hard_bounced() | on_channel("email").complained(),
        ),
    ],
)
def test_meaning(text: str, expression: Expression) -> None:
    assert parse(text) == expression
    assert parse(format_expression(expression)) == expression


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("did(order)", Did(Events("order"))),
        ("NEVER ( Line )", Never(Events("line"))),
        ("did # x(\n (order)", orders().did()),
        (
            "count(order) >= 3",
            Comparison(Aggregate(AggregateFunction.COUNT, Events("order")), Operator.GE, Constant(Decimal(3))),
        ),
        (
            'count(order where amount > 300 and source = "email" during last 1 month) >= 1',
            orders().where((field("amount") > 300) & (field("source") == "email")).during(MONTH).count() >= 1,
        ),
        (
            'sum(line.amount where producer = "69" during last 6 months) > 300',
            lines().where(field("producer") == "69").during(Rolling(Direction.LAST, 6, Unit.MONTH)).sum("amount") > 300,
        ),
        (
            'did(order where paid and not source in ("email", "direct"))',
            orders().where(PAID & ~field("source").isin(["email", "direct"])).did(),
        ),
        (
            "count(order during last 90 days) < 0.5 * count(order during 180 to 90 days ago)",
            orders().during(Rolling(Direction.LAST, 90, Unit.DAY)).count()
            < Decimal("0.5") * orders().during(Ago(180, 90, Unit.DAY)).count(),
        ),
        ('never(line where product = "Q")', lines().where(field("product") == "Q").never()),
        (
            "did(order where amount between 10 and 20 from 2026-01-01 to 2026-02-01)",
            orders().where(field("amount").between(10, 20)).during(Absolute(date(2026, 1, 1), date(2026, 2, 1))).did(),
        ),
        ("did(order where paid during last 1 month)", orders().where(PAID).during(MONTH).did()),
        ("did(order where (paid) during last 1 month)", orders().where(PAID).during(MONTH).did()),
        ("did(order where paid or paid and paid)", orders().where(PAID | And((PAID, PAID))).did()),
        ("did(order where not (paid or paid))", orders().where(~(PAID | PAID)).did()),
        ("did(order where ...)", orders().where(Unfinished()).did()),
        ("did(order where all of ())", orders().where(And(())).did()),
        ("did(order where any of (paid))", orders().where(Or((PAID,))).did()),
        ("did(order where at least 2 of (paid, ...))", orders().where(AtLeast(2, (PAID, Unfinished()))).did()),
        (
            "did(order where -5 <= `a b`)",
            Did(Events("order", Comparison(Constant(Decimal(-5)), Operator.LE, FieldValue("a b")))),
        ),
        ("did(visit where dwell >= 1.5 minutes)", events("visit").where(field("dwell") >= 90).did()),
        (
            "did(visit where 60 s < dwell)",
            Did(Events("visit", Comparison(Constant(60), Operator.LT, FieldValue("dwell")))),
        ),
        ('never(DownLoad where file like "/a")', events("download").where(field("file").like("/a")).never()),
        (
            "did(activity where done before 2026-01-31)",
            events("activity").where(field("done") < date(2026, 1, 31)).did(),
        ),
        ("did(line where quantity != -1)", lines().where(field("quantity") != -1).did()),
        ("did(line where quantity in (-1, 2))", lines().where(field("quantity").isin([-1, 2])).did()),
        ('did(line where product.brand = "a")', lines().where(field("product.brand") == "a").did()),
        ('did(line where product . `a b` = ci "a")', lines().where(field("product.a b").equals("a", ci=True)).did()),
        ("did(line where product.`in` is not set)", lines().where(~field("product.in").is_set()).did()),
        ('did(line where `product.brand` > "a")', lines().where(field("product.brand") > "a").did()),
        ("did(line where product is not set)", lines().where(~field("product").is_set()).did()),
        ('did(line where product = ci "q")', lines().where(field("product").equals("q", ci=True)).did()),
        ('did(line where product in ci ("q"))', lines().where(field("product").isin(["q"], ci=True)).did()),
        ('did(line where product not in ci ("q"))', lines().where(~field("product").isin(["q"], ci=True)).did()),
        ('did(line where product starts with ci "q")', lines().where(field("product").starts_with("q", ci=True)).did()),
        (
            'did(line where product matches "q" older than 3 days)',
            Did(Events("line", field("product").matches("q"), OlderThan(3, Unit.DAY))),
        ),
        ("sum(line.`unit price`) > 1", lines().sum("unit price") > 1),
        (
            "distinct(line.product where amount > 3 during last 1 month) < 3",
            lines().where(field("amount") > 3).during(MONTH).distinct("product") < 3,
        ),
        (
            "distinct_days(visit where paid = true) = 7",
            events("visit").where(field("paid") == True).distinct_days() == 7,  # noqa: E712
        ),
        (
            "sequence(visit where paid = true then order within 48 h during last 1 month)",
            sequence(events("visit").where(PAID), then(orders(), within=timedelta(days=2)), during=MONTH),
        ),
        (
            "Sequence ( cart THEN visit then no order where amount > 3 within 90 s )",
            sequence(
                events("cart"),
                events("visit"),
                then_no(orders().where(field("amount") > 3), within=timedelta(seconds=90)),
            ),
        ),
        (
            "sequence(no then no no within 1 week older than 3 days)",
            sequence(events("no"), then_no(events("no"), within=timedelta(days=7)), during=OlderThan(3, Unit.DAY)),
        ),
        ("sequence(no then no within 1 min)", sequence(events("no"), then(events("no"), within=timedelta(minutes=1)))),
        ("mean_gap(order in last 1 month) < 30", orders().during(MONTH).mean_gap() < 30),
        (
            "gap_deviation(order) <= 0.5 * mean_gap(visit)",
            orders().gap_deviation() <= events("visit").mean_gap().__rmul__(Decimal("0.5")),
        ),
        ("expected(order where paid) before 2026-01-01", orders().where(PAID).expected_time() < date(2026, 1, 1)),
        ("overdue(order during last 1 month)", orders().during(MONTH).overdue()),
        ("did(order where month = 12)", orders().where(field("month") == 12).did()),
        (
            "overdue > 2 and sequence = 3 and no = 1",
            And((field("overdue") > 2, field("sequence") == 3, field("no") == 1)),
        ),
        ('first(order) has source = "email"', orders().first().has(field("source") == "email")),
        (
            'LAST ( Line where producer = "69" during last 1 month ) HAS (amount > 10 and not product = "Q")',
            lines()
            .where(field("producer") == "69")
            .during(MONTH)
            .last()
            .has((field("amount") > 10) & ~(field("product") == "Q")),
        ),
        ("first(order) has paid and vip", And((orders().first().has(PAID), field("vip") == True))),  # noqa: E712
        ("first(order) has (paid and source is set)", orders().first().has(PAID & field("source").is_set())),
        ("first(order) has not paid or vip", Or((orders().first().has(~PAID), field("vip") == True))),  # noqa: E712
        ("not last(order) has not (paid or paid)", ~orders().last().has(~(PAID | PAID))),
        ("first(order) has not not paid", orders().first().has(~~PAID)),
        (
            "first(order) has amount between 1 and 2 and paid",
            And((orders().first().has(field("amount").between(1, 2)), PAID)),
        ),
        (
            'first(order) has "a" = source',
            EventHas(
                Aggregate(AggregateFunction.FIRST, Events("order")),
                Comparison(Constant("a"), Operator.EQ, FieldValue("source")),
            ),
        ),
        ("last(visit) has at least 2 of (paid, ...)", events("visit").last().has(AtLeast(2, (PAID, Unfinished())))),
        ("last(visit) has all of (paid)", events("visit").last().has(And((PAID,)))),
        ("last(visit) has any of ()", events("visit").last().has(Or(()))),
        ("last(visit) has ...", events("visit").last().has(Unfinished())),
        ("last(visit) has dwell >= 1.5 minutes", events("visit").last().has(field("dwell") >= 90)),
        (
            'favourite(line.category during last 1 month) = "books"',
            lines().during(MONTH).favourite("category") == "books",
        ),
        (
            'Favourite(line.`by` BY `where` where producer = "69") not in ci ("a", "b")',
            ~lines().where(field("producer") == "69").favourite("by", by="where").isin(["a", "b"], ci=True),
        ),
        ("favourite(visit.source) is set", events("visit").favourite("source").is_set()),
        ("favourite(visit.source) is not set", ~events("visit").favourite("source").is_set()),
        ("last(order).time is set", orders().last_time().is_set()),
        ("last(order).time in last 1 month", orders().last_time().in_window(MONTH)),
        ("first(order where paid).time during last 1 month", orders().where(PAID).first_time().in_window(MONTH)),
        ("last(order).time not in last 1 month", ~orders().last_time().in_window(MONTH)),
        (
            "expected(visit during last 1 month) in last 1 month",
            events("visit").during(MONTH).expected_time().in_window(MONTH),
        ),
        ("first(order).time older than 2 days", orders().first_time().in_window(OlderThan(2, Unit.DAY))),
        ("favourite > 3 and first is set", And((field("favourite") > 3, IsSet("first")))),
        ("distinct(order.source) > distinct_days(order)", orders().distinct("source") > orders().distinct_days()),
        (
            "count(visit where hour between 9 and 17 and weekday in (6, 7) and dwell > 7200) >= 3",
            events("visit")
            .where(field("hour").between(9, 17) & field("weekday").isin([6, 7]) & (field("dwell") > 7200))
            .count()
            >= 3,
        ),
        ("-sum(line.amount) + score > 1", -lines().sum("amount") + field("score") > 1),
        ("count(order) in (1, 2)", orders().count().isin([1, 2])),
        ("count(order) between sum(line.quantity) and 9", orders().count().between(lines().sum("quantity"), 9)),
        ("count > sum", field("count") > field("sum")),
        ("order = line and did is set", And((field("order") == field("line"), IsSet("did")))),
    ],
)
def test_meaning_of_events(text: str, expression: Expression) -> None:
    assert parse(text) == expression
    assert parse(format_expression(expression)) == expression


@pytest.mark.parametrize(
    ("text", "expected", "canonical"),
    [
        ("during last 90 days", Rolling(Direction.LAST, 90, Unit.DAY), None),
        ("during next 60 s", Rolling(Direction.NEXT, 60, Unit.SECOND), "during next 60 seconds"),
        ("older than 1 year", OlderThan(1, Unit.YEAR), None),
        ("during 180 to 90 days ago", Ago(180, 90, Unit.DAY), None),
        ("during last 3 whole months", Calendar(CalendarPosition.LAST, Unit.MONTH, 3), None),
        ("during this week", Calendar(CalendarPosition.THIS, Unit.WEEK), None),
        ("during yesterday", Calendar(CalendarPosition.LAST, Unit.DAY), None),
        ("from 2026-01-01", Absolute(date(2026, 1, 1), None), None),
        ("until 2026-01-31T12:00:00Z", Absolute(None, NOON), None),
        (
            "from 2026-01-01 to 2026-02-01",
            Absolute(date(2026, 1, 1), date(2026, 2, 1)),
            "during 2026-01-01 to 2026-02-01",
        ),
    ],
)
def test_windows_of_events(text: str, expected: Window, canonical: str | None) -> None:
    for where in (None, PAID, field("amount") > 3, field("source").isin(["a"])):
        node = Did(Events("order", where, expected))
        filtered = "" if where is None else f" where {format_expression(where)}"
        assert parse(f"did(order{filtered} {text})") == node
        assert format_expression(node) == f"did(order{filtered} {canonical or text})"
    if text.startswith("during"):
        assert parse(f"did(order in{text.removeprefix('during')})") == Did(Events("order", window=expected))
    assert parse("did(order during all time)") == Did(Events("order"))
    assert format_expression(Did(Events("order", None, AllTime()))) == "did(order)"


@pytest.mark.parametrize("state", ChannelState)
def test_states_of_channels(state: ChannelState) -> None:
    for channel in Channel:
        text = f'{state.value}("{channel.value}")'
        assert parse(text) == OnChannel(channel, state)
        assert format_expression(OnChannel(channel, state)) == text
    # Without a parenthesis the word is a field.
    assert parse(f"{state.value} and {state.value} > 3") == And(
        (field(state.value) == True, field(state.value) > 3)  # noqa: E712
    )
    assert format_expression(field(state.value) > 3) == f"{state.value} > 3"


@pytest.mark.parametrize("operator", Operator)
def test_comparison_operators(operator: Operator) -> None:
    assert parse(f"a{operator.value}3") == Comparison(FieldValue("a"), operator, Constant(Decimal(3)))


def test_value_structure() -> None:
    a, b, five = FieldValue("a"), FieldValue("b"), Constant(Decimal(5))
    add, sub, mul, div = (ArithmeticOperator(sign) for sign in "+-*/")
    assert value("a - b - 5") == Arithmetic(sub, Arithmetic(sub, a, b), five)
    assert value("a - (b - 5)") == Arithmetic(sub, a, Arithmetic(sub, b, five))
    assert value("a + b * 5") == Arithmetic(add, a, Arithmetic(mul, b, five))
    assert value("(a + b) / 5") == Arithmetic(div, Arithmetic(add, a, b), five)
    assert value("-5") == Constant(Decimal(-5))
    assert value("-(5)") == Negative(five)
    assert value("- -5") == Negative(Constant(Decimal(-5)))
    assert value("-a * b") == Arithmetic(mul, Negative(a), b)
    assert value("-(a * b)") == Negative(Arithmetic(mul, a, b))
    assert value("a-5") == Arithmetic(sub, a, five)
    assert value("a - -5") == Arithmetic(sub, a, Constant(Decimal(-5)))
    assert format_value(value("((a - (b - 5))) * -(5)")) == "(a - (b - 5)) * -(5)"


@pytest.mark.parametrize(
    ("text", "constant"),
    [
        ("5", Decimal(5)),
        ("-0.050", Decimal("-0.05")),
        ("1.5e3", Decimal(1500)),
        ("1E-7", Decimal("0.0000001")),
        ("true", True),
        ("FALSE", False),
        ("2026-01-31", date(2026, 1, 31)),
        ("0001-01-01", date(1, 1, 1)),
        ("9999-12-31", date(9999, 12, 31)),
        ("2026-01-31T12:00:00Z", NOON),
        ("2026-01-31t12:00z", NOON),
        ("2026-01-31T14:00:00+02:00", NOON),
        ("2026-01-31T12:00:00.5Z", NOON + timedelta(milliseconds=500)),
        ("2026-01-31T12:00:00.123000-00:00", NOON + timedelta(milliseconds=123)),
        ('""', ""),
        (r'"\"\\\/\n\t\u0000\uD83D\uDE00"', '"\\/\n\t\0😀'),
        ('"a\tb # no comment"', "a\tb # no comment"),
        ('"e\u0301"', "é"),
    ],
)
def test_constants(text: str, constant: object) -> None:
    node = value(text)
    assert node == Constant(constant)  # type: ignore[arg-type]
    assert value(format_value(node)) == node


def test_true_is_not_one() -> None:
    assert parse("a = true") != parse("a = 1")
    assert parse("a in (true)") != parse("a in (1)")


def test_long_numbers_are_exact_whatever_the_decimal_context() -> None:
    digits = "1234567890123456789012345678901234567.891"
    with localcontext(prec=5):
        assert value(f"-{digits}") == Constant(Decimal(f"-{digits}"))
        assert str(value(f"-{digits}").value) == f"-{digits}"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "expected", "canonical"),
    [
        ("in last 90 days", Rolling(Direction.LAST, 90, Unit.DAY), None),
        ("in last 1 day", Rolling(Direction.LAST, 1, Unit.DAY), None),
        ("during next 60 s", Rolling(Direction.NEXT, 60, Unit.SECOND), "in next 60 seconds"),
        ("in last 5min", Rolling(Direction.LAST, 5, Unit.MINUTE), "in last 5 minutes"),
        ("in last 2 h", Rolling(Direction.LAST, 2, Unit.HOUR), "in last 2 hours"),
        ("older than 1 year", OlderThan(1, Unit.YEAR), None),
        ("in 180 to 90 days ago", Ago(180, 90, Unit.DAY), None),
        ("in 2 to 1 weeks ago", Ago(2, 1, Unit.WEEK), "in 2 to 1 week ago"),
        ("in 3 to 0 months ago", Ago(3, 0, Unit.MONTH), None),
        ("in last 3 whole months", Calendar(CalendarPosition.LAST, Unit.MONTH, 3), None),
        ("in next whole year", Calendar(CalendarPosition.NEXT, Unit.YEAR), "in next 1 whole year"),
        ("in this week", Calendar(CalendarPosition.THIS, Unit.WEEK), None),
        ("in this day", Calendar(CalendarPosition.THIS, Unit.DAY), "in today"),
        ("in last whole day", Calendar(CalendarPosition.LAST, Unit.DAY), "in yesterday"),
        ("in tomorrow", Calendar(CalendarPosition.NEXT, Unit.DAY), None),
        ("in next 2 whole days", Calendar(CalendarPosition.NEXT, Unit.DAY, 2), None),
        ("in 2026-01-01 to 2026-02-01", Absolute(date(2026, 1, 1), date(2026, 2, 1)), None),
        ("from 2026-01-01 to 2026-02-01", Absolute(date(2026, 1, 1), date(2026, 2, 1)), "in 2026-01-01 to 2026-02-01"),
        ("from 2026-01-01", Absolute(date(2026, 1, 1), None), None),
        ("until 2026-01-31T12:00:00Z", Absolute(None, NOON), None),
        ("in all time", AllTime(), None),
    ],
)
def test_windows(text: str, expected: Window, canonical: str | None) -> None:
    assert window(text) == expected
    assert format_window(expected) == (canonical or text)


def test_names() -> None:
    for name in (
        "last",
        "first",
        "count",
        "sum",
        "did",
        "order",
        "line",
        "day",
        "days",
        "set",
        "today",
        "least",
        "of",
        "to",
        "s",
        "min",
        "a1",
        "Żółć",
    ):
        assert parse(f"{name} = 1") == (field(name) == 1)
        assert format_expression(field(name) == 1) == f"{name} = 1"
    for word in RESERVED:
        assert format_expression(field(word) == 1) == f"`{word}` = 1"
        for text in (f"{word} > a + 1", f"{word.upper()} is set"):
            if word in ("true", "false") and "is set" not in text:
                continue  # a constant may be compared
            with pytest.raises(ExpressionSyntaxError):
                parse(text)
    assert parse("`a``b` is set") == IsSet("a`b")
    assert parse("andy = 1 and nothing = 2") == And((field("andy") == 1, field("nothing") == 2))


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 1, 1, "the text is empty"),
        ("# only a comment", 1, 1, "ends too early"),
        ("a and\n  and b", 2, 3, "found 'and'"),
        ("a =", 1, 4, "ends too early"),
        ("a = b = c", 1, 7, "found '='"),
        ("a = 1\nor\tb >> 3", 2, 7, "found '>'"),
        ('x = "a\\qb"', 1, 7, "\\q is not an escape"),
        ('x = "\\ud800"', 1, 5, "not valid UTF-8"),
        ('x = "a\nb"', 1, 5, "does not end on its line"),
        ("`abc = 3", 1, 1, "no closing backtick"),
        ("x = “a”", 1, 5, "straight double quotes"),
        ("a && b", 1, 3, "write 'and'"),
        ("a\x00", 1, 2, "'\\x00'"),
        ("5", 1, 1, "a value, not a condition"),
        ("A and (B or -x)", 1, 13, "a value, not a condition"),
        ("true", 1, 1, "write everyone or nobody"),
        ("not 5", 1, 5, "a value, not a condition"),
        ("at least 1 of (A, 5)", 1, 19, "a value, not a condition"),
        ("x > (a = 1)", 1, 6, "a condition, not a value"),
        ("-(A or B) > 1", 1, 3, "a condition, not a value"),
        ("everyone + 1 > 1", 1, 1, "a condition, not a value"),
        ("age(b + 1) > 1", 1, 5, "age(...) takes a field"),
        ("a + 1 is set", 1, 1, "'is set' needs a field"),
        ('age(b) has "x"', 1, 1, "'has' needs a field"),
        ("age(b) in last 3 days", 1, 1, "a window of time needs a field"),
        ('(A or B) contains "x"', 1, 2, "'contains' needs a field on its left, not a condition"),
        ("A and x in last 100001 days", 1, 17, "a window's length"),
        ("x in last 1.5 days", 1, 11, "not a whole number"),
        ("x in 2026-02-01 to 2026-01-01", 1, 6, "cannot end at"),
        ("x in 2026-02-01 to 2026-02-01T00:00:00Z", 1, 6, "both be dates or both be instants"),
        ("at least 0 of (A)", 1, 10, "the count must be"),
        ("x = 2026-02-29", 1, 5, "not in the calendar"),
        ("x = 2026-01-31T25:00:00Z", 1, 5, "not in the calendar"),
        ("x = 2026-01-31T12:00:00", 1, 5, "no time zone"),
        ("x = 2026-01-31T12:00:00.0001Z", 1, 5, "finer than a millisecond"),
        ("x = 2026-01-31T12:00:00+2", 1, 5, "nor an instant"),
        ("x = 0001-01-01T00:00:00+02:00", 1, 5, "out of range"),
        ("x = " + "9" * 41, 1, 5, "more than 40 digits"),
        ("x = " + "9" * 100_000, 1, 5, "too long"),
        ("x = 1e99999999999999999999", 1, 5, "out of range"),
        (
            "A and share(line.product) > 3",
            1,
            7,
            "'share(' is refused: of events, this version has did, never, only",
        ),
        ("days_since(last(order).time) > 3", 1, 12, "takes a field, or first(...) or last(...) of events, not a"),
        (
            "days_since(5) > 3",
            1,
            12,
            "days_since(...) takes a field, or first(...) or last(...) of events, not a constant",
        ),
        ("age(last(order)) > 3", 1, 5, "age(...) takes a field, not a calculated value"),
        (
            "days_since(last(order where 1 > 2) + 1) > 3",
            1,
            12,
            "last(...) is an event; ask for its time, last(...).time",
        ),
        ("A and first(order) > 2026-01-01", 1, 7, "first(...) is an event; ask for its time, first(...).time"),
        ("LAST(order)", 1, 1, "last(...) is an event; ask for its time, last(...).time, for days_since(last(...)), or"),
        ("first(order) is set", 1, 1, "first(...) is an event; ask for its time"),
        ('first(order) has "vip"', 1, 1, "or what it is like, such as first(...) has paid"),
        ('first(order) has any ("vip")', 1, 1, "or what it is like, such as first(...) has paid"),
        (
            *("last(order).amount > 3", 1, 13),
            "found 'amount' (what the event is like is asked with 'has', such as last(...) has paid); expected 'time'",
        ),
        ("count(order).time > 3", 1, 13, "found '.' ('.time' stands only directly behind first(...) or last(...)"),
        ("A and\nsignup . TIME > 3", 2, 8, "found '.' ('.time' stands only directly behind first(...)"),
        ("(first(order)).time > 2026-01-01", 1, 15, "found '.' ('.time' stands only directly behind first(...)"),
        ("count(order).amount > 3", 1, 13, "found '.'; expected"),
        ("first(order) has", 1, 17, "the expression ends too early; expected a field name"),
        ("first(order) has 3", 1, 19, "the expression ends too early; expected a comparison"),
        ("first(order) has (3)", 1, 19, "this is a value, not a condition"),
        ("first(order) has paid during last 3 days", 1, 23, "found 'during'"),
        ("first(order) has amount * 2 > 3", 1, 25, "found '*'"),
        ("first(order) has count(line) > 1", 1, 18, "'count' has no place in a filter of events"),
        ("first(order) has favourite(line.a) = 3", 1, 18, "'favourite' has no place in a filter of events"),
        ("-first(order) has paid", 1, 2, "first(...) is an event; ask for its time"),
        ("first(order) has paid + 3 > 4", 1, 23, "found '+'"),
        ("count(order) has paid", 1, 18, "a condition stands behind first(...) or last(...)"),
        ("last(order).time has paid", 1, 22, "a condition stands behind first(...) or last(...)"),
        ("A and\nscore has amount > 3", 2, 11, "'has' wants tags, strings in double quotes"),
        ("first(order has paid)", 1, 13, "found 'has'"),
        ("favourite(line) = 3", 1, 11, "this wants a property of the events"),
        ("sequence(order)", 1, 15, "found ')'; expected 'then'"),
        ("sequence(order then)", 1, 20, "found ')'; expected an event type such as 'order', 'no'"),
        ("sequence(a within 1 day then b)", 1, 1, "the first step of a sequence has no 'within'"),
        ("sequence(a then no b)", 1, 20, "'then no' wants a 'within'"),
        ("sequence(no a within 1 h then b)", 1, 1, "only the last step of a sequence may be 'then no'"),
        ("sequence(a then b within 0 s)", 1, 17, "from 1 second to 100000 weeks in whole seconds, not 0 ms"),
        ("sequence(a then b within 1 year)", 1, 28, "a year has no fixed length"),
        ("sequence(a then b within 1.5 h)", 1, 26, "1.5 is not a whole number"),
        ("sequence(a then b in last 3 days)", 1, 19, "found 'in'"),
        ("sequence(" + " then ".join("a" * 17) + ")", 1, 1, "a sequence has 2 to 16 steps, not 17"),
        ("did(order where sequence(a then b))", 1, 17, "'sequence' has no place in a filter of events"),
        ("mean_gap(order.amount) > 1", 1, 15, "found '.'"),
        ("A and expected(order)", 1, 7, "this is a value, not a condition"),
        ("overdue(order) = 3", 1, 1, "this is a condition, not a value"),
        ("favourite(line.category by) = 3", 1, 27, "found ')'; expected a field name"),
        ("favourite(line.category where paid by amount)", 1, 36, "found 'by'"),
        ("sum(line.category by amount) > 3", 1, 19, "found 'by'"),
        ("A and favourite(line.category)", 1, 7, "this is a value, not a condition"),
        ("min(order) > 3", 1, 5, "this wants a property of the events, such as order.amount"),
        ("only(order among a among b)", 1, 20, "found 'among'"),
        ("only(order among a where b)", 1, 20, "found 'where'"),
        ("only(order where only(line))", 1, 18, "'only' has no place in a filter of events"),
        ("did(order among a)", 1, 11, "found 'among'"),
        ("only(order where paid) > 3", 1, 1, "this is a condition, not a value"),
        ("never(zażółć during last 60 days)", 1, 7, "'zażółć' is no name of an event type, such as 'order'"),
        ("A and\ncount(_visit where url is set) > 3", 2, 7, "'_visit' is no name of an event type"),
        ("count(visit.dwell) > 3", 1, 12, "found '.'"),
        ("sum(message) > 3", 1, 5, "this wants a property of the events, such as order.amount"),
        ("sum(amount where x = 1) > 3", 1, 5, "this wants a property of the events, such as order.amount"),
        ("count(" + "x" * 10_000 + ") > 3", 1, 7, "'xxx"),
        ("sum(" + "x" * 10_000 + ") > 3", 1, 5, "this wants a property"),
        ("count() > 3", 1, 7, "found ')'; expected an event type such as 'order'"),
        ("count(where A) > 3", 1, 7, "found 'where'; expected an event type such as 'order'"),
        ('count("order") > 3', 1, 7, 'found the string "order"'),
        ("A or sum(line where x >> 3) > 3", 1, 10, "this wants a property of the events, such as line.amount"),
        ("distinct(order) > 3", 1, 10, "this wants a property of the events, such as order.amount"),
        ("distinct_days(order.source) > 3", 1, 20, "found '.'"),
        ("did(order where distinct_days(line) > 3)", 1, 17, "'distinct_days' has no place in a filter of events"),
        ("distinct(order.source)", 1, 1, "a value, not a condition"),
        ("sum(order) > 3", 1, 5, "this wants a property of the events, such as order.amount"),
        ("did(line where producer.x = 1)", 1, 24, "found '.'"),
        ("did(line where Product.x = 1)", 1, 23, "found '.'"),
        ("did(line where product.in = 1)", 1, 24, "found 'in', a reserved word"),
        ("did(line where product. = 1)", 1, 25, "found '='; expected a field name"),
        ("did(line where product.a.b = 1)", 1, 25, "found '.'"),
        ("sum(line.) > 3", 1, 10, "found ')'; expected a field name"),
        ("count(line.amount) > 3", 1, 11, "found '.'"),
        ("did(order, line)", 1, 10, "found ','"),
        ("did(order and paid)", 1, 11, "found 'and'"),
        ("did(order where)", 1, 16, "found ')'"),
        ("did(order where paid", 1, 21, "ends too early"),
        ("did(order where amount * 2 > 3)", 1, 24, "found '*'"),
        ("did(order where amount > 2 + 3)", 1, 28, "found '+'"),
        ('did(order where tags has "x")', 1, 22, "found 'has'"),
        ("did(order where age(birthday) > 3)", 1, 17, "'age' has no place in a filter of events"),
        ("did(order where paid and\n not did(line))", 2, 6, "'did' has no place in a filter of events"),
        ("did(order where 3 < count(line))", 1, 21, "'count' has no place in a filter of events"),
        ("did(order where sum(line.amount) > 3)", 1, 17, "'sum' has no place in a filter of events"),
        ("did(order where everyone)", 1, 17, "'everyone' has no place in a filter of events"),
        ("did(order where anniversary of x in today)", 1, 17, "'anniversary' has no place in a filter of events"),
        ("did(order where paid in last 3 days)", 1, 25, "the window of the events begins with 'during'"),
        ("did(order where amount > 3 in last 3 days)", 1, 28, "found 'in'; expected 'and', 'or', ')', 'during'"),
        ("did(order where paid during last 3 days and paid)", 1, 41, "found 'and'"),
        ("did(order where (paid during last 3 days))", 1, 23, "found 'during'"),
        ("did(order during last 3 days where paid)", 1, 30, "found 'where'"),
        ("did(order during last month)", 1, 23, "found 'month'"),
        ("did(order during last 0 days)", 1, 23, "a window's length"),
        ("did(order where 5)", 1, 17, "a value, not a condition"),
        ("did(order where (paid = true) > 3)", 1, 18, "a condition, not a value"),
        ('did(order where source like "x")', 1, 29, "the pattern of 'like' is one of the path of a url"),
        ("did(visit where dwell >= 60 days)", 1, 29, "expected"),
        ("count(order)", 1, 1, "a value, not a condition"),
        ("A and not sum(line.amount)", 1, 11, "a value, not a condition"),
        ("did(order) >= 1", 1, 1, "a condition, not a value"),
        ("1 + never(order) > 3", 1, 5, "a condition, not a value"),
        ("count(order) + 1 is set", 1, 1, "'is set' needs a field on its left, not a calculated value"),
        ("age(count(order)) > 3", 1, 5, "age(...) takes a field, not a calculated value"),
        ("\u017fum(line) > 3", 1, 5, "this wants a property of the events"),
        ('A or segment "x"', 1, 6, "'segment' is refused"),
        ("tagged", 1, 7, "the expression ends too early; expected a string"),
        ("a tagged 3", 1, 10, "expected a string"),
        ('age(a) tagged "x"', 1, 1, "'tagged' needs a field on its left, not a calculated value"),
        ('a + 1 became "x"', 1, 1, "'became' needs a field on its left, not a calculated value"),
        ('a became ("x", "y")', 1, 10, "found '('; expected a string, true or false"),
        ('a became "x" during last month', 1, 26, "found 'month'"),
        ('a became "x" > 3', 1, 14, "found '>'"),
        ('-tagged "x"', 1, 2, "found 'tagged'"),
        ('did(order where tagged "vip")', 1, 17, "'tagged' has no place in a filter of events"),
        ("top 100 by sum(x)", 1, 1, "'top' is refused"),
        ('did(order where source became "x")', 1, 24, "'became' has no place in a filter of events"),
        ('gain(score("lead")) < 0', 1, 1, "scores are not available"),
        ("foo(x) > 1", 1, 1, "there is no function 'foo('"),
        ("age(x)", 1, 1, "a value, not a condition"),
        ('A and reachable("email") > 3', 1, 7, "a condition, not a value"),
        ('x = reachable("email")', 1, 5, "a condition, not a value"),
        ('-reachable("email") > 3', 1, 2, "a condition, not a value"),
        ('reachable("email") in ("a")', 1, 1, "a condition, not a value"),
        ('reachable("email") is set', 1, 1, "'is set' needs a field on its left, not a condition"),
        ('age(reachable("email")) > 3', 1, 5, "age(...) takes a field, not a condition"),
        ('reachable("fax")', 1, 11, "there is no channel 'fax'; the channels are email, sms, web_push, ads"),
        ('A or\nreachable("Email")', 2, 11, "there is no channel 'Email'"),
        ('reachable("' + "x" * 10_000 + '")', 1, 11, "there is no channel 'xxx"),
        ("reachable(email)", 1, 11, 'takes a channel in double quotes: "email", "sms", "web_push", "ads"'),
        ("suppressed(A = 1)", 1, 12, "suppressed(...) takes a channel in double quotes"),
        ("suppressed(3)", 1, 12, "suppressed(...) takes a channel in double quotes"),
        ('reachable("email", "sms")', 1, 18, "found ','"),
        ("reachable()", 1, 11, "found ')'"),
    ],
)
def test_errors_name_the_place(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(ExpressionSyntaxError) as caught:
        parse(text)
    error = caught.value
    assert (error.line, error.column) == (line, column)
    assert message in str(error)
    assert str(error).startswith(f"line {line}, column {column}: ")
    assert error.reason == "EXPRESSION_SYNTAX"
    assert len(str(error)) < 600


def test_lone_surrogates_are_refused_at_their_place() -> None:
    with pytest.raises(ExpressionSyntaxError, match="line 2, column 5: the text is not valid UTF-8"):
        parse('a\n= "é\ud800"')


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted"),
    [
        ("a and ", {"a field name", "a string", "a number", "'('", "'not'"}, {"'and'", "an arithmetic operator"}),
        ("a = 1 b", {"'and'", "'or'", "the end of the text"}, {"a field name", "a comparison such as '='"}),
        ("a b", {"'in'", "'has'", "'between'", "'contains'", "'became'", "'tagged'"}, {"'top'"}),
        ("did(order where a b", {"'in'", "'between'"}, {"'became'", "'tagged'"}),
        ("a became ", {"a string", "true or false"}, {"a number"}),
        ("a is", {"'not'", "'set'"}, {"'in'"}),
        ("x in last 3", {"a unit of time such as 'days'", "'whole'"}, {"a number"}),
        ("x in (", {"a string", "')'"}, {"a field name"}),
        ("x in (1", {"','", "')'"}, {"a number"}),
        ("count(order 3", {"'where'", "'during'", "'in'", "'from'", "')'"}, {"'.' and a property", "'and'"}),
        ("count(order) 3", {"a comparison such as '='", "'in'"}, {"'where'", "'during' of events"}),
        ("sum(line 3", {"'.' and a property"}, {"'and'"}),
        ("did(order where ", {"a field name", "a number", "'('", "'not'"}, {"'everyone'", "'sum'"}),
        (
            "did(order where paid 3",
            {"'during'", "'until'", "'and'", "'in'", "')'"},
            {"an arithmetic operator", "'has'"},
        ),
        ("did(order where amount > 3 3", {"'during'", "'older'", "'and'", "')'"}, {"'in'", "'where'"}),
    ],
)
def test_expected_names_are_readable(text: str, wanted: set[str], unwanted: set[str]) -> None:
    with pytest.raises(ExpressionSyntaxError) as caught:
        parse(text)
    expected = set(caught.value.expected)
    assert wanted <= expected
    assert not unwanted & expected
    assert not [name for name in expected if name.startswith("'_") or name.isupper()]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("not " * 62 + "a", None),
        ("not " * 63 + "a", None),
        ("not " * 64 + "a", ExpressionTooDeep),
        ("not " * 100_000 + "a", ExpressionTooDeep),
        ("(" * 20_000 + "a" + ")" * 20_000, None),
        ("(" * 20_000, ExpressionSyntaxError),
        ("0 < " + "-" * 100_000 + "a", ExpressionTooDeep),
        ("0 < " + " + ".join("a" * 64), None),
        ("0 < " + " + ".join("a" * 65), ExpressionTooDeep),
        (" and ".join("a" * 9_999), None),
        (" and ".join("a" * 10_000), ExpressionTooLarge),
        ("a in (" + ",".join("1" * 10_000) + ")", None),
        ("a in (" + ",".join("1" * 10_001) + ")", ExpressionTooLarge),
        ("a in (" + ",".join("1" * 200_000) + ")", ExpressionTooLarge),
        ("did(order where " + "not " * 62 + "a)", None),
        ("did(order where " + "not " * 63 + "a)", ExpressionTooDeep),
        ("not " * 62 + "did(order where a)", None),
        ("not " * 63 + "did(order)", None),
        ("not " * 63 + "did(order where a)", ExpressionTooDeep),
        ("0 < " + " + ".join(["count(order where a)"] * 63), None),
        ("0 < " + " + ".join(["count(order where a)"] * 64), ExpressionTooDeep),
        ("did(order where a in (" + ",".join("1" * 9_999) + "))", None),
        ("did(order where a in (" + ",".join("1" * 10_000) + "))", ExpressionTooLarge),
        ("did(order where " + "(" * 20_000 + "a" + ")" * 20_000 + ")", None),
        ('a = "' + "x" * 999_994 + '"', None),
        ('a = "' + "x" * 999_995 + '"', ExpressionTooLarge),
        ('a = "' + "é" * 500_000 + '"', ExpressionTooLarge),
    ],
)
def test_limits(text: str, error: type[Exception] | None) -> None:
    if error is None:
        check(parse(text))
    else:
        with pytest.raises(error) as caught:
            parse(text)
        assert len(str(caught.value)) < 600


def test_limits_are_arguments_and_name_the_place() -> None:
    assert parse("not not a", max_depth=3) == Not(Not(field("a") == True))  # noqa: E712
    with pytest.raises(ExpressionTooDeep, match="line 1, column 1: the expression is deeper than 2"):
        parse("not not a", max_depth=2)
    with pytest.raises(ExpressionTooLarge, match="line 2, column 1: the expression has more than 3 nodes"):
        parse("a or\nb and c and d", max_nodes=3)
    with pytest.raises(ExpressionTooLarge, match="more than 8 bytes"):
        parse("everyone ", max_bytes=8)


def test_what_check_refuses_is_read() -> None:
    with pytest.raises(UnfinishedExpression):
        check(parse("a and ..."))
    for text in ("all of ()", "a in ()", "tags has any ()", "did(order where a in ())", "did(line where any of ())"):
        with pytest.raises(EmptyOperands):
            check(parse(text))


def test_any_depth_is_written() -> None:
    deep: Expression = A
    for _ in range(5000):
        deep = Not(And((deep, B)))
    assert format_expression(deep).count("not (") == 5000


def test_canonical_text_shows_what_cannot_be_seen() -> None:
    assert format_expression(field("a") == "x\n\0\u202e\u2028😀ż") == r'a = "x\n\u0000\u202e\u2028😀ż"'
    offset = datetime(2026, 1, 31, 14, 0, 0, 7000, tzinfo=timezone(timedelta(hours=2)))
    assert format_expression(field("a") > offset) == "a after 2026-01-31T12:00:00.007Z"
    assert format_expression(field("a") == Decimal("1E+5")) == "a = 100000"
    assert format_expression(field("a") == Decimal("1E+40")) == "a = 1E+40"


def test_threads_have_their_own_limits() -> None:
    failures: list[str] = []

    def run(depth: int) -> None:
        for _ in range(20):
            try:
                parse("not " * (depth - 1) + "a", max_depth=depth)
            except ExpressionTooDeep:
                failures.append(f"{depth} refused")
            try:
                parse("not " * depth + "a", max_depth=depth)
                failures.append(f"{depth + 1} accepted")
            except ExpressionTooDeep:
                pass

    threads = [threading.Thread(target=run, args=(depth,)) for depth in (3, 10, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_the_grammar_has_no_conflicts(caplog: pytest.LogCaptureFixture) -> None:
    """lark would resolve them without a word."""
    grammar = Path(syntax.__file__).with_name("grammar.lark").read_text(encoding="utf-8")
    with caplog.at_level(logging.DEBUG, logger="lark"):
        Lark('start: e\ne: e "+" e | "a"', parser="lalr", debug=True)
        assert "conflict" in caplog.text
        caplog.clear()
        Lark(grammar.replace("@RESERVED@", "|".join(RESERVED)), parser="lalr", lexer="contextual", debug=True)
        assert "conflict" not in caplog.text


def test_importing_the_syntax_does_not_load_the_parser() -> None:
    code = "import sys, segidx.model.syntax; print('lark' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
