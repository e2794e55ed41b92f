"""Full files, snapshots beside writes, damaged bytes, and newer formats."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import lmdb
import numpy as np
import pytest

from segidx.database import Account, Database
from segidx.model.errors import CorruptData, NewerFormat, SegidxError, StorageFull
from segidx.model.schema import Field, FieldType
from segidx.store.environment import AccountStore
from segidx.store.postings import groups

FIELDS = [Field("n", FieldType.NUMBER), Field("city", FieldType.CATEGORY), Field("tags", FieldType.TAGS)]


def store_of(account: Account) -> AccountStore:
    return account._store


def rows(first: int, last: int, n: int) -> list[tuple[str, dict[str, object]]]:
    return [(f"c{i}", {"n": n, "city": f"city-{n % 3}", "tags": {f"t{n % 5}"}}) for i in range(first, last)]


def test_a_full_quota_writes_nothing_and_breaks_nothing(tmp_path: Path) -> None:
    Database.open(tmp_path / "d", create=True).close()
    with Database.open(tmp_path / "d", quota_bytes=2 << 20) as database:
        account = database.account()
        account.update_schema(FIELDS)
        account.upsert(rows(0, 100, 1))

        def fill() -> None:
            for i in range(100):
                account.upsert(rows(i * 10_000, (i + 1) * 10_000, 2 + i))

        with pytest.raises(StorageFull, match="nothing of this batch"):
            fill()
        total = account.count("everyone").count
        assert total % 10_000 == 0 or total == 100, "a batch is there whole or not at all"
        assert account.count("n is set").count == total
    with Database.open(tmp_path / "d") as database:
        assert database.account().count("everyone").count == total
        database.account().upsert([("one more", {"n": 1})])
        assert database.account().count("everyone").count == total + 1


FULL_DISK = """
import resource, signal, sys
from segidx.database import Database
from segidx.model.errors import StorageFull
sys.path.insert(0, sys.argv[2])
from test_environment import rows
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Database.open(sys.argv[1]) as database:
    account = database.account()
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, resource.RLIM_INFINITY))
    done = account.stats().generation
    try:
        for i in range(100):
            done = account.upsert(rows(i * 10_000, (i + 1) * 10_000, 2 + i)).generation
    except StorageFull as error:
        print(done, account.stats().generation)
"""


def test_a_full_disk_writes_nothing_and_breaks_nothing(tmp_path: Path) -> None:
    """A limit on the file's size stands in for a full disk: LMDB's writes fail in the middle of a commit."""
    assert resource.RLIMIT_FSIZE is not None
    assert signal.SIGXFSZ
    with Database.open(tmp_path / "d", create=True) as database:
        database.account().update_schema(FIELDS)
        database.account().upsert(rows(0, 100, 1))
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "d"), str(Path(__file__).parent)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    acknowledged, seen = map(int, found.stdout.split())
    assert acknowledged == seen
    with Database.open(tmp_path / "d") as database:
        account = database.account()
        assert account.stats().generation == acknowledged
        total = account.count("everyone").count
        assert account.count("n is set and city is set and tags is set").count == total
        account.upsert(rows(0, 50, 9))
        assert account.count("n = 9").count == 50


def test_a_snapshot_sees_one_generation(tmp_path: Path) -> None:
    with Database.open(tmp_path / "d", create=True) as database:
        account = database.account()
        account.update_schema(FIELDS)
        account.upsert(rows(0, 10, 1))
        with store_of(account).snapshot() as before:
            account.upsert(rows(0, 20, 2))
            assert before.live_count() == 10
            assert before.generation == 1
            assert before.universe().cardinality == 10
        with store_of(account).snapshot() as after:
            assert (after.live_count(), after.generation, after.universe().cardinality) == (20, 2, 20)


def test_counts_on_many_threads_belong_to_their_generation(tmp_path: Path) -> None:
    """Generation g gives the first 10 g contacts the value g: a count that mixes two generations is found out."""
    with Database.open(tmp_path / "d", create=True) as database:
        account = database.account()
        account.update_schema(FIELDS)
        account.upsert(rows(0, 10, 1))
        wrong: list[object] = []
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                try:
                    everyone, newest, tagged = account.count_many(["everyone", "n is set", 'not tags has "none"'])
                    for found in (everyone, newest, tagged):
                        assert not isinstance(found, SegidxError)
                        if found.count != 10 * found.evaluation.generation:
                            wrong.append(found)
                except Exception as error:  # collected: an exception in a thread would pass unseen
                    wrong.append(error)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for generation in range(2, 60):
            account.upsert(rows(0, 10 * generation, generation))
        done.set()
        for thread in threads:
            thread.join()
        assert not wrong


def _meta(path: Path, key: bytes, value: bytes) -> None:
    env = lmdb.open(str(path), max_dbs=8)
    with env.begin(write=True) as txn:
        txn.put(key, value, db=env.open_db(b"meta", txn=txn))
    env.close()


def test_a_newer_account_and_a_broken_catalog_are_refused(tmp_path: Path) -> None:
    Database.open(tmp_path / "d", create=True).close()
    place = tmp_path / "d" / "accounts" / "default"
    _meta(place, b"format", (2).to_bytes(8, "little"))
    with Database.open(tmp_path / "d") as database, pytest.raises(NewerFormat, match="upgrade segidx"):
        database.account()
    _meta(place, b"format", (1).to_bytes(8, "little"))
    _meta(place, b"schema", b"{broken")
    with Database.open(tmp_path / "d") as database, pytest.raises(CorruptData, match="catalog"):
        database.account()


def test_damaged_postings_and_columns_are_named(tmp_path: Path) -> None:
    with Database.open(tmp_path / "d", create=True) as database:
        database.account().update_schema(FIELDS)
        database.account().upsert(rows(0, 100, 1))
    env = lmdb.open(str(tmp_path / "d" / "accounts" / "default"), max_dbs=8)
    with env.begin(write=True) as txn:
        for name in (b"postings", b"columns"):
            db = env.open_db(name, txn=txn)
            for key, value in list(txn.cursor(db=db)):
                txn.put(key, value[:20] + b"\xff" * (len(value) - 20), db=db)
    env.close()
    with Database.open(tmp_path / "d") as database:
        for text in ('city = "city-1"', "n = 1"):
            with pytest.raises(CorruptData):
                database.account().count(text)
        with pytest.raises(CorruptData):
            database.account().upsert(rows(0, 10, 2))


def test_no_pairs_make_no_groups() -> None:
    assert list(groups(np.zeros(0, np.int64), np.zeros(0, np.uint32))) == []


def test_groups_split_at_shards() -> None:
    edge = 1 << 20
    ordinals = np.array([edge, edge - 1, 5, 2 * edge], np.uint32)
    found = [(code, shard, members.tolist()) for code, shard, members in groups(np.array([1, 1, 0, 1]), ordinals)]
    assert found == [(0, 0, [5]), (1, 0, [edge - 1]), (1, 1, [edge]), (1, 2, [2 * edge])]
