"""The methods of an account of a server that write contacts and events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from segidx.client.arguments import as_text
from segidx.client.opened import RemoteOpened
from segidx.client.streams import Batch, WriteStream
from segidx.model.errors import InvalidArgument, SegidxError
from segidx.model.events import EventRow
from segidx.model.products import ProductWrite
from segidx.model.results import ProductWriteResult, Reject, WriteResult
from segidx.model.writes import ContactWrite
from segidx.v1 import (
    contacts_pb2,
    ingest_pb2,
    products_pb2,
)
from segidx.wire import contacts, products, writes

STREAM_BATCH_ROWS = 5000

Rows = Iterable[tuple[str | bytes, Mapping[str, object]]]


@dataclass(frozen=True, slots=True)
class StreamResult:
    """What a stream of batches came to. `rejects` are the first 1,000 of `reject_count`; their indices count the rows
    of the whole stream."""

    generation: int
    accepted: int
    created: int
    duplicates: int
    rejects: tuple[Reject, ...]
    reject_count: int
    batches: int


class RemoteWrites(RemoteOpened):
    """The part of RemoteAccount that writes. A result means that the batch is synced to disk."""

    # --- batches of writes ------------------------------------------------------------------------------------------

    def write(
        self,
        rows: Iterable[ContactWrite] = (),
        *,
        events: Iterable[EventRow] = (),
        batch_key: str = "",
        timeout: float | None = None,
    ) -> WriteResult:
        """Commits one batch of at most 10,000 rows, and behind them at most 10,000 events with at most 50,000 lines of
        orders. What cannot be written is among the rejects.

        A batch sent again with its key, of up to 128 bytes, changes nothing and gets the first answer, with `replayed`
        set: so a call that failed without an answer can be made again.
        """
        request = ingest_pb2.WriteBatchRequest(account=self._account, batch_key=writes.check_batch_key(batch_key))
        errors = writes.write_batch(rows, events, request)
        response = self._client._call(self._ingest.WriteBatch, request, timeout)
        return errors.merge_rejects(writes.read_acknowledgement(response))

    def write_events(
        self, events: Iterable[EventRow], *, batch_key: str = "", timeout: float | None = None
    ) -> WriteResult:
        """`write` of events alone: `Event`, `Order` and `Retraction`, in any mix."""
        return self.write(events=events, batch_key=batch_key, timeout=timeout)

    def write_stream(
        self,
        batches: Iterable[Iterable[ContactWrite] | Batch],
        *,
        batch_keys: Iterable[str] | None = None,
        window: int = 8,
        timeout: float | None = None,
    ) -> Iterator[WriteResult]:
        """Commits batches in their order, each on its own, and gives the result of each, in the same order. A batch is
        the rows of `write`, or a `Batch` of rows and events.

        Batches are taken from `batches`, by another thread, while fewer than `window` are without a result and results
        are asked for; nothing is sent before the first is. `batch_keys` gives each batch its key. What `batches` raises
        is raised here after the results of the batches before. After an error of the server, `committed_batches` in its
        metadata counts the results it had sent; what came after may be committed or not, so send it again with its key.
        The stream has no deadline unless `timeout` is given.
        """
        if window < 1:
            raise InvalidArgument(f"a window of {window} batches is below 1", argument="window")
        stream = WriteStream(self._account, batches, batch_keys, window)
        return stream.results(self._ingest.StreamWrites, timeout, self._client.address)

    def write_products(
        self, rows: Iterable[ProductWrite], *, batch_key: str = "", timeout: float | None = None
    ) -> ProductWriteResult:
        """Changes the catalogue of products: one batch of at most 10,000 rows, applied in order and committed whole.
        `batch_key` as in `write`; keys of products are their own."""
        request = products_pb2.WriteProductsRequest(account=self._account, batch_key=writes.check_batch_key(batch_key))
        errors = products.write_writes(rows, request.products)
        result = products.read_result(self._client._call(self._products.WriteProducts, request, timeout))
        return replace(result, rejects=errors.merged(result.rejects))

    # --- contacts ---------------------------------------------------------------------------------------------------

    def upsert(self, rows: Rows, *, timeout: float | None = None) -> WriteResult:
        """Creates or updates one batch of at most 10,000 contacts; synced to disk on return."""
        messages, errors = contacts.write_rows(rows)
        request = contacts_pb2.UpsertContactsRequest(account=self._account, contacts=messages)
        response = self._client._call(self._contacts.UpsertContacts, request, timeout)
        return errors.merge_rejects(contacts.read_write_result(response))

    def upsert_stream(
        self, rows: Rows, *, batch_rows: int = STREAM_BATCH_ROWS, timeout: float | None = None
    ) -> StreamResult:
        """Creates or updates any number of contacts, in batches that are committed one by one.

        After an error the batches before it stay; its metadata says how many: `committed_batches`.
        """
        if not 1 <= batch_rows <= 10_000:
            raise InvalidArgument(f"batches of {batch_rows} rows are not within 1 to 10000", argument="batch_rows")
        batches = contacts.Batches(rows, batch_rows)

        def requests() -> Iterable[contacts_pb2.StreamUpsertContactsRequest]:
            for messages in batches:
                yield contacts_pb2.StreamUpsertContactsRequest(account=self._account, contacts=messages)

        try:
            response = self._client._call(self._contacts.StreamUpsertContacts, requests(), timeout)
        except SegidxError:
            if batches.failure is None:
                raise
            # The caller's own rows raised; grpc only knows that the stream broke.
            raise batches.failure from None
        rejects = batches.merge(contacts.read_rejects(response.rejects))
        return StreamResult(
            response.generation,
            response.accepted,
            response.created,
            response.duplicates,
            rejects,
            response.reject_count + batches.refused,
            response.batches,
        )

    def tag(
        self,
        contact_ids: Sequence[str],
        *,
        field: str = "tags",
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        replace: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> WriteResult:
        """Adds and removes tags of known contacts, or replaces them all. Unknown contacts are rejects."""
        request = contacts_pb2.TagContactsRequest(
            account=self._account,
            contact_ids=[contacts.contact_id_text(contact_id) for contact_id in contact_ids],
            field=as_text(field),
            add=[as_text(tag) for tag in add],
            remove=[as_text(tag) for tag in remove],
        )
        if replace is not None:
            request.replace.SetInParent()
            request.replace.tags.extend(as_text(tag) for tag in replace)
        return contacts.read_write_result(self._client._call(self._contacts.TagContacts, request, timeout))
