"""The gate before every servicer: bytes from outside become messages here, and errors leave as statuses here.

A servicer behind it gets a well-formed message and may raise any SegidxError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc

from segidx.model.errors import Cancelled, SegidxError
from segidx.service.convert import request_classes
from segidx.service.convert_ingest import READERS
from segidx.service.status import refuse, unexpected
from segidx.store.courtesy import COURTESY
from segidx.wire.decode import decoder

# Methods of this service evaluate at once and answer: what writes makes way for the whole of their calls. Others may
# wait for a write themselves, and it makes way for their evaluations alone.
_EVALUATING = "/segidx.v1.CountService/"


@dataclass(frozen=True, slots=True)
class _Refused:
    """Stands in for a request that could not be read: grpc would answer INTERNAL if the deserializer raised."""

    error: SegidxError


class Gate(grpc.ServerInterceptor):  # type: ignore[misc]
    """Wraps the methods of segidx's own services; health and reflection pass as they are."""

    def __init__(self) -> None:
        self._requests = request_classes()

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        message_class = self._requests.get(method)
        if handler is None or message_class is None:
            return handler

        if method.startswith(_EVALUATING):
            COURTESY.expect()
        read = READERS.get(message_class) or decoder(message_class)

        def deserialize(data: bytes) -> Any:
            try:
                return read(data)
            except SegidxError as error:
                return _Refused(error)
            except Exception as error:
                return _Refused(unexpected(method, error))

        admit = _admitted_stream if handler.request_streaming else _admitted
        if handler.request_streaming and handler.response_streaming:
            guarded, make = _guard_stream(handler.stream_stream, method, admit), grpc.stream_stream_rpc_method_handler
        elif handler.request_streaming:
            guarded, make = _guard(handler.stream_unary, method, admit), grpc.stream_unary_rpc_method_handler
        elif handler.response_streaming:
            guarded, make = _guard_stream(handler.unary_stream, method, admit), grpc.unary_stream_rpc_method_handler
        else:
            guarded, make = _guard(handler.unary_unary, method, admit), grpc.unary_unary_rpc_method_handler
            if method.startswith(_EVALUATING):
                return make(_answering(guarded, handler.response_serializer), deserialize)
        return make(guarded, deserialize, handler.response_serializer)


def _guard(behaviour: Callable[..., Any], method: str, admit: Callable[[Any], Any]) -> Callable[..., Any]:
    """The behaviour with every error turned into a status."""

    def guarded(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return behaviour(admit(request), context)
        except Exception as error:
            failure = _failure(error, method, context)
        return refuse(context, failure)

    return guarded


def _answering(guarded: Callable[..., Any], serialise: Callable[[Any], bytes]) -> Callable[..., bytes]:
    """The behaviour with its response made bytes, so that both are one for what makes way."""

    def answering(request: Any, context: grpc.ServicerContext) -> bytes:
        with COURTESY.until_answered():
            return serialise(guarded(request, context))

    return answering


def _guard_stream(behaviour: Callable[..., Any], method: str, admit: Callable[[Any], Any]) -> Callable[..., Any]:
    """The same for a behaviour that yields its responses. When the caller goes, grpc drops the iterator, which ends
    the behaviour at its `yield`."""

    def guarded(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from behaviour(admit(request), context)
            return
        except Exception as error:
            failure = _failure(error, method, context)
        refuse(context, failure)

    return guarded


def _failure(error: Exception, method: str, context: grpc.ServicerContext) -> SegidxError:
    if isinstance(error, SegidxError):
        return error
    # grpc ends the iterator of a cancelled stream with an exception of its own.
    return unexpected(method, error) if context.is_active() else Cancelled("the caller went away")


def _admitted(request: Any) -> Any:
    if isinstance(request, _Refused):
        raise request.error
    return request


def _admitted_stream(requests: Iterable[Any]) -> Iterator[Any]:
    return (_admitted(request) for request in requests)
