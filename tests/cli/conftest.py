"""Runs commands in this process, on a data directory and on a server alike."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from segidx.cli.main import run
from segidx.database import Database
from segidx.service import server

CONTACTS = """\
id,email,country,income,born,vip,tags,seen
anna,anna@example.com,PL,1200.50,1980-02-29,true,gold|new,2026-07-01 12:00:00
bert,bert@example.com,DE,900.00,1990-12-31,false,gold,2026-07-02T12:00:00Z
cora,cora@example.org,PL,,,,,
"""


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv("SEGIDX_DATA", raising=False)
    monkeypatch.delenv("SEGIDX_SERVER", raising=False)


@pytest.fixture
def segidx(capsys):
    """Runs `segidx` with these arguments."""

    def call(*arguments) -> Result:
        code = run([str(a) for a in arguments])
        caught = capsys.readouterr()
        return Result(code, caught.out, caught.err)

    return call


@pytest.fixture
def csv_file(tmp_path) -> Path:
    path = tmp_path / "contacts.csv"
    path.write_text(CONTACTS)
    return path


@pytest.fixture(params=["data", "server"])
def target(request, tmp_path, segidx, csv_file):
    """The options that name an imported data directory, or a server of it."""
    data = tmp_path / "data"
    assert segidx("import", "contacts", csv_file, "--id", "id", "--data", data).code == 0
    if request.param == "data":
        yield ["--data", data]
        return
    with Database.open(data) as database, server.start(database, port=0) as running:
        yield ["--server", running.address]
