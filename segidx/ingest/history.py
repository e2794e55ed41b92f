"""The history of tracked fields: what batches of contacts change of them, as events of the types CHANGE and TAGGING, in
the commit of what they are of. No other code makes such events.

A batch makes one event at most of a contact's field, and of each of its tags: what the batch leaves, where that differs
from what was there before it. Events have no ids; of one contact and one instant they are told apart by their numbers.
What is compared later has a later instant, in one commit too, and also where the clock goes back: so the last event of
a contact's field, or tag, has the greatest time of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segidx.ingest.pending import Codes, Ordinals, Pending
from segidx.kernels.events import EventLayer, encode_layer
from segidx.model.events import CHANGE, HISTORY, TAGGING, EventType
from segidx.model.schema import Field, FieldType
from segidx.store.environment import WriteTransaction
from segidx.store.event_groups import Cells, Stale, change_groups
from segidx.store.layout import DB_EVENTS, event_table

Mask = npt.NDArray[np.bool_]
_Key = TypeVar("_Key", bound=np.unsignedinteger)

# Of one layer, which holds 2^24 at most.
LAYER_ROWS = 1 << 23
_BOOLS = pa.array(["false", "true"], pa.string())
_NOBODY = np.zeros(0, np.int64)
_NEVER = Stale(_NOBODY, _NOBODY, _NOBODY)


@dataclass(frozen=True, slots=True)
class ValueChanges:
    """The contacts whose value of a tracked field changed, each once: stored values before and now, and whether there
    was and is one."""

    field: Field
    ordinals: Ordinals
    before: Codes
    had: Mask
    values: Codes
    present: Mask


@dataclass(frozen=True, slots=True)
class TagChanges:
    """The (code of the tag, contact) pairs of a tracked tags field that were added or removed, each once."""

    field: Field
    codes: Codes
    ordinals: Ordinals
    added: Mask


History = Sequence[ValueChanges | TagChanges]
"""What one comparison of a batch found."""


def add_history(parts: Sequence[History], pending: Pending) -> None:
    """Put what a batch, compared in `parts` one behind another, changed of tracked fields into the group, which must
    have the parts' deltas."""
    changes = [each for part in parts for each in part]
    if not changes:
        return
    if len(parts) > 1:
        changes = _net(changes)
        if not changes:
            return
    time = pending.next_instant()
    values = [each for each in changes if isinstance(each, ValueChanges)]
    tags = [each for each in changes if isinstance(each, TagChanges)]
    for type, rows in ((CHANGE, [_changed(each, pending) for each in values]), (TAGGING, _taggings(tags, pending))):
        if rows:
            pending.add_layers(type.number, _layers(type, rows, time))


def fold_history(write: WriteTransaction, layers: Mapping[int, Sequence[EventLayer]]) -> None:
    """Write the layers of history, by type, into the base, all of whose past is merged. The strings of their properties
    are there. Raises CorruptData; abort the transaction then."""
    db = write.dbs[DB_EVENTS]

    def put(key: bytes, value: bytes | None) -> None:
        assert value is not None, "history only grows"
        write.txn.put(key, value, db=db)

    for type in HISTORY:
        for layer in layers.get(type.number, ()):
            change_groups(put, write.txn, db, type, layer.decode(), _NEVER)


# --- what several comparisons come to ---


def _net(changes: History) -> list[ValueChanges | TagChanges]:
    """What is left of changes that came one behind another, of each field."""
    found: list[ValueChanges | TagChanges] = []
    for field in dict.fromkeys(each.field for each in changes):
        values = [each for each in changes if isinstance(each, ValueChanges) and each.field == field]
        tags = [each for each in changes if isinstance(each, TagChanges) and each.field == field]
        if values:
            found.append(_net_values(field, values))
        if tags:
            found.append(_net_tags(field, tags))
    return [each for each in found if len(each.ordinals)]


def _net_values(field: Field, parts: list[ValueChanges]) -> ValueChanges:
    everyone = np.concatenate([p.ordinals for p in parts])
    ordinals, first, last = _ends(everyone)
    before, had = (np.concatenate([getattr(p, name) for p in parts])[first] for name in ("before", "had"))
    values, present = (np.concatenate([getattr(p, name) for p in parts])[last] for name in ("values", "present"))
    kept = (had != present) | (present & (before != values))
    return ValueChanges(field, ordinals[kept], before[kept], had[kept], values[kept], present[kept])


def _net_tags(field: Field, parts: list[TagChanges]) -> TagChanges:
    pairs = np.concatenate([p.codes.astype(np.uint64) << np.uint64(32) | p.ordinals.astype(np.uint64) for p in parts])
    added = np.concatenate([p.added for p in parts])
    unique, first, last = _ends(pairs)
    kept = added[first] == added[last]  # it was otherwise before the first
    unique, last = unique[kept], last[kept]
    return TagChanges(field, (unique >> np.uint64(32)).astype(np.int64), unique.astype(np.uint32), added[last])


def _ends(keys: npt.NDArray[_Key]) -> tuple[npt.NDArray[_Key], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(the distinct keys, ascending; where each comes first, and where last)."""
    unique, first = np.unique(keys, return_index=True)
    last = len(keys) - 1 - np.unique(keys[::-1], return_index=True)[1]
    return unique, first.astype(np.int64), last.astype(np.int64)


# --- rows ---


def _changed(changes: ValueChanges, pending: Pending) -> list[Cells]:
    """Contacts and properties of the rows."""
    codes = np.zeros(len(changes.ordinals), np.int64)
    present = changes.present
    codes[present] = _codes(CHANGE, changes.field, changes.values[present], pending)
    return [*_whose(CHANGE, changes.field, changes.ordinals, pending), (codes, present.astype(np.uint8))]


def _taggings(tags: list[TagChanges], pending: Pending) -> list[list[Cells]]:
    return [
        [
            *_whose(TAGGING, each.field, each.ordinals, pending),
            _always(_codes(TAGGING, each.field, each.codes, pending)),
            _always(each.added),
        ]
        for each in tags
    ]


def _whose(type: EventType, field: Field, ordinals: Ordinals, pending: Pending) -> list[Cells]:
    (code,) = pending.table(event_table(type, 0)).insert(pa.array([field.name], pa.string())).tolist()
    return [_always(ordinals), _always(np.full(len(ordinals), code))]


def _codes(type: EventType, field: Field, values: Codes, pending: Pending) -> Codes:
    """The codes that the second property of a type has for stored values of a field."""
    distinct, inverse = np.unique(values, return_inverse=True)
    if field.type is FieldType.BOOL:
        texts = _BOOLS.take(pa.array(distinct))
    else:
        texts = pending.table(pending.catalog.field_ids[field.name]).get(distinct)
    return pending.table(event_table(type, 1)).insert(texts)[inverse.reshape(-1)]


def _layers(type: EventType, rows: list[list[Cells]], time: int) -> list[bytes]:
    """Layers of rows of one instant, given as contacts and properties."""
    columns = [
        (np.concatenate([values for values, _ in parts]), np.concatenate([present for _, present in parts]))
        for parts in zip(*rows, strict=True)
    ]
    order = np.argsort(columns[0][0], kind="stable")
    (contacts, _), *properties = [(values[order], present[order]) for values, present in columns]
    count = len(contacts)
    always = np.ones(count, np.uint8)
    named = (contacts, np.full(count, time), np.arange(count), np.zeros(count, np.int64))
    cells = [*((values, always) for values in named), *properties, (np.ones(count, np.int64), always)]
    assert len(properties) == len(type.properties)
    return [
        encode_layer(
            [(values[first : first + LAYER_ROWS], present[first : first + LAYER_ROWS]) for values, present in cells],
            *(_NEVER.contacts.astype(np.uint32), _NEVER.times, _NEVER.events.astype(np.uint32)),
        )
        for first in range(0, count, LAYER_ROWS)
    ]


def _always(values: npt.NDArray[np.generic]) -> Cells:
    return values.astype(np.int64), np.ones(len(values), np.uint8)
