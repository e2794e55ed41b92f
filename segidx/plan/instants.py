"""What of a plan hangs on the instant of its evaluation: noted while it is bound, so that a plan that is kept is used
again as it is, or moved to another instant, or not at all.

Binding asks a `BindContext` for the time in four ways. For the instant itself: then the plan is of that instant alone.
For the local date, and for the ends of a window: then it is of those instants that have the same. And for the span of
a window of events, which a plan holds in `BoundEvents` and nowhere else: such a plan is moved by exchanging spans. What
it is made of stays the same if each span is empty or not, begins with all time or not and ends with the instant or not
as before; two selections of different windows are never taken for one, though they may be the same at some instant.

Imports the nodes and values of plans, and windows.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import date
from typing import Any, TypeVar, get_args, get_type_hints

from segidx.model.windows import MAX_INSTANT, MIN_INSTANT, Bounds, Window
from segidx.plan.nodes import Plan, TableScan
from segidx.plan.values import BoundEvents, BoundStep, BoundValue

Span = tuple[int, int]  # start <= time < end, in milliseconds since 1970
Moved = TypeVar("Moved")


@dataclass(slots=True)
class TimeAsked:
    """What a binding asked of its instant."""

    instant: bool = False
    day: date | None = None
    horizons: bool = False  # whether a span was compared with one
    bounds: dict[Window, Bounds] = field(default_factory=dict)
    spans: dict[Window, Span] = field(default_factory=dict)

    def taken(self) -> TimeAsked:
        """What was asked up to now, which this forgets."""
        found = TimeAsked(self.instant, self.day, self.horizons, self.bounds, self.spans)
        self.instant, self.day, self.horizons, self.bounds, self.spans = False, None, False, {}, {}
        return found

    @property
    def is_nothing(self) -> bool:
        return not (self.spans or self.instant or self.bounds or self.day is not None)


def looks_alike(before: Span, at: int, after: Span, later: int) -> bool:
    """Whether nothing that binding asks of a span's ends is different after it has moved."""
    return _look(before, at) == _look(after, later)


def _look(span: Span, at: int) -> tuple[bool, bool, bool]:
    start, end = span
    return start < end, start == MIN_INSTANT, end == min(at, MAX_INSTANT)


def moved(node: Moved, spans: dict[Window, Span]) -> Moved:
    """A plan, or a part of one, with the spans of its events' windows exchanged; the same object where none is
    another."""
    found: Any
    if isinstance(node, BoundEvents):
        if node.window is None or (span := spans[node.window]) == (node.start, node.end):
            return node
        found = BoundEvents(node.type, *span, node.where, node.opening, node.window)
        return found  # type: ignore[no-any-return]
    if isinstance(node, tuple):
        parts = [moved(part, spans) for part in node]
        if all(new is old for new, old in zip(parts, node, strict=True)):
            return node
        found = tuple(parts)
        return found  # type: ignore[no-any-return]
    changed: dict[str, object] = {}
    for name in _holders(type(node)):
        part = getattr(node, name)
        new = moved(part, spans)
        if new is not part:
            changed[name] = new
    if not changed:
        return node
    values = [changed[name] if name in changed else getattr(node, name) for name in _names(type(node))]
    found = type(node)(*values)
    return found  # type: ignore[no-any-return]


def table_bytes(node: object) -> int:
    """What the tables of codes in a plan, or in a part of one, take."""
    if isinstance(node, TableScan):
        return len(node.bits)
    if isinstance(node, BoundEvents):
        return sum([len(part) for step in node.where for part in step if type(part) is bytes])
    if isinstance(node, tuple):
        return sum([table_bytes(part) for part in node])
    return sum([table_bytes(getattr(node, name)) for name in _holders(type(node))])


# By class of a part: its fields, and those of them that hold parts, or tuples of them.
_NAMES: dict[type, tuple[str, ...]] = {}
_HOLDERS: dict[type, tuple[str, ...]] = {}


def _names(of: type) -> tuple[str, ...]:
    return _NAMES.get(of) or _learnt(of)[0]


def _holders(of: type) -> tuple[str, ...]:
    found = _HOLDERS.get(of)
    return _learnt(of)[1] if found is None else found


def _learnt(of: type) -> tuple[tuple[str, ...], tuple[str, ...]]:
    hints = get_type_hints(of)
    names = tuple(each.name for each in fields(of))
    holders = tuple(name for name in names if _holds_parts(hints[name]))
    _NAMES[of], _HOLDERS[of] = names, holders
    return names, holders


def _holds_parts(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, Plan | BoundValue | BoundEvents | BoundStep):
        return True
    return any(map(_holds_parts, get_args(hint)))
