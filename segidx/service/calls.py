"""What a call's deadline and cancellation mean inside, and how many streams may hold threads.

Imports grpc and the kernels' Stop, no messages.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc

from segidx.kernels.bitmaps import Stop
from segidx.model.errors import Cancelled, DeadlineExceeded, ServerUnavailable

if TYPE_CHECKING:
    from segidx.database import Account

# grpc shows a call without a deadline as one far in the future, which would not fit a Stop's 64 bits.
_FOREVER_SECONDS = 10 * 365 * 86_400.0
# The longest that a read waits for the generation it asks for.
MAX_WAIT_SECONDS = 10.0
# Of the time a call has left; the rest is for its answer, or for saying that the generation was not reached.
_WAIT_SHARE = 0.9


def check_alive(context: grpc.ServicerContext) -> None:
    """Refuses to begin what nobody waits for any more: a call may spend its whole deadline in the queue.

    Raises DeadlineExceeded or Cancelled.
    """
    remaining = context.time_remaining()
    if remaining is not None and remaining <= 0:
        raise DeadlineExceeded("the deadline passed before the call began; give it more time or send fewer calls")
    if not context.is_active():
        raise Cancelled("the caller went away before the call began")


def seconds_left(context: grpc.ServicerContext) -> float | None:
    """Seconds until the call's deadline, None for a call without one."""
    remaining = context.time_remaining()
    return None if remaining is None or remaining > _FOREVER_SECONDS else float(remaining)


def stop_for(context: grpc.ServicerContext) -> Stop:
    """A Stop that ends the evaluation at the call's deadline, and as soon as the caller goes away."""
    check_alive(context)
    remaining = seconds_left(context)
    stop = Stop(0 if remaining is None else time.monotonic_ns() + int(remaining * 1e9))
    if not context.add_callback(stop.cancel):
        raise Cancelled("the caller went away before the call began")
    return stop


def await_generation(account: Account, generation: int, context: grpc.ServicerContext, stop: Stop) -> None:
    """Waits until what is read next holds that generation; 0 waits for nothing.

    Raises GenerationNotReached after 10 seconds, or a little before the call's deadline.
    """
    if generation:
        remaining = seconds_left(context)
        timeout = MAX_WAIT_SECONDS if remaining is None else min(MAX_WAIT_SECONDS, remaining * _WAIT_SHARE)
        account.wait_for_generation(generation, stop=stop, timeout=timeout)


class StreamBound:
    """How many streams of a kind are open at once: each holds a thread for as long as its caller likes, and counts need
    threads too."""

    def __init__(self, limit: int, kind: str) -> None:
        self._limit = limit
        self._kind = kind
        self._free = threading.Semaphore(limit)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """The time of one stream. Raises ServerUnavailable when all are taken."""
        if not self._free.acquire(blocking=False):
            raise ServerUnavailable(
                f"{self._limit} {self._kind} are open already; try again when one has ended", limit=self._limit
            )
        try:
            yield
        finally:
            self._free.release()
