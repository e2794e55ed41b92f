"""Bitmaps of bands: what is made of a column at once, and what follows its changes chunk by chunk, are the same."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import lmdb
import numpy as np
import pytest
from pyroaring import BitMap

from segidx.kernels.columns import CHUNK_ROWS
from segidx.model.errors import CorruptData
from segidx.store.bands import (
    CHUNKS,
    MAX_PIECES,
    KeptBands,
    band_key,
    changed_value,
    in_units,
    leftovers,
    moves,
    new_value,
    open_bands,
    stored_places,
)
from segidx.store.layout import HEADER_BYTES, Handle

ROWS = CHUNKS * CHUNK_ROWS
THRESHOLDS = np.array([-5, 0, 7, 100], np.int64)


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[tuple[lmdb.Transaction, Handle]]:
    with lmdb.open(str(tmp_path), max_dbs=1) as env:
        db = env.open_db(b"postings")
        with env.begin(write=True) as txn:
            yield txn, db


def piece(value: int) -> int:
    return sum(value >= threshold for threshold in THRESHOLDS.tolist())


def wanted(values: np.ndarray, present: np.ndarray, place: int) -> list[set[int]]:
    found: list[set[int]] = [set() for _ in range(len(THRESHOLDS) + 1)]
    for row in np.flatnonzero(present).tolist():
        found[piece(int(values[row]))].add(place * ROWS + row)
    return found


def contents(txn: lmdb.Transaction, db: Handle, number: int, size: int) -> list[set[int]]:
    """What postings hold, by piece."""
    opened = open_bands(txn, db, number, len(THRESHOLDS) + 1, size)
    everyone = np.arange(size, dtype=np.uint32)
    return [set(np.flatnonzero(each.contains_many(everyone)).tolist()) for each in opened]


@pytest.mark.parametrize("held", [0, 1, 4095, 4096, 4097, 65535, 65536])
def test_of_so_many_contacts(stored: tuple[lmdb.Transaction, Handle], held: int) -> None:
    txn, db = stored
    rng = np.random.default_rng(held)
    present = np.zeros(ROWS, np.uint8)
    present[rng.choice(ROWS, held, replace=False)] = 1
    values = rng.choice(np.array([-6, -5, -1, 0, 6, 7, 99, 100, 2**61]), ROWS) * present
    value = new_value(THRESHOLDS, values, present)
    assert (value is None) == (held == 0)
    if value is not None:
        txn.put(band_key(3, 1), value, db=db)
    assert contents(txn, db, 3, 2 * ROWS) == wanted(values, present, 1)


def test_it_follows_a_column(stored: tuple[lmdb.Transaction, Handle]) -> None:
    """Chunks of two stored values change again and again, from nothing to all and back."""
    txn, db = stored
    rng = np.random.default_rng(8)
    values, present = np.zeros(2 * ROWS, np.int64), np.zeros(2 * ROWS, np.uint8)
    for share in (0.0001, 0.2, 1, 0.001, 0.5, 0.0, 1):
        parts: dict[int, list] = {0: [], 1: []}
        for chunk in rng.permutation(2 * CHUNKS)[: rng.integers(1, 2 * CHUNKS + 1)].tolist():
            here = slice(chunk * CHUNK_ROWS, (chunk + 1) * CHUNK_ROWS)
            before = values[here].copy(), present[here].copy()
            rows = here.start + np.flatnonzero(rng.random(CHUNK_ROWS) < share)
            present[rows] = rng.random(len(rows)) < (0.5 if share != 1 else rng.integers(0, 2))
            values[rows] = rng.integers(-20, 120, len(rows)) * present[rows]
            moved = moves(THRESHOLDS, chunk, before, (values[here], present[here]))
            if moved is not None:
                assert len(moved.gone) + len(moved.come)
                parts[chunk // CHUNKS].append(moved)
        for place, its in parts.items():
            if its:
                value = changed_value(txn, db, 7, place, its)
                if value is None:
                    txn.delete(band_key(7, place), db=db)
                else:
                    txn.put(band_key(7, place), value, db=db)
        for place in (0, 1):
            here = slice(place * ROWS, (place + 1) * ROWS)
            anew = new_value(THRESHOLDS, values[here], present[here])
            followed = txn.get(band_key(7, place), db=db)
            as_set = [None if each is None else BitMap.deserialize(each[HEADER_BYTES:]) for each in (anew, followed)]
            assert as_set[0] == as_set[1]
        assert contents(txn, db, 7, 2 * ROWS) == [
            one | other
            for one, other in zip(
                wanted(values[:ROWS], present[:ROWS], 0), wanted(values[ROWS:], present[ROWS:], 1), strict=True
            )
        ]


def test_a_change_within_a_band_moves_nobody() -> None:
    present = np.ones(CHUNK_ROWS, np.uint8)
    before, after = np.full(CHUNK_ROWS, 7, np.int64), np.full(CHUNK_ROWS, 99, np.int64)
    assert moves(THRESHOLDS, 0, (before, present), (after, present)) is None
    assert moves(THRESHOLDS, 0, (before, present), (before, present)) is None
    after[3] = 100
    moved = moves(THRESHOLDS, 5, (before, present), (after, present))
    assert moved is not None
    assert (moved.gone.tolist(), moved.come.tolist()) == ([3 << 16 | 16384 + 3], [4 << 16 | 16384 + 3])


def test_most_pieces_fit_in_a_value() -> None:
    thresholds = np.arange(1, MAX_PIECES, dtype=np.int64)
    assert KeptBands(tuple(map(Decimal, thresholds.tolist())), None).pieces == MAX_PIECES
    for spread in (np.arange(ROWS) % MAX_PIECES, np.arange(ROWS) % 15):
        value = new_value(thresholds, spread.astype(np.int64), np.ones(ROWS, np.uint8))
        assert value is not None
        assert len(value) <= 256 << 10


def test_units_are_exact() -> None:
    given = [Decimal("-3"), Decimal("0.5"), Decimal("46116860184273879.03"), Decimal(10**17)]
    assert in_units(given[:3], 2).tolist() == [-300, 50, 4611686018427387903]
    assert all(low < high for low, high in pairwise(in_units(given, 1).tolist()))


def test_what_is_stored_is_found(stored: tuple[lmdb.Transaction, Handle]) -> None:
    txn, db = stored
    value = new_value(THRESHOLDS, np.zeros(ROWS, np.int64), np.ones(ROWS, np.uint8))
    assert value is not None
    keys = [band_key(number, place) for number, place in ((0, 0), (0, 65535), (4, 2), (4095, 1))]
    for key in keys:
        txn.put(key, value, db=db)
    txn.put(b"\x00" * 8, b"another posting", db=db)
    txn.put(b"\xff" * 8, b"another posting", db=db)
    assert [stored_places(txn, db, number) for number in (0, 1, 4, 4095)] == [[0, 65535], [], [2], [1]]
    assert leftovers(txn, db, {0}, 10) == keys[2:]
    assert leftovers(txn, db, set(), 3) == keys[:3]
    assert leftovers(txn, db, set(), 0) == []
    assert leftovers(txn, db, {0, 4, 4095}, 10) == []


def test_damage_is_named(stored: tuple[lmdb.Transaction, Handle]) -> None:
    txn, db = stored
    value = new_value(THRESHOLDS, np.full(ROWS, 200, np.int64), np.ones(ROWS, np.uint8))
    assert value is not None
    txn.put(band_key(2, 0), value, db=db)
    with pytest.raises(CorruptData, match="bands of derived number 2: posting part 0: a container of no set"):
        open_bands(txn, db, 2, 4, ROWS)
    txn.put(band_key(2, 0), value[:-1], db=db)
    with pytest.raises(CorruptData, match="bands of derived number 2"):
        open_bands(txn, db, 2, 5, ROWS)
    moved = moves(THRESHOLDS, 0, (np.zeros(CHUNK_ROWS, np.int64),) * 2, (np.ones(CHUNK_ROWS, np.int64),) * 2)
    assert moved is not None
    with pytest.raises(CorruptData):
        changed_value(txn, db, 2, 0, [moved])
