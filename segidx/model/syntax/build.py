"""Builds AST nodes while the parser reads: one method for each rule of grammar.lark, called bottom-up.

Nothing here recurses, and size and height are known as soon as a node is built, so that a text which is too large or
too deep is refused at its place before the rest is read. Imports only `segidx.model` and lark's token type.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from decimal import Context, Decimal
from typing import Any, NamedTuple

from lark import Token

from segidx.model.errors import ExpressionTooDeep, ExpressionTooLarge
from segidx.model.expression import (
    Aggregate,
    AggregateFunction,
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
    Step,
    Tagged,
    TagMode,
    TextMatch,
    TextOperator,
    TimeInWindow,
    Unfinished,
    channel_named,
    shorthand,
    shorthands_of,
)
from segidx.model.expression import Sequence as SequenceNode
from segidx.model.products import PREFIX
from segidx.model.syntax.tokens import clip, fail, make, moment, number, string, whole_number
from segidx.model.syntax.windows import WindowRules
from segidx.model.syntax.words import BAND_FUNCTIONS, EVENT_FUNCTIONS, LATER, TAGS
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
from segidx.model.windows import AllTime, Unit, Window
from segidx.model.writes import Channel

# Digits enough for any number that a text may hold.
_EXACT = Context(prec=200)
_OPERATORS = {operator.value: operator for operator in Operator}
_ARITHMETIC = {operator.value: operator for operator in ArithmeticOperator}
_FUNCTIONS: dict[str, type[Age] | type[DaysSince]] = {"age": Age, "days_since": DaysSince}
# Functions that are conditions.
_STATES = {state.value: state for state in ChannelState}
# Types of events that can serve as an example of a value made of a property.
_WITH_AMOUNT = ("order", "line", "cart")
_CHANNELS = ", ".join(f'"{channel.value}"' for channel in Channel)


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


class Subject(NamedTuple):
    """What stands first in the parentheses of an event function: a type, and a property where it is made of one."""

    type: str
    token: Token
    property: str | None = None


class Selected(NamedTuple):
    """What stands behind the type."""

    where: Item | None
    window: Window


class Population(NamedTuple):
    """What stands behind the type in `only(...)`."""

    that: Item | None
    among: Item | None
    window: Window


class ReadStep(NamedTuple):
    """A step of a sequence, and its filter."""

    step: Step
    where: Item | None


class Limits(threading.local):
    """What the parse that runs on this thread allows, how many operands it has read, and of what type the events are in
    whose filter it is, if it is in one."""

    max_depth = 0
    max_nodes = 0
    leaves = 0
    type = ""


class Builder(WindowRules):
    """The callbacks of the grammar's rules. One serves all threads: what a parse may do is kept in `limits`."""

    def __init__(self) -> None:
        self.limits = Limits()

    # --- bookkeeping ---

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
        raise fail(f"{what} needs a field on its left, not {_kind(item.node)}", item.token)

    # --- and, or, not ---

    def either(self, items: list[Item]) -> Item:
        checked, operands = self.conditions_of(items)
        return self.group_of(Or(operands), items[0].token, checked)

    def both(self, items: list[Item]) -> Item:
        checked, operands = self.conditions_of(items)
        return self.group_of(And(operands), items[0].token, checked)

    def negation(self, parts: list[Any]) -> Item:
        token, item = parts
        return self.negated(self.condition(item), token)

    def negated(self, item: Item, token: Token) -> Item:
        assert isinstance(item.node, Expression)
        return self.group_of(Not(item.node), token, (item,))

    def conditions(self, items: list[Item | None]) -> list[Item]:
        return [item for item in items if item is not None]

    def all_of(self, parts: list[Any]) -> Item:
        checked, operands = self.conditions_of(parts[1])
        return self.group_of(And(operands), parts[0], checked)

    def any_of(self, parts: list[Any]) -> Item:
        checked, operands = self.conditions_of(parts[1])
        return self.group_of(Or(operands), parts[0], checked)

    def at_least(self, parts: list[Any]) -> Item:
        token, count, items = parts
        checked, operands = self.conditions_of(items)
        return self.group_of(make(count, AtLeast, whole_number(count), operands), token, checked)

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
        node = make(token, Comparison, self.value_of(left), operator, self.value_of(right), ci)
        return self.predicate(node, (left, right))

    def before(self, items: list[Item]) -> Item:
        return self.compared(items[0], Operator.LT, items[1], items[0].token)

    def after(self, items: list[Item]) -> Item:
        return self.compared(items[0], Operator.GT, items[1], items[0].token)

    def between(self, items: list[Item]) -> Item:
        return self.predicate(Between(*map(self.value_of, items)), items)

    def literals(self, items: list[Item | None]) -> list[Item]:
        return [item for item in items if item is not None]

    def in_list(self, parts: list[Any], ci: bool = False) -> Item:
        value, options = parts
        listed = tuple(option.node.value for option in options)
        return self.predicate(In(self.value_of(value), listed, ci), (value,), len(listed))

    def in_list_ci(self, parts: list[Any]) -> Item:
        return self.in_list(parts, ci=True)

    def not_in_list(self, parts: list[Any]) -> Item:
        return self.negated(self.in_list([parts[0], parts[2]]), parts[0].token)

    def not_in_list_ci(self, parts: list[Any]) -> Item:
        return self.negated(self.in_list([parts[0], parts[2]], ci=True), parts[0].token)

    def is_set(self, items: list[Item]) -> Item:
        item = items[0]
        if isinstance(item.node, Aggregate):
            self.refuse_event(item)
            return self.predicate(HasValue(item.node), (item,))
        return self.predicate(IsSet(self.field_of(item, "'is set'")), (item,))

    def is_not_set(self, parts: list[Any]) -> Item:
        return self.negated(self.is_set(parts), parts[0].token)

    def any_tag(self, tokens: list[Token]) -> TagMode:
        return TagMode.ANY

    def all_tags(self, tokens: list[Token]) -> TagMode:
        return TagMode.ALL

    def no_tag(self, tokens: list[Token]) -> TagMode:
        return TagMode.NONE

    def has_one(self, parts: list[Any], ci: bool = False) -> Item:
        item, token = parts
        node = make(token, HasTags, self.field_of(item, "'has'"), TagMode.ANY, (string(token),), ci)
        return self.predicate(node, (item,))

    def has_one_ci(self, parts: list[Any]) -> Item:
        return self.has_one(parts, ci=True)

    def has_list(self, parts: list[Any], ci: bool = False) -> Item:
        item, mode, listed = parts
        tags: list[Scalar] = []
        for tag in listed:
            if not isinstance(tag.node.value, str):
                raise fail("a tag is a string, in double quotes", tag.token)
            tags.append(tag.node.value)
        node = make(item.token, HasTags, self.field_of(item, "'has'"), mode, tuple(tags), ci)
        return self.predicate(node, (item,), len(tags))

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
        field = self.field_of(item, f"'{operator.value}'")
        return self.predicate(make(token, TextMatch, field, operator, string(token), ci), (item,))

    def text_match_ci(self, parts: list[Any]) -> Item:
        return self.text_match(parts, ci=True)

    def in_window(self, parts: list[Any]) -> Item:
        item, window = parts
        if isinstance(item.node, Aggregate):
            self.refuse_event(item)
            return self.predicate(make(item.token, TimeInWindow, item.node, window), (item,))
        return self.predicate(InWindow(self.field_of(item, "a window of time"), window), (item,))

    def not_in_window(self, parts: list[Any]) -> Item:
        return self.negated(self.in_window([parts[0], parts[2]]), parts[0].token)

    def anniversary(self, parts: list[Any]) -> Item:
        token, field, window = parts
        return self.predicate(Anniversary(self.field_of(field, "'anniversary of'"), window), (Item(field.node, token),))

    def became(self, parts: list[Any]) -> Item:
        item, _word, token = parts[:3]
        value = string(token) if token.type == "STRING" else token.type == "TRUE"
        node = make(token, Became, self.field_of(item, "'became'"), value, _window(parts))
        return self.predicate(node, (item,))

    def tagged(self, parts: list[Any]) -> Item:
        """Of the tags field `tags`, which need not be named."""
        word, token = parts[:2]
        return Item(make(token, Tagged, TAGS, string(token), _window(parts)), word)

    def field_tagged(self, parts: list[Any]) -> Item:
        item, _word, token = parts[:3]
        node = make(token, Tagged, self.field_of(item, "'tagged'"), string(token), _window(parts))
        return self.predicate(node, (item,))

    # --- bands ---

    def band_is(self, parts: list[Any]) -> Item:
        word, name, operator, label = parts
        if operator not in ("=", "!="):
            raise fail(f"a band compares with = and !=, or in and not in, not with {operator}", operator)
        item = Item(make(label, BandIs, name.node.field, (string(label),)), word)
        return item if operator == "=" else self.negated(item, word)

    def band_in(self, parts: list[Any]) -> Item:
        word, name, listed = parts[0], parts[1], parts[-1]
        for option in listed:
            if not isinstance(option.node, Constant) or not isinstance(option.node.value, str):
                raise fail("the label of a band is a string, in double quotes", option.token)
        labels = tuple(option.node.value for option in listed)
        return self.item(make(word, BandIs, name.node.field, labels), word, max(1, len(labels)), 1)

    def band_not_in(self, parts: list[Any]) -> Item:
        return self.negated(self.band_in(parts), parts[0])

    def crossed(self, parts: list[Any]) -> Item:
        word, name, threshold = parts[:3]
        number = self.value_of(threshold)
        if not isinstance(number, Constant) or not isinstance(number.value, Decimal):
            raise fail("what is crossed is a number, one of the thresholds of the bands", threshold.token)
        return Item(make(threshold.token, Crossed, name.node.field, number.value, _window(parts)), word)

    # --- values ---

    def name(self, tokens: list[Token]) -> Item:
        return self.leaf(tokens[0], FieldValue(str(tokens[0])))

    def quoted_name(self, tokens: list[Token]) -> Item:
        return self.leaf(tokens[0], FieldValue(_unquoted(tokens[0])))

    def product_property(self, tokens: list[Token]) -> str:
        return str(tokens[0]) if tokens[0].type == "NAME" else _unquoted(tokens[0])

    def of_product(self, parts: list[Any]) -> Item:
        token, name = parts
        return self.leaf(token, FieldValue(PREFIX + name))

    def string(self, tokens: list[Token]) -> Item:
        return self.leaf(tokens[0], make(tokens[0], Constant, string(tokens[0])))

    def number(self, tokens: list[Token]) -> Item:
        token = tokens[0]
        return self.leaf(token, make(token, Constant, number(token)), literal=True)

    def duration(self, tokens: list[Token]) -> Item:
        """A length of time is a number of seconds."""
        token, unit = tokens
        seconds = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600}[unit.type]
        return self.leaf(token, make(token, Constant, _EXACT.multiply(number(token), seconds)), literal=True)

    def negative_number(self, tokens: list[Token]) -> Item:
        item = self.number(tokens[1:])
        return self.negative([tokens[0], item])

    def moment(self, tokens: list[Token]) -> Item:
        return self.leaf(tokens[0], make(tokens[0], Constant, moment(tokens[0])))

    def true(self, tokens: list[Token]) -> Item:
        return self.leaf(tokens[0], Constant(True))

    def false(self, tokens: list[Token]) -> Item:
        return self.leaf(tokens[0], Constant(False))

    def group(self, items: list[Item]) -> Item:
        item = items[0]
        return item._replace(literal=False) if item.literal else item

    def negative(self, parts: list[Any]) -> Item:
        token, item = parts
        operand = self.value_of(item)
        if item.literal:
            assert isinstance(operand, Constant)
            assert isinstance(operand.value, Decimal)
            # copy_negate, since the operator '-' would round to the precision of the thread's decimal context.
            return Item(Constant(operand.value.copy_negate()), token)
        return self.item(Negative(operand), token, item.size + 1, item.height + 1)

    def arithmetic(self, parts: list[Any]) -> Item:
        left, token, right = parts
        node = Arithmetic(_ARITHMETIC[token], self.value_of(left), self.value_of(right))
        return self.item(node, left.token, left.size + right.size + 1, max(left.height, right.height) + 1)

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
            self.limits.type = ""
            assert isinstance(argument.node, Aggregate)
            return self.item(DaysSinceEvent(argument.node), token, argument.size + 1, argument.height + 1)
        if not isinstance(argument.node, FieldValue):
            wanted = "a field, or first(...) or last(...) of events" if name == "days_since" else "a field"
            raise fail(f"{name}(...) takes {wanted}, not {_kind(argument.node)}", argument.token)
        return self.leaf(token, _FUNCTIONS[name](argument.node.field))

    def on_channel(self, token: Token, state: ChannelState, argument: Item) -> Item:
        node = argument.node
        if not isinstance(node, Constant) or not isinstance(node.value, str):
            raise fail(f"{state.value}(...) takes a channel in double quotes: {_CHANNELS}", argument.token)
        return Item(OnChannel(make(argument.token, channel_named, node.value), state), token)

    # --- events ---

    def event_type(self, tokens: list[Token]) -> Subject:
        # Known before the filter is read; there are no events within one, so none is asked for until `asked`.
        self.limits.type = tokens[0].casefold()
        return Subject(tokens[0].casefold(), tokens[0])

    def made_of(self, parts: list[Any]) -> Subject:
        subject, item = parts
        return Subject(subject.type, subject.token, item.node.field)

    def made_of_nothing(self, parts: list[Any]) -> Subject:
        (subject,) = parts
        example = subject.type if subject.type in _WITH_AMOUNT else "order"
        raise fail(f"this wants a property of the events, such as {example}.amount", subject.token)

    def selected(self, parts: list[Any]) -> Selected:
        where = next((part for part in parts if isinstance(part, Item)), None)
        return Selected(None if where is None else self.condition(where), _window(parts))

    def of_events(self, parts: list[Any]) -> Item:
        token, subject, selected = parts
        match token.casefold():
            case "did":
                return self.asked(Did(_events(subject, selected)), token, selected)
            case "never":
                return self.asked(Never(_events(subject, selected)), token, selected)
            case "overdue":
                return self.asked(Overdue(_events(subject, selected)), token, selected)
            case function:
                return self.asked(Aggregate(AggregateFunction(function), _events(subject, selected)), token, selected)

    def made_of_events(self, parts: list[Any]) -> Item:
        token, subject, selected = parts
        node = Aggregate(AggregateFunction(token.casefold()), _events(subject, selected), subject.property)
        return self.asked(node, token, selected)

    def favourite(self, parts: list[Any]) -> Item:
        token, subject, *by, selected = parts
        named = by[0].node.field if by else None
        node = Aggregate(AggregateFunction.FAVOURITE, _events(subject, selected), subject.property, named)
        return self.asked(node, token, selected)

    def event_has(self, parts: list[Any]) -> Item:
        event, item = parts
        if not event.event:
            raise fail(
                "'has' wants tags, strings in double quotes; a condition stands behind first(...) or last(...)",
                item.token,
            )
        that = self.condition(item)
        self.limits.type = ""
        assert isinstance(event.node, Aggregate)
        assert isinstance(that.node, Expression)
        # The event is no node of its own, and its filter one of this.
        size, height = event.size + that.size, max(event.height, 1 + that.height)
        return self.item(EventHas(event.node, that.node), event.token, size, height)

    def event(self, parts: list[Any]) -> Item:
        item = self.event_time(parts)
        self.limits.type = parts[1].type  # for what `has` asks of it; nothing else but days_since(...) may follow
        return item._replace(event=True)

    def event_time(self, parts: list[Any]) -> Item:
        token, subject, selected = parts
        node = Aggregate(AggregateFunction(token.casefold()), _events(subject, selected))
        return self.asked(node, token, selected)

    def only_events(self, parts: list[Any]) -> Item:
        token, subject, population = parts
        events = _events(subject, Selected(population.among, population.window))
        that = None if population.that is None else population.that.node
        self.limits.type = ""
        filters = [item for item in (population.that, population.among) if item is not None]
        return self.group_of(Only(events, that), token, filters)

    def sequence(self, parts: list[Any]) -> Item:
        token, *rest = parts
        read = [part for part in rest if isinstance(part, ReadStep)]
        filters = [each.where for each in read if each.where is not None]
        node = make(token, SequenceNode, tuple(each.step for each in read), _window(rest))
        return self.group_of(node, token, filters)

    def step(self, parts: list[Any]) -> ReadStep:
        tokens = [part for part in parts if isinstance(part, Token)]
        absent = bool(tokens) and tokens[0].type == "NO"
        subject = next(part for part in parts if isinstance(part, Subject))
        where = next((self.condition(part) for part in parts if isinstance(part, Item)), None)
        events = _events(subject, Selected(where, AllTime()))
        self.limits.type = ""
        within = _length(*tokens[-2:]) if len(tokens) >= 2 else None
        return ReadStep(make(subject.token, Step, events, within, absent), where)

    def any_population(self, parts: list[Any]) -> Population:
        return Population(None, None, _window(parts))

    def that(self, parts: list[Any]) -> Population:
        return Population(self.condition(parts[0]), None, _window(parts))

    def among(self, parts: list[Any]) -> Population:
        return Population(None, self.condition(parts[0]), _window(parts))

    def that_among(self, parts: list[Any]) -> Population:
        return Population(self.condition(parts[0]), self.condition(parts[1]), _window(parts))

    def asked(self, node: Expression | Value, token: Token, selected: Selected) -> Item:
        """A node above a filter of events."""
        self.limits.type = ""
        where = selected.where
        return Item(node, token) if where is None else self.item(node, token, 1 + where.size, 1 + where.height)

    def not_in_filter(self, tokens: list[Token]) -> Item:
        token = tokens[0]
        raise fail(
            f"'{clip(token.lower())}' has no place in a filter of events, whose conditions are on the event's own"
            " properties; put it beside the events",
            token,
        )

    def later_word(self, tokens: list[Token]) -> Token:
        token = tokens[0]
        raise fail(f"'{token.lower()}' is refused: {LATER[token.type.lower()]}", token)


def _window(parts: list[Any]) -> Window:
    return next((part for part in parts if isinstance(part, Window)), AllTime())


def _events(subject: Subject, selected: Selected) -> Events:
    where = None if selected.where is None else selected.where.node
    assert where is None or isinstance(where, Expression)
    return make(subject.token, Events, subject.type, where, selected.window)


def _unquoted(token: Token) -> str:
    return token[1:-1].replace("``", "`")


def _length(number: Token, unit: Token) -> int:
    """A length of time in milliseconds."""
    fixed = Unit[unit.type].milliseconds
    if fixed is None:
        raise fail(f"a {Unit[unit.type].value} has no fixed length; say it in days or weeks", unit)
    return whole_number(number) * fixed


def _kind(node: Expression | Value) -> str:
    if isinstance(node, Expression):
        return "a condition"
    if isinstance(node, Constant):
        return "a constant"
    return "a calculated value"
