"""ProductService. Messages are made and read by `convert` and `convert_products`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import grpc

from segidx.service import convert, convert_products
from segidx.service.calls import await_generation, check_alive, stop_for
from segidx.v1 import products_pb2_grpc

if TYPE_CHECKING:
    from segidx.database import Database
    from segidx.v1 import products_pb2


class ProductService(products_pb2_grpc.ProductServiceServicer):
    """Declares properties of products, writes products and reads them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def GetProductSchema(
        self, request: products_pb2.GetProductSchemaRequest, context: grpc.ServicerContext
    ) -> products_pb2.GetProductSchemaResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        return convert_products.schema_response(account.product_schema)

    def UpdateProductSchema(
        self, request: products_pb2.UpdateProductSchemaRequest, context: grpc.ServicerContext
    ) -> products_pb2.UpdateProductSchemaResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        found = account.update_product_schema(convert_products.properties_of(request))
        return convert_products.update_schema_response(found)

    def WriteProducts(
        self, request: products_pb2.WriteProductsRequest, context: grpc.ServicerContext
    ) -> products_pb2.WriteProductsResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        rows, errors = convert_products.rows_of(request)
        result = account.write_products(rows, batch_key=request.batch_key)
        return convert_products.write_response(replace(result, rejects=errors.merged(result.rejects)))

    def GetProduct(
        self, request: products_pb2.GetProductRequest, context: grpc.ServicerContext
    ) -> products_pb2.GetProductResponse:
        stop = stop_for(context)
        account = self._database.account(convert.account_of(request))
        await_generation(account, request.min_generation, context, stop)
        return convert_products.product_response(account.product(request.product_id))

    def ListProducts(
        self, request: products_pb2.ListProductsRequest, context: grpc.ServicerContext
    ) -> products_pb2.ListProductsResponse:
        stop = stop_for(context)
        account = self._database.account(convert.account_of(request))
        size, after = convert_products.page_of(request)
        await_generation(account, request.min_generation, context, stop)
        found = account.products(after, limit=size)
        return convert_products.list_response(found, whole=len(found) == size)
