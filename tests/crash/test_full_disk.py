"""A disk that fills up refuses batches whole, loses nothing, and writing goes on when there is room again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from crashkit.observer import environment

SEED = 20_260_501
MEGABYTES = 8


def run_starved(directory: Path, how: str, prefix: list[str]) -> None:
    command = [*prefix, sys.executable, "-m", "crashkit.starved", str(directory), f"--seed={SEED}", f"--how={how}"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    print(done.stdout)


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    run_starved(tmp_path / "data", "limit", [])


def test_a_small_file_system(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare to mount a file system with, unseen by others")
    place = tmp_path / "small"
    place.mkdir()
    mount = f'mount -t tmpfs -o size={MEGABYTES}m tmpfs "$0" && exec "$@"'
    prefix = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, str(place)]
    probe = subprocess.run([*prefix, "true"], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {probe.stderr.strip()}")
    run_starved(place / "data", "tmpfs", prefix)
