"""Images of a directory after power cuts, from a log of cutpower.c: where the power is cut, and what of the unsynced
writes is on the disk, drawn from a seed. Imports nothing of segidx.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from crashkit import cutlog
from crashkit.cutlog import Event
from crashkit.disk import Chooser, Disk
from crashkit.report import Run


def _none(n: int, rng: random.Random) -> list[float | None]:
    return [None] * n


def _all(n: int, rng: random.Random) -> list[float | None]:
    return [1.0] * n


def _some(n: int, rng: random.Random) -> list[float | None]:
    share = rng.choice((0.1, 0.5, 0.9))
    return [1.0 if rng.random() < share else None for _ in range(n)]


def _torn(n: int, rng: random.Random) -> list[float | None]:
    return [rng.choice((None, 0.5, 0.9, 1.0)) for _ in range(n)]


def _all_but_one(n: int, rng: random.Random) -> list[float | None]:
    lost = rng.randrange(n) if n else 0
    return [None if i == lost else 1.0 for i in range(n)]


def _only_one(n: int, rng: random.Random) -> list[float | None]:
    kept = rng.randrange(n) if n else 0
    return [1.0 if i == kept else None for i in range(n)]


# What of the unsynced changes of each file and directory reached the disk.
KEPT: dict[str, Chooser] = {
    "none": _none,
    "all": _all,
    "some": _some,
    "torn": _torn,
    "all but one": _all_but_one,
    "only one": _only_one,
}


@dataclass(frozen=True)
class Cut:
    """A power cut before event `at` returned; `kept` names what of the unsynced changes reached the disk."""

    at: int
    kept: str
    seed: int


@dataclass(frozen=True)
class Image:
    cut: Cut
    tree: dict[str, bytes | None]  # path to content, None for a directory
    reported: Run  # what the writer had reported by then

    def write(self, directory: Path) -> None:
        """Make the directory, which must not be there, as the image has it."""
        directory.mkdir()
        for path, content in self.tree.items():
            if content is None:
                (directory / path).mkdir()
            else:
                (directory / path).write_bytes(content)


def draw_cuts(events: Sequence[Event], number: int, seed: int, *, after: int) -> list[Cut]:
    """Cuts in order of their place, none before event `after`: some anywhere, some right after an acknowledgement, some
    about a sync or a write through O_DSYNC, some within a merge, some within one that has folded some of the events,
    some within an import of orders."""
    rng = random.Random(seed)
    acks, synced, merges, folds, imports = [], [], [], [], []
    run = Run()
    for i, event in enumerate(events):
        if event.kind == cutlog.MARK:
            run.add(event.line)
        if i < after:
            continue
        if event.kind == cutlog.MARK and event.line.startswith("ack"):
            acks.append(i + 1)
        if event.synced:
            synced.append(i)
        if run.merging:
            merges.append(i)
        if run.folding:
            folds.append(i)
        if run.importing:
            imports.append(i)
    drawn: tuple[Sequence[int], ...] = (range(after, len(events)), acks, synced, merges, folds, imports)
    kinds = [kind for kind in drawn if kind]
    cuts = []
    for n in range(number):
        at = rng.choice(kinds[n % len(kinds)])
        kept = tuple(KEPT)[n // len(kinds) % len(KEPT)]
        cuts.append(Cut(min(at, len(events) - 1), kept, rng.randrange(2**32)))
    return sorted(cuts, key=lambda cut: cut.at)


def play(events: Sequence[Event], cuts: Sequence[Cut]) -> Iterator[Image]:
    """The image of each cut; cuts in order of their place. An event at which the power is cut is in flight: it may have
    happened wholly, in part, or not at all."""
    disk, run, done = Disk(), Run(), 0
    for cut in cuts:
        for event in events[done : cut.at]:
            disk.apply(event)
            if event.kind == cutlog.MARK:
                run.add(event.line)
        done = max(done, cut.at)
        with disk.in_flight(events[cut.at]):
            tree = disk.image(KEPT[cut.kept], random.Random(cut.seed))
        yield Image(cut, tree, run)
