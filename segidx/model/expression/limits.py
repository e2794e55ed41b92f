"""What is refused of an expression whatever the schema: empty lists, too deep, too large, unfinished, filters of events
with conditions on anything else. Imports the nodes and walking only.
"""

from __future__ import annotations

from segidx.model.errors import (
    EmptyOperands,
    ExpressionTooDeep,
    ExpressionTooLarge,
    InvalidExpression,
    UnfinishedExpression,
)
from segidx.model.expression.nodes import (
    MAX_DEPTH,
    MAX_NODES,
    Aggregate,
    And,
    AtLeast,
    BandIs,
    Between,
    Comparison,
    Did,
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
    TextMatch,
    Unfinished,
)
from segidx.model.expression.tree import FILTER_NODES, filters_of, node_path, parts_of, values_of, walk
from segidx.model.values import Constant, FieldValue, Value


def _value_size(value: Value, budget: int, depth: int, max_depth: int, path: str) -> int:
    """Number of value nodes under `value`, stopping past the budget. Raises ExpressionTooDeep."""
    pending = [(value, depth)]
    size = 0
    while pending and size <= budget:
        part, level = pending.pop()
        if level > max_depth:
            raise ExpressionTooDeep(
                f"the expression is deeper than {max_depth}; group or shorten it", path=path, limit=max_depth
            )
        size += 1
        pending.extend((below, level + 1) for below in parts_of(part))
    return size


def check(root: Expression, *, max_depth: int = MAX_DEPTH, max_nodes: int = MAX_NODES, finished: bool = True) -> None:
    """Refuse what no schema could make valid: empty operand lists, too deep, too large, unfinished nodes, filters of
    events with conditions on anything else.

    Depth counts nested expressions, filters of events and, inside predicates, nested arithmetic. Nodes are expression
    nodes, the values inside them and the listed constants. With `finished` false only depth and size are looked at.
    Raises EmptyOperands, ExpressionTooDeep, ExpressionTooLarge, UnfinishedExpression or InvalidExpression, each with
    the node's path.
    """
    if not _passes(root, max_depth, max_nodes, finished=finished):
        _refuse(root, max_depth, max_nodes, finished=finished)


def _refuse(root: Expression, max_depth: int, max_nodes: int, *, finished: bool) -> None:
    """Raise the error of the first node that has one. There may be none after all."""
    size = 0
    pending = [(root, "expression", 1, False)]
    while pending:
        top, place, level, in_filter = pending.pop()
        for node, path, depth in walk(top, place, level):
            size += 1
            if depth > max_depth:
                raise ExpressionTooDeep(
                    f"the expression is deeper than {max_depth}; group or shorten it", path=path, limit=max_depth
                )
            for value in values_of(node):
                if not isinstance(value, Constant | FieldValue):
                    size += _value_size(value, max_nodes - size, depth, max_depth, path)
            size += max(0, len(_listed(node)) - 1)
            if size > max_nodes:
                raise ExpressionTooLarge(
                    f"the expression has more than {max_nodes} nodes; put the values in a tag or a field instead",
                    path=path,
                    limit=max_nodes,
                )
            if finished:
                _check_node(node, path, in_filter=in_filter)
            for found in filters_of(node):
                where = f"{node_path(path, node)}.{found.place}"
                pending.append((found.node, where, depth + found.levels + 1, True))


_LEAVES = frozenset((Everyone, Nobody, IsSet, TextMatch, InWindow, OnChannel, Unfinished))
_IN_FILTERS = frozenset((And, Or, Not, AtLeast, Comparison, Between, In, IsSet, TextMatch, Unfinished))


def _passes(root: Expression, max_depth: int, max_nodes: int, *, finished: bool) -> bool:
    """Whether there is certainly nothing to refuse. Most expressions are sound, and to know that needs no paths; of
    nodes that are rare it is left to `_refuse`."""
    size = 0
    pending: list[tuple[Expression, int, bool]] = [(root, 1, False)]
    while pending:
        node, depth, in_filter = pending.pop()
        kind = type(node)
        size += 1
        if depth > max_depth or (in_filter and kind not in _IN_FILTERS) or (finished and kind is Unfinished):
            return False
        if isinstance(node, And | Or | AtLeast):
            if not node.operands:
                return False
            pending += [(operand, depth + 1, in_filter) for operand in node.operands]
        elif isinstance(node, Not):
            pending.append((node.operand, depth + 1, in_filter))
        elif isinstance(node, Did | Never):
            if node.events.where is not None:
                pending.append((node.events.where, depth + 1, True))
        elif isinstance(node, Only):
            pending += [(each, depth + 1, True) for each in (node.events.where, node.that) if each is not None]
        elif isinstance(node, Comparison | Between | In):
            fields = 0
            for value in values_of(node):
                if isinstance(value, FieldValue):
                    fields += 1
                elif isinstance(value, Aggregate) and not in_filter:
                    size += 1
                    if value.events.where is not None:
                        pending.append((value.events.where, depth + 1, True))
                elif not isinstance(value, Constant):
                    return False
            if in_filter and fields > 1:
                return False
            if isinstance(node, In):
                if not node.options:
                    return False
                size += len(node.options) - 1
        elif isinstance(node, HasTags):
            if not node.tags:
                return False
            size += len(node.tags) - 1
        elif kind not in _LEAVES:
            return False
        if size > max_nodes:
            return False
    return True


def _listed(node: Expression) -> tuple[object, ...]:
    """The constants that a predicate lists."""
    match node:
        case In():
            return node.options
        case HasTags():
            return node.tags
        case BandIs():
            return node.labels
    return ()


def _check_node(node: Expression, path: str, *, in_filter: bool) -> None:
    where = node_path(path, node)
    if in_filter and not (
        isinstance(node, FILTER_NODES) and all(isinstance(v, Constant | FieldValue) for v in values_of(node))
    ):
        raise InvalidExpression(
            "a filter of events has conditions on the event's own properties only; put the others beside it", path=where
        )
    if in_filter and sum(isinstance(v, FieldValue) for v in values_of(node)) > 1:
        raise InvalidExpression(
            "a filter of events compares a property with constants, not with another property", path=where
        )
    if isinstance(node, And | Or | AtLeast) and not node.operands:
        raise EmptyOperands(f"an empty {_spoken(node)} says nothing; give it operands or remove it", path=where)
    if isinstance(node, In) and not node.options:
        raise EmptyOperands("'in ()' lists no value; give it one or remove it", path=where)
    if isinstance(node, HasTags) and not node.tags:
        raise EmptyOperands("'has' lists no tag; give it one or remove it", path=where)
    if isinstance(node, BandIs) and not node.labels:
        raise EmptyOperands("'band in ()' lists no band; give it one or remove it", path=where)
    if isinstance(node, Unfinished):
        raise UnfinishedExpression("this condition is unfinished; complete it or remove it", path=path)


def _spoken(node: Expression) -> str:
    return {And: "AND", Or: "OR", AtLeast: "'at least'"}[type(node)]
