"""A copy of the directory that a test file is about, its `FIXTURE`, to be opened; beside it stand `held` and
`make_fixture`, which the test files import."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from segidx.database import Database

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return Path(shutil.copytree(request.module.FIXTURE, tmp_path / "data"))


@pytest.fixture(params=[False, True], ids=["for writing", "for reading"])
def database(place: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    with Database.open(place, read_only=request.param) as database:
        yield database
