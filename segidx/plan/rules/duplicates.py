"""An operand that stands twice in an AND or an OR counts once. (Not in 'at least', where it counts twice.)"""

from __future__ import annotations

from segidx.plan.nodes import AllOf, AnyOf, Plan


def drop_duplicates(plan: Plan) -> Plan:
    if not isinstance(plan, AllOf | AnyOf):
        return plan
    if len(set(map(type, plan.operands))) == len(plan.operands):
        return plan
    distinct = tuple(dict.fromkeys(plan.operands))
    return plan if len(distinct) == len(plan.operands) else plan.with_children(distinct)
