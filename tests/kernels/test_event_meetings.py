"""All ways of finding rows meet in one question: orders, ledgers, located rows, layers, and candidates as lists and as
sets, over months that end at different ranges; against what plain Python makes of the rows."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from itertools import count
from typing import Any

import numpy as np
import pytest
from pyroaring import BitMap

from segidx.kernels.bitmaps import Stop
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
)
from segidx.testing.event_months import ledger, located, orders_of, sets_of

Row = tuple[Any, ...]
Place = tuple[int, int, int]

MAY, MONTH = 1_777_593_600_000, 30 * 86_400_000
KIND, FEW, MEASURE, COUNTS = 4, 5, 6, 7
MONTHS, RANGES = 9, 12
FILTERS: list[tuple[list[tuple[object, ...]] | None, Callable[[Row], bool]]] = [
    (None, lambda r: True),
    ([("range", COUNTS, 1, 1)], lambda r: r[COUNTS] == 1),
    ([("range", KIND, 1003, 1003)], lambda r: r[KIND] == 1003),
    ([("range", KIND, 1003, 1003), ("range", COUNTS, 1, 1), ("all", 2)], lambda r: r[KIND] == 1003 and r[COUNTS] == 1),
    ([("range", KIND, 1001, 1001)], lambda r: r[KIND] == 1001),
]


class Made:
    """Months and layers above them, as the kernels take them, and the rows that count."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.events = count()
        self.huge = rng.random() < 0.15
        self.base: list[list[Row]] = []
        for m in range(MONTHS):
            last = rng.choice((3, 7, RANGES - 1, RANGES))
            rows: list[Row] = []
            for number in range(rng.choice((0, 0, 2)), last):
                rows += [self.row(number, m) for _ in range(rng.choice((0, 3, 40, 200, 600)))]
            self.base.append(sorted(rows, key=lambda r: r[:4]))
        if rng.random() < 0.3:  # a range of about as many rows as are few
            more = [self.row(1, 2, 1003) for _ in range(rng.choice((1536, 1537, 3072, 3073, 5000)))]
            self.base[2] = sorted([*self.base[2], *more], key=lambda r: r[:4])
        self.layers: list[tuple[list[Row], set[Place]]] = []
        known = [r for rows in self.base for r in rows]
        for _ in range(rng.choice((0, 1, 2, 4))):
            share = rng.choice((0, 0, 0.05, 0.3))
            stale = {r[:3] for r in known if rng.random() < share}
            added = rng.choice((3, 100, 1500))
            some = [self.row(rng.randrange(RANGES + 2), rng.randrange(MONTHS)) for _ in range(added)]
            self.layers.append((sorted(some, key=lambda r: r[:4]), stale))
            known += some
        self.months = [self.month(rows, rng.choice((50, 700, BLOCK_ROWS))) for rows in self.base]
        self.opened = [self.layer(*each) for each in self.layers]
        held = [r for rows in self.base for r in rows]
        for rows, stale in self.layers:
            held = [r for r in held if r[:3] not in stale] + rows
        self.held = held

    def row(self, number: int, m: int, kind: int | None = None) -> Row:
        rng = self.rng
        spread = rng.choice((30, 2000, BLOCK_ROWS))
        contact = number * BLOCK_ROWS + rng.randrange(spread)
        amount = None if rng.random() < 0.1 else rng.randint(-50, 1 << 20)
        if self.huge and amount is not None:
            amount = amount + (1 << 52)
        if kind is None:
            kind = 1000 + min(int(rng.paretovariate(0.7)), 60)
        time = MAY + m * MONTH + rng.randrange(MONTH)
        return (contact, time, next(self.events), 0, kind, rng.randrange(3), amount, int(rng.random() < 0.8))

    @staticmethod
    def columns(rows: Sequence[Row]) -> list[tuple[np.ndarray, np.ndarray]]:
        cols = list(zip(*rows, strict=True)) if rows else [()] * 8
        return [(np.array([v or 0 for v in c], np.int64), np.array([v is not None for v in c], np.uint8)) for c in cols]

    def month(self, rows: Sequence[Row], most: int) -> EventMonth:
        pairs: list[tuple[int, EventBlock]] = []
        for number in sorted({r[0] // BLOCK_ROWS for r in rows}):
            its = [(r[0] % BLOCK_ROWS, *r[1:]) for r in rows if r[0] // BLOCK_ROWS == number]
            cuts = range(0, len(its), most)
            pairs += [(number, EventBlock(encode_block(self.columns(its[cut : cut + most])))) for cut in cuts]
        return EventMonth(pairs)

    def layer(self, rows: Sequence[Row], stale: Iterable[Place]) -> EventLayer:
        places = sorted(stale)
        c, t, e = ([p[i] for p in places] for i in range(3))
        stored = np.array(c, np.uint32), np.array(t, np.int64), np.array(e, np.uint32)
        return EventLayer(encode_layer(self.columns(rows), *stored))


def expected(
    rows: Iterable[Row],
    test: Callable[[Row], bool],
    window: tuple[int, int],
    measure: int,
    how: str,
    among: set[int] | None,
) -> dict[int, int]:
    """By contact, what plain Python makes of the rows."""
    values: dict[int, list[int]] = {}
    start, end = window
    for r in rows:
        if start <= r[1] < end and test(r) and (among is None or r[0] in among):
            v = 1 if measure < 0 else r[measure]
            if v is not None:
                values.setdefault(r[0], []).append(v)
    make: dict[str, Callable[[list[int]], int]] = {"sum": sum, "min": min, "distinct": lambda v: len(set(v))}
    return {c: make[how](v) for c, v in values.items()}


def check(seed: int, questions: int = 25) -> int:
    """Ask them; how many numbers were found."""
    made = Made(seed)
    rng = made.rng
    found = 0
    everyone = sorted({r[0] for r in made.held} | {5})
    for _ in range(questions):
        steps, test = rng.choice(FILTERS)
        filter = None if steps is None else EventFilter(steps)
        start = rng.choice((0, MAY + MONTH // 2, MAY + 10**9, MAY + MONTH))
        end = rng.choice((2**63, MAY + 8 * MONTH, MAY + 7 * MONTH + 12345))
        measure, how = rng.choice(((-1, "sum"),) * 3 + ((MEASURE, "sum"),) * 4 + ((MEASURE, "min"), (KIND, "distinct")))
        among: set[int] | None = None
        if rng.random() < 0.8:
            among = set(rng.sample(everyone, min(len(everyone), rng.choice((1, 3, 20, 500)))))
            if rng.random() < 0.3:
                lo, hi = rng.randrange(RANGES), rng.randrange(RANGES + 2)
                among = {c for c in everyone if c // BLOCK_ROWS in (lo, hi)}
        numbers = expected(made.held, test, (start, end), measure, how, among)
        low, high = rng.choice((None, 1, 2, 1 << 19, -5)), rng.choice((None, None, 3, 1 << 22, -1))
        numbers = {c: v for c, v in numbers.items() if (low is None or v >= low) and (high is None or v <= high)}
        found += len(numbers)
        asked: list[Any] = [None]
        if among is not None:
            listed = np.array(sorted(among), np.uint32)
            asked = [listed, *sets_of(listed)]
        with ExitStack() as stack:
            if rng.random() < 0.6:
                some = rng.sample(made.months, rng.choice((4, MONTHS)))
                stack.enter_context(located(some, rng.choice(((), (MEASURE,)))))
            if rng.random() < 0.6:
                some = rng.sample(made.months, rng.choice((3, MONTHS)))
                stack.enter_context(orders_of(some, [KIND], rng.choice(((), (MEASURE,)))))
            if rng.random() < 0.6:
                with suppress(ValueError):  # values that lie too far from each other
                    stack.enter_context(ledger(rng.sample(made.months, rng.choice((6, 8, MONTHS))), MEASURE))
            for each in asked:
                stop = Stop(time.monotonic_ns() + 30_000_000_000)
                args = (made.months, filter, start, end, measure, each, low, high)
                more: dict[str, Any] = {"stop": stop, "how": how, "layers": made.opened}
                note = (seed, steps, start, end, measure, how, low, high, type(each))
                ordinals, values = collect(*args, **more)
                assert dict(zip(ordinals.tolist(), values.tolist(), strict=True)) == numbers, note
                assert (np.diff(ordinals.astype(np.int64)) > 0).all()
                assert sorted(BitMap.deserialize(collect_set(*args, **more))) == sorted(numbers), note
                cut = rng.randrange(RANGES + 2) // 4 * 4
                parts = [
                    BitMap.deserialize(collect_set(*args, **more, ranges=r)) for r in ((0, cut), (cut, RANGES + 4))
                ]
                assert sorted(parts[0] | parts[1]) == sorted(numbers), note
    return found


@pytest.mark.parametrize("seed", range(16))
def test_ways_meet(seed: int) -> None:
    assert check(seed) > 0
