"""Rows of candidates found by the presence of blocks are those found by looking at every row's contact: at every size
of blocks, pages and sets of candidates, at every SIMD level, and of damaged blocks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from segidx.kernels.bitmaps import simd_level
from segidx.kernels.events import (
    BLOCK_ROWS,
    EventBlock,
    EventFilter,
    EventLayer,
    EventMonth,
    collect,
    collect_set,
    encode_block,
    encode_layer,
    select,
)
from segidx.testing.event_months import located, sets_of

I64 = npt.NDArray[np.int64]
MAY = 1_777_593_600_000
KIND, MEASURE, COUNTS = 4, 5, 6
PAGE = 256  # BM_PAGE: contacts whose rows are looked at together
COUNTED = EventFilter([("range", COUNTS, 1, 1)])


def block(contacts: Sequence[int] | I64, seed: int = 0, first: int = 0) -> EventBlock:
    """Rows of these contacts, ascending, at times of one per row from MAY + first on."""
    rng = np.random.default_rng(seed)
    n = len(contacts)
    rows = np.arange(n)
    columns = [np.asarray(contacts), rows + MAY + first, rows, rows * 0]
    columns += [rng.integers(0, 4, n), rng.integers(-5, 1000, n), rng.integers(0, 2, n)]
    there = np.ones(n, np.uint8)
    some = (rng.random(n) < 0.9).astype(np.uint8)
    return EventBlock(
        encode_block([(c.astype(np.int64), some if i == MEASURE else there) for i, c in enumerate(columns)])
    )


def compare(months: Sequence[EventMonth], among: npt.NDArray[np.uint32], start: int = 0, end: int = 2**63) -> int:
    """That all kinds of numbers are the same with located rows; how many rows there are."""

    def answers() -> list[object]:
        found: list[object] = []
        for filter in (None, COUNTED):
            for measure, how in ((-1, "sum"), (MEASURE, "sum"), (MEASURE, "max"), (KIND, "distinct")):
                ordinals, numbers = collect(months, filter, start, end, measure, among, how=how)
                for each in sets_of(among):
                    again = collect(months, filter, start, end, measure, each, how=how)
                    assert [part.tolist() for part in again] == [ordinals.tolist(), numbers.tolist()]
                found += [ordinals.tolist(), numbers.tolist()]
            found += [collect_set(months, filter, start, end, -1, among, low=low) for low in (1, 2)]
            ordinals, columns = select(months, filter, start, end, [1, 2, MEASURE], among)
            found.append(sorted(zip(ordinals.tolist(), *(c.tolist() for c in columns), strict=True)))
        return found

    plain = answers()
    for columns in ((), (MEASURE, KIND)):
        with located(months, columns):
            assert answers() == plain
    return len(plain[-1])  # type: ignore[arg-type]


def tried(contacts: I64, rng: np.random.Generator, number: int = 0) -> list[npt.NDArray[np.uint32]]:
    """Candidates of a range: none that has rows, one, some, and all."""
    all_ = np.arange(BLOCK_ROWS)
    without = np.setdiff1d(all_, contacts)
    sets = [all_, without, rng.choice(all_, 164, replace=False), np.array([0]), np.array([BLOCK_ROWS - 1])]
    if len(contacts):
        sets += [contacts[:1], contacts[-1:], np.unique(rng.choice(contacts, 9))]
    return [(np.unique(each) + number * BLOCK_ROWS).astype(np.uint32) for each in sets]


@pytest.mark.parametrize("n", [0, 1, 2, 63, 1000, 4095, 4096, BLOCK_ROWS - 1, BLOCK_ROWS])
@pytest.mark.parametrize("of", [3, 255, 256, 257, 4096, BLOCK_ROWS])
def test_blocks_of_every_size(n: int, of: int) -> None:
    rng = np.random.default_rng(n + of)
    contacts = np.sort(rng.integers(BLOCK_ROWS - of, BLOCK_ROWS, n))
    if n > 1:
        contacts[0], contacts[-1] = 0 if of > PAGE else contacts[0], BLOCK_ROWS - 1
    month = EventMonth([(0, block(contacts))])
    for among in tried(contacts, rng):
        compare([month], among)
    assert compare([month], np.arange(BLOCK_ROWS, dtype=np.uint32)) <= n


@pytest.mark.parametrize("rows", [1, 2, 16, 17, 32, 33, 63, 64, 65, 128, 129, 5000])
def test_pages_of_every_number_of_rows(rows: int) -> None:
    """Of one contact or of several, between pages with none, one and many rows."""
    rng = np.random.default_rng(rows)
    for inside in (1, 2, PAGE):
        page = 7 * PAGE + np.sort(rng.integers(0, inside, rows))
        around = np.concatenate([np.arange(0, 5 * PAGE, 9), 6 * PAGE + np.zeros(200, np.int64), [BLOCK_ROWS - 1]])
        contacts = np.sort(np.concatenate([page, around]))
        month = EventMonth([(0, block(contacts))])
        for among in (page[:1], page[-1:], page, page + 1, np.array([6 * PAGE]), np.arange(6 * PAGE, 8 * PAGE)):
            compare([month], np.unique(among).astype(np.uint32))
        assert compare([month], np.arange(7 * PAGE, 8 * PAGE, dtype=np.uint32)) > 0 or rows < 5


def check_random(seed: int) -> int:
    """Several months of several ranges, some in parts and the last one partial, with windows that cut them."""
    rng = np.random.default_rng(seed)
    numbers, months, found = [0, 1, 3, 9], [], 0
    for m in range(3):
        pairs = []
        for number in numbers:
            for part in range(int(rng.integers(0, 3))):
                n = int(rng.choice([5, 300, 1366, 9000]))
                most = 700 if number == 9 else BLOCK_ROWS
                low = part * (most // 2)
                drawn = low + (rng.random(n) ** rng.choice([1, 4]) * (most // 2)).astype(np.int64)
                pairs.append((number, block(np.sort(drawn), seed + m, m * 10_000 + part * 20_000)))
        months.append(EventMonth(pairs))
    for share in (0.0005, 0.01, 0.2, 1):
        among = np.flatnonzero(rng.random(10 * BLOCK_ROWS) < share).astype(np.uint32)
        for start, end in ((0, 2**63), (MAY + 200, MAY + 10_300), (MAY + 10_000, MAY + 10_001)):
            found += compare(months, among, start, end)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_random_months(seed: int) -> None:
    check_random(seed)


@pytest.mark.parametrize("level", ["scalar", "avx2"])
def test_every_simd_level_gives_the_same_answers(level: str) -> None:
    script = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_event_presence as t\n"
    script += "t.test_pages_of_every_number_of_rows(129); t.test_blocks_of_every_size(4096, 257)\n"
    script += "print(t.check_random(1) + t.check_random(2), t.simd_level())"
    env = {**os.environ, "SEGIDX_SIMD": level}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    found, used = done.stdout.split()
    assert int(found) == check_random(1) + check_random(2) > 1000
    assert used in (level, "scalar", simd_level())


def test_rows_that_layers_void_are_not_found() -> None:
    """Places of a row of the middle and of the ends of a block, above located rows."""
    n = 1366
    contacts = np.sort(np.random.default_rng(4).integers(0, BLOCK_ROWS, n))
    month = EventMonth([(2, block(contacts))])
    gone = np.array([0, 1, 700, n - 1])
    layer = EventLayer(
        encode_layer(
            [(np.zeros(0, np.int64), np.zeros(0, np.uint8))] * 7,
            (contacts[gone] + 2 * BLOCK_ROWS).astype(np.uint32),
            gone + MAY,
            gone.astype(np.uint32),
        )
    )
    among = (np.unique(contacts[[0, 1, 2, 699, 700, 701, n - 2, n - 1]]) + 2 * BLOCK_ROWS).astype(np.uint32)
    with located([month]):
        before = select([month], None, 0, 2**63, [2], among)[1][0]
        after = select([month], None, 0, 2**63, [2], among, layers=[layer])[1][0]
    assert sorted(before.tolist()) == sorted([*after.tolist(), *gone.tolist()])
    sums = collect([month], None, 0, 2**63, MEASURE, among, layers=[layer])
    with located([month], [MEASURE]):
        again = collect([month], None, 0, 2**63, MEASURE, among, layers=[layer])
        assert collect([month], None, 0, 2**63, MEASURE, among)[1].tolist() != sums[1].tolist()
    assert [each.tolist() for each in again] == [each.tolist() for each in sums]


def test_what_it_takes() -> None:
    sizes = (1366, 127)
    month = EventMonth([(number, block(np.arange(rows) * 11)) for number, rows in enumerate(sizes)])
    assert month.located == 0
    month.locate()
    # Where each page begins, a byte and a bit a row, and where the block's own is.
    lines = sum(-(-(2 * (BLOCK_ROWS // PAGE + 1) + rows + 64 + rows // 8 + 1) // 64) for rows in sizes) + 1
    assert month.located == 64 * lines + 4 * (2 * len(sizes) + 1)
    located_bytes = month.located
    month.value(MEASURE)
    assert month.located == located_bytes + -(-(4 * sum(sizes) + 1) // 64) * 64
    month.lose()
    assert month.located == 0
    with pytest.raises(ValueError, match="not located"):
        month.value(MEASURE)
    empty = EventMonth([])
    empty.locate()
    assert empty.located == 64 + 4
    compare([empty, month], np.arange(9, dtype=np.uint32))


def test_damaged_contacts_are_looked_at_one_by_one() -> None:
    """Of rows that do not ascend there is no presence, and the others of the month have theirs."""
    contacts = np.arange(1366) * 11
    sound = block(contacts)
    columns = sound.decode()
    whole = bytearray(encode_block(columns))
    at = bytes(whole).index((np.arange(200, 230) * 11 + 1).astype("<u2").tobytes())
    whole[at : at + 2] = (15_000).to_bytes(2, "little")  # a contact far behind, in the middle
    month = EventMonth([(0, EventBlock(bytes(whole))), (1, sound)])
    among = np.concatenate([contacts[190:240], [14_999], contacts[3:5] + BLOCK_ROWS]).astype(np.uint32)
    among.sort()
    assert compare([month], among) > 0
    assert 14_999 in collect([month], None, 0, 2**63, -1, among)[0].tolist()


def test_values_are_those_of_the_rows_that_are_located() -> None:
    """A copy of values that lie far apart there is not; sums that leave 64 bits are noticed with one as without."""
    columns = block(np.arange(300) * 50).decode()
    wide = columns[MEASURE][0] << 40
    far = [*columns[:MEASURE], (wide, columns[MEASURE][1]), columns[COUNTS]]
    month = EventMonth([(0, EventBlock(encode_block(far)))])
    month.locate()
    with pytest.raises(ValueError, match="column 5 cannot be measured"):
        month.value(MEASURE)
    with pytest.raises(ValueError, match="no column 9"):
        month.value(9)
    huge = np.full(4, (1 << 62) - 5) + np.arange(4)
    same = [np.zeros(4), np.arange(4) + MAY, np.arange(4), np.zeros(4), np.zeros(4), huge, np.ones(4)]
    there = np.ones(4, np.uint8)
    month = EventMonth([(0, EventBlock(encode_block([(c.astype(np.int64), there) for c in same])))])
    among = np.array([0], np.uint32)
    with located([month], [MEASURE]), pytest.raises(OverflowError):
        collect([month], None, 0, 2**63, MEASURE, among)
    with located([month], [MEASURE]):
        assert collect([month], None, 0, MAY + 1, MEASURE, among)[1].tolist() == [(1 << 62) - 5]
