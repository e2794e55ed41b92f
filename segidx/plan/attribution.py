"""Orders that say nothing of their source take that of a visit: which orders do, of those that a filter looks at.

Nothing of it is stored. An order without `source` and `paid` has both of its contact's last visit that has a source, at
the order's time or up to the account's minutes before it; of visits at one time, the one of the greatest event id. So
events that come late, are replaced or retracted, and the setting, are always followed. What filters say of an order's
source is then said of its own column, or of the event numbers of orders that take it.

Imports kernels, the store and the model below the plan. Contacts are looked at a piece at a time, so that memory is
bounded by a piece's orders and visits and by the orders that take a source.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segidx.kernels.events import EVENT, MISSING, TIME, EventFilter, EventLayer, EventMonth, select
from segidx.model.events import ORDER, VISIT, EventProperty, EventType
from segidx.model.windows import MIN_INSTANT
from segidx.plan.context import BindContext
from segidx.plan.values import BoundEvents, FilterOp
from segidx.store.events import FIRST_PROPERTY, month_of
from segidx.store.layout import RANGE_BITS, event_ids_table

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

SOURCE, PAID = "source", "paid"
ATTRIBUTED = (SOURCE, PAID)
"""The properties of an order that it takes from a visit."""

_PIECE = 16  # ranges


@dataclass(frozen=True, slots=True)
class Attributed:
    """Orders that take a visit's source: their event numbers, the source's code among those of visits, and 0, 1 or
    MISSING for paid."""

    orders: Ints  # int64[n], each once
    sources: Ints  # int64[n]
    paid: Ints  # int64[n]

    def __len__(self) -> int:
        return len(self.orders)


def attributed(context: BindContext, start: int, end: int) -> Attributed:
    """Those of the orders with start <= time < end, as of the snapshot; found once in an evaluation. Raises Stopped."""
    found = context.attributed.get((start, end))
    if found is None:
        found = context.attributed[start, end] = _found(context, start, end)
    assert isinstance(found, Attributed)
    return found


def with_taken(steps: list[FilterOp], orders: Ints) -> list[FilterOp]:
    """The steps of one condition on orders, which holds of these orders too."""
    if not len(orders):
        return steps
    base = int(orders.min())
    bits = np.zeros(int(orders.max()) - base + 1, np.bool_)
    bits[orders - base] = True
    return [*steps, ("table", EVENT, base, np.packbits(bits, bitorder="little").tobytes(), False), ("any", 2)]


def taken_values(events: BoundEvents, found: EventProperty, context: BindContext) -> list[tuple[FilterOp, Ints]]:
    """Each value of the property that orders of the span take from a visit: the step that finds it in the orders' own
    column, and the orders that take it. None of other types and properties."""
    if events.type != ORDER or found.name not in ATTRIBUTED:
        return []
    taken = attributed(context, events.start, events.end)
    values = taken.paid if found.name == PAID else taken.sources
    unique = np.unique(values[values != MISSING])
    column, codes = FIRST_PROPERTY + ORDER.index(found.name), unique.tolist()
    if found.name == SOURCE and codes:
        strings = context.snapshot.event_dictionary(VISIT, VISIT.index(SOURCE)).get(unique).to_pylist()
        own = context.snapshot.event_dictionary(ORDER, ORDER.index(SOURCE))
        codes = [own.find_one(text) for text in strings]
    steps: list[FilterOp] = [("constant", False) if code is None else ("range", column, code, code) for code in codes]
    return [(step, taken.orders[values == value]) for step, value in zip(steps, unique, strict=True)]


@dataclass(frozen=True, slots=True)
class TakenSources:
    """The sources that orders take, as codes of the orders' own dictionary; those that it lacks are numbered on from
    `first_text`, and are the `texts`."""

    orders: Ints  # event numbers, ascending
    codes: Ints
    first_text: int
    texts: tuple[str, ...]

    def filled(self, codes: Ints, events: Ints) -> Ints:
        """The codes of the orders with these event numbers, MISSING ones by the source that the order takes."""
        at = np.minimum(np.searchsorted(self.orders, events), len(self.orders) - 1)
        return np.where((codes == MISSING) & (self.orders[at] == events), self.codes[at], codes)


def taken_sources(context: BindContext, start: int, end: int) -> TakenSources | None:
    """The sources that orders with start <= time < end take; None where none does. Raises Stopped."""
    taken = attributed(context, start, end)
    if not len(taken):
        return None
    own = context.snapshot.event_dictionary(ORDER, ORDER.index(SOURCE))
    unique, which = np.unique(taken.sources, return_inverse=True)
    codes: list[int] = []
    texts: list[str] = []
    for text in context.snapshot.event_dictionary(VISIT, VISIT.index(SOURCE)).get(unique).to_pylist():
        code = own.find_one(text)
        codes.append(len(own) + len(texts) if code is None else code)
        if code is None:
            texts.append(text)
    order = np.argsort(taken.orders)
    return TakenSources(taken.orders[order], np.array(codes, np.int64)[which][order], len(own), tuple(texts))


def _found(context: BindContext, start: int, end: int) -> Attributed:
    span = context.snapshot.catalog.source_settings.order_minutes * 60_000
    parts: list[tuple[Ints, ...]] = []
    if span and start < end:
        orders = _Rows(context, ORDER, start, end)
        visits = _Rows(context, VISIT, max(MIN_INSTANT, start - span), end)
        last = min(orders.last, visits.last)
        for first in range(0, last + 1, _PIECE):
            parts.append(_of_piece(orders, visits, (first, first + _PIECE), span))
    parts = [part for part in parts if len(part[0])]
    if not parts:
        return Attributed(*np.zeros((3, 0), np.int64))
    return Attributed(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


class _Rows:
    """The events of a type and a window, to be asked for by ranges of contacts."""

    def __init__(self, context: BindContext, type: EventType, start: int, end: int) -> None:
        snapshot = context.snapshot
        self.context, self.type, self.start, self.end = context, type, start, end
        self.months: tuple[EventMonth, ...] = snapshot.event_months(type, month_of(start), month_of(end - 1))
        self.layers: tuple[EventLayer, ...] = snapshot.event_layers(type)
        self.folded = snapshot.events_folded(type)
        self.last = max((*(month.last for month in self.months), *(layer.last for layer in self.layers)), default=-1)

    def column(self, name: str) -> int:
        return FIRST_PROPERTY + self.type.index(name)

    def select(
        self,
        where: list[FilterOp],
        columns: list[int],
        ranges: tuple[int, int],
        among: npt.NDArray[np.uint32] | None = None,
    ) -> tuple[npt.NDArray[np.uint32], tuple[Ints, ...]]:
        found: tuple[npt.NDArray[np.uint32], tuple[Ints, ...]] = select(
            self.months,
            EventFilter(where),
            self.start,
            self.end,
            columns,
            among,
            self.context.stop,
            self.layers,
            self.folded,
            ranges,
        )
        return found


def _of_piece(orders: _Rows, visits: _Rows, ranges: tuple[int, int], span: int) -> tuple[Ints, ...]:
    """(orders, sources, paid) of the contacts of some ranges."""
    silent: list[FilterOp] = [
        ("present", orders.column(SOURCE)),
        ("present", orders.column(PAID)),
        ("any", 2),
        ("not",),
    ]
    buyers, (times, numbers) = orders.select(silent, [TIME, EVENT], ranges)
    sourced: list[FilterOp] = [("present", visits.column(SOURCE))]
    wanted = [TIME, EVENT, visits.column(SOURCE), visits.column(PAID)]
    visitors, (seen, visit_numbers, sources, paid) = visits.select(sourced, wanted, ranges, np.unique(buyers))
    # Everything in one order: by contact and time, visits before an order of the same time.
    contacts = np.concatenate([visitors, buyers]).astype(np.int64)
    at = np.concatenate([seen, times])
    is_order = np.arange(len(at)) >= len(seen)
    order, same = _sorted(contacts - (ranges[0] << RANGE_BITS), at, is_order)
    _settle_ties(order, same, visits, visit_numbers, sources, paid)
    latest = np.maximum.accumulate(np.where(is_order[order], -1, np.arange(len(order))))
    before = order[latest]  # -1, of orders with no visit in front, is any row
    takes = is_order[order] & (latest >= 0) & (contacts[order] == contacts[before]) & (at[order] - at[before] <= span)
    taken, visit = order[takes] - len(seen), before[takes]
    return numbers[taken], sources[visit], paid[visit]


def _sorted(contacts: Ints, at: Ints, is_order: Mask) -> tuple[Ints, Mask]:
    """The rows by contact (0 to 2^18 here), time and kind, and which of them have all as the one in front has."""
    if not len(at):
        return np.zeros(0, np.int64), np.zeros(0, np.bool_)
    first = at.min()
    if at.max() - first < 1 << 44:  # five centuries: one number says all, which sorts many times as fast
        key = contacts << 45 | (at - first) << 1 | is_order
        order = np.argsort(key)
        return order, np.r_[False, np.diff(key[order]) == 0]
    order = np.lexsort((is_order, at, contacts))
    differs = [np.diff(column[order]) != 0 for column in (is_order.astype(np.int64), at, contacts)]
    return order, np.r_[False, ~(differs[0] | differs[1] | differs[2])]


def _settle_ties(order: Ints, same: Mask, visits: _Rows, numbers: Ints, sources: Ints, paid: Ints) -> None:
    """Puts visits of one contact and time into the order of their ids, where it matters which is the last."""
    tied = np.flatnonzero(same & (order < len(numbers)))
    after, ahead = order[tied], order[tied - 1]
    torn = tied[(sources[after] != sources[ahead]) | (paid[after] != paid[ahead])]
    if not len(torn):
        return
    group = np.cumsum(~same)
    places = np.flatnonzero(np.isin(group, group[torn]))
    members, groups = order[places], group[places].tolist()
    ids = visits.context.snapshot.table(event_ids_table(visits.type)).get(numbers[members]).to_pylist()
    # Characters of Python's strings compare as the bytes of their UTF-8 do.
    order[places] = members[sorted(range(len(ids)), key=lambda i: (groups[i], ids[i]))]
