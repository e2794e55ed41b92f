"""Puts the server together, runs it, and ends it without losing what is in flight.

Imports the servicers and grpc; the database comes from outside (`start`, `run`) or is opened here (`serve`).
"""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import grpc
import pyarrow as pa
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from segidx.model.errors import ServerUnavailable
from segidx.model.syntax import parse
from segidx.service import convert
from segidx.service.accounts import AccountService
from segidx.service.calls import StreamBound
from segidx.service.contacts import ContactService
from segidx.service.counts import CountService
from segidx.service.forward import Forward
from segidx.service.gate import Gate
from segidx.service.health import SERVICE_NAME as HEALTH
from segidx.service.health import Health
from segidx.service.ingest import IngestService
from segidx.service.products import ProductService
from segidx.service.schema import SchemaService
from segidx.serving import (
    DEFAULT_GRACE_SECONDS,
    DEFAULT_HOST,
    DEFAULT_MESSAGE_BYTES,
    DEFAULT_PORT,
    DEFAULT_THREADS,
    Settings,
)
from segidx.v1 import (
    accounts_pb2_grpc,
    contacts_pb2_grpc,
    counts_pb2_grpc,
    ingest_pb2_grpc,
    products_pb2_grpc,
    schema_pb2_grpc,
)

if TYPE_CHECKING:
    from segidx.database import Database

log = logging.getLogger(__name__)

# Below Python's own 5 ms, so that one hand-over of the lock is no longer than a count. A choice by reasoning: runs with
# and without it, and with a fifth of it, differed less than the machine's noise.
SWITCH_SECONDS = 0.0005


class RunningServer:
    """A started server. `address` is `host:port` with the port that was bound, or `unix:PATH` with port 0."""

    def __init__(
        self,
        server: grpc.Server,
        pool: ThreadPoolExecutor,
        health: Health,
        ingest: IngestService,
        forward: Forward | None,
        address: str,
        port: int,
    ) -> None:
        self._server = server
        self._pool = pool
        self._health = health
        self._ingest = ingest
        self._forward = forward
        self.address = address
        self.port = port

    def stop(self, grace: float = DEFAULT_GRACE_SECONDS) -> None:
        """Ends the server: health says NOT_SERVING, new calls are refused, calls in flight have `grace` seconds to
        finish and are cancelled then. Returns when no thread of a call is left, so the database may be closed."""
        self._health.end()
        ended = self._server.stop(grace)
        self._ingest.end()
        if self._forward is not None:
            self._forward.end()
        ended.wait()
        # A cancelled call has been answered, but its thread may still be inside an evaluation that is stopping.
        self._pool.shutdown(wait=True)
        self._health.close()
        if self._forward is not None:
            self._forward.close()

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
    share_port: bool = False,
    unix_socket: Path | None = None,
    forward: Forward | None = None,
) -> RunningServer:
    """Starts to serve an open database, which stays the caller's to close. Port 0 picks a free one.

    `threads` calls run at once, of which at most half are streams of writes and a quarter streams of changes;
    `max_message_bytes` bounds a request.
    `share_port` lets other processes of this user listen on the same port; `unix_socket` is listened on instead of host
    and port; `forward` takes the calls that write, and is closed with the server.
    Raises ServerUnavailable when the address cannot be bound.
    """
    Settings(Path(), host=host, port=port, threads=threads, max_message_bytes=max_message_bytes).check()
    # A count takes the interpreter's lock some ten times, each time behind whatever the writer's thread computes.
    sys.setswitchinterval(SWITCH_SECONDS)
    parse("everyone")  # compiles the grammar now, not within the first caller's deadline
    pa.array([""])  # and its first conversion loads pandas, where there is one
    # What was made so far lives as long as the process. A full collection that looks through it again holds the lock
    # for 50 ms at a time, measured under writing.
    gc.collect()
    gc.freeze()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="segidx-call")
    server = grpc.server(
        pool,
        interceptors=(Gate(),) if forward is None else (forward, Gate()),
        options=(
            ("grpc.max_receive_message_length", max_message_bytes),
            # Two servers must not share a port by accident: half of the calls would meet the wrong data.
            ("grpc.so_reuseport", int(share_port)),
            # A caller that vanished without a word must not hold its stream's thread for ever.
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ),
    )
    streams = StreamBound(threads // 2, "streams of writes")
    accounts_pb2_grpc.add_AccountServiceServicer_to_server(AccountService(database), server)
    schema_pb2_grpc.add_SchemaServiceServicer_to_server(SchemaService(database), server)
    products_pb2_grpc.add_ProductServiceServicer_to_server(ProductService(database), server)
    contacts_pb2_grpc.add_ContactServiceServicer_to_server(ContactService(database, streams=streams), server)
    counts_pb2_grpc.add_CountServiceServicer_to_server(CountService(database), server)
    ingest = IngestService(database, streams=streams, followers=StreamBound(max(1, threads // 4), "streams of changes"))
    ingest_pb2_grpc.add_IngestServiceServicer_to_server(ingest, server)
    names = convert.service_names()
    health = Health(names, watches=threads)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection.enable_server_reflection((*names, HEALTH, reflection.SERVICE_NAME), server)

    address = f"unix:{unix_socket}" if unix_socket else f"{_shown(host)}:{port}"
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError as error:
        pool.shutdown()
        raise ServerUnavailable(
            f"cannot listen on {address}; it is in use, or not an address of this machine", address=address
        ) from error
    server.start()
    if unix_socket:
        return RunningServer(server, pool, health, ingest, forward, address, 0)
    return RunningServer(server, pool, health, ingest, forward, f"{_shown(host)}:{bound}", bound)


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


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
    """Starts to serve an open database and goes on as `run_until_told`."""
    running = start(database, host=host, port=port, threads=threads, max_message_bytes=max_message_bytes)
    run_until_told(running, grace=grace, announce=announce, until=until)


def run_until_told(
    running: RunningServer,
    *,
    grace: float = DEFAULT_GRACE_SECONDS,
    announce: Callable[[str], None] = print,
    until: threading.Event | None = None,
) -> None:
    """Returns when the server has ended: at SIGTERM, SIGINT or `until`; in another thread than the main one at `until`.

    `announce` gets one line with the address, now. A second signal ends the process at once.
    """
    ended = until or threading.Event()
    before: dict[int, object] = {}

    def on_signal(number: int, _frame: FrameType | None) -> None:
        log.info("%s: finishing calls in flight", signal.Signals(number).name)
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        ended.set()

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
