"""The count benchmark end to end on its smallest corpus, and that it cannot be talked into a wrong answer."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from bench import contention, count
from bench.__main__ import main
from bench.cases import FAMILIES
from bench.contention import Contention
from bench.machine import this_machine
from bench.peers import PEERS, pyroaring_lmdb
from bench.report import Report
from segidx.model.expression import Expression

INSTALLED = [name for name in ("duckdb", "chdb") if importlib.util.find_spec(name)]


def test_smoke_run_agrees_and_reports_in_the_common_shape(
    loaded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "count.json"
    few = ["--instances", "3", "--rounds", "1"]
    assert main(["count", "--scale", "smoke", "--dir", str(loaded), "--json", str(out), *few]) == 0
    report = json.loads(out.read_text())
    assert (report["bench"], report["scale"], report["contacts"]) == ("count", "smoke", 100_000)
    assert report["machine"]["cores"] >= 1
    assert report["machine"]["simd"]
    assert [case["case"] for case in report["cases"]] == list(FAMILIES)
    for case in report["cases"]:
        assert case["unit"] == "ms"
        assert case["answers_agree"] is True
        assert all(case[key] > 0 for key in ("segidx", "segidx_evaluate", "segidx_grpc"))
        assert list(case["peers"]) == list(PEERS)
        assert all(case["peers"][name] > 0 for name in ["pyroaring_lmdb", *INSTALLED])
    printed = capsys.readouterr().out
    assert "or_30: OR of 30" in printed
    assert "answers agree" in printed


def test_answers_only_times_nothing_and_reuses_what_is_loaded(
    loaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(count, "measure", lambda *_: pytest.fail("it was timed"))
    out = tmp_path / "count.json"
    options = ["--dir", str(loaded), "--answers-only", "--instances", "2", "--json", str(out)]
    for _ in range(2):
        assert main(["count", *options, "--peers", "pyroaring_lmdb"]) == 0
    assert "load segidx: loaded before" in capsys.readouterr().out
    case = json.loads(out.read_text())["cases"][0]
    assert case["segidx"] is None
    assert case["peers"] == {"pyroaring_lmdb": None}


def test_a_disagreement_fails_the_run_and_names_the_expression(
    loaded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = pyroaring_lmdb.PyroaringLmdb.prepare

    def wrong(self: pyroaring_lmdb.PyroaringLmdb, expression: Expression) -> object:
        run = right(self, expression)
        return lambda: run() + 1

    monkeypatch.setattr(pyroaring_lmdb.PyroaringLmdb, "prepare", wrong)
    monkeypatch.setattr(count, "measure", lambda *_: pytest.fail("it was timed"))
    assert main(["count", "--dir", str(loaded), "--instances", "1", "--peers", "pyroaring_lmdb"]) == 1
    complaints = capsys.readouterr().err
    assert complaints.count("answers disagree: ") == len(FAMILIES)
    assert "and_2 0: embedded " in complaints
    assert 'tags has "tag_' in complaints


def test_a_peer_that_is_not_installed_is_null_with_a_reason(
    loaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, PEERS["duckdb"], raising=False)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    out = tmp_path / "count.json"
    options = ["--dir", str(loaded), "--instances", "1", "--rounds", "1", "--json", str(out)]
    assert main(["count", *options, "--peers", "pyroaring_lmdb", "duckdb"]) == 0
    assert "duckdb is left out: " in capsys.readouterr().err
    for case in json.loads(out.read_text())["cases"]:
        assert case["peers"]["duckdb"] is None
        assert case["peers"]["pyroaring_lmdb"] > 0


def test_a_busy_machine_is_said_not_hidden() -> None:
    def conditions(share: float | None) -> str:
        return Report("count", "smoke", 1, 1, this_machine(), [], share).conditions()

    assert "DO NOT QUOTE" in conditions(0.3)
    assert "DO NOT QUOTE" not in conditions(0.01)
    assert "not known" in conditions(None)


def test_own_work_is_no_contention_of_others() -> None:
    """What this process burns is taken off; what is left may be anything, but never the whole."""
    psutil = pytest.importorskip("psutil")
    watch, before = Contention(), sum(psutil.Process().cpu_times()[:2])
    while sum(psutil.Process().cpu_times()[:2]) - before < 0.5:
        pass
    own = sum(psutil.Process().cpu_times()[:2]) - before
    share, (_, total) = watch.share(), contention._machine()
    assert share is not None
    assert share * (total - watch._total) <= (total - watch._total) - own + 0.2


def test_the_list_and_a_wrong_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "count" in capsys.readouterr().out
    assert main(["cuont"]) == 2
