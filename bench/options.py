"""The options that benchmarks share, and where they keep what they load."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path


def parser_of(
    name: str,
    about: str | None,
    scales: Iterable[str],
    contacts: str,
    seed: int,
    of: str = "the corpus",
    kept: str = "keep the loaded data here and reuse it",
) -> argparse.ArgumentParser:
    """A parser of --scale (of so many `contacts`), --dir (what is `kept` there), --json and --seed (`of` what)."""
    parser = argparse.ArgumentParser(prog=f"python -m bench {name}", description=about)
    parser.add_argument("--scale", choices=scales, default="smoke", help=f"{contacts} contacts (default: smoke)")
    parser.add_argument("--dir", type=Path, metavar="DIR", help=f"{kept} (default: no)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--seed", type=int, default=seed, help=f"of {of} (default: %(default)s)")
    return parser


def add_rounds(parser: argparse.ArgumentParser, rounds: int) -> None:
    parser.add_argument("--rounds", type=int, default=rounds, help="measurements a figure (default: %(default)s)")


def add_peers(parser: argparse.ArgumentParser, peers: Iterable[str], otherwise: str = "time nothing") -> None:
    """--peers, and --answers-only, with which they are compared and nothing else is done: say what is left out."""
    parser.add_argument("--answers-only", action="store_true", help=f"compare the answers and {otherwise}")
    parser.add_argument("--peers", nargs="*", choices=peers, default=list(peers), help="(default: all)")


def directory_of(options: argparse.Namespace, stack: ExitStack) -> Path:
    """--dir, or a directory that goes with the stack."""
    return options.dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="segidx-bench-")))
