"""Orders that take the source of a visit: found natively, range by range of contacts, where a scan asks for it.

A scan looks for them piece by piece, so that what is held at a time are the orders of a piece. What was found of all
contacts is kept for the rest of the evaluation, since questions often have several scans of the same orders, as far as
it is small. Where few contacts are left to be looked at, only theirs are found, and not kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segidx.exec.held_events import HeldEvents, Ranges, a_few_each
from segidx.kernels.events import EVENT, MISSING, EventFilter, take
from segidx.model.events import ORDER, VISIT
from segidx.model.windows import MIN_INSTANT
from segidx.plan.attribution import SOURCE, TAKEN, Ints
from segidx.plan.context import BindContext
from segidx.plan.values import BoundEvents, FilterOp
from segidx.store.events import FIRST_PROPERTY
from segidx.store.layout import RANGE_BITS, event_ids_table

# One contact in so many, or fewer, and only their orders are looked at.
_FEW = 8
# Of what is kept in an evaluation: the sources of some 2.8 million orders.
_KEPT_BYTES = 64 << 20
# Orders and visits from which on a second thread pays, and of a piece.
_PARALLEL_ROWS, _PIECE_ROWS = 1 << 17, 1 << 21

_VISIT_COLUMNS = FIRST_PROPERTY + VISIT.index(SOURCE), FIRST_PROPERTY + VISIT.index("paid")
_UNSOURCED = EventFilter([("present", FIRST_PROPERTY + ORDER.index(SOURCE)), ("not",)])
_SOURCED = EventFilter([("present", _VISIT_COLUMNS[0])])


@dataclass(frozen=True, slots=True)
class Attributed:
    """Orders that take a visit's source, and its `paid` where they have none: int64[n] each."""

    orders: Ints  # event numbers, each once, in no order
    sources: Ints  # codes of the visits' dictionary
    paid: Ints  # 0, 1 or MISSING

    def values(self, name: str) -> Ints:
        return self.sources if name == SOURCE else self.paid

    @property
    def nbytes(self) -> int:
        return 3 * self.orders.nbytes


@dataclass(frozen=True, slots=True)
class Attribution:
    """The orders of a window and the visits that they may take a source of."""

    start: int
    end: int
    orders: HeldEvents
    visits: HeldEvents
    context: BindContext

    @classmethod
    def of(cls, events: BoundEvents, context: BindContext) -> Attribution:
        assert events.type == ORDER
        first = max(MIN_INSTANT, events.start - _within(context))
        return cls(
            events.start,
            events.end,
            HeldEvents.of(ORDER, events.start, events.end, context),
            HeldEvents.of(VISIT, first, events.end, context),
            context,
        )

    def pieces(self) -> int:
        """In how many pieces it is found, so that threads share it and each is small."""
        rows = self.orders.rows + self.visits.rows
        return 1 if rows < _PARALLEL_ROWS else max(a_few_each(), rows // _PIECE_ROWS)

    def found(self, ranges: Ranges, among: npt.NDArray[np.uint32] | None) -> Attributed:
        """Of the contacts of some ranges, those of `among` (ascending) at least. Raises Stopped."""
        key = (self.start, self.end, *ranges)
        kept = self.context.attributed.get(key)
        if isinstance(kept, Attributed):
            return kept
        if among is not None:
            among = among[slice(*np.searchsorted(among, np.array(ranges, np.int64) << RANGE_BITS))]
            contacts = min(ranges[1] << RANGE_BITS, self.context.snapshot.size) - (ranges[0] << RANGE_BITS)
            if len(among) * _FEW <= contacts:
                return self._taken(ranges, among)
        found = self._taken(ranges, None)
        # Other threads may add theirs meanwhile: the bound is passed by a few pieces at most.
        held = [each for each in list(self.context.attributed.values()) if isinstance(each, Attributed)]
        if sum(each.nbytes for each in held) + found.nbytes <= _KEPT_BYTES:
            self.context.attributed[key] = found
        return found

    def _taken(self, ranges: Ranges, among: npt.NDArray[np.uint32] | None) -> Attributed:
        within, stop = _within(self.context), self.context.stop
        orders, visits = self.orders, self.visits
        settled, torn, tied = take(
            (orders.months, _UNSOURCED, self.start, self.end, orders.layers, orders.folded),
            (visits.months, _SOURCED, max(MIN_INSTANT, self.start - within), self.end, visits.layers, visits.folded),
            _VISIT_COLUMNS,
            within,
            among,
            stop,
            ranges,
        )
        if len(torn):
            chosen = _last_by_id(tied, self.context)[torn[:, 1]]
            settled = np.concatenate([settled, np.column_stack([torn[:, 0], chosen])])
        return Attributed(*np.ascontiguousarray(settled.T))


class RowFilter:
    """The filter of some events, of the contacts `among` (ascending) where that is given."""

    def __init__(
        self, events: BoundEvents, among: npt.NDArray[np.uint32] | None, context: BindContext, *, asked: bool = False
    ) -> None:
        """Orders that take a source of visits are found where the filter asks for it, or where that is `asked`."""
        self._events, self._among = events, among
        taking = asked or TAKEN in [step[0] for step in events.where]
        self.attribution = Attribution.of(events, context) if taking else None
        # Where no order takes a source: the filter of all ranges, None where it lets all pass.
        self.always = EventFilter(events.where) if events.where and not taking else None

    def of(self, ranges: Ranges) -> tuple[EventFilter | None, Attributed | None]:
        """That of the events of some ranges, where None lets all pass, and the orders that take a source. Raises
        Stopped."""
        if self.attribution is None:
            return self.always, None
        found, where = self.attribution.found(ranges, self._among), self._events.where
        steps = [_of_orders(step, found) if step[0] == TAKEN else step for step in where]
        return EventFilter(steps) if steps else None, found


def filled(name: str, values: Ints, orders: Ints, found: Attributed, context: BindContext) -> Ints:
    """The values of a property of orders with these event numbers, missing ones by what the order takes: codes of the
    orders' dictionary, and behind them those of the visits'."""
    if not len(found.orders):
        return values
    order = np.argsort(found.orders)
    taking, taken = found.orders[order], found.values(name)[order]
    if name == SOURCE:
        taken = _own_codes(taken, context)
    at = np.minimum(np.searchsorted(taking, orders), len(taking) - 1)
    return np.where((values == MISSING) & (taking[at] == orders), taken[at], values)


def _own_codes(codes: Ints, context: BindContext) -> Ints:
    """The codes of visits' sources as `filled` gives them."""
    unique, which = np.unique(codes, return_inverse=True)
    own = context.snapshot.event_dictionary(ORDER, ORDER.index(SOURCE))
    strings = context.snapshot.event_dictionary(VISIT, VISIT.index(SOURCE)).get(unique).to_pylist()
    known = [own.find_one(text) for text in strings]
    there = [len(own) + code if found is None else found for code, found in zip(unique.tolist(), known, strict=True)]
    return np.array(there, np.int64)[which]


def _of_orders(step: FilterOp, found: Attributed) -> FilterOp:
    """The step that is asked of orders' numbers in place of one that is asked of what they take."""
    _, name, *codes = step
    values = found.values(str(name))
    if codes:
        (packed,) = codes
        assert isinstance(packed, bytes)
        orders = found.orders[np.isin(values, np.frombuffer(packed, np.int64))]
    else:
        orders = found.orders[values != MISSING]
    if not len(orders):
        return ("constant", False)
    base = int(orders.min())
    bits = np.zeros(int(orders.max()) - base + 1, np.bool_)
    bits[orders - base] = True
    return ("table", EVENT, base, np.packbits(bits, bitorder="little").tobytes(), False)


def _last_by_id(tied: Ints, context: BindContext) -> Ints:
    """(source, paid) of each group: what its visit of the greatest id says."""
    context.check_stop()
    ids = context.snapshot.table(event_ids_table(VISIT)).get(tied[:, 1]).to_pylist()
    groups = tied[:, 0].tolist()
    # Characters of Python's strings compare as the bytes of their UTF-8 do.
    order = np.array(sorted(range(len(ids)), key=lambda i: (groups[i], ids[i])), np.int64)
    context.check_stop()
    return tied[order[np.flatnonzero(np.diff(tied[order, 0], append=-1))], 2:]


def _within(context: BindContext) -> int:
    return context.snapshot.catalog.source_settings.order_minutes * 60_000
