"""The product catalogue as it is stored: blocks that split and go, versions that share what stays, and what a writer
that dies leaves."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import lmdb
import numpy as np
import pytest

from segidx.database import Account, Database
from segidx.ingest import product_commit
from segidx.model.errors import Closed, CorruptData, ProductNotFound
from segidx.model.products import ProductWrite
from segidx.model.schema import Field, FieldType
from segidx.store.catalog import read_products_state
from segidx.store.layout import DB_META, DB_PRODUCTS
from segidx.store.product_blocks import BLOCK_ROWS, block_key, bound_of, decode_block

PROPERTIES = [Field("brand", FieldType.CATEGORY), Field("weight", FieldType.NUMBER, 2), Field("new", FieldType.BOOL)]


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with Database.open(tmp_path / "data", create=True) as database:
        account = database.account()
        account.update_product_schema(PROPERTIES)
        yield account


def stored(account: Account) -> dict[bytes, bytes]:
    with account._store.begin() as txn:
        return {bytes(k): bytes(v) for k, v in txn.cursor(account._store.databases[DB_PRODUCTS])}


def listed(account: Account) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    after = None
    while page := account.products(after, limit=1000):
        found |= {each.product_id: dict(each.properties) for each in page}
        after = page[-1].product_id
    return found


def test_many_products_in_any_order(account: Account) -> None:
    """Ids of one to many bytes, in random batches: what is held is what was written last, in order, in small blocks."""
    rng = random.Random(5)
    held: dict[str, dict[str, object]] = {}
    for size in (1, 3000, 5000, 40, 5000):
        rows = []
        for _ in range(size):
            id = rng.choice("aAzż\U0001f600") * rng.randrange(1, 4) + str(rng.randrange(4000))
            if rng.randrange(4) == 0:
                rows.append(ProductWrite(id, delete=True))
                held.pop(id, None)
                continue
            brand = "b" * rng.randrange(200)
            rows.append(ProductWrite(id, {"brand": brand, "weight": Decimal(len(brand)) / 4}))
            held.setdefault(id, {}).update({"brand": brand, "weight": Decimal(len(brand)) / 4})
        account.write_products(rows)
        found = listed(account)
        assert found == held
        assert list(found) == sorted(held, key=str.encode)
        assert list(account.verify()) == []
    blocks = stored(account)
    assert len(blocks) > 10
    assert max(map(len, blocks.values())) < 256 << 10
    rows_of = [decode_block(bound_of(key), value).rows.num_rows for key, value in blocks.items()]
    assert max(rows_of) <= BLOCK_ROWS
    account.write_products([ProductWrite(id, delete=True) for id in held])
    assert (stored(account), listed(account), list(account.verify())) == ({}, {}, [])


def test_large_products_have_small_values(account: Account) -> None:
    tags = [f"{n:04}" + "t" * 1000 for n in range(60)]
    account.write_products([ProductWrite(f"p{n:03}", {"accessory_of": tags}) for n in range(30)])
    assert max(map(len, stored(account).values())) < 256 << 10
    assert len(stored(account)) >= 15
    assert listed(account) == {f"p{n:03}": {"accessory_of": frozenset(tags)} for n in range(30)}
    assert list(account.verify()) == []


def test_the_first_block_may_go_and_come_back(account: Account) -> None:
    account.write_products([ProductWrite(f"m{n:05}") for n in range(3 * BLOCK_ROWS)])
    keys = sorted(stored(account))
    assert keys[0] == b"b"
    second = bound_of(keys[1]).decode()
    account.write_products([ProductWrite(id, delete=True) for id in listed(account) if id < second])
    assert sorted(stored(account)) == keys[1:]
    account.write_products([ProductWrite("a", {"new": True}), ProductWrite("z")])
    assert sorted(stored(account)) == keys
    assert account.product("a").properties == {"new": True}
    assert list(account.verify()) == []


def test_a_new_version_shares_the_blocks_that_stay(account: Account) -> None:
    account.write_products([ProductWrite(f"p{n:05}", {"brand": "x"}) for n in range(4000)])
    with account._store.snapshot() as old:
        before = old.products
        account.write_products([ProductWrite("p00001", {"brand": "y"})])
        with account._store.snapshot() as new:
            after = new.products
        assert [a is b for a, b in zip(before.blocks, after.blocks, strict=True)].count(False) == 1
        # The old snapshot goes on seeing what it saw, and one of the same version shares all.
        assert old.products is before
        brand = old.catalog.products["brand"]
        assert before.column(4, brand).strings.to_pylist() == ["x"]
        assert sorted(after.column(4, brand).strings.to_pylist()) == ["x", "y"]
    with account._store.snapshot() as again:
        assert again.products is after


def test_an_older_snapshot_reads_its_own_catalogue(account: Account) -> None:
    account.write_products([ProductWrite("a"), ProductWrite("b")])
    with account._store.snapshot() as old:
        account.write_products([ProductWrite("b", delete=True), ProductWrite("c")])
        assert account.products()[-1].product_id == "c"
        assert old.products.ids.to_pylist() == ["a", "b"]
        assert account.products()[-1].product_id == "c"


def test_places_grow_with_the_strings_that_name_products(account: Account) -> None:
    class Strings(list):  # type: ignore[type-arg]
        def slice(self, first: int, last: int) -> object:
            import pyarrow as pa

            return pa.array(self[first:last], pa.string())

    account.write_products([ProductWrite(f"p{n}") for n in range(600)])
    with account._store.snapshot() as snapshot:
        products = snapshot.products
    strings = Strings(["p3", "nowhere", "p599"])
    ids = products.ids.to_pylist()
    for more in ([], ["p0"], [f"p{n}" for n in range(599, 0, -1)], ["", "zzz"]):
        strings.extend(more)
        wanted = [ids.index(s) if s in ids else -1 for s in strings]
        assert products.places(7, strings).tolist() == wanted  # type: ignore[arg-type]
    assert products.places(7, Strings(strings[:2])).tolist() == [ids.index("p3"), -1]  # type: ignore[arg-type]
    assert products.places(8, Strings()).tolist() == []  # type: ignore[arg-type]


def test_a_commit_is_whole_or_not_there(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    account.write_products([ProductWrite(f"p{n:05}", {"brand": "x"}) for n in range(3000)])
    before, generation = stored(account), account.generation()

    def fail(*_: object) -> None:
        raise lmdb.DiskError("no more")

    monkeypatch.setattr(product_commit, "write_products_state", fail)
    with pytest.raises(Exception, match="nothing of this batch was written"):
        account.write_products([ProductWrite(f"p{n:05}", {"brand": "y"}) for n in range(0, 3000, 2)])
    monkeypatch.undo()
    assert (stored(account), account.generation()) == (before, generation)
    assert account.product("p00000").properties == {"brand": "x"}
    account.write_products([ProductWrite("p00000", {"brand": "z"})])
    assert account.product("p00000").properties == {"brand": "z"}
    assert list(account.verify()) == []


WRITER = """
import sys
from segidx.database import Database
from segidx.model.products import ProductWrite
with Database.open(sys.argv[1]) as database:
    account, first = database.account(), int(sys.argv[2])
    for n in range(first, first + 10_000):
        account.write_products([ProductWrite(f"p{i:04}", {"weight": n}) for i in range(2500)])
        print(n, flush=True)
"""


def test_a_writer_that_is_killed_leaves_whole_batches(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with Database.open(path, create=True) as database:
        database.account().update_product_schema(PROPERTIES)
    rng, told = random.Random(3), 0
    for _ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(told + 1)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _ in range(rng.randrange(1, 4)):
            told = int(writer.stdout.readline())
        time.sleep(rng.uniform(0, 0.05))
        writer.kill()
        told = max(told, *(int(line) for line in writer.stdout.read().split()), told)
        writer.wait()
        with Database.open(path) as database:
            account = database.account()
            weights = {each["weight"] for each in listed(account).values()}
            assert len(weights) == 1, "half of a batch is there"
            (weight,) = weights
            assert told <= int(weight) <= told + 1, "an acknowledged batch is lost"
            assert len(listed(account)) == 2500
            assert list(account.verify()) == []
            told = int(weight)


def test_what_a_reader_sees_that_was_open_before_there_were_products(tmp_path: Path) -> None:
    """Of a directory without the database of products, as an older release leaves it."""
    path = tmp_path / "data"
    with Database.open(path, create=True):
        pass
    with (
        lmdb.open(str(path / "accounts" / "default"), max_dbs=16, map_size=1 << 30) as env,
        env.begin(write=True) as txn,
    ):
        txn.drop(env.open_db(DB_PRODUCTS, txn=txn, create=False))
    with Database.open(path, read_only=True) as database:
        account = database.account()
        assert DB_PRODUCTS not in account._store.databases
        assert (account.products(), list(account.verify())) == ([], [])
        assert account.count('did(line where product.producer = "a" or producer = "b")').count == 0
        with pytest.raises(ProductNotFound):
            account.product("a")
        write = 'account.write_products([ProductWrite("a", {"producer": "b"})])'
        script = WRITER.split("    account, first")[0] + f"    account = database.account()\n    {write}\n"
        subprocess.run([sys.executable, "-c", script, str(path)], check=True)
        with pytest.raises(Closed, match="open it again"):
            account.count('did(line where product.producer = "a")')
    with Database.open(path, read_only=True) as database:
        assert [each.product_id for each in database.account().products()] == ["a"]


def test_damage_is_refused(account: Account) -> None:
    account.write_products([ProductWrite("a", {"brand": "x"})])
    value = stored(account)[block_key(b"")]
    rng = np.random.default_rng(4)
    refused = 0
    for _ in range(300):
        damaged = bytearray(value)
        damaged[int(rng.integers(len(value)))] ^= 1 << int(rng.integers(8))
        try:
            block = decode_block(b"", bytes(damaged))
        except CorruptData:
            refused += 1
            continue
        # A header has bits that say nothing.
        assert block.rows.to_pylist() == [{"id": "a", "4": "x"}]
    assert refused > 280
    for end in range(len(value)):
        with pytest.raises(CorruptData):
            decode_block(b"", value[:end])
    with account._store.begin() as txn:
        state = read_products_state(txn, account._store.databases[DB_META])
    assert state is not None
    assert (state.stamp, state.count) == (account.generation(), 1)
