"""Rows keep their values; rows that cannot be sent or read are rejects at the caller's own index."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pytest

from segidx.model.errors import InvalidValue
from segidx.model.results import Contact, Reject, WriteResult
from segidx.v1 import contacts_pb2 as pb
from segidx.wire import contacts

INSTANT = datetime(2026, 3, 4, 5, 6, 7, 89000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ""),
        ("Zażółć", "Zażółć"),
        (Decimal("1.50"), Decimal("1.50")),
        (7, Decimal(7)),
        (0, Decimal(0)),
        (Decimal("1E+5"), Decimal("1E+5")),
        (True, True),
        (False, False),
        (date(1, 1, 1), date(1, 1, 1)),
        (date(9999, 12, 31), date(9999, 12, 31)),
        (INSTANT, INSTANT),
        (datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)),
        (datetime(1969, 12, 31, 23, 59, 59, 1000, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, 1000, tzinfo=UTC)),
        (INSTANT.astimezone(timezone(timedelta(hours=5))), INSTANT),
        ({"b", "a"}, frozenset({"a", "b"})),
        (frozenset(), frozenset()),
        (["a", "a"], frozenset({"a"})),
        (0.1, Decimal("0.1")),
        (1e22, Decimal("1e22")),
        (np.float32(0.1), Decimal("0.1")),
        (np.float64(0.25), Decimal("0.25")),
        (np.int64(-3), Decimal(-3)),
        (INSTANT.replace(microsecond=89999), INSTANT),
        (None, None),
    ],
)
def test_a_value_survives(value: object, expected: object) -> None:
    message = pb.FieldValue()
    contacts.write_field_value(value, message)
    found = contacts.read_field_value(pb.FieldValue.FromString(message.SerializeToString()))
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        b"bytes",
        object(),
        Decimal("NaN"),
        datetime(2026, 1, 1),
        "\ud800",
        [1],
        {1, "a"},
        {"\ud800"},
        ["a", None],
    ],
)
def test_what_no_field_holds_is_refused(value: object) -> None:
    with pytest.raises(InvalidValue):
        contacts.write_field_value(value, pb.FieldValue())


def test_rows_that_cannot_be_sent_are_rejects_in_their_place() -> None:
    rows = [
        ("a", {"n": 1}),
        ("b", {"n": float("inf")}),
        (b"\xff", {}),
        (b"c", {"x": "1"}),
        ("\ud800", {}),
        ("d", {"\ud800": 1}),
        ("e", {}),
    ]
    messages, errors = contacts.write_rows(rows)
    assert [m.contact_id for m in messages] == ["a", "c", "e"]
    answer = WriteResult(5, 2, 2, 0, (Reject(1, "c", "x", "UNKNOWN_FIELD", "row 1: there is none"),))
    merged = errors.merge_rejects(answer)
    assert all(r.message.startswith(f"row {r.index}: ") for r in merged.rejects)
    assert [(r.index, r.contact_id, r.reason) for r in merged.rejects] == [
        (1, "b", "INVALID_VALUE"),
        (2, "\\xff", "INVALID_CONTACT_ID"),
        (3, "c", "UNKNOWN_FIELD"),
        (4, "\\ud800", "INVALID_CONTACT_ID"),
        (5, "d", "INVALID_VALUE"),
    ]


def test_rows_that_cannot_be_read_are_rejects_in_their_place() -> None:
    bad_number = pb.ContactRow(contact_id="a", fields={"n": pb.FieldValue(decimal_value="ten")})
    bad_date = pb.ContactRow(
        contact_id="b", fields={"d": pb.FieldValue(date_value={"year": 2026, "month": 2, "day": 31})}
    )
    nothing = pb.ContactRow(contact_id="c", fields={"x": pb.FieldValue()})
    good = pb.ContactRow(contact_id="d", fields={"n": pb.FieldValue(decimal_value="1.50")})
    rows, errors = contacts.read_rows([bad_number, good, bad_date, nothing, good])
    assert rows == [("d", {"n": Decimal("1.50")})] * 2
    merged = errors.merge_rejects(WriteResult(1, 1, 1, 1, (Reject(1, "d", "n", "X", "y"),)))
    assert [(r.index, r.contact_id, r.field) for r in merged.rejects] == [
        (0, "a", "n"),
        (2, "b", "d"),
        (3, "c", "x"),
        (4, "d", "n"),
    ]


def test_a_contact_survives() -> None:
    contact = Contact("a", {"tags": frozenset({"x"}), "n": Decimal("1.5"), "s": "", "t": INSTANT})
    message = pb.Contact()
    contacts.write_contact(contact, message)
    assert contacts.read_contact(pb.Contact.FromString(message.SerializeToString())) == contact


def test_a_stream_knows_the_callers_index_of_every_reject() -> None:
    def rows() -> Iterator[tuple[str, dict[str, object]]]:
        for i in range(10):
            yield f"c{i}", {"n": float("inf") if i in (0, 3, 4, 9) else 1}

    batches = contacts.Batches(rows(), 3)
    sent = [[m.contact_id for m in messages] for messages in batches]
    assert sent == [["c1", "c2"], ["c5"], ["c6", "c7", "c8"]]
    assert batches.refused == 4
    # The server counts the rows it was sent: c1 is 0, c5 is 2, c8 is 5.
    returned = [Reject(i, c, "", "X", "") for i, c in ((0, "c1"), (2, "c5"), (5, "c8"))]
    merged = batches.merge(returned)
    assert [(r.index, r.contact_id) for r in merged] == [(int(r.contact_id[1:]), r.contact_id) for r in merged]
    assert len(merged) == 7
