"""Plans that are kept for when the same is asked again: of a segment that a service counts each second, of what an
editor asks after each key.

What was read of an expression is kept whatever is written. A plan is kept for as long as nothing is: it is of one
state of the account, which every commit, merge and declaration moves. It is of its instant too: `segidx.plan.instants`
says at which others it holds, and how it is moved to them. A plan for which all is stored that it asks about is kept
with its program.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from segidx.exec.evaluate import Counting, count_once, is_stored, stop_errors
from segidx.exec.query import Limits, Prepared, plan_of, read_expression
from segidx.exec.recent import Recent, size_of
from segidx.model.expression import Expression
from segidx.model.windows import Window
from segidx.plan.context import BindContext
from segidx.plan.instants import Span, TimeAsked, looks_alike, moved, table_bytes
from segidx.store.catalog import State

PLANS_BYTES = 16 << 20
"""Memory for the plans of one opened account, and as much for what was read."""

# What a plan and its program take, as a multiple of their expression, without tables of codes.
_PLAN = 3

Asked = tuple[Expression | str, bool]  # what is asked, and whether unfinished nodes are left out


@dataclass(slots=True, eq=False)
class _Read:
    """An expression that was checked; as a key it is itself alone, which costs nothing to tell."""

    expression: Expression
    skipped: tuple[str, ...]
    size: int


@dataclass(slots=True)
class _Kept:
    """A plan that was bound to a state at an instant."""

    prepared: Prepared
    state: State
    at: int
    time: TimeAsked
    counting: Counting | None = None

    def at_instant(self, context: BindContext) -> Prepared | None:
        """The plan for a context of this state; None where it has to be bound anew."""
        time = self.time
        if context.at == self.at or time.is_nothing:
            return self.prepared
        if time.instant or (time.day is not None and time.day != context.today):
            return None
        if any(context.bounds(window) != bounds for window, bounds in time.bounds.items()):
            return None
        spans: dict[Window, Span] = {}
        for window, before in time.spans.items():
            after = spans[window] = context.span(window)
            if not looks_alike(before, self.at, after, context.at):
                return None
            # Behind all horizons none is in the way.
            if time.horizons and min(before[0], after[0]) < context.last_horizon:
                return None
        plan = moved(self.prepared.plan, spans)
        return self.prepared if plan is self.prepared.plan else replace(self.prepared, plan=plan)


class KeptPlans:
    """The plans of one opened account. Safe for threads."""

    def __init__(self, limits: Limits, most_bytes: int = PLANS_BYTES) -> None:
        self._limits = limits
        self._read = Recent[Asked, _Read](most_bytes)
        self._kept = Recent[_Read, _Kept](most_bytes)
        self._state: State | None = None

    def count(
        self, asked: Expression | str, context: BindContext, *, allow_unfinished: bool = False
    ) -> tuple[int, tuple[str, ...]]:
        """(how many contacts the expression holds, paths of skipped nodes), for a context of the present: of an instant
        behind all events. Raises every typed error that an expression can have, DeadlineExceeded, Cancelled."""
        kept, prepared = self._prepared((asked, allow_unfinished), context)
        with stop_errors():
            if prepared is kept.prepared and kept.counting is not None:
                return kept.counting.count(context.stop), prepared.skipped
            if not is_stored(prepared.plan):
                return count_once(prepared.plan, context), prepared.skipped
            kept.counting = Counting(prepared.plan, context)
            return kept.counting.count(context.stop), prepared.skipped

    def prepared(self, asked: Expression | str, context: BindContext) -> Prepared:
        """The plan alone, ready for this context."""
        return self._prepared((asked, False), context)[1]

    def clear(self) -> None:
        """Forget everything, before the pages go that programs point to."""
        self._read.clear()
        self._kept.clear()

    def _prepared(self, asked: Asked, context: BindContext) -> tuple[_Kept, Prepared]:
        try:
            read = self._read.get(asked)
        except (TypeError, RecursionError):  # no key: a list in place of a tuple, or deeper than is allowed
            return self._bound(self._checked(asked), context)
        if read is None:
            # Most questions are never asked again: the plan of one is kept when it was.
            read = self._checked(asked)
            bound = self._bound(read, context)
            read.size = size_of(asked) + (size_of(read.expression) if isinstance(asked[0], str) else 0)
            self._read.put(asked, read, read.size)
            return bound
        state = context.snapshot.state
        kept = self._kept.get(read)
        if kept is not None and (kept.state is state or kept.state == state):
            prepared = kept.at_instant(context)
            if prepared is not None:
                return kept, prepared
        kept, prepared = self._bound(read, context)
        if self._is_newest(state):
            # A program has a copy of a plan's tables.
            self._kept.put(read, kept, _PLAN * read.size + 2 * table_bytes(prepared.plan))
        return kept, prepared

    def _checked(self, asked: Asked) -> _Read:
        expression, allow_unfinished = asked
        return _Read(*read_expression(expression, self._limits, allow_unfinished=allow_unfinished), 0)

    def _bound(self, read: _Read, context: BindContext) -> tuple[_Kept, Prepared]:
        if not context.time.is_nothing:
            context.time.taken()
        prepared = plan_of(read.expression, read.skipped, context)
        return _Kept(prepared, context.snapshot.state, context.at, context.time.taken()), prepared

    def _is_newest(self, state: State) -> bool:
        """Whether no later state was seen. With the first plan of a state those of earlier ones go, and what they
        borrow."""
        if self._state is None or self._state.is_before(state):
            self._kept.clear()
            self._state = state
        return self._state == state
