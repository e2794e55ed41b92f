"""What values are while they are compared and calculated with, by the oracle: exact fractions, strings by their bytes,
instants and local days. The readings chosen are in the list of `oracle`; what may be imported is said there.
"""

from __future__ import annotations

import operator
from datetime import date, datetime
from fractions import Fraction
from typing import Any

from segidx.model.expression import Operator
from segidx.model.results import FieldData
from segidx.model.values import ArithmeticOperator
from segidx.testing.oracle_event_values import Root, signed_square
from segidx.testing.oracle_strings import fold
from segidx.testing.oracle_time import LocalTime, millis

# What a value is while it is compared: numbers are exact fractions; None is missing.
Evaluated = Fraction | Root | str | bool | date | datetime | None

_HOLDS = {
    Operator.EQ: operator.eq,
    Operator.LT: operator.lt,
    Operator.LE: operator.le,
    Operator.GT: operator.gt,
    Operator.GE: operator.ge,
}


def compare(left: Evaluated, operator: Operator, right: Evaluated, local: LocalTime, ci: bool = False) -> bool:
    """Whether the comparison holds; none but `!=` does where a side is missing."""
    if operator is Operator.NE:
        return not compare(left, Operator.EQ, right, local, ci)
    if left is None or right is None:
        return False
    a, b = _comparable(left, right, local, ci)
    return bool(_HOLDS[operator](a, b))


def _comparable(left: Evaluated, right: Evaluated, local: LocalTime, ci: bool) -> tuple[Any, Any]:
    """Both sides as things Python orders as we do: bytes of strings, local days where one side is a date."""
    if isinstance(left, str) and isinstance(right, str):
        return (fold(left), fold(right)) if ci else (left.encode(), right.encode())
    if isinstance(left, date) and isinstance(right, date):
        if isinstance(left, datetime) and isinstance(right, datetime):
            return left, right
        return day_of(left, local), day_of(right, local)
    if isinstance(left, Root) or isinstance(right, Root):
        assert isinstance(left, Fraction | Root)
        assert isinstance(right, Fraction | Root)
        return signed_square(left), signed_square(right)
    return left, right


def day_of(when: date, local: LocalTime) -> int:
    """The local day of a date or an instant."""
    return local.day(millis(when)) if isinstance(when, datetime) else when.toordinal()


def exact(value: FieldData | None) -> Evaluated:
    """What is held of a field or a property, or a constant, as it is compared."""
    assert not isinstance(value, frozenset)
    return value if value is None or isinstance(value, bool | str | date) else Fraction(value)


def calculated(operator: ArithmeticOperator, left: Evaluated, right: Evaluated) -> Fraction | None:
    """What arithmetic comes to; missing where a side is, and where something is divided by zero."""
    if not isinstance(left, Fraction) or not isinstance(right, Fraction):
        return None
    match operator:
        case ArithmeticOperator.ADD:
            return left + right
        case ArithmeticOperator.SUBTRACT:
            return left - right
        case ArithmeticOperator.MULTIPLY:
            return left * right
    return left / right if right else None
