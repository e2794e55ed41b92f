"""x AND NOT x is nobody; x OR NOT x is everyone."""

from __future__ import annotations

from segidx.plan.nodes import AllOf, AnyOf, Complement, Plan, everything, nothing


def contradiction(plan: Plan) -> Plan:
    if not isinstance(plan, AllOf | AnyOf):
        return plan
    opposites = [o.operands[0] for o in plan.operands if isinstance(o, Complement)]
    if not opposites or set(plan.operands).isdisjoint(opposites):
        return plan
    if isinstance(plan, AllOf):
        return nothing("a condition and its opposite never hold together", plan.path)
    return everything("a condition or its opposite always holds", plan.total, plan.path)
