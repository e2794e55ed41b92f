"""Constants: what kind they are, how two compare, and arithmetic on them alone, computed once at binding, exactly."""

from __future__ import annotations

import math
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from segidx.model.errors import TypeMismatch
from segidx.model.expression import Operator
from segidx.model.values import ArithmeticOperator, Scalar
from segidx.model.windows import to_days, to_millis
from segidx.plan.values import BoundArithmetic, BoundConstant, BoundNegative, BoundValue, ValueKind

# `a op b` is `b FLIPPED[op] a`.
FLIPPED = {
    Operator.EQ: Operator.EQ,
    Operator.NE: Operator.NE,
    Operator.LT: Operator.GT,
    Operator.LE: Operator.GE,
    Operator.GT: Operator.LT,
    Operator.GE: Operator.LE,
}


def bind_constant(value: Scalar) -> BoundConstant:
    """The constant with its kind."""
    if isinstance(value, bool):
        return BoundConstant(ValueKind.BOOL, value)
    if isinstance(value, Decimal):
        return BoundConstant(ValueKind.NUMBER, Fraction(value))
    if isinstance(value, str):
        return BoundConstant(ValueKind.STRING, value)
    if isinstance(value, datetime):
        return BoundConstant(ValueKind.INSTANT, to_millis(value))
    return BoundConstant(ValueKind.DATE, to_days(value))


def check_compared(
    name: str, property: str, kind: ValueKind, operator: Operator, constant: Scalar, *, ci: bool = False
) -> None:
    """Whether a property of that kind may be compared so with a constant; errors call it `name`. Raises
    TypeMismatch."""
    given = bind_constant(constant).kind
    # A date is compared with the instant's local date.
    if given is not kind and (kind, given) != (ValueKind.INSTANT, ValueKind.DATE):
        raise TypeMismatch(
            f"{name}, {kind.value}, cannot be compared with {given.value}",
            property=property,
            left=kind.name,
            right=given.name,
        )
    if kind is ValueKind.BOOL and operator not in (Operator.EQ, Operator.NE):
        raise TypeMismatch(f"{name} has no order; use = or !=", property=property)
    if ci and kind is not ValueKind.STRING:
        raise TypeMismatch(f"'ci' ignores the case of strings; {name} has none", property=property)


def holds(left: object, operator: Operator, right: object) -> bool:
    """Whether two present values of one kind compare so; strings byte for byte. Not for !=."""
    if isinstance(left, str) and isinstance(right, str):
        left, right = left.encode(), right.encode()
    outcomes = {
        Operator.EQ: left == right,
        Operator.LT: left < right,  # type: ignore[operator]
        Operator.LE: left <= right,  # type: ignore[operator]
        Operator.GT: left > right,  # type: ignore[operator]
        Operator.GE: left >= right,  # type: ignore[operator]
    }
    return bool(outcomes[operator])


def whole_numbers(operator: Operator, bound: Fraction) -> tuple[int | None, int | None] | None:
    """The whole numbers that compare so with an exact bound, from the first to the last; an end that is None is open.
    None if there are none. Not for !=."""
    match operator:
        case Operator.EQ:
            return (int(bound), int(bound)) if bound.denominator == 1 else None
        case Operator.LT:
            return None, math.ceil(bound) - 1
        case Operator.LE:
            return None, math.floor(bound)
        case Operator.GT:
            return math.floor(bound) + 1, None
        case Operator.GE:
            return math.ceil(bound), None
    raise AssertionError(operator)


def fold_constant(value: BoundValue) -> Fraction | int | str | bool | None:
    """The constant's value; None (missing) where it divides by zero."""
    match value:
        case BoundConstant():
            return value.value
        case BoundNegative():
            operand = fold_constant(value.operand)
            return None if operand is None else -Fraction(operand)
        case BoundArithmetic():
            left, right = fold_constant(value.left), fold_constant(value.right)
            if left is None or right is None:
                return None
            return arithmetic(value.operator, Fraction(left), Fraction(right))
    raise AssertionError(value)


def arithmetic(operator: ArithmeticOperator, left: Fraction, right: Fraction) -> Fraction | None:
    if operator is ArithmeticOperator.ADD:
        return left + right
    if operator is ArithmeticOperator.SUBTRACT:
        return left - right
    if operator is ArithmeticOperator.MULTIPLY:
        return left * right
    return left / right if right else None
