"""Rows looked up in the order of a column's values give what scanning all rows gives, whatever else is asked; and an
order is used for the rows that it was made of alone."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest

from segidx.kernels.bitmaps import simd_level
from segidx.kernels.events import (
    BLOCK_ROWS,
    EventBlock,
    EventFilter,
    EventLayer,
    EventMeasure,
    EventMonth,
    EventOrder,
    collect,
    encode_block,
    encode_layer,
    select,
)
from segidx.testing.event_months import both, located, orders_of

I64 = npt.NDArray[np.int64]
MAY = 1_777_593_600_000
MONTH = 31 * 86_400_000
NUMBERS = (0, 1, 3, 4, 7, 900)
# The columns behind contact, time, event and line: what is ordered by, two others, and whether the row counts.
KIND, FEW, MEASURE, COUNTS = 4, 5, 6, 7
KINDS = 60
HOW = ("sum", "min", "max", "distinct")
ZONE = (np.array([MAY], np.int64), np.array([3_600_000], np.int64))


class Rows:
    """Rows of some ranges within a time, by contact, time and event."""

    def __init__(self, rng: np.random.Generator, numbers: tuple[int, ...], n: int, first: int, last: int) -> None:
        self.number = np.sort(rng.choice(numbers, n)) if numbers else np.zeros(0, np.int64)
        n = len(self.number)
        contact = rng.integers(0, rng.choice([50, BLOCK_ROWS]), n)
        time = rng.integers(first, last, n)
        if n and rng.random() < 0.5:  # many at one instant
            time[rng.random(n) < 0.3] = time[0]
        event = rng.permutation(n)
        order = np.lexsort((event, time, contact, self.number))
        self.columns: list[tuple[I64, npt.NDArray[np.uint8]]] = []
        always = np.ones(n, np.uint8)
        for values in (contact[order], time[order], event[order], np.zeros(n, np.int64)):
            self.columns.append((values.astype(np.int64), always))
        kind = np.minimum(rng.zipf(1.3, n), KINDS) + 1000
        for values, missing in ((kind, 0.05), (rng.integers(0, 3, n), 0.2), (rng.integers(-50, 1 << 20, n), 0.1)):
            self.columns.append((values.astype(np.int64), (rng.random(n) >= missing).astype(np.uint8)))
        self.columns.append((rng.integers(0, 2, n) if rng.random() < 0.5 else np.ones(n, np.int64), always))

    def month(self, most: int) -> EventMonth:
        pairs = []
        for number in np.unique(self.number).tolist():
            lo, hi = np.searchsorted(self.number, [number, number + 1]).tolist()
            for at in range(lo, hi, most):
                end = min(at + most, hi)
                pairs.append((number, EventBlock(encode_block([(v[at:end], p[at:end]) for v, p in self.columns]))))
        return EventMonth(pairs)

    def ordinals(self) -> I64:
        return self.number * BLOCK_ROWS + self.columns[0][0]

    def layer(self, rng: np.random.Generator, below: list[Rows]) -> EventLayer:
        """These rows above the others, of which some are void."""
        places: set[tuple[int, int, int]] = set()
        for rows in below:
            for at in rng.integers(0, len(rows.number), len(rows.number) // 8 if len(rows.number) else 0).tolist():
                places.add((int(rows.ordinals()[at]), int(rows.columns[1][0][at]), int(rows.columns[2][0][at])))
        stale = np.array(sorted(places), np.int64).reshape(-1, 3)
        return EventLayer(
            encode_layer(
                [(self.ordinals(), self.columns[0][1]), *self.columns[1:]],
                stale[:, 0].astype(np.uint32),
                stale[:, 1].copy(),
                stale[:, 2].astype(np.uint32),
            )
        )


def table(values: list[int]) -> tuple[object, ...]:
    base = min(values)
    bits = np.zeros(max(values) - base + 1, np.uint8)
    bits[np.array(values) - base] = 1
    return ("table", KIND, base, np.packbits(bits, bitorder="little").tobytes(), False)


def conditions(rng: random.Random) -> list[tuple[object, ...]]:
    kinds = [rng.choice([1001 + rng.randrange(1, KINDS), 1002, 1000 + KINDS, 5]) for _ in range(rng.choice([1, 3, 9]))]
    ops: list[tuple[object, ...]] = [("range", KIND, kinds[0], kinds[0]) if rng.random() < 0.7 else table(kinds)]
    for other in (
        ("range", COUNTS, 1, 1),
        ("range", FEW, 1, 1),
        ("range", MEASURE, 0, 1 << 19),
        ("clock", "hour", *ZONE, 0xFFF),
        ("range", KIND, 1002, 1040),
    ):
        if rng.random() < 0.3:
            ops.append(other)
            if rng.random() < 0.2:
                ops.append(("not",))
    sets = sum(op != ("not",) for op in ops)
    return [*ops, ("all", sets)] if sets > 1 or rng.random() < 0.5 else ops


def check_orders(seed: int, questions: int) -> int:
    """How many contacts were found by looking up."""
    rng, dice = np.random.default_rng(seed), random.Random(seed)
    rows = [
        Rows(rng, NUMBERS, dice.choice([0, 1, 300, 4000]), MAY + m * MONTH, MAY + (m + 1) * MONTH) for m in range(3)
    ]
    months = [each.month(dice.choice([7, 500, BLOCK_ROWS])) for each in rows]
    layers = []
    for _ in range(dice.choice([0, 0, 1, 2])):
        above = Rows(rng, NUMBERS[: dice.randrange(1, 6)], dice.choice([1, 200]), MAY, MAY + 3 * MONTH)
        layers.append(above.layer(rng, rows if dice.random() < 0.7 else []))
    instants = np.concatenate([each.columns[1][0] for each in rows] + [np.array([MAY])]).tolist()
    found = 0
    for _ in range(questions):
        filter = EventFilter(conditions(dice))
        start = dice.choice([0, dice.choice(instants), dice.choice(instants) + 1, MAY + dice.randrange(3 * MONTH)])
        end = dice.choice([2**63, start + dice.randrange(2 * MONTH), dice.choice(instants), dice.choice(instants) + 1])
        among = None
        if dice.random() < 0.4:
            some = rng.choice(np.concatenate([each.ordinals() for each in rows] + [np.array([9])]), 300)
            among = np.unique(some).astype(np.uint32)
        how = dice.choice(["count", *HOW, "distinct_days"])
        low = dice.choice([None, 1, 2, 1000])
        ordinals, _ = both(
            months,
            filter,
            start,
            end,
            -1 if how in ("count", "distinct_days") else MEASURE,
            among,
            low,
            dice.choice([None, None, low, 1 << 19]),
            how="sum" if how == "count" else how,
            layers=layers,
            folded=(len(layers), dice.choice(NUMBERS)) if dice.random() < 0.3 else (0, 0),
            zone=ZONE if how == "distinct_days" else None,
            ranges=(dice.randrange(3), dice.choice([4, 1 << 18])),
        )
        found += len(ordinals)
        asked = (months, filter, start, end, [0, 1, 2, KIND, MEASURE], among)
        plain = listed(*asked, layers=layers)
        some_months = dice.sample(months, dice.choice([1, 3]))
        with orders_of(some_months, [KIND]):
            assert listed(*asked, layers=layers) == plain
    return found


def listed(*arguments: object, **options: object) -> Counter[tuple[int, ...]]:
    """The rows as a bag: those of a range come in no order."""
    ordinals, columns = select(*arguments, **options)  # type: ignore[arg-type]
    assert (np.diff(ordinals >> 14) >= 0).all()
    return Counter(zip(ordinals.tolist(), *(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("seed", range(40))
def test_looking_up_finds_what_scanning_finds(seed: int) -> None:
    check_orders(seed, 12)


def test_questions_find_something() -> None:
    assert sum(check_orders(seed, 12) for seed in range(8)) > 300


@pytest.mark.parametrize("rows", [200, 5000, 8000, 16_000])
def test_numbers_of_few_and_of_many_rows_of_a_range(rows: int) -> None:
    """Bounds that a contact without rows lies within, and others; a range of few rows is reported in another way than
    one of many."""
    rng = np.random.default_rng(rows)
    held = [Rows(rng, (2,), rows, MAY + m * MONTH, MAY + (m + 1) * MONTH) for m in range(4)]
    months = [each.month(BLOCK_ROWS) for each in held]
    filter = EventFilter([("range", KIND, 1003, 1003)])
    found = 0
    for start in (0, MAY + MONTH // 2):  # whole months, and a part of one
        for bounds in ((1, None), (None, -1), (0, None), (-40, 40), (5, 3), (0, 0), (2, 2), (1 << 19, 1 << 21)):
            for how, measure in (("sum", -1), ("sum", MEASURE), ("min", MEASURE), ("distinct", MEASURE)):
                found += len(both(months, filter, start, 2**63, measure, None, *bounds, how=how)[0])
    assert found


@pytest.mark.parametrize("level", ["scalar", "avx2"])
def test_every_simd_level_gives_the_same_answers(level: str) -> None:
    script = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_event_orders as t\n"
    script += "print(t.check_orders(1, 30) + t.check_orders(3, 30), t.simd_level())"
    env = {**os.environ, "SEGIDX_SIMD": level}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    found, used = done.stdout.split()
    assert int(found) == check_orders(1, 30) + check_orders(3, 30)
    assert used in (level, "scalar", simd_level())


def test_few_rows_are_looked_up_and_many_scanned() -> None:
    rng = np.random.default_rng(5)
    rows = Rows(rng, (0, 1), 4000, MAY, MAY + MONTH)
    month, counts = rows.month(500), Counter(rows.columns[KIND][0].tolist())
    rare = EventFilter([("range", KIND, 1020, 1020)])
    frequent = EventFilter([table([kind for kind, _ in counts.most_common(2)])])
    scanned = month.cost(rare)
    assert scanned == month.cost(frequent) < month.cost(None)  # of which all are added up
    with orders_of([month], [KIND]):
        assert month.ordered(KIND)
        assert 0 < month.cost(rare) < scanned // 10
        assert month.cost(frequent) == scanned
        assert month.cost(None) > scanned
    assert not month.ordered(KIND)


def test_what_a_question_costs() -> None:
    """Not how much, but in which order: which way is taken follows from it."""
    rng = np.random.default_rng(11)
    rows = Rows(rng, (0, 1), 60_000, MAY, MAY + MONTH)
    month = rows.month(BLOCK_ROWS)
    asked = EventFilter([("range", KIND, 1003, 1003)])
    more = EventFilter([("range", KIND, 1003, 1003), ("range", MEASURE, 0, 9), ("all", 2)])
    few_values = EventFilter([("range", FEW, 1, 1)])
    assert month.cost(few_values) == month.cost(None)
    with orders_of([month], [KIND]):
        unmeasured = month.cost(asked, MEASURE)
        assert month.cost(asked) < unmeasured
    with orders_of([month], [KIND], [MEASURE]):
        assert month.cost(asked) < month.cost(asked, MEASURE) < unmeasured == month.cost(more, MEASURE)
        assert month.cost(asked, MEASURE, 300) < month.cost(asked, MEASURE)
        assert month.cost(asked, MEASURE, 1) < month.cost(asked, MEASURE, 300)
    with located([month]):
        assert month.cost(None, -1, 300) < month.cost(None, -1, 30_000)
        assert month.cost(None, -1, 300) < month.cost(None)
    assert month.cost(None, -1, 300) == month.cost(None)
    assert EventMonth([]).cost(asked) == EventMonth([]).cost(None, -1, 5) == 0


def test_an_order_is_of_its_own_rows_alone() -> None:
    rng = np.random.default_rng(6)
    rows = Rows(rng, (0, 3), 900, MAY, MAY + MONTH)
    month = rows.month(500)
    order = EventOrder(month, KIND)
    kinds = rows.columns[KIND][0][rows.columns[KIND][1] == 1]
    # Where its ranges begin is listed of what has four rows or more in each of the four from the first to the last.
    listed = sum(count >= 4 * 4 for count in Counter(kinds.tolist()).values())
    assert 0 < listed < order.values
    assert (order.column, order.nbytes) == (KIND, 8 * len(kinds) + 16 * order.values + 4 * 5 * listed)
    assert order.values == len(np.unique(rows.columns[KIND][0][rows.columns[KIND][1] == 1]))
    assert rows.month(500).use(order)  # the same rows, opened again
    assert not rows.month(400).use(order)  # in other blocks
    for column in (0, 1, KIND):
        values = rows.columns[column][0].copy()
        values[-1] += 1
        changed = list(rows.columns)
        changed[column] = (values, rows.columns[column][1])
        other = Rows(rng, (), 0, 0, 1)
        other.number, other.columns = rows.number, changed
        assert not other.month(500).use(order)
    values = rows.columns[MEASURE][0] + 1
    changed = [*rows.columns[:MEASURE], (values, rows.columns[MEASURE][1]), *rows.columns[MEASURE + 1 :]]
    other.columns = changed  # a column that it says nothing of
    assert other.month(500).use(order)


def test_a_measure_is_of_its_order_and_values_alone() -> None:
    rng = np.random.default_rng(9)
    rows = Rows(rng, (0, 3), 900, MAY, MAY + MONTH)
    month, again = rows.month(500), rows.month(500)
    order = EventOrder(month, KIND)
    with pytest.raises(ValueError, match="does not use the order"):
        EventMeasure(month, order, MEASURE)
    assert month.use(order)
    assert again.use(order)
    measure = EventMeasure(month, order, MEASURE)
    assert (measure.order, measure.column, measure.nbytes) == (order, MEASURE, 4 * int(rows.columns[KIND][1].sum()))
    assert month.measure(measure)
    assert again.measure(measure)
    rows.columns[MEASURE] = (rows.columns[MEASURE][0] + 1, rows.columns[MEASURE][1])
    changed = rows.month(500)
    assert not changed.measure(measure)
    assert changed.use(order)
    assert not changed.measure(measure)
    # An older version of the month goes on with its own values.
    assert changed.measure(EventMeasure(changed, order, MEASURE))
    filter = EventFilter([("range", KIND, 1020, 1020)])
    old, new = (collect([each], filter, 0, 2**63, MEASURE)[1] for each in (again, changed))
    counts = collect(
        [again], EventFilter([*[("range", KIND, 1020, 1020)], ("present", MEASURE), ("all", 2)]), 0, 2**63, -1
    )
    assert ((new - old) == counts[1]).all()
    assert len(old)
    with pytest.raises(ValueError, match="no column 8"):
        EventMeasure(month, order, 8)


def test_what_cannot_be_ordered() -> None:
    rng = np.random.default_rng(7)
    month = Rows(rng, (0,), 100, MAY, MAY + MONTH).month(500)
    with pytest.raises(ValueError, match="there is no column 8"):
        EventOrder(month, 8)
    with pytest.raises(ValueError, match="column 1 cannot be ordered"):
        EventOrder(month, 1)  # a month of milliseconds
    with pytest.raises(ValueError, match="cannot be ordered"):
        EventOrder(EventMonth([]), KIND)


def test_a_filter_says_what_it_asks_for_by_value() -> None:
    def columns(*ops: tuple[object, ...]) -> list[int]:
        return [equal.column for equal in EventFilter(ops).equals]

    one = ("range", KIND, 7, 7)
    assert columns(one) == [KIND]
    assert columns(one, ("range", FEW, 1, 1), ("all", 2)) == [KIND, FEW]
    assert columns(one, ("range", FEW, 1, 2), ("all", 2)) == [KIND]
    assert columns(one, ("range", FEW, 1, 1), ("any", 2)) == []
    assert columns(one, ("not",)) == []
    assert columns(("range", 1, 7, 7)) == []  # a time is nothing to order by
    assert columns(table([3, 9])) == [KIND]
    assert columns(table(list(range(16)))) == [KIND]
    assert columns(table(list(range(17)))) == []
    name, column, base, bits, _ = table([3, 9])
    assert columns((name, column, base, bits, True)) == []


def test_a_question_without_such_rows_reads_nothing() -> None:
    rng = np.random.default_rng(8)
    month = Rows(rng, (0, 1), 1000, MAY, MAY + MONTH).month(500)
    filter = EventFilter([("range", KIND, 4, 4)])
    with orders_of([month], [KIND]):
        assert month.cost(filter) <= 100  # of two ranges that are looked for
        assert not len(collect([month], filter, 0, 2**63, -1)[0])
