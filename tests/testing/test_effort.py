"""How much the random tests try: what is set, and that more of it has the seeds of less."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from segidx.testing import effort


def told(value: str | None) -> subprocess.CompletedProcess[str]:
    """What a process says that has this effort; it is read once, when the module is loaded."""
    env = {name: text for name, text in os.environ.items() if name != "SEGIDX_TEST_EFFORT"}
    if value is not None:
        env["SEGIDX_TEST_EFFORT"] = value
    ask = "from segidx.testing.effort import EFFORT, seeds, times; print(EFFORT, times(7), list(seeds(2)))"
    return subprocess.run([sys.executable, "-c", ask], env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("value", "says"), [(None, "1 7 [0, 1]"), ("1", "1 7 [0, 1]"), ("3", "3 21 [0, 1, 2, 3, 4, 5]")]
)
def test_effort(value: str | None, says: str) -> None:
    done = told(value)
    assert (done.stdout.strip(), done.returncode) == (says, 0), done.stderr


@pytest.mark.parametrize("value", ["0", "-2"])
def test_no_effort_is_refused(value: str) -> None:
    done = told(value)
    assert done.returncode != 0
    assert f"SEGIDX_TEST_EFFORT must be 1 or more, not {value}" in done.stderr


def test_more_has_the_seeds_of_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "EFFORT", 1)
    few = list(effort.seeds(5))
    monkeypatch.setattr(effort, "EFFORT", 4)
    assert list(effort.seeds(5))[:5] == few == list(range(5))
    assert len(effort.seeds(5)) == effort.times(5) == 20
