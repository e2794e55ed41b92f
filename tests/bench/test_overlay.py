"""`count --overlay`: merged against unmerged on the smallest corpus, and the changes that it makes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench import overlay
from bench.__main__ import main
from bench.cases import FAMILIES
from bench.corpus import make_corpus
from bench.live.unmerged import write_unmerged
from segidx.model.writes import ContactWrite


def test_merged_and_unmerged_agree_and_the_ratio_is_told(
    loaded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "overlay.json"
    few = ["--instances", "2", "--rounds", "1", "--overlay", "20000"]
    assert main(["count", "--scale", "smoke", "--dir", str(loaded), "--json", str(out), *few]) == 0
    printed = capsys.readouterr().out
    assert "answers agree: 16 expressions, merged and unmerged" in printed
    assert "bar: slowest unmerged / merged: " in printed
    report = json.loads(out.read_text())
    assert report["bench"] == "count-overlay"
    assert report["overlay"]["changes"] == 4000
    assert report["overlay"]["log_bytes"] > 0
    assert [case["case"] for case in report["cases"]] == list(FAMILIES)
    for case in report["cases"]:
        assert set(case["ratio"]) == {"embedded", "evaluate", "grpc"}
        assert case["ratio"]["embedded"] == pytest.approx(
            case["unmerged"]["embedded"] / case["merged"]["embedded"], rel=0.01
        )


def test_other_content_fails_the_run(
    loaded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def other(path: Path) -> None:
        everyone = [ContactWrite(f"c{row:09d}", {"income": 5000}) for row in range(5000)]
        write_unmerged(path, [everyone])

    monkeypatch.setattr(overlay, "merge_all", other)
    monkeypatch.setattr(overlay, "measure", lambda *_: pytest.fail("it was timed"))
    assert main(["count", "--dir", str(loaded), "--instances", "2", "--overlay", "20000"]) == 1
    assert "answers disagree: number_range " in capsys.readouterr().err


def test_each_contact_gets_five_changes_and_each_changes_something() -> None:
    corpus = make_corpus(20_000, 3)
    held = {tag.name: set(tag.contacts.tolist()) for tag in corpus.tags}
    (batch,) = overlay.changes(corpus, overlay.ROWS, 3)
    assert len({write.contact_id for write in batch}) == overlay.ROWS
    takers = 0
    for write in batch:
        row = int(str(write.contact_id)[1:])
        assert set(write.fields) == {"income", "country"}
        given, (taken,) = write.tags_added["tags"], write.tags_removed["tags"]
        assert len(set(given)) == 2
        assert taken not in given
        assert not any(row in held[tag] for tag in given)
        takers += row in held[taken]
        assert row in held[taken] or not any(row in contacts for contacts in held.values())
    assert takers > overlay.ROWS * 0.9


def test_tags_are_drawn_apart() -> None:
    nobody = np.zeros((5, 10), np.bool_)
    given, taken = overlay._draw_tags(nobody, np.random.default_rng(1))
    assert all(len({*pair, one}) == 3 for pair, one in zip(given.tolist(), taken.tolist(), strict=True))
