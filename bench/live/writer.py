"""A client that streams batches of updates for some seconds, as fast as they are acknowledged or at a rate.

Options: address, size, seed, client, clients, rows, window, seconds, rate (updates a second, 0 for no limit), probe (a
pipe that some acknowledged writes are announced on, or -1). Every acknowledgement is checked: all rows accepted, none
created, generations that do not fall.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from bench.live.children import Orders, run_child
from bench.live.updates import UpdateStream
from segidx.client import connect
from segidx.model.results import WriteResult
from segidx.model.writes import ContactWrite

# An acknowledged write: when it was acknowledged (monotonic seconds), the contact, its `seen` (ms since 1970).
PROBE = struct.Struct("<dqq")
PROBE_SECONDS = 0.1


def act(options: dict[str, Any], orders: Orders) -> dict[str, Any]:
    """Times of sending and acknowledgement in seconds of the machine's monotonic clock, one each a batch."""
    stream = UpdateStream(options["size"], options["seed"], options["client"], options["clients"], options["rows"])
    with connect(options["address"]) as client:
        account = client.account("default")
        account.generation()  # connects
        orders.wait_for_go()
        pace = _Pace(stream, options, orders)
        probe, probed = options["probe"], 0.0
        acknowledged: list[float] = []
        newest = 0
        for result in account.write_stream(pace.batches(), window=options["window"]):
            now = time.monotonic()
            newest = _checked(result, options["rows"], newest)
            contact, seen = pace.waiting.popleft()
            acknowledged.append(now)
            if probe >= 0 and now - probed >= PROBE_SECONDS:
                probed = now
                with contextlib.suppress(BlockingIOError):
                    os.write(probe, PROBE.pack(now, contact, seen))
    if pace.waiting:
        raise RuntimeError(f"{len(pace.waiting)} batches were sent and never acknowledged")
    if probe >= 0:
        os.close(probe)
    return {
        "batches": len(acknowledged),
        "sent": pace.sent,
        "acknowledged": acknowledged,
        "generation": newest,
        "cpu_seconds": orders.cpu_seconds(),
    }


class _Pace:
    """Hands batches out, and notes when: `waiting` has the last contact and timestamp of each without an answer."""

    def __init__(self, stream: UpdateStream, options: dict[str, Any], orders: Orders) -> None:
        self._stream = stream
        self._orders = orders
        self._rows, self._rate, self._seconds = options["rows"], options["rate"], options["seconds"]
        self.sent: list[float] = []
        self.waiting: deque[tuple[int, int]] = deque()

    def batches(self) -> Iterator[list[ContactWrite]]:
        started = time.monotonic()
        number = 0
        while not self._orders.stopped.is_set():
            updates = self._stream.columns(number)
            rows = self._stream.writes(updates)
            now = time.monotonic()
            if self._rate:
                due = started + number * self._rows / self._rate
                if due > now:
                    time.sleep(due - now)
                    now = time.monotonic()
            if now - started >= self._seconds:
                return
            self.waiting.append((int(updates.contacts[-1]), int(updates.seen[-1])))
            self.sent.append(now)
            number += 1
            yield rows


def _checked(result: WriteResult, rows: int, newest: int) -> int:
    if result.accepted + result.duplicates != rows or result.created or result.rejects:
        raise RuntimeError(f"{rows} updates of contacts that exist were answered with {result}")
    if result.generation < newest:
        raise RuntimeError(f"generation {result.generation} was acknowledged behind {newest}")
    return result.generation


if __name__ == "__main__":
    run_child(act)
