"""What binding may know: the schema, one snapshot's statistics, one instant, one zone."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, tzinfo
from functools import cached_property

from segidx.kernels.bitmaps import Stop
from segidx.model.events import EventType
from segidx.model.schema import Field, Schema
from segidx.model.windows import MAX_INSTANT, MIN_INSTANT, Bounds, Window, local_date, resolve_instants
from segidx.plan.instants import Span, TimeAsked
from segidx.store.snapshot import Snapshot


@dataclass(frozen=True)
class BindContext:
    """One evaluation's surroundings. `at` is evaluated_at, in milliseconds since 1970, for plans that run; what plans
    are made of asks for `instant`, `today`, `bounds` or `span` instead, which note it in `time`."""

    snapshot: Snapshot
    at: int
    zone: tzinfo
    stop: Stop | None = None
    # What `segidx.exec.attribution` has found and keeps for the rest of the evaluation.
    attributed: dict[tuple[int, ...], object] = field(default_factory=dict, compare=False, repr=False)
    # For pruning, which reads what is to be dropped: no horizon is in the way.
    behind_horizons: bool = False
    time: TimeAsked = field(default_factory=TimeAsked, compare=False, repr=False)

    @property
    def schema(self) -> Schema:
        return self.snapshot.catalog.schema

    @property
    def instant(self) -> int:
        """`at`, for a plan that is of this instant alone."""
        self.time.instant = True
        return self.at

    @property
    def today(self) -> date:
        self.time.day = self._today
        return self._today

    @cached_property
    def _today(self) -> date:
        return local_date(self.at, self.zone)

    def bounds(self, window: Window) -> Bounds:
        """The ends of a window, which the plan holds: [start, end) in milliseconds since 1970."""
        found = self.time.bounds[window] = resolve_instants(window, self.at, self.zone)
        return found

    def span(self, window: Window) -> Span:
        """start <= time < end of the events of a window, cut off at the instant of evaluation. The plan holds them as
        those of `BoundEvents` of this window, and nothing else that is made of them; see `looks_alike`."""
        found = self.time.spans.get(window)
        if found is None:
            start, end = resolve_instants(window, self.at, self.zone)
            found = MIN_INSTANT if start is None else start, min(self.at, MAX_INSTANT if end is None else end)
            self.time.spans[window] = found
        return found

    @cached_property
    def total(self) -> int:
        """Live contacts."""
        return self.snapshot.live_count()

    def check_stop(self) -> None:
        """Raise Stopped if the deadline has passed or the caller has gone; for work done outside the kernels."""
        if self.stop is not None:
            self.stop.check()

    def horizon(self, type: EventType) -> int | None:
        """The instant before which events of a type are dropped, in milliseconds since 1970; None where none is."""
        found = None if self.behind_horizons else self.snapshot.catalog.horizon(type)
        self.time.horizons |= found is not None
        return found

    @property
    def last_horizon(self) -> int:
        """The instant from which on no span reaches behind any horizon, nor do the visits that its orders may take a
        source from."""
        catalog = self.snapshot.catalog
        return max(catalog.horizons.values()) + catalog.source_settings.order_minutes * 60_000

    def field_id(self, field: Field) -> int:
        return self.snapshot.field_id(field)
