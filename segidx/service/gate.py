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
from segidx.service.status import refuse, unexpected
from segidx.wire.decode import decode


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

        def deserialize(data: bytes) -> Any:
            try:
                return decode(message_class, data)
            except SegidxError as error:
                return _Refused(error)
            except Exception as error:
                return _Refused(unexpected(method, error))

        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(
                _guard(handler.stream_unary, method, _admitted_stream), deserialize, handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(
            _guard(handler.unary_unary, method, _admitted), deserialize, handler.response_serializer
        )


def _guard(behaviour: Callable[..., Any], method: str, admit: Callable[[Any], Any]) -> Callable[..., Any]:
    """The behaviour with every error turned into a status."""

    def guarded(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return behaviour(admit(request), context)
        except SegidxError as error:
            failure = error
        except Exception as error:
            # grpc ends the iterator of a cancelled stream with an exception of its own.
            failure = unexpected(method, error) if context.is_active() else Cancelled("the caller went away")
        return refuse(context, failure)

    return guarded


def _admitted(request: Any) -> Any:
    if isinstance(request, _Refused):
        raise request.error
    return request


def _admitted_stream(requests: Iterable[Any]) -> Iterator[Any]:
    return (_admitted(request) for request in requests)
