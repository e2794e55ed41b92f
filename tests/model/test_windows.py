"""Windows resolve to half-open bounds, of instants and dates, over clock changes, month ends and the ends of time."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segidx.model.errors import InvalidExpression, InvalidValue
from segidx.model.windows import (
    MAX_INSTANT,
    MIN_INSTANT,
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
    from_days,
    from_millis,
    local_date,
    local_instant,
    midnight,
    resolve_dates,
    resolve_instants,
    shift_date,
    shift_instant,
    shift_months,
    to_days,
    to_millis,
)

WARSAW = ZoneInfo("Europe/Warsaw")
ZONES = [ZoneInfo(z) for z in ("UTC", "Europe/Warsaw", "America/New_York", "Asia/Kathmandu", "Pacific/Apia")]
LAST, THIS, NEXT = CalendarPosition
TODAY = date(2026, 3, 18)  # a Wednesday
NOW = to_millis(datetime(2026, 3, 18, 9, 30, tzinfo=UTC))


def dates(window: Window, today: date = TODAY) -> tuple[date | None, date | None]:
    start, end = resolve_dates(window, today)
    return None if start is None else from_days(start), None if end is None else from_days(end)


def instants(window: Window, at: int = NOW, zone: ZoneInfo = WARSAW) -> tuple[str | None, str | None]:
    start, end = resolve_instants(window, at, zone)
    return tuple(None if b is None else from_millis(b).astimezone(zone).isoformat() for b in (start, end))  # type: ignore


@pytest.mark.parametrize(
    ("window", "first", "after"),
    [
        (Rolling(Direction.LAST, 1, Unit.DAY), TODAY, date(2026, 3, 19)),
        (Rolling(Direction.LAST, 90, Unit.DAY), date(2025, 12, 19), date(2026, 3, 19)),
        (Rolling(Direction.LAST, 1, Unit.MONTH), date(2026, 2, 19), date(2026, 3, 19)),
        (Rolling(Direction.NEXT, 1, Unit.DAY), TODAY, date(2026, 3, 19)),
        (Rolling(Direction.NEXT, 1, Unit.WEEK), TODAY, date(2026, 3, 25)),
        (OlderThan(1, Unit.YEAR), None, date(2025, 3, 19)),
        (Ago(180, 90, Unit.DAY), date(2025, 9, 20), date(2025, 12, 19)),
        (Ago(1, 0, Unit.DAY), TODAY, date(2026, 3, 19)),
        (Calendar(THIS, Unit.DAY), TODAY, date(2026, 3, 19)),
        (Calendar(LAST, Unit.DAY), date(2026, 3, 17), TODAY),
        (Calendar(NEXT, Unit.DAY), date(2026, 3, 19), date(2026, 3, 20)),
        (Calendar(THIS, Unit.WEEK), date(2026, 3, 16), date(2026, 3, 23)),
        (Calendar(LAST, Unit.WEEK, 2), date(2026, 3, 2), date(2026, 3, 16)),
        (Calendar(LAST, Unit.MONTH, 3), date(2025, 12, 1), date(2026, 3, 1)),
        (Calendar(NEXT, Unit.MONTH, 2), date(2026, 4, 1), date(2026, 6, 1)),
        (Calendar(THIS, Unit.YEAR), date(2026, 1, 1), date(2027, 1, 1)),
        (Absolute(date(2026, 1, 1), date(2026, 2, 1)), date(2026, 1, 1), date(2026, 2, 1)),
        (Absolute(None, TODAY), None, TODAY),
        (AllTime(), None, None),
    ],
)
def test_dates(window: Window, first: date | None, after: date | None) -> None:
    assert dates(window) == (first, after)


@pytest.mark.parametrize(
    ("window", "start", "end"),
    [
        (Rolling(Direction.LAST, 15, Unit.MINUTE), "2026-03-18T10:15:00+01:00", "2026-03-18T10:30:00+01:00"),
        (Rolling(Direction.NEXT, 60, Unit.SECOND), "2026-03-18T10:30:00+01:00", "2026-03-18T10:31:00+01:00"),
        # 24 hours each, though summer time begins on 29 March: the local hour moves.
        (Rolling(Direction.NEXT, 14, Unit.DAY), "2026-03-18T10:30:00+01:00", "2026-04-01T11:30:00+02:00"),
        # By the calendar the local hour stays.
        (Rolling(Direction.NEXT, 1, Unit.MONTH), "2026-03-18T10:30:00+01:00", "2026-04-18T10:30:00+02:00"),
        (OlderThan(1, Unit.YEAR), None, "2025-03-18T10:30:00+01:00"),
        (Ago(2, 1, Unit.HOUR), "2026-03-18T08:30:00+01:00", "2026-03-18T09:30:00+01:00"),
        (Calendar(THIS, Unit.MONTH), "2026-03-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00"),
        (Calendar(LAST, Unit.WEEK), "2026-03-09T00:00:00+01:00", "2026-03-16T00:00:00+01:00"),
        (Absolute(date(2026, 4, 1), None), "2026-04-01T00:00:00+02:00", None),
        (Absolute(None, datetime(2026, 4, 1, tzinfo=UTC)), None, "2026-04-01T02:00:00+02:00"),
        (AllTime(), None, None),
    ],
)
def test_instants(window: Window, start: str | None, end: str | None) -> None:
    assert instants(window) == (start, end)


def test_month_ends_are_clamped() -> None:
    assert shift_months(date(2026, 3, 31), -1) == date(2026, 2, 28)
    assert shift_months(date(2024, 3, 31), -1) == date(2024, 2, 29)
    assert shift_date(date(2024, 2, 29), 1, Unit.YEAR) == date(2025, 2, 28)
    assert shift_months(date(2026, 1, 31), -13) == date(2024, 12, 31)
    assert shift_months(date(1, 1, 1), -1) is None
    assert shift_date(date.max, 1, Unit.DAY) is None


def test_clock_changes() -> None:
    # 2026-03-29 02:00 to 03:00 does not exist in Warsaw; 2026-10-25 02:00 to 03:00 occurs twice.
    assert from_millis(local_instant(datetime(2026, 3, 29, 2, 30), WARSAW)) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert from_millis(local_instant(datetime(2026, 10, 25, 2, 30), WARSAW)) == datetime(
        2026, 10, 25, 0, 30, tzinfo=UTC
    )
    second_pass = to_millis(datetime(2026, 10, 25, 1, 30, tzinfo=UTC))
    assert shift_instant(second_pass, 0, Unit.MONTH, WARSAW) == second_pass
    assert resolve_instants(Ago(1, 0, Unit.MONTH), second_pass, WARSAW)[1] == second_pass
    # The day that begins at 01:00, since the clock skipped midnight.
    sao_paulo = ZoneInfo("America/Sao_Paulo")
    assert from_millis(midnight(date(2018, 11, 4), sao_paulo)) == datetime(2018, 11, 4, 3, tzinfo=UTC)
    # Samoa skipped 30 December 2011.
    apia = ZoneInfo("Pacific/Apia")
    assert midnight(date(2011, 12, 30), apia) == midnight(date(2011, 12, 31), apia)


def test_the_ends_of_time() -> None:
    for zone in ZONES:
        assert local_date(MIN_INSTANT, zone) == date.min
        assert local_date(MAX_INSTANT, zone) == date.max
        assert shift_instant(MIN_INSTANT, -1, Unit.MONTH, zone) is None
        assert shift_instant(MAX_INSTANT, 1, Unit.YEAR, zone) is None
        assert midnight(date.min, zone) < midnight(date.max, zone)
    assert resolve_instants(OlderThan(9999, Unit.YEAR), NOW, WARSAW) == (None, MIN_INSTANT)
    assert resolve_instants(Rolling(Direction.LAST, 9999, Unit.YEAR), NOW, WARSAW) == (None, NOW)
    assert resolve_instants(Rolling(Direction.NEXT, 100_000, Unit.YEAR), NOW, WARSAW) == (NOW, None)
    assert dates(OlderThan(9999, Unit.YEAR)) == (None, date.min)
    assert dates(Rolling(Direction.LAST, 9999, Unit.YEAR)) == (None, date(2026, 3, 19))
    assert dates(Rolling(Direction.NEXT, 9999, Unit.YEAR)) == (TODAY, None)
    assert dates(Calendar(THIS, Unit.YEAR), date.max) == (date(9999, 1, 1), None)
    assert dates(Calendar(LAST, Unit.YEAR), date(1, 5, 5)) == (None, date.min)


def test_dates_refuse_what_is_finer() -> None:
    for window in (Rolling(Direction.LAST, 3, Unit.HOUR), OlderThan(3, Unit.MINUTE), Ago(3, 1, Unit.SECOND)):
        with pytest.raises(InvalidExpression, match="a date cannot be compared with"):
            resolve_dates(window, TODAY)
    with pytest.raises(InvalidExpression, match="not with instants"):
        resolve_dates(Absolute(datetime(2026, 1, 1, tzinfo=UTC), None), TODAY)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Rolling(Direction.LAST, 0, Unit.DAY),
        lambda: Rolling(Direction.LAST, True, Unit.DAY),
        lambda: Rolling(Direction.LAST, 100_001, Unit.DAY),
        lambda: OlderThan(-1, Unit.DAY),
        lambda: Ago(3, 3, Unit.DAY),
        lambda: Ago(3, -1, Unit.DAY),
        lambda: Calendar(LAST, Unit.HOUR),
        lambda: Calendar(THIS, Unit.WEEK, 2),
        lambda: Absolute(None, None),
        lambda: Absolute(TODAY, TODAY),
        lambda: Absolute(TODAY, datetime(2027, 1, 1, tzinfo=UTC)),
        lambda: Absolute("2026-01-01", None),  # type: ignore[arg-type]
    ],
)
def test_windows_that_cannot_be(build) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidExpression):
        build()


def test_an_instant_needs_a_zone() -> None:
    with pytest.raises(InvalidValue, match="no time zone"):
        Absolute(datetime(2026, 1, 1), None)


_AT = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(to_millis)


@given(_AT, st.sampled_from(ZONES), st.integers(1, 50), st.sampled_from(Unit))
def test_neighbouring_windows_meet(at: int, zone: ZoneInfo, count: int, unit: Unit) -> None:
    last = resolve_instants(Rolling(Direction.LAST, count, unit), at, zone)
    older = resolve_instants(OlderThan(count, unit), at, zone)
    ago = resolve_instants(Ago(count, 0, unit), at, zone)
    assert last[1] == at
    assert older == (None, last[0])
    assert ago == last
    if unit.is_calendar:
        before = resolve_instants(Calendar(LAST, unit, count), at, zone)
        this = resolve_instants(Calendar(THIS, unit), at, zone)
        after = resolve_instants(Calendar(NEXT, unit, count), at, zone)
        assert before[1] == this[0]
        assert this[1] == after[0]
        assert before[0] < before[1] <= after[0] < after[1]  # type: ignore[operator]


@given(
    st.dates(date(1000, 1, 1), date(3000, 1, 1)), st.integers(1, 50), st.sampled_from([Unit.DAY, Unit.WEEK, Unit.MONTH])
)
def test_neighbouring_windows_of_dates_meet(today: date, count: int, unit: Unit) -> None:
    last, older = dates(Rolling(Direction.LAST, count, unit), today), dates(OlderThan(count, unit), today)
    assert older == (None, last[0])
    assert last[1] == today + timedelta(days=1)
    assert dates(Ago(count, 0, unit), today) == last
    this, before = dates(Calendar(THIS, unit), today), dates(Calendar(LAST, unit, count), today)
    assert before[1] == this[0]
    assert this[0] <= today < this[1]  # type: ignore[operator]


@given(_AT, st.sampled_from(ZONES))
def test_an_instant_lies_in_its_local_day(at: int, zone: ZoneInfo) -> None:
    day = local_date(at, zone)
    assert midnight(day, zone) <= at
    assert from_millis(at).astimezone(zone).date() == day
    assert from_days(to_days(day)) == day
