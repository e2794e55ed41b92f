"""Sequences, and values made of the times between events: bound to windows, filters and instants."""

from __future__ import annotations

from fractions import Fraction

from segidx.model.expression import Aggregate, AggregateFunction, Events, Operator, Overdue, Sequence, Step
from segidx.model.results import Estimate
from segidx.plan.calendar import instants_of_days
from segidx.plan.context import BindContext
from segidx.plan.events import counting, having, selections
from segidx.plan.nodes import GapScan, Plan, SequenceScan, all_of, any_of, nothing
from segidx.plan.values import BoundConstant, BoundEvents, BoundGaps, BoundStep, ValueKind

_EMPTY = "the window holds no instant"


def bind_sequence(sequence: Sequence, context: BindContext, path: str) -> Plan:
    """The contacts with events of the steps one after another. `path` is the predicate's.

    Raises UnknownEventType, InvalidExpression, and what filters of events raise, with the path of the leaf.
    """
    steps = tuple(_bind_step(each, sequence, context, f"{path}.steps[{i}]") for i, each in enumerate(sequence.steps))
    if steps[0].events[0].start >= steps[0].events[0].end:
        return nothing(_EMPTY, path)
    label = " then ".join(f"{'no ' if each.absent else ''}{each.events.type}" for each in sequence.steps)
    return SequenceScan(_estimate(context), path, steps, label)


def _bind_step(step: Step, sequence: Sequence, context: BindContext, path: str) -> BoundStep:
    asked = Events(step.events.type, step.events.where, sequence.window)
    return BoundStep(_selected(asked, context, f"{path}.events"), step.within, step.absent)


def bind_gaps(aggregate: Aggregate, context: BindContext, path: str) -> BoundGaps:
    """The value of gaps with its window resolved; errors are those of `bind_sequence`. `path` is the aggregate's."""
    function = aggregate.function
    kind = ValueKind.INSTANT if function is AggregateFunction.EXPECTED else ValueKind.NUMBER
    return BoundGaps(kind, function, _selected(aggregate.events, context, f"{path}.events"))


def bind_overdue(overdue: Overdue, context: BindContext, path: str) -> Plan:
    """The contacts whose next event was expected before now. `path` is the predicate's."""
    events = _selected(overdue.events, context, f"{path}.events")
    expected = BoundGaps(ValueKind.INSTANT, AggregateFunction.EXPECTED, events)
    return _scan(expected, Operator.LT, Fraction(context.instant), context, path)


def compare_gaps(gaps: BoundGaps, operator: Operator, constant: BoundConstant, context: BindContext, path: str) -> Plan:
    """`gaps operator constant`; an instant compares with a date by its local date."""
    value = constant.value
    assert isinstance(value, Fraction | int)
    if constant.kind is not ValueKind.DATE:
        return _scan(gaps, operator, Fraction(value), context, path)
    first = None if operator in (Operator.LT, Operator.LE) else int(value) + (operator is Operator.GT)
    last = None if operator in (Operator.GT, Operator.GE) else int(value) - (operator is Operator.LT)
    found = [_between(gaps, low, high, context, path) for low, high in instants_of_days(first, last, context.zone)]
    if not found:
        return nothing("no instant has such a local date", path)
    return found[0] if len(found) == 1 else any_of(found, context.total, path)


def has_gaps(gaps: BoundGaps, context: BindContext, path: str) -> Plan:
    """The contacts for which the value is not missing."""
    return having(gaps.events, 2, context, path)


def _between(gaps: BoundGaps, low: int | None, high: int | None, context: BindContext, path: str) -> Plan:
    ends = [(Operator.GE, low), (Operator.LE, high)]
    scans = [_scan(gaps, operator, Fraction(end), context, path) for operator, end in ends if end is not None]
    return scans[0] if len(scans) == 1 else all_of(scans, context.total, path)


def _scan(gaps: BoundGaps, operator: Operator, bound: Fraction, context: BindContext, path: str) -> Plan:
    if gaps.events[0].start >= gaps.events[0].end:
        return nothing(_EMPTY, path)
    types = dict.fromkeys(each.type.name for each in gaps.events)
    label = f"{gaps.function.value} of {', '.join(types)} events"
    return GapScan(_estimate(context), path, gaps, operator, bound, label)


def _estimate(context: BindContext) -> Estimate:
    # Nothing is kept yet of how many contacts have which events.
    return Estimate(0, context.total // 20, context.total)


def _selected(events: Events, context: BindContext, path: str) -> tuple[BoundEvents, ...]:
    return tuple(counting(each) for each in selections(events, context, path))
