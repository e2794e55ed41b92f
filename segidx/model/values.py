"""Scalars and the values that comparisons compare: constants, fields, ages, arithmetic.

`Scalar` is what a constant may be: str, Decimal, bool, date (a local calendar date) or datetime (an instant,
timezone-aware, whole milliseconds). Python ints become Decimals; floats are refused, since they are not exact.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum

from segidx.model.errors import InvalidValue

Scalar = str | Decimal | bool | date | datetime

# Decimals of constants beyond these are refused: they are never meant, and would make exact arithmetic slow.
MAX_CONSTANT_DIGITS = 40


def scalar(value: object) -> Scalar:
    """`value` as a Scalar: ints to Decimal, strings to NFC, instants to UTC with milliseconds.

    Raises InvalidValue for NaN, infinity, floats, naive datetimes, instants finer than a millisecond, other types.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return scalar(Decimal(value))
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise InvalidValue(f"{value} is not a finite number")
        _sign, digits, exponent = value.as_tuple()
        assert isinstance(exponent, int)
        if len(digits) > MAX_CONSTANT_DIGITS or not -MAX_CONSTANT_DIGITS <= exponent <= MAX_CONSTANT_DIGITS:
            shown = str(value) if len(digits) <= MAX_CONSTANT_DIGITS else f"{str(value)[:MAX_CONSTANT_DIGITS]}…"
            raise InvalidValue(f"number {shown} has more than {MAX_CONSTANT_DIGITS} digits")
        return value
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidValue("a string is not valid UTF-8") from error
        return unicodedata.normalize("NFC", value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidValue(f"instant {value.isoformat()} has no time zone; write it with an offset or 'Z'")
        if value.microsecond % 1000:
            raise InvalidValue(f"instant {value.isoformat()} is finer than a millisecond")
        try:
            return value.astimezone(UTC)
        except OverflowError as error:
            raise InvalidValue(f"instant {value.isoformat()} is out of range") from error
    if isinstance(value, date):
        return value
    if isinstance(value, float):
        raise InvalidValue(f"float {value!r} is not exact; pass a Decimal or a string of digits")
    raise InvalidValue(f"a value of type {type(value).__name__} is not a constant")


def same_scalars(left: Iterable[Scalar], right: Iterable[Scalar]) -> bool:
    """Whether two lists hold the same constants. Python's `True == 1` must not make `a = true` equal to `a = 1`."""
    return [(isinstance(v, bool), v) for v in left] == [(isinstance(v, bool), v) for v in right]


class Value:
    """A side of a comparison."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Constant(Value):
    value: Scalar

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", scalar(self.value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and same_scalars((self.value,), (other.value,))


@dataclass(frozen=True, slots=True)
class FieldValue(Value):
    """The contact's value of a single-valued field; missing where it is not set."""

    field: str


@dataclass(frozen=True, slots=True)
class Age(Value):
    """Whole years from the field's local date to today; 29 February falls on 28 February in other years.
    Negative for dates in the future. The field is a date or a timestamp."""

    field: str


@dataclass(frozen=True, slots=True)
class DaysSince(Value):
    """Local calendar days from the field's date to today; negative for the future."""

    field: str


class ArithmeticOperator(Enum):
    ADD = "+"
    SUBTRACT = "-"
    MULTIPLY = "*"
    DIVIDE = "/"


@dataclass(frozen=True, slots=True)
class Arithmetic(Value):
    """Exact arithmetic on numbers. Missing where either side is missing, and where a divisor is zero."""

    operator: ArithmeticOperator
    left: Value
    right: Value


@dataclass(frozen=True, slots=True)
class Negative(Value):
    """The number with its sign turned. (A negative literal is a Constant.)"""

    operand: Value
