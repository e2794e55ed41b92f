"""Requests to arguments and results to responses; with `convert_ingest` and `convert_products` the only importer of
messages here.

The conversions that the client makes too are in `segidx.wire`; here are those of the server alone: names of
resources, limits of requests, pages.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from segidx.model.bands import Bands
from segidx.model.derived import DerivedNumber
from segidx.model.errors import ExpressionTooLarge, InvalidArgument, SegidxError
from segidx.model.event_groups import EventGroup
from segidx.model.events import EventType, EventTypes
from segidx.model.expression import Expression
from segidx.model.results import (
    Contact,
    ContactEvents,
    Count,
    Evaluation,
    Explanation,
    Preview,
    PrunedType,
    Reject,
    Stats,
    Suggestion,
    WriteResult,
)
from segidx.model.schema import AccountInfo, Field, Schema
from segidx.model.source_settings import SourceSettings
from segidx.v1 import accounts_pb2, contacts_pb2, counts_pb2, ingest_pb2, products_pb2, schema_pb2
from segidx.wire import (
    bands,
    contacts,
    derived,
    event_groups,
    event_types,
    results,
    retention,
    source_settings,
    timeline,
)
from segidx.wire.contacts import MAX_STREAM_REJECTS, Row, RowErrors
from segidx.wire.errors import wire_message, wire_metadata, wire_path
from segidx.wire.expressions import read_expression
from segidx.wire.values import write_instant

MAX_TEXT_BYTES = 256 * 1024
MAX_ROWS = 10_000
MAX_QUERIES = 1000
MAX_LIMIT = 1000
MAX_PAGE = 1000
DEFAULT_PAGE = 100
DEFAULT_PREVIEW = 20
DEFAULT_SUGGESTIONS = 10

_FILES = (accounts_pb2, contacts_pb2, counts_pb2, ingest_pb2, products_pb2, schema_pb2)


def service_names() -> tuple[str, ...]:
    """Full names of segidx's services: `segidx.v1.CountService`, ..."""
    return tuple(s.full_name for file in _FILES for s in file.DESCRIPTOR.services_by_name.values())


def request_classes() -> dict[str, type[Message]]:
    """The request class of each method, by its path: `/segidx.v1.CountService/CountContacts`."""
    return {
        f"/{service.full_name}/{method.name}": GetMessageClass(method.input_type)
        for file in _FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


# --- common parts of requests ------------------------------------------------------------------------------


class _NamesAccount(Protocol):
    @property
    def account(self) -> str: ...


def account_of(request: _NamesAccount) -> str:
    """The account that a request names. Raises InvalidArgument and InvalidAccountName."""
    return results.read_account_name(request.account)


def check_same_account(request: _NamesAccount, first: str) -> None:
    """Raises InvalidArgument for a later message of a stream that names another account than the first one did."""
    if request.account not in ("", first):
        raise InvalidArgument(
            f"a stream writes to one account; this one began with {first!r} and names {request.account!r}",
            argument="account",
        )


def query_of(request: Any) -> Expression | str:
    """The expression that a request asks about, or its text. An absent one is an unfinished expression."""
    if request.WhichOneof("query") != "text":
        return read_expression(request.expression)
    text: str = request.text
    # Characters are no more than bytes, so that most texts need no encoding.
    if len(text) > MAX_TEXT_BYTES or (len(text) * 4 > MAX_TEXT_BYTES and len(text.encode()) > MAX_TEXT_BYTES):
        raise ExpressionTooLarge(
            f"the text is longer than {MAX_TEXT_BYTES} bytes; put the values in a tag or a field instead",
            path="text",
            limit=MAX_TEXT_BYTES,
        )
    return text


def limit_of(limit: int, default: int) -> int:
    """A limit within 1 to 1000, where 0 means the default. Raises InvalidArgument."""
    if not 0 <= limit <= MAX_LIMIT:
        raise InvalidArgument(f"limit {limit} is not within 1 to {MAX_LIMIT}", argument="limit")
    return limit or default


def check_rows(count: int, argument: str, of: str = "contacts") -> None:
    """Raises InvalidArgument for more rows than a batch may have."""
    if count > MAX_ROWS:
        raise InvalidArgument(
            f"{count} {of} are more than {MAX_ROWS} in one batch; send several", limit=MAX_ROWS, argument=argument
        )


# --- accounts ----------------------------------------------------------------------------------------------


def created_account_of(request: accounts_pb2.CreateAccountRequest) -> AccountInfo:
    return results.read_account(request.account)


def create_account_response(info: AccountInfo) -> accounts_pb2.CreateAccountResponse:
    response = accounts_pb2.CreateAccountResponse()
    results.write_account(info, response.account)
    return response


def account_response(info: AccountInfo) -> accounts_pb2.GetAccountResponse:
    response = accounts_pb2.GetAccountResponse()
    results.write_account(info, response.account)
    return response


def accounts_response(
    request: accounts_pb2.ListAccountsRequest, accounts: Iterable[AccountInfo]
) -> accounts_pb2.ListAccountsResponse:
    """One page of accounts by name. A token holds the last name of the page before, so that accounts created or
    removed between two pages neither repeat nor hide others. Raises InvalidArgument."""
    if request.page_size < 0:
        raise InvalidArgument(f"page size {request.page_size} is below 0", argument="page_size")
    size = min(request.page_size or DEFAULT_PAGE, MAX_PAGE)
    after = read_token(request.page_token)
    rest = sorted((a for a in accounts if a.name > after), key=lambda a: a.name)
    response = accounts_pb2.ListAccountsResponse()
    for info in rest[:size]:
        results.write_account(info, response.accounts.add())
    if len(rest) > size:
        response.next_page_token = write_token(rest[size - 1].name)
    return response


_TOKEN_VERSION = b"a1:"


def write_token(last: str) -> str:
    return base64.urlsafe_b64encode(_TOKEN_VERSION + last.encode()).decode().rstrip("=")


def read_token(token: str) -> str:
    if not token:
        return ""
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        if data.startswith(_TOKEN_VERSION):
            return data.removeprefix(_TOKEN_VERSION).decode()
    except (binascii.Error, ValueError):
        pass
    raise InvalidArgument("the page token is not one that this service gave; start over without", argument="page_token")


# --- schema ------------------------------------------------------------------------------------------------


def fields_of(request: schema_pb2.UpdateSchemaRequest) -> tuple[Field, ...]:
    return tuple(results.read_schema(request.schema))


def schema_response(schema: Schema) -> schema_pb2.GetSchemaResponse:
    response = schema_pb2.GetSchemaResponse()
    results.write_fields(schema, response.schema)
    return response


def update_schema_response(schema: Schema) -> schema_pb2.UpdateSchemaResponse:
    response = schema_pb2.UpdateSchemaResponse()
    results.write_fields(schema, response.schema)
    return response


def event_types_of(request: schema_pb2.DeclareEventTypesRequest) -> list[EventType]:
    return [event_types.read_event_type(each) for each in request.event_types]


def declared_types_response(types: EventTypes) -> schema_pb2.DeclareEventTypesResponse:
    response = schema_pb2.DeclareEventTypesResponse()
    event_types.write_event_types(types, response.event_types)
    return response


def event_types_response(types: EventTypes, groups: Iterable[EventGroup]) -> schema_pb2.ListEventTypesResponse:
    response = schema_pb2.ListEventTypesResponse()
    event_types.write_event_types(types, response.event_types)
    for group in groups:
        event_groups.write_event_group(group, response.event_groups.add())
    return response


def source_settings_of(request: schema_pb2.SetSourceSettingsRequest) -> SourceSettings:
    return source_settings.read_source_settings(request.source_settings)


def source_settings_response(settings: SourceSettings) -> schema_pb2.GetSourceSettingsResponse:
    response = schema_pb2.GetSourceSettingsResponse()
    source_settings.write_source_settings(settings, response.source_settings)
    return response


def source_settings_set(settings: SourceSettings) -> schema_pb2.SetSourceSettingsResponse:
    response = schema_pb2.SetSourceSettingsResponse()
    source_settings.write_source_settings(settings, response.source_settings)
    return response


def event_group_of(request: schema_pb2.SetEventGroupRequest) -> EventGroup:
    return event_groups.read_event_group(request.event_group)


def event_group_response(group: EventGroup) -> schema_pb2.SetEventGroupResponse:
    response = schema_pb2.SetEventGroupResponse()
    event_groups.write_event_group(group, response.event_group)
    return response


def bands_of(request: schema_pb2.SetBandsRequest) -> Bands:
    return bands.read_bands(request.bands)


def set_bands_response(of: Bands) -> schema_pb2.SetBandsResponse:
    response = schema_pb2.SetBandsResponse()
    bands.write_bands(of, response.bands)
    return response


def bands_response(declared: Iterable[Bands]) -> schema_pb2.ListBandsResponse:
    response = schema_pb2.ListBandsResponse()
    for each in declared:
        bands.write_bands(each, response.bands.add())
    return response


def bands_removed() -> schema_pb2.RemoveBandsResponse:
    return schema_pb2.RemoveBandsResponse()


def derived_of(request: schema_pb2.SetDerivedNumberRequest) -> DerivedNumber:
    return derived.read_derived(request.derived_number)


def set_derived_response(of: DerivedNumber) -> schema_pb2.SetDerivedNumberResponse:
    response = schema_pb2.SetDerivedNumberResponse()
    derived.write_derived(of, response.derived_number)
    return response


def derived_response(numbers: Iterable[DerivedNumber]) -> schema_pb2.ListDerivedNumbersResponse:
    response = schema_pb2.ListDerivedNumbersResponse()
    for each in numbers:
        derived.write_derived(each, response.derived_numbers.add())
    return response


def derived_removed() -> schema_pb2.RemoveDerivedNumberResponse:
    return schema_pb2.RemoveDerivedNumberResponse()


def before_of(request: schema_pb2.PruneEventsRequest) -> datetime:
    return retention.read_before(request)


def prune_response(pruned: Iterable[PrunedType]) -> schema_pb2.PruneEventsResponse:
    response = schema_pb2.PruneEventsResponse()
    for each in pruned:
        retention.write_pruned(each, response.pruned.add())
    return response


def suggestions_response(suggestions: list[Suggestion]) -> schema_pb2.SuggestValuesResponse:
    response = schema_pb2.SuggestValuesResponse()
    results.write_suggestions(suggestions, response)
    return response


def stats_response(stats: Stats) -> schema_pb2.GetStatsResponse:
    response = schema_pb2.GetStatsResponse()
    results.write_stats(stats, response.stats)
    return response


# --- contacts ----------------------------------------------------------------------------------------------


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


# --- counts ------------------------------------------------------------------------------------------------


def count_response(count: Count) -> counts_pb2.CountContactsResponse:
    response = counts_pb2.CountContactsResponse(count=count.count)
    results.write_evaluation(count.evaluation, response)
    return response


def queries_of(request: counts_pb2.BatchCountContactsRequest) -> list[Expression | str | SegidxError]:
    """Each query of a batch, or why it cannot be read. Raises InvalidArgument for too many."""
    if len(request.queries) > MAX_QUERIES:
        raise InvalidArgument(
            f"{len(request.queries)} queries are more than {MAX_QUERIES} in one call; send several", argument="queries"
        )
    queries: list[Expression | str | SegidxError] = []
    for query in request.queries:
        try:
            queries.append(query_of(query))
        except SegidxError as error:
            queries.append(error)
    return queries


def batch_response(outcomes: Sequence[Count | SegidxError], elapsed_ms: float) -> counts_pb2.BatchCountContactsResponse:
    response = counts_pb2.BatchCountContactsResponse()
    evaluation: Evaluation | None = None
    for i, outcome in enumerate(outcomes):
        part = response.outcomes.add()
        if isinstance(outcome, SegidxError):
            part.error.reason, part.error.message = outcome.reason, wire_message(outcome)
            part.error.path = wire_path(outcome)
            part.error.metadata.update(wire_metadata(outcome))
            continue
        evaluation = outcome.evaluation
        part.result.count, part.result.elapsed_ms = outcome.count, evaluation.elapsed_ms
        part.result.skipped_nodes.extend(evaluation.skipped)
        response.skipped_nodes.extend(f"queries[{i}].{path}" for path in evaluation.skipped)
    response.elapsed_ms = elapsed_ms
    if evaluation is not None:
        response.generation = evaluation.generation
        write_instant(evaluation.evaluated_at, response.evaluated_at)
    return response


def explain_response(explanation: Explanation) -> counts_pb2.ExplainExpressionResponse:
    response = counts_pb2.ExplainExpressionResponse()
    results.write_explanation(explanation, response)
    return response
