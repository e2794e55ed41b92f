"""Values made of the times between a contact's events, exactly: the mean gap and the time that is expected next come of
how many events there are, the first and the last of them; the deviation of all times, in native code.

The deviation is the root of a fraction: what is compared are squares.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.exec.asked import Ordinals, ordinals_of
from segidx.exec.events import Mask, Numbers, Selections, aggregate, counts, selected_of, slices
from segidx.kernels.events import TIME, spreads
from segidx.model.expression import AggregateFunction, Operator
from segidx.plan.constants import whole_numbers
from segidx.plan.context import BindContext
from segidx.plan.nodes import GapScan
from segidx.plan.values import BoundAggregate, BoundGaps, ValueKind
from segidx.store.postings import bitmap_of

DAY = 86_400_000
_WORD = (1 << 64) - 1


class Gaps(NamedTuple):
    """Of contacts, ascending, with two events at least: how many gaps there are, and their sum in milliseconds."""

    ordinals: Ordinals
    gaps: Numbers
    whole: Numbers
    last: Numbers  # the time of the last event


class Spreads(NamedTuple):
    """Of such contacts: gaps^2 times the variance of the gaps, in square milliseconds."""

    ordinals: Ordinals
    gaps: Numbers
    spread: npt.NDArray[np.uint64]  # [n, 2]: the high and the low half


def scan_gaps(plan: GapScan, candidates: bytes | None, context: BindContext) -> bytes:
    """The contacts for which the comparison holds, of the candidates where they are given; both are portable Roaring
    bitmaps. Raises Stopped."""
    among = None if candidates is None else ordinals_of(BitMap.deserialize(candidates))
    events, function = plan.gaps.events, plan.gaps.function
    if function is AggregateFunction.GAP_DEVIATION:
        parts = [_deviating(plan, part, context) for part in slices(events, among, context)]
        found = np.concatenate(parts) if parts else np.zeros(0, np.uint32)
    else:
        of = _gaps(events, among, context)
        if function is AggregateFunction.EXPECTED:
            low, high = whole_numbers(plan.operator, plan.bound) or (1, 0)
            found = of.ordinals[_inside(_expected(of), low, high)]
        else:
            found = of.ordinals[_mean_compares(of, plan.operator, plan.bound)]
    return bytes(bitmap_of(found).serialize())


def expected(value: BoundGaps, ordinals: Ordinals, context: BindContext) -> tuple[Numbers, Mask]:
    """The EXPECTED instant of each of the ascending ordinals, and whether it has one. Raises Stopped."""
    of = _gaps(value.events, ordinals, context)
    return _placed(_expected(of), of.ordinals, ordinals), _present(of.ordinals, ordinals)


def mean(value: BoundGaps, ordinals: Ordinals, context: BindContext) -> tuple[Numbers, Numbers, Mask]:
    """The MEAN_GAP of each of the ascending ordinals in days: numerator, denominator (1 or more), and whether it has
    one. Raises Stopped."""
    of = _gaps(value.events, ordinals, context)
    return (
        _placed(of.whole, of.ordinals, ordinals),
        np.maximum(_placed(of.gaps * DAY, of.ordinals, ordinals), 1),
        _present(of.ordinals, ordinals),
    )


def variance(value: BoundGaps, ordinals: Ordinals, context: BindContext) -> tuple[Any, Any, Mask]:
    """The square of the GAP_DEVIATION, in the same way, in Python integers."""
    of = _spreads(value.events, ordinals, context)
    spread = of.spread[:, 0].astype(object) << 64 | of.spread[:, 1].astype(object)
    numerator, denominator = np.zeros(len(ordinals), object), np.ones(len(ordinals), object)
    at = np.searchsorted(ordinals, of.ordinals)
    numerator[at], denominator[at] = spread, (of.gaps * DAY).astype(object) ** 2
    return numerator, denominator, _present(of.ordinals, ordinals)


# --- the values --------------------------------------------------------------------------------------------


def _gaps(events: Selections, among: Ordinals | None, context: BindContext) -> Gaps:
    ordinals, n = counts(events, among, context, 2)
    ends = (AggregateFunction.MIN, AggregateFunction.MAX)
    asked = (BoundAggregate(ValueKind.NUMBER, end, events[0], TIME, also=events[1:]) for end in ends)
    first, last = (aggregate(each, ordinals, context)[0] for each in asked)
    return Gaps(ordinals, n - 1, last - first, last)


def _spreads(events: Selections, among: Ordinals | None, context: BindContext) -> Spreads:
    ordinals, _ = counts(events, among, context, 2)
    rows = selected_of(events, [TIME], ordinals, context)
    return Spreads(*spreads(rows.ordinals, rows.columns[0], context.stop))


def _expected(of: Gaps) -> Numbers:
    return of.last + of.whole // of.gaps


def _placed(values: Numbers, found: Ordinals, ordinals: Ordinals) -> Numbers:
    numbers = np.zeros(len(ordinals), np.int64)
    numbers[np.searchsorted(ordinals, found)] = values
    return numbers


def _present(found: Ordinals, ordinals: Ordinals) -> Mask:
    present = np.zeros(len(ordinals), np.bool_)
    present[np.searchsorted(ordinals, found)] = True
    return present


# --- comparisons with a constant ---------------------------------------------------------------------------


def _inside(values: Numbers, low: int | None, high: int | None) -> Mask:
    """Bounds may be beyond 64 bits."""
    inside = np.ones(len(values), np.bool_)
    if low is not None:
        inside &= values >= low if low < 1 << 63 else False
    if high is not None:
        inside &= values <= high if high >= -(1 << 63) else False
    return inside


def _mean_compares(of: Gaps, operator: Operator, bound: Fraction) -> Mask:
    """`whole / (gaps * DAY) operator bound`: one range of whole milliseconds for each number of gaps."""
    numbers, owner = np.unique(of.gaps, return_inverse=True)
    most = (1 << 63) - 1
    lows, highs = _ranges(numbers, operator, bound * DAY, -most, most)
    return (of.whole >= np.array(lows, np.int64)[owner]) & (of.whole <= np.array(highs, np.int64)[owner])


def _deviating(plan: GapScan, among: Ordinals | None, context: BindContext) -> Ordinals:
    of = _spreads(plan.gaps.events, among, context)
    if plan.bound < 0:
        # It is never below 0.
        return of.ordinals if plan.operator in (Operator.GT, Operator.GE) else of.ordinals[:0]
    numbers, owner = np.unique(of.gaps, return_inverse=True)
    lows, highs = _ranges(numbers**2, plan.operator, (plan.bound * DAY) ** 2, 0, (1 << 128) - 1)
    return of.ordinals[_not_below(of.spread, _halves(lows)[owner]) & _not_below(_halves(highs)[owner], of.spread)]


def _ranges(
    factors: Numbers, operator: Operator, bound: Fraction, least: int, most: int
) -> tuple[list[int], list[int]]:
    """For each factor the whole numbers that compare so with factor * bound, of those from `least` to `most`: the first
    and the last of them. Where there are none the first is behind the last."""
    lows, highs = [], []
    for factor in factors.tolist():
        low, high = whole_numbers(operator, factor * bound) or (1, 0)
        low, high = least if low is None else max(low, least), most if high is None else min(high, most)
        lows.append(low if low <= high else 1)
        highs.append(high if low <= high else 0)
    return lows, highs


def _halves(numbers: list[int]) -> npt.NDArray[np.uint64]:
    return np.array([(number >> 64, number & _WORD) for number in numbers], np.uint64).reshape(-1, 2)


def _not_below(one: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64]) -> Mask:
    """Which of the numbers of 128 bits, in halves, are the other or greater."""
    high = one[:, 0] == other[:, 0]
    return np.asarray((one[:, 0] > other[:, 0]) | (high & (one[:, 1] >= other[:, 1])), np.bool_)
