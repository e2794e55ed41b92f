"""A directory that a process had open was called damaged when the process opened it to read, and nothing was wrong with
it but that."""

from __future__ import annotations

from pathlib import Path

import pytest

from segidx.database import Database
from segidx.model.errors import AlreadyOpen


def test_what_is_open_here_is_not_damaged(tmp_path: Path) -> None:
    with Database.open(tmp_path / "d", create=True) as first:
        first.account().upsert([("anna", {})])
        with (
            Database.open(tmp_path / "d", read_only=True) as second,
            pytest.raises(AlreadyOpen, match="already open in this process; share"),
        ):
            second.account()
        assert first.account().count("everyone").count == 1
    with Database.open(tmp_path / "d", read_only=True) as alone:
        assert alone.account().count("everyone").count == 1
