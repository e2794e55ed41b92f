"""Values of a caller's rows turned into stored ones, one at a time, the usual ones quickly.

`values` says what is accepted and how it is refused; these functions know a part of it at sight and leave all else to
it. Imports the model and `values` only.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from segidx.ingest.values import Stored, stored
from segidx.model.schema import MAX_MINOR_UNITS, MAX_STRING_BYTES, Field, FieldType

# Digits of minor units that are taken without a look at the range.
_DIGITS = len(str(MAX_MINOR_UNITS)) - 1


def converter(field: Field) -> Callable[[object], Stored]:
    """The function that gives the stored form of a value that is not None, and raises what `stored` raises."""
    match field.type:
        case FieldType.CATEGORY | FieldType.TEXT:
            return _strings(field)
        case FieldType.NUMBER:
            return _numbers(field)
        case FieldType.BOOL:
            return _bools(field)
    return lambda value: stored(field, value)


def _strings(field: Field) -> Callable[[object], Stored]:
    def convert(value: object) -> Stored:
        # Of ASCII alone, characters are bytes and the normal form is the string itself.
        if isinstance(value, str) and len(value) <= MAX_STRING_BYTES and value.isascii():
            return value
        return stored(field, value)

    return convert


def _bools(field: Field) -> Callable[[object], Stored]:
    def convert(value: object) -> Stored:
        return int(value) if type(value) is bool else stored(field, value)

    return convert


def _numbers(field: Field) -> Callable[[object], Stored]:
    scale = field.scale
    factors: list[int] = [10**shift for shift in range(scale, -1, -1)]  # by how many decimals are given

    def convert(value: object) -> Stored:
        if type(value) is int:
            if -(1 << 31) < value < 1 << 31:
                return value * factors[0]
        elif type(value) is Decimal or type(value) is str:
            text = str(value)
            whole, dot, decimals = text.partition(".")
            digits = (whole[1:] if whole[:1] == "-" else whole) + decimals
            if (
                len(decimals) <= scale
                and len(whole) <= _DIGITS - scale
                and digits.isdecimal()
                and digits.isascii()
                and (decimals or not dot)
            ):
                units = int(digits) * factors[len(decimals)]
                return -units if whole[:1] == "-" else units
        return stored(field, value)

    return convert
