"""The oracle's windows, ages and anniversaries, against dates worked out by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from segidx.model.expression import Anniversary, InWindow
from segidx.model.schema import Field, FieldType, Schema
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
from segidx.testing import oracle_time
from segidx.testing.oracle import Oracle
from segidx.testing.pools import ZONES

LAST, NEXT = Direction.LAST, Direction.NEXT
MS = timedelta(milliseconds=1)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def whole(position: str, count: int, unit: Unit) -> Calendar:
    return Calendar(CalendarPosition(position), unit, count)


# zone, evaluated at, window, first instant, first instant after
INSTANT_WINDOWS: list[tuple[str, str, Window, str | None, str | None]] = [
    ("Europe/Warsaw", "2024-06-15T12:00Z", Rolling(LAST, 30, Unit.DAY), "2024-05-16T12:00Z", "2024-06-15T12:00Z"),
    ("Europe/Warsaw", "2024-06-15T12:00Z", Rolling(NEXT, 7, Unit.DAY), "2024-06-15T12:00Z", "2024-06-22T12:00Z"),
    ("Europe/Warsaw", "2024-06-15T12:00Z", Rolling(LAST, 2, Unit.WEEK), "2024-06-01T12:00Z", "2024-06-15T12:00Z"),
    ("Europe/Warsaw", "2024-06-15T12:00Z", Rolling(LAST, 90, Unit.MINUTE), "2024-06-15T10:30Z", "2024-06-15T12:00Z"),
    ("Europe/Warsaw", "2024-06-15T12:00Z", Rolling(NEXT, 5, Unit.SECOND), "2024-06-15T12:00Z", "2024-06-15T12:00:05Z"),
    # a rolling day has 24 hours, whatever the clocks do
    ("Europe/Warsaw", "2024-03-31T12:00Z", Rolling(LAST, 1, Unit.DAY), "2024-03-30T12:00Z", "2024-03-31T12:00Z"),
    # a rolling month keeps the wall clock: 14:00 in summer is 13:00 in winter's terms
    ("Europe/Warsaw", "2024-06-15T12:00Z", Rolling(LAST, 6, Unit.MONTH), "2023-12-15T13:00Z", "2024-06-15T12:00Z"),
    ("Europe/Warsaw", "2024-06-15T12:00Z", Rolling(NEXT, 6, Unit.MONTH), "2024-06-15T12:00Z", "2024-12-15T13:00Z"),
    # clamped to the month's end: 31 March to 29 February; 29 February to 28 in other years
    ("Europe/Warsaw", "2024-03-31T10:00Z", Rolling(LAST, 1, Unit.MONTH), "2024-02-29T11:00Z", "2024-03-31T10:00Z"),
    ("Europe/Warsaw", "2024-02-29T12:00Z", Rolling(LAST, 1, Unit.YEAR), "2023-02-28T12:00Z", "2024-02-29T12:00Z"),
    ("Europe/Warsaw", "2024-02-29T12:00Z", Rolling(LAST, 4, Unit.YEAR), "2020-02-29T12:00Z", "2024-02-29T12:00Z"),
    # the local day decides: 23:30 in UTC is already 1 March in Kathmandu (+05:45)
    ("Asia/Kathmandu", "2023-02-28T23:30Z", Rolling(LAST, 1, Unit.MONTH), "2023-01-31T23:30Z", "2023-02-28T23:30Z"),
    ("UTC", "2023-02-28T23:30Z", Rolling(LAST, 1, Unit.MONTH), "2023-01-28T23:30Z", "2023-02-28T23:30Z"),
    # 02:30 two months before 31 May is in the gap of 31 March: 03:30 summer time
    ("Europe/Warsaw", "2024-05-31T00:30Z", Rolling(LAST, 2, Unit.MONTH), "2024-03-31T01:30Z", "2024-05-31T00:30Z"),
    # 02:30 a month before 27 November is in the fold of 27 October: the earlier, summer time
    ("Europe/Warsaw", "2024-11-27T01:30Z", Rolling(LAST, 1, Unit.MONTH), "2024-10-27T00:30Z", "2024-11-27T01:30Z"),
    ("Europe/Warsaw", "2024-06-15T12:00Z", OlderThan(1, Unit.YEAR), None, "2023-06-15T12:00Z"),
    ("Europe/Warsaw", "2024-06-15T12:00Z", OlderThan(3, Unit.HOUR), None, "2024-06-15T09:00Z"),
    ("Europe/Warsaw", "2024-06-15T12:00Z", Ago(180, 90, Unit.DAY), "2023-12-18T12:00Z", "2024-03-17T12:00Z"),
    ("Europe/Warsaw", "2024-06-15T12:00Z", Ago(2, 0, Unit.MONTH), "2024-04-15T12:00Z", "2024-06-15T12:00Z"),
    # whole days, weeks (from Monday), months, years; 15 June 2024 is a Saturday
    ("Europe/Warsaw", "2024-06-15T12:00Z", whole("this", 1, Unit.DAY), "2024-06-14T22:00Z", "2024-06-15T22:00Z"),
    ("Europe/Warsaw", "2024-03-31T12:00Z", whole("this", 1, Unit.DAY), "2024-03-30T23:00Z", "2024-03-31T22:00Z"),
    ("Europe/Warsaw", "2024-10-27T12:00Z", whole("this", 1, Unit.DAY), "2024-10-26T22:00Z", "2024-10-27T23:00Z"),
    ("Europe/Warsaw", "2024-06-15T12:00Z", whole("last", 3, Unit.DAY), "2024-06-11T22:00Z", "2024-06-14T22:00Z"),
    ("Europe/Warsaw", "2024-06-15T12:00Z", whole("this", 1, Unit.WEEK), "2024-06-09T22:00Z", "2024-06-16T22:00Z"),
    ("Europe/Warsaw", "2024-06-16T21:59Z", whole("this", 1, Unit.WEEK), "2024-06-09T22:00Z", "2024-06-16T22:00Z"),
    ("Europe/Warsaw", "2024-06-16T22:00Z", whole("this", 1, Unit.WEEK), "2024-06-16T22:00Z", "2024-06-23T22:00Z"),
    ("Europe/Warsaw", "2024-06-15T12:00Z", whole("next", 2, Unit.WEEK), "2024-06-16T22:00Z", "2024-06-30T22:00Z"),
    ("Europe/Warsaw", "2024-06-15T12:00Z", whole("last", 3, Unit.MONTH), "2024-02-29T23:00Z", "2024-05-31T22:00Z"),
    ("Europe/Warsaw", "2024-01-15T12:00Z", whole("last", 1, Unit.MONTH), "2023-11-30T23:00Z", "2023-12-31T23:00Z"),
    ("Europe/Warsaw", "2024-06-15T12:00Z", whole("next", 1, Unit.YEAR), "2024-12-31T23:00Z", "2025-12-31T23:00Z"),
    ("Europe/Warsaw", "2023-12-31T23:00Z", whole("this", 1, Unit.YEAR), "2023-12-31T23:00Z", "2024-12-31T23:00Z"),
    # 4 November 2018 began at 01:00 in Sao Paulo; 3 November 2024 began in Havana's fold
    ("America/Sao_Paulo", "2018-11-04T12:00Z", whole("this", 1, Unit.DAY), "2018-11-04T03:00Z", "2018-11-05T02:00Z"),
    ("America/Havana", "2024-11-03T12:00Z", whole("this", 1, Unit.DAY), "2024-11-03T04:00Z", "2024-11-04T05:00Z"),
    # 31 December 2011 followed 29 December in Apia
    ("Pacific/Apia", "2011-12-31T12:00Z", whole("last", 1, Unit.DAY), "2011-12-30T10:00Z", "2011-12-31T10:00Z"),
    ("Pacific/Apia", "2011-12-30T12:00Z", whole("last", 2, Unit.DAY), "2011-12-29T10:00Z", "2011-12-30T10:00Z"),
    (
        "Europe/Warsaw",
        "2000-01-01T00:00Z",
        Absolute(date(2024, 1, 1), date(2024, 7, 1)),
        "2023-12-31T23:00Z",
        "2024-06-30T22:00Z",
    ),
    (
        "Europe/Warsaw",
        "2000-01-01T00:00Z",
        Absolute(instant("2024-01-01T00:00Z"), instant("2024-01-01T02:00+01:00")),
        "2024-01-01T00:00Z",
        "2024-01-01T01:00Z",
    ),
    ("Europe/Warsaw", "2000-01-01T00:00Z", Absolute(date(2024, 1, 1), None), "2023-12-31T23:00Z", None),
    ("Europe/Warsaw", "2000-01-01T00:00Z", Absolute(None, date(2024, 1, 1)), None, "2023-12-31T23:00Z"),
    # ends beyond the calendar
    ("Europe/Warsaw", "2024-06-15T12:00Z", Rolling(LAST, 100_000, Unit.YEAR), None, "2024-06-15T12:00Z"),
    ("Europe/Warsaw", "2024-06-15T12:00Z", Rolling(NEXT, 100_000, Unit.YEAR), "2024-06-15T12:00Z", None),
    ("Europe/Warsaw", "2024-06-15T12:00Z", Ago(100_000, 1, Unit.YEAR), None, "2023-06-15T12:00Z"),
    ("Europe/Warsaw", "2024-06-15T12:00Z", AllTime(), None, None),
]
FIRST_INSTANT = instant("0001-01-01T00:00Z")
LAST_INSTANT = instant("9999-12-31T23:59:59.999Z")


@pytest.mark.parametrize(("zone", "at", "window", "start", "end"), INSTANT_WINDOWS)
def test_windows_of_timestamps(zone: str, at: str, window: Window, start: str | None, end: str | None) -> None:
    oracle = Oracle(Schema((Field("t", FieldType.TIMESTAMP),)), zone)
    inside = {
        "first": FIRST_INSTANT if start is None else instant(start),
        "last": LAST_INSTANT if end is None else instant(end) - MS,
    }
    outside = {}
    if start is not None:
        outside["before"] = instant(start) - MS
    if end is not None:
        outside["after"] = instant(end)
    oracle.upsert([(name, {"t": when}) for name, when in (inside | outside).items()])
    oracle.upsert([("missing", {})])
    assert oracle.members(InWindow("t", window), instant(at)) == set(inside)


def test_nothing_is_older_than_time_itself() -> None:
    oracle = Oracle(Schema((Field("t", FieldType.TIMESTAMP), Field("d", FieldType.DATE))), "Asia/Kathmandu")
    oracle.upsert([("a", {"t": FIRST_INSTANT, "d": date.min}), ("b", {"t": LAST_INSTANT, "d": date.max})])
    for field_name in ("t", "d"):
        assert oracle.members(InWindow(field_name, OlderThan(100_000, Unit.YEAR)), FIRST_INSTANT) == set()
        assert oracle.members(InWindow(field_name, OlderThan(1, Unit.YEAR)), LAST_INSTANT) == {"a"}
        assert oracle.members(InWindow(field_name, whole("next", 1, Unit.YEAR)), LAST_INSTANT) == set()
        assert oracle.members(InWindow(field_name, AllTime()), LAST_INSTANT) == {"a", "b"}


# evaluated at (in Warsaw), window, first day, last day (both inside)
DATE_WINDOWS: list[tuple[str, Window, str, str]] = [
    ("2024-06-15T12:00Z", Rolling(LAST, 7, Unit.DAY), "2024-06-09", "2024-06-15"),
    ("2024-06-15T21:59Z", Rolling(LAST, 1, Unit.DAY), "2024-06-15", "2024-06-15"),
    ("2024-06-15T22:00Z", Rolling(LAST, 1, Unit.DAY), "2024-06-16", "2024-06-16"),
    ("2024-06-15T12:00Z", Rolling(NEXT, 7, Unit.DAY), "2024-06-15", "2024-06-21"),
    ("2024-06-15T12:00Z", Rolling(NEXT, 2, Unit.WEEK), "2024-06-15", "2024-06-28"),
    ("2024-06-15T12:00Z", Rolling(LAST, 1, Unit.MONTH), "2024-05-16", "2024-06-15"),
    ("2024-03-31T12:00Z", Rolling(LAST, 1, Unit.MONTH), "2024-03-01", "2024-03-31"),
    ("2024-02-29T12:00Z", Rolling(LAST, 1, Unit.YEAR), "2023-03-01", "2024-02-29"),
    ("2024-02-29T12:00Z", Rolling(NEXT, 1, Unit.YEAR), "2024-02-29", "2025-02-27"),
    ("2024-06-15T12:00Z", OlderThan(1, Unit.YEAR), "0001-01-01", "2023-06-15"),
    ("2024-06-15T12:00Z", OlderThan(10, Unit.DAY), "0001-01-01", "2024-06-05"),
    ("2024-06-15T12:00Z", Ago(60, 30, Unit.DAY), "2024-04-17", "2024-05-16"),
    ("2024-06-15T12:00Z", whole("this", 1, Unit.DAY), "2024-06-15", "2024-06-15"),
    ("2024-06-15T12:00Z", whole("this", 1, Unit.MONTH), "2024-06-01", "2024-06-30"),
    ("2024-06-15T12:00Z", whole("last", 1, Unit.WEEK), "2024-06-03", "2024-06-09"),
    ("2024-06-15T12:00Z", whole("next", 2, Unit.YEAR), "2025-01-01", "2026-12-31"),
    ("2024-06-15T12:00Z", whole("last", 4, Unit.MONTH), "2024-02-01", "2024-05-31"),
    ("2024-06-15T12:00Z", Absolute(date(2024, 2, 1), date(2024, 3, 1)), "2024-02-01", "2024-02-29"),
    ("2024-06-15T12:00Z", Absolute(date(2024, 2, 1), None), "2024-02-01", "9999-12-31"),
    ("2024-06-15T12:00Z", Rolling(LAST, 100_000, Unit.MONTH), "0001-01-01", "2024-06-15"),
    ("2024-06-15T12:00Z", Rolling(NEXT, 100_000, Unit.MONTH), "2024-06-15", "9999-12-31"),
    ("2024-06-15T12:00Z", AllTime(), "0001-01-01", "9999-12-31"),
]


@pytest.mark.parametrize(("at", "window", "first", "last"), DATE_WINDOWS)
def test_windows_of_dates(at: str, window: Window, first: str, last: str) -> None:
    oracle = Oracle(Schema((Field("d", FieldType.DATE),)), "Europe/Warsaw")
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    days = {"first": start, "last": end}
    if start > date.min:
        days["before"] = start - timedelta(days=1)
    if end < date.max:
        days["after"] = end + timedelta(days=1)
    oracle.upsert([*((name, {"d": day}) for name, day in days.items()), ("missing", {})])
    assert oracle.members(InWindow("d", window), instant(at)) == {"first", "last"}


LEAPLING = "2000-02-29"
# today, window, date of birth, whether an anniversary lies within
ANNIVERSARIES: list[tuple[str, Window, str, bool]] = [
    ("2024-12-28", Rolling(NEXT, 7, Unit.DAY), "1980-12-27", False),
    ("2024-12-28", Rolling(NEXT, 7, Unit.DAY), "1980-12-28", True),
    ("2024-12-28", Rolling(NEXT, 7, Unit.DAY), "1980-12-31", True),
    ("2024-12-28", Rolling(NEXT, 7, Unit.DAY), "1990-01-03", True),  # over the year's end
    ("2024-12-28", Rolling(NEXT, 7, Unit.DAY), "1990-01-04", False),
    ("2024-12-28", Rolling(NEXT, 7, Unit.DAY), "2030-12-30", True),  # before birth too
    ("2024-01-02", Rolling(LAST, 3, Unit.DAY), "1980-12-31", True),
    ("2024-01-02", Rolling(LAST, 3, Unit.DAY), "1980-12-30", False),
    ("2023-02-27", Rolling(NEXT, 1, Unit.DAY), LEAPLING, False),
    ("2023-02-27", Rolling(NEXT, 2, Unit.DAY), LEAPLING, True),  # on the 28th
    ("2023-03-01", Rolling(NEXT, 1, Unit.DAY), LEAPLING, False),
    ("2024-02-28", Rolling(NEXT, 1, Unit.DAY), LEAPLING, False),  # on the 29th
    ("2024-02-28", Rolling(NEXT, 2, Unit.DAY), LEAPLING, True),
    ("2024-02-28", Rolling(NEXT, 1, Unit.DAY), "1999-02-28", True),
    ("2024-06-15", whole("this", 1, Unit.MONTH), "1999-06-30", True),
    ("2024-06-15", whole("this", 1, Unit.MONTH), "1999-07-01", False),
    ("2024-06-15", whole("last", 1, Unit.YEAR), LEAPLING, True),
    ("2024-06-15", Ago(30, 20, Unit.DAY), "1999-05-16", False),  # 16 May is 30 days ago
    ("2024-06-15", Ago(30, 20, Unit.DAY), "1999-05-17", True),
    ("2024-06-15", Ago(30, 20, Unit.DAY), "1999-05-26", True),
    ("2024-06-15", Ago(30, 20, Unit.DAY), "1999-05-27", False),
    ("2024-06-15", Absolute(date(2030, 3, 1), date(2030, 3, 3)), "1999-03-02", True),
    ("2024-06-15", Absolute(date(2030, 3, 1), date(2030, 3, 3)), "1999-03-03", False),
    ("2024-06-15", Absolute(date(2024, 2, 29), date(2025, 2, 28)), "1999-02-28", False),  # 365 days, no 28 February
    ("2024-06-15", Absolute(date(2024, 2, 29), date(2025, 2, 28)), LEAPLING, True),
    ("2024-06-15", Rolling(NEXT, 400, Unit.DAY), "1999-06-14", True),
    ("2024-06-15", Rolling(LAST, 1, Unit.YEAR), "1999-06-16", True),
    ("2024-06-15", Rolling(LAST, 100_000, Unit.YEAR), LEAPLING, True),
    ("2024-06-15", Rolling(NEXT, 100_000, Unit.YEAR), "1999-06-14", True),
]


@pytest.mark.parametrize(("today", "window", "born", "expected"), ANNIVERSARIES)
def test_anniversaries(today: str, window: Window, born: str, expected: bool) -> None:
    schema = Schema((Field("d", FieldType.DATE), Field("t", FieldType.TIMESTAMP)))
    oracle = Oracle(schema, "America/New_York")
    # 23:30 of that evening in New York, the next day in UTC
    evening = datetime.fromisoformat(f"{born}T23:30").replace(tzinfo=oracle.local.zone)
    oracle.upsert([("a", {"d": date.fromisoformat(born), "t": evening}), ("missing", {})])
    at = datetime.fromisoformat(f"{today}T22:00").replace(tzinfo=oracle.local.zone)
    for field_name in ("d", "t"):
        assert oracle.members(Anniversary(field_name, window), at) == ({"a"} if expected else set())


@pytest.mark.parametrize(
    ("born", "today", "years"),
    [
        ("2000-06-15", "2024-06-14", 23),
        ("2000-06-15", "2024-06-15", 24),
        ("2000-06-15", "2000-06-15", 0),
        (LEAPLING, "2023-02-27", 22),
        (LEAPLING, "2023-02-28", 23),
        (LEAPLING, "2024-02-28", 23),
        (LEAPLING, "2024-02-29", 24),
        ("2024-06-16", "2024-06-15", -1),
        ("2025-06-15", "2024-06-15", -1),
        ("2025-06-16", "2024-06-15", -2),
        ("2028-02-29", "2027-02-28", -1),
        ("2028-02-29", "2027-02-27", -2),
        ("0001-01-01", "9999-12-31", 9998),
        ("9999-12-31", "0001-01-01", -9999),
    ],
)
def test_age(born: str, today: str, years: int) -> None:
    assert oracle_time.age(date.fromisoformat(born).toordinal(), date.fromisoformat(today).toordinal()) == years


def test_the_calendar_goes_on() -> None:
    for day in (-1_000_000, -1, 0, 1, 146_097, 3_652_059, 3_652_060, 40_000_000):
        assert oracle_time.ordinal(*oracle_time.civil(day)) == day
    assert oracle_time.civil(0) == (0, 12, 31)
    assert oracle_time.civil(date.max.toordinal() + 1) == (10_000, 1, 1)
    assert oracle_time.month_length(0, 2) == 29
    assert oracle_time.month_length(1900, 2) == 28
    assert oracle_time.add_months(date(2024, 1, 31).toordinal(), 1) == date(2024, 2, 29).toordinal()
    assert oracle_time.add_months(date(2024, 1, 31).toordinal(), -11) == date(2023, 2, 28).toordinal()


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("day", ["2024-03-31", "2024-10-27", "2011-12-30", "2018-11-04", "2010-11-07", "2024-04-07"])
def test_local_times_by_exhaustion(zone: str, day: str) -> None:
    """Every quarter of an hour of a day: the first instant that shows it, or, in a gap, the clock moved forward."""
    local = oracle_time.LocalTime(zone)
    number = date.fromisoformat(day).toordinal()
    quarter = 900_000
    around = oracle_time.millis(instant(f"{day}T00:00Z"))
    shown: dict[tuple[int, int], int] = {}
    for at in range(around - 30 * 4 * quarter, around + 50 * 4 * quarter, quarter):
        shown.setdefault(local.wall(at), at)
    for ms_of_day in range(0, 96 * quarter, quarter):
        found = local.instant(number, ms_of_day)
        if (number, ms_of_day) in shown:
            assert found == shown[number, ms_of_day]
        else:
            wall_day, wall_ms = local.wall(found)
            assert (wall_day, wall_ms) > (number, ms_of_day)
            # The gap is as long as the clock moved, and the clock had not shown the time before it.
            length = (wall_day - number) * 96 * quarter + wall_ms - ms_of_day
            before = local.wall(found - length)
            assert before < (number, ms_of_day)


def test_local_days_at_the_ends_of_time() -> None:
    kathmandu, new_york = oracle_time.LocalTime("Asia/Kathmandu"), oracle_time.LocalTime("America/New_York")
    first, last = oracle_time.millis(FIRST_INSTANT), oracle_time.millis(LAST_INSTANT)
    assert kathmandu.day(last) == date.max.toordinal() + 1
    assert new_york.day(first) == 0
    assert oracle_time.LocalTime("UTC").wall(first) == (1, 0)
    assert new_york.instant(1) == first + (4 * 3600 + 56 * 60 + 2) * 1000  # local mean time


def test_dates_that_repeat_are_compared_by_the_wall_clock() -> None:
    """In St John's 00:01 of 7 November 2010 became 23:01 of the 6th, so a later instant has an earlier date."""
    local = oracle_time.LocalTime("America/St_Johns")
    first_midnight = oracle_time.millis(instant("2010-11-07T02:30Z"))
    assert local.instant(date(2010, 11, 7).toordinal()) == first_midnight
    assert local.day(first_midnight) == date(2010, 11, 7).toordinal()
    assert local.day(first_midnight + 90_000) == date(2010, 11, 6).toordinal()
    assert datetime.fromtimestamp((first_midnight + 90_000) / 1000, UTC) == instant("2010-11-07T02:31:30Z")
