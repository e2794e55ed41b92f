"""Interleaved timing: every round measures each system once, so that the machine's noise hits all alike."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Mapping, Sequence

from bench.systems import Run

SHORT_SECONDS = 0.04  # a measurement repeats its pass over the instances until it has lasted about this long
LONG_SECONDS = 2.0  # a system whose pass takes longer than this takes part in LONG_ROUNDS rounds only
LONG_ROUNDS = 3


def measure(runs: Mapping[str, Sequence[Run]], rounds: int) -> dict[str, float]:
    """Milliseconds a count for each system: the median over the rounds of the mean over its instances.

    One pass of each system comes first, unmeasured: it warms caches and says how often to repeat.
    """
    first = {name: _pass(instances, 1) for name, instances in runs.items()}
    repeats = {name: max(1, math.ceil(SHORT_SECONDS / max(seconds, 1e-6))) for name, seconds in first.items()}
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name, instances in runs.items():
            if number >= LONG_ROUNDS and first[name] > LONG_SECONDS:
                continue
            seconds = _pass(instances, repeats[name])
            taken[name].append(seconds * 1000 / repeats[name] / len(instances))
    return {name: statistics.median(values) for name, values in taken.items()}


def _pass(instances: Sequence[Run], repeats: int) -> float:
    """Seconds of counting every instance `repeats` times, the garbage collector off."""
    gc.collect()
    gc.disable()
    try:
        started = time.perf_counter()
        for _ in range(repeats):
            for run in instances:
                run()
        return time.perf_counter() - started
    finally:
        gc.enable()
