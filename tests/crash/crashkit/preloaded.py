"""The functions that cutpower.c adds to a process it is preloaded into. Imports nothing of segidx."""

from __future__ import annotations

import ctypes
import os


def is_preloaded() -> bool:
    return "CUTPOWER_LOG" in os.environ


def mark(line: str) -> None:
    """A line into the log, in order with the writes."""
    data = line.encode()
    ctypes.CDLL(None).cutpower_mark(data, ctypes.c_size_t(len(data)))


def honour(*, sync_calls: bool, dsync: bool) -> None:
    """Whether fsync and fdatasync, and O_DSYNC, are carried out from now on."""
    ctypes.CDLL(None).cutpower_honour(int(sync_calls), int(dsync))


def fail(kind: str, after: int, error: int, times: int = 1) -> None:
    """After `after` more calls of the kind ("write", "synced write": through O_DSYNC, "sync") on files below the root,
    the next `times` fail with this errno; 0 makes a write stop half-way."""
    ctypes.CDLL(None).cutpower_fail(kind.encode(), ctypes.c_long(after), error, ctypes.c_long(times))


def failed() -> int:
    """How many calls failed since the last `fail`."""
    return int(ctypes.CDLL(None).cutpower_failed())
