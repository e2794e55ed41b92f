"""Random lives of an account: all kinds of writes, merges, reopening and a second process, against the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from segidx.model.results import WriteResult
from segidx.model.writes import ContactWrite
from segidx.testing import oracle_writes
from segidx.testing.account_lives import EVERYTHING, Life, leave_unmerged, live, shrink
from segidx.testing.effort import seeds
from segidx.testing.generator import RandomChooser
from segidx.testing.generator_writes import WRITTEN, WriteGenerator
from segidx.testing.oracle_writes import Step
from segidx.testing.places import quick_directory
from segidx.testing.reader import Reader


@pytest.fixture
def place() -> Iterator[Path]:
    with quick_directory() as directory:
        yield directory


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch.setattr)


@pytest.mark.parametrize("seed", seeds(2))
def test_a_random_life(place: Path, seed: int) -> None:
    with closing(Life(place / "d", seed)) as life:
        live(life, 42, EVERYTHING)


def test_a_life_that_another_process_reads(place: Path) -> None:
    """It opens the account once, and follows through commits, merges, bulk batches and restarts of the writer."""
    with closing(Life(place / "d", 50)) as life, Reader(place / "d", "test") as life.reader:
        live(life, 30, EVERYTHING)


def test_a_life_of_single_rows_in_one_segment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small commits over a few contacts, nothing merged: the overlay has it all."""
    leave_unmerged(monkeypatch.setattr)
    with closing(Life(place / "d", 60)) as life:
        life.ids = life.ids[:7]
        live(life, 60, (("write", 5), ("write_in_waves", 2), ("write_apart", 2), ("tag", 3), ("reopen", 1)))
        assert life.account.stats().merged_generation == 0
        life.merge()
        life.check_all()


def test_writers_in_threads(place: Path) -> None:
    """Each has contacts of its own: its batches are committed in its order, whatever the others do."""
    with closing(Life(place / "d", 70)) as life:
        histories: list[list[tuple[list[ContactWrite], Future[WriteResult]]]] = [[] for _ in range(3)]

        def work(number: int) -> None:
            ids = [f"thread {number} contact {i}" for i in range(9)]
            chooser = RandomChooser(np.random.default_rng(number))
            generator = WriteGenerator(chooser, WRITTEN, life.pools, ids)
            for _ in range(40):
                rows = [row for row in generator.rows(6) if len(row.contact_id) > 2]  # those to be refused are c1 to c4
                histories[number].append((rows, life.account.submit(rows)))

        threads = [Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            life.account.merge()
        for thread in threads:
            thread.join()
        commits: dict[int, list[Step]] = {}
        for history in histories:
            generations = [future.result(20).generation for _, future in history]
            assert generations == sorted(generations)
            for (rows, future), generation in zip(history, generations, strict=True):
                wanted = oracle_writes.write(life.oracle, rows)
                assert future.result().created == wanted.result.created
                commits.setdefault(generation, []).extend(step for step in wanted.steps if step.before != step.after)
        life.generation = max(commits)
        life.steps = commits
        # In order of their making they are not, since the threads took turns.
        life.check_all()
        life.merge()
        life.check_all()
