"""The machine and the versions a benchmark ran on; figures without them say nothing."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from segidx.kernels.bitmaps import simd_level

_PACKAGES = ("segidx", "numpy", "pyarrow", "lmdb", "pyroaring", "grpcio", "duckdb", "chdb", "chdb-core")


@dataclass(frozen=True, slots=True)
class Machine:
    """`cores` are those this process may use; `simd` is the level segidx's kernels chose; `memory_gib` is rounded."""

    cpu: str
    cores: int
    memory_gib: int
    simd: str
    system: str
    python: str
    versions: dict[str, str]

    def __str__(self) -> str:
        return (
            f"{self.cpu}, {self.cores} cores, {self.memory_gib} GiB, {self.simd}, Python {self.python}, {self.system}"
        )


def this_machine() -> Machine:
    """The machine this runs on, with the versions of the packages that are installed."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    affinity = getattr(os, "sched_getaffinity", None)
    return Machine(
        cpu=_cpu(),
        cores=len(affinity(0)) if affinity else os.cpu_count() or 1,
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        simd=simd_level(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        versions=versions,
    )


def _cpu() -> str:
    """The model's name; where the name says little, family and model numbers too."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = facts.get("model name", platform.machine())
    if "cpu family" in facts:
        name += f" (family {facts['cpu family']}, model {facts.get('model', '?')})"
    return name
