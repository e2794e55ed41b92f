"""How a data directory is served: the settings, and the choice between one process and several.

Imports neither grpc nor lmdb nor numpy: with workers, this process becomes the supervisor, which must stay small and
must never be the one that fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from segidx.model.errors import InvalidArgument

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 50051
DEFAULT_THREADS = 16
DEFAULT_MESSAGE_BYTES = 16 * 1024 * 1024
DEFAULT_GRACE_SECONDS = 10.0
MAX_WORKERS = 256


@dataclass(frozen=True, slots=True)
class Settings:
    """What to serve and how. `workers` 0: one process does everything; else so many processes answer, and one more
    writes (none with `read_only`). `threads` is a worker's. Seconds for `grace`."""

    data: Path
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    workers: int = 0
    threads: int = DEFAULT_THREADS
    max_message_bytes: int = DEFAULT_MESSAGE_BYTES
    grace: float = DEFAULT_GRACE_SECONDS
    create: bool = False
    read_only: bool = False

    def check(self) -> None:
        """Raises InvalidArgument for settings that make no sense."""
        if self.threads < 2 or self.max_message_bytes < 1024 or not 0 <= self.port <= 65535:
            raise InvalidArgument(
                "a server needs 2 threads, messages of 1024 bytes and a port of 0 to 65535 at the least"
            )
        if not 0 <= self.workers <= MAX_WORKERS:
            raise InvalidArgument(f"{self.workers} workers are not within 0 to {MAX_WORKERS}", argument="workers")
        if self.create and self.read_only:
            raise InvalidArgument("--create and --read-only exclude each other")


def serve(settings: Settings, announce: Callable[[str], None] = print) -> None:
    """Serves until SIGTERM or SIGINT; call it in the main thread.

    `announce` gets one line with the address once calls are answered. Raises InvalidArgument, ServerUnavailable when
    the address cannot be had, AlreadyOpenForWriting while another server writes the directory, and what opening the
    directory raises.
    """
    settings.check()
    if settings.workers:
        from segidx.supervisor.run import supervise

        supervise(settings, announce)
        return
    from segidx.service import server

    server.serve(
        settings.data,
        host=settings.host,
        port=settings.port,
        threads=settings.threads,
        max_message_bytes=settings.max_message_bytes,
        grace=settings.grace,
        create=settings.create,
        read_only=settings.read_only,
        announce=announce,
    )
