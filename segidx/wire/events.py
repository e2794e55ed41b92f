"""Events in expressions of the protocol to and from the model. Imports only v1 and the model.

A filter is an expression again: who calls passes the way to read or write it, with its place and its level.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from segidx.model.expression import Aggregate, AggregateFunction, Events, Expression, Sequence, Step
from segidx.model.windows import AllTime
from segidx.v1 import expressions_pb2 as pb
from segidx.wire.windows import Missing, read_enum, read_window, write_window

FUNCTIONS: Final[dict[int, AggregateFunction]] = {
    pb.AGGREGATE_FUNCTION_COUNT: AggregateFunction.COUNT,
    pb.AGGREGATE_FUNCTION_SUM: AggregateFunction.SUM,
    pb.AGGREGATE_FUNCTION_AVERAGE: AggregateFunction.AVERAGE,
    pb.AGGREGATE_FUNCTION_MIN: AggregateFunction.MIN,
    pb.AGGREGATE_FUNCTION_MAX: AggregateFunction.MAX,
    pb.AGGREGATE_FUNCTION_FIRST: AggregateFunction.FIRST,
    pb.AGGREGATE_FUNCTION_LAST: AggregateFunction.LAST,
    pb.AGGREGATE_FUNCTION_DISTINCT: AggregateFunction.DISTINCT,
    pb.AGGREGATE_FUNCTION_DISTINCT_DAYS: AggregateFunction.DISTINCT_DAYS,
    pb.AGGREGATE_FUNCTION_FAVOURITE: AggregateFunction.FAVOURITE,
    pb.AGGREGATE_FUNCTION_MEAN_GAP: AggregateFunction.MEAN_GAP,
    pb.AGGREGATE_FUNCTION_GAP_DEVIATION: AggregateFunction.GAP_DEVIATION,
    pb.AGGREGATE_FUNCTION_EXPECTED: AggregateFunction.EXPECTED,
}
_FUNCTION_NUMBERS = {v: pb.AggregateFunction.ValueType(k) for k, v in FUNCTIONS.items()}

ReadFilter = Callable[[pb.Expression], Expression]
WriteFilter = Callable[[Expression, pb.Expression], None]


def read_events(message: pb.Events, read_filter: ReadFilter) -> Events:
    """The selection. Raises Missing where its type or its window is unfinished; an unfinished filter is a node of
    its own."""
    if not message.type:
        raise Missing
    return Events(
        message.type,
        read_filter(message.where) if message.HasField("where") else None,
        read_window(message.window) if message.HasField("window") else AllTime(),
    )


def read_aggregate(message: pb.Aggregate, read_filter: ReadFilter) -> Aggregate:
    """The aggregate. Raises Missing where it is unfinished, InvalidExpression for a property or a `by` that it does not
    take."""
    function = read_enum(message.function, FUNCTIONS)
    if function.of_property and not message.property:
        raise Missing
    events = read_events(message.events, read_filter)
    return Aggregate(function, events, message.property or None, message.by or None)


def read_sequence(message: pb.Sequence, read_filter: Callable[[str], ReadFilter]) -> Sequence:
    """The sequence; `read_filter` gives what reads the filter of the events at a place behind it. Raises Missing where
    it has no step, or one is unfinished, InvalidExpression for steps that cannot be."""
    if not message.steps:
        raise Missing
    steps = []
    for i, each in enumerate(message.steps):
        events = read_events(each.events, read_filter(f"steps[{i}].events"))
        within = each.within_seconds * 1000 if each.HasField("within_seconds") else None
        steps.append(Step(events, within, each.absent))
    return Sequence(tuple(steps), read_window(message.window) if message.HasField("window") else AllTime())


def write_sequence(sequence: Sequence, message: pb.Sequence, write_filter: Callable[[str], WriteFilter]) -> None:
    """Fills `message`; a window of all time is left out."""
    for i, step in enumerate(sequence.steps):
        part = message.steps.add(absent=step.absent)
        write_events(step.events, part.events, write_filter(f"steps[{i}].events"))
        if step.within is not None:
            part.within_seconds = step.within // 1000
    if not isinstance(sequence.window, AllTime):
        write_window(sequence.window, message.window)


def write_events(events: Events, message: pb.Events, write_filter: WriteFilter) -> None:
    """Fills `message`; a window of all time is left out."""
    message.type = events.type
    if events.where is not None:
        write_filter(events.where, message.where)
    if not isinstance(events.window, AllTime):
        write_window(events.window, message.window)


def write_aggregate(aggregate: Aggregate, message: pb.Aggregate, write_filter: WriteFilter) -> None:
    """Fills `message`."""
    message.function = _FUNCTION_NUMBERS[aggregate.function]
    write_events(aggregate.events, message.events, write_filter)
    if aggregate.property is not None:
        message.property = aggregate.property
    if aggregate.by is not None:
        message.by = aggregate.by
