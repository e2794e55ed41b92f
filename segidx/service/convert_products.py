"""Messages of ProductService, to arguments and from results."""

from __future__ import annotations

from collections.abc import Sequence

from segidx.model.products import Product, ProductWrite
from segidx.model.results import ProductWriteResult
from segidx.model.schema import Field, Schema
from segidx.service.convert import check_rows, page_size_of, read_token, write_token
from segidx.v1 import products_pb2
from segidx.wire import products, results, writes
from segidx.wire.contacts import RowErrors


def properties_of(request: products_pb2.UpdateProductSchemaRequest) -> tuple[Field, ...]:
    return tuple(results.read_schema(request.schema))


def schema_response(schema: Schema) -> products_pb2.GetProductSchemaResponse:
    response = products_pb2.GetProductSchemaResponse()
    results.write_fields(schema, response.schema)
    return response


def update_schema_response(schema: Schema) -> products_pb2.UpdateProductSchemaResponse:
    response = products_pb2.UpdateProductSchemaResponse()
    results.write_fields(schema, response.schema)
    return response


def rows_of(request: products_pb2.WriteProductsRequest) -> tuple[list[ProductWrite], RowErrors]:
    """The rows of a batch and those that could not be read. Raises InvalidArgument for too many, and for a batch key
    that is too long."""
    check_rows(len(request.products), "products", "products")
    writes.check_batch_key(request.batch_key)
    return products.read_writes(request.products)


def write_response(result: ProductWriteResult) -> products_pb2.WriteProductsResponse:
    response = products_pb2.WriteProductsResponse()
    products.write_result(result, response)
    return response


def product_response(product: Product) -> products_pb2.GetProductResponse:
    response = products_pb2.GetProductResponse()
    products.write_product(product, response.product)
    return response


def page_of(request: products_pb2.ListProductsRequest) -> tuple[int, str | None]:
    """How many products a page has, and the last of the page before. Raises InvalidArgument."""
    size = page_size_of(request.page_size)
    return size, read_token(request.page_token) or request.after_product_id or None


def list_response(found: Sequence[Product], *, whole: bool) -> products_pb2.ListProductsResponse:
    """A page; behind one that is whole there may be another."""
    response = products_pb2.ListProductsResponse()
    for product in found:
        products.write_product(product, response.products.add())
    if whole:
        response.next_page_token = write_token(found[-1].product_id)
    return response
