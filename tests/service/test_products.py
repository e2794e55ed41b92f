"""ProductService with a real grpc client, and the typed client of it, over a database of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from segidx.client import Client, RemoteAccount, connect
from segidx.database import Account, Database
from segidx.model.errors import GenerationNotReached, InvalidArgument, InvalidValue, ProductNotFound, SchemaConflict
from segidx.model.products import Product, ProductWrite
from segidx.model.schema import Field, FieldType
from segidx.service.server import start
from segidx.v1 import contacts_pb2, products_pb2, products_pb2_grpc, schema_pb2

ACCOUNT = "accounts/default"
PROPERTIES = [Field("brand", FieldType.TEXT), Field("weight", FieldType.NUMBER, 2), Field("new", FieldType.BOOL)]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[Account, Client]]:
    with (
        Database.open(tmp_path / "data", create=True) as database,
        start(database, port=0) as server,
        connect(server.address, timeout=60) as client,
    ):
        yield database.account(), client


@pytest.fixture
def local(opened: tuple[Account, Client]) -> Account:
    return opened[0]


@pytest.fixture
def remote(opened: tuple[Account, Client]) -> RemoteAccount:
    return opened[1].account("default")


@pytest.fixture
def service(opened: tuple[Account, Client]) -> Any:
    return products_pb2_grpc.ProductServiceStub(opened[1]._channel)


def refused(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    """The code and reason of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    status = rpc_status.from_call(caught.value)
    assert status is not None
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    return caught.value.code(), info.reason


def test_the_client_says_what_the_account_does(local: Account, remote: RemoteAccount) -> None:
    assert remote.update_product_schema(PROPERTIES) == remote.product_schema == local.product_schema
    rows = [
        ProductWrite("a", {"brand": "x", "weight": 1.5, "accessory_of": {"q", "r"}, "new": True}),
        ProductWrite(b"b", {"weight": Decimal("2.25")}),
        ProductWrite("a", {"brand": None}),
        ProductWrite("a", {"colour": "red"}),
        ProductWrite("c", {"weight": float("nan")}),
        ProductWrite("\ud800"),
        ProductWrite("c", {"weight": "1.234"}),
        ProductWrite("d", delete=True),
        ProductWrite("c"),
    ]
    result = remote.write_products(rows, batch_key="key")
    assert (result.accepted, result.created, result.deleted, result.duplicates) == (4, 3, 0, 1)
    assert [(r.index, r.contact_id, r.field, r.reason) for r in result.rejects] == [
        (3, "a", "colour", "UNKNOWN_PRODUCT_PROPERTY"),
        (4, "c", "weight", "INVALID_VALUE"),
        (5, "\\ud800", "", "INVALID_VALUE"),
        (6, "c", "weight", "INVALID_VALUE"),
    ]
    assert all(r.message.startswith(f"row {r.index}: ") for r in result.rejects)
    again = remote.write_products(rows, batch_key="key")
    assert (again.replayed, again.rejects) == (True, result.rejects)
    a = Product("a", {"weight": Decimal("1.50"), "accessory_of": frozenset("qr"), "new": True})
    assert remote.product("a", min_generation=result.generation) == local.product("a") == a
    assert remote.products() == local.products()
    assert [p.product_id for p in remote.products()] == ["a", "b", "c"]
    assert [p.product_id for p in remote.products("a", limit=1)] == ["b"]
    assert local.apply_products is not None
    assert not hasattr(remote, "apply_products")


def test_errors_are_typed(remote: RemoteAccount) -> None:
    remote.update_product_schema(PROPERTIES)
    with pytest.raises(SchemaConflict):
        remote.update_product_schema([Field("weight", FieldType.BOOL)])
    with pytest.raises(ProductNotFound, match="no product 'nowhere'"):
        remote.product("nowhere")
    with pytest.raises(InvalidValue, match="UTF-8"):
        remote.product("\ud800")
    with pytest.raises(InvalidArgument, match="not within 1 to 1000"):
        remote.products(limit=0)
    with pytest.raises(InvalidArgument, match="129 bytes"):
        remote.write_products([], batch_key="k" * 129)
    with pytest.raises(InvalidArgument, match="10001 products are more than 10000"):
        remote.write_products([ProductWrite(f"p{n}") for n in range(10_001)])
    with pytest.raises(GenerationNotReached):
        remote.products(min_generation=1000, timeout=15)


def test_pages_by_token(local: Account, service: Any) -> None:
    local.write_products([ProductWrite(f"p{n:03}") for n in range(250)])
    found: list[str] = []
    token = ""
    pages = 0
    while True:
        request = products_pb2.ListProductsRequest(account=ACCOUNT, page_size=50, page_token=token)
        page = service.ListProducts(request)
        found += [each.product_id for each in page.products]
        token, pages = page.next_page_token, pages + 1
        if not token:
            break
        assert len(page.products) == 50
    assert found == [f"p{n:03}" for n in range(250)]
    assert pages <= 6
    assert len(service.ListProducts(products_pb2.ListProductsRequest(account=ACCOUNT)).products) == 100
    behind = products_pb2.ListProductsRequest(account=ACCOUNT, after_product_id="p248")
    assert [each.product_id for each in service.ListProducts(behind).products] == ["p249"]


def test_requests_that_cannot_be(service: Any) -> None:
    invalid, not_found = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    listing = products_pb2.ListProductsRequest
    assert refused(lambda: service.ListProducts(listing(account=ACCOUNT, page_size=-1))) == (
        invalid,
        "INVALID_ARGUMENT",
    )
    assert refused(lambda: service.ListProducts(listing(account=ACCOUNT, page_token="?"))) == (
        invalid,
        "INVALID_ARGUMENT",
    )
    assert refused(lambda: service.ListProducts(listing(account="accounts/nobody"))) == (not_found, "UNKNOWN_ACCOUNT")
    getting = products_pb2.GetProductRequest(account=ACCOUNT, product_id="")
    assert refused(lambda: service.GetProduct(getting)) == (not_found, "PRODUCT_NOT_FOUND")
    dated = schema_pb2.Schema(fields=[schema_pb2.Field(name="born", type=schema_pb2.FIELD_TYPE_DATE)])
    declaring = products_pb2.UpdateProductSchemaRequest(account=ACCOUNT, schema=dated)
    assert refused(lambda: service.UpdateProductSchema(declaring)) == (invalid, "INVALID_SCHEMA")
    write = products_pb2.ProductWrite(product_id="a", properties={"producer": contacts_pb2.FieldValue()})
    answer = service.WriteProducts(products_pb2.WriteProductsRequest(account=ACCOUNT, products=[write]))
    (reject,) = answer.rejects
    assert (reject.index, reject.product_id, reject.property, reject.reason) == (0, "a", "producer", "INVALID_VALUE")
    assert (answer.accepted, answer.generation) == (0, 0)


def test_counts_see_the_catalogue_at_once(remote: RemoteAccount) -> None:
    from datetime import UTC, datetime

    from segidx.model.events import Order, OrderLine

    remote.write_events([Order("1", "anna", datetime(2026, 1, 1, tzinfo=UTC), lines=[OrderLine("P")])])
    text = 'did(line where product.producer = "69" and producer in ("69", "x"))'
    assert remote.count(text).count == 0
    written = remote.write_products([ProductWrite("P", {"producer": "69"})])
    counted = remote.count(text, min_generation=written.generation)
    assert (counted.count, counted.evaluation.generation) == (1, written.generation)
    remote.write_products([ProductWrite("P", delete=True)])
    assert remote.count(text).count == 0
