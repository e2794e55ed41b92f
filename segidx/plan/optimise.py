"""Rewriting a plan: the rules, bottom up, until none changes a node."""

from __future__ import annotations

from collections.abc import Sequence

from segidx.plan.nodes import Plan
from segidx.plan.rules import RULES, Rule, rules_about

# A rule shrinks a node or orders it once, so a handful of rounds reach the fixed point; the bound guards mistakes.
_MAX_ROUNDS = 32


def optimise(plan: Plan, rules: Sequence[Rule] = RULES) -> tuple[Plan, tuple[str, ...]]:
    """(an equal, cheaper plan; names of the rules that changed something, in order of first use)."""
    used: dict[str, None] = {}
    return _rewrite(plan, tuple(rules), used), tuple(used)


def _rewrite(plan: Plan, rules: tuple[Rule, ...], used: dict[str, None]) -> Plan:
    before = plan.children
    if before:
        children = tuple([_rewrite(child, rules, used) for child in before])
        if any(new is not old for new, old in zip(children, before, strict=True)):
            plan = plan.with_children(children)
    for _ in range(_MAX_ROUNDS):
        start = plan
        for rule in rules_about(type(plan), rules):
            rewritten = rule(plan)
            if rewritten is not plan:
                used.setdefault(rule.__name__)
                plan = rewritten
        if plan is start:
            return plan
    raise AssertionError(f"the rules do not settle on {plan}")
