"""Rows of candidates found in a ledger are those found in the blocks: at every size of ranges and sets of candidates,
with windows that begin and end anywhere, under layers, at every SIMD level, and of damaged blocks."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from pyroaring import BitMap

from segidx.kernels.bitmaps import simd_level
from segidx.kernels.events import (
    BLOCK_ROWS,
    EventBlock,
    EventFilter,
    EventLayer,
    EventLedger,
    EventMonth,
    collect,
    collect_count,
    collect_set,
    encode_block,
    encode_layer,
)
from segidx.testing.event_months import ledger, located, sets_of

I64 = npt.NDArray[np.int64]
MAY = 1_777_593_600_000
DAY = 86_400_000
MONTH = 30 * DAY
TIME, EVENT, KIND, MEASURE, COUNTS = 1, 2, 4, 5, 6
COLUMNS = 7
COUNTED = EventFilter([("range", COUNTS, 1, 1)])
OTHER = EventFilter([("range", KIND, 1, 2)])


def block(contacts: Sequence[int] | I64, first: int, seed: int = 0, times: I64 | None = None) -> EventBlock:
    """Rows of these contacts, ascending, at these times or at random ones of the month from `first` on."""
    rng = np.random.default_rng(seed)
    n = len(contacts)
    rows = np.arange(n)
    when = first + rng.integers(0, MONTH, n) if times is None else times
    when = when[np.lexsort((when, contacts))]
    columns = [np.asarray(contacts), when, rows, rows * 0]
    columns += [rng.integers(0, 4, n), rng.integers(-5, 1000, n), rng.integers(0, 2, n)]
    there = np.ones(n, np.uint8)
    some = (rng.random(n) < 0.9).astype(np.uint8)
    return EventBlock(
        encode_block([(c.astype(np.int64), some if i == MEASURE else there) for i, c in enumerate(columns)])
    )


def answers(
    months: Sequence[EventMonth], among: npt.NDArray[np.uint32], start: int, end: int, **more: object
) -> list[object]:
    found: list[object] = []
    for filter in (None, COUNTED, OTHER):
        for measure, how in ((-1, "sum"), (MEASURE, "sum"), (KIND, "sum"), (MEASURE, "max"), (KIND, "distinct")):
            ordinals, numbers = collect(months, filter, start, end, measure, among, how=how, **more)  # type: ignore[arg-type]
            found += [ordinals.tolist(), numbers.tolist()]
        for low, measure in ((1, -1), (2, -1), (500, MEASURE)):
            found.append(collect_set(months, filter, start, end, measure, among, low=low, **more))  # type: ignore[arg-type]
            count = collect_count(months, filter, start, end, measure, among, low=low, **more)  # type: ignore[arg-type]
            assert count == len(BitMap.deserialize(found[-1]))
    return found


def compare(
    months: Sequence[EventMonth], among: npt.NDArray[np.uint32], start: int = 0, end: int = 2**63, **more: object
) -> int:
    """That all kinds of numbers are the same with a ledger of all months, and of some; how many contacts have rows."""
    plain = answers(months, among, start, end, **more)
    for members in (months, months[1:], months[:-2]):
        with ledger(members, MEASURE):
            assert answers(months, among, start, end, **more) == plain
            with located(months, (MEASURE,)):
                assert answers(months, among, start, end, **more) == plain
    return len(plain[0])  # type: ignore[arg-type]


def a_year(seed: int, months: int = 13, ranges: Sequence[int] = (0, 1, 4), most: int = BLOCK_ROWS) -> list[EventMonth]:
    rng = np.random.default_rng(seed)
    made = []
    for m in range(months):
        pairs = []
        for number in ranges:
            for part in range(int(rng.integers(0, 3))):
                n = int(rng.choice([5, 300, 1366, 9000]))
                drawn = part * (most // 2) + (rng.random(n) ** rng.choice([1, 4]) * (most // 2)).astype(np.int64)
                pairs.append((number, block(np.sort(drawn), MAY + m * MONTH, seed + 100 * m + number)))
        made.append(EventMonth(pairs))
    return made


def check_random(seed: int) -> int:
    months = a_year(seed, most=(700, BLOCK_ROWS)[seed % 2])
    rng = np.random.default_rng(seed)
    found = 0
    for share in (0.0005, 0.01, 0.2, 1):
        among = np.flatnonzero(rng.random(5 * BLOCK_ROWS) < share).astype(np.uint32)
        for start, end in ((0, 2**63), (MAY + 7 * DAY + 77, MAY + 370 * DAY + 1), (MAY - 5, MAY + 1)):
            found += compare(months, among, start, end)
    return found


@pytest.mark.parametrize("seed", range(2))
def test_random_months(seed: int) -> None:
    assert check_random(seed) > 100


@pytest.mark.parametrize("level", ["scalar", "avx2"])
def test_every_simd_level_gives_the_same_answers(level: str) -> None:
    script = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_event_ledgers as t\n"
    script += "print(t.check_random(1), t.simd_level())"
    env = {**os.environ, "SEGIDX_SIMD": level}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    found, used = done.stdout.split()
    assert int(found) == check_random(1)
    assert used in (level, "scalar", simd_level())


@pytest.mark.parametrize("rows", [0, 1, 2, 63, 64, 65, 128, 129, 5000])
def test_contacts_of_every_number_of_rows(rows: int) -> None:
    """Among 64 contacts with none, one and many rows, at the ends of words and of the range."""
    many = np.repeat([0, 63, 64, 130, BLOCK_ROWS - 1], rows)
    around = np.concatenate([np.arange(1, 60, 7), np.arange(65, 129), [200, 201, 201]])
    contacts = np.sort(np.concatenate([many, around]))
    months = [EventMonth([(2, block(contacts[m::6], MAY + m * MONTH, m))]) for m in range(6)]
    for chosen in ([0], [63, 64], [BLOCK_ROWS - 1], [1, 2, 8, 201], range(0, BLOCK_ROWS, 3), range(128)):
        compare(months, (np.array(chosen) + 2 * BLOCK_ROWS).astype(np.uint32))
    assert compare(months, np.arange(2 * BLOCK_ROWS, 3 * BLOCK_ROWS, dtype=np.uint32)) > 0


def test_windows_that_begin_and_end_anywhere_within_a_step() -> None:
    """Times are kept in steps, of 16 ms over a year: whose rows are in the first and the last is looked up."""
    n = 400
    rng = np.random.default_rng(5)
    contacts = np.arange(n) * 40
    months = [EventMonth([(0, block(contacts, MAY + m * MONTH, m))]) for m in range(13)]
    near = MAY + 7 * MONTH + 10**7
    close = block(contacts, 0, 9, near + rng.integers(0, 40, n))
    months[7] = EventMonth([(0, close)])
    among = np.sort(rng.choice(contacts, 150, replace=False)).astype(np.uint32)
    sizes = set()
    for cut in range(near - 2, near + 42, 3):
        compare(months, among, cut, cut + 6 * MONTH)
        compare(months, among, MAY, cut)
        with ledger(months, MEASURE):
            owners = collect(months, None, cut, cut + 5, -1, among)[0]
        sizes.add(len(owners))
        assert owners.tolist() == collect(months, None, cut, cut + 5, -1, among)[0].tolist()
    assert len(sizes) > 1


def test_rows_that_layers_void_and_rows_of_layers() -> None:
    """Stale places of rows in the ledger, of candidates and of others, and newer rows above it."""
    n = 1366
    rng = np.random.default_rng(6)
    contacts = np.sort(rng.integers(0, BLOCK_ROWS, n))
    blocks = [block(contacts, MAY + m * MONTH, m) for m in range(8)]
    months = [EventMonth([(2, each)]) for each in blocks]
    gone = np.array([0, 1, 700, n - 1])
    times = blocks[3].decode()[TIME][0]
    late = block(contacts[::50], MAY + 3 * MONTH, 77).decode()
    rows = [(values + 2 * BLOCK_ROWS if i == 0 else values, there) for i, (values, there) in enumerate(late)]
    layer = EventLayer(
        encode_layer(rows, (contacts[gone] + 2 * BLOCK_ROWS).astype(np.uint32), times[gone], gone.astype(np.uint32))
    )
    chosen = contacts[[0, 1, 2, 50, 100, 699, 700, 701, n - 2, n - 1]]
    for among in (chosen, np.setdiff1d(contacts, contacts[gone]), contacts[gone[:1]]):
        among = np.unique(among + 2 * BLOCK_ROWS).astype(np.uint32)
        plain = answers(months, among, 0, 2**63)
        assert compare(months, among, layers=[layer]) > 0
        assert compare(months, among, MAY + 3 * MONTH + 7, MAY + 8 * MONTH, layers=[layer]) > 0
        assert answers(months, among, 0, 2**63, layers=[layer]) != plain or len(among) > 100


def test_only_the_months_that_are_asked_about_count() -> None:
    """A ledger of more months than a call names is not used where their rows are in its window."""
    months = a_year(3, 10)
    among = np.arange(0, 5 * BLOCK_ROWS, 50, dtype=np.uint32)
    for some, start, end in ((months[2:], 0, 2**63), (months[:8], MAY, MAY + 8 * MONTH), (months[2:9], MAY, 2**63)):
        plain = answers(some, among, start, end)
        with ledger(months, MEASURE):
            assert answers(some, among, start, end) == plain
    again = a_year(3, 10)  # the same, opened anew
    with ledger(months, MEASURE):
        assert answers([*months[:5], *again[5:]], among, 0, 2**63) == answers(again, among, 0, 2**63)


def test_a_ledger_is_used_as_far_as_it_is_filled() -> None:
    months = a_year(4)
    among = np.arange(0, 5 * BLOCK_ROWS, 100, dtype=np.uint32)
    plain = answers(months, among, 0, 2**63)
    made = EventLedger(months, MEASURE)
    made.use()
    parts = 0
    while not made.full:
        assert answers(months, among, 0, 2**63) == plain
        assert made.fill(1) == made.full
        parts += 1
    assert parts == 3  # of the ranges that have rows
    assert made.fill(1)
    assert answers(months, among, 0, 2**63) == plain
    for sets in sets_of(among):
        assert answers(months, sets, 0, 2**63) == plain  # type: ignore[arg-type]
    del months[0]
    gc.collect()
    with pytest.raises(ValueError, match="not there any more"):
        made.fill(1)


def test_what_it_takes() -> None:
    months = [EventMonth([(3, block(np.arange(500), MAY + m * MONTH, m))]) for m in range(6)]
    made = EventLedger(months, MEASURE)
    sheet = 3 * 4 * 256 + 8 * (3000 // 64 + 1)
    assert made.nbytes == 8 * 3000 + 64 + 64 * -(-sheet // 64) + 9 + 8


def test_what_there_is_no_ledger_of() -> None:
    with pytest.raises(ValueError, match="cannot be kept"):
        EventLedger([], MEASURE)
    with pytest.raises(ValueError, match="cannot be kept"):
        EventLedger([EventMonth([])], MEASURE)
    with pytest.raises(ValueError, match="no column 9"):
        EventLedger([EventMonth([(0, block([1], MAY))])], 9)
    columns = block(np.arange(300) * 50, MAY).decode()
    far = [*columns[:MEASURE], (columns[MEASURE][0] << 40, columns[MEASURE][1]), columns[COUNTS]]
    with pytest.raises(ValueError, match="column 5"):
        EventLedger([EventMonth([(0, EventBlock(encode_block(far)))])], MEASURE)


def test_sums_that_leave_64_bits_are_noticed() -> None:
    huge = np.full(8, (1 << 62) - 9) + np.arange(8)
    months = []
    for m in range(8):
        same = [np.zeros(1), [MAY + m * MONTH], np.zeros(1), np.zeros(1), np.zeros(1), huge[m : m + 1], np.ones(1)]
        there = np.ones(1, np.uint8)
        months.append(EventMonth([(0, EventBlock(encode_block([(np.asarray(c, np.int64), there) for c in same])))]))
    among = np.array([0], np.uint32)
    with ledger(months, MEASURE):
        with pytest.raises(OverflowError):
            collect(months, None, 0, 2**63, MEASURE, among)
        assert collect(months, None, 0, MAY + 1, MEASURE, among)[1].tolist() == [huge[0]]


def test_damaged_blocks_are_read_as_they_are() -> None:
    """Contacts in no order, and values and times beyond what headers say, give what looking at each row gives."""
    contacts = np.arange(1366) * 11
    months = [
        EventMonth([(0, block(contacts, MAY + m * MONTH, m)), (1, block(contacts, MAY + m * MONTH, m))])
        for m in range(7)
    ]
    sound = block(contacts, MAY + 12 * MONTH, 12)
    columns = sound.decode()
    base = columns[TIME][0].min()
    for find, put, width in (
        (np.arange(200, 230) * 11 + 1, 15_000, 2),
        (columns[TIME][0][200:230] - base + 1, 0xFFFFFFF0, 4),
    ):
        whole = bytearray(encode_block(columns))
        at = bytes(whole).index(find.astype(f"<u{width}").tobytes())
        whole[at : at + width] = put.to_bytes(width, "little")
        held = [*months, EventMonth([(0, EventBlock(bytes(whole))), (1, sound)])]
        among = np.concatenate([contacts[190:240], [14_999], contacts[3:5] + BLOCK_ROWS]).astype(np.uint32)
        among.sort()
        for start, end in ((0, 2**63), (0, MAY + 13 * MONTH), (MAY + 2 * MONTH, 2**63)):
            assert compare(held, among, start, end) > 0
