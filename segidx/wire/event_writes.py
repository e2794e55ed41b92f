"""Events, orders and retractions that are written, of the protocol to and from the model.

A server converts every event of every stream here. One that cannot be converted is a reject, as a row of a contact is.
Imports only v1, the model and the other conversions.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from numbers import Real
from typing import Any, Final

from segidx.model.errors import InvalidValue, SegidxError
from segidx.model.events import ORDER, Event, EventRow, Order, OrderLine, Retraction
from segidx.v1 import events_pb2 as pb
from segidx.wire.contacts import RowErrors, contact_id_text, digits, for_report
from segidx.wire.values import MAX_DECIMAL_TEXT, is_decimal, read_decimal, read_instant, write_instant

_NULL = 0  # google.protobuf.NULL_VALUE
_LINE_STRINGS: Final = ("product", "producer", "category")
_LINE_NUMBERS: Final = ("quantity", "unit_price", "amount")


class _Refused(Exception):
    """Carries the first thing wrong with an event out: the field, and why."""

    def __init__(self, field: str, error: SegidxError) -> None:
        super().__init__(field)
        self.field = field
        self.error = error


# --- reading -----------------------------------------------------------------------------------------------


def read_event_writes(messages: Iterable[pb.EventWrite], currency: str) -> tuple[list[EventRow], RowErrors]:
    """The events of a batch as the database takes them, and those that could not be read or are in another currency
    than the account's."""
    rows: list[EventRow] = []
    errors = RowErrors()
    for message in messages:
        kind = message.WhichOneof("kind")
        try:
            if kind == "event":
                rows.append(_read_event(message.event, currency))
            elif kind == "order":
                rows.append(_read_order(message.order, currency))
            elif kind == "retraction":
                rows.append(_read_retraction(message.retraction))
            else:
                raise _Refused("", InvalidValue("the event says no kind; set event, order or retraction"))
        except _Refused as refused:
            _refuse(errors, refused, *_named(message, kind))
            continue
        errors.keep()
    return rows, errors


def _named(message: pb.EventWrite, kind: str | None) -> tuple[str, str, str]:
    """(type, event id, contact id) of an event that could not be read."""
    if kind == "order":
        return ORDER.name, message.order.order_id, message.order.contact_id
    if kind == "retraction":
        return message.retraction.type, message.retraction.event_id, ""
    return message.event.type, message.event.event_id, message.event.contact_id


def _read_event(message: pb.Event, currency: str) -> Event:
    properties: dict[str, Any] = {}
    time = _read_time(message)
    if given := message.currency:
        _check_currency(given, currency)
    values = message.properties
    for name in values:
        value = values[name]
        # Of the kinds of a oneof the unset ones read as empty, so that the two common kinds need no question.
        if text := value.string_value:
            properties[name] = text
        elif (text := value.decimal_value) and len(text) <= MAX_DECIMAL_TEXT and is_decimal(text):
            properties[name] = Decimal(text)
        else:
            try:
                properties[name] = read_event_value(value)
            except SegidxError as error:
                raise _Refused(name, error) from None
    revision = message.revision if message.HasField("revision") else None
    return Event(message.type, message.event_id, message.contact_id, time, properties, revision)


def read_event_value(message: pb.EventValue) -> str | Decimal | bool | datetime | None:
    """The value of a property, None for null. Raises InvalidValue."""
    kind = message.WhichOneof("kind")
    if kind == "string_value":
        return message.string_value
    if kind == "decimal_value":
        return read_decimal(message.decimal_value)
    if kind == "bool_value":
        return message.bool_value
    if kind == "timestamp_value":
        return read_instant(message.timestamp_value, round_down=True)
    if kind == "null_value":
        return None
    raise InvalidValue("the value says no kind; set one, or leave the property out")


def _read_order(message: pb.Order, currency: str) -> Order:
    time = _read_time(message)
    if given := message.currency:
        _check_currency(given, currency)
    lines: list[OrderLine] = []
    try:
        for line in message.lines:
            lines.append(
                OrderLine(
                    line.product or _empty(line, "product"),
                    line.producer or _empty(line, "producer"),
                    line.category or _empty(line, "category"),
                    _read_number(line.quantity, line, "quantity"),
                    _read_number(line.unit_price, line, "unit_price"),
                    _read_number(line.amount, line, "amount"),
                )
            )
    except _Refused as refused:
        raise _of_line(len(lines), refused) from None
    return Order(
        message.order_id,
        message.contact_id,
        time,
        message.source or _empty(message, "source"),
        message.paid if message.HasField("paid") else None,
        _read_number(message.amount, message, "amount"),
        lines,
        message.revision if message.HasField("revision") else None,
    )


def _read_retraction(message: pb.Retraction) -> Retraction:
    return Retraction(message.type, message.event_id, message.revision if message.HasField("revision") else None)


def _read_time(message: pb.Event | pb.Order) -> datetime:
    if not message.HasField("time"):
        # Said by who checks what an event has, in the same words as in process.
        return None  # type: ignore[return-value]
    try:
        return read_instant(message.time, round_down=True)
    except SegidxError as error:
        raise _Refused("time", error) from None


def _check_currency(given: str, currency: str) -> None:
    if given != currency:
        why = f"{given[:40]!r} is not the account's currency, {currency}"
        raise _Refused("currency", InvalidValue(f"{why}; convert the amounts before you send them"))


def _empty(message: Any, name: str) -> str | None:
    """What an empty string stands for: itself where the field is set."""
    return "" if message.HasField(name) else None


def _read_number(text: str, message: Any, name: str) -> Decimal | None:
    if text and len(text) <= MAX_DECIMAL_TEXT and is_decimal(text):
        return Decimal(text)
    if not text and not message.HasField(name):
        return None
    try:
        return read_decimal(text)
    except SegidxError as error:
        raise _Refused(name, error) from None


def _of_line(number: int, refused: _Refused) -> _Refused:
    place = f"lines[{number}]"
    refused.error.message = f"{place}: {refused.error.message}"
    return _Refused(f"{place}.{refused.field}" if refused.field else place, refused.error)


def _refuse(errors: RowErrors, refused: _Refused, type_: object, event_id: object, contact_id: object) -> None:
    error = refused.error
    if shown := for_report(event_id):
        error.message = f"{for_report(type_)} {shown!r}: {error.message}"
    errors.refuse(for_report(contact_id), for_report(refused.field), error)


# --- writing -----------------------------------------------------------------------------------------------


def write_event_writes(rows: Iterable[EventRow], messages: Any) -> RowErrors:
    """Adds the events to the repeated field of a request, and returns those that cannot be sent."""
    errors = RowErrors()
    for row in rows:
        message = messages.add()
        try:
            if isinstance(row, Event):
                _write_event(row, message.event)
            elif isinstance(row, Order):
                _write_order(row, message.order)
            elif isinstance(row, Retraction):
                message.retraction.SetInParent()
                _put(message.retraction, "type", row.type)
                _put(message.retraction, "event_id", _event_id(row.event_id, "event_id"))
                _put(message.retraction, "revision", row.revision)
            else:
                raise _Refused("", InvalidValue(f"a {type(row).__name__} is no event, order or retraction"))
        except _Refused as refused:
            del messages[-1]
            type_ = ORDER.name if isinstance(row, Order) else getattr(row, "type", "")
            event_id = row.order_id if isinstance(row, Order) else getattr(row, "event_id", "")
            _refuse(errors, refused, type_, event_id, getattr(row, "contact_id", ""))
            continue
        errors.keep()
    return errors


def _write_event(event: Event, message: pb.Event) -> None:
    _put(message, "type", event.type)
    _put(message, "event_id", _event_id(event.event_id, "event_id"))
    _put(message, "contact_id", _contact_id(event.contact_id))
    _write_time(event.time, message)
    _put(message, "revision", event.revision)
    values = message.properties
    try:
        given = event.properties.items()
    except AttributeError:
        raise _Refused("properties", InvalidValue("properties are a mapping of names to values")) from None
    for name, value in given:
        try:
            write_event_value(value, values[name])
        except SegidxError as error:
            raise _Refused(name, error) from None
        except (UnicodeEncodeError, TypeError, ValueError) as error:
            raise _Refused(name, _unsent(error)) from None


def write_event_value(value: object, message: pb.EventValue) -> None:
    """Fills `message` with the value of a property. Raises InvalidValue, and what protobuf raises of strings."""
    if value is None:
        message.null_value = _NULL  # type: ignore[assignment]
    elif isinstance(value, str):
        message.string_value = value
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, Decimal | Real):
        message.decimal_value = digits(value)
    elif isinstance(value, datetime):
        write_instant(_aware(value), message.timestamp_value)
    else:
        raise InvalidValue(f"a value of type {type(value).__name__} is not one that a property can hold")


def _write_order(order: Order, message: pb.Order) -> None:
    _put(message, "order_id", _event_id(order.order_id, "order_id"))
    _put(message, "contact_id", _contact_id(order.contact_id))
    _write_time(order.time, message)
    _put(message, "source", order.source)
    _put(message, "paid", order.paid)
    _put_number(message, "amount", order.amount)
    _put(message, "revision", order.revision)
    try:
        lines = list(order.lines)
    except TypeError:
        raise _Refused("lines", InvalidValue("lines are a sequence of OrderLine")) from None
    for number, line in enumerate(lines):
        written = message.lines.add()
        try:
            if not isinstance(line, OrderLine):
                raise _Refused("", InvalidValue(f"a line is an OrderLine, not {type(line).__name__}"))
            for name in _LINE_STRINGS:
                _put(written, name, getattr(line, name))
            for name in _LINE_NUMBERS:
                _put_number(written, name, getattr(line, name))
        except _Refused as refused:
            raise _of_line(number, refused) from None


def _write_time(time: object, message: pb.Event | pb.Order) -> None:
    if time is None:
        return  # as absent, which the server refuses
    try:
        if not isinstance(time, datetime):
            raise InvalidValue(f"a {type(time).__name__} is not an instant")
        write_instant(_aware(time), message.time)
    except SegidxError as error:
        raise _Refused("time", error) from None


def _aware(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise InvalidValue(f"instant {time.isoformat()} has no time zone; give it one")
    return time


def _put(message: Any, name: str, value: object) -> None:
    """Sets a field, or leaves it absent for None."""
    if value is None:
        return
    try:
        setattr(message, name, value)
    except (UnicodeEncodeError, TypeError, ValueError) as error:
        raise _Refused(name, _unsent(error)) from None


def _put_number(message: Any, name: str, value: object) -> None:
    if value is None:
        return
    try:
        if isinstance(value, bool) or not isinstance(value, Decimal | Real | str):
            raise InvalidValue(f"a {type(value).__name__} is not a number")
        setattr(message, name, digits(read_decimal(value) if isinstance(value, str) else value))
    except SegidxError as error:
        raise _Refused(name, error) from None
    except ValueError as error:  # an int of more digits than Python prints
        raise _Refused(name, _unsent(error)) from None


def _unsent(error: Exception) -> SegidxError:
    if isinstance(error, UnicodeEncodeError):
        return InvalidValue("a string is not valid UTF-8")
    return InvalidValue(f"the value cannot be sent: {error}")


def _event_id(value: object, name: str) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    elif isinstance(value, str):
        try:
            value.encode()
            return value
        except UnicodeEncodeError:
            pass
    else:
        raise _Refused(name, InvalidValue(f"event id {value!r} is not a string"))
    raise _Refused(name, InvalidValue(f"event id {for_report(value)!r} is not valid UTF-8"))


def _contact_id(value: Any) -> str:
    try:
        return contact_id_text(value)
    except SegidxError as error:
        raise _Refused("contact_id", error) from None
