"""A served data directory as real processes, for tests that kill them. Linux: it looks into /proc.

Nothing in production imports this.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import grpc

from segidx.client import Client
from segidx.v1 import accounts_pb2_grpc

WAIT_SECONDS = 120.0
T = TypeVar("T")


class Served:
    """`segidx serve --workers N` in a process of its own, from its first answer to `__exit__`, which kills what is
    left. What it says on stderr goes to `log`."""

    def __init__(self, data: Path, log: Path, *flags: str, workers: int = 2, port: int = 0) -> None:
        command = [sys.executable, "-m", "segidx.cli", "serve", "--data", str(data)]
        command += ["--workers", str(workers), "--port", str(port), *flags]
        self.log = log
        self._connections = itertools.count()
        self._seen: set[int] = set()
        with log.open("ab") as file:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if " is serving on " not in line:
            self.end()
            raise AssertionError(f"no server: {log.read_text()}")
        self.address = line.split()[-1]
        self.port = int(self.address.rsplit(":", 1)[1])
        self.children()

    # --- its processes ---

    def children(self) -> dict[int, str]:
        """Role ("writer", "worker") of each living child by process id."""
        found = {}
        with contextlib.suppress(FileNotFoundError):
            for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
                with contextlib.suppress(OSError):
                    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                    if b"segidx.service.process" in words:
                        found[int(pid)] = words[words.index(b"segidx.service.process") + 1].decode()
        self._seen.update(found)
        return found

    def workers(self) -> list[int]:
        return [pid for pid, role in self.children().items() if role == "worker"]

    def writer(self) -> int:
        """The writer's process id, waited for while there is none."""
        return until(lambda: next((pid for pid, role in self.children().items() if role == "writer"), None))

    def all_gone(self) -> bool:
        """Whether no child that was ever seen lives."""
        return not any(_lives(pid) for pid in self._seen)

    # --- connections to it ---

    def channel(self) -> grpc.Channel:
        """A connection of its own: whichever worker the kernel chooses."""
        options = (("grpc.use_local_subchannel_pool", 1), ("segidx.connection", next(self._connections)))
        return grpc.insecure_channel(self.address, options=options)

    def client(self) -> Client:
        """A client on a connection of its own, with generous deadlines."""
        client = Client(self.address, timeout=WAIT_SECONDS)
        client.close()
        client._channel = self.channel()
        client._accounts = accounts_pb2_grpc.AccountServiceStub(client._channel)
        return client

    def answering(self, channel: grpc.Channel, before: set[int]) -> int:
        """The worker that accepted a channel, the only connection made since `before` (see `accepted`)."""
        grpc.channel_ready_future(channel).result(WAIT_SECONDS)
        fresh = until(lambda: {inode: pid for inode, pid in self.accepted().items() if inode not in before})
        assert len(fresh) == 1, fresh
        return next(iter(fresh.values()))

    def accepted(self) -> dict[int, int]:
        """The worker that holds each established connection, by the connection's inode."""
        inodes = set()
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            for line in Path(table).read_text().splitlines()[1:]:
                words = line.split()
                if int(words[1].rsplit(":", 1)[1], 16) == self.port and words[3] == "01":
                    inodes.add(int(words[9]))
        held = {}
        for pid in self.workers():
            with contextlib.suppress(OSError):
                for fd in os.scandir(f"/proc/{pid}/fd"):
                    with contextlib.suppress(OSError):
                        name = os.readlink(fd.path)
                        if name.startswith("socket:[") and int(name[8:-1]) in inodes:
                            held[int(name[8:-1])] = pid
        return held

    @contextlib.contextmanager
    def one_channel_each(self) -> Iterator[dict[int, grpc.Channel]]:
        """A connection to every worker, by its process id."""
        with contextlib.ExitStack() as stack:
            found: dict[int, grpc.Channel] = {}
            for _ in range(200):
                before = set(self.accepted())
                channel = stack.enter_context(self.channel())
                found.setdefault(self.answering(channel, before), channel)
                if set(found) >= set(self.workers()):
                    break
            yield found

    # --- its end ---

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit code, once it has ended."""
        return self.process.wait(WAIT_SECONDS)

    def end(self) -> None:
        """Kills what is left."""
        self.children()
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        for pid in self._seen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(self.all_gone)

    def __enter__(self) -> Served:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            sys.stderr.write(self.log.read_text())
        self.end()


def until(look: Callable[[], T | None]) -> T:
    """The first true value of `look`, which is asked again and again, for a generous while."""
    end = time.monotonic() + WAIT_SECONDS
    while not (found := look()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return found


def _lives(pid: int) -> bool:
    try:
        # A zombie has ended; whoever inherited it may not have looked yet.
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
