"""Orders of months of events by the values of a column, kept in memory for the questions to come.

A question about one value of a property (one product, one producer) scans the property's codes of whole months. When
so many of them were asked that they have taken about as long as ordering the month does, the month is put in order, and
the questions after it look at that value's rows alone: ordering never costs more than the questions before it did. An
order is made of what is stored, and is not stored itself: a month that a merge has changed is scanned again until it is
asked for often enough. Orders take a bounded amount of memory; those unused for longest give way.

Knows nothing of questions: it is told which columns they ask for by value.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from weakref import ref

from segidx.kernels.events import EventFilter, EventMeasure, EventMonth, EventOrder

ORDERS_BYTES = 256 << 20
"""Memory for the orders of one opened account."""

# Scans of a column that take about as long as putting its month in order does.
SCANS = 16
# A month of fewer rows is scanned faster than a question is asked.
LEAST_ROWS = 1 << 16
# Of fewer values each has so many rows that they are scanned anyway.
LEAST_VALUES = 16
_NEVER = -(1 << 62)  # of a month as it is

Key = tuple[int, int, int]  # type, month, column


class _Kept:
    """What is known of a month by one column."""

    __slots__ = ("asked", "measures", "month", "order", "summed")

    def __init__(self, month: EventMonth) -> None:
        self.month = ref(month)
        self.asked = 0
        self.order: EventOrder | None = None
        self.summed: dict[int, int] = {}  # by measure, how often since there is the order
        self.measures: dict[int, EventMeasure] = {}

    @property
    def nbytes(self) -> int:
        measures = sum(measure.nbytes for measure in self.measures.values())
        return measures if self.order is None else measures + self.order.nbytes

    def follow(self, month: EventMonth) -> None:
        """Go on with the month opened anew, since something has changed: perhaps not this month."""
        self.month, self.asked, self.summed = ref(month), 0, {}
        if self.order is not None and not month.use(self.order):
            self.order = None
        kept = {column: each for column, each in self.measures.items() if self.order and month.measure(each)}
        self.measures = kept


class EventOrders:
    """The orders of one opened account. Safe for threads."""

    def __init__(self, most_bytes: int = ORDERS_BYTES) -> None:
        self._most = most_bytes
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()  # those unused for longest first

    @property
    def nbytes(self) -> int:
        """The memory that orders take now."""
        with self._lock:
            return self._bytes()

    def asked(
        self, type: int, months: Sequence[tuple[int, EventMonth]], filter: EventFilter, measure: int | None = None
    ) -> None:
        """A question with this filter, a sum over `measure` if that is given, is about to be put to these months of a
        type, each with its number: note it, and put one of them in order where that pays by now. The months' blocks are
        read, and must stay open meanwhile."""
        due: tuple[Key, EventMonth] | None = None
        with self._lock:
            for column in {equal.column for equal in filter.equals}:
                for number, month in months:
                    key = (type, number, column)
                    if month.rows >= LEAST_ROWS and self._is_due(key, month, measure):
                        due = due or (key, month)
        if due is not None and self._making.acquire(blocking=False):
            try:
                self._make(*due, measure)
            finally:
                self._making.release()

    def clear(self) -> None:
        with self._lock:
            for key in list(self._kept):
                self._drop(key)

    def _is_due(self, key: Key, month: EventMonth, measure: int | None) -> bool:
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = _Kept(month)
        self._kept.move_to_end(key)
        if kept.month() is not month:
            kept.follow(month)
        if kept.order is None:
            kept.asked += 1
            return kept.asked >= SCANS and _worth(month, key[2])
        if measure is None or measure in kept.measures:
            return False
        kept.summed[measure] = asked = kept.summed.get(measure, 0) + 1
        return asked >= SCANS

    def _make(self, key: Key, month: EventMonth, measure: int | None) -> None:
        with self._lock:
            kept = self._kept.get(key)
            order = None if kept is None else kept.order
        made: EventOrder | EventMeasure | None
        try:
            made = EventOrder(month, key[2]) if order is None else EventMeasure(month, order, measure or 0)
        except ValueError:
            made = None
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or kept.month() is not month or kept.order is not order:
                return
            if (
                made is None
                or (isinstance(made, EventOrder) and made.values < LEAST_VALUES)
                or made.nbytes > self._most
            ):
                kept.asked = kept.summed[measure or 0] = _NEVER
            elif isinstance(made, EventOrder):
                if month.use(made):
                    kept.order = made
            elif month.measure(made):
                kept.measures[made.column] = made
            self._shrink(key)

    def _shrink(self, but: Key) -> None:
        """Let go of orders until the rest fits."""
        for key in list(self._kept):
            if self._bytes() <= self._most:
                return
            if key != but:
                self._drop(key)

    def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key)
        month = kept.month()
        if month is not None:
            month.forget(key[2])

    def _bytes(self) -> int:
        return sum(kept.nbytes for kept in self._kept.values())


def _worth(month: EventMonth, column: int) -> bool:
    """What can be told before: whether there may be enough different values."""
    zone = month.zone(column)
    return zone is not None and zone[1] - zone[0] >= LEAST_VALUES - 1
