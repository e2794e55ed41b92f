"""What the rules of the grammar make while a text is read: nodes with their size and height, within the limits, and
whether each is a condition, a value or an event. Imports only `segidx.model` and lark's token type.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

from lark import Token

from segidx.model.errors import ExpressionTooDeep, ExpressionTooLarge
from segidx.model.expression import Comparison, Expression, In, Not, Operator, Or, shorthand, shorthands_of
from segidx.model.syntax.tokens import fail
from segidx.model.values import Constant, FieldValue, Value


class Item(NamedTuple):
    """A node with what the rules above it need: the token it begins with, its size and height as `check` counts
    them, whether it is a number as written, before which '-' is a sign and not an operation, and whether it is an event
    of which nothing is asked yet, such as `last(order)`."""

    node: Expression | Value
    token: Token
    size: int = 1
    height: int = 1
    literal: bool = False
    event: bool = False


class Limits(threading.local):
    """What the parse that runs on this thread allows, how many operands it has read, and of what type the events are in
    whose filter it is, if it is in one."""

    max_depth = 0
    max_nodes = 0
    leaves = 0
    type = ""


class Items:
    """Makes items, and conditions and values of them. One serves all threads: what a parse may do is in `limits`."""

    def __init__(self) -> None:
        self.limits = Limits()

    def leaf(self, token: Token, node: Value, literal: bool = False) -> Item:
        self.limits.leaves += 1
        # A node has at most three constants or fields that `check` does not count, so this many are too many.
        if self.limits.leaves > 3 * self.limits.max_nodes + 3:
            raise self.too_large(token)
        return Item(node, token, literal=literal)

    def too_large(self, token: Token) -> ExpressionTooLarge:
        most = self.limits.max_nodes
        return ExpressionTooLarge(
            f"line {token.line}, column {token.column}: the expression has more than {most} nodes;"
            " put the values in a tag or a field instead",
            limit=most,
            line=token.line,
            column=token.column,
        )

    def item(self, node: Expression | Value, token: Token, size: int, height: int) -> Item:
        if height > self.limits.max_depth:
            most = self.limits.max_depth
            raise ExpressionTooDeep(
                f"line {token.line}, column {token.column}: the expression is deeper than {most}; group or shorten it",
                limit=most,
                line=token.line,
                column=token.column,
            )
        if size > self.limits.max_nodes:
            raise self.too_large(token)
        return Item(node, token, size, height)

    def group_of(self, node: Expression, token: Token, operands: Sequence[Item]) -> Item:
        """A node above expressions."""
        size = 1 + sum(operand.size for operand in operands)
        return self.item(node, token, size, 1 + max((operand.height for operand in operands), default=0))

    def predicate(self, node: Expression, values: Sequence[Item], listed: int = 1) -> Item:
        """A leaf of the tree of expressions, over values; `listed` is how many constants or tags it lists."""
        size = 1 + sum(v.size for v in values if not isinstance(v.node, Constant | FieldValue)) + max(0, listed - 1)
        return self.item(node, values[0].token, size, max(v.height for v in values))

    def condition(self, item: Item) -> Item:
        """The item as a condition: a bare field says that it is true."""
        node = item.node
        if isinstance(node, Expression):
            return item
        self.refuse_event(item)
        if isinstance(node, FieldValue):
            if node.field in shorthands_of(self.limits.type):
                return self.short(node.field, item.token)
            return Item(Comparison(node, Operator.EQ, Constant(True)), item.token)
        if isinstance(node, Constant) and isinstance(node.value, bool):
            raise fail(f"'{item.token}' is not a condition; write everyone or nobody", item.token)
        raise fail("this is a value, not a condition; compare it with something", item.token)

    def short(self, word: str, token: Token) -> Item:
        """What the word stands for in the filter, as large as that is."""
        node = shorthand(word, self.limits.type)
        match node:
            case Or(operands=operands):
                return self.group_of(node, token, [Item(operand, token) for operand in operands])
            case In(value=value, options=options):
                return self.predicate(node, (Item(value, token),), len(options))
        return Item(node, token)

    def conditions_of(self, items: Sequence[Item]) -> tuple[list[Item], tuple[Expression, ...]]:
        checked = [self.condition(item) for item in items]
        return checked, tuple(item.node for item in checked)  # type: ignore[misc]

    def refuse_event(self, item: Item) -> None:
        if item.event:
            word = item.token.lower()
            raise fail(
                f"{word}(...) is an event; ask for its time, {word}(...).time, for days_since({word}(...)), or what it"
                f" is like, such as {word}(...) has paid",
                item.token,
            )

    def value_of(self, item: Item) -> Value:
        node = item.node
        self.refuse_event(item)
        if isinstance(node, Value):
            return node
        raise fail("this is a condition, not a value; it cannot be compared or calculated with", item.token)

    def field_of(self, item: Item, what: str) -> str:
        if isinstance(item.node, FieldValue):
            return item.node.field
        self.refuse_event(item)
        raise fail(f"{what} needs a field on its left, not {kind_of(item.node)}", item.token)

    def negated(self, item: Item, token: Token) -> Item:
        """The negation of a condition."""
        assert isinstance(item.node, Expression)
        return self.group_of(Not(item.node), token, (item,))


def kind_of(node: Expression | Value) -> str:
    """What a node is called in messages."""
    if isinstance(node, Expression):
        return "a condition"
    if isinstance(node, Constant):
        return "a constant"
    return "a calculated value"
