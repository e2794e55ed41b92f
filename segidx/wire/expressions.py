"""Expressions of the protocol to and from the model. Imports only v1 and the model.

What an editor has not filled in becomes `Unfinished`; what is wrong raises a typed error with the node's path, the
same path that evaluation reports. Both ways refuse trees beyond the limits before they cost memory or stack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from segidx.model.errors import ExpressionTooDeep, ExpressionTooLarge, InvalidExpression, SegidxError
from segidx.model.expression import (
    MAX_DEPTH,
    MAX_NODES,
    NODE_NAMES,
    Aggregate,
    And,
    Anniversary,
    AtLeast,
    BandIs,
    Became,
    Between,
    ChannelState,
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
    Operator,
    Or,
    Overdue,
    Sequence,
    Tagged,
    TagMode,
    TextMatch,
    TextOperator,
    TimeInWindow,
    Unfinished,
)
from segidx.model.values import (
    Age,
    Arithmetic,
    ArithmeticOperator,
    Constant,
    DaysSince,
    FieldValue,
    Negative,
    Scalar,
    Value,
)
from segidx.model.windows import AllTime, Window
from segidx.v1 import expressions_pb2 as pb
from segidx.v1 import values_pb2
from segidx.wire.events import (
    ReadFilter,
    WriteFilter,
    read_aggregate,
    read_events,
    read_sequence,
    write_aggregate,
    write_events,
    write_sequence,
)
from segidx.wire.values import CHANNEL_NUMBERS, CHANNELS, read_scalar, write_scalar
from segidx.wire.windows import Missing, read_enum, read_window, write_window

OPERATORS: Final[dict[int, Operator]] = {
    pb.COMPARISON_OPERATOR_EQUAL: Operator.EQ,
    pb.COMPARISON_OPERATOR_NOT_EQUAL: Operator.NE,
    pb.COMPARISON_OPERATOR_LESS: Operator.LT,
    pb.COMPARISON_OPERATOR_LESS_OR_EQUAL: Operator.LE,
    pb.COMPARISON_OPERATOR_GREATER: Operator.GT,
    pb.COMPARISON_OPERATOR_GREATER_OR_EQUAL: Operator.GE,
}
TAG_MODES: Final[dict[int, TagMode]] = {
    pb.TAG_MODE_ANY: TagMode.ANY,
    pb.TAG_MODE_ALL: TagMode.ALL,
    pb.TAG_MODE_NONE: TagMode.NONE,
}
TEXT_OPERATORS: Final[dict[int, TextOperator]] = {
    pb.TEXT_OPERATOR_CONTAINS: TextOperator.CONTAINS,
    pb.TEXT_OPERATOR_STARTS_WITH: TextOperator.STARTS_WITH,
    pb.TEXT_OPERATOR_ENDS_WITH: TextOperator.ENDS_WITH,
    pb.TEXT_OPERATOR_MATCHES: TextOperator.MATCHES,
    pb.TEXT_OPERATOR_LIKE: TextOperator.LIKE,
}
CHANNEL_STATES: Final[dict[int, ChannelState]] = {
    pb.CHANNEL_STATE_CONSENTED: ChannelState.CONSENTED,
    pb.CHANNEL_STATE_UNSUBSCRIBED: ChannelState.UNSUBSCRIBED,
    pb.CHANNEL_STATE_HARD_BOUNCED: ChannelState.HARD_BOUNCED,
    pb.CHANNEL_STATE_COMPLAINED: ChannelState.COMPLAINED,
    pb.CHANNEL_STATE_SUPPRESSED: ChannelState.SUPPRESSED,
    pb.CHANNEL_STATE_REACHABLE: ChannelState.REACHABLE,
}
ARITHMETIC_OPERATORS: Final[dict[int, ArithmeticOperator]] = {
    pb.ARITHMETIC_OPERATOR_ADD: ArithmeticOperator.ADD,
    pb.ARITHMETIC_OPERATOR_SUBTRACT: ArithmeticOperator.SUBTRACT,
    pb.ARITHMETIC_OPERATOR_MULTIPLY: ArithmeticOperator.MULTIPLY,
    pb.ARITHMETIC_OPERATOR_DIVIDE: ArithmeticOperator.DIVIDE,
}
_OPERATOR_NUMBERS = {v: pb.ComparisonOperator.ValueType(k) for k, v in OPERATORS.items()}
_TAG_MODE_NUMBERS = {v: pb.TagMode.ValueType(k) for k, v in TAG_MODES.items()}
_TEXT_OPERATOR_NUMBERS = {v: pb.TextOperator.ValueType(k) for k, v in TEXT_OPERATORS.items()}
_CHANNEL_STATE_NUMBERS = {v: pb.ChannelState.ValueType(k) for k, v in CHANNEL_STATES.items()}
_ARITHMETIC_NUMBERS = {v: pb.ArithmeticOperator.ValueType(k) for k, v in ARITHMETIC_OPERATORS.items()}


def too_deep(path: str) -> ExpressionTooDeep:
    """The error of a node below the deepest level allowed."""
    return ExpressionTooDeep(
        f"the expression is deeper than {MAX_DEPTH}; group or shorten it", path=path, limit=MAX_DEPTH
    )


def too_large(path: str) -> ExpressionTooLarge:
    """The error of a tree with more nodes than are allowed."""
    return ExpressionTooLarge(
        f"the expression has more than {MAX_NODES} nodes; put the values in a tag or a field instead",
        path=path,
        limit=MAX_NODES,
    )


# --- from the protocol -------------------------------------------------------------------------------------


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


# --- to the protocol ---------------------------------------------------------------------------------------


def write_expression(expression: Expression, message: pb.Expression) -> None:
    """Fills `message` with the expression. Raises ExpressionTooDeep and ExpressionTooLarge as evaluation would."""
    _Writer().expression(expression, message, "expression", 1)


def write_member(events: Events, message: pb.Events) -> None:
    """Fills `message` with a selection that is in no expression; as `write_expression`."""
    writer = _Writer()
    writer.spend(1, "expression")
    write_events(events, message, writer.filter("expression.did.events", 1))


def write_value(value: Aggregate, message: pb.Aggregate) -> None:
    """Fills `message` with what events come to, in no expression; as `write_expression`."""
    writer = _Writer()
    writer.spend(2, "expression")
    write_aggregate(value, message, writer.filter("expression.comparison.left.aggregate.events", 1))


class _Writer:
    __slots__ = ("nodes",)

    def __init__(self) -> None:
        self.nodes = 0

    def expression(self, node: Expression, message: pb.Expression, path: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise too_deep(path)
        self.spend(1, path)
        name = NODE_NAMES.get(type(node))
        if name is None:
            raise InvalidExpression(f"{type(node).__name__} is not an expression that can be sent", path=path)
        part = getattr(message, name)
        # A node without any part set must still say its kind.
        part.SetInParent()
        match node:
            case And() | Or() | AtLeast():
                if isinstance(node, AtLeast):
                    part.count = node.count
                for i, operand in enumerate(node.operands):
                    self.expression(operand, part.operands.add(), f"{path}.{name}.operands[{i}]", depth + 1)
            case Not():
                self.expression(node.operand, part, f"{path}.negation", depth + 1)
            case HasTags():
                self.spend(max(0, len(node.tags) - 1), path)
                part.field, part.mode, part.ignore_case = node.field, _TAG_MODE_NUMBERS[node.mode], node.ci
                part.tags.extend(node.tags)
            case IsSet():
                part.field = node.field
            case Comparison():
                self.value(node.left, part.left, path, "comparison.left", depth)
                part.operator, part.ignore_case = _OPERATOR_NUMBERS[node.operator], node.ci
                self.value(node.right, part.right, path, "comparison.right", depth)
            case Between():
                self.value(node.value, part.value, path, "between.value", depth)
                self.value(node.low, part.low, path, "between.low", depth)
                self.value(node.high, part.high, path, "between.high", depth)
            case In():
                self.spend(max(0, len(node.options) - 1), path)
                self.value(node.value, part.value, path, "in.value", depth)
                for option in node.options:
                    write_scalar(option, part.options.add())
                part.ignore_case = node.ci
            case TextMatch():
                part.field, part.operator = node.field, _TEXT_OPERATOR_NUMBERS[node.operator]
                part.pattern, part.ignore_case = node.pattern, node.ci
            case InWindow() | Anniversary():
                part.field = node.field
                write_window(node.window, part.window)
            case OnChannel():
                part.channel = CHANNEL_NUMBERS[node.channel]
                part.state = _CHANNEL_STATE_NUMBERS[node.state]
            case Became() | Tagged():
                part.field = node.field
                if isinstance(node, Became):
                    write_scalar(node.value, part.value)
                else:
                    part.tag = node.tag
                if not isinstance(node.window, AllTime):
                    write_window(node.window, part.window)
            case BandIs():
                self.spend(max(0, len(node.labels) - 1), path)
                part.name = node.name
                part.labels.extend(node.labels)
            case Crossed():
                part.name = node.name
                write_scalar(node.threshold, part.threshold)
                if not isinstance(node.window, AllTime):
                    write_window(node.window, part.window)
            case Did() | Never() | Overdue():
                write_events(node.events, part.events, self.filter(f"{path}.{name}.events", depth))
            case Only():
                write_events(node.events, part.events, self.filter(f"{path}.only.events", depth))
                if node.that is not None:
                    self.expression(node.that, part.that, f"{path}.only.that", depth + 1)
            case EventHas():
                write_aggregate(node.event, part.event, self.filter(f"{path}.event_has.event.events", depth))
                self.expression(node.that, part.that, f"{path}.event_has.that", depth + 1)
            case HasValue():
                self.value(node.value, part.value, path, "has_value.value", depth)
            case TimeInWindow():
                self.value(node.value, part.value, path, "time_in_window.value", depth)
                write_window(node.window, part.window)
            case Sequence():
                write_sequence(node, part, lambda place: self.filter(f"{path}.sequence.{place}", depth))

    def spend(self, nodes: int, path: str) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise too_large(path)

    def filter(self, path: str, depth: int) -> WriteFilter:
        return lambda where, message: self.expression(where, message, f"{path}.where", depth + 1)

    def value(self, value: Value, message: pb.Value, path: str, place: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise too_deep(path)
        match value:
            case FieldValue():
                message.field = value.field
            case Constant():
                write_scalar(value.value, message.constant)
            case Age():
                message.age = value.field
            case DaysSince():
                message.days_since = value.field
            case Arithmetic():
                self.spend(1, path)
                self.value(value.left, message.arithmetic.left, path, f"{place}.arithmetic.left", depth + 1)
                message.arithmetic.operator = _ARITHMETIC_NUMBERS[value.operator]
                self.value(value.right, message.arithmetic.right, path, f"{place}.arithmetic.right", depth + 1)
            case Negative():
                self.spend(1, path)
                message.negative.SetInParent()
                self.value(value.operand, message.negative, path, f"{place}.negative", depth + 1)
            case Aggregate():
                self.spend(1, path)
                events = f"{path}.{place}.aggregate.events"
                write_aggregate(value, message.aggregate, self.filter(events, depth))
            case DaysSinceEvent():
                self.spend(1, path)
                message.days_since_event.SetInParent()
                self.value(value.event, message.days_since_event, path, f"{place}.days_since_event", depth + 1)
            case _:
                raise InvalidExpression(f"{type(value).__name__} is not a value that can be sent", path=path)
