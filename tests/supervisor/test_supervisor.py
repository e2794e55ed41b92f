"""The supervisor's parts, without any process of segidx."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from segidx.model.errors import (
    AlreadyOpenForWriting,
    InvalidArgument,
    Kind,
    SegidxError,
    ServerUnavailable,
    UnknownField,
)
from segidx.serving import Settings
from segidx.supervisor.children import Child, described, error_of
from segidx.supervisor.ports import hold
from segidx.supervisor.sockets import SocketPlace

HEAVY = ("grpc", "lmdb", "numpy", "google", "segidx.database", "segidx.store", "segidx.kernels", "segidx.service")


@pytest.mark.parametrize("modules", ["segidx.serving, segidx.supervisor.run", "segidx.cli.main", "server"])
def test_the_supervisor_loads_nothing_heavy(modules: str) -> None:
    code = f"import {modules}, segidx.supervisor.run, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    root = Path(__file__).parents[2]
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert found.stdout.strip() == "[]"


def listening(port: int, *, reuse: bool) -> socket.socket:
    each = socket.socket()
    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        each.bind(("127.0.0.1", port))
        each.listen()
    except OSError:
        each.close()
        raise
    return each


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::"])
def test_a_held_port_lets_workers_in_and_others_not(host: str) -> None:
    held = hold(host, 0)
    try:
        with pytest.raises(ServerUnavailable, match=str(held.port)):
            hold(host, held.port)
        with pytest.raises(OSError):
            listening(held.port, reuse=False)
        with listening(held.port, reuse=True), listening(held.port, reuse=True), pytest.raises(ServerUnavailable):
            hold(host, held.port)
    finally:
        held.close()
    # Free again at once, also with connections that are only just closed.
    hold(host, held.port).close()


def test_a_port_in_use_and_a_foreign_address_are_refused() -> None:
    with listening(0, reuse=True) as taken, pytest.raises(ServerUnavailable, match="--port"):
        hold("127.0.0.1", taken.getsockname()[1])
    for host in ("192.0.2.1", "no-such-host.invalid"):
        with pytest.raises(ServerUnavailable, match=host):
            hold(host, 0)


def test_the_socket_lies_in_the_data_directory_where_it_fits(tmp_path: Path) -> None:
    short = Path(tempfile.mkdtemp())
    try:
        place = SocketPlace(short)
        assert place.path == short / "writer.sock"
        place.close()
        assert short.exists()
    finally:
        short.rmdir()
    for strange in (tmp_path / ("long" * 40), tmp_path / "ż %41 name", tmp_path / "a?b"):
        place = SocketPlace(strange)
        home = place.path.parent
        assert len(os.fsencode(place.path)) <= 107
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        place.close()
        assert not home.exists()


def test_errors_of_children_keep_their_class() -> None:
    busy = error_of(described(AlreadyOpenForWriting("taken", process="7")))
    assert isinstance(busy, AlreadyOpenForWriting)
    assert (str(busy), busy.kind, busy.metadata) == ("taken", Kind.BUSY, {"process": "7"})
    assert isinstance(error_of(described(UnknownField("a", ["b"], path="x"))), UnknownField)
    strange = error_of({"kind": "corrupt", "reason": "NEW", "message": "m", "path": "", "metadata": {}})
    assert (type(strange), strange.reason, strange.kind) == (SegidxError, "NEW", Kind.CORRUPT)


def test_starts_wait_longer_while_they_fail() -> None:
    child = Child("worker", [])
    delays = [child.postpone(1.0) for _ in range(8)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    # One that lived for half a minute was well.
    assert child.postpone(30.0) == 0.1
    assert child.start_at == pytest.approx(30.1)


def test_senseless_settings_are_refused() -> None:
    for wrong in ({"workers": -1}, {"workers": 1000}, {"threads": 1}, {"create": True, "read_only": True}):
        with pytest.raises(InvalidArgument):
            Settings(Path(), **wrong).check()  # type: ignore[arg-type]
