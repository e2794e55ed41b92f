"""Plan nodes: frozen values, each knowing its estimate and the expression node it came from.

Leaves say what is read: a posting, a range of a column, a table of a column's values, events, or a candidate check (a
superset first, then exact verification of only those contacts). Inner nodes are set algebra over the live universe.
Two nodes are equal if they read the same; estimates and origins do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from segidx.model.expression import Operator
from segidx.model.results import Estimate
from segidx.plan.values import BoundAggregate, BoundEvents, BoundFavourite, BoundGaps, BoundStep, BoundValue


@dataclass(frozen=True, slots=True)
class Plan:
    """Base of all nodes. `path` is the expression node's, for explaining and for errors."""

    estimate: Estimate = field(compare=False)
    path: str = field(compare=False)

    @property
    def children(self) -> tuple[Plan, ...]:
        return ()

    def with_children(self, children: tuple[Plan, ...]) -> Plan:
        """The same operation on other operands, its estimate recomputed."""
        assert not children
        return self


@dataclass(frozen=True, slots=True)
class Nothing(Plan):
    """No contact, and why."""

    reason: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Everything(Plan):
    """All live contacts, and why."""

    reason: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class PostingScan(Plan):
    """The contacts that hold one value: a stored bitmap."""

    field_id: int
    code: int
    label: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class RangeScan(Plan):
    """The contacts whose column value lies in [low, high]; None is open. Missing values never do."""

    field_id: int
    low: int | None
    high: int | None
    label: str = field(compare=False)  # the field's name


@dataclass(frozen=True, slots=True)
class TableScan(Plan):
    """The contacts whose column value v has bit v - base set in `bits` (least significant bit first)."""

    field_id: int
    base: int
    bits: bytes
    label: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class CandidateCheck(Plan):
    """A comparison that no index answers: `approximation` holds every contact that can satisfy it; those of them that
    the rest of the conjunction leaves are compared one by one."""

    approximation: Plan
    left: BoundValue
    operator: Operator
    right: BoundValue
    ci: bool  # strings only: ignore case
    label: str = field(compare=False)

    @property
    def children(self) -> tuple[Plan, ...]:
        return (self.approximation,)

    def with_children(self, children: tuple[Plan, ...]) -> Plan:
        (approximation,) = children
        if isinstance(approximation, Nothing):
            return Nothing(Estimate(0, 0, 0), self.path, approximation.reason)
        hi = min(self.estimate.hi, approximation.estimate.hi)
        return replace(self, approximation=approximation, estimate=Estimate(0, min(self.estimate.expected, hi), hi))


@dataclass(frozen=True, slots=True)
class EventScan(Plan):
    """The contacts whose aggregate, in whole units of its scale, lies in [low, high]; None is open. A contact without
    any such event is never among them: `low` of a count is 1 at least."""

    aggregate: BoundAggregate
    low: int | None
    high: int | None
    label: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class DerivedScan(Plan):
    """What an EventScan of the same aggregate holds, from columns that are kept of it: `columns` are their numbers, one
    for each selection of the aggregate. Contacts whose columns cannot know are answered from their events. `pieces`:
    the first and the last of the bitmaps of the one column's bands that hold just what lies in [low, high]."""

    aggregate: BoundAggregate
    columns: tuple[int, ...]
    low: int | None
    high: int | None
    label: str = field(compare=False)
    pieces: tuple[int, int] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class CrossingScan(Plan):
    """The contacts whose running value rises to `threshold` or above, in whole units of its scale, at the time of an
    event of the window, which is that of the aggregate's events: a COUNT or a SUM, made of the same events from the
    first one on."""

    aggregate: BoundAggregate
    threshold: int
    label: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class EventHasScan(Plan):
    """The contacts of whose events the first, or the `last`, is one of the `passing` and not one of the `failing`: of
    each selection of events the part that passes a filter, and at the same place the part that does not. A contact
    without any is never among them."""

    passing: tuple[BoundEvents, ...]
    failing: tuple[BoundEvents, ...]
    last: bool
    label: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class GapScan(Plan):
    """The contacts for which `gaps operator bound` holds: of days, or for EXPECTED of milliseconds since 1970."""

    gaps: BoundGaps
    operator: Operator
    bound: Fraction
    label: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class FavouriteScan(Plan):
    """The contacts whose favourite has one of the codes, ascending; None: that have one at all."""

    favourite: BoundFavourite
    codes: tuple[int, ...] | None
    label: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class SequenceScan(Plan):
    """The contacts with events of the steps one after another; only the last may be absent."""

    steps: tuple[BoundStep, ...]
    label: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Inner(Plan):
    """An operation on operands within a universe of `total` live contacts."""

    operands: tuple[Plan, ...]
    total: int = field(compare=False)

    @property
    def children(self) -> tuple[Plan, ...]:
        return self.operands


@dataclass(frozen=True, slots=True)
class AllOf(Inner):
    def with_children(self, children: tuple[Plan, ...]) -> Plan:
        return all_of(children, self.total, self.path)


@dataclass(frozen=True, slots=True)
class AnyOf(Inner):
    def with_children(self, children: tuple[Plan, ...]) -> Plan:
        return any_of(children, self.total, self.path)


@dataclass(frozen=True, slots=True)
class Complement(Inner):
    def with_children(self, children: tuple[Plan, ...]) -> Plan:
        (operand,) = children
        return complement(operand, self.total, self.path)


@dataclass(frozen=True, slots=True)
class AtLeastOf(Inner):
    count: int

    def with_children(self, children: tuple[Plan, ...]) -> Plan:
        return at_least_of(self.count, children, self.total, self.path)


def is_checked(plan: Plan) -> bool:
    """Whether a leaf below is answered contact by contact, so that it waits until its siblings have left few."""
    return isinstance(plan, _CHECKED) or any(map(is_checked, plan.children))


_CHECKED = (CandidateCheck, CrossingScan, EventScan, EventHasScan, FavouriteScan, GapScan, SequenceScan)


# --- constructors with estimates ---------------------------------------------------------------------------


def nothing(reason: str, path: str) -> Nothing:
    return Nothing(Estimate(0, 0, 0), path, reason)


def everything(reason: str, total: int, path: str) -> Everything:
    return Everything(Estimate(total, total, total), path, reason)


def all_of(operands: Sequence[Plan], total: int, path: str) -> Plan:
    """Estimate: Fréchet bounds, and independence for the expected value."""
    estimates = [o.estimate for o in operands]
    lo = max(0, sum(e.lo for e in estimates) - (len(estimates) - 1) * total)
    hi = min((e.hi for e in estimates), default=total)
    share = 1.0
    for e in estimates:
        share *= e.expected / total if total else 0.0
    return AllOf(_clamped(lo, share * total, hi), path, tuple(operands), total)


def any_of(operands: Sequence[Plan], total: int, path: str) -> Plan:
    estimates = [o.estimate for o in operands]
    lo = max((e.lo for e in estimates), default=0)
    hi = min(total, sum(e.hi for e in estimates))
    missing = 1.0
    for e in estimates:
        missing *= 1 - (e.expected / total if total else 0.0)
    return AnyOf(_clamped(lo, (1 - missing) * total, hi), path, tuple(operands), total)


def complement(operand: Plan, total: int, path: str) -> Plan:
    e = operand.estimate
    return Complement(_clamped(total - e.hi, total - e.expected, total - e.lo), path, (operand,), total)


def at_least_of(count: int, operands: Sequence[Plan], total: int, path: str) -> Plan:
    """Bounds by counting memberships: a contact in the answer takes `count` of them at least, one outside at most
    `count` - 1. Expected: the mean number of memberships against the count, Poisson-like."""
    estimates = [o.estimate for o in operands]
    n = len(estimates)
    if count > n:
        return AtLeastOf(Estimate(0, 0, 0), path, tuple(operands), total, count)
    hi = min(total, sum(e.hi for e in estimates) // count)
    spare = sum(e.lo for e in estimates) - (count - 1) * total
    lo = max(0, -(-spare // (n - count + 1)))
    mean = sum(e.expected for e in estimates) / total if total else 0.0
    return AtLeastOf(_clamped(lo, min(1.0, mean / count) ** count * total, hi), path, tuple(operands), total, count)


def _clamped(lo: int, expected: float, hi: int) -> Estimate:
    return Estimate(lo, min(hi, max(lo, round(expected))), hi)
