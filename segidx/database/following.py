"""Following what is committed to an account."""

from __future__ import annotations

import time

from segidx.database.opened import Opened, checked
from segidx.exec.feed import read_feed
from segidx.kernels.bitmaps import Stop
from segidx.model.errors import GenerationNotReached
from segidx.model.writes import Changes


class Following(Opened):
    """The part of Account that tells of generations."""

    def generation(self) -> int:
        """The newest committed generation."""
        return self._store.state().generation

    def wait_for_generation(self, generation: int, *, stop: Stop | None = None, timeout: float = 10.0) -> None:
        """Return when the generation is committed. Raises GenerationNotReached after `timeout` seconds, Stopped's
        errors (Cancelled, DeadlineExceeded) earlier."""
        end = time.monotonic() + timeout
        pause, look = 0.001, checked(stop)
        while (current := self.generation()) < generation:
            look()
            left = end - time.monotonic()
            if left <= 0:
                raise GenerationNotReached(
                    f"generation {generation} was not committed in time; the newest is {current}:"
                    " ask again, or for one that a write has returned",
                    generation=generation,
                    current=current,
                )
            time.sleep(min(pause, left))
            pause = min(pause * 2, 0.05)

    def changes(self, after: int, *, max_contacts: int = 10_000) -> list[Changes]:
        """What was committed behind the generation `after`, oldest first: whole generations, one where there is any,
        and more until they hold `max_contacts`.

        Raises GenerationExpired when changes behind `after` are no longer kept, and InvalidArgument when `after` is in
        the future.
        """
        with self._store.snapshot() as snapshot:
            return read_feed(snapshot, after, max_contacts)
