"""A merger slept for good once it had merged everything, until the log was full; one of a log that was full already
when its writer began was never started, so that the first commit waited for ever; and an error of another kind than
its own ended it, with the same end. And one that failed behind the merge point left what it had merged counted as not
merged, so that commits waited for room that there was."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from segidx.database import Database
from segidx.ingest import merger
from segidx.model.errors import StorageFull
from segidx.model.writes import ContactWrite
from segidx.store import merge


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it waits for ever"
        time.sleep(0.01)


def test_small_writes_are_merged_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merger, "MERGE_SECONDS", 0.02)
    with Database.open(tmp_path / "d", create=True) as database:
        account = database.account()
        for number in range(4):
            account.write([ContactWrite(f"c{number}")])
            until(lambda: account.stats().merged_generation == account.generation())
            assert account.count("everyone").count == number + 1


def test_a_writer_begins_with_a_full_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Database.open(tmp_path / "d", create=True) as database:
        database.account().write([ContactWrite("a")])
    monkeypatch.setattr(merger, "ROOM_BYTES", 20)
    monkeypatch.setattr(merger, "MERGE_BYTES", 10)
    with Database.open(tmp_path / "d") as database:
        account = database.account()
        assert account.stats().log_bytes > 20
        assert account.submit([ContactWrite("b")]).result(20).created == 1
        assert account.count("everyone").count == 2


def test_an_unexpected_error_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, attempts = merger.merge, []

    def failing(*arguments: object) -> object:
        attempts.append(arguments)
        if len(attempts) < 3:
            raise MemoryError("for a test")
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(merger, "merge", failing)
    monkeypatch.setattr(merger, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(merger, "MERGE_SECONDS", 0.01)
    with Database.open(tmp_path / "d", create=True) as database:
        account = database.account()
        account.write([ContactWrite("a")])
        until(lambda: account.stats().merged_generation == 1)
        assert len(attempts) == 3


def test_what_a_failed_merge_did_counts_as_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merger, "MERGE_SECONDS", 1000.0)
    with Database.open(tmp_path / "d", create=True) as database:
        account = database.account()
        account.write([ContactWrite(f"a{i}") for i in range(100)])
        monkeypatch.setattr(merger, "ROOM_BYTES", account.stats().log_bytes)

        def full(*_: object) -> bool:
            raise StorageFull("for a test")

        with monkeypatch.context() as patch:
            patch.setattr(merge, "trim_log", full)
            with pytest.raises(StorageFull):
                account.merge()
        assert account.stats().merged_generation == 1
        account.merge()
        assert account.submit([ContactWrite("b")]).result(20).created == 1
