"""ContactService. Messages are made and read by `convert` and `convert_contacts`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import grpc

from segidx.model.errors import SegidxError
from segidx.service import convert, convert_contacts
from segidx.service.calls import StreamBound, await_generation, check_alive, stop_for
from segidx.v1 import contacts_pb2_grpc

if TYPE_CHECKING:
    from segidx.database import Account, Database
    from segidx.v1 import contacts_pb2


class ContactService(contacts_pb2_grpc.ContactServiceServicer):
    """Writes and reads contacts. `streams` bounds the streams of writes that are open at once."""

    def __init__(self, database: Database, *, streams: StreamBound) -> None:
        self._database = database
        self._streams = streams

    def UpsertContacts(
        self, request: contacts_pb2.UpsertContactsRequest, context: grpc.ServicerContext
    ) -> contacts_pb2.UpsertContactsResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        rows, errors = convert_contacts.rows_of(request)
        return convert_contacts.upsert_response(errors.merge_rejects(account.upsert(rows)))

    def StreamUpsertContacts(
        self, requests: Iterator[contacts_pb2.StreamUpsertContactsRequest], context: grpc.ServicerContext
    ) -> contacts_pb2.StreamUpsertContactsResponse:
        check_alive(context)
        totals = convert_contacts.StreamTotals()
        with self._streams.opened():
            try:
                self._write_stream(requests, context, totals)
            except SegidxError as error:
                # What was committed stays; the caller must know how far it came.
                error.metadata.update(committed_batches=str(totals.batches), accepted=str(totals.accepted))
                raise
        return totals.response()

    def _write_stream(
        self,
        requests: Iterator[contacts_pb2.StreamUpsertContactsRequest],
        context: grpc.ServicerContext,
        totals: convert_contacts.StreamTotals,
    ) -> None:
        account: Account | None = None
        named = ""
        for request in requests:
            check_alive(context)
            if account is None:
                account, named = self._database.account(convert.account_of(request)), request.account
            else:
                convert.check_same_account(request, named)
            rows, errors = convert_contacts.rows_of(request)
            totals.add(errors.seen, errors.merge_rejects(account.upsert(rows)))

    def TagContacts(
        self, request: contacts_pb2.TagContactsRequest, context: grpc.ServicerContext
    ) -> contacts_pb2.TagContactsResponse:
        check_alive(context)
        account = self._database.account(convert.account_of(request))
        change = convert_contacts.tag_change_of(request)
        return convert_contacts.tag_response(
            account.tag(
                change.contact_ids, field=change.field, add=change.add, remove=change.remove, replace=change.replace
            )
        )

    def GetContact(
        self, request: contacts_pb2.GetContactRequest, context: grpc.ServicerContext
    ) -> contacts_pb2.GetContactResponse:
        stop = stop_for(context)
        account = self._database.account(convert.account_of(request))
        await_generation(account, request.min_generation, context, stop)
        return convert_contacts.contact_response(account.get(request.contact_id))

    def ListContactEvents(
        self, request: contacts_pb2.ListContactEventsRequest, context: grpc.ServicerContext
    ) -> contacts_pb2.ListContactEventsResponse:
        stop = stop_for(context)
        account = self._database.account(convert.account_of(request))
        start_time, end_time = convert_contacts.event_times_of(request)
        await_generation(account, request.min_generation, context, stop)
        found = account.contact_events(
            request.contact_id,
            types=request.event_types,
            start_time=start_time,
            end_time=end_time,
            oldest_first=request.oldest_first,
            page_size=request.page_size,
            page_token=request.page_token,
            stop=stop,
        )
        return convert_contacts.contact_events_response(found)

    def PreviewContacts(
        self, request: contacts_pb2.PreviewContactsRequest, context: grpc.ServicerContext
    ) -> contacts_pb2.PreviewContactsResponse:
        stop = stop_for(context)
        account = self._database.account(convert.account_of(request))
        query = convert.query_of(request)
        await_generation(account, request.min_generation, context, stop)
        preview = account.preview(
            query,
            fields=convert_contacts.preview_fields_of(request),
            limit=convert.limit_of(request.limit, convert.DEFAULT_PREVIEW),
            allow_unfinished=request.allow_unfinished,
            stop=stop,
        )
        return convert_contacts.preview_response(preview)
