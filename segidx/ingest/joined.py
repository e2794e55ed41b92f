"""Batches of one commit compared together: the cost of a comparison is mostly one for each value concerned, however
many contacts change it. Only batches that do not meet: no contact is in two, and none says which contacts must exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segidx.ingest.batch import ContactBatch, FieldChange, FlagEdits, Rows, TagEdits


class Company:
    """Batches that may be joined, in their order."""

    def __init__(self) -> None:
        self.batches: list[ContactBatch] = []
        self._ids: set[str] = set()

    def takes(self, batch: ContactBatch) -> bool:
        """Add a batch, if it meets none of those here; whether it did."""
        if batch.must_exist is not None and self.batches:
            return False
        if self.batches:
            if self.batches[0].must_exist is not None:
                return False
            if not self._ids:  # of the first, which is mostly alone where it is large
                self._ids.update(self.batches[0].ids.to_pylist())
            ids = batch.ids.to_pylist()
            if not self._ids.isdisjoint(ids):
                return False
            self._ids.update(ids)
        self.batches.append(batch)
        return True

    def starts(self) -> list[int]:
        """The row of the joined batch at which each begins, and the end."""
        return [0, *np.cumsum([len(b.ids) for b in self.batches]).tolist()]

    def joined(self) -> ContactBatch:
        """One batch that does what all do. Rejects and counts of duplicates stay with the single batches."""
        if len(self.batches) == 1:
            return self.batches[0]
        starts = self.starts()
        fields = dict.fromkeys(name for b in self.batches for name in b.changes)
        edited = dict.fromkeys(name for b in self.batches for name in b.edits)
        flags = [(b.flags, start) for b, start in zip(self.batches, starts, strict=False) if b.flags is not None]
        return ContactBatch(
            ids=pa.concat_arrays([b.ids for b in self.batches]),
            changes={name: self._change(name, starts) for name in fields},
            edits={name: self._edits(name, starts) for name in edited},
            flags=FlagEdits(
                _moved((f.rows, start) for f, start in flags),
                np.concatenate([f.codes for f, _ in flags]),
                np.concatenate([f.values for f, _ in flags]),
            )
            if flags
            else None,
        )

    def _change(self, name: str, starts: Sequence[int]) -> FieldChange:
        parts = [(b.changes[name], s) for b, s in zip(self.batches, starts, strict=False) if name in b.changes]
        return FieldChange(
            _moved((c.rows, start) for c, start in parts),
            _concatenated([c.values for c, _ in parts]),
            _moved((c.cleared, start) for c, start in parts),
        )

    def _edits(self, name: str, starts: Sequence[int]) -> TagEdits:
        parts = [(b.edits[name], s) for b, s in zip(self.batches, starts, strict=False) if name in b.edits]
        return TagEdits(
            _moved((e.rows, start) for e, start in parts),
            pa.concat_arrays([e.tags for e, _ in parts]),
            np.concatenate([e.added for e, _ in parts]),
        )


def _moved(parts: Iterable[tuple[Rows, int]]) -> Rows:
    return np.concatenate([rows + start for rows, start in parts])


def _concatenated(values: Sequence[npt.NDArray[np.int64] | pa.Array]) -> npt.NDArray[np.int64] | pa.Array:
    return pa.concat_arrays(values) if isinstance(values[0], pa.Array) else np.concatenate(values)
