"""Explaining a plan: each node with its estimate, and on request its exact counts."""

from __future__ import annotations

from segidx.exec.evaluate import count
from segidx.model.results import ExplainNode
from segidx.plan.context import BindContext
from segidx.plan.nodes import (
    AllOf,
    AnyOf,
    AtLeastOf,
    CandidateCheck,
    Complement,
    CrossingScan,
    DerivedScan,
    EventHasScan,
    EventScan,
    Everything,
    FavouriteScan,
    GapScan,
    Nothing,
    Plan,
    PostingScan,
    RangeScan,
    SequenceScan,
    TableScan,
    all_of,
    any_of,
    at_least_of,
)

_OPERATIONS: dict[type[Plan], str] = {
    AllOf: "all_of",
    AnyOf: "any_of",
    AtLeastOf: "at_least_of",
    CandidateCheck: "candidate_check",
    Complement: "not",
    CrossingScan: "crossings",
    DerivedScan: "derived",
    EventHasScan: "events",
    EventScan: "events",
    Everything: "everything",
    FavouriteScan: "events",
    GapScan: "gaps",
    Nothing: "nothing",
    PostingScan: "posting",
    RangeScan: "range",
    SequenceScan: "sequence",
    TableScan: "table",
}


def explain_plan(root: Plan, context: BindContext, *, counts: bool) -> ExplainNode:
    """The plan as a tree of ExplainNodes.

    With `counts`, each node says how many contacts it holds alone, and how many the root would hold without it: the
    root with that operand left out of its AND, OR or 'at least' (which then asks for no more than remain).
    """
    return _explain(root, root, (), context, counts)


def _explain(node: Plan, root: Plan, where: tuple[int, ...], context: BindContext, counts: bool) -> ExplainNode:
    without = _without(root, where) if counts and where else None
    return ExplainNode(
        operation=_OPERATIONS[type(node)],
        detail=_detail(node),
        estimate=node.estimate,
        path=node.path,
        reason=node.reason if isinstance(node, Nothing | Everything) else "",
        count=count(node, context) if counts else None,
        count_without=None if without is None else count(without, context),
        children=tuple(_explain(child, root, (*where, i), context, counts) for i, child in enumerate(node.children)),
    )


def _detail(node: Plan) -> str:
    match node:
        case PostingScan() | CandidateCheck() | TableScan():
            return node.label
        case (
            CrossingScan() | DerivedScan() | EventScan() | EventHasScan() | FavouriteScan() | GapScan() | SequenceScan()
        ):
            return node.label
        case RangeScan():
            low = "" if node.low is None else f"{node.low} <= "
            high = "" if node.high is None else f" <= {node.high}"
            return f"{low}{node.label}{high}"
        case AtLeastOf():
            return str(node.count)
    return ""


def _without(root: Plan, where: tuple[int, ...]) -> Plan | None:
    """The root with the operand at `where` left out; None where it cannot be (the sole operand of a NOT, the
    approximation of a check)."""
    index, *rest = where
    child = root.children[index]
    if rest:
        replaced = _without(child, tuple(rest))
        if replaced is None:
            return None
        children = list(root.children)
        children[index] = replaced
        return root.with_children(tuple(children))
    kept = tuple(c for i, c in enumerate(root.children) if i != index)
    if not kept or not isinstance(root, AllOf | AnyOf | AtLeastOf):
        return None
    if isinstance(root, AtLeastOf):
        return at_least_of(min(root.count, len(kept)), kept, root.total, root.path)
    return (all_of if isinstance(root, AllOf) else any_of)(kept, root.total, root.path)
