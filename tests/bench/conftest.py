"""The benchmarks are no installed package: they are found from the root of the checkout."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the benchmarks keep what they have loaded."""
    return tmp_path_factory.mktemp("bench")
