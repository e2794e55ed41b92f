"""Reads the log that cutpower.c writes. The layout is that of its `struct record`."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HEAD = struct.Struct("<BBHIQqII")

FILE_MADE, DIRECTORY_MADE, RENAMED, REMOVED = "C", "D", "R", "U"
WRITTEN, TRUNCATED, SYNC_BEGINS, SYNC_ENDS, MARK = "W", "T", "s", "S", "M"


@dataclass(frozen=True)
class Event:
    """One record. `path` and `new_path` are below the traced directory, "" for itself."""

    kind: str
    inode: int = 0
    offset: int = 0  # of a write; the new length of a truncation; the number of a sync
    synced: bool = False  # a write that is durable on return; a sync that succeeded
    data: bytes = b""
    path: str = ""
    new_path: str = ""

    @property
    def line(self) -> str:
        """Of a mark: what the writer reported."""
        return self.data.decode()


def read_log(path: Path) -> Iterator[Event]:
    """The records in order."""
    with path.open("rb") as file:
        while head := file.read(_HEAD.size):
            kind, synced, _, length, inode, offset, length2, _ = _HEAD.unpack(head)
            first, second = file.read(length), file.read(length2)
            named = chr(kind) in (FILE_MADE, DIRECTORY_MADE, RENAMED, REMOVED)
            yield Event(
                chr(kind),
                inode,
                offset,
                bool(synced),
                b"" if named else first,
                first.decode() if named else "",
                second.decode(),
            )
