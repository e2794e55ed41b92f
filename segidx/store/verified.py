"""Which stored values the writer has seen to be whole: what a change is compared with is never taken from damage.

A value is verified when it is first used, and again when it was rewritten since (its checksum differs). Both headers,
of sealed values and of column chunks, hold the checksum at byte 8.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

from segidx.kernels.columns import verify_chunk
from segidx.model.errors import CorruptData
from segidx.store.layout import DB_COLUMNS, HEADER_BYTES, Handle, Reader

_CHECKSUM = struct.Struct("<I")
_CHECKSUM_AT = 8
# Values that are remembered; then all are verified anew as they are used.
REMEMBERED = 1 << 17


class Verified:
    """Checksums of the values verified so far. For the writer's one thread."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bytes], int] = {}

    def check(self, txn: Reader, database: bytes, db: Handle, keys: Iterable[bytes]) -> None:
        """Verify the values of `keys` that were not, or have changed since. Raises CorruptData."""
        for key in keys:
            value = txn.get(key, db=db)
            if value is not None and len(value) >= _CHECKSUM_AT + 4:
                (checksum,) = _CHECKSUM.unpack_from(value, _CHECKSUM_AT)
                if self._known.get((database, key)) != checksum:
                    self._verify(database, key, memoryview(value), checksum)
                    if len(self._known) >= REMEMBERED:
                        self._known.clear()
                    self._known[database, key] = checksum

    def _verify(self, database: bytes, key: bytes, value: memoryview, checksum: int) -> None:
        if database == DB_COLUMNS:
            problem = verify_chunk(value)
        else:
            problem = None if zlib.crc32(value[HEADER_BYTES:]) == checksum else "the checksum does not match"
        if problem is not None:
            raise CorruptData(f"{database.decode()}, key {key.hex()}: {problem}; restore from a backup")
