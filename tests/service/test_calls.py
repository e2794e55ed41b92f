"""What callers of any language meet: statuses, deadlines, cancellation, limits, pages."""

from __future__ import annotations

import logging
import threading
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from segidx.service import convert
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
from segidx.v1 import expressions_pb2 as pb

ACCOUNT = "accounts/default"
WAIT = 60


def refused(call: Any) -> tuple[grpc.StatusCode, ErrorInfo]:
    """The code and ErrorInfo of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    status = rpc_status.from_call(caught.value)
    assert status is not None, caught.value
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    return caught.value.code(), info


@pytest.fixture
def counts(channel: grpc.Channel) -> Any:
    return counts_pb2_grpc.CountServiceStub(channel)


@pytest.fixture
def contacts(channel: grpc.Channel) -> Any:
    return contacts_pb2_grpc.ContactServiceStub(channel)


def count(text: str = "everyone", account: str = ACCOUNT) -> counts_pb2.CountContactsRequest:
    return counts_pb2.CountContactsRequest(account=account, text=text)


def test_an_evaluation_carries_its_circumstances(counts: Any) -> None:
    response = counts.CountContacts(count('country = "PL"'), timeout=WAIT)
    assert (response.count, response.generation, response.elapsed_ms) == (2, 1, 0.25)
    assert response.evaluated_at.ToJsonString() == "2026-01-02T03:04:05.678Z"


@pytest.mark.parametrize(
    ("account", "code", "reason"),
    [
        ("", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        ("default", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ACCOUNT_NAME"),
        ("accounts/", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ACCOUNT_NAME"),
        ("accounts/../x", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ACCOUNT_NAME"),
        ("accounts/acme", grpc.StatusCode.NOT_FOUND, "UNKNOWN_ACCOUNT"),
    ],
)
def test_every_request_names_an_account(
    channel: grpc.Channel, account: str, code: grpc.StatusCode, reason: str
) -> None:
    counts, contacts = counts_pb2_grpc.CountServiceStub(channel), contacts_pb2_grpc.ContactServiceStub(channel)
    schemas, accounts = schema_pb2_grpc.SchemaServiceStub(channel), accounts_pb2_grpc.AccountServiceStub(channel)
    calls = [
        lambda: counts.CountContacts(count(account=account)),
        lambda: counts.BatchCountContacts(counts_pb2.BatchCountContactsRequest(account=account)),
        lambda: counts.ExplainExpression(counts_pb2.ExplainExpressionRequest(account=account, text="everyone")),
        lambda: contacts.UpsertContacts(contacts_pb2.UpsertContactsRequest(account=account)),
        lambda: contacts.StreamUpsertContacts(iter([contacts_pb2.StreamUpsertContactsRequest(account=account)])),
        lambda: contacts.TagContacts(contacts_pb2.TagContactsRequest(account=account)),
        lambda: contacts.GetContact(contacts_pb2.GetContactRequest(account=account)),
        lambda: contacts.ListContactEvents(contacts_pb2.ListContactEventsRequest(account=account)),
        lambda: contacts.PreviewContacts(contacts_pb2.PreviewContactsRequest(account=account, text="everyone")),
        lambda: schemas.GetSchema(schema_pb2.GetSchemaRequest(account=account)),
        lambda: schemas.UpdateSchema(schema_pb2.UpdateSchemaRequest(account=account)),
        lambda: schemas.SuggestValues(schema_pb2.SuggestValuesRequest(account=account)),
        lambda: schemas.GetStats(schema_pb2.GetStatsRequest(account=account)),
        lambda: accounts.GetAccount(accounts_pb2.GetAccountRequest(account=account)),
    ]
    assert [(c, i.reason) for c, i in map(refused, calls)] == [(code, reason)] * len(calls)


def test_an_error_names_the_node(counts: Any) -> None:
    leaf = pb.Expression(
        comparison=pb.Comparison(
            left=pb.Value(field="contry"),
            operator=pb.COMPARISON_OPERATOR_EQUAL,
            right=pb.Value(constant={"string_value": "x"}),
        )
    )
    everyone = pb.Expression(everyone=pb.Everyone())
    tree = pb.Expression(conjunction=pb.Conjunction(operands=[everyone, everyone, leaf]))
    code, info = refused(
        lambda: counts.CountContacts(counts_pb2.CountContactsRequest(account=ACCOUNT, expression=tree))
    )
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert (info.reason, info.domain) == ("UNKNOWN_FIELD", "segidx")
    assert info.metadata["path"] == "expression.conjunction.operands[2].comparison"
    assert info.metadata["nearest"].startswith("country")


def test_unfinished_conditions_are_refused_or_reported(counts: Any) -> None:
    tree = pb.Expression(conjunction=pb.Conjunction(operands=[pb.Expression(), pb.Expression(everyone=pb.Everyone())]))
    request = counts_pb2.CountContactsRequest(account=ACCOUNT, expression=tree)
    _code, info = refused(lambda: counts.CountContacts(request))
    assert (info.reason, info.metadata["path"]) == ("UNFINISHED_EXPRESSION", "expression.conjunction.operands[0]")
    request.allow_unfinished = True
    response = counts.CountContacts(request)
    assert (response.count, list(response.skipped_nodes)) == (4, ["expression.conjunction.operands[0]"])
    nothing = counts_pb2.CountContactsRequest(account=ACCOUNT)
    _code, info = refused(lambda: counts.CountContacts(nothing))
    assert (info.reason, info.metadata["path"]) == ("UNFINISHED_EXPRESSION", "expression")


def test_a_batch_answers_each_query_by_itself(counts: Any) -> None:
    request = counts_pb2.BatchCountContactsRequest(account=ACCOUNT, allow_unfinished=True)
    request.queries.add(text='country = "PL"')
    request.queries.add(text='contry = "PL"')
    request.queries.add(expression=pb.Expression(at_least=pb.AtLeast(count=0)))
    request.queries.add(expression=pb.Expression(negation=pb.Expression()))
    request.queries.add(text="x" * (convert.MAX_TEXT_BYTES + 1))
    response = counts.BatchCountContacts(request)
    assert [o.WhichOneof("outcome") for o in response.outcomes] == ["result", "error", "error", "result", "error"]
    assert [o.result.count for o in response.outcomes] == [2, 0, 0, 4, 0]
    assert [o.error.reason for o in response.outcomes] == [
        "",
        "UNKNOWN_FIELD",
        "INVALID_EXPRESSION",
        "",
        "EXPRESSION_TOO_LARGE",
    ]
    assert response.outcomes[2].error.path == "expression.at_least"
    assert list(response.skipped_nodes) == ["queries[3].expression.negation"]
    assert response.generation == 1
    del request.queries[:]
    assert not counts.BatchCountContacts(request).HasField("evaluated_at")


def test_limits(counts: Any, channel: grpc.Channel) -> None:
    contacts, schemas = contacts_pb2_grpc.ContactServiceStub(channel), schema_pb2_grpc.SchemaServiceStub(channel)
    assert refused(lambda: counts.CountContacts(count("x" * (convert.MAX_TEXT_BYTES + 1))))[1].reason == (
        "EXPRESSION_TOO_LARGE"
    )
    many = counts_pb2.BatchCountContactsRequest(
        account=ACCOUNT, queries=[counts_pb2.CountQuery(text="everyone")] * (convert.MAX_QUERIES + 1)
    )
    assert refused(lambda: counts.BatchCountContacts(many))[1].reason == "INVALID_ARGUMENT"
    rows = contacts_pb2.UpsertContactsRequest(
        account=ACCOUNT, contacts=[contacts_pb2.ContactRow(contact_id="a")] * (convert.MAX_ROWS + 1)
    )
    assert refused(lambda: contacts.UpsertContacts(rows))[1].reason == "INVALID_ARGUMENT"
    preview = contacts_pb2.PreviewContactsRequest(account=ACCOUNT, text="everyone", limit=convert.MAX_LIMIT + 1)
    assert refused(lambda: contacts.PreviewContacts(preview))[1].reason == "INVALID_ARGUMENT"
    suggest = schema_pb2.SuggestValuesRequest(account=ACCOUNT, field="country")
    assert len(schemas.SuggestValues(suggest).suggestions) == convert.DEFAULT_SUGGESTIONS


def deep(levels: int) -> counts_pb2.CountContactsRequest:
    request = counts_pb2.CountContactsRequest(account=ACCOUNT)
    node = request.expression
    for _ in range(levels - 1):
        node = node.conjunction.operands.add()
    node.everyone.SetInParent()
    return request


def test_depth(counts: Any, channel: grpc.Channel) -> None:
    assert counts.CountContacts(deep(64)).count == 4
    code, info = refused(lambda: counts.CountContacts(deep(65)))
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "EXPRESSION_TOO_DEEP")
    assert info.metadata["path"] == "expression" + ".conjunction.operands[0]" * 64
    assert refused(lambda: counts.CountContacts(deep(3000)))[1].reason == "EXPRESSION_TOO_DEEP"
    # Deeper than any serializer goes: bytes by hand.
    raw = channel.unary_unary("/segidx.v1.CountService/CountContacts")
    body = b""
    for _ in range(100_000):
        body = b"\x1a" + varint(len(body)) + body
    code, info = refused(lambda: raw(b"\x12" + varint(len(body)) + body))
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "EXPRESSION_TOO_DEEP")
    assert refused(lambda: raw(b"\xff\xff\xff"))[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert refused(lambda: raw(b"\x0b" * 100_000))[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert counts.CountContacts(count()).count == 4


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def test_hostile_bytes_to_health_do_not_end_the_server(counts: Any, channel: grpc.Channel) -> None:
    raw = channel.unary_unary("/grpc.health.v1.Health/Check")
    with pytest.raises(grpc.RpcError):
        raw(b"\x1b" * 100_000)
    assert counts.CountContacts(count()).count == 4


def test_a_message_beyond_the_limit_is_refused(database: Any, counts: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        counts.CountContacts(count("x" * (17 * 1024 * 1024)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_an_unexpected_error_keeps_its_secret(counts: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "segidx.service.status"), pytest.raises(grpc.RpcError) as caught:
        counts.CountContacts(count("bug"))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught.value)
    assert "the secret of contact 7" in caplog.text


def test_a_deadline_stops_the_evaluation(database: Any, counts: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        counts.CountContacts(count("slow"), timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert database.stopped.wait(WAIT)


@pytest.mark.parametrize("method", ["CountContacts", "ExplainExpression", "BatchCountContacts", "PreviewContacts"])
def test_cancelling_stops_the_evaluation(database: Any, channel: grpc.Channel, method: str) -> None:
    counts, contacts = counts_pb2_grpc.CountServiceStub(channel), contacts_pb2_grpc.ContactServiceStub(channel)
    batch = counts_pb2.BatchCountContactsRequest(account=ACCOUNT, queries=[counts_pb2.CountQuery(text="slow")])
    call = {
        "CountContacts": lambda: counts.CountContacts.future(count("slow")),
        "ExplainExpression": lambda: counts.ExplainExpression.future(
            counts_pb2.ExplainExpressionRequest(account=ACCOUNT, text="slow")
        ),
        "BatchCountContacts": lambda: counts.BatchCountContacts.future(batch),
        "PreviewContacts": lambda: contacts.PreviewContacts.future(
            contacts_pb2.PreviewContactsRequest(account=ACCOUNT, text="slow")
        ),
    }[method]()
    assert database.slow.wait(WAIT)
    call.cancel()
    assert database.stopped.wait(WAIT)


def test_calls_that_waited_too_long_are_not_begun(database: Any, counts: Any) -> None:
    holders = [counts.CountContacts.future(count("slow"), timeout=WAIT) for _ in range(4)]
    while database.queries.count("slow") < 4:
        threading.Event().wait(0.005)
    with pytest.raises(grpc.RpcError):
        counts.CountContacts(count('country = "PL"'), timeout=0.1)
    database.hurry.set()
    assert [h.result().count for h in holders] == [4] * 4
    assert counts.CountContacts(count("nobody"), timeout=WAIT).count == 0
    assert 'country = "PL"' not in database.queries


def test_rows_keep_types_and_report_rejects(database: Any, contacts: Any) -> None:
    request = contacts_pb2.UpsertContactsRequest(account=ACCOUNT)
    request.contacts.add(contact_id="x", fields={"income": contacts_pb2.FieldValue(decimal_value="12.50")})
    request.contacts.add(contact_id="y", fields={"income": contacts_pb2.FieldValue(decimal_value="much")})
    request.contacts.add(contact_id="z", fields={"incme": contacts_pb2.FieldValue(decimal_value="1")})
    request.contacts.add(contact_id="a", fields={"country": contacts_pb2.FieldValue(null_value=0)})
    response = contacts.UpsertContacts(request)
    assert (response.accepted, response.created) == (2, 1)
    assert [(r.index, r.contact_id, r.field, r.reason) for r in response.rejects] == [
        (1, "y", "income", "INVALID_VALUE"),
        (2, "z", "incme", "UNKNOWN_FIELD"),
    ]
    assert "country" not in database.account("default").contacts["a"]


def batch(first: int, size: int, account: str = "", bad: bool = False) -> contacts_pb2.StreamUpsertContactsRequest:
    request = contacts_pb2.StreamUpsertContactsRequest(account=account)
    for i in range(first, first + size):
        value = contacts_pb2.FieldValue(decimal_value="bad" if bad else "1")
        request.contacts.add(contact_id=f"s{i}", fields={"income": value})
    return request


def test_a_stream_adds_up_its_batches(contacts: Any) -> None:
    stream = [batch(0, 3, ACCOUNT), batch(3, 1500, bad=True), batch(1503, 2, ACCOUNT)]
    response = contacts.StreamUpsertContacts(iter(stream))
    assert (response.batches, response.accepted, response.created) == (3, 5, 5)
    assert (response.reject_count, len(response.rejects)) == (1500, 1000)
    assert [r.index for r in response.rejects] == list(range(3, 1003))
    assert response.generation == 4
    assert contacts.StreamUpsertContacts(iter(())).batches == 0


def test_a_stream_that_fails_says_how_far_it_came(database: Any, contacts: Any) -> None:
    _code, info = refused(
        lambda: contacts.StreamUpsertContacts(iter([batch(0, 3, ACCOUNT), batch(3, 1, "accounts/other")]))
    )
    assert (info.reason, info.metadata["committed_batches"], info.metadata["accepted"]) == (
        "INVALID_ARGUMENT",
        "1",
        "3",
    )
    assert "s2" in database.account("default").contacts
    malformed = contacts_pb2.StreamUpsertContactsRequest(account=ACCOUNT)
    _code, info = refused(lambda: contacts.StreamUpsertContacts(iter([malformed, batch(0, convert.MAX_ROWS + 1)])))
    assert info.metadata["committed_batches"] == "1"


def test_streams_leave_threads_for_counts(counts: Any, contacts: Any) -> None:
    opened = [threading.Event(), threading.Event()]
    finish = threading.Event()

    def feed(event: threading.Event) -> Any:
        yield batch(0, 1, ACCOUNT)
        event.set()
        finish.wait(WAIT)

    streams = [contacts.StreamUpsertContacts.future(feed(event)) for event in opened]
    assert all(event.wait(WAIT) for event in opened)
    # The server has 4 threads and so takes 2 streams; a third may come before they are counted.
    while True:
        third = contacts.StreamUpsertContacts.future(iter([batch(0, 1, ACCOUNT)]))
        if third.exception() is not None:
            break
    assert third.code() is grpc.StatusCode.UNAVAILABLE
    assert counts.CountContacts(count(), timeout=WAIT).count >= 4
    finish.set()
    assert [s.result().batches for s in streams] == [1, 1]


def test_tags(database: Any, contacts: Any) -> None:
    held = database.account("default").contacts
    response = contacts.TagContacts(
        contacts_pb2.TagContactsRequest(account=ACCOUNT, contact_ids=["a", "zz"], add=["x", "y"])
    )
    assert (response.accepted, [r.index for r in response.rejects]) == (1, [1])
    assert held["a"]["tags"] == {"x", "y"}
    contacts.TagContacts(
        contacts_pb2.TagContactsRequest(account=ACCOUNT, contact_ids=["a"], replace=contacts_pb2.TagList())
    )
    assert held["a"]["tags"] == frozenset()
    both = contacts_pb2.TagContactsRequest(account=ACCOUNT, replace=contacts_pb2.TagList(), add=["a"])
    assert refused(lambda: contacts.TagContacts(both))[1].reason == "INVALID_ARGUMENT"


def test_pages_of_accounts(channel: grpc.Channel) -> None:
    stub = accounts_pb2_grpc.AccountServiceStub(channel)
    for i in (3, 1, 2):
        created = stub.CreateAccount(
            accounts_pb2.CreateAccountRequest(account=accounts_pb2.Account(name=f"accounts/e{i}"))
        )
        assert (created.account.zone, created.account.currency, created.account.money_scale) == ("UTC", "USD", 2)
    found, token = [], ""
    while True:
        page = stub.ListAccounts(accounts_pb2.ListAccountsRequest(page_size=2, page_token=token))
        found.append([a.name for a in page.accounts])
        token = page.next_page_token
        if not token:
            break
    assert found == [["accounts/default", "accounts/e1"], ["accounts/e2", "accounts/e3"]]
    for bad in ({"page_size": -1}, {"page_token": "garbage!"}, {"page_token": "Z2FyYmFnZQ"}):
        assert refused(lambda bad=bad: stub.ListAccounts(accounts_pb2.ListAccountsRequest(**bad)))[1].reason == (
            "INVALID_ARGUMENT"
        )
    again = accounts_pb2.CreateAccountRequest(account=accounts_pb2.Account(name="accounts/e1"))
    assert refused(lambda: stub.CreateAccount(again))[0] is grpc.StatusCode.ALREADY_EXISTS


def test_schema_conflicts_and_missing_types(channel: grpc.Channel) -> None:
    stub = schema_pb2_grpc.SchemaServiceStub(channel)

    def update(**field: Any) -> schema_pb2.UpdateSchemaResponse:
        schema = schema_pb2.Schema(fields=[schema_pb2.Field(**field)])
        return stub.UpdateSchema(schema_pb2.UpdateSchemaRequest(account=ACCOUNT, schema=schema))

    updated = update(name="spend", type=schema_pb2.FIELD_TYPE_NUMBER, scale=2).schema
    assert updated == stub.GetSchema(schema_pb2.GetSchemaRequest(account=ACCOUNT)).schema
    assert updated.fields[-1].name == "spend"
    conflict = refused(lambda: update(name="country", type=schema_pb2.FIELD_TYPE_DATE))
    assert (conflict[0], conflict[1].reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SCHEMA_CONFLICT")
    assert refused(lambda: update(name="untyped"))[1].reason == "INVALID_SCHEMA"
    tracked = update(name="stage", type=schema_pb2.FIELD_TYPE_CATEGORY, tracked=True).schema
    assert tracked.fields[-1].tracked
    assert update(name="stage", type=schema_pb2.FIELD_TYPE_CATEGORY).schema == tracked
    number = refused(lambda: update(name="income", type=schema_pb2.FIELD_TYPE_NUMBER, tracked=True))
    assert (number[0], number[1].reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_SCHEMA")


def test_health_and_reflection(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for name in ("", "segidx.v1.CountService"):
        response = stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert response.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
    (listed,) = reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    names = {s.name for s in listed.list_services_response.service}
    assert set(convert.service_names()) < names
    assert len(convert.service_names()) == 6


def test_every_method_is_served(channel: grpc.Channel) -> None:
    """An empty request names no account, which every method but the list refuses by itself."""
    for path in convert.request_classes():
        if path.endswith("/ListAccounts"):
            continue
        if path.endswith("/StreamUpsertContacts"):
            code, info = refused(lambda path=path: channel.stream_unary(path)(iter([b""])))
        elif path.endswith("/StreamWrites"):
            code, info = refused(lambda path=path: list(channel.stream_stream(path)(iter([b""]))))
        elif path.endswith("/StreamChanges"):
            code, info = refused(lambda path=path: list(channel.unary_stream(path)(b"")))
        else:
            code, info = refused(lambda path=path: channel.unary_unary(path)(b""))
        assert (path, code, info.reason) == (path, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
