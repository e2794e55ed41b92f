"""Dates, instants, numbers, scalars and channels of the protocol to and from Python. Imports only v1 and the model."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from segidx.model.errors import InvalidValue
from segidx.model.values import Scalar, scalar
from segidx.model.windows import EPOCH
from segidx.model.writes import Channel
from segidx.v1 import values_pb2

CHANNELS: Final[dict[int, Channel]] = {
    values_pb2.CHANNEL_EMAIL: Channel.EMAIL,
    values_pb2.CHANNEL_SMS: Channel.SMS,
    values_pb2.CHANNEL_WEB_PUSH: Channel.WEB_PUSH,
    values_pb2.CHANNEL_ADS: Channel.ADS,
}
CHANNEL_NUMBERS: Final = {v: values_pb2.Channel.ValueType(k) for k, v in CHANNELS.items()}

# Longer than any exact number the model takes, short enough that parsing it costs nothing.
MAX_DECIMAL_TEXT = 128

# Whether a text, of at most MAX_DECIMAL_TEXT characters, is a number in decimal digits.
is_decimal = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?").fullmatch

_MIN_SECONDS = -62_135_596_800  # 0001-01-01T00:00:00Z
_MAX_SECONDS = 253_402_300_799  # 9999-12-31T23:59:59Z


def read_decimal(text: str) -> Decimal:
    """The exact number a text of digits says. Raises InvalidValue for anything else, NaN and infinity included."""
    if len(text) > MAX_DECIMAL_TEXT or is_decimal(text) is None:
        raise InvalidValue(f"{text[:40]!r} is not a number in decimal digits such as '12.50'")
    return Decimal(text)


def read_date(message: values_pb2.Date) -> date:
    """The date; raises InvalidValue for a day that no calendar has."""
    try:
        return date(message.year, message.month, message.day)
    except ValueError as error:
        raise InvalidValue(f"there is no date {message.year}-{message.month:02}-{message.day:02}") from error


def write_date(value: date, message: values_pb2.Date) -> None:
    message.year, message.month, message.day = value.year, value.month, value.day


def read_instant(message: Timestamp, *, round_down: bool = False) -> datetime:
    """The instant in UTC. Raises InvalidValue out of the years 1 to 9999, and for what is finer than a millisecond
    unless it may be rounded down."""
    seconds, nanos = message.seconds, message.nanos
    if not (_MIN_SECONDS <= seconds <= _MAX_SECONDS and 0 <= nanos < 1_000_000_000):
        raise InvalidValue(f"timestamp of {seconds} seconds and {nanos} nanoseconds is out of range")
    if nanos % 1_000_000 and not round_down:
        raise InvalidValue(f"timestamp of {seconds} seconds and {nanos} nanoseconds is finer than a millisecond")
    return EPOCH + timedelta(0, seconds, nanos // 1_000_000 * 1000)


def write_instant(value: datetime, message: Timestamp) -> None:
    """Fills `message` with an aware instant, to the microsecond."""
    since = value - EPOCH
    # A zero instant must still be told from an absent one.
    message.SetInParent()
    message.seconds = since.days * 86_400 + since.seconds
    message.nanos = since.microseconds * 1000


def read_scalar(message: values_pb2.Scalar) -> Scalar | None:
    """The constant, or None where it is not filled in: no kind, or a number without a digit typed."""
    kind = message.WhichOneof("kind")
    if kind == "string_value":
        return scalar(message.string_value)
    if kind == "decimal_value":
        return scalar(read_decimal(message.decimal_value)) if message.decimal_value else None
    if kind == "bool_value":
        return message.bool_value
    if kind == "date_value":
        return read_date(message.date_value)
    if kind == "timestamp_value":
        return read_instant(message.timestamp_value)
    return None


def write_scalar(value: Scalar, message: values_pb2.Scalar) -> None:
    """Fills `message`; `value` is a Scalar as `segidx.model.values.scalar` gives it."""
    if isinstance(value, str):
        message.string_value = value
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, Decimal):
        message.decimal_value = str(value)
    elif isinstance(value, datetime):
        write_instant(value, message.timestamp_value)
    else:
        write_date(value, message.date_value)
