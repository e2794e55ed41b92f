"""Sequences, gaps, what is expected and months of events, against their definitions on rows kept beside: in the log,
merged, above what is merged, after replacements and retractions, and reopened."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from segidx.database import Account, Database
from segidx.exec import events as exec_events
from segidx.kernels.bitmaps import Stop
from segidx.model.errors import Cancelled, SegidxError, TypeMismatch, UnknownProperty
from segidx.model.events import Event, Order, Retraction
from segidx.model.schema import AccountInfo, Field, FieldType
from segidx.model.syntax import parse
from segidx.model.windows import from_millis, to_millis
from segidx.testing.checks import answers

AT = datetime(2025, 6, 15, 12, tzinfo=UTC)
NOW = to_millis(AT)
ZONE = ZoneInfo("Europe/Warsaw")
HOUR, DAY = 3_600_000, 86_400_000
CONTACTS = [f"c{i}" for i in range(40)]

Row = tuple[str, int, str]  # type, time, source (of a visit its source, of an order its source)
Lives = dict[str, list[Row]]
Times = dict[str, list[int]]


class Made:
    """An account and the rows that it should hold by event id."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path, self.rng = path, random.Random(seed)
        self.rows: dict[tuple[str, str], tuple[str, Row]] = {}  # (type, id) -> contact, row
        self.retracted: set[tuple[str, str]] = set()
        self.open(create=True)
        self.account.update_schema([Field("n", FieldType.NUMBER), Field("renewal", FieldType.TIMESTAMP)])
        self.account.upsert(
            (c, {"n": i, "renewal": AT + timedelta(days=i - 20)} if i % 7 else {"n": i}) for i, c in enumerate(CONTACTS)
        )

    def open(self, create: bool = False) -> None:
        self.database = Database.open(self.path / "data", create=create, clock=lambda: NOW)
        if create:
            self.database.create_account(AccountInfo("shop", "Europe/Warsaw"))
        self.account: Account = self.database.account("shop")

    def time(self) -> int:
        """Close to others, so that times are equal and steps are just within, and now and then far."""
        unit = self.rng.choice((1, 1000, HOUR, DAY))
        return NOW + self.rng.choice((1, 1, 1, 0)) - self.rng.randint(0, 4) * unit - self.rng.choice((0, 0, 200)) * DAY

    def write(self, n: int) -> None:
        written: list[Event | Order | Retraction] = []
        for _ in range(n):
            kind = self.rng.choice(("visit", "cart", "order", "visit"))
            key = (kind, f"{kind}{self.rng.randrange(400)}")
            if self.rng.random() < 0.1 and key in self.rows:
                del self.rows[key]
                self.retracted.add(key)
                written.append(Retraction(*key))
                continue
            if key in self.retracted or (key in self.rows and self.rng.random() < 0.8):
                continue
            contact, at, source = self.rng.choice(CONTACTS), self.time(), self.rng.choice("ab")
            time = from_millis(at)
            self.rows[key] = contact, (kind, at, source)
            if kind == "order":
                written.append(Order(key[1], contact, time, source))
            else:
                given = {"source" if kind == "visit" else "product": source}
                written.append(Event(kind, key[1], contact, time, given))
            if len(written) > 50:
                self.flush(written)
        self.flush(written)

    def flush(self, written: list[Event | Order | Retraction]) -> None:
        result = self.account.write_events(written)
        assert not result.event_rejects
        written.clear()

    def lives(self) -> Lives:
        found: Lives = {c: [] for c in CONTACTS}
        for contact, row in self.rows.values():
            found[contact].append(row)
        return found

    def asked(self, text: str) -> set[str]:
        (found, *others) = answers(self.account, parse(text), AT).values()
        assert all(each == found for each in others), text
        return found


def times(made: Made, kind: str, source: str | None = None, start: int = 0, end: int = NOW) -> Times:
    return {
        c: sorted(t for k, t, s in rows if k == kind and source in (None, s) and start <= t < end)
        for c, rows in made.lives().items()
    }


# --- sequences ---------------------------------------------------------------------------------------------

_UNITS = {"second": 1000, "hour": HOUR, "day": DAY, "week": 7 * DAY}


def random_sequence(made: Made) -> tuple[str, Callable[[], set[str]]]:
    """A question and how its answer is found: every end of every chain, by definition."""
    rng = made.rng
    window, start, end = rng.choice(
        (
            ("", 0, NOW),
            (" during last 3 days", NOW - 3 * DAY, NOW),
            (" older than 2 hours", 0, NOW - 2 * HOUR),
            (" during next 2 days", NOW, NOW),
        )
    )
    steps: list[tuple[str, str | None, int | None]] = []
    texts = []
    count, absent = rng.randint(2, 4), rng.random() < 0.5
    for i in range(count):
        kind, source = rng.choice(("visit", "cart", "order")), rng.choice((None, "a"))
        name = "product" if kind == "cart" else "source"
        unit, n = rng.choice([*_UNITS]), rng.randint(1, 3)
        bounded = i > 0 and (rng.random() < 0.6 or (absent and i == count - 1))
        steps.append((kind, source, n * _UNITS[unit] if bounded else None))
        no = "no " if absent and i == count - 1 else ""
        texts.append(
            f"{no}{kind}{f' where {name} = {chr(34)}{source}{chr(34)}' if source else ''}"
            f"{f' within {n} {unit}s' if bounded else ''}"
        )

    def members() -> set[str]:
        held = [times(made, kind, source, start, end) for kind, source, _ in steps]
        found = set()
        for c in CONTACTS:
            reached = set(held[0][c])
            for (_, _, within), each in list(zip(steps, held, strict=True))[1 : count - absent]:
                reached = {t for t in each[c] if any(e < t and (within is None or t - e <= within) for e in reached)}
            if absent:
                within = steps[-1][2]
                assert within is not None
                reached = {e for e in reached if e + within < end and not any(e < t <= e + within for t in held[-1][c])}
            if reached:
                found.add(c)
        return found

    return f"sequence({' then '.join(texts)}{window})", members


def check_sequences(made: Made, n: int) -> None:
    told = 0
    for _ in range(n):
        text, members = random_sequence(made)
        wanted = members()
        assert made.asked(text) == wanted, text
        least = made.rng.randrange(len(CONTACTS))
        narrowed = {c for c in wanted if int(c[1:]) >= least}
        assert made.asked(f"{text} and n >= {least}") == narrowed, text
        assert made.asked(f"not {text} and n >= {least}") == {*CONTACTS[least:]} - narrowed, text
        told += 0 < len(wanted) < len(CONTACTS)
    assert told > n // 4


# --- gaps --------------------------------------------------------------------------------------------------


def gaps(each: list[int]) -> list[int]:
    return [b - a for a, b in pairwise(each)]


def mean(each: list[int]) -> Fraction | None:
    return Fraction(sum(gaps(each)), len(each) - 1) if len(each) > 1 else None


def variance(each: list[int]) -> Fraction | None:
    middle = mean(each)
    return None if middle is None else sum((g - middle) ** 2 for g in gaps(each)) / Fraction(len(each) - 1)


def check_gaps(made: Made) -> None:
    for kind in ("visit", "order"):
        for during, start in (("", 0), (" during last 4 days", NOW - 4 * DAY)):
            held = times(made, kind, start=start)
            means = {c: m / DAY for c, t in held.items() if (m := mean(t)) is not None}
            squares = {c: v / DAY**2 for c, t in held.items() if (v := variance(t)) is not None}
            due = {c: t[-1] + math.floor(m) for c, t in held.items() if (m := mean(t)) is not None}
            asked = f"({kind}{during})"
            for bound in ("0", "-1", "1", "0.5", "0.00001", "66.66666", "1e30"):
                exact = Fraction(bound)
                for operator, holds in (
                    ("<", Fraction.__lt__),
                    ("<=", Fraction.__le__),
                    ("=", Fraction.__eq__),
                    (">=", Fraction.__ge__),
                    (">", Fraction.__gt__),
                ):
                    assert made.asked(f"mean_gap{asked} {operator} {bound}") == {
                        c for c, m in means.items() if holds(m, exact)
                    }
                    signed = exact * abs(exact)
                    assert made.asked(f"gap_deviation{asked} {operator} {bound}") == {
                        c for c, v in squares.items() if holds(v, signed)
                    }
            assert made.asked(f"gap_deviation{asked} != 0") == {*CONTACTS} - {c for c, v in squares.items() if v == 0}
            assert made.asked(f"gap_deviation{asked} < mean_gap{asked} * 0.5") == {
                c for c, v in squares.items() if v < (means[c] / 2) ** 2
            }
            assert made.asked(f"gap_deviation{asked} >= n - 5") == {
                c for c, v in squares.items() if int(c[1:]) < 5 or v >= (int(c[1:]) - 5) ** 2
            }
            assert made.asked(f"2 * mean_gap{asked} - n / 40 > 0.25") == {
                c for c, m in means.items() if 2 * m - Fraction(int(c[1:]), 40) > Fraction(1, 4)
            }
            assert made.asked(f"overdue{asked}") == {c for c, t in due.items() if t < NOW}
            assert made.asked(f"expected{asked} < renewal") == {
                c for c, t in due.items() if int(c[1:]) % 7 and t < NOW + (int(c[1:]) - 20) * DAY
            }
            for at in sorted({NOW, NOW - DAY, *list(due.values())[:2]}):
                instant = from_millis(at).isoformat()
                assert made.asked(f"expected{asked} <= {instant}") == {c for c, t in due.items() if t <= at}
                assert made.asked(f"expected{asked} = {instant}") == {c for c, t in due.items() if t == at}
            local = {c: from_millis(t).astimezone(ZONE).date() for c, t in due.items()}
            day = min(local.values(), default=AT.date())
            assert made.asked(f"expected{asked} = {day}") == {c for c, d in local.items() if d == day}
            assert made.asked(f"expected{asked} after {day}") == {c for c, d in local.items() if d > day}
    visits, orders = times(made, "visit"), times(made, "order")
    squares = [{c: v for c, t in each.items() if (v := variance(t)) is not None} for each in (visits, orders)]
    assert made.asked("gap_deviation(visit) > gap_deviation(order)") == {
        c for c in CONTACTS if c in squares[0] and c in squares[1] and squares[0][c] > squares[1][c]
    }


def check_months(made: Made) -> None:
    def month(at: int) -> int:
        return from_millis(at).astimezone(ZONE).month

    visits = times(made, "visit")
    shown = {c: [month(t) for t in each] for c, each in visits.items()}
    assert made.asked("did(visit where month = 6)") == {c for c, each in shown.items() if 6 in each}
    assert made.asked("count(visit where month between 7 and 12) > 0.2 * count(visit)") == {
        c for c, each in shown.items() if sum(m >= 7 for m in each) > 0.2 * len(each)
    }


@pytest.fixture(params=range(3))
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Made]:
    made = Made(tmp_path, request.param)
    yield made
    made.database.close()


def test_in_the_log_merged_and_above(made: Made) -> None:
    made.write(300)
    check_sequences(made, 40)
    check_gaps(made)
    made.account.merge()
    check_sequences(made, 20)
    check_gaps(made)
    made.write(200)
    check_sequences(made, 40)
    check_gaps(made)
    check_months(made)
    made.database.close()
    made.open()
    check_sequences(made, 10)
    made.account.merge()
    check_sequences(made, 10)
    check_gaps(made)
    check_months(made)


# --- what is read, and what is refused ---------------------------------------------------------------------


def test_contacts_are_taken_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_events, "_SLICE", 1)
    with Database.open(tmp_path / "data", create=True, clock=lambda: NOW) as database:
        account = database.account()
        account.update_schema([Field("n", FieldType.NUMBER)])
        account.upsert((f"c{i}", {"n": i}) for i in range(40_000))
        account.import_orders(
            Order(f"{i}-{j}", f"c{i}", AT - timedelta(days=1 + j * (1 + i % 3)))
            for i in range(0, 40_000, 50)
            for j in range(3)
        )
        followed = "sequence(order then order within 2 days then order)"
        assert account.count(followed).count == sum(1 + i % 3 <= 2 for i in range(0, 40_000, 50))
        assert account.count(f"{followed} and n < 20000").count == sum(1 + i % 3 <= 2 for i in range(0, 20_000, 50))
        account.write_events(Event("visit", f"{i}", f"c{i}", AT - timedelta(days=2)) for i in range(0, 40_000, 50))
        # Orders 1, 2 and 3 days ago have one on the day of the visit; those 1, 3 and 5, or 4 and 7 have none.
        assert account.count("distinct_days(interaction) = 3").count == sum(i % 3 == 0 for i in range(0, 40_000, 50))
        assert account.count("distinct_days(interaction) = 4 and n < 20000").count == sum(
            i % 3 != 0 for i in range(0, 20_000, 50)
        )
        assert account.count("sequence(order then visit then order)").count == 800
        assert account.count("gap_deviation(order) = 0 and mean_gap(order) = 2").count == sum(
            i % 3 == 1 for i in range(0, 40_000, 50)
        )
        assert account.count("gap_deviation(order) < mean_gap(order)").count == 800


@pytest.mark.parametrize(
    ("asked", "error", "path"),
    [
        ("sequence(interaction where sauce = 1 then order)", UnknownProperty, "steps[0].events.where.comparison"),
        ("sequence(order then no touch where paid within 1 day)", UnknownProperty, "steps[1].events.where.comparison"),
        ("overdue(touch where url is set)", UnknownProperty, "expression.overdue.events.where.is_set"),
        ("mean_gap(interaction where dwell) > 3", TypeMismatch, "left.aggregate.events.where.comparison"),
        ("2 * gap_deviation(order) > 3", TypeMismatch, "expression.comparison"),
        ("-gap_deviation(order) < 3", TypeMismatch, "expression.comparison"),
        ("mean_gap(order) > 2025-01-01", TypeMismatch, "expression.comparison"),
        ("expected(order) > 3", TypeMismatch, "expression.comparison"),
        ("expected(order) + 1 > 3", TypeMismatch, "expression.comparison"),
        (
            "sequence(order then order where nope = 1)",
            SegidxError,
            "expression.sequence.steps[1].events.where.comparison",
        ),
        ("sequence(nope then order)", SegidxError, "expression.sequence"),
        ("overdue(order where nope = 1)", SegidxError, "expression.overdue.events.where.comparison"),
        ("gap_deviation(order where nope = 1) > 1", SegidxError, "comparison.left.aggregate.events.where.comparison"),
    ],
)
def test_errors_name_the_node(tmp_path: Path, asked: str, error: type[SegidxError], path: str) -> None:
    with Database.open(tmp_path / "data", create=True, clock=lambda: NOW) as database:
        with pytest.raises(error) as caught:
            database.account().count(asked)
        assert str(caught.value.path).endswith(path)


def test_they_stop(tmp_path: Path) -> None:
    made = Made(tmp_path, 5)
    made.write(100)
    stop = Stop()
    stop.cancel()
    for asked in ("sequence(visit then order)", "gap_deviation(visit) > 1", "overdue(visit)", "mean_gap(visit) < n"):
        with pytest.raises(Cancelled):
            made.account.count(asked, stop=stop)
    made.database.close()


def test_the_plan_says_what_is_read(tmp_path: Path) -> None:
    made = Made(tmp_path, 6)
    made.write(60)
    node = made.account.explain("n > 3 and sequence(visit then no order within 1 day) and overdue(visit)").plan
    shown = [(each.operation, each.detail) for each in node.children]
    assert shown[1:] == [("gaps", "expected of visit events"), ("sequence", "visit then no order")]
    assert made.account.count("sequence(visit then order during next 3 days)").count == 0
    made.database.close()
