"""What an account says of sources, of the protocol to and from the model. Imports only v1 and the model."""

from __future__ import annotations

from segidx.model.source_settings import SourceSettings
from segidx.v1 import schema_pb2 as pb
from segidx.wire.sending import sending


def read_source_settings(message: pb.SourceSettings) -> SourceSettings:
    """The settings as they are sent, which may be none that can be. Minutes that are not sent are those that hold by
    default."""
    minutes = message.order_minutes if message.HasField("order_minutes") else SourceSettings().order_minutes
    return SourceSettings(minutes, tuple(message.own_hosts))


def write_source_settings(settings: SourceSettings, message: pb.SourceSettings) -> None:
    """Fills `message`. Raises InvalidArgument for what cannot be sent."""
    with sending("source settings", "SourceSettings"):
        message.order_minutes = settings.order_minutes
        message.own_hosts.extend(settings.own_hosts)
