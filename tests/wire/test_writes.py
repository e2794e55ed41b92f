"""Rows of writes, acknowledgements and changes survive the wire; what cannot is a reject in its place."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segidx.model.errors import InvalidArgument
from segidx.model.results import Reject, WriteResult
from segidx.model.writes import ChangeKind, Changes, Channel, ChannelFlag, ContactChange, ContactWrite
from segidx.v1 import contacts_pb2, values_pb2
from segidx.v1 import ingest_pb2 as pb
from segidx.wire import writes

INSTANT = datetime(2026, 3, 4, 5, 6, 7, 89000, tzinfo=UTC)


def sent(*rows: ContactWrite) -> tuple[list[ContactWrite], list[Reject]]:
    """The rows as the other side reads them, and those that could not be sent."""
    request = pb.WriteBatchRequest()
    unsent = writes.write_writes(rows, request)
    found, unread = writes.read_writes(pb.WriteBatchRequest.FromString(request.SerializeToString()).rows)
    assert not unread.rejects
    assert (unread.seen, unread.kept) == (len(found), list(range(len(found))))
    assert unsent.seen == len(rows)
    return found, unsent.rejects


EVERYTHING = ContactWrite(
    "anna",
    {
        "s": "Zażółć",
        "empty": "",
        "n": Decimal("-12.50"),
        "zero": Decimal(0),
        "b": True,
        "f": False,
        "d": date(2024, 2, 29),
        "t": INSTANT,
        "tags": frozenset({"a", "b"}),
        "none": frozenset(),
        "clear": None,
    },
    {"tags": ["x", "y"], "labels": ["ż"]},
    {"tags": ["z"], "": ["default"]},
    {
        Channel.EMAIL: {ChannelFlag.CONSENT: True, ChannelFlag.HARD_BOUNCED: False},
        Channel.ADS: {ChannelFlag.COMPLAINED: True},
    },
    must_exist=True,
)


def test_everything_survives() -> None:
    found, rejects = sent(EVERYTHING, ContactWrite("bare"))
    assert not rejects
    assert found[0].tags_removed == {"tags": ["z", "default"]}
    assert found == [
        ContactWrite(
            "anna",
            EVERYTHING.fields,
            EVERYTHING.tags_added,
            found[0].tags_removed,
            EVERYTHING.channels,
            must_exist=True,
        ),
        ContactWrite("bare"),
    ]
    assert {name: type(value) for name, value in found[0].fields.items()} == {
        name: type(value) for name, value in EVERYTHING.fields.items()
    }


def test_other_types_are_sent_as_the_same_values() -> None:
    found, rejects = sent(
        ContactWrite(b"bytes", {"i": 7, "f": 0.1, "big": 10**30, "tags": ["a"], "t": INSTANT.astimezone(timezone.max)}),
        ContactWrite("sets", tags_added={"tags": {"b", "a"}}, tags_removed={"tags": ("d", "c")}),
    )
    assert not rejects
    assert found[0] == ContactWrite(
        "bytes",
        {"i": 7, "f": Decimal("0.1"), "big": 10**30, "tags": frozenset({"a"}), "t": INSTANT},
    )
    # A set has no order, and a row must be the same bytes whenever it is sent.
    assert (found[1].tags_added, found[1].tags_removed) == ({"tags": ["a", "b"]}, {"tags": ["d", "c"]})


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        (ContactWrite("a", {"n": float("inf")}), "n", "INVALID_VALUE"),
        (ContactWrite("a", {"n": object()}), "n", "INVALID_VALUE"),
        (ContactWrite("a", {"n": 10**5000}), "n", "INVALID_VALUE"),
        (ContactWrite("a", {"t": datetime(2026, 1, 1)}), "t", "INVALID_VALUE"),
        (ContactWrite("a", {"s": "\ud800"}), "s", "INVALID_VALUE"),
        (ContactWrite("a", {"\ud800": 1}), "\\ud800", "INVALID_VALUE"),
        (ContactWrite("a", {"x": "1", 5: "1"}), "5", "INVALID_VALUE"),  # type: ignore[dict-item]
        (ContactWrite("a", tags_added={"tags": ["x", "\ud800"]}), "tags", "INVALID_VALUE"),
        (ContactWrite("a", tags_added={"tags": [1]}), "tags", "INVALID_VALUE"),  # type: ignore[list-item]
        (ContactWrite("a", tags_added={"labels": "vip"}), "labels", "INVALID_VALUE"),
        (ContactWrite("a", tags_removed={"labels": 5}), "labels", "INVALID_VALUE"),  # type: ignore[dict-item]
        (
            ContactWrite("a", channels={"email": {ChannelFlag.CONSENT: True}}),  # type: ignore[dict-item]
            "channels",
            "INVALID_VALUE",
        ),
        (ContactWrite(b"\xff"), "", "INVALID_CONTACT_ID"),
        (ContactWrite("\ud800"), "", "INVALID_CONTACT_ID"),
        (ContactWrite(None), "", "INVALID_CONTACT_ID"),  # type: ignore[arg-type]
        (ContactWrite(7), "", "INVALID_CONTACT_ID"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_sent_is_a_reject_in_its_place(row: ContactWrite, field: str, reason: str) -> None:
    first, last = ContactWrite("first", {"n": 1}), ContactWrite("last")
    found, (reject,) = sent(first, row, last)
    assert found == [first, last]
    assert (reject.index, reject.field, reject.reason) == (1, field, reason)
    assert reject.message.startswith("row 1: ")
    reject.message.encode()


def test_what_cannot_be_read_is_a_reject_in_its_place() -> None:
    good = pb.ContactWrite(contact_id="good", fields={"n": contacts_pb2.FieldValue(decimal_value="1.50")})

    def bad(name: str, **value: object) -> pb.ContactWrite:
        return pb.ContactWrite(contact_id="bad", fields={name: contacts_pb2.FieldValue(**value)})  # type: ignore[arg-type]

    flags = [
        pb.ChannelEdit(channel=values_pb2.CHANNEL_EMAIL),
        pb.ChannelEdit(flag=pb.CHANNEL_FLAG_CONSENT),
        pb.ChannelEdit(channel=99, flag=1),  # type: ignore[arg-type]
    ]
    messages = [
        bad("n", decimal_value="ten"),
        bad("n", decimal_value="1" * 129),
        bad("n", decimal_value=""),
        good,
        bad("d", date_value={"year": 2026, "month": 2, "day": 31}),
        bad("x"),
        *(pb.ContactWrite(contact_id="bad", channels=[flag]) for flag in flags),
        good,
    ]
    rows, errors = writes.read_writes(messages)
    assert rows == [ContactWrite("good", {"n": Decimal("1.50")})] * 2
    merged = errors.merge_rejects(WriteResult(1, 1, 1, 0, (Reject(1, "good", "n", "X", "row 1: y"),)))
    assert [(r.index, r.field) for r in merged.rejects] == [
        (0, "n"),
        (1, "n"),
        (2, "n"),
        (4, "d"),
        (5, "x"),
        (6, "channels"),
        (7, "channels"),
        (8, "channels"),
        (9, "n"),
    ]
    assert merged.rejects[-1].message == "row 9: y"


def test_edits_of_one_field_and_of_one_flag_add_up() -> None:
    message = pb.ContactWrite(contact_id="a")
    message.tags.add(add=["x"])
    message.tags.add(field="tags", add=["y"], remove=["z"])
    message.tags.add(field="labels")
    for value in (True, False):
        message.channels.add(channel=values_pb2.CHANNEL_SMS, flag=pb.CHANNEL_FLAG_UNSUBSCRIBED, value=value)
    ((row,), _) = writes.read_writes([message])
    assert (row.tags_added, row.tags_removed) == ({"tags": ["x", "y"]}, {"tags": ["z"]})
    assert row.channels == {Channel.SMS: {ChannelFlag.UNSUBSCRIBED: False}}


values = st.one_of(
    st.none(),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.booleans(),
    st.integers(-(10**15), 10**15).map(Decimal),
    st.decimals(allow_nan=False, allow_infinity=False, places=3),
    st.dates(),
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)).map(
        lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000)
    ),
    st.frozensets(st.text(max_size=5)),
)
names = st.text(max_size=5)
edits = st.dictionaries(names.filter(bool), st.lists(st.text(max_size=3), min_size=1), max_size=2)
flags = st.dictionaries(
    st.sampled_from(Channel), st.dictionaries(st.sampled_from(ChannelFlag), st.booleans(), min_size=1), max_size=3
)
rows = st.builds(
    ContactWrite, st.text(max_size=9), st.dictionaries(names, values, max_size=4), edits, edits, flags, st.booleans()
)


@given(st.lists(rows, max_size=4))
def test_rows_survive(given_rows: list[ContactWrite]) -> None:
    assert sent(*given_rows) == (given_rows, [])


def test_read_rows_are_whole_values() -> None:
    """They are built without their constructor."""
    found, _ = sent(EVERYTHING, ContactWrite("bare"))
    for row in found:
        assert repr(row).startswith("ContactWrite(contact_id=")
        with pytest.raises(AttributeError):
            row.must_exist = False  # type: ignore[misc]


def test_batch_keys() -> None:
    assert writes.check_batch_key("ż" * 64) == "ż" * 64
    for key in ("ż" * 65, "\ud800"):
        with pytest.raises(InvalidArgument):
            writes.check_batch_key(key)


def test_acknowledgements_survive() -> None:
    for result in (
        WriteResult(5, 3, 2, 1, (Reject(1, "b", "n", "INVALID_VALUE", "row 1: no"),), replayed=True),
        WriteResult(1 << 40, 0, 0, 0),
    ):
        for message in (pb.WriteBatchResponse(), pb.StreamWritesResponse()):
            writes.write_acknowledgement(result, message)
            assert writes.read_acknowledgement(type(message).FromString(message.SerializeToString())) == result


def changes(count: int, *, last: bool = True) -> Changes:
    kinds = [frozenset(), frozenset(ChangeKind), frozenset({ChangeKind.TAGS})]
    contacts = tuple(ContactChange(f"c{i}", kinds[i % 3]) for i in range(count))
    return Changes(9, INSTANT + timedelta(microseconds=5), contacts, last)


def survived(given_changes: Changes) -> list[Changes]:
    messages = writes.write_changes(given_changes, contacts=True)
    return [writes.read_changes(pb.StreamChangesResponse.FromString(m.SerializeToString())) for m in messages]


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("count", [0, 1, 3, writes.MAX_CHANGES, writes.MAX_CHANGES + 1, 2 * writes.MAX_CHANGES])
def test_changes_survive_in_parts(count: int, last: bool) -> None:
    whole = changes(count, last=last)
    parts = survived(whole)
    assert tuple(c for part in parts for c in part.contacts) == whole.contacts
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [last]
    assert len(parts) == max(1, -(-count // writes.MAX_CHANGES))
    assert {(part.generation, part.time) for part in parts} == {(whole.generation, whole.time)}


def test_changes_without_contacts_come_once_a_generation() -> None:
    assert list(writes.write_changes(changes(3, last=False), contacts=False)) == []
    (message,) = writes.write_changes(changes(3), contacts=False)
    assert (message.generation, message.last, len(message.contacts)) == (9, True, 0)


def test_a_kind_of_a_later_release_is_left_out() -> None:
    message = pb.StreamChangesResponse(generation=1)
    message.contacts.add(contact_id="a", kinds=[pb.CHANGE_KIND_CREATED, 99])  # type: ignore[list-item]
    assert writes.read_changes(message).contacts == (ContactChange("a", frozenset({ChangeKind.CREATED})),)


def test_every_name_of_the_model_has_its_number() -> None:
    assert set(writes.CHANNEL_FLAGS.values()) == set(ChannelFlag)
    assert set(writes.CHANGE_KINDS.values()) == set(ChangeKind)
    assert [f.name for f in pb.ChannelFlag.DESCRIPTOR.values] == [
        "CHANNEL_FLAG_UNSPECIFIED",
        *(f"CHANNEL_FLAG_{flag.name}" for flag in ChannelFlag),
    ]
