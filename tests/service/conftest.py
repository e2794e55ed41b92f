"""A server over the fake database, in this process."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest

from segidx.service.server import RunningServer, start


def load_fake() -> ModuleType:
    """The module fake_database, which lies beside this file and in no package."""
    spec = importlib.util.spec_from_file_location("fake_database", Path(__file__).with_name("fake_database.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fake_database"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def database() -> Iterator[Any]:
    made = load_fake().FakeDatabase()
    yield made
    made.close()


@pytest.fixture
def server(database: Any) -> Iterator[RunningServer]:
    running = start(database, port=0, threads=4)
    yield running
    database.hurry.set()
    database.commits.set()
    running.stop(5)


@pytest.fixture
def channel(server: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as opened:
        yield opened
