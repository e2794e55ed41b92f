"""Blocks of counts against a plain dictionary, on a real environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segidx.model.errors import CorruptData
from segidx.store.counts import BLOCK_CODES, change_entries, read_block, read_entries, read_entry
from segidx.store.layout import HEADER_BYTES, KIND_COUNTS, block_key, seal

EDGES = (0, 1, BLOCK_CODES - 1, BLOCK_CODES, BLOCK_CODES + 1, 3 * BLOCK_CODES - 1, 3 * BLOCK_CODES)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[lmdb.Environment, Any]]:
    with lmdb.open(str(tmp_path), map_size=1 << 26, max_dbs=1) as env:
        yield env, env.open_db(b"counts")


def change(txn: Any, db: Any, deltas: dict[int, int], flagged: set[int] | None = None, field: int = 7) -> Any:
    codes = np.array(sorted(deltas), np.int64)
    flags = np.array([code in (flagged or ()) for code in codes.tolist()], np.bool_)
    return change_entries(txn, db, field, codes, np.array([deltas[c] for c in codes.tolist()]), with_posting=flags)


def test_absent_counts_are_zero(opened: Any) -> None:
    env, db = opened
    with env.begin(buffers=True) as txn:
        assert read_entry(txn, db, 7, 5) == (0, False)
        assert not read_block(txn, db, 7, 0).any()
        counts, flags = read_entries(txn, db, 7, 0)
        assert len(counts) == len(flags) == 0
        counts, flags = read_entries(txn, db, 7, BLOCK_CODES + 1)
        assert len(counts) == BLOCK_CODES + 1
        assert not counts.any()
        assert not flags.any()


def test_block_edges_keep_apart(opened: Any) -> None:
    env, db = opened
    with env.begin(write=True, buffers=True) as txn:
        counts, flags = change(txn, db, {code: 10 + i for i, code in enumerate(EDGES)}, {BLOCK_CODES})
        assert counts.tolist() == [10 + i for i in range(len(EDGES))]
        assert flags.tolist() == [code == BLOCK_CODES for code in EDGES]
    with env.begin(buffers=True) as txn:
        for i, code in enumerate(EDGES):
            assert read_entry(txn, db, 7, code) == (10 + i, code == BLOCK_CODES)
        for size in (1, BLOCK_CODES - 1, BLOCK_CODES, BLOCK_CODES + 1, 3 * BLOCK_CODES + 1):
            counts, flags = read_entries(txn, db, 7, size)
            assert np.flatnonzero(counts).tolist() == [code for code in EDGES if code < size]
            assert np.flatnonzero(flags).tolist() == [code for code in (BLOCK_CODES,) if code < size]
        assert read_entry(txn, db, 8, 0) == (0, False), "another field has counts of its own"
        assert not read_block(txn, db, 7, 1)[2:].any()
        assert not read_block(txn, db, 7, 4).any()


def test_a_flag_outlives_the_count_and_is_no_part_of_it(opened: Any) -> None:
    env, db = opened
    with env.begin(write=True, buffers=True) as txn:
        change(txn, db, {3: 2}, {3})
        counts, flags = change(txn, db, {3: -2})
        assert (counts.tolist(), flags.tolist()) == ([0], [True])
        assert read_entry(txn, db, 7, 3) == (0, True)
        change(txn, db, {3: 2**31 - 1})
        assert read_entry(txn, db, 7, 3) == (2**31 - 1, True)


def test_a_count_below_zero_is_our_mistake(opened: Any) -> None:
    env, db = opened
    with env.begin(write=True, buffers=True) as txn:
        change(txn, db, {3: 2})
        with pytest.raises(AssertionError, match="below zero"):
            change(txn, db, {3: -3})


_code = st.sampled_from(EDGES) | st.integers(0, 3 * BLOCK_CODES)
_batch = st.dictionaries(_code, st.tuples(st.integers(-5, 9), st.booleans()), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(batches=st.lists(_batch, max_size=6))
def test_changes_agree_with_a_dictionary(opened: Any, batches: list[dict[int, tuple[int, bool]]]) -> None:
    env, db = opened
    held: dict[int, int] = {}
    flagged: set[int] = set()
    with env.begin(write=True, buffers=True) as txn:
        for batch in batches:
            deltas = {code: max(delta, -held.get(code, 0)) for code, (delta, _) in batch.items()}
            flags = {code for code, (_, flag) in batch.items() if flag}
            flagged |= flags
            for code, delta in deltas.items():
                held[code] = held.get(code, 0) + delta
            counts, has = change(txn, db, deltas, flags)
            assert counts.tolist() == [held[code] for code in sorted(deltas)]
            assert has.tolist() == [code in flagged for code in sorted(deltas)]
        counts, has = read_entries(txn, db, 7, 3 * BLOCK_CODES + 1)
        assert {code: int(counts[code]) for code in np.flatnonzero(counts).tolist()} == {
            code: count for code, count in held.items() if count
        }
        assert set(np.flatnonzero(has).tolist()) == flagged
        txn.abort()


@pytest.mark.parametrize(
    "damage",
    [
        lambda value: b"",
        lambda value: value[: HEADER_BYTES - 1],
        lambda value: value[:-4],
        lambda value: value + b"\0\0\0\0",
        lambda value: bytes([99]) + value[1:],
        lambda value: value[:1] + bytes([1]) + value[2:],  # a posting's kind
    ],
    ids=["empty", "half a header", "short", "long", "version", "kind"],
)
def test_damaged_blocks_are_corrupt_data(opened: Any, damage: Any) -> None:
    env, db = opened
    with env.begin(write=True, buffers=True) as txn:
        change(txn, db, {5: 1})
        good = bytes(txn.get(block_key(7, 0), db=db))
        txn.put(block_key(7, 0), damage(good), db=db)
        for read in (
            lambda: read_entry(txn, db, 7, 5),
            lambda: read_block(txn, db, 7, 0),
            lambda: read_entries(txn, db, 7, 6),
            lambda: change(txn, db, {5: 1}),
        ):
            with pytest.raises(CorruptData, match="field 7, block 0"):
                read()


def test_a_sealed_block_of_another_size_is_corrupt_data(opened: Any) -> None:
    env, db = opened
    with env.begin(write=True, buffers=True) as txn:
        txn.put(block_key(7, 0), seal(KIND_COUNTS, 1, b"\1\0\0\0"), db=db)
        with pytest.raises(CorruptData, match="4 bytes instead of 16384"):
            read_entry(txn, db, 7, 0)
