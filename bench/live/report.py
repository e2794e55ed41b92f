"""What the ingest benchmark reports: lines for people with the bars beside the figures, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.live.counting import Counted
from bench.live.figures import FLAT, Percentiles
from bench.live.streaming import Plan, Streamed
from bench.live.unmerged import Unmerged
from bench.machine import Machine
from bench.report import contention_line, markdown_table, rounded

BAR_RATE = {"updates": 20_000.0, "orders": 5_000.0}  # of one client, a second
BAR_COUNTS = 3.0
BAR_GROWTH = 3.0


@dataclass(frozen=True, slots=True)
class Run:
    """One number of clients: at rest before, streaming, and the file after the final merge. Bytes."""

    rest: Counted
    streamed: Streamed
    file_before: int
    file_after: int
    used_before: int
    used_after: int
    log_bytes: int  # that all commits appended, merged ones too

    @property
    def growth(self) -> float | None:
        """What the file grew by, as a multiple of the bytes written to the log."""
        return (self.file_after - self.file_before) / self.log_bytes if self.log_bytes else None

    @property
    def amplification(self) -> float | None:
        """Bytes that the server wrote, log, merges and all, as a multiple of the bytes of the log."""
        return self.streamed.disk_bytes / self.log_bytes if self.log_bytes else None


@dataclass(frozen=True, slots=True)
class FullOverlay:
    """The same content, before and after it is merged, and nothing written meanwhile."""

    overlay: Unmerged
    full: Counted
    merged: Counted


@dataclass(frozen=True, slots=True)
class Bar:
    what: str
    value: float | None
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(frozen=True, slots=True)
class IngestReport:
    """`fdatasync` are the machine's times for an append of 64 KB, taken beside."""

    scale: str
    contacts: int
    seed: int
    machine: Machine
    plan: Plan
    workers: int
    fdatasync: Percentiles | None
    runs: Sequence[Run]
    full: FullOverlay
    foreign_cpu: float | None

    def bars(self) -> list[Bar]:
        first, what = self.runs[0], self.plan.what
        return [
            Bar(f"{what}/s, {first.streamed.clients} client(s)", first.streamed.rate, BAR_RATE[what], at_least=True),
            Bar(
                "counts' p99 while writing / at rest with the overlay full",
                _ratio(first.streamed.counts, self.full.full),
                BAR_COUNTS,
            ),
            Bar("counts' p99 while writing / at rest", _ratio(first.streamed.counts, first.rest), BAR_COUNTS),
            Bar("counts' p99 with the overlay full / merged", _ratio(self.full.full, self.full.merged), BAR_COUNTS),
            Bar("file growth / bytes written, after the merge", _most(run.growth for run in self.runs), BAR_GROWTH),
            Bar(
                "anonymous memory, last quarter / second quarter",
                max(run.streamed.memory.growth for run in self.runs),
                FLAT,
            ),
        ]

    def text(self) -> str:
        """Tables and lines, Markdown."""
        heads = [self.plan.what, *(f"{run.streamed.clients} client(s)" for run in self.runs)]
        columns = [_facts(run, self.plan.what) for run in self.runs]
        rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
        overlay = self.full.overlay
        lines = [
            markdown_table(heads, rows),
            "",
            f"fdatasync of 64 KB appends: {self.fdatasync}",
            f"medium counts, overlay full ({overlay.log_bytes / 1e6:.0f} MB of log, {overlay.changes:,}"
            f" {self.plan.what}),"
            f" nothing written: {self.full.full}",
            f"medium counts, the same merged: {self.full.merged}",
            "",
        ]
        for bar in self.bars():
            said = "not known" if bar.met is None else "met" if bar.met else "NOT MET"
            value = "-" if bar.value is None else f"{bar.value:,.0f}" if bar.at_least else f"{bar.value:.2f}"
            lines.append(f"bar: {bar.what}: {value} ({'>=' if bar.at_least else '<='} {bar.limit:,g}): {said}")
        lines += [
            f"server and clients share the {self.machine.cores} cores of this machine",
            contention_line(self.foreign_cpu),
        ]
        return "\n".join(lines)

    def write_json(self, path: Path) -> None:
        full = self.full
        content = {
            "bench": "ingest",
            "scale": self.scale,
            "contacts": self.contacts,
            "seed": self.seed,
            "machine": asdict(self.machine),
            "foreign_cpu": rounded(self.foreign_cpu),
            "plan": asdict(self.plan),
            "workers": self.workers,
            "fdatasync_ms": _times(self.fdatasync),
            "runs": [_json(run) for run in self.runs],
            "overlay_full": {
                **asdict(full.overlay),
                "counts_ms": _times(full.full.times),
                "counts_merged_ms": _times(full.merged.times),
            },
            "bars": [
                {"bar": bar.what, "value": rounded(bar.value), "limit": bar.limit, "met": bar.met}
                for bar in self.bars()
            ],
            "answers_agree": True,
        }
        path.write_text(json.dumps(content, indent=2) + "\n")


def _most(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None


def _ratio(one: Counted, other: Counted) -> float | None:
    return one.times.p99 / other.times.p99 if one.times and other.times else None


def _facts(run: Run, what: str) -> dict[str, str]:
    did, samples = run.streamed, run.streamed.samples
    return {
        f"{what} acknowledged": f"{did.updates:,}",
        f"{what}/s, mean": f"{did.rate:,.0f}",
        f"{what}/s, worst {did.worst_seconds:g} s": f"{did.worst_rate:,.0f}",
        "batch, sent to acknowledged": str(did.acknowledged),
        "acknowledged to visible": (
            f"{did.visible}; {did.visible_at_once:.0%} at the first look" if did.visible else "not probed"
        ),
        "medium counts at rest": str(run.rest),
        "medium counts while writing": str(did.counts),
        "CPU seconds: server": f"{did.server_cpu:.1f}",
        "CPU seconds: writing clients": f"{did.client_cpu:.1f}",
        "CPU seconds: counting and probing clients": f"{did.other_cpu:.1f}",
        "generations": f"{did.generations:,}",
        "merges": str(samples.merges()),
        "merge lag, most": f"{samples.most_lag_seconds():.1f} s",
        "log unmerged, most": f"{samples.most_log_bytes() / 1e6:.1f} MB",
        "overlay, most": f"{samples.most_overlay_bytes() / 1e6:.1f} MB",
        "log bytes written": f"{run.log_bytes / 1e6:.1f} MB",
        "bytes the server wrote to the disk": f"{did.disk_bytes / 1e6:.0f} MB",
        "the same / log bytes": "-" if run.amplification is None else f"{run.amplification:.1f}",
        "file before and after the merge": f"{run.file_before / 1e6:.1f} MB, {run.file_after / 1e6:.1f} MB",
        "in use before and after": f"{run.used_before / 1e6:.1f} MB, {run.used_after / 1e6:.1f} MB",
        "anonymous memory: start, most, end": (
            f"{did.memory.start / 1e6:.0f} MB, {did.memory.most / 1e6:.0f} MB, {did.memory.end / 1e6:.0f} MB"
        ),
    }


def _json(run: Run) -> dict[str, object]:
    did, samples = run.streamed, run.streamed.samples
    return {
        "clients": did.clients,
        "updates": did.updates,
        "updates_per_second": rounded(did.rate),
        "worst": {"seconds": did.worst_seconds, "updates_per_second": rounded(did.worst_rate)},
        "acknowledged_ms": _times(did.acknowledged),
        "visible_ms": _times(did.visible),
        "visible_at_once": rounded(did.visible_at_once),
        "counts_rest_ms": _times(run.rest.times),
        "counts_writing_ms": _times(did.counts.times),
        "counts_writing_late": did.counts.late,
        "cpu_seconds": {"server": did.server_cpu, "writers": did.client_cpu, "others": did.other_cpu},
        "generations": did.generations,
        "merges": samples.merges(),
        "most_merge_lag_seconds": samples.most_lag_seconds(),
        "most_unmerged_log_bytes": samples.most_log_bytes(),
        "most_overlay_bytes": samples.most_overlay_bytes(),
        "log_bytes_written": run.log_bytes,
        "disk_bytes_written": did.disk_bytes,
        "write_amplification": rounded(run.amplification),
        "file_bytes": {"before": run.file_before, "after": run.file_after},
        "used_bytes": {"before": run.used_before, "after": run.used_after},
        "growth_ratio": rounded(run.growth),
        "anonymous_bytes": {**asdict(did.memory), "samples": samples.memory},
    }


def _times(figures: Percentiles | None) -> dict[str, object] | None:
    if figures is None:
        return None
    return {"p50": rounded(figures.p50), "p99": rounded(figures.p99), "count": figures.count}
