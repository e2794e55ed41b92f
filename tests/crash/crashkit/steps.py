"""Batches under load in steps, each judged in the process that wrote it."""

from __future__ import annotations

import threading

from crashkit import adapter
from crashkit.judge import Ledger
from crashkit.load import batch
from crashkit.observe import observed
from crashkit.report import Run
from crashkit.writer import write_under_load
from segidx.database import Account


class Steps:
    """The next batches of a load, written to an account that may be closed and opened in between."""

    def __init__(self, account: Account, ledger: Ledger) -> None:
        self.account = account
        self.ledger = ledger
        self._next = 1
        self._unjudged = Run()

    def skip_to_an_import(self) -> None:
        """Let the next step begin with an import of orders that has nothing to merge, and contacts to create if one of
        the next has."""
        adapter.merge(self.account)
        next_ones = [batch(number, self.ledger.seed) for number in range(self._next, self._next + 100)]
        imports = [each for each in next_ones if each.kind == "orders"]
        self._next = next((each for each in imports if self.ledger.model.buyers_missing(each)), imports[0]).number

    def write(self, batches: int) -> Run:
        """Write so many batches with merges, judge what is there, and return what was reported.

        Raises Lost, and SegidxError where the account cannot be read: `check` then judges, once it can be.
        """
        run, lock = self._unjudged, threading.Lock()

        def say(line: str) -> None:
            with lock:
                run.add(line)

        write_under_load(self.account, iter(range(self._next, self._next + batches)), self.ledger.seed, say)
        self._next += batches
        self.check()
        return run

    @property
    def judged(self) -> bool:
        """Whether the last step has been judged: it has not when the account could not be read."""
        return not self._unjudged.numbers

    def check(self) -> None:
        """Judge what is there after the last step. Raises Lost, SegidxError."""
        observation = observed(self.account)
        run, self._unjudged = self._unjudged, Run()
        assert self.ledger.settle(run, observation) == 0
