"""Messages of ContactService, to arguments and from results."""

from __future__ import annotations

from dataclasses import dataclass

from segidx.model.errors import InvalidArgument
from segidx.model.results import Contact, ContactEvents, Preview, Reject, WriteResult
from segidx.service.convert import check_rows
from segidx.v1 import contacts_pb2
from segidx.wire import contacts, results, timeline
from segidx.wire.contacts import MAX_STREAM_REJECTS, Row, RowErrors


def rows_of(
    request: contacts_pb2.UpsertContactsRequest | contacts_pb2.StreamUpsertContactsRequest,
) -> tuple[list[Row], RowErrors]:
    """The rows of a batch and those that could not be read. Raises InvalidArgument for too many."""
    check_rows(len(request.contacts), "contacts")
    return contacts.read_rows(request.contacts)


def upsert_response(result: WriteResult) -> contacts_pb2.UpsertContactsResponse:
    return contacts_pb2.UpsertContactsResponse(
        generation=result.generation,
        accepted=result.accepted,
        created=result.created,
        duplicates=result.duplicates,
        rejects=contacts.write_rejects(result.rejects),
    )


class StreamTotals:
    """What the batches of one stream came to so far."""

    def __init__(self) -> None:
        self.batches = self.rows = self.generation = self.accepted = self.created = self.duplicates = 0
        self.reject_count = 0
        self.rejects: list[Reject] = []

    def add(self, rows: int, result: WriteResult) -> None:
        """Counts one committed batch of so many rows."""
        for reject in result.rejects[: MAX_STREAM_REJECTS - len(self.rejects)]:
            self.rejects.append(contacts.renumber(reject, self.rows + reject.index))
        self.batches += 1
        self.rows += rows
        self.generation = result.generation
        self.accepted += result.accepted
        self.created += result.created
        self.duplicates += result.duplicates
        self.reject_count += len(result.rejects)

    def response(self) -> contacts_pb2.StreamUpsertContactsResponse:
        return contacts_pb2.StreamUpsertContactsResponse(
            generation=self.generation,
            accepted=self.accepted,
            created=self.created,
            duplicates=self.duplicates,
            rejects=contacts.write_rejects(self.rejects),
            reject_count=self.reject_count,
            batches=self.batches,
        )


@dataclass(frozen=True, slots=True)
class TagChange:
    """The arguments of Account.tag."""

    contact_ids: tuple[str, ...]
    field: str
    add: tuple[str, ...]
    remove: tuple[str, ...]
    replace: tuple[str, ...] | None


def tag_change_of(request: contacts_pb2.TagContactsRequest) -> TagChange:
    check_rows(len(request.contact_ids), "contact_ids")
    replace = tuple(request.replace.tags) if request.HasField("replace") else None
    if replace is not None and (request.add or request.remove):
        raise InvalidArgument("'replace' gives the whole new set; leave out 'add' and 'remove'", argument="replace")
    return TagChange(
        tuple(request.contact_ids), request.field or "tags", tuple(request.add), tuple(request.remove), replace
    )


def tag_response(result: WriteResult) -> contacts_pb2.TagContactsResponse:
    return contacts_pb2.TagContactsResponse(
        generation=result.generation,
        accepted=result.accepted,
        created=result.created,
        duplicates=result.duplicates,
        rejects=contacts.write_rejects(result.rejects),
    )


def contact_response(contact: Contact) -> contacts_pb2.GetContactResponse:
    response = contacts_pb2.GetContactResponse()
    contacts.write_contact(contact, response.contact)
    return response


event_times_of = timeline.read_times


def contact_events_response(found: ContactEvents) -> contacts_pb2.ListContactEventsResponse:
    response = contacts_pb2.ListContactEventsResponse()
    timeline.write_contact_events(found, response)
    return response


def preview_fields_of(request: contacts_pb2.PreviewContactsRequest) -> tuple[str, ...] | None:
    """The fields to return: None for all."""
    if not request.ids_only:
        return tuple(request.fields) or None
    if request.fields:
        raise InvalidArgument("'ids_only' returns no fields; leave out 'fields'", argument="ids_only")
    return ()


def preview_response(preview: Preview) -> contacts_pb2.PreviewContactsResponse:
    response = contacts_pb2.PreviewContactsResponse()
    results.write_preview(preview, response)
    return response
