"""Batches from rows: what gRPC callers and Python callers give, one mapping a contact.

A bad value refuses its whole row; the other rows stand. Of several valid rows with one id the last counts, whole: the
earlier ones are dropped (their other fields are not merged in) and counted as duplicates. Imports the model only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import cast

import numpy as np
import pyarrow as pa

from segidx.ingest.batch import ContactBatch, FieldChange
from segidx.ingest.values import Stored, check_id, id_for_report, restored, stored
from segidx.model.errors import SegidxError, UnknownField
from segidx.model.results import Reject
from segidx.model.schema import Field, FieldType, Schema

Row = tuple[str | bytes, Mapping[str, object]]
TAG_LIST = pa.list_(pa.string())


def make_reject(index: int, contact_id: object, field: str, error: SegidxError) -> Reject:
    """The refusal of a row, whose message names the row by its index."""
    return Reject(index, id_for_report(contact_id), field, error.reason, f"row {index}: {error.message}")


def batch_from_rows(rows: Iterable[Row], schema: Schema, *, first_index: int = 0) -> ContactBatch:
    """The batch of the valid rows, in order; refused rows are in its `rejects`, numbered from `first_index`.

    A row is (contact id, {field: value}); None clears a field, and an empty collection clears tags. Fields a row does
    not name stay as they are. What a value may be is said in `segidx.ingest.values`.
    """
    rejects: list[Reject] = []
    valid: dict[str, dict[str, Stored | None]] = {}
    unknown: dict[str, UnknownField] = {}  # one search for near names a name, not one a row
    accepted = 0
    for index, (given_id, fields) in enumerate(rows, first_index):
        name = ""
        try:
            contact_id = check_id(given_id)
            row: dict[str, Stored | None] = {}
            for name, value in fields.items():
                field = schema.get(name)
                if field is None:
                    if name not in unknown:
                        unknown[name] = UnknownField(name, [f.name for f in schema])
                    raise unknown[name]
                row[name] = None if value is None else stored(field, value)
        except SegidxError as error:
            rejects.append(make_reject(index, given_id, id_for_report(name), error))
            continue
        accepted += 1
        valid.pop(contact_id, None)  # so that the id stands where its last row stood
        valid[contact_id] = row
    return ContactBatch(
        ids=pa.array(list(valid), pa.string()),
        changes=_columns(valid.values(), schema),
        duplicates=accepted - len(valid),
        rejects=tuple(rejects),
    )


def _columns(rows: Iterable[Mapping[str, Stored | None]], schema: Schema) -> dict[str, FieldChange]:
    found: dict[str, tuple[list[int], list[Stored], list[int]]] = {}
    for position, row in enumerate(rows):
        for name, value in row.items():
            set_rows, values, cleared = found.setdefault(name, ([], [], []))
            if value is None or value == ():
                cleared.append(position)
            else:
                set_rows.append(position)
                values.append(value)
    return {
        name: FieldChange(
            rows=np.array(set_rows, np.int64),
            values=field_values(schema[name], values),
            cleared=np.array(cleared, np.int64),
        )
        for name, (set_rows, values, cleared) in found.items()
    }


def field_values(field: Field, values: list[Stored]) -> np.ndarray | pa.Array:
    if field.type is FieldType.TAGS:
        return pa.array([list(cast(tuple[str, ...], v)) for v in values], TAG_LIST)
    if field.type.is_string:
        return pa.array(values, pa.string())
    return np.array(values, np.int64)


def rows_from_batch(batch: ContactBatch, schema: Schema) -> Iterator[tuple[str, dict[str, object]]]:
    """The rows of a batch again, for an account that is reached over the network. None clears."""
    rows: list[dict[str, object]] = [{} for _ in range(len(batch.ids))]
    for name, change in batch.changes.items():
        field = schema[name]
        values = change.values.to_pylist() if isinstance(change.values, pa.Array) else change.values.tolist()
        for position, value in zip(change.rows.tolist(), values, strict=True):
            rows[position][name] = restored(field, value)
        for position in change.cleared.tolist():
            rows[position][name] = None
    yield from zip(batch.ids.to_pylist(), rows, strict=True)
