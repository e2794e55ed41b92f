"""The server as a process: it announces itself, finishes what is in flight, and ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from segidx.model.errors import InvalidArgument, ServerUnavailable
from segidx.service.server import RunningServer, run, start
from segidx.v1 import counts_pb2, counts_pb2_grpc

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WAIT = 60

SERVE_FAKE = """
import sys
sys.path.insert(0, sys.argv[1])
from fake_database import FakeDatabase
from segidx.service.server import run
database = FakeDatabase()
run(database, port=0, threads=4, grace=float(sys.argv[2]), announce=lambda line: print(line, flush=True))
print("ended", database.stopped.is_set(), flush=True)
"""


def serve_fake(grace: float) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE_FAKE, str(HERE), str(grace)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    return process, process.stdout.readline().split()[-1]


@pytest.fixture(params=[signal.SIGTERM, signal.SIGINT])
def ending(request: pytest.FixtureRequest) -> Any:
    return request.param


def count(text: str) -> counts_pb2.CountContactsRequest:
    return counts_pb2.CountContactsRequest(account="accounts/default", text=text)


def test_a_signal_ends_the_server_after_what_is_in_flight(ending: signal.Signals) -> None:
    process, address = serve_fake(grace=0.5)
    try:
        with grpc.insecure_channel(address) as channel:
            stub = counts_pb2_grpc.CountServiceStub(channel)
            assert stub.CountContacts(count("everyone"), timeout=WAIT).count == 4
            health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=WAIT)
            assert next(health).status == health_pb2.HealthCheckResponse.SERVING
            slow = stub.CountContacts.future(count("slow"), timeout=WAIT)
            # Another call's answer shows that the first had its turn to begin.
            assert stub.CountContacts(count("everyone"), timeout=WAIT).count == 4
            process.send_signal(ending)
            assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
            # The grace over, the call is cancelled and its evaluation stopped before the process ends.
            assert slow.exception() is not None
        out, _ = process.communicate(timeout=WAIT)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert out.split()[0] == "ended"


def test_a_call_in_flight_may_finish(database: Any) -> None:
    running = start(database, port=0, threads=4)
    with grpc.insecure_channel(running.address) as channel:
        call = counts_pb2_grpc.CountServiceStub(channel).CountContacts.future(count("slow"), timeout=WAIT)
        assert database.slow.wait(WAIT)
        stopping = threading.Thread(target=running.stop, args=(WAIT,))
        stopping.start()
        database.hurry.set()
        assert call.result().count == 4
        stopping.join(WAIT)
        assert not stopping.is_alive()


def test_run_ends_when_told(database: Any) -> None:
    until, lines = threading.Event(), []

    def announce(line: str) -> None:
        lines.append(line)
        until.set()

    before = signal.getsignal(signal.SIGTERM)
    run(database, port=0, announce=announce, until=until)
    assert lines[0].startswith("segidx is serving on 127.0.0.1:")
    assert signal.getsignal(signal.SIGTERM) is before


def test_two_servers_do_not_share_a_port(database: Any, server: RunningServer) -> None:
    with pytest.raises(ServerUnavailable, match=str(server.port)):
        start(database, port=server.port)


def test_senseless_settings_are_refused(database: Any) -> None:
    for settings in ({"threads": 1}, {"port": -1}, {"max_message_bytes": 1}):
        with pytest.raises(InvalidArgument):
            start(database, **{"port": 0, **settings})  # type: ignore[arg-type]


def test_a_directory_is_served_by_one_process(tmp_path: Path) -> None:
    pytest.importorskip("segidx.database")
    command = [sys.executable, str(ROOT / "server.py"), "--data", str(tmp_path / "data"), "--port", "0"]
    missing = subprocess.run(command, capture_output=True, text=True, timeout=WAIT)
    assert missing.returncode == 3
    first = subprocess.Popen([*command, "--create"], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        assert "serving" in first.stdout.readline()
        second = subprocess.run(command, capture_output=True, text=True, timeout=WAIT)
        assert second.returncode == 1
        assert second.stderr.startswith("server.py: error: ")
        first.terminate()
        assert first.wait(WAIT) == 0
    finally:
        first.kill()
        first.wait()
