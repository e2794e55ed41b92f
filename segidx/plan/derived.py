"""Derived numbers in plans: which of an account's can be kept, being made of what is said in the events alone, and the
scans of events that columns of them answer, or bitmaps of their bands where a scan's bounds are thresholds of these.

A column answers for the contacts of a range if the range's blocks hold no event at the instant of evaluation or later;
and not for contacts of whom the log holds more.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from segidx.model.derived import DerivedNumber, fields_of, members_of, value_text
from segidx.model.errors import InvalidArgument, SegidxError
from segidx.model.events import CLOCK_PROPERTIES, ORDER, EventType
from segidx.model.expression import Aggregate, AggregateFunction
from segidx.model.results import Estimate
from segidx.model.windows import MAX_INSTANT, MIN_INSTANT
from segidx.plan.attribution import ATTRIBUTED
from segidx.plan.context import BindContext
from segidx.plan.events import bind_aggregate
from segidx.plan.nodes import DerivedScan, EventScan, Plan
from segidx.plan.product_filters import named
from segidx.plan.values import BoundAggregate, BoundEvents
from segidx.store.bands import in_units
from segidx.store.catalog import Catalog
from segidx.store.derived import KeptNumber, kept_bands, kept_numbers, late_ranges
from segidx.store.layout import RANGE_BITS, derived_column
from segidx.store.snapshot import Snapshot

# The share of contacts in ranges that no column answers for above which the events are read at once.
_MOST_LATE = 0.5
# Bitmaps of so many pieces take no longer than to read the column: one of sums has four bytes a contact, of counts one
# (docs/adr/009-derived-columns.md).
_MOST_PIECES = {AggregateFunction.SUM: 8, AggregateFunction.COUNT: 3}

# What the kernel calls the functions that numbers come to when they are bound; a count is a sum without a measure.
HOW = {
    AggregateFunction.COUNT: "sum",
    AggregateFunction.SUM: "sum",
    AggregateFunction.MIN: "min",
    AggregateFunction.MAX: "max",
}


def check_kept(number: DerivedNumber, context: BindContext) -> None:
    """Whether a number can be kept. Raises InvalidArgument, UnknownProperty."""
    catalog = context.snapshot.catalog
    for member in members_of(number.value, catalog.event_groups):
        foreign = foreign_field(member, catalog)
        if foreign is not None:
            raise InvalidArgument(
                f"derived number {number.name!r}: {foreign!r} in {value_text(member)} is not said by the event alone;"
                " the catalogue of products, visits or the time zone decide too, so that it cannot be kept",
                derived=number.name,
                property=foreign,
            )


def foreign_field(value: Aggregate, catalog: Catalog) -> str | None:
    """A property in the filter of a number of one type that something else than its events decides: the catalogue of
    products, the visit that an order takes its source from, or the zone. None: there is none. Raises
    UnknownProperty."""
    if value.events.type not in catalog.event_types:
        return None  # binding names it
    type = catalog.event_types[value.events.type]
    for name in fields_of(value.events.where):
        if name in CLOCK_PROPERTIES or named(type, name, catalog.products).of_product is not None:
            return name
        if type == ORDER and name in ATTRIBUTED:
            return name
    return None


def use_derived(plan: Plan, context: BindContext) -> Plan:
    """The same plan with scans of events replaced where columns answer them; the same object where none is."""
    kept = [each for each in kept_numbers(context.snapshot) if each.is_whole]
    return _Columns(kept, context).replaced(plan) if kept else plan


class _Columns:
    """The columns that are whole, bound when a scan first asks for them."""

    def __init__(self, kept: Sequence[KeptNumber], context: BindContext) -> None:
        self._kept = kept
        self._context = context
        self._bound: dict[int, BoundAggregate | None] = {}

    def replaced(self, plan: Plan) -> Plan:
        if isinstance(plan, EventScan):
            return self._from_columns(plan)
        before = plan.children
        if not before:
            return plan
        children = tuple([self.replaced(child) for child in before])
        if all(new is old for new, old in zip(children, before, strict=True)):
            return plan
        return plan.with_children(children)

    def _from_columns(self, scan: EventScan) -> Plan:
        if scan.aggregate.function not in HOW:
            return scan
        selections = (scan.aggregate.events, *scan.aggregate.also)
        found = [self._column(scan.aggregate, events) for events in selections]
        columns = [each for each in found if each is not None]
        if len(columns) < len(found):
            return scan
        snapshot = self._context.snapshot
        types = dict.fromkeys(events.type for events in selections)
        late: set[int] = set()
        for type in types:
            ranges = late_ranges(snapshot, type, self._context.at)
            if ranges is None:
                return scan
            late.update(ranges)
        if len(late) << RANGE_BITS > _MOST_LATE * snapshot.base_size:
            return scan
        numbers = tuple(kept.number for kept in columns)
        estimate, pieces = scan.estimate, None
        if len(columns) == 1:
            pieces = _pieces(columns[0], scan)
            if pieces is None:
                column = snapshot.base_column(derived_column(numbers[0]))
                low, expected, high = column.estimate_range(*_ends(scan))
            else:
                low = high = sum(map(len, kept_bands(snapshot, columns[0])[pieces[0] : pieces[1] + 1]))
                expected = float(low)
            others = (len(late) << RANGE_BITS) + sum(_changed(snapshot, type) for type in types)
            total = self._context.total
            high = min(total, high + others)
            estimate = Estimate(0 if others or low > total else low, min(high, round(expected)), high)
        return DerivedScan(estimate, scan.path, scan.aggregate, numbers, scan.low, scan.high, scan.label, pieces)

    def _column(self, aggregate: BoundAggregate, events: BoundEvents) -> KeptNumber | None:
        """The column that answers for a selection of an aggregate."""
        if events.start != MIN_INSTANT or events.end != min(self._context.at, MAX_INSTANT):
            return None
        for kept in self._kept:
            if kept.value.events.type == events.type.name:
                value = self._value(kept)
                if (
                    value is not None
                    and (value.function, value.measure) == (aggregate.function, aggregate.measure)
                    and (value.events.type, value.events.where, value.events.opening)
                    == (events.type, events.where, events.opening)
                ):
                    return kept
        return None

    def _value(self, kept: KeptNumber) -> BoundAggregate | None:
        """What is kept, bound; None if something else than its events decides it by now, or nothing can say it."""
        if kept.number not in self._bound:
            found = None
            with suppress(SegidxError):
                if foreign_field(kept.value, self._context.snapshot.catalog) is None:
                    bound = bind_aggregate(kept.value, self._context, "derived")
                    found = bound if isinstance(bound, BoundAggregate) else None
            self._bound[kept.number] = found
        return self._bound[kept.number]


def _pieces(kept: KeptNumber, scan: EventScan) -> tuple[int, int] | None:
    """The first and the last piece between a column's thresholds of the values within a scan's bounds; None where these
    are no thresholds, or the column is read sooner."""
    bands, function = kept.bands, scan.aggregate.function
    least = 1 if function is AggregateFunction.COUNT else None
    if bands is None or bands.built is not None or (scan.high is None and scan.low in (None, least)):
        return None  # whether there is any value, zone maps say
    thresholds = in_units(bands.thresholds, scan.aggregate.scale).tolist()
    first, last = 0, len(thresholds)
    if scan.low in thresholds:
        first = thresholds.index(scan.low) + 1
    elif scan.low not in (None, least):
        return None
    if scan.high is not None:
        if scan.high + 1 not in thresholds:
            return None
        last = thresholds.index(scan.high + 1)
    return (first, last) if 0 <= last - first < _MOST_PIECES[function] else None


def _changed(snapshot: Snapshot, type: EventType) -> int:
    """Of how many contacts' events of a type the log says something, at most."""
    return sum(layer.rows + layer.stale for layer in snapshot.event_layers(type))


def _ends(scan: EventScan) -> tuple[int, int]:
    low, high = (-(2**63) if scan.low is None else scan.low), (2**63 - 1 if scan.high is None else scan.high)
    return max(low, -(2**63)), min(high, 2**63 - 1)
