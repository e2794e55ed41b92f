"""More predicates over events: what the first or the last is like and when it was, whether they come to a value,
whether the next is late, and what followed what.

Imports the other nodes, windows and errors of the model only.
"""

from __future__ import annotations

from dataclasses import dataclass

from segidx.model.errors import InvalidExpression
from segidx.model.expression.nodes import Aggregate, AggregateFunction, Events, Expression
from segidx.model.windows import MAX_COUNT, AllTime, Unit, Window

_ALL_TIME = AllTime()
_TIMES = (AggregateFunction.FIRST, AggregateFunction.LAST, AggregateFunction.EXPECTED)
MIN_STEPS = 2
MAX_STEPS = 16
MAX_WITHIN = MAX_COUNT * (Unit.WEEK.milliseconds or 0)  # of a step, in milliseconds


@dataclass(frozen=True, slots=True)
class EventHas(Expression):
    """`first(order) has source = "email"`: the earliest or the latest of the events that Did looks for passes the
    filter `that`. `event` is an Aggregate FIRST or LAST.

    Of events at one time the one of the lesser event id is the earlier, byte for byte, and of the lines of an order the
    one that stands before the other. Where there is no such event it does not hold.
    """

    event: Aggregate
    that: Expression

    def __post_init__(self) -> None:
        if not isinstance(self.event, Aggregate) or not self.event.function.is_time:
            raise InvalidExpression("'has' of an event wants first(...) or last(...)")
        if not isinstance(self.that, Expression):
            raise InvalidExpression("first(...) has and last(...) has want a condition of that event")


@dataclass(frozen=True, slots=True)
class HasValue(Expression):
    """`favourite(visit.source) is set`: what the contact's events come to is not missing. A count never is."""

    value: Aggregate

    def __post_init__(self) -> None:
        if not isinstance(self.value, Aggregate):
            raise InvalidExpression("'is set' asks for a field, or for what events come to")


@dataclass(frozen=True, slots=True)
class TimeInWindow(Expression):
    """`last(order).time in last 30 days`: the time of the first or the last event, or the one at which the next is
    expected, lies in the window. It does not where there is none. The window has nothing to do with that of the
    events, which says which of them are looked at."""

    value: Aggregate
    window: Window

    def __post_init__(self) -> None:
        if not isinstance(self.value, Aggregate) or self.value.function not in _TIMES:
            raise InvalidExpression(
                "a window of time needs a field on its left, or the time of a first, last or expected event"
            )


@dataclass(frozen=True, slots=True)
class Overdue(Expression):
    """`overdue(order)`: the next event was expected before now; see Aggregate's EXPECTED. Where none is expected it
    does not hold."""

    events: Events


@dataclass(frozen=True, slots=True)
class Step(Expression):
    """A step of a sequence: an event that Did looks for, or with `absent` none. It is no predicate of its own.

    `within` is how many milliseconds after the event of the step before, at most; whole seconds. The window of
    `events` is all time, for one window is that of the whole sequence.
    """

    events: Events
    within: int | None = None
    absent: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.events, Events) or self.events.window != _ALL_TIME:
            raise InvalidExpression("a step has no window of its own; 'during' stands at the end of the sequence")
        if self.within is not None and (
            isinstance(self.within, bool)
            or not isinstance(self.within, int)
            or not 1000 <= self.within <= MAX_WITHIN
            or self.within % 1000
        ):
            raise InvalidExpression(
                f"'within' of a step is from 1 second to {MAX_COUNT} weeks in whole seconds, not {self.within!r} ms"
            )
        if self.absent and self.within is None:
            raise InvalidExpression("'then no' wants a 'within': say for how long there is none")


@dataclass(frozen=True, slots=True)
class Sequence(Expression):
    """`sequence(visit then order within 7 days during last 30 days)`: events of the steps one after another, each
    strictly later than the one before and no later than its `within` allows, all of them in the window.

    Any such chain will do. With a last step that is absent there is a chain of the others such that no event of that
    step is later than its end by no more than `within`, and that time is over before the window is.
    """

    steps: tuple[Step, ...]
    window: Window = _ALL_TIME

    def __post_init__(self) -> None:
        steps = tuple(self.steps)
        object.__setattr__(self, "steps", steps)
        if not all(isinstance(step, Step) for step in steps) or not isinstance(self.window, Window):
            raise InvalidExpression("a sequence is made of steps and a window")
        if not MIN_STEPS <= len(steps) <= MAX_STEPS:
            raise InvalidExpression(f"a sequence has {MIN_STEPS} to {MAX_STEPS} steps, not {len(steps)}")
        if any(step.absent for step in steps[:-1]):
            raise InvalidExpression("only the last step of a sequence may be 'then no'")
        if steps[0].within is not None:
            raise InvalidExpression("the first step of a sequence has no 'within': nothing is before it")
