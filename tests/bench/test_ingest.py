"""The ingest benchmark end to end, for a moment each; its figures mean nothing here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench import ingest
from bench.__main__ import main
from bench.live.truth import Truth

QUICK = ["--seconds", "1", "--rest-seconds", "0.3", "--rows", "50"]


@pytest.fixture(autouse=True)
def _small_overlay(monkeypatch: pytest.MonkeyPatch) -> None:
    smoke = ingest.HOW_LONG["smoke"]
    monkeypatch.setitem(ingest.HOW_LONG, "smoke", replace(smoke, overlay_bytes=200_000, appends=5))


@pytest.mark.parametrize(("workers", "clients", "rate"), [("0", "1", "0"), ("1", "2", "200")])
def test_a_run_checks_its_answers_and_reports(
    loaded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: str, clients: str, rate: str
) -> None:
    out = tmp_path / "ingest.json"
    options = [
        "--clients",
        clients,
        "--workers",
        workers,
        "--rate",
        rate,
        "--dir",
        str(loaded),
        "--json",
        str(out),
        *QUICK,
    ]
    assert main(["ingest", *options, *QUICK]) == 0
    printed = capsys.readouterr().out
    assert printed.count("answers agree") == 2
    assert printed.count("bar: ") == 6
    report = json.loads(out.read_text())
    assert (report["bench"], report["scale"], report["contacts"]) == ("ingest", "smoke", 100_000)
    assert [run["clients"] for run in report["runs"]] == [int(clients)]
    assert report["fdatasync_ms"]["count"] == 5
    for run in report["runs"]:
        assert run["updates"] > 0
        assert rate == "0" or run["updates"] <= int(rate) + 50 * int(clients)
        assert run["generations"] > 0
        assert run["acknowledged_ms"]["count"] == run["updates"] / 50
        assert run["counts_writing_ms"]["count"] > 0
        assert run["log_bytes_written"] > 0
        assert run["write_amplification"] >= 1
        assert run["cpu_seconds"]["server"] > 0
        assert run["anonymous_bytes"]["most"] >= run["anonymous_bytes"]["start"] > 0
    assert report["overlay_full"]["log_bytes"] >= 200_000
    assert len(report["bars"]) == 6


def test_a_wrong_answer_ends_the_run(
    loaded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = Truth.counts
    monkeypatch.setattr(Truth, "counts", lambda self: {**right(self), "active = true": -1})
    assert main(["ingest", "--clients", "1", "--dir", str(loaded), *QUICK]) == 1
    complaint = capsys.readouterr().err
    assert "wrong after 1 client(s): active = true: " in complaint
    assert "1 answers are wrong" in complaint


@pytest.mark.parametrize("options", [["--clients", "x"], ["--clients", "0"], ["--seconds", "-1"], ["--rows", "0"]])
def test_wrong_options(options: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["ingest", *options])
    assert ended.value.code == 2
