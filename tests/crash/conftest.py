"""The crash tests' package is no installed one: it is found beside this file. Fixtures they share."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from crashkit.observer import Observer  # noqa: E402


@pytest.fixture(scope="session")
def observer() -> Iterator[Observer]:
    """A process that opens what is left of directories."""
    observer = Observer()
    yield observer
    observer.close()


@pytest.fixture(scope="session")
def cutpower(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The library of cutpower.c, to be preloaded."""
    if sys.platform != "linux":
        pytest.skip("cutpower.c is written for the C library of Linux")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler (cc) to build cutpower.c with")
    library = tmp_path_factory.mktemp("cutpower") / "cutpower.so"
    command = [compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(HERE / "cutpower.c")]
    subprocess.run([*command, "-ldl", "-lpthread"], check=True)
    return str(library)
