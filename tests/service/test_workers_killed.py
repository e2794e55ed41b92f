"""`serve --workers` whose processes are killed one by one: what goes on, what is told, and that nothing is lost."""

from __future__ import annotations

import fcntl
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from segidx.client import Client, RemoteAccount
from segidx.model.errors import ServerUnavailable, WriterUnavailable
from segidx.model.results import WriteResult
from segidx.model.schema import Field, FieldType
from segidx.model.writes import ContactWrite
from segidx.testing.served import WAIT_SECONDS, Served, until

pytestmark = pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="looks into Linux's /proc")

ROUNDS = 3


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "data", tmp_path / "log", "--create") as running:
        with running.client() as client:
            client.account("default").update_schema([Field("n", FieldType.NUMBER)])
        yield running


def count(client: Client, text: str = "everyone") -> int:
    return client.account("default").count(text).count


def patiently(act: Callable[[], Any]) -> Any:
    """The answer of a call that may meet processes being started again."""

    def attempt() -> Any:
        try:
            return act()
        except (WriterUnavailable, ServerUnavailable):
            return None

    return until(attempt)


def test_a_killed_worker_is_started_again(served: Served) -> None:
    for _ in range(ROUNDS):
        before = served.workers()
        victim = before[0]
        with served.one_channel_each() as channels:
            others = [channel for pid, channel in channels.items() if pid != victim]
            os.kill(victim, signal.SIGKILL)
            for channel in others:
                check = health_pb2_grpc.HealthStub(channel).Check
                assert check(health_pb2.HealthCheckRequest(), timeout=WAIT_SECONDS).status == 1
        until(lambda dead=victim: dead not in served.workers() and len(served.workers()) == 2)
        # The new one takes connections as soon as it listens.
        until(lambda: answers_everywhere(served))
    assert "was killed by SIGKILL; starting it again" in served.log.read_text()
    with served.client() as client:
        assert client.account("default").upsert([("a", {})]).created == 1


def answers_everywhere(served: Served) -> bool:
    try:
        with served.one_channel_each() as channels:
            return set(channels) == set(served.workers())
    except grpc.FutureTimeoutError:
        return False


class Load(threading.Thread):
    """Writes contacts on a connection of its own, `p0`, `p1`, ..., each again with its batch key until it is
    acknowledged; call by call, or in a stream that is opened again where it broke."""

    def __init__(self, served: Served, prefix: str, *, stream: bool = False) -> None:
        super().__init__()
        self._served = served
        self._prefix = prefix
        self._write = self._streamed if stream else self._called
        self.enough = threading.Event()
        self.acknowledged = 0
        self.told: list[WriterUnavailable] = []
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            with self._served.client() as client:
                account = client.account("default")
                while not self.enough.is_set():
                    try:
                        for result in self._write(account):
                            assert result.accepted == 1
                            self.acknowledged += 1
                    except WriterUnavailable as error:
                        self.told.append(error)
                    except ServerUnavailable as error:
                        # What a stream is told by a writer that ends in order.
                        if "is ending" not in error.message:
                            raise
        except Exception as error:
            self.failure = error

    def _called(self, account: RemoteAccount) -> Iterator[WriteResult]:
        i = self.acknowledged
        yield account.write([self._row(i)], batch_key=self._key(i))

    def _streamed(self, account: RemoteAccount) -> Iterator[WriteResult]:
        first = self.acknowledged
        rows = ([self._row(i)] for i in itertools.takewhile(lambda _: not self.enough.is_set(), itertools.count(first)))
        return account.write_stream(rows, batch_keys=map(self._key, itertools.count(first)))

    def _row(self, i: int) -> ContactWrite:
        return ContactWrite(f"{self._prefix}{i}", {"n": i})

    def _key(self, i: int) -> str:
        return f"{self._prefix}/{i}"

    def more(self, writes: int) -> None:
        """Waits for so many acknowledgements."""
        reached = self.acknowledged
        until(lambda: self.acknowledged >= reached + writes or self.failure)
        assert self.failure is None, self.failure

    def finish(self) -> None:
        self.enough.set()
        self.join(WAIT_SECONDS)
        assert not self.is_alive()
        assert self.failure is None, self.failure
        assert {error.metadata["written"] for error in self.told} <= {"no", "unknown"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_writer_that_ends_is_started_again_and_loses_nothing(served: Served, number: signal.Signals) -> None:
    loads = [Load(served, "a"), Load(served, "b"), Load(served, "c", stream=True), Load(served, "d", stream=True)]
    for load in loads:
        load.start()
    with served.client() as client:
        for _ in range(ROUNDS):
            for load in loads:
                load.more(10)
            reached = sum(load.acknowledged for load in loads)
            writer = served.writer()
            os.kill(writer, number)
            assert count(client) >= reached  # reads go on
            until(lambda dead=writer: served.writer() != dead)
        for load in loads:
            load.more(10)
        for load in loads:
            load.finish()
        # Each write was repeated until it was acknowledged, so what is there is what was acknowledged.
        assert count(client) == sum(load.acknowledged for load in loads)
        for load in loads:
            last = load.acknowledged - 1
            assert client.account("default").get(f"{load._prefix}{last}").fields["n"] == last
        if number == signal.SIGKILL:
            # A stream notices each time: it had begun.
            assert all(len(load.told) >= ROUNDS for load in loads[2:])


def test_a_stream_whose_writer_dies_is_told_so(served: Served) -> None:
    with served.client() as client:
        gone = threading.Event()

        def rows() -> Iterator[tuple[str, dict[str, object]]]:
            yield "first", {}
            until(lambda: count(client) == 1)
            os.kill(served.writer(), signal.SIGKILL)
            gone.wait(WAIT_SECONDS)

        with pytest.raises(WriterUnavailable) as caught:
            client.account("default").upsert_stream(rows(), batch_rows=1)
        gone.set()
        assert caught.value.metadata["written"] == "unknown"
        assert count(client) == 1
        assert patiently(lambda: client.account("default").upsert([("second", {})])).created == 1


def test_while_there_is_no_writer_reads_go_on_and_writes_are_told(served: Served, tmp_path: Path) -> None:
    with served.client() as client, (tmp_path / "data" / "writer.lock").open("rb+") as lock:
        client.account("default").upsert([("first", {})])
        watch = health_pb2_grpc.HealthStub(client._channel).Watch(health_pb2.HealthCheckRequest(), timeout=WAIT_SECONDS)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        # Whoever takes the lock first writes; the writers that are started again find the directory taken.
        taken = threading.Thread(target=fcntl.flock, args=(lock, fcntl.LOCK_EX))
        taken.start()
        while taken.is_alive():
            os.kill(served.writer(), signal.SIGKILL)
            taken.join(1)
        for _ in range(2):
            with pytest.raises(WriterUnavailable) as caught:
                client.account("default").upsert([("second", {})])
        assert caught.value.metadata["written"] == "no"
        assert count(client) == 1
        assert health_pb2_grpc.HealthStub(client._channel).Check(health_pb2.HealthCheckRequest()).status == 1
        until(lambda: "already open for writing" in served.log.read_text())
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert patiently(lambda: client.account("default").upsert([("second", {})])).created == 1
        assert count(client) == 2


def test_children_end_with_a_killed_supervisor(served: Served, tmp_path: Path) -> None:
    with served.client() as client:
        client.account("default").upsert([("first", {})])
        served.tell(signal.SIGKILL)
        assert served.wait() == -signal.SIGKILL
        until(served.all_gone)
    # The port and the directory are free.
    with Served(tmp_path / "data", tmp_path / "log", port=served.port) as again, again.client() as client:
        assert count(client) == 1
        assert client.account("default").upsert([("second", {})]).created == 1


def test_children_that_are_still_starting_end_with_a_killed_supervisor(served: Served) -> None:
    for pid in served.workers():
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(served.workers()) == 2)
    served.tell(signal.SIGKILL)
    served.wait()
    until(served.all_gone)
