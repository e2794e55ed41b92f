"""The oracle's own reading of time: local days, windows, ages and anniversaries, the slow and obvious way.

It must not import the resolving functions of `segidx.model.windows`: two readings written apart are compared by the
tests. Days are ordinals of the proleptic Gregorian calendar (`date.toordinal`: 1 is 0001-01-01), instants are integer
milliseconds since 1970 UTC. The calendar goes on before year 1 and after 9999, so arithmetic never runs off its end.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

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

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_DAY_MS = 86_400_000
_DAYS_IN_400_YEARS = 146_097  # the Gregorian calendar repeats after them, weekdays included
_FIXED_MS = {
    Unit.SECOND: 1000,
    Unit.MINUTE: 60 * 1000,
    Unit.HOUR: 60 * 60 * 1000,
    Unit.DAY: 24 * 60 * 60 * 1000,
    Unit.WEEK: 7 * 24 * 60 * 60 * 1000,
}

Range = tuple[int | None, int | None]  # half-open [start, end); None is open


def millis(instant: datetime) -> int:
    """Milliseconds since 1970 UTC of an aware instant of whole milliseconds."""
    return (instant - _EPOCH) // timedelta(milliseconds=1)


def ordinal(year: int, month: int, day: int) -> int:
    """The ordinal of a day of any year, negative ones too."""
    cycles, year_in_cycle = divmod(year - 1, 400)
    return date(year_in_cycle + 1, month, day).toordinal() + cycles * _DAYS_IN_400_YEARS


def civil(day: int) -> tuple[int, int, int]:
    """Year, month and day of an ordinal; the inverse of `ordinal`."""
    cycles, day_in_cycle = divmod(day - 1, _DAYS_IN_400_YEARS)
    found = date.fromordinal(day_in_cycle + 1)
    return found.year + cycles * 400, found.month, found.day


def month_length(year: int, month: int) -> int:
    following = (year + 1, 1) if month == 12 else (year, month + 1)
    return ordinal(*following, 1) - ordinal(year, month, 1)


def add_months(day: int, months: int) -> int:
    """The same day of the month so many months later, or that month's last day where it is shorter."""
    year, month, in_month = civil(day)
    year, zero_month = divmod(year * 12 + month - 1 + months, 12)
    return ordinal(year, zero_month + 1, min(in_month, month_length(year, zero_month + 1)))


def add_days(day: int, count: int, unit: Unit) -> int:
    """A day moved by whole days, weeks, months or years (29 February to 28 February in other years)."""
    if unit is Unit.DAY:
        return day + count
    if unit is Unit.WEEK:
        return day + 7 * count
    return add_months(day, count if unit is Unit.MONTH else 12 * count)


def start_of(day: int, unit: Unit) -> int:
    """The first day of the day's own day, week (Monday), month or year."""
    year, month, _ = civil(day)
    if unit is Unit.DAY:
        return day
    if unit is Unit.WEEK:
        return day - (day - 1) % 7  # 0001-01-01, ordinal 1, is a Monday
    return ordinal(year, month if unit is Unit.MONTH else 1, 1)


class LocalTime:
    """Wall clocks of one IANA zone."""

    def __init__(self, zone: str) -> None:
        self.zone = ZoneInfo(zone)

    def _offset_ms(self, local: datetime) -> int:
        offset = local.utcoffset()
        assert offset is not None
        return offset // timedelta(milliseconds=1)

    def wall(self, instant_ms: int) -> tuple[int, int]:
        """The local day and the milliseconds since its midnight on the wall clock at an instant."""
        utc_day = instant_ms // _DAY_MS + _EPOCH_ORDINAL
        # datetime ends at years 1 and 9999: there, and beyond, the offset is that of a day or two inside.
        inside = min(max(utc_day, date.min.toordinal() + 2), date.max.toordinal() - 2)
        moved_ms = instant_ms + (inside - utc_day) * _DAY_MS
        local = (_EPOCH + timedelta(milliseconds=moved_ms)).astimezone(self.zone)
        days, rest = divmod(instant_ms + self._offset_ms(local), _DAY_MS)
        return days + _EPOCH_ORDINAL, rest

    def day(self, instant_ms: int) -> int:
        """The local calendar day of an instant."""
        return self.wall(instant_ms)[0]

    def instant(self, day: int, ms_of_day: int = 0) -> int:
        """The instant of a local time: in a gap it moves forward by the gap's length, in a fold the earlier."""
        inside = min(max(day, date.min.toordinal() + 2), date.max.toordinal() - 2)
        naive = datetime.combine(date.fromordinal(inside), datetime.min.time()) + timedelta(milliseconds=ms_of_day)
        # PEP 495: fold=0 takes the earlier of two instants in a fold, and in a gap the offset from before it.
        offset = self._offset_ms(naive.replace(tzinfo=self.zone, fold=0))
        return (day - _EPOCH_ORDINAL) * _DAY_MS + ms_of_day - offset

    def add(self, instant_ms: int, count: int, unit: Unit) -> int:
        """An instant moved: fixed lengths up to weeks, calendar arithmetic on the wall clock for months and years."""
        if unit in _FIXED_MS:
            return instant_ms + count * _FIXED_MS[unit]
        day, ms_of_day = self.wall(instant_ms)
        return self.instant(add_days(day, count, unit), ms_of_day)


def counts_days(window: Window) -> bool:
    """Whether a window can be read as a set of calendar days: no hours, no instants."""
    match window:
        case Rolling(unit=unit) | OlderThan(unit=unit) | Ago(unit=unit):
            return unit in (Unit.DAY, Unit.WEEK, Unit.MONTH, Unit.YEAR)
        case Absolute(start=start, end=end):
            return not isinstance(start, datetime) and not isinstance(end, datetime)
    return True


def has_both_ends(window: Window) -> bool:
    match window:
        case OlderThan() | AllTime():
            return False
        case Absolute(start=start, end=end):
            return start is not None and end is not None
    return True


def _calendar_days(window: Calendar, today: int) -> tuple[int, int]:
    current = start_of(today, window.unit)
    if window.position is CalendarPosition.LAST:
        return add_days(current, -window.count, window.unit), current
    following = add_days(current, 1, window.unit)
    if window.position is CalendarPosition.THIS:
        return current, following
    return following, add_days(following, window.count, window.unit)


def window_of_days(window: Window, today: int) -> Range:
    """The days of a window, half-open, for date fields. The window `counts_days`."""
    assert counts_days(window)
    match window:
        case Rolling(direction=Direction.LAST, count=count, unit=unit):  # today - N < d <= today
            return add_days(today, -count, unit) + 1, today + 1
        case Rolling(count=count, unit=unit):  # today <= d < today + N
            return today, add_days(today, count, unit)
        case OlderThan(count=count, unit=unit):  # d <= today - N
            return None, add_days(today, -count, unit) + 1
        case Ago(far=far, near=near, unit=unit):  # today - far < d <= today - near
            return add_days(today, -far, unit) + 1, add_days(today, -near, unit) + 1
        case Calendar():
            return _calendar_days(window, today)
        case Absolute(start=start, end=end):
            return (None if start is None else start.toordinal()), (None if end is None else end.toordinal())
        case AllTime():
            return None, None
    raise AssertionError(f"no such window: {window!r}")


def window_of_instants(window: Window, at_ms: int, local: LocalTime) -> Range:
    """The instants of a window, half-open, for timestamp fields."""
    match window:
        case Rolling(direction=Direction.LAST, count=count, unit=unit):
            return local.add(at_ms, -count, unit), at_ms
        case Rolling(count=count, unit=unit):
            return at_ms, local.add(at_ms, count, unit)
        case OlderThan(count=count, unit=unit):
            return None, local.add(at_ms, -count, unit)
        case Ago(far=far, near=near, unit=unit):
            return local.add(at_ms, -far, unit), local.add(at_ms, -near, unit)
        case Calendar():
            first, after = _calendar_days(window, local.day(at_ms))
            return local.instant(first), local.instant(after)
        case Absolute(start=start, end=end):
            return _instant_of_end(start, local), _instant_of_end(end, local)
        case AllTime():
            return None, None
    raise AssertionError(f"no such window: {window!r}")


def _instant_of_end(end: date | None, local: LocalTime) -> int | None:
    if end is None:
        return None
    return millis(end) if isinstance(end, datetime) else local.instant(end.toordinal())


def within(position: int, window: Range) -> bool:
    start, end = window
    return (start is None or start <= position) and (end is None or position < end)


def anniversary(born: int, year: int) -> int:
    """The day on which a day's anniversary falls in a year: 29 February on 28 February where there is none."""
    _, month, day = civil(born)
    return ordinal(year, month, min(day, month_length(year, month)))


def has_anniversary_within(born: int, window: Range) -> bool:
    """Whether the anniversary of some year, before birth too, is one of the window's days. Both ends are set."""
    start, end = window
    assert start is not None
    assert end is not None
    first_year, last_year = civil(start)[0], civil(end)[0]
    return any(start <= anniversary(born, year) < end for year in range(first_year, last_year + 1))


def age(born: int, today: int) -> int:
    """Whole years: those between the two calendar years, less one while this year's anniversary is to come."""
    years = civil(today)[0] - civil(born)[0]
    return years if anniversary(born, civil(today)[0]) <= today else years - 1
