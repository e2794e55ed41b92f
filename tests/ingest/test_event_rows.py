"""Events from rows of a caller: what is refused, how writes of one id follow one another."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from segidx.ingest.event_batch import settled
from segidx.ingest.event_rows import events_from_rows
from segidx.model.events import (
    MAX_LINES,
    MAX_REVISION,
    Event,
    EventProperty,
    EventType,
    EventTypes,
    Order,
    OrderLine,
    Retraction,
)
from segidx.model.schema import AccountInfo, FieldType

ACCOUNT = AccountInfo("shop", "Europe/Warsaw", "PLN")
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
NOW = int(NOON.timestamp() * 1000)
DOWNLOAD = EventType(
    "download",
    (
        EventProperty("file", FieldType.CATEGORY),
        EventProperty("paid", FieldType.BOOL),
        EventProperty("price", FieldType.NUMBER, None),
        EventProperty("share", FieldType.NUMBER, 4),
        EventProperty("expires", FieldType.TIMESTAMP),
    ),
)
TYPES = EventTypes().extended([DOWNLOAD])


def batches_of(*rows, **more):
    return events_from_rows(rows, TYPES, ACCOUNT, NOW, **more)


def cells(column):
    values = column.values.tolist() if not hasattr(column.values, "to_pylist") else column.values.to_pylist()
    return [v if p else None for v, p in zip(values, column.present.tolist(), strict=True)]


def download(event_id="d", contact_id="anna", time=NOON, revision=None, **properties):
    return Event("download", event_id, contact_id, time, properties, revision)


def test_one_batch_a_type_in_order_of_appearance():
    visits, orders, downloads = batches_of(
        Event("visit", "v", "anna", NOON, {"source": "email", "paid": True, "dwell": Decimal("1.5")}),
        Order("o", "bert", NOON, lines=[OrderLine("tea", unit_price=2)]),
        download(file="ma\u0308rz.pdf", paid=False, price="12.50", share=Decimal("0.1234"), expires=NOON),
        Event("visit", "w", "bert", NOON - timedelta(milliseconds=1)),
        Retraction("visit", "x", 7),
    )
    assert [b.type.name for b in (visits, orders, downloads)] == ["visit", "order", "download"]
    assert visits.ids.to_pylist() == ["v", "w", "x"]
    assert visits.times.tolist()[:2] == [NOW, NOW - 1]
    assert visits.revisions.tolist() == [0, 0, 7]
    assert visits.retracts.tolist() == [False, False, True]
    assert cells(visits.properties[0]) == ["email", None, None]
    assert cells(visits.properties[10]) == [1500, None, None]
    assert cells(visits.properties[11]) == [1, 1, 1]
    assert visits.weight == 3
    assert cells(orders.lines[0]) == ["tea"]
    assert orders.weight == 2
    assert [cells(c) for c in downloads.properties] == [["m\u00e4rz.pdf"], [0], [1250], [1234], [NOW], [1]]
    assert downloads.line_counts.tolist() == [0]
    assert downloads.lines == ()
    assert not any(b.rejects or b.duplicates or b.superseded for b in (visits, orders, downloads))


def test_none_is_absent():
    (batch,) = batches_of(download(file=None, price=None))
    assert [cells(c) for c in batch.properties] == [[None], [None], [None], [None], [None], [1]]


@pytest.mark.parametrize(
    ("row", "field", "reason", "message"),
    [
        (
            download(""),
            "event_id",
            "INVALID_VALUE",
            "row 0: download '': event id '' has 0 bytes; 1 to 255 are allowed",
        ),
        (download("x" * 256), "event_id", "INVALID_VALUE", "has 256 bytes"),
        (download("é" * 128), "event_id", "INVALID_VALUE", "has 256 bytes"),
        (download(7), "event_id", "INVALID_VALUE", "an event id is a string, not int 7"),
        (download(None), "event_id", "INVALID_VALUE", "row 0: there is no event id"),
        (Order("", "anna", NOON), "order_id", "INVALID_VALUE", "row 0: order '': order id '' has 0 bytes"),
        (download(contact_id=""), "contact_id", "INVALID_CONTACT_ID", "download 'd': contact id '' has 0 bytes"),
        (download(time=None), "time", "INVALID_VALUE", "field 'time': a download event has a time"),
        (Order("o", "anna", None), "time", "INVALID_VALUE", "field 'time': an order has a time"),
        (Event("activity", "a", "b", None), "time", "INVALID_VALUE", "an activity event has a time"),
        (download(time=datetime(1969, 12, 31, tzinfo=UTC)), "time", "INVALID_VALUE", "is before 1970"),
        (download(time=NOON + timedelta(hours=24, milliseconds=1)), "time", "INVALID_VALUE", "24 hours ahead"),
        (download(time=datetime(2026, 1, 1)), "time", "INVALID_VALUE", "has no time zone"),
        (download(revision=0), "revision", "INVALID_VALUE", "0 is no revision; they are 1 to"),
        (download(revision=-1), "revision", "INVALID_VALUE", "-1 is no revision"),
        (download(revision=MAX_REVISION + 1), "revision", "INVALID_VALUE", "is no revision"),
        (download(revision=True), "revision", "INVALID_VALUE", "a whole number, not bool True"),
        (download(revision="7"), "revision", "INVALID_VALUE", "a whole number, not str '7'"),
        (download(fiel="x"), "fiel", "UNKNOWN_PROPERTY", "did you mean 'file'"),
        (download(fiel=None), "fiel", "UNKNOWN_PROPERTY", "fiel"),
        (download(paid="perhaps"), "paid", "INVALID_VALUE", "field 'paid': 'perhaps' is neither true nor false"),
        (download(price="1.234"), "price", "INVALID_VALUE", "more than 2 decimals"),
        (download(price=10**18), "price", "INVALID_VALUE", "beyond the largest number"),
        (download(file=7), "file", "INVALID_VALUE", "takes a string, not int 7"),
        (download(file="x" * 2049), "file", "INVALID_VALUE", "a string of 2049 bytes"),
        (download(expires="today"), "expires", "INVALID_VALUE", "is not an instant"),
        (Event("download", "d", "anna", NOON, [("file", "x")]), "properties", "INVALID_VALUE", "are a mapping"),
        (Event("order", "o", "anna", NOON), "type", "INVALID_VALUE", "an order is written as an Order, with its lines"),
        (Event("line", "o", "anna", NOON), "type", "INVALID_VALUE", "a line is written with its order"),
        (Retraction("line", "o"), "type", "INVALID_VALUE", "a line is written with its order"),
        (Retraction("donwload", "d"), "type", "UNKNOWN_EVENT_TYPE", "did you mean 'download'"),
        (Retraction("download", ""), "event_id", "INVALID_VALUE", "event id '' has 0 bytes"),
        (Retraction("order", ""), "event_id", "INVALID_VALUE", "order id '' has 0 bytes"),
        (Retraction("download", "d", 0), "revision", "INVALID_VALUE", "0 is no revision"),
        (Event(7, "d", "anna", NOON), "type", "INVALID_VALUE", "named by a string, not int 7"),
        (Event("", "d", "anna", NOON), "type", "UNKNOWN_EVENT_TYPE", "there is no event type ''"),
        ("download", "type", "INVALID_VALUE", "a row is an Order, an Event or a Retraction, not str 'download'"),
        (
            Order("o", "anna", NOON, lines=[OrderLine(), OrderLine(quantity="x")]),
            "lines[1].quantity",
            "INVALID_VALUE",
            "row 0: order 'o': lines[1]: field 'quantity': 'x' is not a number",
        ),
        (Order("o", "anna", NOON, lines=["tea"]), "lines[0]", "INVALID_VALUE", "a line is an OrderLine, not str"),
        (Order("o", "anna", NOON, lines=[OrderLine()] * (MAX_LINES + 1)), "lines", "INVALID_VALUE", "at most 5,000"),
    ],
)
def test_what_is_refused(row, field, reason, message):
    good = Event("visit", "v", "bert", NOON)
    for rows, index in (((row, good), 0), ((good, row), 1), ((row,), 0)):
        batches = batches_of(*rows)
        (reject,) = (reject for batch in batches for reject in batch.rejects)
        assert (reject.index, reject.field, reject.reason) == (index, field, reason)
        assert message.replace("row 0", f"row {index}") in reject.message
        assert sum(len(batch.ids) for batch in batches) == len(rows) - 1


def test_the_first_thing_wrong_is_told():
    for row, field in (
        (download(price="?", file=7), "file"),  # in the type's order
        (download(price="?", other=1), "other"),
        (download(revision=0, file=7), "file"),
        (download(contact_id="", time=None, other=1), "contact_id"),
        (Order("o", "anna", NOON, amount="?", lines=[7], revision=0), "amount"),
        (Order("o", "anna", NOON, lines=[7], revision=0), "lines[0]"),
    ):
        (batch,) = batches_of(row)
        assert [reject.field for reject in batch.rejects] == [field]


def test_rejects_of_rows_without_a_type_stand_in_order_and_are_numbered_as_told():
    batches = batches_of(Retraction("nothing", "a"), download(""), Retraction("line", "b"), first_index=5)
    assert [[reject.index for reject in batch.rejects] for batch in batches] == [[5, 6, 7]]
    assert batches_of() == ()
    (empty,) = batches_of(Retraction("nothing", "a"))
    assert (len(empty.ids), len(empty.rejects)) == (0, 1)


def test_a_refused_row_leaves_nothing():
    (batch,) = batches_of(
        Order("o", "anna", NOON, lines=[OrderLine("tea"), OrderLine(quantity="x")]),
        Order("p", "bert", NOON, lines=[OrderLine("mug")]),
    )
    assert batch.ids.to_pylist() == ["p"]
    assert cells(batch.lines[0]) == ["mug"]


def test_of_one_id_what_stands_in_the_end_is_kept():
    (batch,) = batches_of(
        download("a", "first", file="1"),
        download("b", "kept", revision=5, file="2"),
        download("a", "second", file="3"),
        download("b", "late", revision=4, file="4"),
        download("c", "gone"),
        Retraction("download", "c"),
        download("c", "late"),
        Retraction("download", "d", 3),
        download("d", "back", revision=4),
    )
    assert batch.ids.to_pylist() == ["b", "a", "c", "d"]
    assert batch.contacts.to_pylist()[:2] == ["kept", "second"]
    assert batch.retracts.tolist() == [False, False, True, False]
    assert batch.revisions.tolist() == [5, 0, 0, 4]
    assert cells(batch.properties[0])[:2] == ["2", "3"]
    assert batch.duplicates == 5
    # Those that never took effect create no contact.
    assert dict(zip(batch.superseded.contacts.to_pylist(), batch.superseded.rows.tolist(), strict=True)) == {
        "first": 1,
        "gone": 2,
    }


def test_lines_stay_with_the_order_that_stands():
    (batch,) = batches_of(
        Order("a", "anna", NOON, lines=[OrderLine("1"), OrderLine("2")]),
        Order("b", "anna", NOON, lines=[OrderLine("3")]),
        Order("a", "anna", NOON, lines=[OrderLine("4"), OrderLine("5"), OrderLine("6")]),
        Retraction("order", "b"),
    )
    assert batch.ids.to_pylist() == ["a", "b"]
    assert batch.line_counts.tolist() == [3, 0]
    assert cells(batch.lines[0]) == ["4", "5", "6"]
    assert cells(batch.properties[-1])[0] == 1


def test_settled_is_one_write_after_another():
    rng = random.Random(2)
    for _ in range(2000):
        rows = [(rng.choice("abc"), rng.choice([0, 0, 1, 2, 5]), rng.random() < 0.3) for _ in range(rng.randrange(12))]
        held: dict[str, tuple[int, bool]] = {}
        last: dict[str, int] = {}
        effective = []
        for row, (event_id, revision, retracts) in enumerate(rows):
            before = held.get(event_id)
            effect = before is None or revision > before[0] or (revision == before[0] and not before[1])
            effective.append(effect)
            if effect:
                held[event_id], last[event_id] = (revision, retracts), row
        ids = pa.array([row[0] for row in rows], pa.string())
        revisions = np.array([row[1] for row in rows], np.int64)
        got, standing = settled(ids, revisions, np.array([row[2] for row in rows], np.bool_))
        assert got.tolist() == effective, rows
        assert np.flatnonzero(standing).tolist() == sorted(last.values()), rows
