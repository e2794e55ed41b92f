"""Which contacts' first or last event passes a filter.

The times of the first that passes and of the first that does not are numbers that a scan makes. Only where these are
equal are rows looked at: of events at one time the ids decide, and of the lines of an order their places.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.exec.byte_order import ranks
from segidx.exec.events import Numbers, Ordinals, numbers_of, ordinals_of, selected
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
    ordinals, times = numbers_of(BoundAggregate(ValueKind.INSTANT, pick, plan.passing, TIME), among, context)
    rivals, others = numbers_of(BoundAggregate(ValueKind.INSTANT, pick, plan.failing, TIME), ordinals, context)
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
    owners, events, lines, passing = [], [], [], []
    for which, passes in ((plan.passing, True), (plan.failing, False)):
        context.check_stop()
        rows = selected(which, (TIME, EVENT, LINE), ordinals, context)
        owner = np.searchsorted(ordinals, rows.ordinals)
        inside = rows.columns[0] == times[owner]
        owners.append(owner[inside])
        events.append(rows.columns[1][inside])
        lines.append(rows.columns[2][inside])
        passing.append(np.full(len(owners[-1]), passes))
    owner, event, line = np.concatenate(owners), np.concatenate(events), np.concatenate(lines)
    order = np.lexsort((line, _places(owner, event, plan.passing.type, context), owner))
    # Each contact has rows, and they stand together now: the first of them is the first event.
    sorted_owner = owner[order]
    ends = np.searchsorted(sorted_owner, np.arange(len(ordinals)), "right" if plan.last else "left")
    found: Mask = np.concatenate(passing)[order[ends - 1 if plan.last else ends]]
    return found


def _places(owner: Numbers, event: Numbers, type: EventType, context: BindContext) -> Numbers:
    """The order of the events of each owner, by their ids; all the same where it has one event only."""
    order = np.argsort(owner, kind="stable")
    starts = np.flatnonzero(np.diff(owner[order], prepend=-1))
    least, most = (reduce.reduceat(event[order], starts) for reduce in (np.minimum, np.maximum))
    several = (least != most)[owner]
    places = np.zeros(len(event), np.int64)
    if several.any():
        # A line has no id but that of its order.
        table = context.snapshot.table(event_ids_table(ORDER if type == LINE_TYPE else type))
        places[several] = ranks(table, event[several], context)
    return places
