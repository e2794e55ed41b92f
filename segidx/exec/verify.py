"""Candidate checks: comparisons of computed values, contact by contact, exactly.

Numbers are rationals held as two integer arrays, numerator and denominator. The arrays are int64 while the bounds of
every operation fit, and Python integers beyond: never floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.exec import gaps
from segidx.exec.asked import ordinals_of
from segidx.exec.events import aggregate
from segidx.exec.local_days import ages, local_days
from segidx.model.expression import Operator
from segidx.model.values import ArithmeticOperator
from segidx.model.windows import to_days
from segidx.plan.context import BindContext
from segidx.plan.nodes import CandidateCheck
from segidx.plan.strings import fold
from segidx.plan.values import (
    BoundAge,
    BoundAggregate,
    BoundArithmetic,
    BoundConstant,
    BoundDaysSince,
    BoundField,
    BoundGaps,
    BoundNegative,
    BoundValue,
    LocalDate,
    ValueKind,
)
from segidx.store.postings import bitmap_of

_STEP = 1 << 16
_LIMIT = 2**63
Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]


def verify(plan: CandidateCheck, candidates: bytes, context: BindContext) -> bytes:
    """The candidates (a portable Roaring bitmap) that satisfy the comparison, in the same form. Raises Stopped."""
    ordinals = ordinals_of(BitMap.deserialize(candidates))
    kept = []
    for first in range(0, len(ordinals), _STEP):
        context.check_stop()
        step = ordinals[first : first + _STEP]
        kept.append(step[_holds(plan, _Candidates(step, context))])
    return bytes(bitmap_of(np.concatenate(kept) if kept else ordinals).serialize())


@dataclass(frozen=True)
class _Candidates:
    ordinals: npt.NDArray[np.uint32]
    context: BindContext

    def take(self, field_id: int) -> tuple[npt.NDArray[np.int64], Mask]:
        values, present = self.context.snapshot.column(field_id).take(self.ordinals)
        return np.asarray(values), np.asarray(present) != 0


def _holds(plan: CandidateCheck, candidates: _Candidates) -> Mask:
    if plan.left.kind is ValueKind.NUMBER:
        sides = (plan.left, plan.right)
        value = _squared if any(isinstance(side, BoundGaps) and side.irrational for side in sides) else _number
        a, b = (value(side, candidates) for side in sides)
        b = _sized(b, a.bound * b.denominator_bound + b.bound * a.denominator_bound)
        left, right = a.numerator * b.denominator, b.numerator * a.denominator
        present = a.present & b.present
    elif plan.left.kind is ValueKind.STRING:
        left, left_present = _strings(plan.left, candidates, ci=plan.ci)
        right, right_present = _strings(plan.right, candidates, ci=plan.ci)
        present = left_present & right_present
    else:
        left, left_present = _integers(plan.left, candidates)
        right, right_present = _integers(plan.right, candidates)
        present = left_present & right_present
    return present & np.asarray(_compare(left, plan.operator, right), np.bool_)


def _compare(left: Array, operator: Operator, right: Array) -> Any:
    if operator is Operator.EQ:
        return left == right
    if operator is Operator.LT:
        return left < right
    if operator is Operator.LE:
        return left <= right
    if operator is Operator.GT:
        return left > right
    return left >= right


# --- numbers -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rational:
    """numerator / denominator, denominator > 0 where present; `bound` and `denominator_bound` on their magnitudes."""

    numerator: Array
    denominator: Array
    present: Mask
    bound: int
    denominator_bound: int


def _sized(value: _Rational, needed: int) -> _Rational:
    """The value in Python integers if an operation may need magnitudes beyond int64."""
    if needed < _LIMIT or value.numerator.dtype == object:
        return value
    return _Rational(
        value.numerator.astype(object),
        value.denominator.astype(object),
        value.present,
        value.bound,
        value.denominator_bound,
    )


def _number(value: BoundValue, candidates: _Candidates) -> _Rational:
    n = len(candidates.ordinals)
    match value:
        case BoundConstant():
            exact = Fraction(value.value)
            small = abs(exact.numerator) < _LIMIT and exact.denominator < _LIMIT
            kind: Any = np.int64 if small else object
            return _Rational(
                np.full(n, exact.numerator, kind),
                np.full(n, exact.denominator, kind),
                np.ones(n, np.bool_),
                abs(exact.numerator),
                exact.denominator,
            )
        case BoundField():
            values, present = candidates.take(value.field_id)
            return _whole(values, present, 10**value.scale)
        case BoundAge():
            days, present = _integers(value.date, candidates)
            return _whole(ages(days, candidates.context.today), present, 1)
        case BoundDaysSince():
            days, present = _integers(value.date, candidates)
            return _whole(to_days(candidates.context.today) - days, present, 1)
        case BoundAggregate():
            values, present = aggregate(value, candidates.ordinals, candidates.context)
            return _whole(values, present, 10**value.scale)
        case BoundGaps():
            numerator, denominator, present = gaps.mean(value, candidates.ordinals, candidates.context)
            return _Rational(numerator, denominator, present, _most(numerator), _most(denominator))
        case BoundNegative():
            a = _number(value.operand, candidates)
            return _Rational(-a.numerator, a.denominator, a.present, a.bound, a.denominator_bound)
        case BoundArithmetic():
            return _arithmetic(value.operator, _number(value.left, candidates), _number(value.right, candidates))
    raise AssertionError(value)


def _whole(values: npt.NDArray[np.int64], present: Mask, denominator: int) -> _Rational:
    values = np.where(present, values, 0)
    return _Rational(values, np.full(len(values), denominator, np.int64), present, _most(values), denominator)


def _most(values: Array) -> int:
    """The greatest magnitude."""
    return int(max(abs(int(values.min())), abs(int(values.max())))) if len(values) else 0


def _squared(value: BoundValue, candidates: _Candidates) -> _Rational:
    """The square of a number with its sign: these compare as the numbers do, and that of a deviation is a fraction."""
    if isinstance(value, BoundGaps) and value.irrational:
        numerator, denominator, present = gaps.variance(value, candidates.ordinals, candidates.context)
        return _Rational(numerator, denominator, present, _most(numerator), _most(denominator))
    a = _number(value, candidates)
    bound, denominator_bound = a.bound**2, a.denominator_bound**2
    a = _sized(a, max(bound, denominator_bound))
    return _Rational(a.numerator * abs(a.numerator), a.denominator**2, a.present, bound, denominator_bound)


def _arithmetic(operator: ArithmeticOperator, a: _Rational, b: _Rational) -> _Rational:
    present = a.present & b.present
    if operator is ArithmeticOperator.DIVIDE:
        # Missing where the divisor is zero; the sign moves to the numerator.
        zero = np.asarray(b.numerator == 0, np.bool_)
        sign = np.where(np.asarray(b.numerator < 0, np.bool_), -1, 1)
        inverse = _Rational(
            b.denominator * sign,
            np.where(zero, 1, b.numerator * sign),
            b.present & ~zero,
            b.denominator_bound,
            max(1, b.bound),
        )
        return _arithmetic(ArithmeticOperator.MULTIPLY, a, inverse)
    denominator_bound = a.denominator_bound * b.denominator_bound
    if operator is ArithmeticOperator.MULTIPLY:
        bound = a.bound * b.bound
        a = _sized(a, max(bound, denominator_bound))
        return _Rational(a.numerator * b.numerator, a.denominator * b.denominator, present, bound, denominator_bound)
    bound = a.bound * b.denominator_bound + b.bound * a.denominator_bound
    a = _sized(a, max(bound, denominator_bound))
    b = _sized(b, max(bound, denominator_bound))
    left, right = a.numerator * b.denominator, b.numerator * a.denominator
    total = left + right if operator is ArithmeticOperator.ADD else left - right
    return _Rational(total, a.denominator * b.denominator, present, bound, denominator_bound)


# --- everything else ---------------------------------------------------------------------------------------


def _integers(value: BoundValue, candidates: _Candidates) -> tuple[npt.NDArray[np.int64], Mask]:
    """Days, milliseconds or bools."""
    match value:
        case BoundConstant():
            assert isinstance(value.value, int)
            n = len(candidates.ordinals)
            return np.full(n, int(value.value), np.int64), np.ones(n, np.bool_)
        case BoundField():
            return candidates.take(value.field_id)
        case BoundAggregate():
            return aggregate(value, candidates.ordinals, candidates.context)
        case BoundGaps():
            return gaps.expected(value, candidates.ordinals, candidates.context)
        case LocalDate():
            instants, present = _integers(value.instant, candidates)
            return local_days(instants, candidates.context.zone), present
    raise AssertionError(value)


def _strings(value: BoundValue, candidates: _Candidates, *, ci: bool) -> tuple[Array, Mask]:
    """UTF-8 bytes as Python objects, so that they compare byte for byte."""
    assert isinstance(value, BoundField), "a constant string against a field is a set of codes"
    snapshot = candidates.context.snapshot
    codes, present = candidates.take(value.field_id)
    found = np.full(len(codes), b"", object)
    distinct, inverse = np.unique(codes[present], return_inverse=True)
    table = snapshot.dictionary(snapshot.catalog.schema[value.name])
    strings = table.get(distinct.astype(np.uint32)).to_pylist()
    encoded = [(fold(text) if ci else text).encode() for text in strings]
    found[present] = np.array([*encoded, None], object)[:-1][inverse]
    return found, present
