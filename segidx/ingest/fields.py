"""Edits of single-valued fields inside one write transaction: column, postings, counts and presence together.

The four say the same thing in four ways, so no other code writes any of them alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from segidx.ingest.batch import FieldChange
from segidx.model.schema import Field, FieldType
from segidx.store.columns import change_column, scan_column
from segidx.store.counts import change_entries
from segidx.store.environment import WriteTransaction
from segidx.store.layout import DB_COLUMNS, DB_COUNTS, DB_POSTINGS, DB_STRINGS, SYSTEM_FIELD
from segidx.store.postings import change_postings
from segidx.store.strings import StringTable

# A text gets a posting when this many contacts hold it. Below, a posting costs more bytes a contact than the column
# and the dictionary together, and a scan of the column answers (docs/adr/003-text-postings.md).
TEXT_POSTING_MIN = 64

Ordinals = npt.NDArray[np.uint32]
Codes = npt.NDArray[np.int64]
Pairs = tuple[Codes, Ordinals]


class FieldEditor:
    """Edits fields in one write transaction. `size` is the number of ordinals given out."""

    def __init__(self, write: WriteTransaction, size: int) -> None:
        self.txn = write.txn
        self.dbs = write.dbs
        self.catalog = write.catalog
        self.size = size

    def dictionary(self, field_id: int) -> StringTable:
        return StringTable(self.txn, self.dbs[DB_STRINGS], field_id, self.catalog.hash_key)

    def mark_system(self, code: int, added: Ordinals, removed: Ordinals) -> None:
        """Add and remove ordinals of a system posting: the live universe, or 'field is set'."""
        if not len(added) and not len(removed):
            return
        self._change_postings(
            SYSTEM_FIELD,
            (np.full(len(added), code, np.int64), added),
            (np.full(len(removed), code, np.int64), removed),
        )
        delta = np.array([len(added) - len(removed)], np.int64)
        change_entries(self.txn, self.dbs[DB_COUNTS], SYSTEM_FIELD, np.array([code], np.int64), delta)

    def assign(self, field: Field, change: FieldChange, batch_ordinals: Ordinals) -> None:
        """Give the change's contacts their new values; `batch_ordinals` are the ordinals of the batch's ids."""
        field_id = self.catalog.field_ids[field.name]
        rows = np.concatenate([change.rows, change.cleared])
        if not len(rows):
            return
        values = np.zeros(len(rows), np.int64)
        values[: len(change.rows)] = self._stored(field, field_id, change.values)
        present = np.arange(len(rows)) < len(change.rows)
        ordinals = batch_ordinals[rows]
        order = np.argsort(ordinals, kind="stable")
        ordinals, values, present = ordinals[order], values[order], present[order]

        before, had = change_column(self.txn, self.dbs[DB_COLUMNS], field_id, ordinals, values, present)
        self.mark_system(field_id, ordinals[present & ~had], ordinals[had & ~present])
        if field.type.is_string or field.type is FieldType.BOOL:
            changed = (present != had) | (before != values)
            gained, lost = present & changed, had & changed
            self.change_values(field, (values[gained], ordinals[gained]), (before[lost], ordinals[lost]))

    def _stored(self, field: Field, field_id: int, values: Any) -> npt.NDArray[np.int64]:
        if not field.type.is_string:
            return np.asarray(values)
        # Codes of distinct strings only: a batch repeats its categories, and the table need not see them twice.
        encoded = values.dictionary_encode()
        codes, _ = self.dictionary(field_id).insert(encoded.dictionary)
        return np.asarray(codes[encoded.indices.to_numpy(zero_copy_only=False)], np.int64)

    def change_values(self, field: Field, gained: Pairs, lost: Pairs) -> None:
        """Bring the postings and counts of a coded field up to (code, ordinal) pairs gained and lost."""
        field_id = self.catalog.field_ids[field.name]
        codes, deltas = _net(gained[0], lost[0])
        if not len(codes):
            return
        counts_db = self.dbs[DB_COUNTS]
        if field.type is not FieldType.TEXT:
            change_entries(self.txn, counts_db, field_id, codes, deltas, with_posting=True)
            self._change_postings(field_id, gained, lost)
            return
        counts, kept = change_entries(self.txn, counts_db, field_id, codes, deltas)
        self._change_postings(field_id, _only(gained, codes[kept]), _only(lost, codes[kept]))
        promoted = codes[~kept & (counts >= TEXT_POSTING_MIN)]
        if len(promoted):
            zeros = np.zeros(len(promoted), np.int64)
            change_entries(self.txn, counts_db, field_id, promoted, zeros, with_posting=True)
            nothing = np.zeros(0, np.int64), np.zeros(0, np.uint32)
            self._change_postings(field_id, self._holders(field_id, promoted), nothing)

    def _holders(self, field_id: int, codes: Codes) -> Pairs:
        """Every (code, ordinal) pair of the given ascending codes, from the column."""
        found_codes, found_ordinals = [], []
        wanted = np.zeros(int(codes[-1]) + 1, np.bool_)
        wanted[codes] = True
        for first, values, present in scan_column(self.txn, self.dbs[DB_COLUMNS], field_id, self.size):
            hits = np.flatnonzero(present & (values < len(wanted)) & wanted[np.minimum(values, len(wanted) - 1)])
            found_codes.append(values[hits])
            found_ordinals.append((hits + first).astype(np.uint32))
        return np.concatenate(found_codes), np.concatenate(found_ordinals)

    def _change_postings(self, field_id: int, added: Pairs, removed: Pairs) -> None:
        change_postings(self.txn, self.dbs[DB_POSTINGS], field_id, added, removed)


def _net(gained: Codes, lost: Codes) -> tuple[Codes, Codes]:
    """(distinct ascending codes, change of count of each)."""
    both = np.concatenate([gained, lost])
    codes, inverse = np.unique(both, return_inverse=True)
    deltas = np.bincount(inverse[: len(gained)], minlength=len(codes)) - np.bincount(
        inverse[len(gained) :], minlength=len(codes)
    )
    return codes, deltas.astype(np.int64)


def _only(pairs: Pairs, codes: Codes) -> Pairs:
    """The pairs whose code is among the ascending `codes`."""
    keep = np.isin(pairs[0], codes)
    return pairs[0][keep], pairs[1][keep]
