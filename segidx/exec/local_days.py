"""Local calendar days and ages of many instants and days at once."""

from __future__ import annotations

from datetime import date, tzinfo

import numpy as np
import numpy.typing as npt

from segidx.model.windows import local_date, to_days
from segidx.plan.calendar import day_cuts

_DAY = 86_400_000
Days = npt.NDArray[np.int64]


def local_days(instants: npt.NDArray[np.int64], zone: tzinfo) -> Days:
    """The local calendar day (since 1970) of each instant (milliseconds).

    The zone is asked once for each UTC day that occurs: within one, a local day begins at most twice. Only on a day
    whose clock goes back across midnight is it asked for each instant.
    """
    utc_days, inverse = np.unique(instants // _DAY, return_inverse=True)
    first = np.array([_local_day(int(d) * _DAY, zone) for d in utc_days], np.int64)
    cuts = [[day_cuts(int(d) + i, zone) for i in range(3)] for d in first]
    second = np.array([c[1][0] for c in cuts], np.int64)
    third = np.array([c[2][0] for c in cuts], np.int64)
    days = np.asarray(first[inverse] + (instants >= second[inverse]) + (instants >= third[inverse]), np.int64)
    repeated = np.array([any(len(c) > 1 for c in three) for three in cuts], np.bool_)
    for row in np.flatnonzero(repeated[inverse]).tolist():
        days[row] = _local_day(int(instants[row]), zone)
    return days


def _local_day(millis: int, zone: tzinfo) -> int:
    try:
        return to_days(local_date(millis, zone))
    except OverflowError:  # within a day of the ends of time, where the local date leaves the years 1 to 9999
        return millis // _DAY


def ages(days: Days, today: date) -> Days:
    """Whole years from each day to today (see `segidx.plan.calendar.age`)."""
    distinct, inverse = np.unique(days, return_inverse=True)
    months = distinct.astype("datetime64[D]").astype("datetime64[M]")
    years = months.astype("datetime64[Y]").astype(np.int64) + 1970
    month = months.astype(np.int64) % 12 + 1
    day = (distinct.astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.int64) + 1
    leap = today.year % 4 == 0 and (today.year % 100 != 0 or today.year % 400 == 0)
    day = np.where((month == 2) & (day == 29) & (not leap), 28, day)
    reached = month * 32 + day <= today.month * 32 + today.day
    return np.asarray((today.year - years - ~reached)[inverse], np.int64)
