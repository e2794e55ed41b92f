"""Native build: compiles the Cython and C core in src/ and generates the protobuf code of proto/.

Metadata lives in pyproject.toml. Switches, all off by default:
  SEGIDX_DEBUG=1              bounds checks, assertions, -O0 -g
  SEGIDX_SANITIZE=address     compile and link with a sanitizer (address, undefined, or both by comma)
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

ROOT = Path(__file__).parent
DEBUG = os.environ.get("SEGIDX_DEBUG") == "1"
SANITIZE = os.environ.get("SEGIDX_SANITIZE", "")

# Extension name -> the .pyx and the C files linked with it, all under src/.
# `bitmaps` evaluates expressions over postings and columns; `events` counts and sums over blocks of events, with the
# column scans of `bitmaps`; `strings` hashes, packs and looks up strings; `rows` takes rows of writes from the wire
# into columns; `csv` finds lines of too many or too few cells.
SCANS = [
    f"bm_{name}.c"
    for name in (
        "array",
        "bitset",
        "column",
        "output",
        "paged",
        "run",
        "scan",
        "scan_simd",
        "sheet",
        "simd",
        "stop",
        "view",
    )
]
EXTENSIONS = {
    "segidx.kernels._bitmaps": ["bitmaps.pyx", *sorted(p.name for p in (ROOT / "src").glob("bm_*.c"))],
    "segidx.kernels._events": [
        "events.pyx",
        *sorted(p.name for p in (ROOT / "src").glob("ev_*.c")),
        *SCANS,
        "st_common.c",
    ],
    "segidx.kernels._strings": ["strings.pyx", *sorted(p.name for p in (ROOT / "src").glob("st_*.c"))],
    "segidx.kernels._rows": ["rows.pyx", *sorted(p.name for p in (ROOT / "src").glob("rw_*.c"))],
    "segidx.kernels._csv": ["csv.pyx"],
}


def compile_flags() -> tuple[list[str], list[str]]:
    """Compiler and linker flags. Portable code only: SIMD is chosen at run time, never by -march."""
    cflags = ["-std=c11", "-Wall", "-Wextra", "-Wno-unused-function", "-Wno-unused-parameter", "-fvisibility=hidden"]
    cflags += ["-O0", "-g", "-DSEGIDX_DEBUG=1"] if DEBUG else ["-O3", "-g1", "-DNDEBUG"]
    lflags: list[str] = []
    if SANITIZE:
        cflags += [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-g"]
        lflags += [f"-fsanitize={SANITIZE}"]
    return cflags, lflags


def extensions() -> list[Extension]:
    from Cython.Build import cythonize

    cflags, lflags = compile_flags()
    headers = sorted(str(p.relative_to(ROOT)) for p in [*(ROOT / "src").glob("*.h"), *(ROOT / "src").glob("*.pxi")])
    found = [
        Extension(
            name,
            [f"src/{file}" for file in files],
            include_dirs=["src"],
            depends=headers,
            extra_compile_args=cflags,
            extra_link_args=lflags,
        )
        for name, files in EXTENSIONS.items()
        if (ROOT / "src" / files[0]).exists()
    ]
    return cythonize(
        found,
        build_dir="build/cython",
        annotate=DEBUG,
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": DEBUG,
            "embedsignature": True,
        },
    )


def generate_protos() -> None:
    """Write segidx/v1/*_pb2*.py and .pyi from proto/segidx/v1/*.proto, when a .proto is newer than its output."""
    protos = sorted((ROOT / "proto" / "segidx" / "v1").glob("*.proto"))
    outputs = sorted((ROOT / "segidx" / "v1").glob("*_pb2*.py*"))
    if not protos:
        return
    expected = len(protos) * 4
    if len(outputs) == expected and min(p.stat().st_mtime for p in outputs) >= max(p.stat().st_mtime for p in protos):
        return
    import grpc_tools
    from grpc_tools import protoc

    for stale in outputs:
        stale.unlink()
    # protoc finds the typing plugins on the PATH, which need not hold this environment's scripts.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={ROOT / 'proto'}",
            f"--proto_path={well_known}",
            f"--python_out={ROOT}",
            f"--grpc_python_out={ROOT}",
            f"--mypy_out=quiet:{ROOT}",
            f"--mypy_grpc_out=quiet:{ROOT}",
            *map(str, protos),
        ]
    )
    if status != 0:
        raise SystemExit(f"protoc failed with status {status}")


generate_protos()
setup(ext_modules=extensions())
