"""The events of the log over those of the base, as a reader sees them: what `verify` compares with where they lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from segidx.kernels.events import CONTACT, EVENT, LINE, TIME, EventLayer
from segidx.model.errors import CorruptData
from segidx.model.events import EventType
from segidx.store.event_blocks import months_of
from segidx.store.event_groups import Cells, Stale, joined, voided
from segidx.store.layout import RANGE_BITS
from segidx.store.snapshot import Snapshot

_WITHIN = (1 << RANGE_BITS) - 1


class Above:
    """The layers of one type in a snapshot, range by range. Without a snapshot, and where they are not `readable`,
    nothing lies above."""

    def __init__(self, snapshot: Snapshot | None, type: EventType) -> None:
        self._snapshot = snapshot
        self._type = type
        self.readable = snapshot is not None
        self._layers: tuple[EventLayer, ...] = ()
        try:
            if snapshot is not None:
                self._layers = snapshot.event_layers(type)
        except CorruptData:  # which `check_log` names
            self.readable = False
        self._stale = [Stale(*(each.astype(np.int64) for each in layer.stale_places())) for layer in self._layers]
        # Rows and stale places, layer by layer, of the range that was asked for last.
        self._held: tuple[int, list[tuple[list[Cells], Stale]]] = (-1, [])

    def groups(self) -> set[tuple[int, int]]:
        """The (range, month) that have rows or stale places."""
        found = set()
        for number in sorted({n for layer in self._layers for n in layer.ranges().tolist()}):
            for cells, stale in self._range(number):
                months = months_of(np.concatenate([cells[TIME][0], stale.times]))
                found |= {(number, month) for month in np.unique(months).tolist()}
        return found

    def over(self, number: int, month: int, rows: list[Cells]) -> list[Cells]:
        """The rows of a group: those of its blocks (none: no columns) that no layer voids, and the layers' own, in
        order. Contacts are those within the range."""
        for cells, stale in self._range(number):
            if rows:
                here = stale.take(np.flatnonzero(months_of(stale.times) == month))
                contacts, times, events = (rows[at][0] for at in (CONTACT, TIME, EVENT))
                left = np.flatnonzero(~voided(contacts, times, events, here))
                rows = [(values[left], present[left]) for values, present in rows]
            mine = np.flatnonzero(months_of(cells[TIME][0]) == month)
            new = [(values[mine], present[mine]) for values, present in cells]
            new[CONTACT] = new[CONTACT][0] & _WITHIN, new[CONTACT][1]
            rows = [joined(each) for each in zip(rows, new, strict=True)] if rows else new
        if not rows:
            return rows
        order = np.lexsort([rows[at][0] for at in (LINE, EVENT, TIME, CONTACT)])
        return [(values[order], present[order]) for values, present in rows]

    def _range(self, number: int) -> list[tuple[list[Cells], Stale]]:
        """What lies above the blocks of a range."""
        if self._held[0] != number:
            first = self._snapshot.first_event_layer(self._type, number) if self._snapshot and self._layers else 0
            contacts = number << RANGE_BITS, number + 1 << RANGE_BITS
            found = []
            for layer, stale in zip(self._layers[first:], self._stale[first:], strict=True):
                rows, places = layer.rows_of(*contacts), layer.stale_of(*contacts)
                if rows[0] < rows[1] or places[0] < places[1]:
                    found.append((layer.decode(*rows), stale.take(slice(*places))))
            self._held = (number, found)
        return self._held[1]


def repeated(cells: Sequence[Cells]) -> npt.NDArray[np.int64]:
    """The rows, of ascending ones, that are as the one before in contact, time, event and line."""
    if not cells:
        return np.zeros(0, np.int64)
    same = np.ones(max(len(cells[EVENT][0]) - 1, 0), np.bool_)
    for at in (CONTACT, TIME, EVENT, LINE):
        same &= np.diff(cells[at][0]) == 0
    return np.flatnonzero(same) + 1
