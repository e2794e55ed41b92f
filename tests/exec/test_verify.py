"""Candidate checks: exact arithmetic against Fractions up to the edges of 64 bits, strings and days against Python."""

from __future__ import annotations

import itertools
import operator
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from unicodedata import normalize
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segidx.database import Account, Database
from segidx.exec.evaluate import count
from segidx.exec.query import prepare
from segidx.model.schema import MAX_MINOR_UNITS, AccountInfo, Field, FieldType
from segidx.plan.context import BindContext

NOW = datetime(2024, 2, 29, 11, 30, tzinfo=UTC)
FIELDS = [
    Field("a", FieldType.NUMBER, 2),
    Field("b", FieldType.NUMBER),
    Field("c", FieldType.NUMBER, 9),
    Field("x", FieldType.CATEGORY),
    Field("y", FieldType.TEXT),
    Field("day", FieldType.DATE),
    Field("other", FieldType.DATE),
    Field("seen", FieldType.TIMESTAMP),
]
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# A value that no bitmap or column of one field answers, and what it means; None where it is missing.
FORMULAS: list[tuple[str, Callable[..., Fraction | None]]] = [
    ("a + b", lambda a, b, c: a + b),
    ("a - b - c", lambda a, b, c: a - b - c),
    ("a * b", lambda a, b, c: a * b),
    ("a * b * c", lambda a, b, c: a * b * c),
    ("a / b", lambda a, b, c: a / b if b else None),
    ("a / (b - 3)", lambda a, b, c: a / (b - 3) if b != 3 else None),
    ("-a / c / b", lambda a, b, c: -a / c / b if b and c else None),
    ("(a - b) / (a + b) * c", lambda a, b, c: (a - b) / (a + b) * c if a + b else None),
    ("a * 0.1 + c / 3", lambda a, b, c: a / 10 + c / 3),
]
SCALES = {"a": 2, "b": 0, "c": 9}


@contextmanager
def made(rows: list[tuple[str, dict[str, Any]]], zone: str = "UTC") -> Iterator[Account]:
    with tempfile.TemporaryDirectory() as place, Database.open(place, create=True) as database:
        account = database.create_account(AccountInfo("test", zone))
        account.update_schema(FIELDS)
        assert account.upsert(rows).rejects == ()
        yield account


def counted(account: Account, text: str) -> int:
    with account._store.snapshot() as snapshot:
        context = BindContext(snapshot, int(NOW.timestamp() * 1000), account.info.tz)
        return count(prepare(text, context).plan, context)


def number_rows(triples: list[tuple[int | None, int | None, int | None]]) -> list[tuple[str, dict[str, Any]]]:
    """Contacts from the minor units of a, b and c."""
    return [
        (f"c{i}", {n: Decimal(u).scaleb(-SCALES[n]) for n, u in zip("abc", units, strict=True) if u is not None})
        for i, units in enumerate(triples)
    ]


def exact(units: int, name: str) -> Fraction:
    return Fraction(units, 10 ** SCALES[name])


def check_numbers(triples: list[tuple[int | None, int | None, int | None]], limits: list[Decimal]) -> None:
    with made(number_rows(triples)) as account:
        for text, meaning in FORMULAS:
            used = [name for name in "abc" if name in text]
            values: list[Fraction | None] = []
            for units in triples:
                given_units = dict(zip("abc", units, strict=True))
                if any(given_units[name] is None for name in used):
                    values.append(None)
                    continue
                values.append(meaning(*(exact(given_units[name] or 0, name) for name in "abc")))
            for limit, (sign, holds) in itertools.product(limits, OPERATORS.items()):
                wanted = sum((sign == "!=") if value is None else holds(value, Fraction(limit)) for value in values)
                assert counted(account, f"{text} {sign} {limit:f}") == wanted, f"{text} {sign} {limit}"


def test_numbers_at_the_edges_of_what_is_stored() -> None:
    edges = [0, 1, -1, 3, 10**9, MAX_MINOR_UNITS, -MAX_MINOR_UNITS, None]
    check_numbers(list(itertools.product(edges, repeat=3)), [Decimal(0), Decimal("0.5"), Decimal(MAX_MINOR_UNITS)])


_units = st.none() | st.integers(-5, 5) | st.integers(-MAX_MINOR_UNITS, MAX_MINOR_UNITS) | st.integers(-(10**6), 10**6)


@settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))
@given(
    triples=st.lists(st.tuples(_units, _units, _units), min_size=1, max_size=12),
    limit=st.decimals(-100, 100, places=3) | st.integers(-(10**20), 10**20).map(Decimal),
)
def test_numbers_agree_with_fractions(triples: list[Any], limit: Decimal) -> None:
    check_numbers(triples, [limit])


def test_a_difference_of_one_unit_is_seen() -> None:
    """Floats would call these equal."""
    big = MAX_MINOR_UNITS
    with made(number_rows([(big, big // 100, None), (big, None, big), (big - 1, big // 100 - 1, big)])) as account:
        assert counted(account, "a = b") == 0
        assert counted(account, f"a - b = {Decimal(big % 100).scaleb(-2):f}") == 1
        assert counted(account, "a * 3 / 3 = a") == 3
        assert counted(account, "a / 3 * 3 != a") == 0
        assert counted(account, "c - a < 0") == 2


@pytest.mark.parametrize("total", [65_535, 65_536, 65_537])
def test_many_candidates_are_checked_in_steps(total: int) -> None:
    rows = [(f"c{i}", {"a": Decimal(i), "b": Decimal(i % 1000)}) for i in range(total)]
    with made(rows) as account:
        wanted = sum(i > 60 * (i % 1000) for i in range(total))
        assert counted(account, "a > 60 * b") == wanted
        assert counted(account, "not a > 60 * b") == total - wanted
        assert counted(account, "a > 60 * b and a < 1000") == sum(i > 60 * i for i in range(1000))
        assert counted(account, f"a * 2 = b + {2 * total - 2 - (total - 1) % 1000}") >= 1


def test_strings_of_two_fields() -> None:
    pool = [None, "", "a", "A", "b", "ab", "straße", "STRASSE", "Ω", "é", "e\u0301", "z", "\U0001f600"]
    rows = []
    pairs = [(x, y) for x, y in itertools.product(pool, repeat=2)]
    for i, (x, y) in enumerate(pairs):
        rows.append((f"c{i}", {k: v for k, v in (("x", x), ("y", y)) if v is not None}))

    def nfc(text: str) -> bytes:
        return normalize("NFC", text).encode()

    with made(rows) as account:
        for sign, holds in OPERATORS.items():
            wanted = sum((sign == "!=") if x is None or y is None else holds(nfc(x), nfc(y)) for x, y in pairs)
            assert counted(account, f"x {sign} y") == wanted, sign
        folded = sum(
            x is not None
            and y is not None
            and nfc(normalize("NFC", x).casefold()) == nfc(normalize("NFC", y).casefold())
            for x, y in pairs
        )
        assert counted(account, "x = ci y") == folded
        assert counted(account, "x != ci y") == len(pairs) - folded


@pytest.mark.parametrize("zone", ["UTC", "Europe/Warsaw", "America/New_York", "Pacific/Kiritimati"])
def test_days_and_instants(zone: str) -> None:
    tz = ZoneInfo(zone)
    today = NOW.astimezone(tz).date()
    days = [date(2024, 2, 28) + timedelta(days=i) for i in range(-3, 4)] + [date(2000, 2, 29), date(1, 1, 1)]
    instants = [NOW + timedelta(hours=h, minutes=29, milliseconds=h % 2) for h in range(-60, 61, 5)]
    pairs = list(itertools.product(days, instants))
    rows = [(f"c{i}", {"day": d, "other": days[i % len(days)], "seen": s}) for i, (d, s) in enumerate(pairs)]
    rows.append(("none", {}))
    others = [days[i % len(days)] for i in range(len(pairs))]
    with made(rows, zone) as account:
        for sign, holds in OPERATORS.items():
            missing = sign == "!="
            assert counted(account, f"day {sign} other") == missing + sum(
                holds(d, o) for (d, _), o in zip(pairs, others, strict=True)
            )
            assert counted(account, f"days_since(day) {sign} days_since(seen)") == missing + sum(
                holds((today - d).days, (today - s.astimezone(tz).date()).days) for d, s in pairs
            )
            for limit in (0, 23, 24):
                assert counted(account, f"age(day) * 2 {sign} {limit * 2}") == missing + sum(
                    holds(today.year - d.year - ((today.month, today.day) < (d.month, d.day)), limit) for d, _ in pairs
                )
