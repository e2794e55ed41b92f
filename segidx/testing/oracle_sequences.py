"""Events that follow one another, by the oracle, as times in lists. It must not import anything at all."""

from __future__ import annotations

from collections.abc import Sequence


def ends_of_chains(steps: Sequence[Sequence[int]], within: Sequence[int | None]) -> list[int]:
    """When chains end that take a time of each step, each strictly later than the one before and no later than its
    `within` after it. Times and `within` are milliseconds; that of the first step stands for nothing."""
    ends = list(steps[0])
    for times, most in zip(steps[1:], within[1:], strict=True):
        ends = [t for t in times if any(e < t and (most is None or t - e <= most) for e in ends)]
    return ends


def stays_away(ends: Sequence[int], times: Sequence[int], within: int, end_of_time: int) -> bool:
    """Whether after one of the ends none of the times comes for so long, and all of that lies before the end of
    time."""
    return any(e + within < end_of_time and not any(e < t <= e + within for t in times) for e in ends)
