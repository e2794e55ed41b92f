"""Batches from Arrow record batches: what a file being imported is made of. Column by column, without a Python loop
over good rows; the same rules and messages as `segidx.ingest.rows`. Imports the model and its neighbours only.

A null is "not set": the file states a contact's whole value for each of its columns, so a null clears the field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from segidx.ingest.arrow_values import (
    Converted,
    Ints,
    Mask,
    convert,
    element,
    integers,
    is_string,
    mask,
    plain,
    plain_type,
    utf8,
)
from segidx.ingest.batch import ContactBatch, FieldChange
from segidx.ingest.ragged import ragged_rows
from segidx.ingest.rows import make_reject
from segidx.ingest.values import check_id
from segidx.model.errors import InvalidSource, InvalidValue, SegidxError
from segidx.model.results import Reject
from segidx.model.schema import MAX_CONTACT_ID_BYTES, Schema

TAG_SEPARATOR = "|"


def batch_from_arrow(
    record_batch: pa.RecordBatch,
    schema: Schema,
    id_column: str,
    mapping: Mapping[str, str],
    *,
    first_index: int = 0,
    zone: tzinfo = UTC,
    tag_separator: str = TAG_SEPARATOR,
    check: Callable[[object], str] = check_id,
) -> ContactBatch:
    """The batch of the valid rows; refused rows are in its `rejects`, numbered from `first_index`.

    `mapping` gives the field that each imported column fills; other columns are left out. Ids are strings or whole
    numbers (written in decimal). Naive times are local in `zone`. A string column for a tags field is split at
    `tag_separator`, its parts trimmed and empty ones dropped. `check` says what is wrong with an id. Raises
    SchemaConflict where a column's type cannot fill
    its field, InvalidSource where the id column cannot hold ids.
    """
    ids, good = read_ids(record_batch.column(id_column), id_column)
    rejects: dict[int, Reject] = {}
    for row, error in ragged_rows(record_batch).items():
        rejects[row] = make_reject(first_index + row, None, "", error)
    for row in np.flatnonzero(~good).tolist():
        if row in rejects:
            continue
        given = given_id(record_batch.column(id_column), row)
        try:
            check(given)
        except SegidxError as error:
            rejects[row] = make_reject(first_index + row, given, "", error)
    columns: dict[str, Converted] = {}
    for column, name in mapping.items():
        converted = convert(record_batch.column(column), schema[name], zone, tag_separator)
        columns[name] = converted
        for row, message in converted.bad.items():
            if row not in rejects:
                rejects[row] = make_reject(first_index + row, ids[row].as_py(), name, InvalidValue(message))
    if rejects:
        good[list(rejects)] = False
    kept = _last_of_each(ids, good)
    everything = len(kept) == record_batch.num_rows
    return ContactBatch(
        ids=ids if everything else ids.take(pa.array(kept)),
        changes={name: _change(converted, kept, everything) for name, converted in columns.items()},
        duplicates=int(good.sum()) - len(kept),
        rejects=tuple(rejects[row] for row in sorted(rejects)),
    )


def check_id_type(type_: pa.DataType, id_column: str, of: str = "contact") -> None:
    """Raises InvalidSource unless a column of this type can hold ids."""
    kind = plain_type(type_)
    if not (is_string(kind) or pt.is_integer(kind) or pt.is_null(kind)):
        raise InvalidSource(
            f"id column {id_column!r} is of type {type_}; {of} ids are strings or whole numbers:"
            " write the column as one of these",
            column=id_column,
        )


def read_ids(column: pa.Array, name: str, of: str = "contact") -> tuple[pa.Array, Mask]:
    """The ids as strings, byte for byte, and which of them are valid. Ids of orders are as long as those of contacts
    may be."""
    check_id_type(column.type, name, of)
    column = plain(column)
    if is_string(column.type):
        text, valid = utf8(column)
        text = text.cast(pa.string())
    else:
        text = column.cast(pa.string())
        valid = mask(text.is_valid())
    sizes = integers(pc.binary_length(text))
    return text, valid & (sizes >= 1) & (sizes <= MAX_CONTACT_ID_BYTES)


def given_id(column: pa.Array, row: int) -> object:
    """What stands in a row of a column of ids, as `values.check_id` takes it."""
    column = plain(column.slice(row, 1))
    if not column[0].is_valid:
        return None
    found = element(column, 0)
    return found.encode(errors="surrogateescape") if isinstance(found, str) and not found.isascii() else found


def _last_of_each(ids: pa.Array, good: Mask) -> Ints:
    """The rows that hold the last good row of each id, ascending."""
    rows = np.flatnonzero(good)
    if not len(rows):
        return rows
    codes = integers(ids.dictionary_encode().indices)[rows]
    last = np.full(int(codes.max()) + 1, -1, np.int64)
    last[codes] = rows  # of several rows with one code the last assignment stands
    return rows if len(rows) == np.count_nonzero(last >= 0) else np.sort(last[last >= 0])


def _change(converted: Converted, kept: Ints, everything: bool) -> FieldChange:
    present = converted.present if everything else converted.present[kept]
    rows = np.flatnonzero(present)
    chosen = rows if everything else kept[rows]
    if not isinstance(converted.values, pa.Array):
        values = converted.values[chosen]
    elif len(chosen) == len(converted.values):
        values = converted.values
    else:
        values = converted.values.take(pa.array(chosen))
    return FieldChange(rows=rows, values=values, cleared=np.flatnonzero(~present))
