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
from segidx.store.counts import BLOCK_CODES, changed_block, read_block, read_entries, read_entry, read_many
from segidx.store.layout import HEADER_BYTES, KIND_COUNTS, block_key, seal

EDGES = (0, 1, BLOCK_CODES - 1, BLOCK_CODES, BLOCK_CODES + 1, 3 * BLOCK_CODES - 1, 3 * BLOCK_CODES)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[lmdb.Environment, Any]]:
    with lmdb.open(str(tmp_path), map_size=1 << 26, max_dbs=1) as env:
        yield env, env.open_db(b"counts")


def change(txn: Any, db: Any, held: dict[int, int], kept: set[int] | None = None, field: int = 7) -> None:
    """Set counts, and flags of the codes in `kept`, block by block, as a merge does."""
    for block in sorted({code // BLOCK_CODES for code in held}):
        codes = sorted(code for code in held if code // BLOCK_CODES == block)
        value = changed_block(
            txn,
            db,
            field,
            block,
            np.array(codes, np.int64),
            np.array([held[code] for code in codes], np.int64),
            np.array([code in (kept or ()) for code in codes], np.bool_),
        )
        txn.put(block_key(field, block), value, db=db)


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
        change(txn, db, {code: 10 + i for i, code in enumerate(EDGES)}, {BLOCK_CODES})
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
        change(txn, db, {3: 0})
        assert read_entry(txn, db, 7, 3) == (0, True)
        change(txn, db, {3: 2**31 - 1})
        assert read_entry(txn, db, 7, 3) == (2**31 - 1, True)


_code = st.sampled_from(EDGES) | st.integers(0, 3 * BLOCK_CODES)
_count = st.sampled_from([0, 1, 2**31 - 1]) | st.integers(0, 99)
_batch = st.dictionaries(_code, st.tuples(_count, st.booleans()), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(batches=st.lists(_batch, max_size=6), asked=st.sets(_code, min_size=1, max_size=12))
def test_changes_agree_with_a_dictionary(opened: Any, batches: list[Any], asked: set[int]) -> None:
    env, db = opened
    held: dict[int, int] = {}
    flagged: set[int] = set()
    with env.begin(write=True, buffers=True) as txn:
        for batch in batches:
            kept = {code for code, (_, flag) in batch.items() if flag}
            for _ in range(2):  # a merge that was cut short does it again
                change(txn, db, {code: count for code, (count, _) in batch.items()}, kept)
            held |= {code: count for code, (count, _) in batch.items()}
            flagged |= kept
        counts, has = read_entries(txn, db, 7, 3 * BLOCK_CODES + 1)
        assert {code: int(counts[code]) for code in np.flatnonzero(counts).tolist()} == {
            code: count for code, count in held.items() if count
        }
        assert set(np.flatnonzero(has).tolist()) == flagged
        codes = np.array(sorted(asked), np.int64)
        some, its = read_many(txn, db, 7, codes)
        assert some.tolist() == [held.get(code, 0) for code in codes.tolist()]
        assert its.tolist() == [code in flagged for code in codes.tolist()]
        for code in asked:
            assert read_entry(txn, db, 7, code) == (held.get(code, 0), code in flagged)
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
            lambda: read_many(txn, db, 7, np.array([5])),
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
