"""The callbacks of the grammar's rules for events: what is selected of them, what is asked of these, and what has no
place in their filters. Imports only `segidx.model` and lark's token type.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lark import Token

from segidx.model.expression import (
    Aggregate,
    AggregateFunction,
    Did,
    EventHas,
    Events,
    Expression,
    Never,
    Only,
    Overdue,
    Step,
)
from segidx.model.expression import Sequence as SequenceNode
from segidx.model.syntax.items import Item, Items
from segidx.model.syntax.tokens import clip, fail, make, whole_number
from segidx.model.syntax.windows import window_of
from segidx.model.syntax.words import LATER
from segidx.model.values import Value
from segidx.model.windows import AllTime, Unit, Window

# Types of events that can serve as an example of a value made of a property.
_WITH_AMOUNT = ("order", "line", "cart")


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


class EventRules:
    """One method for each rule, called bottom-up."""

    def __init__(self, items: Items) -> None:
        self.items = items

    def event_type(self, tokens: list[Token]) -> Subject:
        # Known before the filter is read; there are no events within one, so none is asked for until `asked`.
        self.items.limits.type = tokens[0].casefold()
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
        return Selected(None if where is None else self.items.condition(where), window_of(parts))

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
        that = self.items.condition(item)
        self.items.limits.type = ""
        assert isinstance(event.node, Aggregate)
        assert isinstance(that.node, Expression)
        # The event is no node of its own, and its filter one of this.
        size, height = event.size + that.size, max(event.height, 1 + that.height)
        return self.items.item(EventHas(event.node, that.node), event.token, size, height)

    def event(self, parts: list[Any]) -> Item:
        item = self.event_time(parts)
        self.items.limits.type = parts[1].type  # for what `has` asks of it; nothing else but days_since(...) may follow
        return item._replace(event=True)

    def event_time(self, parts: list[Any]) -> Item:
        token, subject, selected = parts
        node = Aggregate(AggregateFunction(token.casefold()), _events(subject, selected))
        return self.asked(node, token, selected)

    def only_events(self, parts: list[Any]) -> Item:
        token, subject, population = parts
        events = _events(subject, Selected(population.among, population.window))
        that = None if population.that is None else population.that.node
        self.items.limits.type = ""
        filters = [item for item in (population.that, population.among) if item is not None]
        return self.items.group_of(Only(events, that), token, filters)

    def sequence(self, parts: list[Any]) -> Item:
        token, *rest = parts
        read = [part for part in rest if isinstance(part, ReadStep)]
        filters = [each.where for each in read if each.where is not None]
        node = make(token, SequenceNode, tuple(each.step for each in read), window_of(rest))
        return self.items.group_of(node, token, filters)

    def step(self, parts: list[Any]) -> ReadStep:
        tokens = [part for part in parts if isinstance(part, Token)]
        absent = bool(tokens) and tokens[0].type == "NO"
        subject = next(part for part in parts if isinstance(part, Subject))
        where = next((self.items.condition(part) for part in parts if isinstance(part, Item)), None)
        events = _events(subject, Selected(where, AllTime()))
        self.items.limits.type = ""
        within = _length(*tokens[-2:]) if len(tokens) >= 2 else None
        return ReadStep(make(subject.token, Step, events, within, absent), where)

    def any_population(self, parts: list[Any]) -> Population:
        return Population(None, None, window_of(parts))

    def that(self, parts: list[Any]) -> Population:
        return Population(self.items.condition(parts[0]), None, window_of(parts))

    def among(self, parts: list[Any]) -> Population:
        return Population(None, self.items.condition(parts[0]), window_of(parts))

    def that_among(self, parts: list[Any]) -> Population:
        return Population(self.items.condition(parts[0]), self.items.condition(parts[1]), window_of(parts))

    def asked(self, node: Expression | Value, token: Token, selected: Selected) -> Item:
        """A node above a filter of events."""
        self.items.limits.type = ""
        where = selected.where
        return Item(node, token) if where is None else self.items.item(node, token, 1 + where.size, 1 + where.height)

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


def _events(subject: Subject, selected: Selected) -> Events:
    where = None if selected.where is None else selected.where.node
    assert where is None or isinstance(where, Expression)
    return make(subject.token, Events, subject.type, where, selected.window)


def _length(number: Token, unit: Token) -> int:
    """A length of time in milliseconds."""
    fixed = Unit[unit.type].milliseconds
    if fixed is None:
        raise fail(f"a {Unit[unit.type].value} has no fixed length; say it in days or weeks", unit)
    return whole_number(number) * fixed
