"""Groups of events of the protocol to and from the model. Imports only v1, the model and what reads expressions."""

from __future__ import annotations

from segidx.model.errors import InvalidArgument
from segidx.model.event_groups import EventGroup
from segidx.v1 import schema_pb2 as pb
from segidx.wire.expressions import read_member, write_member
from segidx.wire.sending import sending
from segidx.wire.windows import Missing


def read_event_group(message: pb.EventGroup) -> EventGroup:
    """The group, whose members may be unfinished or otherwise none that a group has. Raises InvalidArgument for one
    without a type, and what `read_expression` raises for a filter."""
    members = []
    for place, member in enumerate(message.members):
        try:
            members.append(read_member(member))
        except Missing:
            raise InvalidArgument(
                f"group {message.name!r}: members[{place}] has no type, or a window that is unfinished; members are"
                " events of a type, without a window",
                group=message.name,
            ) from None
    return EventGroup(message.name, tuple(members))


def write_event_group(group: EventGroup, message: pb.EventGroup) -> None:
    """Fills `message`. Raises InvalidArgument for what cannot be sent, and what `write_expression` raises for a
    filter."""
    with sending(f"event group {group.name!r}", "EventGroup"):
        message.name = group.name
        for member in group.members:
            # Filled in place: protobuf copies by parsing, which a deep filter would not survive.
            write_member(member, message.members.add())
