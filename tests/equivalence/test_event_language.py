"""What the first and the last event is like, favourites, gaps, months and sequences: the oracle, the plan with and
without rules, and text agree on events that lie close together and tie, imported in bulk, written live and not merged,
merged whole and half, replaced and retracted, reopened, read only, and as of earlier instants.

Each test is of one feature.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.model import expression as asked
from segidx.model.errors import SegidxError
from segidx.model.events import Event, Order, OrderLine
from segidx.model.expression import (
    Aggregate,
    AggregateFunction,
    Comparison,
    EventHas,
    Events,
    Expression,
    HasValue,
    Operator,
    Overdue,
    Step,
    field,
)
from segidx.model.schema import AccountInfo, Field, FieldType, Schema
from segidx.model.values import Arithmetic, ArithmeticOperator, Constant, FieldValue, Negative, Value
from segidx.model.windows import AllTime, Direction, Rolling, Unit, from_millis, to_millis
from segidx.testing.checks import answers, check_expression
from segidx.testing.effort import seeds, times
from segidx.testing.event_language import FEATURES, CloseEventGenerator, asking_for
from segidx.testing.event_lives import SeededChooser
from segidx.testing.event_pools import DECLARED
from segidx.testing.oracle import Oracle
from segidx.testing.oracle_event_values import Root, expected_of, gap_deviation_of, mean_gap_of
from segidx.testing.pools import pools_for
from segidx.testing.told import TYPES, Killed, Told, between_transactions

MS = timedelta(milliseconds=1)
DAY = timedelta(days=1)


def told_of(feature: str, directory: Path, seed: int) -> Told:
    return Told(directory, seed, ask=asking_for(feature), rows=CloseEventGenerator, contacts=20)


def check_earlier(told: Told, count: int = 6) -> None:
    """As of instants before, where events that lie there begin to be seen; what is ahead of the clock is hidden."""
    for back in (MS, DAY, DAY - MS, 7 * DAY, 40 * DAY):
        told.check(count, at=told.at - back)


def live(feature: str, directory: Path, seed: int) -> None:
    """All that may happen to events, with questions of one feature after each."""
    seed += FEATURES.index(feature)
    with closing(told_of(feature, directory, seed)) as told:
        told.import_all(30)
        told.check_all()
        for size in (150, 1, 60):
            told.write(size)
            told.check(12)
        told.check_all()
        check_earlier(told)
        with between_transactions(told, kill_at=5 + 3 * (seed % 3)), suppress(Killed):
            told.account.merge()
        told.check(12)
        told.write(40)
        told.reopen()
        told.check_all()
        with between_transactions(told) as begun:
            told.account.merge()
        assert begun
        told.check_all()
        check_earlier(told)
        told.import_all(8)  # over what is merged
        told.write(80)
        told.check_all()
        told.check_read_only()


# Each has a zone and an instant of its own, and each feature other ones first.
LIVES = pytest.mark.parametrize("seed", seeds(1))


@LIVES
def test_has(tmp_path: Path, seed: int) -> None:
    live("has", tmp_path, seed)


@LIVES
def test_favourite(tmp_path: Path, seed: int) -> None:
    live("favourite", tmp_path, seed)


@LIVES
def test_gaps(tmp_path: Path, seed: int) -> None:
    live("gaps", tmp_path, seed)


@LIVES
def test_month(tmp_path: Path, seed: int) -> None:
    live("month", tmp_path, seed)


@LIVES
def test_sequence(tmp_path: Path, seed: int) -> None:
    live("sequence", tmp_path, seed)


@LIVES
def test_is_set(tmp_path: Path, seed: int) -> None:
    """Of all that events come to, what is not missing."""
    live("is_set", tmp_path, seed)


# --- many contacts, many events ----------------------------------------------------------------------------


@pytest.mark.parametrize("feature", FEATURES)
def test_many_contacts(tmp_path: Path, feature: str) -> None:
    """In three ranges of 16,384, most without events; half of what is written is merged. And narrowed by a field."""
    rng, at, zone = random.Random(12), datetime(2025, 3, 31, 12, tzinfo=UTC), "Europe/Warsaw"
    now, schema, pools = to_millis(at), Schema((Field("n", FieldType.NUMBER),)), pools_for(at, zone)
    rows = [(f"c{i}", {"n": Decimal(i % 100)}) for i in range(35_000)]
    oracle = Oracle(schema, zone)
    oracle.declare_event_types(DECLARED)
    oracle.upsert(rows)
    some = ["c16383", "c16384", "c32767", "c32768", *(f"c{i}" for i in rng.sample(range(35_000), 120)), "c34999"]
    events = CloseEventGenerator(SeededChooser(rng), some, at, zone, types=TYPES)
    with Database.open(tmp_path / "data", create=True, clock=lambda: now) as database:
        account = database.create_account(AccountInfo("shop", zone))
        account.update_schema(schema.fields)
        account.declare_event_types(DECLARED)
        account.upsert(rows)
        for size in (900, 500):
            written = [row for row in events.rows(size) if not getattr(row, "time", at).microsecond % 1000]
            assert account.write_events(written).events_accepted == oracle.write_events(written, now).accepted
            for _ in range(times(4)):
                question = asking_for(feature, 2)(rng, schema, pools, types=TYPES)
                check_expression(account, oracle, question, at)
                check_expression(account, oracle, (field("n") < rng.choice((1, 30))) & question, at)
            account.merge()
        assert list(account.verify()) == []


@contextmanager
def account_at(directory: Path, at: datetime) -> Iterator[Account]:
    with Database.open(directory / "data", create=True, clock=lambda: to_millis(at)) as database:
        yield database.account()


AT = datetime(2025, 3, 31, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def counts(account: Account, expression: Expression) -> int:
    """How many hold at AT, in every way of asking."""
    (found,) = {len(ids) for ids in answers(account, expression, AT).values()}
    return found


def many_lines(account: Account) -> None:
    """40,000 lines of one contact at one time, 1,000 an order, the first and the last of which by id are unlike the
    others; and two beside, of one order."""
    ids = sorted(f"o{i}" for i in range(40))
    for number, order_id in enumerate(ids):
        kinds = ["even" if n % 2 == 0 or n == 501 else "odd" for n in range(1000)]
        if number == 0:
            kinds[0] = "first"
        if number == 39:
            kinds[-1] = "last"
        made = [OrderLine("p", category=kind, amount=Decimal(1 if kind == "even" else 2)) for kind in kinds]
        account.import_orders([Order(order_id, "big", AT - DAY, lines=made)])
    account.import_orders(
        [Order("x", "small", AT - DAY, lines=[OrderLine(category="last"), OrderLine(category="odd")])]
    )


def test_has_of_more_events_than_a_block_holds(tmp_path: Path) -> None:
    first, last = (Aggregate(f, Events("line")) for f in (AggregateFunction.FIRST, AggregateFunction.LAST))
    with account_at(tmp_path, AT) as account:
        many_lines(account)
        for _ in range(2):
            assert counts(account, EventHas(first, field("category") == "first")) == 1
            assert counts(account, EventHas(last, field("category") == "last")) == 1
            assert counts(account, EventHas(first, field("category") == "last")) == 1  # the other
            assert counts(account, EventHas(last, field("category") == "odd")) == 1
            account.merge()


def test_favourite_of_more_events_than_a_block_holds(tmp_path: Path) -> None:
    def favourite(by: str | None = None) -> Aggregate:
        return Aggregate(AggregateFunction.FAVOURITE, Events("line"), "category", by)

    with account_at(tmp_path, AT) as account:
        many_lines(account)
        for _ in range(2):
            assert counts(account, Comparison(favourite(), Operator.EQ, Constant("even"))) == 1
            assert counts(account, Comparison(favourite(), Operator.EQ, Constant("last"))) == 1
            assert counts(account, Comparison(favourite("amount"), Operator.EQ, Constant("odd"))) == 1
            assert counts(account, HasValue(favourite("amount"))) == 1
            account.merge()


def many_visits(account: Account) -> None:
    """40,000 visits of one contact, 10 seconds apart, the last 10 seconds ago; all at /a but the first and the last."""
    rows = [Event("visit", f"v{n}", "big", AT - 10 * SECOND * (40_000 - n), {"url": "/a"}) for n in range(40_000)]
    rows[0] = Event("visit", "v0", "big", rows[0].time, {"url": "/first"})
    rows[-1] = Event("visit", "v39999", "big", rows[-1].time, {"url": "/last"})
    for start in range(0, 40_000, 5000):
        account.write_events(rows[start : start + 5000])


def test_gaps_of_more_events_than_a_block_holds(tmp_path: Path) -> None:
    mean, deviation, expected = (Aggregate(f, Events("visit")) for f in AggregateFunction if f.of_gaps)
    seconds = Arithmetic(ArithmeticOperator.MULTIPLY, mean, Constant(Decimal(86_400)))
    with account_at(tmp_path, AT) as account:
        many_visits(account)
        for _ in range(2):
            assert counts(account, Comparison(seconds, Operator.EQ, Constant(Decimal(10)))) == 1
            assert counts(account, Comparison(deviation, Operator.EQ, Constant(Decimal(0)))) == 1
            assert counts(account, Comparison(expected, Operator.EQ, Constant(AT))) == 1
            account.merge()


def test_sequence_of_more_events_than_a_block_holds(tmp_path: Path) -> None:
    first, between, last = (Events("visit", field("url") == url) for url in ("/first", "/a", "/last"))
    whole = 399_990 * 1000  # milliseconds from the first to the last
    with account_at(tmp_path, AT) as account:
        many_visits(account)
        for _ in range(2):
            for within, wanted in ((whole, 1), (whole - 1000, 0)):
                assert counts(account, asked.Sequence((Step(first), Step(last, within)))) == wanted
            assert counts(account, asked.Sequence((Step(first), *[Step(between, 10_000)] * 14, Step(last)))) == 1
            assert counts(account, asked.Sequence((Step(first), *[Step(between, 9_000)] * 14, Step(last)))) == 0
            assert counts(account, asked.Sequence((Step(first), Step(last, whole - 1000, True)))) == 1
            assert counts(account, asked.Sequence((Step(first), Step(last, whole, True)))) == 0
            assert counts(account, asked.Sequence((Step(last), Step(first, 9_000, True)))) == 1
            assert counts(account, asked.Sequence((Step(last), Step(first, 10_000, True)))) == 0  # it ends at AT
            account.merge()


def test_sequence_at_the_edges_of_within(tmp_path: Path) -> None:
    """Events of three kinds that lie whole seconds apart, or a millisecond off, and steps within as many."""
    rng, oracle = random.Random(6), Oracle(Schema(()), "UTC")
    kinds = [Events("visit", field("source") == source) for source in "abc"]
    rows = [
        Event("visit", f"{n}-{k}", f"c{n}", AT - rng.randint(1, 7) * SECOND - rng.choice((0, 0, 0, 1, -1)) * MS, source)
        for n in range(60)
        for k in range(rng.randint(2, 5))
        for source in [{"source": rng.choice("aabbc")}]
    ]
    with account_at(tmp_path, AT) as account:
        account.write_events(rows[::2])
        account.merge()
        account.write_events(rows[1::2])
        oracle.write_events(rows, to_millis(AT))
        for _ in range(60):
            steps = [
                Step(rng.choice(kinds), rng.choice((None, 1000, 2000)) if n else None)
                for n in range(rng.choice((1, 1, 2)))
            ]
            last = Step(rng.choice(kinds), rng.choice((1000, 2000, 3000)), rng.random() < 0.7)
            window = rng.choice((AllTime(), Rolling(Direction.LAST, rng.randint(2, 6), Unit.SECOND)))
            check_expression(account, oracle, asked.Sequence((*steps, last), window), AT)


# --- gaps, exactly -----------------------------------------------------------------------------------------


def near(number: Fraction | Root) -> list[Decimal]:
    """Decimals at and around a number, of few digits and of as many as a constant may have."""
    found = []
    for digits in (6, 17, 36):
        with localcontext() as context:
            context.prec = digits
            square = number.square if isinstance(number, Root) else number
            decimal = Decimal(square.numerator) / Decimal(square.denominator)
            decimal = decimal.sqrt() if isinstance(number, Root) else decimal
            found += [decimal, decimal.next_plus(), decimal.next_minus()]
    return [decimal for decimal in found if decimal.as_tuple().exponent >= -36]  # type: ignore[operator]


def test_gaps_are_compared_exactly(tmp_path: Path) -> None:
    """With decimals that lie as near to the mean and to the deviation as may be, of times from 1970 until now too."""
    rng = random.Random(4)
    oracle = Oracle(Schema(()), "UTC")
    with account_at(tmp_path, AT) as account:
        rows = [
            Event("visit", f"{n}-{k}", f"c{n}", AT - timedelta(milliseconds=rng.randrange(1, span)), {})
            for n in range(24)
            for span in [rng.choice((5, 1000, 86_400_000 * 7, 1_743_422_400_000))]
            for k in range(rng.choice((2, 3, 3, 4, 9)))
        ]
        oracle.write_events(rows, to_millis(AT))
        account.write_events(rows)
        numbers: list[tuple[AggregateFunction, Decimal]] = []
        for n in range(24):
            events = [kept.event for kept in oracle.kept("visit").values() if kept.contact_id == f"c{n}"]
            for function, number in (
                (AggregateFunction.MEAN_GAP, mean_gap_of(events)),
                (AggregateFunction.GAP_DEVIATION, gap_deviation_of(events)),
            ):
                assert number is not None
                numbers += [(function, decimal) for decimal in near(number)]
        assert len(numbers) > 200
        for function, decimal in numbers:
            operator = rng.choice(tuple(Operator))
            value = Aggregate(function, Events("visit"))
            check_expression(account, oracle, Comparison(value, operator, Constant(decimal)), AT)
        expected = Aggregate(AggregateFunction.EXPECTED, Events("visit"))
        for n in range(24):
            due = expected_of(kept.event for kept in oracle.kept("visit").values() if kept.contact_id == f"c{n}")
            assert due is not None
            for off in (-1, 0, 1):
                check_expression(
                    account, oracle, Comparison(expected, Operator.EQ, Constant(from_millis(due + off))), AT
                )
                check_expression(account, oracle, Overdue(Events("visit")), from_millis(due + off))


# --- what is refused ---------------------------------------------------------------------------------------

ORDERS, GROUP, NO_TYPE = Events("order"), Events("interaction"), Events("no_such_type")
PAID = field("paid") == True  # noqa: E712
UNPAID = Events("touch", PAID)  # no touch has that
FIRST, LAST = AggregateFunction.FIRST, AggregateFunction.LAST
BY_SOURCE = Aggregate(AggregateFunction.FAVOURITE, ORDERS, "source")
MEAN, DEVIATION, EXPECTED = (Aggregate(f, ORDERS) for f in AggregateFunction if f.of_gaps)
ONE = Constant(Decimal(1))


def favourite(events: Events, name: str, by: str | None = None) -> Expression:
    return HasValue(Aggregate(AggregateFunction.FAVOURITE, events, name, by))


REFUSED: dict[str, list[Expression]] = {
    "has": [
        EventHas(Aggregate(FIRST, GROUP), field("subject") == "a"),
        EventHas(Aggregate(FIRST, GROUP), field("paid") == 1),
        EventHas(Aggregate(FIRST, Events("touch", PAID)), field("kind") == "a"),
        EventHas(Aggregate(FIRST, NO_TYPE), PAID),
        EventHas(Aggregate(LAST, ORDERS), field("product") == "a"),
        EventHas(Aggregate(LAST, ORDERS), field("amount") == "a"),
        EventHas(Aggregate(LAST, Events("order", field("product") == "a")), PAID),
    ],
    "favourite": [
        favourite(GROUP, "source"),
        favourite(NO_TYPE, "source"),
        *(favourite(ORDERS, name) for name in ("amount", "paid", "hour", "product")),
        *(favourite(ORDERS, "source", by) for by in ("paid", "source", "hour", "quantity")),
        Comparison(BY_SOURCE, Operator.EQ, ONE),
        Comparison(BY_SOURCE, Operator.LT, Constant("a")),
        asked.Between(BY_SOURCE, Constant("a"), Constant("b")),
        Comparison(BY_SOURCE, Operator.EQ, FieldValue("email")),
        Comparison(BY_SOURCE, Operator.EQ, BY_SOURCE),
        Comparison(Arithmetic(ArithmeticOperator.ADD, BY_SOURCE, ONE), Operator.EQ, ONE),
    ],
    "gaps": [
        Comparison(Aggregate(AggregateFunction.MEAN_GAP, UNPAID), Operator.GT, ONE),
        Comparison(Aggregate(AggregateFunction.EXPECTED, UNPAID), Operator.GT, Constant(AT)),
        *(Comparison(Aggregate(f, NO_TYPE), Operator.GT, ONE) for f in AggregateFunction if f.of_gaps),
        Overdue(UNPAID),
        Overdue(Events("order", field("product") == "a")),
        Comparison(MEAN, Operator.EQ, Constant("a")),
        Comparison(EXPECTED, Operator.GT, ONE),
        Comparison(Arithmetic(ArithmeticOperator.ADD, EXPECTED, ONE), Operator.GT, ONE),
        Comparison(Arithmetic(ArithmeticOperator.ADD, DEVIATION, ONE), Operator.GT, ONE),
        Comparison(Negative(DEVIATION), Operator.LT, ONE),
    ],
    "month": [
        asked.Did(Events("order", field("month") == "may")),
        Comparison(Aggregate(AggregateFunction.SUM, ORDERS, "month"), Operator.GT, ONE),
        Comparison(Aggregate(AggregateFunction.DISTINCT, ORDERS, "month"), Operator.GT, ONE),
        field("month") == 1,
    ],
    "sequence": [
        asked.Sequence((Step(ORDERS), Step(UNPAID))),
        asked.Sequence((Step(UNPAID), Step(ORDERS))),
        asked.Sequence((Step(ORDERS), Step(NO_TYPE, 1000, True))),
        asked.Sequence((Step(ORDERS), Step(Events("order", field("product") == "a")))),
    ],
    "is_set": [
        *(HasValue(Aggregate(f, UNPAID)) for f in AggregateFunction if f.of_gaps),
        HasValue(Aggregate(AggregateFunction.SUM, GROUP, "amount")),
        *(HasValue(Aggregate(f, NO_TYPE)) for f in AggregateFunction if f.of_gaps),
        HasValue(Aggregate(AggregateFunction.SUM, ORDERS, "source")),
        HasValue(Aggregate(AggregateFunction.COUNT, NO_TYPE)),
    ],
}


@pytest.mark.parametrize("feature", FEATURES)
def test_refused(tmp_path: Path, feature: str) -> None:
    with account_at(tmp_path, AT) as account:
        account.update_schema([Field("email", FieldType.TEXT)])
        oracle = Oracle(Schema((Field("email", FieldType.TEXT),)), "UTC")
        for question in REFUSED[feature]:
            with pytest.raises(SegidxError):
                oracle.members(question, AT)
            check_expression(account, oracle, question, AT)


def test_a_deviation_beside_what_is_no_constant(tmp_path: Path) -> None:
    """It is compared with any number, and with another deviation."""
    count = Aggregate(AggregateFunction.COUNT, ORDERS)
    twice = Arithmetic(ArithmeticOperator.MULTIPLY, Constant(Decimal(2)), count)
    of_visits = Aggregate(AggregateFunction.GAP_DEVIATION, Events("visit"))
    others: list[Value] = [MEAN, DEVIATION, of_visits, count, twice, FieldValue("score")]
    with closing(told_of("gaps", tmp_path, 1)) as told:
        told.write(150)
        for other in others:
            for operator in Operator:
                check_expression(told.account, told.oracle, Comparison(DEVIATION, operator, other), told.at)
                check_expression(told.account, told.oracle, Comparison(other, operator, DEVIATION), told.at)
            check_expression(told.account, told.oracle, asked.Between(DEVIATION, ONE, other), told.at)
            check_expression(told.account, told.oracle, asked.Between(other, DEVIATION, of_visits), told.at)
