"""Building expressions from Python: `field("score") >= 10`, `tags().has("vip")`, `on_channel("email").reachable()`.
Imports the nodes only."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from segidx.model.expression.nodes import (
    Anniversary,
    Between,
    ChannelState,
    Comparison,
    HasTags,
    In,
    InWindow,
    IsSet,
    OnChannel,
    Operator,
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
from segidx.model.windows import Window
from segidx.model.writes import Channel


def _value(value: object) -> Value:
    return value if isinstance(value, Value) else Constant(value)  # type: ignore[arg-type]


class FieldBuilder:
    """`field("score")`: builds predicates on one field. Comparison operators give expressions, so two builders
    are never compared with each other."""

    __slots__ = ("name", "value")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str, value: Value | None = None) -> None:
        self.name = name
        self.value = FieldValue(name) if value is None else value

    def _compare(self, operator: Operator, other: object) -> Comparison:
        return Comparison(self.value, operator, other.value if isinstance(other, FieldBuilder) else _value(other))

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

    def _arithmetic(self, operator: ArithmeticOperator, other: object) -> FieldBuilder:
        right = other.value if isinstance(other, FieldBuilder) else _value(other)
        return FieldBuilder(self.name, Arithmetic(operator, self.value, right))

    def __add__(self, other: object) -> FieldBuilder:
        return self._arithmetic(ArithmeticOperator.ADD, other)

    def __sub__(self, other: object) -> FieldBuilder:
        return self._arithmetic(ArithmeticOperator.SUBTRACT, other)

    def __mul__(self, other: object) -> FieldBuilder:
        return self._arithmetic(ArithmeticOperator.MULTIPLY, other)

    def __truediv__(self, other: object) -> FieldBuilder:
        return self._arithmetic(ArithmeticOperator.DIVIDE, other)

    def _reflected(self, operator: ArithmeticOperator, other: object) -> FieldBuilder:
        return FieldBuilder(self.name, Arithmetic(operator, _value(other), self.value))

    def __radd__(self, other: object) -> FieldBuilder:
        return self._reflected(ArithmeticOperator.ADD, other)

    def __rsub__(self, other: object) -> FieldBuilder:
        return self._reflected(ArithmeticOperator.SUBTRACT, other)

    def __rmul__(self, other: object) -> FieldBuilder:
        return self._reflected(ArithmeticOperator.MULTIPLY, other)

    def __rtruediv__(self, other: object) -> FieldBuilder:
        return self._reflected(ArithmeticOperator.DIVIDE, other)

    def __neg__(self) -> FieldBuilder:
        return FieldBuilder(self.name, Negative(self.value))

    def between(self, low: object, high: object) -> Between:
        return Between(self.value, _value(low), _value(high))

    def isin(self, options: Iterable[object], *, ci: bool = False) -> In:
        return In(self.value, tuple(options), ci)  # type: ignore[arg-type]

    def equals(self, other: str, *, ci: bool = False) -> Comparison:
        return Comparison(self.value, Operator.EQ, Constant(other), ci)

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

    def in_window(self, window: Window) -> InWindow:
        return InWindow(self.name, window)

    def before(self, when: date) -> Comparison:
        return self < when

    def after(self, when: date) -> Comparison:
        return self > when

    def anniversary(self, window: Window) -> Anniversary:
        return Anniversary(self.name, window)

    def age(self) -> FieldBuilder:
        return FieldBuilder(self.name, Age(self.name))

    def days_since(self) -> FieldBuilder:
        return FieldBuilder(self.name, DaysSince(self.name))

    def has(self, *tags: str, ci: bool = False) -> HasTags:
        return HasTags(self.name, TagMode.ANY, tags, ci)

    def has_all(self, *tags: str, ci: bool = False) -> HasTags:
        return HasTags(self.name, TagMode.ALL, tags, ci)

    def has_none(self, *tags: str, ci: bool = False) -> HasTags:
        return HasTags(self.name, TagMode.NONE, tags, ci)


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
