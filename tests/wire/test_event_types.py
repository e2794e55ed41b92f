"""Event types survive the wire, with their numbers; what cannot is refused as a whole."""

from __future__ import annotations

import pytest

from segidx.model.errors import InvalidSchema
from segidx.model.events import BUILT_IN, EventProperty, EventType, EventTypes
from segidx.model.schema import FieldType
from segidx.v1 import schema_pb2 as pb
from segidx.wire.event_types import read_event_type, read_event_types, write_event_types

DOWNLOAD = EventType(
    "download",
    (
        EventProperty("file", FieldType.CATEGORY),
        EventProperty("whole", FieldType.BOOL),
        EventProperty("size", FieldType.NUMBER, 0),
        EventProperty("share", FieldType.NUMBER, 9),
        EventProperty("price", FieldType.NUMBER, None),
        EventProperty("published", FieldType.TIMESTAMP),
    ),
)
BARE = EventType("bare")


def sent(types: object) -> list[pb.EventType]:
    response = pb.ListEventTypesResponse()
    write_event_types(types, response.event_types)  # type: ignore[arg-type]
    return list(pb.ListEventTypesResponse.FromString(response.SerializeToString()).event_types)


def test_types_survive_with_their_numbers() -> None:
    for types in (EventTypes(), EventTypes().extended([DOWNLOAD, BARE])):
        assert read_event_types(sent(types)) == types
        assert [each.number for each in read_event_types(sent(types))] == [each.number for each in types]


def test_those_that_every_account_has_say_so() -> None:
    messages = sent(EventTypes().extended([DOWNLOAD]))
    assert [(m.name, m.built_in) for m in messages] == [*((b.name, True) for b in BUILT_IN), ("download", False)]
    # As read, they are what this release knows them to be.
    assert [read_event_type(m) for m in messages[: len(BUILT_IN)]] == [
        EventType(b.name, b.properties) for b in BUILT_IN
    ]


def test_money_is_a_number_without_a_scale() -> None:
    properties = {p.name: p for p in sent([DOWNLOAD])[0].properties}
    assert {name: p.scale if p.HasField("scale") else None for name, p in properties.items()} == {
        "file": None,
        "whole": None,
        "size": 0,
        "share": 9,
        "price": None,
        "published": None,
    }
    assert read_event_type(
        pb.EventType(name="x", properties=[pb.EventProperty(name="p", type=pb.FIELD_TYPE_CATEGORY)])
    ) == EventType("x", (EventProperty("p", FieldType.CATEGORY),))


@pytest.mark.parametrize("number", [0, 99])
def test_a_type_of_no_property_is_refused(number: int) -> None:
    with pytest.raises(InvalidSchema, match="'x': property 'p' has no type"):
        read_event_type(pb.EventType(name="x", properties=[{"name": "p", "type": number}]))  # type: ignore[list-item]


@pytest.mark.parametrize(
    "wrong",
    [
        EventType("\ud800"),
        EventType("x", (EventProperty("\ud800", FieldType.BOOL),)),
        EventType("x", (EventProperty("p", FieldType.NUMBER, 1 << 40),)),
        EventType("x", (EventProperty("p", "category"),)),  # type: ignore[arg-type]
        EventType(7),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_sent_is_refused(wrong: EventType) -> None:
    with pytest.raises(InvalidSchema, match="cannot be sent"):
        sent([BARE, wrong])


def test_what_the_database_refuses_can_be_sent() -> None:
    odd = EventType("Odd name", (EventProperty("p", FieldType.TAGS, 3), EventProperty("q", FieldType.NUMBER, -1)))
    assert [read_event_type(m) for m in sent([odd])] == [odd]
