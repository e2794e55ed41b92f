"""Verifying: every invariant of every structure of an account, each broken one a sentence.

First every stored value on its own (`strings` of string tables, `stored` of the others), events also against one
another (`events`), then the catalogue of products (`products`) and what commits leave: log, change feed, receipts
(`commits`), the process's overlay against the log (`overlay`), and last what must say the same in several ways, as
readers see it: the base under the overlay (`across`). What could not be read is named once and not compared with
anything.

All of it sees one state of the account, through one read transaction that stays open until the end: writers go on
meanwhile, but cannot reuse the pages that they give up, so that the file may grow. Nothing is written. The memory is
that of one shard of one field, of its stored keys and counts, of the events of one range and month, of a bit for each
order, and of some copies of the overlay.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Iterator

import lmdb

from segidx.model.errors import CorruptData
from segidx.store.caches import Caches
from segidx.store.derived import Bind
from segidx.store.environment import AccountStore
from segidx.store.layout import DB_STRINGS, IDS_TABLE
from segidx.store.snapshot import Snapshot
from segidx.store.verify.across import check_across
from segidx.store.verify.commits import check_feed, check_log, check_receipts
from segidx.store.verify.context import Context
from segidx.store.verify.derived import check_derived
from segidx.store.verify.events import check_events
from segidx.store.verify.overlay import check_overlay
from segidx.store.verify.products import check_products
from segidx.store.verify.stored import check_catalog, check_columns, check_counts, check_postings
from segidx.store.verify.strings import check_strings

__all__ = ["Verification"]


class Verification(Iterator[str]):
    """One verification of an account; iterate to run it: each item is one problem, and a sound account has none.

    `check` is called often, and may raise to stop it; `bind` binds the filters of derived numbers, whose columns are
    compared with the events then. A verification not run to its end should be closed, so that its
    transaction ends.
    """

    def __init__(
        self, store: AccountStore, check: Callable[[], None] = lambda: None, bind: Bind = lambda _: ()
    ) -> None:
        self._store = store
        self._check = check
        self._bind = bind
        self._context: Context | None = None
        self._problems = self._run()
        self.problems = 0  # found until now

    @property
    def checked(self) -> int:
        """Structures looked at until now: stored values, string tables, and comparisons between them."""
        return self._context.checked if self._context else 0

    def __next__(self) -> str:
        problem = next(self._problems)
        self.problems += 1
        return problem

    def close(self) -> None:
        """End the read transaction."""
        self._problems.close()

    def _run(self) -> Generator[str, None, None]:
        store = self._store
        try:
            store.state()
        except CorruptData as problem:
            yield problem.message
            return
        txn = store.begin()
        try:
            yield from self._within(txn)
        except lmdb.Error as error:
            yield f"{store.path}: its pages cannot be read ({error}); restore from a backup"
        finally:
            txn.abort()

    def _within(self, txn: lmdb.Transaction) -> Iterator[str]:
        store = self._store
        try:
            c = self._context = Context(txn, store.databases, self._check)
        except CorruptData as problem:
            yield problem.message
            return
        # Now, while the process's overlay is that of the transaction. Own caches: what others hold is not looked at.
        failure = ""
        try:
            c.snapshot = Snapshot(txn, store.databases, Caches(store.overlay))
        except CorruptData as problem:
            failure = problem.message
        except struct.error as error:  # keys of the log that are none
            failure = f"the account cannot be read ({error})"
        yield from check_catalog(c, store.path.name)
        for part in (check_strings, check_postings, check_columns, check_counts, check_events, check_products):
            yield from part(c)
        sound = yield from check_log(c)
        yield from check_feed(c)
        yield from check_receipts(c)
        if c.snapshot is None:
            if sound and c.readable(DB_STRINGS, IDS_TABLE):  # or else it was told
                yield failure
        elif sound and (yield from check_overlay(c, c.snapshot)):
            yield from check_across(c, c.snapshot)
            yield from self._derived(c, c.snapshot)

    def _derived(self, c: Context, snapshot: Snapshot) -> Iterator[str]:
        try:
            maintained = self._bind(snapshot)
        except CorruptData as problem:
            yield problem.message
            return
        yield from check_derived(c, snapshot, maintained)
