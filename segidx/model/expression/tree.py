"""Walking an expression: the paths of its nodes, and what of it is unfinished. Imports the nodes only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from segidx.model.errors import (
    ExpressionTooDeep,
)
from segidx.model.expression.event_nodes import EventHas, HasValue, Overdue, Sequence, TimeInWindow
from segidx.model.expression.nodes import (
    MAX_DEPTH,
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
    Events,
    Everyone,
    Expression,
    HasTags,
    In,
    InWindow,
    IsSet,
    Never,
    Nobody,
    Not,
    OnChannel,
    Only,
    Or,
    Tagged,
    TextMatch,
    Unfinished,
)
from segidx.model.values import Arithmetic, Negative, Value


def operands_of(node: Expression) -> tuple[Expression, ...]:
    """The expressions directly below a node."""
    match node:
        case And(operands=operands) | Or(operands=operands) | AtLeast(operands=operands):
            return operands
        case Not(operand=operand):
            return (operand,)
    return ()


def values_of(node: Expression) -> tuple[Value, ...]:
    """The values directly in a predicate."""
    match node:
        case Comparison():
            return (node.left, node.right)
        case Between():
            return (node.value, node.low, node.high)
        case In() | HasValue() | TimeInWindow():
            return (node.value,)
    return ()


def parts_of(value: Value) -> tuple[Value, ...]:
    """The values directly below a value."""
    match value:
        case Arithmetic():
            return (value.left, value.right)
        case Negative():
            return (value.operand,)
        case DaysSinceEvent():
            return (value.event,)
    return ()


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of events of a type in a predicate: its `place` behind the predicate's path, and how many levels of
    arithmetic it lies below the predicate."""

    node: Expression
    type: str
    place: str
    levels: int


def filters_of(node: Expression) -> list[Filter]:
    """The filters of events directly in a predicate."""
    found: list[Filter] = []

    def note(filter: Expression | None, type: str, place: str, levels: int) -> None:
        if filter is not None:
            found.append(Filter(filter, type, place, levels))

    if isinstance(node, Did | Never | Only | Overdue):
        note(node.events.where, node.events.type, "events.where", 0)
    if isinstance(node, Only):
        note(node.that, node.events.type, "that", 0)
    if isinstance(node, EventHas):
        note(node.event.events.where, node.event.events.type, "event.events.where", 0)
        note(node.that, node.event.events.type, "that", 0)
    if isinstance(node, Sequence):
        for number, step in enumerate(node.steps):
            note(step.events.where, step.events.type, f"steps[{number}].events.where", 0)
    values = zip(values_of(node), VALUE_NAMES.get(type(node), ()), strict=True)
    pending = [(value, place, 0) for value, place in values]
    while pending:
        value, place, levels = pending.pop()
        if isinstance(value, Aggregate):
            note(value.events.where, value.events.type, f"{place}.aggregate.events.where", levels)
        names = PART_NAMES.get(type(value), ())
        parts = zip(parts_of(value), names, strict=True)
        pending.extend((part, f"{place}.{name}", levels + 1) for part, name in parts)
    return found


def with_filters(node: Expression, change: Callable[[Expression, str], Expression | None]) -> Expression:
    """The predicate with each of its filters, as `filters_of` gives them, changed; None takes one away."""

    def in_events(events: Events, place: str) -> Events:
        return events if events.where is None else replace(events, where=change(events.where, f"{place}.where"))

    def aggregate(value: Aggregate, place: str) -> Aggregate:
        return replace(value, events=in_events(value.events, f"{place}.aggregate.events"))

    def changed(value: Value, place: str) -> Value:
        match value:
            case Aggregate():
                return aggregate(value, place)
            case DaysSinceEvent():
                return replace(value, event=aggregate(value.event, f"{place}.{PART_NAMES[DaysSinceEvent][0]}"))
            case Arithmetic():
                left, right = (f"{place}.{name}" for name in PART_NAMES[Arithmetic])
                return replace(value, left=changed(value.left, left), right=changed(value.right, right))
            case Negative():
                return replace(value, operand=changed(value.operand, f"{place}.{PART_NAMES[Negative][0]}"))
        return value

    match node:
        case Did() | Never() | Overdue():
            return replace(node, events=in_events(node.events, "events"))
        case EventHas():
            event = replace(node.event, events=in_events(node.event.events, "event.events"))
            wanted = change(node.that, "that")
            return Did(event.events) if wanted is None else EventHas(event, wanted)
        case Sequence():
            steps = (replace(s, events=in_events(s.events, f"steps[{i}].events")) for i, s in enumerate(node.steps))
            return replace(node, steps=tuple(steps))
        case Only():
            that = None if node.that is None else change(node.that, "that")
            return replace(node, events=in_events(node.events, "events"), that=that)
        case Comparison():
            return replace(node, left=changed(node.left, "left"), right=changed(node.right, "right"))
        case Between():
            ends = {"low": changed(node.low, "low"), "high": changed(node.high, "high")}
            return replace(node, value=changed(node.value, "value"), **ends)
        case In():
            return replace(node, value=changed(node.value, "value"))
        case HasValue() | TimeInWindow():
            return replace(node, value=aggregate(node.value, "value"))
    return node


# How the values of predicates, and of values, are called in the public protocol.
VALUE_NAMES: dict[type[Expression], tuple[str, ...]] = {
    Comparison: ("left", "right"),
    Between: ("value", "low", "high"),
    In: ("value",),
    HasValue: ("value",),
    TimeInWindow: ("value",),
}
PART_NAMES: dict[type[Value], tuple[str, ...]] = {
    Arithmetic: ("arithmetic.left", "arithmetic.right"),
    Negative: ("negative",),
    DaysSinceEvent: ("days_since_event",),
}

# How each node is called in the public protocol; paths of errors use these names.
NODE_NAMES: dict[type[Expression], str] = {
    And: "conjunction",
    Or: "disjunction",
    Not: "negation",
    AtLeast: "at_least",
    Everyone: "everyone",
    Nobody: "nobody",
    Unfinished: "unfinished",
    HasTags: "has_tags",
    IsSet: "is_set",
    Comparison: "comparison",
    Between: "between",
    In: "in",
    TextMatch: "text_match",
    InWindow: "in_window",
    Anniversary: "anniversary",
    OnChannel: "on_channel",
    Did: "did",
    Never: "never",
    Only: "only",
    EventHas: "event_has",
    HasValue: "has_value",
    TimeInWindow: "time_in_window",
    Overdue: "overdue",
    Sequence: "sequence",
    Became: "became",
    Tagged: "tagged",
    BandIs: "band_is",
    Crossed: "crossed",
}

# What a filter of events may be made of.
FILTER_NODES = (And, Or, Not, AtLeast, Comparison, Between, In, IsSet, TextMatch, Unfinished)


def child_path(path: str, node: Expression, index: int) -> str:
    """The path of a node's operand: `expression` -> `expression.conjunction.operands[2]`, and for a negation
    `expression.negation`."""
    name = NODE_NAMES[type(node)]
    return f"{path}.{name}" if isinstance(node, Not) else f"{path}.{name}.operands[{index}]"


def node_path(path: str, node: Expression) -> str:
    """The path of the node itself: `expression.comparison`."""
    return f"{path}.{NODE_NAMES[type(node)]}"


def walk(root: Expression, path: str = "expression", depth: int = 1) -> Iterator[tuple[Expression, str, int]]:
    """Every node with its path and its depth (the root's is `depth`), parents first, without recursion. Filters of
    events are not entered: see `filters_of`."""
    pending = [(root, path, depth)]
    while pending:
        node, where, depth = pending.pop()
        yield node, where, depth
        below = operands_of(node)
        pending.extend((child, child_path(where, node, i), depth + 1) for i, child in reversed(list(enumerate(below))))


def skip_unfinished(root: Expression) -> tuple[Expression, tuple[str, ...]]:
    """The expression without its unfinished nodes, and the paths of those skipped.

    A skipped operand leaves its AND, OR or 'at least'; one that loses all operands, and a NOT of a skipped operand,
    are skipped with it (only the innermost is reported); an 'at least k' asks for no more than the operands that
    remain. If nothing remains the answer is `everyone`. Lists without values are unfinished too. Raises
    ExpressionTooDeep. Filters of events are cleaned in the same way; one of which nothing remains is as if it had not
    been given.
    """
    skipped: list[str] = []

    def clean(node: Expression, path: str, depth: int = 1) -> Expression | None:
        if depth > MAX_DEPTH:
            raise ExpressionTooDeep(
                f"the expression is deeper than {MAX_DEPTH}; group or shorten it", path=path, limit=MAX_DEPTH
            )
        match node:
            case Unfinished():
                skipped.append(path)
                return None
            case (
                In(options=())
                | HasTags(tags=())
                | BandIs(labels=())
                | And(operands=())
                | Or(operands=())
                | AtLeast(operands=())
            ):
                skipped.append(node_path(path, node))
                return None
            case Not():
                inner = clean(node.operand, child_path(path, node, 0), depth + 1)
                return None if inner is None else Not(inner)
            case And() | Or() | AtLeast():
                kept = tuple(
                    c
                    for i, child in enumerate(node.operands)
                    if (c := clean(child, child_path(path, node, i), depth + 1)) is not None
                )
                if not kept:
                    return None
                if isinstance(node, AtLeast):
                    return AtLeast(min(node.count, len(kept)) if len(kept) < len(node.operands) else node.count, kept)
                return type(node)(kept)

        return with_filters(node, lambda inner, place: clean(inner, f"{node_path(path, node)}.{place}", depth + 1))

    cleaned = clean(root, "expression")
    return (Everyone() if cleaned is None else cleaned), tuple(skipped)
