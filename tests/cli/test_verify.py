"""`segidx verify` on directories, sound and damaged, also while another process has them open."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from segidx.cli.main import EXIT_CODES
from segidx.database import Database
from segidx.model.errors import Kind
from segidx.model.schema import AccountInfo
from segidx.store.layout import DATABASES, block_key

CORRUPT = EXIT_CODES[Kind.CORRUPT]


@pytest.fixture
def data(tmp_path: Path, segidx, csv_file) -> Path:
    """Two accounts with the contacts of the file."""
    path = tmp_path / "data"
    assert segidx("account", "create", "shop", "--data", path).code == 0
    for name in ("default", "shop"):
        assert segidx("import", "contacts", csv_file, "--id", "id", "--data", path, "--account", name).code == 0
    with Database.open(path) as database:
        for info in database.accounts():
            database.account(info.name).merge()
    return path


def damage(data: Path, account: str, database: bytes, key: bytes, at: int) -> None:
    """Flip a bit of a stored value."""
    with lmdb.open(str(data / "accounts" / account), max_dbs=len(DATABASES), map_size=1 << 30) as env:
        db = env.open_db(database, create=False)
        with env.begin(write=True) as txn:
            value = bytearray(txn.get(key, db=db))
            value[at] ^= 1
            txn.put(key, bytes(value), db=db)


def test_a_sound_directory(segidx, data: Path, monkeypatch):
    found = segidx("verify", "--data", data)
    assert (found.code, found.err) == (0, "")
    assert found.out.startswith("sound: ")
    assert found.out.endswith(" structures checked\n")
    assert found.out.count("\n") == 1
    assert int(found.out.split()[1].replace(",", "")) > 20
    both = segidx("verify", "--data", data, "--all")
    assert (both.code, both.out.count("\n")) == (0, 1)
    assert int(both.out.split()[1].replace(",", "")) > int(found.out.split()[1].replace(",", ""))
    monkeypatch.setenv("SEGIDX_DATA", str(data))
    assert segidx("verify", "--account", "shop").code == 0


def test_each_problem_is_a_line_and_the_last_says_how_many(segidx, data: Path):
    damage(data, "shop", b"counts", block_key(2, 0), 2)
    damage(data, "shop", b"columns", block_key(3, 0), 20)
    found = segidx("verify", "--data", data, "--account", "shop")
    assert found.code == CORRUPT == 8
    assert found.err == ""
    *lines, last = found.out.splitlines()
    assert last == "2 problems"
    assert sorted(line[:26] for line in lines) == ["column of field 3 ('income", "counts of field 2 ('countr"]
    assert segidx("verify", "--data", data).code == 0, "the other account is sound"
    every = segidx("verify", "--data", data, "--all")
    assert every.code == CORRUPT
    assert every.out.splitlines() == [*(f"shop: {line}" for line in lines), "2 problems"]


def test_an_account_that_cannot_be_opened_is_one_problem(segidx, data: Path):
    with lmdb.open(str(data / "accounts" / "default"), max_dbs=len(DATABASES), map_size=1 << 30) as env:
        meta = env.open_db(b"meta", create=False)
        with env.begin(write=True) as txn:
            assert txn.delete(b"schema", db=meta)
    found = segidx("verify", "--data", data, "--all")
    assert found.code == CORRUPT
    assert found.out == "default: the catalog has no 'schema'; restore from a backup\n1 problem\n"
    assert segidx("verify", "--data", data, "-a", "shop").code == 0


def test_while_another_process_has_it_open_for_writing(data: Path):
    with Database.open(data) as database:
        account = database.account()
        account.upsert([("dora", {"country": "FR"})])
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-m", "segidx.cli", "verify", "--data", data], capture_output=True, text=True
            )
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.startswith("sound: ")
            account.merge()
        assert account.count("everyone").count == 4


def test_what_is_asked_wrongly(segidx, data: Path, tmp_path: Path):
    assert segidx("verify").code == 2
    assert "say where the contacts are" in segidx("verify").err
    assert segidx("verify", "--data", data, "--all", "--account", "shop").code == 2
    assert segidx("verify", "--data", data, "--account", "nobody").code == 3
    assert segidx("verify", "--data", tmp_path / "nowhere").code == 3
    assert segidx("verify", "--server", "localhost:1").code == 2


def test_an_empty_account_is_sound(segidx, tmp_path: Path):
    with Database.open(tmp_path / "new", create=True) as database:
        database.create_account(AccountInfo("none"))
    found = segidx("verify", "--data", tmp_path / "new", "--account", "none")
    assert re.fullmatch(r"sound: \d+ structures checked\n", found.out)
