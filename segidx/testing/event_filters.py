"""Random filters of events of one type: conditions on their properties, on those of their products, and on what the
clock showed at their time. It must import nothing but `segidx/model` and the other generators.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from segidx.model.events import EventProperty, EventType
from segidx.model.expression import Between, Comparison, Expression, In, IsSet, Operator, TextMatch, TextOperator
from segidx.model.schema import FieldType, Schema
from segidx.model.values import Constant, FieldValue, Scalar, Value
from segidx.testing.event_pools import ABSENT_EVENT_STRINGS, numbers_of, strings_of
from segidx.testing.generator import Chooser, Generator
from segidx.testing.oracle_products import filter_fields
from segidx.testing.pools import Pools

# What the clock shows at the time of an event.
_CLOCKS = {
    "hour": tuple(map(str, range(24))),
    "weekday": tuple(map(str, range(1, 8))),
    "month": tuple(map(str, range(1, 13))),
}


class FilterGenerator(Generator):
    """Random filters of events of one type: trees of conditions on single properties, and `clocks`, with constants."""

    def __init__(
        self,
        chooser: Chooser,
        type: EventType,
        pools: Pools,
        products: Schema | None = None,
        *,
        clocks: Sequence[str] = tuple(_CLOCKS),
    ) -> None:
        """With the properties of `products`, some conditions are on these."""
        super().__init__(chooser, Schema(()), pools)
        self.clocks = tuple(clocks)
        self.properties = type.properties
        if products is not None:
            reached = filter_fields(type, products)
            self.properties += tuple(EventProperty(p.name, p.type, p.scale) for p in reached)
        self.leaves = [self.compared, self.compared, self.listed, self.enclosed, self.matched, self.has_value]
        self.leaves.append(self.clocked)
        if not self._of(FieldType.CATEGORY):
            self.leaves.remove(self.matched)
        if not self.properties:
            self.leaves = [self.constants, self.clocked]

    def constants(self) -> Expression:
        """All that is left to say of events without properties."""
        return Comparison(self.number_constant(), self.pick(tuple(Operator)), self.number_constant())

    def clocked(self) -> Expression:
        """What the local time of the event says."""
        chosen = self.pick(self.clocks)
        clock, shape = FieldValue(chosen), self.chooser.integer(0, 5)

        def number() -> Decimal:
            return Decimal(self.pick(("9.5", "-1", "24", "1e20")) if self.one_in(10) else self.pick(_CLOCKS[chosen]))

        if shape == 0:
            return IsSet(chosen) if self.one_in(3) else In(clock, self.several(number, 6))
        if shape <= 2:
            low, high = number(), number()
            return Between(clock, Constant(min(low, high)), Constant(max(low, high)))
        left, right = self._sides(clock, Constant(number()))
        return Comparison(left, self.pick(tuple(Operator)), right)

    def _of(self, *types: FieldType) -> list[EventProperty]:
        return [p for p in self.properties if p.type in types]

    def _property(self, *types: FieldType) -> EventProperty:
        return self.pick(self._of(*types))

    def _sides(self, left: Value, right: Value) -> tuple[Value, Value]:
        return (right, left) if self.one_in(6) else (left, right)

    def compared(self) -> Expression:
        chosen = self.pick(self.properties)
        ci = chosen.type is FieldType.CATEGORY and self.one_in(4)
        # Strings have an order too, which is asked for less.
        all_operators = chosen.type in (FieldType.NUMBER, FieldType.TIMESTAMP) or (
            chosen.type is FieldType.CATEGORY and not ci and self.one_in(5)
        )
        operator = self.pick(tuple(Operator) if all_operators else (Operator.EQ, Operator.NE))
        left, right = self._sides(FieldValue(chosen.name), Constant(self._constant(chosen)))
        return Comparison(left, operator, right, ci)

    def listed(self) -> Expression:
        chosen = self.pick(self.properties)
        options = self.several(lambda: self._constant(chosen), 4)
        return In(FieldValue(chosen.name), options, chosen.type is FieldType.CATEGORY and self.one_in(4))

    def enclosed(self) -> Expression:
        chosen = self._property(FieldType.NUMBER, FieldType.CATEGORY, FieldType.TIMESTAMP)
        ends = [self._constant(chosen), self._constant(chosen)]
        # A date and an instant are not put into order.
        if type(ends[0]) is type(ends[1]) and not self.one_in(6):
            ends.sort()
        return Between(FieldValue(chosen.name), Constant(ends[0]), Constant(ends[1]))

    def matched(self) -> Expression:
        chosen = self._property(FieldType.CATEGORY)
        operator, ci = self.pick(tuple(TextOperator)), self.one_in(3)
        if operator is TextOperator.MATCHES:
            return TextMatch(chosen.name, operator, self.regex(), ci)
        if operator is TextOperator.LIKE:
            return TextMatch(chosen.name, operator, self.like(), ci)
        whole = self.pick(strings_of(chosen.name))
        length = self.chooser.integer(0, 3)
        part = whole[-length:] if operator is TextOperator.ENDS_WITH and length else whole[:length]
        return TextMatch(chosen.name, operator, part, ci)

    def has_value(self) -> Expression:
        return IsSet(self.pick(self.properties).name)

    def _constant(self, declared: EventProperty) -> Scalar:
        if declared.type is FieldType.BOOL:
            return not self.one_in(3)
        if declared.type is FieldType.CATEGORY:
            return self.pick(ABSENT_EVENT_STRINGS if self.one_in(8) else strings_of(declared.name))
        if declared.type is FieldType.TIMESTAMP:
            return self.pick(self.pools.dates if self.one_in(3) else self.pools.instants)
        if self.one_in(10):
            return self.pick(self.pools.absent_numbers)
        return Decimal(self.pick(numbers_of(declared.name)))
