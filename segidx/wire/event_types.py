"""Event types of the protocol to and from the model. Imports only v1, the model and the types of fields."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from segidx.model.errors import InvalidSchema
from segidx.model.events import BUILT_IN, FIRST_DECLARED, EventProperty, EventType, EventTypes
from segidx.model.schema import FieldType
from segidx.v1 import schema_pb2 as pb
from segidx.wire.results import FIELD_TYPE_NUMBERS, FIELD_TYPES
from segidx.wire.sending import sending

_BUILT_IN = frozenset(each.name for each in BUILT_IN)


def read_event_type(message: pb.EventType) -> EventType:
    """The type, without a number. Raises InvalidSchema for a property of a type that this release does not know."""
    return EventType(message.name, tuple(_read_property(message.name, each) for each in message.properties))


def _read_property(event_type: str, message: pb.EventProperty) -> EventProperty:
    type_ = FIELD_TYPES.get(message.type)
    if type_ is None:
        raise InvalidSchema(
            f"event type {event_type!r}: property {message.name!r} has no type that this release knows; properties are"
            " category, bool, number and timestamp",
            event_type=event_type,
        )
    money = type_ is FieldType.NUMBER and not message.HasField("scale")
    return EventProperty(message.name, type_, None if money else message.scale)


def read_event_types(messages: Iterable[pb.EventType]) -> EventTypes:
    """The types of an account as it lists them: those that it declares have their numbers by their order."""
    declared = [read_event_type(each) for each in messages if not each.built_in]
    return EventTypes(replace(each, number=FIRST_DECLARED + place) for place, each in enumerate(declared))


def write_event_types(types: Iterable[EventType], messages: Any) -> None:
    """Adds the types to a repeated field. Raises InvalidSchema for what cannot be sent."""
    for each in types:
        with sending(f"event type {each.name!r}", "EventType", InvalidSchema):
            message = messages.add(name=each.name, built_in=each.name in _BUILT_IN)
            for held in each.properties:
                written = message.properties.add(name=held.name, type=FIELD_TYPE_NUMBERS[held.type])
                if held.scale is not None and (held.type is FieldType.NUMBER or held.scale):
                    written.scale = held.scale
