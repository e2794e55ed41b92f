"""`python -m bench count --overlay N`: counts with N changes that are not merged, against the same content merged.

Two copies of the count benchmark's data get the same changes, through `Account.write` with merging held off; one is
then merged. Every expression is counted on both before anything is timed, and rounds interleave them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.answers import agree
from bench.cases import Case, make_cases
from bench.contention import Contention
from bench.corpus import INCOME_LIMIT, SCALES, Corpus, country_names, make_corpus, tag_name
from bench.live.disk import copy_directory
from bench.live.unmerged import Unmerged, merge_all, write_unmerged
from bench.machine import Machine, this_machine
from bench.own import Embedded, Evaluate, OverGrpc, store_corpus
from bench.report import contention_line, markdown_table, rounded, shown
from bench.systems import System
from bench.timing import measure
from segidx.database import Database
from segidx.model.writes import ContactWrite

BAR = 1.5
CHANGES_A_CONTACT = 5  # number, category, two tags given, one taken
ROWS = 2000  # a batch
_STREAM = 1002  # tells these random streams from others of the seed

Times = dict[str, float]  # by way into segidx, milliseconds a count


@dataclass(frozen=True, slots=True)
class OverlayCase:
    """One family of expressions; nothing where no times were asked for."""

    case: Case
    merged: Times
    unmerged: Times

    def ratio(self, way: str) -> float | None:
        return self.unmerged[way] / self.merged[way] if self.merged else None


def run(options: argparse.Namespace, directory: Path, stack: ExitStack) -> int:
    """Run it. Exit codes: 0 done, 1 answers disagree."""
    machine = this_machine()
    print(f"count, overlay of {options.overlay:,} changes, scale {options.scale}, seed {options.seed}: {machine}")
    corpus = make_corpus(SCALES[options.scale], options.seed)
    stored, _ = store_corpus(corpus, directory / "segidx")
    unmerged, merged = directory / "unmerged", directory / "merged"
    copy_directory(stored, unmerged)
    held = write_unmerged(unmerged, changes(corpus, options.overlay // CHANGES_A_CONTACT, options.seed))
    del corpus
    copy_directory(unmerged, merged)
    merge_all(merged)
    print(
        f"overlay: {held.changes:,} contacts written, {held.log_bytes / 1e6:.1f} MB of log in {held.log_records:,}"
        f" records, {held.overlay_bytes / 1e6:.1f} MB in memory",
        flush=True,
    )

    cases = make_cases(options.seed, options.instances)
    places = {place: _open(path, stack) for place, path in (("merged", merged), ("unmerged", unmerged))}
    runs = {
        f"{place} {way}": [[system.prepare(e) for e in case.expressions] for case in cases]
        for place, systems in places.items()
        for way, system in systems.items()
    }
    if not agree(cases, runs):
        return 1
    print(f"answers agree: {len(cases) * options.instances} expressions, merged and unmerged", flush=True)

    contention = Contention()
    results = []
    for number, case in enumerate(cases):
        figures: dict[str, float] = {}
        if not options.answers_only:
            named = {name: by_case[number] for name, by_case in runs.items()}
            figures = measure(named, options.rounds)
        results.append(OverlayCase(case, *(_of(place, figures) for place in places)))
    foreign = None if options.answers_only else contention.share()
    if not options.answers_only:
        print(_table(results))
        worst = max(case.ratio(Embedded.name) or 0.0 for case in results)
        print(f"bar: slowest unmerged / merged: {worst:.2f} (<= {BAR}): {'met' if worst <= BAR else 'NOT MET'}")
        print(contention_line(foreign))
    if options.json:
        _write_json(options, machine, held, results, foreign)
    return 0


def changes(corpus: Corpus, contacts: int, seed: int) -> Iterator[list[ContactWrite]]:
    """Batches of changes of so many contacts, five each: a number, a category, two tags that it lacks given and one
    that it holds taken (an absent one where it holds none)."""
    rng = np.random.default_rng([seed, _STREAM])
    for _ in range(0, contacts, ROWS):
        rows = np.sort(rng.choice(corpus.size, ROWS, replace=False))
        income = rng.integers(0, INCOME_LIMIT // 100, ROWS).tolist()
        country = rng.integers(0, len(country_names()), ROWS).tolist()
        given, taken = _draw_tags(_held(corpus, rows), rng)
        yield [
            ContactWrite(
                f"c{row:09d}",
                {"income": money, "country": country_names()[land]},
                {"tags": tuple(tag_name(tag) for tag in gives)},
                {"tags": (tag_name(takes),)},
            )
            for row, money, land, gives, takes in zip(
                rows.tolist(), income, country, given.tolist(), taken.tolist(), strict=True
            )
        ]


def _held(corpus: Corpus, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which tag each of the ascending rows holds before any change; [rows, tags]."""
    held = np.zeros((len(rows), len(corpus.tags)), np.bool_)
    for number, tag in enumerate(corpus.tags):
        if len(tag.contacts):
            at = np.minimum(np.searchsorted(tag.contacts, rows), len(tag.contacts) - 1)
            held[:, number] = tag.contacts[at] == rows
    return held


def _draw_tags(
    held: npt.NDArray[np.bool_], rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """([rows, 2] tags to give, [rows] tags to take), uniformly from those that each row lacks and holds."""
    draw = rng.random(held.shape)
    lacking = np.argpartition(np.where(held, 2.0, draw), 2, axis=1)[:, :2]
    # Of a row that holds none, whichever it lacks but is not given.
    holding = np.where(held, draw, 2.0)
    np.put_along_axis(holding, lacking, 3.0, axis=1)
    return lacking, np.argmin(holding, axis=1)


def _open(path: Path, stack: ExitStack) -> dict[str, System]:
    """The ways into a directory, by name."""
    account = stack.enter_context(Database.open(path, read_only=True)).account()
    systems: dict[str, System] = {}
    for system in (Embedded(account), Evaluate(account), OverGrpc(path)):
        stack.callback(system.close)
        systems[system.name] = system
    return systems


def _of(place: str, figures: dict[str, float]) -> Times:
    named = ((name.partition(" "), value) for name, value in figures.items())
    return {way: value for (where, _, way), value in named if where == place}


def _table(results: Sequence[OverlayCase]) -> str:
    ways = list(results[0].merged)
    heads = ["count, ms: merged / unmerged", *(f"segidx {way}" for way in ways), *(f"{way} ratio" for way in ways)]
    rows = [
        [
            f"{each.case.name}: {each.case.what}",
            *(f"{shown(each.merged[way])} / {shown(each.unmerged[way])}" for way in ways),
            *(f"{each.ratio(way) or 0:.2f}" for way in ways),
        ]
        for each in results
    ]
    return markdown_table(heads, rows)


def _write_json(
    options: argparse.Namespace,
    machine: Machine,
    held: Unmerged,
    results: Sequence[OverlayCase],
    foreign: float | None,
) -> None:
    content = {
        "bench": "count-overlay",
        "scale": options.scale,
        "contacts": SCALES[options.scale],
        "seed": options.seed,
        "machine": asdict(machine),
        "foreign_cpu": rounded(foreign),
        "overlay": {**asdict(held), "asked_for": options.overlay},
        "bar": BAR,
        "cases": [
            {
                "case": each.case.name,
                "unit": "ms",
                "merged": {way: rounded(value) for way, value in each.merged.items()},
                "unmerged": {way: rounded(value) for way, value in each.unmerged.items()},
                "ratio": {way: rounded(each.ratio(way)) for way in each.merged},
                "answers_agree": True,
            }
            for each in results
        ],
    }
    options.json.write_text(json.dumps(content, indent=2) + "\n")
