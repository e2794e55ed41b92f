"""Observes what a dead writer left of a directory, from a process of its own: damage may kill whoever reads it.

Imports nothing of segidx; the process it starts does (`observe`).
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

SECONDS = 120  # a reader that takes longer hangs


class Observer:
    """A process that observes directories, started again when one of them kills it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def observe(self, directory: Path, *, write: bool = False) -> dict[str, Any]:
        """The observation of a directory; see `crashkit.observe`."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "crashkit.observe"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment(),
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"directory": str(directory), "write": write}) + "\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], SECONDS)[0]:
            process.kill()
        line = process.stdout.readline()
        if line:
            return json.loads(line)
        self._process = None
        process.communicate()
        return {"error": f"the reading process ended with {process.returncode}"}

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None


def environment(**more: str) -> dict[str, str]:
    """The environment of a process of this package."""
    here = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **more}
