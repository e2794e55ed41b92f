"""Reading contacts back: the ids and fields of given ordinals."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from segidx.model.results import Contact, FieldData
from segidx.model.schema import Field, FieldType
from segidx.model.windows import from_days, from_millis
from segidx.store.snapshot import Snapshot

Ordinals = npt.NDArray[np.uint32]

# Pairs of a tag and a contact that are looked at in one go.
_PAIRS = 1 << 16


def fetch_contacts(snapshot: Snapshot, ordinals: Ordinals, fields: Sequence[Field]) -> list[Contact]:
    """The contacts of the ordinals, in their order, with those of the given fields that are set."""
    ids = snapshot.ids.get(ordinals).to_pylist()
    values: list[dict[str, FieldData]] = [{} for _ in ids]
    for field in fields:
        if field.type is FieldType.TAGS:
            _tags(snapshot, ordinals, field, values)
        else:
            _column(snapshot, ordinals, field, values)
    return [Contact(contact_id, found) for contact_id, found in zip(ids, values, strict=True)]


def _column(snapshot: Snapshot, ordinals: Ordinals, field: Field, into: list[dict[str, FieldData]]) -> None:
    stored, present = snapshot.column(snapshot.field_id(field)).take(ordinals)
    rows = np.flatnonzero(np.asarray(present)).tolist()
    raw = np.asarray(stored)[rows]
    data: Sequence[FieldData]
    if field.type.is_string:
        data = snapshot.dictionary(field).get(raw.astype(np.uint32)).to_pylist()
    else:
        data = [decode(field, int(value)) for value in raw]
    for row, value in zip(rows, data, strict=True):
        into[row][field.name] = value


def decode(field: Field, stored: int) -> FieldData:
    """The value of a number, timestamp, date or bool field from its stored integer."""
    if field.type is FieldType.NUMBER:
        return Decimal(stored).scaleb(-field.scale)
    if field.type is FieldType.TIMESTAMP:
        return from_millis(stored)
    if field.type is FieldType.DATE:
        return from_days(stored)
    return bool(stored)


def _tags(snapshot: Snapshot, ordinals: Ordinals, field: Field, into: list[dict[str, FieldData]]) -> None:
    """A tags field has no column: each tag in use is asked whether it holds the contacts."""
    counts, _ = snapshot.value_counts(field)
    field_id = snapshot.field_id(field)
    in_use = np.flatnonzero(counts)
    rows, codes = [], []
    for first in range(0, len(in_use), max(1, _PAIRS // max(1, len(ordinals)))):
        some = in_use[first : first + max(1, _PAIRS // max(1, len(ordinals)))]
        pairs = np.repeat(some, len(ordinals))
        held = np.flatnonzero(snapshot.held(field_id, pairs, np.tile(ordinals, len(some))))
        rows.append(held % len(ordinals))
        codes.append(pairs[held])
    row = np.concatenate([*rows, np.zeros(0, np.int64)])
    code = np.concatenate([*codes, np.zeros(0, np.int64)])
    if not len(row):
        return
    distinct, inverse = np.unique(code, return_inverse=True)
    tags = np.array([*snapshot.dictionary(field).get(distinct.astype(np.uint32)).to_pylist(), None], object)[:-1]
    order = np.argsort(row, kind="stable")
    starts = np.flatnonzero(np.diff(row[order], prepend=-1))
    for at, held_tags in zip(row[order][starts].tolist(), np.split(tags[inverse[order]], starts[1:]), strict=True):
        into[at][field.name] = frozenset(held_tags.tolist())
