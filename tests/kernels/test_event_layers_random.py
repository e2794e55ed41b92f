"""Counts, sums and distinct values over blocks of events under layers, against plain Python that keeps every row by its
place."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest

from segidx.kernels.bitmaps import simd_level
from segidx.kernels.events import (
    BLOCK_ROWS,
    CONTACT,
    EVENT,
    TIME,
    EventFilter,
    EventLayer,
    encode_layer,
    merge_layers,
    select,
)
from segidx.testing.effort import seeds
from segidx.testing.event_layers import (
    COUNTS,
    HOUR,
    MAY,
    MONTH,
    NUMBERS,
    SPANS,
    Case,
    Op,
    Place,
    Query,
    Row,
    Test,
    Value,
    local,
    month_of_year,
    place,
)
from segidx.testing.event_months import both, month, months

# --- random cases --------------------------------------------------------------------------------------------------


class Maker:
    """Rows at random places, and changes of places that are there."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.events = iter(self.rng.sample(range(2**32), 50_000))
        self.contacts = BLOCK_ROWS
        self.missing = 0.3

    def properties(self) -> tuple[Value, ...]:
        rng = self.rng
        return (*(None if rng.random() < self.missing else rng.randint(*span) for span in SPANS), rng.randrange(2))

    def rows_at(self, at: Place) -> list[Row]:
        lines = sorted(self.rng.sample(range(6), self.rng.choice((1, 1, 2, 4))))
        return [(*at, line, *self.properties()) for line in lines]

    def new(self, n: int, months: int) -> list[Place]:
        rng = self.rng
        return [
            (
                rng.choice(NUMBERS) * BLOCK_ROWS + rng.choice((rng.randrange(self.contacts), BLOCK_ROWS - 1)),
                MAY + rng.randrange(months) * MONTH + rng.choice((0, rng.randrange(MONTH))),
                next(self.events),
            )
            for _ in range(n)
        ]

    def case(self) -> Case:
        rng = self.rng
        self.contacts = rng.choice((5, 300, BLOCK_ROWS))
        self.missing = rng.choice((0, 0.3, 0.3, 0.9, 1))
        known = self.new(rng.choice((0, 1, 70, 900)), 3)
        base: dict[int, list[Row]] = {number: [] for number in NUMBERS}
        for at in known:
            base[at[CONTACT] // BLOCK_ROWS] += self.rows_at(at)
        layers = []
        for _ in range(rng.choice((0, 1, 2, 3, 3, 7))):
            rows: list[Row] = []
            stale = {at for at in known if rng.random() < 0.2}  # places stay known, and may be voided or filled again
            for at in stale:
                if rng.random() < 0.5:
                    rows += self.rows_at(at)
            fresh = self.new(rng.choice((0, 1, 30, 400)), 4)
            stale |= {at for at in fresh if rng.random() < 0.3}
            for at in fresh:
                rows += self.rows_at(at)
            known += fresh
            stale |= set(self.new(rng.choice((0, 20)), 3))  # places that nothing was ever at
            layers.append((rows, stale))
        folded = rng.choice((0, rng.randint(0, len(layers)))), rng.choice((0, *NUMBERS, 1 << 18))
        return Case(base, layers, folded, rng.choice((10, BLOCK_ROWS)), rng.choice((month, months)))

    def leaf(self, rows: Sequence[Row]) -> tuple[list[Op], Test]:
        rng = self.rng
        column = rng.choice((TIME, EVENT, *range(3, COUNTS + 1)))
        held = [v for row in rows if (v := row[column]) is not None] or [0]
        low, high = sorted(
            (rng.choice((min(held), *rng.choices(held, k=3))), rng.choice((max(held), *held[:3], 2**70)))
        )
        kind = rng.choice(("range", "equal", "table", "present", "constant", "clock"))
        if kind == "clock":
            return self.clock()
        if kind == "constant":
            return [("constant", True)], lambda row: True
        if kind == "present":
            return [("present", column)], lambda row: row[column] is not None
        if kind == "equal":
            return [("range", column, held[0], held[0])], lambda row: row[column] == held[0]
        if kind == "range":
            return [("range", column, low, high)], lambda row: (v := row[column]) is not None and low <= v <= high
        bits = [rng.random() < 0.5 for _ in range(8 * rng.choice((0, 1, 30, 9000)))]
        negate = rng.random() < 0.5
        packed = np.packbits(np.array(bits, np.bool_), bitorder="little").tobytes()

        def listed(row: Row) -> bool:
            v = row[column]
            return v is not None and (0 <= v - low < len(bits) and bits[v - low]) != negate

        return [("table", column, low, packed, negate)], listed

    def clock(self) -> tuple[list[Op], Test]:
        """Hours, weekdays or months of a zone with any offsets, that change at any instants."""
        rng = self.rng
        n = rng.choice((1, 2, 3, 40))
        starts = sorted(rng.sample(range(MAY - MONTH, MAY + 5 * MONTH), n))
        zone = (starts, [rng.randint(-15 * HOUR, 15 * HOUR) for _ in starts])
        packed = [np.array(each, np.int64) for each in zone]
        ops = packed if rng.random() < 0.5 else [each.tobytes() for each in packed]
        if rng.random() < 0.5:
            hours = rng.choice((0, (1 << 24) - 1, rng.getrandbits(24)))
            return [("clock", "hour", *ops, hours)], lambda row: hours >> local(row[TIME], zone) // HOUR % 24 & 1 == 1
        if rng.random() < 0.5:
            mask = rng.choice((0, 4095, rng.getrandbits(12)))
            return (
                [("clock", "month", *ops, mask)],
                lambda row: mask >> month_of_year(local(row[TIME], zone)) - 1 & 1 == 1,
            )
        days = rng.choice((0, 127, rng.getrandbits(7)))
        # 1970-01-01 was a Thursday.
        return (
            [("clock", "weekday", *ops, days)],
            lambda row: days >> (local(row[TIME], zone) // (24 * HOUR) + 3) % 7 & 1 == 1,
        )

    def filter(self, rows: Sequence[Row]) -> tuple[list[Op], Test]:
        (a, one), (b, two) = self.leaf(rows), self.leaf(rows)
        kind = self.rng.choice(("leaf", "not", "all", "any", "at_least"))
        if kind == "leaf":
            return a, one
        if kind == "not":
            return [*a, ("not",)], lambda row: not one(row)
        if kind == "all":
            return [*a, *b, ("not",), ("all", 2)], lambda row: one(row) and not two(row)
        if kind == "any":
            return [*a, ("not",), *b, ("any", 2)], lambda row: two(row) or not one(row)
        return [*a, *b, ("at_least", 2, 2)], lambda row: one(row) and two(row)

    def how(self, measure: int) -> str:
        return self.rng.choice(("min", "max", "distinct") if measure == TIME else ("sum", "min", "max", "distinct"))

    def query(self, rows: Sequence[Row]) -> Query:
        rng = self.rng
        edges = sorted(rng.sample((0, MAY, MAY + 1, MAY + MONTH, *(row[TIME] or 0 for row in rows[:9]), 2**63), 2))
        measure = rng.choice((-1, TIME, *range(4, COUNTS + 1)))
        some = {place(row)[CONTACT] for row in rows if rng.random() < 0.3} | {0, 5 * BLOCK_ROWS + 9, 2**32 - 1}
        return Query(
            self.filter(rows) if rng.random() < 0.7 else None,
            *(edges if rng.random() < 0.6 else (0, 2**63)),
            measure,
            rng.choice((None, None, frozenset(some), frozenset(rng.sample(sorted(some), 1)))),
            rng.choice(("sum", "distinct_days")) if measure == -1 else self.how(measure),
        )


def check_random(seed: int, rounds: int) -> None:
    """Random layers above random blocks, and the same layers merged."""
    maker = Maker(seed)
    found = 0
    for _ in range(rounds):
        case = maker.case()
        rows = case.rows()
        merged, left = list(case.opened), []
        while len(merged) > 1:  # the oldest two, until one is left
            merged[:2] = [EventLayer(merge_layers(*merged[:2]))]
            left.append(list(merged))
        if len(case.opened) > 1:
            left.append([*case.opened[:-2], EventLayer(merge_layers(*case.opened[-2:]))])
        for _ in range(6):
            query = maker.query(rows)
            found += case.check(query) > 0
            whole = case.answer(query, case.opened, (0, 0))
            assert all(case.answer(query, some, (0, 0)) == whole for some in left), query
    assert found > rounds, "most questions should find something"


@pytest.mark.parametrize("seed", seeds(4))
def test_random_layers(seed: int) -> None:
    check_random(seed, 12)


@pytest.mark.parametrize("level", ["scalar", "avx2"])
def test_every_simd_level_gives_the_same_answers(level: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_event_layers_random as t;"
        "t.check_random(11, 4); t.test_sizes(16385); print(t.simd_level())"
    )
    environment = {**os.environ, "SEGIDX_SIMD": level}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    order = ["scalar", "avx2", "avx512"]
    assert order.index(found.stdout.strip()) <= order.index(level)
    assert simd_level() in order


# --- sizes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 64, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1])
def test_sizes(n: int) -> None:
    """So many rows in one range, between those of two others, and places above them that void some."""
    maker = Maker(n)
    contacts = sorted(maker.rng.choices(range(5 * BLOCK_ROWS, 6 * BLOCK_ROWS), k=n))
    rows: list[Row] = [(contact, MAY + i % 7, i, 0, *maker.properties()) for i, contact in enumerate(contacts)]
    around = [row for at in maker.new(60, 1) if at[0] // BLOCK_ROWS != 5 for row in maker.rows_at(at)]
    void = {place(row) for i, row in enumerate(rows) if i % 5 == 0 or i in (n - 1, n - 2)}
    for layers in ([(rows + around, set())], [(rows + around, set()), ([], void)], [([], void), (rows + around, void)]):
        case = Case({number: [] for number in NUMBERS}, layers, (0, 0))
        few = frozenset(contacts[:3] + contacts[-3:])
        for query in (Query(), Query(candidates=few), *(maker.query(rows + around) for _ in range(6))):
            case.check(query)
        for value in {row[5] for row in rows[:3]} - {None}:
            equal: tuple[list[Op], Test] = [("range", 5, value, value)], lambda row, value=value: row[5] == value  # type: ignore[misc]
            for measure in (-1, 6):
                case.check(Query(equal, measure=measure))
                case.check(Query(equal, MAY + 2, MAY + 5, measure, few))


def test_one_contact_with_more_rows_than_a_block_holds() -> None:
    maker = Maker(3)
    rows: list[Row] = [(9, MAY + i // 3, i % 3, 0, *maker.properties()) for i in range(40_000)]
    void = {place(row) for row in rows[::1000]} | {place(row) for row in rows[16_380:16_390]}
    lone = [(o, MAY, 5, 0, *maker.properties()) for o in (8, 10)]
    for layers in ([(rows, set())], [(rows + lone, set()), ([], void)]):
        case = Case({0: lone}, layers, (0, 0))
        assert case.check(Query()) == len(layers[0][0]) - 40_000 + 3 - len(layers[0][0]) // 40_001 * 2
        for query in (Query(candidates=frozenset((9,))), *(maker.query(rows[:9] + rows[-9:]) for _ in range(8))):
            case.check(query)


def test_rows_of_a_value_that_lie_far_from_each_other() -> None:
    n = np.arange(70_001)
    kind, amount = (n % 35_000 == 0).astype(np.int64), n + 1
    columns = [n * 0 + 9, n + MAY, n, n * 0, kind, amount, n * 0 + 1]
    none = np.zeros(0, np.uint32)
    layer = EventLayer(
        encode_layer([(c, np.ones(len(n), np.uint8)) for c in columns], none, none.astype(np.int64), none)
    )
    equal = EventFilter([("range", 4, 1, 1)])
    found = both([], equal, 0, 2**63, 5, None, None, None, layers=[layer])
    assert [each.tolist() for each in found] == [[9], [1 + 35_001 + 70_001]]
    ordinals, (times,) = select([], equal, 0, 2**63, [TIME], layers=[layer])
    assert (ordinals.tolist(), times.tolist()) == ([9, 9, 9], [MAY, MAY + 35_000, MAY + 70_000])
