"""Where the offsets of zones change: against every change that the standard library's zones have, and at instants by
chance."""

from __future__ import annotations

import random
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest

from segidx.model.windows import MAX_INSTANT
from segidx.plan.clocks import zone_changes

DAY = 86_400_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Half an hour, three quarters, a day left out, summer time in winter, and Ramadan; changes inside an hour and a minute.
ODD = (
    *("Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "Europe/Dublin", "Africa/Casablanca"),
    *("America/St_Johns", "Africa/Monrovia", "Asia/Gaza", "Antarctica/Troll", "America/Asuncion", "UTC"),
)


def offset(at: int, zone: str) -> int:
    return ((EPOCH + timedelta(milliseconds=at)).astimezone(ZoneInfo(zone)).utcoffset() or timedelta()) // timedelta(
        milliseconds=1
    )


def millis(year: int) -> int:
    return (datetime(year, 1, 1, tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)


def check(zone: str, first_year: int, last_year: int, rng: random.Random) -> None:
    first, end = millis(first_year), millis(last_year)
    changes = zone_changes(first, end, ZoneInfo(zone))
    starts = [start for start, _ in changes]
    assert starts[0] == first
    assert all(a < b for a, b in pairwise(starts))
    assert all(a != b for (_, a), (_, b) in pairwise(changes))
    probes = [rng.randrange(first, end) for _ in range(150)]
    probes += [start + by for start in starts for by in (-1, 0, 1)]
    for at in probes:
        if first <= at < end:
            assert offset(at, zone) == changes[bisect_right(starts, at) - 1][1], (zone, at)


@pytest.mark.parametrize("zone", ODD)
def test_odd_zones(zone: str) -> None:
    """Month by month too, so that no short offset is missed."""
    check(zone, 1970, 2110, random.Random(zone))
    changes = zone_changes(0, millis(2090), ZoneInfo(zone))
    starts = [start for start, _ in changes]
    for at in range(0, millis(2040), DAY // 2):
        assert offset(at, zone) == changes[bisect_right(starts, at) - 1][1], (zone, at)


def test_all_zones() -> None:
    rng = random.Random(8)
    for zone in rng.sample(sorted(available_timezones()), 40):
        first = rng.choice((1970, 1990, 2010, 2030))
        check(zone, first, first + 12, rng)


def test_far_years_and_none() -> None:
    warsaw = ZoneInfo("Europe/Warsaw")
    assert len(zone_changes(MAX_INSTANT - 400 * DAY, MAX_INSTANT + 1, warsaw)) == 5
    for zone in ("Pacific/Kiritimati", "Etc/GMT+12"):  # local time leaves the year 9999, and lies behind UTC
        assert len(zone_changes(MAX_INSTANT - 5, MAX_INSTANT + 1, ZoneInfo(zone))) == 1
    assert zone_changes(5, 3, warsaw) == zone_changes(-(2**70), -1, warsaw) == zone_changes(0, 1, warsaw)
    assert zone_changes(0, 1, warsaw) == zone_changes(0, 100 * DAY, warsaw) == ((0, 3_600_000),)
