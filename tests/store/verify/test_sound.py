"""`verify` says nothing of sound accounts, in every state that writes and merges leave."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import segidx.store.base
import segidx.store.merge
from segidx.database import Account, Database
from segidx.ingest.batch import ContactBatch, FieldChange
from segidx.kernels.bitmaps import Stop
from segidx.model.errors import Cancelled, Closed, SegidxError
from segidx.model.writes import ContactWrite
from segidx.store.base import Slices
from segidx.store.layout import DB_CHANGES, DB_COUNTS, DB_LOG, DB_POSTINGS, block_key, part_key, posting_key
from segidx.store.merge import merge
from segidx.store.postings import read_shard
from segidx.testing.damage import clear, flip, get
from segidx.testing.verified import problems
from segidx.testing.verified_contacts import CITY, FIELDS, NOTE, VIP, write

COMPAT = Path(__file__).parents[2] / "compat" / "format_1"


def test_a_sound_account_has_no_problems_in_any_state(empty: Account) -> None:
    assert problems(empty) == []
    for version in range(3):
        empty.write([write(i, version) for i in range(100 * version, 300 + version)], batch_key=f"key {version}")
        empty.write([ContactWrite("contact-7", {"n": None, "note": None, "tags": None})])
        verification = empty.verify()
        assert list(verification) == []
        assert verification.checked > 400
        assert verification.problems == 0
        empty.merge()
        assert problems(empty) == []
    empty.write([], batch_key="nothing at all")
    empty.write([write(i, 3) for i in range(3000)])
    assert len(get(empty, DB_LOG, part_key(empty.generation(), 1))), "a record of several parts"
    assert problems(empty) == []


def test_a_merge_that_dies_anywhere_leaves_a_sound_account(empty: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every transaction of a merge is its last once; the log goes on between the attempts."""

    class Killed(Exception): ...

    left = 0
    changing = Slices._changing

    def dying(self: Slices) -> Any:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        return changing(self)

    monkeypatch.setattr(segidx.store.base, "SLICE_BYTES", 1000)
    monkeypatch.setattr(segidx.store.base, "SLICE_STRINGS", 1)
    monkeypatch.setattr(Slices, "_changing", dying)
    for version in (0, 1):
        empty.write([write(i, version) for i in range(90 * version, 150 + 40 * version)])
        for attempt in range(1000):
            left = attempt
            try:
                merge(empty._store, 0, empty._store.snapshot)
                break
            except Killed:
                assert problems(empty) == []
                empty._store.overlay.clear()  # as in a process that opens the account now
                assert problems(empty) == []
            if attempt % 5 == 0:
                empty.write([write(attempt, 5), ContactWrite(f"contact-{attempt + 1}", {"note": None, "city": None})])
        assert attempt >= 10
        assert empty._store.state().merged == empty.generation()
        assert problems(empty) == []


def test_a_text_that_was_being_promoted_when_the_merge_died_and_fell_since(
    empty: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its posting stays behind, in use by nobody."""
    empty.write([ContactWrite(f"c{i}", {"note": "common"}) for i in range(64)])
    changed_block = segidx.store.base.changed_block

    def dying(txn: Any, db: Any, field: int, *rest: Any) -> bytes:
        return b"" if field == NOTE and 1 / 0 else changed_block(txn, db, field, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(segidx.store.base, "SLICE_BYTES", 1)
        patch.setattr(segidx.store.base, "changed_block", dying)
        with pytest.raises(ZeroDivisionError):
            merge(empty._store, 0, empty._store.snapshot)
    empty.write([ContactWrite("c0", {"note": None})])
    empty.merge()
    with empty._store.snapshot() as snapshot:
        assert read_shard(snapshot.txn, snapshot.dbs[DB_POSTINGS], NOTE, 0, 0)
        assert not snapshot.value_entry(NOTE, 0)[1]
    assert problems(empty) == []


def test_a_segment_that_a_merge_cuts_in_two(empty: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is committed into the segment while it is being merged stays in the overlay with what was merged."""
    fold = segidx.store.merge.fold

    def and_then(*args: Any) -> None:
        fold(*args)
        empty.write([write(i, 1) for i in range(40, 80)])
        empty.write([ContactWrite("contact-3", {"city": "city-9", "note": "new"}, tags_added={"tags": ["cut"]})])

    empty.write([write(i) for i in range(60)])
    with monkeypatch.context() as patch:
        patch.setattr(segidx.store.merge, "fold", and_then)
        merge(empty._store, 0, empty._store.snapshot)
    with empty._store.snapshot() as snapshot:
        assert (snapshot.state.merged, snapshot.generation) == (1, 3)
        assert [s.number for s in snapshot.view.segments] == [1]
    assert problems(empty) == []
    empty._store.overlay.clear()  # as in a process that opens the account now
    assert problems(empty) == []
    empty.merge()
    assert problems(empty) == []


def test_bulk_batches_of_more_than_one_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are made small here, so that two of them are soon full."""
    for module in ("base", "snapshot", "verify.stored", "verify.across"):
        monkeypatch.setattr(f"segidx.store.{module}.SHARD_BITS", 16)
    monkeypatch.setattr("segidx.ingest.pending.SHARD_BITS", 16)
    total = (1 << 16) + 3000
    rows = np.arange(total)
    batch = ContactBatch(
        pa.array([str(i) for i in range(total)], pa.string()),
        {
            "vip": FieldChange(rows, rows % 2, rows[:0]),
            "city": FieldChange(rows, pa.array(["left", "right"], pa.string()).take(pa.array(rows % 2)), rows[:0]),
        },
    )
    with Database.open(tmp_path / "data", create=True) as database:
        account = database.account()
        account.update_schema(FIELDS)
        account.apply(batch)
        assert problems(account) == []
        account.write([ContactWrite(str(i), {"vip": None, "city": "right"}) for i in (0, total - 2)])
        assert account.count("vip = true").count == total // 2
        assert problems(account) == []
        clear(account, DB_POSTINGS, posting_key(CITY, 1, 1))
        found = problems(account)
        assert len(found) == 1
        assert re.search(r"\('city'\), code 1, shard 1: lacks 1500 \(first ordinal 65537\)", found[0])


@pytest.mark.parametrize("read_only", [True, False])
def test_what_format_1_wrote(tmp_path: Path, read_only: bool) -> None:
    shutil.copytree(COMPAT, tmp_path / "data")
    with Database.open(tmp_path / "data", read_only=read_only) as database:
        for info in database.accounts():
            assert problems(database.account(info.name)) == []
        if not read_only:
            database.account("shop").upsert([("new one", {})])
            assert problems(database.account("shop")) == []


def test_what_old_generations_leave_behind_is_no_problem(account: Account) -> None:
    """Changes and receipts of a day ago are deleted, part by part; so are records that are merged."""
    with account._store.write() as w:
        w.txn.delete(part_key(1, 0), db=w.dbs[DB_CHANGES])
        w.txn.put(part_key(1, 1), b"the rest of a record", db=w.dbs[DB_LOG])
    assert problems(account) == []
    with account._store.write() as w:
        for generation in (2, 3, 4):
            w.txn.delete(part_key(generation, 0), db=w.dbs[DB_CHANGES])
    assert problems(account) == []


def test_other_readers_and_the_writer_go_on_meanwhile(account: Account) -> None:
    flip(account, DB_COUNTS, block_key(VIP, 0), 3)
    verification = account.verify()
    first = next(verification)
    account.write([write(i, 2) for i in range(500)])
    account.merge()
    assert "'vip'" in first
    assert list(verification) == [], "what is committed later is not seen"
    assert account.count("everyone").count == 500


def test_nothing_is_wrong_while_commits_and_merges_go_on(empty: Account) -> None:
    done = threading.Event()
    failures: list[BaseException] = []

    def work(go: Callable[[int], object]) -> None:
        number = 0
        try:
            while not done.is_set():
                go(number)
                number += 1
        except BaseException as error:
            failures.append(error)

    workers = [
        threading.Thread(target=work, args=(go,))
        for go in (
            lambda number: empty.write([write(i, number % 4) for i in range(number % 50, number % 50 + 90)]),
            lambda _: (empty.merge(), done.wait(0.03)),  # or it would keep the writer out
        )
    ]
    for worker in workers:
        worker.start()
    try:
        while empty.generation() < 30 and not failures:
            assert problems(empty) == []
    finally:
        done.set()
        for worker in workers:
            worker.join()
    assert not failures
    assert problems(empty) == []


def test_stopping(account: Account) -> None:
    stop = Stop()
    stop.cancel()
    with pytest.raises(Cancelled):
        list(account.verify(stop=stop))
    with pytest.raises(SegidxError, match="deadline"):
        list(account.verify(stop=Stop(time.monotonic_ns() - 1)))
    assert list(account.verify(stop=Stop())) == []
    flip(account, DB_COUNTS, block_key(VIP, 0), 3)
    verification = account.verify()
    next(verification)
    verification.close()
    with pytest.raises(StopIteration):
        next(verification)
    account.close()
    with pytest.raises(Closed):
        list(account.verify())
