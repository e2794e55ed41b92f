"""grpc.health.v1 for every service of the server. Imports its messages only.

In place of the servicer of grpcio-health-checking, which sends while it holds its lock: a watcher that leaves while
another is being told stops every call of the server for ever. Here nothing is sent under the lock. A watch holds a
thread, so watches are bounded, and the threads are their own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from segidx.model.errors import SegidxError
from segidx.service.calls import StreamBound
from segidx.service.status import refuse

SERVICE_NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

_Answer = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """The health of the server as a whole ("") and of each named service: serving, until `end`."""

    Watch: Callable[[Any, grpc.ServicerContext], Iterator[Any]]

    def __init__(self, names: Iterable[str], *, watches: int) -> None:
        self._names = frozenset(("", *names))
        self._ended = False
        self._changed = threading.Condition()
        self._bound = StreamBound(watches, "watches of the server's health")
        # One thread more than watches, so that one too many is told so.
        self._pool = ThreadPoolExecutor(watches + 1, thread_name_prefix="segidx-health")

        def watch(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            return self._watch(request.service, context)

        watch.experimental_thread_pool = self._pool  # type: ignore[attr-defined]
        self.Watch = watch

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.service not in self._names:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service {request.service!r}")
        return _Answer(status=self._status(request.service))

    def _watch(self, service: str, context: grpc.ServicerContext) -> Iterator[Any]:
        if not context.add_callback(self._look):
            return
        try:
            with self._bound.opened():
                told = None
                while context.is_active():
                    ended = self._ended  # looked at once: the end may come between what is told and what follows
                    status = self._status(service)
                    if status != told:
                        yield _Answer(status=status)
                        told = status
                    if ended:
                        return  # the server waits for its calls, and a watch has nothing more to say
                    with self._changed:
                        while not self._ended and context.is_active():
                            self._changed.wait()
        except SegidxError as error:
            refuse(context, error)

    def _status(self, service: str) -> Any:
        if service not in self._names:
            return _Answer.SERVICE_UNKNOWN
        return _Answer.NOT_SERVING if self._ended else _Answer.SERVING

    def _look(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def end(self) -> None:
        """Not serving from now on; watchers are told."""
        self._ended = True
        self._look()

    def close(self) -> None:
        """Ends when no watch is left; the server has ended before."""
        self._pool.shutdown(wait=True)
