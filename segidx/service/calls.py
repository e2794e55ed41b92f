"""What a call's deadline and cancellation mean inside. Imports grpc and the kernels' Stop, no messages."""

from __future__ import annotations

import time

import grpc

from segidx.kernels.bitmaps import Stop
from segidx.model.errors import Cancelled, DeadlineExceeded

# grpc shows a call without a deadline as one far in the future, which would not fit a Stop's 64 bits.
_FOREVER_SECONDS = 10 * 365 * 86_400.0


def check_alive(context: grpc.ServicerContext) -> None:
    """Refuses to begin what nobody waits for any more: a call may spend its whole deadline in the queue.

    Raises DeadlineExceeded or Cancelled.
    """
    remaining = context.time_remaining()
    if remaining is not None and remaining <= 0:
        raise DeadlineExceeded("the deadline passed before the call began; give it more time or send fewer calls")
    if not context.is_active():
        raise Cancelled("the caller went away before the call began")


def stop_for(context: grpc.ServicerContext) -> Stop:
    """A Stop that ends the evaluation at the call's deadline, and as soon as the caller goes away."""
    check_alive(context)
    remaining = context.time_remaining()
    endless = remaining is None or remaining > _FOREVER_SECONDS
    stop = Stop(0 if endless else time.monotonic_ns() + int(remaining * 1e9))
    if not context.add_callback(stop.cancel):
        raise Cancelled("the caller went away before the call began")
    return stop
