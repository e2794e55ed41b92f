"""Where the events of a window are: the blocks of its months, and the layers of the log above them."""

from __future__ import annotations

from typing import NamedTuple

from segidx.exec.pool import threads
from segidx.kernels.events import EventFilter, EventLayer, EventMonth
from segidx.model.events import EventType
from segidx.plan.context import BindContext
from segidx.plan.reach import check_reach
from segidx.store.events import month_of

Ranges = tuple[int, int]  # the first, and behind the last

RANGES_TOGETHER = 4  # that one thread reads: those of a container
# From so many nanoseconds on a second thread pays: handing work over takes some 10 microseconds here, and 50 until the
# other thread has begun. Each piece costs some 5 of its own.
_SHARED_NS, _PIECE_NS = 200_000, 50_000
# What a row of a layer takes: where all are added, and where they are compared first, a few of them added.
_LAYER_ADDED, _LAYER_ASKED = 3.0, 0.1


class HeldEvents(NamedTuple):
    """As the kernels take them."""

    months: tuple[EventMonth, ...]
    layers: tuple[EventLayer, ...]
    folded: tuple[int, int]

    @classmethod
    def of(
        cls,
        type: EventType,
        start: int,
        end: int,
        context: BindContext,
        filter: EventFilter | None = None,
        measure: int | None = None,
        *,
        opened: bool = False,
    ) -> HeldEvents:
        """Those of a type with start <= time < end (ms); to be asked with that filter, and for a sum over that measure,
        where it is known. Behind the type's horizon there are none: for what is `opened`, a balance holds what they
        came to."""
        snapshot = context.snapshot
        if start >= end:
            return cls((), (), (0, 0))
        if not opened:  # binding has asked before: nothing that is dropped may be taken for none
            check_reach(type, start, end, context)
        months = snapshot.event_months(type, month_of(start), month_of(end - 1), filter, measure)
        return cls(months, snapshot.event_layers(type), snapshot.events_folded(type))

    @staticmethod
    def locate(
        type: EventType,
        start: int,
        end: int,
        context: BindContext,
        filter: EventFilter | None,
        measure: int | None,
    ) -> None:
        """Those are about to be asked about some contacts alone, with that filter, for a sum over that measure where it
        is known."""
        if start < end:
            context.snapshot.locate_events(type, month_of(start), month_of(end - 1), filter, measure)

    @property
    def rows(self) -> int:
        """How many rows there are, those of the whole months and layers."""
        return sum([month.rows for month in self.months]) + sum([layer.rows for layer in self.layers])

    def cost(
        self, filter: EventFilter | None, measure: int = -1, contacts: int | None = None, *, located: bool = False
    ) -> int:
        """About how many nanoseconds of one thread a question with the filter takes, a sum over the column `measure` if
        that is not -1, about so many contacts alone if that is said, whose rows are `located` or will be."""
        months = sum([month.cost(filter, measure, contacts, located) for month in self.months])
        row = _LAYER_ADDED if filter is None and contacts is None else _LAYER_ASKED
        return months + int(row * sum([layer.rows for layer in self.layers]))

    def shares(self, pieces: int) -> list[Ranges]:
        """The ranges, ascending, in so many pieces at most; none without events."""
        last = max([month.last for month in self.months] + [layer.last for layer in self.layers], default=-1)
        if last < 0:
            return []
        if pieces == 1:
            return [(0, last + 1)]
        step = -(-(last + 1) // (pieces * RANGES_TOGETHER)) * RANGES_TOGETHER
        return [(first, first + step) for first in range(0, last + 1, step)]


def pieces_worth(cost: int) -> int:
    """In how many pieces work of so many nanoseconds is shared: one where that does not pay."""
    if threads() == 1 or cost < _SHARED_NS:
        return 1
    return max(threads(), min(a_few_each(), cost // _PIECE_NS))


def a_few_each() -> int:
    """In how many pieces work is shared, so that all threads end together."""
    return 4 * threads()
