"""AND inside AND, and OR inside OR, join; an AND or OR of one operand is the operand."""

from __future__ import annotations

from segidx.plan.nodes import AllOf, AnyOf, Plan


def flatten(plan: Plan) -> Plan:
    if not isinstance(plan, AllOf | AnyOf):
        return plan
    if len(plan.operands) == 1:
        return plan.operands[0]
    if not any(type(o) is type(plan) for o in plan.operands):
        return plan
    joined: list[Plan] = []
    for operand in plan.operands:
        joined.extend(operand.children if type(operand) is type(plan) else (operand,))
    return plan.with_children(tuple(joined))
