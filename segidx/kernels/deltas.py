"""Deltas: what some commits changed, as sorted arrays; the layers of an overlay and the contents of a log record.

Everything in a delta sets (a membership to 0 or 1, a count, a value), so applying it again changes nothing. The format
is in src/bm_delta.h. Arrays in, arrays and buffers out: no I/O, and nothing else of segidx is imported.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segidx.kernels._bitmaps import (
    CorruptDelta,
    Delta,
    Fold,
    changed_bitmap,
    fold_key,
    overlay_bitmaps,
    overlay_counts,
    overlay_held,
)

__all__ = [
    "EMPTY",
    "ColumnChanges",
    "CorruptDelta",
    "Delta",
    "DeltaArrays",
    "Fold",
    "PostingChanges",
    "build_delta",
    "changed_bitmap",
    "fold_key",
    "key_of",
    "overlay_bitmaps",
    "overlay_counts",
    "overlay_held",
]

_HEADER = struct.Struct("<IIIIIIQ")
_VERSION = 1

U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


def key_of(field: int, code: int) -> int:
    """The key of a value: its field and its code in one u64."""
    return field << 32 | code


@dataclass(frozen=True, slots=True)
class PostingChanges:
    """Memberships set for ascending `keys` (u64[k]), and how many contacts hold each afterwards (i64[k]).

    `adds[add_ends[i - 1]:add_ends[i]]` are the ascending ordinals that gain key i; the same of `removes`.
    """

    keys: U64
    counts: I64
    add_ends: U32
    adds: U32
    remove_ends: U32
    removes: U32


@dataclass(frozen=True, slots=True)
class ColumnChanges:
    """Values of one field set for ascending `ordinals`; missing where not `present` (the value is then 0)."""

    field: int
    ordinals: U32
    values: I64
    present: npt.NDArray[np.bool_]


def build_delta(postings: Sequence[PostingChanges], columns: Sequence[ColumnChanges]) -> Delta:
    """The delta of changes whose keys ascend from one PostingChanges to the next, and fields from column to column."""
    nadds = np.cumsum([0, *(len(p.adds) for p in postings)])
    nremoves = np.cumsum([0, *(len(p.removes) for p in postings)])
    ends = np.cumsum([len(c.ordinals) for c in columns]).astype(np.uint32)
    bounds = [(c.values[c.present] if not c.present.all() else c.values) for c in columns]
    parts: list[npt.NDArray[np.generic]] = [
        *(p.keys.astype("<u8") for p in postings),
        *(c.values.astype("<i8") for c in columns),
        np.array([int(b.min()) if len(b) else 0 for b in bounds], "<i8"),
        np.array([int(b.max()) if len(b) else 0 for b in bounds], "<i8"),
        *(p.counts.astype("<u4") for p in postings),
        *((p.add_ends + first).astype("<u4") for p, first in zip(postings, nadds, strict=False)),
        *((p.remove_ends + first).astype("<u4") for p, first in zip(postings, nremoves, strict=False)),
        *(p.adds.astype("<u4") for p in postings),
        *(p.removes.astype("<u4") for p in postings),
        np.array([c.field for c in columns], "<u4"),
        ends.astype("<u4"),
        *(c.ordinals.astype("<u4") for c in columns),
        *(c.present.astype(np.uint8) for c in columns),
    ]
    head = _HEADER.pack(
        _VERSION,
        sum(len(p.keys) for p in postings),
        int(nadds[-1]),
        int(nremoves[-1]),
        len(columns),
        int(ends[-1]) if len(columns) else 0,
        0,
    )
    return Delta(b"".join([head, *(part.tobytes() for part in parts)]))


class DeltaArrays:
    """The arrays of a delta, borrowed from it; see src/bm_delta.h. The delta is kept alive."""

    def __init__(self, delta: Delta) -> None:
        self.delta = delta
        nkeys, nadds, nremoves, nfields, nvalues = delta.shape
        at = _HEADER.size

        def take(kind: str, n: int) -> npt.NDArray[np.generic]:
            nonlocal at
            found = np.frombuffer(delta.data, kind, n, at)
            at += found.nbytes
            return found

        self.keys: U64 = take("<u8", nkeys)  # type: ignore[assignment]
        self.values: I64 = take("<i8", nvalues)  # type: ignore[assignment]
        take("<i8", 2 * nfields)
        self.counts: U32 = take("<u4", nkeys)  # type: ignore[assignment]
        self.add_ends: U32 = take("<u4", nkeys)  # type: ignore[assignment]
        self.remove_ends: U32 = take("<u4", nkeys)  # type: ignore[assignment]
        self.adds: U32 = take("<u4", nadds)  # type: ignore[assignment]
        self.removes: U32 = take("<u4", nremoves)  # type: ignore[assignment]
        self.fields: U32 = take("<u4", nfields)  # type: ignore[assignment]
        self.field_ends: U32 = take("<u4", nfields)  # type: ignore[assignment]
        self.ordinals: U32 = take("<u4", nvalues)  # type: ignore[assignment]
        self.present: npt.NDArray[np.bool_] = take("u1", nvalues).view(np.bool_)

    def memberships(self, at: int) -> tuple[U32, U32]:
        """(added, removed) ordinals of the key at an index."""
        added = self.adds[int(self.add_ends[at - 1]) if at else 0 : int(self.add_ends[at])]
        removed = self.removes[int(self.remove_ends[at - 1]) if at else 0 : int(self.remove_ends[at])]
        return added, removed

    def keys_of(self, field: int) -> slice:
        """The indices of the keys of a field."""
        first, last = np.searchsorted(self.keys, np.array([field << 32, (field + 1) << 32], np.uint64)).tolist()
        return slice(first, last)

    def columns(self) -> list[ColumnChanges]:
        """The values, field by field."""
        starts = [0, *self.field_ends.tolist()]
        return [
            ColumnChanges(field, self.ordinals[a:b], self.values[a:b], self.present[a:b])
            for field, a, b in zip(self.fields.tolist(), starts, starts[1:], strict=False)
        ]

    def values_of(self, field: int) -> ColumnChanges | None:
        """The values of one field, None where the delta sets none."""
        return next((c for c in self.columns() if c.field == field), None)


EMPTY = build_delta((), ())
