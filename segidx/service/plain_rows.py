"""The quick way of a batch from the wire to the writer: plain rows become columns natively, without a message or a row
object in between. Anything not plain goes the general way, through `convert_ingest` and `segidx.ingest.writes`, which
gives the same batch; the tests compare the two.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segidx.ingest.batch import ContactBatch, FieldChange, TagEdits
from segidx.kernels import _rows
from segidx.model.schema import FieldType, Schema

_MAX_BATCHES = 8

_KINDS = {
    FieldType.TAGS: _rows.KIND_TAGS,
    FieldType.CATEGORY: _rows.KIND_STRING,
    FieldType.TEXT: _rows.KIND_STRING,
    FieldType.NUMBER: _rows.KIND_NUMBER,
    FieldType.TIMESTAMP: _rows.KIND_TIMESTAMP,
    FieldType.DATE: _rows.KIND_DATE,
    FieldType.BOOL: _rows.KIND_BOOL,
}


class PlainRows:
    """Reads requests whose rows are the protobuf field `rows_field` and whose events are `events_field`, for one schema
    at a time."""

    def __init__(self, rows_field: int, events_field: int, max_rows: int) -> None:
        self._rows_field = rows_field
        self._events_field = events_field
        self._max_rows = max_rows
        # Replaced as one, since calls of several accounts come at once.
        self._known: tuple[Schema | None, list[tuple[bytes, int, int]]] = (None, [])

    def header(self, data: bytes) -> tuple[bytes, bool] | None:
        """(the request without its rows and events, whether it has events); None for bytes that are malformed."""
        return _rows.header(data, self._rows_field, self._events_field)

    def without_rows(self, data: bytes) -> bytes | None:
        """The request without its rows; None for bytes that are malformed."""
        found = _rows.header(data, self._rows_field)
        return None if found is None else found[0]

    def batches(self, data: bytes, schema: Schema) -> tuple[ContactBatch, ...] | None:
        """The rows of a request, as batches to be applied one behind another; None where they are not plain.

        A row with the id of an earlier one begins another batch. Where there are many such, nothing is plain: the
        general way joins them.
        """
        known, fields = self._known
        if known is not schema:
            fields = [(f.name.encode(), _KINDS[f.type], f.scale) for f in schema]
            self._known = schema, fields
        batches: list[ContactBatch] = []
        start = rows = 0
        while start < len(data):
            parsed = _rows.parse(data, start, self._rows_field, fields, self._max_rows)
            if parsed is None or len(batches) == _MAX_BATCHES:
                return None
            start, ids, must_exist, columns = parsed
            batches.append(_batch(schema, ids, must_exist, columns, rows))
            rows += len(must_exist)
        return tuple(batches)


def _batch(
    schema: Schema, ids: _rows.Strings, must_exist: npt.NDArray[np.uint8], columns: list[_rows.Column], first_index: int
) -> ContactBatch:
    changes: dict[str, FieldChange] = {}
    edits: dict[str, TagEdits] = {}
    for field, (rows, values, cleared, added) in zip(schema, columns, strict=True):
        if not len(rows) and not len(cleared):
            continue
        held = values if isinstance(values, np.ndarray) else _string_array(*values)
        if field.type is FieldType.TAGS:
            edits[field.name] = TagEdits(rows, held, added.view(np.bool_))
        else:
            changes[field.name] = FieldChange(rows, held, cleared)
    return ContactBatch(
        ids=_string_array(*ids),
        changes=changes,
        edits=edits,
        must_exist=must_exist.view(np.bool_) if must_exist.any() else None,
        indices=np.arange(first_index, first_index + len(must_exist)),
    )


def _string_array(ends: npt.NDArray[np.int32], data: bytes) -> pa.StringArray:
    return pa.StringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(data))
