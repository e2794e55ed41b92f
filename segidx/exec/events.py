"""Scans of events: aggregates of the contacts' events, range by range of 16,384 contacts, in native code.

Without candidates every block that the window touches is read once, in order; with candidates only the ranges that hold
one, and only the candidates' rows are added up.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.exec.pool import over_threads, threads
from segidx.kernels.events import EventFilter, accumulate
from segidx.model.errors import SumTooLarge
from segidx.model.expression import AggregateFunction
from segidx.plan.context import BindContext
from segidx.plan.nodes import EventScan
from segidx.plan.values import BoundAggregate, BoundEvents
from segidx.store.events import RANGE_BITS, EventBlock, month_of
from segidx.store.postings import bitmap_of

_ROWS = 1 << RANGE_BITS

Ordinals = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Totals = tuple[Numbers, Mask]  # of a range: each contact's number, and whether there is one

# What a thread is given at once: the ranges, their blocks, and the candidates in each (None: all).
Part = list[tuple[int, tuple[EventBlock, ...], Ordinals | None]]


def scan(plan: EventScan, candidates: bytes | None, context: BindContext) -> bytes:
    """The contacts whose aggregate lies within the scan's bounds, of the candidates where they are given; both are
    portable Roaring bitmaps. Raises Stopped, SumTooLarge."""
    aggregate = plan.aggregate
    among = None if candidates is None else np.array(BitMap.deserialize(candidates), np.uint32)
    work = list(_ranges(aggregate.events, among, context))
    ranges = _Ranges(aggregate, context)

    def found(part: Part) -> list[Ordinals]:
        kept = []
        for number, blocks, local in part:
            numbers, present = ranges.totals(blocks, local)
            if plan.low is not None:
                present &= numbers >= plan.low
            if plan.high is not None:
                present &= numbers <= plan.high
            kept.append(np.flatnonzero(present).astype(np.uint32) + np.uint32(number << RANGE_BITS))
        return kept

    kept = [ordinals for part in over_threads(found, _shares(work)) for ordinals in part]
    return bytes(bitmap_of(np.concatenate(kept) if kept else np.zeros(0, np.uint32)).serialize())


def aggregate(value: BoundAggregate, ordinals: Ordinals, context: BindContext) -> Totals:
    """The aggregate of each of the ascending ordinals, and whether it has one. Raises Stopped, SumTooLarge."""
    numbers = np.zeros(len(ordinals), np.int64)
    present = np.full(len(ordinals), value.function is AggregateFunction.COUNT)
    ranges = _Ranges(value, context)
    for number, blocks, local in _ranges(value.events, ordinals, context):
        assert local is not None
        first, last = np.searchsorted(ordinals, [number << RANGE_BITS, (number + 1) << RANGE_BITS])
        totals, there = ranges.totals(blocks, local)
        numbers[first:last] = totals[local]
        present[first:last] |= there[local]
    return numbers, present


class _Ranges:
    """Adds the events of ranges up. For many threads at once: each call has its own sums."""

    def __init__(self, aggregate: BoundAggregate, context: BindContext) -> None:
        self._aggregate = aggregate
        self._context = context
        self._filter = EventFilter(aggregate.events.where) if aggregate.events.where else None

    def totals(self, blocks: tuple[EventBlock, ...], local: Ordinals | None) -> Totals:
        """The number of each contact of a range, and whether the events give it one; `local` are the candidates."""
        events = self._aggregate.events
        counts, sums, measured = np.zeros(_ROWS, np.uint32), np.zeros(_ROWS, np.int64), np.zeros(_ROWS, np.uint32)
        bits = None
        if local is not None:
            mask = np.zeros(_ROWS, np.uint8)
            mask[local] = 1
            bits = np.packbits(mask, bitorder="little").view(np.uint64)
        try:
            accumulate(
                blocks,
                self._filter,
                events.start,
                events.end,
                self._aggregate.measure,
                bits,
                counts,
                sums,
                measured,
                self._context.stop,
            )
        except OverflowError:
            raise SumTooLarge(
                f"the sum of a contact's {events.kind.value} events is beyond 2^63 units; choose a narrower window"
            ) from None
        if self._aggregate.function is AggregateFunction.COUNT:
            return counts.astype(np.int64), counts > 0
        return sums, measured > 0


def _ranges(
    events: BoundEvents, among: Ordinals | None, context: BindContext
) -> Iterator[tuple[int, tuple[EventBlock, ...], Ordinals | None]]:
    """Each range that has events in the window's months: its number, their blocks, the candidates in it counted from
    its first ordinal; none that has no candidate."""
    if events.start >= events.end:
        return
    snapshot = context.snapshot
    first_month, last_month = month_of(events.start), month_of(events.end - 1)
    for number in snapshot.event_ranges(events.kind):
        local = None
        if among is not None:
            first, last = np.searchsorted(among, [number << RANGE_BITS, (number + 1) << RANGE_BITS])
            if first == last:
                continue
            local = among[first:last] & np.uint32(_ROWS - 1)
        blocks = snapshot.event_blocks(events.kind, number, first_month, last_month)
        if blocks:
            yield number, blocks, local


def _shares(work: Part) -> list[Part]:
    """The work cut into a few pieces a thread, so that they end together."""
    step = max(1, -(-len(work) // (4 * threads())))
    return [work[first : first + step] for first in range(0, len(work), step)]
