"""Files: how long the disk takes to make an append durable, copies that leave nothing to be written, sizes."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

APPEND_BYTES = 64 << 10


def append_milliseconds(directory: Path, appends: int) -> list[float]:
    """What an append of 64 KB and its fdatasync take, one after the other, in a file of that directory."""
    taken = []
    data = os.urandom(APPEND_BYTES)
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(appends):
            started = time.perf_counter()
            os.write(file.fileno(), data)
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - started) * 1000)
    return taken


def copy_directory(source: Path, target: Path) -> None:
    """Make `target` a copy, on the disk when this returns: a benchmark's syncs must not wait for it."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    for path in target.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())


def file_bytes(path: Path) -> int:
    """The length of all files below a path."""
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
