"""A validated batch in columns: what the writer applies, whoever made it (rows over gRPC, a file being imported).

Values are already in stored form, so that the writer neither parses nor rejects.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segidx.model.results import Reject

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FieldChange:
    """New values of one field for some contacts of a batch.

    `rows` and `cleared` are ascending, unique and disjoint indices into the batch's ids. `values` has one element a
    row of `rows`: an int64 array for numbers (minor units), timestamps (ms since 1970), dates (days since 1970) and
    bools (0 or 1); a pyarrow string array (NFC, no nulls) for categories and texts; a pyarrow list<string> array
    (distinct tags, NFC, no nulls) for tags, where an empty list clears.
    """

    rows: Rows
    values: npt.NDArray[np.int64] | pa.Array
    cleared: Rows


@dataclass(frozen=True, slots=True)
class TagEdits:
    """Single tags of one tags field given (`added`) and taken: one element each in `rows`, `tags` (a pyarrow string
    array, NFC) and `added`. A row and a tag occur together once, and no row is in the field's FieldChange."""

    rows: Rows
    tags: pa.Array
    added: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FlagEdits:
    """Flags of channels set and cleared, each row and flag once. `codes` are those of `segidx.store.layout`."""

    rows: Rows
    codes: npt.NDArray[np.int64]
    values: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ContactBatch:
    """Contacts to create or update: `ids` is a pyarrow string array of distinct valid ids.

    Fields that a contact's row did not name stay as they are. `duplicates` counts earlier rows that a later row
    with the same id replaced, or was joined with; `rejects` the rows that were refused (their indices are those of the
    caller's rows). Ids of which `must_exist` says so (None: no id) are refused where there is no such contact, under
    the caller's row number in `indices`.
    """

    ids: pa.Array
    changes: dict[str, FieldChange] = field(default_factory=dict)
    duplicates: int = 0
    rejects: tuple[Reject, ...] = ()
    edits: dict[str, TagEdits] = field(default_factory=dict)
    flags: FlagEdits | None = None
    must_exist: npt.NDArray[np.bool_] | None = None
    indices: Rows | None = None
