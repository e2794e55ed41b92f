"""Local time of events: where a zone's offset changes, and comparisons of the hour, the weekday or the month as
sets of them.

Imports the model and other parts of the plan only. The kernels take the changes as they are given here.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache, reduce
from operator import and_, or_

import numpy as np

from segidx.model.events import HOUR, MONTH, WEEKDAY, EventProperty
from segidx.model.expression import Operator
from segidx.model.windows import MAX_INSTANT, from_millis, to_days
from segidx.plan.constants import whole_numbers
from segidx.plan.context import BindContext
from segidx.plan.values import FilterOp

_DAY = 86_400
_STEP = 3 * _DAY
Changes = tuple[tuple[int, int], ...]


def zone_changes(start: int, end: int, zone: tzinfo) -> Changes:
    """The offset of local time in [start, end), milliseconds since 1970: pairs of the instant from which on it holds,
    and itself in milliseconds ahead of UTC. The first instant is not behind `start`."""
    years = range(from_millis(max(0, start)).year, from_millis(min(max(start, end - 1, 0), MAX_INSTANT)).year + 1)
    found: list[tuple[int, int]] = []
    for year in years:
        for at, offset in _changes_of_year(year, zone):
            # A year begins with the offset that the one before ends with, if nothing changes there.
            if not found or offset != found[-1][1]:
                found.append((at, offset))
    return tuple(found)


@lru_cache(maxsize=1 << 14)
def _changes_of_year(year: int, zone: tzinfo) -> Changes:
    """The same for one year of UTC.

    Found by looking every few days, and by halves where the offset is another one: an offset that holds for less than
    that, between two times of one other, would be missed. Since 1970 no zone has had one for less than six days.
    """
    first, end = to_days(date(year, 1, 1)) * _DAY, (to_days(date(year, 12, 31)) + 1) * _DAY
    at, offset = first, _offset(first, zone)
    found = [(at * 1000, offset)]
    for high in (*range(first + _STEP, end, _STEP), end - 1):
        while _offset(high, zone) != offset:
            later = high
            while later - at > 1:  # the offset holds at `at`, and no longer at `later`
                middle = (at + later) // 2
                at, later = (middle, later) if _offset(middle, zone) == offset else (at, middle)
            at, offset = later, _offset(later, zone)
            found.append((at * 1000, offset))
        at = high
    return tuple(found)


def _offset(seconds: int, zone: tzinfo) -> int:
    """In milliseconds. Zones change at whole seconds."""
    try:
        offset = datetime.fromtimestamp(seconds, zone).utcoffset()
    except (OverflowError, ValueError):  # local time is behind the year 9999
        offset = datetime.fromtimestamp(seconds - 2 * _DAY, zone).utcoffset()
    return (offset or timedelta()) // timedelta(milliseconds=1)


def packed_changes(start: int, end: int, context: BindContext) -> tuple[bytes, bytes]:
    """The changes for events of [start, end) that are there, as kernels take them: int64 starts and offsets."""
    context.time.instant = True  # what is made of a span's ends is no span
    newest = context.snapshot.newest_event
    # None is later than the newest, so that a window without an end costs no table of all years.
    changes = zone_changes(start, min(end, 1 if newest is None else newest + 1), context.zone)
    starts, offsets = (np.array(each, np.int64) for each in zip(*changes, strict=True))
    return starts.tobytes(), offsets.tobytes()


# --- conditions ------------------------------------------------------------------------------------------------


# The least and the greatest value of each.
_VALUES = {HOUR.name: (0, 23), WEEKDAY.name: (1, 7), MONTH.name: (1, 12)}


def clock_filter(
    found: EventProperty, operator: Operator, constant: Decimal, span: tuple[int, int], context: BindContext
) -> FilterOp:
    """`hour operator constant`, or of the weekday or the month, for events of `span`."""
    start, end = span
    return ("clock", found.name, *packed_changes(start, end, context), _mask(found, operator, constant))


def joined(kind: str, steps: list[FilterOp], n: int) -> list[FilterOp]:
    """The steps of n conditions that all or any must hold ("all", "any"). Those on one clock become one."""
    clocks = [step for step in steps if step[0] == "clock" and step[:-1] == steps[0][:-1]]
    if not n or len(clocks) < len(steps) or len(steps) < n:
        return [*steps, (kind, n)]
    masks = [mask for mask in (step[-1] for step in clocks) if isinstance(mask, int)]
    return [(*clocks[0][:-1], reduce(and_ if kind == "all" else or_, masks))]


def _mask(found: EventProperty, operator: Operator, constant: Decimal) -> int:
    """The values that compare so: bit 0 is hour 0, Monday, which is weekday 1, or January, which is month 1."""
    first, last = _VALUES[found.name]
    if operator is Operator.NE:
        return (1 << last - first + 1) - 1 ^ _mask(found, Operator.EQ, constant)
    ends = whole_numbers(operator, Fraction(constant))
    if ends is None:
        return 0
    low = first if ends[0] is None else max(first, ends[0])
    high = last if ends[1] is None else min(last, ends[1])
    return (1 << high - low + 1) - 1 << low - first if low <= high else 0
