"""What batches do to the oracle's contacts."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from segidx.model.errors import (
    ContactNotFound,
    InvalidArgument,
    InvalidValue,
    SchemaConflict,
    TypeMismatch,
    UnknownField,
)
from segidx.model.schema import MAX_MINOR_UNITS, Field, FieldType, Schema
from segidx.model.writes import Channel, ChannelFlag
from segidx.testing.oracle import Oracle

SCHEMA = Schema(
    (
        Field("tags", FieldType.TAGS),
        Field("country", FieldType.CATEGORY),
        Field("spend", FieldType.NUMBER, 2),
        Field("consent", FieldType.BOOL),
        Field("born", FieldType.DATE),
        Field("signup", FieldType.TIMESTAMP),
    )
)


@pytest.fixture
def oracle() -> Oracle:
    return Oracle(SCHEMA, "UTC")


def test_given_replaces_none_clears_absent_leaves(oracle: Oracle) -> None:
    oracle.upsert([("a", {"country": "PL", "spend": 1, "tags": {"x", "y"}})])
    result = oracle.upsert([("a", {"country": "DE", "spend": None, "consent": False})])
    assert (result.accepted, result.created, result.duplicates) == (1, 0, 0)
    assert oracle.contacts == {"a": {"country": "DE", "tags": frozenset({"x", "y"}), "consent": False}}
    oracle.upsert([("a", {"tags": {"z"}}), ("b", {})])
    assert oracle.contacts["a"]["tags"] == {"z"}
    assert oracle.contacts["b"] == {}
    oracle.upsert([("a", {"tags": set()})])
    assert "tags" not in oracle.contacts["a"]


def test_the_last_row_of_an_id_wins_entirely(oracle: Oracle) -> None:
    oracle.upsert([("a", {"country": "PL", "spend": 1})])
    result = oracle.upsert([("a", {"country": "DE"}), ("b", {}), ("a", {"spend": 2}), ("a", {"spend": 3})])
    assert (result.accepted, result.created, result.duplicates) == (2, 1, 2)
    assert oracle.contacts["a"] == {"country": "PL", "spend": Decimal(3)}


def test_a_bad_last_row_leaves_the_one_before(oracle: Oracle) -> None:
    result = oracle.upsert([("a", {"country": "DE"}), ("a", {"country": 5}), ("b", {"spend": "1"}), ("b", {})])
    assert [(r.index, r.contact_id, r.field, r.reason) for r in result.rejects] == [
        (1, "a", "country", "TYPE_MISMATCH"),
        (2, "b", "spend", "TYPE_MISMATCH"),
    ]
    assert (result.accepted, result.created, result.duplicates) == (2, 2, 0)
    assert oracle.contacts == {"a": {"country": "DE"}, "b": {}}


@pytest.mark.parametrize(
    ("contact_id", "fields", "reason"),
    [
        ("", {}, "INVALID_CONTACT_ID"),
        ("i" * 256, {}, "INVALID_CONTACT_ID"),
        ("é" * 128, {}, "INVALID_CONTACT_ID"),
        ("\ud800", {}, "INVALID_CONTACT_ID"),
        ("a", {"land": "PL"}, "UNKNOWN_FIELD"),
        ("a", {"country": True}, "TYPE_MISMATCH"),
        ("a", {"country": "x" * 2049}, "INVALID_VALUE"),
        ("a", {"country": "é" * 1025}, "INVALID_VALUE"),
        ("a", {"country": "\ud800"}, "INVALID_VALUE"),
        ("a", {"tags": "vip"}, "TYPE_MISMATCH"),
        ("a", {"tags": {""}}, "INVALID_VALUE"),
        ("a", {"tags": {5}}, "TYPE_MISMATCH"),
        ("a", {"tags": {"x" * 2049}}, "INVALID_VALUE"),
        ("a", {"spend": True}, "TYPE_MISMATCH"),
        ("a", {"spend": 0.5}, "INVALID_VALUE"),
        ("a", {"spend": Decimal("NaN")}, "INVALID_VALUE"),
        ("a", {"spend": Decimal("-Infinity")}, "INVALID_VALUE"),
        ("a", {"spend": Decimal("1.005")}, "INVALID_VALUE"),
        ("a", {"spend": Decimal(MAX_MINOR_UNITS + 1).scaleb(-2)}, "INVALID_VALUE"),
        ("a", {"spend": Decimal(-MAX_MINOR_UNITS - 1).scaleb(-2)}, "INVALID_VALUE"),
        ("a", {"consent": 1}, "TYPE_MISMATCH"),
        ("a", {"born": datetime(2024, 1, 1, tzinfo=UTC)}, "TYPE_MISMATCH"),
        ("a", {"signup": date(2024, 1, 1)}, "TYPE_MISMATCH"),
        ("a", {"signup": datetime(2024, 1, 1)}, "INVALID_VALUE"),
        ("a", {"signup": datetime(2024, 1, 1, microsecond=1, tzinfo=UTC)}, "INVALID_VALUE"),
    ],
)
def test_bad_rows_are_refused_whole(oracle: Oracle, contact_id: str, fields: dict[str, object], reason: str) -> None:
    result = oracle.upsert([("good", {"country": "PL"}), (contact_id, {"consent": True, **fields})])
    assert [(r.index, r.reason) for r in result.rejects] == [(1, reason)]
    assert result.accepted == 1
    assert oracle.contacts == {"good": {"country": "PL"}}


@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        ({"country": "x" * 2048}, {"country": "x" * 2048}),
        ({"country": ""}, {"country": ""}),
        ({"country": "e\u0301"}, {"country": "é"}),
        ({"tags": ["e\u0301", "é"]}, {"tags": frozenset({"é"})}),
        ({"spend": Decimal("1.5000")}, {"spend": Decimal("1.5")}),
        (
            {"spend": Decimal(MAX_MINOR_UNITS).scaleb(-2)},
            {"spend": Decimal(MAX_MINOR_UNITS).scaleb(-2)},
        ),
        ({"born": date.min}, {"born": date.min}),
        (
            {"signup": datetime.fromisoformat("2024-01-01T01:00:00.001+01:00")},
            {"signup": datetime(2024, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)},
        ),
    ],
)
def test_what_is_kept(oracle: Oracle, fields: dict[str, object], stored: dict[str, object]) -> None:
    assert oracle.upsert([("i" * 255, fields)]).rejects == ()
    assert oracle.contacts == {"i" * 255: stored}


def test_ids_are_not_normalised(oracle: Oracle) -> None:
    assert oracle.upsert([("é", {}), ("e\u0301", {})]).created == 2


def test_tags_are_added_removed_and_replaced(oracle: Oracle) -> None:
    oracle.upsert([("a", {"tags": {"x", "y"}}), ("b", {})])
    result = oracle.tag(["a", "b", "nobody", "a"], add=["z"], remove=["x"])
    assert (result.accepted, result.created, result.duplicates) == (2, 0, 1)
    assert [(r.index, r.contact_id, r.reason) for r in result.rejects] == [(2, "nobody", "CONTACT_NOT_FOUND")]
    assert oracle.contacts == {"a": {"tags": frozenset({"y", "z"})}, "b": {"tags": frozenset({"z"})}}
    oracle.tag(["b"], remove=["z", "never held"])
    assert oracle.contacts["b"] == {}
    oracle.tag(["a"], replace=["e\u0301"])
    assert oracle.contacts["a"] == {"tags": frozenset({"é"})}
    oracle.tag(["a"], replace=[])
    assert oracle.contacts["a"] == {}


def test_tag_requests_that_are_refused(oracle: Oracle) -> None:
    oracle.upsert([("a", {"tags": {"x"}})])
    with pytest.raises(UnknownField):
        oracle.tag(["a"], add=["y"], field="tag")
    with pytest.raises(TypeMismatch):
        oracle.tag(["a"], add=["y"], field="country")
    with pytest.raises(InvalidValue):
        oracle.tag(["a"], add=["y", ""])
    with pytest.raises(InvalidArgument):
        oracle.tag(["a"], add=["y"], replace=["z"])
    assert oracle.contacts == {"a": {"tags": frozenset({"x"})}}


def test_fields_are_added_never_retyped(oracle: Oracle) -> None:
    oracle.declare([Field("city", FieldType.TEXT), Field("spend", FieldType.NUMBER, 2)])
    assert oracle.upsert([("a", {"city": "Łódź"})]).accepted == 1
    with pytest.raises(SchemaConflict):
        oracle.declare([Field("spend", FieldType.NUMBER, 3)])


CONSENT, BOUNCED, COMPLAINED = ChannelFlag.CONSENT, ChannelFlag.HARD_BOUNCED, ChannelFlag.COMPLAINED


def test_flags_are_set_and_cleared_one_by_one(oracle: Oracle) -> None:
    oracle.upsert([("a", {}), ("b", {})])
    oracle.set_channels("a", {Channel.EMAIL: {CONSENT: True, COMPLAINED: True}, Channel.SMS: {CONSENT: True}})
    oracle.set_channels("a", {Channel.EMAIL: {COMPLAINED: False, BOUNCED: False}, Channel.ADS: {}})
    assert oracle.flags == {"a": {(Channel.EMAIL, CONSENT), (Channel.SMS, CONSENT)}}
    with pytest.raises(ContactNotFound):
        oracle.set_channels("z", {Channel.EMAIL: {CONSENT: True}})


def test_a_new_address_clears_the_hard_bounce_of_its_channel_only() -> None:
    oracle = Oracle(Schema((Field("email", FieldType.TEXT), Field("phone", FieldType.TEXT))), "UTC")
    oracle.upsert([("a", {"email": "a@x", "phone": "1"})])
    bounced = {Channel.EMAIL: {BOUNCED: True, COMPLAINED: True}, Channel.SMS: {BOUNCED: True}}
    oracle.set_channels("a", bounced)
    kept = {(Channel.EMAIL, BOUNCED), (Channel.EMAIL, COMPLAINED), (Channel.SMS, BOUNCED)}
    oracle.upsert([("a", {"email": "a@x", "phone": None}), ("b", {"email": "b@x"})])
    assert oracle.flags == {"a": kept}
    oracle.upsert([("a", {"email": "new@x"})])
    assert oracle.flags == {"a": kept - {(Channel.EMAIL, BOUNCED)}}
    oracle.upsert([("a", {"phone": "1"})])  # after it was taken away it is another one
    assert oracle.flags == {"a": {(Channel.EMAIL, COMPLAINED)}}
