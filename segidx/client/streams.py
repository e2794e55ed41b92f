"""What the client's streams need beside their calls: a bounded window of batches, and errors as in other calls."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import grpc

from segidx.client.errors import closed, raise_from
from segidx.model.errors import InvalidArgument
from segidx.model.events import EventRow
from segidx.model.results import WriteResult
from segidx.model.writes import Changes, ContactWrite
from segidx.v1 import ingest_pb2
from segidx.wire.writes import BatchErrors, check_batch_key, read_acknowledgement, read_changes, write_batch


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of a stream: rows of contacts, and events that apply behind them in the same commit."""

    rows: Iterable[ContactWrite] = ()
    events: Iterable[EventRow] = ()


class WriteStream:
    """One stream of batches. grpc's own thread takes and sends them, the caller's reads the results."""

    def __init__(
        self,
        account: str,
        batches: Iterable[Iterable[ContactWrite] | Batch],
        batch_keys: Iterable[str] | None,
        window: int,
    ) -> None:
        self._account = account
        self._batches = iter(batches)
        self._keys = repeat("") if batch_keys is None else iter(batch_keys)
        self._room = threading.Semaphore(window)
        # What could not be sent, of each batch without a result.
        self._unanswered: deque[BatchErrors] = deque()
        self._failure: Exception | None = None
        self._closed = False

    def results(self, method: Callable[..., Any], timeout: float | None, address: str) -> Iterator[WriteResult]:
        """Opens the stream and yields each batch's result."""
        try:
            call = method(self._requests(), timeout=timeout)
        except ValueError as error:
            raise closed(error, address) from error
        try:
            for response in call:
                errors = self._unanswered.popleft()
                self._room.release()
                yield errors.merge_rejects(read_acknowledgement(response))
        except grpc.RpcError as error:
            raise_from(error, address)
        finally:
            self._closed = True
            # Lets grpc's thread go where it waits for room.
            self._room.release()
            call.cancel()
        if self._failure is not None:
            raise self._failure

    def _requests(self) -> Iterator[ingest_pb2.StreamWritesRequest]:
        sequence = 0
        while True:
            self._room.acquire()
            if self._closed:
                return
            try:
                request = self._next(sequence + 1)
            except Exception as error:
                # The stream ends here as if there were no more, so that the results of what was sent still come.
                self._failure = error
                return
            if request is None:
                return
            sequence += 1
            yield request

    def _next(self, sequence: int) -> ingest_pb2.StreamWritesRequest | None:
        try:
            batch = next(self._batches)
        except StopIteration:
            return None
        key = next(self._keys, None)
        if key is None:
            raise InvalidArgument(f"batch {sequence} has no key; give as many as batches", argument="batch_keys")
        request = ingest_pb2.StreamWritesRequest(sequence=sequence, batch_key=check_batch_key(key))
        if sequence == 1:
            request.account = self._account
        whole = batch if isinstance(batch, Batch) else Batch(batch)
        self._unanswered.append(write_batch(whole.rows, whole.events, request))
        return request


def read_changes_stream(
    method: Callable[..., Any], request: ingest_pb2.StreamChangesRequest, timeout: float | None, address: str
) -> Iterator[Changes]:
    """Opens the stream and yields what it tells; ends the call when it is closed."""
    try:
        call = method(request, timeout=timeout)
    except ValueError as error:
        raise closed(error, address) from error
    try:
        for response in call:
            yield read_changes(response)
    except grpc.RpcError as error:
        raise_from(error, address)
    finally:
        call.cancel()
