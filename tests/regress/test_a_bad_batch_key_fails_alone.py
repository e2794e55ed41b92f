"""A batch key with a lone surrogate was found out in the commit, where it failed every batch of the group."""

from __future__ import annotations

from pathlib import Path

import pytest

from segidx.database import Database
from segidx.model.errors import InvalidArgument
from segidx.model.writes import MAX_BATCH_KEY_BYTES, ContactWrite


def test_a_bad_key_is_refused_before_it_is_queued(tmp_path: Path) -> None:
    with Database.open(tmp_path / "d", create=True) as database:
        account = database.account()
        others = [account.submit([ContactWrite(f"a{i}")]) for i in range(3)]
        for key in ("\ud800", "é" * (MAX_BATCH_KEY_BYTES // 2 + 1), "x" * (MAX_BATCH_KEY_BYTES + 1)):
            with pytest.raises(InvalidArgument, match="batch key"):
                account.submit([ContactWrite("b")], batch_key=key)
        others.append(account.submit([ContactWrite("c")], batch_key="é" * (MAX_BATCH_KEY_BYTES // 2)))
        assert [future.result(20).created for future in others] == [1, 1, 1, 1]
        assert account.count("everyone").count == 4
