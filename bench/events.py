"""The events benchmark: milliseconds to count contacts by their orders and lines, against DuckDB and ClickHouse over
the same rows; then once more with orders in the log that no merge has met yet, a tenth as many events as contacts.

Answers come first: every system counts every expression, and one disagreement ends the run before anything is timed.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.answers import agree
from bench.cases import Case
from bench.contention import Contention
from bench.machine import this_machine
from bench.options import add_peers, add_rounds, directory_of, parser_of
from bench.orders.cases import make_cases
from bench.orders.corpus import AT_MS, SCALES, SEED, OrderCorpus, make_orders
from bench.orders.own import open_database, store_orders, write_late
from bench.own import Embedded, Evaluate
from bench.report import CaseResult, Report
from bench.systems import System, disk_bytes
from bench.timing import measure

ROUNDS = 5
PEERS = ("duckdb", "chdb")
OWN = (Embedded.name, Evaluate.name)
# So often each question was asked before. A month is put in order at the 16th, and measured for sums after 16 more; one
# month a question.
ASKED = 64
LATE = 35  # contacts to an order that is not merged: with its lines, a tenth of the contacts in events


def main(arguments: Sequence[str]) -> int:
    """Run it. Exit codes: 0 done, 1 answers disagree, 2 wrong options."""
    parser = parser_of("events", __doc__, SCALES, "10k, 1M or 10M", SEED)
    add_rounds(parser, ROUNDS)
    add_peers(parser, PEERS)
    parser.add_argument("--no-unmerged", dest="unmerged", action="store_false", help="leave out the unmerged orders")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.seed < 0:
        parser.error("--rounds is 1 at least, --seed 0 at least")
    with ExitStack() as stack:
        directory = directory_of(options, stack)
        return _run(options, directory / f"events-{options.scale}", stack)


def _run(options: argparse.Namespace, directory: Path, stack: ExitStack) -> int:
    machine = this_machine()
    print(f"events, scale {options.scale}, seed {options.seed}: {machine}", flush=True)
    corpus = make_orders(SCALES[options.scale], options.seed)
    contention = Contention()
    loaded, seconds = store_orders(corpus, directory / "segidx")
    print(f"load segidx: {_loaded(seconds)}, {disk_bytes(loaded) / 1e6:.0f} MB on disk", flush=True)
    peers: dict[str, System] = {}
    sorts: list[Any] = []
    if "duckdb" in options.peers:
        sorts = _open_duckdb(corpus, directory / "duckdb", stack)
        peers |= {peer.name: peer for peer in sorts}
    if "chdb" in options.peers:
        peers |= _open_chdb(corpus, directory / "chdb", stack)
    with ExitStack() as opened:
        merged = _compared("", {**_open_own(loaded, opened), **peers}, options)
    if merged is None:
        return 1
    unmerged: list[CaseResult] | None = []
    if options.unmerged:
        late = corpus.late(max(1, corpus.size // LATE))
        path = write_late(loaded, late, directory / "segidx-unmerged")
        stack.callback(shutil.rmtree, path, ignore_errors=True)
        print(f"unmerged: {len(late.contact):,} orders with {len(late.product):,} lines", flush=True)
        for peer in sorts:
            peer.add(late)
        own = _open_own(path, stack)
        unmerged = _compared("_unmerged", {**own, **{peer.name: peer for peer in sorts}}, options)
    if unmerged is None:
        return 1
    foreign = None if options.answers_only else contention.share()
    report = Report("events", options.scale, corpus.size, options.seed, machine, [*merged, *unmerged], foreign)
    if not options.answers_only:
        print(report.table())
        print(report.conditions())
    if options.json:
        report.write_json(options.json)
    return 0


def _compared(suffix: str, systems: dict[str, System], options: argparse.Namespace) -> list[CaseResult] | None:
    """Every case with every system, its name with the suffix; None when answers disagree."""
    cases = [Case(f"{case.name}{suffix}", case.what, case.expressions) for case in make_cases()]
    runs = {name: [[s.prepare(e) for e in case.expressions] for case in cases] for name, s in systems.items()}
    if not agree(cases, runs):
        return None
    print(f"answers agree: {len(cases)} expressions, {', '.join(systems)}", flush=True)
    results = []
    for i, case in enumerate(cases):
        figures: Mapping[str, float] = {}
        if not options.answers_only:
            for name in OWN:
                for _ in range(ASKED):
                    runs[name][i][0]()
            figures = measure({name: by_case[i] for name, by_case in runs.items()}, options.rounds)
        peers = {name: figures.get(name) for name in systems if name not in OWN}
        variants = {Evaluate.name: figures.get(Evaluate.name)}
        results.append(
            CaseResult(case.name, case.what, figures.get(Embedded.name), variants, _best(options.peers, peers))
        )
    return results


def _best(wanted: Sequence[str], figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """Of every peer wanted, None where it was not asked; DuckDB at the better of its two sorts, and at each."""
    found: dict[str, float | None] = {}
    for peer in wanted:
        its = {name: value for name, value in figures.items() if name.startswith(peer)}
        found |= {peer: min((value for value in its.values() if value is not None), default=None), **its}
    return found


def _open_own(path: Path, stack: ExitStack) -> dict[str, System]:
    """The ways into segidx."""
    account = stack.enter_context(open_database(path)).account()
    own: dict[str, System] = {}
    for system in (Embedded(account), Evaluate(account, AT_MS)):
        stack.callback(system.close)
        own[system.name] = system
    return own


def _open_duckdb(corpus: OrderCorpus, directory: Path, stack: ExitStack) -> list[Any]:
    """DuckDB over each sort, loaded and said so; nothing where it is not installed."""
    try:
        module = importlib.import_module("bench.orders.duckdb_peer")
    except ImportError as error:
        print(f"duckdb is left out: {error}", file=sys.stderr)
        return []
    files, seconds = module.store_tables(corpus, directory)
    sizes = ", ".join(f"{file.stat().st_blocks * 512 / 1e6:.0f} MB by {sort}" for sort, file in files.items())
    print(f"load duckdb: {_loaded(seconds)}, {sizes} on disk", flush=True)
    peers = []
    for sort, file in files.items():
        peer = module.DuckDbOrders(file, sort)
        stack.callback(peer.close)
        peers.append(peer)
    return peers


def _open_chdb(corpus: OrderCorpus, directory: Path, stack: ExitStack) -> dict[str, System]:
    """ClickHouse, loaded and said so; nothing where it is not installed."""
    try:
        module = importlib.import_module("bench.orders.chdb_peer")
    except ImportError as error:
        print(f"chdb is left out: {error}", file=sys.stderr)
        return {}
    peer, seconds = module.open_peer(corpus, directory)
    stack.callback(peer.close)
    print(f"load chdb: {_loaded(seconds)}, {disk_bytes(directory) / 1e6:.0f} MB on disk", flush=True)
    return {peer.name: peer}


def _loaded(seconds: float | None) -> str:
    return "loaded before" if seconds is None else f"{seconds:.1f} s"
