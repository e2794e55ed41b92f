"""Messages of IngestService, to arguments and from results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from google.protobuf.message import Message

from segidx.ingest.batch import ContactBatch
from segidx.ingest.event_batch import EventBatch
from segidx.ingest.writes import batches_from_writes
from segidx.model.errors import InvalidArgument
from segidx.model.events import ORDER, EventRow
from segidx.model.results import Horizon, WriteResult
from segidx.model.retention import horizon_of
from segidx.model.schema import AccountInfo, Schema
from segidx.model.writes import Changes
from segidx.service.convert import MAX_ROWS, check_rows
from segidx.service.plain_orders import PlainOrders
from segidx.service.plain_rows import PlainRows
from segidx.store.courtesy import COURTESY
from segidx.v1 import ingest_pb2
from segidx.wire import writes
from segidx.wire.contacts import RowErrors
from segidx.wire.decode import decode
from segidx.wire.event_writes import read_event_writes

MAX_EVENTS = 10_000
MAX_BATCH_LINES = 50_000

_Request = ingest_pb2.WriteBatchRequest | ingest_pb2.StreamWritesRequest


class WritesRequest:
    """A request with rows and events, read but for these: how rows are read depends on the account's schema, and plain
    ones of both never become messages.

    `header` is the message without them.
    """

    __slots__ = ("_data", "_kind", "has_events", "header")

    def __init__(self, kind: type[_Request], data: bytes) -> None:
        """Raises InvalidArgument for bytes that are no such message, as far as that can be told without rows and
        events."""
        found = _PLAIN[kind].header(data)
        self._kind = kind
        self._data = data
        header, self.has_events = (data, False) if found is None else found
        self.header: Any = decode(kind, header)
        if found is None:  # protobuf is less strict
            self.has_events = bool(self.header.events)
        writes.check_batch_key(self.header.batch_key)

    def batches(self, schema: Schema) -> tuple[tuple[ContactBatch, ...], RowErrors]:
        """The rows as batches to be applied one behind another, and those that could not be read. Raises
        InvalidArgument for too many."""
        plain = _PLAIN[self._kind].batches(self._data, schema)
        if plain is not None:
            return plain, RowErrors()
        message = decode(self._kind, self._data)
        check_rows(len(message.rows), "rows")
        rows, errors = writes.read_writes(COURTESY.between(message.rows))
        return batches_from_writes(rows, schema), errors

    def plain_orders(self, account: AccountInfo, now: int, horizons: Mapping[str, Horizon]) -> EventBatch | None:
        """The events as a batch, where they are plain orders. `now` is the clock in milliseconds since 1970."""
        return _PLAIN_ORDERS[self._kind].batch(self._data, account, now, horizon_of(ORDER, horizons))

    def events(self, currency: str) -> tuple[list[EventRow], RowErrors]:
        """The events, and those that could not be read or are not in the account's currency. Raises InvalidArgument for
        too many of them, or of lines, and for bytes that are none."""
        data = _PLAIN[self._kind].without_rows(self._data)
        events = decode(self._kind, self._data if data is None else data).events
        _check_count(len(events), MAX_EVENTS, "events")
        _check_count(sum(len(each.order.lines) for each in events), MAX_BATCH_LINES, "lines of orders")
        return read_event_writes(COURTESY.between(events), currency)


def _check_count(count: int, most: int, what: str) -> None:
    if count > most:
        raise InvalidArgument(
            f"{count} {what} are more than {most} in one batch; send several", limit=most, argument="events"
        )


def _plain_rows(kind: type[_Request]) -> PlainRows:
    fields = kind.DESCRIPTOR.fields_by_name
    return PlainRows(fields["rows"].number, fields["events"].number, MAX_ROWS)


def _plain_orders(kind: type[_Request]) -> PlainOrders:
    return PlainOrders(kind.DESCRIPTOR.fields_by_name["events"].number, MAX_EVENTS, MAX_BATCH_LINES)


_KINDS = (ingest_pb2.WriteBatchRequest, ingest_pb2.StreamWritesRequest)
_PLAIN = {kind: _plain_rows(kind) for kind in _KINDS}
_PLAIN_ORDERS = {kind: _plain_orders(kind) for kind in _KINDS}

# Requests that are read in a way of their own: the class of the message, and what reads its bytes.
READERS: dict[type[Message], Callable[[bytes], WritesRequest]] = {kind: partial(WritesRequest, kind) for kind in _PLAIN}


def batch_response(result: WriteResult) -> ingest_pb2.WriteBatchResponse:
    response = ingest_pb2.WriteBatchResponse()
    writes.write_acknowledgement(result, response)
    return response


def stream_response(sequence: int, result: WriteResult) -> ingest_pb2.StreamWritesResponse:
    response = ingest_pb2.StreamWritesResponse(sequence=sequence)
    writes.write_acknowledgement(result, response)
    return response


def changes_responses(
    changes: Changes, request: ingest_pb2.StreamChangesRequest
) -> Iterator[ingest_pb2.StreamChangesResponse]:
    """What the request wants to know of the changes."""
    return writes.write_changes(changes, contacts=request.include_contacts)
