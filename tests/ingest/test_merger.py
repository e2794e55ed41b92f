"""When the merger merges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.ingest import merger
from segidx.model.writes import ContactWrite


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setattr(merger, "MERGE_SECONDS", 1000.0)
    with Database.open(tmp_path / "d", create=True) as database:
        yield database.account()


def test_a_merge_that_is_not_worth_its_bytes_is_put_off(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    account.write([ContactWrite("a")])
    its = account._writer.merger
    log_bytes = account.stats().log_bytes
    assert (its._to_wait(0), its._to_wait(400), its._to_wait(1000)) == (1000, 600, 0)
    monkeypatch.setattr(merger, "LITTLE_BYTES", 10)
    its._written = merger.WORTH * log_bytes
    assert (its._to_wait(400), its._to_wait(1000)) == (600, 0)
    its._written += 1
    assert (its._to_wait(400), its._to_wait(1000), its._to_wait(9500), its._to_wait(10_000)) == (600, 1000, 500, 0)
    monkeypatch.setattr(merger, "LITTLE_BYTES", its._written)
    assert its._to_wait(1000) == 0
    monkeypatch.setattr(merger, "LITTLE_BYTES", 10)
    monkeypatch.setattr(merger, "MERGE_BYTES", log_bytes)
    assert its._to_wait(0) == 0


def test_what_a_merge_wrote_is_known_until_the_next_that_folds_anything(account: Account) -> None:
    account.write([ContactWrite("a")])
    its = account._writer.merger
    account.merge()
    written = its._written
    assert written > 0
    account.merge()
    assert its._written == written
    assert its._to_wait(0) == 0  # there is nothing to wait for
