"""A writer whose disk fills up, and gets room again.

    python -m crashkit.starved DIR --seed 1 --how limit|tmpfs

"limit" bounds the size of its files (RLIMIT_FSIZE). "tmpfs" expects DIR to lie on a small file system of its own; other
files fill it up. The process judges what is there at each step and prints a sentence about what it has seen; it ends
with an error where something acknowledged is missing, or something refused is there.
"""

from __future__ import annotations

import argparse
import os
import resource
import threading
from pathlib import Path

import pytest

from crashkit import adapter, stored
from crashkit.judge import Ledger
from crashkit.steps import Steps
from segidx.database import Account, Database, system_clock
from segidx.model.errors import StorageFull

STEP = 20  # batches
REFUSALS = 3  # to be seen before there is room again
ROOM = 64 << 10  # left when the disk begins to be full
READERS = 200  # at once, more than a page of LMDB's reader table holds


class Clock:
    """The time; threads named "reader" get it when READERS of them ask, all of them within an evaluation."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(READERS)

    def __call__(self) -> int:
        if threading.current_thread().name == "reader":
            self._barrier.wait(timeout=60)
        return system_clock()


def read_at_once(account: Account) -> None:
    """Reading needs no room, however many do: a reader table that has to grow on a full disk would kill the process."""
    answers: list[int] = []
    everyone = account.count("everyone").count
    threads = [
        threading.Thread(target=lambda: answers.append(account.count("everyone").count), name="reader")
        for _ in range(READERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [everyone] * READERS


class Scarcity:
    """Takes room away and gives it back."""

    def __init__(self, directory: Path, how: str) -> None:
        self._directory = directory
        self._how = how
        self._ballast = directory.parent / "ballast"

    def begin(self) -> None:
        if self._how == "limit":
            sizes = [path.stat().st_size for path in self._directory.rglob("*.mdb")]
            resource.setrlimit(resource.RLIMIT_FSIZE, (max(sizes) + ROOM, resource.RLIM_INFINITY))
            return
        disk = os.statvfs(self._directory)
        with self._ballast.open("wb") as file:
            file.write(bytes(disk.f_bavail * disk.f_frsize - ROOM))

    def end(self) -> None:
        if self._how == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        else:
            self._ballast.unlink()


def check_refusal(account: Account) -> None:
    """The error of a full disk is typed and says what became of the batch."""
    with pytest.raises(StorageFull, match="nothing of this batch was written"):
        account.upsert([(f"c{i}", {"note": f"{i} " + "x" * 2000}) for i in range(4000)])  # each of its own
    known = next(iter(stored.contacts(account)[0]))
    with pytest.raises(StorageFull, match="nothing of this batch was written"):
        adapter.import_long_ids(account, known, 30_000)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--how", choices=("limit", "tmpfs"), required=True)
    arguments = parser.parse_args()
    adapter.use_small_pieces()
    scarcity = Scarcity(arguments.directory, arguments.how)
    ledger = Ledger(arguments.seed)
    refused: list[str] = []
    unmerged: list[str] = []
    imports = 0  # refused
    with Database.open(arguments.directory, create=True, clock=Clock()) as database:
        steps = Steps(database.account(), ledger)
        adapter.declare(steps.account)
        assert not steps.write(STEP).failures
        scarcity.begin()
        for _ in range(100):
            if len(refused) >= REFUSALS and imports:
                break
            run = steps.write(STEP)
            refused += run.failures.values()
            imports += len([index for index in run.failures if run.what(index) == "import"])
            unmerged += run.unmerged
        check_refusal(steps.account)
        read_at_once(steps.account)
        steps.check()
        scarcity.end()
        run = steps.write(STEP)
        assert not run.failures, run.failures
        assert not run.unmerged, run.unmerged
    assert len(refused) >= REFUSALS, "the disk did not fill up"
    assert imports, "no import of orders was refused"
    assert set(refused) == {StorageFull.reason}, refused
    assert set(unmerged) <= {StorageFull.reason}, unmerged
    with Database.open(arguments.directory) as database:
        steps = Steps(database.account(), ledger)
        steps.check()
        adapter.merge(steps.account)
        steps.check()
    refusals = f"{len(refused)} batches ({imports} of them imports) and {len(unmerged)} merges refused"
    print(f"{refusals}, {len(ledger.settled)} batches there, {ledger.begun} imports whose contacts alone are")


if __name__ == "__main__":
    main()
