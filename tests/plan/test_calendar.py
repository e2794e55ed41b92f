"""Local days of instants, above all where a clock goes back across midnight and a date comes twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from segidx.exec.local_days import local_days
from segidx.model.windows import to_days, to_millis
from segidx.plan.calendar import day_cuts, instants_of_days

# (zone, a day near which the clock changes): folds across midnight, at midnight, a skipped day, and plain ones.
CHANGES = [
    ("America/St_Johns", datetime(2010, 11, 7, tzinfo=UTC)),
    ("America/Havana", datetime(2024, 11, 3, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 11, 4, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 2, 18, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, tzinfo=UTC)),
    ("Pacific/Kwajalein", datetime(1969, 10, 1, tzinfo=UTC)),
    ("Europe/Warsaw", datetime(2024, 10, 27, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(1986, 1, 1, tzinfo=UTC)),
]


@pytest.mark.parametrize(("zone", "near"), CHANGES)
def test_every_minute_has_the_local_date_that_the_zone_gives(zone: str, near: datetime) -> None:
    tz = ZoneInfo(zone)
    moments = [near + timedelta(minutes=m) for m in range(-3 * 1440, 3 * 1440)]
    instants = np.array([to_millis(m) for m in moments], np.int64)
    expected = [to_days(m.astimezone(tz).date()) for m in moments]
    assert local_days(instants, tz).tolist() == expected
    middle = to_days(near.date())
    for first, last in [(middle, middle), (middle - 1, middle), (None, middle - 1), (middle, None), (None, None)]:
        ranges = instants_of_days(first, last, tz)
        for instant, day in zip(instants.tolist(), expected, strict=True):
            inside = any((a is None or a <= instant) and (b is None or instant <= b) for a, b in ranges)
            assert inside == ((first is None or first <= day) and (last is None or day <= last))


def test_a_date_that_comes_twice_has_three_cuts() -> None:
    cuts = day_cuts(to_days(datetime(2010, 11, 7).date()), ZoneInfo("America/St_Johns"))
    assert len(cuts) == 3
    assert cuts == sorted(cuts)
    assert len(day_cuts(to_days(datetime(2024, 10, 27).date()), ZoneInfo("Europe/Warsaw"))) == 1
