"""The supervisor's loop: one thread that waits for children, for signals and for the time of the next start.

Imports neither grpc nor lmdb nor numpy (see the package).
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import time
from collections.abc import Callable, Sequence
from types import FrameType

from segidx.model.errors import InvalidArgument, ServerUnavailable
from segidx.serving import Settings
from segidx.supervisor.children import Child
from segidx.supervisor.ports import HeldPort, hold
from segidx.supervisor.sockets import SocketPlace

log = logging.getLogger(__name__)

# Beyond the grace that a child gives its calls: for stopping evaluations and closing the directory.
_MARGIN_SECONDS = 15.0


class _Told(Exception):
    """A signal told the service to end."""


def supervise(settings: Settings, announce: Callable[[str], None] = print) -> None:
    """Serves with `settings.workers` processes until SIGTERM or SIGINT; must run in the main thread.

    The first signal ends the workers, each after its calls in flight, then the writer; the second kills them at once.
    Raises ServerUnavailable when the address cannot be had, and what a child raised that could not begin.
    """
    if settings.workers < 1:
        raise InvalidArgument("a supervisor needs at least one worker", argument="workers")
    port = hold(settings.host, settings.port)
    try:
        place = SocketPlace(settings.data)
        try:
            supervisor = _Supervisor(settings, port, place)
            try:
                supervisor.run(announce)
            finally:
                supervisor.close()
        finally:
            place.close()
    finally:
        port.close()


class _Supervisor:
    def __init__(self, settings: Settings, port: HeldPort, place: SocketPlace) -> None:
        self._settings = settings
        self._address = port.address
        self._writers, self._workers = _children(settings, port, place)
        self._life, self._alive = os.pipe()  # its writing end is held by this process alone, and never written to
        self._selector = selectors.DefaultSelector()
        self._told: list[int] = []
        self._announced = False
        self._stopping = False
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._handlers = {each: signal.signal(each, self._on_signal) for each in (signal.SIGTERM, signal.SIGINT)}
        self._waker = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)

    def close(self) -> None:
        signal.set_wakeup_fd(self._waker)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._selector.close()
        for each in (self._life, self._alive, self._woken, self._wake):
            os.close(each)
        if len(self._told) > 1:
            # Told twice: this process ends by that signal, as one without handlers does.
            signal.signal(self._told[-1], signal.SIG_DFL)
            os.kill(os.getpid(), self._told[-1])

    def run(self, announce: Callable[[str], None]) -> None:
        try:
            # Workers open what the writer may have to make or to repair first.
            for group in (self._writers, self._workers):
                for child in group:
                    self._start(child)
                while not all(child.ready for child in group):
                    self._turn()
            self._announced = True
            announce(f"segidx is serving on {self._address}")
            while True:
                self._turn()
        except _Told:
            log.info("%s: finishing calls in flight", signal.Signals(self._told[0]).name)
        finally:
            self._stop()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._told.append(number)

    def _turn(self, until: float | None = None) -> None:
        """Waits for the next thing that happens, at most until then, and does what it asks for."""
        due = [child.start_at for child in (*self._writers, *self._workers) if child.start_at is not None]
        if until is not None:
            due.append(until)
        for key, _ in self._selector.select(max(0.0, min(due) - time.monotonic()) if due else None):
            if key.data is None:
                os.read(self._woken, 4096)
            elif not key.data.read():
                self._bury(key.data)
            elif key.data.ready and self._announced:
                log.info("%s is back as process %d", key.data.name, key.data.pid)
        if self._stopping:
            return
        if self._told:
            raise _Told
        for child in (*self._writers, *self._workers):
            if child.start_at is not None and child.start_at <= time.monotonic():
                self._start(child)

    def _start(self, child: Child) -> None:
        try:
            child.start(self._life, time.monotonic())
        except OSError as error:
            if not self._announced:
                raise ServerUnavailable(f"{child.name} cannot be started: {error}") from error
            log.error("%s cannot be started: %s; again in %.1f s", child.name, error, child.postpone(time.monotonic()))
            return
        self._selector.register(child.status, selectors.EVENT_READ, child)

    def _bury(self, child: Child) -> None:
        self._selector.unregister(child.status)
        pid, now = child.pid, time.monotonic()
        how = child.reap(now)
        if self._stopping or self._told:
            return
        if self._announced:
            delay = (child.start_at or now) - now
            log.error("%s (process %d) %s; starting it again in %.1f s", child.name, pid, how, delay)
            return
        if child.failure is not None:
            raise child.failure
        raise ServerUnavailable(f"{child.name} {how} before it answered; its own messages are above")

    def _stop(self) -> None:
        """Ends the workers, then the writer, whom their last calls need."""
        self._stopping = True
        for group in (self._workers, self._writers):
            for child in group:
                child.start_at = None
                child.tell(signal.SIGTERM)
            until = time.monotonic() + self._settings.grace + _MARGIN_SECONDS
            while any(child.alive for child in group) and time.monotonic() < until and len(self._told) < 2:
                self._turn(until)
                for child in group:
                    child.start_at = None
            self._kill(group)

    def _kill(self, group: Sequence[Child]) -> None:
        for child in group:
            if child.alive:
                log.error("%s (process %d) is killed", child.name, child.pid)
                child.tell(signal.SIGKILL)
                self._selector.unregister(child.status)
                child.reap(time.monotonic())


def _children(settings: Settings, port: HeldPort, place: SocketPlace) -> tuple[list[Child], list[Child]]:
    """([the writer], workers)."""
    common = ["--data", str(settings.data.absolute())]
    common += ["--max-message-bytes", str(settings.max_message_bytes), "--grace", str(settings.grace)]
    writer = ["writer", *common, "--socket", str(place.path)]
    # A thread for every call that the workers can forward at once: none waits in the writer behind a stream.
    writer += ["--threads", str(settings.workers * settings.threads)]
    worker = ["worker", *common, "--host", port.host, "--port", str(port.port), "--threads", str(settings.threads)]
    if not settings.read_only:
        worker += ["--socket", str(place.path)]
    writers = [] if settings.read_only else [Child("writer", writer, first=["--create"] if settings.create else [])]
    return writers, [Child(f"worker {i + 1}", worker) for i in range(settings.workers)]
