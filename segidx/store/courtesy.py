"""Who goes first where writing and evaluations share an interpreter: evaluations.

Reading a batch, comparing it and merging are long rows of short steps, each of which takes the interpreter's lock; an
evaluation gives the lock up and asks for it again a few dozen times, and may wait at each of them for as long as Python
lets another thread keep it. So these threads stand aside while an evaluation runs, or is on its way, but none for
longer than it has worked since it last stood aside: it gets half of the time at least. The lock is the process's, and
so is `COURTESY`: evaluations of one account go before writes of another. Imports the standard library only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from types import TracebackType
from typing import TypeVar

# A thread works so long before it looks whether to make way: waking up costs something too.
_STRETCH_SECONDS = 0.001
# And makes way for no longer than this, since a merge's reader keeps old pages from being used again.
_MOST_SECONDS = 0.05
# A question whose call has begun is evaluated within so long, or was refused: its message is still to come, and a
# thread to take it.
_ON_ITS_WAY_SECONDS = 0.005
# So many rows are read between two looks: some tens of microseconds each.
_ROWS = 8

Row = TypeVar("Row")


class Courtesy:
    """The evaluations that run now in this process, as a context for each; and `make_way` for who can wait. Safe for
    threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._running = 0
        self._expected = 0.0  # until then one is on its way
        # `since`: when it waited last; `held`: evaluations that count as running until their call is answered.
        self._thread = threading.local()

    def expect(self) -> None:
        """A question is on its way: `enter` follows soon, or never."""
        self._expected = time.monotonic() + _ON_ITS_WAY_SECONDS

    def enter(self) -> None:
        with self._lock:
            self._running += 1
            self._expected = 0.0

    def leave(self) -> None:
        held = getattr(self._thread, "held", None)
        if held is None:
            self._leave(1)
        else:
            self._thread.held = held + 1

    def _leave(self, ended: int) -> None:
        with self._lock:
            self._running -= ended
            if not self._running:
                self._changed.notify_all()

    @contextmanager
    def until_answered(self) -> Iterator[None]:
        """Around a call: an evaluation that ends within it, in this thread, counts as running until the call does."""
        self._thread.held = 0
        try:
            yield
        finally:
            ended, self._thread.held = self._thread.held, None
            if ended:
                self._leave(ended)

    def __enter__(self) -> None:
        self.enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def make_way(self) -> None:
        """Wait until no evaluation runs or is on its way, for as long as has passed since this thread's last wait at
        most. To be called between two pieces of its work, while it holds no lock that evaluations wait for."""
        now = time.monotonic()
        if not self._running and now >= self._expected:
            return
        worked = now - getattr(self._thread, "since", 0.0)
        if worked < _STRETCH_SECONDS:
            return
        end = now + min(worked, _MOST_SECONDS)
        with self._changed:
            while (until := end if self._running else min(end, self._expected)) > now:
                self._changed.wait(until - now)
                now = time.monotonic()
        self._thread.since = time.monotonic()

    def between(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows, making way every few of them."""
        left = iter(rows)
        while few := list(islice(left, _ROWS)):
            self.make_way()
            yield from few


COURTESY = Courtesy()
"""This process's."""
