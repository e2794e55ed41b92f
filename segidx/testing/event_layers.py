"""Layers of events above blocks, in plain Python too, which keeps every row by its place, and questions to both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby

import numpy as np

from segidx.kernels.events import (
    BLOCK_ROWS,
    CONTACT,
    MISSING,
    TIME,
    EventBlock,
    EventFilter,
    EventLayer,
    EventMonth,
    encode_block,
    encode_layer,
    select,
)
from segidx.testing.event_months import both, month

MAY = 1_777_593_600_000
MONTH = 31 * 86_400_000
# The ranges in questions; the last has the highest ordinals that there are.
NUMBERS = (0, 5, 6, (1 << 18) - 1)
# (least value, greatest value) of the properties: codes of 0, 1, 2, 4 and 8 bytes.
SPANS = ((7, 7), (0, 200), (-5, 60_000), (0, 2**31), (-(2**40), 2**40))
COUNTS = 4 + len(SPANS)
HOW: dict[str, Callable[[list[int]], int]] = {
    "sum": sum,
    "min": min,
    "max": max,
    "distinct": lambda values: len(set(values)),
    "distinct_days": lambda days: len(set(days)),
}
HOUR = 3_600_000
# Local time ahead of UTC, from each instant on.
ZONE = ((MAY - 9, MAY + 5 * HOUR + 7, MAY + MONTH + HOUR), (-3 * HOUR - 1800_000, 2 * HOUR, 5 * HOUR + 2700_000))

Value = int | None
Row = tuple[Value, ...]
Place = tuple[int, int, int]
Test = Callable[[Row], bool]
Op = tuple[object, ...]


def place(row: Row) -> Place:
    contact, at, event = row[:3]
    assert contact is not None
    assert at is not None
    assert event is not None
    return contact, at, event


def local(at: int, zone: tuple[Sequence[int], Sequence[int]] = ZONE) -> int:
    """Milliseconds since the local midnight that began 1970-01-01."""
    return at + next((offset for start, offset in reversed(list(zip(*zone, strict=True))) if start <= at), zone[1][0])


def month_of_year(at: int) -> int:
    """The month, 1 to 12, of milliseconds since the local midnight that began 1970-01-01."""
    return (datetime(1970, 1, 1) + timedelta(milliseconds=at)).month


def columns_of(rows: Sequence[Row], n: int = COUNTS + 1) -> list[tuple[np.ndarray, np.ndarray]]:
    held = list(zip(*rows, strict=True)) if rows else [()] * n
    return [
        (np.array([v or 0 for v in values], np.int64), np.array([v is not None for v in values], np.uint8))
        for values in held
    ]


def layer_of(rows: Iterable[Row], places: Iterable[Place] = (), columns: int = COUNTS + 1) -> EventLayer:
    stale = sorted(places)
    contacts, times, events = ([p[i] for p in stale] for i in range(3))
    return EventLayer(
        encode_layer(
            columns_of(sorted(rows, key=lambda row: row[:4]), columns),
            np.array(contacts, np.uint32),
            np.array(times, np.int64),
            np.array(events, np.uint32),
        )
    )


def blocks_of(rows: Sequence[Row], most: int = BLOCK_ROWS, columns: int = COUNTS + 1) -> list[EventBlock]:
    """The rows of one range, in blocks of a month and `most` rows each."""
    found = []
    for _, group in groupby(
        sorted(rows, key=lambda row: (place(row)[TIME] // MONTH, row[:4])), lambda row: place(row)[TIME] // MONTH
    ):
        some = [(place(row)[CONTACT] % BLOCK_ROWS, *row[1:]) for row in group]
        cuts = range(0, len(some), most)
        found += [EventBlock(encode_block(columns_of(some[cut : cut + most], columns))) for cut in cuts]
    return found


# --- questions, and what plain Python answers ----------------------------------------------------------------------


@dataclass(frozen=True)
class Query:
    filter: tuple[Sequence[Op], Test] | None = None
    start: int = 0
    end: int = 2**63
    measure: int = -1
    candidates: frozenset[int] | None = None
    how: str = "sum"
    low: int | None = None
    high: int | None = None


@dataclass
class Case:
    base: dict[int, list[Row]]  # by number of the range
    layers: list[tuple[list[Row], set[Place]]]
    folded: tuple[int, int]  # layers, and below which range the blocks hold what they say
    most: int = BLOCK_ROWS
    spread: Callable[..., list[EventMonth]] = month

    def __post_init__(self) -> None:
        self.blocks = {number: blocks_of(rows, self.most) for number, rows in self.base.items()}
        self.opened = [layer_of(rows, places) for rows, places in self.layers]

    def rows(self) -> list[Row]:
        """What counts."""
        held: list[Row] = []
        for number, base in self.base.items():
            rows = list(base)
            for added, stale in self.layers[self.folded[0] if number < self.folded[1] else 0 :]:
                rows = [row for row in rows if place(row) not in stale]
                rows += [row for row in added if place(row)[CONTACT] // BLOCK_ROWS == number]
            held += rows
        return held

    def answer(self, query: Query, layers: Sequence[EventLayer], folded: tuple[int, int]) -> dict[int, int]:
        rows = None if query.filter is None else EventFilter(query.filter[0])
        chosen = None if query.candidates is None else np.array(sorted(query.candidates), np.uint32)
        ordinals, numbers = both(
            self.spread(*self.blocks.items()),
            rows,
            query.start,
            query.end,
            query.measure,
            chosen,
            query.low,
            query.high,
            how=query.how,
            layers=layers,
            folded=folded,
            zone=tuple(np.array(each, np.int64) for each in ZONE) if query.how == "distinct_days" else None,
        )
        return dict(zip(ordinals.tolist(), numbers.tolist(), strict=True))

    def listed(self, query: Query) -> list[Row]:
        """The rows that `select` finds, whole."""
        rows = None if query.filter is None else EventFilter(query.filter[0])
        chosen = None if query.candidates is None else np.array(sorted(query.candidates), np.uint32)
        columns = range(TIME, COUNTS + 1)
        window = (query.start, query.end)
        ordinals, found = select(
            self.spread(*self.blocks.items()),
            rows,
            *window,
            columns,
            chosen,
            layers=self.opened,
            folded=self.folded,
        )
        values = [[None if v == MISSING else v for v in column.tolist()] for column in found]
        return list(zip(ordinals.tolist(), *values, strict=True))

    def check(self, query: Query) -> int:
        """Compare with plain Python; how many contacts were found."""
        passing: list[Row] = []
        values: dict[int, list[int]] = {}
        for row in self.rows():
            contact, at, _ = place(row)
            outside = query.candidates is not None and contact not in query.candidates
            if outside or not query.start <= at < query.end or (query.filter and not query.filter[1](row)):
                continue
            passing.append(row)
            value = row[query.measure] if query.measure >= 0 else 1
            if query.how == "distinct_days":
                value = local(at) // (24 * HOUR)
            if value is not None:
                values.setdefault(contact, []).append(value)
        assert Counter(self.listed(query)) == Counter(passing), query
        numbers = {contact: HOW[query.how](some) for contact, some in values.items()}
        assert self.answer(query, self.opened, self.folded) == numbers, query
        if numbers:
            low = sorted(numbers.values())[len(numbers) // 2]
            above = {contact: n for contact, n in numbers.items() if n >= low}
            assert self.answer(replace(query, low=low), self.opened, self.folded) == above, query
        return len(numbers)
