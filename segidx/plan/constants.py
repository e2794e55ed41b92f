"""Arithmetic on constants alone, computed once at binding, exactly."""

from __future__ import annotations

from fractions import Fraction

from segidx.model.values import ArithmeticOperator
from segidx.plan.values import BoundArithmetic, BoundConstant, BoundNegative, BoundValue


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
