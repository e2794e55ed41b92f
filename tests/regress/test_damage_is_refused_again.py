"""A value was noted as verified before it was: the second write that met the damage went through."""

from __future__ import annotations

from pathlib import Path

import lmdb
import pytest

from segidx.database import Account, Database
from segidx.model.errors import CorruptData
from segidx.model.schema import Field, FieldType
from segidx.store.layout import DATABASES


def damage(directory: Path, database_name: bytes, field: int, byte: int) -> None:
    """Flip a bit of every stored value of a field."""
    env = lmdb.open(str(directory / "accounts" / "default"), max_dbs=len(DATABASES))
    with env.begin(write=True) as txn:
        db = env.open_db(database_name, txn=txn)
        for key, value in list(txn.cursor(db=db)):
            if key[:2] == field.to_bytes(2, "big"):
                damaged = bytearray(value)
                damaged[byte] ^= 1
                txn.put(key, bytes(damaged), db=db)
    env.close()


def write(account: Account) -> None:
    account.upsert([("c1", {"n": 7, "c": "y"})])


@pytest.mark.parametrize(
    ("database_name", "field", "byte"), [(b"columns", 1, 40), (b"counts", 2, 16), (b"postings", 0, -1)]
)
def test_every_write_that_meets_damage_fails(tmp_path: Path, database_name: bytes, field: int, byte: int) -> None:
    with Database.open(tmp_path / "d", create=True) as database:
        account = database.account()
        account.update_schema(
            [Field("n", FieldType.NUMBER), Field("c", FieldType.CATEGORY), Field("t", FieldType.TAGS)]
        )
        account.upsert([(f"c{i}", {"n": 3 * i, "c": "x", "t": {"a"}} if i % 2 else {}) for i in range(50)])
        account.merge()
    damage(tmp_path / "d", database_name, field, byte)
    with Database.open(tmp_path / "d") as database:
        account = database.account()
        for attempt in range(3):
            with pytest.raises(CorruptData):
                account.tag(["c1"], field="t", add=["b"]) if field == 0 else write(account)
            assert account.generation() == 1, attempt
