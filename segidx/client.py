"""The typed client: the methods of an open database, over gRPC.

`connect("localhost:50051").account("default").count('tags has "vip"')` gives what the same call gives in process, and
raises the same errors. Imports the protocol, its conversions and the model only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from segidx.model.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    InvalidValue,
    SegidxError,
    ServerUnavailable,
)
from segidx.model.expression import Expression
from segidx.model.results import (
    Contact,
    Count,
    Evaluation,
    Explanation,
    Preview,
    Reject,
    Stats,
    Suggestion,
    WriteResult,
)
from segidx.model.schema import AccountInfo, Field, Schema
from segidx.v1 import (
    accounts_pb2,
    accounts_pb2_grpc,
    contacts_pb2,
    contacts_pb2_grpc,
    counts_pb2,
    counts_pb2_grpc,
    schema_pb2,
    schema_pb2_grpc,
)
from segidx.wire import contacts, results
from segidx.wire.decode import decoder
from segidx.wire.errors import DOMAIN, InternalError, restore, restore_info
from segidx.wire.expressions import write_expression

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
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


def connect(address: str, *, timeout: float | None = None) -> Client:
    """A client of the server at `host:port`. `timeout` in seconds is the deadline of every call that has none of its
    own. Connects at the first call, and again after the server was away."""
    return Client(address, timeout=timeout)


class Client:
    """One connection, for any number of threads. Close it, or use it as a context manager."""

    def __init__(self, address: str, *, timeout: float | None = None) -> None:
        self.address = address
        self.timeout = timeout
        self._channel = grpc.insecure_channel(
            address,
            options=(("grpc.max_receive_message_length", MAX_RESPONSE_BYTES), ("grpc.max_send_message_length", -1)),
        )
        self._accounts = accounts_pb2_grpc.AccountServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def account(self, name: str) -> RemoteAccount:
        """The account of that name; whether it exists shows at the first call."""
        return RemoteAccount(self, results.write_account_name(name))

    def create_account(self, info: AccountInfo, *, timeout: float | None = None) -> RemoteAccount:
        """Creates an account. Raises AccountExists."""
        request = accounts_pb2.CreateAccountRequest()
        results.write_account(info, request.account)
        self._call(self._accounts.CreateAccount, request, timeout)
        return self.account(info.name)

    def accounts(self, *, timeout: float | None = None) -> list[AccountInfo]:
        """All accounts, by name."""
        found: list[AccountInfo] = []
        request = accounts_pb2.ListAccountsRequest(page_size=1000)
        while True:
            page = self._call(self._accounts.ListAccounts, request, timeout)
            found += [results.read_account(account) for account in page.accounts]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def _call(self, method: Any, request: Any, timeout: float | None) -> Any:
        """Calls, and raises what the server raised."""
        try:
            return method(request, timeout=self.timeout if timeout is None else timeout)
        except grpc.RpcError as error:
            _raise(error, self.address)
        except ValueError as error:
            # grpc's word for a channel that was closed.
            raise ServerUnavailable(f"the connection to {self.address} is closed: {error}") from error


class RemoteAccount:
    """One account of a server: the methods of `segidx.database.Account`, each with a `timeout` in seconds.

    Every method raises ServerUnavailable when no server answers, DeadlineExceeded when the timeout passes, and
    otherwise what it raises in process.
    """

    def __init__(self, client: Client, resource: str) -> None:
        self._client = client
        self._account = resource
        channel = client._channel
        self._counts = counts_pb2_grpc.CountServiceStub(channel)
        self._contacts = contacts_pb2_grpc.ContactServiceStub(channel)
        self._schemas = schema_pb2_grpc.SchemaServiceStub(channel)
        # A plan nests as deep as its expression, deeper than the usual parser goes.
        self._explain = channel.unary_unary(
            "/segidx.v1.CountService/ExplainExpression",
            request_serializer=counts_pb2.ExplainExpressionRequest.SerializeToString,
            response_deserializer=decoder(counts_pb2.ExplainExpressionResponse),
        )

    @property
    def info(self) -> AccountInfo:
        """The account's zone, currency and scale of money."""
        request = accounts_pb2.GetAccountRequest(account=self._account)
        return results.read_account(self._client._call(self._client._accounts.GetAccount, request, None).account)

    # --- evaluation ---------------------------------------------------------------------------------------------

    def count(
        self, expression: Expression | str, *, allow_unfinished: bool = False, timeout: float | None = None
    ) -> Count:
        """How many contacts satisfy the expression, now."""
        request = counts_pb2.CountContactsRequest(account=self._account, allow_unfinished=allow_unfinished)
        _write_query(expression, request)
        response = self._client._call(self._counts.CountContacts, request, timeout)
        return Count(response.count, results.read_evaluation(response))

    def count_many(
        self,
        expressions: Sequence[Expression | str],
        *,
        allow_unfinished: bool = False,
        timeout: float | None = None,
    ) -> list[Count | SegidxError]:
        """The count of each expression, all on one snapshot, or the error that one alone would raise."""
        request = counts_pb2.BatchCountContactsRequest(account=self._account, allow_unfinished=allow_unfinished)
        unsent: dict[int, SegidxError] = {}
        for i, expression in enumerate(expressions):
            # Filled in place: protobuf copies by parsing, which a deep expression would not survive.
            query = request.queries.add()
            try:
                _write_query(expression, query)
            except SegidxError as error:
                del request.queries[-1]
                unsent[i] = error
        response = self._client._call(self._counts.BatchCountContacts, request, timeout)
        evaluated_at = results.read_evaluated_at(response)
        answers = iter(response.outcomes)
        outcomes: list[Count | SegidxError] = []
        for i in range(len(expressions)):
            if i in unsent:
                outcomes.append(unsent[i])
                continue
            answer = next(answers)
            if answer.HasField("error"):
                failed = answer.error
                outcomes.append(restore(failed.reason, failed.message, failed.path, dict(failed.metadata)))
                continue
            result = answer.result
            evaluation = Evaluation(response.generation, evaluated_at, result.elapsed_ms, tuple(result.skipped_nodes))
            outcomes.append(Count(result.count, evaluation))
        return outcomes

    def explain(
        self,
        expression: Expression | str,
        *,
        counts: bool = False,
        allow_unfinished: bool = False,
        timeout: float | None = None,
    ) -> Explanation:
        """The plan of the expression; with `counts` also what each node keeps."""
        request = counts_pb2.ExplainExpressionRequest(
            account=self._account, allow_unfinished=allow_unfinished, counts=counts
        )
        _write_query(expression, request)
        return results.read_explanation(self._client._call(self._explain, request, timeout))

    def preview(
        self,
        expression: Expression | str,
        *,
        fields: Sequence[str] | None = None,
        limit: int = 20,
        allow_unfinished: bool = False,
        timeout: float | None = None,
    ) -> Preview:
        """The first contacts of the expression, with the named fields, or all for None."""
        request = contacts_pb2.PreviewContactsRequest(
            account=self._account,
            allow_unfinished=allow_unfinished,
            fields=fields or (),
            ids_only=fields is not None and not fields,
            limit=_limit(limit),
        )
        _write_query(expression, request)
        return results.read_preview(self._client._call(self._contacts.PreviewContacts, request, timeout))

    def suggest(self, field: str, typed: str, *, limit: int = 10, timeout: float | None = None) -> list[Suggestion]:
        """Values of the field that fit what was typed, most frequent first."""
        request = schema_pb2.SuggestValuesRequest(
            account=self._account, field=_text(field), typed=_text(typed), limit=_limit(limit)
        )
        return results.read_suggestions(self._client._call(self._schemas.SuggestValues, request, timeout))

    # --- contacts -----------------------------------------------------------------------------------------------

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
            field=_text(field),
            add=[_text(tag) for tag in add],
            remove=[_text(tag) for tag in remove],
        )
        if replace is not None:
            request.replace.SetInParent()
            request.replace.tags.extend(_text(tag) for tag in replace)
        return contacts.read_write_result(self._client._call(self._contacts.TagContacts, request, timeout))

    def get(self, contact_id: str, *, timeout: float | None = None) -> Contact:
        """One contact with its fields. Raises ContactNotFound."""
        request = contacts_pb2.GetContactRequest(account=self._account, contact_id=contacts.contact_id_text(contact_id))
        return contacts.read_contact(self._client._call(self._contacts.GetContact, request, timeout).contact)

    # --- schema -------------------------------------------------------------------------------------------------

    def schema(self, *, timeout: float | None = None) -> Schema:
        request = schema_pb2.GetSchemaRequest(account=self._account)
        return results.read_schema(self._client._call(self._schemas.GetSchema, request, timeout).schema)

    def update_schema(self, fields: Sequence[Field], *, timeout: float | None = None) -> Schema:
        """Adds fields and returns the whole schema. Raises SchemaConflict for another type or scale."""
        request = schema_pb2.UpdateSchemaRequest(account=self._account)
        results.write_fields(fields, request.schema)
        return results.read_schema(self._client._call(self._schemas.UpdateSchema, request, timeout).schema)

    def stats(self, *, timeout: float | None = None) -> Stats:
        request = schema_pb2.GetStatsRequest(account=self._account)
        return results.read_stats(self._client._call(self._schemas.GetStats, request, timeout).stats)


def _write_query(expression: Expression | str, request: Any) -> None:
    if isinstance(expression, str):
        request.text = _text(expression)
    else:
        write_expression(expression, request.expression)


def _text(text: str) -> str:
    """A string that protobuf can carry; raises InvalidValue for a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidValue("a string is not valid UTF-8") from error
    return text


def _limit(limit: int) -> int:
    """0 stands for the default in the protocol, so that an asked 0 must be refused here."""
    if not 1 <= limit <= 1000:
        raise InvalidArgument(f"limit {limit} is not within 1 to 1000", argument="limit")
    return limit


def _raise(error: grpc.RpcError, address: str) -> NoReturn:
    """Raises the error that the server raised, or says what became of the call."""
    status = rpc_status.from_call(error)
    for detail in () if status is None else status.details:
        info = ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            raise restore_info(info, status.message) from error
    code, details = error.code(), error.details()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        raise DeadlineExceeded("the call took longer than its timeout") from error
    if code is grpc.StatusCode.CANCELLED:
        raise Cancelled("the call was cancelled") from error
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        raise InvalidArgument(f"the message is too large: {details}; send smaller batches") from error
    if code is grpc.StatusCode.UNAVAILABLE:
        raise ServerUnavailable(f"no server answers at {address}: {details}", address=address) from error
    if code is grpc.StatusCode.UNIMPLEMENTED:
        raise ServerUnavailable(f"what answers at {address} is no segidx server of this release: {details}") from error
    raise InternalError(f"the call to {address} failed: {code.name}: {details}") from error
