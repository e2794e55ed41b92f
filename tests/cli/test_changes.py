"""`segidx changes` and what `segidx stats` tells of the log, on a data directory and on a server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from segidx.cli import stats
from segidx.database import Database
from segidx.model.schema import Field, FieldType
from segidx.model.writes import ContactWrite


@pytest.fixture
def data(tmp_path) -> Path:
    """A directory with three generations."""
    with Database.open(tmp_path / "written", create=True) as database:
        account = database.account()
        account.update_schema([Field("country", FieldType.CATEGORY), Field("tags", FieldType.TAGS)])
        account.write([ContactWrite("anna", {"country": "PL"}), ContactWrite("bert")])
        account.write([ContactWrite("bert", {}, {"tags": ["vip"]})])
        account.write([ContactWrite("anna", {"country": "DE"})])
    return tmp_path / "written"


def lines(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def test_changes_of_a_directory(segidx, data):
    found = lines(segidx("changes", "--after", 1, "--json", "--data", data).out)
    assert [(f["generation"], f["contacts"], f["last"]) for f in found] == [
        (2, [{"contact_id": "bert", "kinds": ["tags"]}], True),
        (3, [{"contact_id": "anna", "kinds": ["fields"]}], True),
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", f["time"]) for f in found)
    shown = segidx("changes", "--after", 0, "--data", data).out.splitlines()
    assert [line.split()[1] for line in shown if line.startswith("generation")] == ["1", "2", "3"]
    assert "  anna  created, fields" in shown
    assert segidx("changes", "--after", 3, "--data", data).out == ""


def test_changes_are_the_same_on_a_directory_and_a_server(segidx, target):
    found = segidx("changes", "--after", 0, "--json", *target)
    assert found.code == 0
    contacts = [c for line in lines(found.out) for c in line["contacts"]]
    assert {c["contact_id"] for c in contacts if "created" in c["kinds"]} == {"anna", "bert", "cora"}
    assert segidx("changes", "--after", 10**9, *target).code == 2
    assert segidx("changes", *target).code == 2
    late = segidx("changes", "--follow", "--timeout", "0.3", *target)
    assert (late.code, late.out) == (6, "")


def test_following_a_directory_that_another_process_writes(data):
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "segidx.cli", "changes", "--after", "2", "--follow", "--json", "--data", str(data)]
    # Whoever is started from the background of a shell ignores the signal, and so would those that it starts.
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["generation"] == 3
        with Database.open(data) as database:
            for generation in (4, 5):
                database.account().write([ContactWrite("cora")] if generation == 4 else [ContactWrite("dora")])
                found = json.loads(process.stdout.readline())
                assert found["generation"] == generation
                assert [c["kinds"] for c in found["contacts"]] == [["created"]]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out, err.strip()) == (130, "", "segidx: error: interrupted")


def test_stats_tell_of_the_log(segidx, data):
    found = segidx("stats", "--json", "--data", data).json
    assert found["generation"] == 3
    assert found["merge_lag_generations"] == 3 - found["merged_generation"]
    assert 0 < found["map_use_percent"] < 100
    assert found["log_bytes"] > 0
    assert found["log_records"] > 0
    shown = segidx("stats", "--data", data).out
    assert "free pages, under 0.1 % of the map" in shown
    assert [stats._percent(share) for share in (0.0, 0.01, 0.05, 99.96)] == ["0.0 %", "under 0.1 %", "0.1 %", "100.0 %"]
    assert re.search(r"log of [\d,]+ records, .*(behind|nothing to merge); overlay [\d.,]+ K?B", shown)
