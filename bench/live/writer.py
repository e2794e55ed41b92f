"""A client that streams batches of updates for some seconds, as fast as they are acknowledged or at a rate.

Options: what (see `STREAMS`), address, size, seed, client, clients, rows, window, seconds, rate (rows a second, 0 for
no limit), probe (a pipe that some acknowledged writes are announced on, or -1). Every acknowledgement is checked: all
rows accepted, no contact created, generations that do not fall.
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
from bench.live.purchases import PurchaseStream
from bench.live.updates import UpdateStream
from segidx.client import Batch, connect
from segidx.model.results import WriteResult
from segidx.model.writes import ContactWrite

STREAMS = {stream.what: stream for stream in (UpdateStream, PurchaseStream)}

# An acknowledged write: when it was acknowledged (monotonic seconds), the contact, its `seen` (ms since 1970).
PROBE = struct.Struct("<dqq")
PROBE_SECONDS = 0.1


def act(options: dict[str, Any], orders: Orders) -> dict[str, Any]:
    """Times of sending and acknowledgement in seconds of the machine's monotonic clock, one each a batch."""
    stream = STREAMS[options["what"]](
        options["size"], options["seed"], options["client"], options["clients"], options["rows"]
    )
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
            newest = _checked(stream.accepted(result), result, options["rows"], newest)
            shown = pace.waiting.popleft()
            acknowledged.append(now)
            if shown and probe >= 0 and now - probed >= PROBE_SECONDS:
                probed = now
                with contextlib.suppress(BlockingIOError):
                    os.write(probe, PROBE.pack(now, *shown))
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
    """Hands batches out, and notes when: `waiting` has what may be probed of each without an answer."""

    def __init__(self, stream: UpdateStream | PurchaseStream, options: dict[str, Any], orders: Orders) -> None:
        self._stream = stream
        self._orders = orders
        self._rows, self._rate, self._seconds = options["rows"], options["rate"], options["seconds"]
        self.sent: list[float] = []
        self.waiting: deque[tuple[int, int] | None] = deque()

    def batches(self) -> Iterator[list[ContactWrite] | Batch]:
        started = time.monotonic()
        number = 0
        while not self._orders.stopped.is_set():
            updates = self._stream.columns(number)
            rows = self._stream.batch(updates)  # type: ignore[arg-type]
            now = time.monotonic()
            if self._rate:
                due = started + number * self._rows / self._rate
                if due > now:
                    time.sleep(due - now)
                    now = time.monotonic()
            if now - started >= self._seconds:
                return
            self.waiting.append(self._stream.probe(updates))  # type: ignore[arg-type]
            self.sent.append(now)
            number += 1
            yield rows


def _checked(accepted: int, result: WriteResult, rows: int, newest: int) -> int:
    if accepted != rows or result.created or result.rejects or result.event_rejects:
        raise RuntimeError(f"{rows} rows of contacts that exist were answered with {result}")
    if result.generation < newest:
        raise RuntimeError(f"generation {result.generation} was acknowledged behind {newest}")
    return result.generation


if __name__ == "__main__":
    run_child(act)
