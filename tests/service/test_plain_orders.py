"""The quick way of orders from the wire to a batch gives what the general way gives, on whatever it takes, and takes
nothing that the general way refuses."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.message import DecodeError
from hypothesis import event, given, settings
from hypothesis import strategies as st

from segidx.ingest.event_batch import EventBatch, EventColumn
from segidx.ingest.event_rows import events_from_rows
from segidx.model.events import ORDER, EventTypes
from segidx.model.results import Horizon
from segidx.model.retention import horizon_of
from segidx.model.schema import AccountInfo
from segidx.service.plain_orders import PlainOrders
from segidx.testing.effort import times
from segidx.v1 import ingest_pb2 as pb
from segidx.wire.event_writes import read_event_writes

EVENTS_FIELD = pb.StreamWritesRequest.DESCRIPTOR.fields_by_name["events"].number
NOW = 1_750_000_000_000
PRUNED = {"order": Horizon("order", datetime.fromtimestamp(1_700_000_000, UTC))}

NUMBERS = "0 -0 7 +7 007 12.5 12.50 12.500 1.2345 1. .5 - 1e3 -3.07 46116860184273879.03 46116860184273879.04 1.2.3"
FEW = ["1", "2", "-1", "2.5", "19.99", "0.50", "99999999999"]
BAD = [*NUMBERS.split(), "", "1 ", "9" * 17, "9" * 18, "9" * 19, "1." + "0" * 126, "1." + "0" * 127]
TEXTS = ["", "P", "shoes", "Łódź", "a" * 2048, "a" * 2049, "e\u0301"]
IDS = ["", "ż", "x" * 255, "x" * 256]
SECONDS = [
    1_740_000_000,
    1_750_000_000,
    1_750_086_400,
    1_750_086_401,
    1_699_999_999,
    1_700_000_000,
    0,
    -1,
    253402300800,
]


def mostly(draw: st.DrawFn, usual: list[Any], others: list[Any]) -> Any:
    return draw(st.sampled_from(usual if draw(st.integers(0, 200)) else others))


def some_times(draw: st.DrawFn) -> bool:
    return draw(st.integers(0, 2)) > 0


@st.composite
def orders(draw: st.DrawFn) -> pb.StreamWritesRequest:
    request = pb.StreamWritesRequest(sequence=1)
    for _ in range(draw(st.integers(0, 5))):
        if not draw(st.integers(0, 200)):
            request.events.add().retraction.type = "order"
            request.events[-1].retraction.event_id = "o1"
            continue
        order = request.events.add().order
        order.order_id = mostly(draw, [f"o{n}" for n in range(6)], IDS)
        order.contact_id = mostly(draw, [f"c{n}" for n in range(6)], IDS)
        if draw(st.integers(0, 200)):
            order.time.seconds = mostly(draw, SECONDS[:2], SECONDS)
            order.time.nanos = mostly(draw, [0, 999_999, 1_000_000, 999_999_999], [-1, 1_000_000_000])
        if some_times(draw):
            order.source = mostly(draw, ["email", "", "direct"], TEXTS)
        if some_times(draw):
            order.paid = draw(st.booleans())
        if not draw(st.integers(0, 4)):
            order.amount = mostly(draw, FEW, BAD)
        order.currency = mostly(draw, ["", "PLN"], ["EUR", "pln", "PLNX"])
        if not draw(st.integers(0, 4)):
            order.revision = mostly(draw, [1, 2, (1 << 61) - 1], [0, -1, 1 << 61])
        for _ in range(draw(st.integers(0, 3))):
            line = order.lines.add()
            for name in ("product", "producer", "category"):
                if some_times(draw):
                    setattr(line, name, mostly(draw, TEXTS[:3], TEXTS))
            for name in ("quantity", "unit_price", "amount"):
                if some_times(draw):
                    setattr(line, name, mostly(draw, FEW, BAD))
    return request


def shown(column: EventColumn) -> list[object]:
    values = column.values.to_pylist() if isinstance(column.values, pa.Array) else column.values.tolist()
    return [value if there else None for value, there in zip(values, column.present.tolist(), strict=True)]


def parts(batch: EventBatch) -> dict[str, object]:
    gone, again = batch.superseded, batch.repeated
    return {
        "type": batch.type,
        "ids": batch.ids.to_pylist(),
        "contacts": batch.contacts.to_pylist(),
        "times": batch.times.tolist(),
        "revisions": batch.revisions.tolist(),
        "retracts": batch.retracts.tolist(),
        "line counts": batch.line_counts.tolist(),
        "properties": [shown(column) for column in batch.properties],
        "lines": [shown(column) for column in batch.lines],
        "rejects": batch.rejects,
        "duplicates": batch.duplicates,
        "superseded": gone and (gone.rows.tolist(), gone.contacts.to_pylist(), gone.revisions.tolist()),
        "repeated": again and (again.rows.tolist(), again.indices.tolist(), again.contacts.to_pylist()),
        "indices": None if batch.indices is None else batch.indices.tolist(),
        "kinds": [
            (str(column.values.type) if isinstance(column.values, pa.Array) else column.values.dtype.name)
            for column in (*batch.properties, *batch.lines)
        ],
    }


def both(data: bytes, scale: int, horizons: dict[str, Horizon]) -> tuple[EventBatch | None, list[EventBatch], int]:
    """(the quick way's batch, the general way's, how many events the general way refuses before that)."""
    account = AccountInfo("shop", "Europe/Warsaw", "PLN", money_scale=scale)
    quick = PlainOrders(EVENTS_FIELD, 10_000, 50_000).batch(data, account, NOW, horizon_of(ORDER, horizons))
    rows, errors = read_event_writes(pb.StreamWritesRequest.FromString(data).events, "PLN")
    return quick, list(events_from_rows(rows, EventTypes(), account, NOW, horizons=horizons)), len(errors.rejects)


@settings(max_examples=times(400), deadline=None)
@given(request=orders(), scale=st.sampled_from([2, 2, 3, 0]), pruned=st.booleans())
def test_both_ways_make_the_same_batch(request: pb.StreamWritesRequest, scale: int, pruned: bool) -> None:
    quick, general, refused = both(request.SerializeToString(), scale, PRUNED if pruned else {})
    event("plain" if quick is not None else "not plain")
    if quick is not None:
        assert not refused
        (one,) = general
        assert parts(quick) == parts(one)


def an_order(**fields: Any) -> pb.StreamWritesRequest:
    request = pb.StreamWritesRequest(sequence=1)
    order = request.events.add().order
    order.order_id, order.contact_id, order.time.seconds = "o", "c", 1_740_000_000
    for name, value in fields.items():
        setattr(order, name, value)
    return request


def test_plain_orders_are_taken() -> None:
    request = pb.StreamWritesRequest(sequence=1)
    for n in range(100):
        each = an_order(source="email", paid=n % 2 == 0, revision=n + 1, currency="PLN").events[0]
        each.order.order_id, each.order.contact_id = f"o{n % 98}", f"c{n}"
        for product in range(n % 4):
            each.order.lines.add(product=f"p{product}", producer="q", category="r", quantity="2", unit_price="0.33")
        request.events.append(each)
    quick, (general,), _ = both(request.SerializeToString(), 2, {})
    assert quick is not None
    assert parts(quick) == parts(general)
    assert (len(quick.ids), quick.duplicates) == (98, 2)
    assert quick.properties[2].values.tolist()[:4] == [132, 198, 0, 66]  # the sums of lines; o0 and o1 came again
    rows = np.repeat(np.arange(98), quick.line_counts)
    assert len(rows) == len(quick.lines[0].present)


def test_amounts_are_worked_out_to_the_last_unit() -> None:
    """Half a unit away from zero, of both signs; the largest is taken and what is beyond is not."""
    for quantity, price, amount in [("0.5", "0.01", 1), ("-0.5", "0.01", -1), ("0.499", "0.01", 0), ("1.5", "0.03", 5)]:
        request = an_order()
        request.events[0].order.lines.add(quantity=quantity, unit_price=price)
        quick, (general,), _ = both(request.SerializeToString(), 2, {})
        assert quick is not None
        assert parts(quick) == parts(general)
        assert quick.properties[2].values.tolist() == [amount]
    for lines, plain in [(4, True), (5, False)]:  # of 10 ** 18 - 10 units each; the largest amount is 2 ** 62 - 1
        request = an_order()
        for _ in range(lines):
            request.events[0].order.lines.add(amount="9999999999999999.9")
        quick, (general,), _ = both(request.SerializeToString(), 2, {})
        assert (quick is not None) == plain
        assert bool(general.rejects) != plain
    for quantity, price in [("5000000000", "10000000"), ("99999999999999", "99999999999999.99")]:
        request = an_order(amount="1")  # of the order there is one, so that those of lines are not added up
        request.events[0].order.lines.add(quantity=quantity, unit_price=price)
        quick, (general,), _ = both(request.SerializeToString(), 2, {})
        assert quick is None
        assert general.rejects


@pytest.mark.parametrize(
    "fields",
    [
        {"order_id": ""},
        {"order_id": "ż"},
        {"contact_id": "x" * 256},
        {"source": "e\u0301"},
        {"source": "x" * 2049},
        {"amount": "1e3"},
        {"amount": "1." + "0" * 127},
        {"currency": "EUR"},
        {"currency": "PLNX"},
        {"currency": "PL"},
        {"revision": 0},
        {"revision": 1 << 61},
    ],
)
def test_what_is_not_plain_is_left(fields: dict[str, Any]) -> None:
    assert both(an_order(**fields).SerializeToString(), 2, {})[0] is None


def test_bounds_of_a_request_are_left_to_the_general_way() -> None:
    request = an_order()
    for _ in range(3):
        request.events[0].order.lines.add(product="p")
    account = AccountInfo("shop", "Europe/Warsaw", "PLN")
    data = request.SerializeToString()
    assert PlainOrders(EVENTS_FIELD, 1, 3).batch(data, account, NOW, 0) is not None
    assert PlainOrders(EVENTS_FIELD, 1, 2).batch(data, account, NOW, 0) is None
    assert PlainOrders(EVENTS_FIELD, 0, 3).batch(data, account, NOW, 0) is None
    many = an_order()
    for _ in range(5_001):
        many.events[0].order.lines.add()
    assert both(many.SerializeToString(), 2, {})[0] is None


@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 255))
@settings(max_examples=times(300), deadline=None)
def test_damaged_requests_are_not_plain_or_read_alike(junk: bytes, at: int, byte: int) -> None:
    request = an_order(source="email", paid=True, revision=3)
    request.events[0].order.lines.add(product="p", quantity="2", unit_price="1.50")
    data = bytearray(request.SerializeToString())
    if at < len(data):
        data[at] = byte
    for damaged in (bytes(data), junk, bytes(data) + junk):
        account = AccountInfo("shop", "Europe/Warsaw", "PLN")
        quick = PlainOrders(EVENTS_FIELD, 10_000, 50_000).batch(damaged, account, NOW, 0)
        if quick is None:
            continue
        try:
            _, (general,), refused = both(damaged, 2, {})
        except DecodeError:
            continue  # its header may be what is wrong, and is read first
        assert not refused
        assert parts(quick) == parts(general)
