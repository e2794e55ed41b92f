"""The callbacks of the grammar's rules for values, and for functions of one argument. Imports only `segidx.model` and
lark's token type.
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Any

from lark import Token

from segidx.model.expression import Aggregate, ChannelState, DaysSinceEvent, OnChannel, channel_named
from segidx.model.products import PREFIX
from segidx.model.syntax.items import Item, Items, kind_of
from segidx.model.syntax.tokens import clip, fail, make, moment, number, string
from segidx.model.syntax.words import BAND_FUNCTIONS, EVENT_FUNCTIONS, LATER
from segidx.model.values import Age, Arithmetic, ArithmeticOperator, Constant, DaysSince, FieldValue, Negative
from segidx.model.writes import Channel

# Digits enough for any number that a text may hold.
_EXACT = Context(prec=200)
_ARITHMETIC = {operator.value: operator for operator in ArithmeticOperator}
_FUNCTIONS: dict[str, type[Age] | type[DaysSince]] = {"age": Age, "days_since": DaysSince}
# Functions that are conditions.
_STATES = {state.value: state for state in ChannelState}
_CHANNELS = ", ".join(f'"{channel.value}"' for channel in Channel)


class ValueRules:
    """One method for each rule, called bottom-up."""

    def __init__(self, items: Items) -> None:
        self.items = items

    def name(self, tokens: list[Token]) -> Item:
        return self.items.leaf(tokens[0], FieldValue(str(tokens[0])))

    def quoted_name(self, tokens: list[Token]) -> Item:
        return self.items.leaf(tokens[0], FieldValue(_unquoted(tokens[0])))

    def product_property(self, tokens: list[Token]) -> str:
        return str(tokens[0]) if tokens[0].type == "NAME" else _unquoted(tokens[0])

    def of_product(self, parts: list[Any]) -> Item:
        token, name = parts
        return self.items.leaf(token, FieldValue(PREFIX + name))

    def string(self, tokens: list[Token]) -> Item:
        return self.items.leaf(tokens[0], make(tokens[0], Constant, string(tokens[0])))

    def number(self, tokens: list[Token]) -> Item:
        token = tokens[0]
        return self.items.leaf(token, make(token, Constant, number(token)), literal=True)

    def duration(self, tokens: list[Token]) -> Item:
        """A length of time is a number of seconds."""
        token, unit = tokens
        seconds = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600}[unit.type]
        return self.items.leaf(token, make(token, Constant, _EXACT.multiply(number(token), seconds)), literal=True)

    def negative_number(self, tokens: list[Token]) -> Item:
        item = self.number(tokens[1:])
        return self.negative([tokens[0], item])

    def moment(self, tokens: list[Token]) -> Item:
        return self.items.leaf(tokens[0], make(tokens[0], Constant, moment(tokens[0])))

    def true(self, tokens: list[Token]) -> Item:
        return self.items.leaf(tokens[0], Constant(True))

    def false(self, tokens: list[Token]) -> Item:
        return self.items.leaf(tokens[0], Constant(False))

    def group(self, items: list[Item]) -> Item:
        item = items[0]
        return item._replace(literal=False) if item.literal else item

    def negative(self, parts: list[Any]) -> Item:
        token, item = parts
        operand = self.items.value_of(item)
        if item.literal:
            assert isinstance(operand, Constant)
            assert isinstance(operand.value, Decimal)
            # copy_negate, since the operator '-' would round to the precision of the thread's decimal context.
            return Item(Constant(operand.value.copy_negate()), token)
        return self.items.item(Negative(operand), token, item.size + 1, item.height + 1)

    def arithmetic(self, parts: list[Any]) -> Item:
        left, token, right = parts
        node = Arithmetic(_ARITHMETIC[token], self.items.value_of(left), self.items.value_of(right))
        return self.items.item(node, left.token, left.size + right.size + 1, max(left.height, right.height) + 1)

    def function(self, tokens: list[Token]) -> Token:
        token = tokens[0]
        name = token.lower()
        if name in LATER:
            raise fail(f"'{name}(' is refused: {LATER[name]}", token)
        if name in BAND_FUNCTIONS:
            raise fail(f"'{name}(...)' begins a condition of its own, with nothing on its left", token)
        if name not in _FUNCTIONS and name not in _STATES:
            known = ", ".join((*_FUNCTIONS, *_STATES, *EVENT_FUNCTIONS, *BAND_FUNCTIONS))
            raise fail(f"there is no function '{clip(token)}('; the functions are {known}", token)
        return token

    def call(self, parts: list[Any]) -> Item:
        token, argument = parts
        name = token.lower()
        if name in _STATES:
            return self.on_channel(token, _STATES[name], argument)
        if name == "days_since" and argument.event:
            self.items.limits.type = ""
            assert isinstance(argument.node, Aggregate)
            return self.items.item(DaysSinceEvent(argument.node), token, argument.size + 1, argument.height + 1)
        if not isinstance(argument.node, FieldValue):
            wanted = "a field, or first(...) or last(...) of events" if name == "days_since" else "a field"
            raise fail(f"{name}(...) takes {wanted}, not {kind_of(argument.node)}", argument.token)
        return self.items.leaf(token, _FUNCTIONS[name](argument.node.field))

    def on_channel(self, token: Token, state: ChannelState, argument: Item) -> Item:
        node = argument.node
        if not isinstance(node, Constant) or not isinstance(node.value, str):
            raise fail(f"{state.value}(...) takes a channel in double quotes: {_CHANNELS}", argument.token)
        return Item(OnChannel(make(argument.token, channel_named, node.value), state), token)


def _unquoted(token: Token) -> str:
    return token[1:-1].replace("``", "`")
