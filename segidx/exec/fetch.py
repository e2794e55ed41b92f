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
    held: dict[int, list[int]] = {}
    for code in np.flatnonzero(counts).tolist():
        mask = np.asarray(snapshot.posting(field_id, code).contains_many(ordinals))
        for row in np.flatnonzero(mask).tolist():
            held.setdefault(row, []).append(code)
    for row, codes in held.items():
        tags = snapshot.dictionary(field).get(np.array(codes, np.uint32)).to_pylist()
        into[row][field.name] = frozenset(tags)
