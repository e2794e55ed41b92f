"""Calendar questions that become ranges: ages, days since, anniversaries, local days of timestamps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta, tzinfo

import numpy as np
import numpy.typing as npt

from segidx.model.windows import MAX_INSTANT, MIN_INSTANT, from_days, local_date, midnight, to_days

FIRST_DAY = to_days(date.min)
LAST_DAY = to_days(date.max)


def _anniversary(day: date, year: int) -> tuple[int, int, int]:
    """(year, month, day) of a date's anniversary; 29 February falls on 28 February in other years."""
    if day.month == 2 and day.day == 29 and not _is_leap(year):
        return (year, 2, 28)
    return (year, day.month, day.day)


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def age(born: date, today: date) -> int:
    """Whole years from `born` to `today`; negative before birth, so that it never falls as time goes on."""
    years = today.year - born.year
    return years if _anniversary(born, today.year) <= (today.year, today.month, today.day) else years - 1


def last_day_with_age(years: int, today: date) -> int | None:
    """The latest day (since 1970) whose age today is at least `years`; None if no date is that old.

    Age falls as the date of birth rises, so a binary search over all dates finds it.
    """
    return _last_true(lambda day: age(from_days(day), today) >= years)


def _last_true(holds: Callable[[int], bool]) -> int | None:
    if not holds(FIRST_DAY):
        return None
    low, high = FIRST_DAY, LAST_DAY
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def day_cuts(day: int, zone: tzinfo) -> list[int]:
    """The instants at which 'the local date is `day` or later' turns true, false, true, ...

    One, the local midnight, but where a clock goes back across midnight: there the new date begins, the old one comes
    back, and the new one begins again (St John's, each autumn from 1987 to 2010). Days are counted since 1970; outside
    the years 1 to 9999 the ends of time stand for their midnights.
    """
    if day < FIRST_DAY:
        return [MIN_INSTANT]
    if day > LAST_DAY:
        return [MAX_INSTANT + 1]
    date_ = from_days(day)
    first = midnight(date_, zone)
    local = datetime(date_.year, date_.month, date_.day)
    earlier, later = (local.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    if earlier is None or later is None or earlier <= later:  # equal: an ordinary midnight; less: one in a gap
        return [first]
    again = first + (earlier - later) // timedelta(milliseconds=1)
    low, high = first, again  # the date is `day` at low; it is earlier just before `again`: find where it goes back
    while high - low > 1:
        middle = (low + high) // 2
        if to_days(local_date(middle, zone)) >= day:
            low = middle
        else:
            high = middle
    return [first, high, again] if high < again else [first]


Instants = list[tuple[int | None, int | None]]


def instants_of_days(first: int | None, last: int | None, zone: tzinfo) -> Instants:
    """The ranges of instants, both ends included and None open, whose local date lies in [first, last]."""
    starts = [None] if first is None else day_cuts(first, zone)
    ends = [None] if last is None else day_cuts(last + 1, zone)
    # Where the date is `first` or later: from each even cut to the next odd one.
    later = [(a, b) for a, b in zip(starts[::2], [*starts[1::2], None], strict=True)]
    # Where it is `last` or earlier: up to the first cut, and from each odd cut to the next even one.
    earlier: Instants = [(None, ends[0]), *zip(ends[1::2], ends[2::2], strict=True)]
    found: Instants = []
    for a, b in later:
        for c, d in earlier:
            low = max((x for x in (a, c) if x is not None), default=None)
            end = min((x for x in (b, d) if x is not None), default=None)
            if low is None or end is None or low < end:
                found.append((low, None if end is None else end - 1))
    return sorted(found, key=lambda r: -(2**63) if r[0] is None else r[0])


def anniversary_days(start: int, end: int, first: int, last: int) -> npt.NDArray[np.bool_]:
    """For each day of [first, last]: whether one of its anniversaries lies in the days [start, end)."""
    days = np.arange(first, last + 1, dtype=np.int64).astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    # A slot for each (month, day) of a leap year: 31 days a month are room enough.
    slots = (months.astype(np.int64) % 12) * 31 + (days - months.astype("datetime64[D]")).astype(np.int64)
    hit = np.zeros(12 * 31, np.bool_)
    day = from_days(start)
    for _ in range(min(end - start, 366 * 8 + 2)):  # eight years show every date, even across 1900 and 2100
        hit[(day.month - 1) * 31 + day.day - 1] = True
        if day.month == 2 and day.day == 28 and not _is_leap(day.year):
            hit[31 + 28] = True
        if day == date.max:
            break
        day += timedelta(days=1)
    return np.asarray(hit[slots])


def runs(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """[(first, last)] of the runs of True."""
    edges = np.flatnonzero(np.diff(np.r_[False, mask, False].astype(np.int8)))
    return [(int(a), int(b) - 1) for a, b in edges.reshape(-1, 2)]
