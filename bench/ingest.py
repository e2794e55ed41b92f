"""The ingest benchmark: durable writes a second over gRPC, through merges, and what they do to the counts.

A server process of its own serves a copy of the corpus on the loopback; client processes stream updates of five fields
and two tags each to random contacts, or orders of three lines and eight properties. The answers are checked at the end
of every run, against an independent recount.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.contention import Contention
from bench.corpus import SCALES, SEED
from bench.live.corpus import LiveCorpus, load
from bench.live.counting import Counted, count_for
from bench.live.disk import append_milliseconds, copy_directory, file_bytes
from bench.live.figures import percentiles
from bench.live.report import FullOverlay, IngestReport, Run
from bench.live.server import ServerProcess
from bench.live.streaming import Plan, stream
from bench.live.unmerged import merge_all, write_unmerged
from bench.live.writer import STREAMS
from bench.machine import this_machine
from bench.options import directory_of, parser_of
from bench.systems import disk_bytes
from segidx.client import Batch
from segidx.ingest.merger import ROOM_BYTES
from segidx.model.results import Stats
from segidx.model.writes import ContactWrite

SHOWN = 20  # wrong answers printed


@dataclass(frozen=True, slots=True)
class Scale:
    """`seconds` of streaming, `rest` seconds of counting at a time, `appends` synced, `overlay_bytes` that fill it."""

    seconds: float
    rest: float
    appends: int
    overlay_bytes: int


# A full overlay is one at which commits wait for a merge.
HOW_LONG = {
    "smoke": Scale(4, 1, 50, 4 << 20),
    "small": Scale(60, 15, 300, ROOM_BYTES),
    "full": Scale(600, 30, 500, ROOM_BYTES),
}


def main(arguments: Sequence[str]) -> int:
    """Run it. Exit codes: 0 done, whether the bars are met or not; 1 an answer is wrong; 2 wrong options."""
    parser = parser_of("ingest", __doc__, SCALES, "100k, 1M or 10M", SEED, of="corpus and updates")
    parser.add_argument("--what", choices=list(STREAMS), default="updates", help="is streamed (default: %(default)s)")
    parser.add_argument("--seconds", type=float, help="of streaming, each (default: 4, 60 or 600 by scale)")
    parser.add_argument("--rest-seconds", type=float, help="of counting without writing, each (default: by scale)")
    parser.add_argument("--clients", default="1,4", help="numbers of streaming clients, a run each (default: 1,4)")
    parser.add_argument("--rows", type=int, default=500, help="of a batch (default: %(default)s)")
    parser.add_argument("--window", type=int, default=8, help="batches of a client in flight (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=0.0, help="rows a second of all clients (default: no limit)")
    parser.add_argument("--workers", type=int, default=0, help="of the server (default: one process does everything)")
    options = parser.parse_args(arguments)
    try:
        clients = [int(word) for word in options.clients.split(",")]
    except ValueError:
        parser.error(f"--clients takes numbers with commas, not {options.clients!r}")
    scale = HOW_LONG[options.scale]
    plan = Plan(options.seconds or scale.seconds, options.rows, options.window, options.rate, options.what)
    if min(clients) < 1 or min(plan.seconds, plan.rows, plan.window) <= 0 or plan.rate < 0 or options.seed < 0:
        parser.error("--clients, --seconds, --rows and --window are above 0, --rate and --seed not below")
    rest = options.rest_seconds or scale.rest
    with ExitStack() as stack:
        directory = directory_of(options, stack)
        return _run(options, clients, plan, scale, rest, directory / f"ingest-{options.scale}")


def _run(
    options: argparse.Namespace, clients: list[int], plan: Plan, scale: Scale, rest: float, directory: Path
) -> int:
    machine = this_machine()
    print(f"ingest, scale {options.scale}, seed {options.seed}: {machine}", flush=True)
    corpus, stored, seconds = load(options.scale, options.seed, directory / "segidx")
    loaded = "loaded before" if seconds is None else f"{seconds:.1f} s"
    print(f"load: {loaded}, {disk_bytes(stored) / 1e6:.0f} MB on disk", flush=True)
    contention = Contention()
    bench = _Bench(corpus, stored, directory, options.workers, plan, rest)
    fdatasync = percentiles(append_milliseconds(directory, scale.appends))
    runs = []
    for number in clients:
        run, wrong = bench.stream(number)
        for line in wrong[:SHOWN]:
            print(f"wrong after {number} client(s): {line}", file=sys.stderr)
        if wrong:
            print(f"{len(wrong)} answers are wrong", file=sys.stderr)
            return 1
        print(f"answers agree: after {run.streamed.updates:,} {plan.what} of {number} client(s)", flush=True)
        runs.append(run)
    full = bench.full_overlay(scale.overlay_bytes)
    if full.full.answers != full.merged.answers:
        print(f"counts differ before and after the merge: {full.full.answers}, {full.merged.answers}", file=sys.stderr)
        return 1
    print("answers agree: overlay full and merged", flush=True)
    foreign = contention.share()
    report = IngestReport(
        options.scale, corpus.size, corpus.seed, machine, plan, options.workers, fdatasync, runs, full, foreign
    )
    print(report.text())
    if options.json:
        report.write_json(options.json)
    return 0


class _Bench:
    """The steps, each on `work`: a copy of the loaded directory."""

    def __init__(
        self, corpus: LiveCorpus, stored: Path, directory: Path, workers: int, plan: Plan, rest: float
    ) -> None:
        self._corpus, self._stored, self._workers, self._plan, self._rest = corpus, stored, workers, plan, rest
        self._work, self._log = directory / "work", directory / "server.log"
        self._log.unlink(missing_ok=True)

    def stream(self, clients: int) -> tuple[Run, list[str]]:
        """A run from a fresh copy to the final merge."""
        copy_directory(self._stored, self._work)
        before = merge_all(self._work)
        file_before = file_bytes(self._work)
        with self._served() as server:
            print(f"{clients} client(s): server is process {server.pid} on {server.address}", flush=True)
            rest = count_for(server.address, self._corpus.seed, self._rest)
            streamed, wrong = stream(server, self._corpus, clients, self._plan)
        after = merge_all(self._work)
        run = Run(
            rest,
            streamed,
            file_before,
            file_bytes(self._work),
            _in_use(before),
            _in_use(after),
            round(streamed.samples.record_bytes() * streamed.generations),
        )
        return run, wrong

    def full_overlay(self, log_bytes: int) -> FullOverlay:
        """Fill the overlay of the last run's data, count, merge, count again. Servers that only read never merge."""
        overlay = write_unmerged(self._work, self._more(), log_bytes)
        full = self._counted()
        merge_all(self._work)
        return FullOverlay(overlay, full, self._counted())

    def _counted(self) -> Counted:
        with self._served(read_only=True) as server:
            return count_for(server.address, self._corpus.seed, self._rest)

    def _more(self) -> Iterator[list[ContactWrite] | Batch]:
        # One client of one more than any run has: other updates than were sent before.
        source = STREAMS[self._plan.what](self._corpus.size, self._corpus.seed + 1, 0, 1, self._plan.rows)
        return (source.batch(source.columns(number)) for number in itertools.count())  # type: ignore[arg-type]

    def _served(self, *, read_only: bool = False) -> ServerProcess:
        return ServerProcess(self._work, self._log, workers=self._workers, read_only=read_only)


def _in_use(stats: Stats) -> int:
    """Bytes of the pages that hold something."""
    page = stats.used_bytes - stats.free_pages * 4096
    return max(0, page)
