"""A directory in memory, for tests that commit hundreds of times and have no interest in the disk. Imports nothing of
segidx."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = "/dev/shm"


@contextmanager
def quick_directory() -> Iterator[Path]:
    """A directory that is gone afterwards; on the disk where the machine has no directory in memory."""
    in_memory = os.access(_MEMORY, os.W_OK)
    with tempfile.TemporaryDirectory(prefix="segidx-test-", dir=_MEMORY if in_memory else None) as name:
        yield Path(name)
