"""What failed calls raise: the error that the server raised, or what became of the call. Imports no messages."""

from __future__ import annotations

from typing import NoReturn

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from segidx.model.errors import Cancelled, DeadlineExceeded, InvalidArgument, ServerUnavailable
from segidx.wire.errors import DOMAIN, InternalError, restore_info


def raise_from(error: grpc.RpcError, address: str) -> NoReturn:
    """Raises the error that the server raised, or says what became of the call."""
    status = rpc_status.from_call(error)
    for detail in () if status is None else status.details:
        info = ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            raise restore_info(info, status.message) from error
    code, details = error.code(), error.details()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        raise DeadlineExceeded("the call took longer than its timeout") from error
    if code is grpc.StatusCode.CANCELLED:
        raise Cancelled("the call was cancelled") from error
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        raise InvalidArgument(f"the message is too large: {details}; send smaller batches") from error
    if code is grpc.StatusCode.UNAVAILABLE:
        raise ServerUnavailable(f"no server answers at {address}: {details}", address=address) from error
    if code is grpc.StatusCode.UNIMPLEMENTED:
        raise ServerUnavailable(f"what answers at {address} is no segidx server of this release: {details}") from error
    raise InternalError(f"the call to {address} failed: {code.name}: {details}") from error


def closed(error: ValueError, address: str) -> ServerUnavailable:
    """In place of grpc's word for a channel that was closed."""
    return ServerUnavailable(f"the connection to {address} is closed: {error}")
