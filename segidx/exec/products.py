"""Reading products back out of the catalogue."""

from __future__ import annotations

from decimal import Decimal
from itertools import islice

import pyarrow as pa

from segidx.exec.fetch import decode
from segidx.model.errors import ProductNotFound
from segidx.model.products import Product, ProductValue
from segidx.model.schema import Field, FieldType, Schema
from segidx.store.product_blocks import column_of
from segidx.store.snapshot import Snapshot


def list_products(snapshot: Snapshot, after: str | None, limit: int) -> list[Product]:
    """At most `limit` products behind the id `after`, or from the first on, in byte order of their ids."""
    found = islice(snapshot.products.rows_after(after), limit)
    return [_product(rows, row, snapshot.catalog.products) for rows, row in found]


def get_product(snapshot: Snapshot, product_id: str) -> Product:
    """Raises ProductNotFound."""
    found = snapshot.products.find(product_id)
    if found is None:
        raise ProductNotFound(product_id)
    return _product(*found, snapshot.catalog.products)


def _product(rows: pa.RecordBatch, row: int, properties: Schema) -> Product:
    held: dict[str, ProductValue] = {}
    for number, property in enumerate(properties, 1):
        value = column_of(rows, number, property)[row].as_py()
        if value is not None:
            held[property.name] = _value(property, value)
    return Product(rows.column(0)[row].as_py(), held)


def _value(property: Field, stored: object) -> ProductValue:
    if property.type is FieldType.TAGS:
        tags: frozenset[str] = frozenset(stored)  # type: ignore[call-overload]
        return tags
    if isinstance(stored, str):
        return stored
    value = decode(property, int(stored))  # type: ignore[call-overload]
    assert isinstance(value, bool | Decimal)
    return value
