"""The load benchmark: seconds and memory to load contacts and orders from Parquet, against DuckDB, which loads the same
files and sorts them; and what lies on the disk then.

Each load is a process of its own. Answers come before figures: segidx and DuckDB must count the same.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.answers import agree
from bench.contention import Contention
from bench.loading.child import Loaded, load
from bench.loading.disk import Disk, disk_of
from bench.loading.files import Files, store_files
from bench.machine import Machine, this_machine
from bench.options import add_peers, directory_of, parser_of
from bench.orders.cases import make_cases
from bench.orders.corpus import SCALES, SEED, make_orders
from bench.orders.own import open_database
from bench.own import Embedded
from bench.report import contention_line, markdown_table, rounded
from bench.systems import System

TIMES_DUCKDB = 4.0  # bars
MEMORY = 6e9
TIMES_PARQUET = 2.5
BYTES_A_KEY = 60.0

PEERS = ("duckdb-by-contact", "duckdb-by-time")
CASES = ("spent", "three_orders", "never_and_tag", "producer_10", "product_100")


@dataclass(frozen=True, slots=True)
class Bar:
    """Something measured, at most `limit`; None where it could not be measured."""

    bar: str
    value: float | None
    limit: float

    @property
    def met(self) -> bool | None:
        return None if self.value is None else self.value <= self.limit

    def text(self) -> str:
        said = "not measured" if self.value is None else f"{self.value:.3g}"
        verdict = {None: "", True: ": met", False: ": missed"}[self.met]
        return f"- bar, {self.bar}: {said} ({self.limit:.3g}){verdict}"


@dataclass(frozen=True, slots=True)
class LoadReport:
    """One run."""

    scale: str
    contacts: int
    orders: int
    lines: int
    seed: int
    machine: Machine
    files: tuple[int, int]  # bytes of the Parquet of contacts, and of orders
    loaded: dict[str, Loaded]
    disk: Disk
    foreign: float | None

    def bars(self) -> list[Bar]:
        """Against DuckDB's sort by contact and time, which is the order of the blocks of events."""
        own, peer = self.loaded["segidx"], self.loaded.get(PEERS[0])
        return [
            Bar("seconds / DuckDB's by contact", peer and own.seconds / peer.seconds, TIMES_DUCKDB),
            Bar("peak memory, GB", own.memory / 1e9, MEMORY / 1e9),
            Bar(
                "events and postings / Parquet of orders",
                (self.disk.events + self.disk.postings) / self.files[1],
                TIMES_PARQUET,
            ),
            *(Bar(f"bytes a key of {name}", each, BYTES_A_KEY) for name, each in self.disk.ids.items()),
        ]

    def text(self) -> str:
        rows = [
            [
                name,
                f"{one.seconds:.1f}",
                ", ".join(f"{what} {seconds:.1f}" for what, seconds in one.phases.items()),
                f"{one.processor:.1f}",
                f"{one.memory / 1e6:,.0f} MB",
                f"{one.anonymous / 1e6:,.0f} MB",
            ]
            for name, one in self.loaded.items()
        ]
        heads = ["load", "seconds", "of which", "processor seconds", "peak memory", "of which anonymous"]
        disk, (contacts, orders) = self.disk, self.files
        return "\n".join(
            [
                markdown_table(heads, rows),
                "",
                f"- Parquet (zstd): contacts {contacts / 1e6:,.1f} MB, orders {orders / 1e6:,.1f} MB",
                f"- on the disk: events {disk.events / 1e6:,.1f} MB, postings {disk.postings / 1e6:,.1f} MB,"
                f" the rest but ids {disk.rest / 1e6:,.1f} MB; free pages {disk.free / 1e6:,.1f} MB,"
                f" the whole file {disk.file / 1e6:,.1f} MB",
                *(bar.text() for bar in self.bars()),
                contention_line(self.foreign),
            ]
        )

    def to_json(self) -> dict[str, object]:
        return {
            "bench": "load",
            "scale": self.scale,
            "contacts": self.contacts,
            "orders": self.orders,
            "lines": self.lines,
            "seed": self.seed,
            "machine": asdict(self.machine),
            "foreign_cpu": rounded(self.foreign),
            "parquet_bytes": {"contacts": self.files[0], "orders": self.files[1]},
            "loads": {name: asdict(one) for name, one in self.loaded.items()},
            "disk": asdict(self.disk),
            "bars": [
                {"bar": bar.bar, "value": rounded(bar.value), "limit": bar.limit, "met": bar.met} for bar in self.bars()
            ],
        }


def main(arguments: Sequence[str]) -> int:
    """Run it. Exit codes: 0 done, 1 answers disagree, 2 wrong options. A bar that is missed changes nothing."""
    parser = parser_of("load", __doc__, SCALES, "10k, 1M or 10M", SEED, kept="keep the files and databases here")
    add_peers(parser, PEERS, "report no figures")
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error("--seed is 0 at least")
    with ExitStack() as stack:
        directory = directory_of(options, stack)
        return _run(options, directory / f"load-{options.scale}")


def _run(options: argparse.Namespace, directory: Path) -> int:
    machine = this_machine()
    print(f"load, scale {options.scale}, seed {options.seed}: {machine}", flush=True)
    corpus = make_orders(SCALES[options.scale], options.seed)
    files = store_files(corpus, directory / "parquet")
    size, orders = corpus.size, corpus.orders
    del corpus
    print(f"{size:,} contacts, {orders:,} orders with {files.lines:,} lines: {files.bytes / 1e6:,.1f} MB", flush=True)
    systems = ["segidx", *options.peers]
    if options.peers and importlib.util.find_spec("duckdb") is None:
        print("duckdb is left out: it is not installed", file=sys.stderr)
        systems = ["segidx"]
    contention = Contention()
    loaded = {name: load(name, files, _fresh(directory / name)) for name in systems}
    foreign = contention.share()
    keys = {"contact ids": size, "order ids": orders}
    disk = disk_of(directory / "segidx", keys)
    if not _answers_agree(directory, systems[1:2]):
        return 1
    if options.answers_only:
        return 0
    sizes = files.contacts.stat().st_size, files.orders.stat().st_size
    report = LoadReport(options.scale, size, orders, files.lines, options.seed, machine, sizes, loaded, disk, foreign)
    print(report.text())
    if options.json:
        options.json.write_text(json.dumps(report.to_json(), indent=2) + "\n")
    return 0


def _fresh(path: Path) -> Path:
    """The path, with nothing there."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    return path


def _answers_agree(directory: Path, peers: Sequence[str]) -> bool:
    """Whether segidx counts what the peers count."""
    cases = [case for case in make_cases() if case.name in CASES]
    with ExitStack() as stack:
        account = stack.enter_context(open_database(directory / "segidx")).account()
        systems: list[System] = [Embedded(account)]
        for name in peers:
            from bench.loading.duckdb_peer import JoinedOrders

            systems.append(JoinedOrders(name, directory / name))
            stack.callback(systems[-1].close)
        runs = {each.name: [[each.prepare(e) for e in case.expressions] for case in cases] for each in systems}
        if not agree(cases, runs):
            return False
    print(f"answers agree: {len(cases)} expressions, {', '.join(runs)}", flush=True)
    return True


__all__ = ["Files", "LoadReport", "main"]
