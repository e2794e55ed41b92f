"""A contact's timeline: its events of all types in order of time, read page by page.

An event's place is (time, number of its type, its own number); none of them changes while the event stays as it is, and
no two events of a contact have the same. A page first looks for places alone, in months next to where it begins, twice
as many each time, until it is full; then it reads the columns of the events that it shows, and the lines of its orders.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segidx.exec.evaluate import stop_errors
from segidx.exec.events import selected
from segidx.exec.page_token import Place, read_token, write_token
from segidx.kernels.events import EVENT, LINE, MISSING, TIME
from segidx.model.errors import ContactNotFound, InvalidArgument, InvalidValue, UnknownEventType
from segidx.model.events import HISTORY, ORDER, EventType, OrderLine
from segidx.model.events import LINE as LINE_TYPE
from segidx.model.results import ContactEvent
from segidx.model.schema import FieldType
from segidx.model.values import scalar
from segidx.model.windows import from_millis, to_millis
from segidx.plan.context import BindContext
from segidx.plan.reach import check_reach
from segidx.plan.values import BoundEvents
from segidx.store.events import FIRST_PROPERTY, month_of
from segidx.store.layout import event_ids_table

DEFAULT_PAGE = 100
MAX_PAGE = 1000
# What a page has at most, but for its first event: rows, lines counted too, and bytes, about as they are sent.
PAGE_ROWS = 10_000
PAGE_BYTES = 1 << 21
_EVENT_BYTES, _VALUE_BYTES = 64, 24

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Timeline:
    """What is asked of whom: events of the named types, all of them where none is named, with start <= time < end, in
    ms since 1970; None leaves that side open."""

    contact_id: str
    types: tuple[str, ...]
    start: int | None
    end: int | None
    oldest_first: bool

    @classmethod
    def of(
        cls,
        contact_id: str,
        types: Iterable[str],
        start_time: datetime | None,
        end_time: datetime | None,
        oldest_first: bool,
    ) -> Timeline:
        """Raises InvalidValue for times that are no instants of whole milliseconds, InvalidArgument for an end that is
        not behind the start."""
        start, end = _millis(start_time), _millis(end_time)
        if start is not None and end is not None and start >= end:
            raise InvalidArgument("end_time must be later than start_time", argument="end_time")
        return cls(contact_id, tuple(sorted(set(types))), start, end, oldest_first)

    def question(self) -> tuple[object, ...]:
        """What a page token is bound to."""
        return self.contact_id, self.types, self.start, self.end, self.oldest_first


class _Places(NamedTuple):
    """Events by their places, and how many rows each has, an order with its lines."""

    times: I64
    types: I64
    numbers: I64
    rows: I64

    def __len__(self) -> int:
        return len(self.times)

    def taken(self, which: npt.NDArray[Any] | slice) -> _Places:
        return _Places(*(column[which] for column in self))

    def at(self, index: int) -> Place:
        return int(self.times[index]), int(self.types[index]), int(self.numbers[index])


def read_timeline(
    wanted: Timeline, page_size: int, page_token: str, context: BindContext
) -> tuple[list[ContactEvent], str]:
    """(a page of the timeline, the token of the next one or ""). A page size of 0 is 100, and none is above 1,000.

    Raises ContactNotFound, UnknownEventType, InvalidArgument, DeadlineExceeded, Cancelled.
    """
    if page_size < 0:
        raise InvalidArgument(f"page size {page_size} is below 0", argument="page_size")
    size = min(page_size or DEFAULT_PAGE, MAX_PAGE)
    catalog = context.snapshot.catalog
    asked = _types(wanted.types, context)
    question, key = (catalog.account.name, *wanted.question()), catalog.hash_key
    after = read_token(page_token, question, key) if page_token else None
    ordinal = context.snapshot.ids.find_one(wanted.contact_id)
    if ordinal is None:
        raise ContactNotFound(wanted.contact_id)
    end = context.at if wanted.end is None else min(context.at, wanted.end)
    for type in asked:
        check_reach(type, wanted.start or 0, end, context, f"the timeline of {type.name} events")
    with stop_errors():
        reader = _Reader(context, np.array([ordinal], np.uint32))
        found = reader.places(asked, wanted, after, size + 1)
        shown = found.taken(slice(_fitting(found.rows[:size])))
        events = list(_light(reader.events(asked, shown)))
    more = len(events) < len(found)
    return events, write_token(question, found.at(len(events) - 1), key) if more else ""


def _types(names: Sequence[str], context: BindContext) -> list[EventType]:
    """The types of that names, or all that a timeline has. Raises UnknownEventType, InvalidArgument for lines."""
    known = context.snapshot.catalog.event_types
    items = {each.name: each for each in (*known, *HISTORY) if each != LINE_TYPE}
    for name in names:
        if name == LINE_TYPE.name:
            raise InvalidArgument("lines are shown with their orders; ask for 'order'", argument="event_types")
        if name not in items:
            raise UnknownEventType(name, items)
    return [items[name] for name in names] if names else list(items.values())


def _millis(time: datetime | None) -> int | None:
    if time is None:
        return None
    instant = scalar(time)
    if not isinstance(instant, datetime):
        raise InvalidValue(f"a {type(time).__name__} is not an instant")
    return to_millis(instant)


def _fitting(rows: I64) -> int:
    """How many of the events a page has room for: one at least."""
    return max(min(1, len(rows)), int(np.searchsorted(np.cumsum(rows), PAGE_ROWS, side="right")))


def _light(events: Iterable[ContactEvent]) -> Iterator[ContactEvent]:
    """The first events, as many as PAGE_BYTES hold, and one at least."""
    total = 0
    for event in events:
        total += _weight(event)
        if total > PAGE_BYTES and total > _weight(event):
            return
        yield event


def _weight(event: ContactEvent) -> int:
    values = [*event.properties.values()]
    for line in event.lines:
        values += [line.product or "", line.producer or "", line.category or "", "", "", ""]
    return _EVENT_BYTES + sum(_VALUE_BYTES + (len(v.encode()) if isinstance(v, str) else 0) for v in values)


class _Reader:
    """Reads the events of one contact."""

    def __init__(self, context: BindContext, among: npt.NDArray[np.uint32]) -> None:
        self._context = context
        self._snapshot = context.snapshot
        self._money_scale = context.snapshot.catalog.account.money_scale
        self._among = among

    # --- places ---

    def places(self, asked: Sequence[EventType], wanted: Timeline, after: Place | None, count: int) -> _Places:
        """The first `count` events behind a place, or all."""
        newest = self._snapshot.newest_event
        if newest is None:
            return _joined([])
        # No event is before 1970, none is later than the newest, and none is seen that is not before the evaluation.
        start = max(0, wanted.start or 0)
        end = min(newest + 1, self._context.at, newest + 1 if wanted.end is None else wanted.end)
        if after is not None:
            start, end = (max(start, after[0]), end) if wanted.oldest_first else (start, min(end, after[0] + 1))
        found: list[_Places] = []
        for window in _windows(start, end, wanted.oldest_first):
            self._context.check_stop()
            part = _ordered(self._places_in(asked, *window), after, wanted.oldest_first)
            found.append(part.taken(slice(count)))
            count -= len(found[-1])
            if count <= 0:
                break
        return _joined(found)

    def _places_in(self, asked: Sequence[EventType], start: int, end: int) -> _Places:
        found = []
        for type in asked:
            times, numbers, lines = self._columns(type, start, end, (TIME, EVENT, LINE))
            rows = lines + 1 if type == ORDER else np.ones(len(times), np.int64)
            found.append(_Places(times, np.full(len(times), type.number), numbers, rows))
        return _joined(found)

    def _columns(self, type: EventType, start: int, end: int, columns: Sequence[int]) -> tuple[I64, ...]:
        return selected(BoundEvents(type, start, end, ()), columns, self._among, self._context).columns

    # --- events ---

    def events(self, asked: Sequence[EventType], shown: _Places) -> list[ContactEvent]:
        """The events at places, in their order."""
        found: dict[Place, ContactEvent] = {}
        for type in asked:
            of_type = shown.taken(shown.types == type.number)
            if len(of_type):
                found |= self._of_type(type, of_type)
        return [found[shown.at(index)] for index in range(len(shown))]

    def _of_type(self, type: EventType, shown: _Places) -> dict[Place, ContactEvent]:
        numbers, times, properties = self._rows(type, shown, TIME)
        ids, revisions = self._named(type, numbers)
        lines = self._lines(shown) if type == ORDER else {}
        return {
            (time, type.number, number): ContactEvent(
                type.name, event_id, from_millis(time), values, revision, lines.get(number, ())
            )
            for number, time, event_id, revision, values in zip(
                numbers.tolist(), times.tolist(), ids, revisions, properties, strict=True
            )
        }

    def _named(self, type: EventType, numbers: I64) -> tuple[list[str], list[int | None]]:
        """The ids of events and their revisions."""
        if type in HISTORY:
            return [""] * len(numbers), [None] * len(numbers)
        ids = self._snapshot.table(event_ids_table(type)).get(numbers.astype(np.uint32)).to_pylist()
        return ids, [each or None for each in self._snapshot.event_places(type, numbers).revisions.tolist()]

    def _lines(self, orders: _Places) -> dict[int, tuple[OrderLine, ...]]:
        """The lines of orders, by the orders' numbers."""
        numbers, places, properties = self._rows(LINE_TYPE, orders, LINE)
        found: dict[int, list[OrderLine]] = {}
        for at in np.lexsort((places, numbers)).tolist():
            found.setdefault(int(numbers[at]), []).append(OrderLine(**properties[at]))
        return {number: tuple(lines) for number, lines in found.items()}

    def _rows(self, type: EventType, shown: _Places, column: int) -> tuple[I64, I64, list[dict[str, Any]]]:
        """(event, that column, properties) of the rows of a type that have the time and the number of one shown."""
        columns = (TIME, EVENT, column, *range(FIRST_PROPERTY, FIRST_PROPERTY + len(type.properties)))
        start, end = int(shown.times.min()), int(shown.times.max()) + 1
        rows = self._columns(type, start, end, columns)
        # In history these may be a few more, which nobody looks up.
        here = np.flatnonzero(np.isin(rows[0], shown.times) & np.isin(rows[1], shown.numbers))
        _, numbers, given, *values = (each[here] for each in rows)
        return numbers, given, self._properties(type, len(here), values)

    def _properties(self, type: EventType, rows: int, columns: Sequence[I64]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = [{} for _ in range(rows)]
        for index, (property, column) in enumerate(zip(type.properties, columns, strict=True)):
            here = np.flatnonzero(column != MISSING)
            if not len(here):
                continue
            stored = column[here]
            values: Iterable[object]
            if property.type is FieldType.CATEGORY:
                values = self._snapshot.event_dictionary(type, index).get(stored.astype(np.uint32)).to_pylist()
            elif property.type is FieldType.NUMBER:
                scale = property.decimals(self._money_scale)
                values = [Decimal(each).scaleb(-scale) for each in stored.tolist()]
            elif property.type is FieldType.TIMESTAMP:
                values = map(from_millis, stored.tolist())
            else:
                values = map(bool, stored.tolist())
            for at, value in zip(here.tolist(), values, strict=True):
                found[at][property.name] = value
        return found


def _windows(start: int, end: int, oldest_first: bool) -> Iterator[tuple[int, int]]:
    """The times from start to end in whole months (UTC) beside one another, one, then two, then four and so on, from
    the end back or from the start on."""
    months = 1
    while start < end:
        if oldest_first:
            edge = min(end, _begin(month_of(start) + months))
            yield start, edge
            start = edge
        else:
            edge = max(start, _begin(month_of(end - 1) + 1 - months))
            yield edge, end
            end = edge
        months *= 2


def _begin(month: int) -> int:
    """The first instant of a month since 1970-01."""
    return int(np.datetime64(month, "M").astype("datetime64[ms]").astype(np.int64))


def _joined(parts: Sequence[_Places]) -> _Places:
    nothing = np.zeros(0, np.int64)
    empty = _Places(nothing, nothing, nothing, nothing)
    return _Places(*(np.concatenate(columns) for columns in zip(empty, *parts, strict=True)))


def _ordered(places: _Places, after: Place | None, oldest_first: bool) -> _Places:
    """Those behind a place, in order."""
    times, kinds, numbers, _ = places
    if after is not None:
        time, kind, number = after
        if oldest_first:
            behind = (times > time) | (times == time) & ((kinds > kind) | (kinds == kind) & (numbers > number))
        else:
            behind = (times < time) | (times == time) & ((kinds < kind) | (kinds == kind) & (numbers < number))
        places = places.taken(behind)
    order = np.lexsort((places.numbers, places.types, places.times))
    return places.taken(order if oldest_first else order[::-1])
