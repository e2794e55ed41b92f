"""Figures from lists of times: percentiles, rates, whether memory grew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# What memory may grow by from the second quarter of a run to the last, and still be called flat.
FLAT = 1.10


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds; of `count` measurements."""

    p50: float
    p99: float
    count: int

    def __str__(self) -> str:
        return f"p50 {self.p50:.2f} ms, p99 {self.p99:.2f} ms ({self.count:,})"


def percentiles(milliseconds: Sequence[float]) -> Percentiles | None:
    """None of nothing. A percentile is one of the values: the one above, where two are as near."""
    if not milliseconds:
        return None
    p50, p99 = np.percentile(milliseconds, [50, 99], method="higher").tolist()
    return Percentiles(p50, p99, len(milliseconds))


def rate(sent: Sequence[float], acknowledged: Sequence[float], rows: int) -> float:
    """Updates a second, from the first one's sending to the last acknowledgement; 0 of nothing."""
    return len(acknowledged) * rows / (max(acknowledged) - min(sent)) if acknowledged else 0.0


def worst_rate(acknowledged: Sequence[float], rows: int, seconds: float) -> float:
    """The fewest updates a second acknowledged in any stretch of so many seconds within the run.

    The moments are those of all clients together, ascending or not; stretches begin every tenth of a second.
    """
    moments = np.sort(acknowledged)
    if not len(moments) or moments[-1] - moments[0] < seconds:
        return 0.0
    starts = np.arange(moments[0], moments[-1] - seconds, 0.1)
    within = np.searchsorted(moments, starts + seconds) - np.searchsorted(moments, starts)
    return float(within.min(initial=len(moments)) * rows / seconds)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes over a run: the first sample, the most, the last, and the growth from the median of the second quarter to
    that of the last one."""

    start: int
    most: int
    end: int
    growth: float

    @property
    def flat(self) -> bool:
        return self.growth <= FLAT


def memory(samples: Sequence[int]) -> Memory:
    """Of samples at even distances, one at least; growth means something from eight on."""
    quarter = max(1, len(samples) // 4)
    early = float(np.median(samples[quarter : 2 * quarter] or samples[:1]))
    late = float(np.median(samples[-quarter:]))
    return Memory(samples[0], max(samples), samples[-1], late / early if early else 1.0)
