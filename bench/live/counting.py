"""The medium counts of the ingest benchmark: the expressions, and their times on a server at a fixed rate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench.cases import make_cases
from bench.live.children import Child
from bench.live.figures import Percentiles, percentiles
from segidx.model.syntax import format_expression

FAMILY = "or3_or3_not"
RATE = 20.0  # questions a second


@dataclass(slots=True)
class Counted:
    """`times` and `answers` are filled when it has ended; answers in the order of the questions."""

    times: Percentiles | None = None
    answers: tuple[int, ...] = ()
    late: int = 0  # asked after they were due, since the one before was not answered
    cpu_seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.times}" + (f", {self.late:,} late" if self.late else "")


def questions(seed: int) -> list[str]:
    """The texts of the family's expressions."""
    (case,) = (case for case in make_cases(seed) if case.name == FAMILY)
    return [format_expression(expression) for expression in case.expressions]


@contextmanager
def counting(address: str, seed: int) -> Iterator[Counted]:
    """Counts all the while that the block lasts."""
    options: dict[str, Any] = {"address": address, "questions": questions(seed), "rate": RATE}
    counted = Counted()
    child = Child("bench.live.counter", options)
    try:
        child.go()
        yield counted
        child.stop()
        result = child.result()
    finally:
        child.end()
    counted.times = percentiles(result["milliseconds"])
    counted.answers = tuple(result["answers"])
    counted.late = result["late"]
    counted.cpu_seconds = result["cpu_seconds"]


def count_for(address: str, seed: int, seconds: float) -> Counted:
    """Counts for so long, while nothing else is asked of the server."""
    with counting(address, seed) as counted:
        time.sleep(seconds)
    return counted
