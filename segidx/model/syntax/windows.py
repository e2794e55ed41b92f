"""The callbacks of the grammar's rules for windows of time. Imports only `segidx.model` and lark's token type."""

from __future__ import annotations

from typing import Any

from lark import Token

from segidx.model.syntax.tokens import make, moment, whole_number
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


class WindowRules:
    """One method for each rule; they hold no state."""

    def older_than(self, parts: list[Token]) -> Window:
        return make(parts[0], OlderThan, whole_number(parts[0]), Unit[parts[1].type])

    def from_moment(self, parts: list[Token]) -> Window:
        return make(parts[0], Absolute, moment(parts[0]), None)

    def until_moment(self, parts: list[Token]) -> Window:
        return make(parts[0], Absolute, None, moment(parts[0]))

    def absolute(self, parts: list[Token]) -> Window:
        return make(parts[0], Absolute, moment(parts[0]), moment(parts[1]))

    def last(self, parts: list[Token]) -> Window:
        return make(parts[0], Rolling, Direction.LAST, whole_number(parts[0]), Unit[parts[1].type])

    def next(self, parts: list[Token]) -> Window:
        return make(parts[0], Rolling, Direction.NEXT, whole_number(parts[0]), Unit[parts[1].type])

    def last_whole(self, parts: list[Token]) -> Window:
        return self.whole(CalendarPosition.LAST, parts)

    def next_whole(self, parts: list[Token]) -> Window:
        return self.whole(CalendarPosition.NEXT, parts)

    def whole(self, position: CalendarPosition, parts: list[Token]) -> Window:
        """`last 3 whole months`; without a number, one."""
        count = whole_number(parts[0]) if len(parts) == 2 else 1
        return make(parts[0], Calendar, position, Unit[parts[-1].type], count)

    def this(self, parts: list[Token]) -> Window:
        return make(parts[0], Calendar, CalendarPosition.THIS, Unit[parts[0].type])

    def today(self, _tokens: list[Token]) -> Window:
        return Calendar(CalendarPosition.THIS, Unit.DAY)

    def yesterday(self, _tokens: list[Token]) -> Window:
        return Calendar(CalendarPosition.LAST, Unit.DAY)

    def tomorrow(self, _tokens: list[Token]) -> Window:
        return Calendar(CalendarPosition.NEXT, Unit.DAY)

    def ago(self, parts: list[Token]) -> Window:
        return make(parts[0], Ago, whole_number(parts[0]), whole_number(parts[1]), Unit[parts[2].type])

    def all_time(self, _tokens: list[Token]) -> Window:
        return AllTime()


def window_of(parts: list[Any]) -> Window:
    """The window among the parts of a rule; all time where there is none."""
    return next((part for part in parts if isinstance(part, Window)), AllTime())
