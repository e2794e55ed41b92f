"""Events with a real grpc client: in batches and streams beside rows, their limits, and the types and groups of
events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from segidx.model.events import BUILT_IN
from segidx.service import convert_ingest
from segidx.v1 import events_pb2, expressions_pb2, ingest_pb2, ingest_pb2_grpc, schema_pb2, schema_pb2_grpc

ACCOUNT = "accounts/default"
WAIT = 60
TIME = Timestamp(seconds=1_767_000_000)  # a few days before the fake database's clock


@pytest.fixture
def ingest(channel: grpc.Channel) -> Any:
    return ingest_pb2_grpc.IngestServiceStub(channel)


@pytest.fixture
def schemas(channel: grpc.Channel) -> Any:
    return schema_pb2_grpc.SchemaServiceStub(channel)


def refused(call: Callable[[], Any]) -> tuple[grpc.StatusCode, ErrorInfo, str]:
    """The code, ErrorInfo and message of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    status = rpc_status.from_call(caught.value)
    assert status is not None
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    return caught.value.code(), info, caught.value.details()


def visit(event_id: str, contact_id: str = "a", *, type: str = "visit", **more: Any) -> events_pb2.EventWrite:
    event = events_pb2.Event(**{"type": type, "event_id": event_id, "contact_id": contact_id, "time": TIME, **more})
    return events_pb2.EventWrite(event=event)


def order(order_id: str, contact_id: str = "a", lines: int = 1, **more: Any) -> events_pb2.EventWrite:
    held = events_pb2.Order(**{"order_id": order_id, "contact_id": contact_id, "time": TIME, **more})
    held.lines.extend([events_pb2.OrderLine(product="P", unit_price="1.50")] * lines)
    return events_pb2.EventWrite(order=held)


def retraction(type: str, event_id: str, revision: int | None = None) -> events_pb2.EventWrite:
    return events_pb2.EventWrite(retraction=events_pb2.Retraction(type=type, event_id=event_id, revision=revision))


def batch(*events: events_pb2.EventWrite, **more: Any) -> ingest_pb2.WriteBatchRequest:
    return ingest_pb2.WriteBatchRequest(account=ACCOUNT, events=events, **more)


# --- batches -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [True, False])
def test_a_batch_of_rows_and_events(database: Any, ingest: Any, plain: bool) -> None:
    request = batch(
        visit("v1", "new"),
        visit("v2", revision=3),
        events_pb2.EventWrite(),
        order("o1", "x", 2, currency="PLN"),
        order("o2", currency="EUR"),
        visit("v1", "a"),
        visit("v3", properties={"sauce": events_pb2.EventValue(string_value="email")}),
        visit("v4", time=None),
        retraction("message", "m1"),
        retraction("line", "o1"),
        visit("d1", type="download"),
    )
    request.rows.add(contact_id="x", tags=[{"add": ["vip"]}])
    request.rows.add(contact_id="a" if plain else "")
    response = ingest.WriteBatch(request, timeout=WAIT)
    assert (response.generation, response.accepted, response.duplicates) == (2, 1 + plain, 0)
    # `v1` comes twice.
    assert (response.events_accepted, response.events_duplicates) == (4, 1)
    assert [(r.index, r.contact_id, r.field, r.reason) for r in response.event_rejects] == [
        (2, "", "", "INVALID_VALUE"),
        (4, "a", "currency", "INVALID_VALUE"),
        (6, "a", "sauce", "UNKNOWN_PROPERTY"),
        (7, "a", "time", "INVALID_VALUE"),
        (9, "", "type", "INVALID_VALUE"),
        (10, "a", "type", "UNKNOWN_EVENT_TYPE"),
    ]
    assert all(r.message.startswith(f"row {r.index}: ") for r in response.event_rejects)
    assert "a line is written with its order" in response.event_rejects[4].message
    assert [(r.index, r.reason) for r in response.rejects] == ([] if plain else [(1, "INVALID_CONTACT_ID")])
    assert database.account("default").events == {
        ("visit", "v1"): (0, "a"),
        ("visit", "v2"): (3, "a"),
        ("order", "o1"): (0, "x"),
        ("message", "m1"): (0, None),
    }


def test_events_alone(database: Any, ingest: Any) -> None:
    response = ingest.WriteBatch(batch(visit("v1", "new"), retraction("visit", "v2", 7)), timeout=WAIT)
    assert (response.accepted, response.created, response.events_accepted) == (0, 1, 2)
    response = ingest.WriteBatch(batch(visit("v2", revision=7), visit("v1", revision=1)), timeout=WAIT)
    assert (response.events_accepted, response.events_duplicates) == (1, 1)
    assert database.account("default").events == {("visit", "v1"): (1, "a"), ("visit", "v2"): (7, None)}


def test_a_batch_key_gives_the_first_answer_of_events_too(ingest: Any) -> None:
    request = batch(visit("v1"), events_pb2.EventWrite(), batch_key="k")
    first = ingest.WriteBatch(request)
    again = ingest.WriteBatch(request)
    assert (first.replayed, again.replayed) == (False, True)
    again.replayed = False
    assert again == first
    assert (first.events_accepted, len(first.event_rejects)) == (1, 1)


def test_a_stream_of_rows_and_events(database: Any, ingest: Any) -> None:
    requests = [
        ingest_pb2.StreamWritesRequest(account=ACCOUNT, sequence=1, events=[visit("v1", "new")]),
        ingest_pb2.StreamWritesRequest(
            sequence=2, rows=[ingest_pb2.ContactWrite(contact_id="row")], events=[order("o1"), visit("")]
        ),
        ingest_pb2.StreamWritesRequest(sequence=3, events=[retraction("visit", "v1"), retraction("order", "o1")]),
    ]
    found = list(ingest.StreamWrites(iter(requests), timeout=WAIT))
    assert [(r.sequence, r.accepted, r.created, r.events_accepted) for r in found] == [
        (1, 0, 1, 1),
        (2, 1, 1, 1),
        (3, 0, 0, 2),
    ]
    assert [(r.index, r.field) for r in found[1].event_rejects] == [(1, "event_id")]
    assert {key: contact for key, (_, contact) in database.account("default").events.items()} == {
        ("visit", "v1"): None,
        ("order", "o1"): None,
    }


# --- limits ------------------------------------------------------------------------------------------------


def test_limits_of_events(database: Any, ingest: Any) -> None:
    most, most_lines = convert_ingest.MAX_EVENTS, convert_ingest.MAX_BATCH_LINES
    assert (most, most_lines) == (10_000, 50_000)
    for request, limit, what in (
        (batch(*[visit("v")] * (most + 1)), most, f"{most + 1} events are more than {most} in one batch"),
        (batch(*[order("o", lines=5000)] * 10, order("o")), most_lines, f"{most_lines + 1} lines of orders"),
    ):
        code, info, message = refused(lambda request=request: ingest.WriteBatch(request))  # type: ignore[misc]
        assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
        assert (info.metadata["argument"], info.metadata["limit"]) == ("events", str(limit))
        assert what in message
    assert not database.account("default").events
    assert ingest.WriteBatch(batch(*[visit("v")] * most)).events_duplicates == most - 1
    assert ingest.WriteBatch(batch(*[order("o", lines=5000)] * 10)).events_duplicates == 9
    (reject,) = ingest.WriteBatch(batch(order("o", lines=5001))).event_rejects
    assert (reject.field, reject.reason) == ("lines", "INVALID_VALUE")


def test_too_many_events_end_a_stream_after_the_batches_before(ingest: Any) -> None:
    def request(sequence: int, events: int) -> ingest_pb2.StreamWritesRequest:
        return ingest_pb2.StreamWritesRequest(account=ACCOUNT, sequence=sequence, events=[visit("v")] * events)

    call = ingest.StreamWrites(iter([request(1, 1), request(2, convert_ingest.MAX_EVENTS + 1)]), timeout=WAIT)
    assert next(call).sequence == 1
    code, info, _ = refused(lambda: next(call))
    assert (code, info.metadata["argument"]) == (grpc.StatusCode.INVALID_ARGUMENT, "events")
    assert (info.metadata["committed_batches"], info.metadata["last_sequence"]) == ("1", "1")


# --- types -------------------------------------------------------------------------------------------------


def declaration(*types: dict[str, Any], account: str = ACCOUNT) -> schema_pb2.DeclareEventTypesRequest:
    return schema_pb2.DeclareEventTypesRequest(account=account, event_types=[schema_pb2.EventType(**t) for t in types])


DOWNLOAD = {
    "name": "download",
    "properties": [
        {"name": "file", "type": "FIELD_TYPE_CATEGORY"},
        {"name": "price", "type": "FIELD_TYPE_NUMBER"},
        {"name": "size", "type": "FIELD_TYPE_NUMBER", "scale": 0},
        {"name": "published", "type": "FIELD_TYPE_TIMESTAMP"},
        {"name": "whole", "type": "FIELD_TYPE_BOOL"},
    ],
}


def test_types_are_declared_and_listed(ingest: Any, schemas: Any) -> None:
    before = schemas.ListEventTypes(schema_pb2.ListEventTypesRequest(account=ACCOUNT)).event_types
    assert [(t.name, t.built_in) for t in before] == [(b.name, True) for b in BUILT_IN]
    declared = schemas.DeclareEventTypes(declaration(DOWNLOAD, {"name": "call"})).event_types
    assert [(t.name, t.built_in) for t in declared[len(BUILT_IN) :]] == [("download", False), ("call", False)]
    expected = schema_pb2.EventType(**DOWNLOAD)
    assert declared[len(BUILT_IN)] == expected
    assert not declared[len(BUILT_IN)].properties[1].HasField("scale")
    again = schemas.DeclareEventTypes(declaration(DOWNLOAD)).event_types
    listed = schemas.ListEventTypes(schema_pb2.ListEventTypesRequest(account=ACCOUNT)).event_types
    assert list(declared) == list(again) == list(listed)
    response = ingest.WriteBatch(
        batch(visit("d1", type="download", properties={"price": events_pb2.EventValue(decimal_value="1.50")}))
    )
    assert (response.events_accepted, len(response.event_rejects)) == (1, 0)


@pytest.mark.parametrize(
    ("wrong", "code", "reason", "says"),
    [
        ({"name": "Download"}, "INVALID_ARGUMENT", "INVALID_SCHEMA", "must be 1 to 64 of a-z"),
        ({"name": ""}, "INVALID_ARGUMENT", "INVALID_SCHEMA", "must be 1 to 64 of a-z"),
        ({"name": "during"}, "INVALID_ARGUMENT", "INVALID_SCHEMA", "no word of the text syntax"),
        ({"name": "x", "properties": [{"name": "p"}]}, "INVALID_ARGUMENT", "INVALID_SCHEMA", "has no type"),
        ({"name": "x", "properties": [{"name": "p", "type": 1}]}, "INVALID_ARGUMENT", "INVALID_SCHEMA", "is a tags"),
        (
            {"name": "x", "properties": [{"name": "p", "type": 3, "scale": 10}]},
            "INVALID_ARGUMENT",
            "INVALID_SCHEMA",
            "scale",
        ),
        (
            {"name": "x", "properties": [{"name": f"p{i}", "type": 2} for i in range(28)]},
            "INVALID_ARGUMENT",
            "INVALID_SCHEMA",
            "27 are the most",
        ),
        ({"name": "visit"}, "FAILED_PRECONDITION", "SCHEMA_CONFLICT", "has other properties already"),
    ],
)
def test_types_that_cannot_be_declared(schemas: Any, wrong: dict[str, Any], code: str, reason: str, says: str) -> None:
    found, info, message = refused(lambda: schemas.DeclareEventTypes(declaration({"name": "fine"}, wrong)))
    assert (found, info.reason) == (grpc.StatusCode[code], reason)
    assert says in message
    listed = schemas.ListEventTypes(schema_pb2.ListEventTypesRequest(account=ACCOUNT)).event_types
    assert [t.name for t in listed] == [b.name for b in BUILT_IN]


def test_an_account_declares_so_many_types(schemas: Any) -> None:
    schemas.DeclareEventTypes(declaration(*({"name": f"t{i}"} for i in range(200))))
    _, info, message = refused(lambda: schemas.DeclareEventTypes(declaration({"name": "one_more"})))
    assert (info.reason, "at most 200 event types" in message) == ("INVALID_SCHEMA", True)


@pytest.mark.parametrize("account", ["", "default", "accounts/nobody"])
def test_types_are_of_an_account(schemas: Any, account: str) -> None:
    for call in (
        lambda: schemas.ListEventTypes(schema_pb2.ListEventTypesRequest(account=account)),
        lambda: schemas.DeclareEventTypes(declaration({"name": "x"}, account=account)),
    ):
        code, _, _ = refused(call)
        assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)


# --- groups ------------------------------------------------------------------------------------------------


def setting(name: str, *members: Any, account: str = ACCOUNT) -> schema_pb2.SetEventGroupRequest:
    return schema_pb2.SetEventGroupRequest(
        account=account, event_group=schema_pb2.EventGroup(name=name, members=members)
    )


CLICKED = {
    "type": "message",
    "where": {
        "comparison": {
            "left": {"field": "kind"},
            "operator": "COMPARISON_OPERATOR_EQUAL",
            "right": {"constant": {"string_value": "clicked"}},
        }
    },
}
LISTING = schema_pb2.ListEventTypesRequest(account=ACCOUNT)


def test_groups_are_set_and_listed(schemas: Any) -> None:
    before = schemas.ListEventTypes(LISTING).event_groups
    assert [(g.name, [m.type for m in g.members]) for g in before] == [
        ("interaction", ["visit", "order", "cart", "message"]),
        ("touch", ["message", "activity"]),
    ]
    assert before[0].members[3] == expressions_pb2.Events(**CLICKED)
    schemas.DeclareEventTypes(declaration(DOWNLOAD))
    request = setting("interaction", CLICKED, {"type": "download"})
    assert schemas.SetEventGroup(request).event_group == request.event_group
    assert list(schemas.ListEventTypes(LISTING).event_groups) == [request.event_group, before[1]]
    assert schemas.SetEventGroup(request).event_group == request.event_group


def deep(levels: int) -> dict[str, Any]:
    node: dict[str, Any] = CLICKED["where"]  # type: ignore[assignment]
    for _ in range(levels - 1):
        node = {"negation": node}
    return node


@pytest.mark.parametrize(
    ("name", "members", "reason", "says"),
    [
        ("", [{"type": "visit"}], "INVALID_ARGUMENT", "there is no event group ''"),
        ("visit", [{"type": "visit"}], "INVALID_ARGUMENT", "the groups are interaction and touch"),
        ("Touch", [{"type": "visit"}], "INVALID_ARGUMENT", "there is no event group 'Touch'"),
        ("touch", [], "INVALID_ARGUMENT", "has 1 to 64 members, not 0"),
        ("touch", [{"type": "visit"}] * 65, "INVALID_ARGUMENT", "has 1 to 64 members, not 65"),
        ("touch", [{"type": "order"}, {}], "INVALID_ARGUMENT", "members[1] has no type"),
        ("touch", [{"type": "visit", "window": {}}], "INVALID_ARGUMENT", "a window that is unfinished"),
        (
            "touch",
            [{"type": "visit", "window": {"rolling": {"direction": 1, "count": 3, "unit": 4}}}],
            "INVALID_ARGUMENT",
            "windows stand where the group is asked for",
        ),
        ("touch", [{"type": "interaction"}], "INVALID_ARGUMENT", "'interaction' is a group; name its types"),
        ("touch", [{"type": "touch"}], "INVALID_ARGUMENT", "'touch' is a group; name its types"),
        ("touch", [{"type": "visits"}], "UNKNOWN_EVENT_TYPE", "did you mean 'visit'"),
        ("touch", [{"type": "A visit"}], "INVALID_EXPRESSION", "is no name of an event type"),
        ("touch", [{"type": "visit", "where": {}}], "UNFINISHED_EXPRESSION", "unfinished"),
        ("touch", [{"type": "visit", "where": {"is_set": {}}}], "UNFINISHED_EXPRESSION", "unfinished"),
        ("touch", [{"type": "visit", "where": {"conjunction": {}}}], "EMPTY_OPERANDS", "says nothing"),
        ("touch", [{"type": "visit", "where": {"everyone": {}}}], "INVALID_EXPRESSION", "event's own properties"),
        ("touch", [{"type": "message", "where": deep(64)}], "EXPRESSION_TOO_DEEP", "deeper than 64"),
    ],
)
def test_groups_that_cannot_be_set(schemas: Any, name: str, members: list[Any], reason: str, says: str) -> None:
    before = schemas.ListEventTypes(LISTING)
    code, info, message = refused(lambda: schemas.SetEventGroup(setting(name, *members)))
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert says in message
    assert schemas.ListEventTypes(LISTING) == before


@pytest.mark.parametrize("account", ["", "default", "accounts/nobody"])
def test_groups_are_of_an_account(schemas: Any, account: str) -> None:
    code, _, _ = refused(lambda: schemas.SetEventGroup(setting("touch", {"type": "visit"}, account=account)))
    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)


def test_an_absent_group_is_refused(schemas: Any) -> None:
    code, info, _ = refused(lambda: schemas.SetEventGroup(schema_pb2.SetEventGroupRequest(account=ACCOUNT)))
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


def test_source_settings(schemas: Any) -> None:
    asked = schema_pb2.GetSourceSettingsRequest(account=ACCOUNT)
    assert schemas.GetSourceSettings(asked).source_settings == schema_pb2.SourceSettings(order_minutes=30)
    settings = schema_pb2.SourceSettings(order_minutes=0, own_hosts=["shop.example"])
    request = schema_pb2.SetSourceSettingsRequest(account=ACCOUNT, source_settings=settings)
    assert schemas.SetSourceSettings(request).source_settings == settings
    assert schemas.GetSourceSettings(asked).source_settings == settings
    for wrong in ({"order_minutes": -1}, {"order_minutes": 10_081}, {"own_hosts": ["x/y"]}):
        request = schema_pb2.SetSourceSettingsRequest(account=ACCOUNT, source_settings=wrong)
        code, info, _ = refused(lambda request=request: schemas.SetSourceSettings(request))
        assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
        assert info.metadata["setting"] == next(iter(wrong))
    assert schemas.GetSourceSettings(asked).source_settings == settings
    # All of it is said anew: what is left out is as it is by default.
    schemas.SetSourceSettings(schema_pb2.SetSourceSettingsRequest(account=ACCOUNT))
    assert schemas.GetSourceSettings(asked).source_settings == schema_pb2.SourceSettings(order_minutes=30)
