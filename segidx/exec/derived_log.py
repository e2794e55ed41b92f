"""Columns of derived numbers under what the log says.

A column says what the events in the blocks come to. For each layer of the log, the numbers that its contacts have once
it is there are put above the column, as a delta puts values of a field above it. They are whole numbers, and not what
the layer adds: so they are true before, while and after a merge folds the layer, are made once, and stay with it. A
commit adds a small layer, and the next question makes that one's numbers.

Of a contact to whom a layer only adds, that is joined with the number below it; one of whose events it voids some is
answered from its events. The bitmaps of a number's bands lie under the same numbers, by the pieces in which these lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.exec.asked import Ordinals, ordinals_of
from segidx.exec.events import Numbers
from segidx.kernels.bitmaps import Column
from segidx.kernels.columns import VALUE_LIMIT
from segidx.kernels.deltas import ColumnChanges, Delta, DeltaArrays, build_delta
from segidx.kernels.events import TIME, EventFilter, EventLayer, collect
from segidx.model.events import EventType
from segidx.model.expression import AggregateFunction
from segidx.plan.context import BindContext
from segidx.plan.derived import HOW
from segidx.plan.values import BoundAggregate, BoundEvents
from segidx.store.balances import opening_balance
from segidx.store.bands import KeptBands, in_units, pieces_of
from segidx.store.derived import KeptNumber, NumberTooLarge, kept_numbers
from segidx.store.event_blocks import LAST_MONTH
from segidx.store.layout import derived_column
from segidx.store.postings import bitmap_of

_ALWAYS = 1 << 62  # beyond all times
# What several numbers come to. Columns and what the log adds lie below 2^62, so that a sum has 64 bits.
JOIN = {
    AggregateFunction.COUNT: np.add,
    AggregateFunction.SUM: np.add,
    AggregateFunction.MIN: np.minimum,
    AggregateFunction.MAX: np.maximum,
}


def column_above(number: int, value: BoundAggregate, events: BoundEvents, context: BindContext) -> Column:
    """The column of that number, which `value` is of the `events` over all time, under what the log says; good as long
    as columns of the snapshot are. Raises NumberTooLarge where a contact's is more than a column holds."""
    key = (derived_column(number), "above")
    return context.snapshot.remembered(key, lambda: _Above.of(number, value, events, context).column(), base=False)


def pieces_above(
    kept: KeptNumber, value: BoundAggregate, events: BoundEvents, pieces: tuple[int, int], context: BindContext
) -> tuple[bytes, bytes] | None:
    """Of the contacts of whom the log says something: those whose number lies in the pieces from the first to the last
    of the number's bands, and the others, both portable Roaring bitmaps. None where it says nothing of any. Raises
    NumberTooLarge."""
    key = (derived_column(kept.number), "pieces", pieces)
    return context.snapshot.remembered(
        key, lambda: _Above.of(kept.number, value, events, context).pieces(kept, value.scale, pieces), base=False
    )


def late_in_log(type: EventType, context: BindContext) -> Ordinals:
    """The contacts of whom the log has an event at the instant of evaluation or later, ascending."""
    layers = [
        layer
        for layer in context.snapshot.event_layers(type)
        if (times := layer.zone(TIME)) is not None and times[1] >= context.at
    ]
    return collect((), None, context.at, _ALWAYS, -1, stop=context.stop, layers=layers)[0]


def union(parts: Sequence[Ordinals]) -> Ordinals:
    """Those of all parts, each of them ascending. (NumPy's union of a quarter of a million takes 25 ms.)"""
    some = [part for part in parts if len(part)]
    if len(some) < 2:
        return some[0] if some else np.zeros(0, np.uint32)
    return ordinals_of(BitMap.union(*map(bitmap_of, some)))


class _Whole(NamedTuple):
    """The numbers of all contacts that this layer or an older one speaks of, down to a merge point."""

    delta: Delta
    merged: int


class _Pieces(NamedTuple):
    """The contacts of a delta, by the piece of bands in which their numbers lie; and all of them."""

    delta: Delta
    pieces: tuple[BitMap, ...]
    contacts: BitMap


@dataclass(frozen=True, slots=True)
class _Above:
    """What the log says of one number."""

    key: tuple[object, ...]  # of what it is, wherever its column is kept
    field: int
    type: EventType
    how: str
    measure: int
    where: EventFilter | None
    opening: int | None
    join: np.ufunc
    context: BindContext

    @classmethod
    def of(cls, number: int, value: BoundAggregate, events: BoundEvents, context: BindContext) -> _Above:
        kept = next(each for each in kept_numbers(context.snapshot) if each.number == number)
        return cls(
            (kept.value, context.snapshot.catalog.horizon(events.type)),
            derived_column(number),
            events.type,
            HOW[value.function],
            value.measure,
            EventFilter(events.where) if events.where else None,
            events.opening,
            JOIN[value.function],
            context,
        )

    def column(self) -> Column:
        base = self.context.snapshot.base_column(self.field)
        layers = self.context.snapshot.event_layers(self.type)
        return base.overlaid(self.field, self._deltas(base, layers)) if layers else base

    def pieces(self, kept: KeptNumber, scale: int, pieces: tuple[int, int]) -> tuple[bytes, bytes] | None:
        layers = self.context.snapshot.event_layers(self.type)
        if not layers or kept.bands is None:
            return None
        within, contacts = BitMap(), BitMap()
        for delta in self._deltas(self.context.snapshot.base_column(self.field), layers):
            newer = self._by_piece(delta, layers, kept.bands, scale)
            within = (within - newer.contacts) | BitMap.union(*newer.pieces[pieces[0] : pieces[1] + 1])
            contacts |= newer.contacts
        return bytes(within.serialize()), bytes((contacts - within).serialize())

    def _by_piece(self, delta: Delta, layers: tuple[EventLayer, ...], bands: KeptBands, scale: int) -> _Pieces:
        """The contacts of a delta by piece, remembered with the layer that remembers the delta."""
        key = (*self.key, bands.thresholds)
        remembered: dict[object, object] = {}
        for layer in layers:
            whole = layer.remembered.get((*self.key, "whole"))
            if layer.remembered.get(self.key) is delta or (isinstance(whole, _Whole) and whole.delta is delta):
                remembered = layer.remembered
        found = remembered.get(key)
        if isinstance(found, _Pieces) and found.delta is delta:
            return found
        changes = DeltaArrays(delta).values_of(self.field)
        if changes is None:
            return _Pieces(delta, (BitMap(),) * bands.pieces, BitMap())
        lies = pieces_of(in_units(bands.thresholds, scale), changes.values, changes.present)
        by_piece = tuple(bitmap_of(changes.ordinals[lies == piece]) for piece in range(bands.pieces))
        remembered[key] = found = _Pieces(delta, by_piece, bitmap_of(changes.ordinals))
        return found

    def _deltas(self, base: Column, layers: tuple[EventLayer, ...]) -> tuple[Delta, ...]:
        snapshot = self.context.snapshot
        folded, _ = snapshot.events_folded(self.type)
        closed, merged = snapshot.closed_event_layers(self.type), snapshot.state.merged
        found: list[Delta] = []
        at, joinable = 0, True  # layers below `at` are spoken of by what is found
        for place in reversed(range(len(layers))):
            whole = layers[place].remembered.get((*self.key, "whole"))
            if isinstance(whole, _Whole) and whole.merged <= merged:
                # What was true down to an older merge point speaks of contacts that the base answers for by now: with
                # others, these would be handed on for ever.
                found, at, joinable = [whole.delta], place + 1, whole.merged == merged
                break
        while at < len(layers):
            delta = layers[at].remembered.get(self.key)
            # A base that a merge is at has of some ranges what more layers say: they are made together. So are those
            # that will not grow any more where none is known yet, which is quickest.
            together = folded if at else max(folded, closed)
            if delta is None and at < together:
                found, at, joinable = [self._numbers(base, layers, 0, together)], together, True
                layers[at - 1].remembered[(*self.key, "whole")] = _Whole(found[0], merged)
                continue
            if delta is None:
                below = base.overlaid(self.field, tuple(found)) if found else base
                delta = layers[at].remembered[self.key] = self._numbers(below, layers, at, at + 1)
            assert isinstance(delta, Delta)
            found.append(delta)
            at += 1
            if at == closed and joinable:  # few deltas are asked faster than many, and these will not grow any more
                found = [reduce(Delta.merged, found)]
                layers[at - 1].remembered[(*self.key, "whole")] = _Whole(found[0], merged)
        return tuple(found)

    def _numbers(self, column: Column, layers: tuple[EventLayer, ...], first: int, end: int) -> Delta:
        """The numbers of the contacts that the layers from `first` to below `end` speak of, once these are there; the
        column is what lies below them."""
        some = layers[first:end]
        folded, below = self.context.snapshot.events_folded(self.type)
        left_out = max(0, min(folded, end) - first), below
        owners, added = self._collected((), some, left_out)
        stale = union([np.unique(layer.stale_places()[0]) for layer in some])
        parts = [owners, stale]
        if left_out[0]:  # those that the base answers for by now are set too: it may be read as it was
            parts.append(self._collected((), some, (0, 0))[0])
        touched = union(parts)
        taken, there = column.take(touched)
        values, present = np.asarray(taken), np.asarray(there) != 0
        at = np.searchsorted(touched, owners)
        values[at] = _checked(np.where(present[at], self.join(values[at], added), added))
        present[at] = True
        if len(stale):
            at = np.searchsorted(touched, stale)
            values[at], present[at] = self._remade(stale, layers[:end], (min(folded, end), below))
        if not len(touched):
            return build_delta((), ())
        return build_delta((), (ColumnChanges(self.field, touched, values, present),))

    def _remade(
        self, contacts: Ordinals, layers: tuple[EventLayer, ...], folded: tuple[int, int]
    ) -> tuple[Numbers, npt.NDArray[np.bool_]]:
        """The numbers of contacts from their events, and which of them have one."""
        snapshot = self.context.snapshot
        months = snapshot.event_months(self.type, 0, LAST_MONTH)
        parts = [self._collected(months, layers, folded, contacts)]
        if self.opening is not None:
            parts.append(opening_balance(snapshot, self.opening, contacts))
        values, present = np.zeros(len(contacts), np.int64), np.zeros(len(contacts), np.bool_)
        for owners, numbers in parts:
            at = np.searchsorted(contacts, owners)
            values[at] = _checked(np.where(present[at], self.join(values[at], numbers), numbers))
            present[at] = True
        return values, present

    def _collected(
        self,
        months: Sequence[object],
        layers: tuple[EventLayer, ...],
        folded: tuple[int, int],
        among: Ordinals | None = None,
    ) -> tuple[Ordinals, Numbers]:
        try:
            owners, numbers = collect(
                months,  # type: ignore[arg-type]
                self.where,
                -_ALWAYS,
                _ALWAYS,
                self.measure,
                among,
                stop=self.context.stop,
                how=self.how,
                layers=layers,
                folded=folded,
            )
        except OverflowError:
            raise NumberTooLarge from None
        return owners, _checked(numbers)


def _checked(numbers: Numbers) -> Numbers:
    """Below 2^62, so that two of them have a sum of 64 bits."""
    if bool(((numbers >= VALUE_LIMIT) | (numbers <= -VALUE_LIMIT)).any()):
        raise NumberTooLarge
    return numbers
