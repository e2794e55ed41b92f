"""At least one of is OR, at least all of is AND, at least more than there are is nobody."""

from __future__ import annotations

from segidx.plan.nodes import AtLeastOf, Plan, all_of, any_of, nothing


def simple_at_least(plan: Plan) -> Plan:
    if not isinstance(plan, AtLeastOf):
        return plan
    operands = plan.operands
    if plan.count > len(operands):
        return nothing(f"{len(operands)} conditions can never hold {plan.count} times", plan.path)
    if plan.count == 1:
        return any_of(operands, plan.total, plan.path)
    if plan.count == len(operands):
        return all_of(operands, plan.total, plan.path)
    return plan
