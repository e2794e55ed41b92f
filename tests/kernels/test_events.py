"""Event blocks against plain Python: round trips, counts and sums a contact at every width, size and SIMD level, and
damage."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest

from segidx.kernels.bitmaps import Stop, Stopped, simd_level
from segidx.kernels.columns import VALUE_LIMIT, chunk_header, encode_chunk
from segidx.kernels.events import (
    BLOCK_ROWS,
    CONTACT,
    EVENT,
    LINE,
    TIME,
    CorruptEvents,
    EventBlock,
    EventFilter,
    EventMonth,
    collect,
    encode_block,
    select,
    verify_block,
)
from segidx.testing.effort import seeds
from segidx.testing.event_months import both, month, months

THRESHOLDS = (0, 1, 63, 64, 65, BLOCK_ROWS - 1, BLOCK_ROWS)
MAY = 1_777_593_600_000
# Of the ordinals in questions.
RANGE = 5
FIRST = RANGE * BLOCK_ROWS
MONTH = 31 * 86_400_000
# (least value, greatest value) of the properties: codes of 0, 1, 1, 2, 4 and 8 bytes.
SPANS = ((7, 7), (-100, 100), (0, 254), (-5, 60_000), (0, 2**31), (-(2**40), 2**40))
WIDTHS = (0, 1, 1, 2, 4, 8)
COUNTS = 4 + len(SPANS)

Value = int | None
Row = tuple[Value, ...]
Test = Callable[[Row], bool]
Op = tuple[object, ...]


def random_rows(
    rng: random.Random,
    n: int,
    contacts: tuple[int, int] = (0, BLOCK_ROWS - 1),
    times: tuple[int, int] = (MAY, MAY + MONTH - 1),
    missing: float = 0.3,
) -> list[Row]:
    events = rng.sample(range(2**32), n)
    keys = sorted((rng.randint(*contacts), rng.randint(*times), event, rng.randrange(5)) for event in events)
    return [
        (*key, *(None if rng.random() < missing else rng.randint(*span) for span in SPANS), rng.randrange(2))
        for key in keys
    ]


def encoded(rows: Sequence[Row], columns: int = COUNTS + 1) -> bytes:
    held = list(zip(*rows, strict=True)) if rows else [()] * columns
    return encode_block(
        [
            (np.array([v or 0 for v in values], np.int64), np.array([v is not None for v in values], np.uint8))
            for values in held
        ]
    )


def chunks_of(data: bytes) -> list[bytes]:
    n = data[1]
    ends = [12 + 4 * n, *np.frombuffer(data, "<u4", n, 12).tolist()]
    return [data[a:b] for a, b in pairwise(ends)]


# --- blocks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", THRESHOLDS)
@pytest.mark.parametrize("missing", [0, 0.3, 1])
def test_round_trip(n: int, missing: float) -> None:
    rows = random_rows(random.Random(n), n, missing=missing)
    data = encoded(rows)
    assert verify_block(data) is None
    block = EventBlock(memoryview(b"x" + data)[1:])  # at an odd address
    assert (block.rows, block.columns) == (n, COUNTS + 1)
    columns = block.decode()
    assert all(v.dtype == np.int64 and p.dtype == np.uint8 and len(v) == len(p) == n for v, p in columns)
    back = [[v if p else None for v, p in zip(vs.tolist(), ps.tolist(), strict=True)] for vs, ps in columns]
    assert list(zip(*back, strict=True)) == rows
    assert not any(values[present == 0].any() for values, present in columns)
    for i in range(COUNTS + 1):
        held = [row[i] for row in rows if row[i] is not None]
        assert block.zone(i) == ((min(held), max(held), len(held)) if held else None)
    with pytest.raises(IndexError, match="column 11"):
        block.zone(COUNTS + 1)


def test_every_width_occurs() -> None:
    chunks = chunks_of(encoded(random_rows(random.Random(1), 5000, missing=0)))
    assert tuple(chunk_header(c)[0] for c in chunks) == (2, 4, 4, 1, *WIDTHS, 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows[:1] + rows[:1], "do not ascend"),
        (lambda rows: rows[::-1], "do not ascend"),
        (lambda rows: [(BLOCK_ROWS, *rows[0][1:])], "column 0: a contact is outside"),
        (lambda rows: [(-1, *rows[0][1:])], "column 0: a contact is outside"),
        (lambda rows: [(*rows[0][:2], 2**32, *rows[0][3:])], "column 2: an event number"),
        (lambda rows: [(*rows[0][:2], -1, *rows[0][3:])], "column 2: an event number"),
        (lambda rows: [(*rows[0][:3], -1, *rows[0][4:])], "column 3: a line number"),
        (lambda rows: [(*rows[0][:-1], 2)], "column 10: .*neither 0 nor 1"),
        (lambda rows: [*rows, (*rows[0][:-1], None)], "column 10: a row has no value"),
        (lambda rows: [(None, *rows[0][1:]), *rows], "column 0: a row has no value"),
        (lambda rows: [(*rows[0][:5], VALUE_LIMIT, *rows[0][6:])], r"column 5: .*2\^62"),
        (lambda rows: [row[:4] for row in rows], "5 to 32 columns, not 4"),
        (lambda rows: [row[:4] * 9 for row in rows], "5 to 32 columns, not 36"),
    ],
)
def test_what_cannot_be_encoded(change: Callable[[list[Row]], list[Row]], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        encoded(change(random_rows(random.Random(3), 10)))


def test_columns_are_of_one_length_and_not_too_long() -> None:
    one, two = (np.zeros(1), np.ones(1)), (np.zeros(2), np.ones(2))
    with pytest.raises(ValueError, match="column 2 has 2 rows"):
        encode_block([one, one, two, one, one])
    long = (np.arange(BLOCK_ROWS + 1), np.ones(BLOCK_ROWS + 1))
    with pytest.raises(ValueError, match=r"column 0: .*16384"):
        encode_block([long] * 5)


def test_rows_ascend_by_each_of_the_first_four_columns() -> None:
    first, rest = (5, 5, 5, 2), (None,) * len(SPANS)
    for at in range(4):
        second = tuple(v + 1 if i == at else 0 if i > at else v for i, v in enumerate(first))
        rows = [(*key, *rest, 1) for key in (first, second)]
        assert verify_block(encoded(rows)) is None
        with pytest.raises(ValueError, match="do not ascend"):
            encoded(rows[::-1])


# --- aggregates --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Query:
    filter: tuple[Sequence[Op], Test] | None = None
    start: int = 0
    end: int = 2**63
    measure: int = -1
    candidates: frozenset[int] | None = None
    low: int | None = None
    high: int | None = None
    how: str = "sum"


# Of a block: what stands before the ends of its columns.
EV_HEADER_BYTES = 12

HOW = {"sum": lambda a, b: a + b, "min": min, "max": max}


def added_up(blocks: Sequence[EventBlock], query: Query, stop: Stop | None = None) -> dict[int, int]:
    """Numbers by contact, asked for as a range between two others that have no events."""
    rows = None if query.filter is None else EventFilter(query.filter[0])
    chosen = None if query.candidates is None else np.array(sorted(query.candidates), np.uint32) + FIRST
    ordinals, numbers = both(
        month((RANGE, blocks)),
        rows,
        query.start,
        query.end,
        query.measure,
        chosen,
        query.low,
        query.high,
        stop,
        query.how,
    )
    return dict(zip((ordinals - FIRST).tolist(), numbers.tolist(), strict=True))


def check(blocks: Sequence[EventBlock], rows: Sequence[Row], query: Query) -> int:
    """Compare with plain Python; the number of rows that were counted."""
    counts: Counter[int] = Counter()
    numbers: dict[int, int] = {}
    for row in rows:
        contact, at = row[CONTACT], row[TIME]
        assert contact is not None
        assert at is not None
        if not query.start <= at < query.end or (query.candidates is not None and contact not in query.candidates):
            continue
        if query.filter is not None and not query.filter[1](row):
            continue
        counts[contact] += 1
        value = row[query.measure] if query.measure >= 0 else 1
        if value is not None:
            numbers[contact] = HOW[query.how](numbers[contact], value) if contact in numbers else value
    assert added_up(blocks, query) == dict(numbers), query
    # Bounds: all of them, those at the ends, and none.
    if numbers:
        found = sorted(numbers.values())
        for low, high in ((found[0], found[-1]), (found[0] + 1, None), (None, found[-1] - 1), (found[-1] + 1, None)):
            within = {o: n for o, n in numbers.items() if (low is None or n >= low) and (high is None or n <= high)}
            assert added_up(blocks, replace(query, low=low, high=high)) == within, (query, low, high)
    return sum(counts.values())


def random_leaf(rng: random.Random, rows: Sequence[Row]) -> tuple[list[Op], Test]:
    column = rng.choice((CONTACT, TIME, EVENT, LINE, *range(4, COUNTS), *range(4, COUNTS), COUNTS))
    held = [row[column] for row in rows if row[column] is not None] or [0]
    some = rng.choice((min(held), max(held), rng.choice(held), rng.choice(held) + 1, min(held) - 1, max(held) + 1))
    kind = rng.choice(("range", "range", "table", "table", "table", "present", "constant"))
    if kind == "constant":
        value = rng.random() < 0.5
        return [("constant", value)], lambda row: value
    if kind == "present":
        return [("present", column)], lambda row: row[column] is not None
    if kind == "range":
        low, high = sorted((some, rng.choice((rng.choice(held), max(held), -(2**70), 2**70))))
        if rng.random() < 0.1:
            low, high = high + 1, low
        return [("range", column, low, high)], lambda row: (v := row[column]) is not None and low <= v <= high
    base = some - rng.choice((0, 1, 5, 200))
    bits = [rng.random() < 0.5 for _ in range(8 * rng.choice((0, 1, 7, 8, 9, 500, 9000)))]
    packed = np.packbits(np.array(bits, np.bool_), bitorder="little").tobytes()
    negate = rng.random() < 0.5

    def within(row: Row) -> bool:
        value = row[column]
        return value is not None and (0 <= value - base < len(bits) and bits[value - base]) != negate

    return [("table", column, base, packed, negate)], within


def random_filter(rng: random.Random, rows: Sequence[Row], depth: int) -> tuple[list[Op], Test]:
    if depth == 0 or rng.random() < 0.2:
        return random_leaf(rng, rows)
    kind = rng.choice(("all", "any", "not", "at_least"))
    if kind == "not":
        ops, test = random_filter(rng, rows, depth - 1)
        return [*ops, ("not",)], lambda row: not test(row)
    kids = [random_filter(rng, rows, depth - 1) for _ in range(rng.choice((0, 1, 2, 2, 3, 3, 5, 9)))]
    ops = [op for kid, _ in kids for op in kid]
    tests = [test for _, test in kids]
    n = len(kids)
    if kind == "all":
        return [*ops, ("all", n)], lambda row: all(test(row) for test in tests)
    if kind == "any":
        return [*ops, ("any", n)], lambda row: any(test(row) for test in tests)
    k = rng.randint(-1, n + 2)
    return [*ops, ("at_least", k, n)], lambda row: sum(test(row) for test in tests) >= k


def random_window(rng: random.Random, rows: Sequence[Row]) -> tuple[int, int]:
    times = [row[TIME] for row in rows] or [MAY]
    edges = (0, min(times), max(times), max(times) + 1, rng.choice(times), rng.choice(times) + 1, 2**63, -(2**70))
    start, end = rng.choice(edges), rng.choice((*edges, 2**70))
    return (start, end) if rng.random() < 0.1 else (min(start, end), max(start, end))


def check_aggregates(seed: int, rounds: int) -> None:
    """Random filters over one block and over several, of every number of rows."""
    rng = random.Random(seed)
    passed = 0
    for _ in range(rounds):
        n = rng.choice((*THRESHOLDS[:-2], rng.choice(THRESHOLDS), 1, 65, 500, 700, 3000))
        contacts = rng.choice(((0, BLOCK_ROWS - 1), (0, BLOCK_ROWS - 1), (5, 5), (100, 180), (0, 300)))
        last = rng.choice((MAY + MONTH - 1, MAY + MONTH - 1, MAY, MAY + 50_000, 2**50))
        missing = rng.choice((0, 0.3, 0.3, 0.9, 1))
        parts = [random_rows(rng, rows, contacts, (MAY, last), missing) for rows in (n, rng.choice((0, 10, 900)))]
        blocks = [EventBlock(encoded(part)) for part in parts]
        rows = [row for part in parts for row in part]
        everyone = sorted({o for row in rows if (o := row[CONTACT]) is not None})
        for _ in range(6):
            start, end = random_window(rng, rows)
            some = rng.sample(everyone, min(len(everyone), rng.choice((1, 5, 300, 5000))))
            measure = rng.choice((-1, TIME, *range(4, COUNTS), 4, COUNTS))
            query = Query(
                filter=random_filter(rng, rows, 3) if rng.random() < 0.9 else None,
                start=start,
                end=end,
                measure=measure,
                how="sum" if measure == -1 else rng.choice(("min", "max") if measure == TIME else tuple(HOW)),
                candidates=rng.choice((None, None, frozenset(some), frozenset((0, *some, BLOCK_ROWS - 1)))),
            )
            passed += check(blocks, rows, query) > 0
    assert passed > rounds, "most queries should count something"


@pytest.mark.parametrize("seed", seeds(2))
def test_random_aggregates(seed: int) -> None:
    check_aggregates(seed, 12)


@pytest.mark.parametrize("n", THRESHOLDS)
def test_every_leaf_at_every_size(n: int) -> None:
    """Each kind of leaf on each column, over all rows and for few candidates."""
    rng = random.Random(n)
    rows = random_rows(rng, n)
    blocks = [EventBlock(encoded(rows))]
    few = frozenset(o for row in rng.sample(rows, min(n, 20)) if (o := row[CONTACT]) is not None)
    for column in (*range(4, COUNTS), CONTACT):
        low, high = SPANS[column - 4] if column >= 4 else (0, BLOCK_ROWS)
        middle = (low + high) // 2
        bits = np.packbits(np.arange(4096) % 3 == 0, bitorder="little").tobytes()

        def listed(row: Row, column: int = column, base: int = middle - 50) -> bool:
            return (v := row[column]) is not None and 0 <= v - base < 4096 and (v - base) % 3 == 0

        def above(row: Row, column: int = column, middle: int = middle) -> bool:
            return (v := row[column]) is not None and v >= middle

        leaves: list[tuple[list[Op], Test]] = [
            ([("range", column, middle, 2**80)], above),
            ([("range", column, middle, 2**80), ("not",)], lambda row, t=above: not t(row)),
            ([("table", column, middle - 50, bits, False)], listed),
            (
                [("table", column, middle - 50, bits, True)],
                lambda row, c=column, t=listed: row[c] is not None and not t(row),
            ),
            ([("present", column)], lambda row, c=column: row[c] is not None),
            ([("present", column), ("not",)], lambda row, c=column: row[c] is None),
        ]
        for leaf in leaves:
            for candidates in (None, few):
                for how in HOW:
                    check(blocks, rows, Query(filter=leaf, measure=max(column, 4), candidates=candidates, how=how))


def test_zone_maps_answer_for_whole_blocks() -> None:
    """Filters that every row or none passes, with and without missing values."""
    for missing in (0, 0.5):
        rows = random_rows(random.Random(5), 2000, missing=missing)
        blocks = [EventBlock(encoded(rows))]
        every: tuple[Op, Test] = ("range", 5, -100, 100), lambda row: row[5] is not None
        never: tuple[Op, Test] = ("range", 6, 255, 300), lambda row: False
        apart: tuple[Op, Test] = ("table", 7, 70_000, b"\xff", True), lambda row: row[7] is not None
        for (a, ta), (b, tb) in ((every, never), (every, apart), (never, apart), (every, every)):
            for negate in ([], [("not",)]):
                for op in ("all", "any"):
                    for k in range(4):
                        ops = [a, b, *negate, (op, 2), b, ("at_least", k, 2)]

                        def holds(
                            row: Row,
                            ta: Test = ta,
                            tb: Test = tb,
                            no: bool = bool(negate),
                            op: str = op,
                            k: int = k,
                        ) -> bool:
                            two = (ta(row), tb(row) != no)
                            return (all(two) if op == "all" else any(two)) + tb(row) >= k

                        check(blocks, rows, Query(filter=(ops, holds)))


@pytest.mark.parametrize("level", ["scalar", "avx2"])
def test_every_simd_level_gives_the_same_answers(level: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_events as t;"
        "t.check_aggregates(11, 4); t.test_every_leaf_at_every_size(16383); print(t.simd_level())"
    )
    environment = {**os.environ, "SEGIDX_SIMD": level}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    order = ["scalar", "avx2", "avx512"]
    assert order.index(found.stdout.strip()) <= order.index(level)
    assert simd_level() in order


def test_no_blocks() -> None:
    check([], [], Query())


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ops", "reason"),
    [
        ([], "leaves one set of rows, not 0"),
        ([("constant", True), ("constant", True)], "leaves one set of rows, not 2"),
        ([("not",)], "op 0 .*takes 1 sets of rows, and there are 0"),
        ([("constant", True), ("all", 2)], "op 1 .*takes 2"),
        ([("constant", True), ("any", -1)], "op 1 .*takes -1"),
        ([("constant", True), ("at_least", 1, 2)], "op 1 .*takes 2"),
        ([("range", 32, 0, 1)], "op 0 .*columns are 0 to 31, not 32"),
        ([("range", -1, 0, 1)], "columns are 0 to 31, not -1"),
        ([("range", 0, 1)], "op 0 .*values to unpack"),
        ([("constant", True), ("not", 1)], "op 1 .*takes nothing"),
        ([("table", 0, 2**63, b"", False)], "the base of a table"),
        ([("between", 0, 1, 2)], "no op 'between'"),
        ([()], "op 0"),
        ([("constant", True)] * 70_000, "65536 sets of rows"),
    ],
)
def test_filters_are_checked(ops: list[Op], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        EventFilter(ops)


@pytest.mark.parametrize("ops", [[("range", "0", 0, 1)], [("range", 0, "a", 1)], [("table", 0, 0, "x", True)], [5]])
def test_types_in_filters_are_checked(ops: list[Op]) -> None:
    with pytest.raises(TypeError, match="op 0 of the filter"):
        EventFilter(ops)


def test_arguments_are_checked() -> None:
    block = EventBlock(encoded(random_rows(random.Random(2), 5)))
    with pytest.raises(ValueError, match="no column 11"):
        collect(month((0, [block])), None, 0, 1, 11)
    with pytest.raises(ValueError, match="no column 12"):
        collect(month((0, [block])), EventFilter([("present", 12)]), 0, 1, 3)
    with pytest.raises(ValueError, match="measure"):
        collect(month((0, [block])), None, 0, 1, -2)
    with pytest.raises(ValueError, match="'mean' is not what can be made of a measure"):
        collect(month((0, [block])), None, 0, 1, 3, how="mean")
    with pytest.raises(ValueError, match="'max' is not what can be made of rows"):
        collect(month((0, [block])), None, 0, 1, -1, how="max")
    with pytest.raises(ValueError, match="numbers 0 to 262143 and ascend, not 262144"):
        month((1 << 18, [block]))
    with pytest.raises(ValueError, match="ascend"):
        EventMonth([(4, block), (5, block), (3, block)])
    with pytest.raises(ValueError, match="ascend"):
        EventMonth([(4, block), (3, block), (5, block)])
    with pytest.raises(ValueError, match="dtype"):
        collect(month((0, [block])), None, 0, 1, -1, np.zeros(3, np.int64))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        month((0, [block, b"x"]))  # type: ignore[list-item]
    with pytest.raises(TypeError):
        collect(month((0, [block])), None, 0, 1, -1, None, None, None, b"stop")  # type: ignore[arg-type]
    for nothing in ([], month((3, []))):
        assert [found.tolist() for found in collect(nothing, None, 0, 1, -1)] == [[], []]
    assert [f.tolist() for f in collect(month((0, [block])), None, 0, 2**62, -1, np.zeros(0, np.uint32))] == [[], []]


def test_ranges_share_nothing_but_the_buffers() -> None:
    rng = random.Random(8)
    ranges, wanted = [], {}
    for number in (0, 1, 7, (1 << 18) - 1):
        rows = random_rows(rng, 400)
        ranges.append((number, [EventBlock(encoded(rows[:150])), EventBlock(encoded(rows[150:]))]))
        for contact, count in Counter(row[CONTACT] for row in rows).items():
            wanted[number * BLOCK_ROWS + contact] = count
    ordinals, numbers = both(months(*ranges), None, 0, 2**63, -1)
    assert dict(zip(ordinals.tolist(), numbers.tolist(), strict=True)) == wanted
    some = np.array(sorted([*rng.sample(sorted(wanted), 30), 5 * BLOCK_ROWS]), np.uint32)
    ordinals, numbers = both(months(*ranges), None, 0, 2**63, -1, some)
    narrowed = {o: wanted[o] for o in some.tolist() if o in wanted}
    assert dict(zip(ordinals.tolist(), numbers.tolist(), strict=True)) == narrowed


def test_a_sum_that_leaves_64_bits() -> None:
    def sums_of(values: Sequence[int]) -> int:
        rows = [(9, MAY, i, 0, value, 1) for i, value in enumerate(values)]
        return int(added_up([EventBlock(encoded(rows, 6))], Query(measure=4))[9])

    top = VALUE_LIMIT - 1
    most, least = [top, top, 1], [-top, -top, -2]
    assert sums_of(most) == 2**63 - 1
    assert sums_of(least) == -(2**63)
    for values in ([*most, 1], [*least, -1], [top] * 3, [-top] * 3):
        with pytest.raises(OverflowError, match="64 bits"):
            sums_of(values)


def test_the_least_and_the_greatest_take_the_place_of_nothing() -> None:
    """A number is not compared with the 0 that stands where there is none yet, nor with what a range left behind."""
    values = {9: [-5, -3, -7], 10: [5, 3, 7], 11: [None, 4], 12: [None]}
    rows = [
        (contact, MAY, 10 * contact + i, 0, value, 1)
        for contact, some in values.items()
        for i, value in enumerate(some)
    ]
    block = EventBlock(encoded(rows, 6))
    assert added_up([block], Query(measure=4, how="min")) == {9: -7, 10: 3, 11: 4}
    assert added_up([block], Query(measure=4, how="max")) == {9: -3, 10: 7, 11: 4}
    ordinals, numbers = both(month((0, [block]), (1, [block])), None, 0, 2**62, 4, how="max")
    assert numbers.tolist() == 2 * [-3, 7, 4]
    assert ordinals.tolist() == [9, 10, 11, *(BLOCK_ROWS + n for n in (9, 10, 11))]


def test_stopping() -> None:
    blocks = [EventBlock(encoded(random_rows(random.Random(2), 3000)))]
    added_up(blocks, Query(), Stop(time.monotonic_ns() + 10**12))
    with pytest.raises(Stopped) as caught:
        added_up(blocks * 100_000, Query(measure=7), Stop(time.monotonic_ns() + 20_000_000))
    assert caught.value.reason == "deadline"
    stop = Stop()
    stop.cancel()
    for some in (blocks, []):
        with pytest.raises(Stopped) as caught:
            added_up(some, Query(), stop)
        assert caught.value.reason == "cancelled"


# --- damage ------------------------------------------------------------------------------------------------------


def test_damage_is_found_by_open_or_by_verify() -> None:
    good = encoded(random_rows(random.Random(4), 40))
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 0x41
        assert verify_block(bytes(bad)) is not None, at
    for size in range(len(good)):
        assert verify_block(good[:size]) is not None, size
    assert verify_block(good + b"\0") is not None


@pytest.mark.parametrize(
    ("change", "column", "reason"),
    [
        (lambda d: d[:11], None, "shorter"),
        (lambda d: d[:30], None, "shorter"),
        (lambda d: b"\x02" + d[1:], None, "version"),
        (lambda d: d[:1] + b"\x04" + d[2:], None, "number of columns"),
        (lambda d: d[:1] + b"\x21" + d[2:], None, "number of columns"),
        (lambda d: d[:2] + b"\1" + d[3:], None, "flags"),
        (lambda d: d[:4] + b"\1\x40" + d[6:], None, "more rows"),
        (lambda d: d[:4] + b"\5" + d[5:], 0, "more rows"),
        (lambda d: d[:4] + b"\x50" + d[5:], 0, "must have all"),
        (lambda d: d[:12] + b"\xff\xff\xff\xff" + d[16:], 0, "its end"),
        (lambda d: d[:16] + b"\0\0\0\0" + d[20:], 1, "its end"),
        (lambda d: d[:12] + bytes([d[12] + 1]) + d[13:], 0, "length"),
        (lambda d: d[:-1], 10, "its end"),
        (lambda d: d + b"\0", None, "behind the last"),
    ],
)
def test_open_names_the_column_and_the_reason(
    change: Callable[[bytes], bytes], column: int | None, reason: str
) -> None:
    good = encoded(random_rows(random.Random(4), 40))
    with pytest.raises(CorruptEvents, match=reason) as caught:
        EventBlock(change(good))
    assert caught.value.column == column
    assert reason in str(verify_block(change(good)))


def test_verify_sees_rows_that_do_not_ascend() -> None:
    """With checksums that are right: what another program might have written."""
    same, ones = np.zeros(40, np.int64), np.ones(40, np.uint8)
    events = np.arange(40)
    good = encode_block([(same, ones), (same, ones), (events, ones), (same, ones), (same, ones)])
    assert verify_block(good) is None
    for wrong in (events[::-1], events // 2 * 2 + 1 - events % 2):
        bad = good.replace(encode_chunk(events, ones), encode_chunk(wrong, ones))
        assert bad != good
        assert verify_block(bad) == "the rows do not ascend by contact, time, event and line"


def test_no_column_of_a_block_is_sparse() -> None:
    """Loops over rows of blocks read codes in place."""
    n = 4_000
    ones, row = np.ones(n, np.uint8), np.arange(n)
    few = (row % 50 == 0).astype(np.uint8)
    sparse = encode_chunk(row << 33, few)
    dense = encode_chunk(row << 33, few, sparse=False)
    assert len(sparse) < len(dense)
    block = encode_block(
        [(row * 4, ones), (row, ones), (row, ones), (row * 0, ones), (row << 33, few), (row * 0 + 1, ones)]
    )
    assert dense in block
    assert verify_block(block) is None
    head = EV_HEADER_BYTES + 4 * 6
    ends = np.frombuffer(block, "<u4", 6, EV_HEADER_BYTES).astype(np.int64)
    ends[4:] -= len(dense) - len(sparse)
    swapped = block[:EV_HEADER_BYTES] + ends.astype("<u4").tobytes() + block[head:].replace(dense, sparse)
    with pytest.raises(CorruptEvents, match="column 4: unknown chunk flags"):
        EventBlock(swapped)


def check_damaged(seed: int, rounds: int) -> None:
    """Whatever opens can be read and added up."""
    rng = random.Random(seed)
    opened = 0
    for _ in range(rounds):
        good = encoded(random_rows(rng, rng.choice((1, 64, 65, 700)), missing=rng.choice((0, 0.4))))
        for _ in range(30):
            bad = bytearray(good)
            for _ in range(rng.choice((1, 3, 200))):
                at = rng.randrange(min(len(bad), rng.choice((60, 200, len(bad)))))
                bad[at] = rng.choice((0, 1, 0xFF, rng.randrange(256)))
            verify_block(bytes(bad))
            try:
                block = EventBlock(bytes(bad))
            except CorruptEvents:
                continue
            opened += 1
            block.decode()
            rows = random_rows(rng, 30)
            for candidates in (None, frozenset(rng.sample(range(BLOCK_ROWS), 4000))):
                ops = [(op, test) for op, test in (random_filter(rng, rows, 2),) if block.columns == COUNTS + 1]
                how = rng.choice(tuple(HOW))
                query = Query(filter=ops[0] if ops else None, measure=3, candidates=candidates, how=how)
                try:
                    added_up([block], query)
                except OverflowError:
                    continue
    assert opened > rounds


def test_damaged_blocks_are_added_up_somehow() -> None:
    check_damaged(7, 12)


def test_rows_are_listed() -> None:
    block = EventBlock(encoded(random_rows(random.Random(3), 10)))
    ordinals, (lines, times) = select(month((2, [block])), None, 0, 2**63, [LINE, TIME], np.array([1], np.uint32))
    assert len(ordinals) == len(lines) == len(times) == 0
    for columns, message in (([], "1 to 32 columns"), ([0] * 33, "not 33"), ([32], "not 32"), ([-1], "not -1")):
        with pytest.raises(ValueError, match=message):
            select(month((0, [block])), None, 0, 1, columns)
    with pytest.raises(ValueError, match="no column 11"):
        select(month((0, [block])), None, 0, 1, [11])
