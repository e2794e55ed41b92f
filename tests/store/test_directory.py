"""Data directories: making, marking, locking, refusing."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from segidx.database import Database
from segidx.model.errors import (
    AccountExists,
    AlreadyOpenForWriting,
    CorruptData,
    DataDirectoryNotFound,
    InvalidAccountName,
    NewerFormat,
    NotADataDirectory,
    ReadOnly,
    UnknownAccount,
)
from segidx.model.schema import AccountInfo, Field, FieldType


def test_a_missing_directory_is_made_with_a_default_account(tmp_path: Path) -> None:
    with Database.open(tmp_path / "new" / "data", create=True) as database:
        assert [a.name for a in database.accounts()] == ["default"]
        assert database.account().count("everyone").count == 0


def test_files_are_private_to_their_user(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with Database.open(root, create=True) as database:
        database.create_account(AccountInfo("shop"))
        database.account("shop").update_schema([Field("x", FieldType.BOOL)])
    for path in [root, *root.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o077 == 0, f"{path} has mode {mode:o}"


def test_a_directory_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(NotADataDirectory, match="was not made by segidx"):
        Database.open(tmp_path, create=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt"], "nothing is written into it"
    file = tmp_path / "notes.txt"
    with pytest.raises(NotADataDirectory):
        Database.open(file, create=True)


def test_a_missing_directory_is_not_made_unasked(tmp_path: Path) -> None:
    with pytest.raises(DataDirectoryNotFound):
        Database.open(tmp_path / "none")
    with pytest.raises(DataDirectoryNotFound):
        Database.open(tmp_path / "none", read_only=True, create=True)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("marker", ["", "{", "[]", '{"format": "x"}', '{"other": 1}'])
def test_a_broken_marker_is_refused(tmp_path: Path, marker: str) -> None:
    (tmp_path / "segidx.json").write_text(marker)
    with pytest.raises(NotADataDirectory):
        Database.open(tmp_path)


def test_a_newer_directory_is_refused(tmp_path: Path) -> None:
    Database.open(tmp_path / "d", create=True).close()
    (tmp_path / "d" / "segidx.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(NewerFormat, match="upgrade segidx"):
        Database.open(tmp_path / "d")


def test_a_second_writer_is_refused_and_readers_are_not(tmp_path: Path) -> None:
    with Database.open(tmp_path / "d", create=True) as database:
        database.account().update_schema([Field("vip", FieldType.BOOL)])
        database.account().upsert([("a", {"vip": True}), ("b", {})])
        with pytest.raises(AlreadyOpenForWriting, match=str(os.getpid())):
            Database.open(tmp_path / "d")
        code = (
            "import sys; from segidx.database import Database\n"
            "with Database.open(sys.argv[1], read_only=True) as d: print(d.account().count('vip').count)"
        )
        found = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "d")], capture_output=True, text=True, check=True
        )
        assert found.stdout.strip() == "1"
    Database.open(tmp_path / "d").close()


def test_reading_only_refuses_writes(tmp_path: Path) -> None:
    Database.open(tmp_path / "d", create=True).close()
    with Database.open(tmp_path / "d", read_only=True) as database:
        with pytest.raises(ReadOnly):
            database.account().upsert([("a", {})])
        with pytest.raises(ReadOnly):
            database.account().update_schema([Field("x", FieldType.BOOL)])
        with pytest.raises(ReadOnly):
            database.create_account(AccountInfo("other"))


def test_accounts_are_apart(tmp_path: Path) -> None:
    with Database.open(tmp_path / "d", create=True) as database:
        shop = database.create_account(AccountInfo("shop", "Europe/Warsaw", "PLN"))
        shop.update_schema([Field("vip", FieldType.BOOL)])
        shop.upsert([("a", {"vip": True})])
        assert database.account().count("everyone").count == 0
        assert len(database.account().schema()) == 0
        with pytest.raises(AccountExists):
            database.create_account(AccountInfo("shop"))
        with pytest.raises(UnknownAccount, match="account create"):
            database.account("elsewhere")
        for name in ("../default", "", "A", "a/b", ".new-shop", "x" * 64):
            with pytest.raises(InvalidAccountName):
                database.account(name)
    with Database.open(tmp_path / "d") as database:
        assert [(a.name, a.zone, a.currency) for a in database.accounts()] == [
            ("default", "UTC", "USD"),
            ("shop", "Europe/Warsaw", "PLN"),
        ]
        assert database.account("shop").count("vip").count == 1


def test_a_half_made_account_is_no_account(tmp_path: Path) -> None:
    with Database.open(tmp_path / "d", create=True) as database:
        (tmp_path / "d" / "accounts" / ".new-shop").mkdir()
        (tmp_path / "d" / "accounts" / ".new-shop" / "data.mdb").write_bytes(b"x")
        assert [a.name for a in database.accounts()] == ["default"]
        database.create_account(AccountInfo("shop"))
        assert [a.name for a in database.accounts()] == ["default", "shop"]


def test_a_broken_environment_is_corrupt_data(tmp_path: Path) -> None:
    Database.open(tmp_path / "d", create=True).close()
    data = tmp_path / "d" / "accounts" / "default" / "data.mdb"
    data.write_bytes(b"not LMDB at all" * 1000)
    with Database.open(tmp_path / "d") as database, pytest.raises(CorruptData):
        database.account()
