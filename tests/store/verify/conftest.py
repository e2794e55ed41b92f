"""A small account of contacts to be damaged, a copy each, and an empty one; a file may have a `template` of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.testing.verified_contacts import FIELDS, make


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "data"
    make(path)
    return path


@pytest.fixture
def path(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "data"))


@pytest.fixture
def account(path: Path) -> Iterator[Account]:
    with Database.open(path) as database:
        yield database.account()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Account]:
    with Database.open(tmp_path / "empty", create=True) as database:
        database.account().update_schema(FIELDS)
        yield database.account()
