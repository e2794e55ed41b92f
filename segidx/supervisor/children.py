"""One process under the supervisor: how it is started, what it says, how long to wait before it is started again.

Two pipes tie a child to the supervisor. The child holds the writing end of its own *status* pipe: one JSON line says
that it answers, or why it cannot; the end of the pipe says that it is dead. All children hold the reading end of the
*life* pipe, whose end says that the supervisor is dead. Standard library and errors only.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import segidx
from segidx.model import errors
from segidx.model.errors import Kind, SegidxError

FIRST_DELAY_SECONDS = 0.1
LAST_DELAY_SECONDS = 5.0
# A child that lived this long was well: its next death is a new affair.
WELL_SECONDS = 30.0

PROGRAM = "segidx.service.process"


class Child:
    """The place of one process, filled again and again. Times are those of one monotonic clock, in seconds."""

    def __init__(self, name: str, arguments: Sequence[str], *, first: Sequence[str] = ()) -> None:
        """`first` are further arguments of the first start only."""
        self.name = name
        self._arguments = arguments
        self._first = first
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""
        self._started = 0.0
        self._delay = 0.0
        self.status = -1
        self.ready = False
        self.failure: SegidxError | None = None
        self.start_at: float | None = None

    @property
    def alive(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def start(self, life: int, now: float) -> None:
        """Starts the process. Raises OSError when the machine has no room for one."""
        self.start_at, self.ready, self.failure, self._said, self._started = None, False, None, b"", now
        self.status, theirs = os.pipe()
        command = [sys.executable, "-P", "-m", PROGRAM, *self._arguments, *self._first]
        command += ["--status-fd", str(theirs), "--life-fd", str(life)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                # Ours is read by whoever waits for the address; a child has nothing to say there.
                stdout=subprocess.DEVNULL,
                close_fds=True,
                pass_fds=(theirs, life),
                env=_environment(),
                # Ctrl-C goes to the supervisor alone, which ends its children in order.
                process_group=0,
            )
        except OSError:
            os.close(self.status)
            raise
        finally:
            os.close(theirs)
        self._first = ()

    def read(self) -> bool:
        """Takes what the child says; False when it is dead. Call it when `status` is readable."""
        data = os.read(self.status, 65536)
        self._said += data
        while b"\n" in self._said:
            line, self._said = self._said.split(b"\n", 1)
            self._take(json.loads(line))
        return bool(data)

    def _take(self, said: dict[str, Any]) -> None:
        if "error" in said:
            self.failure = error_of(said["error"])
        else:
            self.ready = True

    def reap(self, now: float) -> str:
        """Buries a dead child: how it ended, in words. `start_at` says when to start the next."""
        assert self._process is not None
        code = self._process.wait()
        os.close(self.status)
        self._process, self.status, self.ready = None, -1, False
        self.postpone(now)
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"was killed by {signal.Signals(-code).name}"
        return f"ended with code {code}" + (f" ({self.failure.message})" if self.failure else "")

    def postpone(self, now: float) -> float:
        """Sets the time of the next start; the delay doubles while starts fail. Returns it in seconds."""
        if now - self._started >= WELL_SECONDS:
            self._delay = 0.0
        self._delay = min(self._delay * 2, LAST_DELAY_SECONDS) if self._delay else FIRST_DELAY_SECONDS
        self.start_at = now + self._delay
        return self._delay

    def tell(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)


def _environment() -> dict[str, str]:
    """Ours, with the directory of a segidx that runs from its sources: children start with `-P`, which keeps whatever
    lies in the present directory from being imported."""
    environment = dict(os.environ)
    root = Path(segidx.__file__).resolve().parents[1]
    if "site-packages" not in root.parts:
        rest = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{root}{os.pathsep}{rest}" if rest else str(root)
    return environment


def described(error: SegidxError) -> dict[str, Any]:
    """An error as a child says it."""
    return {
        "kind": error.kind.value,
        "reason": error.reason,
        "message": error.message,
        "path": error.path,
        "metadata": error.metadata,
    }


def error_of(said: dict[str, Any]) -> SegidxError:
    """The error a child said, of the same class."""
    known = (each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, SegidxError))
    cls = next((each for each in known if each.reason == said["reason"]), SegidxError)
    error = cls.__new__(cls)  # constructors compose messages; this one is composed already
    SegidxError.__init__(error, said["message"], path=said["path"], **said["metadata"])
    error.kind, error.reason = Kind(said["kind"]), said["reason"]
    return error
