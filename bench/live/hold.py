"""Keeps the merger from merging, for overlays of a chosen size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from segidx.ingest import merger

_NEVER_BYTES, _NEVER_SECONDS = 1 << 60, 1e6


@contextmanager
def merging_held() -> Iterator[None]:
    """Within it, nothing that this process writes is merged by itself, however much it is; `Account.merge` merges."""
    before = merger.MERGE_BYTES, merger.MERGE_SECONDS, merger.ROOM_BYTES
    merger.MERGE_BYTES = merger.ROOM_BYTES = _NEVER_BYTES
    merger.MERGE_SECONDS = _NEVER_SECONDS
    try:
        yield
    finally:
        merger.MERGE_BYTES, merger.MERGE_SECONDS, merger.ROOM_BYTES = before
