"""Small pools of values that data and expressions share, so that random predicates hit, edges included.

`pools_for(evaluated_at, zone)` puts instants and dates where windows begin and end at that instant: N units before and
after, local midnights, month ends, anniversaries; plus the extremes. It must import nothing but `segidx/model` and the
oracle's calendar.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from segidx.model.schema import MAX_MINOR_UNITS, MAX_STRING_BYTES
from segidx.model.windows import Unit
from segidx.testing import oracle_time

ZONES = (
    "UTC",
    "Europe/Warsaw",
    "America/New_York",
    "Asia/Kathmandu",  # +05:45
    "Pacific/Apia",  # skipped 30 December 2011
    "America/Sao_Paulo",  # until 2019 the gap was at midnight
    "Australia/Lord_Howe",  # daylight saving of half an hour
    "America/St_Johns",  # until 2011 clocks were set back over midnight, so that dates repeated
)

# Instants at which time behaves oddly in some zone, by what they are.
NOTABLE_INSTANTS = (
    datetime(2024, 6, 15, 12, 0, tzinfo=UTC),  # nothing odd: hypothesis shrinks towards it
    datetime(2024, 2, 29, 12, 0, tzinfo=UTC),  # leap day
    datetime(2023, 2, 28, 23, 30, tzinfo=UTC),  # the last of February, already March in Kathmandu
    datetime(2024, 3, 31, 0, 59, 59, 999000, tzinfo=UTC),  # the last ms before Warsaw's gap
    datetime(2024, 3, 31, 1, 0, tzinfo=UTC),  # just after it; also a month's end
    datetime(2024, 10, 27, 0, 30, tzinfo=UTC),  # 02:30 in Warsaw, the first time
    datetime(2024, 10, 27, 1, 30, tzinfo=UTC),  # 02:30 again
    datetime(2024, 4, 30, 0, 30, tzinfo=UTC),  # 02:30 in Warsaw, a month after the gap
    datetime(2024, 11, 3, 5, 30, tzinfo=UTC),  # 01:30 in New York, the first time
    datetime(2024, 3, 10, 7, 0, tzinfo=UTC),  # New York's gap
    datetime(2023, 12, 31, 23, 0, tzinfo=UTC),  # midnight of the new year in Warsaw
    datetime(2024, 1, 1, 0, 0, tzinfo=UTC),
    datetime(2023, 12, 31, 22, 59, 59, 999000, tzinfo=UTC),
    datetime(2011, 12, 31, 9, 59, 59, 999000, tzinfo=UTC),  # just before and in the skipped day of Apia
    datetime(2012, 1, 2, 3, 0, tzinfo=UTC),
    datetime(2018, 11, 4, 3, 0, tzinfo=UTC),  # Sao Paulo's midnight that was not
    datetime(2010, 11, 7, 3, 30, tzinfo=UTC),  # St John's after 00:01 became 23:01 of the day before
    datetime(2024, 5, 31, 21, 59, 59, 999000, tzinfo=UTC),
    datetime(2021, 3, 1, 0, 0, tzinfo=UTC),
    datetime(1970, 1, 1, 0, 0, tzinfo=UTC),
)
DEFAULT_INSTANT = NOTABLE_INSTANTS[0]

STRINGS = (
    "a",
    "A",
    "ab",
    "b",
    "abc",
    "",
    "PL",
    "pl",
    "DE",
    "vip",
    "VIP",
    "ann@example.com",
    "bob@example.org",
    "BOB@EXAMPLE.ORG",
    "Łódź",
    "łódź",
    "Straße",
    "STRASSE",
    "caf\u00e9",
    "cafe\u0301",  # the same after NFC
    "\u2126",  # the ohm sign, which NFC makes an omega
    "\ufb01n",  # a ligature, which folds to "fin"
    "fin",
    "\u01f0",  # folding decomposes it, so that NFC must follow
    "\uff5e",  # above the surrogates: UTF-8 and UTF-16 order it differently from the next
    "\U0001f600",
    "İx",
    "a b",
    " a",
    "a\x00b",
    "a\nb",
    "a.b*c",
    'quo"te\\',
    "x" * MAX_STRING_BYTES,
    "x" * (MAX_STRING_BYTES - 1) + "y",
)
ABSENT_STRINGS = ("zzz", "aB", "CAFÉ", "ŁÓDŹ", "strasse", "nowhere", "ξένος")

_WHOLE = tuple(Decimal(n) for n in (0, 1, -1, 2, 3, 5, 10, 18, 30, 100, -100, 1000, 65535, 65536))
_FINE = tuple(Decimal(n) for n in ("0.5", "19.99", "-19.99", "0.01", "99.995", "0.000000001"))
ABSENT_NUMBERS = (Decimal("7"), Decimal("0.0000000001"), Decimal("2.005"), Decimal("1E+30"), Decimal("-1E+30"))


@lru_cache(maxsize=16)
def numbers(scale: int) -> tuple[Decimal, ...]:
    """Numbers that a field of that scale may hold, its extremes last."""
    step, top = Decimal(1).scaleb(-scale), Decimal(MAX_MINOR_UNITS).scaleb(-scale)
    limit = Decimal(MAX_MINOR_UNITS) / 10**scale
    fitting = [n for n in _WHOLE if abs(n) < limit]
    fitting += [n for n in _FINE if n == n.quantize(step)]
    return (*fitting, step, 1 + step, top, -top, top - step)


@dataclass(frozen=True)
class Pools:
    """Where values are drawn from. The `absent` ones appear in expressions only. Common values come first."""

    instants: tuple[datetime, ...]  # UTC
    dates: tuple[date, ...]
    strings: tuple[str, ...] = STRINGS
    tags: tuple[str, ...] = tuple(s for s in STRINGS if s)
    absent_strings: tuple[str, ...] = ABSENT_STRINGS
    absent_numbers: tuple[Decimal, ...] = ABSENT_NUMBERS
    contact_ids: tuple[str, ...] = (
        *(f"c{i}" for i in range(40)),
        "é",
        "e\u0301",  # another id: ids are not normalised
        "\U0001f600",
        "i" * 255,
        " ",
        "a/b\x00c",
    )

    def numbers(self, scale: int) -> tuple[Decimal, ...]:
        return numbers(scale)


@lru_cache(maxsize=256)
def pools_for(evaluated_at: datetime = DEFAULT_INSTANT, zone: str = "UTC") -> Pools:
    """Pools around an instant in a zone."""
    local, at = oracle_time.LocalTime(zone), oracle_time.millis(evaluated_at)
    today = local.day(at)
    days = [today + n for n in (0, -1, 1, -2, 2, -3, -6, -7, -8, 6, 7, 8, -29, -30, -31, 30, -59, -60, -61, -90, 89)]
    for unit in (Unit.WEEK, Unit.MONTH, Unit.YEAR):
        start = oracle_time.start_of(today, unit)
        days += [oracle_time.add_days(start, n, unit) + back for n in (-1, 0, 1) for back in (-1, 0)]
        days += [oracle_time.add_days(today, n, unit) + off for n in (-3, -2, -1, 1) for off in (-1, 0, 1)]
    births = [oracle_time.add_months(day, -12 * years) for day in days[:12] for years in (1, 18, 40)]
    edges = [date(2000, 2, 29), date(1996, 2, 29), date(1999, 2, 28), date(1999, 3, 1), date(1970, 1, 1)]
    dates = [date.fromordinal(day) for day in dict.fromkeys(days + births)] + [*edges, date.min, date.max]

    instants = [at, at - 1, at + 1]
    for unit, counts in (
        (Unit.HOUR, (1, 2, 24)),
        (Unit.DAY, (1, 7, 30, 60, 90)),
        (Unit.MONTH, (1, 2, 3, 12)),
        (Unit.YEAR, (1, 18)),
    ):
        instants += [local.add(at, sign * n, unit) + off for n in counts for sign in (-1, 1) for off in (0, -1)]
    instants += [local.instant(day) + off for day in dict.fromkeys(days) for off in (0, -1)]
    instants += [local.instant(today) + hour * 1_800_000 for hour in range(0, 48, 5)]
    in_order = [from_millis(instant) for instant in dict.fromkeys(instants)]
    extremes = [
        datetime(1900, 1, 1, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
    ]
    return Pools(instants=(*in_order, *extremes), dates=tuple(dates))


def from_millis(instant_ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=instant_ms)
