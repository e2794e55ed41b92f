"""Horizons of events and what pruning drops, of the protocol to and from the model. Imports only v1 and the model."""

from __future__ import annotations

from datetime import datetime

from segidx.model.errors import InvalidArgument
from segidx.model.results import Horizon, PrunedType
from segidx.v1 import schema_pb2 as pb
from segidx.wire.values import read_instant, write_instant


def read_before(message: pb.PruneEventsRequest) -> datetime:
    """Raises InvalidArgument where it is not said, InvalidValue for what is no instant of whole milliseconds."""
    if not message.HasField("before_time"):
        raise InvalidArgument("say before which instant events are dropped (before_time)", argument="before_time")
    return read_instant(message.before_time)


def read_horizon(message: pb.EventHorizon) -> Horizon:
    return Horizon(message.event_type, read_instant(message.horizon_time), tuple(message.balances))


def write_horizon(horizon: Horizon, message: pb.EventHorizon) -> None:
    message.event_type = horizon.type
    write_instant(horizon.time, message.horizon_time)
    message.balances.extend(horizon.balances)


def read_pruned(message: pb.PrunedEvents) -> PrunedType:
    horizon, ended = read_instant(message.horizon_time), tuple(message.ended_balances)
    return PrunedType(message.event_type, horizon, message.events, message.lines, ended)


def write_pruned(pruned: PrunedType, message: pb.PrunedEvents) -> None:
    message.event_type, message.events, message.lines = pruned.type, pruned.events, pruned.lines
    write_instant(pruned.horizon, message.horizon_time)
    message.ended_balances.extend(pruned.ended)
