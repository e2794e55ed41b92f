"""`verify` names each damage to the catalogue of products."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from segidx.database import Account, Database
from segidx.model.products import ProductWrite
from segidx.model.schema import MAX_MINOR_UNITS, Field, FieldType
from segidx.store.catalog import ProductsState, write_products_state
from segidx.store.layout import DB_META, DB_PRODUCTS, META_PRODUCTS
from segidx.store.product_blocks import ID, TAG_LIST, block_key, decode_block, encode_block, stored_blocks


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    """Two blocks: a to l, and from m on; brands (4), weights (5)."""
    with Database.open(tmp_path / "data", create=True) as database:
        account = database.account()
        account.update_product_schema([Field("brand", FieldType.CATEGORY), Field("weight", FieldType.NUMBER)])
        account.write_products([ProductWrite("a", {"brand": "x", "accessory_of": ["b"]}), ProductWrite("b")])
        with account._store.write() as write:
            rows = pa.record_batch([pa.array(["m", "n"]), pa.array([5, None], pa.int64())], [ID, "5"])
            write.txn.put(block_key(b"m"), encode_block(1, rows), db=write.dbs[DB_PRODUCTS])
            write_products_state(write.txn, write.dbs[DB_META], ProductsState(1, 4))
        assert list(account.verify()) == []
        yield account


def put(account: Account, key: bytes, value: bytes | None, database: bytes = DB_PRODUCTS) -> None:
    with account._store.write() as write:
        if value is None:
            assert write.txn.delete(key, db=write.dbs[database])
        else:
            write.txn.put(key, value, db=write.dbs[database])


def rows(*arrays: object, names: list[str] | None = None, stamp: int = 1) -> Callable[[Account], None]:
    """Put these in the place of the second block."""
    made = [a if isinstance(a, pa.Array) else pa.array(a) for a in arrays]
    batch = pa.record_batch(made, names or [ID, *(str(n) for n in range(4, 3 + len(made)))])
    return lambda account: put(account, block_key(b"m"), encode_block(stamp, batch))


def state(stamp: int, count: int) -> Callable[[Account], None]:
    def damage(account: Account) -> None:
        with account._store.write() as write:
            write_products_state(write.txn, write.dbs[DB_META], ProductsState(stamp, count))

    return damage


def flipped(account: Account) -> None:
    with account._store.begin() as txn:
        value = {bound: bytes(v) for bound, v in stored_blocks(txn, account._store.databases[DB_PRODUCTS])}[b"m"]
    damaged = bytearray(value)
    damaged[-9] ^= 1
    put(account, block_key(b"m"), bytes(damaged))


FROM_M = "products from 'm' on: "
STRINGS = pa.array(["x", "y"])
DAMAGES: dict[str, tuple[Callable[[Account], None], str]] = {
    "checksum": (flipped, FROM_M + "checksum differs"),
    "short": (lambda a: put(a, block_key(b"m"), b"x"), FROM_M + "1 bytes are too few"),
    "key": (lambda a: put(a, b"x", b"y"), "the products have a key 78 that is none"),
    "missing": (lambda a: put(a, block_key(b"m"), None), "there are 2 products, and 4 are said"),
    "count": (state(1, 5), "there are 4 products, and 5 are said"),
    "stamp": (state(9, 4), "the products were changed in generation 9, and the newest is 1"),
    "newer": (rows(["m", "n"], stamp=7), FROM_M + "written in generation 7, .* said to be of 1"),
    "state": (lambda a: put(a, META_PRODUCTS, b"x" * 24, DB_META), "the state of the products fails its checksum"),
    "state's size": (lambda a: put(a, META_PRODUCTS, b"x", DB_META), "the state of the products cannot be read"),
    "empty": (rows(pa.array([], pa.string())), FROM_M + "it is empty"),
    "order": (rows(["n", "m"]), FROM_M + "its ids do not ascend"),
    "twice": (rows(["m", "m"]), FROM_M + "its ids do not ascend"),
    "elsewhere": (rows(["b", "n"]), FROM_M + "it has ids of another block"),
    "no id": (rows(pa.array(["m", None])), FROM_M + "a product has no id"),
    "long id": (rows(["m", "m" * 256]), FROM_M + "an id has not 1 to 255 bytes"),
    "id's form": (rows(["m", "o\u0301"]), FROM_M + "an id is not in NFC"),
    "columns": (rows(["m", "n"], [1, 2], STRINGS, names=[ID, "5", "4"]), FROM_M + "its columns do not ascend"),
    "property": (rows(["m", "n"], STRINGS, names=[ID, "6"]), FROM_M + "there is no property 6"),
    "type": (rows(["m", "n"], [1, 2]), FROM_M + "property 'brand' is stored as int64, where string is due"),
    "other type": (rows(["m", "n"], [1.5, 2]), FROM_M + "it cannot be read .its columns are"),
    "no values": (rows(["m", "n"], pa.nulls(2, pa.string())), FROM_M + "property 'brand' has a column without values"),
    "long": (rows(["m", "n"], ["x", "y" * 3000]), FROM_M + "property 'brand' has a string that is not 0 to 2048"),
    "form": (rows(["m", "n"], ["x", "o\u0301"]), FROM_M + "property 'brand' has a string that is not in NFC"),
    "number": (
        rows(["m", "n"], [1, -MAX_MINOR_UNITS - 1], names=[ID, "5"]),
        FROM_M + "property 'weight' has a number that is out of range",
    ),
    "tags": (
        rows(["m", "n"], pa.array([["a", "a"], None], TAG_LIST), names=[ID, "3"]),
        FROM_M + "property 'accessory_of' has tags that are none, or twice the same",
    ),
    "no tags": (
        rows(["m", "n"], pa.array([[], None], TAG_LIST), names=[ID, "3"]),
        FROM_M + "property 'accessory_of' has tags that are none",
    ),
    "empty tag": (
        rows(["m", "n"], pa.array([[""], None], TAG_LIST), names=[ID, "3"]),
        FROM_M + "property 'accessory_of' has a string that is not 1 to 2048",
    ),
    "large": (
        rows(["m", "n"], pa.array([[f"{n:03}" + "t" * 2000 for n in range(40)], None], TAG_LIST), names=[ID, "3"]),
        FROM_M + "a product has too many bytes of values",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named(account: Account, name: str) -> None:
    damage, sentence = DAMAGES[name]
    damage(account)
    found = list(account.verify())
    assert any(re.match(sentence, problem) for problem in found), found
    assert len(found) <= 2


def test_a_block_says_how_many_products_it_has(account: Account) -> None:
    with account._store.begin() as txn:
        value = dict(stored_blocks(txn, account._store.databases[DB_PRODUCTS]))[b"m"]
        told = bytearray(value)
    assert decode_block(b"m", bytes(told)).rows.num_rows == 2
    told[4] += 1
    put(account, block_key(b"m"), bytes(told))
    assert list(account.verify()) == ["products from 'm' on: 2 products where 3 are said; restore from a backup"]
