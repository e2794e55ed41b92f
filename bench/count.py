"""The count benchmark: mean milliseconds a count, for families of expressions, against peers on the same corpus.

Answers come first: every system counts every expression, and one disagreement ends the run before anything is timed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import overlay
from bench.answers import agree
from bench.cases import INSTANCES, make_cases
from bench.contention import Contention
from bench.corpus import SCALES, SEED, Corpus, make_corpus
from bench.machine import this_machine
from bench.options import add_peers, add_rounds, directory_of, parser_of
from bench.own import Embedded, Evaluate, OverGrpc, store_corpus
from bench.peers import PEERS, open_peer
from bench.report import CaseResult, Report
from bench.systems import System, disk_bytes
from bench.timing import measure
from segidx.database import Database

ROUNDS = 5


def main(arguments: Sequence[str]) -> int:
    """Run it. Exit codes: 0 done, 1 answers disagree, 2 wrong options."""
    parser = parser_of("count", __doc__, SCALES, "100k, 1M or 10M", SEED, of="corpus and expressions")
    add_rounds(parser, ROUNDS)
    parser.add_argument("--instances", type=int, default=INSTANCES, help="expressions a case (default: %(default)s)")
    add_peers(parser, PEERS)
    parser.add_argument(
        "--overlay", type=int, metavar="N", help="against itself: N changes unmerged, and the same merged; no peers"
    )
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.instances < 1 or options.seed < 0:
        parser.error("--rounds and --instances are 1 at least, --seed 0 at least")
    if options.overlay is not None and options.overlay < 1:
        parser.error("--overlay is 1 at least")
    with ExitStack() as stack:
        directory = directory_of(options, stack)
        run = _run if options.overlay is None else overlay.run
        return run(options, directory / f"count-{options.scale}", stack)


def _run(options: argparse.Namespace, directory: Path, stack: ExitStack) -> int:
    machine = this_machine()
    print(f"count, scale {options.scale}, seed {options.seed}: {machine}", flush=True)
    corpus = make_corpus(SCALES[options.scale], options.seed)
    own, peers = _open_systems(corpus, directory, options.peers, stack)
    size = corpus.size
    del corpus  # it is some hundred megabytes, and the systems hold their own copies

    cases = make_cases(options.seed, options.instances)
    systems = {**own, **{name: peer for name, peer in peers.items() if peer is not None}}
    runs = {name: [[s.prepare(e) for e in case.expressions] for case in cases] for name, s in systems.items()}
    if not agree(cases, runs):
        return 1
    print(f"answers agree: {len(cases) * options.instances} expressions, {', '.join(systems)}", flush=True)

    contention = Contention()
    results = []
    for i, case in enumerate(cases):
        figures: Mapping[str, float] = {}
        if not options.answers_only:
            figures = measure({name: by_case[i] for name, by_case in runs.items()}, options.rounds)
        variants = {name: figures.get(name) for name in own if name != Embedded.name}
        answers = {name: figures.get(name) for name in peers}
        results.append(CaseResult(case.name, case.what, figures.get(Embedded.name), variants, answers))
    foreign = None if options.answers_only else contention.share()
    report = Report("count", options.scale, size, options.seed, machine, results, foreign)
    if not options.answers_only:
        print(report.table())
        print(report.conditions())
    if options.json:
        report.write_json(options.json)
    return 0


def _open_systems(
    corpus: Corpus, directory: Path, wanted: Sequence[str], stack: ExitStack
) -> tuple[dict[str, System], dict[str, System | None]]:
    """(the ways into segidx, the peers; None for one that is not installed), each loaded and said so."""
    path, seconds = store_corpus(corpus, directory / "segidx")
    loaded = "loaded before" if seconds is None else f"{seconds:.1f} s"
    print(f"load segidx: {loaded}, {disk_bytes(path) / 1e6:.0f} MB on disk", flush=True)
    account = stack.enter_context(Database.open(path, read_only=True)).account()
    own: dict[str, System] = {}
    for system in (Embedded(account), Evaluate(account), OverGrpc(path)):
        stack.callback(system.close)
        own[system.name] = system
    peers: dict[str, System | None] = {}
    for name in wanted:
        started = time.perf_counter()
        try:
            peer = peers[name] = open_peer(name, corpus, directory)
        except ImportError as error:
            peers[name] = None
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        stack.callback(peer.close)
        stored = f", {disk_bytes(directory / name) / 1e6:.0f} MB on disk" if (directory / name).exists() else ""
        print(f"load {name}: {time.perf_counter() - started:.1f} s{stored}", flush=True)
    return own, peers
