"""Looks at a server while it works: memory twice a second, the store's own statistics once."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise

from bench.live.server import ServerProcess
from segidx.client import connect
from segidx.model.results import Stats

MEMORY_SECONDS = 0.5
STATS_SECONDS = 1.0


@dataclass(slots=True)
class Samples:
    """`memory` in bytes, at even distances; `stats` in order."""

    memory: list[int] = field(default_factory=list)
    stats: list[Stats] = field(default_factory=list)

    def merges(self) -> int:
        """How often the merge point was seen to have moved."""
        points = [stats.merged_generation for stats in self.stats]
        return sum(a != b for a, b in pairwise(points))

    def record_bytes(self) -> float:
        """Mean bytes of a log record; 0 where none was seen. Older ones are gone with a merge, so that the whole log's
        bytes are this times the generations."""
        seen = [stats.log_bytes / stats.log_records for stats in self.stats if stats.log_records]
        return sum(seen) / len(seen) if seen else 0.0

    def most_lag_seconds(self) -> float:
        return max((stats.merge_lag_seconds for stats in self.stats), default=0.0)

    def most_overlay_bytes(self) -> int:
        return max((stats.overlay_bytes for stats in self.stats), default=0)

    def most_log_bytes(self) -> int:
        return max((stats.log_bytes for stats in self.stats), default=0)


class Sampler:
    """A thread that fills `samples` from its making to `stop`."""

    def __init__(self, server: ServerProcess) -> None:
        self.samples = Samples()
        self._server = server
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> Samples:
        self._stopped.set()
        self._thread.join()
        return self.samples

    def _run(self) -> None:
        started = time.monotonic()
        with connect(self._server.address) as client:
            account = client.account("default")
            next_stats = started
            ended = False
            while not ended:
                self.samples.memory.append(self._server.anonymous_bytes())
                if time.monotonic() >= next_stats:
                    self.samples.stats.append(account.stats())
                    next_stats = time.monotonic() + STATS_SECONDS
                due = started + len(self.samples.memory) * MEMORY_SECONDS
                ended = self._stopped.wait(max(0.0, due - time.monotonic()))
            # However short it was, the end is seen.
            self.samples.stats.append(account.stats())
