"""Operands in the order of what they keep and cost. The evaluator orders again in each container, where it knows
exact cardinalities; this order is its tie-breaker, and what explain shows."""

from __future__ import annotations

from segidx.plan.nodes import (
    AllOf,
    AnyOf,
    CandidateCheck,
    CrossingScan,
    DerivedScan,
    EventHasScan,
    EventScan,
    FavouriteScan,
    GapScan,
    Plan,
    PostingScan,
    RangeScan,
    SequenceScan,
    TableScan,
    is_checked,
)

# What a contact costs to test by each kind of leaf, relative to a posting.
_COST = {
    PostingScan: 1,
    RangeScan: 8,
    TableScan: 12,
    DerivedScan: 10,
    EventScan: 500,
    CandidateCheck: 1000,
    CrossingScan: 2000,
    EventHasScan: 1000,
    FavouriteScan: 2000,
    GapScan: 1500,
    SequenceScan: 3000,
}


def cost(plan: Plan) -> int:
    """Relative cost of evaluating a plan over the whole universe."""
    below = plan.children
    return _own(plan) + sum(map(cost, below)) if below else _own(plan)


def _own(plan: Plan) -> int:
    if isinstance(plan, DerivedScan) and plan.pieces is not None:
        # Bands are bitmaps, a posting each; of the most that are asked for it is a little less than the column, as
        # measured (docs/adr/009-derived-columns.md).
        first, last = plan.pieces
        return (last - first + 1) * _COST[PostingScan]
    return _COST.get(type(plan), 0)


def order_by_cost(plan: Plan) -> Plan:
    if isinstance(plan, AllOf):
        ordered = sorted(plan.operands, key=lambda o: (is_checked(o), o.estimate.expected, cost(o)))
    elif isinstance(plan, AnyOf):
        ordered = sorted(plan.operands, key=lambda o: (is_checked(o), -o.estimate.expected, cost(o)))
    else:
        return plan
    return plan if tuple(ordered) == plan.operands else plan.with_children(tuple(ordered))
