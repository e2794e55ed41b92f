"""Building expressions from Python: `field("score") >= 10`, `tags().has("vip")`, `on_channel("email").reachable()`,
`orders().where(field("amount") > 300).count() >= 2`,
`band("spend") == "100-500"`. Imports the nodes, and values and windows of the model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

from segidx.model.errors import InvalidExpression
from segidx.model.expression.event_nodes import EventHas, HasValue, Overdue, Sequence, Step, TimeInWindow
from segidx.model.expression.nodes import (
    Aggregate,
    AggregateFunction,
    Anniversary,
    BandIs,
    Became,
    Between,
    ChannelState,
    Comparison,
    Crossed,
    DaysSinceEvent,
    Did,
    Events,
    Expression,
    HasTags,
    In,
    InWindow,
    IsSet,
    Never,
    Not,
    OnChannel,
    Only,
    Operator,
    Tagged,
    TagMode,
    TextMatch,
    TextOperator,
    channel_named,
)
from segidx.model.values import (
    Age,
    Arithmetic,
    ArithmeticOperator,
    Constant,
    DaysSince,
    FieldValue,
    Negative,
    Value,
)
from segidx.model.windows import AllTime, Window
from segidx.model.writes import Channel


def _value(value: object) -> Value:
    if isinstance(value, _Operand):
        return value.value
    return value if isinstance(value, Value) else Constant(value)  # type: ignore[arg-type]


class _Operand:
    """What builders of values have in common. Comparison operators give expressions, so two builders are never compared
    with each other."""

    __slots__ = ("value",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: Value) -> None:
        self.value = value

    def _compare(self, operator: Operator, other: object) -> Comparison:
        return Comparison(self.value, operator, _value(other))

    def __eq__(self, other: object) -> Comparison:  # type: ignore[override]
        return self._compare(Operator.EQ, other)

    def __ne__(self, other: object) -> Comparison:  # type: ignore[override]
        return self._compare(Operator.NE, other)

    def __lt__(self, other: object) -> Comparison:
        return self._compare(Operator.LT, other)

    def __le__(self, other: object) -> Comparison:
        return self._compare(Operator.LE, other)

    def __gt__(self, other: object) -> Comparison:
        return self._compare(Operator.GT, other)

    def __ge__(self, other: object) -> Comparison:
        return self._compare(Operator.GE, other)

    def _arithmetic(self, operator: ArithmeticOperator, other: object) -> ValueBuilder:
        return ValueBuilder(Arithmetic(operator, self.value, _value(other)))

    def __add__(self, other: object) -> ValueBuilder:
        return self._arithmetic(ArithmeticOperator.ADD, other)

    def __sub__(self, other: object) -> ValueBuilder:
        return self._arithmetic(ArithmeticOperator.SUBTRACT, other)

    def __mul__(self, other: object) -> ValueBuilder:
        return self._arithmetic(ArithmeticOperator.MULTIPLY, other)

    def __truediv__(self, other: object) -> ValueBuilder:
        return self._arithmetic(ArithmeticOperator.DIVIDE, other)

    def _reflected(self, operator: ArithmeticOperator, other: object) -> ValueBuilder:
        return ValueBuilder(Arithmetic(operator, _value(other), self.value))

    def __radd__(self, other: object) -> ValueBuilder:
        return self._reflected(ArithmeticOperator.ADD, other)

    def __rsub__(self, other: object) -> ValueBuilder:
        return self._reflected(ArithmeticOperator.SUBTRACT, other)

    def __rmul__(self, other: object) -> ValueBuilder:
        return self._reflected(ArithmeticOperator.MULTIPLY, other)

    def __rtruediv__(self, other: object) -> ValueBuilder:
        return self._reflected(ArithmeticOperator.DIVIDE, other)

    def __neg__(self) -> ValueBuilder:
        return ValueBuilder(Negative(self.value))

    def between(self, low: object, high: object) -> Between:
        return Between(self.value, _value(low), _value(high))

    def isin(self, options: Iterable[object], *, ci: bool = False) -> In:
        return In(self.value, tuple(options), ci)  # type: ignore[arg-type]

    def equals(self, other: str, *, ci: bool = False) -> Comparison:
        return Comparison(self.value, Operator.EQ, Constant(other), ci)

    def before(self, when: date) -> Comparison:
        return self < when

    def after(self, when: date) -> Comparison:
        return self > when


# Siblings, since Python would ask the right side first where its class is derived from that of the left, and turn the
# comparison round.


class ValueBuilder(_Operand):
    """A value to be compared or calculated with: arithmetic, an age, a count or sum of events."""

    __slots__ = ()

    def is_set(self) -> HasValue:
        """It is not missing. Of what events come to only; raises InvalidExpression."""
        return HasValue(self.value)  # type: ignore[arg-type]  # it refuses any other value

    def in_window(self, window: Window) -> TimeInWindow:
        """It lies in the window. Of the time of an event, or of the next, only; raises InvalidExpression."""
        return TimeInWindow(self.value, window)  # type: ignore[arg-type]  # it refuses any other value


class FieldBuilder(_Operand):
    """`field("score")`: builds predicates on one field."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        super().__init__(FieldValue(name))
        self.name = name

    def is_set(self) -> IsSet:
        return IsSet(self.name)

    def contains(self, text: str, *, ci: bool = False) -> TextMatch:
        return TextMatch(self.name, TextOperator.CONTAINS, text, ci)

    def starts_with(self, text: str, *, ci: bool = False) -> TextMatch:
        return TextMatch(self.name, TextOperator.STARTS_WITH, text, ci)

    def ends_with(self, text: str, *, ci: bool = False) -> TextMatch:
        return TextMatch(self.name, TextOperator.ENDS_WITH, text, ci)

    def matches(self, pattern: str, *, ci: bool = False) -> TextMatch:
        return TextMatch(self.name, TextOperator.MATCHES, pattern, ci)

    def like(self, pattern: str, *, ci: bool = False) -> TextMatch:
        return TextMatch(self.name, TextOperator.LIKE, pattern, ci)

    def in_window(self, window: Window) -> InWindow:
        return InWindow(self.name, window)

    def anniversary(self, window: Window) -> Anniversary:
        return Anniversary(self.name, window)

    def age(self) -> ValueBuilder:
        return ValueBuilder(Age(self.name))

    def days_since(self) -> ValueBuilder:
        return ValueBuilder(DaysSince(self.name))

    def has(self, *tags: str, ci: bool = False) -> HasTags:
        return HasTags(self.name, TagMode.ANY, tags, ci)

    def has_all(self, *tags: str, ci: bool = False) -> HasTags:
        return HasTags(self.name, TagMode.ALL, tags, ci)

    def has_none(self, *tags: str, ci: bool = False) -> HasTags:
        return HasTags(self.name, TagMode.NONE, tags, ci)

    def became(self, value: str | bool, window: Window | None = None) -> Became:
        """Of a tracked field: it got the value in the window, by default at any time."""
        return Became(self.name, value, window or AllTime())

    def tagged(self, tag: str, window: Window | None = None) -> Tagged:
        """Of a tracked tags field: the tag is held, and was added in the window, by default at any time."""
        return Tagged(self.name, tag, window or AllTime())


def field(name: str) -> FieldBuilder:
    """The builder of predicates on a field: `field("country") == "PL"`."""
    return FieldBuilder(name)


def tags(name: str = "tags") -> FieldBuilder:
    """The builder for a tags field: `tags().has("vip")`."""
    return FieldBuilder(name)


class ChannelBuilder:
    """`on_channel("email")`: builds predicates on one channel."""

    __slots__ = ("channel",)

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def consented(self) -> OnChannel:
        return OnChannel(self.channel, ChannelState.CONSENTED)

    def unsubscribed(self) -> OnChannel:
        return OnChannel(self.channel, ChannelState.UNSUBSCRIBED)

    def hard_bounced(self) -> OnChannel:
        return OnChannel(self.channel, ChannelState.HARD_BOUNCED)

    def complained(self) -> OnChannel:
        return OnChannel(self.channel, ChannelState.COMPLAINED)

    def suppressed(self) -> OnChannel:
        return OnChannel(self.channel, ChannelState.SUPPRESSED)

    def reachable(self) -> OnChannel:
        return OnChannel(self.channel, ChannelState.REACHABLE)


def on_channel(channel: Channel | str) -> ChannelBuilder:
    """The builder of predicates on a channel, by its name too. Raises InvalidExpression for another name."""
    return ChannelBuilder(channel if isinstance(channel, Channel) else channel_named(channel))


class BandBuilder:
    """`band("spend")`: builds predicates on the account's bands of that name."""

    __slots__ = ("name",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, label: object) -> BandIs:  # type: ignore[override]
        return BandIs(self.name, (label,))  # type: ignore[arg-type]  # it refuses any other

    def __ne__(self, label: object) -> Not:  # type: ignore[override]
        return Not(self == label)

    def isin(self, labels: Iterable[str]) -> BandIs:
        return BandIs(self.name, labels if isinstance(labels, str) else tuple(labels))  # type: ignore[arg-type]

    def crossed(self, threshold: Decimal | int, window: Window | None = None) -> Crossed:
        """The number rose over the threshold at some time in the window, by default at any time."""
        return Crossed(self.name, threshold, window or AllTime())  # type: ignore[arg-type]  # an int becomes a Decimal


def band(name: str) -> BandBuilder:
    """The builder of predicates on bands: `band("spend") == "100-500"`, `band("spend").crossed(500)`."""
    return BandBuilder(name)


class EventBuilder:
    """`orders().first()`: one event of each contact."""

    __slots__ = ("event",)

    def __init__(self, event: Aggregate) -> None:
        self.event = event

    def has(self, condition: Expression) -> EventHas:
        """It passes the condition; a `field` in it is a property of the event."""
        return EventHas(self.event, condition)


class EventsBuilder:
    """`orders()`, `lines()`, `events("visit")`: selects events of one type, for conditions and values made of them."""

    __slots__ = ("events",)

    def __init__(self, events: Events) -> None:
        self.events = events

    def where(self, condition: Expression) -> EventsBuilder:
        """Those that pass the condition too; a `field` in it is a property of the event."""
        held = self.events.where
        return EventsBuilder(replace(self.events, where=condition if held is None else held & condition))

    def during(self, window: Window) -> EventsBuilder:
        """Those of the window, in place of any window said before."""
        return EventsBuilder(replace(self.events, window=window))

    def count(self) -> ValueBuilder:
        return ValueBuilder(Aggregate(AggregateFunction.COUNT, self.events))

    def sum(self, property: str) -> ValueBuilder:
        return ValueBuilder(Aggregate(AggregateFunction.SUM, self.events, property))

    def average(self, property: str) -> ValueBuilder:
        return ValueBuilder(Aggregate(AggregateFunction.AVERAGE, self.events, property))

    def min(self, property: str) -> ValueBuilder:
        return ValueBuilder(Aggregate(AggregateFunction.MIN, self.events, property))

    def max(self, property: str) -> ValueBuilder:
        return ValueBuilder(Aggregate(AggregateFunction.MAX, self.events, property))

    def distinct(self, property: str) -> ValueBuilder:
        """How many different values of the property they have."""
        return ValueBuilder(Aggregate(AggregateFunction.DISTINCT, self.events, property))

    def distinct_days(self) -> ValueBuilder:
        """On how many different local calendar days they were."""
        return ValueBuilder(Aggregate(AggregateFunction.DISTINCT_DAYS, self.events))

    def favourite(self, property: str, by: str | None = None) -> ValueBuilder:
        """The value of the property that most of them have; with `by`, the one with the greatest sum of that."""
        return ValueBuilder(Aggregate(AggregateFunction.FAVOURITE, self.events, property, by))

    def first(self) -> EventBuilder:
        """The earliest of them, to ask what it is like."""
        return EventBuilder(Aggregate(AggregateFunction.FIRST, self.events))

    def last(self) -> EventBuilder:
        """The latest of them, to ask what it is like."""
        return EventBuilder(Aggregate(AggregateFunction.LAST, self.events))

    def first_time(self) -> ValueBuilder:
        return ValueBuilder(Aggregate(AggregateFunction.FIRST, self.events))

    def last_time(self) -> ValueBuilder:
        return ValueBuilder(Aggregate(AggregateFunction.LAST, self.events))

    def days_since_first(self) -> ValueBuilder:
        return ValueBuilder(DaysSinceEvent(Aggregate(AggregateFunction.FIRST, self.events)))

    def days_since_last(self) -> ValueBuilder:
        return ValueBuilder(DaysSinceEvent(Aggregate(AggregateFunction.LAST, self.events)))

    def mean_gap(self) -> ValueBuilder:
        """The mean time between one of them and the next, in days of 24 hours."""
        return ValueBuilder(Aggregate(AggregateFunction.MEAN_GAP, self.events))

    def gap_deviation(self) -> ValueBuilder:
        """The population standard deviation of these times, in days."""
        return ValueBuilder(Aggregate(AggregateFunction.GAP_DEVIATION, self.events))

    def expected_time(self) -> ValueBuilder:
        """When the next is expected: the time of the last and the mean gap."""
        return ValueBuilder(Aggregate(AggregateFunction.EXPECTED, self.events))

    def overdue(self) -> Overdue:
        """The next was expected before now."""
        return Overdue(self.events)

    def only(self, that: Expression | None = None) -> Only:
        """At least one of these events passes `that`, and none does not."""
        return Only(self.events, that)

    def did(self) -> Did:
        return Did(self.events)

    def never(self) -> Never:
        return Never(self.events)


def events(type: str) -> EventsBuilder:
    """The builder on events of a type: `events("visit").where(field("dwell") >= 60).count() >= 3`."""
    return EventsBuilder(Events(type))


def orders() -> EventsBuilder:
    """The builder on orders: `orders().where(field("paid") == True).count() >= 3`."""
    return EventsBuilder(Events("order"))


def lines() -> EventsBuilder:
    """The builder on lines of orders: `lines().where(field("producer") == "69").sum("amount") > 300`."""
    return EventsBuilder(Events("line"))


def then(events: EventsBuilder, *, within: timedelta | None = None) -> Step:
    """A step of a sequence: one of these events, no longer than `within` after that of the step before. Raises
    InvalidExpression for a time that is not in whole seconds."""
    return Step(events.events, _millis(within))


def then_no(events: EventsBuilder, *, within: timedelta) -> Step:
    """The last step of a sequence: none of these events for so long after that of the step before. Raises
    InvalidExpression likewise."""
    return Step(events.events, _millis(within), absent=True)


def sequence(*steps: EventsBuilder | Step, during: Window | None = None) -> Sequence:
    """Events one after another: `sequence(events("visit"), then(orders(), within=timedelta(days=7)))`, and
    `sequence(events("cart"), then_no(orders(), within=timedelta(days=1)))`. Raises InvalidExpression for fewer than 2
    steps or more than 16, and for steps with a window: `during` is that of all."""
    given = (then(each) if isinstance(each, EventsBuilder) else each for each in steps)
    return Sequence(tuple(given), AllTime() if during is None else during)


def _millis(length: timedelta | None) -> int | None:
    if length is None:
        return None
    if length % timedelta(seconds=1):
        raise InvalidExpression(f"'within' of a step is in whole seconds, not {length}")
    return length // timedelta(milliseconds=1)
