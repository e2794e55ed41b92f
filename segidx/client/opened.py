"""What all methods of an account of a server stand on: the client, the account's name, and the services' stubs."""

from __future__ import annotations

from operator import methodcaller
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from segidx.model.schema import AccountInfo
from segidx.v1 import (
    accounts_pb2,
    contacts_pb2_grpc,
    counts_pb2,
    counts_pb2_grpc,
    ingest_pb2_grpc,
    products_pb2_grpc,
    schema_pb2,
    schema_pb2_grpc,
)
from segidx.wire import results
from segidx.wire.decode import decoder

if TYPE_CHECKING:
    from segidx.client.connection import Client


class RemoteOpened:
    """One account of a server, without what can be asked of it."""

    def __init__(self, client: Client, resource: str) -> None:
        self._client = client
        self._account = resource
        channel = client._channel
        self._contacts = contacts_pb2_grpc.ContactServiceStub(channel)
        self._counts = counts_pb2_grpc.CountServiceStub(channel)
        self._ingest = ingest_pb2_grpc.IngestServiceStub(channel)
        self._products = products_pb2_grpc.ProductServiceStub(channel)
        self._schemas = schema_pb2_grpc.SchemaServiceStub(channel)

        def deep(method: str, response: type[Message]) -> Any:
            """A method whose answer nests deeper than protobuf's usual parser goes: as deep as an expression."""
            serialize, read = methodcaller("SerializeToString"), decoder(response)
            return channel.unary_unary(f"/segidx.v1.{method}", request_serializer=serialize, response_deserializer=read)

        self._explain = deep("CountService/ExplainExpression", counts_pb2.ExplainExpressionResponse)
        self._list_event_types = deep("SchemaService/ListEventTypes", schema_pb2.ListEventTypesResponse)
        self._set_event_group = deep("SchemaService/SetEventGroup", schema_pb2.SetEventGroupResponse)
        self._set_bands = deep("SchemaService/SetBands", schema_pb2.SetBandsResponse)
        self._list_bands = deep("SchemaService/ListBands", schema_pb2.ListBandsResponse)
        self._set_derived = deep("SchemaService/SetDerivedNumber", schema_pb2.SetDerivedNumberResponse)
        self._list_derived = deep("SchemaService/ListDerivedNumbers", schema_pb2.ListDerivedNumbersResponse)

    @property
    def info(self) -> AccountInfo:
        """The account's zone, currency and scale of money."""
        request = accounts_pb2.GetAccountRequest(account=self._account)
        return results.read_account(self._client._call(self._client._accounts.GetAccount, request, None).account)
