"""Each rewrite rule on its own: what it changes, and what it must leave alone."""

from __future__ import annotations

from segidx.model.results import Estimate
from segidx.plan.nodes import (
    AllOf,
    AnyOf,
    AtLeastOf,
    Complement,
    Everything,
    Nothing,
    Plan,
    PostingScan,
    RangeScan,
    all_of,
    any_of,
    at_least_of,
    complement,
    everything,
    nothing,
)
from segidx.plan.optimise import optimise
from segidx.plan.rules.at_least import simple_at_least
from segidx.plan.rules.constants import propagate_constants
from segidx.plan.rules.contradiction import contradiction
from segidx.plan.rules.double_negation import double_negation
from segidx.plan.rules.duplicates import drop_duplicates
from segidx.plan.rules.empty import empty_or_full
from segidx.plan.rules.flatten import flatten
from segidx.plan.rules.merge_ranges import merge_ranges
from segidx.plan.rules.order import order_by_cost

TOTAL = 1000


def leaf(code: int, count: int = 100) -> PostingScan:
    return PostingScan(Estimate(count, count, count), f"path{code}", 1, code, f"leaf {code}")


def span(low: int | None, high: int | None, field: int = 2) -> RangeScan:
    return RangeScan(Estimate(10, 20, 30), "path", field, low, high, "score")


def both(*operands: Plan) -> Plan:
    return all_of(operands, TOTAL, "and")


def either(*operands: Plan) -> Plan:
    return any_of(operands, TOTAL, "or")


def no(operand: Plan) -> Plan:
    return complement(operand, TOTAL, "not")


A, B, C = leaf(1), leaf(2), leaf(3)
ALL = everything("test", TOTAL, "all")
NONE = nothing("test", "none")


def test_flatten_joins_and_in_and_but_not_and_in_or() -> None:
    assert flatten(both(A, both(B, C))) == both(A, B, C)
    assert flatten(either(A, either(B, C))) == either(A, B, C)
    mixed = either(A, both(B, C))
    assert flatten(mixed) is mixed


def test_flatten_unwraps_a_single_operand() -> None:
    assert flatten(both(A)) is A
    assert flatten(either(A)) is A
    assert flatten(at_least_of(1, (A,), TOTAL, "")) == at_least_of(1, (A,), TOTAL, "")


def test_double_negation() -> None:
    assert double_negation(no(no(A))) is A
    once = no(A)
    assert double_negation(once) is once


def test_nothing_and_everything_decide_or_leave() -> None:
    assert isinstance(propagate_constants(both(A, NONE)), Nothing)
    assert propagate_constants(both(A, ALL)) == both(A)
    assert isinstance(propagate_constants(either(A, ALL)), Everything)
    assert propagate_constants(either(A, NONE)) == either(A)
    assert isinstance(propagate_constants(both(ALL, ALL)), Everything)
    assert isinstance(propagate_constants(either(NONE, NONE)), Nothing)
    assert isinstance(propagate_constants(no(NONE)), Everything)
    assert isinstance(propagate_constants(no(ALL)), Nothing)


def test_at_least_counts_constants() -> None:
    def at_least(count: int, *operands: Plan) -> Plan:
        return at_least_of(count, operands, TOTAL, "")

    assert propagate_constants(at_least(2, ALL, A, B)) == at_least(1, A, B)
    assert propagate_constants(at_least(2, NONE, A, B)) == at_least(2, A, B)
    assert isinstance(propagate_constants(at_least(2, NONE, A)), Nothing)
    assert isinstance(propagate_constants(at_least(2, ALL, ALL, A)), Everything)
    assert simple_at_least(at_least(1, A, B)) == either(A, B)
    assert simple_at_least(at_least(2, A, B)) == both(A, B)
    assert isinstance(simple_at_least(at_least(3, A, B)), Nothing)
    kept = at_least(2, A, A, B)
    assert simple_at_least(kept) is kept
    assert drop_duplicates(kept) is kept, "an operand that stands twice counts twice"


def test_duplicates_and_contradictions() -> None:
    assert drop_duplicates(both(A, B, A)) == both(A, B)
    assert isinstance(contradiction(both(A, no(A))), Nothing)
    assert isinstance(contradiction(either(A, no(A))), Everything)
    kept = both(A, no(B))
    assert contradiction(kept) is kept


def test_ranges_of_one_column_merge() -> None:
    merged = merge_ranges(both(span(1, None), span(None, 9), A))
    assert isinstance(merged, AllOf)
    assert span(1, 9) in merged.operands
    assert len(merged.operands) == 2
    assert isinstance(merge_ranges(both(span(5, None), span(None, 4))).children[0], Nothing)
    two = both(span(1, None, field=2), span(None, 9, field=3))
    assert merge_ranges(two) is two


def test_overlapping_and_adjacent_ranges_unite_in_an_or() -> None:
    assert merge_ranges(either(span(1, 4), span(5, 9))).children == (span(1, 9),)
    assert merge_ranges(either(span(1, 6), span(5, 9))).children == (span(1, 9),)
    assert merge_ranges(either(span(None, 3), span(2, None))).children == (span(None, None),)
    gap = either(span(1, 4), span(6, 9))
    assert merge_ranges(gap) is gap


def test_empty_leaves_become_nothing_with_a_reason() -> None:
    found = empty_or_full(leaf(7, 0))
    assert isinstance(found, Nothing)
    assert "leaf 7" in found.reason
    assert empty_or_full(A) is A


def test_order_puts_the_smallest_first_in_and_the_largest_in_or() -> None:
    small, large = leaf(8, 5), leaf(9, 900)
    assert order_by_cost(both(large, small)).children == (small, large)
    assert order_by_cost(either(small, large)).children == (large, small)


def test_optimise_reaches_a_fixed_point_and_names_its_rules() -> None:
    plan, rules = optimise(both(A, both(B, no(no(C))), ALL, A))
    assert set(plan.children) == {A, B, C}
    assert {"flatten", "double_negation", "propagate_constants", "drop_duplicates"} <= set(rules)
    again, none = optimise(plan)
    assert again == plan
    assert none == ()


def test_without_rules_nothing_changes() -> None:
    plan = both(A, both(B, no(no(C))), ALL, A)
    assert optimise(plan, rules=()) == (plan, ())


def test_estimates_bound_the_truth() -> None:
    a, b = leaf(1, 600), leaf(2, 700)
    assert both(a, b).estimate == Estimate(300, 420, 600)
    assert either(a, b).estimate == Estimate(700, 880, 1000)
    assert no(a).estimate == Estimate(400, 400, 400)
    two = at_least_of(2, (a, b), TOTAL, "").estimate
    assert two.lo == 300
    assert two.hi == 650
    assert isinstance(at_least_of(2, (a, b), TOTAL, ""), AtLeastOf)
    assert isinstance(either(a, b), AnyOf)
    assert isinstance(no(a), Complement)
