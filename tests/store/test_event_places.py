"""Where events lie and which revisions are held: the base's columns under deltas, against dicts; and damage."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segidx.database import Database
from segidx.kernels.columns import CHUNK_ROWS
from segidx.kernels.deltas import ColumnChanges, Delta, DeltaArrays, build_delta
from segidx.model.errors import CorruptData
from segidx.model.events import VISIT, Event
from segidx.store.columns import changed_chunk
from segidx.store.event_places import EventPlaces, layered_places, stored_places
from segidx.store.layout import (
    DB_COLUMNS,
    PLACE_CONTACT,
    PLACE_REVISION,
    PLACE_TIME,
    block_key,
    event_place,
)
from segidx.store.overlay import settle

END = 2 * CHUNK_ROWS + 50  # of the base
FIELDS = [event_place(VISIT, place) for place in (PLACE_CONTACT, PLACE_TIME, PLACE_REVISION)]
Held = dict[int, tuple[int | None, int | None, int | None]]  # contact, time, value of the revision


class Pages(dict[bytes, bytes]):
    """A database in memory."""

    def get(self, key: bytes, default: None = None, *, db: Any) -> Any:  # type: ignore[override]
        return super().get(key, default)


def some(rng: random.Random, numbers: list[int]) -> Held:
    found: Held = {}
    for number in numbers:
        revision = rng.choice((0, 0, 1, 2**61 - 1))
        if rng.random() < 0.3:
            found[number] = (None, None, revision << 1 | 1)
        else:
            found[number] = (rng.randrange(2**32), rng.randrange(2**45), revision << 1 or None)
    return found


def delta_of(held: Held) -> Delta:
    numbers = sorted(held)
    columns = []
    for at, field in enumerate(FIELDS):
        values = [held[number][at] for number in numbers]
        columns.append(
            ColumnChanges(
                field,
                np.array(numbers, np.uint32),
                np.array([value or 0 for value in values], np.int64),
                np.array([value is not None for value in values], np.bool_),
            )
        )
    return build_delta((), columns if numbers else ())


def pages_of(held: Held) -> Pages:
    pages = Pages()
    for column in DeltaArrays(delta_of(held)).columns():
        for chunk in np.unique(column.ordinals // CHUNK_ROWS).tolist():
            here = column.ordinals // CHUNK_ROWS == chunk
            rows = column.ordinals[here].astype(np.int64) - chunk * CHUNK_ROWS
            value = changed_chunk(pages, None, column.field, chunk, rows, column.values[here], column.present[here])
            if value is not None:
                pages[block_key(column.field, chunk)] = value
    return pages


def plain(places: EventPlaces) -> list[tuple[bool, int | None, int | None, int, bool]]:
    rows = zip(*(column.tolist() for column in places), strict=True)
    return [(there, c if there else None, t if there else None, r, gone) for c, t, there, r, gone in rows]


def due(held: Held, numbers: list[int]) -> list[tuple[bool, int | None, int | None, int, bool]]:
    found = []
    for number in numbers:
        contact, time, value = held.get(number, (None, None, None))
        found.append((contact is not None, contact, time, (value or 0) >> 1, bool((value or 0) & 1)))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_places_under_deltas(seed: int) -> None:
    rng = random.Random(seed)
    edges = [0, CHUNK_ROWS - 1, CHUNK_ROWS, 2 * CHUNK_ROWS, END - 1, END, END + 1, END + 3 * CHUNK_ROWS]
    base = some(rng, [*edges[:5], *rng.sample(range(END), 300)])
    pages, held, deltas = pages_of(base), dict(base), list[Delta]()
    for _ in range(rng.choice((0, 1, 9))):
        changed = some(rng, rng.sample(edges, 3) + rng.sample(range(END + 200), rng.choice((0, 1, 50))))
        held |= changed
        deltas.append(delta_of(changed))
        settle(deltas)
    deltas.append(build_delta((), ()))
    for _ in range(20):
        numbers = rng.choices([*edges, *held, *range(END, END + 99)], k=rng.choice((0, 1, 40)))
        asked = np.array(numbers, np.int64)
        assert plain(layered_places(pages, None, VISIT, asked, END, deltas)) == due(held, numbers)
        assert plain(stored_places(pages, None, VISIT, asked)) == due(base, numbers)


def test_what_is_beyond_the_end_is_not_looked_for() -> None:
    class Nothing(Pages):
        def get(self, key: bytes, default: None = None, *, db: Any) -> Any:  # type: ignore[override]
            raise AssertionError(key)

    places = layered_places(Nothing(), None, VISIT, np.array([END, END + 1]), END, ())
    assert not places.there.any()


def test_damage_is_not_compared_with(tmp_path: Path) -> None:
    """An event whose place is damaged is neither replaced nor taken for a new one."""
    visit = Event("visit", "v", "c", datetime(2024, 1, 1, tzinfo=UTC))
    with Database.open(tmp_path / "data", create=True) as database:
        account = database.account()
        account.write_events([visit])
        account.merge()
        key = block_key(FIELDS[0], 0)
        with account._store.write() as write:
            damaged = bytearray(write.txn.get(key, db=write.dbs[DB_COLUMNS]))
            damaged[16] ^= 1
            write.txn.put(key, bytes(damaged), db=write.dbs[DB_COLUMNS])
            write.changed_base()
        with pytest.raises(CorruptData):
            account.write_events([visit])
        assert account.generation() == 1
        account.write_events([Event("visit", "new", "c", visit.time)])
        assert account.count("count(visit) = 2").count == 1
