"""Random expressions over events and fields, from the pools that random events are made of.

`random_event_expression` takes a `random.Random`; hypothesis drives the same generators in `strategies`. It must import
nothing but `segidx/model` and the other generators.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

from segidx.model.bands import OF_BANDS, Bands, bands
from segidx.model.event_groups import GROUPS, EventGroup
from segidx.model.events import LINE, ORDER, EventType
from segidx.model.expression import (
    Aggregate,
    AggregateFunction,
    BandIs,
    Between,
    Comparison,
    Crossed,
    DaysSinceEvent,
    Did,
    Events,
    Expression,
    In,
    Never,
    Not,
    Only,
    Operator,
    TimeInWindow,
)
from segidx.model.schema import FieldType, Schema
from segidx.model.values import Arithmetic, ArithmeticOperator, Constant, FieldValue, Negative, Value
from segidx.model.windows import (
    Ago,
    AllTime,
    Calendar,
    CalendarPosition,
    Direction,
    OlderThan,
    Rolling,
    Unit,
    Window,
)
from segidx.testing.event_filters import FilterGenerator
from segidx.testing.event_lives import SPANS, SeededChooser
from segidx.testing.event_pools import AMOUNTS
from segidx.testing.generator import Chooser, Generator
from segidx.testing.pools import Pools, pools_for

_SUMS = (*AMOUNTS, "50", "150", "500", "2000", "-0.005", "33.333")
_DAYS = ("30", "7", "0", "1", "90", "2", "365", "-1", "0.5")
_THRESHOLDS = ("1", "2", "3", "5", "10", "20", "50", "100", "150", "200", "500", "1000", "2000")
_LOW_THRESHOLDS = ("-100", "-5", "0", *_THRESHOLDS)
_MADE_OF = (AggregateFunction.AVERAGE, AggregateFunction.MIN, AggregateFunction.MAX)
_COUNTS = ("1", "2", "0", "3", "4", "5", "10", "1.5", "-1")

# Windows that hold a good part of a history, and not all of it.
_TELLING_WINDOWS: tuple[Window, ...] = (
    AllTime(),
    *(Rolling(Direction.LAST, count, Unit.DAY) for count in (1, 7, 30, 90, 180, 400)),
    *(Rolling(Direction.LAST, count, Unit.MONTH) for count in (1, 2, 6)),
    Rolling(Direction.LAST, 1, Unit.YEAR),
    Rolling(Direction.LAST, 12, Unit.HOUR),
    Ago(180, 90, Unit.DAY),
    Ago(60, 30, Unit.DAY),
    Ago(3, 1, Unit.MONTH),
    Ago(2, 0, Unit.WEEK),
    OlderThan(30, Unit.DAY),
    OlderThan(1, Unit.YEAR),
    OlderThan(2, Unit.MONTH),
    *(Calendar(CalendarPosition.LAST, unit, 3) for unit in (Unit.WEEK, Unit.MONTH)),
    *(Calendar(CalendarPosition.THIS, unit) for unit in (Unit.WEEK, Unit.MONTH, Unit.YEAR)),
    Calendar(CalendarPosition.LAST, Unit.YEAR, 1),
)


class EventGenerator(Generator):
    """Random expressions over fields and events of some types. Three leaves in four ask about events, of these some
    about the bands, where there are any."""

    def __init__(
        self,
        chooser: Chooser,
        schema: Schema,
        pools: Pools,
        types: Iterable[EventType] = (ORDER, LINE),
        products: Schema | None = None,
        bands: Iterable[Bands] = (),
        groups: Mapping[str, EventGroup] = GROUPS,
    ) -> None:
        super().__init__(chooser, schema, pools)
        self.types = tuple(types)
        self.measured = [type for type in self.types if _numbers_in(type)]
        self.filters = {type.name: FilterGenerator(chooser, type, pools, products) for type in self.types}
        self.groups = groups
        self.common = FilterGenerator(chooser, EventType("group", ()), pools)  # what events of all types have
        self.event_leaves: list[Callable[[], Expression]] = [
            self.did,
            self.count_compared,
            self.sum_compared,
            self.never,
            self.aggregates_compared,
            self.aggregate_listed,
            self.distinct_compared,
            self.distinct_compared,
            self.end_compared,
            self.average_calculated,
            self.event_time_compared,
            self.event_time_enclosed,
            self.event_times_compared,
            self.days_compared,
            self.only,
            self.only,
        ]

        self.bands = tuple(bands)
        if self.bands:
            self.event_leaves += [self.in_band, self.in_band, self.crossing, self.crossing]

    def leaf(self) -> Expression:
        return super().leaf() if self.one_in(4) else self.pick(self.event_leaves)()

    def in_band(self) -> Expression:
        """One band, or several, some of them beside each other."""
        of = self.pick(self.bands)
        if self.one_in(20):
            return BandIs(of.name, ("no such band",))
        node = BandIs(of.name, self.several(lambda: self.pick(of.labels), 4))
        return Not(node) if self.one_in(5) else node

    def crossing(self) -> Expression:
        of = self.pick(self.bands)
        if of.is_windowed and not self.one_in(20):
            return self.in_band()
        return Crossed(of.name, self.pick(of.thresholds), self._window_of_events())

    def declared_bands(self, name: str) -> Bands:
        """Bands over a count or a sum, one in four over events of a window; one in four with labels of their own."""
        function = self.pick(OF_BANDS)
        value = self.sum() if function is AggregateFunction.SUM else Aggregate(function, self.events())
        if not self.one_in(4):
            value = replace(value, events=replace(value.events, window=AllTime()))
        pool = _LOW_THRESHOLDS if function is AggregateFunction.SUM else _THRESHOLDS
        thresholds = sorted({Decimal(self.pick(pool)) for _ in range(self.chooser.integer(1, 5))})
        labels = [f"band {number}" for number in range(len(thresholds) + 2)] if self.one_in(4) else None
        return bands(name, value, thresholds, labels)

    def did(self) -> Expression:
        return Did(self.events_or_group())

    def never(self) -> Expression:
        return Never(self.events_or_group())

    def only(self) -> Expression:
        """A filter that many events pass, more often than not; with a filter of the population and a window, and
        without."""
        events = self.events_or_group()
        that = None if self.one_in(6) else self.filter_of(events.type).expression(self.pick((1, 1, 2)))
        if that is not None and self.one_in(2):
            that = Not(that)
        if self.one_in(3):
            events = replace(events, where=None)
        return Only(replace(events, window=AllTime()) if self.one_in(4) else events, that)

    def end_compared(self) -> Expression:
        return self._compared(self.of_property(_MADE_OF), _SUMS)

    def average_calculated(self) -> Expression:
        """An average that is calculated with: times a count it may be the sum again, exactly."""
        average = self.of_property((AggregateFunction.AVERAGE,))
        others = [replace(average, function=AggregateFunction.SUM), Aggregate(AggregateFunction.COUNT, average.events)]
        if self.one_in(3):
            calculated = Arithmetic(ArithmeticOperator.MULTIPLY, average, others[1])
            return Comparison(calculated, self.pick(tuple(Operator)), others[0])
        other = self.pick((Constant(self._often(("3", "2", "7", "0.5"))), others[1], self.measure(0)))
        return self._compared(Arithmetic(self.pick(tuple(ArithmeticOperator)), average, other), _SUMS)

    def event_time_compared(self) -> Expression:
        time, operator = self.event_time(), self.pick(tuple(Operator))
        if self.one_in(4):
            return self.time_in_window(time)
        if self.one_in(5):
            # Dates rather than instants, which are hardly ever met.
            return In(time, self.several(lambda: self._moment(not self.one_in(4)), 4))
        other = Constant(self._moment(self.one_in(2)))
        return Comparison(other, operator, time) if self.one_in(8) else Comparison(time, operator, other)

    def time_in_window(self, time: Aggregate) -> Expression:
        """Half of them told on the calendar, and some that lie ahead."""
        found = TimeInWindow(time, self.window(days_only=False) if self.one_in(2) else self.pick(_TELLING_WINDOWS))
        return Not(found) if self.one_in(6) else found

    def event_time_enclosed(self) -> Expression:
        time, day = self.event_time(), self.one_in(2)
        if self.one_in(4):
            # A date and an instant, or another instant that is no constant, which are not put into order.
            return Between(time, Constant(self._moment(True)), self._other_time())
        low, high = sorted((self._moment(day), self._moment(day)))
        return Between(time, Constant(low), Constant(high))

    def event_times_compared(self) -> Expression:
        """With another instant that is no constant: a timestamp field, or the other end of the same events."""
        time, operator = self.event_time(), self.pick(tuple(Operator))
        if self.one_in(3):
            ends = (AggregateFunction.FIRST, AggregateFunction.LAST)
            return Comparison(replace(time, function=ends[0]), operator, replace(time, function=ends[1]))
        other = self._other_time()
        return Comparison(other, operator, time) if self.one_in(6) else Comparison(time, operator, other)

    def _other_time(self) -> Value:
        """An instant: a timestamp field where there is one, the time of other events, or a constant."""
        if self.timestamps and not self.one_in(3):
            return FieldValue(self.pick(self.timestamps).name)
        return Constant(self._moment(False)) if self.one_in(3) else self.event_time()

    def days_compared(self) -> Expression:
        return self._compared(self.days_since_event(), _DAYS)

    def _moment(self, day: bool) -> date:
        """A date or an instant: of the pool, the first more often, for those lie about the instant of evaluation; or
        anywhere that orders lie. The very first of the pools are that instant and its local date."""
        pool: Sequence[date] = self.pools.dates if day else self.pools.instants
        if self.one_in(2):
            span = timedelta(days=self.pick(SPANS))
            # Less whole days from a date, and milliseconds from an instant.
            step = timedelta(days=1) if day else timedelta(milliseconds=1)
            return pool[0] - step * self.chooser.integer(0, span // step)
        last = len(pool) - 1
        return pool[min(self.chooser.integer(0, last), self.chooser.integer(0, last))]

    def event_time(self) -> Aggregate:
        return Aggregate(self.pick((AggregateFunction.FIRST, AggregateFunction.LAST)), self.events_or_group())

    def days_since_event(self) -> DaysSinceEvent:
        return DaysSinceEvent(self.event_time())

    def count_compared(self) -> Expression:
        return self._compared(self.count(), _COUNTS)

    def distinct_compared(self) -> Expression:
        return self._compared(self.distinct(), _COUNTS)

    def sum_compared(self) -> Expression:
        total = self.sum()
        return self._compared(total, _COUNTS if total.property == "quantity" else _SUMS)

    def _compared(self, value: Value, pool: Sequence[str]) -> Expression:
        if self.one_in(6):
            low, high = sorted((self._often(pool), self._often(pool)))
            return Between(value, Constant(low), Constant(high))
        left, right = value, Constant(self._often(pool))
        operator = self.pick(tuple(Operator))
        return Comparison(right, operator, left) if self.one_in(8) else Comparison(left, operator, right)

    def _often(self, pool: Sequence[str]) -> Decimal:
        """One of the numbers, the first ones more often: most contacts have few events in a window."""
        last = len(pool) - 1
        return Decimal(pool[min(self.chooser.integer(0, last), self.chooser.integer(0, last))])

    def aggregates_compared(self) -> Expression:
        return Comparison(self.measure(2), self.pick(tuple(Operator)), self.measure(1))

    def aggregate_listed(self) -> Expression:
        return In(self.count(), self.several(lambda: self._often(_COUNTS), 3))

    def measure(self, depth: int) -> Value:
        """A number that has to do with events, of at most so many levels of arithmetic."""
        shape = self.chooser.integer(0, 9)
        if depth and shape >= 4:
            if shape == 9:
                return Negative(self.measure(depth - 1))
            operator = self.pick(tuple(ArithmeticOperator))
            return Arithmetic(operator, self.measure(depth - 1), self.measure(depth - 1))
        if shape <= 3:
            if self.one_in(4):
                return self.days_since_event()
            if shape == 2 and self.one_in(2):
                return self.distinct()
            return self.count() if shape in (0, 2) else self.of_property((AggregateFunction.SUM, *_MADE_OF))
        if shape <= 7:
            return Constant(Decimal(self.pick(("2", "0.5", "1", "10", "-1", "0", "100"))))
        return self.number(0)

    def count(self) -> Aggregate:
        return Aggregate(AggregateFunction.COUNT, self.events_or_group())

    def distinct(self) -> Aggregate:
        """How many different values of a property of any type, or days."""
        type = self.pick(self.types)
        if not type.properties or self.one_in(2):
            of = self.pick(tuple(GROUPS)) if self.one_in(6) else type.name
            return Aggregate(AggregateFunction.DISTINCT_DAYS, self.events(of))
        return Aggregate(AggregateFunction.DISTINCT, self.events(type.name), self.pick(type.properties).name)

    def sum(self) -> Aggregate:
        return self.of_property((AggregateFunction.SUM,))

    def of_property(self, functions: Sequence[AggregateFunction]) -> Aggregate:
        type = self.pick(self.measured)
        names = _numbers_in(type)
        # Amounts most of all: they come last.
        name = self.pick(names) if self.one_in(2) else names[-1]
        return Aggregate(self.pick(functions), self.events(type.name), name)

    def events(self, type: str | None = None) -> Events:
        """A selection: half of them with a filter, of one condition more often than of several."""
        chosen = self.pick(self.types).name if type is None else type
        where = None
        if self.one_in(2):
            where = self.filter_of(chosen).expression(self.pick((1, 1, 2, 4)))
        return Events(chosen, where, self._window_of_events())

    def filter_of(self, name: str) -> FilterGenerator:
        """What makes filters of a type, or of a group: of what one of its types has, or all of them."""
        if name not in self.groups:
            return self.filters[name]
        known = [member.type for member in self.groups[name].members if member.type in self.filters]
        return self.common if not known or self.one_in(5) else self.filters[self.pick(known)]

    def events_or_group(self) -> Events:
        """A selection, or one in six times a group: for what may be asked of both."""
        return self.events(self.pick(tuple(GROUPS))) if self.one_in(6) else self.events()

    def group(self) -> EventGroup:
        """A group of other members: few, some of one type, so that some events are of two."""
        members = [replace(self.events(), window=AllTime()) for _ in range(self.chooser.integer(1, 4))]
        if self.one_in(3):
            members.append(replace(self.pick(members), where=None))
        return EventGroup(self.pick(tuple(GROUPS)), tuple(members))

    def _window_of_events(self) -> Window:
        if self.one_in(3):
            return self.window(days_only=False)
        return self.pick(_TELLING_WINDOWS)


def _numbers_in(type: EventType) -> list[str]:
    return [p.name for p in type.properties if p.type is FieldType.NUMBER]


def random_event_expression(
    rng: random.Random,
    schema: Schema,
    pools: Pools | None = None,
    *,
    types: Iterable[EventType] = (ORDER, LINE),
    products: Schema | None = None,
    max_leaves: int = 6,
    bands: Iterable[Bands] = (),
    groups: Mapping[str, EventGroup] = GROUPS,
) -> Expression:
    """A well-typed expression over fields, events of the types and bands, of at most `max_leaves` leaves, some of them
    on the properties of `products`. (A few ask for a band that there is not.) `pools` are those of the instant that it
    will be asked at."""
    generator = EventGenerator(SeededChooser(rng), schema, pools or pools_for(), types, products, bands, groups)
    return generator.expression(rng.randint(1, max_leaves))


def random_event_group(
    rng: random.Random, pools: Pools | None = None, *, types: Iterable[EventType] = (ORDER, LINE)
) -> EventGroup:
    """One of the groups with other members, of these types."""
    return EventGenerator(SeededChooser(rng), Schema(()), pools or pools_for(), types).group()


def random_bands(
    rng: random.Random, name: str, pools: Pools | None = None, *, types: Iterable[EventType] = (ORDER, LINE)
) -> Bands:
    """Bands of the name, over events of these types."""
    return EventGenerator(SeededChooser(rng), Schema(()), pools or pools_for(), types).declared_bands(name)
