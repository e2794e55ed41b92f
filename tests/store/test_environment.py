"""An account's environment: full quotas and disks, newer formats, isolation of snapshots, the cache of pointers."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from segidx.database import Account, Database
from segidx.model.errors import Closed, CorruptData, NewerFormat, StorageFull
from segidx.model.schema import Field, FieldType
from segidx.store.caches import PointerCache
from segidx.store.layout import DATABASES, FORMAT_VERSION, META_FORMAT
from segidx.store.snapshot import Snapshot
from segidx.testing.checks import count_in

FIELDS = [
    Field("n", FieldType.NUMBER),
    Field("city", FieldType.CATEGORY),
    Field("note", FieldType.TEXT),
    Field("tags", FieldType.TAGS),
]
QUOTA = 4 << 20


def rows(first: int, last: int, *, note: str = "") -> list[tuple[str, dict[str, object]]]:
    return [
        (f"c{i:07d}", {"n": i, "city": f"city-{i % 7}", "tags": {f"tag-{i % 3}"}, "note": f"{i}{note}"})
        for i in range(first, last)
    ]


def check_holds(account: Account, total: int) -> None:
    """Exactly rows 0 to total-1, seen through every structure."""
    assert account.count("everyone").count == total
    assert account.count(f"n >= 0 and n < {total}").count == total
    assert account.count(f"n >= {total}").count == 0
    for rest in range(7):
        assert account.count(f'city = "city-{rest}"').count == len(range(rest, total, 7))
    for rest in range(3):
        assert account.count(f'tags has "tag-{rest}"').count == len(range(rest, total, 3))
    assert account.count("note is set").count == total
    assert account.stats().contacts == total


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with Database.open(tmp_path / "data", create=True) as database:
        database.account().update_schema(FIELDS)
        yield database.account()


# --- quota and disk ----------------------------------------------------------------------------------------


def test_a_full_quota_refuses_the_batch_whole_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with Database.open(path, create=True, quota_bytes=QUOTA) as database:
        account = database.account()
        account.update_schema(FIELDS)
        account.upsert(rows(0, 500))
        generation = account.stats().generation
        too_much = rows(0, 8000, note="x" * 1500)  # 12 MB of notes, over contacts that exist and new ones
        for _ in range(2):
            with pytest.raises(StorageFull, match=r"quota.*nothing of this batch was written"):
                account.upsert(too_much)
            assert account.stats().generation == generation
            check_holds(account, 500)
            assert account.count('note ends with "x"').count == 0
        account.upsert(rows(500, 600))
        check_holds(account, 600)
        assert account.stats().file_bytes <= QUOTA
    with Database.open(path) as database:  # a larger quota: the refused batch fits
        check_holds(database.account(), 600)
        assert database.account().upsert(too_much).created == 7400
        check_holds(database.account(), 8000)


# SIGXFSZ is ignored by Python, so that a write past the limit fails as it does on a full disk.
FULL_DISK = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_environment import FIELDS, check_holds, rows
from segidx.database import Database
from segidx.model.errors import StorageFull
with Database.open(sys.argv[1]) as database:
    account = database.account()
    account.upsert(rows(0, 500))
    limit = account.stats().file_bytes + 65_536
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for _ in range(2):
        try:
            account.upsert(rows(0, 8000, note="x" * 1500))
        except StorageFull as error:
            print(error.message)
        check_holds(account, 500)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    account.upsert(rows(500, 600))
    check_holds(account, 600)
"""


def test_a_full_disk_refuses_the_batch_whole(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with Database.open(path, create=True) as database:
        database.account().update_schema(FIELDS)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path), str(Path(__file__).parent)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nothing of this batch was written") == 2
    with Database.open(path) as database:
        check_holds(database.account(), 600)
        assert database.account().count('note ends with "x"').count == 0
        assert database.account().stats().generation == 2


# --- what cannot be opened ---------------------------------------------------------------------------------


def meta_of(path: Path, key: bytes, value: bytes | None) -> None:
    """Overwrite or remove an entry of an account's meta database."""
    with lmdb.open(str(path / "accounts" / "default"), max_dbs=len(DATABASES), map_size=1 << 30) as env:
        meta = env.open_db(b"meta", create=False)
        with env.begin(write=True) as txn:
            assert txn.put(key, value, db=meta) if value is not None else txn.delete(key, db=meta)


def test_an_account_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with Database.open(path, create=True) as database:
        database.account().upsert([("a", {})])
    meta_of(path, META_FORMAT, struct.pack("<Q", FORMAT_VERSION + 1))
    for read_only in (False, True):
        with Database.open(path, read_only=read_only) as database:
            for _ in range(2):  # the refusal leaves nothing open behind it
                with pytest.raises(NewerFormat, match="has format 7; this segidx reads up to 6: upgrade") as caught:
                    database.account()
            assert caught.value.metadata == {"found": "7", "supported": "6"}
    meta_of(path, META_FORMAT, struct.pack("<Q", FORMAT_VERSION))
    with Database.open(path) as database:
        assert database.account().count("everyone").count == 1


@pytest.mark.parametrize("key", [b"format", b"account", b"schema", b"state", b"hash_key"])
@pytest.mark.parametrize("value", [None, b"\xff{"])
def test_a_damaged_catalog_is_corrupt_data(tmp_path: Path, key: bytes, value: bytes | None) -> None:
    path = tmp_path / "data"
    Database.open(path, create=True).close()
    meta_of(path, key, value)
    with Database.open(path) as database, pytest.raises(CorruptData):
        database.account().upsert([("a", {})])


def test_a_missing_database_is_corrupt_data(tmp_path: Path) -> None:
    path = tmp_path / "data"
    Database.open(path, create=True).close()
    with lmdb.open(str(path / "accounts" / "default"), max_dbs=len(DATABASES), map_size=1 << 30) as env:
        columns = env.open_db(b"columns", create=False)
        with env.begin(write=True) as txn:
            txn.drop(columns)
    with Database.open(path) as database, pytest.raises(CorruptData, match="lacks a database"):
        database.account()


def test_a_closed_account_says_so(tmp_path: Path) -> None:
    with Database.open(tmp_path / "data", create=True) as database:
        account = database.account()
    with pytest.raises(Closed):
        account.count("everyone")
    with pytest.raises(Closed):
        account.upsert([("a", {})])
    with pytest.raises(Closed):
        database.account()


# --- snapshots ---------------------------------------------------------------------------------------------


def test_a_snapshot_never_sees_later_writes(account: Account) -> None:
    account.upsert(rows(0, 300))
    with account._store.snapshot() as old:
        assert count_in(old, account, "n < 100") == 100
        account.upsert([(f"c{i:07d}", {"n": 1000, "city": "elsewhere", "tags": {"new"}}) for i in range(50)])
        account.upsert(rows(300, 400))
        with account._store.snapshot() as new:
            assert new.generation == old.generation + 2
            for text, before, after in (
                ("n < 100", 100, 50),
                ("everyone", 300, 400),
                ("n = 1000", 0, 50),
                ('city = "elsewhere"', 0, 50),
                ('city = "city-0"', 43, 50),
                ('tags has "new"', 0, 50),
                ("not n < 100", 200, 350),
            ):
                assert count_in(old, account, text) == before, text
                assert count_in(new, account, text) == after, text
        assert (old.size, old.live_count()) == (300, 300)


def test_a_failed_write_shows_to_nobody(account: Account) -> None:
    account.upsert(rows(0, 10))

    class Refused(Exception): ...

    def write_and_fail() -> None:
        with account._store.write() as write:
            for db in write.dbs.values():
                write.txn.drop(db, delete=False)
            raise Refused

    with pytest.raises(Refused):
        write_and_fail()
    check_holds(account, 10)
    account.upsert(rows(10, 20))
    check_holds(account, 20)


def test_the_cache_serves_one_version_only() -> None:
    cache = PointerCache()
    first = cache.entries((5, 1))
    first["x"] = 1
    assert cache.entries((5, 1)) is first
    assert cache.entries((4, 9)) == {}, "an older snapshot is never given newer pointers"
    cache.entries((4, 9))["x"] = "old"
    assert cache.entries((5, 1)) == {"x": 1}
    assert cache.entries((5, 2)) == {}
    assert cache.entries((5, 1)) == {}
    cache.entries((5, 2))["y"] = 2
    cache.clear()
    assert cache.entries((5, 2)) == {}


def test_counts_are_those_of_their_generation_among_writes_and_snapshots(account: Account) -> None:
    """Batch g moves contacts to value g and adds some, so that every count tells which generation it is of."""
    batches, per_batch = 40, 25
    start = account.stats().generation
    wrong: list[str] = []
    seen: set[int] = set()
    finished = threading.Event()

    def check(snapshot: Snapshot) -> None:
        done = snapshot.generation - start
        seen.add(done)
        for text, wanted in (
            ("everyone", done * per_batch),
            (f"n = {done}", per_batch * (done > 0) + (done > 1)),  # g1-0 has moved there from generation 2 on
            (f"n = {done + 1}", 0),
            (f'tags has "t{done % 4}"', per_batch * len(range(done, 0, -4))),
            (f'city = "city-{done}" or city = "city-{done + 1}"', per_batch * (done > 0)),
        ):
            found = count_in(snapshot, account, text)
            if found != wanted:
                wrong.append(f"generation {done}: {text} holds {found}, not {wanted}")

    def read() -> None:
        try:
            while not finished.is_set() and not wrong:
                with account._store.snapshot() as older:
                    check(older)
                    with account._store.snapshot() as newer:
                        check(newer)
                        check(older)
        except Exception as error:
            wrong.append(repr(error))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for g in range(1, batches + 1):
            added = [(f"g{g}-{i}", {"n": g, "city": f"city-{g}", "tags": {f"t{g % 4}"}}) for i in range(per_batch)]
            moved = [] if g == 1 else [("g1-0", {"n": g})]
            account.upsert([*added, *moved])
    finally:
        finished.set()
        for reader in readers:
            reader.join()
    with account._store.snapshot() as last:
        check(last)
    assert not wrong, wrong[0]
    assert batches in seen
