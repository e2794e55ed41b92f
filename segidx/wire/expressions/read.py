"""Expressions of the protocol, made into the model's. Imports only v1 and the model.

What an editor has not filled in becomes `Unfinished`; what is wrong raises a typed error with the node's path, the
same path that evaluation reports. Trees beyond the limits are refused before they cost memory or stack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from segidx.model.errors import InvalidExpression, SegidxError
from segidx.model.expression import (
    MAX_DEPTH,
    MAX_NODES,
    Aggregate,
    And,
    Anniversary,
    AtLeast,
    BandIs,
    Became,
    Between,
    Comparison,
    Crossed,
    DaysSinceEvent,
    Did,
    EventHas,
    Events,
    Everyone,
    Expression,
    HasTags,
    HasValue,
    In,
    InWindow,
    IsSet,
    Never,
    Nobody,
    Not,
    OnChannel,
    Only,
    Or,
    Overdue,
    Tagged,
    TextMatch,
    TimeInWindow,
    Unfinished,
)
from segidx.model.values import Age, Arithmetic, Constant, DaysSince, FieldValue, Negative, Scalar, Value
from segidx.model.windows import AllTime, Window
from segidx.v1 import expressions_pb2 as pb
from segidx.v1 import values_pb2
from segidx.wire.events import ReadFilter, read_aggregate, read_events, read_sequence
from segidx.wire.expressions.enums import ARITHMETIC_OPERATORS, CHANNEL_STATES, OPERATORS, TAG_MODES, TEXT_OPERATORS
from segidx.wire.expressions.limits import too_deep, too_large
from segidx.wire.values import CHANNELS, read_scalar
from segidx.wire.windows import Missing, read_enum, read_window


def read_expression(message: pb.Expression) -> Expression:
    """The expression of a message, unfinished nodes included.

    Raises InvalidExpression, InvalidValue, ExpressionTooDeep or ExpressionTooLarge, with the path of the node. The
    limits here only bound the work; evaluation checks them, and empty operand lists, once more.
    """
    return _Reader().expression(message, "expression", 1)


def read_member(message: pb.Events) -> Events:
    """A selection of events that is in no expression: as in `did`, with the paths and limits that it has there. Raises
    Missing where its type or its window is unfinished, and what `read_expression` raises."""
    reader = _Reader()
    reader.spend(1, "expression")
    try:
        return read_events(message, reader.filter("expression.did.events", 1))
    except SegidxError as error:
        raise error.at("expression.did") from None


def read_value(message: pb.Aggregate) -> Aggregate:
    """What events come to, in no expression: as on the left of a comparison, with the paths and limits that it has
    there. Raises as `read_member`."""
    reader = _Reader()
    reader.spend(2, "expression")
    try:
        return read_aggregate(message, reader.filter("expression.comparison.left.aggregate.events", 1))
    except SegidxError as error:
        raise error.at("expression.comparison") from None


class _Reader:
    """One reading; counts nodes so that a hostile message is left early."""

    __slots__ = ("nodes",)

    def __init__(self) -> None:
        self.nodes = 0

    def expression(self, message: pb.Expression, path: str, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise too_deep(path)
        self.spend(1, path)
        kind = message.WhichOneof("kind")
        if kind == "conjunction":
            return And(self.operands(message.conjunction, f"{path}.conjunction", depth))
        if kind == "disjunction":
            return Or(self.operands(message.disjunction, f"{path}.disjunction", depth))
        if kind == "negation":
            return Not(self.expression(message.negation, f"{path}.negation", depth + 1))
        if kind == "at_least":
            at_least = message.at_least
            if not at_least.HasField("count"):
                return Unfinished()
            operands = self.operands(at_least, f"{path}.at_least", depth)
            try:
                return AtLeast(at_least.count, operands)
            except SegidxError as error:
                raise error.at(f"{path}.at_least") from None
        if kind is None:
            _refuse_unknown(message, path)
            return Unfinished()
        try:
            return _PREDICATES[kind](self, getattr(message, kind), path, depth)
        except Missing:
            return Unfinished()
        except SegidxError as error:
            raise error.at(f"{path}.{kind}") from None

    def spend(self, nodes: int, path: str) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise too_large(path)

    def operands(
        self, message: pb.Conjunction | pb.Disjunction | pb.AtLeast, path: str, depth: int
    ) -> tuple[Expression, ...]:
        return tuple(
            [self.expression(child, f"{path}.operands[{i}]", depth + 1) for i, child in enumerate(message.operands)]
        )

    def filter(self, path: str, depth: int) -> ReadFilter:
        """What reads the filter of the events at `path`, one level below `depth`."""
        return lambda where: self.expression(where, f"{path}.where", depth + 1)

    def value(self, message: pb.Value, path: str, place: str, depth: int) -> Value:
        """The value at `place` in the expression at `path`."""
        if depth > MAX_DEPTH:
            raise too_deep(path)
        kind = message.WhichOneof("kind")
        if kind == "field":
            return FieldValue(_name(message.field))
        if kind == "constant":
            return Constant(_constant(message.constant))
        if kind == "age":
            return Age(_name(message.age))
        if kind == "days_since":
            return DaysSince(_name(message.days_since))
        if kind == "arithmetic":
            self.spend(1, path)
            arithmetic = message.arithmetic
            return Arithmetic(
                read_enum(arithmetic.operator, ARITHMETIC_OPERATORS),
                self.value(arithmetic.left, path, f"{place}.arithmetic.left", depth + 1),
                self.value(arithmetic.right, path, f"{place}.arithmetic.right", depth + 1),
            )
        if kind == "negative":
            self.spend(1, path)
            return Negative(self.value(message.negative, path, f"{place}.negative", depth + 1))
        if kind == "aggregate":
            self.spend(1, path)
            return read_aggregate(message.aggregate, self.filter(f"{path}.{place}.aggregate.events", depth))
        if kind == "days_since_event":
            self.spend(1, path)
            event = self.value(message.days_since_event, path, f"{place}.days_since_event", depth + 1)
            return DaysSinceEvent(event)  # type: ignore[arg-type]  # it refuses any other value
        _refuse_unknown(message, path)
        raise Missing

    # Each of these makes one kind of leaf; `path` is the expression's, without the leaf's own name.

    def everyone(self, message: pb.Everyone, path: str, depth: int) -> Expression:
        return Everyone()

    def nobody(self, message: pb.Nobody, path: str, depth: int) -> Expression:
        return Nobody()

    def unfinished(self, message: pb.Unfinished, path: str, depth: int) -> Expression:
        return Unfinished()

    def has_tags(self, message: pb.HasTags, path: str, depth: int) -> Expression:
        self.spend(max(0, len(message.tags) - 1), path)
        return HasTags(
            _name(message.field), read_enum(message.mode, TAG_MODES), tuple(message.tags), message.ignore_case
        )

    def is_set(self, message: pb.IsSet, path: str, depth: int) -> Expression:
        return IsSet(_name(message.field))

    def comparison(self, message: pb.Comparison, path: str, depth: int) -> Expression:
        return Comparison(
            self.value(message.left, path, "comparison.left", depth),
            read_enum(message.operator, OPERATORS),
            self.value(message.right, path, "comparison.right", depth),
            message.ignore_case,
        )

    def between(self, message: pb.Between, path: str, depth: int) -> Expression:
        return Between(
            self.value(message.value, path, "between.value", depth),
            self.value(message.low, path, "between.low", depth),
            self.value(message.high, path, "between.high", depth),
        )

    def is_in(self, message: pb.In, path: str, depth: int) -> Expression:
        self.spend(max(0, len(message.options) - 1), path)
        return In(
            self.value(message.value, path, "in.value", depth),
            tuple([_constant(option) for option in message.options]),
            message.ignore_case,
        )

    def text_match(self, message: pb.TextMatch, path: str, depth: int) -> Expression:
        if not message.HasField("pattern"):
            raise Missing
        return TextMatch(
            _name(message.field), read_enum(message.operator, TEXT_OPERATORS), message.pattern, message.ignore_case
        )

    def in_window(self, message: pb.InWindow, path: str, depth: int) -> Expression:
        return InWindow(_name(message.field), read_window(message.window))

    def anniversary(self, message: pb.Anniversary, path: str, depth: int) -> Expression:
        return Anniversary(_name(message.field), read_window(message.window))

    def on_channel(self, message: pb.OnChannel, path: str, depth: int) -> Expression:
        return OnChannel(read_enum(message.channel, CHANNELS), read_enum(message.state, CHANNEL_STATES))

    def became(self, message: pb.Became, path: str, depth: int) -> Expression:
        value = _constant(message.value)
        return Became(_name(message.field), value, _window(message))  # type: ignore[arg-type]  # it refuses others

    def tagged(self, message: pb.Tagged, path: str, depth: int) -> Expression:
        if not message.HasField("tag"):
            raise Missing
        return Tagged(_name(message.field), message.tag, _window(message))

    def band_is(self, message: pb.BandIs, path: str, depth: int) -> Expression:
        self.spend(max(0, len(message.labels) - 1), path)
        return BandIs(_name(message.name), tuple(message.labels))

    def crossed(self, message: pb.Crossed, path: str, depth: int) -> Expression:
        threshold = _constant(message.threshold)
        return Crossed(_name(message.name), threshold, _window(message))  # type: ignore[arg-type]  # it refuses others

    def did(self, message: pb.Did, path: str, depth: int) -> Expression:
        return Did(read_events(message.events, self.filter(f"{path}.did.events", depth)))

    def never(self, message: pb.Never, path: str, depth: int) -> Expression:
        return Never(read_events(message.events, self.filter(f"{path}.never.events", depth)))

    def only(self, message: pb.Only, path: str, depth: int) -> Expression:
        events = read_events(message.events, self.filter(f"{path}.only.events", depth))
        if not message.HasField("that"):
            return Only(events)
        return Only(events, self.expression(message.that, f"{path}.only.that", depth + 1))

    def event_has(self, message: pb.EventHas, path: str, depth: int) -> Expression:
        if not message.HasField("that"):
            raise Missing
        event = read_aggregate(message.event, self.filter(f"{path}.event_has.event.events", depth))
        return EventHas(event, self.expression(message.that, f"{path}.event_has.that", depth + 1))

    def has_value(self, message: pb.HasValue, path: str, depth: int) -> Expression:
        value = self.value(message.value, path, "has_value.value", depth)
        return HasValue(value)  # type: ignore[arg-type]  # it refuses any other value

    def time_in_window(self, message: pb.TimeInWindow, path: str, depth: int) -> Expression:
        value = self.value(message.value, path, "time_in_window.value", depth)
        return TimeInWindow(value, read_window(message.window))  # type: ignore[arg-type]  # it refuses any other value

    def overdue(self, message: pb.Overdue, path: str, depth: int) -> Expression:
        return Overdue(read_events(message.events, self.filter(f"{path}.overdue.events", depth)))

    def sequence(self, message: pb.Sequence, path: str, depth: int) -> Expression:
        return read_sequence(message, lambda place: self.filter(f"{path}.sequence.{place}", depth))


_PREDICATES: Final[dict[str, Callable[..., Expression]]] = {
    "everyone": _Reader.everyone,
    "nobody": _Reader.nobody,
    "unfinished": _Reader.unfinished,
    "has_tags": _Reader.has_tags,
    "is_set": _Reader.is_set,
    "comparison": _Reader.comparison,
    "between": _Reader.between,
    "in": _Reader.is_in,
    "text_match": _Reader.text_match,
    "in_window": _Reader.in_window,
    "anniversary": _Reader.anniversary,
    "on_channel": _Reader.on_channel,
    "became": _Reader.became,
    "tagged": _Reader.tagged,
    "band_is": _Reader.band_is,
    "crossed": _Reader.crossed,
    "did": _Reader.did,
    "never": _Reader.never,
    "only": _Reader.only,
    "event_has": _Reader.event_has,
    "has_value": _Reader.has_value,
    "time_in_window": _Reader.time_in_window,
    "overdue": _Reader.overdue,
    "sequence": _Reader.sequence,
}


def _name(name: str) -> str:
    if not name:
        raise Missing
    return name


def _window(message: pb.Became | pb.Tagged | pb.Crossed) -> Window:
    return read_window(message.window) if message.HasField("window") else AllTime()


def _constant(message: values_pb2.Scalar) -> Scalar:
    value = read_scalar(message)
    if value is None:
        _refuse_unknown(message, "")
        raise Missing
    return value


def _refuse_unknown(message: Message, path: str) -> None:
    """A kind that a newer client knows and this release does not looks unset; skipping it would miscount."""
    if len(UnknownFieldSet(message)):
        raise InvalidExpression(
            "the condition is of a kind this release does not know; the client is newer than the server", path=path
        )
