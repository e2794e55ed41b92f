"""Ranges of one column in an AND become their intersection, so that `a >= 1 and a < 9` is one scan. In an OR,
overlapping and adjacent ranges become their union."""

from __future__ import annotations

from dataclasses import replace

from segidx.model.results import Estimate
from segidx.plan.nodes import AllOf, AnyOf, Plan, RangeScan, nothing

_LOW, _HIGH = -(2**63), 2**63 - 1


def merge_ranges(plan: Plan) -> Plan:
    if not isinstance(plan, AllOf | AnyOf):
        return plan
    by_field: dict[int, list[RangeScan]] = {}
    for operand in plan.operands:
        if isinstance(operand, RangeScan):
            by_field.setdefault(operand.field_id, []).append(operand)
    if all(len(scans) == 1 for scans in by_field.values()):
        return plan
    merge = _intersection if isinstance(plan, AllOf) else _union
    merged = [m for scans in by_field.values() for m in merge(scans, plan.total)]
    if len(merged) == sum(map(len, by_field.values())):
        return plan
    return plan.with_children((*(o for o in plan.operands if not isinstance(o, RangeScan)), *merged))


def _ends(scan: RangeScan) -> tuple[int, int]:
    return (_LOW if scan.low is None else scan.low), (_HIGH if scan.high is None else scan.high)


def _with_ends(scan: RangeScan, low: int, high: int, estimate: Estimate) -> RangeScan:
    return replace(scan, low=None if low == _LOW else low, high=None if high == _HIGH else high, estimate=estimate)


def _intersection(scans: list[RangeScan], total: int) -> list[Plan]:
    low = max(_ends(s)[0] for s in scans)
    high = min(_ends(s)[1] for s in scans)
    if low > high:
        return [nothing(f"no value of {scans[0].label} lies in all the ranges given", scans[0].path)]
    hi = min(s.estimate.hi for s in scans)
    # |A and B| of two half-lines that cover everything set is |A| + |B| - |set|, which `total` bounds from above.
    lo = max(0, sum(s.estimate.lo for s in scans) - (len(scans) - 1) * total)
    expected = max(lo, min(hi, sum(s.estimate.expected for s in scans) - (len(scans) - 1) * total))
    return [_with_ends(scans[0], low, high, Estimate(lo, expected, hi))]


def _union(scans: list[RangeScan], total: int) -> list[Plan]:
    joined: list[RangeScan] = []
    for scan in sorted(scans, key=_ends):
        low, high = _ends(scan)
        if joined and low <= _ends(joined[-1])[1] + 1:
            last = joined[-1]
            a, b = last.estimate, scan.estimate
            estimate = Estimate(max(a.lo, b.lo), min(total, a.expected + b.expected), min(total, a.hi + b.hi))
            joined[-1] = _with_ends(last, _ends(last)[0], max(_ends(last)[1], high), estimate)
        else:
            joined.append(scan)
    return list(joined)
