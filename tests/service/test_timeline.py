"""ListContactEvents, over a real database: what callers of any language meet."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from segidx.client import RemoteAccount, connect
from segidx.database import Account, Database
from segidx.model.errors import SegidxError
from segidx.model.events import Event, Order, OrderLine
from segidx.model.schema import Field, FieldType
from segidx.model.windows import to_millis
from segidx.service.server import start
from segidx.v1 import contacts_pb2, contacts_pb2_grpc

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
WAIT = 60


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Account, RemoteAccount]]:
    place: Path = tmp_path_factory.mktemp("timeline")
    with Database.open(place / "d", create=True, clock=lambda: to_millis(NOW)) as database:
        account = database.account()
        account.update_schema([Field("stage", FieldType.CATEGORY, tracked=True)])
        account.upsert([("anna", {"stage": "lead"}), ("zoe", {})])
        line = OrderLine("tea", None, "drinks", Decimal("1.25"), Decimal(2))
        account.write_events(
            [
                *(Event("visit", f"v{i}", "anna", NOW - timedelta(hours=i), {"dwell": i}) for i in range(7)),
                Order("o1", "anna", NOW - timedelta(days=3), paid=False, lines=[line, OrderLine()], revision=2**60),
                Event("activity", "a1", "anna", NOW - timedelta(days=4), {"kind": "", "due": NOW}),
            ]
        )
        with start(database, port=0) as server, connect(server.address, timeout=WAIT) as client:
            yield account, client.account("default")


@pytest.fixture
def stub(both: tuple[Account, RemoteAccount]) -> Iterator[Any]:
    with grpc.insecure_channel(both[1]._client.address) as channel:
        yield contacts_pb2_grpc.ContactServiceStub(channel)


def asked(**fields: Any) -> contacts_pb2.ListContactEventsRequest:
    return contacts_pb2.ListContactEventsRequest(account="accounts/default", **{"contact_id": "anna", **fields})


def test_a_page_on_the_wire(stub: Any) -> None:
    page = stub.ListContactEvents(asked(event_types=["order", "change", "activity"]), timeout=WAIT)
    change, order, activity = page.events
    assert (change.type, change.event_id, change.HasField("revision")) == ("change", "", False)
    assert {name: value.string_value for name, value in change.properties.items()} == {
        "field": "stage",
        "value": "lead",
    }
    assert (order.type, order.event_id, order.revision) == ("order", "o1", 2**60)
    assert order.time.ToJsonString() == "2026-06-28T12:00:00Z"
    assert order.properties["paid"].WhichOneof("kind") == "bool_value"
    assert Decimal(order.properties["amount"].decimal_value) == Decimal("2.5")
    first, second = order.lines
    assert (first.product, first.HasField("producer"), first.category) == ("tea", False, "drinks")
    assert (Decimal(first.quantity), Decimal(first.unit_price), Decimal(first.amount)) == (
        Decimal("1.25"),
        2,
        Decimal("2.5"),
    )
    assert (second.HasField("product"), Decimal(second.quantity), second.HasField("amount")) == (False, 1, False)
    assert activity.properties["kind"].WhichOneof("kind") == "string_value"
    assert activity.properties["due"].timestamp_value.ToJsonString() == "2026-07-01T12:00:00Z"
    assert page.generation == 2
    assert page.evaluated_at.ToJsonString() == "2026-07-01T12:00:00.001Z"
    assert page.next_page_token == ""


def test_pages_on_the_wire(stub: Any) -> None:
    found, token = [], ""
    while True:
        page = stub.ListContactEvents(asked(event_types=["visit"], page_size=3, page_token=token), timeout=WAIT)
        found.append([event.event_id for event in page.events])
        token = page.next_page_token
        if not token:
            break
    assert found == [["v0", "v1", "v2"], ["v3", "v4", "v5"], ["v6"]]


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({"contact_id": "nobody"}, grpc.StatusCode.NOT_FOUND, "CONTACT_NOT_FOUND"),
        ({"contact_id": ""}, grpc.StatusCode.NOT_FOUND, "CONTACT_NOT_FOUND"),
        ({"event_types": ["visits"]}, grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_EVENT_TYPE"),
        ({"event_types": ["line"]}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        ({"page_size": -1}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        ({"page_token": "garbage!"}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        ({"start_time": {"nanos": 1}}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_VALUE"),
        ({"end_time": {"seconds": 1 << 50}}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_VALUE"),
        (
            {"start_time": {"seconds": 2}, "end_time": {"seconds": 1}},
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_ARGUMENT",
        ),
    ],
)
def test_what_is_refused(stub: Any, fields: dict[str, Any], code: grpc.StatusCode, reason: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ListContactEvents(asked(**fields), timeout=WAIT)
    info = ErrorInfo()
    assert rpc_status.from_call(caught.value).details[0].Unpack(info)
    assert (caught.value.code(), info.reason) == (code, reason)


def test_a_token_with_another_question(stub: Any) -> None:
    token = stub.ListContactEvents(asked(page_size=2), timeout=WAIT).next_page_token
    assert stub.ListContactEvents(asked(page_token=token, min_generation=1), timeout=WAIT).events[0].event_id == "v1"
    for other in ({"contact_id": "zoe"}, {"oldest_first": True}, {"event_types": ["visit"]}):
        with pytest.raises(grpc.RpcError) as caught:
            stub.ListContactEvents(asked(page_token=token, **other), timeout=WAIT)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


QUESTIONS: list[dict[str, Any]] = [
    {},
    {"page_size": 2},
    {"page_size": 1 << 40},
    {"oldest_first": True, "page_size": 4},
    {"types": ["order", "visit"]},
    {"start_time": NOW - timedelta(hours=4), "end_time": NOW - timedelta(hours=1)},
    {"start_time": datetime(1970, 1, 1, tzinfo=UTC)},
    {"types": ["nothing"]},
    {"types": ["line"]},
    {"page_size": -3},
    {"page_token": "x"},
    {"start_time": datetime(2026, 1, 1)},
    {"end_time": NOW.replace(microsecond=7)},
    {"start_time": NOW.date()},
]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("contact_id", ["anna", "zoe", "nobody"])
def test_the_client_answers_as_the_database(
    both: tuple[Account, RemoteAccount], contact_id: str, question: dict[str, Any]
) -> None:
    def answer(account: Any) -> Any:
        try:
            page = account.contact_events(contact_id, **question)
        except SegidxError as error:
            return type(error), error.reason, error.message
        return page.events, page.next_page_token, page.evaluation.generation, page.evaluation.evaluated_at

    local, remote = both
    assert answer(remote) == answer(local)


def test_a_read_of_what_was_just_written(both: tuple[Account, RemoteAccount]) -> None:
    _, remote = both
    written = remote.write_events([Event("visit", "late", "new one", NOW)])
    page = remote.contact_events("new one", min_generation=written.generation)
    assert [event.event_id for event in page.events] == ["late"]
    assert page.evaluation.generation >= written.generation
