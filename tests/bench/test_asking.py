"""The asking benchmark end to end, and that it notices a wrong answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import asking, timing
from bench.__main__ import main
from segidx.database import Account
from segidx.model.results import Count


def test_each_way_of_asking_is_measured(loaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SHORT_SECONDS", 0.001)
    out = tmp_path / "asking.json"
    assert main(["asking", "--rounds", "1", "--dir", str(loaded), "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    assert (report["bench"], report["contacts"]) == ("asking", 10_000)
    assert [case["case"] for case in report["cases"]] == list(asking.SHAPES)
    for case in report["cases"]:
        ways = ("segidx", "segidx_later", "segidx_new", "segidx_grpc", "segidx_evaluate")
        assert all(case[way] > 0 for way in ways)


def test_no_two_new_questions_are_alike() -> None:
    for _, make in asking.SHAPES.values():
        assert len({make(number) for number in range(asking.NEW + 20)}) == asking.NEW + 20


def test_a_wrong_answer_ends_the_run(
    loaded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = Account.count

    def wrong(account: Account, *arguments: object, **options: object) -> Count:
        found = right(account, *arguments, **options)  # type: ignore[arg-type]
        return Count(found.count + 1, found.evaluation)

    monkeypatch.setattr(Account, "count", wrong)
    assert main(["asking", "--rounds", "1", "--dir", str(loaded)]) == 1
    assert "product: " in capsys.readouterr().err
