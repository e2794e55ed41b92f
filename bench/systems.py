"""What a measured system is, and where it keeps its copy of the corpus between runs."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from segidx.model.expression import Expression

Run = Callable[[], int]  # one count, from the question in the system's own language to the number


class System(Protocol):
    """A system that holds the corpus and counts."""

    name: str

    def prepare(self, expression: Expression) -> Run:
        """The count of an expression. Translation into the system's language happens here and is not timed."""

    def close(self) -> None:
        """Give up files, memory and processes."""


def stored(directory: Path, stamp: Mapping[str, object], build: Callable[[Path], None]) -> tuple[Path, float | None]:
    """(the path of a stored copy, seconds its build took or None if it was there already).

    The copy is reused only if it was completed for the same stamp; whatever else is in `directory` is removed first.
    """
    path, marker = directory / "data", directory / "complete.json"
    if marker.is_file() and json.loads(marker.read_text()) == dict(stamp):
        return path, None
    shutil.rmtree(directory, ignore_errors=True)
    path.mkdir(parents=True)
    started = time.perf_counter()
    build(path)
    seconds = time.perf_counter() - started
    marker.write_text(json.dumps(dict(stamp)))
    return path, seconds


def disk_bytes(path: Path) -> int:
    """Bytes that the files below a path take on the disk (holes of sparse files do not count)."""
    return sum(p.stat().st_blocks * 512 for p in path.rglob("*") if p.is_file())
