"""The lines a writing process reports, through a pipe or into the log of a power cut, and their reading.

    open GENERATION             the directory is open
    submit INDEX NUMBER KIND    batch NUMBER is about to be handed in, as the INDEXth of this process
    ack INDEX GENERATION ACCEPTED CREATED REJECTS REPLAYED [EVENTS EVENT_DUPLICATES EVENT_REJECTS]
    fail INDEX REASON           the batch was refused whole with this error
    merging / merged / unmerged REASON
    folding / folded            a merge is about to commit some events, or the last of what it merges
    done                        the writer stopped by itself

A line is written after what it tells of has happened ("submit" and "merging": before it begins). Imports nothing of
segidx.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from crashkit import preloaded

Report = Callable[[str], None]


def to_pipe(line: str) -> None:
    """One write of less than PIPE_BUF bytes: a line is there wholly or not at all, whenever the process is killed."""
    os.write(1, line.encode() + b"\n")


def to_cut_log(line: str) -> None:
    """Into the log of cutpower.c, in order with the writes, and to the pipe."""
    preloaded.mark(line)
    to_pipe(line)


@dataclass(frozen=True)
class Ack:
    generation: int
    accepted: int
    created: int
    rejects: int
    replayed: bool
    events: int = 0
    event_duplicates: int = 0
    event_rejects: int = 0


@dataclass
class Run:
    """What one writing process reported."""

    numbers: list[int] = field(default_factory=list)  # of the batches, in order of submission
    imports: list[int] = field(default_factory=list)  # the indices of those that are orders
    acks: dict[int, Ack] = field(default_factory=dict)  # by index
    failures: dict[int, str] = field(default_factory=dict)  # by index
    merges: int = 0
    merging: bool = False  # at the end
    folds: int = 0
    folding: bool = False  # at the end: a merge has folded some of the events, and not all
    unmerged: list[str] = field(default_factory=list)
    opened: int | None = None
    done: bool = False

    @classmethod
    def of(cls, lines: Iterable[str]) -> Run:
        run = cls()
        for line in lines:
            run.add(line)
        return run

    def add(self, line: str) -> None:
        match line.split():
            case ["open", generation]:
                self.opened = int(generation)
            case ["submit", index, number, kind]:
                assert int(index) == len(self.numbers), line
                self.numbers.append(int(number))
                if kind == "orders":
                    self.imports.append(int(index))
            case ["ack", index, *rest]:
                generation, accepted, created, rejects, replayed, *events = map(int, rest)
                self.acks[int(index)] = Ack(generation, accepted, created, rejects, bool(replayed), *events)
            case ["fail", index, reason]:
                self.failures[int(index)] = reason
            case ["merging"]:
                self.merging = True
            case ["merged"]:
                self.merging, self.merges = False, self.merges + 1
            case ["unmerged", reason]:
                self.merging = False
                self.unmerged.append(reason)
            case ["folding"]:
                self.folding, self.folds = True, self.folds + 1
            case ["folded"]:
                self.folding = False
            case ["done"]:
                self.done = True
            case _:
                raise AssertionError(f"the writer said {line!r}")

    def what(self, index: int) -> str:
        return "import" if index in self.imports else "batch"

    @property
    def importing(self) -> bool:
        """Whether an import was going on at the end."""
        return any(index not in self.acks and index not in self.failures for index in self.imports[-1:])

    def acknowledged(self) -> int:
        """All batches before this index are acknowledged or refused, or overtaken by one that is."""
        return max((*self.acks, *self.failures), default=-1) + 1
