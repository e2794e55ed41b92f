"""When to merge: a thread that folds the log into the base once enough has come together, or has waited long enough.

It starts with the first commit and sleeps while there is nothing to merge.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from segidx.ingest.derived import bind_kept, keep_all, lacks_columns
from segidx.store.catalog import read_events_merged
from segidx.store.environment import AccountStore
from segidx.store.layout import DB_META
from segidx.store.merge import merge
from segidx.store.overlay import View
from segidx.store.snapshot import Snapshot

log = logging.getLogger(__name__)

_Done = TypeVar("_Done")

# A segment is closed at this size, so that merging the deltas of one never takes long.
SEGMENT_BYTES = 4 << 20
# A merge begins when the log holds so much: each rewrites much of the base, however little the log holds.
MERGE_BYTES = 64 << 20
# Or when the oldest change has waited so long,
MERGE_SECONDS = 60.0
# and the log holds enough to be worth what a merge writes, by the last one: a merge of random changes over a large base
# writes much the same whether it folds 10 MB or 60. Little is always worth it.
WORTH = 16  # bytes of the base for one of the log
LITTLE_BYTES = 64 << 20
# So many times as long a merge is put off at most.
PATIENCE = 10
# Commits wait for the merge when the log holds so much: what readers hold in memory stays bounded.
ROOM_BYTES = 128 << 20
_RETRY_SECONDS = 5.0
# Columns that a bulk commit has left behind are built when none has come for so long: imports make many.
QUIET_SECONDS = 3.0
# As in nice(1). A tenth of a busy processor is left to a merge: what waits for the write lock must not wait for long.
_NICENESS = 10


class Merger:
    """Merges one account's log. Safe for threads; one merge runs at a time."""

    def __init__(self, store: AccountStore, clock: Callable[[], int]) -> None:
        self._store = store
        self._clock = clock
        self._merging = threading.Lock()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._log_bytes: int | None = None  # not merged; None until the log was looked at
        self._written = 0  # by the last merge that folded anything; 0 until there was one
        self._choosing = threading.Lock()
        self._closed: int | None = None  # the generation up to which segments are; None until it was looked up
        self._failure: Exception | None = None
        self._to_build = False  # whether columns of derived numbers are to be begun or gone on with
        self._build_at = 0.0  # not before this instant of the monotonic clock

    @contextlib.contextmanager
    def choosing(self) -> Iterator[None]:
        """Around a commit, from before its snapshot until it is published: no merge closes its segment meanwhile."""
        with self._choosing:
            yield

    def segment_of_next(self, view: View) -> int:
        """The segment that the next commit after a view belongs to: never one that a merge has chosen. To be called,
        and the commit to be made, within `choosing`."""
        last = view.segments[-1] if view.segments else None
        if last is None or last.last <= self._closed_through() or last.log_bytes >= SEGMENT_BYTES:
            return view.generation + 1
        return last.number

    def _closed_through(self) -> int:
        if self._closed is None:
            with self._store.begin() as txn:
                merged = read_events_merged(txn, self._store.databases[DB_META])
            # A merge that was cut short has chosen already what it folds.
            self._closed = 0 if merged is None else merged.generation
        return self._closed

    def _close(self) -> Snapshot:
        """A snapshot after which no commit joins a segment that it sees."""
        with self._choosing:
            closed = self._closed_through()
            snapshot = self._store.snapshot()
            self._closed = max(closed, snapshot.generation)
            return snapshot

    def note(self, log_bytes: int) -> None:
        """A commit has added so many bytes to the log."""
        with self._changed:
            before = self._unmerged()
            self._log_bytes = before + log_bytes
            self._start()
            if not before or self._log_bytes >= MERGE_BYTES:
                self._changed.notify_all()

    def begin(self) -> None:
        """See to what the log holds already, as the writer before has left it."""
        with self._changed:
            self._to_build = self._to_build or lacks_columns(self._store)
            if self._unmerged() or self._to_build:
                self._start()

    def keep_derived(self) -> None:
        """Other derived numbers are to be kept than before: see to their columns now, in the thread."""
        with self._changed:
            self._to_build = lacks_columns(self._store)
            if self._to_build:
                self._start()
                self._changed.notify_all()

    def keep_derived_later(self) -> None:
        """Columns of derived numbers were left behind by a bulk commit: see to them when no more come."""
        with self._changed:
            self._to_build, self._build_at = True, time.monotonic() + QUIET_SECONDS
            self._start()
            self._changed.notify_all()

    def build(self) -> None:
        """Build what columns of derived numbers lack, on this thread. Raises StorageFull, CorruptData."""
        with self._merging:
            self._keep_all(lambda: self._closing)

    def _keep_all(self, stop: Callable[[], bool] = lambda: False) -> None:
        with self._changed:
            self._to_build = False  # what is declared from now on sets it again
        try:
            keep_all(self._store, stop)
        except BaseException:
            with self._changed:
                self._to_build = True
            raise

    def _build_due(self) -> bool:
        return self._to_build and time.monotonic() >= self._build_at

    def wait_for_room(self) -> None:
        """Return when the log may grow. Raises why merging fails, while it is too large."""
        with self._changed:
            while self._unmerged() >= ROOM_BYTES and not self._closing:
                if self._failure is not None:
                    raise self._failure
                self._start()  # the log may be full already when its writer begins
                self._changed.notify_all()
                self._changed.wait(1.0)

    def _start(self) -> None:
        if self._thread is None and not self._closing:
            self._thread = threading.Thread(target=self._run, name="segidx-merger", daemon=True)
            self._thread.start()

    def merge_all(self, *, build: bool = True) -> None:
        """Fold all that is committed into the base now, and build what columns of derived numbers lack. Raises
        StorageFull, CorruptData."""
        with self._merging:
            merged = merge(self._store, self._clock(), self._close, bind_kept)
            if build:
                self._keep_all()
            self._store.clear_stale_readers()
        with self._changed:
            self._log_bytes = None  # counted anew: an earlier merge may have failed behind its merge point
            self._failure = None
            if merged.log_bytes:
                self._written = merged.written
            self._changed.notify_all()

    def unless_merging(self, work: Callable[[], _Done]) -> _Done | None:
        """Do something while no merge runs; None, and nothing is done, when one does."""
        if not self._merging.acquire(blocking=False):
            return None
        try:
            return work()
        finally:
            self._merging.release()

    def wait_for_merge(self) -> None:
        """Return when the merge that is running has ended."""
        with self._merging:
            pass

    def close(self) -> None:
        """End the thread; a merge that is running ends first. What is not merged stays in the log."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _to_wait(self, waited: float) -> float:
        """Seconds until one looks again whether to merge, 0 to merge now; so long has `waited` what came first."""
        unmerged = self._unmerged()
        if not 0 < unmerged < MERGE_BYTES:
            return 0.0
        if waited < MERGE_SECONDS or self._written <= max(LITTLE_BYTES, WORTH * unmerged):
            return max(0.0, MERGE_SECONDS - waited)
        return min(MERGE_SECONDS, max(0.0, PATIENCE * MERGE_SECONDS - waited))

    def _unmerged(self) -> int:
        if self._log_bytes is None:
            with self._store.snapshot() as snapshot:
                self._log_bytes = snapshot.view.log_bytes
        return self._log_bytes

    def _run(self) -> None:
        _stand_back()
        while True:
            with self._changed:
                while not self._closing and not self._unmerged() and not self._build_due():
                    self._changed.wait(max(0.0, self._build_at - time.monotonic()) if self._to_build else None)
                building = self._build_due() and not self._closing
                # Whatever has come by the end of the wait is merged, so that readers need no log for long.
                begun = time.monotonic()
                while not self._closing and not building and (left := self._to_wait(time.monotonic() - begun)) > 0:
                    self._changed.wait(left)
                if self._closing:
                    return
                if not self._unmerged() and not building:
                    continue
            try:
                if building:
                    self.build()
                    continue
                self.merge_all()
            except Exception as error:  # whatever it is, a merger that died would let the log fill up for good
                log.exception("a merge failed, and is tried again")
                with self._changed:
                    self._failure = error
                    self._changed.notify_all()
                    if not self._closing:
                        self._changed.wait(_RETRY_SECONDS)


def _stand_back() -> None:
    """Let every other thread have the processor first: this one can wait. Only Linux has a priority for each thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
