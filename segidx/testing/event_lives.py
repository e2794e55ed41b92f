"""Random histories of orders, and random expressions over them, from small pools that both share.

Orders lie where windows begin and end at an instant, at the ends of months and where clocks are set, and all over the
two years before; ids are sent again with another contact, time and lines. `random_life` and `random_event_expression`
take a `random.Random`; hypothesis drives the same generators in `strategies`. It must import nothing but
`segidx/model`, the other generators and the oracle's calendar.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from segidx.model.events import (
    EVENT_PROPERTIES,
    MAX_AHEAD_MILLIS,
    MAX_EVENT_ID_BYTES,
    QUANTITY_SCALE,
    EventKind,
    EventProperty,
    Order,
    OrderLine,
)
from segidx.model.expression import (
    Aggregate,
    AggregateFunction,
    Between,
    Comparison,
    DaysSinceEvent,
    Did,
    Events,
    Expression,
    In,
    IsSet,
    Never,
    Not,
    Only,
    Operator,
    TextMatch,
    TextOperator,
)
from segidx.model.schema import MAX_CONTACT_ID_BYTES, MAX_MINOR_UNITS, MAX_STRING_BYTES, FieldType, Schema
from segidx.model.values import Arithmetic, ArithmeticOperator, Constant, FieldValue, Negative, Scalar, Value
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
from segidx.testing import oracle_time
from segidx.testing.generator import Chooser, Generator
from segidx.testing.pools import NOTABLE_INSTANTS, Pools, from_millis, pools_for

_DAY_MS = 86_400_000
# How many days before the instant an order may lie, where it lies anywhere.
_SPANS = (1, 7, 30, 90, 200, 400, 800)

# The strings of each property, common ones first, some that fold or normalise alike.
EVENT_STRINGS: dict[str, tuple[str, ...]] = {
    "source": ("email", "organic_search", "direct", "Email", "caf\u00e9", "cafe\u0301", "Straße", ""),
    "product": (*(f"P{n}" for n in range(12)), "p1", "Łódź", "\U0001f600"),
    "producer": ("69", "7", "Acme", "ACME", "acme corp"),
    "category": ("grocery", "drinks", "Grocery", "toys"),
}
_ABSENT_STRINGS = ("nowhere", "EMAIL", "STRASSE", "p", "zzz")

_QUANTITIES = ("1", "2", "3", "-1", "0", "0.5", "-0.5", "1.5", "-2", "12", "0.001")
_AMOUNTS = ("10", "19.99", "100", "300", "0", "-19.99", "9.5", "45.25", "300.01", "1000", "-100", "0.01")
_PRICES = ("10", "9.99", "0.01", "0.03", "100", "0", "99.95", "-5")
_SUMS = (*_AMOUNTS, "50", "150", "500", "2000", "-0.005", "33.333")
_DAYS = ("30", "7", "0", "1", "90", "2", "365", "-1", "0.5")
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


class SeededChooser:
    """Choices of a seeded `random.Random`."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def integer(self, low: int, high: int) -> int:
        return self.rng.randint(low, high)


# --- orders ------------------------------------------------------------------------------------------------


class OrderGenerator:
    """Random orders of some contacts around an instant, in an account of that zone and money scale.

    No order is later than `latest`, by default the last instant that is taken when the clock shows `at`.
    """

    def __init__(
        self,
        chooser: Chooser,
        contact_ids: Sequence[str],
        at: datetime,
        zone: str = "UTC",
        *,
        money_scale: int = 2,
        latest: datetime | None = None,
        prefix: str = "o",
    ) -> None:
        self.chooser = chooser
        self.at = oracle_time.millis(at)
        self.latest = self.at + MAX_AHEAD_MILLIS if latest is None else oracle_time.millis(latest)
        # Every seventh contact orders nothing.
        self.contact_ids = [c for n, c in enumerate(contact_ids) if n % 7 != 6]
        self.prefix = prefix
        self.money_scale = money_scale
        self.sent: dict[str, Order] = {}
        self.last_time = min(self.latest, max(0, self.at - 1))
        self.times = self._times(at, zone)
        self.amounts = _fitting(_AMOUNTS, money_scale)
        self.prices = _fitting(_PRICES, money_scale)
        self.quantities = _fitting(_QUANTITIES, QUANTITY_SCALE)

    def _times(self, at: datetime, zone: str) -> list[int]:
        """Instants that matter: edges of windows, of UTC months and of daylight saving."""
        found = [self.at - 1, self.at, self.at + 1, self.at - 1000, self.at + MAX_AHEAD_MILLIS]
        first = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        day = oracle_time.ordinal(first.year, first.month, 1)
        epoch = oracle_time.ordinal(1970, 1, 1)
        for back in range(5):
            month = (oracle_time.add_months(day, -back) - epoch) * _DAY_MS
            found += [month, month - 1]
        found += [oracle_time.millis(instant) for instant in pools_for(at, zone).instants]
        found += [oracle_time.millis(instant) for instant in NOTABLE_INSTANTS]
        return [time for time in dict.fromkeys(found) if 0 <= time <= self.latest] or [0]

    def _one_in(self, n: int) -> bool:
        return self.chooser.integer(0, n - 1) == n - 1

    def _skewed(self, size: int) -> int:
        """An index below `size`, the first ones more often."""
        return min(self.chooser.integer(0, size - 1), self.chooser.integer(0, size - 1))

    def orders(self, count: int) -> list[Order]:
        """So many orders. One in eight sends an id again, of this call or of an earlier one."""
        return [self.order() for _ in range(count)]

    def order(self) -> Order:
        if self.sent and self._one_in(8):
            sent = list(self.sent)
            # Often one of the last, so that ids come twice in one import too.
            again = sent[self.chooser.integer(max(0, len(sent) - 20) if self._one_in(2) else 0, len(sent) - 1)]
            order = self._again(self.sent[again])
        else:
            order = self._new(f"{self.prefix}{len(self.sent)}")
        self.sent[order.order_id] = order
        self.last_time = oracle_time.millis(order.time)
        return order

    def _again(self, old: Order) -> Order:
        """An order that replaces another: in everything, or with the same contact, time or lines."""
        new = self._new(old.order_id)
        shape = self.chooser.integer(0, 3)
        if shape == 1:
            return replace(new, contact_id=old.contact_id)
        if shape == 2:
            return replace(new, contact_id=old.contact_id, time=old.time)
        return replace(old, contact_id=new.contact_id, time=new.time) if shape == 3 else new

    def _new(self, order_id: str) -> Order:
        return Order(
            order_id,
            self.contact_ids[self._skewed(len(self.contact_ids))],
            from_millis(self._time()),
            source=self._string("source"),
            paid=None if self._one_in(5) else not self._one_in(3),
            amount=self._number(self.amounts) if self._one_in(3) else None,
            lines=tuple(self._line() for _ in range(self._skewed(5))),
        )

    def _time(self) -> int:
        shape = self.chooser.integer(0, 9)
        if shape == 0:
            return self.last_time  # a tie with the order before
        if shape <= 3:
            return self.times[self.chooser.integer(0, len(self.times) - 1)]
        span = _SPANS[self.chooser.integer(0, len(_SPANS) - 1)] * _DAY_MS
        return min(self.latest, max(0, self.at - self.chooser.integer(0, span)))

    def _line(self) -> OrderLine:
        return OrderLine(
            product=self._string("product"),
            producer=self._string("producer"),
            category=self._string("category"),
            quantity=None if self._one_in(4) else self._number(self.quantities),
            unit_price=None if self._one_in(4) else self._number(self.prices),
            amount=self._number(self.amounts) if self._one_in(3) else None,
        )

    def _string(self, name: str) -> str | None:
        pool = EVENT_STRINGS[name]
        return None if self._one_in(5) else pool[self._skewed(len(pool))]

    def _number(self, pool: Sequence[Decimal]) -> Decimal:
        return pool[self._skewed(len(pool))]

    def bad_order(self) -> Order:
        """An order that is to be refused, for one thing or another. Its id may be one that is known."""
        good = replace(self.order(), order_id=f"{self.prefix}{self.chooser.integer(0, len(self.sent))}")
        too_fine = Decimal(1).scaleb(-self.money_scale - 1)
        too_large = Decimal(MAX_MINOR_UNITS + 1).scaleb(-self.money_scale)
        largest = Decimal(MAX_MINOR_UNITS).scaleb(-self.money_scale)
        bad: list[Order] = [
            replace(good, order_id=""),
            replace(good, order_id="o" * (MAX_EVENT_ID_BYTES + 1)),
            replace(good, contact_id=""),
            replace(good, contact_id="é" * (MAX_CONTACT_ID_BYTES // 2 + 1)),
            replace(good, time=datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
            replace(good, time=datetime(9999, 1, 1, tzinfo=UTC)),
            replace(good, time=datetime(2020, 1, 1)),  # no zone
            replace(good, time=datetime(2020, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
            replace(good, source="x" * (MAX_STRING_BYTES + 1)),
            replace(good, source=Decimal(1)),  # type: ignore[arg-type]
            replace(good, paid="yes"),  # type: ignore[arg-type]
            replace(good, amount=too_fine),
            replace(good, amount=too_large),
            replace(good, amount=Decimal("NaN")),
            replace(good, lines=(*good.lines, OrderLine(quantity=Decimal("0.0001")))),
            replace(good, lines=(*good.lines, OrderLine(product=True))),  # type: ignore[arg-type]
            replace(good, lines=(OrderLine(amount=-too_large), *good.lines)),
            replace(good, lines=(OrderLine(quantity=Decimal(2), unit_price=largest),)),
            replace(good, amount=None, lines=(OrderLine(amount=largest), OrderLine(amount=largest))),
        ]
        return bad[self.chooser.integer(0, len(bad) - 1)]


def _fitting(numbers: Sequence[str], scale: int) -> tuple[Decimal, ...]:
    """The numbers that have no more decimals than the scale."""
    return tuple(n for n in map(Decimal, numbers) if n == round(n, scale))


def random_life(
    rng: random.Random,
    contact_ids: Sequence[str],
    sizes: Sequence[int],
    *,
    at: datetime,
    zone: str = "UTC",
    money_scale: int = 2,
    latest: datetime | None = None,
    bad_orders: bool = False,
) -> list[list[Order]]:
    """Imports of so many orders each, to be made one after another. With `bad_orders`, about one in ten is to be
    refused."""
    chooser = SeededChooser(rng)
    generator = OrderGenerator(chooser, contact_ids, at, zone, money_scale=money_scale, latest=latest)
    return [
        [generator.bad_order() if bad_orders and rng.randrange(10) == 0 else generator.order() for _ in range(size)]
        for size in sizes
    ]


# --- expressions -------------------------------------------------------------------------------------------


class FilterGenerator(Generator):
    """Random filters of events of one kind: trees of conditions on single properties with constants."""

    def __init__(self, chooser: Chooser, kind: EventKind) -> None:
        super().__init__(chooser, Schema(()), pools_for())
        self.properties = EVENT_PROPERTIES[kind]
        self.leaves = [self.compared, self.compared, self.listed, self.enclosed, self.matched, self.has_value]

    def _property(self, *types: FieldType) -> EventProperty:
        return self.pick([p for p in self.properties if p.type in types])

    def _sides(self, left: Value, right: Value) -> tuple[Value, Value]:
        return (right, left) if self.one_in(6) else (left, right)

    def compared(self) -> Expression:
        chosen = self.pick(self.properties)
        ci = chosen.type is FieldType.CATEGORY and self.one_in(4)
        # Strings have an order too, which is asked for less.
        all_operators = chosen.type is FieldType.NUMBER or (
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
        chosen = self._property(FieldType.NUMBER, FieldType.CATEGORY)
        ends = [self._constant(chosen), self._constant(chosen)]
        if not self.one_in(6):
            ends.sort()
        return Between(FieldValue(chosen.name), Constant(ends[0]), Constant(ends[1]))

    def matched(self) -> Expression:
        chosen = self._property(FieldType.CATEGORY)
        operator, ci = self.pick(tuple(TextOperator)), self.one_in(3)
        if operator is TextOperator.MATCHES:
            return TextMatch(chosen.name, operator, self.regex(), ci)
        whole = self.pick(EVENT_STRINGS[chosen.name])
        length = self.chooser.integer(0, 3)
        part = whole[-length:] if operator is TextOperator.ENDS_WITH and length else whole[:length]
        return TextMatch(chosen.name, operator, part, ci)

    def has_value(self) -> Expression:
        return IsSet(self.pick(self.properties).name)

    def _constant(self, declared: EventProperty) -> Scalar:
        if declared.type is FieldType.BOOL:
            return not self.one_in(3)
        if declared.type is FieldType.CATEGORY:
            return self.pick(_ABSENT_STRINGS if self.one_in(8) else EVENT_STRINGS[declared.name])
        if self.one_in(10):
            return self.pick(self.pools.absent_numbers)
        pool = {"quantity": _QUANTITIES, "unit_price": _PRICES}.get(declared.name, _AMOUNTS)
        return Decimal(self.pick(pool))


class EventGenerator(Generator):
    """Random expressions over fields and events. Three leaves in four ask about events."""

    def __init__(self, chooser: Chooser, schema: Schema, pools: Pools) -> None:
        super().__init__(chooser, schema, pools)
        self.filters = {kind: FilterGenerator(chooser, kind) for kind in EventKind}
        self.event_leaves: list[Callable[[], Expression]] = [
            self.did,
            self.count_compared,
            self.sum_compared,
            self.never,
            self.aggregates_compared,
            self.aggregate_listed,
            self.end_compared,
            self.average_calculated,
            self.event_time_compared,
            self.event_time_enclosed,
            self.event_times_compared,
            self.days_compared,
            self.only,
            self.only,
        ]

    def leaf(self) -> Expression:
        return super().leaf() if self.one_in(4) else self.pick(self.event_leaves)()

    def did(self) -> Expression:
        return Did(self.events())

    def never(self) -> Expression:
        return Never(self.events())

    def only(self) -> Expression:
        """A filter that many events pass, more often than not; with a filter of the population and a window, and
        without."""
        events = self.events()
        that = None if self.one_in(6) else self.filters[events.kind].expression(self.pick((1, 1, 2)))
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
        if self.one_in(5):
            # Dates rather than instants, which are hardly ever met.
            return In(time, self.several(lambda: self._moment(not self.one_in(4)), 4))
        other = Constant(self._moment(self.one_in(2)))
        return Comparison(other, operator, time) if self.one_in(8) else Comparison(time, operator, other)

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
            span = timedelta(days=self.pick(_SPANS))
            # Less whole days from a date, and milliseconds from an instant.
            step = timedelta(days=1) if day else timedelta(milliseconds=1)
            return pool[0] - step * self.chooser.integer(0, span // step)
        last = len(pool) - 1
        return pool[min(self.chooser.integer(0, last), self.chooser.integer(0, last))]

    def event_time(self) -> Aggregate:
        return Aggregate(self.pick((AggregateFunction.FIRST, AggregateFunction.LAST)), self.events())

    def days_since_event(self) -> DaysSinceEvent:
        return DaysSinceEvent(self.event_time())

    def count_compared(self) -> Expression:
        return self._compared(self.count(), _COUNTS)

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
            return self.count() if shape in (0, 2) else self.of_property((AggregateFunction.SUM, *_MADE_OF))
        if shape <= 7:
            return Constant(Decimal(self.pick(("2", "0.5", "1", "10", "-1", "0", "100"))))
        return self.number(0)

    def count(self) -> Aggregate:
        return Aggregate(AggregateFunction.COUNT, self.events())

    def sum(self) -> Aggregate:
        return self.of_property((AggregateFunction.SUM,))

    def of_property(self, functions: Sequence[AggregateFunction]) -> Aggregate:
        kind = self.pick(tuple(EventKind))
        names = [p.name for p in EVENT_PROPERTIES[kind] if p.type is FieldType.NUMBER]
        # Amounts most of all: they come last.
        name = self.pick(names) if self.one_in(2) else names[-1]
        return Aggregate(self.pick(functions), self.events(kind), name)

    def events(self, kind: EventKind | None = None) -> Events:
        """A selection: half of them with a filter, of one condition more often than of several."""
        chosen = self.pick(tuple(EventKind)) if kind is None else kind
        where = None
        if self.one_in(2):
            where = self.filters[chosen].expression(self.pick((1, 1, 2, 4)))
        return Events(chosen, where, self._window_of_events())

    def _window_of_events(self) -> Window:
        if self.one_in(3):
            return self.window(days_only=False)
        return self.pick(_TELLING_WINDOWS)


def random_event_expression(
    rng: random.Random, schema: Schema, pools: Pools | None = None, *, max_leaves: int = 6
) -> Expression:
    """A well-typed expression over fields and events, of at most `max_leaves` leaves. `pools` are those of the instant
    that it will be asked at."""
    generator = EventGenerator(SeededChooser(rng), schema, pools or pools_for())
    return generator.expression(rng.randint(1, max_leaves))
