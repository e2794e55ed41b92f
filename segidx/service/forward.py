"""What a worker does with calls that write: it hands them to the writing process and hands its answers back.

Bytes pass undecoded, one message at a time in each direction, so that a stream flows as fast as the slower of its two
ends and nothing piles up here. Deadline, cancellation, metadata and status pass on unchanged. Imports grpc and the
error table, no messages and no data.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc

from segidx.model.errors import Cancelled, DeadlineExceeded, SegidxError, ServerUnavailable, WriterUnavailable
from segidx.service.calls import StreamBound, check_alive, seconds_left
from segidx.service.link import WriterLink
from segidx.service.status import refuse, unexpected

# Every method that changes something stored; all others are answered by the worker itself.
MUTATIONS = frozenset(
    {
        "/segidx.v1.AccountService/CreateAccount",
        "/segidx.v1.SchemaService/UpdateSchema",
        "/segidx.v1.SchemaService/DeclareEventTypes",
        "/segidx.v1.SchemaService/SetEventGroup",
        "/segidx.v1.SchemaService/SetBands",
        "/segidx.v1.SchemaService/RemoveBands",
        "/segidx.v1.SchemaService/SetDerivedNumber",
        "/segidx.v1.SchemaService/RemoveDerivedNumber",
        "/segidx.v1.SchemaService/SetSourceSettings",
        "/segidx.v1.SchemaService/PruneEvents",
        "/segidx.v1.ContactService/UpsertContacts",
        "/segidx.v1.ContactService/StreamUpsertContacts",
        "/segidx.v1.ContactService/TagContacts",
        "/segidx.v1.ProductService/UpdateProductSchema",
        "/segidx.v1.ProductService/WriteProducts",
        "/segidx.v1.IngestService/WriteBatch",
        "/segidx.v1.IngestService/StreamWrites",
    }
)

_DETAILS = "grpc-status-details-bin"
# The writer's own errors carry details; without them, these codes are grpc's words for a connection that broke.
_BROKEN = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}
)

Behaviour = Callable[[Any, grpc.ServicerContext], Any]


@dataclass(frozen=True, slots=True)
class _Status(grpc.Status):  # type: ignore[misc]
    code: grpc.StatusCode
    details: str
    trailing_metadata: Any


class Forward(grpc.ServerInterceptor):  # type: ignore[misc]
    """Answers `MUTATIONS` through a link to the writer; goes before the gate, which reads messages.

    Forwarded calls have `threads` threads of their own, so that a slow writer keeps no read waiting; at most half of
    them are streams, which last as long as their callers like.
    """

    def __init__(self, link: WriterLink, *, threads: int) -> None:
        self._link = link
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="segidx-forward")
        self._streams = StreamBound(threads // 2, "streams of writes")
        self._handlers: dict[str, grpc.RpcMethodHandler] = {}
        self._lock = threading.Lock()
        self._ending = False
        self._open: set[_Asked] = set()

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        method = handler_call_details.method
        if method not in MUTATIONS:
            return continuation(handler_call_details)
        known = self._handlers.get(method)
        if known is None:
            served = continuation(handler_call_details)
            if served is None:
                return None
            known = self._handlers[method] = self._handler(method, served.request_streaming, served.response_streaming)
        return known

    def end(self) -> None:
        """Ends every stream of answers, which would not end by itself, when each message that was handed on is answered
        (the methods of `MUTATIONS` give one answer a message). Their callers are told to go on elsewhere or later."""
        with self._lock:
            self._ending = True
            streams = list(self._open)
        for asked in streams:
            asked.end()

    def close(self) -> None:
        """Ends when no thread of a forwarded call is left; the server has ended before."""
        self._pool.shutdown(wait=True)

    # --- handlers ---

    def _handler(self, method: str, asks_many: bool, answers_many: bool) -> grpc.RpcMethodHandler:
        if answers_many:
            stub = (self._link.stream_stream if asks_many else self._link.unary_stream)(method)
            make = grpc.stream_stream_rpc_method_handler if asks_many else grpc.unary_stream_rpc_method_handler
            return make(self._on_own_threads(self._many(method, stub, asks_many)))
        stub = (self._link.stream_unary if asks_many else self._link.unary_unary)(method)
        make = grpc.stream_unary_rpc_method_handler if asks_many else grpc.unary_unary_rpc_method_handler
        return make(self._on_own_threads(self._one(method, stub, asks_many)))

    def _on_own_threads(self, behaviour: Behaviour) -> Behaviour:
        # grpc looks for this on a handler; one that does not would run it on the server's own threads.
        behaviour.experimental_thread_pool = self._pool  # type: ignore[attr-defined]
        return behaviour

    def _one(self, method: str, stub: Any, asks_many: bool) -> Behaviour:
        """Hands on a call with one answer."""

        def behaviour(request: Any, context: grpc.ServicerContext) -> Any:
            with _refusing(method, context), self._streams.opened() if asks_many else contextlib.nullcontext():
                call = self._begin(stub.future, _Asked(request, context) if asks_many else request, context)
                try:
                    answer = call.result()
                except (grpc.RpcError, grpc.FutureCancelledError):
                    _end(call, context)
                context.set_trailing_metadata(call.trailing_metadata())
                return answer

        return behaviour

    def _many(self, method: str, stub: Any, asks_many: bool) -> Behaviour:
        """Hands on a call with a stream of answers."""

        def behaviour(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            with _refusing(method, context), self._streams.opened():
                asked = _Asked(request if asks_many else iter((request,)), context)
                call = self._begin(stub, asked if asks_many else request, context)
                with self._known(asked):
                    try:
                        for answer in call:
                            yield answer
                            asked.answered()
                    except grpc.RpcError:
                        if not asked.ended:
                            _end(call, context)
                    finally:
                        call.cancel()  # changes nothing once it has ended
                    if asked.ended:
                        raise _ending()
                context.set_trailing_metadata(call.trailing_metadata())

        return behaviour

    def _begin(self, open_call: Callable[..., Any], request: Any, context: grpc.ServicerContext) -> Any:
        check_alive(context)
        self._link.wait(context)
        metadata = _passed_on(context.invocation_metadata() or ())
        call = open_call(request, timeout=seconds_left(context), metadata=metadata)
        if isinstance(request, _Asked):
            request.call = call
        if not context.add_callback(call.cancel):
            call.cancel()
        return call

    @contextlib.contextmanager
    def _known(self, asked: _Asked) -> Iterator[None]:
        """Lets `end` find the stream while it is open."""
        with self._lock:
            if self._ending:
                raise _ending()
            self._open.add(asked)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(asked)


class _Asked:
    """The caller's messages, read when the writer takes the next: grpc's thread of the forwarded call draws them."""

    def __init__(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> None:
        self._requests = requests
        self._context = context
        self._lock = threading.Lock()
        self._open = 0  # messages handed on and not yet answered
        self._told = False
        self.ended = False  # before its caller ended it
        self.call: Any = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            request = next(self._requests)
        except StopIteration:
            # A caller that vanished looks like one that has finished; its stream must not look finished to the writer.
            if not self._context.is_active():
                self._cancel()
            raise
        except Exception:
            # grpc ends the iterator of a cancelled call with an exception that has no meaning here.
            self._cancel()
            raise StopIteration from None
        with self._lock:
            if self._told:
                self.ended = True
                raise StopIteration
            self._open += 1
        return request

    def answered(self) -> None:
        """An answer was handed back."""
        with self._lock:
            self._open -= 1
        self._end_when_answered()

    def end(self) -> None:
        """Hands nothing on any more, and ends the call when everything is answered."""
        with self._lock:
            self._told = True
        self._end_when_answered()

    def _end_when_answered(self) -> None:
        with self._lock:
            if not self._told or self._open:
                return
            self.ended = True
        self._cancel()

    def _cancel(self) -> None:
        if self.call is not None:
            self.call.cancel()


@contextlib.contextmanager
def _refusing(method: str, context: grpc.ServicerContext) -> Iterator[None]:
    """Turns every error into a status, as the gate does for a worker's own calls."""
    try:
        yield
    except _Passed as passed:
        context.abort_with_status(passed.status)
    except SegidxError as error:
        refuse(context, error)
    except Exception as error:
        refuse(context, unexpected(method, error) if context.is_active() else Cancelled("the caller went away"))


class _Passed(Exception):
    """Carries the writer's own status out to the caller."""

    def __init__(self, status: _Status) -> None:
        super().__init__()
        self.status = status


def _ending() -> ServerUnavailable:
    return ServerUnavailable("the server is ending; go on when it is back, after what was acknowledged")


def _end(call: Any, context: grpc.ServicerContext) -> NoReturn:
    """Ends a call that the writer refused, or that broke."""
    code, trailing = call.code(), call.trailing_metadata() or ()
    if not any(key == _DETAILS for key, _ in trailing):
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            raise DeadlineExceeded(
                "the deadline passed before the writing process answered; the batch may have been written:"
                " send it again with its batch key"
            )
        if not context.is_active():
            raise Cancelled("the caller went away")
        if code in _BROKEN:
            raise WriterUnavailable(
                "the writing process ended before it answered, and what it was writing may be written or not;"
                " send it again with its batch key",
                written="unknown",
            )
    raise _Passed(_Status(code, call.details(), trailing))


def _passed_on(metadata: Any) -> tuple[Any, ...]:
    """The caller's own metadata; the rest describes its connection, and the next one has its own."""
    return tuple((key, value) for key, value in metadata if key != "user-agent" and not key.startswith("grpc-"))
