"""Stored columns against a plain dictionary, on a real environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segidx.kernels.columns import CHUNK_ROWS, VALUE_LIMIT
from segidx.kernels.deltas import ColumnChanges, build_delta
from segidx.model.errors import CorruptData
from segidx.store import columns
from segidx.store.columns import changed_chunk, column_bounds, open_column, scan_column, stored_chunks
from segidx.store.layout import block_key

EDGES = (0, 1, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, 3 * CHUNK_ROWS - 1, 3 * CHUNK_ROWS)
SIZE = 3 * CHUNK_ROWS + 1


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[lmdb.Environment, Any]]:
    with lmdb.open(str(tmp_path), map_size=1 << 26, max_dbs=1) as env:
        yield env, env.open_db(b"columns")


def change(txn: Any, db: Any, values: dict[int, int | None], field: int = 3) -> None:
    """Set the values (None takes one away) chunk by chunk, as a merge does."""
    for chunk in sorted({ordinal // CHUNK_ROWS for ordinal in values}):
        mine = sorted(o for o in values if o // CHUNK_ROWS == chunk)
        value = changed_chunk(
            txn,
            db,
            field,
            chunk,
            np.array(mine, np.int64) - chunk * CHUNK_ROWS,
            np.array([values[o] or 0 for o in mine], np.int64),
            np.array([values[o] is not None for o in mine], np.bool_),
        )
        if value is None:
            txn.delete(block_key(field, chunk), db=db)
        else:
            txn.put(block_key(field, chunk), value, db=db)


def taken(txn: Any, db: Any, ordinals: list[int], field: int = 3, size: int = SIZE) -> dict[int, int]:
    values, present = open_column(txn, db, field, size).take(np.array(ordinals, np.uint32))
    found = zip(ordinals, np.asarray(values).tolist(), np.asarray(present).tolist(), strict=True)
    return {o: v for o, v, p in found if p}


def scanned(txn: Any, db: Any, field: int = 3) -> dict[int, int]:
    found: dict[int, int] = {}
    for first, values, present in scan_column(txn, db, field):
        found |= {first + i: int(values[i]) for i in np.flatnonzero(present).tolist()}
    return found


def test_chunk_edges_go_to_their_chunks(opened: Any) -> None:
    env, db = opened
    wanted = {ordinal: 100 + i for i, ordinal in enumerate(EDGES)}
    with env.begin(write=True, buffers=True) as txn:
        change(txn, db, dict(wanted))
    with env.begin(buffers=True) as txn:
        assert [bytes(k) for k, _ in txn.cursor(db)] == [block_key(3, chunk) for chunk in (0, 1, 2, 3)]
        assert taken(txn, db, [*EDGES, 5, CHUNK_ROWS + 5]) == wanted
        assert scanned(txn, db) == wanted
        assert open_column(txn, db, 3, SIZE).bounds() == (100, 106, len(EDGES))
        column = open_column(txn, db, 3, CHUNK_ROWS)
        assert column.bounds() == (100, 102, 3), "chunks beyond the size are not read"
        assert scanned(txn, db, field=4) == {}
        assert open_column(txn, db, 4, SIZE).bounds() == (None, None, 0)
        assert stored_chunks(txn, db, 3) == [0, 1, 2, 3]
        assert stored_chunks(txn, db, 2) == stored_chunks(txn, db, 4) == []


def test_zero_is_a_value(opened: Any) -> None:
    env, db = opened
    with env.begin(write=True, buffers=True) as txn:
        change(txn, db, {0: 0, 5: -7})
        change(txn, db, {0: 1, 4: 0, 5: None})
        assert scanned(txn, db) == {0: 1, 4: 0}, "zero is a value, and not the same as none"


def test_a_chunk_without_values_is_deleted(opened: Any) -> None:
    env, db = opened
    with env.begin(write=True, buffers=True) as txn:
        change(txn, db, {0: 1, CHUNK_ROWS: 2})
        change(txn, db, {0: None})
        assert [bytes(k) for k, _ in txn.cursor(db)] == [block_key(3, 1)]
        assert open_column(txn, db, 3, SIZE).zone(0) in (None, (0, 0, 0))
        change(txn, db, {1: None, CHUNK_ROWS: None})
        assert txn.stat(db)["entries"] == 0
        assert open_column(txn, db, 3, SIZE).bounds() == (None, None, 0)


_value = st.none() | st.integers(-3, 3) | st.sampled_from([255, 256, 65_536, 2**33, VALUE_LIMIT - 1, 1 - VALUE_LIMIT])
_batch = st.dictionaries(st.sampled_from(EDGES) | st.integers(0, SIZE - 1), _value, min_size=1, max_size=12)


@settings(deadline=None, max_examples=50, suppress_health_check=list(HealthCheck))
@given(batches=st.lists(_batch, max_size=5))
def test_changes_agree_with_a_dictionary(opened: Any, batches: list[dict[int, int | None]]) -> None:
    env, db = opened
    held: dict[int, int | None] = {}
    with env.begin(write=True, buffers=True) as txn:
        for batch in batches:
            change(txn, db, batch)
            change(txn, db, batch)  # a merge that was cut short does it again
            held |= batch
        present = {ordinal: value for ordinal, value in held.items() if value is not None}
        assert scanned(txn, db) == present
        assert taken(txn, db, sorted({*held, *EDGES})) == present
        low, high = (min(present.values()), max(present.values())) if present else (None, None)
        assert open_column(txn, db, 3, SIZE).bounds() == (low, high, len(present))
        txn.abort()


@settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))
@given(below=_batch, layers=st.lists(_batch, min_size=1, max_size=4))
def test_bounds_under_deltas_are_exact(opened: Any, below: dict[int, int | None], layers: list[Any]) -> None:
    check_bounds(opened, below, layers)


@settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))
@given(below=_batch, layers=st.lists(_batch, min_size=1, max_size=4))
def test_bounds_are_exact_where_few_rows_are_tried(
    opened: Any, monkeypatch: pytest.MonkeyPatch, below: dict[int, int | None], layers: list[Any]
) -> None:
    monkeypatch.setattr(columns, "_TRIED", 1)
    check_bounds(opened, below, layers)


def check_bounds(opened: Any, below: dict[int, int | None], layers: list[Any]) -> None:
    env, db = opened
    with env.begin(write=True, buffers=True) as txn:
        change(txn, db, below)
        held = dict(below)
        changes = []
        for layer in layers:
            ordinals = sorted(layer)
            values = np.array([layer[o] or 0 for o in ordinals], np.int64)
            present = np.array([layer[o] is not None for o in ordinals], np.bool_)
            changes.append(ColumnChanges(3, np.array(ordinals, np.uint32), values, present))
            held |= layer
        column = open_column(txn, db, 3, SIZE).overlaid(3, tuple(build_delta((), [c]) for c in changes))
        kept = [value for value in held.values() if value is not None]
        wanted = (min(kept), max(kept)) if kept else (None, None)
        assert column_bounds(txn, db, 3, column, changes) == wanted
        txn.abort()


@pytest.mark.parametrize(
    "damage",
    [
        lambda value: b"",
        lambda value: value[:31],
        lambda value: value[:-1],
        lambda value: bytes([99]) + value[1:],
        lambda value: value[:1] + bytes([3]) + value[2:],
    ],
    ids=["empty", "half a header", "short", "version", "width"],
)
def test_damaged_chunks_are_corrupt_data(opened: Any, damage: Any) -> None:
    env, db = opened
    with env.begin(write=True, buffers=True) as txn:
        change(txn, db, {CHUNK_ROWS + i: i * 1000 for i in range(50)})
        txn.put(block_key(3, 1), damage(bytes(txn.get(block_key(3, 1), db=db))), db=db)
        with pytest.raises(CorruptData, match="field 3"):
            open_column(txn, db, 3, SIZE)
        with pytest.raises(CorruptData, match="field 3, chunk 1"):
            list(scan_column(txn, db, 3))
        with pytest.raises(CorruptData, match="field 3, chunk 1"):
            change(txn, db, {CHUNK_ROWS: 1})
