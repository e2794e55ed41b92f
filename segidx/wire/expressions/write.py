"""Expressions of the model, made into messages of the protocol. Imports only v1 and the model.

Trees beyond the limits are refused before they cost memory or stack, with the path that evaluation reports.
"""

from __future__ import annotations

from segidx.model.errors import InvalidExpression
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
    Comparison,
    Crossed,
    DaysSinceEvent,
    Did,
    EventHas,
    Events,
    Expression,
    HasTags,
    HasValue,
    In,
    InWindow,
    IsSet,
    Never,
    Not,
    OnChannel,
    Only,
    Or,
    Overdue,
    Sequence,
    Tagged,
    TextMatch,
    TimeInWindow,
)
from segidx.model.values import Age, Arithmetic, Constant, DaysSince, FieldValue, Negative, Value
from segidx.model.windows import AllTime
from segidx.v1 import expressions_pb2 as pb
from segidx.wire.events import WriteFilter, write_aggregate, write_events, write_sequence
from segidx.wire.expressions.enums import (
    ARITHMETIC_NUMBERS,
    CHANNEL_STATE_NUMBERS,
    OPERATOR_NUMBERS,
    TAG_MODE_NUMBERS,
    TEXT_OPERATOR_NUMBERS,
)
from segidx.wire.expressions.limits import too_deep, too_large
from segidx.wire.values import CHANNEL_NUMBERS, write_scalar
from segidx.wire.windows import write_window


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
                part.field, part.mode, part.ignore_case = node.field, TAG_MODE_NUMBERS[node.mode], node.ci
                part.tags.extend(node.tags)
            case IsSet():
                part.field = node.field
            case Comparison():
                self.value(node.left, part.left, path, "comparison.left", depth)
                part.operator, part.ignore_case = OPERATOR_NUMBERS[node.operator], node.ci
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
                part.field, part.operator = node.field, TEXT_OPERATOR_NUMBERS[node.operator]
                part.pattern, part.ignore_case = node.pattern, node.ci
            case InWindow() | Anniversary():
                part.field = node.field
                write_window(node.window, part.window)
            case OnChannel():
                part.channel = CHANNEL_NUMBERS[node.channel]
                part.state = CHANNEL_STATE_NUMBERS[node.state]
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
                message.arithmetic.operator = ARITHMETIC_NUMBERS[value.operator]
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
