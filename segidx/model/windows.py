"""Windows of time as they are written, and how they resolve at one instant in one zone.

A stored expression keeps the kind, never a resolved date. Instants are integers: milliseconds since 1970 UTC.
Windows are half-open. Weeks start on Monday. A local time in a daylight-saving gap moves forward, in a fold the
earlier is taken.
"""

from __future__ import annotations

from calendar import isleap
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import Enum

from segidx.model.errors import InvalidExpression
from segidx.model.values import scalar

MAX_COUNT = 100_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MIN_INSTANT = -62_135_596_800_000  # 0001-01-01T00:00:00Z
MAX_INSTANT = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z


class Unit(Enum):
    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"

    __hash__ = object.__hash__  # quicker than by name: a member is equal to itself alone

    @property
    def milliseconds(self) -> int | None:
        """The fixed length, or None for months and years, which are calendar arithmetic."""
        return _MILLISECONDS.get(self)

    @property
    def is_calendar(self) -> bool:
        """Whether it is a whole number of local days, so that it may count dates."""
        return self in (Unit.DAY, Unit.WEEK, Unit.MONTH, Unit.YEAR)


_MILLISECONDS = {
    Unit.SECOND: 1000,
    Unit.MINUTE: 60_000,
    Unit.HOUR: 3_600_000,
    Unit.DAY: 86_400_000,
    Unit.WEEK: 7 * 86_400_000,
}


class Window:
    """Base of the window kinds."""

    __slots__ = ()


class Direction(Enum):
    LAST = "last"
    NEXT = "next"

    __hash__ = object.__hash__  # quicker than by name: a member is equal to itself alone


def _check_count(count: int, what: str, least: int = 1) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or not least <= count <= MAX_COUNT:
        raise InvalidExpression(f"{what} must be a whole number from {least} to {MAX_COUNT}, not {count!r}")


@dataclass(frozen=True, slots=True)
class Rolling(Window):
    """`last 90 days`: [t - 90*24h, t); `next 7 days`: [t, t + 7*24h). Of dates: today - N < d <= today, and
    today <= d < today + N."""

    direction: Direction
    count: int
    unit: Unit

    def __post_init__(self) -> None:
        _check_count(self.count, "a window's length")


@dataclass(frozen=True, slots=True)
class OlderThan(Window):
    """`older than 1 year`: before t - N; of dates: d <= today - N."""

    count: int
    unit: Unit

    def __post_init__(self) -> None:
        _check_count(self.count, "a window's length")


@dataclass(frozen=True, slots=True)
class Ago(Window):
    """`180 to 90 days ago`: [t - 180*24h, t - 90*24h); of dates: today - 180 < d <= today - 90."""

    far: int
    near: int
    unit: Unit

    def __post_init__(self) -> None:
        _check_count(self.far, "a window's far end")
        _check_count(self.near, "a window's near end", least=0)
        if self.far <= self.near:
            raise InvalidExpression(f"{self.far} to {self.near} {self.unit.value}s ago: the far end comes first")


class CalendarPosition(Enum):
    LAST = "last"
    THIS = "this"
    NEXT = "next"

    __hash__ = object.__hash__  # quicker than by name: a member is equal to itself alone


@dataclass(frozen=True, slots=True)
class Calendar(Window):
    """`last 3 whole months`, `this week`, `next 1 whole year`: whole local days, weeks, months or years.

    LAST N ends where the current one begins; NEXT N begins where the current one ends; THIS has count 1.
    """

    position: CalendarPosition
    unit: Unit
    count: int = 1

    def __post_init__(self) -> None:
        _check_count(self.count, "a window's length")
        if not self.unit.is_calendar:
            raise InvalidExpression(f"a whole {self.unit.value} is not a calendar window; use days or longer")
        if self.position is CalendarPosition.THIS and self.count != 1:
            raise InvalidExpression("'this' takes no count")


@dataclass(frozen=True, slots=True)
class Absolute(Window):
    """[start, end), both dates or both instants; None leaves that side open, but not both. A date stands for the
    local midnight that begins it."""

    start: date | None
    end: date | None

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            value = getattr(self, name)
            if value is not None:
                if not isinstance(value, date):
                    raise InvalidExpression(f"a window's {name} must be a date or an instant, not {value!r}")
                object.__setattr__(self, name, scalar(value))
        ends = [e for e in (self.start, self.end) if e is not None]
        if not ends:
            raise InvalidExpression("an absolute window needs a start or an end")
        if len({isinstance(e, datetime) for e in ends}) == 2:
            raise InvalidExpression("a window's start and end must both be dates or both be instants")
        if len(ends) == 2 and not ends[0] < ends[1]:
            raise InvalidExpression(f"a window that starts at {ends[0]} cannot end at {ends[1]}")


@dataclass(frozen=True, slots=True)
class AllTime(Window):
    """Every instant, every date."""


# --- resolution --------------------------------------------------------------------------------------------

_LOCAL_EPOCH = datetime(1970, 1, 1)
_MILLISECOND = timedelta(milliseconds=1)
_MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

Bounds = tuple[int | None, int | None]  # [start, end) in milliseconds or in days since 1970; None is open


def to_millis(instant: datetime) -> int:
    """Milliseconds since 1970 of an aware datetime."""
    return (instant - EPOCH) // _MILLISECOND


def from_millis(millis: int) -> datetime:
    return EPOCH + timedelta(milliseconds=millis)


def to_days(day: date) -> int:
    return day.toordinal() - 719_163


def from_days(days: int) -> date:
    return date.fromordinal(days + 719_163)


def _local(millis: int, zone: tzinfo) -> datetime:
    """The naive local time of an instant; the nearest there is where it falls out of the years 1 to 9999."""
    try:
        return from_millis(millis).astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        return datetime.min if millis < 0 else datetime.max.replace(microsecond=999_000)


def local_date(millis: int, zone: tzinfo) -> date:
    return _local(millis, zone).date()


def local_instant(local: datetime, zone: tzinfo) -> int:
    """The instant of a naive local time: a gap moves forward by its length, a fold takes the earlier."""
    # fold=0 gives the offset before a transition: in a gap that lands after it, in a fold on the earlier pass.
    return (local - _LOCAL_EPOCH - (local.replace(tzinfo=zone, fold=0).utcoffset() or timedelta())) // _MILLISECOND


def midnight(day: date, zone: tzinfo) -> int:
    """The instant at which a local day begins."""
    return local_instant(datetime(day.year, day.month, day.day), zone)


def shift_months(day: date, months: int) -> date | None:
    """The date that many months later (earlier if negative), clamped to the month's end; None out of 0001..9999."""
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    if not 1 <= year <= 9999:
        return None
    return date(year, month + 1, min(day.day, _MONTH_DAYS[month] + (month == 1 and isleap(year))))


def shift_date(day: date, count: int, unit: Unit) -> date | None:
    """`day` moved by `count` calendar units; None where that leaves 0001..9999."""
    if unit in (Unit.MONTH, Unit.YEAR):
        return shift_months(day, count * (12 if unit is Unit.YEAR else 1))
    try:
        return day + timedelta(days=count * (7 if unit is Unit.WEEK else 1))
    except OverflowError:
        return None


def shift_instant(millis: int, count: int, unit: Unit, zone: tzinfo) -> int | None:
    """The instant `count` units later: fixed lengths up to weeks, calendar arithmetic in the zone for months and
    years, keeping the local time of day. None where it leaves the years 1 to 9999."""
    fixed = unit.milliseconds
    if fixed is not None:
        moved = millis + count * fixed
        return moved if MIN_INSTANT <= moved <= MAX_INSTANT else None
    if count == 0:
        return millis  # by way of local time, the second pass of a fold would become the first
    local = _local(millis, zone)
    day = shift_date(local, count, unit)
    return None if day is None else local_instant(local.replace(day.year, day.month, day.day), zone)


def _start_of(day: date, unit: Unit) -> date:
    if unit is Unit.WEEK:
        return day - timedelta(days=day.weekday())
    if unit is Unit.MONTH:
        return day.replace(day=1)
    if unit is Unit.YEAR:
        return day.replace(month=1, day=1)
    return day


def _calendar_days(window: Calendar, today: date) -> tuple[date | None, date | None]:
    start = _start_of(today, window.unit)
    if window.position is CalendarPosition.LAST:
        return shift_date(start, -window.count, window.unit), start
    after = shift_date(start, 1, window.unit)
    if window.position is CalendarPosition.THIS:
        return start, after
    return after, (None if after is None else shift_date(after, window.count, window.unit))


def resolve_dates(window: Window, today: date) -> Bounds:
    """[first, end) in days since 1970 for a date field. Raises InvalidExpression for units finer than a day and for
    instants, which say nothing exact about dates."""

    def days(day: date | None, plus: int = 0) -> int | None:
        return None if day is None else to_days(day) + plus

    unit = getattr(window, "unit", None)
    if isinstance(unit, Unit) and not unit.is_calendar:
        raise InvalidExpression(f"a date cannot be compared with {unit.value}s; use days, weeks, months or years")
    match window:
        case Rolling(direction=Direction.LAST):
            return days(shift_date(today, -window.count, window.unit), 1), to_days(today) + 1
        case Rolling():
            return to_days(today), days(shift_date(today, window.count, window.unit))
        case OlderThan():
            end = shift_date(today, -window.count, window.unit)
            return None, (to_days(date.min) if end is None else to_days(end) + 1)
        case Ago():
            end = shift_date(today, -window.near, window.unit)
            return (
                days(shift_date(today, -window.far, window.unit), 1),
                to_days(date.min) if end is None else to_days(end) + 1,
            )
        case Calendar():
            start_day, end_day = _calendar_days(window, today)
            return days(start_day), days(end_day)
        case Absolute():
            if isinstance(window.start, datetime) or isinstance(window.end, datetime):
                raise InvalidExpression("a date field is compared with dates such as 2026-01-31, not with instants")
            return days(window.start), days(window.end)
        case AllTime():
            return None, None
    raise AssertionError(window)


def resolve_instants(window: Window, at: int, zone: tzinfo) -> Bounds:
    """[start, end) in milliseconds for a timestamp field or an event, evaluated at `at`."""

    def end_of_time(moved: int | None) -> int:
        return MIN_INSTANT if moved is None else moved

    match window:
        case Rolling(direction=Direction.LAST):
            return shift_instant(at, -window.count, window.unit, zone), at
        case Rolling():
            return at, shift_instant(at, window.count, window.unit, zone)
        case OlderThan():
            return None, end_of_time(shift_instant(at, -window.count, window.unit, zone))
        case Ago():
            return (
                shift_instant(at, -window.far, window.unit, zone),
                end_of_time(shift_instant(at, -window.near, window.unit, zone)),
            )
        case Calendar():
            first, after = _calendar_days(window, local_date(at, zone))
            return (
                None if first is None else midnight(first, zone),
                None if after is None else midnight(after, zone),
            )
        case Absolute():

            def instant(end: date | None) -> int | None:
                if end is None:
                    return None
                return to_millis(end) if isinstance(end, datetime) else midnight(end, zone)

            return instant(window.start), instant(window.end)
        case AllTime():
            return None, None
    raise AssertionError(window)
