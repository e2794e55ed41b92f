"""Windows of time of the protocol to and from the model. Imports only v1 and the model."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from enum import Enum
from typing import TypeVar

from segidx.model.errors import InvalidExpression
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
from segidx.v1 import expressions_pb2 as pb
from segidx.wire.values import read_date, read_instant, write_date, write_instant


class Missing(Exception):
    """Part of a condition is not filled in, so that the condition is unfinished. Never leaves this package."""


E = TypeVar("E", bound=Enum)


def read_enum(number: int, known: Mapping[int, E]) -> E:
    """The model's enum value; raises Missing for UNSPECIFIED, InvalidExpression for one this release has not."""
    found = known.get(number)
    if found is not None:
        return found
    if number == 0:
        raise Missing
    kind = type(next(iter(known.values()))).__name__
    raise InvalidExpression(f"{number} is not a known {kind}; this server may be older than the client")


UNITS: dict[int, Unit] = {
    pb.TIME_UNIT_SECOND: Unit.SECOND,
    pb.TIME_UNIT_MINUTE: Unit.MINUTE,
    pb.TIME_UNIT_HOUR: Unit.HOUR,
    pb.TIME_UNIT_DAY: Unit.DAY,
    pb.TIME_UNIT_WEEK: Unit.WEEK,
    pb.TIME_UNIT_MONTH: Unit.MONTH,
    pb.TIME_UNIT_YEAR: Unit.YEAR,
}
DIRECTIONS: dict[int, Direction] = {
    pb.ROLLING_DIRECTION_LAST: Direction.LAST,
    pb.ROLLING_DIRECTION_NEXT: Direction.NEXT,
}
POSITIONS: dict[int, CalendarPosition] = {
    pb.CALENDAR_POSITION_LAST: CalendarPosition.LAST,
    pb.CALENDAR_POSITION_THIS: CalendarPosition.THIS,
    pb.CALENDAR_POSITION_NEXT: CalendarPosition.NEXT,
}
_UNIT_NUMBERS: dict[Unit, pb.TimeUnit.ValueType] = {v: pb.TimeUnit.ValueType(k) for k, v in UNITS.items()}
_DIRECTION_NUMBERS = {v: pb.RollingDirection.ValueType(k) for k, v in DIRECTIONS.items()}
_POSITION_NUMBERS = {v: pb.CalendarPosition.ValueType(k) for k, v in POSITIONS.items()}


def read_window(message: pb.Window) -> Window:
    """The window as written. Raises Missing where it is unfinished, InvalidExpression where it cannot be."""
    kind = message.WhichOneof("kind")
    if kind == "rolling":
        rolling = message.rolling
        return Rolling(
            read_enum(rolling.direction, DIRECTIONS), _count(rolling, "count"), read_enum(rolling.unit, UNITS)
        )
    if kind == "older_than":
        return OlderThan(_count(message.older_than, "count"), read_enum(message.older_than.unit, UNITS))
    if kind == "ago":
        return Ago(_count(message.ago, "far"), _count(message.ago, "near"), read_enum(message.ago.unit, UNITS))
    if kind == "calendar":
        calendar = message.calendar
        count = calendar.count if calendar.HasField("count") else 1
        return Calendar(read_enum(calendar.position, POSITIONS), read_enum(calendar.unit, UNITS), count)
    if kind == "absolute":
        return _read_absolute(message.absolute)
    if kind == "all_time":
        return AllTime()
    raise Missing


def _count(message: pb.RollingWindow | pb.OlderThanWindow | pb.AgoWindow, name: str) -> int:
    if not message.HasField(name):  # type: ignore[arg-type]
        raise Missing
    number: int = getattr(message, name)
    return number


def _read_absolute(message: pb.AbsoluteWindow) -> Absolute:
    start: date | None = None
    end: date | None = None
    match message.WhichOneof("start"):
        case "start_date":
            start = read_date(message.start_date)
        case "start_time":
            start = read_instant(message.start_time)
    match message.WhichOneof("end"):
        case "end_date":
            end = read_date(message.end_date)
        case "end_time":
            end = read_instant(message.end_time)
    if start is None and end is None:
        raise Missing
    return Absolute(start, end)


def write_window(window: Window, message: pb.Window) -> None:
    """Fills `message` with the window as it is written."""
    match window:
        case Rolling():
            message.rolling.direction = _DIRECTION_NUMBERS[window.direction]
            message.rolling.count = window.count
            message.rolling.unit = _UNIT_NUMBERS[window.unit]
        case OlderThan():
            message.older_than.count = window.count
            message.older_than.unit = _UNIT_NUMBERS[window.unit]
        case Ago():
            message.ago.far = window.far
            message.ago.near = window.near
            message.ago.unit = _UNIT_NUMBERS[window.unit]
        case Calendar():
            message.calendar.position = _POSITION_NUMBERS[window.position]
            message.calendar.unit = _UNIT_NUMBERS[window.unit]
            message.calendar.count = window.count
        case Absolute():
            absolute = message.absolute
            if isinstance(window.start, datetime):
                write_instant(window.start, absolute.start_time)
            elif window.start is not None:
                write_date(window.start, absolute.start_date)
            if isinstance(window.end, datetime):
                write_instant(window.end, absolute.end_time)
            elif window.end is not None:
                write_date(window.end, absolute.end_date)
        case AllTime():
            message.all_time.SetInParent()
        case _:
            raise AssertionError(window)
