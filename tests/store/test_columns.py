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
from segidx.model.errors import CorruptData
from segidx.store.columns import change_column, open_column, scan_column
from segidx.store.layout import block_key

EDGES = (0, 1, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, 3 * CHUNK_ROWS - 1, 3 * CHUNK_ROWS)
SIZE = 3 * CHUNK_ROWS + 1


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[lmdb.Environment, Any]]:
    with lmdb.open(str(tmp_path), map_size=1 << 26, max_dbs=1) as env:
        yield env, env.open_db(b"columns")


def change(txn: Any, db: Any, values: dict[int, int | None], field: int = 3) -> dict[int, int | None]:
    """Set the values; gives those from before, as a dictionary."""
    ordinals = sorted(values)
    given_values = [values[o] for o in ordinals]
    before, had = change_column(
        txn,
        db,
        field,
        np.array(ordinals, np.uint32),
        np.array([v or 0 for v in given_values], np.int64),
        np.array([v is not None for v in given_values], np.bool_),
    )
    return {o: v if h else None for o, v, h in zip(ordinals, before.tolist(), had.tolist(), strict=True)}


def taken(txn: Any, db: Any, ordinals: list[int], field: int = 3, size: int = SIZE) -> dict[int, int]:
    values, present = open_column(txn, db, field, size).take(np.array(ordinals, np.uint32))
    found = zip(ordinals, np.asarray(values).tolist(), np.asarray(present).tolist(), strict=True)
    return {o: v for o, v, p in found if p}


def scanned(txn: Any, db: Any, field: int = 3, size: int = SIZE) -> dict[int, int]:
    found: dict[int, int] = {}
    for first, values, present in scan_column(txn, db, field, size):
        found |= {first + i: int(values[i]) for i in np.flatnonzero(present).tolist()}
    return found


def test_chunk_edges_go_to_their_chunks(opened: Any) -> None:
    env, db = opened
    wanted = {ordinal: 100 + i for i, ordinal in enumerate(EDGES)}
    with env.begin(write=True, buffers=True) as txn:
        assert change(txn, db, dict(wanted)) == dict.fromkeys(EDGES)
    with env.begin(buffers=True) as txn:
        assert [bytes(k) for k, _ in txn.cursor(db)] == [block_key(3, chunk) for chunk in (0, 1, 2, 3)]
        assert taken(txn, db, [*EDGES, 5, CHUNK_ROWS + 5]) == wanted
        assert scanned(txn, db) == wanted
        assert open_column(txn, db, 3, SIZE).bounds() == (100, 106, len(EDGES))
        column = open_column(txn, db, 3, CHUNK_ROWS)
        assert column.bounds() == (100, 102, 3), "chunks beyond the size are not read"
        assert scanned(txn, db, size=CHUNK_ROWS) == {o: v for o, v in wanted.items() if o < CHUNK_ROWS}
        assert scanned(txn, db, field=4) == {}
        assert open_column(txn, db, 4, SIZE).bounds() == (None, None, 0)
        assert scanned(txn, db, size=0) == {}


def test_what_was_there_before_is_told(opened: Any) -> None:
    env, db = opened
    with env.begin(write=True, buffers=True) as txn:
        change(txn, db, {0: 0, 5: -7})
        assert change(txn, db, {0: 1, 4: 4, 5: None}) == {0: 0, 4: None, 5: -7}
        assert scanned(txn, db) == {0: 1, 4: 4}, "zero is a value, and not the same as none"


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
            assert change(txn, db, batch) == {ordinal: held.get(ordinal) for ordinal in batch}
            held |= batch
        present = {ordinal: value for ordinal, value in held.items() if value is not None}
        assert scanned(txn, db) == present
        assert taken(txn, db, sorted({*held, *EDGES})) == present
        low, high = (min(present.values()), max(present.values())) if present else (None, None)
        assert open_column(txn, db, 3, SIZE).bounds() == (low, high, len(present))
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
            list(scan_column(txn, db, 3, SIZE))
        with pytest.raises(CorruptData, match="field 3, chunk 1"):
            change(txn, db, {CHUNK_ROWS: 1})
