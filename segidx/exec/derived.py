"""Scans of derived numbers: columns where they know, or the bitmaps of their bands, and events where they do not.

A column says what the events in the blocks come to, all of them. Of contacts to whom the log only adds, that is joined
with what it adds. Those of whose events the log voids some, and those of ranges with an event at the instant of
evaluation or later, are answered from their events; all others by the column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.exec.events import Numbers, Ordinals, numbers_in_log, numbers_of, ordinals_of
from segidx.kernels.bitmaps import Column, Posting, Program
from segidx.model.events import EventType
from segidx.model.expression import AggregateFunction
from segidx.plan.context import BindContext
from segidx.plan.nodes import DerivedScan
from segidx.store.derived import kept_bands, kept_numbers, late_ranges, touched, voided
from segidx.store.layout import RANGE_BITS, derived_column
from segidx.store.postings import bitmap_of

_LOW, _HIGH = -(2**63), 2**63 - 1
# What several numbers come to. Columns and what the log adds lie below 2^62, so that a sum has 64 bits.
_JOIN = {
    AggregateFunction.COUNT: np.add,
    AggregateFunction.SUM: np.add,
    AggregateFunction.MIN: np.minimum,
    AggregateFunction.MAX: np.maximum,
}


def derived_node(program: Program, plan: DerivedScan, context: BindContext) -> int:
    """Adds the scan to a program. Raises Stopped, SumTooLarge."""
    low = _LOW if plan.low is None else max(plan.low, _LOW)
    high = _HIGH if plan.high is None else min(plan.high, _HIGH)
    columns = [context.snapshot.base_column(derived_column(number)) for number in plan.columns]
    others, numbers, present = _not_in_columns(plan, columns, context)
    added, removed = None, None
    if len(others):
        within = present & (numbers >= low) & (numbers <= high)
        added = bytes(bitmap_of(others[within]).serialize())
        removed = bytes(bitmap_of(others[~within]).serialize())
    if plan.pieces is not None:
        return _banded(program, plan.pieces, _bands(plan, context), added, removed)
    if len(columns) == 1:
        return program.range(columns[0], low, high, added, removed)
    node = _joined(program, plan.aggregate.function, columns, low, high)
    return node if added is None or removed is None else _replaced(program, node, added, removed)


def _replaced(program: Program, node: int, added: bytes, removed: bytes) -> int:
    """A set without some, and with others."""
    known = program.all_of([node, program.negate(program.posting(Posting([removed])))])
    return program.any_of([known, program.posting(Posting([added]))])


def _bands(plan: DerivedScan, context: BindContext) -> list[Posting]:
    (number,) = plan.columns
    (kept,) = (each for each in kept_numbers(context.snapshot) if each.number == number)
    return kept_bands(context.snapshot, kept)


def _banded(
    program: Program, pieces: tuple[int, int], bands: Sequence[Posting], added: bytes | None, removed: bytes | None
) -> int:
    """The contacts of the pieces from the first to the last, those that the column does not know replaced."""
    first, last = pieces
    if first == last:
        return program.posting(bands[first] if added is None else bands[first].overlaid(added, removed))
    node = program.any_of([program.posting(each) for each in bands[first : last + 1]])
    return node if added is None or removed is None else _replaced(program, node, added, removed)


def _not_in_columns(
    plan: DerivedScan, columns: Sequence[Column], context: BindContext
) -> tuple[Ordinals, Numbers, npt.NDArray[np.bool_]]:
    """The contacts that no column answers for alone, ascending, their numbers, and which of them have one."""
    snapshot = context.snapshot
    types = list(dict.fromkeys(each.type for each in plan.aggregate.selections))
    remade = _union([*(voided(snapshot, type) for type in types), *_late(types, context)])
    others = _union([remade, *(touched(snapshot, type) for type in types)])
    numbers, present = np.zeros(len(others), np.int64), np.zeros(len(others), np.bool_)
    join = _JOIN[plan.aggregate.function]

    def include(owners: Ordinals, values: Numbers) -> None:
        at = np.searchsorted(others, owners)
        numbers[at] = np.where(present[at], join(numbers[at], values), values)
        present[at] = True

    known = np.ones(len(others), np.bool_)
    if len(remade):
        known[np.searchsorted(others, remade)] = False
        include(*numbers_of(plan.aggregate, remade, context))
    added = others[known]
    if len(added):
        for events, column in zip(plan.aggregate.selections, columns, strict=True):
            values, there = (np.asarray(each) for each in column.take(added))
            include(added[there != 0], values[there != 0])
            include(*numbers_in_log(plan.aggregate, events, added, context))
    return others, numbers, present


def _union(parts: Sequence[Ordinals]) -> Ordinals:
    """Those of all parts, each of them ascending. (NumPy's union of a quarter of a million takes 25 ms.)"""
    some = [part for part in parts if len(part)]
    if len(some) < 2:
        return some[0] if some else np.zeros(0, np.uint32)
    return ordinals_of(BitMap.union(*map(bitmap_of, some)))


def _late(types: Sequence[EventType], context: BindContext) -> Iterator[Ordinals]:
    """The contacts of ranges with an event at the instant of evaluation or later."""
    for type in types:
        late = late_ranges(context.snapshot, type, context.at)
        assert late is not None, "the plan has not asked for columns then"
        for number in late:
            end = min(number + 1 << RANGE_BITS, context.snapshot.size)
            yield np.arange(number << RANGE_BITS, end, dtype=np.uint32)


def _joined(program: Program, function: AggregateFunction, columns: Sequence[Column], low: int, high: int) -> int:
    """The contacts whose numbers of several types come to one within the bounds."""

    def any_within(least: int, most: int) -> int:
        return program.any_of([program.range(column, least, most) for column in columns])

    if function is AggregateFunction.MAX:
        node = any_within(low, _HIGH)
        return node if high == _HIGH else program.all_of([node, program.negate(any_within(high + 1, _HIGH))])
    if function is AggregateFunction.MIN:
        node = any_within(_LOW, high)
        return node if low == _LOW else program.all_of([node, program.negate(any_within(_LOW, low - 1))])
    if low <= 1 and high == _HIGH:  # of a count, one of which there is any
        return any_within(1, _HIGH)
    return program.posting(Posting([_counted(columns, low, high)]))


def _counted(columns: Sequence[Column], low: int, high: int) -> bytes:
    """The contacts whose counts add up to a number within the bounds."""
    total = np.zeros(max(len(column) for column in columns) << RANGE_BITS, np.int64)
    for column in columns:
        everyone = np.arange(len(column) << RANGE_BITS, dtype=np.uint32)
        values, present = column.take(everyone)
        total[: len(everyone)] += np.where(np.asarray(present) != 0, np.asarray(values), 0)
    within = (total >= max(low, 1)) & (total <= high)
    return bytes(bitmap_of(np.flatnonzero(within).astype(np.uint32)).serialize())
