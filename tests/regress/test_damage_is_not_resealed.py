"""A flipped bit in a column chunk or a counts block was once rewritten under a fresh checksum by the next upsert."""

from __future__ import annotations

from pathlib import Path

import lmdb
import pytest

from segidx.database import Database
from segidx.model.errors import CorruptData
from segidx.model.schema import Field, FieldType


@pytest.mark.parametrize(("database_name", "field", "byte"), [(b"columns", 1, 40), (b"counts", 2, 16)])
def test_the_writer_never_builds_on_damage(tmp_path: Path, database_name: bytes, field: int, byte: int) -> None:
    with Database.open(tmp_path / "d", create=True) as database:
        account = database.account()
        account.update_schema([Field("n", FieldType.NUMBER), Field("c", FieldType.CATEGORY)])
        account.upsert([(f"c{i}", {"n": 3 * i, "c": "x"}) for i in range(50)])
        account.merge()
    env = lmdb.open(str(tmp_path / "d" / "accounts" / "default"), max_dbs=8)
    with env.begin(write=True) as txn:
        db = env.open_db(database_name, txn=txn)
        for key, value in list(txn.cursor(db=db)):
            if key[:2] == field.to_bytes(2, "big"):
                damaged = bytearray(value)
                damaged[byte] ^= 1
                txn.put(key, bytes(damaged), db=db)
    env.close()
    with Database.open(tmp_path / "d") as database:
        with pytest.raises(CorruptData, match="checksum"):
            database.account().upsert([("c1", {"n": 7, "c": "y"})])
        assert database.account().stats().generation == 1
