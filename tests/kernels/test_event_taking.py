"""Orders and the visits before them, over blocks under layers, against plain Python that looks at every pair."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np
import pytest

from segidx.kernels.bitmaps import Stop, Stopped
from segidx.kernels.events import (
    BLOCK_ROWS,
    MISSING,
    TIME,
    EventBlock,
    EventFilter,
    EventLayer,
    encode_block,
    encode_layer,
    take,
)
from segidx.testing.event_months import month, months

MAY = 1_777_593_600_000
MONTH = 31 * 86_400_000
NUMBERS = (0, 5, 6, 70)  # of the ranges

Row = tuple[int | None, ...]
Place = tuple[int, int, int]

PAID, SOURCE, SAID = 4, 5, 6  # columns of visits, and of orders; the last is whether the row counts
SILENT = [("present", SAID), ("not",)]
SOURCED = [("present", SOURCE)]


def place(row: Row) -> Place:
    contact, at, event = row[:3]
    assert contact is not None
    assert at is not None
    assert event is not None
    return contact, at, event


def columns_of(rows: Sequence[Row]) -> list[tuple[np.ndarray, np.ndarray]]:
    held = list(zip(*rows, strict=True)) if rows else [()] * 8
    return [
        (np.array([v or 0 for v in values], np.int64), np.array([v is not None for v in values], np.uint8))
        for values in held
    ]


def layer_of(rows: Iterable[Row], places: Iterable[Place]) -> EventLayer:
    stale = sorted(places)
    contacts, times, events = ([p[i] for p in stale] for i in range(3))
    stale_places = np.array(contacts, np.uint32), np.array(times, np.int64), np.array(events, np.uint32)
    return EventLayer(encode_layer(columns_of(sorted(rows, key=lambda row: row[:4])), *stale_places))


def blocks_of(rows: Iterable[Row], most: int) -> list[EventBlock]:
    """The rows of one range, in blocks of a month and `most` rows each."""
    found = []
    for _, group in groupby(sorted(rows, key=lambda r: (place(r)[1] // MONTH, r[:4])), lambda r: place(r)[1] // MONTH):
        some = [(place(row)[0] % BLOCK_ROWS, *row[1:]) for row in group]
        found += [EventBlock(encode_block(columns_of(some[cut : cut + most]))) for cut in range(0, len(some), most)]
    return found


class Case:
    """Events of one type: base rows by range, rows and stale places of layers, and (n, range): the blocks of ranges
    below that one hold what the first n layers say."""

    def __init__(
        self,
        base: dict[int, list[Row]],
        layers: Sequence[tuple[Sequence[Row], set[Place]]],
        folded: tuple[int, int],
        most: int = BLOCK_ROWS,
    ) -> None:
        self.base, self.layers, self.folded = base, layers, folded
        blocks = {number: blocks_of(rows, most) for number, rows in base.items()}
        self.months = (months if most < BLOCK_ROWS else month)(*blocks.items())
        self.opened = [layer_of(rows, places) for rows, places in layers]

    def rows(self) -> list[Row]:
        """What counts."""
        held: list[Row] = []
        for number in {*self.base, *(place(row)[0] // BLOCK_ROWS for rows, _ in self.layers for row in rows)}:
            rows = list(self.base.get(number, ()))
            for added, stale in self.layers[self.folded[0] if number < self.folded[1] else 0 :]:
                rows = [row for row in rows if place(row) not in stale]
                rows += [row for row in added if place(row)[0] // BLOCK_ROWS == number]
            held += rows
        return held


class Maker:
    """Random events close together, which layers replace, move and retract."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.events = iter(self.rng.sample(range(2**32), 50_000))
        self.contacts = self.rng.choice((2, 40, BLOCK_ROWS))

    def row(self, at: Place) -> Row:
        rng = self.rng
        paid, source = rng.choice((None, 0, 1)), rng.choice((None, 0, 1, 2, 300))
        return (*at, 0, paid, source, rng.choice((None, None, 5)), 1)

    def new(self, n: int) -> list[Place]:
        rng = self.rng
        return [
            (
                rng.choice(NUMBERS) * BLOCK_ROWS + rng.choice((rng.randrange(self.contacts), BLOCK_ROWS - 1)),
                MAY + rng.randrange(3) * MONTH + rng.choice((0, rng.randrange(5000), rng.randrange(MONTH))),
                next(self.events),
            )
            for _ in range(n)
        ]

    def case(self, near: Sequence[Place] = ()) -> Case:
        """Events, some of contacts and times that are `near`."""
        rng = self.rng

        def places(n: int) -> list[Place]:
            some = rng.choices(near, k=n) if near else []
            close = [(c, max(0, at - rng.choice((0, 0, 1, 1000, MONTH))), next(self.events)) for c, at, _ in some]
            return self.new(n) + close

        known = places(rng.choice((0, 1, 70, 600)))
        base: dict[int, list[Row]] = {number: [] for number in NUMBERS}
        for at in known:
            base[at[0] // BLOCK_ROWS].append(self.row(at))
        layers = []
        for _ in range(rng.choice((0, 1, 2, 3, 5))):
            stale = {at for at in known if rng.random() < 0.2}
            rows = [self.row(at) for at in stale if rng.random() < 0.5]
            fresh = places(rng.choice((0, 1, 30, 300)))
            rows += map(self.row, fresh)
            known += fresh
            layers.append((rows, stale))
        folded = rng.choice((0, rng.randint(0, len(layers)))), rng.choice((0, *NUMBERS, 1 << 18))
        return Case(base, layers, folded, rng.choice((10, BLOCK_ROWS)))


Answer = tuple[Counter[tuple[int, ...]], Counter[tuple[int, frozenset[tuple[tuple[int, ...], int]]]]]


def number(value: int | None) -> int:
    return MISSING if value is None else value


def wanted(
    orders: Case, visits: Case, within: int, window: tuple[int, int], among: frozenset[int] | None, ranges: range
) -> Answer:
    """Of each order its event and what its visit says; or its event and all visits that it may be."""
    seen: dict[int, list[Row]] = defaultdict(list)
    for row in visits.rows():
        if row[SOURCE] is not None and window[0] - within <= (row[TIME] or 0) < window[1]:
            seen[place(row)[0]].append(row)
    settled: Counter[tuple[int, ...]] = Counter()
    torn: Counter[tuple[int, frozenset[tuple[tuple[int, ...], int]]]] = Counter()
    for row in orders.rows():
        contact, at, event = place(row)
        skipped = row[SAID] is not None or not window[0] <= at < window[1] or contact // BLOCK_ROWS not in ranges
        if skipped or (among is not None and contact not in among):
            continue
        before = [visit for visit in seen[contact] if 0 <= at - place(visit)[1] <= within]
        latest = max((place(visit)[1] for visit in before), default=None)
        last = [visit for visit in before if place(visit)[1] == latest]
        says = {(number(visit[SOURCE]), number(visit[PAID])) for visit in last}
        if len(says) == 1:
            settled[event, *says.pop()] += 1
        elif says:
            group = Counter((place(visit)[2], number(visit[SOURCE]), number(visit[PAID])) for visit in last)
            torn[event, frozenset(group.items())] += 1
    return settled, torn


def found(
    orders: Case,
    visits: Case,
    within: int,
    window: tuple[int, int] = (0, 2**62),
    among: Iterable[int] | None = None,
    ranges: range = range(1 << 18),
    stop: Stop | None = None,
) -> Answer:
    settled, torn, tied = take(
        (orders.months, EventFilter(SILENT), *window, orders.opened, orders.folded),
        (
            visits.months,
            EventFilter(SOURCED),
            window[0] - within,
            window[1],
            visits.opened,
            visits.folded,
        ),
        (SOURCE, PAID),
        within,
        None if among is None else np.array(sorted(among), np.uint32),
        stop,
        (ranges.start, ranges.stop),
    )
    assert (np.diff(tied[:, 0]) >= 0).all()
    groups: dict[int, Counter[tuple[int, ...]]] = defaultdict(Counter)
    for group, *visit in tied.tolist():
        groups[group][tuple(visit)] += 1
    assert set(groups) == set(torn[:, 1].tolist()) == set(range(len(groups)))
    visits_of = {group: frozenset(held.items()) for group, held in groups.items()}
    return Counter(map(tuple, settled.tolist())), Counter((e, visits_of[group]) for e, group in torn.tolist())


def check(
    orders: Case,
    visits: Case,
    within: int,
    window: tuple[int, int] = (0, 2**62),
    among: frozenset[int] | None = None,
    ranges: range = range(1 << 18),
) -> Answer:
    answer = found(orders, visits, within, window, among, ranges)
    assert answer == wanted(orders, visits, within, window, among, ranges)
    return answer


def paired(seed: int) -> tuple[Case, Case]:
    """Orders, and visits many of which are of the same contacts and close."""
    maker = Maker(seed)
    orders = maker.case()
    return orders, maker.case([place(row) for row in orders.rows()])


@pytest.mark.parametrize("seed", range(40))
def test_random_lives_of_blocks_and_layers(seed: int) -> None:
    orders, visits = paired(seed)
    rng = random.Random(seed)
    contacts = {place(row)[0] for row in orders.rows()}
    some = frozenset(contact for contact in contacts if rng.random() < 0.3) | {0, 2**32 - 1}
    for within in (0, 1, 1000, MONTH, 2**61):
        check(orders, visits, within)
        check(orders, visits, within, (MAY + 1000, MAY + MONTH + 7))
        check(orders, visits, within, among=some)
        check(orders, visits, within, among=frozenset())
        for number_of_range in (0, 5, NUMBERS[-1]):
            check(orders, visits, within, ranges=range(number_of_range, number_of_range + 1), among=some)


def test_the_random_lives_have_orders_of_each_kind() -> None:
    settled, torn = zip(*(found(*paired(seed), within=1000) for seed in range(40)), strict=True)
    assert min(sum(map(len, settled)), sum(map(len, torn))) > 200


def visit(contact: int, at: int, event: int, source: int, paid: int | None = 1) -> Row:
    return (contact, at, event, 0, paid, source, None, 1)


def order(contact: int, at: int, event: int) -> Row:
    return (contact, at, event, 0, None, None, None, 1)


@pytest.mark.parametrize("n", [1, 2, 16, 31, 32, 33, 34, 64, 5000])
def test_visits_out_of_order(n: int) -> None:
    """Of one contact, in two layers of which the newer, which is read first, has the later ones: in all orders between
    "sorted" and "the one behind the other"."""
    rng = random.Random(n)
    for overlap in (0, 1, n // 2, n):
        earlier = [visit(3, MAY + 10 * i, i, i % 7, i % 2) for i in range(n)]
        later = [visit(3, MAY + 10 * (i + n - overlap), n + i, i % 5, None) for i in range(n)]
        times = [MAY - 1, *(rng.randrange(MAY, MAY + 20 * n + 20) for _ in range(50)), MAY + 20 * n]
        orders = Case({0: [order(3, at, i) for i, at in enumerate(times)]}, [], (0, 0))
        others = [visit(contact, MAY, 90_000 + contact, 9) for contact in (2, 4)]
        visits = Case({0: others}, [(earlier, set()), (later, set())], (0, 0))
        settled, torn = check(orders, visits, 35)
        assert sum(settled.values()) + sum(torn.values()) > (n > 16) * 20


def test_more_visits_at_one_time_than_a_block_holds() -> None:
    """They are one group, and are looked at once, however many orders there are."""
    for sources, kind in ((1, 0), (3, 1)):
        visits = Case({0: [visit(9, MAY, i, i % sources) for i in range(40_000)]}, [], (0, 0))
        orders = Case({0: [order(9, MAY + i % 2, i) for i in range(20_000)]}, [], (0, 0))
        answer = found(orders, visits, 1)
        assert [sum(part.values()) for part in answer] == [20_000 * (1 - kind), 20_000 * kind]


def test_contacts_at_the_edges_of_ranges() -> None:
    edges = (0, BLOCK_ROWS - 1, BLOCK_ROWS, 2 * BLOCK_ROWS - 1, 2**32 - 1)
    by_range: dict[int, list[int]] = defaultdict(list)
    for contact in edges:
        by_range[contact // BLOCK_ROWS].append(contact)
    orders = Case({n: [order(c, MAY, c) for c in held] for n, held in by_range.items()}, [], (0, 0))
    visits = Case(
        {n: [visit(c, MAY - i, i, c % 100) for c in held for i in range(3)] for n, held in by_range.items()},
        [([], {(BLOCK_ROWS, MAY, 0)})],
        (0, 0),
    )
    settled, torn = check(orders, visits, 5)
    assert settled == Counter((c, c % 100, 1) for c in edges)
    assert not torn
    assert sum(check(orders, visits, 0)[0].values()) == len(edges) - 1
    for first in range(3):
        check(orders, visits, 5, ranges=range(first, 2))


def test_times_that_are_as_far_apart_as_can_be() -> None:
    most = 2**62 - 1
    held = [order(0, -most, 1), order(1, most, 2), order(2, most, 3)]
    seen = [visit(0, -most, 1, 7), visit(1, -most, 2, 8), visit(2, most, 3, 9)]
    orders, visits = Case({}, [(held, set())], (0, 0)), Case({}, [(seen, set())], (0, 0))
    everything = -(2**62), 2**62
    assert len(found(orders, visits, 2**63 - 1, everything)[0]) == 3
    assert len(found(orders, visits, 2 * most - 1, everything)[0]) == 2
    assert len(found(orders, visits, 0, everything)[0]) == 2


def test_no_events() -> None:
    nothing, visits = Case({}, [], (0, 0)), Case({0: [visit(0, MAY, 1, 2)]}, [], (0, 0))
    orders = Case({0: [order(0, MAY, 1)]}, [], (0, 0))
    for one, other in ((nothing, visits), (orders, nothing), (nothing, nothing)):
        assert found(one, other, 5) == (Counter(), Counter())


def test_what_cannot_be_asked() -> None:
    orders, visits = Case({0: [order(0, MAY, 1)]}, [], (0, 0)), Case({0: [visit(0, MAY, 1, 2)]}, [], (0, 0))
    with pytest.raises(ValueError, match="-1 ms before"):
        found(orders, visits, -1)
    held = orders.months, None, 0, 2**62, (), (0, 0)
    with pytest.raises(ValueError, match="there is no column 20"):
        take(held, held, (SOURCE, 20), 5)
    with pytest.raises(ValueError, match="columns are 0 to 31"):
        take(held, held, (SOURCE, 32), 5)


def test_it_stops() -> None:
    orders, visits = paired(3)
    gone = Stop()
    gone.cancel()
    for stop, reason in ((gone, "cancelled"), (Stop(time.monotonic_ns() - 1), "deadline")):
        with pytest.raises(Stopped) as caught:
            found(orders, visits, 1000, stop=stop)
        assert caught.value.reason == reason
    assert found(orders, visits, 1000, stop=Stop()) == found(orders, visits, 1000)
