"""x AND NOT x is nobody; x OR NOT x is everyone."""

from __future__ import annotations

from segidx.plan.nodes import AllOf, AnyOf, Complement, Plan, everything, nothing


def contradiction(plan: Plan) -> Plan:
    if not isinstance(plan, AllOf | AnyOf):
        return plan
    plain = set(plan.operands)
    if not any(isinstance(o, Complement) and o.operands[0] in plain for o in plan.operands):
        return plan
    if isinstance(plan, AllOf):
        return nothing("a condition and its opposite never hold together", plan.path)
    return everything("a condition or its opposite always holds", plan.total, plan.path)
