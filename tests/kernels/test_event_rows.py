"""Rows of events ordered and merged into blocks, against plain Python: months, groups, sizes of blocks, damage."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest

from segidx.kernels.events import (
    BLOCK_ROWS,
    CONTACT,
    TIME,
    CorruptEvents,
    EventBlock,
    GroupedRows,
    encode_block,
    verify_block,
)

MOST_BYTES = 128 << 10
LINE_AT = 4  # behind the last column that rows are ordered by

Row = tuple[int | None, ...]  # contact, time, event, line, properties, whether it counts


def columns_of(rows: list[Row], width: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (
            np.array([row[i] or 0 for row in rows], np.int64),
            np.array([row[i] is not None for row in rows], np.uint8),
        )
        for i in range(width)
    ]


def random_rows(pick: random.Random, n: int, contacts: int, times: tuple[int, int], wide: int) -> list[Row]:
    found: dict[tuple[int, ...], Row] = {}
    while len(found) < n:
        key = (pick.randrange(contacts), pick.randint(*times), pick.randrange(2**32), pick.randrange(3))
        values = tuple(
            None if pick.random() < 0.2 else pick.randint(-(2 ** pick.choice((3, 40))), 2**40) for _ in range(wide)
        )
        found[key] = (*key, *values, pick.randrange(2))
    return list(found.values())


def group_of(row: Row) -> int:
    contact, time = row[CONTACT], row[TIME]
    assert contact is not None
    assert time is not None
    when = datetime.fromtimestamp(time / 1000, UTC)
    return (contact >> 14) << 16 | ((when.year - 1970) * 12 + when.month - 1)


def within(row: Row) -> Row:
    assert row[CONTACT] is not None
    return (row[CONTACT] & BLOCK_ROWS - 1, *row[1:])


def rows_of(values: list[bytes]) -> list[Row]:
    found: list[Row] = []
    for value in values:
        assert verify_block(value) is None
        block = EventBlock(value)
        assert 0 < block.rows <= BLOCK_ROWS
        assert len(value) <= MOST_BYTES or block.rows == 1
        cells = [
            [v if p else None for v, p in zip(*(part.tolist() for part in column), strict=True)]
            for column in block.decode()
        ]
        found += list(zip(*cells, strict=True))
    return found


def sort_key(row: Row) -> tuple[int, ...]:
    return tuple(int(value or 0) for value in row[:LINE_AT])


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("in_order_of_time", [False, True])
def test_rows_are_grouped_and_ordered(seed: int, in_order_of_time: bool) -> None:
    pick = random.Random(seed)
    contacts = pick.choice((1, 3 * BLOCK_ROWS, 2**32))
    times = pick.choice([(0, 10**9), (1_700_000_000_000, 1_705_000_000_000), (0, 4_000_000_000_000)])
    rows = random_rows(pick, pick.choice((0, 1, 2, 63, 700)), contacts, times, 2)
    if in_order_of_time:
        rows.sort(key=lambda row: tuple(int(v or 0) for v in row[1:LINE_AT]))
    grouped = GroupedRows(columns_of(rows, 7))
    want: dict[int, list[Row]] = {}
    for row in rows:
        want.setdefault(group_of(row), []).append(row)
    assert grouped.groups.tolist() == sorted(want)
    for at, group in enumerate(grouped.groups.tolist()):
        first, end = grouped.starts[at : at + 2].tolist()
        assert end - first == len(want[group])
        got = rows_of(grouped.merged(first, end, []))
        assert got == [within(row) for row in sorted(want[group], key=sort_key)]


def test_months_begin_and_end_as_the_calendar_says() -> None:
    instants = []
    for year in (1970, 1972, 1999, 2000, 2023, 2024, 2100, 2400):
        for month in range(1, 13):
            begin = int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000
            instants += [begin, begin + 1] + ([begin - 1] if begin else [])
    rows: list[Row] = [(0, time, event, 0, 1) for event, time in enumerate(instants)]
    want = np.array(instants).astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    assert GroupedRows(columns_of(rows, 5)).groups.tolist() == np.unique(want).tolist()


def test_what_is_in_no_month_or_no_contact_is_refused() -> None:
    for contact, time in ((-1, 0), (2**32, 0), (0, -1), (0, 2**62)):
        with pytest.raises(ValueError, match=r"no u32, or a time is in no month"):
            GroupedRows(columns_of([(contact, time, 0, 0, 1)], 5))
    with pytest.raises(ValueError, match="must have all"):
        GroupedRows(columns_of([(0, 0, 0, 0, None)], 5))
    with pytest.raises(ValueError, match="5 to 32 columns"):
        GroupedRows(columns_of([(0, 0, 0, 0)], 4))
    with pytest.raises(IndexError):
        GroupedRows(columns_of([(0, 0, 0, 0, 1)], 5)).merged(0, 2, [])


def blocks_of(rows: list[Row], cuts: list[int]) -> list[EventBlock]:
    ascending = [within(row) for row in sorted(rows, key=sort_key)]
    bounds = [0, *sorted(cuts), len(ascending)]
    parts = [ascending[a:b] for a, b in pairwise(bounds) if a < b]
    return [EventBlock(encode_block(columns_of(part, len(part[0])))) for part in parts]


@pytest.mark.parametrize("seed", range(20))
def test_blocks_and_rows_become_one(seed: int) -> None:
    pick = random.Random(seed)
    times = (1_700_000_000_000, 1_700_100_000_000)  # of one month
    rows = random_rows(pick, pick.choice((1, 5, 900)), pick.choice((1, 40, BLOCK_ROWS)), times, 3)
    pick.shuffle(rows)
    cut = pick.randint(0, len(rows))
    old, new = rows[:cut], rows[cut:]
    blocks = blocks_of(old, [pick.randint(0, cut) for _ in range(2)])
    gone = np.array([pick.random() < 0.3 for _ in old], np.uint8) if seed % 2 else None
    stay = [row for i, row in enumerate(sorted(old, key=sort_key)) if gone is None or not gone[i]]
    grouped = GroupedRows(columns_of(new, 8))
    got = rows_of(grouped.merged(0, len(new), blocks, gone))
    assert got == [within(row) for row in sorted([*stay, *new], key=sort_key)]


def test_a_row_that_replaces_one_that_goes_may_be_the_same() -> None:
    row: Row = (7, 1_700_000_000_000, 5, 0, 1)
    blocks = blocks_of([row], [])
    grouped = GroupedRows(columns_of([row], 5))
    with pytest.raises(CorruptEvents, match="there twice"):
        grouped.merged(0, 1, blocks)
    assert rows_of(grouped.merged(0, 1, blocks, np.ones(1, np.uint8))) == [row]
    assert grouped.merged(0, 0, blocks, np.ones(1, np.uint8)) == []
    with pytest.raises(ValueError, match="said to go or stay"):
        grouped.merged(0, 1, blocks, np.ones(2, np.uint8))
    with pytest.raises(CorruptEvents, match="there twice"):
        GroupedRows(columns_of([row, row], 5)).merged(0, 2, [])


def test_blocks_that_are_not_in_order_are_no_ground_to_build_on() -> None:
    rows: list[Row] = [(contact, 1_700_000_000_000, contact, 0, 1) for contact in range(10)]
    first, second = blocks_of(rows, [5])
    grouped = GroupedRows(columns_of([(20, 1_700_000_000_000, 20, 0, 1)], 5))
    with pytest.raises(CorruptEvents, match="not in order"):
        grouped.merged(0, 1, [second, first])
    other = EventBlock(encode_block(columns_of([(0, 0, 0, 0, 1, 1)], 6)))
    with pytest.raises(ValueError, match="has 6 columns"):
        grouped.merged(0, 1, [other])


@pytest.mark.parametrize("rows", [BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1, 3 * BLOCK_ROWS])
@pytest.mark.parametrize("contacts", [1, 2, 5000])
def test_blocks_are_cut_between_contacts_if_they_can_be(rows: int, contacts: int) -> None:
    number = np.arange(rows)
    always = np.ones(rows, np.uint8)
    times = np.full(rows, 1_700_000_000_000)
    columns = [
        (value.astype(np.int64), always) for value in (number * contacts // rows, times, number, number * 0, always)
    ]
    parts = GroupedRows(columns).merged(0, rows, [])
    assert [row[2] for row in rows_of(parts)] == number.tolist()
    edges = [(EventBlock(a).zone(CONTACT), EventBlock(b).zone(CONTACT)) for a, b in pairwise(parts)]
    alone = rows / contacts > BLOCK_ROWS
    for before, after in edges:
        assert before is not None
        assert after is not None
        assert before[1] < after[0] or (alone and before[1] == after[0])
    assert bool(edges) == (rows > BLOCK_ROWS)


def test_wide_rows_make_more_blocks() -> None:
    pick = random.Random(3)
    rows = [(c, 1_700_000_000_000, c, 0, *(pick.randint(0, 2**61) for _ in range(20)), 1) for c in range(4000)]
    parts = GroupedRows(columns_of(rows, 25)).merged(0, len(rows), [])
    assert len(parts) > 4
    assert rows_of(parts) == rows


@pytest.mark.parametrize("seed", range(60))
def test_damaged_blocks_are_read_within_their_bytes(seed: int) -> None:
    """The caller verifies blocks; what is not verified may give nonsense, and never reads or writes elsewhere."""
    pick = random.Random(seed)
    rows = random_rows(pick, 200, 50, (1_700_000_000_000, 1_700_100_000_000), 3)
    value = bytearray(encode_block(columns_of([within(r) for r in sorted(rows, key=sort_key)], 8)))
    for _ in range(pick.randint(1, 6)):
        value[pick.randrange(len(value))] ^= 1 << pick.randrange(8)
    try:
        block = EventBlock(bytes(value))
    except CorruptEvents:
        return
    grouped = GroupedRows(columns_of([(60, 1_700_000_000_000, 1, 0, 1, 2, 3, 1)], 8))
    try:
        parts = grouped.merged(0, 1, [block])
    except (CorruptEvents, ValueError):
        return
    assert sum(EventBlock(part).rows for part in parts) == block.rows + 1
