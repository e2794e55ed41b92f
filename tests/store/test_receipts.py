"""Receipts: answers of batches come back by their key, for a while, and are refused when damaged."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import lmdb
import pytest

from segidx.model.errors import CorruptData
from segidx.model.results import Reject, WriteResult
from segidx.store import receipts
from segidx.store.receipts import RETAINED_MILLIS, read_receipt, trim_receipts, write_receipt

HOUR = 3_600_000


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[lmdb.Environment, Any]]:
    with lmdb.open(str(tmp_path), map_size=1 << 26, max_dbs=1) as env:
        yield env, env.open_db(b"receipts")


def result_of(rejects: int = 0, seed: int = 0) -> WriteResult:
    rng = random.Random(seed)
    texts = ["", "Łódź", "\U0001f600", 'quo"te', "a\x00b", *(rng.randbytes(9).hex() for _ in range(50))]
    listed = tuple(
        Reject(i, rng.choice(texts), rng.choice(texts), "INVALID_VALUE", rng.choice(texts)) for i in range(rejects)
    )
    counts = (rng.randrange(2**40), rng.randrange(99), rng.randrange(9), rng.randrange(9))
    # Every other one has events.
    of_events = (rng.randrange(99), rng.randrange(9), listed[: rejects // 2]) if seed % 2 else (0, 0, ())
    return WriteResult(*counts, listed, False, *of_events)


def same(found: WriteResult | None, wanted: WriteResult) -> bool:
    assert found is not None
    assert found.replayed
    return found == replace(wanted, replayed=True)


def test_answers_of_older_releases_have_no_events(opened: Any) -> None:
    env, db = opened
    result = WriteResult(1, 2, 3, 4, (Reject(0, "a", "b", "c", "d"),))
    with env.begin(write=True) as txn:
        write_receipt(txn, db, "k", result, 5)
        assert same(read_receipt(txn, db, "k"), result)
        _key, value = next(iter(txn.cursor(db)))
    # A batch without events is kept as they kept it.
    assert sorted(json.loads(zlib.decompress(value[16:]))) == [
        "accepted",
        "created",
        "duplicates",
        "generation",
        "rejects",
    ]


@pytest.mark.parametrize("buffers", [False, True])
def test_answers_come_back(opened: Any, buffers: bool) -> None:
    env, db = opened
    keys = ("a", "b", "é", "e\u0301", " ", "x" * 128, "a\x00")
    wanted = {key: result_of(n, n) for n, key in enumerate(keys)}
    with env.begin(write=True) as txn:
        assert read_receipt(txn, db, "a") is None
        for key, result in wanted.items():
            write_receipt(txn, db, key, result, 5)
    with env.begin(buffers=buffers) as txn:
        for key, result in wanted.items():
            assert same(read_receipt(txn, db, key), result)
        assert read_receipt(txn, db, "A") is None


def test_a_long_answer_is_kept_in_parts(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "_PART_BYTES", 300)
    env, db = opened
    wanted = result_of(400)
    with env.begin(write=True) as txn:
        write_receipt(txn, db, "long", wanted, 5)
        write_receipt(txn, db, "short", result_of(), 5)
        parts = [bytes(key) for key, _ in txn.cursor(db) if bytes(key)[:1] == b"k"]
        assert len(parts) > 10
        assert same(read_receipt(txn, db, "long"), wanted)
        longest = max((key for key in parts), key=lambda key: sum(k[:17] == key[:17] for k in parts))
        txn.delete(longest[:17] + b"\0\5", db=db)
        with pytest.raises(CorruptData, match="receipt"):
            read_receipt(txn, db, "long")
        assert same(read_receipt(txn, db, "short"), result_of())


def test_receipts_are_forgotten_when_their_time_is_over(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "_PART_BYTES", 100)
    env, db = opened
    assert RETAINED_MILLIS >= 24 * HOUR
    with env.begin(write=True) as txn:
        trim_receipts(txn, db, 10**15, 9)
        for hour in range(6):
            write_receipt(txn, db, f"key {hour}", result_of(9 * hour, hour), hour * HOUR)
        trim_receipts(txn, db, RETAINED_MILLIS - 1, 9)
        assert read_receipt(txn, db, "key 0") is not None
        trim_receipts(txn, db, RETAINED_MILLIS + 3 * HOUR, 2)  # two at a time
        assert [read_receipt(txn, db, f"key {h}") is None for h in range(6)] == [True, True, False, False, False, False]
        trim_receipts(txn, db, RETAINED_MILLIS + 3 * HOUR, 9)
        assert [read_receipt(txn, db, f"key {h}") is None for h in range(6)] == [True] * 4 + [False] * 2
        for hour in (4, 5):
            assert same(read_receipt(txn, db, f"key {hour}"), result_of(9 * hour, hour))
        trim_receipts(txn, db, 10**15, 9)
        assert txn.stat(db)["entries"] == 0
        write_receipt(txn, db, "key 0", result_of(3), 7 * HOUR)
        assert same(read_receipt(txn, db, "key 0"), result_of(3))


def test_damage_is_seen(opened: Any) -> None:
    env, db = opened
    with env.begin(write=True) as txn:
        write_receipt(txn, db, "a", result_of(5), 5)
        (key,) = (bytes(k) for k, _ in txn.cursor(db) if bytes(k)[:1] == b"k")
        good = bytes(txn.get(key, db=db))
        for at in range(len(good)):
            if at in (1, 2, 3, *range(12, 16)):  # nothing yet
                continue
            bad = bytearray(good)
            bad[at] ^= 1 << at % 8
            txn.put(key, bytes(bad), db=db)
            if at in range(4, 8):  # another number of parts than there are, up to billions: these bytes are all
                assert same(read_receipt(txn, db, "a"), result_of(5))
                continue
            with pytest.raises(CorruptData, match="receipt"):
                read_receipt(txn, db, "a")
        for size in range(len(good)):
            txn.put(key, good[:size], db=db)
            with pytest.raises(CorruptData, match="receipt"):
                read_receipt(txn, db, "a")
