"""The single-add benchmark end to end, and that it notices an add that is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import single_add
from bench.__main__ import main

FEW = ["--rounds", "2", "--adds", "3", "--burst", "5"]


def test_both_tags_are_measured_and_counted(loaded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "single.json"
    assert main(["single-add", "--dir", str(loaded), "--json", str(out), *FEW]) == 0
    assert "answers agree: counts of both tags after each of 2 rounds" in capsys.readouterr().out
    report = json.loads(out.read_text())
    assert report["bench"] == "single-add"
    assert report["held"]["ten"] == 10
    assert report["held"]["half"] > 40_000
    assert [case["case"] for case in report["cases"]] == ["latency", "latency p99", "burst", "merge"]
    for case in report["cases"]:
        assert case["ratio"] == pytest.approx(case["half"] / case["ten"], rel=0.01)


def test_a_missing_add_fails_the_run(
    loaded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = single_add._burst
    monkeypatch.setattr(single_add, "_burst", lambda account, batches: right(account, batches[1:]))
    assert main(["single-add", "--dir", str(loaded), *FEW]) == 1
    assert "is held by 17, not 18" in capsys.readouterr().err
