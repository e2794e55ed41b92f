"""A validated batch of products: from rows, which apply one after another, and from what an import reads.

A bad value refuses its whole row; the other rows stand. Values are those that fields of the same types take
(`segidx.ingest.values`). Imports the model, the store's rows and its neighbours only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from segidx.ingest.batch import ContactBatch, FieldChange
from segidx.ingest.converters import converter
from segidx.ingest.rows import field_values, make_reject, rows_from_batch
from segidx.ingest.values import Stored, id_for_report, shown, string
from segidx.model.errors import InvalidValue, SegidxError, UnknownProductProperty
from segidx.model.products import MAX_PRODUCT_BYTES, MAX_PRODUCT_ID_BYTES, ProductWrite, product_size
from segidx.model.results import Reject
from segidx.model.schema import Field, FieldType, Schema
from segidx.store.product_blocks import ARROW_TYPES
from segidx.store.product_writes import ProductRows, PropertyChange

_ID = Field("product_id", FieldType.CATEGORY)


@dataclass(frozen=True, slots=True)
class ProductBatch:
    """Products to write. `duplicates` counts earlier rows that a later one with the same id followed; `indices` are the
    caller's numbers of the rows, the last of each product."""

    rows: ProductRows
    indices: np.ndarray
    duplicates: int = 0
    rejects: tuple[Reject, ...] = ()


def check_product_id(value: object) -> str:
    """The id as lines hold it, in NFC. Raises InvalidValue."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError as error:
            raise InvalidValue(f"product id {shown(value)} is not valid UTF-8") from error
    if value is None:
        raise InvalidValue("there is no product id")
    if not isinstance(value, str):
        raise InvalidValue(f"a product id is a string, not {type(value).__name__} {shown(value)}")
    normal = string(_ID, value, least=0)
    size = len(normal.encode())
    if not 1 <= size <= MAX_PRODUCT_ID_BYTES:
        raise InvalidValue(f"product id {shown(value)} has {size} bytes; 1 to {MAX_PRODUCT_ID_BYTES} are allowed")
    return normal


@dataclass(slots=True)
class _Joined:
    """What the rows of one product come to."""

    index: int
    values: dict[str, Stored | None]
    dropped: bool = False
    kept: bool = True


def products_from_rows(rows: Iterable[ProductWrite], properties: Schema, *, first_index: int = 0) -> ProductBatch:
    """The valid rows, applied in their order; refused ones are in `rejects`, numbered from `first_index`."""
    joined: dict[str, _Joined] = {}
    rejects: list[Reject] = []
    converters = {p.name: converter(p) for p in properties}
    valid = 0
    for index, row in enumerate(rows, first_index):
        name = ""
        try:
            product_id = check_product_id(row.product_id)
            values: dict[str, Stored | None] = {}
            for name, value in row.properties.items():
                convert = converters.get(name)
                if convert is None:
                    raise UnknownProductProperty(name, [p.name for p in properties])
                stored = None if value is None else convert(value)
                values[name] = None if stored == () else stored
            name = ""
            if product_size(v for v in values.values() if v is not None) > MAX_PRODUCT_BYTES:
                raise too_large(product_id)
        except SegidxError as error:
            rejects.append(make_reject(index, row.product_id, id_for_report(name), error))
            continue
        valid += 1
        found = joined.get(product_id)
        if found is None or row.delete:
            found = joined[product_id] = _Joined(index, {}, dropped=row.delete)
        found.index = index
        found.values.update(values)
        found.kept = not row.delete or bool(values)
    return ProductBatch(
        ProductRows(
            pa.array(list(joined), pa.string()),
            np.array([each.dropped for each in joined.values()], np.bool_),
            np.array([each.kept for each in joined.values()], np.bool_),
            _changes(joined.values(), properties),
        ),
        np.array([each.index for each in joined.values()], np.int64),
        valid - len(joined),
        tuple(rejects),
    )


def too_large(product_id: str) -> InvalidValue:
    return InvalidValue(
        f"product {shown(product_id)} would have more than {MAX_PRODUCT_BYTES} bytes of values; shorten them"
    )


def _changes(joined: Iterable[_Joined], properties: Schema) -> dict[str, PropertyChange]:
    found: dict[str, tuple[list[int], list[Stored], list[int]]] = {}
    for position, each in enumerate(joined):
        for name, value in each.values.items():
            rows, values, cleared = found.setdefault(name, ([], [], []))
            if value is None:
                cleared.append(position)
            else:
                rows.append(position)
                values.append(value)
    return {
        name: _change(
            properties[name],
            FieldChange(np.array(rows, np.int64), field_values(properties[name], values), np.array(cleared, np.int64)),
        )
        for name, (rows, values, cleared) in found.items()
    }


def _change(property: Field, change: FieldChange) -> PropertyChange:
    wanted = ARROW_TYPES[property.type]
    values = change.values if isinstance(change.values, pa.Array) else pa.array(change.values, pa.int64())
    return PropertyChange(change.rows, values.cast(wanted) if values.type != wanted else values, change.cleared)


def products_from_columns(batch: ContactBatch, properties: Schema) -> ProductBatch:
    """What `batch_from_arrow` has read of a file of products, whose ids and properties it takes for those of
    contacts."""
    n = len(batch.ids)
    changes = {name: _change(properties[name], change) for name, change in batch.changes.items()}
    rows = ProductRows(batch.ids, np.zeros(n, np.bool_), np.ones(n, np.bool_), changes)
    return ProductBatch(rows, np.full(n, -1, np.int64), batch.duplicates, batch.rejects)


def writes_from_columns(batch: ContactBatch, properties: Schema) -> Iterator[ProductWrite]:
    """The same as rows, for an account that is reached over the network."""
    for product_id, values in rows_from_batch(batch, properties):
        yield ProductWrite(product_id, values)
