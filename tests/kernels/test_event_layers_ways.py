"""The ways in which the rows of layers are looked at, in one question: layers of few and of many rows a range, filters
that leave few and many, few and many candidates; and places of any layer that are voided, and filled again."""

from __future__ import annotations

import random

import pytest

from segidx.kernels.events import BLOCK_ROWS, EVENT, LINE, TIME
from segidx.testing.effort import seeds
from segidx.testing.event_layers import COUNTS, MAY, MONTH, Case, Place, Query, Row, Test, place
from segidx.testing.event_months import month

RANGES = 24
PRODUCT, AMOUNT, SPARSE = 4, 6, 8  # columns
# A value of these is in a hundredth, a tenth and most of the rows.
RARE, SOME, MOST = 0, 1, 2
SIZES = (2, 30, 300, 1500)  # events of layers


class Maker:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.events = iter(range(10**6))

    def rows_at(self, at: Place) -> list[Row]:
        rng = self.rng
        return [
            (
                *at,
                line,
                rng.choices((RARE, SOME, MOST), (1, 10, 89))[0],
                rng.randrange(50),
                rng.randint(-500, 60_000),
                None,
                rng.choice((None, None, rng.randint(-(2**40), 2**40))),
                int(rng.random() < 0.9),
            )
            for line in range(rng.choice((1, 1, 3)))
        ]

    def places(self, n: int) -> list[Place]:
        rng = self.rng
        contacts = (
            rng.randrange(RANGES) * BLOCK_ROWS + rng.choice((rng.randrange(40), BLOCK_ROWS - 1)) for _ in range(n)
        )
        return [(contact, MAY + rng.randrange(MONTH), next(self.events)) for contact in contacts]

    def case(self) -> Case:
        rng = self.rng
        known = self.places(400)
        base: dict[int, list[Row]] = {number: [] for number in range(RANGES)}
        for at in known:
            base[at[0] // BLOCK_ROWS] += self.rows_at(at)
        layers: list[tuple[list[Row], set[Place]]] = []
        for _ in range(rng.choice((2, 4, 6))):
            share = rng.choice((0, 0, 0.02, 0.3))
            stale = {at for at in known if rng.random() < share}
            again = [at for at in stale if rng.random() < 0.5]
            fresh = self.places(rng.choice(SIZES))
            layers.append(([row for at in again + fresh for row in self.rows_at(at)], stale))
            known += fresh
        return Case(base, layers, rng.choice(((0, 0), (1, RANGES // 2), (len(layers), 3))), spread=month)

    def query(self, rows: list[Row]) -> Query:
        rng = self.rng
        value = rng.choice((RARE, SOME, MOST))
        test: Test = lambda row: row[PRODUCT] == value  # noqa: E731
        counts: Test = lambda row: row[COUNTS] == 1  # noqa: E731
        asked = [("range", PRODUCT, value, value)]
        counted = [("range", COUNTS, 1, 1)]
        filters = (
            None,
            (counted, counts),
            (asked, test),
            ([*asked, *counted, ("all", 2)], lambda row: test(row) and counts(row)),
            ([*asked, ("not",)], lambda row: not test(row)),
        )
        contacts = sorted({place(row)[0] for row in rows})
        share = rng.choice((0.01, 0.1, 0.9))
        candidates = rng.choice(
            (None, frozenset(rng.sample(contacts, 2)), frozenset(c for c in contacts if rng.random() < share))
        )
        measure, how = rng.choice(
            (
                (-1, "sum"),
                (-1, "sum"),
                (-1, "distinct_days"),
                *((column, how) for column in (AMOUNT, SPARSE) for how in ("sum", "min", "max", "distinct")),
                *((column, "max") for column in (TIME, EVENT, LINE)),
            )
        )
        window = rng.choice(((0, 2**63), (MAY + MONTH // 3, MAY + MONTH // 2)))
        return Query(rng.choice(filters), *window, measure, candidates, how)


def check(seed: int) -> None:
    maker = Maker(seed)
    case = maker.case()
    rows = case.rows()
    found = sum(case.check(maker.query(rows)) > 0 for _ in range(25))
    assert found > 10, "most questions should find something"


@pytest.mark.parametrize("seed", seeds(6))
def test_all_ways_meet(seed: int) -> None:
    check(seed)
