"""Rewriting a plan: the rules, bottom up, until none changes a node."""

from __future__ import annotations

from collections.abc import Sequence

from segidx.plan.nodes import Plan
from segidx.plan.rules import RULES, Rule

# A rule shrinks a node or orders it once, so a handful of rounds reach the fixed point; the bound guards mistakes.
_MAX_ROUNDS = 32


def optimise(plan: Plan, rules: Sequence[Rule] = RULES) -> tuple[Plan, tuple[str, ...]]:
    """(an equal, cheaper plan; names of the rules that changed something, in order of first use)."""
    used: dict[str, None] = {}
    return _rewrite(plan, rules, used), tuple(used)


def _rewrite(plan: Plan, rules: Sequence[Rule], used: dict[str, None]) -> Plan:
    children = tuple(_rewrite(child, rules, used) for child in plan.children)
    if any(new is not old for new, old in zip(children, plan.children, strict=True)):
        plan = plan.with_children(children)
    for _ in range(_MAX_ROUNDS):
        before = plan
        for rule in rules:
            rewritten = rule(plan)
            if rewritten is not plan:
                used.setdefault(rule.__name__)
                plan = rewritten
        if plan is before:
            return plan
    raise AssertionError(f"the rules do not settle on {plan}")
