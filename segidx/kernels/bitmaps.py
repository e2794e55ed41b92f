"""Expressions over Roaring postings and columns, evaluated in place, container by container.

The typed face of the native evaluator: `Posting` and `Column` open borrowed buffers, `Program` combines them, and
`count`, `any` and `materialise` answer with the GIL released. Buffers and counts only: no I/O, no knowledge of keys,
snapshots or schemas. It imports nothing else of segidx.

    program = Program()
    root = program.all_of([program.posting(a), program.negate(program.posting(b))])
    program.finish(root, universe).count()
"""

from segidx.kernels._bitmaps import (
    LAST_KEY,
    Column,
    CorruptColumn,
    CorruptPosting,
    Posting,
    Program,
    Stop,
    Stopped,
    open_banded,
    postings_hold,
    simd_level,
    validate,
)

CONTAINER_BITS = 16
"""An ordinal's container key is ordinal >> CONTAINER_BITS; containers are the unit of evaluation and of `keys`."""

__all__ = [
    "CONTAINER_BITS",
    "LAST_KEY",
    "Column",
    "CorruptColumn",
    "CorruptPosting",
    "Posting",
    "Program",
    "Stop",
    "Stopped",
    "open_banded",
    "postings_hold",
    "simd_level",
    "validate",
]
