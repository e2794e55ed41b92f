"""Where events lie, and what revision is held of them: three columns by event number, in the base and in the layers of
an overlay. Not for readers: conditions are answered from blocks and layers of events alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segidx.kernels.bitmaps import Column, CorruptColumn
from segidx.kernels.columns import CHUNK_ROWS
from segidx.kernels.deltas import ColumnChanges, Delta, DeltaArrays
from segidx.model.errors import CorruptData
from segidx.model.events import EventType
from segidx.store.columns import read_cells
from segidx.store.layout import PLACE_CONTACT, PLACE_REVISION, PLACE_TIME, Handle, Reader, block_key, event_place

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_Cells = tuple[I64, Mask]


class EventPlaces(NamedTuple):
    """What is held of n event numbers. `contacts` and `times` mean something where the event is `there`; `revisions`
    are 0 where none is known, and what was taken back is `retracted`."""

    contacts: I64
    times: I64
    there: Mask
    revisions: I64
    retracted: Mask


def stored_places(txn: Reader, db: Handle, type: EventType, events: I64) -> EventPlaces:
    """Those of event numbers in any order, by the base alone. Raises CorruptData."""
    contacts, times, revisions = (
        read_cells(txn, db, event_place(type, place), events) for place in (PLACE_CONTACT, PLACE_TIME, PLACE_REVISION)
    )
    return _places(type, contacts, times, revisions)


def layered_places(
    txn: Reader, db: Handle, type: EventType, events: I64, end: int, deltas: Iterable[Delta]
) -> EventPlaces:
    """Those of event numbers in any order: of the numbers below `end` by the base, whose chunks the caller has
    verified, then by the deltas, oldest first. Raises CorruptData."""
    order = np.argsort(events, kind="stable")
    numbers = events[order]
    stored = int(np.searchsorted(numbers, end))
    fields = [event_place(type, place) for place in (PLACE_CONTACT, PLACE_TIME, PLACE_REVISION)]
    cells = [_taken(txn, db, field, numbers, stored) for field in fields]
    for delta in deltas if len(numbers) else ():
        if any(delta.has_field(field) for field in fields):
            for column in DeltaArrays(delta).columns():
                if column.field in fields:
                    _set(cells[fields.index(column.field)], numbers, column)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    contacts, times, revisions = ((values[back], present[back]) for values, present in cells)
    return _places(type, contacts, times, revisions)


def _places(type: EventType, contacts: _Cells, times: _Cells, revisions: _Cells) -> EventPlaces:
    there = contacts[1]
    if not np.array_equal(there, times[1]):
        raise CorruptData(
            f"{type.name} events have a contact without a time; run `segidx verify`, restore from a backup"
        )
    values, present = revisions
    return EventPlaces(contacts[0], times[0], there, np.where(present, values >> 1, 0), present & (values & 1 != 0))


def _taken(txn: Reader, db: Handle, field: int, numbers: I64, stored: int) -> _Cells:
    """The base's values of the first `stored` of the ascending numbers; none of the others. Only the chunks are opened
    that hold one, however many there are."""
    values, present = np.zeros(len(numbers), np.int64), np.zeros(len(numbers), np.bool_)
    if stored:
        chunks, at = np.unique(numbers[:stored] // CHUNK_ROWS, return_inverse=True)
        try:
            column = Column([txn.get(block_key(field, chunk), db=db) for chunk in chunks.tolist()])
        except CorruptColumn as error:
            raise CorruptData(f"column of field {field}: {error}; restore from a backup") from error
        found, there = column.take((at * CHUNK_ROWS + numbers[:stored] % CHUNK_ROWS).astype(np.uint32))
        values[:stored] = found
        present[:stored] = np.asarray(there) != 0
    return values, present


def _set(cells: _Cells, numbers: I64, column: ColumnChanges) -> None:
    """What a delta's changes of a column make of the values of the ascending numbers."""
    first, end = np.searchsorted(numbers, [int(column.ordinals[0]), int(column.ordinals[-1]) + 1]).tolist()
    some = numbers[first:end].astype(np.uint32)
    if not len(some):
        return
    at = np.minimum(np.searchsorted(column.ordinals, some), len(column.ordinals) - 1)
    hits = np.flatnonzero(column.ordinals[at] == some)
    values, present = cells
    values[hits + first] = column.values[at[hits]]
    present[hits + first] = column.present[at[hits]]
