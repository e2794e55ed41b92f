"""Puts the server together, runs it, and ends it without losing what is in flight.

Imports the servicers and grpc; the database comes from outside (`start`, `run`) or is opened here (`serve`).
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from segidx.model.errors import InvalidArgument, ServerUnavailable
from segidx.model.syntax import parse
from segidx.service import convert
from segidx.service.accounts import AccountService, SchemaService
from segidx.service.contacts import ContactService
from segidx.service.counts import CountService
from segidx.service.gate import Gate
from segidx.v1 import accounts_pb2_grpc, contacts_pb2_grpc, counts_pb2_grpc, schema_pb2_grpc

if TYPE_CHECKING:
    from segidx.database import Database

log = logging.getLogger(__name__)

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 50051
DEFAULT_THREADS = 16
DEFAULT_MESSAGE_BYTES = 16 * 1024 * 1024
DEFAULT_GRACE_SECONDS = 10.0


class RunningServer:
    """A started server. `address` is `host:port` with the port that was bound."""

    def __init__(
        self, server: grpc.Server, pool: ThreadPoolExecutor, servicer: health.HealthServicer, address: str, port: int
    ) -> None:
        self._server = server
        self._pool = pool
        self._health = servicer
        self.address = address
        self.port = port

    def stop(self, grace: float = DEFAULT_GRACE_SECONDS) -> None:
        """Ends the server: health says NOT_SERVING, new calls are refused, calls in flight have `grace` seconds to
        finish and are cancelled then. Returns when no thread of a call is left, so the database may be closed."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace).wait()
        # A cancelled call has been answered, but its thread may still be inside an evaluation that is stopping.
        self._pool.shutdown(wait=True)

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(
    database: Database,
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    threads: int = DEFAULT_THREADS,
    max_message_bytes: int = DEFAULT_MESSAGE_BYTES,
) -> RunningServer:
    """Starts to serve an open database, which stays the caller's to close. Port 0 picks a free one.

    `threads` calls run at once, of which at most half are streams of writes; `max_message_bytes` bounds a request.
    Raises ServerUnavailable when the address cannot be bound.
    """
    if threads < 2 or max_message_bytes < 1024 or not 0 <= port <= 65535:
        raise InvalidArgument("a server needs 2 threads, messages of 1024 bytes and a port of 0 to 65535 at the least")
    parse("everyone")  # compiles the grammar now, not within the first caller's deadline
    pool = ThreadPoolExecutor(threads, thread_name_prefix="segidx-call")
    server = grpc.server(
        pool,
        interceptors=(Gate(),),
        options=(
            ("grpc.max_receive_message_length", max_message_bytes),
            # Two servers must not share a port by accident: half of the calls would meet the wrong data.
            ("grpc.so_reuseport", 0),
            # A caller that vanished without a word must not hold its stream's thread for ever.
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ),
    )
    accounts_pb2_grpc.add_AccountServiceServicer_to_server(AccountService(database), server)
    schema_pb2_grpc.add_SchemaServiceServicer_to_server(SchemaService(database), server)
    contacts_pb2_grpc.add_ContactServiceServicer_to_server(ContactService(database, max_streams=threads // 2), server)
    counts_pb2_grpc.add_CountServiceServicer_to_server(CountService(database), server)
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    names = convert.service_names()
    reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server)

    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    try:
        bound = server.add_insecure_port(f"{shown}:{port}")
    except RuntimeError as error:
        pool.shutdown()
        raise ServerUnavailable(
            f"cannot listen on {shown}:{port}; it is in use, or not an address of this machine",
            address=f"{shown}:{port}",
        ) from error
    server.start()
    for name in ("", *names):
        servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    return RunningServer(server, pool, servicer, f"{shown}:{bound}", bound)


def run(
    database: Database,
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    threads: int = DEFAULT_THREADS,
    max_message_bytes: int = DEFAULT_MESSAGE_BYTES,
    grace: float = DEFAULT_GRACE_SECONDS,
    announce: Callable[[str], None] = print,
    until: threading.Event | None = None,
) -> None:
    """Serves an open database until SIGTERM, SIGINT or `until`; in another thread than the main one until `until`.

    `announce` gets one line with the address as soon as calls are answered. A second signal ends the process at once.
    """
    ended = until or threading.Event()
    before: dict[int, object] = {}

    def on_signal(number: int, _frame: FrameType | None) -> None:
        log.info("%s: finishing calls in flight", signal.Signals(number).name)
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        ended.set()

    running = start(database, host=host, port=port, threads=threads, max_message_bytes=max_message_bytes)
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        announce(f"segidx is serving on {running.address}")
        ended.wait()
    finally:
        running.stop(grace)
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


def serve(
    data: str | Path,
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    threads: int = DEFAULT_THREADS,
    max_message_bytes: int = DEFAULT_MESSAGE_BYTES,
    grace: float = DEFAULT_GRACE_SECONDS,
    create: bool = False,
    read_only: bool = False,
    announce: Callable[[str], None] = print,
    until: threading.Event | None = None,
) -> None:
    """Opens the data directory and serves it as `run` does, then closes it.

    Raises what `Database.open` raises (AlreadyOpenForWriting while another process serves it) and ServerUnavailable.
    """
    from segidx.database import Database

    with Database.open(data, create=create, read_only=read_only) as database:
        run(
            database,
            host=host,
            port=port,
            threads=threads,
            max_message_bytes=max_message_bytes,
            grace=grace,
            announce=announce,
            until=until,
        )
