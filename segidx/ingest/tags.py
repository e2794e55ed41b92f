"""Edits of tags fields inside one write transaction. A tags field has postings, counts and presence, no column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segidx.ingest.batch import FieldChange
from segidx.ingest.fields import FieldEditor, Ordinals, Pairs
from segidx.kernels.bitmaps import Posting
from segidx.model.schema import Field
from segidx.store import counts
from segidx.store.layout import DB_COUNTS, DB_POSTINGS, HEADER_BYTES, SHARD_BITS, SYSTEM_FIELD, posting_key

_NO_PAIRS: Pairs = (np.zeros(0, np.int64), np.zeros(0, np.uint32))


class TagEditor:
    """Edits tags through a FieldEditor's transaction."""

    def __init__(self, editor: FieldEditor) -> None:
        self._editor = editor

    def assign(self, field: Field, change: FieldChange, batch_ordinals: Ordinals, first_new: int) -> None:
        """Replace the tags of the change's contacts. Ordinals from `first_new` on hold no tag yet."""
        lists: pa.ListArray = change.values
        offsets = lists.offsets.to_numpy()
        flat = lists.flatten()
        encoded = flat.dictionary_encode()
        field_id = self._editor.catalog.field_ids[field.name]
        table_codes, _ = self._editor.dictionary(field_id).insert(encoded.dictionary)
        codes = np.asarray(table_codes[encoded.indices.to_numpy(zero_copy_only=False)], np.int64)
        ordinals = np.repeat(batch_ordinals[change.rows], np.diff(offsets))
        touched = batch_ordinals[np.concatenate([change.rows, change.cleared])]
        self._replace(field, np.sort(touched[touched < first_new]), (codes, ordinals))

    def change(
        self,
        field: Field,
        ordinals: Ordinals,
        add: Sequence[str],
        remove: Sequence[str],
        replace: Sequence[str] | None,
    ) -> None:
        """Give each of the ascending `ordinals` the tags of `add` and take those of `remove`; or set those of
        `replace`."""
        field_id = self._editor.catalog.field_ids[field.name]
        dictionary = self._editor.dictionary(field_id)
        if replace is not None:
            codes, _ = dictionary.insert(pa.array(sorted(set(replace)), pa.string()))
            self._replace(field, ordinals, _product(codes, ordinals))
            return
        added, _ = dictionary.insert(pa.array(sorted(set(add)), pa.string()))
        removed = dictionary.find(pa.array(sorted(set(remove)), pa.string()))
        gained = self._held(field_id, added, ordinals, held=False)
        lost = self._held(field_id, removed[removed >= 0], ordinals, held=True)
        left = _NO_PAIRS[1]
        if len(lost[0]):
            # Those who lose a tag and gain none may have lost their last one.
            losers = np.setdiff1d(lost[1], gained[1])
            remaining = np.setdiff1d(_keys(*self._current(field_id, losers)), _keys(*lost))
            left = np.setdiff1d(losers, remaining.astype(np.uint32))
        self._write(field, gained, lost, np.unique(gained[1]), left)

    def _replace(self, field: Field, existing: Ordinals, wanted: Pairs) -> None:
        """Make `wanted` the tags of its ordinals and of `existing`, which alone may hold tags now."""
        current = self._current(self._editor.catalog.field_ids[field.name], existing)
        if not len(current[0]):  # as in an import of new contacts: there is nothing to compare with
            self._write(field, wanted, current, np.unique(wanted[1]), _NO_PAIRS[1])
            return
        have, want = _keys(*current), _keys(*wanted)
        gained, lost = np.setdiff1d(want, have), np.setdiff1d(have, want)
        self._write(
            field,
            _pairs(gained),
            _pairs(lost),
            np.unique(wanted[1]),
            np.setdiff1d(np.unique(current[1]), wanted[1]),
        )

    def _write(self, field: Field, gained: Pairs, lost: Pairs, tagged: Ordinals, bare: Ordinals) -> None:
        """Apply effective pairs; `tagged` ordinals hold a tag afterwards, `bare` ones held some and hold none now."""
        field_id = self._editor.catalog.field_ids[field.name]
        is_set = self._shards(SYSTEM_FIELD, field_id, tagged).contains_many(tagged)
        self._editor.mark_system(field_id, tagged[np.asarray(is_set) == 0], bare)
        self._editor.change_values(field, gained, lost)

    def _held(self, field_id: int, codes: npt.NDArray[np.int64], ordinals: Ordinals, *, held: bool) -> Pairs:
        """The pairs of codes and ordinals that are (or are not) held now."""
        found = []
        for code in codes.tolist():
            mask = np.asarray(self._shards(field_id, code, ordinals).contains_many(ordinals)) != 0
            found.append((code, ordinals[mask if held else ~mask]))
        return _flat(found)

    def _current(self, field_id: int, ordinals: Ordinals) -> Pairs:
        """Every (code, ordinal) pair that the ascending ordinals hold now."""
        if not len(ordinals):
            return _NO_PAIRS
        size = len(self._editor.dictionary(field_id))
        in_use, _ = counts.read_entries(self._editor.txn, self._editor.dbs[DB_COUNTS], field_id, size)
        return self._held(field_id, np.flatnonzero(in_use), ordinals, held=True)

    def _shards(self, field_id: int, code: int, ordinals: Ordinals) -> Posting:
        """The posting in the shards of the given ordinals; valid until the transaction's next write."""
        database = self._editor.dbs[DB_POSTINGS]
        keys = (posting_key(field_id, code, shard) for shard in np.unique(ordinals >> SHARD_BITS).tolist())
        parts = [value for key in keys if (value := self._editor.txn.get(key, db=database)) is not None]
        return Posting(parts, skip=HEADER_BYTES)


def _keys(codes: npt.NDArray[np.int64], ordinals: Ordinals) -> npt.NDArray[np.uint64]:
    return (codes.astype(np.uint64) << np.uint64(32)) | ordinals.astype(np.uint64)


def _pairs(keys: npt.NDArray[np.uint64]) -> Pairs:
    return (keys >> np.uint64(32)).astype(np.int64), keys.astype(np.uint32)


def _product(codes: npt.NDArray[np.int64], ordinals: Ordinals) -> Pairs:
    return np.repeat(codes, len(ordinals)).astype(np.int64), np.tile(ordinals, len(codes))


def _flat(found: list[tuple[int, Ordinals]]) -> Pairs:
    if not found:
        return _NO_PAIRS
    codes = np.repeat([code for code, _ in found], [len(ordinals) for _, ordinals in found])
    return codes.astype(np.int64), np.concatenate([ordinals for _, ordinals in found])
