"""Bad events in one batch over gRPC, with a real account behind it: each is refused with its row and field, the valid
rest stands, and the counts say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from segidx.client import RemoteAccount, connect
from segidx.database import Database
from segidx.model.events import Event, EventProperty, EventType, Order, OrderLine, Retraction
from segidx.model.schema import AccountInfo, FieldType
from segidx.model.windows import to_millis
from segidx.service.server import start
from segidx.v1 import events_pb2, ingest_pb2, ingest_pb2_grpc

AT = datetime(2025, 6, 15, 12, tzinfo=UTC)
BEFORE = AT - timedelta(days=1)
DOWNLOAD = EventType(
    "download",
    (
        EventProperty("file", FieldType.CATEGORY),
        EventProperty("price", FieldType.NUMBER, None),
        EventProperty("size", FieldType.NUMBER),
        EventProperty("whole", FieldType.BOOL),
        EventProperty("published", FieldType.TIMESTAMP),
    ),
)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[RemoteAccount, Any]]:
    """An account in PLN through the client, and the stub that takes messages as they are."""
    with (
        Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database,
        start(database, port=0) as server,
        connect(server.address) as client,
        grpc.insecure_channel(server.address) as channel,
    ):
        account = client.create_account(AccountInfo("shop", "Europe/Warsaw", "PLN"))
        account.declare_event_types([DOWNLOAD])
        yield account, ingest_pb2_grpc.IngestServiceStub(channel)


def download(**properties: Any) -> Event:
    return Event("download", "bad", "bad", BEFORE, properties)


def of_lines(count: int) -> Order:
    return Order("long", "bad", BEFORE, lines=[OrderLine("P", quantity=Decimal(1))] * count)


BAD: list[tuple[Any, str, str, str]] = [
    (Event("visit", "bad", "bad", BEFORE, {"sauce": "email"}), "sauce", "UNKNOWN_PROPERTY", "did you mean 'source'"),
    (download(colour="red"), "colour", "UNKNOWN_PROPERTY", "they have file, price, size, whole, published"),
    (download(file=3), "file", "INVALID_VALUE", "bad"),
    (download(size="many"), "size", "INVALID_VALUE", "bad"),
    (download(whole="perhaps"), "whole", "INVALID_VALUE", "bad"),
    (download(published="soon"), "published", "INVALID_VALUE", "bad"),
    (
        Event("visit", "bad", "bad", datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC)),
        "time",
        "INVALID_VALUE",
        "before 1970",
    ),
    (Order("bad", "bad", datetime(1969, 7, 20, tzinfo=UTC)), "time", "INVALID_VALUE", "is before 1970"),
    (download(price=Decimal("9.999")), "price", "INVALID_VALUE", "more than 2 decimals"),
    (Order("bad", "bad", BEFORE, amount=Decimal("1.001")), "amount", "INVALID_VALUE", "more than 2 decimals"),
    (
        Order("bad", "bad", BEFORE, lines=[OrderLine("P"), OrderLine("Q", unit_price=Decimal("0.005"))]),
        "lines[1].unit_price",
        "INVALID_VALUE",
        "more than 2 decimals",
    ),
    (of_lines(10_000), "lines", "INVALID_VALUE", "at most 5,000 lines, not 10,000"),
    (
        Event("line", "bad", "bad", BEFORE, {"product": "P"}),
        "type",
        "INVALID_VALUE",
        "a line is written with its order",
    ),
    (Retraction("line", "bad"), "type", "INVALID_VALUE", "a line is written with its order"),
    (Event("order", "bad", "bad", BEFORE, {"amount": 3}), "type", "INVALID_VALUE", "order"),
    (Event("purchase", "bad", "bad", BEFORE), "type", "UNKNOWN_EVENT_TYPE", "purchase"),
]


def test_each_is_refused_and_the_rest_stands(served: tuple[RemoteAccount, Any]) -> None:
    account, _ = served
    rows: list[Any] = []
    for number, (bad, *_) in enumerate(BAD):
        rows += [Event("visit", f"v{number}", f"c{number}", BEFORE), bad]
    result = account.write_events([*rows, Order("1", "c0", BEFORE, lines=[OrderLine("P")])])
    assert (result.events_accepted, result.created) == (len(BAD) + 1, len(BAD))
    for number, (told, (bad, field, reason, said)) in enumerate(zip(result.event_rejects, BAD, strict=True)):
        assert (told.index, told.field) == (2 * number + 1, field)
        assert told.reason.replace("TYPE_MISMATCH", "INVALID_VALUE") == reason
        assert told.contact_id == getattr(bad, "contact_id", "")
        assert told.message.startswith(f"row {2 * number + 1}: ")
        assert said in told.message
    assert account.count("everyone").count == account.count("count(visit) = 1").count == len(BAD)
    assert account.count("did(order) and did(line)").count == 1
    assert account.count("did(download)").count == 0


def written(build: Callable[[events_pb2.EventWrite], None]) -> ingest_pb2.WriteBatchRequest:
    event = events_pb2.EventWrite()
    build(event)
    return ingest_pb2.WriteBatchRequest(account="accounts/shop", events=[event])


def test_values_that_only_a_message_can_have(served: tuple[RemoteAccount, Any]) -> None:
    """A value of another kind than its property's; and numbers that are none."""
    _, ingest = served
    time = Timestamp(seconds=to_millis(BEFORE) // 1000)

    def of(**properties: events_pb2.EventValue) -> ingest_pb2.WriteBatchRequest:
        event = events_pb2.Event(type="download", event_id="1", contact_id="a", time=time, properties=properties)
        return written(lambda write: write.event.CopyFrom(event))

    for property, value in (
        ("file", events_pb2.EventValue(bool_value=True)),
        ("price", events_pb2.EventValue(string_value="cheap")),
        ("price", events_pb2.EventValue(decimal_value="1,50")),
        ("size", events_pb2.EventValue(decimal_value="1e")),
        ("whole", events_pb2.EventValue(string_value="maybe")),
        ("published", events_pb2.EventValue(decimal_value="3.5")),
    ):
        response = ingest.WriteBatch(of(**{property: value}), timeout=60)
        (told,) = response.event_rejects
        assert (response.events_accepted, told.index, told.contact_id, told.field) == (0, 0, "a", property)
        assert told.message.startswith("row 0: download '1': ")


def test_another_currency(served: tuple[RemoteAccount, Any]) -> None:
    account, ingest = served
    time = Timestamp(seconds=to_millis(BEFORE) // 1000)
    request = ingest_pb2.WriteBatchRequest(account="accounts/shop")
    for number, currency in enumerate(("PLN", "EUR", "", "pln")):
        held = events_pb2.Order(order_id=f"{number}", contact_id="a", time=time, currency=currency, amount="10")
        request.events.add(order=held)
    response = ingest.WriteBatch(request, timeout=60)
    assert response.events_accepted == 2
    assert [(told.index, told.field, told.message) for told in response.event_rejects] == [
        (
            number,
            "currency",
            f"row {number}: order '{number}': '{currency}' is not the account's currency, PLN; convert the amounts"
            " before you send them",
        )
        for number, currency in ((1, "EUR"), (3, "pln"))
    ]
    assert account.count("sum(order.amount) = 20").count == 1


def test_another_currency_of_an_event_that_is_no_order(served: tuple[RemoteAccount, Any]) -> None:
    account, ingest = served
    time = Timestamp(seconds=to_millis(BEFORE) // 1000)
    request = ingest_pb2.WriteBatchRequest(account="accounts/shop")
    for number, currency in enumerate(("PLN", "EUR", "")):
        held = events_pb2.Event(type="cart", event_id=f"{number}", contact_id="a", time=time, currency=currency)
        held.properties["amount"].decimal_value = "10"
        request.events.add(event=held)
    response = ingest.WriteBatch(request, timeout=60)
    (told,) = response.event_rejects
    assert (response.events_accepted, told.index, told.field, told.reason) == (2, 1, "currency", "INVALID_VALUE")
    assert told.message.startswith("row 1: cart '1': 'EUR' is not the account's currency, PLN; ")
    assert account.count("sum(cart.amount) = 20").count == 1


def test_finer_than_a_millisecond_is_rounded_down(served: tuple[RemoteAccount, Any]) -> None:
    account, ingest = served
    event = events_pb2.Event(type="visit", event_id="1", contact_id="a")
    event.time.seconds, event.time.nanos = to_millis(BEFORE) // 1000, 1_999_999
    assert ingest.WriteBatch(written(lambda write: write.event.CopyFrom(event)), timeout=60).events_accepted == 1
    late = BEFORE + timedelta(microseconds=999)
    account.write_events([Event("download", "1", "b", late, {"published": late}), Order("1", "c", late)])
    assert account.count("last(visit).time = 2025-06-14T12:00:00.001Z").count == 1
    assert account.count("last(order).time = 2025-06-14T12:00:00Z").count == 1
    assert account.count("did(download where published = 2025-06-14T12:00:00Z)").count == 1
