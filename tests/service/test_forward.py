"""Forwarding between two servers in this process: a strange writer of bytes, and a worker that knows nothing else."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_health.v1 import health_pb2_grpc
from grpc_status import rpc_status

from segidx.model.errors import ServerUnavailable, UnknownAccount
from segidx.service import convert
from segidx.service.forward import MUTATIONS, Forward
from segidx.service.health import Health
from segidx.service.link import WriterLink
from segidx.service.status import refuse

WAIT = 60
CHUNK = b"x" * 65536
UNARY = "/segidx.v1.ContactService/UpsertContacts"
COLLECT = "/segidx.v1.ContactService/StreamUpsertContacts"
CHAT = "/segidx.v1.IngestService/StreamWrites"
FEED = "/segidx.v1.IngestService/WriteBatch"  # served as a stream of answers here: forwarding does not ask the schema
HERE = "/segidx.v1.CountService/CountContacts"

READING = {
    "/segidx.v1.AccountService/GetAccount",
    "/segidx.v1.AccountService/ListAccounts",
    "/segidx.v1.SchemaService/GetSchema",
    "/segidx.v1.SchemaService/ListEventTypes",
    "/segidx.v1.SchemaService/ListBands",
    "/segidx.v1.SchemaService/ListDerivedNumbers",
    "/segidx.v1.SchemaService/GetSourceSettings",
    "/segidx.v1.SchemaService/SuggestValues",
    "/segidx.v1.SchemaService/GetStats",
    "/segidx.v1.ContactService/GetContact",
    "/segidx.v1.ContactService/ListContactEvents",
    "/segidx.v1.ContactService/PreviewContacts",
    "/segidx.v1.CountService/CountContacts",
    "/segidx.v1.CountService/BatchCountContacts",
    "/segidx.v1.CountService/ExplainExpression",
    "/segidx.v1.IngestService/StreamChanges",
    "/segidx.v1.ProductService/GetProductSchema",
    "/segidx.v1.ProductService/GetProduct",
    "/segidx.v1.ProductService/ListProducts",
}


def test_every_method_is_known_to_write_or_to_read() -> None:
    assert set(convert.request_classes()) == READING | MUTATIONS
    assert not READING & MUTATIONS


class Methods(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Methods of a server, which the tests put in place."""

    def __init__(self) -> None:
        self.by_name: dict[str, Any] = {}

    def service(self, details: Any) -> Any:
        return self.by_name.get(details.method)


class Pair:
    """A writer on a Unix socket, and a worker that forwards to it."""

    def __init__(self, socket: Path, *, threads: int = 4) -> None:
        self.socket = socket
        self.methods = Methods()
        self.writer: grpc.Server | None = None
        self.begin_writer()
        self.link = WriterLink(socket)
        self.forward = Forward(self.link, threads=threads)
        self.pool = ThreadPoolExecutor(4)
        self.worker = grpc.server(self.pool, interceptors=(self.forward,))
        self.worker.add_generic_rpc_handlers((self.methods,))
        port = self.worker.add_insecure_port("127.0.0.1:0")
        self.worker.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def begin_writer(self) -> None:
        self.writer = grpc.server(ThreadPoolExecutor(32))
        self.writer.add_generic_rpc_handlers((self.methods,))
        health_pb2_grpc.add_HealthServicer_to_server(Health((), watches=4), self.writer)
        self.writer.add_insecure_port(f"unix:{self.socket}")
        self.writer.start()

    def end_writer(self) -> None:
        assert self.writer is not None
        self.writer.stop(0).wait()
        self.socket.unlink(missing_ok=True)

    def close(self) -> None:
        self.channel.close()
        self.worker.stop(0).wait()
        self.pool.shutdown()
        self.forward.close()
        self.link.close()
        self.end_writer()


@pytest.fixture
def pair() -> Iterator[Pair]:
    # pytest's own directories may have names too long for a socket.
    with tempfile.TemporaryDirectory() as home:
        made = Pair(Path(home) / "w.sock")
        yield made
        made.close()


def until(look: Callable[[], Any]) -> None:
    end = time.monotonic() + WAIT
    while not look():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def settled(look: Callable[[], int]) -> int:
    """The value, once it has stayed the same through many looks."""
    same, value = 0, look()
    while same < 50:
        time.sleep(0.02)
        now = look()
        same, value = (same + 1, value) if now == value else (0, now)
    return value


def reason(error: Any) -> tuple[str, dict[str, str]]:
    info = ErrorInfo()
    assert rpc_status.from_call(error).details[0].Unpack(info)
    return info.reason, dict(info.metadata)


def test_bytes_metadata_and_deadline_pass(pair: Pair) -> None:
    seen = []

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        seen.append((request, dict(context.invocation_metadata()), context.time_remaining()))
        context.set_trailing_metadata((("word", "back"), ("raw-bin", b"\0\xff")))
        return request + b"\xfe"

    pair.methods.by_name[UNARY] = grpc.unary_unary_rpc_method_handler(answer)
    call = pair.channel.unary_unary(UNARY)
    for request in (b"\xff\0not a message", b""):
        got, done = call.with_call(request, timeout=WAIT, metadata=(("word", "there"), ("b-bin", b"\1")))
        assert got == request + b"\xfe"
        trailing = dict(done.trailing_metadata())
        assert (trailing["word"], trailing["raw-bin"]) == ("back", b"\0\xff")
        body, metadata, remaining = seen.pop()
        assert (body, metadata["word"], metadata["b-bin"]) == (request, "there", b"\1")
        assert 0 < remaining < 2 * WAIT  # grpc rounds up


def test_what_is_not_forwarded_is_answered_here(pair: Pair) -> None:
    pair.methods.by_name[HERE] = grpc.unary_unary_rpc_method_handler(lambda _r, c: c.peer().encode())
    assert not pair.channel.unary_unary(HERE)(b"", timeout=WAIT).startswith(b"unix")


def test_a_typed_error_comes_back_as_it_was(pair: Pair) -> None:
    def fail(_request: Any, context: grpc.ServicerContext) -> Any:
        refuse(context, UnknownAccount("nobody"))

    def fail_late(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        yield next(requests)
        refuse(context, UnknownAccount("nobody"))

    def plain(_request: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("why", "because"),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no details")
        return b""

    pair.methods.by_name[UNARY] = grpc.unary_unary_rpc_method_handler(fail)
    pair.methods.by_name[COLLECT] = grpc.stream_unary_rpc_method_handler(fail)
    pair.methods.by_name[CHAT] = grpc.stream_stream_rpc_method_handler(fail_late)
    pair.methods.by_name[FEED] = grpc.unary_stream_rpc_method_handler(plain)
    for begin in (
        lambda: pair.channel.unary_unary(UNARY)(b"", timeout=WAIT),
        lambda: pair.channel.stream_unary(COLLECT)(iter([b"a"] * 3), timeout=WAIT),
        lambda: list(pair.channel.stream_stream(CHAT)(iter([b"a"] * 3), timeout=WAIT)),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            begin()
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert "create it with" in caught.value.details()
        assert reason(caught.value) == ("UNKNOWN_ACCOUNT", {"account": "nobody"})
    with pytest.raises(grpc.RpcError) as caught:
        list(pair.channel.unary_stream(FEED)(b"", timeout=WAIT))
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "no details")
    assert dict(caught.value.trailing_metadata())["why"] == "because"


def test_a_caller_that_leaves_ends_the_call_in_the_writer(pair: Pair) -> None:
    begun, ended = threading.Semaphore(0), threading.Semaphore(0)

    def hang(_request: Any, context: grpc.ServicerContext) -> Any:
        gone = threading.Event()
        context.add_callback(gone.set)
        begun.release()
        if gone.wait(WAIT):
            ended.release()
        return b""

    def hang_many(request: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield b"first"
        yield hang(request, context)

    pair.methods.by_name[UNARY] = grpc.unary_unary_rpc_method_handler(hang)
    pair.methods.by_name[COLLECT] = grpc.stream_unary_rpc_method_handler(hang)
    pair.methods.by_name[CHAT] = grpc.stream_stream_rpc_method_handler(hang_many)
    never = threading.Event()

    def slow_requests() -> Iterator[bytes]:
        yield b"a"
        never.wait(WAIT)

    for begin in (
        lambda: pair.channel.unary_unary(UNARY).future(b"", timeout=WAIT),
        lambda: pair.channel.stream_unary(COLLECT).future(slow_requests(), timeout=WAIT),
        lambda: pair.channel.stream_stream(CHAT)(slow_requests(), timeout=WAIT),
    ):
        call = begin()
        assert begun.acquire(timeout=WAIT)
        call.cancel()
        assert ended.acquire(timeout=WAIT)
    never.set()


def test_a_stream_flows_as_fast_as_the_writer_takes_it(pair: Pair) -> None:
    go, asked, taken, total = threading.Event(), [0], [0], 2000

    def collect(requests: Iterator[bytes], _context: grpc.ServicerContext) -> bytes:
        go.wait(WAIT)
        for _ in requests:
            taken[0] += 1
        return b"done"

    def chunks() -> Iterator[bytes]:
        for _ in range(total):
            asked[0] += 1
            yield CHUNK

    pair.methods.by_name[COLLECT] = grpc.stream_unary_rpc_method_handler(collect)
    call = pair.channel.stream_unary(COLLECT).future(chunks(), timeout=WAIT)
    # 125 MB are offered; what is on the way is bounded by the windows of two connections.
    assert settled(lambda: asked[0]) < total // 4
    go.set()
    assert call.result() == b"done"
    assert taken[0] == asked[0] == total


def test_answers_flow_as_fast_as_the_caller_reads_them(pair: Pair) -> None:
    answered, total = [0], 2000

    def feed(_requests: Iterator[bytes], _context: grpc.ServicerContext) -> Iterator[bytes]:
        for _ in range(total):
            answered[0] += 1
            yield CHUNK

    pair.methods.by_name[CHAT] = grpc.stream_stream_rpc_method_handler(feed)
    call = pair.channel.stream_stream(CHAT)(iter(()), timeout=WAIT)
    next(call)
    assert settled(lambda: answered[0]) < total // 4
    assert sum(1 for _ in call) == total - 1


def test_a_writer_that_goes_is_told_by_type_and_one_that_comes_back_is_met(pair: Pair) -> None:
    begun = threading.Event()

    def hang(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        begun.set()
        for _ in requests:
            pass
        return b"done"

    pair.methods.by_name[COLLECT] = grpc.stream_unary_rpc_method_handler(hang)
    pair.methods.by_name[UNARY] = grpc.unary_unary_rpc_method_handler(lambda _r, _c: b"yes")
    unary = pair.channel.unary_unary(UNARY)
    assert unary(b"", timeout=WAIT) == b"yes"
    never = threading.Event()

    def slow_requests() -> Iterator[bytes]:
        yield b"a"
        never.wait(WAIT)

    in_flight = pair.channel.stream_unary(COLLECT).future(slow_requests(), timeout=WAIT)
    assert begun.wait(WAIT)
    pair.end_writer()
    error = in_flight.exception()
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert reason(error) == ("WRITER_UNAVAILABLE", {"written": "unknown"})
    never.set()
    until(lambda: not pair.link.ready)
    with pytest.raises(grpc.RpcError) as caught:
        unary(b"", timeout=WAIT)
    assert reason(caught.value) == ("WRITER_UNAVAILABLE", {"written": "no"})
    pair.begin_writer()
    until(lambda: pair.link.ready)
    assert unary(b"", timeout=WAIT) == b"yes"


def test_streams_leave_threads_to_single_calls(pair: Pair) -> None:
    pair.methods.by_name[UNARY] = grpc.unary_unary_rpc_method_handler(lambda _r, _c: b"yes")
    pair.methods.by_name[CHAT] = grpc.stream_stream_rpc_method_handler(lambda requests, _c: requests)
    ends = [threading.Event() for _ in range(3)]

    def held(end: threading.Event) -> Iterator[bytes]:
        yield b"a"
        end.wait(WAIT)

    streams = [pair.channel.stream_stream(CHAT)(held(end), timeout=WAIT) for end in ends[:2]]
    assert [next(each) for each in streams] == [b"a", b"a"]
    with pytest.raises(grpc.RpcError) as caught:
        next(pair.channel.stream_stream(CHAT)(held(ends[2]), timeout=WAIT))
    assert reason(caught.value) == (ServerUnavailable.reason, {"limit": "2"})
    assert pair.channel.unary_unary(UNARY)(b"", timeout=WAIT) == b"yes"
    for end in ends:
        end.set()
    assert [list(each) for each in streams] == [[], []]
    again = pair.channel.stream_stream(CHAT)(iter([b"b"]), timeout=WAIT)
    assert list(again) == [b"b"]


def test_a_writer_that_hangs_keeps_no_read_waiting(pair: Pair) -> None:
    release, begun = threading.Event(), threading.Semaphore(0)

    def hang(_request: bytes, _context: grpc.ServicerContext) -> bytes:
        begun.release()
        release.wait(WAIT)
        return b"late"

    pair.methods.by_name[UNARY] = grpc.unary_unary_rpc_method_handler(hang)
    pair.methods.by_name[HERE] = grpc.unary_unary_rpc_method_handler(lambda _r, _c: b"here")
    writes = [pair.channel.unary_unary(UNARY).future(b"", timeout=WAIT) for _ in range(12)]
    for _ in range(4):
        assert begun.acquire(timeout=WAIT)
    assert pair.channel.unary_unary(HERE)(b"", timeout=WAIT) == b"here"
    release.set()
    assert {each.result() for each in writes} == {b"late"}


def test_streams_end_with_the_worker_after_what_is_answered(pair: Pair) -> None:
    hold, more = threading.Event(), threading.Event()

    def echo(requests: Iterator[bytes], _context: grpc.ServicerContext) -> Iterator[bytes]:
        for request in requests:
            if request == b"slow":
                hold.wait(WAIT)
            yield request

    def two() -> Iterator[bytes]:
        yield from (b"quick", b"slow")
        more.wait(WAIT)
        yield b"refused"

    pair.methods.by_name[CHAT] = grpc.stream_stream_rpc_method_handler(echo)
    idle, busy = (pair.channel.stream_stream(CHAT)(two(), timeout=WAIT) for _ in range(2))
    assert next(busy) == b"quick"
    assert next(idle) == b"quick"
    pair.forward.end()
    hold.set()
    more.set()
    for call in (busy, idle):
        # The messages that were handed on before are answered; what comes later is refused.
        answers = []
        with pytest.raises(grpc.RpcError) as caught:
            answers.extend(iter(call))
        assert answers in ([], [b"slow"])
        assert reason(caught.value)[0] == ServerUnavailable.reason
    with pytest.raises(grpc.RpcError) as caught:
        next(pair.channel.stream_stream(CHAT)(iter([b"a"]), timeout=WAIT))
    assert reason(caught.value)[0] == ServerUnavailable.reason
