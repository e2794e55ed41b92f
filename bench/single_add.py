"""The single-add benchmark: one tag given to one contact, durably, for a tag that half of all contacts hold against one
that ten hold. What a write costs must not grow with what it touches.

`latency` is one caller's `Account.write` of one row, from the call to the synced commit. `burst` submits many such rows
at once, each a batch of its own, so that groups share a sync: there the writer's own work shows. `merge` folds a burst
into the base. The two tags take turns; after each round both are brought back to what they were.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench.contention import Contention
from bench.corpus import SCALES, SEED, make_corpus, tag_name
from bench.live.disk import append_milliseconds, copy_directory
from bench.live.figures import percentiles
from bench.live.hold import merging_held
from bench.machine import this_machine
from bench.options import directory_of, parser_of
from bench.own import store_corpus
from bench.report import contention_line, markdown_table, rounded, shown
from segidx.database import Account, Database
from segidx.model.writes import ContactWrite

ROUNDS = 10
ADDS = 50  # of each tag a round, one at a time
BURST = 500  # of each tag a round, at once
HALF, TEN = tag_name(0), "held by ten"
HOLDERS = 10
_STREAM = 1003  # tells this random stream from others of the seed


@dataclass(slots=True)
class Taken:
    """What was measured of one tag: milliseconds an add, one each; milliseconds a burst and a merge, one a round."""

    latency: list[float]
    burst: list[float]
    merge: list[float]


def main(arguments: Sequence[str]) -> int:
    """Run it. Exit codes: 0 done, 1 an answer is wrong, 2 wrong options."""
    parser = parser_of("single-add", __doc__, SCALES, "100k, 1M or 10M", SEED, of="the corpus and the adds")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="(default: %(default)s)")
    parser.add_argument("--adds", type=int, default=ADDS, help="single adds of each tag a round (default: %(default)s)")
    parser.add_argument("--burst", type=int, default=BURST, help="adds of each tag at once (default: %(default)s)")
    options = parser.parse_args(arguments)
    if min(options.rounds, options.adds, options.burst) < 1 or options.seed < 0:
        parser.error("--rounds, --adds and --burst are 1 at least, --seed 0 at least")
    with ExitStack() as stack:
        directory = directory_of(options, stack)
        return _run(options, directory / f"count-{options.scale}")


def _run(options: argparse.Namespace, directory: Path) -> int:
    machine = this_machine()
    print(f"single-add, scale {options.scale}, seed {options.seed}: {machine}", flush=True)
    # The corpus is the count benchmark's, and so is the copy that is kept.
    corpus = make_corpus(SCALES[options.scale], options.seed)
    stored, _ = store_corpus(corpus, directory / "segidx")
    work = directory / "single-add"
    copy_directory(stored, work)
    rng = np.random.default_rng([options.seed, _STREAM])
    without = np.setdiff1d(np.arange(corpus.size, dtype=np.uint32), corpus.tags[0].contacts)
    chosen = rng.choice(without, HOLDERS + options.adds + options.burst, replace=False).tolist()
    holders, contacts = chosen[:HOLDERS], [f"c{row:09d}" for row in chosen[HOLDERS:]]
    fdatasync = percentiles(append_milliseconds(directory, 100))
    # Merges come where they are measured, not among the adds.
    with merging_held(), Database.open(work) as database:
        account = database.account()
        account.write([_row(f"c{row:09d}", TEN) for row in holders])
        held = {HALF: len(corpus.tags[0].contacts), TEN: HOLDERS}
        taken = {tag: Taken([], [], []) for tag in held}
        contention = Contention()
        wrong: list[str] = []
        for number in range(options.rounds):
            _round(account, contacts, options.adds, taken, first=number % 2)
            wrong += _wrong_counts(account, held, options.adds + options.burst)
            _take_back(account, contacts)
            wrong += _wrong_counts(account, held, 0)
    if wrong:
        print(*wrong, sep="\n", file=sys.stderr)
        return 1
    print(f"answers agree: counts of both tags after each of {options.rounds} rounds")
    foreign = contention.share()
    figures = _figures(taken, options.burst)
    print(_table(figures, held))
    print(f"fdatasync of 64 KB appends: {fdatasync}")
    print(contention_line(foreign))
    if options.json:
        content = {
            "bench": "single-add",
            "scale": options.scale,
            "contacts": corpus.size,
            "seed": options.seed,
            "machine": asdict(machine),
            "foreign_cpu": rounded(foreign),
            "fdatasync_ms": None if fdatasync is None else rounded(fdatasync.p50),
            "held": {"half": held[HALF], "ten": held[TEN]},
            "cases": [
                {"case": name, "unit": unit, "half": rounded(half), "ten": rounded(ten), "ratio": rounded(half / ten)}
                for name, unit, half, ten in figures
            ],
            "answers_agree": True,
        }
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    return 0


def _row(contact: str, tag: str) -> ContactWrite:
    return ContactWrite(contact, tags_added={"tags": (tag,)}, must_exist=True)


def _round(account: Account, contacts: list[str], adds: int, taken: dict[str, Taken], *, first: int) -> None:
    """Give both tags to all contacts: to `adds` of them singly, to the others at once. The tags take turns, also in
    which of them begins."""
    tags = list(taken)[::-1] if first else list(taken)
    for contact in contacts[:adds]:
        for tag in tags:
            row = [_row(contact, tag)]
            taken[tag].latency.append(_milliseconds(lambda row=row: account.write(row)))  # type: ignore[misc]
    account.merge()
    for tag in tags:
        rows = [[_row(contact, tag)] for contact in contacts[adds:]]
        taken[tag].burst.append(_milliseconds(lambda rows=rows: _burst(account, rows)))  # type: ignore[misc]
        taken[tag].merge.append(_milliseconds(account.merge))


def _burst(account: Account, batches: list[list[ContactWrite]]) -> None:
    for future in [account.submit(batch) for batch in batches]:
        future.result()


def _milliseconds(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return (time.perf_counter() - started) * 1000


def _take_back(account: Account, contacts: list[str]) -> None:
    account.write([ContactWrite(contact, tags_removed={"tags": (HALF, TEN)}) for contact in contacts])
    account.merge()


def _wrong_counts(account: Account, held: dict[str, int], added: int) -> list[str]:
    wrong = []
    for tag, count in held.items():
        found = account.count(f'tags has "{tag}"').count
        if found != count + added:
            wrong.append(f"tag {tag!r} is held by {found}, not {count + added}")
    return wrong


def _figures(taken: dict[str, Taken], burst: int) -> list[tuple[str, str, float, float]]:
    """(case, unit, of half, of ten): medians; less is better."""
    half, ten = taken[HALF], taken[TEN]
    return [
        ("latency", "ms", statistics.median(half.latency), statistics.median(ten.latency)),
        ("latency p99", "ms", _p99(half.latency), _p99(ten.latency)),
        ("burst", "ms an add", statistics.median(half.burst) / burst, statistics.median(ten.burst) / burst),
        ("merge", "ms a burst", statistics.median(half.merge), statistics.median(ten.merge)),
    ]


def _p99(milliseconds: list[float]) -> float:
    found = percentiles(milliseconds)
    assert found is not None
    return found.p99


def _table(figures: list[tuple[str, str, float, float]], held: dict[str, int]) -> str:
    heads = ["one add", f"held by {held[HALF]:,}", f"held by {held[TEN]:,}", "ratio"]
    rows = [[f"{name}, {unit}", shown(half), shown(ten), f"{half / ten:.2f}"] for name, unit, half, ten in figures]
    return markdown_table(heads, rows)
