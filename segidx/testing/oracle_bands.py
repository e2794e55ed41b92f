"""Bands, by the oracle: which one a number lies in, and when a running number crossed a threshold.

Written from the words of `segidx/model/bands.py` and of the node `Crossed` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from segidx.model.bands import Bands
from segidx.model.errors import InvalidExpression, UnknownBand, UnknownBands, UnknownThreshold
from segidx.model.expression import AggregateFunction, BandIs, Crossed
from segidx.model.windows import AllTime
from segidx.testing.oracle_events import Event, count_of, sum_of


def check_bands(node: BandIs | Crossed, declared: Mapping[str, Bands]) -> None:
    """Raises UnknownBands, UnknownBand, UnknownThreshold, InvalidExpression."""
    of = declared.get(node.name)
    if of is None:
        raise UnknownBands(node.name, declared)
    if isinstance(node, BandIs):
        for label in node.labels:
            if label not in of.labels:
                raise UnknownBand(of.name, label, of.labels)
        return
    if node.threshold not in of.thresholds:
        raise UnknownThreshold(of.name, str(node.threshold), map(str, of.thresholds))
    if not isinstance(of.value.events.window, AllTime):
        raise InvalidExpression(f"{of.name!r} is over events of a window")


def label_of(of: Bands, number: Fraction | None) -> str:
    """The label of the band that a number lies in: the band of the greatest threshold that is not above it."""
    if number is None or (of.value.function is AggregateFunction.COUNT and number == 0):
        return of.labels[0]
    return of.labels[1 + sum(threshold <= number for threshold in of.thresholds)]


def number_of(of: Bands, events: Sequence[Event]) -> Fraction | None:
    """What the bands are over, of these events."""
    if of.value.function is AggregateFunction.COUNT:
        return count_of(events)
    assert of.value.property is not None
    return sum_of(events, of.value.property)


def times_crossed(of: Bands, threshold: Fraction, events: Sequence[Event]) -> list[int]:
    """The times at which the number rose from below the threshold, or from none, to the threshold or above."""
    crossed = []
    below = True
    for time in sorted({event.time for event in events}):
        number = number_of(of, [event for event in events if event.time <= time])
        was_below, below = below, number is None or number < threshold
        if was_below and not below:
            crossed.append(time)
    return crossed
