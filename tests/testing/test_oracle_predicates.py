"""The oracle's answers to every kind of predicate, against truth tables written by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from segidx.model.errors import (
    EmptyOperands,
    InvalidExpression,
    InvalidPattern,
    TypeMismatch,
    UnfinishedExpression,
    UnknownField,
)
from segidx.model.expression import (
    And,
    Anniversary,
    AtLeast,
    Between,
    Comparison,
    Everyone,
    Expression,
    HasTags,
    In,
    InWindow,
    IsSet,
    Nobody,
    Not,
    Operator,
    Or,
    TagMode,
    TextMatch,
    TextOperator,
    Unfinished,
    field,
    on_channel,
    tags,
)
from segidx.model.schema import Field, FieldType, Schema
from segidx.model.values import Age, Arithmetic, ArithmeticOperator, Constant, DaysSince, FieldValue, Negative
from segidx.model.windows import Absolute, AllTime, Direction, OlderThan, Rolling, Unit
from segidx.model.writes import Channel, ChannelFlag
from segidx.testing.oracle import Oracle

NOON = datetime(2024, 6, 15, 12, tzinfo=UTC)

SCHEMA = Schema(
    (
        Field("tags", FieldType.TAGS),
        Field("country", FieldType.CATEGORY),
        Field("city", FieldType.TEXT),
        Field("score", FieldType.NUMBER),
        Field("spend", FieldType.NUMBER, 2),
        Field("consent", FieldType.BOOL),
        Field("birthday", FieldType.DATE),
        Field("renewal", FieldType.DATE),
        Field("signup", FieldType.TIMESTAMP),
        Field("seen", FieldType.TIMESTAMP),
    )
)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


# ann, bob and cid have values; dee has nothing.
ROWS = [
    (
        "ann",
        {
            "tags": {"vip", "Łódź"},
            "country": "PL",
            "city": "Łódź",
            "score": 10,
            "spend": Decimal("19.99"),
            "consent": True,
            "birthday": date(2000, 6, 15),
            "renewal": date(2024, 6, 15),
            "signup": instant("2024-06-14T22:30:00Z"),  # already the 15th in Warsaw
            "seen": instant("2024-06-15T11:00:00Z"),
        },
    ),
    (
        "bob",
        {
            "tags": ["VIP"],
            "country": "pl",
            "city": "Straße",
            "score": 0,
            "spend": Decimal("0.00"),
            "consent": False,
            "birthday": date(2000, 6, 16),
            "renewal": date(2000, 6, 16),
            "signup": instant("2024-06-14T21:59:59.999Z"),  # still the 14th
            "seen": instant("2024-06-14T21:59:59.999Z"),
        },
    ),
    ("cid", {"tags": {"new"}, "country": "DE", "city": "", "score": -3, "spend": Decimal("-3.50")}),
    ("dee", {}),
]


GIVEN, BOUNCED = {ChannelFlag.CONSENT: True}, {ChannelFlag.HARD_BOUNCED: True}
CHANNELS = {
    "ann": {Channel.EMAIL: GIVEN, Channel.SMS: {**GIVEN, ChannelFlag.UNSUBSCRIBED: True}},
    "bob": {Channel.EMAIL: {**GIVEN, **BOUNCED}, Channel.SMS: {**GIVEN, ChannelFlag.COMPLAINED: True}},
    "cid": {Channel.EMAIL: {ChannelFlag.CONSENT: False, ChannelFlag.COMPLAINED: True}, Channel.ADS: GIVEN},
}


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    made = Oracle(SCHEMA, "Europe/Warsaw")
    assert made.upsert(ROWS).rejects == ()
    for contact_id, channels in CHANNELS.items():
        made.set_channels(contact_id, channels)
    return made


SCORE, SPEND = FieldValue("score"), FieldValue("spend")


def number(text: str) -> Constant:
    return Constant(Decimal(text))


def calculate(left: object, operator: str, right: object) -> Arithmetic:
    return Arithmetic(ArithmeticOperator(operator), left, right)  # type: ignore[arg-type]


TABLE: list[tuple[Expression, str]] = [
    # the tree
    (Everyone(), "ann bob cid dee"),
    (Nobody(), ""),
    (Not(Everyone()), ""),
    (And((field("country") == "PL", tags().has("vip"))), "ann"),
    (And((Everyone(),)), "ann bob cid dee"),
    (Or((field("country") == "PL", field("score") == 0)), "ann bob"),
    (AtLeast(2, (field("country") == "PL", tags().has("vip"), field("score") == 0)), "ann"),
    (AtLeast(1, (field("country") == "PL", field("score") == 0)), "ann bob"),
    (AtLeast(3, (Everyone(), Everyone())), ""),
    (AtLeast(2, (field("score") == 0, field("score") == 0)), "bob"),  # a condition given twice counts twice
    # tags
    (HasTags("tags", TagMode.ANY, ("vip", "new")), "ann cid"),
    (HasTags("tags", TagMode.ALL, ("vip", "Łódź")), "ann"),
    (HasTags("tags", TagMode.ALL, ("vip", "new")), ""),
    (HasTags("tags", TagMode.NONE, ("vip", "new")), "bob dee"),
    (HasTags("tags", TagMode.ANY, ("vip",), ci=True), "ann bob"),
    (HasTags("tags", TagMode.ALL, ("vIp", "ŁÓDŹ"), ci=True), "ann"),
    (HasTags("tags", TagMode.NONE, ("viP",), ci=True), "cid dee"),
    (HasTags("tags", TagMode.ANY, ("L\u0301",)), ""),
    (HasTags("tags", TagMode.ANY, ("Ło\u0301dz\u0301",)), "ann"),  # the same after NFC
    # is set; an empty string is a value, no tags is none
    (IsSet("tags"), "ann bob cid"),
    (IsSet("city"), "ann bob cid"),
    (IsSet("consent"), "ann bob"),
    (Not(IsSet("country")), "dee"),
    # channels, each by itself; who has no flags has not consented and is not suppressed
    (on_channel("email").consented(), "ann bob"),
    (on_channel("email").unsubscribed(), ""),
    (on_channel("email").hard_bounced(), "bob"),
    (on_channel("email").complained(), "cid"),
    (on_channel("email").suppressed(), "bob cid"),
    (on_channel("email").reachable(), "ann"),
    (on_channel("sms").unsubscribed(), "ann"),
    (on_channel("sms").suppressed(), "ann bob"),
    (on_channel("sms").reachable(), ""),
    (on_channel("ads").reachable(), "cid"),
    (on_channel("web_push").consented(), ""),
    # strings
    (field("country") == "PL", "ann"),
    (field("country") != "PL", "bob cid dee"),
    (field("country").equals("Pl", ci=True), "ann bob"),
    (Comparison(FieldValue("country"), Operator.NE, Constant("Pl"), ci=True), "cid dee"),
    (field("city").equals("STRASSE", ci=True), "bob"),
    (field("city") == "", "cid"),
    (field("country") < "PL", "cid"),
    (field("country") <= "PL", "ann cid"),
    (field("country") > "PL", "bob"),  # lower case comes after upper case in bytes
    (field("city") >= "T", "ann"),  # Ł is two bytes from C5
    (Comparison(Constant("PL"), Operator.LT, FieldValue("country")), "bob"),
    (Comparison(FieldValue("country"), Operator.LT, FieldValue("city")), "ann"),
    (field("country").isin(["PL", "DE", "FR"]), "ann cid"),
    (field("country").isin(["PL", "de"], ci=True), "ann bob cid"),
    (field("country").between("DE", "PL"), "ann cid"),
    # text
    (field("city").contains("traß"), "bob"),
    (field("city").contains("TRASS", ci=True), "bob"),
    (field("city").contains(""), "ann bob cid"),
    (field("city").starts_with("Łó"), "ann"),
    (field("city").starts_with("łó"), ""),
    (field("city").starts_with("łó", ci=True), "ann"),
    (field("city").ends_with("e"), "bob"),
    (field("city").matches("^.{4}$"), "ann"),
    (field("city").matches("^$"), "cid"),
    (field("city").matches("[b-d]"), "ann"),
    (field("city").matches("^STR", ci=True), "bob"),
    (field("country").matches("P|D"), "ann cid"),
    # numbers
    (field("score") == 0, "bob"),
    (field("score") != 0, "ann cid dee"),
    (field("score") < 10, "bob cid"),
    (field("score") <= 10, "ann bob cid"),
    (field("score") > Decimal("9.5"), "ann"),
    (field("score") >= Decimal("10.0"), "ann"),
    (field("score") == Decimal("0.000000001"), ""),
    (field("score").between(-3, 0), "bob cid"),
    (field("score").between(0, -3), ""),
    (field("score").isin([10, Decimal("-3.0")]), "ann cid"),
    (Comparison(SCORE, Operator.EQ, SPEND), "bob"),  # of different scales, by value
    (Comparison(SCORE, Operator.NE, SPEND), "ann cid dee"),
    (Comparison(SCORE, Operator.GT, SPEND), "cid"),
    (Between(SPEND, number("-5"), SCORE), "bob cid"),
    # arithmetic: exact, missing where a side is, and where the divisor is zero
    (Comparison(calculate(SCORE, "+", SPEND), Operator.EQ, number("29.99")), "ann"),
    (Comparison(calculate(SCORE, "-", SPEND), Operator.EQ, number("0.5")), "cid"),
    (Comparison(calculate(SPEND, "*", number("3")), Operator.EQ, number("59.97")), "ann"),
    (Comparison(calculate(number("30"), "/", SCORE), Operator.EQ, number("3")), "ann"),
    (Comparison(calculate(number("1"), "/", SCORE), Operator.GE, number("-100")), "ann cid"),
    (Comparison(calculate(number("1"), "/", SCORE), Operator.NE, number("7")), "ann bob cid dee"),
    (Comparison(calculate(calculate(SCORE, "/", number("3")), "*", number("3")), Operator.EQ, SCORE), "ann bob cid"),
    (Comparison(Negative(SCORE), Operator.EQ, number("3")), "cid"),
    (In(calculate(SCORE, "+", number("1")), (Decimal(1), Decimal(11))), "ann bob"),
    (Comparison(number("1"), Operator.LT, number("2")), "ann bob cid dee"),
    (Comparison(number("2"), Operator.LT, number("1")), ""),
    # bools
    (field("consent") == True, "ann"),  # noqa: E712
    (field("consent") == False, "bob"),  # noqa: E712
    (field("consent") != True, "bob cid dee"),  # noqa: E712
    (field("consent").isin([True, False]), "ann bob"),
    # dates and timestamps
    (field("birthday") == date(2000, 6, 15), "ann"),
    (field("birthday") > date(2000, 6, 15), "bob"),
    (field("birthday").between(date(2000, 6, 15), date(2000, 6, 16)), "ann bob"),
    (field("birthday").isin([date(2000, 6, 16), date(1999, 1, 1)]), "bob"),
    (field("birthday") == field("renewal"), "bob"),
    (field("birthday") < field("renewal"), "ann"),
    (field("signup") == date(2024, 6, 15), "ann"),
    (field("signup") < date(2024, 6, 15), "bob"),
    (field("signup") <= date(2024, 6, 14), "bob"),
    (field("signup").isin([date(2024, 6, 14), date(2024, 6, 15)]), "ann bob"),
    (field("signup").between(date(2024, 6, 15), instant("2024-06-14T22:30:00Z")), "ann"),
    (Comparison(Constant(date(2024, 6, 15)), Operator.LE, FieldValue("signup")), "ann"),
    (field("signup") == instant("2024-06-14T22:30:00Z"), "ann"),
    (field("signup") == instant("2024-06-15T00:30:00+02:00"), "ann"),
    (field("signup") < instant("2024-06-14T22:30:00Z"), "bob"),
    (field("signup") == field("seen"), "bob"),
    (field("signup") != field("seen"), "ann cid dee"),
    # ages and days since; today is 15 June 2024
    (field("birthday").age() == 24, "ann"),
    (field("birthday").age() == 23, "bob"),
    (field("birthday").age() != 23, "ann cid dee"),
    (field("signup").days_since() == 0, "ann"),
    (field("signup").days_since() == 1, "bob"),
    (field("birthday").days_since() == 8766, "ann"),
    (Comparison(Age("birthday"), Operator.LT, calculate(DaysSince("signup"), "+", number("24"))), "bob"),
    # windows
    (InWindow("signup", AllTime()), "ann bob"),
    (InWindow("birthday", AllTime()), "ann bob"),
    (InWindow("seen", Rolling(Direction.LAST, 1, Unit.HOUR)), "ann"),
    (Not(InWindow("seen", Rolling(Direction.LAST, 1, Unit.HOUR))), "bob cid dee"),
    (Anniversary("birthday", Rolling(Direction.NEXT, 1, Unit.DAY)), "ann"),
    (Anniversary("birthday", Rolling(Direction.NEXT, 2, Unit.DAY)), "ann bob"),
    (Anniversary("signup", Rolling(Direction.LAST, 1, Unit.DAY)), "ann"),
]


@pytest.mark.parametrize(("expression", "expected"), TABLE, ids=[str(i) for i in range(len(TABLE))])
def test_truth_table(oracle: Oracle, expression: Expression, expected: str) -> None:
    assert oracle.members(expression, NOON) == set(expected.split())
    assert oracle.members(Not(expression), NOON) == {"ann", "bob", "cid", "dee"} - set(expected.split())
    assert oracle.count(expression, NOON) == len(expected.split())


HOURS = Rolling(Direction.LAST, 3, Unit.HOUR)
INSTANTS = Absolute(instant("2024-01-01T00:00:00Z"), instant("2024-02-01T00:00:00Z"))
ILL_TYPED: list[Expression] = [
    field("score") == "10",
    field("country") == 10,
    field("country") == True,  # noqa: E712
    field("score") == True,  # noqa: E712
    field("score").isin([1, "a"]),
    field("score").between(1, date(2024, 1, 1)),
    field("tags") == "vip",
    field("tags").isin(["vip"]),
    field("consent") < True,
    field("consent").between(False, True),
    Comparison(SCORE, Operator.EQ, Constant(Decimal(1)), ci=True),
    In(SCORE, (Decimal(1),), ci=True),
    Comparison(calculate(FieldValue("country"), "+", number("1")), Operator.EQ, number("1")),
    Comparison(Negative(FieldValue("birthday")), Operator.EQ, number("1")),
    Comparison(Age("country"), Operator.EQ, number("1")),
    Comparison(DaysSince("score"), Operator.EQ, number("1")),
    field("score").contains("1"),
    field("tags").starts_with("v"),
    field("country").has("vip"),
    InWindow("country", AllTime()),
    InWindow("birthday", HOURS),
    InWindow("birthday", INSTANTS),
    field("birthday") == instant("2024-01-01T00:00:00Z"),
    field("birthday") == field("signup"),
    Comparison(Constant(date(2024, 1, 1)), Operator.EQ, Constant(instant("2024-01-01T00:00:00Z"))),
    Anniversary("score", Rolling(Direction.NEXT, 7, Unit.DAY)),
    Anniversary("birthday", HOURS),
    Anniversary("signup", HOURS),
    Anniversary("signup", INSTANTS),
    And((Nobody(), field("score") == "10")),  # also where it could not matter
]


@pytest.mark.parametrize("expression", ILL_TYPED, ids=[str(i) for i in range(len(ILL_TYPED))])
def test_ill_typed(oracle: Oracle, expression: Expression) -> None:
    with pytest.raises(TypeMismatch) as caught:
        oracle.members(expression, NOON)
    assert caught.value.path.startswith("expression.")


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        (IsSet("nmae"), UnknownField),
        (Comparison(calculate(SCORE, "+", FieldValue("scor")), Operator.EQ, number("1")), UnknownField),
        (Anniversary("birthday", OlderThan(1, Unit.YEAR)), InvalidExpression),
        (Anniversary("birthday", AllTime()), InvalidExpression),
        (Anniversary("birthday", Absolute(date(2024, 1, 1), None)), InvalidExpression),
        (TextMatch("city", TextOperator.MATCHES, "(a"), InvalidPattern),
        (And(()), EmptyOperands),
        (In(SCORE, ()), EmptyOperands),
        (Or((Everyone(), Unfinished())), UnfinishedExpression),
    ],
)
def test_refused(oracle: Oracle, expression: Expression, error: type[Exception]) -> None:
    with pytest.raises(error):
        oracle.members(expression, NOON)


def test_an_error_names_its_node(oracle: Oracle) -> None:
    with pytest.raises(TypeMismatch) as caught:
        oracle.members(And((Everyone(), Not(field("score") == "10"))), NOON)
    assert caught.value.path == "expression.conjunction.operands[1].negation.comparison"


def test_numbers_are_exact_at_the_extremes() -> None:
    made = Oracle(Schema((Field("n", FieldType.NUMBER), Field("m", FieldType.NUMBER, 9))), "UTC")
    top = 2**62 - 1
    made.upsert([("a", {"n": top, "m": Decimal(top).scaleb(-9)}), ("b", {"n": top - 1, "m": 0})])
    product = calculate(FieldValue("n"), "*", FieldValue("n"))
    assert made.members(Comparison(product, Operator.EQ, Constant(Decimal(top * top))), NOON) == {"a"}
    assert made.members(Comparison(product, Operator.LT, Constant(Decimal(top * top))), NOON) == {"b"}
    third = calculate(calculate(number("1"), "/", number("3")), "*", FieldValue("n"))
    assert made.members(Comparison(third, Operator.EQ, Constant(Decimal(top // 3))), NOON) == {"a"}  # 3 divides top


def test_folding_is_normalised_again() -> None:
    made = Oracle(Schema((Field("t", FieldType.TEXT),)), "UTC")
    made.upsert([("a", {"t": "\u01f0"}), ("b", {"t": "\ufb01n"}), ("c", {"t": "\u2126"})])
    assert made.members(field("t").equals("J\u030c", ci=True), NOON) == {"a"}
    assert made.members(field("t").equals("FIN", ci=True), NOON) == {"b"}
    assert made.members(field("t") == "\u03a9", NOON) == {"c"}
    assert made.members(field("t").equals("\u03c9", ci=True), NOON) == {"c"}


def test_dollar_is_the_very_end_and_dot_no_newline() -> None:
    made = Oracle(Schema((Field("t", FieldType.TEXT),)), "UTC")
    made.upsert([("a", {"t": "ab"}), ("b", {"t": "ab\n"}), ("c", {"t": "a$"}), ("d", {"t": "\u0663"})])
    assert made.members(field("t").matches("b$"), NOON) == {"a"}
    assert made.members(field("t").matches("b."), NOON) == set()
    assert made.members(field("t").matches(r"a\$"), NOON) == {"c"}
    assert made.members(field("t").matches("[$]"), NOON) == {"c"}
    assert made.members(field("t").matches(r"\d"), NOON) == set()  # digits are ASCII
