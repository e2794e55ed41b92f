"""The enumerations of conditions and values, of the protocol and of the model. Imports only v1 and the model."""

from __future__ import annotations

from typing import Final

from segidx.model.expression import ChannelState, Operator, TagMode, TextOperator
from segidx.model.values import ArithmeticOperator
from segidx.v1 import expressions_pb2 as pb

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
OPERATOR_NUMBERS = {v: pb.ComparisonOperator.ValueType(k) for k, v in OPERATORS.items()}
TAG_MODE_NUMBERS = {v: pb.TagMode.ValueType(k) for k, v in TAG_MODES.items()}
TEXT_OPERATOR_NUMBERS = {v: pb.TextOperator.ValueType(k) for k, v in TEXT_OPERATORS.items()}
CHANNEL_STATE_NUMBERS = {v: pb.ChannelState.ValueType(k) for k, v in CHANNEL_STATES.items()}
ARITHMETIC_NUMBERS = {v: pb.ArithmeticOperator.ValueType(k) for k, v in ARITHMETIC_OPERATORS.items()}
