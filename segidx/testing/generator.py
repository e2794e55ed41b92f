"""One generator of well-typed expressions and of contacts, over any source of choices.

Hypothesis (`strategies`) and a seeded NumPy generator both drive it, so that large runs ask every kind of question that
the small, shrinking ones ask. It must import nothing but `segidx/model` and `segidx/testing/pools`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Protocol, TypeVar

import numpy as np

from segidx.model.expression import (
    And,
    Anniversary,
    AtLeast,
    Became,
    Between,
    ChannelState,
    Comparison,
    Everyone,
    Expression,
    HasTags,
    In,
    InWindow,
    IsSet,
    Nobody,
    Not,
    OnChannel,
    Operator,
    Or,
    Tagged,
    TagMode,
    TextMatch,
    TextOperator,
)
from segidx.model.results import FieldData
from segidx.model.schema import Field, FieldType, Schema
from segidx.model.values import Age, Arithmetic, ArithmeticOperator, Constant, DaysSince, FieldValue, Negative, Value
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
from segidx.model.writes import Channel, ChannelFlag
from segidx.testing.pools import Pools, pools_for

T = TypeVar("T")

_DAY_UNITS = (Unit.DAY, Unit.WEEK, Unit.MONTH, Unit.YEAR)
_ALL_UNITS = (*_DAY_UNITS, Unit.HOUR, Unit.MINUTE, Unit.SECOND)
_COUNTS = (1, 2, 3, 7, 30, 60, 90, 12, 18, 365, 100_000)
_EQUALITY = (Operator.EQ, Operator.NE)
# Parts of patterns that Python and RE2 read alike, with ci too: no dotted i, no s or k (they have odd partners).
_ATOMS = ("a", "b", "c", "x", "@", ".", "[a-c]", "[^a]", "(a|b)", "(ab)", "ł", r"\.", r"\d", "[A-C0-9]", "(b|ex)")
_UNBOUNDED = ("*", "+")
_REPEATS = ("", "", "", *_UNBOUNDED, "?", "{1,2}", "{2}")


class Chooser(Protocol):
    """A source of choices; the first and the smallest are the simplest."""

    def integer(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        ...


class RandomChooser:
    """Choices of a seeded NumPy generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))


class Generator:
    """Random expressions and contacts of one schema."""

    def __init__(self, chooser: Chooser, schema: Schema, pools: Pools) -> None:
        self.chooser = chooser
        self.schema = schema
        self.pools = pools
        self.tags = schema.of_type(FieldType.TAGS)
        self.strings = schema.of_type(FieldType.CATEGORY) + schema.of_type(FieldType.TEXT)
        self.numbers = schema.of_type(FieldType.NUMBER)
        self.bools = schema.of_type(FieldType.BOOL)
        self.dates = schema.of_type(FieldType.DATE)
        self.timestamps = schema.of_type(FieldType.TIMESTAMP)
        self.times = self.dates + self.timestamps
        self.tracked = tuple(f for f in schema if f.tracked)
        self.leaves: list[Callable[[], Expression]] = [self.constant_leaf, self.on_channel]
        for there, makers in (
            (schema.fields, [self.is_set]),
            (self.tags, [self.has_tags] * 3),
            (self.strings, [self.string_comparison, self.string_comparison, self.string_in, self.text_match] * 2),
            (self.numbers or self.times, [self.number_comparison, self.number_between, self.number_in] * 2),
            (self.bools, [self.bool_comparison] * 2),
            (self.times, [self.in_window] * 4 + [self.anniversary, self.time_comparison, self.time_between]),
            (self.times, [self.time_in]),
            (self.tracked, [self.became, self.tagged] * 2),
        ):
            self.leaves += makers if there else []

    def pick(self, options: Sequence[T]) -> T:
        return options[self.chooser.integer(0, len(options) - 1)]

    def one_in(self, n: int) -> bool:
        """True once in n times; False is the simpler."""
        return self.chooser.integer(0, n - 1) == n - 1

    def several(self, make: Callable[[], T], most: int) -> tuple[T, ...]:
        return tuple(make() for _ in range(self.chooser.integer(1, most)))

    # --- expressions ---------------------------------------------------------------------------------------

    def expression(self, leaves: int) -> Expression:
        """An expression of at most so many leaves."""
        if leaves <= 1:
            return Not(self.leaf()) if self.one_in(4) else self.leaf()
        shape = self.chooser.integer(0, 9)
        if shape == 0:
            return self.leaf()
        if shape == 9:
            return Not(self.expression(leaves))
        operands: list[Expression] = []
        left = leaves
        while left > 0 and len(operands) < 6:
            share = self.chooser.integer(1, max(1, left - 1))
            operands.append(self.expression(share))
            left -= share
            if len(operands) >= 2 and self.one_in(3):
                break
        if self.one_in(12):
            operands.append(operands[0])  # the same condition twice
        if shape <= 4:
            return And(tuple(operands))
        if shape <= 7:
            return Or(tuple(operands))
        return AtLeast(self.chooser.integer(1, len(operands) + 1), tuple(operands))

    def leaf(self) -> Expression:
        return self.pick(self.leaves)()

    def constant_leaf(self) -> Expression:
        if self.one_in(6):
            return Comparison(self.number_constant(), self.pick(tuple(Operator)), self.number_constant())
        return self.pick((Everyone(), Nobody()))

    def is_set(self) -> Expression:
        return IsSet(self.pick(self.schema.fields).name)

    def on_channel(self) -> Expression:
        return OnChannel(self.pick(tuple(Channel)), self.pick(tuple(ChannelState)))

    def has_tags(self) -> Expression:
        mode = self.pick(tuple(TagMode))
        return HasTags(self.pick(self.tags).name, mode, self.several(self.tag_constant, 4), self.one_in(3))

    def string_comparison(self) -> Expression:
        left, right = FieldValue(self.pick(self.strings).name), self._string()
        if self.one_in(5):
            left, right = right, left  # type: ignore[assignment]
        ci = self.one_in(3)
        return Comparison(left, self.pick(_EQUALITY if ci else tuple(Operator)), right, ci)

    def string_in(self) -> Expression:
        if self.one_in(4):
            return Between(FieldValue(self.pick(self.strings).name), self._string(), self._string())
        return In(FieldValue(self.pick(self.strings).name), self.several(self.string_constant, 5), self.one_in(3))

    def _string(self) -> Value:
        return FieldValue(self.pick(self.strings).name) if self.one_in(5) else Constant(self.string_constant())

    def text_match(self) -> Expression:
        operator = self.pick(tuple(TextOperator))
        ci = self.one_in(3)
        if operator is TextOperator.MATCHES:
            pattern = self.regex()
        elif operator is TextOperator.LIKE:
            pattern = self.like()
        else:
            whole = self.string_constant()
            start = self.chooser.integer(0, min(len(whole), 8))
            pattern = whole[start : start + self.chooser.integer(0, 8)]
        return TextMatch(self.pick(self.strings).name, operator, pattern, ci)

    def like(self) -> str:
        pieces = (
            self.pick(("/", "*", "**", "/*", "a", self.string_constant()[:4])) for _ in range(self.pick((0, 1, 3)))
        )
        return self.pick(("/", "*", "**")) + "".join(pieces)

    def regex(self) -> str:
        """A pattern of the subset that RE2 and the oracle read alike, with one `*` or `+` at most: Python's engine
        backtracks, and several of them over a text of 2,048 equal letters would not end in a day."""
        body = ""
        repeats: Sequence[str] = _REPEATS
        for _ in range(self.chooser.integer(1, 4)):
            repeat = self.pick(repeats)
            body += self.pick(_ATOMS) + repeat
            if repeat in _UNBOUNDED:
                repeats = [bounded for bounded in _REPEATS if bounded not in _UNBOUNDED]
        return ("^" if self.one_in(3) else "") + body + ("$" if self.one_in(3) else "")

    def number_comparison(self) -> Expression:
        left, right = self.number(2), self.number(1)
        if self.one_in(5):
            left, right = right, left
        return Comparison(left, self.pick(tuple(Operator)), right)

    def number_between(self) -> Expression:
        return Between(self.number(1), self.number_constant(), self.number(0))

    def number_in(self) -> Expression:
        options = self.several(lambda: self.number_constant().value, 5)
        return In(self.number(1), options)

    def number(self, depth: int) -> Value:
        """A value that is a number, of at most so many levels of arithmetic; mostly a field."""
        shape = self.chooser.integer(0, 9)
        if shape >= 8 and depth:
            if shape == 9 and self.one_in(4):
                return Negative(self.number(depth - 1))
            return Arithmetic(self.pick(tuple(ArithmeticOperator)), self.number(depth - 1), self.number(depth - 1))
        if self.numbers and (shape <= 4 or not self.times):
            return FieldValue(self.pick(self.numbers).name) if depth or shape <= 2 else self.number_constant()
        if self.times and shape <= 6:
            return self.pick((Age, DaysSince))(self.pick(self.times).name)
        return self.number_constant()

    def number_constant(self) -> Constant:
        if self.one_in(5):
            return Constant(self.pick(self.pools.absent_numbers))
        scale = self.pick(self.numbers).scale if self.numbers else 0
        return Constant(self.pick(self.pools.numbers(scale)))

    def bool_comparison(self) -> Expression:
        left = FieldValue(self.pick(self.bools).name)
        if self.one_in(4):
            return In(left, self.several(lambda: self.one_in(2), 2))
        other: Value = FieldValue(self.pick(self.bools).name) if self.one_in(5) else Constant(self.one_in(2))
        return Comparison(left, self.pick(_EQUALITY), other)

    def time_comparison(self) -> Expression:
        field = self.pick(self.times)
        left, right = FieldValue(field.name), self._time(field)
        if self.one_in(5):
            left, right = right, left  # type: ignore[assignment]
        return Comparison(left, self.pick(tuple(Operator)), right)

    def time_between(self) -> Expression:
        field = self.pick(self.times)
        return Between(FieldValue(field.name), self._time(field), self._time(field))

    def time_in(self) -> Expression:
        field = self.pick(self.times)
        return In(FieldValue(field.name), self.several(lambda: self._time_constant(field), 4))

    def _time(self, field: Field) -> Value:
        """Something that the date or timestamp field compares with."""
        if self.one_in(5):
            return FieldValue(self.pick(self.schema.of_type(field.type)).name)
        return Constant(self._time_constant(field))

    def _time_constant(self, field: Field) -> date:
        if field.type is FieldType.TIMESTAMP and not self.one_in(3):
            return self.pick(self.pools.instants)
        return self.pick(self.pools.dates)

    def in_window(self) -> Expression:
        field = self.pick(self.times)
        return InWindow(field.name, self.window(days_only=field.type is FieldType.DATE))

    def anniversary(self) -> Expression:
        return Anniversary(self.pick(self.times).name, self.window(days_only=True, both_ends=True))

    def became(self) -> Expression:
        """Now and then of a field that is not tracked, or tracked and of another type."""
        options = self.tracked if not self.one_in(8) else self.schema.fields
        few = [f for f in options if f.type is not FieldType.TAGS] or options
        field = self.pick(few)
        value: str | bool = self.one_in(2) if field.type is FieldType.BOOL else self.string_constant()
        return Became(field.name, value, self.window(days_only=False))

    def tagged(self) -> Expression:
        options = [f for f in self.tags if f.tracked or self.one_in(8)] or self.schema.fields
        return Tagged(self.pick(options).name, self.tag_constant(), self.window(days_only=False))

    def window(self, *, days_only: bool, both_ends: bool = False) -> Window:
        """A window of any kind, of days only for dates and anniversaries."""
        unit = self.pick(_DAY_UNITS if days_only else _ALL_UNITS)
        count = self.pick(_COUNTS)
        shape = self.chooser.integer(0, 9)
        if shape <= 1 or (both_ends and shape in (3, 9)):
            return Rolling(self.pick(tuple(Direction)), count, unit)
        if shape == 2:
            return Ago(count + self.pick(_COUNTS[:-1]), count, unit) if count < 1000 else Ago(count, 1, unit)
        if shape == 3:
            return OlderThan(count, unit)
        if shape <= 6:
            position = self.pick(tuple(CalendarPosition))
            whole = self.pick(_DAY_UNITS)
            return Calendar(position, whole, 1 if position is CalendarPosition.THIS else count)
        if shape <= 8:
            return self._absolute(days_only=days_only, both_ends=both_ends)
        return AllTime()

    def _absolute(self, *, days_only: bool, both_ends: bool) -> Window:
        pool: Sequence[date] = self.pools.dates if days_only or self.one_in(2) else self.pools.instants
        start, end = sorted((self.pick(pool), self.pick(pool)))
        if start == end:
            last, before_last = sorted(pool)[-1], sorted(pool)[-2]
            start, end = (start, last) if start != last else (before_last, last)
        openness = 0 if both_ends else self.chooser.integer(0, 3)
        return Absolute(None if openness == 2 else start, None if openness == 3 else end)

    def string_constant(self) -> str:
        return self.pick(self.pools.absent_strings if self.one_in(6) else self.pools.strings)

    def tag_constant(self) -> str:
        return self.pick(self.pools.absent_strings if self.one_in(6) else self.pools.tags)

    # --- contacts ------------------------------------------------------------------------------------------

    def fields(self, *, clear: bool = False) -> dict[str, FieldData | None]:
        """A contact's fields: each set two times in three. With `clear`, some are given as None."""
        found: dict[str, FieldData | None] = {}
        for field in self.schema:
            shape = self.chooser.integer(0, 5)
            if shape <= 3:
                found[field.name] = self.field_value(field)
            elif shape == 4 and clear:
                found[field.name] = None
        return found

    def channels(self) -> dict[Channel, dict[ChannelFlag, bool]]:
        """Flags of a contact for some of the channels, most of them set."""
        return {
            channel: {flag: not self.one_in(3) for flag in ChannelFlag if self.one_in(2)}
            for channel in Channel
            if self.one_in(2)
        }

    def field_value(self, field: Field) -> FieldData:
        match field.type:
            case FieldType.TAGS:
                return frozenset(self.several(lambda: self.pick(self.pools.tags), 5))
            case FieldType.NUMBER:
                return self.pick(self.pools.numbers(field.scale))
            case FieldType.TIMESTAMP:
                return self.pick(self.pools.instants)
            case FieldType.DATE:
                return self.pick(self.pools.dates)
            case FieldType.BOOL:
                return self.one_in(2)
        return self.pick(self.pools.strings)


def random_expression(
    rng: np.random.Generator, schema: Schema, pools: Pools | None = None, *, max_leaves: int = 12
) -> Expression:
    """A well-typed expression of the seeded generator, of at most `max_leaves` leaves."""
    chooser = RandomChooser(rng)
    generator = Generator(chooser, schema, pools or pools_for())
    return generator.expression(chooser.integer(1, max_leaves))
