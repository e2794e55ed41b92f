"""Nothing and Everything move up: they decide an AND or an OR, or leave it; NOT turns one into the other; an
'at least' counts an Everything as one condition that holds."""

from __future__ import annotations

from segidx.plan.nodes import (
    AllOf,
    AnyOf,
    AtLeastOf,
    Complement,
    Everything,
    Nothing,
    Plan,
    at_least_of,
    everything,
    nothing,
)


def propagate_constants(plan: Plan) -> Plan:
    if isinstance(plan, Complement):
        operand = plan.operands[0]
        if isinstance(operand, Nothing):
            return everything(f"not: {operand.reason}", plan.total, plan.path)
        if isinstance(operand, Everything):
            return nothing(f"not: {operand.reason}", plan.path)
        return plan
    if isinstance(plan, AtLeastOf):
        certain = sum(isinstance(o, Everything) for o in plan.operands)
        if certain >= plan.count:
            return everything("enough conditions hold for everyone", plan.total, plan.path)
        kept = tuple(o for o in plan.operands if not isinstance(o, Nothing | Everything))
        if len(kept) == len(plan.operands):
            return plan
        if plan.count - certain > len(kept):
            return nothing("too few conditions can hold", plan.path)
        return at_least_of(plan.count - certain, kept, plan.total, plan.path)
    if not isinstance(plan, AllOf | AnyOf):
        return plan
    decisive, neutral = (Nothing, Everything) if isinstance(plan, AllOf) else (Everything, Nothing)
    for operand in plan.operands:
        if isinstance(operand, decisive):
            return operand
    kept = tuple(o for o in plan.operands if not isinstance(o, neutral))
    if not kept:
        return plan.operands[0]
    return plan if len(kept) == len(plan.operands) else plan.with_children(kept)
