"""A client that asks whether an acknowledged write can be read, on a connection of its own.

Options: address, pipe (its end of the writer's). It waits for the announcement of an acknowledgement, then asks for the
contact until the answer shows the write; the time from the acknowledgement to that answer is an upper bound, with the
announcement and one call in it. The generation is not named in the call: that would wait, and hide how long it takes.
"""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta
from typing import Any

from bench.live.children import Orders, run_child
from bench.live.corpus import START, START_MS
from bench.live.writer import PROBE
from segidx.client import RemoteAccount, connect

GIVE_UP_SECONDS = 30.0


def act(options: dict[str, Any], orders: Orders) -> dict[str, Any]:
    """Milliseconds from acknowledged to visible, one a probe; how often the first question showed it."""
    pipe = options["pipe"]
    with connect(options["address"]) as client:
        account = client.account("default")
        account.generation()  # connects
        orders.wait_for_go()
        taken: list[float] = []
        at_once = 0
        while True:
            os.set_blocking(pipe, True)
            announced = os.read(pipe, PROBE.size)
            if len(announced) < PROBE.size:
                break
            acknowledged, contact, seen = PROBE.unpack(announced)
            asked, visible = _ask(account, contact, START + timedelta(milliseconds=seen - START_MS))
            taken.append((visible - acknowledged) * 1000)
            at_once += asked == 1
            _drop_waiting(pipe)
    return {"milliseconds": taken, "at_once": at_once, "cpu_seconds": orders.cpu_seconds()}


def _ask(account: RemoteAccount, contact: int, seen: datetime) -> tuple[int, float]:
    """(questions asked, when the answer showed the write or a later one)."""
    asked, until = 0, time.monotonic() + GIVE_UP_SECONDS
    while time.monotonic() < until:
        asked += 1
        shown = account.get(f"c{contact:09d}").fields["seen"]
        assert isinstance(shown, datetime)
        if shown >= seen:
            return asked, time.monotonic()
    raise RuntimeError(f"a write that was acknowledged cannot be read after {GIVE_UP_SECONDS:.0f} seconds")


def _drop_waiting(pipe: int) -> None:
    """What was announced meanwhile waited for us, not for the server."""
    os.set_blocking(pipe, False)
    try:
        while len(os.read(pipe, PROBE.size)) == PROBE.size:
            pass
    except BlockingIOError:
        pass


if __name__ == "__main__":
    run_child(act)
