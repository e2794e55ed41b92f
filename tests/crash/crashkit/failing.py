"""A writer whose disk fails single calls, under cutpower.c.

    python -m crashkit.failing DIR --seed 1 --calls 10

For each kind of failure the 1st, 2nd, ... call of a step of batches fails, up to `--calls`, and then of an import of
orders. After each step the process judges what is there, opens the directory again if it has to, and writes on. It
prints what it has seen, a line a kind.
"""

from __future__ import annotations

import argparse
import errno
from collections import Counter
from pathlib import Path

from crashkit import adapter, preloaded
from crashkit.judge import Ledger
from crashkit.steps import Steps
from segidx.database import Database
from segidx.model.errors import SegidxError

# (kind of call, errno); 0 stops a write half-way.
FAILURES = (
    ("write", errno.EIO),
    ("write", errno.ENOSPC),
    ("write", 0),
    ("sync", errno.EIO),
    ("synced write", errno.EIO),  # of LMDB's meta pages
    ("synced write", 0),
)
STEP = 4  # batches


class Owner:
    """Holds the directory open, and opens it again after an error that ends an environment."""

    def __init__(self, directory: Path, ledger: Ledger) -> None:
        self._directory = directory
        self._database = Database.open(directory, create=True)
        adapter.declare(self._database.account())
        self.steps = Steps(self._database.account(), ledger)
        self.reopened = 0

    def recover(self) -> None:
        """Write on; after opening again where the account said, by a typed error, that it cannot be used."""
        if not self.steps.judged or self.steps.write(STEP).failures:
            self.reopen()
            self.steps.check()
            assert not self.steps.write(STEP).failures

    def reopen(self) -> None:
        self._database.close()
        self._database = Database.open(self._directory)
        self.steps.account = self._database.account()
        self.reopened += 1

    def close(self) -> None:
        self._database.close()


def fail_each(owner: Owner, kind: str, error: int, calls: int, *, importing: bool) -> Counter[str]:
    """Let each of the first calls of a step fail, or those of an import; what became of the batches."""
    seen: Counter[str] = Counter()
    for after in range(calls):
        if importing:
            owner.steps.skip_to_an_import()
        preloaded.fail(kind, after, error)
        try:
            run = owner.steps.write(STEP)
            seen.update(f"{run.what(index)}: {reason}" for index, reason in run.failures.items())
            seen.update(f"merge: {reason}" for reason in run.unmerged)
        except SegidxError as error_of_reading:
            seen[f"reading: {error_of_reading.reason}"] += 1
        failed = preloaded.failed()
        preloaded.fail(kind, 0, 0, times=0)
        seen["calls failed"] += failed
        owner.recover()
    return seen


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--calls", type=int, required=True)
    arguments = parser.parse_args()
    adapter.use_small_pieces()
    owner = Owner(arguments.directory, Ledger(arguments.seed))
    assert not owner.steps.write(STEP).failures
    for kind, error in FAILURES:
        for importing in (False, True):
            seen = fail_each(owner, kind, error, arguments.calls, importing=importing)
            name = f"{kind} {errno.errorcode.get(error, 'stopped half-way')}{' of an import' if importing else ''}"
            print(f"{name}: {dict(sorted(seen.items()))}, opened again {owner.reopened} times", flush=True)
            assert seen["calls failed"] > 0
            assert seen["import: STORAGE_FULL"] or seen["reading: DISK_FAILED"] or not importing
    print(f"{owner.steps.ledger.begun} imports left the contacts that they create, and no order")
    assert owner.steps.ledger.begun > 0
    owner.reopen()
    owner.steps.check()
    owner.close()


if __name__ == "__main__":
    main()
