"""Who goes first where a merge and evaluations share an interpreter: evaluations.

A merge is a long row of short steps, each of which takes the interpreter's lock; an evaluation gives the lock up and
asks for it again a few dozen times, and may wait at each of them. So a merge stands aside while an evaluation runs, but
never for longer than since it last stood aside: it gets half of the time at least. Imports the standard library only.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

# A merge works so long before it looks whether to make way: waking up costs something too.
_STRETCH_SECONDS = 0.001
# And makes way for no longer than this, since its reader keeps old pages from being used again.
_MOST_SECONDS = 0.05


class Courtesy:
    """The evaluations that run now in this process, as a context for each; and `make_way` for who can wait. Safe for
    threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._running = 0
        self._since = 0.0  # when whoever makes way waited last

    def enter(self) -> None:
        with self._lock:
            self._running += 1

    def leave(self) -> None:
        with self._lock:
            self._running -= 1
            if not self._running:
                self._changed.notify_all()

    def __enter__(self) -> None:
        self.enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def make_way(self) -> None:
        """Wait until no evaluation runs, for as long as has passed since the last wait at most. For one thread, between
        two pieces of its work, while it holds no lock that others wait for."""
        if not self._running:
            return
        worked = time.monotonic() - self._since
        if worked < _STRETCH_SECONDS:
            return
        with self._changed:
            self._changed.wait_for(self._idle, min(worked, _MOST_SECONDS))
        self._since = time.monotonic()

    def _idle(self) -> bool:
        return not self._running
