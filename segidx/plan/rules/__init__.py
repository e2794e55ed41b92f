"""Rewrite rules, one a file. Each is a function from a node to an equal, cheaper node (or the same object).

A rule looks at one node whose operands are rewritten already. It must keep the meaning for every snapshot; the test
suite runs every query with all rules and with none.
"""

from __future__ import annotations

from collections.abc import Callable

from segidx.plan.nodes import AllOf, AnyOf, AtLeastOf, Complement, Plan
from segidx.plan.rules.at_least import simple_at_least
from segidx.plan.rules.constants import propagate_constants
from segidx.plan.rules.contradiction import contradiction
from segidx.plan.rules.double_negation import double_negation
from segidx.plan.rules.duplicates import drop_duplicates
from segidx.plan.rules.empty import empty_or_full
from segidx.plan.rules.flatten import flatten
from segidx.plan.rules.merge_ranges import merge_ranges
from segidx.plan.rules.order import order_by_cost

Rule = Callable[[Plan], Plan]

RULES: tuple[Rule, ...] = (
    empty_or_full,
    simple_at_least,
    double_negation,
    flatten,
    propagate_constants,
    drop_duplicates,
    merge_ranges,
    contradiction,
    order_by_cost,
)

# The nodes that a rule may change; those that are not here may change any.
_ABOUT: dict[Rule, tuple[type[Plan], ...]] = {
    simple_at_least: (AtLeastOf,),
    double_negation: (Complement,),
    flatten: (AllOf, AnyOf),
    propagate_constants: (Complement, AtLeastOf, AllOf, AnyOf),
    drop_duplicates: (AllOf, AnyOf),
    merge_ranges: (AllOf, AnyOf),
    contradiction: (AllOf, AnyOf),
    order_by_cost: (AllOf, AnyOf),
}


_FOUND: dict[tuple[type[Plan], tuple[Rule, ...]], tuple[Rule, ...]] = {}


def rules_about(kind: type[Plan], rules: tuple[Rule, ...] = RULES) -> tuple[Rule, ...]:
    """Those of the rules that may change a node of that type."""
    found = _FOUND.get((kind, rules))
    if found is None:
        found = tuple(rule for rule in rules if issubclass(kind, _ABOUT.get(rule, (Plan,))))
        _FOUND[kind, rules] = found
    return found
