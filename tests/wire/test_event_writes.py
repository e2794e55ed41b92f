"""Events, orders and retractions survive the wire; what cannot is a reject in its place."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from segidx.model.events import Event, EventRow, Order, OrderLine, Retraction
from segidx.model.results import Reject, WriteResult
from segidx.v1 import events_pb2 as pb
from segidx.v1 import ingest_pb2
from segidx.wire.contacts import RowErrors
from segidx.wire.event_writes import read_event_writes, write_event_writes
from segidx.wire.writes import BatchErrors, read_acknowledgement, write_acknowledgement, write_batch

T = datetime(2026, 3, 4, 5, 6, 7, 89000, tzinfo=UTC)
ACKNOWLEDGEMENT = ingest_pb2.WriteBatchResponse()
WIRE_TIME = Timestamp(seconds=1_772_600_767, nanos=89_000_000)


def sent(*rows: EventRow) -> tuple[list[EventRow], list[Reject]]:
    """The events as the other side reads them, and those that could not be sent."""
    request = ingest_pb2.WriteBatchRequest()
    unsent = write_event_writes(rows, request.events)
    read = ingest_pb2.WriteBatchRequest.FromString(request.SerializeToString())
    found, unread = read_event_writes(read.events, "PLN")
    assert not unread.rejects
    assert (unread.seen, unread.kept) == (len(found), list(range(len(found))))
    assert unsent.seen == len(rows)
    return found, unsent.rejects


EVERYTHING: list[EventRow] = [
    Event(
        "download",
        "d1",
        "anna",
        T,
        {
            "s": "Zażółć",
            "empty": "",
            "n": Decimal("-12.50"),
            "zero": Decimal(0),
            "b": True,
            "f": False,
            "t": T,
            "first": datetime(1970, 1, 1, tzinfo=UTC),
            "nothing": None,
        },
        1 << 61,
    ),
    Event("visit", "v", "anna", datetime(1970, 1, 1, tzinfo=UTC)),
    Order(
        "o1",
        "ż",
        T,
        "email",
        False,
        Decimal("99.90"),
        [
            OrderLine("P", "Q", "shoes", Decimal("-1.5"), Decimal("2.00"), Decimal("3.00")),
            OrderLine(),
            OrderLine("", "", "", Decimal(0)),
        ],
        7,
    ),
    Order("o2", "anna", T, "", lines=[]),
    Retraction("order", "o3"),
    Retraction("download", "d2", 9),
]


def test_everything_survives() -> None:
    found, rejects = sent(*EVERYTHING)
    assert not rejects
    assert found == EVERYTHING
    first, sent_first = found[0], EVERYTHING[0]
    assert isinstance(first, Event)
    assert isinstance(sent_first, Event)
    kinds = {name: type(value) for name, value in sent_first.properties.items()}
    assert {name: type(value) for name, value in first.properties.items()} == kinds


def test_other_types_are_sent_as_the_same_values() -> None:
    line = OrderLine(quantity=2, unit_price=0.1, amount="1.50")  # type: ignore[arg-type]
    found, rejects = sent(
        Event("x", b"bytes", b"contact", T.astimezone(timezone.max), {"i": 7, "f": 0.1, "big": 10**30}),  # type: ignore[arg-type,dict-item]
        Order(b"o", "c", T, amount=3, lines=(line,)),  # type: ignore[arg-type]
    )
    assert not rejects
    assert found == [
        Event("x", "bytes", "contact", T, {"i": Decimal(7), "f": Decimal("0.1"), "big": Decimal(10**30)}),
        Order("o", "c", T, amount=Decimal(3), lines=[OrderLine(None, None, None, *map(Decimal, ("2", "0.1", "1.50")))]),
    ]


def an_event(**changes: Any) -> Event:
    return Event(**{"type": "visit", "event_id": "v1", "contact_id": "anna", "time": T, **changes})


def an_order(**changes: Any) -> Order:
    return Order(**{"order_id": "o1", "contact_id": "anna", "time": T, **changes})


UNSENT: list[tuple[Any, str]] = [
    (an_event(properties={"n": float("inf")}), "n"),
    (an_event(properties={"n": Decimal("NaN")}), "n"),
    (an_event(properties={"n": 10**5000}), "n"),
    (an_event(properties={"x": date(2026, 1, 1)}), "x"),
    (an_event(properties={"x": frozenset({"a"})}), "x"),
    (an_event(properties={"t": datetime(2026, 1, 1)}), "t"),
    (an_event(properties={"s": "\ud800"}), "s"),
    (an_event(properties={"\ud800": 1}), "\\ud800"),
    (an_event(properties={5: "1"}), "5"),
    (an_event(properties=[1]), "properties"),
    (an_event(time=datetime(2026, 1, 1)), "time"),
    (an_event(time="2026-01-01"), "time"),
    (an_event(type="\ud800"), "type"),
    (an_event(type=7), "type"),
    (an_event(event_id="\ud800"), "event_id"),
    (an_event(event_id=b"\xff"), "event_id"),
    (an_event(event_id=None), "event_id"),
    (an_event(revision="7"), "revision"),
    (an_event(revision=1 << 63), "revision"),
    (an_event(revision=1.5), "revision"),
    (an_order(order_id=7), "order_id"),
    (an_order(time=datetime(2026, 1, 1)), "time"),
    (an_order(source=7), "source"),
    (an_order(paid="yes"), "paid"),
    (an_order(amount=float("nan")), "amount"),
    (an_order(amount="ten"), "amount"),
    (an_order(amount=True), "amount"),
    (an_order(amount=10**5000), "amount"),
    (an_order(lines=5), "lines"),
    (an_order(lines=[OrderLine(), {"product": "P"}]), "lines[1]"),
    (an_order(lines=[OrderLine(product="\ud800")]), "lines[0].product"),
    (an_order(lines=[OrderLine(), OrderLine(quantity="many")]), "lines[1].quantity"),  # type: ignore[arg-type]
    (Retraction("visit", "\ud800"), "event_id"),
    (Retraction("visit", "v1", 1 << 64), "revision"),
    ("no event", ""),
]


@pytest.mark.parametrize(("row", "field"), UNSENT)
def test_what_cannot_be_sent_is_a_reject_in_its_place(row: Any, field: str) -> None:
    first, last = EVERYTHING[0], EVERYTHING[-1]
    found, (reject,) = sent(first, row, last)
    assert found == [first, last]
    assert (reject.index, reject.field, reject.reason) == (1, field, "INVALID_VALUE")
    assert reject.message.startswith("row 1: ")
    f"{reject.message}{reject.contact_id}".encode()


@pytest.mark.parametrize("contact_id", ["\ud800", b"\xff", None, 7])
def test_a_contact_id_that_cannot_be_sent(contact_id: Any) -> None:
    for row in (an_event(contact_id=contact_id), an_order(contact_id=contact_id)):
        found, (reject,) = sent(row)
        assert not found
        assert (reject.field, reject.reason) == ("contact_id", "INVALID_CONTACT_ID")


def test_a_message_names_the_event() -> None:
    _, (first, second, third) = sent(
        an_event(event_id="v1", time=datetime(2026, 1, 1)),
        an_order(order_id="o1", lines=[OrderLine(amount="ten")]),  # type: ignore[arg-type]
        Retraction("visit", "v2", 1.5),  # type: ignore[arg-type]
    )
    assert first.message.startswith("row 0: visit 'v1': instant 2026-01-01T00:00:00 has no time zone")
    assert second.message.startswith("row 1: order 'o1': lines[0]: 'ten' is not a number")
    assert third.message.startswith("row 2: visit 'v2': the value cannot be sent")
    assert (first.contact_id, second.contact_id, third.contact_id) == ("anna", "anna", "")


def an_event_message(**changes: Any) -> pb.EventWrite:
    fields = {"type": "visit", "event_id": "v1", "contact_id": "anna", "time": WIRE_TIME, **changes}
    return pb.EventWrite(event=pb.Event(**fields))


def an_order_message(**changes: Any) -> pb.EventWrite:
    fields = {"order_id": "o1", "contact_id": "anna", "time": WIRE_TIME, **changes}
    return pb.EventWrite(order=pb.Order(**fields))


@pytest.mark.parametrize(
    ("message", "field", "says"),
    [
        (pb.EventWrite(), "", "row 1: the event says no kind"),
        (
            an_event_message(properties={"n": pb.EventValue(decimal_value="ten")}),
            "n",
            "row 1: visit 'v1': 'ten' is not",
        ),
        (an_event_message(properties={"n": pb.EventValue(decimal_value="1" * 129)}), "n", "is not a number"),
        (an_event_message(properties={"n": pb.EventValue(decimal_value="")}), "n", "'' is not a number"),
        (an_event_message(properties={"n": pb.EventValue()}), "n", "the value says no kind"),
        (
            an_event_message(properties={"t": pb.EventValue(timestamp_value=Timestamp(seconds=1 << 50))}),
            "t",
            "out of range",
        ),
        (an_event_message(time=Timestamp(nanos=-1)), "time", "out of range"),
        (an_order_message(time=Timestamp(seconds=-(1 << 50))), "time", "out of range"),
        (an_order_message(amount=""), "amount", "'' is not a number"),
        (an_order_message(amount="1,50"), "amount", "row 1: order 'o1': '1,50' is not a number"),
        (an_order_message(lines=[{}, {"unit_price": "x"}]), "lines[1].unit_price", "lines[1]: 'x' is not a number"),
        (an_event_message(currency="EUR"), "currency", "row 1: visit 'v1': 'EUR' is not the account's currency, PLN"),
        (an_order_message(currency="EUR"), "currency", "row 1: order 'o1': 'EUR' is not the account's currency, PLN"),
    ],
)
def test_what_cannot_be_read_is_a_reject_in_its_place(message: pb.EventWrite, field: str, says: str) -> None:
    good = an_order_message(currency="PLN")
    rows, errors = read_event_writes([good, message, good], "PLN")
    assert rows == [an_order(lines=[])] * 2
    (reject,) = errors.rejects
    assert (reject.index, reject.field, reject.reason) == (1, field, "INVALID_VALUE")
    assert says in reject.message
    assert reject.contact_id == ("anna" if message.WhichOneof("kind") else "")


def test_an_absent_time_is_left_to_who_checks_events() -> None:
    rows, errors = read_event_writes(
        [pb.EventWrite(event=pb.Event(type="visit")), pb.EventWrite(order=pb.Order(order_id="o"))], "PLN"
    )
    assert not errors.rejects
    assert [row.time for row in rows] == [None, None]  # type: ignore[union-attr]


def test_instants_are_read_in_milliseconds() -> None:
    time = Timestamp(seconds=1, nanos=999_999_999)
    (row,), _ = read_event_writes(
        [an_event_message(time=time, properties={"t": pb.EventValue(timestamp_value=time)})], "PLN"
    )
    milliseconds = datetime(1970, 1, 1, 0, 0, 1, 999_000, tzinfo=UTC)
    assert row == an_event(time=milliseconds, properties={"t": milliseconds})


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
instants = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)).map(
    lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000)
)
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=3)
revisions = st.none() | st.integers(-(1 << 63), (1 << 63) - 1)
lines = st.builds(OrderLine, *[st.none() | texts] * 3, *[st.none() | decimals] * 3)
rows = st.one_of(
    st.builds(
        Event,
        texts,
        texts,
        texts,
        instants,
        st.dictionaries(texts, st.one_of(st.none(), texts, st.booleans(), decimals, instants), max_size=4),
        revisions,
    ),
    st.builds(
        Order,
        texts,
        texts,
        instants,
        st.none() | texts,
        st.none() | st.booleans(),
        st.none() | decimals,
        st.lists(lines, max_size=3),
        revisions,
    ),
    st.builds(Retraction, texts, texts, revisions),
)


@given(st.lists(rows, max_size=4))
def test_rows_survive(given_rows: list[EventRow]) -> None:
    assert sent(*given_rows) == (given_rows, [])


def test_damaged_bytes_are_refused_read_or_rejected() -> None:
    request = ingest_pb2.WriteBatchRequest()
    write_event_writes(EVERYTHING, request.events)
    good, pick, read, rejected = request.SerializeToString(), random.Random(5), 0, 0
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(pick.randint(1, 3)):
            data[pick.randrange(len(data))] = pick.randrange(256)
        try:
            events = ingest_pb2.WriteBatchRequest.FromString(bytes(data)).events
        except DecodeError:
            continue
        rows, errors = read_event_writes(events, "PLN")
        assert len(rows) + len(errors.rejects) == len(events)
        write_acknowledgement(WriteResult(1, 0, 0, 0, (), False, 0, 0, tuple(errors.rejects)), ACKNOWLEDGEMENT)
        read, rejected = read + len(rows), rejected + len(errors.rejects)
    assert read > 1000
    assert rejected > 50


# --- with the rest of a batch ------------------------------------------------------------------------------


def reject(index: int) -> Reject:
    return Reject(index, "c", "f", "INVALID_VALUE", f"row {index}: no")


def refused(*indices: int, of: int) -> RowErrors:
    errors = RowErrors()
    for index in range(of):
        if index in indices:
            errors.rejects.append(reject(index))
            errors.seen += 1
        else:
            errors.keep()
    return errors


def test_rejects_of_rows_and_of_events_are_numbered_apart() -> None:
    errors = BatchErrors(refused(0, of=3), refused(1, 2, of=5))
    result = WriteResult(9, 1, 0, 0, (reject(1),), False, 2, 0, (reject(0), reject(2)))
    merged = errors.merge_rejects(result)
    assert [(r.index, r.message) for r in merged.rejects] == [(0, "row 0: no"), (2, "row 2: no")]
    assert [(r.index, r.message) for r in merged.event_rejects] == [(i, f"row {i}: no") for i in (0, 1, 2, 4)]
    nothing = BatchErrors(RowErrors(), RowErrors())
    assert nothing.merge_rejects(result) == result


@pytest.mark.parametrize("message", [ingest_pb2.WriteBatchResponse, ingest_pb2.StreamWritesResponse])
def test_acknowledgements_survive(message: Callable[[], Any]) -> None:
    result = WriteResult(5, 3, 2, 1, (reject(0),), True, 7, 4, (reject(1), reject(6)))
    written = message()
    write_acknowledgement(result, written)
    assert read_acknowledgement(type(written).FromString(written.SerializeToString())) == result


def test_a_batch_of_events_alone_has_no_rows() -> None:
    request = ingest_pb2.StreamWritesRequest()
    errors = write_batch((), EVERYTHING, request)
    assert (len(request.rows), len(request.events)) == (0, len(EVERYTHING))
    assert (errors.rows.seen, errors.events.seen) == (0, len(EVERYTHING))
