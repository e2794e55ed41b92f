"""A worker's connection to the writing process, over its Unix socket. Imports grpc and the errors, no messages of ours.

A thread watches the writer's health, and so keeps the connection up: a writer that was started again while nobody
wrote is met without an error, and one that is away is known to be away before anything is sent.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from segidx.model.errors import Cancelled, WriterUnavailable
from segidx.service.calls import seconds_left

# How long a call waits for a writer that is starting again.
PATIENCE_SECONDS = 1.0
_AGAIN_SECONDS = 0.05

_OPTIONS = (
    # What passes here has passed a worker's limit already, or was made by our own writer.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
)


class WriterLink:
    """The connection. Safe to use from several threads."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.insecure_channel(f"unix:{socket}", options=_OPTIONS)
        self._ready = threading.Event()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._watched: Any = None
        self._watcher = threading.Thread(target=self._watch, name="segidx-writer-link", daemon=True)
        self._watcher.start()

    @property
    def ready(self) -> bool:
        """Whether the writer answers, as far as is known now."""
        return self._ready.is_set()

    def wait(self, context: grpc.ServicerContext) -> None:
        """Returns when the writer can be called. Raises WriterUnavailable when it is not there within a second or the
        call's deadline, and Cancelled when the caller left."""
        if self._ready.is_set():
            return
        remaining = seconds_left(context)
        patience = PATIENCE_SECONDS if remaining is None else min(PATIENCE_SECONDS, remaining)
        if not self._ready.wait(max(0.0, patience)):
            raise WriterUnavailable(
                "the writing process is away and nothing of this call was written; it is being started again:"
                " try again in a moment",
                written="no",
            )
        if not context.is_active():
            raise Cancelled("the caller went away before the call began")

    # None for a (de)serializer hands bytes through as they are.

    def unary_unary(self, method: str) -> Any:
        return self._channel.unary_unary(method, None, None)

    def stream_unary(self, method: str) -> Any:
        return self._channel.stream_unary(method, None, None)

    def unary_stream(self, method: str) -> Any:
        return self._channel.unary_stream(method, None, None)

    def stream_stream(self, method: str) -> Any:
        return self._channel.stream_stream(method, None, None)

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            if self._watched is not None:
                self._watched.cancel()
        self._watcher.join()
        self._channel.close()

    def _watch(self) -> None:
        stub = health_pb2_grpc.HealthStub(self._channel)
        while not self._closed.is_set():
            with self._lock:
                self._watched = stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)
            if self._closed.is_set():
                self._watched.cancel()
            try:
                for answer in self._watched:
                    if answer.status != health_pb2.HealthCheckResponse.SERVING:
                        break
                    self._ready.set()
            except grpc.RpcError:
                pass  # the writer ended; the next watch waits for the next one
            self._ready.clear()
            # A writer that ends waits for its calls, of which this is one.
            self._watched.cancel()
            self._closed.wait(_AGAIN_SECONDS)
