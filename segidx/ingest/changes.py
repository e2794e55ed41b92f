"""What a batch changes: compared with what is held now, so that only what differs is written.

Column, postings, counts and presence of a field say the same thing in four ways; no other code makes any of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segidx.ingest.batch import ContactBatch, FieldChange, FlagEdits, Rows, TagEdits
from segidx.ingest.history import History, TagChanges, ValueChanges
from segidx.ingest.pending import NO_PAIRS, Codes, Ordinals, Pairs, Pending
from segidx.kernels.deltas import ColumnChanges, Delta
from segidx.model.errors import ContactNotFound, StorageFull
from segidx.model.results import Reject
from segidx.model.schema import Field, FieldType
from segidx.model.writes import ADDRESS_FIELDS, SUPPRESSING, ChangeKind, Channel, ChannelFlag
from segidx.store.feed import KIND_BITS
from segidx.store.layout import CHANNEL_CODES, LIVE_CODE, MAX_ORDINALS, SYSTEM_FIELD, channel_code

Mask = npt.NDArray[np.bool_]
_NOBODY = np.zeros(0, np.uint32)


@dataclass(frozen=True, slots=True)
class BatchChanges:
    """What applying a batch comes to. `created` says of each of its ids whether the contact is new; `ordinals` and
    `kinds` are for the change feed; `history` is what changed of tracked fields."""

    delta: Delta
    ids: pa.Array  # those accepted
    created: Mask
    rejects: tuple[Reject, ...]
    ordinals: Ordinals
    kinds: npt.NDArray[np.uint8]
    history: History


def changes_of(batch: ContactBatch, pending: Pending) -> BatchChanges:
    """Compare a batch with the account as it stands in `pending`, which gets the batch's new strings, and the delta
    when the caller adds it.

    Raises UnknownField for a field that was never declared and StorageFull when ordinals run out; then nothing of the
    batch may stay (`Pending.forget`).
    """
    batch = _without_strangers(batch, pending)
    known = len(pending.ids)
    codes = pending.ids.insert(batch.ids)
    if len(pending.ids) > MAX_ORDINALS - 1:
        raise StorageFull(f"the account has given out all {MAX_ORDINALS} ordinals")
    comparison = _Comparison(pending, codes.astype(np.uint32), codes >= known)
    comparison.create()
    for name, change in batch.changes.items():
        field = pending.catalog.schema[name]
        if field.type is FieldType.TAGS:
            comparison.replace_tags(field, change)
        else:
            comparison.assign(field, change)
    for name, edits in batch.edits.items():
        comparison.edit_tags(pending.catalog.schema[name], edits)
    if batch.flags is not None:
        comparison.edit_flags(batch.flags)
    comparison.settle_flags()
    ordinals, kinds = comparison.touched()
    return BatchChanges(
        pending.delta(comparison.postings, comparison.columns),
        batch.ids,
        comparison.created,
        batch.rejects,
        ordinals,
        kinds,
        comparison.history,
    )


def _without_strangers(batch: ContactBatch, pending: Pending) -> ContactBatch:
    """The batch without rows that must be of contacts that exist and are not; they are its rejects."""
    if batch.must_exist is None or batch.indices is None:
        return batch
    strange = batch.must_exist & (pending.ids.find(batch.ids) < 0)
    if not strange.any():
        return batch
    rejects = []
    for row in np.flatnonzero(strange).tolist():
        index, contact_id = int(batch.indices[row]), batch.ids[row].as_py()
        message = f"row {index}: {ContactNotFound(contact_id).message}"
        rejects.append(Reject(index, contact_id, "", ContactNotFound.reason, message))
    keep = ~strange
    renumbered = np.cumsum(keep) - 1

    def rows(old: Rows) -> tuple[Mask, Rows]:
        mask = keep[old]
        return mask, renumbered[old[mask]]

    changes = {}
    for name, change in batch.changes.items():
        mask, kept = rows(change.rows)
        values: Any = change.values
        values = values.filter(pa.array(mask)) if isinstance(values, pa.Array) else values[mask]
        changes[name] = FieldChange(kept, values, rows(change.cleared)[1])
    edits = {}
    for name, edit in batch.edits.items():
        mask, kept = rows(edit.rows)
        edits[name] = TagEdits(kept, edit.tags.filter(pa.array(mask)), edit.added[mask])
    flags = batch.flags
    if flags is not None:
        mask, kept = rows(flags.rows)
        flags = FlagEdits(kept, flags.codes[mask], flags.values[mask])
    everything = sorted([*batch.rejects, *rejects], key=lambda reject: reject.index)
    return replace(
        batch,
        ids=batch.ids.filter(pa.array(keep)),
        changes=changes,
        edits=edits,
        flags=flags,
        rejects=tuple(everything),
        must_exist=None,
    )


class _Comparison:
    """Collects the effective pairs and values of one batch. `ordinals` are those of its ids, `created` the new ones."""

    def __init__(self, pending: Pending, ordinals: Ordinals, created: Mask) -> None:
        self._pending = pending
        self._ordinals = ordinals
        self.created = created
        self.postings: dict[int, tuple[Pairs, Pairs]] = {}
        self.columns: list[ColumnChanges] = []
        self.history: list[ValueChanges | TagChanges] = []
        self._kinds = np.where(created, KIND_BITS[ChangeKind.CREATED], 0).astype(np.uint8)
        order = np.argsort(ordinals, kind="stable")
        self._order, self._sorted = order, ordinals[order]
        # Of channels: (code, ordinal) pairs set and cleared, before they are compared.
        self._flags: list[tuple[Codes, Ordinals, Mask]] = []

    def create(self) -> None:
        self._mark(LIVE_CODE, np.sort(self._ordinals[self.created]), _NOBODY)

    def touched(self) -> tuple[Ordinals, npt.NDArray[np.uint8]]:
        """(ascending ordinals that changed, kinds of each)."""
        kinds = self._kinds[self._order]
        return self._sorted[kinds != 0], kinds[kinds != 0]

    def _note(self, ordinals: Ordinals, kind: ChangeKind) -> None:
        self._kinds[self._order[np.searchsorted(self._sorted, ordinals)]] |= KIND_BITS[kind]

    def _mark(self, code: int, added: Ordinals, removed: Ordinals) -> None:
        """Add and remove ordinals of a system posting."""
        self._change(
            SYSTEM_FIELD,
            (np.full(len(added), code, np.int64), added),
            (np.full(len(removed), code, np.int64), removed),
        )

    def _change(self, field_id: int, gained: Pairs, lost: Pairs) -> None:
        if not len(gained[0]) and not len(lost[0]):
            return
        before = self.postings.get(field_id)
        if before is not None:
            gained = np.concatenate([before[0][0], gained[0]]), np.concatenate([before[0][1], gained[1]])
            lost = np.concatenate([before[1][0], lost[0]]), np.concatenate([before[1][1], lost[1]])
        self.postings[field_id] = gained, lost

    # --- single-valued fields ---

    def assign(self, field: Field, change: FieldChange) -> None:
        """Give the change's contacts their new values."""
        field_id = self._pending.catalog.field_ids[field.name]
        rows = np.concatenate([change.rows, change.cleared])
        if not len(rows):
            return
        values = np.zeros(len(rows), np.int64)
        values[: len(change.rows)] = self._stored(field, field_id, change.values)
        present = np.arange(len(rows)) < len(change.rows)
        ordinals = self._ordinals[rows]
        order = np.argsort(ordinals, kind="stable")
        ordinals, values, present = ordinals[order], values[order], present[order]

        before, had = self._pending.values(field_id, ordinals)
        changed = (present != had) | (present & (before != values))
        if not changed.all():
            ordinals, values, present = ordinals[changed], values[changed], present[changed]
            before, had = before[changed], had[changed]
        if not len(ordinals):
            return
        self.columns.append(ColumnChanges(field_id, ordinals, values, present))
        if field.tracked:
            self.history.append(ValueChanges(field, ordinals, before, had, values, present))
        self._note(ordinals, ChangeKind.FIELDS)
        self._mark(field_id, ordinals[present & ~had], ordinals[had & ~present])
        if field.type.is_string or field.type is FieldType.BOOL:
            self._change(field_id, (values[present], ordinals[present]), (before[had], ordinals[had]))
        for channel, name in ADDRESS_FIELDS.items():
            if name == field.name:  # a hard bounce is of an address, and this is another one now
                self._set_flags(channel_code(channel, ChannelFlag.HARD_BOUNCED), ordinals[present], value=False)

    def _stored(self, field: Field, field_id: int, values: Any) -> npt.NDArray[np.int64]:
        if not field.type.is_string:
            return np.asarray(values)
        # Codes of distinct strings only: a batch repeats its categories, and the table need not see them twice.
        encoded = values.dictionary_encode()
        codes = self._pending.table(field_id).insert(encoded.dictionary)
        return np.asarray(codes[encoded.indices.to_numpy(zero_copy_only=False)], np.int64)

    # --- tags ---

    def replace_tags(self, field: Field, change: FieldChange) -> None:
        """Make the given tags those of the change's contacts."""
        field_id = self._pending.catalog.field_ids[field.name]
        lists: pa.ListArray = change.values
        encoded = lists.flatten().dictionary_encode()
        table_codes = self._pending.table(field_id).insert(encoded.dictionary)
        codes = np.asarray(table_codes[encoded.indices.to_numpy(zero_copy_only=False)], np.int64)
        ordinals = np.repeat(self._ordinals[change.rows], np.diff(lists.offsets.to_numpy()))
        rows = np.concatenate([change.rows, change.cleared])
        old = np.sort(self._ordinals[rows[~self.created[rows]]])  # new contacts hold nothing
        current = self._pending.all_held(field, field_id, old)
        if not len(current[0]):  # as in an import of new contacts: there is nothing to compare with
            have = np.unique(ordinals)
            if len(have):
                self._gain_and_lose(field, (codes, ordinals), NO_PAIRS)
                self._note(have, ChangeKind.TAGS)
                self._mark(field_id, have, _NOBODY)
            return
        held, wanted = _joined(*current), _joined(codes, ordinals)
        gained = _split(np.setdiff1d(wanted, held))
        lost = _split(np.setdiff1d(held, wanted))
        self._tagged(field, gained, lost, had=np.unique(current[1]), have=np.unique(ordinals))

    def edit_tags(self, field: Field, edits: TagEdits) -> None:
        """Give and take single tags."""
        if not len(edits.rows):
            return
        field_id = self._pending.catalog.field_ids[field.name]
        table = self._pending.table(field_id)
        encoded = edits.tags.dictionary_encode()
        indices = np.asarray(encoded.indices.to_numpy(zero_copy_only=False))
        given = np.zeros(len(encoded.dictionary), np.bool_)
        given[indices[edits.added]] = True
        codes = np.full(len(given), -1, np.int64)  # a tag that is only taken needs no code of its own
        codes[given] = table.insert(encoded.dictionary.filter(pa.array(given)))
        codes[~given] = table.find(encoded.dictionary.filter(pa.array(~given)))
        pair_codes, ordinals, added = codes[indices], self._ordinals[edits.rows], edits.added
        known = pair_codes >= 0
        pair_codes, ordinals, added = pair_codes[known], ordinals[known], added[known]
        order = np.lexsort((ordinals, pair_codes))
        pair_codes, ordinals, added = pair_codes[order], ordinals[order], added[order]
        held = self._pending.held(field_id, pair_codes, ordinals)
        gained = pair_codes[added & ~held], ordinals[added & ~held]
        lost = pair_codes[held & ~added], ordinals[held & ~added]
        # Who loses a tag and gains none may have lost the last one; the others hold one now.
        winners = np.unique(gained[1])
        losers = np.setdiff1d(lost[1], winners)
        current = self._pending.all_held(field, field_id, losers)
        left = np.setdiff1d(_joined(*current), _joined(*lost)).astype(np.uint32)
        had = np.concatenate([losers, winners[self._is_set(field_id, winners)]])
        self._tagged(field, gained, lost, had=np.unique(had), have=np.union1d(winners, left))

    def _is_set(self, field_id: int, ordinals: Ordinals) -> Mask:
        return self._pending.held(SYSTEM_FIELD, np.full(len(ordinals), field_id, np.int64), ordinals)

    def _gain_and_lose(self, field: Field, gained: Pairs, lost: Pairs) -> None:
        """Effective pairs of a tags field."""
        self._change(self._pending.catalog.field_ids[field.name], gained, lost)
        if field.tracked:
            added, removed = _joined(*gained), _joined(*lost)  # each pair once
            codes, ordinals = _split(np.concatenate([added, removed]))
            self.history.append(TagChanges(field, codes, ordinals, np.arange(len(codes)) < len(added)))

    def _tagged(self, field: Field, gained: Pairs, lost: Pairs, *, had: Ordinals, have: Ordinals) -> None:
        """Effective pairs; of the contacts concerned, those that `had` some tag before and those that `have` now."""
        if not len(gained[0]) and not len(lost[0]):
            return
        self._gain_and_lose(field, gained, lost)
        changed = np.union1d(gained[1], lost[1])
        self._note(changed, ChangeKind.TAGS)
        self._mark(
            self._pending.catalog.field_ids[field.name],
            np.setdiff1d(np.intersect1d(have, changed), had),
            np.setdiff1d(np.intersect1d(had, changed), have),
        )

    # --- flags of channels ---

    def edit_flags(self, flags: FlagEdits) -> None:
        self._flags.append((flags.codes, self._ordinals[flags.rows], flags.values))

    def _set_flags(self, code: int, ordinals: Ordinals, *, value: bool) -> None:
        self._flags.append((np.full(len(ordinals), code, np.int64), ordinals, np.full(len(ordinals), value)))

    def settle_flags(self) -> None:
        """Compare the flags; of those set twice the later counts. Then bring 'suppressed' in step."""
        if not self._flags:
            return
        keys = np.concatenate([_joined(f[0], f[1], ordered=False) for f in self._flags])
        values = np.concatenate([f[2] for f in self._flags])
        unique, last = np.unique(keys[::-1], return_index=True)
        wanted = values[::-1][last]
        codes, ordinals = _split(unique)
        held = self._pending.held(SYSTEM_FIELD, codes, ordinals)
        changed = held != wanted
        if not changed.any():
            return
        codes, ordinals, wanted = codes[changed], ordinals[changed], wanted[changed]
        self._change(SYSTEM_FIELD, (codes[wanted], ordinals[wanted]), (codes[~wanted], ordinals[~wanted]))
        self._note(np.unique(ordinals), ChangeKind.CHANNELS)
        channels = (codes - CHANNEL_CODES) // 16
        for number, channel in enumerate(Channel):
            mine = channels == number
            if mine.any():
                self._suppress(channel, codes[mine], ordinals[mine], wanted[mine])

    def _suppress(self, channel: Channel, codes: Codes, ordinals: Ordinals, wanted: Mask) -> None:
        concerned = np.unique(ordinals)
        now = np.zeros(len(concerned), np.bool_)
        for flag in SUPPRESSING:
            code = channel_code(channel, flag)
            held = self._pending.held(SYSTEM_FIELD, np.full(len(concerned), code, np.int64), concerned)
            mine = codes == code
            held[np.searchsorted(concerned, ordinals[mine])] = wanted[mine]
            now |= held
        code = channel_code(channel, None)
        before = self._pending.held(SYSTEM_FIELD, np.full(len(concerned), code, np.int64), concerned)
        self._mark(code, concerned[now & ~before], concerned[before & ~now])


def _joined(codes: Codes, ordinals: Ordinals, *, ordered: bool = True) -> npt.NDArray[np.uint64]:
    """code << 32 | ordinal; `ordered` ascending, without repeats."""
    keys = codes.astype(np.uint64) << np.uint64(32) | ordinals.astype(np.uint64)
    return np.unique(keys) if ordered else keys


def _split(keys: npt.NDArray[np.uint64]) -> Pairs:
    return (keys >> np.uint64(32)).astype(np.int64), keys.astype(np.uint32)
