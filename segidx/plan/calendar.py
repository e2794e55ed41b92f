"""Calendar questions that become ranges: ages, days since, anniversaries, local days of timestamps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta, tzinfo

import numpy as np
import numpy.typing as npt

from segidx.model.windows import MAX_INSTANT, MIN_INSTANT, from_days, midnight, to_days

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


def day_start(day: int, zone: tzinfo) -> int:
    """The instant at which a local day (since 1970) begins; the ends of time outside the years 1 to 9999."""
    if day < FIRST_DAY:
        return MIN_INSTANT
    if day > LAST_DAY:
        return MAX_INSTANT + 1
    return midnight(from_days(day), zone)


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
