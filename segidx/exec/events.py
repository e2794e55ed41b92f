"""Scans of events: numbers made of the contacts' events, in native code, by ranges of 16,384 contacts.

The blocks of the months that the window touches are read once, in order; with candidates only those of ranges that hold
one, and only the candidates' rows are added up. What the log holds lies above the blocks in layers, each of all ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from segidx.exec.asked import Asked, Narrowing, Ordinals, Within, shares_of
from segidx.exec.attribution import RowFilter, filled
from segidx.exec.held_events import HeldEvents, Ranges
from segidx.exec.local_days import local_days
from segidx.exec.pool import over_threads
from segidx.kernels.bitmaps import Program
from segidx.kernels.events import EVENT, MISSING, TIME, collect, select
from segidx.model.errors import SumTooLarge
from segidx.model.expression import AggregateFunction
from segidx.plan.context import BindContext
from segidx.plan.nodes import EventScan
from segidx.plan.values import BoundAggregate, BoundEvents, ValueKind
from segidx.store.balances import opening_balance
from segidx.store.layout import RANGE_BITS
from segidx.store.postings import bitmap_of

Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
ContactNumbers = tuple[Ordinals, Numbers]  # ordinals ascending, and the number of each
Selections = tuple[BoundEvents, ...]  # of events of one type, or of several; one at least, all of one window
Found = TypeVar("Found")

# How numbers of events of several types, and opening balances, become one: where it begins, and what is done with each.
_JOINED = {
    AggregateFunction.COUNT: (0, np.add),
    AggregateFunction.SUM: (0, np.add),
    AggregateFunction.MIN: (np.iinfo(np.int64).max, np.minimum),
    AggregateFunction.MAX: (np.iinfo(np.int64).min, np.maximum),
}

# Ranges of contacts whose rows are held at a time: a quarter of a million contacts.
_SLICE = 16


def scan(plan: EventScan, narrowing: Narrowing | None, context: BindContext) -> list[bytes]:
    """The contacts whose aggregate lies within the scan's bounds, in parts of ascending ordinals, all of them portable
    Roaring bitmaps. Of the others than those that `narrowing` finds, some may be among them: they are not looked for
    where that costs more than it saves. Raises Stopped, SumTooLarge."""
    asked = plan.aggregate
    if asked.also or asked.taken or asked.events.opening is not None:
        among = None if narrowing is None else narrowing.ordinals()
        ordinals, numbers = _collected(asked, among, context)
        return [bytes(bitmap_of(ordinals[_inside(numbers, plan.low, plan.high)]).serialize())]
    ask = Asked.about(asked, asked.events, None, context)
    if narrowing is not None:
        if ask.costs_less_than(narrowing.expected):
            with suppress(SumTooLarge):  # perhaps of a contact that is not asked about
                return ask.sets(plan)
        ask = ask.of(narrowing)
    return ask.sets(plan)


def count_scanned(
    plan: EventScan, narrowing: Narrowing | None, context: BindContext, among: Callable[[Sequence[bytes]], int]
) -> int | None:
    """How many live contacts, of those that `narrowing` finds, a scan finds, counted without being listed; None where
    the numbers of several scans make one. Where all rows are looked at for less than it takes to find the candidates,
    what is found is listed, which mostly is little, and `among` counts the candidates there. Raises Stopped,
    SumTooLarge."""
    asked = plan.aggregate
    if asked.also or asked.taken or asked.events.opening is not None:
        return None
    ask = Asked.about(asked, asked.events, None, context)
    if narrowing is None:
        return ask.counted(plan, _live(context))
    if ask.costs_less_than(narrowing.expected):
        with suppress(SumTooLarge):
            return among(ask.sets(plan))
    return ask.of(narrowing).counted(plan, None)


def _live(context: BindContext) -> Within | None:
    """The live contacts; None where all are that ever were."""
    if context.total == context.snapshot.size:
        return None
    program = Program()
    program.finish(program.constant(True), context.snapshot.universe())
    return lambda first, last: program.materialise(first, last, context.stop)


def aggregate(value: BoundAggregate, ordinals: Ordinals, context: BindContext) -> tuple[Numbers, Mask]:
    """The aggregate of each of the ascending ordinals, and whether it has one. Raises Stopped, SumTooLarge."""
    found, totals = _collected(value, ordinals, context)
    numbers = np.zeros(len(ordinals), np.int64)
    present = np.full(len(ordinals), value.function.is_count)
    at = np.searchsorted(ordinals, found)
    numbers[at] = totals
    present[at] = True
    return numbers, present


def numbers_of(value: BoundAggregate, among: Ordinals | None, context: BindContext) -> tuple[Ordinals, Numbers]:
    """The contacts, of `among` (ascending) where it is given, that have the aggregate, ascending, and theirs. Raises
    Stopped, SumTooLarge."""
    return _collected(value, among, context)


def numbers_of_ranges(value: BoundAggregate, ranges: Ranges, context: BindContext) -> tuple[Ordinals, Numbers]:
    """The same of the contacts of some ranges, for an aggregate of events of one type. Raises Stopped, SumTooLarge."""
    ask = Asked.about(value, value.events, None, context)
    ((ordinals, numbers),) = ask.parts(lambda asked: ask.run(collect, asked), [ranges])
    return ordinals, numbers


def contacts_with(events: Selections, among: Ordinals | None, context: BindContext) -> Ordinals:
    """The contacts that have one of the events, of `among` where it is given; both ascending. Raises Stopped."""
    return counts(events, among, context)[0]


def counts(
    events: Selections, among: Ordinals | None, context: BindContext, least: int = 1
) -> tuple[Ordinals, Numbers]:
    """The contacts that have so many of the events at least, and how many these are. Raises Stopped."""
    value = BoundAggregate(ValueKind.NUMBER, AggregateFunction.COUNT, events[0], also=events[1:])
    ordinals, numbers = _collected(value, among, context)
    enough = numbers >= least
    return ordinals[enough], numbers[enough]


class Selected(NamedTuple):
    """Rows of events, those of a contact together, contacts ascending, in no order within one."""

    ordinals: Ordinals  # uint32[n]
    columns: tuple[Numbers, ...]  # int64[n] each, MISSING where there is no value

    def __len__(self) -> int:
        return len(self.ordinals)


def selected(
    events: BoundEvents, columns: Sequence[int], among: Ordinals | None, context: BindContext, taken: str = ""
) -> Selected:
    """The columns of the events that there are, of the contacts in `among` where it is given (ascending). For what is
    not made row by row; it takes memory for all of them. The first column is the property `taken` where that is said:
    orders that lack it have what they take from a visit, as `segidx.exec.attribution.filled` gives it. Raises
    Stopped."""
    parts = _selected_parts(events, columns, among, context, taken, lambda part: part)
    if not parts:
        return Selected(np.zeros(0, np.uint32), tuple(np.zeros(0, np.int64) for _ in columns))
    return Selected(
        np.concatenate([part.ordinals for part in parts]),
        tuple(np.concatenate(values) for values in zip(*(part.columns for part in parts), strict=True)),
    )


def _selected_parts(
    events: BoundEvents,
    columns: Sequence[int],
    among: Ordinals | None,
    context: BindContext,
    taken: str,
    made: Callable[[Selected], Found],
) -> list[Found]:
    """What is made of such rows, piece by piece."""
    rows = RowFilter(events, among, context, asked=bool(taken))
    held = HeldEvents.of(events.type, events.start, events.end, context, rows.always)
    asked = [*columns, EVENT] if taken else columns

    def found(ranges: Ranges) -> Found:
        where, attributed = rows.of(ranges)
        ordinals, values = select(
            held.months,
            where,
            events.start,
            events.end,
            asked,
            among,
            context.stop,
            held.layers,
            held.folded,
            ranges,
        )
        if taken:
            assert attributed is not None
            first, *others, numbers = values
            values = (filled(taken, first, numbers, attributed, context), *others)
        order = np.argsort(ordinals, kind="stable")
        return made(Selected(ordinals[order], tuple(value[order] for value in values)))

    return over_threads(found, shares_of(held, rows, -1, None if among is None else len(among)))


def selected_of(events: Selections, columns: Sequence[int], among: Ordinals | None, context: BindContext) -> Selected:
    """The same of several selections. Columns are those that all types have. Raises Stopped."""
    parts = [selected(each, columns, among, context) for each in events]
    if len(parts) == 1:
        return parts[0]
    ordinals = np.concatenate([part.ordinals for part in parts])
    order = np.argsort(ordinals, kind="stable")
    values = zip(*(part.columns for part in parts), strict=True)
    return Selected(ordinals[order], tuple(np.concatenate(each)[order] for each in values))


def slices(events: Selections, among: Ordinals | None, context: BindContext) -> Iterator[Ordinals | None]:
    """The contacts, ascending, some at a time, so that the rows of these take a bounded part of memory; None for all
    that have events, where they are few."""
    if among is None:
        held = (context.snapshot.event_ranges(each.type) for each in events)
        numbers = sorted(set().union(*held))
        if len(numbers) <= _SLICE:
            yield None
            return
        for first in range(0, len(numbers), _SLICE):
            starts = np.array(numbers[first : first + _SLICE], np.int64) << RANGE_BITS
            yield (starts[:, None] + np.arange(1 << RANGE_BITS)).reshape(-1).astype(np.uint32)
        return
    size = _SLICE << RANGE_BITS
    for first in range(0, len(among), size):
        yield among[first : first + size]


def _collected(aggregate: BoundAggregate, among: Ordinals | None, context: BindContext) -> tuple[Ordinals, Numbers]:
    """The contacts, of `among` where it is given, whose events make a number; ascending."""
    if aggregate.also or aggregate.opened:
        return _joined(aggregate, among, context)
    return _collected_of(aggregate, aggregate.events, among, context)


def _joined(aggregate: BoundAggregate, among: Ordinals | None, context: BindContext) -> tuple[Ordinals, Numbers]:
    """The same over events of several types, and with what opening balances hold."""
    if aggregate.function is AggregateFunction.DISTINCT_DAYS:
        return _days_together(aggregate.selections, among, context)
    parts = [_collected_of(aggregate, events, among, context) for events in aggregate.selections]
    for events in aggregate.selections:
        if events.opening is not None:
            parts.append(opening_balance(context.snapshot, events.opening, among))
    return combined(aggregate.function, parts)


def _inside(numbers: Numbers, low: int | None, high: int | None) -> Mask:
    inside = np.ones(len(numbers), np.bool_)
    if low is not None:
        inside &= numbers >= low
    if high is not None:
        inside &= numbers <= high
    return inside


def _distinct_taken(aggregate: BoundAggregate, among: Ordinals | None, context: BindContext) -> list[ContactNumbers]:
    """How many different values orders have, of themselves or of visits."""

    def distinct(rows: Selected) -> ContactNumbers:
        (values,) = rows.columns
        there = values != MISSING
        owners, values = rows.ordinals[there], values[there]
        order = np.lexsort((values, owners))
        owners, values = owners[order], values[order]
        first = np.ones(len(owners), np.bool_)
        first[1:] = (owners[1:] != owners[:-1]) | (values[1:] != values[:-1])
        ordinals, counts = np.unique(owners[first], return_counts=True)
        return ordinals, counts.astype(np.int64)

    return _selected_parts(aggregate.events, [aggregate.measure], among, context, aggregate.taken, distinct)


def _days_together(events: Selections, among: Ordinals | None, context: BindContext) -> tuple[Ordinals, Numbers]:
    """On how many local days the events of several types were. A day of two types is one, so numbers do not add up."""
    ordinals, numbers = [np.zeros(0, np.uint32)], [np.zeros(0, np.int64)]
    for part in slices(events, among, context):
        rows = selected_of(events, [TIME], part, context)
        days = local_days(rows.columns[0], context.zone)
        # A day is less than 2^23 days from 1970.
        pairs = np.unique(rows.ordinals.astype(np.int64) << 24 | days + (1 << 23))
        owners, found = np.unique((pairs >> 24).astype(np.uint32), return_counts=True)
        ordinals.append(owners)
        numbers.append(found.astype(np.int64))
    return np.concatenate(ordinals), np.concatenate(numbers)


def combined(function: AggregateFunction, parts: Sequence[tuple[Ordinals, Numbers]]) -> tuple[Ordinals, Numbers]:
    """Numbers of contacts, ascending in each part, that are made of different events, as one. Raises SumTooLarge."""
    ordinals = np.unique(np.concatenate([owners for owners, _ in parts]))
    nothing, join = _JOINED[function]
    found = np.full(len(ordinals), nothing, np.int64)
    for owners, numbers in parts:
        at = np.searchsorted(ordinals, owners)
        before = found[at]
        joined = found[at] = join(before, numbers)
        if join is np.add and bool((((before ^ joined) & (numbers ^ joined)) < 0).any()):
            raise SumTooLarge("a contact's number is beyond 2^63 units; choose a narrower window")
    return ordinals, found


def _collected_of(
    aggregate: BoundAggregate, events: BoundEvents, among: Ordinals | None, context: BindContext
) -> tuple[Ordinals, Numbers]:
    if aggregate.taken:
        parts = _distinct_taken(aggregate, among, context)
    else:
        ask = Asked.about(aggregate, events, among, context)
        parts = ask.parts(lambda ranges: ask.run(collect, ranges))
    return _together(parts)


def _together(parts: Sequence[ContactNumbers]) -> ContactNumbers:
    if not parts:
        return np.zeros(0, np.uint32), np.zeros(0, np.int64)
    return np.concatenate([ordinals for ordinals, _ in parts]), np.concatenate([numbers for _, numbers in parts])
