"""Which contacts' first or last event passes a filter.

The times of the first that passes and of the first that does not are numbers that a scan makes. Only where these are
equal are rows looked at: of events at one time the ids decide, and of the lines of an order their places. Where a group
has events of several types, those of one time and one id stand as the group names their types.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.exec.asked import Ordinals, ordinals_of
from segidx.exec.byte_order import ranks_across
from segidx.exec.events import Numbers, Selections, numbers_of, selected
from segidx.kernels.events import EVENT, LINE, TIME
from segidx.model.events import LINE as LINE_TYPE
from segidx.model.events import ORDER, EventType
from segidx.model.expression import AggregateFunction
from segidx.plan.context import BindContext
from segidx.plan.nodes import EventHasScan
from segidx.plan.values import BoundAggregate, ValueKind
from segidx.store.layout import event_ids_table
from segidx.store.postings import bitmap_of

# Contacts whose rows are held at a time.
_STEP = 1 << 18
Mask = npt.NDArray[np.bool_]


def scan_event_has(plan: EventHasScan, candidates: bytes | None, context: BindContext) -> bytes:
    """The contacts whose event passes, of the candidates where they are given; both are portable Roaring bitmaps.
    Raises Stopped."""
    among = None if candidates is None else ordinals_of(BitMap.deserialize(candidates))
    pick = AggregateFunction.MAX if plan.last else AggregateFunction.MIN

    def time_of(events: Selections) -> BoundAggregate:
        return BoundAggregate(ValueKind.INSTANT, pick, events[0], TIME, also=events[1:])

    ordinals, times = numbers_of(time_of(plan.passing), among, context)
    rivals, others = numbers_of(time_of(plan.failing), ordinals, context)
    at = np.searchsorted(ordinals, rivals)
    kept = np.ones(len(ordinals), np.bool_)
    kept[at] = times[at] > others if plan.last else times[at] < others
    tied = at[times[at] == others]
    for first in range(0, len(tied), _STEP):
        step = tied[first : first + _STEP]
        kept[step] = _passes(plan, ordinals[step], times[step], context)
    return bytes(bitmap_of(ordinals[kept]).serialize())


def _passes(plan: EventHasScan, ordinals: Ordinals, times: Numbers, context: BindContext) -> Mask:
    """Whether the event passes, of contacts that have some which pass and some which do not at the time of theirs."""
    # A line has no id but that of its order.
    types = list(dict.fromkeys(each.type for each in plan.passing))
    tables = list(dict.fromkeys(ORDER if type == LINE_TYPE else type for type in types))
    parts: list[_Rows] = []
    for selections, passes in ((plan.passing, True), (plan.failing, False)):
        for which in selections:
            context.check_stop()
            rows = selected(which, (TIME, EVENT, LINE), ordinals, context)
            owner = np.searchsorted(ordinals, rows.ordinals)
            inside = rows.columns[0] == times[owner]
            n = np.count_nonzero(inside)
            table = np.full(n, tables.index(ORDER if which.type == LINE_TYPE else which.type))
            type = np.full(n, types.index(which.type))
            event, line = rows.columns[1][inside], rows.columns[2][inside]
            parts.append(_Rows(owner[inside], table, event, type, line, np.full(n, passes)))
    found = _Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    order = np.lexsort((found.line, found.type, _places(found, tables, context), found.owner))
    # Each contact has rows, and they stand together now: the first of them is the first event.
    ends = np.searchsorted(found.owner[order], np.arange(len(ordinals)), "right" if plan.last else "left")
    kept: Mask = found.passes[order[ends - 1 if plan.last else ends]]
    return kept


class _Rows(NamedTuple):
    """Rows of contacts at the time of theirs: whose they are, the table of their ids and the number there, the place of
    their type among those that are asked for, and whether they pass."""

    owner: Numbers
    table: Numbers
    event: Numbers
    type: Numbers
    line: Numbers
    passes: Mask


def _places(rows: _Rows, tables: Sequence[EventType], context: BindContext) -> Numbers:
    """The order of the events of each owner, by their ids; all the same where it has one event only."""
    order = np.argsort(rows.owner, kind="stable")
    starts = np.flatnonzero(np.diff(rows.owner[order], prepend=-1))
    whole = (rows.table << 32 | rows.event)[order]
    least, most = (reduce.reduceat(whole, starts) for reduce in (np.minimum, np.maximum))
    several = (least != most)[rows.owner]
    places = np.zeros(len(rows.event), np.int64)
    if several.any():
        which = [np.flatnonzero(several & (rows.table == number)) for number in range(len(tables))]
        strings = [context.snapshot.table(event_ids_table(type)) for type in tables]
        for at, ranks in zip(which, ranks_across(strings, [rows.event[at] for at in which], context), strict=True):
            places[at] = ranks
    return places
