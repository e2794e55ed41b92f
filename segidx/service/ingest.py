"""IngestService: batches into the log, and the feed of what was committed. Messages are made and read by
`convert_ingest`, and the batches of a stream are kept in order by `pipeline`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import grpc

from segidx.ingest.event_rows import events_from_rows
from segidx.model.errors import GenerationNotReached, InvalidArgument, SegidxError, ServerUnavailable
from segidx.service import convert, convert_ingest
from segidx.service.calls import StreamBound, check_alive, stop_for
from segidx.service.pipeline import Pipeline, Submitted
from segidx.store.courtesy import COURTESY
from segidx.v1 import ingest_pb2_grpc
from segidx.wire.contacts import RowErrors
from segidx.wire.writes import BatchErrors

if TYPE_CHECKING:
    from segidx.database import Account, Database
    from segidx.ingest.batch import ContactBatch
    from segidx.ingest.event_batch import EventBatch
    from segidx.kernels.bitmaps import Stop
    from segidx.model.results import WriteResult
    from segidx.v1 import ingest_pb2

# How often a follower that waits for a commit looks whether the server ends.
_SLICE_SECONDS = 1.0


class IngestService(ingest_pb2_grpc.IngestServiceServicer):
    """Writes batches and tells what commits changed. `streams` bounds the streams of writes that are open at once,
    `followers` those of changes."""

    def __init__(self, database: Database, *, streams: StreamBound, followers: StreamBound) -> None:
        self._database = database
        self._streams = streams
        self._followers = followers
        self._lock = threading.Lock()
        self._ending = False
        self._open: set[Pipeline[convert_ingest.WritesRequest]] = set()

    def end(self) -> None:
        """Ends every stream, which would not end by itself: of writes after the acknowledgements of what was read, of
        changes at once. Their callers are told to go on elsewhere or later."""
        with self._lock:
            self._ending = True
            pipelines = list(self._open)
        for pipeline in pipelines:
            pipeline.refuse_more(_ended())

    def WriteBatch(  # type: ignore[override]  # the gate reads requests with rows in a way of their own
        self, request: convert_ingest.WritesRequest, context: grpc.ServicerContext
    ) -> ingest_pb2.WriteBatchResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request.header))
        future, errors = _submitted(account, request)
        return convert_ingest.batch_response(errors.merge_rejects(future.result()))

    # --- the stream of writes ---

    def StreamWrites(  # type: ignore[override]
        self, requests: Iterator[convert_ingest.WritesRequest], context: grpc.ServicerContext
    ) -> Iterator[ingest_pb2.StreamWritesResponse]:
        check_alive(context)
        batches = last = 0
        with self._streams.opened():
            pipeline = Pipeline(requests, _Submitter(self._database))
            try:
                with self._known(pipeline), closing(pipeline.committed(partial(check_alive, context))) as committed:
                    for sequence, result in committed:
                        yield convert_ingest.stream_response(sequence, result)
                        batches, last = batches + 1, sequence
            except SegidxError as error:
                raise _with_progress(error, batches, last) from error

    @contextmanager
    def _known(self, pipeline: Pipeline[convert_ingest.WritesRequest]) -> Iterator[None]:
        """Lets `end` find the stream while it is open."""
        with self._lock:
            if self._ending:
                raise _ended()
            self._open.add(pipeline)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(pipeline)

    # --- the feed of changes ---

    def StreamChanges(
        self, request: ingest_pb2.StreamChangesRequest, context: grpc.ServicerContext
    ) -> Iterator[ingest_pb2.StreamChangesResponse]:
        stop = stop_for(context)
        account = self._database.account(convert.account_of(request))
        with self._followers.opened():
            yield from self._changes(account, request, stop)

    def _changes(
        self, account: Account, request: ingest_pb2.StreamChangesRequest, stop: Stop
    ) -> Iterator[ingest_pb2.StreamChangesResponse]:
        after = request.after_generation
        # The caller may know the generation from a worker that is ahead of this one. One that never comes is refused
        # by `changes`.
        _reached(account, after, stop)
        newest = max(after, account.generation())
        while True:
            current = account.generation()
            found = account.changes(after)
            for changes in found:
                yield from convert_ingest.changes_responses(changes, request)
                if changes.last:
                    after = changes.generation
            if not found:
                # Nothing was changed up to here.
                after = max(after, current)
            if not request.follow and after >= newest:
                return
            while not self._ending and not found and not _reached(account, after + 1, stop):
                pass
            if request.follow and self._ending:
                raise _ended()


class _Submitter:
    """Submits the batches of one stream: all to the account that the first one names, in ascending sequence."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._account: Account | None = None
        self._named = ""
        self._last = -1

    def __call__(self, request: convert_ingest.WritesRequest) -> Submitted:
        header = request.header
        if self._account is None:
            self._account, self._named = self._database.account(convert.account_of(header)), header.account
        else:
            convert.check_same_account(header, self._named)
        sequence = header.sequence
        if sequence <= self._last:
            raise InvalidArgument(
                f"sequence {sequence} follows {self._last}; each batch of a stream needs a number above the one before",
                argument="sequence",
            )
        self._last = sequence
        return Submitted(sequence, *_submitted(self._account, request))


def _submitted(account: Account, request: convert_ingest.WritesRequest) -> tuple[Future[WriteResult], BatchErrors]:
    """Submits a batch: its rows, and behind them its events."""
    rows, errors = request.batches(account.schema())
    batches: list[ContactBatch | EventBatch] = [*rows]
    event_errors = RowErrors()
    if request.has_events:
        now, horizons = account.now(), account.horizons
        orders = request.plain_orders(account.info, now, horizons)
        if orders is not None:
            batches.append(orders)
        else:
            events, event_errors = request.events(account.info.currency)
            batches += events_from_rows(
                COURTESY.between(events),
                account.event_types,
                account.info,
                now,
                own_hosts=account.source_settings.own_hosts,
                horizons=horizons,
            )
    return account.submit_batches(batches, batch_key=request.header.batch_key), BatchErrors(errors, event_errors)


def _reached(account: Account, generation: int, stop: Stop) -> bool:
    """Waits a little for the generation. Raises Cancelled and DeadlineExceeded as the call's Stop says."""
    try:
        account.wait_for_generation(generation, stop=stop, timeout=_SLICE_SECONDS)
    except GenerationNotReached:
        return False
    return True


def _ended() -> ServerUnavailable:
    return ServerUnavailable("the server is ending; go on when it is back, after what was acknowledged or sent")


def _with_progress(error: SegidxError, batches: int, last: int) -> SegidxError:
    """A copy of the error that says how far the stream came: what was acknowledged is committed. (A failed commit gives
    one error to all who waited for it.)"""
    copy = type(error).__new__(type(error), *error.args)
    vars(copy).update(vars(error))
    copy.metadata = {**error.metadata, "committed_batches": str(batches), "last_sequence": str(last)}
    return copy
