"""The hour, the weekday, the month and the day of events against the standard library's zones, at every size, width of
times and SIMD level; and different values a contact at every number of them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from segidx.kernels.bitmaps import simd_level
from segidx.kernels.columns import chunk_header, encode_chunk
from segidx.kernels.events import BLOCK_ROWS, EventBlock, EventFilter, encode_block
from segidx.testing.event_months import both, months

ZONES = ("UTC", "Europe/Warsaw", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia", "Africa/Casablanca")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = 3_600_000
DAY = 24 * HOUR
Zone = tuple[np.ndarray, np.ndarray]


def wall(at: int, zone: str) -> datetime:
    return (EPOCH + timedelta(milliseconds=at)).astimezone(ZoneInfo(zone))


def offset(at: int, zone: str) -> int:
    return (wall(at, zone).utcoffset() or timedelta()) // timedelta(milliseconds=1)


def zone_of(zone: str, first: int, last: int) -> Zone:
    """The changes of a zone, found by looking every six hours."""
    found = [(first, offset(first, zone))]
    for a, b in pairwise([*range(first, last, 6 * HOUR), last]):
        if offset(b, zone) != found[-1][1]:
            low, high = a, b
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(middle, zone) == found[-1][1] else (low, middle)
            found.append((high, offset(high, zone)))
    starts, offsets = zip(*found, strict=True)
    return np.array(starts, np.int64), np.array(offsets, np.int64)


def block_of(times: Sequence[int], contacts: Sequence[int] | None = None, values: Sequence[int] = ()) -> EventBlock:
    """Events at the times, of a contact each where none are given; the measure is column 4."""
    rows = sorted(zip(contacts or range(len(times)), times, range(len(times)), values or times, strict=True))
    columns = [np.array([row[i] for row in rows], np.int64) for i in range(4)]
    ones = np.ones(len(rows), np.int64)
    held = [*columns[:3], ones, columns[3], ones]
    return EventBlock(encode_block([(column, np.ones(len(rows), np.uint8)) for column in held]))


def passing(block: EventBlock, unit: str, zone: Zone, mask: int, few: bool = False) -> list[int]:
    """The contacts with an event then; asked for some contacts only, which takes another way."""
    among = np.arange(0, BLOCK_ROWS, 97, dtype=np.uint32) if few else None
    ops = [("clock", unit, *zone, mask)]
    ordinals, _ = both(months((0, [block])), EventFilter(ops), -(2**63), 2**63, -1, among)
    negated, _ = both(months((0, [block])), EventFilter([*ops, ("not",)]), -(2**63), 2**63, -1, among)
    looked = np.arange(block.rows) if among is None else among[among < block.rows]
    assert sorted([*ordinals.tolist(), *negated.tolist()]) == looked.tolist()
    return list(ordinals.tolist())


def check_clock(zone: str, first: int, last: int, n: int, seed: int = 0) -> None:
    rng = random.Random(f"{zone} {seed}")
    starts, offsets = changes = zone_of(zone, first, last)
    edges = [
        int(start) + by for start in starts for by in (-1, 0, 1, HOUR - 1, HOUR, -HOUR) if first <= start + by < last
    ]
    times = [rng.choice(edges) if edges and rng.random() < 0.3 else rng.randrange(first, last) for _ in range(n)]
    block = block_of(times)
    shown = [wall(at, zone) for at in times]
    hours, days = rng.getrandbits(24), rng.getrandbits(7)
    for mask in (hours, 0, 1, (1 << 24) - 1):
        for few in (False, True):
            wanted = [c for c, at in enumerate(shown) if mask >> at.hour & 1 and (not few or c % 97 == 0)]
            assert passing(block, "hour", changes, mask, few) == wanted
    for mask in (days, 64, 0, 127):
        wanted = [c for c, at in enumerate(shown) if mask >> at.weekday() & 1]
        assert passing(block, "weekday", (starts.tobytes(), offsets.tobytes()), mask) == wanted  # type: ignore[arg-type]
    for mask in (rng.getrandbits(12), 1 << shown[0].month - 1, 0xFFF ^ 1 << shown[0].month - 1, 0, 0xFFF):
        for few in (False, True):
            wanted = [c for c, at in enumerate(shown) if mask >> at.month - 1 & 1 and (not few or c % 97 == 0)]
            assert passing(block, "month", changes, mask, few) == wanted
    contacts = [rng.randrange(1 + n // 3) for _ in times]
    found = both(months((0, [block_of(times, contacts)])), None, 0, 2**63, -1, how="distinct_days", zone=changes)
    dates = {(c, at.date()) for c, at in zip(contacts, shown, strict=True)}
    assert dict(zip(*(each.tolist() for each in found), strict=True)) == {
        c: sum(one == c for one, _ in dates) for c in set(contacts)
    }


@pytest.mark.parametrize("zone", ZONES)
def test_around_changes_of_clocks(zone: str) -> None:
    """A month, as blocks have, and decades, as layers may: times of 4 and of 8 bytes."""
    april = 1_711_756_800_000  # 2024-03-30, over which Warsaw's clocks go
    assert chunk_header(_times(block_of([april, april + 20 * DAY])))[0] == 4
    assert chunk_header(_times(block_of([0, 2_000_000_000_000])))[0] == 8
    check_clock(zone, april, april + 20 * DAY, 1500)
    check_clock(zone, 1_291_161_600_000, 1_330_000_000_000, 700)  # the winter in which Apia left out a day
    check_clock(zone, 0, 2_000_000_000_000, 700)


def _times(block: EventBlock) -> bytes:
    values, present = block.decode()[1]
    return encode_chunk(values, present)


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 1023, 1024, 1025, BLOCK_ROWS - 1, BLOCK_ROWS])
def test_sizes(n: int) -> None:
    if n:
        check_clock("America/St_Johns", 1_162_000_000_000, 1_162_900_000_000, n)
    else:
        assert passing(block_of([]), "hour", zone_of("UTC", 0, 1), 5) == []


@pytest.mark.parametrize("span", [1, 200, 60_000, 2**31])
def test_widths(span: int) -> None:
    """Times of 0, 1, 2 and 4 bytes; at one instant all are the same."""
    for n in (500, 3000):
        check_clock("Africa/Casablanca", 1_710_000_000_000, 1_710_000_000_000 + span, n)


@pytest.mark.parametrize("span", [2**32 - 2, 2**32 - 1])
def test_the_longest_span_of_four_bytes(span: int) -> None:
    first = 1_710_000_000_000
    block = block_of([first + i * span // 4999 for i in range(5000)])
    assert chunk_header(_times(block))[0] == (4 if span < 2**32 - 1 else 8)
    changes = zone_of("Europe/Warsaw", first, first + span)
    for mask in (0xFFFFFF, 0x800000, 0x0F0F0F, 0xFFFFFE):
        shown = [wall(first + i * span // 4999, "Europe/Warsaw").hour for i in range(5000)]
        assert passing(block, "hour", changes, mask) == [c for c, hour in enumerate(shown) if mask >> hour & 1]


def test_many_changes_in_an_hour() -> None:
    """Offsets of seconds that change every 50 seconds, and every 70."""
    for step in (50_000, 70_001, 7):
        rng = random.Random(step)
        starts = np.arange(0, 4000) * step
        offsets = np.array([rng.randrange(-DAY, DAY) for _ in starts])
        times = [rng.randrange(0, 3999 * step) for _ in range(4000)]
        local = [at + int(offsets[at // step]) for at in times]
        found = passing(block_of(times), "hour", (starts, offsets), 0x3C3C3C)
        assert found == [c for c, at in enumerate(local) if 0x3C3C3C >> at // HOUR % 24 & 1]
        found = passing(block_of(times), "weekday", (starts, offsets), 0b1011)
        assert found == [c for c, at in enumerate(local) if 0b1011 >> (at // DAY + 3) % 7 & 1]
        january = [c for c, at in enumerate(local) if 0 <= at < 31 * DAY]
        assert passing(block_of(times), "month", (starts, offsets), 1) == january


@pytest.mark.parametrize("n", [300, 6000])
def test_the_ends_of_months(n: int) -> None:
    """Each month of some years, leap years and centuries among them, to the millisecond, in blocks of up to 49 days."""
    zone = (np.zeros(1, np.int64), np.array([2 * HOUR], np.int64))
    rng = random.Random(n)
    for year in (1970, 1972, 1999, 2000, 2024, 2025, 2100, 2400, 9998):
        for month in range(1, 13):
            first = (datetime(year, month, 1, tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1) - 2 * HOUR
            times = [max(0, first + by) for by in (-DAY - 1, -DAY, -1, 0, 1, 27 * DAY, 28 * DAY, 29 * DAY, 30 * DAY)]
            times += [max(0, first + rng.randrange(-5 * DAY, 40 * DAY)) for _ in range(n - len(times))]
            shown = [(EPOCH + timedelta(milliseconds=at + 2 * HOUR)).month for at in times]
            found = passing(block_of(times), "month", zone, 1 << month - 1)
            assert found == [c for c, each in enumerate(shown) if each == month], (year, month)


def test_the_first_offset_holds_before_its_start_and_any_time_has_an_hour() -> None:
    zone = (np.array([500 * DAY], np.int64), np.array([30 * 60_000 + HOUR], np.int64))
    assert passing(block_of([0, HOUR, 600 * DAY]), "hour", zone, 1 << 1) == [0, 2]
    far = [-(2**61), -1, 0, 2**61]
    for mask in (0xAAAAAA, 0x555555):
        hours = [(at + 90 * 60_000) // HOUR % 24 for at in far]
        assert passing(block_of(far), "hour", zone, mask) == [c for c, hour in enumerate(hours) if mask >> hour & 1]
    months = [passing(block_of(far), "month", zone, 1 << month) for month in range(12)]
    assert sorted(c for each in months for c in each) == [0, 1, 2, 3]
    assert [c for c in months[0] if c in (1, 2)] == [1, 2]  # 1970 had begun where clocks are ahead


@pytest.mark.parametrize("level", ["scalar", "avx2"])
def test_every_simd_level_gives_the_same_answers(level: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_event_clock as t;"
        "t.check_clock('Asia/Kathmandu', 500_000_000_000, 530_000_000_000, 3000, 7); t.test_sizes(16383);"
        "t.test_many_changes_in_an_hour();"
        "t.check_distinct(3); print(t.simd_level())"
    )
    environment = {**os.environ, "SEGIDX_SIMD": level}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    order = ["scalar", "avx2", "avx512"]
    assert order.index(found.stdout.strip()) <= order.index(level)
    assert simd_level() in order


# --- different values ----------------------------------------------------------------------------------------------


def check_distinct(seed: int) -> None:
    """Few contacts with many values, many with few, in several blocks that say some of them again."""
    rng = random.Random(seed)
    for contacts, values, blocks in ((1, 40_000, 4), (3, 5, 3), (BLOCK_ROWS, 3, 3), (40, 33, 5), (2, 2**61, 2)):
        pairs = []
        held = []
        for _ in range(blocks):
            n = rng.choice((1, 300, BLOCK_ROWS))
            some = [(rng.randrange(contacts), rng.randrange(-values, values)) for _ in range(n)]
            pairs += some
            held.append(block_of([0] * n, [c for c, _ in some], [v for _, v in some]))
        wanted: dict[int, set[int]] = {}
        for contact, value in pairs:
            wanted.setdefault(contact, set()).add(value)
        # A second range finds the buffers clear.
        ordinals, numbers = both(months((0, held), (1, held[:1])), None, 0, 1, 4, how="distinct")
        found = dict(zip(ordinals.tolist(), numbers.tolist(), strict=True))
        first = {c: n for c, n in found.items() if c < BLOCK_ROWS}
        assert first == {c: len(v) for c, v in wanted.items()}
        again, numbers = both(months((0, held[:1])), None, 0, 1, 4, how="distinct")
        assert {c - BLOCK_ROWS: n for c, n in found.items() if c >= BLOCK_ROWS} == dict(
            zip(again.tolist(), numbers.tolist(), strict=True)
        )
        low = max(first.values())
        ordinals, _ = both(months((0, held)), None, 0, 1, 4, low=low, how="distinct")
        assert ordinals.tolist() == sorted(c for c, n in first.items() if n >= low)


@pytest.mark.parametrize("seed", range(3))
def test_different_values(seed: int) -> None:
    check_distinct(seed)


# --- what is refused -----------------------------------------------------------------------------------------------

ONE = (np.zeros(1, np.int64), np.zeros(1, np.int64))


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        (("clock", "minute", *ONE, 1), "the hour, the weekday or the month, not 'minute'"),
        (("clock", "hour", *ONE, 1 << 24), "no mask of hours"),
        (("clock", "weekday", *ONE, 128), "no mask of weekdays"),
        (("clock", "weekday", *ONE, -1), "no mask of weekdays"),
        (("clock", "month", *ONE, 4096), "no mask of months"),
        (("clock", "hour", b"", b"", 1), "1 to 131072 starts"),
        (("clock", "hour", np.zeros(2, np.int64), ONE[1], 1), "as many offsets"),
        (("clock", "hour", np.zeros(2, np.int64), np.zeros(2, np.int64), 1), "ascend"),
        (("clock", "hour", ONE[0], np.array([8 * DAY]), 1), "less than 8 days"),
        (("clock", "hour", ONE[0], 1), "argument"),
        (("clock", "hour", b"1234567", ONE[1], 1), "multiple of"),
    ],
)
def test_clocks_are_checked(op: tuple[object, ...], reason: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"op 0 of the filter: .*{reason}"):
        EventFilter([op])


def test_what_is_counted_is_checked() -> None:
    for how, measure, zone, reason in (
        ("distinct", -1, None, "'distinct' is not what can be made of rows"),
        ("distinct_days", 4, ONE, "'distinct_days' is not what can be made of a measure"),
        ("distinct_days", -1, None, "days are counted in a zone"),
        ("sum", -1, ONE, "days are counted in a zone"),
    ):
        with pytest.raises(ValueError, match=reason):
            both(months((0, [block_of([1])])), None, 0, 5, measure, how=how, zone=zone)
