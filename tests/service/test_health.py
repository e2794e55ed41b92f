"""Health: what is told to whom, and that watchers who leave at the wrong moment stop nobody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from segidx.service.health import Health

WAIT = 60
Answer = health_pb2.HealthCheckResponse


class Server:
    def __init__(self, watches: int) -> None:
        self.health = Health(["a.B"], watches=watches)
        self.server = grpc.server(ThreadPoolExecutor(2))
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.stub = health_pb2_grpc.HealthStub(self.channel)

    def check(self, name: str = "") -> int:
        return self.stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=WAIT).status

    def watch(self, name: str = ""):
        return self.stub.Watch(health_pb2.HealthCheckRequest(service=name), timeout=WAIT)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(watches=8)
    yield made
    made.channel.close()
    made.server.stop(0).wait()
    made.health.close()


def test_services_serve_until_the_end(server: Server) -> None:
    watches = [server.watch(name) for name in ("", "a.B")]
    assert [next(watch).status for watch in watches] == [Answer.SERVING, Answer.SERVING]
    assert server.check("a.B") == Answer.SERVING
    server.health.end()
    assert [[answer.status for answer in watch] for watch in watches] == [[Answer.NOT_SERVING]] * 2
    assert server.check() == Answer.NOT_SERVING


def test_an_unknown_service_is_told(server: Server) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        server.check("a.C")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert next(server.watch("a.C")).status == Answer.SERVICE_UNKNOWN


def test_watches_are_bounded_and_leave_room_when_they_end(server: Server) -> None:
    watches = [server.watch() for _ in range(8)]
    for watch in watches:
        next(watch)
    with pytest.raises(grpc.RpcError) as caught:
        next(server.watch())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    watches[0].cancel()
    while True:
        try:
            assert next(server.watch()).status == Answer.SERVING
            break
        except grpc.RpcError:
            continue


def test_watchers_that_leave_while_others_are_told_stop_nobody() -> None:
    for _ in range(20):
        server = Server(watches=16)
        watches = [server.watch() for _ in range(16)]
        for watch in watches:
            next(watch)
        leaving = [threading.Thread(target=watch.cancel) for watch in watches[::2]]
        for thread in leaving:
            thread.start()
        server.health.end()
        assert [next(watch).status for watch in watches[1::2]] == [Answer.NOT_SERVING] * 8
        for thread in leaving:
            thread.join(WAIT)
        assert server.check() == Answer.NOT_SERVING
        server.channel.close()
        server.server.stop(0).wait()
        server.health.close()
