"""One process of `serve --workers`, started by the supervisor: `python -m segidx.service.process writer|worker ...`.

Wiring only. The status pipe tells the supervisor that this process answers, or why it cannot; the life pipe tells this
process that the supervisor is gone (see `segidx.supervisor.children`). The heavy imports come after both are in place.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segidx.model.errors import SegidxError
from segidx.supervisor.children import described

if TYPE_CHECKING:
    from segidx.database import Database

log = logging.getLogger(__name__)

# What calls in flight get when the supervisor is gone: the next one waits for the port and for the directory.
_ORPHAN_SECONDS = 2.0
# How often a worker reads what the writer's log has grown by, so that a call after a pause need not read it all.
_CATCH_UP_SECONDS = 0.1
# How often a writer looks whether its disk has failed.
_LOOK_SECONDS = 1.0


class _Status:
    """The line to the supervisor."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self._fd = fd

    def ready(self, _line: str) -> None:
        self._say({"ready": os.getpid()})

    def failed(self, error: SegidxError) -> None:
        self._say({"error": described(error)})

    def _say(self, what: dict[str, object]) -> None:
        with contextlib.suppress(BrokenPipeError):  # the supervisor is gone: the life pipe ends us
            os.write(self._fd, json.dumps(what).encode() + b"\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the process until it is told to end. Exit codes: 0 ended, 1 failed (the status pipe says why)."""
    flags = _flags(arguments)
    logging.basicConfig(
        level=logging.INFO, format=f"%(asctime)s %(levelname)s {flags.role} %(process)d %(name)s: %(message)s"
    )
    # Everything this process makes is its user's alone, the socket from its first moment.
    os.umask(0o077)
    status = _Status(flags.status_fd)
    ended = threading.Event()
    threading.Thread(target=_watch, args=(flags.life_fd, ended, flags.grace), daemon=True).start()
    try:
        (_write if flags.role == "writer" else _work)(flags, status, ended)
    except SegidxError as error:
        status.failed(error)
        return 1
    return 0


def _flags(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="segidx.service.process", description=__doc__)
    parser.add_argument("role", choices=("writer", "worker"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--socket", type=Path, help="the writer's; a worker without one refuses writes")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--max-message-bytes", type=int, required=True)
    parser.add_argument("--grace", type=float, required=True)
    parser.add_argument("--create", action="store_true")
    parser.add_argument("--status-fd", type=int, required=True)
    parser.add_argument("--life-fd", type=int, required=True)
    return parser.parse_args(arguments)


def _watch(life: int, ended: threading.Event, grace: float) -> None:
    """Ends this process when the supervisor has ended, however it did."""
    os.set_inheritable(life, False)
    os.read(life, 1)  # nothing is ever written: this returns at the end of the pipe
    log.error("the supervisor is gone; ending")
    ended.set()
    time.sleep(min(grace, _ORPHAN_SECONDS))
    os._exit(1)


def _write(flags: argparse.Namespace, status: _Status, ended: threading.Event) -> None:
    """The writer: all services, on the Unix socket."""
    from segidx.database import Database
    from segidx.service import server

    with Database.open(flags.data, create=flags.create) as database:
        # The directory's lock is ours, so a socket that lies there belongs to nobody.
        flags.socket.unlink(missing_ok=True)
        running = server.start(
            database, unix_socket=flags.socket, threads=flags.threads, max_message_bytes=flags.max_message_bytes
        )
        os.chmod(flags.socket, 0o600)
        threading.Thread(target=_end_when_failed, args=(database,), daemon=True).start()
        server.run_until_told(running, grace=flags.grace, announce=status.ready, until=ended)
        flags.socket.unlink(missing_ok=True)


def _work(flags: argparse.Namespace, status: _Status, ended: threading.Event) -> None:
    """A worker: all services on the shared port, writes handed to the writer."""
    from segidx.database import Database
    from segidx.service import server
    from segidx.service.forward import Forward
    from segidx.service.link import WriterLink

    with Database.open(flags.data, read_only=True) as database, contextlib.ExitStack() as stack:
        stack.enter_context(_keeping_up(database))
        forward = None
        if flags.socket is not None:
            link = WriterLink(flags.socket)
            stack.callback(link.close)
            forward = Forward(link, threads=flags.threads)
        running = server.start(
            database,
            host=flags.host,
            port=flags.port,
            threads=flags.threads,
            max_message_bytes=flags.max_message_bytes,
            share_port=True,
            forward=forward,
        )
        server.run_until_told(running, grace=flags.grace, announce=status.ready, until=ended)


def _end_when_failed(database: Database) -> None:
    """Ends a writer whose disk failed in a commit: the supervisor starts it again, which opens the database anew."""
    while not database.failed:
        time.sleep(_LOOK_SECONDS)
    log.error("the disk failed in a commit; ending, to begin anew")
    os._exit(1)


@contextlib.contextmanager
def _keeping_up(database: Database) -> Iterator[None]:
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(_CATCH_UP_SECONDS):
            try:
                database.catch_up()
            except SegidxError as error:  # a call will meet it too, and say so to its caller
                log.warning("the log cannot be read: %s", error)

    thread = threading.Thread(target=run, name="segidx-catch-up", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
