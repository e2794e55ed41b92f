"""Local calendar days and ages of many instants and days at once."""

from __future__ import annotations

from datetime import date, tzinfo

import numpy as np
import numpy.typing as npt

from segidx.model.windows import local_date, to_days
from segidx.plan.calendar import day_start

_DAY = 86_400_000
Days = npt.NDArray[np.int64]


def local_days(instants: npt.NDArray[np.int64], zone: tzinfo) -> Days:
    """The local calendar day (since 1970) of each instant (milliseconds).

    A local day changes at most twice within one UTC day, so the zone is asked once for each UTC day that occurs.
    """
    utc_days, inverse = np.unique(instants // _DAY, return_inverse=True)
    # The local day at the UTC day's start, then the instants at which the next two local days begin.
    first = np.array([_local_day(int(d) * _DAY, zone) for d in utc_days], np.int64)
    second = np.array([day_start(int(d) + 1, zone) for d in first], np.int64)
    third = np.array([day_start(int(d) + 2, zone) for d in first], np.int64)
    return np.asarray(first[inverse] + (instants >= second[inverse]) + (instants >= third[inverse]), np.int64)


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
