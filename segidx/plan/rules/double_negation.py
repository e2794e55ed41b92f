"""NOT of NOT is the operand."""

from __future__ import annotations

from segidx.plan.nodes import Complement, Plan


def double_negation(plan: Plan) -> Plan:
    if isinstance(plan, Complement) and isinstance(plan.operands[0], Complement):
        return plan.operands[0].operands[0]
    return plan
