"""Where the writer's Unix socket lies. Standard library only.

Inside the data directory, which is private to its user. The kernel takes at most 107 bytes for such a name, and grpc
reads it as part of a URI; a directory whose name is too long or too strange for that gets a private one elsewhere.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

NAME = "writer.sock"
MAX_BYTES = 107
_PLAIN = re.compile(r"/[A-Za-z0-9_./+,@~-]*\Z", re.ASCII)


class SocketPlace:
    """The name of the socket. `close` removes the private directory, if one was needed."""

    def __init__(self, data: Path) -> None:
        self._private: Path | None = None
        self.path = data.absolute() / NAME
        if not _fits(self.path):
            # mkdtemp makes it for this user alone (0700), under a name nobody can have taken before.
            self._private = Path(tempfile.mkdtemp(prefix="segidx-"))
            self.path = self._private / NAME
            if not _fits(self.path):
                self.close()
                self._private = Path(tempfile.mkdtemp(prefix="segidx-", dir="/tmp"))
                self.path = self._private / NAME

    def close(self) -> None:
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= MAX_BYTES and _PLAIN.match(str(path)) is not None
