"""Processes that act as clients: started with their options, told to begin and to end, asked for what they measured.

Parent and child talk in lines: the child says `ready`, the parent `go` and perhaps `stop`, the child one line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]


class Child:
    """A process that runs `python -m MODULE` with those options. It is ready when this returns."""

    def __init__(self, module: str, options: Mapping[str, Any], *, pass_fds: Sequence[int] = ()) -> None:
        self._name = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            pass_fds=tuple(pass_fds),
        )
        if self._line() != "ready":
            raise RuntimeError(f"{module} did not start")

    def go(self) -> None:
        self._say("go")

    def stop(self) -> None:
        self._say("stop")

    def result(self) -> dict[str, Any]:
        """What it measured, once it has ended. Raises RuntimeError if it failed."""
        line = self._line()
        code = self._process.wait()
        if code or not line:
            raise RuntimeError(f"{self._name} ended with {code}; its own message is above")
        return dict(json.loads(line))

    def end(self) -> None:
        """Kill it if it still runs, and give its pipes up."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _say(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


class Orders:
    """The child's end."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._cpu = 0.0

    def cpu_seconds(self) -> float:
        """Processor time since it was told to begin: what starting Python takes is nobody's figure."""
        return time.process_time() - self._cpu

    def wait_for_go(self) -> None:
        """Say that all is prepared, and return when it is to begin. From then on `stopped` tells when to end."""
        print("ready", flush=True)
        sys.stdin.readline()
        self._cpu = time.process_time()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        sys.stdin.readline()  # "stop", or the end of a parent that is gone
        self.stopped.set()


def run_child(act: Callable[[dict[str, Any], Orders], dict[str, Any]]) -> None:
    """What a child's module does when it is run."""
    print(json.dumps(act(json.loads(sys.argv[1]), Orders())), flush=True)
