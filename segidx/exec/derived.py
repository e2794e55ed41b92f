"""Scans of derived numbers: columns where they know, events where they do not.

A column says what the events in the blocks come to, all of them. So the contacts of whom the log holds more, and those
of ranges with an event at the instant of evaluation or later, are answered from their events; all others by the column.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from segidx.exec.events import numbers_of
from segidx.kernels.bitmaps import Column, Posting, Program
from segidx.model.expression import AggregateFunction
from segidx.plan.context import BindContext
from segidx.plan.nodes import DerivedScan
from segidx.store.derived import late_ranges, touched
from segidx.store.layout import RANGE_BITS, derived_column
from segidx.store.postings import bitmap_of

Ordinals = npt.NDArray[np.uint32]

_LOW, _HIGH = -(2**63), 2**63 - 1


def derived_node(program: Program, plan: DerivedScan, context: BindContext) -> int:
    """Adds the scan to a program. Raises Stopped, SumTooLarge."""
    low = _LOW if plan.low is None else max(plan.low, _LOW)
    high = _HIGH if plan.high is None else min(plan.high, _HIGH)
    others = _from_events(plan, context)
    added, removed = None, None
    if len(others):
        owners, numbers = numbers_of(plan.aggregate, others, context)
        added = bytes(bitmap_of(owners[(numbers >= low) & (numbers <= high)]).serialize())
        removed = bytes(bitmap_of(others).serialize())
    columns = [context.snapshot.base_column(derived_column(number)) for number in plan.columns]
    if len(columns) == 1:
        return program.range(columns[0], low, high, added, removed)
    node = _joined(program, plan.aggregate.function, columns, low, high)
    if added is None or removed is None:
        return node
    known = program.all_of([node, program.negate(program.posting(Posting([removed])))])
    return program.any_of([known, program.posting(Posting([added]))])


def _from_events(plan: DerivedScan, context: BindContext) -> Ordinals:
    """The contacts that no column answers for, ascending."""
    snapshot = context.snapshot
    parts: list[Ordinals] = []
    for type in dict.fromkeys(each.type for each in (plan.aggregate.events, *plan.aggregate.also)):
        parts.append(touched(snapshot, type))
        late = late_ranges(snapshot, type, context.at)
        assert late is not None, "the plan has not asked for columns then"
        for number in late:
            end = min(number + 1 << RANGE_BITS, snapshot.size)
            parts.append(np.arange(number << RANGE_BITS, end, dtype=np.uint32))
    parts = [part for part in parts if len(part)]
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.uint32)


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
