"""Bands of the protocol to and from the model. Imports only v1, the model and what reads expressions."""

from __future__ import annotations

from segidx.model.bands import Bands, bands
from segidx.model.errors import InvalidArgument
from segidx.v1 import schema_pb2 as pb
from segidx.wire.expressions import read_value, write_value
from segidx.wire.sending import sending
from segidx.wire.values import read_decimal
from segidx.wire.windows import Missing


def read_bands(message: pb.Bands) -> Bands:
    """The bands, with the labels that are generated where none is given. Raises InvalidArgument, InvalidValue for a
    threshold that is no number, and what `read_expression` raises for a filter."""
    try:
        value = read_value(message.value)
    except Missing:
        raise InvalidArgument(
            f"bands {message.name!r} have no value, or one that is unfinished: a COUNT of events of a type, or a SUM"
            " over them",
            bands=message.name,
        ) from None
    thresholds = [read_decimal(each) for each in message.thresholds]
    return bands(message.name, value, thresholds, list(message.labels) or None)


def write_bands(of: Bands, message: pb.Bands) -> None:
    """Fills `message`. Raises InvalidArgument for what cannot be sent, and what `write_expression` raises for a
    filter."""
    with sending(f"bands {of.name!r}", "Bands"):
        message.name = of.name
        # Filled in place: protobuf copies by parsing, which a deep filter would not survive.
        write_value(of.value, message.value)
        message.thresholds.extend(str(each) for each in of.thresholds)
        message.labels.extend(of.labels)
