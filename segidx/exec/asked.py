"""Aggregates of events of one type, ready to be asked of the kernels: of all contacts, or of those alone that other
operands leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.exec.attribution import RowFilter
from segidx.exec.held_events import RANGES_TOGETHER, HeldEvents, Ranges, pieces_worth
from segidx.exec.pool import over_threads
from segidx.kernels.bitmaps import LAST_KEY
from segidx.kernels.events import collect_count, collect_set
from segidx.model.errors import SumTooLarge
from segidx.model.expression import AggregateFunction
from segidx.plan.clocks import packed_changes
from segidx.plan.context import BindContext
from segidx.plan.nodes import EventScan
from segidx.plan.values import BoundAggregate, BoundEvents

Ordinals = npt.NDArray[np.uint32]
Found = TypeVar("Found")

# What the kernel calls the functions that plans come to; a count is a sum without a measure.
_HOW = {
    AggregateFunction.COUNT: "sum",
    AggregateFunction.SUM: "sum",
    AggregateFunction.MIN: "min",
    AggregateFunction.MAX: "max",
    AggregateFunction.DISTINCT: "distinct",
    AggregateFunction.DISTINCT_DAYS: "distinct_days",
}

# What it costs in nanoseconds to look for candidates at all, and to find each and to tell it from the others.
_FINDING, _CONTACT = 15_000, 2.2

# Finds candidates: those with container keys (ordinal >> 16) from the first to the last, both included, at least, as a
# portable Roaring bitmap. Threads call it at the same time.
Within = Callable[[int, int], bytes]


def keys_of(ranges: Ranges) -> tuple[int, int]:
    """The keys of the containers of some ranges, both included."""
    return ranges[0] // RANGES_TOGETHER, min((ranges[1] - 1) // RANGES_TOGETHER, LAST_KEY)


class Narrowing(NamedTuple):
    """The contacts that are asked about, where not all are: about how many, and how to get ready to find them."""

    expected: int
    ready: Callable[[], Within]

    def candidates(self) -> bytes:
        """All of them, a portable Roaring bitmap."""
        return self.ready()(0, LAST_KEY)

    def ordinals(self) -> Ordinals:
        return ordinals_of(BitMap.deserialize(self.candidates()))


def ordinals_of(bitmap: BitMap) -> Ordinals:
    """The members, ascending. (NumPy's own way from a bitmap is by Python integers.)"""
    return np.frombuffer(bitmap.to_array(), np.uint32) if bitmap else np.zeros(0, np.uint32)


def shares_of(
    held: HeldEvents, rows: RowFilter, measure: int, contacts: int | None, finding: float = 0
) -> list[Ranges]:
    """The ranges in a few pieces a thread, so that all end together; in one where there is little to do. Of so many
    contacts alone where that is said; to find them takes so many nanoseconds."""
    pieces = pieces_worth(int(finding) + held.cost(rows.always, measure, contacts))
    return held.shares(pieces if rows.attribution is None else max(pieces, rows.attribution.pieces()))


def _finding(contacts: int) -> float:
    """Nanoseconds that it takes to find so many candidates, and to tell them from the others."""
    return _FINDING + _CONTACT * contacts


def _locate(events: BoundEvents, rows: RowFilter, summed: int | None, context: BindContext) -> None:
    """The events are about to be asked about some contacts alone."""
    if rows.attribution is not None:
        summed = None  # what is asked besides is not known yet, and no sum is of all rows
    HeldEvents.locate(events.type, events.start, events.end, context, rows.always, summed)


class Asked(NamedTuple):
    """An aggregate of events of one type, ready to be asked for."""

    events: BoundEvents
    held: HeldEvents
    rows: RowFilter
    how: str
    measure: int
    among: Ordinals | None
    zone: tuple[bytes, bytes] | None
    context: BindContext
    within: Within | None = None  # in place of `among`; finds so many, about
    expected: int = 0

    @classmethod
    def about(
        cls, aggregate: BoundAggregate, events: BoundEvents, among: Ordinals | None, context: BindContext
    ) -> Asked:
        by_days = aggregate.function is AggregateFunction.DISTINCT_DAYS
        rows = RowFilter(events, among, context)
        summed = aggregate.measure if aggregate.function is AggregateFunction.SUM else None
        if among is not None:
            _locate(events, rows, summed, context)
        return cls(
            events,
            HeldEvents.of(
                events.type,
                events.start,
                events.end,
                context,
                rows.always,
                summed,
                opened=events.opening is not None,
            ),
            rows,
            _HOW[aggregate.function],
            aggregate.measure,
            among,
            packed_changes(events.start, events.end, context) if by_days else None,
            context,
        )

    def of(self, narrowing: Narrowing) -> Asked:
        """The same of these contacts alone, each thread finding those that it looks at."""
        summed = self.measure if self.how == "sum" and self.measure >= 0 else None
        _locate(self.events, self.rows, summed, self.context)
        if self.rows.attribution is None:
            return self._replace(within=narrowing.ready(), expected=narrowing.expected)
        among = narrowing.ordinals()
        return self._replace(among=among, rows=RowFilter(self.events, among, self.context))

    def costs_less_than(self, contacts: int) -> bool:
        """Whether to look at all rows costs less than to find so many contacts, and to look at theirs: as it does once
        their rows are located, which these questions bring about."""
        if self.rows.attribution is not None:
            return False
        asked = self.rows.always, self.measure
        return self.held.cost(*asked) <= _finding(contacts) + self.held.cost(*asked, contacts, located=True)

    def sets(self, plan: EventScan) -> list[bytes]:
        return self.parts(lambda ranges: self.run(collect_set, ranges, plan.low, plan.high))

    def counted(self, plan: EventScan, of: Within | None) -> int:
        """How many there are, `of` those alone where it is given."""

        def of_ranges(ranges: Ranges) -> int:
            kernel = collect_count if of is None else partial(collect_count, within=of(*keys_of(ranges)))
            return self.run(kernel, ranges, plan.low, plan.high)

        return sum(self.parts(of_ranges))

    def run(
        self, kernel: Callable[..., Found], ranges: Ranges, low: int | None = None, high: int | None = None
    ) -> Found:
        among: Ordinals | bytes | None = self.among
        if self.within is not None:
            among = self.within(*keys_of(ranges))
        return kernel(
            self.held.months,
            self.rows.of(ranges)[0],
            self.events.start,
            self.events.end,
            self.measure,
            among,
            low,
            high,
            self.context.stop,
            self.how,
            self.held.layers,
            self.zone,
            self.held.folded,
            ranges,
        )

    def _shares(self) -> list[Ranges]:
        if self.within is not None:
            return shares_of(self.held, self.rows, self.measure, self.expected, _finding(self.expected))
        return shares_of(self.held, self.rows, self.measure, None if self.among is None else len(self.among))

    def parts(self, found: Callable[[Ranges], Found], shares: Sequence[Ranges] | None = None) -> list[Found]:
        """What is found in all ranges, or in those of the shares, piece by piece."""
        try:
            if shares is None:
                shares = self._shares()
            return over_threads(found, shares)
        except OverflowError:
            raise SumTooLarge(
                f"the sum of a contact's {self.events.type.name} events is beyond 2^63 units; choose a narrower window"
            ) from None
