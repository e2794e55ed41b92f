"""Orders of months of events by the values of a column, kept in memory for the questions to come.

A question about one value of a property (one product, one producer) scans the property's codes of whole months. When
so many of them were asked that they have taken about as long as ordering the month does, the month is put in order, and
the questions after it look at that value's rows alone: ordering never costs more than the questions before it did. An
order is made of what is stored, and is not stored itself: a month that a merge has changed is scanned again until it is
asked for often enough. Orders take a bounded amount of memory; those unused for longest give way.

Questions about some contacts alone look at the contacts of all rows of a month to find theirs. Months that are asked so
are located: it is kept where the rows of each page of contacts are, and later on the values that are summed, close
together. Both are made anew when the base has changed, and take less than the questions before them did.

Knows nothing of questions: it is told which columns they ask for by value.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from weakref import ref

from segidx.kernels.events import EventFilter, EventLedger, EventMeasure, EventMonth, EventOrder

ORDERS_BYTES = 256 << 20
"""Memory for the orders of one opened account, and for what is located."""

# Scans of a column that take about as long as putting its month in order does.
SCANS = 16
# Questions about some contacts alone that take about as long as locating the rows of their month does.
NARROWED = 2
# Sums over located rows after which copying their values pays, by what each of them gains by it.
SUMMED = 32
# Of so many months at least a ledger is kept: of fewer it is no quicker than their located rows (src/ev_ledger_add.c).
LEDGER_MONTHS = 6
# Sums over located months that take, above what they would with a ledger, about as long as making it does.
LEDGER_SUMS = 40
# Rows that are put into a ledger at a question.
LEDGER_ROWS = 1 << 19
# A month of fewer rows is scanned faster than a question is asked.
LEAST_ROWS = 1 << 16
# Of fewer values each has so many rows that they are scanned anyway.
LEAST_VALUES = 16
_NEVER = -(1 << 62)  # of a month as it is

Key = tuple[int, int, int]  # type, month, column
_CONTACTS = -1  # in place of the column: where contacts' rows are
_LEDGER = -1  # in place of the month: those of a ledger, by the column of its values


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

    @property
    def located(self) -> int:
        month = self.month()
        return 0 if month is None else month.located

    def follow(self, month: EventMonth) -> None:
        """Go on with the month opened anew, since something has changed: perhaps not this month."""
        self.month, self.asked, self.summed = ref(month), 0, {}
        if self.order is not None and not month.use(self.order):
            self.order = None
        kept = {column: each for column, each in self.measures.items() if self.order and month.measure(each)}
        self.measures = kept


class _Ledger:
    """What is known of sums about some contacts alone, over a column and many months."""

    __slots__ = ("asked", "covered", "ledger", "months")

    def __init__(self) -> None:
        self.months: dict[int, ref[EventMonth]] = {}  # by number, all of one version of the base
        self.covered: dict[int, ref[EventMonth]] = {}  # those that the ledger has: of them, unless a merge overtook it
        self.asked = 0
        self.ledger: EventLedger | None = None

    @property
    def nbytes(self) -> int:
        return 0 if self.ledger is None else self.ledger.nbytes

    def knows(self, number: int, month: EventMonth) -> bool:
        known = self.months.get(number)
        return known is not None and known() is month

    def covers(self, months: Sequence[tuple[int, EventMonth]]) -> bool:
        return self.ledger is not None and all(
            (held := self.covered.get(number)) is not None and held() is month for number, month in months
        )

    def forget(self) -> None:
        if self.ledger is not None:
            self.ledger.forget()
            self.ledger, self.covered = None, {}


class EventOrders:
    """The orders of one opened account, and what is located. Safe for threads."""

    def __init__(self, most_bytes: int = ORDERS_BYTES) -> None:
        self._most = most_bytes
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._kept: OrderedDict[Key, _Kept | _Ledger] = OrderedDict()  # those unused for longest first

    @property
    def nbytes(self) -> int:
        """The memory that both take now."""
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

    def narrowed(
        self,
        type: int,
        months: Sequence[tuple[int, EventMonth]],
        filter: EventFilter | None = None,
        measure: int | None = None,
    ) -> None:
        """A question about some contacts alone, with this filter, a sum over `measure` if that is given, is about to be
        put to these months of a type, each with its number: note it, and locate the rows of one of them, or copy their
        values, or go on with a ledger, where that pays by now. Months whose rows it looks up in an order are not
        counted. Their blocks are read, and must stay open meanwhile."""
        due: tuple[Key, EventMonth] | None = None
        summed = -1 if measure is None else measure
        large = [(n, month) for n, month in months if month.rows >= LEAST_ROWS and not month.looked_up(filter, summed)]
        with self._lock:
            ledger = (
                measure is not None
                and len(large) >= LEDGER_MONTHS
                and all(month.counted(filter) for _, month in large)
                and self._may_have_ledger((type, _LEDGER, measure), large)
            )
            for number, month in large:
                key = (type, number, _CONTACTS)
                if self._is_due_narrowed(key, month, None if ledger else measure):
                    due = due or (key, month)
            if due is None and ledger and measure is not None:
                key = (type, _LEDGER, measure)
                due = (key, large[0][1]) if self._is_due_ledger(key, large) else None
        if due is not None and self._making.acquire(blocking=False):
            try:
                if due[0][1] == _LEDGER:
                    self._fill(due[0], large)
                else:
                    self._locate(*due, measure)
            finally:
                self._making.release()

    def clear(self) -> None:
        with self._lock:
            for key in list(self._kept):
                self._drop(key)

    def _is_due(self, key: Key, month: EventMonth, measure: int | None) -> bool:
        kept = self._months_kept(key)
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

    def _is_due_narrowed(self, key: Key, month: EventMonth, measure: int | None) -> bool:
        kept = self._months_kept(key)
        if kept is None or kept.month() is not month:
            kept = self._kept[key] = _Kept(month)
        self._kept.move_to_end(key)
        if not month.located:
            kept.asked += 1
            return kept.asked >= NARROWED
        if measure is None:
            return False
        kept.summed[measure] = asked = kept.summed.get(measure, 0) + 1
        return asked >= SUMMED

    def _months_kept(self, key: Key) -> _Kept | None:
        kept = self._kept.get(key)
        return kept if isinstance(kept, _Kept) else None

    def _may_have_ledger(self, key: Key, months: Sequence[tuple[int, EventMonth]]) -> bool:
        kept = self._kept.get(key)
        if not isinstance(kept, _Ledger) or kept.asked >= 0 or kept.ledger is not None:
            return True
        return not any(kept.knows(number, month) for number, month in months)  # but with another version of the base

    def _is_due_ledger(self, key: Key, months: Sequence[tuple[int, EventMonth]]) -> bool:
        kept = self._kept.get(key)
        if not isinstance(kept, _Ledger):
            kept = self._kept[key] = _Ledger()
        self._kept.move_to_end(key)
        if kept.ledger is not None and kept.covers(months):
            return not kept.ledger.full
        if not any(kept.knows(number, month) for number, month in months):  # of another version of the base, or of time
            kept.forget()
            kept.months, kept.asked = {}, 0
        kept.months |= {number: ref(month) for number, month in months}
        kept.asked += 1
        return kept.asked >= LEDGER_SUMS

    def _fill(self, key: Key, months: Sequence[tuple[int, EventMonth]]) -> None:
        """Go on with a ledger, or begin it, of all months that are known of their version of the base."""
        with self._lock:
            kept = self._kept.get(key)
            if not isinstance(kept, _Ledger) or not all(kept.knows(number, month) for number, month in months):
                return
            ledger = kept.ledger
            members = {number: month for number, each in kept.months.items() if (month := each()) is not None}
            covered = kept.covers(months)
        if ledger is None or not covered:
            try:
                ledger = EventLedger(members.values(), key[2])
            except ValueError:
                ledger = None
            with self._lock:
                if self._kept.get(key) is not kept:
                    return
                if ledger is None or ledger.nbytes > self._most:  # one of fewer months, if there is any, stays
                    kept.asked = _NEVER
                    return
                kept.forget()
                kept.ledger, kept.asked = ledger, 0
                kept.covered = {number: ref(month) for number, month in members.items()}
                ledger.use()
                self._shrink(key)
        with suppress(ValueError):  # of months that went meanwhile
            ledger.fill(LEDGER_ROWS)

    def _locate(self, key: Key, month: EventMonth, measure: int | None) -> None:
        with self._lock:
            kept = self._months_kept(key)
        if kept is None:
            return
        if not month.located:
            month.locate()
        elif measure is not None:
            kept.summed[measure] = _NEVER
            with suppress(ValueError):
                month.value(measure)
        with self._lock:
            if self._kept.get(key) is not kept or kept.month() is not month:
                month.lose()
            elif month.located > self._most:
                month.lose()
                kept.asked = _NEVER
            else:
                self._shrink(key)

    def _make(self, key: Key, month: EventMonth, measure: int | None) -> None:
        with self._lock:
            kept = self._months_kept(key)
            order = None if kept is None else kept.order
        made: EventOrder | EventMeasure | None
        try:
            made = EventOrder(month, key[2]) if order is None else EventMeasure(month, order, measure or 0)
        except ValueError:
            made = None
        with self._lock:
            kept = self._months_kept(key)
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
        if isinstance(kept, _Ledger):
            kept.forget()
            return
        month = kept.month()
        if month is None:
            return
        if key[2] == _CONTACTS:
            month.lose()
        else:
            month.forget(key[2])

    def _bytes(self) -> int:
        return sum(
            kept.located if isinstance(kept, _Kept) and key[2] == _CONTACTS else kept.nbytes
            for key, kept in self._kept.items()
        )


def _worth(month: EventMonth, column: int) -> bool:
    """What can be told before: whether there may be enough different values."""
    zone = month.zone(column)
    return zone is not None and zone[1] - zone[0] >= LEAST_VALUES - 1
