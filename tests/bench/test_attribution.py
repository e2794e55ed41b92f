"""The attribution benchmark runs on small data, and stops where its answers disagree."""

from __future__ import annotations

import pytest

from bench import attribution


def test_it_checks_and_times_every_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert attribution.main(["--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    assert "answers agree" in printed
    assert all(f"| `{question}` |" in printed for question in attribution.QUESTIONS)


def test_answers_that_disagree_end_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribution, "WITHIN_MS", 29 * 60_000)
    assert attribution.main(["--rounds", "1"]) == 1
    assert "and NumPy" in capsys.readouterr().err


def test_wrong_options() -> None:
    with pytest.raises(SystemExit) as caught:
        attribution.main(["--rounds", "0"])
    assert caught.value.code == 2
