"""Scans of events: numbers made of the contacts' events, in native code, by ranges of 16,384 contacts.

Without candidates every block that the window touches is read once, in order; with candidates only the ranges that hold
one, and only the candidates' rows are added up. What the log holds lies above the blocks in layers, each of all ranges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.exec.pool import over_threads, threads
from segidx.kernels.events import BLOCK_ROWS, TIME, EventBlock, EventFilter, EventLayer, collect, select
from segidx.model.errors import SumTooLarge
from segidx.model.expression import AggregateFunction
from segidx.plan.clocks import packed_changes
from segidx.plan.context import BindContext
from segidx.plan.nodes import EventScan
from segidx.plan.values import BoundAggregate, BoundEvents
from segidx.store.events import RANGE_BITS, month_of
from segidx.store.postings import bitmap_of

Ordinals = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Range = tuple[int, tuple[EventBlock, ...], int]  # its number, its blocks, the first layer above them

# What the kernel calls the functions that plans come to; a count is a sum without a measure.
_HOW = {
    AggregateFunction.COUNT: "sum",
    AggregateFunction.SUM: "sum",
    AggregateFunction.MIN: "min",
    AggregateFunction.MAX: "max",
    AggregateFunction.DISTINCT: "distinct",
    AggregateFunction.DISTINCT_DAYS: "distinct_days",
}

# How numbers of events of several types become one: where it begins, and what is done with each.
_JOINED = {
    AggregateFunction.COUNT: (0, np.add.at),
    AggregateFunction.MIN: (np.iinfo(np.int64).max, np.minimum.at),
    AggregateFunction.MAX: (np.iinfo(np.int64).min, np.maximum.at),
}

# Blocks (or as many rows in layers) from which on a second thread pays; below, handing work over costs more.
_PARALLEL_BLOCKS = 64


def scan(plan: EventScan, candidates: bytes | None, context: BindContext) -> bytes:
    """The contacts whose aggregate lies within the scan's bounds, of the candidates where they are given; both are
    portable Roaring bitmaps. Raises Stopped, SumTooLarge."""
    among = None if candidates is None else ordinals_of(BitMap.deserialize(candidates))
    ordinals, _ = _collected(plan.aggregate, among, context, plan.low, plan.high)
    return bytes(bitmap_of(ordinals).serialize())


def aggregate(value: BoundAggregate, ordinals: Ordinals, context: BindContext) -> tuple[Numbers, Mask]:
    """The aggregate of each of the ascending ordinals, and whether it has one. Raises Stopped, SumTooLarge."""
    found, totals = _collected(value, ordinals, context)
    numbers = np.zeros(len(ordinals), np.int64)
    present = np.full(len(ordinals), value.function.is_count)
    at = np.searchsorted(ordinals, found)
    numbers[at] = totals
    present[at] = True
    return numbers, present


class Selected(NamedTuple):
    """Rows of events, those of a contact together, contacts ascending, in no order within one."""

    ordinals: Ordinals  # uint32[n]
    columns: tuple[Numbers, ...]  # int64[n] each, MISSING where there is no value

    def __len__(self) -> int:
        return len(self.ordinals)


def selected(events: BoundEvents, columns: Sequence[int], among: Ordinals | None, context: BindContext) -> Selected:
    """The columns of the events that there are, of the contacts in `among` where it is given (ascending). For what is
    not made row by row; it takes memory for all of them. Raises Stopped."""
    rows = EventFilter(events.where) if events.where else None
    layers = context.snapshot.event_layers(events.type)

    def found(ranges: list[Range]) -> Selected:
        ordinals, values = select(ranges, rows, events.start, events.end, columns, among, context.stop, layers)
        order = np.argsort(ordinals, kind="stable")
        return Selected(ordinals[order], tuple(value[order] for value in values))

    parts = over_threads(found, _shares(list(_ranges(events, among, layers, context)), layers))
    if not parts:
        return Selected(np.zeros(0, np.uint32), tuple(np.zeros(0, np.int64) for _ in columns))
    return Selected(
        np.concatenate([part.ordinals for part in parts]),
        tuple(np.concatenate(values) for values in zip(*(part.columns for part in parts), strict=True)),
    )


def ordinals_of(bitmap: BitMap) -> Ordinals:
    """The members, ascending. (NumPy's own way from a bitmap is by Python integers.)"""
    return np.frombuffer(bitmap.to_array(), np.uint32) if bitmap else np.zeros(0, np.uint32)


def _collected(
    aggregate: BoundAggregate,
    among: Ordinals | None,
    context: BindContext,
    low: int | None = None,
    high: int | None = None,
) -> tuple[Ordinals, Numbers]:
    """The contacts, of `among` where it is given, whose events make a number within the bounds; ascending."""
    if not aggregate.also:
        return _collected_of(aggregate.events, aggregate, among, context, low, high)
    parts = [_collected_of(events, aggregate, among, context) for events in (aggregate.events, *aggregate.also)]
    everyone = np.concatenate([ordinals for ordinals, _ in parts])
    ordinals, owner = np.unique(everyone, return_inverse=True)
    given = np.concatenate([numbers for _, numbers in parts])
    nothing, join = _JOINED[aggregate.function]
    found = np.full(len(ordinals), nothing, np.int64)
    join(found, owner, given)
    inside = np.ones(len(ordinals), np.bool_)
    if low is not None:
        inside &= found >= low
    if high is not None:
        inside &= found <= high
    return ordinals[inside], found[inside]


def _collected_of(
    events: BoundEvents,
    aggregate: BoundAggregate,
    among: Ordinals | None,
    context: BindContext,
    low: int | None = None,
    high: int | None = None,
) -> tuple[Ordinals, Numbers]:
    rows = EventFilter(events.where) if events.where else None
    how = _HOW[aggregate.function]
    layers = context.snapshot.event_layers(events.type)
    by_days = aggregate.function is AggregateFunction.DISTINCT_DAYS
    zone = packed_changes(events.start, events.end, context) if by_days else None

    def found(ranges: list[Range]) -> tuple[Ordinals, Numbers]:
        return collect(
            ranges, rows, events.start, events.end, aggregate.measure, among, low, high, context.stop, how, layers, zone
        )

    try:
        parts = over_threads(found, _shares(list(_ranges(events, among, layers, context)), layers))
    except OverflowError:
        raise SumTooLarge(
            f"the sum of a contact's {events.type.name} events is beyond 2^63 units; choose a narrower window"
        ) from None
    if not parts:
        return np.zeros(0, np.uint32), np.zeros(0, np.int64)
    return np.concatenate([ordinals for ordinals, _ in parts]), np.concatenate([numbers for _, numbers in parts])


def _ranges(
    events: BoundEvents, among: Ordinals | None, layers: Sequence[EventLayer], context: BindContext
) -> Iterable[Range]:
    """Each range that may have events in the window, and has a candidate, with the blocks of the window's months."""
    if events.start >= events.end:
        return
    snapshot = context.snapshot
    first_month, last_month = month_of(events.start), month_of(events.end - 1)
    numbers = snapshot.event_ranges(events.type)
    if among is not None:
        # Ascending, so that a range is new where it differs from the one before.
        held = among >> RANGE_BITS
        wanted = {*held[:1].tolist(), *held[1:][held[1:] != held[:-1]].tolist()}
        numbers = [number for number in numbers if number in wanted]
    inside = [_inside(layer, events) for layer in layers]
    for number in numbers:
        blocks = snapshot.event_blocks(events.type, number, first_month, last_month)
        first = snapshot.first_event_layer(events.type, number)
        if blocks or any(number in each for each in inside[first:]):
            yield number, blocks, first


def _inside(layer: EventLayer, events: BoundEvents) -> frozenset[int]:
    """The ranges of which a layer may have rows in the window."""
    times = layer.zone(TIME)
    if times is None or times[0] >= events.end or times[1] < events.start:
        return frozenset()
    return frozenset(layer.ranges().tolist())


def _shares(ranges: list[Range], layers: Sequence[EventLayer]) -> list[list[Range]]:
    """The ranges in a few pieces a thread, so that all end together; in one where there is little to read."""
    above = sum(layer.rows for layer in layers) // BLOCK_ROWS
    if sum(len(blocks) for _, blocks, _ in ranges) + above < _PARALLEL_BLOCKS:
        return [ranges] if ranges else []
    step = max(1, -(-len(ranges) // (4 * threads())))
    return [ranges[first : first + step] for first in range(0, len(ranges), step)]
