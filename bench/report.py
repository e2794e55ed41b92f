"""The one shape in which every benchmark reports: a table for people, JSON for machines.

    {"bench": "count", "scale": "small", "contacts": 1000000, "seed": 7, "machine": {...},
     "foreign_cpu": 0.01, "cases": [
        {"case": "and_2", "unit": "ms", "segidx": 0.1, "segidx_grpc": 0.6, "peers": {"duckdb": 5.0, "chdb": null},
         "answers_agree": true}]}

A figure is null where the system could not be measured or timing was not asked for. Imports nothing of segidx but
through `bench.machine`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.contention import LIMIT
from bench.machine import Machine

Figures = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case. `variants` are other ways into segidx ("grpc" is written as segidx_grpc); less is better."""

    case: str
    what: str
    segidx: float | None
    variants: Figures = field(default_factory=dict)
    peers: Figures = field(default_factory=dict)
    answers_agree: bool = True
    unit: str = "ms"

    def to_json(self) -> dict[str, object]:
        variants = {f"segidx_{name}": rounded(value) for name, value in self.variants.items()}
        return {
            "case": self.case,
            "unit": self.unit,
            "segidx": rounded(self.segidx),
            **variants,
            "peers": {name: rounded(value) for name, value in self.peers.items()},
            "answers_agree": self.answers_agree,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """One run of one benchmark."""

    bench: str
    scale: str
    contacts: int
    seed: int
    machine: Machine
    cases: Sequence[CaseResult]
    foreign_cpu: float | None = None  # the share of the cores that other processes used while it was timed

    def to_json(self) -> dict[str, object]:
        return {
            "bench": self.bench,
            "scale": self.scale,
            "contacts": self.contacts,
            "seed": self.seed,
            "machine": asdict(self.machine),
            "foreign_cpu": rounded(self.foreign_cpu),
            "cases": [case.to_json() for case in self.cases],
        }

    def write_json(self, path: Path) -> None:
        path.write_text(json.dumps(self.to_json(), indent=2) + "\n")

    def conditions(self) -> str:
        """One line: whether the machine was the benchmark's own."""
        return contention_line(self.foreign_cpu)

    def table(self) -> str:
        """A Markdown table: a row a case, a column a system, and how many times segidx's figure each peer's is."""
        variants = list(self.cases[0].variants) if self.cases else []
        peers = list(self.cases[0].peers) if self.cases else []
        unit = self.cases[0].unit if self.cases else ""
        heads = [f"{self.bench}, {unit}", "segidx", *(f"segidx {name}" for name in variants), *peers]
        rows = [
            [
                f"{case.case}: {case.what}",
                shown(case.segidx),
                *(shown(case.variants[name]) for name in variants),
                *(_compared(case.peers[name], case.segidx) for name in peers),
            ]
            for case in self.cases
        ]
        return markdown_table(heads, rows)


def contention_line(foreign_cpu: float | None) -> str:
    """Whether the machine was the benchmark's own, from the share of the cores that others used."""
    if foreign_cpu is None:
        return "other processes: not known (install psutil)"
    line = f"other processes used {foreign_cpu:.0%} of the cores"
    return line if foreign_cpu <= LIMIT else line + ": DO NOT QUOTE these figures, run again on an idle machine"


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A row a line; all columns but the first are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [
        _line(heads, widths),
        "|" + "|".join(["-" * (widths[0] + 2), *("-" * (w + 1) + ":" for w in widths[1:])]) + "|",
    ]
    return "\n".join([*lines, *(_line(row, widths) for row in rows)])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
    return "| " + " | ".join(padded) + " |"


def rounded(value: float | None) -> float | None:
    """To four digits, as JSON has it."""
    return None if value is None else float(f"{value:.4g}")


def shown(value: float | None) -> str:
    """To three digits or so, as tables have it."""
    if value is None:
        return "-"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _compared(value: float | None, own: float | None) -> str:
    if value is None or not own:
        return shown(value)
    return f"{shown(value)} ({value / own:.2g}x)" if value < 10 * own else f"{shown(value)} ({value / own:.0f}x)"
