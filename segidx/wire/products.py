"""Products of the catalogue of the protocol to and from the model. Imports only v1, the model and its neighbours.

A row that cannot even be converted is a reject like any other, as rows of contacts are (`segidx.wire.contacts`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from segidx.model.errors import InvalidValue, SegidxError
from segidx.model.products import Product, ProductWrite
from segidx.model.results import ProductWriteResult, Reject
from segidx.v1 import products_pb2 as pb
from segidx.wire.contacts import RowErrors, clean, for_report, read_field_value, write_field_value


def read_writes(messages: Iterable[pb.ProductWrite]) -> tuple[list[ProductWrite], RowErrors]:
    """The rows of a batch, and those that could not be read."""
    rows: list[ProductWrite] = []
    errors = RowErrors()
    for message in messages:
        values: dict[str, object] = {}
        name = ""
        try:
            for name, value in message.properties.items():
                values[name] = read_field_value(value)
        except SegidxError as error:
            errors.refuse(message.product_id[:255], name[:255], error)
            continue
        errors.keep()
        rows.append(ProductWrite(message.product_id, values, message.delete))
    return rows, errors


def write_writes(rows: Iterable[ProductWrite], messages: Any) -> RowErrors:
    """Adds rows to a repeated field; those that cannot be sent are told."""
    errors = RowErrors()
    for row in rows:
        message = pb.ProductWrite(delete=row.delete)
        name, shown = "", for_report(row.product_id)
        try:
            message.product_id = product_id_text(row.product_id)
            for name, value in row.properties.items():
                write_field_value(value, message.properties[name])
        except SegidxError as error:
            errors.refuse(shown, for_report(name), error)
        except (UnicodeEncodeError, TypeError):
            errors.refuse(shown, for_report(name), InvalidValue(f"property name {name!r} is not valid UTF-8"))
        else:
            errors.keep()
            messages.append(message)
    return errors


def product_id_text(product_id: str | bytes) -> str:
    """A product id that can be sent; raises InvalidValue for one that is not UTF-8."""
    try:
        if isinstance(product_id, bytes):
            return product_id.decode()
        product_id.encode()
    except UnicodeError as error:
        raise InvalidValue(f"product id {product_id!r} is not valid UTF-8") from error
    except AttributeError as error:
        raise InvalidValue(f"product id {product_id!r} is not a string") from error
    return product_id


def write_result(result: ProductWriteResult, message: pb.WriteProductsResponse) -> None:
    message.generation, message.accepted, message.created = result.generation, result.accepted, result.created
    message.deleted, message.duplicates, message.replayed = result.deleted, result.duplicates, result.replayed
    for reject in result.rejects:
        message.rejects.add(
            index=reject.index,
            product_id=clean(reject.contact_id),
            property=clean(reject.field),
            reason=reject.reason,
            message=clean(reject.message),
        )


def read_result(message: pb.WriteProductsResponse) -> ProductWriteResult:
    return ProductWriteResult(
        message.generation,
        message.accepted,
        message.created,
        message.deleted,
        message.duplicates,
        tuple(Reject(r.index, r.product_id, r.property, r.reason, r.message) for r in message.rejects),
        message.replayed,
    )


def write_product(product: Product, message: pb.Product) -> None:
    message.product_id = product.product_id
    for name, value in product.properties.items():
        write_field_value(value, message.properties[name])


def read_product(message: pb.Product) -> Product:
    values = {name: read_field_value(value) for name, value in message.properties.items()}
    return Product(message.product_id, {n: v for n, v in values.items() if v is not None})  # type: ignore[misc]
