"""Scans of derived numbers: columns where they know, or the bitmaps of their bands, and events where they do not.

A column says what the events in the blocks come to, and above it lies what the log makes of it. The contacts of ranges
with an event at the instant of evaluation or later, and those of whom the log has one, are answered from their events;
all others by the column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pyroaring import BitMap

from segidx.exec.asked import Ordinals
from segidx.exec.derived_log import column_above, late_in_log, pieces_above, union
from segidx.exec.events import numbers_of
from segidx.kernels.bitmaps import Column, Posting, Program
from segidx.model.events import EventType
from segidx.model.expression import AggregateFunction
from segidx.plan.context import BindContext
from segidx.plan.nodes import DerivedScan
from segidx.store.derived import NumberTooLarge, kept_bands, kept_numbers, late_ranges
from segidx.store.layout import RANGE_BITS
from segidx.store.postings import bitmap_of

_LOW, _HIGH = -(2**63), 2**63 - 1


def derived_node(program: Program, plan: DerivedScan, context: BindContext) -> int:
    """Adds the scan to a program. Raises Stopped, SumTooLarge."""
    low = _LOW if plan.low is None else max(plan.low, _LOW)
    high = _HIGH if plan.high is None else min(plan.high, _HIGH)
    late = union([*_late(list(dict.fromkeys(each.type for each in plan.aggregate.selections)), context)])
    added, removed = None, None
    if len(late):
        within = _within(plan, late, low, high, context)
        added, removed = bytes(within.serialize()), bytes((bitmap_of(late) - within).serialize())
    try:
        if plan.pieces is not None:
            node = _banded(program, plan, plan.pieces, context)
        else:
            columns = [
                column_above(number, plan.aggregate, events, context)
                for number, events in zip(plan.columns, plan.aggregate.selections, strict=True)
            ]
            if len(columns) == 1:
                return program.range(columns[0], low, high, added, removed)
            node = _joined(program, plan.aggregate.function, columns, low, high, context.snapshot.size)
    except NumberTooLarge:
        return program.posting(Posting([_within(plan, None, low, high, context).serialize()]))
    return node if added is None or removed is None else _replaced(program, node, added, removed)


def _replaced(program: Program, node: int, added: bytes, removed: bytes) -> int:
    """A set without some, and with others."""
    known = program.all_of([node, program.negate(program.posting(Posting([removed])))])
    return program.any_of([known, program.posting(Posting([added]))])


def _banded(program: Program, plan: DerivedScan, pieces: tuple[int, int], context: BindContext) -> int:
    """The contacts of the pieces from the first to the last, under what the log says. Raises NumberTooLarge."""
    (number,), (events,) = plan.columns, plan.aggregate.selections
    kept = next(each for each in kept_numbers(context.snapshot) if each.number == number)
    bands = kept_bands(context.snapshot, kept)[pieces[0] : pieces[1] + 1]
    above = pieces_above(kept, plan.aggregate, events, pieces, context)
    if len(bands) == 1:
        return program.posting(bands[0] if above is None else bands[0].overlaid(*above))
    node = program.any_of([program.posting(each) for each in bands])
    return node if above is None else _replaced(program, node, *above)


def _within(plan: DerivedScan, among: Ordinals | None, low: int, high: int, context: BindContext) -> BitMap:
    """Those of the contacts, or of all, whose number is within the bounds by their events."""
    owners, numbers = numbers_of(plan.aggregate, among, context)
    return bitmap_of(owners[(numbers >= low) & (numbers <= high)])


def _late(types: Sequence[EventType], context: BindContext) -> Iterator[Ordinals]:
    """The contacts of ranges with an event at the instant of evaluation or later, and those of whom the log has one."""
    for type in types:
        late = late_ranges(context.snapshot, type, context.at)
        assert late is not None, "the plan has not asked for columns then"
        for number in late:
            end = min(number + 1 << RANGE_BITS, context.snapshot.size)
            yield np.arange(number << RANGE_BITS, end, dtype=np.uint32)
        yield late_in_log(type, context)


def _joined(
    program: Program, function: AggregateFunction, columns: Sequence[Column], low: int, high: int, size: int
) -> int:
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
    return program.posting(Posting([_counted(columns, low, high, size)]))


def _counted(columns: Sequence[Column], low: int, high: int, size: int) -> bytes:
    """The contacts, of so many, whose counts add up to a number within the bounds."""
    total = np.zeros(size, np.int64)
    everyone = np.arange(size, dtype=np.uint32)
    for column in columns:
        values, present = column.take(everyone)
        total += np.where(np.asarray(present) != 0, np.asarray(values), 0)
    within = (total >= max(low, 1)) & (total <= high)
    return bytes(bitmap_of(np.flatnonzero(within).astype(np.uint32)).serialize())
