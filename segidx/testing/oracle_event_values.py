"""What the events of a contact come to beyond sums and counts, by the oracle: the one that is first or last, the value
that most of them have, and the times between them.

Written from the words of `segidx/model/expression` alone. It must not import anything but the model and the oracle's
events. The readings chosen are in the list of `oracle`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from segidx.testing.oracle_events import Event

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Root:
    """The square root of a number that is 0 or more; it is kept as its square, which is exact."""

    square: Fraction


def signed_square(number: Fraction | Root) -> Fraction:
    """The square with the sign of the number: these are in the same order as the numbers are."""
    return number.square if isinstance(number, Root) else number * abs(number)


def in_order(events: Iterable[Event], types: Sequence[str] = ()) -> list[Event]:
    """Those that count, the earliest first: of one time by the id, byte for byte, of one id as the `types` stand, and
    the lines of an order as they stand in it."""
    places = {type: place for place, type in reversed(list(enumerate(types)))}
    counting = (e for e in events if e.counts)
    return sorted(counting, key=lambda e: (e.time, e.event_id.encode(), places.get(e.type, 0), e.line))


def favourite_of(events: Iterable[Event], name: str, by: str | None) -> str | None:
    """The value of a property that most of those that count have; with `by`, the one whose events come to the greatest
    sum of that, above 0. Of equal ones the first, byte for byte."""
    weights: dict[str, Fraction] = {}
    for event in events:
        value = event.properties.get(name)
        if not event.counts or value is None:
            continue
        assert isinstance(value, str)
        weight = Fraction(1) if by is None else Fraction(event.properties.get(by, 0))  # type: ignore[arg-type]
        weights[value] = weights.get(value, Fraction(0)) + weight
    best: str | None = None
    for value in sorted(weights, key=str.encode):
        if weights[value] > 0 and (best is None or weights[value] > weights[best]):
            best = value
    return best


def gaps_of(events: Iterable[Event]) -> list[int]:
    """The milliseconds from each of those that count to the next."""
    times = sorted(event.time for event in events if event.counts)
    return [later - earlier for earlier, later in pairwise(times)]


def mean_gap_of(events: Iterable[Event]) -> Fraction | None:
    """The mean gap, in days; None where there is no gap."""
    gaps = gaps_of(events)
    return Fraction(sum(gaps), len(gaps) * _DAY_MS) if gaps else None


def gap_deviation_of(events: Iterable[Event]) -> Root | None:
    """The standard deviation of the gaps about their mean, these being all there are, in days; None without a gap."""
    gaps = [Fraction(gap, _DAY_MS) for gap in gaps_of(events)]
    if not gaps:
        return None
    mean = sum(gaps, Fraction(0)) / len(gaps)
    return Root(sum(((gap - mean) ** 2 for gap in gaps), Fraction(0)) / len(gaps))


def expected_of(events: Iterable[Event]) -> int | None:
    """The last time and the mean gap, rounded down to milliseconds since 1970; None without a gap."""
    counting = [event for event in events if event.counts]
    gaps = gaps_of(counting)
    return max(event.time for event in counting) + sum(gaps) // len(gaps) if gaps else None
