"""A contact's timeline, of the protocol to and from the model. Imports only v1, the model and the other conversions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from segidx.model.errors import InvalidValue
from segidx.model.events import OrderLine
from segidx.model.results import ContactEvent, ContactEvents, Evaluation
from segidx.model.values import scalar
from segidx.v1 import contacts_pb2, events_pb2
from segidx.wire.contacts import digits
from segidx.wire.event_writes import read_event_value, write_event_value
from segidx.wire.results import read_evaluated_at
from segidx.wire.values import read_decimal, read_instant, write_instant

_STRINGS = ("product", "producer", "category")
_NUMBERS = ("quantity", "unit_price", "amount")


def read_times(message: contacts_pb2.ListContactEventsRequest) -> tuple[datetime | None, datetime | None]:
    """(start, end) of a request. Raises InvalidValue."""
    start = read_instant(message.start_time) if message.HasField("start_time") else None
    return start, read_instant(message.end_time) if message.HasField("end_time") else None


def write_times(start: datetime | None, end: datetime | None, message: contacts_pb2.ListContactEventsRequest) -> None:
    """Raises InvalidValue for what is no instant of whole milliseconds."""
    for value, into in ((start, message.start_time), (end, message.end_time)):
        if value is not None:
            instant = scalar(value)
            if not isinstance(instant, datetime):
                raise InvalidValue(f"a {type(value).__name__} is not an instant")
            write_instant(instant, into)


def read_contact_events(message: contacts_pb2.ListContactEventsResponse) -> ContactEvents:
    return ContactEvents(
        tuple(_read_event(each) for each in message.events),
        message.next_page_token,
        Evaluation(message.generation, read_evaluated_at(message), message.elapsed_ms),
    )


def write_contact_events(found: ContactEvents, message: contacts_pb2.ListContactEventsResponse) -> None:
    for event in found.events:
        _write_event(event, message.events.add())
    message.next_page_token = found.next_page_token
    message.generation = found.evaluation.generation
    write_instant(found.evaluation.evaluated_at, message.evaluated_at)
    message.elapsed_ms = found.evaluation.elapsed_ms


def _read_event(message: contacts_pb2.ContactEvent) -> ContactEvent:
    read = ((name, read_event_value(value)) for name, value in message.properties.items())
    return ContactEvent(
        message.type,
        message.event_id,
        read_instant(message.time),
        {name: value for name, value in sorted(read) if value is not None},
        message.revision if message.HasField("revision") else None,
        tuple(_read_line(line) for line in message.lines),
    )


def _write_event(event: ContactEvent, message: contacts_pb2.ContactEvent) -> None:
    message.type, message.event_id = event.type, event.event_id
    write_instant(event.time, message.time)
    if event.revision is not None:
        message.revision = event.revision
    for name, value in event.properties.items():
        write_event_value(value, message.properties[name])
    for line in event.lines:
        _write_line(line, message.lines.add())


def _read_line(message: Any) -> OrderLine:
    given: dict[str, Any] = {name: getattr(message, name) for name in _STRINGS if message.HasField(name)}
    given |= {name: read_decimal(getattr(message, name)) for name in _NUMBERS if message.HasField(name)}
    return OrderLine(**given)


def _write_line(line: OrderLine, message: events_pb2.OrderLine) -> None:
    for name in _STRINGS:
        value = getattr(line, name)
        if value is not None:
            setattr(message, name, value)
    for name in _NUMBERS:
        value = getattr(line, name)
        if value is not None:
            setattr(message, name, digits(value))
