"""Messages of IngestService, to arguments and from results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from google.protobuf.message import Message

from segidx.ingest.batch import ContactBatch
from segidx.ingest.writes import batches_from_writes
from segidx.model.errors import InvalidArgument
from segidx.model.events import EventRow
from segidx.model.results import WriteResult
from segidx.model.schema import Schema
from segidx.model.writes import Changes
from segidx.service.convert import MAX_ROWS, check_rows
from segidx.service.plain_rows import PlainRows
from segidx.v1 import ingest_pb2
from segidx.wire import writes
from segidx.wire.contacts import RowErrors
from segidx.wire.decode import decode
from segidx.wire.event_writes import read_event_writes

MAX_EVENTS = 10_000
MAX_BATCH_LINES = 50_000

_Request = ingest_pb2.WriteBatchRequest | ingest_pb2.StreamWritesRequest


class WritesRequest:
    """A request with rows, read but for its rows: how these are read depends on the account's schema.

    `header` is the message without them, its events included.
    """

    __slots__ = ("_data", "_kind", "header")

    def __init__(self, kind: type[_Request], data: bytes) -> None:
        """Raises InvalidArgument for bytes that are no such message, as far as that can be told without the rows."""
        header = _PLAIN[kind].header(data)
        self._kind = kind
        self._data = data
        self.header: Any = decode(kind, data if header is None else header)
        writes.check_batch_key(self.header.batch_key)

    def batches(self, schema: Schema) -> tuple[tuple[ContactBatch, ...], RowErrors]:
        """The rows as batches to be applied one behind another, and those that could not be read. Raises
        InvalidArgument for too many."""
        plain = _PLAIN[self._kind].batches(self._data, schema)
        if plain is not None:
            return plain, RowErrors()
        message = decode(self._kind, self._data)
        check_rows(len(message.rows), "rows")
        rows, errors = writes.read_writes(message.rows)
        return batches_from_writes(rows, schema), errors

    @property
    def has_events(self) -> bool:
        return bool(self.header.events)

    def events(self, currency: str) -> tuple[list[EventRow], RowErrors]:
        """The events, and those that could not be read or are not in the account's currency. Raises InvalidArgument for
        too many of them, or of lines."""
        events = self.header.events
        _check_count(len(events), MAX_EVENTS, "events")
        _check_count(sum(len(each.order.lines) for each in events), MAX_BATCH_LINES, "lines of orders")
        return read_event_writes(events, currency)


def _check_count(count: int, most: int, what: str) -> None:
    if count > most:
        raise InvalidArgument(
            f"{count} {what} are more than {most} in one batch; send several", limit=most, argument="events"
        )


def _plain_rows(kind: type[_Request]) -> PlainRows:
    return PlainRows(kind.DESCRIPTOR.fields_by_name["rows"].number, MAX_ROWS)


_PLAIN = {kind: _plain_rows(kind) for kind in (ingest_pb2.WriteBatchRequest, ingest_pb2.StreamWritesRequest)}

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
