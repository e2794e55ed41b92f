"""The one error table: which gRPC code an error becomes, and what of it crosses. Imports no servicer and no data."""

from __future__ import annotations

import logging
import secrets
from typing import NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from segidx.model.errors import Kind, SegidxError
from segidx.wire.errors import InternalError, error_info, wire_message

log = logging.getLogger(__name__)

CODES: dict[Kind, grpc.StatusCode] = {
    Kind.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Kind.EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Kind.CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    Kind.BUSY: grpc.StatusCode.UNAVAILABLE,
    Kind.DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
    Kind.CANCELLED: grpc.StatusCode.CANCELLED,
    Kind.RESOURCE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.CORRUPT: grpc.StatusCode.DATA_LOSS,
    Kind.OUT_OF_RANGE: grpc.StatusCode.OUT_OF_RANGE,
}


def code_of(error: SegidxError) -> grpc.StatusCode:
    return grpc.StatusCode.INTERNAL if isinstance(error, InternalError) else CODES[error.kind]


def status_of(error: SegidxError) -> Status:
    """The error as `google.rpc.Status` with one ErrorInfo: reason, domain `segidx`, metadata with the node's path."""
    detail = AnyMessage()
    detail.Pack(error_info(error))
    return Status(code=code_of(error).value[0], message=wire_message(error), details=[detail])


def refuse(context: grpc.ServicerContext, error: SegidxError) -> NoReturn:
    """Ends the call with the error."""
    context.abort_with_status(rpc_status.to_status(status_of(error)))
    raise AssertionError("abort_with_status returned")


def unexpected(method: str, error: BaseException) -> InternalError:
    """The error to send in place of one that should not have happened; the log keeps the original.

    Nothing of the original crosses: it may hold contact data or paths of this machine.
    """
    incident = secrets.token_hex(4)
    log.error("incident %s in %s", incident, method, exc_info=error)
    return InternalError(f"the server failed; its log says why under incident {incident}", incident=incident)
