"""The events benchmark: milliseconds to count contacts by their orders and lines, against DuckDB over the same rows.

Answers come first: every system counts every expression, and one disagreement ends the run before anything is timed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.answers import agree
from bench.contention import Contention
from bench.machine import this_machine
from bench.orders.cases import make_cases
from bench.orders.corpus import AT_MS, SCALES, SEED, OrderCorpus, make_orders
from bench.orders.own import open_database, store_orders
from bench.own import Embedded, Evaluate
from bench.report import CaseResult, Report
from bench.systems import System, disk_bytes
from bench.timing import measure

ROUNDS = 5
PEERS = ("duckdb",)


def main(arguments: Sequence[str]) -> int:
    """Run it. Exit codes: 0 done, 1 answers disagree, 2 wrong options."""
    parser = argparse.ArgumentParser(prog="python -m bench events", description=__doc__)
    parser.add_argument("--scale", choices=SCALES, default="smoke", help="10k, 1M or 10M contacts (default: smoke)")
    parser.add_argument("--dir", type=Path, metavar="DIR", help="keep the loaded data here and reuse it (default: no)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--answers-only", action="store_true", help="compare the answers and time nothing")
    parser.add_argument("--seed", type=int, default=SEED, help="of the corpus (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="measurements a figure (default: %(default)s)")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="(default: all)")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.seed < 0:
        parser.error("--rounds is 1 at least, --seed 0 at least")
    with ExitStack() as stack:
        directory = options.dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="segidx-bench-")))
        return _run(options, directory / f"events-{options.scale}", stack)


def _run(options: argparse.Namespace, directory: Path, stack: ExitStack) -> int:
    machine = this_machine()
    print(f"events, scale {options.scale}, seed {options.seed}: {machine}", flush=True)
    corpus = make_orders(SCALES[options.scale], options.seed)
    own = _open_own(corpus, directory / "segidx", stack)
    peers = _open_duckdb(corpus, directory / "duckdb", stack) if "duckdb" in options.peers else {}
    size = corpus.size
    del corpus  # the systems hold their own copies

    cases = make_cases()
    systems = {**own, **peers}
    runs = {name: [[s.prepare(e) for e in case.expressions] for case in cases] for name, s in systems.items()}
    if not agree(cases, runs):
        return 1
    print(f"answers agree: {len(cases)} expressions, {', '.join(systems)}", flush=True)

    contention = Contention()
    results = []
    for i, case in enumerate(cases):
        figures: Mapping[str, float] = {}
        if not options.answers_only:
            figures = measure({name: by_case[i] for name, by_case in runs.items()}, options.rounds)
        variants = {name: figures.get(name) for name in own if name != Embedded.name}
        answers = _best(options.peers, {name: figures.get(name) for name in peers})
        results.append(CaseResult(case.name, case.what, figures.get(Embedded.name), variants, answers))
    foreign = None if options.answers_only else contention.share()
    report = Report("events", options.scale, size, options.seed, machine, results, foreign)
    if not options.answers_only:
        print(report.table())
        print(report.conditions())
    if options.json:
        report.write_json(options.json)
    return 0


def _best(wanted: Sequence[str], figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """DuckDB at the better of its two sorts, and at each."""
    if "duckdb" not in wanted:
        return {}
    return {"duckdb": min((value for value in figures.values() if value is not None), default=None), **figures}


def _open_own(corpus: OrderCorpus, directory: Path, stack: ExitStack) -> dict[str, System]:
    """The ways into segidx, loaded and said so."""
    path, seconds = store_orders(corpus, directory)
    print(f"load segidx: {_loaded(seconds)}, {disk_bytes(path) / 1e6:.0f} MB on disk", flush=True)
    account = stack.enter_context(open_database(path)).account()
    own: dict[str, System] = {}
    for system in (Embedded(account), Evaluate(account, AT_MS)):
        stack.callback(system.close)
        own[system.name] = system
    return own


def _open_duckdb(corpus: OrderCorpus, directory: Path, stack: ExitStack) -> dict[str, System]:
    """DuckDB over each sort, loaded and said so; nothing where it is not installed."""
    try:
        module = importlib.import_module("bench.orders.duckdb_peer")
    except ImportError as error:
        print(f"duckdb is left out: {error}", file=sys.stderr)
        return {}
    files, seconds = module.store_tables(corpus, directory)
    sizes = ", ".join(f"{file.stat().st_blocks * 512 / 1e6:.0f} MB by {sort}" for sort, file in files.items())
    print(f"load duckdb: {_loaded(seconds)}, {sizes} on disk", flush=True)
    peers: dict[str, System] = {}
    for sort, file in files.items():
        peer = module.DuckDbOrders(file, sort)
        stack.callback(peer.close)
        peers[peer.name] = peer
    return peers


def _loaded(seconds: float | None) -> str:
    return "loaded before" if seconds is None else f"{seconds:.1f} s"
