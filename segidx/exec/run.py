"""`Run`: one evaluation, from its snapshot to what its answer says of it.

Knows nothing of what is evaluated, nor of accounts beyond their store.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from segidx.exec.kept_plans import KeptPlans
from segidx.exec.query import Limits, Prepared, prepare
from segidx.kernels.bitmaps import Stop
from segidx.model.expression import Expression
from segidx.model.results import Count, Evaluation
from segidx.model.windows import from_millis
from segidx.plan.context import BindContext
from segidx.store.environment import AccountStore
from segidx.store.snapshot import Snapshot


class Run:
    """An evaluation of the present, as a context: its snapshot, its instant, its stopwatch. Merges make way for it."""

    context: BindContext  # while it runs

    def __init__(
        self, store: AccountStore, clock: Callable[[], int], limits: Limits, plans: KeptPlans, stop: Stop | None
    ) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._plans = plans
        self._stop = stop

    def __enter__(self) -> Run:
        self._store.courtesy.enter()
        snapshot: Snapshot | None = None
        try:
            snapshot = self._store.snapshot()
            # Behind all that was accepted, also where the clock of who sent it is ahead.
            at = max(self._clock(), snapshot.newest_event or 0) + 1
        except BaseException:
            if snapshot is not None:
                snapshot.close()
            self._store.courtesy.leave()
            raise
        self.context = BindContext(snapshot, at, self._store.info.tz, self._stop)
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.context.snapshot.close()
        finally:
            self._store.courtesy.leave()

    def restart_timer(self) -> None:
        self._started = time.perf_counter()

    def count(self, expression: Expression | str, allow_unfinished: bool) -> Count:
        """How many contacts the expression holds. Plans are kept for when it is asked again."""
        found, skipped = self._plans.count(expression, self.context, allow_unfinished=allow_unfinished)
        return Count(found, self.done(skipped))

    def prepare(self, expression: Expression | str, allow_unfinished: bool) -> Prepared:
        return prepare(expression, self.context, self._limits, allow_unfinished=allow_unfinished)

    def done(self, skipped: tuple[str, ...] = ()) -> Evaluation:
        """What an answer says of the evaluation, now that it is done."""
        elapsed = (time.perf_counter() - self._started) * 1000
        return Evaluation(self.context.snapshot.generation, from_millis(self.context.at), elapsed, skipped)
