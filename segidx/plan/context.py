"""What binding may know: the schema, one snapshot's statistics, one instant, one zone."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, tzinfo
from functools import cached_property

from segidx.kernels.bitmaps import Stop
from segidx.model.events import EventType
from segidx.model.schema import Field, Schema
from segidx.model.windows import local_date
from segidx.store.snapshot import Snapshot


@dataclass(frozen=True)
class BindContext:
    """One evaluation's surroundings. `at` is evaluated_at, in milliseconds since 1970."""

    snapshot: Snapshot
    at: int
    zone: tzinfo
    stop: Stop | None = None
    # What `segidx.exec.attribution` has found and keeps for the rest of the evaluation.
    attributed: dict[tuple[int, ...], object] = field(default_factory=dict, compare=False, repr=False)
    # For pruning, which reads what is to be dropped: no horizon is in the way.
    behind_horizons: bool = False

    @property
    def schema(self) -> Schema:
        return self.snapshot.catalog.schema

    @cached_property
    def today(self) -> date:
        return local_date(self.at, self.zone)

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
        return None if self.behind_horizons else self.snapshot.catalog.horizon(type)

    def field_id(self, field: Field) -> int:
        return self.snapshot.field_id(field)
