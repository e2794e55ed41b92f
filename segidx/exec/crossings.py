"""Scans of running values: who rose over a threshold at the time of an event in a window.

Those with an event in the window are found first, natively. What each came to before the window is one aggregate more;
only the events of the window are looked at row by row, some tens of thousands of contacts at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.exec.asked import Narrowing, Ordinals, ordinals_of
from segidx.exec.events import Mask, Numbers, aggregate, scan, selected
from segidx.kernels.events import MISSING, TIME
from segidx.model.expression import AggregateFunction
from segidx.model.windows import MIN_INSTANT
from segidx.plan.context import BindContext
from segidx.plan.nodes import CrossingScan, EventScan
from segidx.plan.values import BoundAggregate
from segidx.store.postings import bitmap_of

_STEP = 1 << 16
_SURE = 2.0**62  # sums of magnitudes below it are exact in int64, also where the magnitudes are added up as floats


def crossings(plan: CrossingScan, candidates: bytes | None, context: BindContext) -> bytes:
    """The contacts, of the candidates where they are given, whose running value rises over the threshold in the window.
    Both are portable Roaring bitmaps. Raises Stopped, and SumTooLarge for a sum that is too large before the window."""
    value = plan.aggregate
    earlier = replace(value, events=replace(value.events, start=MIN_INSTANT, end=value.events.start))
    ordinals = _with_events(plan, candidates, context)
    found = [np.zeros(0, np.uint32)]
    for first in range(0, len(ordinals), _STEP):
        context.check_stop()
        step = ordinals[first : first + _STEP]
        start, had = aggregate(earlier, step, context)
        owners, numbers, last = _rows(value, step, context)
        found.append(step[_rises(owners, numbers, last, start, had, plan.threshold)])
    return bytes(bitmap_of(np.concatenate(found)).serialize())


def _with_events(plan: CrossingScan, candidates: bytes | None, context: BindContext) -> Ordinals:
    """The contacts with an event in the window; no others cross anything there."""
    events = replace(plan.aggregate.events, opening=None)
    count = BoundAggregate(plan.aggregate.kind, AggregateFunction.COUNT, events)
    asked = EventScan(plan.estimate, plan.path, count, 1, None, plan.label)
    if candidates is None:
        return ordinals_of(_united(scan(asked, None, context)))
    among = BitMap.deserialize(candidates)
    narrowing = Narrowing(len(among), lambda: lambda first, last: candidates)
    return ordinals_of(_united(scan(asked, narrowing, context)) & among)


def _united(parts: Sequence[bytes]) -> BitMap:
    return BitMap.union(*map(BitMap.deserialize, parts)) if parts else BitMap()


def _rows(value: BoundAggregate, among: Ordinals, context: BindContext) -> tuple[npt.NDArray[np.intp], Numbers, Mask]:
    """The window's events of some contacts, by contact and time: the place of the contact among them, what is added,
    and whether it is the last of its contact and time."""
    of_sum = value.function is AggregateFunction.SUM
    rows = selected(value.events, (TIME, value.measure) if of_sum else (TIME,), among, context)
    times = rows.columns[0]
    numbers = rows.columns[1] if of_sum else np.ones(len(rows), np.int64)
    there = numbers != MISSING
    owners, times, numbers = np.searchsorted(among, rows.ordinals[there]), times[there], numbers[there]
    order = np.lexsort((times, owners))
    owners, times, numbers = owners[order], times[order], numbers[order]
    last = np.ones(len(owners), np.bool_)
    last[:-1] = (owners[1:] != owners[:-1]) | (times[1:] != times[:-1])
    return owners, numbers, last


def _rises(
    owners: npt.NDArray[np.intp], numbers: Numbers, last: Mask, start: Numbers, had: Mask, threshold: int
) -> npt.NDArray[np.intp]:
    """The places of the contacts whose running value rises over the threshold, some of them more than once. `start` is
    the value before the rows, where it `had` any; rows are by contact and time, the last of each time marked."""
    if not len(owners):
        return owners
    begins = np.flatnonzero(np.r_[True, owners[1:] != owners[:-1]])
    added: Any = numbers
    before: Any = start[owners[begins]]
    reach = np.add.reduceat(np.abs(numbers.astype(np.float64)), begins) + np.abs(before.astype(np.float64))
    if reach.max() >= _SURE:
        added, before = numbers.astype(object), before.astype(object)  # Python's integers, of any size
    # Over all contacts the total may overflow; int64 wraps, and the difference within a contact is right again.
    total = np.cumsum(added)
    lengths = np.diff(np.r_[begins, len(owners)])
    running = total - np.repeat(total[begins] - added[begins] - before, lengths)
    below = np.asarray(running < threshold, np.bool_)[last]
    owner = owners[last]
    was_below = np.r_[True, below[:-1]]
    opens = np.r_[True, owner[1:] != owner[:-1]]
    first = owner[opens]
    was_below[opens] = ~had[first] | (start[first] < threshold)
    return np.asarray(owner[was_below & ~below])
