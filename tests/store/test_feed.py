"""The change feed: parts of generations, in order, kept for a while, and refused when damaged."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

from segidx.model.errors import CorruptData
from segidx.model.writes import ChangeKind
from segidx.store import feed
from segidx.store.feed import KIND_BITS, KINDS, append_changes, oldest_change, read_changes, trim_changes
from segidx.store.layout import part_key

HOUR = 3_600_000


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[lmdb.Environment, Any]]:
    monkeypatch.setattr(feed, "_PART_CONTACTS", 4)
    with lmdb.open(str(tmp_path), map_size=1 << 26, max_dbs=1) as env:
        yield env, env.open_db(b"changes")


def append(txn: Any, db: Any, generation: int, contacts: dict[int, int], time: int = 0) -> None:
    ordinals = sorted(contacts)
    kinds = np.array([contacts[o] for o in ordinals], np.uint8)
    append_changes(txn, db, generation, time, np.array(ordinals, np.uint32), kinds)


def read(txn: Any, db: Any, after: int) -> dict[int, dict[int, int]]:
    """What each generation changed, after checking how it is cut into parts."""
    found: dict[int, dict[int, int]] = {}
    whole = True
    for part in read_changes(txn, db, after):
        assert whole == (part.generation not in found)
        assert 0 < len(part.ordinals) <= 4 or (part.last and part.generation not in found)
        rows = zip(part.ordinals.tolist(), part.kinds.tolist(), strict=True)
        found.setdefault(part.generation, {}).update(rows)
        whole = part.last
    assert whole
    return found


def test_kinds_are_sums_of_bits() -> None:
    assert len(KINDS) == 32
    assert KINDS[0] == frozenset()
    for kind, bit in KIND_BITS.items():
        assert KINDS[bit] == {kind}
    assert KINDS[31] == set(ChangeKind)
    # They are stored, so their order is for good.
    kinds = (ChangeKind.CREATED, ChangeKind.FIELDS, ChangeKind.TAGS, ChangeKind.CHANNELS, ChangeKind.EVENTS)
    assert [KIND_BITS[k] for k in kinds] == [1, 2, 4, 8, 16]


@pytest.mark.parametrize("buffers", [False, True])
def test_generations_come_back_in_order(opened: Any, buffers: bool) -> None:
    env, db = opened
    rng = random.Random(1)
    sizes = (0, 1, 3, 4, 5, 8, 9, 40)
    wanted = {
        generation: {o: rng.randrange(1, 16) for o in rng.sample([*range(90), 2**32 - 1], size)}
        for generation, size in enumerate(sizes, 3)
    }
    with env.begin(write=True) as txn:
        for generation, contacts in wanted.items():
            append(txn, db, generation, contacts, -generation)
    with env.begin(buffers=buffers) as txn:
        assert txn.stat(db)["entries"] == sum(max(1, -(-size // 4)) for size in sizes)
        for after in (0, 2, 3, 6, 9, 10, 11):
            assert read(txn, db, after) == {g: c for g, c in wanted.items() if g > after}
        assert {(part.generation, part.time) for part in read_changes(txn, db, 0)} == {(g, -g) for g in wanted}
        assert oldest_change(txn, db) == 3


def test_nothing_is_kept_of_an_empty_feed(opened: Any) -> None:
    env, db = opened
    with env.begin(write=True) as txn:
        assert oldest_change(txn, db) is None
        assert list(read_changes(txn, db, 0)) == []
        trim_changes(txn, db, 10**15, 5)


def test_old_parts_are_trimmed_a_few_at_a_time(opened: Any) -> None:
    env, db = opened
    with env.begin(write=True) as txn:
        for generation in range(1, 6):
            append(txn, db, generation, dict.fromkeys(range(10), 1), generation * HOUR)  # three parts each
        now = 26 * HOUR  # generations 1 and 2 are a day old, or older
        trim_changes(txn, db, 24 * HOUR, 100)
        assert oldest_change(txn, db) == 1
        trim_changes(txn, db, now, 1)
        assert oldest_change(txn, db) == 2, "of the first generation a part is gone, so that it is not whole"
        assert read(txn, db, 1).keys() == {2, 3, 4, 5}
        trim_changes(txn, db, now, 100)
        assert oldest_change(txn, db) == 3
        assert read(txn, db, 2).keys() == {3, 4, 5}
        trim_changes(txn, db, now, 100)
        assert oldest_change(txn, db) == 3
        trim_changes(txn, db, 10**15, 100)
        assert oldest_change(txn, db) is None
        append(txn, db, 6, {1: 1})
        assert oldest_change(txn, db) == 6


def test_a_clock_that_jumped_back_keeps_more_not_less(opened: Any) -> None:
    env, db = opened
    with env.begin(write=True) as txn:
        for generation, time in ((1, 50 * HOUR), (2, 1 * HOUR), (3, 51 * HOUR)):
            append(txn, db, generation, {1: 1}, time)
        trim_changes(txn, db, 60 * HOUR, 100)
        assert oldest_change(txn, db) == 1
        trim_changes(txn, db, 74 * HOUR, 100)
        assert oldest_change(txn, db) == 3


def test_too_many_bytes_are_trimmed_whatever_their_age(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    env, db = opened
    with env.begin(write=True) as txn:
        for generation in range(1, 6):
            append(txn, db, generation, dict.fromkeys(range(5), 1), 100 * HOUR)  # two parts each
        stat = txn.stat(db)
        size = (stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]) * stat["psize"]
        monkeypatch.setattr(feed, "RETAINED_BYTES", size)
        assert trim_changes(txn, db, 100 * HOUR, 100)
        assert txn.stat(db)["entries"] == 10, "they just fit"
        monkeypatch.setattr(feed, "RETAINED_BYTES", size - 3 * (size // 10))
        assert trim_changes(txn, db, 100 * HOUR, 100)
        assert txn.stat(db)["entries"] == 7
        assert oldest_change(txn, db) == 3


def test_every_flipped_bit_is_seen(opened: Any) -> None:
    env, db = opened
    with env.begin(write=True) as txn:
        append(txn, db, 5, {1: 1, 2: 3, 9: 15}, 77)
        good = bytes(txn.get(part_key(5, 0), db=db))
        for at in range(len(good)):
            if at in (1, 2, 3):  # whether it is the last part, and nothing yet
                continue
            bad = bytearray(good)
            bad[at] ^= 1 << at % 8
            txn.put(part_key(5, 0), bytes(bad), db=db)
            with pytest.raises(CorruptData, match="changes of generation 5"):
                list(read_changes(txn, db, 0))
        for size in range(len(good)):
            txn.put(part_key(5, 0), good[:size], db=db)
            with pytest.raises(CorruptData, match="changes of generation 5"):
                list(read_changes(txn, db, 0))
