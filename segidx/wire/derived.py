"""Derived numbers of the protocol to and from the model. Imports only v1, the model and what reads expressions."""

from __future__ import annotations

from segidx.model.derived import BUILT_IN, DerivedNumber, derived_number
from segidx.model.errors import InvalidArgument
from segidx.v1 import schema_pb2 as pb
from segidx.wire.expressions import read_value, write_value
from segidx.wire.sending import sending
from segidx.wire.windows import Missing


def read_derived(message: pb.DerivedNumber) -> DerivedNumber:
    """A number that may be declared. Raises InvalidArgument, and what `read_expression` raises for a filter."""
    try:
        value = read_value(message.value)
    except Missing:
        raise InvalidArgument(
            f"derived number {message.name!r} has no value, or one that is unfinished: a COUNT, SUM, MIN, MAX, FIRST or"
            " LAST of events of a type",
            derived=message.name,
        ) from None
    return derived_number(message.name, value)


def read_listed(message: pb.DerivedNumber) -> DerivedNumber:
    """A number as it is listed: one of those that every account has too."""
    return BUILT_IN[message.name] if message.built_in and message.name in BUILT_IN else read_derived(message)


def write_derived(of: DerivedNumber, message: pb.DerivedNumber) -> None:
    """Fills `message`. Raises InvalidArgument for what cannot be sent, and what `write_expression` raises for a
    filter."""
    with sending(f"derived number {of.name!r}", "DerivedNumber"):
        message.name = of.name
        # Filled in place: protobuf copies by parsing, which a deep filter would not survive.
        write_value(of.value, message.value)
        message.built_in = BUILT_IN.get(of.name) == of
