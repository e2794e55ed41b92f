"""Bands in expressions: which band a contact lies in becomes a comparison of the number that they are over, a range of
it for each run of bands that lie beside each other; crossing a threshold becomes a scan of the running value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from segidx.model.bands import Bands, threshold_text, value_text
from segidx.model.errors import InvalidExpression, UnknownBand, UnknownBands, UnknownThreshold
from segidx.model.expression import AggregateFunction, BandIs, Crossed
from segidx.model.results import Estimate
from segidx.plan.context import BindContext
from segidx.plan.events import bind_aggregate
from segidx.plan.nodes import CrossingScan, EventScan, Plan, any_of, complement, nothing
from segidx.plan.reach import check_reach
from segidx.plan.values import BoundAggregate


def bind_band(node: BandIs, context: BindContext, path: str) -> Plan:
    """The contacts that lie in one of the bands. Raises UnknownBands, UnknownBand."""
    of = _declared(node.name, context)
    places = sorted({_place(of, label) for label in node.labels})
    value = _bound(of, context, path)
    plans = [_between(of, value, low, high, context, path) for low, high in _runs(places)]
    return plans[0] if len(plans) == 1 else any_of(plans, context.total, path)


def bind_crossed(node: Crossed, context: BindContext, path: str) -> Plan:
    """The contacts whose running value rose over the threshold in the window. Raises UnknownBands, UnknownThreshold,
    InvalidExpression for bands whose value has a window of its own."""
    of = _declared(node.name, context)
    if node.threshold not in of.thresholds:
        raise UnknownThreshold(of.name, threshold_text(node.threshold), map(threshold_text, of.thresholds))
    if of.is_windowed:
        raise InvalidExpression(
            f"the bands {of.name!r} are over {value_text(of.value)}, which falls as time goes by; what is crossed is a"
            " number made of all events up to then: declare bands without a window",
            bands=of.name,
        )
    value = _bound(of, context, path)
    start, end = context.span(node.window)
    if start >= end:
        return nothing("the window holds no instant", path)
    check_reach(value.events.type, start, end, context)
    # Nothing is kept yet of how many contacts have which events.
    estimate = Estimate(0, context.total // 100, context.total)
    in_window = replace(value, events=replace(value.events, start=start, end=end, window=node.window))
    label = f"{of.name} crossing {threshold_text(node.threshold)}"
    return CrossingScan(estimate, path, in_window, _units(node.threshold, value.scale), label)


def _declared(name: str, context: BindContext) -> Bands:
    declared = context.snapshot.catalog.bands
    if name not in declared:
        raise UnknownBands(name, declared)
    return declared[name]


def _place(of: Bands, label: str) -> int:
    if label not in of.labels:
        raise UnknownBand(of.name, label, of.labels)
    return of.labels.index(label)


def _bound(of: Bands, context: BindContext, path: str) -> BoundAggregate:
    value = bind_aggregate(of.value, context, path)
    assert isinstance(value, BoundAggregate), of.value
    return value


def _units(threshold: Decimal, scale: int) -> int:
    units = Fraction(threshold) * 10**scale
    assert units.denominator == 1, "thresholds have the decimals of their value: see check_decimals"
    return int(units)


def _runs(places: list[int]) -> Iterator[tuple[int, int]]:
    """The first and the last place of each run of places, ascending. That of no value is a run of its own."""
    start = last = places[0]
    for place in places[1:]:
        if place > last + 1 or last == 0:
            yield start, last
            start = place
        last = place
    yield start, last


def _between(of: Bands, value: BoundAggregate, first: int, last: int, context: BindContext, path: str) -> Plan:
    """The contacts in the bands from one place to another."""
    least = 1 if value.function is AggregateFunction.COUNT else None
    if last == 0:
        return complement(_scan(of, value, least, None, context, path, "any value"), context.total, path)
    low = least if first == 1 else _units(of.thresholds[first - 2], value.scale)
    high = None if last > len(of.thresholds) else _units(of.thresholds[last - 1], value.scale) - 1
    label = (
        " or ".join(dict.fromkeys((of.labels[first], of.labels[last])))
        if last <= first + 1
        else (f"{of.labels[first]} to {of.labels[last]}")
    )
    return _scan(of, value, low, high, context, path, label)


def _scan(
    of: Bands, value: BoundAggregate, low: int | None, high: int | None, context: BindContext, path: str, label: str
) -> Plan:
    if value.events.start >= value.events.end:
        return nothing("the window holds no instant", path)
    # Nothing is kept yet of how many contacts have which events.
    estimate = Estimate(0, context.total // 10, context.total)
    return EventScan(estimate, path, value, low, high, f"{of.name} {label}")
