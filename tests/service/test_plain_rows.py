"""The quick way from the wire to a batch gives what the general way gives, on whatever rows it takes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from segidx.database import Account, Database
from segidx.ingest.writes import batches_from_writes
from segidx.model.schema import AccountInfo, Field, FieldType, Schema
from segidx.service.plain_rows import PlainRows
from segidx.testing.effort import times
from segidx.v1 import ingest_pb2 as pb
from segidx.wire.writes import read_writes

FIELDS = [
    Field("n", FieldType.NUMBER, 2),
    Field("city", FieldType.CATEGORY),
    Field("email", FieldType.TEXT),
    Field("seen", FieldType.TIMESTAMP),
    Field("born", FieldType.DATE),
    Field("ok", FieldType.BOOL),
    Field("tags", FieldType.TAGS),
    Field("łatki", FieldType.TAGS),
]
ROWS_FIELD = pb.StreamWritesRequest.DESCRIPTOR.fields_by_name["rows"].number
EVENTS_FIELD = pb.StreamWritesRequest.DESCRIPTOR.fields_by_name["events"].number

NUMBERS = "0 -0 7 +7 007 12.5 12.50 12.500 12.345 1. .5 - 1e3 -3.07 46116860184273879.03 46116860184273879.04 1.2.3"
numbers = st.sampled_from([*NUMBERS.split(), "", "1 ", "9" * 17, "9" * 19])
ids = st.sampled_from(["a", "b", "c", "d", "e", "f", "ż", "", "x" * 255, "x" * 256])
texts = st.sampled_from(["", "Oslo", "Łódź", "a" * 2048, "a" * 2049, "e\u0301", "tab\t"])


@st.composite
def values(draw: st.DrawFn, name: str) -> pb.ContactWrite.FieldsEntry:
    kind = draw(st.sampled_from(["own", "own", "own", "own", "null", "other", "none"]))
    value = pb.ContactWrite.FieldsEntry(key=name).value
    if kind == "null":
        value.null_value = 0
    elif kind == "other":
        value.string_value = draw(texts)
    elif kind == "own":
        if name == "n":
            value.decimal_value = draw(numbers)
        elif name in ("city", "email"):
            value.string_value = draw(texts)
        elif name == "seen":
            value.timestamp_value.seconds = draw(st.sampled_from([0, -1, 1_700_000_000, -62135596800, 253402300800]))
            value.timestamp_value.nanos = draw(st.sampled_from([0, 1, 999_999, 1_000_000, 999_999_999, 1_000_000_000]))
        elif name == "born":
            value.date_value.year = draw(st.sampled_from([1, 1900, 1970, 2000, 2023, 2024, 9999, 10_000, 0]))
            value.date_value.month = draw(st.integers(0, 13))
            value.date_value.day = draw(st.sampled_from([0, 1, 28, 29, 30, 31, 32]))
        elif name == "ok":
            value.bool_value = draw(st.booleans())
        else:
            value.tags_value.tags.extend(draw(st.lists(st.sampled_from(["a", "b", "ż", ""]), max_size=3)))
    return value


@st.composite
def rows(draw: st.DrawFn) -> pb.ContactWrite:
    row = pb.ContactWrite(contact_id=draw(ids))
    names = st.sampled_from([*[f.name for f in FIELDS[:6]] * 3, "tags", "who"])
    for name in draw(st.lists(names, max_size=4, unique=True)):
        row.fields[name].CopyFrom(draw(values(name)))
    for name in draw(st.lists(st.sampled_from(["", "tags", "łatki", "city"]), max_size=2)):
        tag = st.sampled_from(["a", "b", "c", "vip"] if draw(st.integers(0, 9)) else ["ż", "", "d" * 2049])
        row.tags.add(field=name, add=draw(st.lists(tag, max_size=3)), remove=draw(st.lists(tag, max_size=3)))
    if not draw(st.integers(0, 9)):
        row.channels.add(channel=1, flag=draw(st.integers(0, 4)), value=draw(st.booleans()))
    row.must_exist = not draw(st.integers(0, 4))
    return row


requests = st.lists(rows(), max_size=12).map(lambda some: pb.StreamWritesRequest(sequence=1, batch_key="k", rows=some))


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with tempfile.TemporaryDirectory() as place, Database.open(place, create=True) as opened:
        yield opened


def contacts(account: Account) -> dict[str, object]:
    return {c.contact_id: dict(c.fields) for c in account.preview("everyone", limit=1000).contacts}


made = 0


@settings(max_examples=times(50), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(some=[])
@given(some=st.lists(requests, max_size=3))
def test_both_ways_leave_the_same_contacts(database: Database, some: list[pb.StreamWritesRequest]) -> None:
    global made
    made += 1
    quick, general = (database.create_account(AccountInfo(f"{way}{made}")) for way in ("q", "g"))
    for account in (quick, general):
        account.update_schema(FIELDS)
    reader = PlainRows(ROWS_FIELD, EVENTS_FIELD, 10_000)
    for request in some:
        batches = reader.batches(request.SerializeToString(), quick.schema())
        kept, errors = read_writes(request.rows)
        slow = general.submit_batches(batches_from_writes(kept, general.schema())).result()
        if batches is None:
            batches = batches_from_writes(kept, quick.schema())
        else:
            assert not errors.rejects, "what the general way refuses is not plain"
        fast = quick.submit_batches(batches).result()
        assert fast.rejects == slow.rejects
        assert (fast.created, fast.accepted + fast.duplicates) == (slow.created, slow.accepted + slow.duplicates)
        assert contacts(quick) == contacts(general)
    for text in ('suppressed("email")', 'consented("email")', "tags is set", "n > 3", "email is set"):
        assert quick.count(text).count == general.count(text).count
    for account in (quick, general):
        account.close()
        del database._accounts[account.info.name]


def test_plain_rows_are_taken() -> None:
    """The quick way is not one that takes nothing."""
    request = pb.StreamWritesRequest(sequence=7, account="accounts/x", batch_key="k")
    for i in range(100):
        row = request.rows.add(contact_id=f"c{i % 98}")
        row.fields["n"].decimal_value = f"{i}.25"
        row.fields["city"].string_value = f"city {i % 7}"
        row.fields["ok"].bool_value = i % 2 == 0
        row.fields["born"].date_value.year, row.fields["born"].date_value.month = 2000, 2
        row.fields["born"].date_value.day = 29
        row.fields["seen"].timestamp_value.seconds = 1_700_000_000 + i
        row.tags.add(add=["a", f"t{i}", "a"])
    reader = PlainRows(ROWS_FIELD, EVENTS_FIELD, 10_000)
    batches = reader.batches(request.SerializeToString(), Schema(tuple(FIELDS)))
    assert batches is not None
    assert [len(b.ids) for b in batches] == [98, 2]
    assert batches[1].indices is not None
    assert batches[1].indices.tolist() == [98, 99]
    found = reader.header(request.SerializeToString())
    assert found is not None
    header = pb.StreamWritesRequest.FromString(found[0])
    assert not found[1]
    assert (header.sequence, header.account, header.batch_key, len(header.rows)) == (7, "accounts/x", "k", 0)
    assert PlainRows(ROWS_FIELD, EVENTS_FIELD, 99).batches(request.SerializeToString(), Schema(tuple(FIELDS))) is None


def test_events_leave_rows_plain() -> None:
    request = pb.StreamWritesRequest(sequence=7)
    for i in range(3):
        request.events.add().retraction.event_id = f"e{i}"
        request.rows.add(contact_id=f"c{i}")
    reader = PlainRows(ROWS_FIELD, EVENTS_FIELD, 3)
    data = request.SerializeToString()
    # Mixed as no serialiser writes them, too.
    for mixed in (data, pb.StreamWritesRequest(events=request.events).SerializeToString() + data):
        batches = reader.batches(mixed, Schema(tuple(FIELDS)))
        assert batches is not None
        assert [len(b.ids) for b in batches] == [3]
        found = reader.header(mixed)
        assert found is not None
        header = pb.StreamWritesRequest.FromString(found[0])
        assert (header.sequence, len(header.rows), len(header.events), found[1]) == (7, 0, 0, True)
        left = pb.StreamWritesRequest.FromString(reader.without_rows(mixed) or b"")
        whole = pb.StreamWritesRequest.FromString(mixed)
        assert (len(left.rows), list(left.events)) == (0, list(whole.events))
    alone = pb.StreamWritesRequest(events=request.events).SerializeToString()
    batches = reader.batches(alone, Schema(tuple(FIELDS)))
    assert batches is not None
    assert sum(len(b.ids) for b in batches) == 0


@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_damaged_requests_are_not_plain_or_read_alike(junk: bytes, at: int, byte: int) -> None:
    request = pb.StreamWritesRequest(sequence=1)
    for i in range(4):
        row = request.rows.add(contact_id=f"c{i}")
        row.fields["n"].decimal_value = "5"
        row.fields["seen"].timestamp_value.seconds = 5
        row.tags.add(add=["x"], remove=["y"])
    data = bytearray(request.SerializeToString())
    if at < len(data):
        data[at] = byte
    reader = PlainRows(ROWS_FIELD, EVENTS_FIELD, 10_000)
    for damaged in (bytes(data), junk, bytes(data) + junk):
        header = reader.header(damaged)
        batches = reader.batches(damaged, Schema(tuple(FIELDS)))
        if batches is not None:
            assert header is not None
            try:
                pb.StreamWritesRequest.FromString(header[0])
                pb.StreamWritesRequest.FromString(reader.without_rows(damaged) or b"")
            except DecodeError:
                continue  # so the call is refused, whatever its rows are
            parsed = pb.StreamWritesRequest.FromString(damaged)
            assert sum(len(b.ids) for b in batches) == len(parsed.rows)
