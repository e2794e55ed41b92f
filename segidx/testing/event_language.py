"""Random questions about the first and the last event, favourites, gaps, months and sequences, by feature; and rows of
events that lie close together and tie, so that the answers differ.

It must import nothing but `segidx/model` and the other generators.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from segidx.model import expression as asked
from segidx.model.event_groups import GROUPS, EventGroup
from segidx.model.events import LINE, ORDER, EventType
from segidx.model.expression import (
    Aggregate,
    AggregateFunction,
    Between,
    Comparison,
    Did,
    EventHas,
    Events,
    Expression,
    HasValue,
    In,
    Never,
    Not,
    Operator,
    Overdue,
    Step,
)
from segidx.model.schema import FieldType, Schema
from segidx.model.values import Arithmetic, ArithmeticOperator, Constant, FieldValue, Value
from segidx.model.windows import AllTime
from segidx.testing.event_filters import FilterGenerator
from segidx.testing.event_lives import SeededChooser
from segidx.testing.event_pools import ABSENT_EVENT_STRINGS, strings_of
from segidx.testing.event_questions import EventGenerator
from segidx.testing.generator import Chooser
from segidx.testing.generator_events import EventRowGenerator
from segidx.testing.pools import Pools, pools_for

FEATURES = ("has", "favourite", "gaps", "month", "sequence", "is_set")

_SECOND, _HOUR, _DAY = 1000, 3_600_000, 86_400_000
# Times between events that `CloseEventGenerator` makes, and more.
_STEPS = (_SECOND, 60 * _SECOND, _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 7 * _DAY, 30 * _DAY)
_WITHIN = (*_STEPS, 90 * _DAY, 400 * _DAY, 61 * _SECOND)
_GAPS = ("7", "1", "30", "0", "2", "0.5", "90", "100", "-1", "3.5", "10.25", "1e20")


class LanguageGenerator(EventGenerator):
    """Random expressions, most of whose leaves are of one feature."""

    def __init__(
        self,
        chooser: Chooser,
        schema: Schema,
        pools: Pools,
        types: Iterable[EventType] = (ORDER, LINE),
        products: Schema | None = None,
        *,
        feature: str,
        groups: Mapping[str, EventGroup] = GROUPS,
    ) -> None:
        super().__init__(chooser, schema, pools, types, products, groups=groups)
        self.named = [type for type in self.types if _of(type, FieldType.CATEGORY)]
        self.months = {
            type.name: FilterGenerator(chooser, type, pools, products, clocks=("month",)) for type in self.types
        }
        leaves: dict[str, list[Callable[[], Expression]]] = {
            "has": [self.has],
            "favourite": [self.favourite_compared, self.favourite_compared, self.favourite_listed, self.favourite_set],
            "gaps": [
                self.mean_gap_compared,
                self.mean_gap_calculated,
                self.deviation_compared,
                self.deviation_compared,
                self.expected_compared,
                self.expected_beside_another,
                self.overdue,
                self.overdue,
            ],
            "month": [self.of_month, self.share_of_month, self.share_of_month],
            "sequence": [self.sequence],
            "is_set": [self.favourite_set, self.gaps_set, self.number_set],
        }
        self.language_leaves = leaves[feature]

    def leaf(self) -> Expression:
        return super().leaf() if self.one_in(6) else self.pick(self.language_leaves)()

    # --- the first and the last ---

    def has(self) -> Expression:
        events = self.events_or_group()
        if self.one_in(3):
            events = replace(events, where=None)
        function = self.pick((AggregateFunction.FIRST, AggregateFunction.LAST))
        return EventHas(Aggregate(function, events), self.filter_of(events.type).expression(self.pick((1, 1, 2, 3))))

    # --- favourites ---

    def favourite(self) -> Aggregate:
        type = self.pick(self.named)
        numbers = _of(type, FieldType.NUMBER)
        by = self.pick(numbers) if numbers and self.one_in(2) else None
        name = self.pick(_of(type, FieldType.CATEGORY))
        return Aggregate(AggregateFunction.FAVOURITE, self.events(type.name), name, by)

    def favourite_compared(self) -> Expression:
        value, ci = self.favourite(), self.one_in(5)
        left: Value = value
        right: Value = Constant(self._string_of(value))
        if self.one_in(6):
            left, right = right, left
        return Comparison(left, self.pick((Operator.EQ, Operator.EQ, Operator.NE)), right, ci)

    def favourite_listed(self) -> Expression:
        value = self.favourite()
        return In(value, self.several(lambda: self._string_of(value), 4), self.one_in(5))

    def favourite_set(self) -> Expression:
        return HasValue(self.favourite())

    def _string_of(self, value: Aggregate) -> str:
        pool = ABSENT_EVENT_STRINGS if self.one_in(12) else strings_of(value.property or "")
        return pool[min(self.chooser.integer(0, len(pool) - 1), self.chooser.integer(0, len(pool) - 1))]

    # --- gaps ---

    def of_gaps(self, function: AggregateFunction) -> Aggregate:
        events = self.events_or_group()
        return Aggregate(function, replace(events, where=None) if self.one_in(3) else events)

    def mean_gap_compared(self) -> Expression:
        if self.one_in(6):
            return In(self.of_gaps(AggregateFunction.MEAN_GAP), self.several(lambda: self._often(_GAPS), 4))
        return self._compared(self.of_gaps(AggregateFunction.MEAN_GAP), _GAPS)

    def mean_gap_calculated(self) -> Expression:
        """Beside other values; often so that what is compared may be equal, exactly."""
        gap = self.of_gaps(AggregateFunction.MEAN_GAP)
        count = Aggregate(AggregateFunction.COUNT, gap.events)
        other = self.pick((count, self.of_gaps(AggregateFunction.MEAN_GAP), self.measure(1)))
        made = Arithmetic(self.pick(tuple(ArithmeticOperator)), gap, other)
        if self.one_in(2):
            return self._compared(made, _GAPS)
        return Comparison(made, self.pick(tuple(Operator)), self.pick((gap, count, self.measure(1))))

    def deviation_compared(self) -> Expression:
        deviation = self.of_gaps(AggregateFunction.GAP_DEVIATION)
        if self.one_in(6):
            return In(deviation, self.several(lambda: self._often(_GAPS), 4))
        if self.one_in(3):
            other = self.pick((self.of_gaps(AggregateFunction.GAP_DEVIATION), self.measure(1)))
            return Comparison(deviation, self.pick(tuple(Operator)), other)
        return self._compared(deviation, _GAPS)

    def expected(self) -> Aggregate:
        return self.of_gaps(AggregateFunction.EXPECTED)

    def expected_compared(self) -> Expression:
        time = self.expected()
        if self.one_in(4):
            return self.time_in_window(time)
        if self.one_in(5):
            return In(time, self.several(lambda: self._moment(not self.one_in(4)), 4))
        if self.one_in(4):
            day = self.one_in(2)
            low, high = sorted((self._moment(day), self._moment(day)))
            return Between(time, Constant(low), Constant(high))
        other = Constant(self._moment(self.one_in(2)))
        operator = self.pick(tuple(Operator))
        return Comparison(other, operator, time) if self.one_in(8) else Comparison(time, operator, other)

    def expected_beside_another(self) -> Expression:
        """Another instant that is no constant: of the same events or of others, or a field."""
        time = self.expected()
        same = Aggregate(self.pick((AggregateFunction.FIRST, AggregateFunction.LAST)), time.events)
        other = self.pick((same, self.expected(), self._other_time()))
        return Comparison(time, self.pick(tuple(Operator)), other)

    def overdue(self) -> Expression:
        return Overdue(self.expected().events)

    def gaps_set(self) -> Expression:
        functions = [f for f in AggregateFunction if f.of_gaps]
        return HasValue(self.of_gaps(self.pick(functions)))

    def number_set(self) -> Expression:
        """And what any other function makes of events."""
        shape = self.chooser.integer(0, 3)
        if shape == 0:
            return HasValue(self.event_time())
        if shape == 1:
            return HasValue(self.pick((self.count(), self.distinct())))
        others = (AggregateFunction.SUM, AggregateFunction.AVERAGE, AggregateFunction.MIN, AggregateFunction.MAX)
        return HasValue(self.of_property(others))

    # --- months ---

    def of_month(self) -> Expression:
        events = self._in_months(self.events())
        return self.pick((Did, Never))(events) if self.one_in(2) else self._compared(self._count(events), ("1", "2"))

    def share_of_month(self) -> Expression:
        events = self.events()
        share = Constant(Decimal(self.pick(("0.5", "0.25", "0.1", "0", "1"))))
        whole = Arithmetic(ArithmeticOperator.MULTIPLY, share, self._count(events))
        return Comparison(self._count(self._in_months(events)), self.pick(tuple(Operator)), whole)

    def _count(self, events: Events) -> Aggregate:
        return Aggregate(AggregateFunction.COUNT, events)

    def _in_months(self, events: Events) -> Events:
        months = self.months[events.type]
        wanted = (
            months.clocked() if self.one_in(2) else Comparison(FieldValue("month"), Operator.EQ, self._this_month())
        )
        if self.one_in(4):
            wanted = Not(wanted)
        return replace(events, where=wanted if events.where is None else events.where & wanted)

    def _this_month(self) -> Constant:
        """That of the instant, or of another that matters."""
        day = self.pick(self.pools.dates[:8]) if self.one_in(2) else self.pools.dates[0]
        return Constant(Decimal(day.month))

    # --- sequences ---

    def sequence(self) -> Expression:
        count = self.pick((2, 2, 2, 3, 3, 4, 16))
        steps = [self._step(number) for number in range(count)]
        if self.one_in(3):
            steps[-1] = Step(steps[-1].events, steps[-1].within or self.pick(_WITHIN), absent=True)
        return asked.Sequence(tuple(steps), AllTime() if self.one_in(3) else self._window_of_events())

    def _step(self, number: int) -> Step:
        events = replace(self.events_or_group(), window=AllTime())
        if self.one_in(2):
            events = replace(events, where=None)
        return Step(events, None if number == 0 or self.one_in(3) else self.pick(_WITHIN))


def _of(type: EventType, wanted: FieldType) -> list[str]:
    return [p.name for p in type.properties if p.type is wanted]


def asking_for(feature: str, max_leaves: int = 3) -> Callable[..., Expression]:
    """What makes random questions of a feature, as `random_event_expression` does of all the others."""

    def ask(
        rng: random.Random,
        schema: Schema,
        pools: Pools | None = None,
        *,
        types: Iterable[EventType] = (ORDER, LINE),
        products: Schema | None = None,
        groups: Mapping[str, EventGroup] = GROUPS,
    ) -> Expression:
        generator = LanguageGenerator(
            SeededChooser(rng), schema, pools or pools_for(), types, products, feature=feature, groups=groups
        )
        return generator.expression(rng.choice((1, 1, 1, max_leaves)))

    return ask


class CloseEventGenerator(EventRowGenerator):
    """Rows of events that lie whole steps apart, or one millisecond off, or at one time, a few at the very beginning.
    Their ids are in another order than they come in."""

    def __init__(self, chooser: Chooser, contact_ids: Sequence[str], at: datetime, *rest: Any, **named: Any) -> None:
        super().__init__(chooser, contact_ids, at, *rest, **named)
        self._anywhere = self.orders.time
        self.orders.time = self._close  # type: ignore[method-assign]
        self._here = self.orders.contact
        self.orders.contact = self._busy  # type: ignore[method-assign]

    def _busy(self) -> str:
        """One of six contacts, more often than not."""
        few = self.orders.contact_ids[:6]
        return few[self.chooser.integer(0, len(few) - 1)] if not self.one_in(4) else self._here()

    def _close(self) -> int:
        shape = self.chooser.integer(0, 9)
        if shape == 0:
            return self.chooser.integer(0, 3) if self.one_in(6) else self._anywhere()
        if shape <= 2:
            return self.orders.last_time
        base = self.orders.last_time if shape <= 5 else self.orders.at
        step = _STEPS[self.chooser.integer(0, len(_STEPS) - 1)]
        off = (0, 0, 0, -1, 1)[self.chooser.integer(0, 4)]
        found = base - self.chooser.integer(-1 if shape <= 5 else 0, 4) * step + off
        return min(self.orders.latest, max(0, found))

    def _new_id(self, type: EventType) -> str:
        number = sum(of == type.name for of, _ in self.sent)
        return f"{'mzaZ9'[number % 5]}{number}"
