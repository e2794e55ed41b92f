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

from segidx.kernels.events import EventFilter, EventMonth, EventOrder

ORDERS_BYTES = 256 << 20
"""Memory for the orders of one opened account."""

# Scans of a column that take about as long as putting its month in order does.
SCANS = 16
# A month of fewer rows is scanned faster than a question is asked.
LEAST_ROWS = 1 << 16
# Of fewer values each has so many rows that they are scanned anyway.
LEAST_VALUES = 16

Key = tuple[int, int, int]  # type, month, column


class _Kept:
    """What is known of a month by one column."""

    __slots__ = ("asked", "month", "order")

    def __init__(self, month: EventMonth) -> None:
        self.month = ref(month)
        self.asked = 0
        self.order: EventOrder | None = None


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

    def asked(self, type: int, months: Sequence[tuple[int, EventMonth]], filter: EventFilter) -> None:
        """A question with this filter is about to be put to these months of a type, each with its number: note it, and
        put one of them in order where that pays by now. The months' blocks are read, and must stay open meanwhile."""
        due = None
        with self._lock:
            for column in {equal.column for equal in filter.equals}:
                for number, month in months:
                    if month.rows >= LEAST_ROWS and not self._ready((type, number, column), month):
                        due = due or ((type, number, column), month)
        if due is not None and self._making.acquire(blocking=False):
            try:
                self._make(*due)
            finally:
                self._making.release()

    def clear(self) -> None:
        with self._lock:
            for key in list(self._kept):
                self._drop(key)

    def _ready(self, key: Key, month: EventMonth) -> bool:
        """Whether there is nothing to be made, or not yet."""
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = _Kept(month)
        self._kept.move_to_end(key)
        if kept.month() is not month:  # opened anew, since something has changed: perhaps not this month
            kept.month, kept.asked = ref(month), 0
            if kept.order is not None and not month.use(kept.order):
                kept.order = None
        if kept.order is not None:
            return True
        kept.asked += 1
        return kept.asked < SCANS or not _worth(month, key[2])

    def _make(self, key: Key, month: EventMonth) -> None:
        try:
            order = EventOrder(month, key[2])
        except ValueError:
            order = None
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or kept.month() is not month:
                return
            if order is None or order.values < LEAST_VALUES or order.nbytes > self._most:
                kept.asked = -(1 << 62)  # never, unless it changes
                return
            month.use(order)
            kept.order = order
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
        return sum(kept.order.nbytes for kept in self._kept.values() if kept.order is not None)


def _worth(month: EventMonth, column: int) -> bool:
    """What can be told before: whether there may be enough different values."""
    zone = month.zone(column)
    return zone is not None and zone[1] - zone[0] >= LEAST_VALUES - 1
