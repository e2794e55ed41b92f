"""A leaf whose bounds say that it holds nobody, or everybody, need not be read."""

from __future__ import annotations

from segidx.plan.nodes import (
    CandidateCheck,
    CrossingScan,
    EventHasScan,
    EventScan,
    FavouriteScan,
    GapScan,
    Inner,
    Nothing,
    Plan,
    PostingScan,
    RangeScan,
    SequenceScan,
    TableScan,
    nothing,
)

_LEAVES = (
    *(PostingScan, RangeScan, TableScan, CandidateCheck),
    *(CrossingScan, EventScan, EventHasScan, FavouriteScan, GapScan, SequenceScan),
)


def empty_or_full(plan: Plan) -> Plan:
    if isinstance(plan, _LEAVES) and plan.estimate.hi == 0:
        return nothing(f"no contact has {plan.label}", plan.path)
    if isinstance(plan, Inner) and plan.total == 0 and not isinstance(plan, Nothing):
        return nothing("there are no contacts", plan.path)
    return plan
