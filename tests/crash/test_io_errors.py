"""Calls that fail with EIO or ENOSPC, or write half: a typed error, nothing acknowledged lost, nothing refused there.

SEGIDX_CRASH_ROUNDS above 100 lets more calls of a step fail.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from crashkit.observer import environment

SEED = 20_260_501
CALLS = 25 if int(os.environ.get("SEGIDX_CRASH_ROUNDS", "8")) > 100 else 3


@pytest.mark.timeout(3600)
def test_every_call_that_fails_is_survived(tmp_path: Path, cutpower: str) -> None:
    command = [sys.executable, "-m", "crashkit.failing", str(tmp_path / "data"), f"--seed={SEED}", f"--calls={CALLS}"]
    env = environment(LD_PRELOAD=cutpower, CUTPOWER_ROOT=str(tmp_path / "data"), CUTPOWER_LOG=str(tmp_path / "log"))
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=3000)
    print(done.stdout)
    assert done.returncode == 0, done.stderr
