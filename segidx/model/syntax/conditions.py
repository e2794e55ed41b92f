"""The callbacks of the grammar's rules for conditions on contacts, and for what joins them. Imports only `segidx.model`
and lark's token type.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from lark import Token

from segidx.model.expression import (
    Aggregate,
    And,
    Anniversary,
    AtLeast,
    BandIs,
    Became,
    Between,
    Comparison,
    Crossed,
    Everyone,
    HasTags,
    HasValue,
    In,
    InWindow,
    IsSet,
    Nobody,
    Operator,
    Or,
    Tagged,
    TagMode,
    TextMatch,
    TextOperator,
    TimeInWindow,
    Unfinished,
)
from segidx.model.syntax.items import Item, Items
from segidx.model.syntax.tokens import fail, make, string, whole_number
from segidx.model.syntax.windows import window_of
from segidx.model.syntax.words import TAGS
from segidx.model.values import Constant, Scalar

_OPERATORS = {operator.value: operator for operator in Operator}


class ConditionRules:
    """One method for each rule, called bottom-up."""

    def __init__(self, items: Items) -> None:
        self.items = items

    # --- and, or, not ---

    def either(self, items: list[Item]) -> Item:
        checked, operands = self.items.conditions_of(items)
        return self.items.group_of(Or(operands), items[0].token, checked)

    def both(self, items: list[Item]) -> Item:
        checked, operands = self.items.conditions_of(items)
        return self.items.group_of(And(operands), items[0].token, checked)

    def negation(self, parts: list[Any]) -> Item:
        token, item = parts
        return self.items.negated(self.items.condition(item), token)

    def conditions(self, items: list[Item | None]) -> list[Item]:
        return [item for item in items if item is not None]

    def all_of(self, parts: list[Any]) -> Item:
        checked, operands = self.items.conditions_of(parts[1])
        return self.items.group_of(And(operands), parts[0], checked)

    def any_of(self, parts: list[Any]) -> Item:
        checked, operands = self.items.conditions_of(parts[1])
        return self.items.group_of(Or(operands), parts[0], checked)

    def at_least(self, parts: list[Any]) -> Item:
        token, count, items = parts
        checked, operands = self.items.conditions_of(items)
        return self.items.group_of(make(count, AtLeast, whole_number(count), operands), token, checked)

    def everyone(self, tokens: list[Token]) -> Item:
        return Item(Everyone(), tokens[0])

    def nobody(self, tokens: list[Token]) -> Item:
        return Item(Nobody(), tokens[0])

    def unfinished(self, tokens: list[Token]) -> Item:
        return Item(Unfinished(), tokens[0])

    # --- predicates ---

    def comparison(self, parts: list[Any], ci: bool = False) -> Item:
        left, token, right = parts
        return self.compared(left, _OPERATORS[token], right, token, ci)

    def comparison_ci(self, parts: list[Any]) -> Item:
        return self.comparison(parts, ci=True)

    def compared(self, left: Item, operator: Operator, right: Item, token: Token, ci: bool = False) -> Item:
        node = make(token, Comparison, self.items.value_of(left), operator, self.items.value_of(right), ci)
        return self.items.predicate(node, (left, right))

    def before(self, items: list[Item]) -> Item:
        return self.compared(items[0], Operator.LT, items[1], items[0].token)

    def after(self, items: list[Item]) -> Item:
        return self.compared(items[0], Operator.GT, items[1], items[0].token)

    def between(self, items: list[Item]) -> Item:
        return self.items.predicate(Between(*map(self.items.value_of, items)), items)

    def literals(self, items: list[Item | None]) -> list[Item]:
        return [item for item in items if item is not None]

    def in_list(self, parts: list[Any], ci: bool = False) -> Item:
        value, options = parts
        listed = tuple(option.node.value for option in options)
        return self.items.predicate(In(self.items.value_of(value), listed, ci), (value,), len(listed))

    def in_list_ci(self, parts: list[Any]) -> Item:
        return self.in_list(parts, ci=True)

    def not_in_list(self, parts: list[Any]) -> Item:
        return self.items.negated(self.in_list([parts[0], parts[2]]), parts[0].token)

    def not_in_list_ci(self, parts: list[Any]) -> Item:
        return self.items.negated(self.in_list([parts[0], parts[2]], ci=True), parts[0].token)

    def is_set(self, items: list[Item]) -> Item:
        item = items[0]
        if isinstance(item.node, Aggregate):
            self.items.refuse_event(item)
            return self.items.predicate(HasValue(item.node), (item,))
        return self.items.predicate(IsSet(self.items.field_of(item, "'is set'")), (item,))

    def is_not_set(self, parts: list[Any]) -> Item:
        return self.items.negated(self.is_set(parts), parts[0].token)

    def any_tag(self, tokens: list[Token]) -> TagMode:
        return TagMode.ANY

    def all_tags(self, tokens: list[Token]) -> TagMode:
        return TagMode.ALL

    def no_tag(self, tokens: list[Token]) -> TagMode:
        return TagMode.NONE

    def has_one(self, parts: list[Any], ci: bool = False) -> Item:
        item, token = parts
        node = make(token, HasTags, self.items.field_of(item, "'has'"), TagMode.ANY, (string(token),), ci)
        return self.items.predicate(node, (item,))

    def has_one_ci(self, parts: list[Any]) -> Item:
        return self.has_one(parts, ci=True)

    def has_list(self, parts: list[Any], ci: bool = False) -> Item:
        item, mode, listed = parts
        tags: list[Scalar] = []
        for tag in listed:
            if not isinstance(tag.node.value, str):
                raise fail("a tag is a string, in double quotes", tag.token)
            tags.append(tag.node.value)
        node = make(item.token, HasTags, self.items.field_of(item, "'has'"), mode, tuple(tags), ci)
        return self.items.predicate(node, (item,), len(tags))

    def has_list_ci(self, parts: list[Any]) -> Item:
        return self.has_list(parts, ci=True)

    def contains(self, _tokens: list[Token]) -> TextOperator:
        return TextOperator.CONTAINS

    def starts_with(self, _tokens: list[Token]) -> TextOperator:
        return TextOperator.STARTS_WITH

    def ends_with(self, _tokens: list[Token]) -> TextOperator:
        return TextOperator.ENDS_WITH

    def matches(self, _tokens: list[Token]) -> TextOperator:
        return TextOperator.MATCHES

    def like(self, _tokens: list[Token]) -> TextOperator:
        return TextOperator.LIKE

    def text_match(self, parts: list[Any], ci: bool = False) -> Item:
        item, operator, token = parts
        field = self.items.field_of(item, f"'{operator.value}'")
        return self.items.predicate(make(token, TextMatch, field, operator, string(token), ci), (item,))

    def text_match_ci(self, parts: list[Any]) -> Item:
        return self.text_match(parts, ci=True)

    def in_window(self, parts: list[Any]) -> Item:
        item, window = parts
        if isinstance(item.node, Aggregate):
            self.items.refuse_event(item)
            return self.items.predicate(make(item.token, TimeInWindow, item.node, window), (item,))
        return self.items.predicate(InWindow(self.items.field_of(item, "a window of time"), window), (item,))

    def not_in_window(self, parts: list[Any]) -> Item:
        return self.items.negated(self.in_window([parts[0], parts[2]]), parts[0].token)

    def anniversary(self, parts: list[Any]) -> Item:
        token, field, window = parts
        return self.items.predicate(
            Anniversary(self.items.field_of(field, "'anniversary of'"), window), (Item(field.node, token),)
        )

    def became(self, parts: list[Any]) -> Item:
        item, _word, token = parts[:3]
        value = string(token) if token.type == "STRING" else token.type == "TRUE"
        node = make(token, Became, self.items.field_of(item, "'became'"), value, window_of(parts))
        return self.items.predicate(node, (item,))

    def tagged(self, parts: list[Any]) -> Item:
        """Of the tags field `tags`, which need not be named."""
        word, token = parts[:2]
        return Item(make(token, Tagged, TAGS, string(token), window_of(parts)), word)

    def field_tagged(self, parts: list[Any]) -> Item:
        item, _word, token = parts[:3]
        node = make(token, Tagged, self.items.field_of(item, "'tagged'"), string(token), window_of(parts))
        return self.items.predicate(node, (item,))

    # --- bands ---

    def band_is(self, parts: list[Any]) -> Item:
        word, name, operator, label = parts
        if operator not in ("=", "!="):
            raise fail(f"a band compares with = and !=, or in and not in, not with {operator}", operator)
        item = Item(make(label, BandIs, name.node.field, (string(label),)), word)
        return item if operator == "=" else self.items.negated(item, word)

    def band_in(self, parts: list[Any]) -> Item:
        word, name, listed = parts[0], parts[1], parts[-1]
        for option in listed:
            if not isinstance(option.node, Constant) or not isinstance(option.node.value, str):
                raise fail("the label of a band is a string, in double quotes", option.token)
        labels = tuple(option.node.value for option in listed)
        return self.items.item(make(word, BandIs, name.node.field, labels), word, max(1, len(labels)), 1)

    def band_not_in(self, parts: list[Any]) -> Item:
        return self.items.negated(self.band_in(parts), parts[0])

    def crossed(self, parts: list[Any]) -> Item:
        word, name, threshold = parts[:3]
        number = self.items.value_of(threshold)
        if not isinstance(number, Constant) or not isinstance(number.value, Decimal):
            raise fail("what is crossed is a number, one of the thresholds of the bands", threshold.token)
        return Item(make(threshold.token, Crossed, name.node.field, number.value, window_of(parts)), word)
