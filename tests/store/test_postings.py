"""Stored postings against pyroaring and plain sets, on a real environment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from segidx.kernels.bitmaps import Posting, Program
from segidx.model.errors import CorruptData
from segidx.store.layout import HEADER_BYTES, KIND_POSTING, SHARD_BITS, posting_key, seal
from segidx.store.postings import bitmap_of, changed_shard, open_posting, read_shard, shard_value, stored_shards

SHARD = 1 << SHARD_BITS
EDGES = (0, 65_535, 65_536, SHARD - 1, SHARD, SHARD + 1, 2 * SHARD - 1, 2 * SHARD)
Pairs = Iterable[tuple[int, int]]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[lmdb.Environment, Any]]:
    with lmdb.open(str(tmp_path), map_size=1 << 26, max_dbs=1) as env:
        yield env, env.open_db(b"postings")


def put(txn: Any, db: Any, key: bytes, value: bytes | None) -> None:
    if value is None:
        txn.delete(key, db=db)
    else:
        txn.put(key, value, db=db)


def change(txn: Any, db: Any, added: Pairs = (), removed: Pairs = (), field: int = 3) -> None:
    """Shard by shard, as a merge does."""
    added, removed = list(added), list(removed)
    for code, shard in sorted({(code, ordinal // SHARD) for code, ordinal in (*added, *removed)}):
        plus, minus = (
            np.array(sorted(o for c, o in pairs if (c, o // SHARD) == (code, shard)), np.uint32)
            for pairs in (added, removed)
        )
        put(txn, db, posting_key(field, code, shard), changed_shard(txn, db, field, code, shard, plus, minus))


def write_shard(txn: Any, db: Any, field: int, code: int, shard: int, bitmap: BitMap) -> None:
    put(txn, db, posting_key(field, code, shard), shard_value(bitmap))


def stored(txn: Any, db: Any, field: int, code: int, shards: int = 3) -> BitMap:
    """The posting as the kernels read it, checked against the copies of its shards."""
    opened = open_posting(txn, db, field, code, shards)
    copies = BitMap.union(*(read_shard(txn, db, field, code, shard) for shard in range(shards)))
    assert opened.cardinality == len(copies)
    universe = copies | BitMap(EDGES)
    program = Program()
    program.finish(program.posting(opened), Posting([universe.serialize()]))
    assert BitMap.deserialize(program.materialise()) == copies
    return copies


def test_shard_edges_go_to_their_shards(opened: Any) -> None:
    env, db = opened
    with env.begin(write=True, buffers=True) as txn:
        change(txn, db, [(5, ordinal) for ordinal in EDGES])
    with env.begin(buffers=True) as txn:
        assert [posting_key(3, 5, shard) for shard in range(3)] == [bytes(k) for k, _ in txn.cursor(db)]
        for shard in range(3):
            assert list(read_shard(txn, db, 3, 5, shard)) == [o for o in EDGES if o // SHARD == shard]
        assert stored(txn, db, 3, 5) == BitMap(EDGES)
        opened_posting = open_posting(txn, db, 3, 5, 3)
        assert [o for o in (*EDGES, 7, SHARD + 2) if o in opened_posting] == list(EDGES)
        assert open_posting(txn, db, 3, 5, 1).cardinality == 4, "shards beyond those asked for are not read"
        assert open_posting(txn, db, 3, 6, 3).cardinality == 0
        assert open_posting(txn, db, 4, 5, 3).cardinality == 0


def test_an_empty_posting_is_deleted(opened: Any) -> None:
    env, db = opened
    with env.begin(write=True, buffers=True) as txn:
        change(txn, db, [(5, SHARD - 1), (5, SHARD), (6, 1)])
        change(txn, db, removed=[(5, SHARD)])
        assert [bytes(k) for k, _ in txn.cursor(db)] == [posting_key(3, 5, 0), posting_key(3, 6, 0)]
        change(txn, db, added=[(6, 2)], removed=[(5, SHARD - 1), (6, 1)])
        assert [bytes(k) for k, _ in txn.cursor(db)] == [posting_key(3, 6, 0)]
        write_shard(txn, db, 3, 6, 0, BitMap())
        write_shard(txn, db, 3, 6, 1, BitMap())  # one that was never there
        assert txn.stat(db)["entries"] == 0
        assert read_shard(txn, db, 3, 6, 0) == BitMap()


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 65_535, 65_536, 65_537])
@pytest.mark.parametrize("step", [1, 3])
def test_every_representation_comes_back(opened: Any, size: int, step: int) -> None:
    env, db = opened
    bitmap = BitMap(range(SHARD, SHARD + size * step, step))
    with env.begin(write=True, buffers=True) as txn:
        write_shard(txn, db, 3, 0, 1, bitmap)
        assert read_shard(txn, db, 3, 0, 1) == bitmap
        assert stored(txn, db, 3, 0) == bitmap


_pair = st.tuples(st.sampled_from([0, 1, 2**32 - 1]), st.sampled_from(EDGES) | st.integers(0, 2 * SHARD + 9))


@settings(deadline=None, max_examples=50, suppress_health_check=list(HealthCheck))
@given(batches=st.lists(st.tuples(st.sets(_pair, max_size=20), st.sets(_pair, max_size=20)), max_size=5))
def test_changes_agree_with_sets(opened: Any, batches: list[tuple[set[Any], set[Any]]]) -> None:
    env, db = opened
    held: set[tuple[int, int]] = set()
    with env.begin(write=True, buffers=True) as txn:
        for added, others in batches:
            removed = (held & others) - added | set(sorted(held - added)[:3])
            held = (held | added) - removed
            change(txn, db, added, removed)
        for code in (0, 1, 2**32 - 1):
            assert stored(txn, db, 3, code) == BitMap(o for c, o in held if c == code)
        assert txn.stat(db)["entries"] == len({(code, o // SHARD) for code, o in held})
        txn.abort()


def test_applying_a_change_again_changes_nothing(opened: Any) -> None:
    """A merge that was cut short is done again from the start."""
    env, db = opened
    with env.begin(write=True, buffers=True) as txn:
        change(txn, db, [(5, o) for o in range(0, 9000, 2)])
        change(txn, db, [(5, 1), (5, SHARD)], [(5, 0), (5, 2)])
        once = {bytes(k): bytes(v) for k, v in txn.cursor(db)}
        change(txn, db, [(5, 1), (5, SHARD)], [(5, 0), (5, 2)])
        assert {bytes(k): bytes(v) for k, v in txn.cursor(db)} == once


def test_the_shards_that_are_stored(opened: Any) -> None:
    env, db = opened
    with env.begin(write=True, buffers=True) as txn:
        assert stored_shards(txn, db, 3, 5) == []
        change(txn, db, [(5, 0), (5, 2 * SHARD), (6, SHARD), (4, 7)])
        change(txn, db, [(5, 3 * SHARD)], field=4)
        change(txn, db, [(2**32 - 1, 5 * SHARD)])
        assert stored_shards(txn, db, 3, 5) == [0, 2]
        assert stored_shards(txn, db, 3, 6) == [1]
        assert stored_shards(txn, db, 3, 2**32 - 1) == [5]
        assert stored_shards(txn, db, 4, 5) == [3]
        assert stored_shards(txn, db, 3, 7) == []
        assert stored_shards(txn, db, 4, 6) == []


def test_a_bitmap_of_any_order() -> None:
    ordinals = np.array([2**32 - 1, 0, 70_000, 5], np.uint32)
    assert bitmap_of(ordinals) == BitMap([0, 5, 70_000, 2**32 - 1])
    assert bitmap_of(ordinals[::2]) == BitMap([70_000, 2**32 - 1]), "a strided view is read as it looks"
    assert bitmap_of(ordinals[:0]) == BitMap()


@pytest.mark.parametrize(
    "damage",
    [
        lambda value: b"",
        lambda value: value[: HEADER_BYTES - 1],
        lambda value: value[:HEADER_BYTES],
        lambda value: value[:-1],
        lambda value: value[:HEADER_BYTES] + b"\xff" * (len(value) - HEADER_BYTES),
    ],
    ids=["empty", "half a header", "no payload", "short", "noise"],
)
def test_damage_that_opening_must_see(opened: Any, damage: Any) -> None:
    env, db = opened
    with env.begin(write=True, buffers=True) as txn:
        write_shard(txn, db, 3, 5, 0, BitMap(range(0, 9000, 2)))
        txn.put(posting_key(3, 5, 0), damage(bytes(txn.get(posting_key(3, 5, 0), db=db))), db=db)
        with pytest.raises(CorruptData, match="field 3, code 5"):
            open_posting(txn, db, 3, 5, 1)
        with pytest.raises(CorruptData, match="field 3, code 5, shard 0"):
            read_shard(txn, db, 3, 5, 0)


def test_the_writer_never_builds_on_damage(opened: Any) -> None:
    """One flipped bit, which opening may miss, is seen by the checksum before a change is written over it."""
    env, db = opened
    with env.begin(write=True, buffers=True) as txn:
        write_shard(txn, db, 3, 5, 0, BitMap(range(0, 9000, 2)))
        value = bytearray(txn.get(posting_key(3, 5, 0), db=db))
        value[-1] ^= 1
        txn.put(posting_key(3, 5, 0), bytes(value), db=db)
        with pytest.raises(CorruptData, match="checksum"):
            read_shard(txn, db, 3, 5, 0)
        with pytest.raises(CorruptData, match="checksum"):
            change(txn, db, added=[(5, 1)])
        assert bytes(txn.get(posting_key(3, 5, 0), db=db)) == bytes(value)


def test_a_cardinality_that_lies_is_corrupt_data(opened: Any) -> None:
    env, db = opened
    with env.begin(write=True, buffers=True) as txn:
        txn.put(posting_key(3, 5, 0), seal(KIND_POSTING, 2, BitMap([1]).serialize()), db=db)
        with pytest.raises(CorruptData, match="holds 1 contacts where its header says 2"):
            read_shard(txn, db, 3, 5, 0)
