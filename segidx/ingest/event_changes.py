"""What events change, compared with what is held now: new codes, a delta of where events lie, layers of their rows.

Batches of one type that are committed together are compared together: a comparison costs much the same however many
rows there are. No other code makes places or layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segidx.ingest.event_batch import (
    EventBatch,
    EventColumn,
    check_times,
    codes_of,
    lines_of,
    pruned_rejects,
    settled,
    takes_effect,
)
from segidx.ingest.pending import NO_PAIRS, Ordinals, Pending
from segidx.kernels.deltas import ColumnChanges, Delta
from segidx.kernels.events import encode_layer
from segidx.model.errors import StorageFull, UnknownEventType
from segidx.model.events import LINE, ORDER, EventType
from segidx.model.results import Reject
from segidx.model.writes import ChangeKind
from segidx.store.event_places import EventPlaces
from segidx.store.feed import KIND_BITS
from segidx.store.layout import (
    LIVE_CODE,
    MAX_ORDINALS,
    PLACE_CONTACT,
    PLACE_REVISION,
    PLACE_TIME,
    SYSTEM_FIELD,
    event_place,
    event_table,
)

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class EventChanges:
    """What applying batches of events comes to. `accepted` counts the rows of each batch that took effect, `newest` is
    their latest time. `contacts` are those to whom such rows gave an event, each once, `hosts` the batch that gave each
    its first. `layers` go by the type's number; `ordinals` and `kinds` are for the change feed. `rejects` are those of
    each batch that write pruned events."""

    delta: Delta
    layers: dict[int, bytes]
    accepted: Ints
    contacts: Ordinals
    hosts: Ints
    newest: int | None
    ordinals: Ordinals
    kinds: npt.NDArray[np.uint8]
    rejects: tuple[tuple[Reject, ...], ...]


def changes_of_events(batches: Sequence[EventBatch], pending: Pending) -> EventChanges:
    """Compare batches of one type, one applied behind another, with the account as it stands in `pending`, which gets
    their new strings; and the delta and layers when the caller adds them.

    Raises UnknownEventType for a type that was never declared, StorageFull when event numbers or ordinals run out, and
    PrunedHistory for a batch with events that were pruned since it was made;
    then nothing of the batches may stay (`Pending.forget`).
    """
    type = batches[0].type
    if type.name not in pending.catalog.event_types:
        raise UnknownEventType(type.name, [each.name for each in pending.catalog.event_types])
    writes = _Writes(batches, pending)
    rows = np.flatnonzero(writes.standing)
    changed = _Changed(writes, rows[np.argsort(writes.numbers[rows])], pending)
    known = len(pending.ids)
    contacts, firsts = writes.create_contacts()
    changed.contacts = contacts[changed.rows]
    layers = changed.layers()
    fresh = np.sort(contacts[firsts])
    fresh = fresh[fresh >= known]
    postings = {}
    if len(fresh):
        postings[SYSTEM_FIELD] = ((np.full(len(fresh), LIVE_CODE, np.int64), fresh), NO_PAIRS)
    ordinals, kinds = _feed(changed, fresh)
    took = writes.effective & (writes.own >= 0)
    given = took & ~writes.retracts
    return EventChanges(
        delta=pending.delta(postings, changed.places()),
        layers=layers,
        accepted=np.bincount(writes.batch[took], minlength=len(batches)).astype(np.int64),
        contacts=contacts[firsts],
        hosts=writes.batch[firsts],
        newest=int(writes.times[writes.own[given]].max()) if given.any() else None,
        ordinals=ordinals,
        kinds=kinds,
        rejects=writes.rejects(),
    )


class _Writes:
    """Every write of some batches of one type in order, those that others of their batch superseded too (they stand
    before the rest of their batch, and never in the end).

    `batch` says which batch a write is of, `own` its place among the rows of all batches (-1 where it is superseded),
    `numbers` its event, `effective` whether it takes effect on what is held and what comes before it, `standing`
    whether it does and nothing comes behind.
    """

    def __init__(self, batches: Sequence[EventBatch], pending: Pending) -> None:
        self.batches = batches
        self._pending = pending
        self.type = batches[0].type
        horizon = pending.catalog.horizon(self.type)
        for batch in batches:
            check_times(batch, horizon)
        ids, contacts, revisions, retracts, owner, own = [], [], [], [], [], []
        first = 0
        for place, batch in enumerate(batches):
            count, gone = len(batch.ids), batch.superseded
            if gone is not None and len(gone.rows):
                ids.append(batch.ids.take(pa.array(gone.rows)))
                contacts.append(gone.contacts)
                revisions.append(gone.revisions)
                retracts.append(np.zeros(len(gone.rows), np.bool_))
                owner.append(np.full(len(gone.rows), place))
                own.append(np.full(len(gone.rows), -1))
            ids.append(batch.ids)
            contacts.append(batch.contacts)
            revisions.append(batch.revisions)
            retracts.append(batch.retracts)
            owner.append(np.full(count, place))
            own.append(np.arange(first, first + count))
            first += count
        self._contacts = _all_of(contacts)
        self.revisions: Ints = np.concatenate(revisions)
        self.retracts: Mask = np.concatenate(retracts)
        self.batch: Ints = np.concatenate(owner)
        self.own: Ints = np.concatenate(own)
        self.times: Ints = np.concatenate([b.times for b in batches])
        everything = _all_of(ids)
        table = pending.event_ids(self.type)
        known = len(table)
        encoded = everything.dictionary_encode()
        codes = np.asarray(encoded.indices.to_numpy(zero_copy_only=False))
        numbers = table.insert(encoded.dictionary)
        if len(table) > MAX_ORDINALS - 1:
            raise StorageFull(f"the account has given out all {MAX_ORDINALS} numbers of {self.type.name} events")
        self.numbers: Ints = numbers[codes]
        self.held = _of(_held(self.type, numbers, known, pending), codes)
        self.effective, self.standing = settled(everything, self.revisions, self.retracts)
        effect = takes_effect(self.revisions, self.held.revisions, self.held.there, self.held.retracted)
        self._refused = np.zeros(len(effect), np.bool_)
        if horizon is not None:
            self._refused = self.held.there & (self.held.times < horizon)
            effect &= ~self._refused
        self.effective &= effect
        self.standing &= effect

    def rejects(self) -> tuple[tuple[Reject, ...], ...]:
        """The rows of each batch that write pruned events."""
        if not self._refused.any():
            return ((),) * len(self.batches)
        rows = self._refused[self.own >= 0]  # of all batches, as they follow one another
        ends = np.cumsum([len(batch.ids) for batch in self.batches])
        return tuple(
            pruned_rejects(batch, rows[end - len(batch.ids) : end])
            for batch, end in zip(self.batches, ends.tolist(), strict=True)
        )

    def create_contacts(self) -> tuple[Ordinals, Ints]:
        """(the contact of each write that gives an event, meaningless for others; the first write of each)."""
        rows = np.flatnonzero(self.effective & ~self.retracts)
        everything = len(rows) == len(self.effective)
        encoded = (self._contacts if everything else self._contacts.take(pa.array(rows))).dictionary_encode()
        ids = self._pending.ids
        found = ids.insert(encoded.dictionary)
        if len(ids) > MAX_ORDINALS - 1:
            raise StorageFull(f"the account has given out all {MAX_ORDINALS} ordinals")
        codes = np.asarray(encoded.indices.to_numpy(zero_copy_only=False))
        contacts = np.zeros(len(self.effective), np.uint32)
        contacts[rows] = found[codes]
        firsts = np.zeros(len(found), np.int64)
        firsts[codes[::-1]] = rows[::-1]  # of several writes of one contact the last assignment, the first write, stays
        return contacts, firsts

    def properties(self, type: EventType, columns: Sequence[Sequence[EventColumn]], rows: Ints) -> list[_Cells]:
        """Some rows of the columns of each batch, strings as codes."""
        cells = []
        for index, parts in enumerate(zip(*columns, strict=True)):
            column = _column_of(parts).take(rows)
            values = column.values
            if isinstance(values, pa.Array):
                values = codes_of(column, self._pending.table(event_table(type, index)).insert)
            else:
                values = np.where(column.present, values, 0)
            cells.append((values, column.present.astype(np.uint8)))
        return cells


_Cells = tuple[Ints, npt.NDArray[np.uint8]]


def _held(type: EventType, numbers: Ints, known: int, pending: Pending) -> EventPlaces:
    """What is held of events before; of numbers from `known` on nothing."""
    count = len(numbers)
    old = np.flatnonzero(numbers < known)
    if len(old) == count:
        return pending.event_places(type, numbers)
    contacts, times, revisions = np.zeros((3, count), np.int64)
    there, retracted = np.zeros((2, count), np.bool_)
    if len(old):
        found = pending.event_places(type, numbers[old])
        contacts[old], times[old], there[old], revisions[old], retracted[old] = found
    return EventPlaces(contacts, times, there, revisions, retracted)


def _of(places: EventPlaces, rows: Ints) -> EventPlaces:
    contacts, times, there, revisions, retracted = places
    return EventPlaces(contacts[rows], times[rows], there[rows], revisions[rows], retracted[rows])


class _Changed:
    """The writes that stand, ascending by event number: what they make of places and rows. `contacts` are theirs."""

    contacts: Ordinals

    def __init__(self, writes: _Writes, rows: Ints, pending: Pending) -> None:
        self._writes = writes
        self.rows = rows
        self.numbers: Ints = writes.numbers[rows]
        self.retracts: Mask = writes.retracts[rows]
        self.held = _of(writes.held, rows)
        self._own = writes.own[rows]
        self._times = writes.times[self._own]
        assert (self._own >= 0).all(), "what is superseded never stands"

    def places(self) -> list[ColumnChanges]:
        """Where the events lie now, of those of which that has changed."""
        type, held, given = self._writes.type, self.held, ~self.retracts
        revisions = self._writes.revisions[self.rows]
        kept = revisions << 1 | self.retracts
        before = held.revisions << 1 | held.retracted
        columns = []
        for place, values, present, changed in (
            (PLACE_CONTACT, self.contacts.astype(np.int64), given, (self.contacts != held.contacts)),
            (PLACE_TIME, self._times, given, self._times != held.times),
            (PLACE_REVISION, kept, kept != 0, kept != before),
        ):
            if place != PLACE_REVISION:
                changed = (given != held.there) | (given & changed)
            columns.append(
                ColumnChanges(
                    event_place(type, place),
                    self.numbers[changed].astype(np.uint32),
                    np.where(present, values, 0)[changed],
                    present[changed],
                )
            )
        return columns

    def layers(self) -> dict[int, bytes]:
        """The rows of the events, and of an order's lines, over the places at which they were before."""
        writes, type = self._writes, self._writes.type
        given = np.flatnonzero(~self.retracts)
        contacts, times, numbers = self.contacts[given].astype(np.int64), self._times[given], self.numbers[given]
        order = np.lexsort((numbers, times, contacts))
        contacts, times, numbers, own = contacts[order], times[order], numbers[order], self._own[given[order]]
        counts = _joined([b.line_counts for b in writes.batches])
        rows = [_always(contacts), _always(times), _always(numbers), _always(counts[own])]
        rows += writes.properties(type, [b.properties for b in writes.batches], own)
        stale = self._stale()
        found = {}
        if len(own) or len(stale[0]):
            found[type.number] = encode_layer(rows, *stale)
        if type == ORDER:
            owner, places = lines_of(counts[own])
            firsts = np.cumsum(counts) - counts
            line_rows = firsts[own][owner] + places
            rows = [_always(contacts[owner]), _always(times[owner]), _always(numbers[owner]), _always(places)]
            rows += writes.properties(LINE, [b.lines for b in writes.batches], line_rows)
            if len(owner) or len(stale[0]):
                found[LINE.number] = encode_layer(rows, *stale)
        return found

    def _stale(self) -> tuple[Ordinals, Ints, Ordinals]:
        """Where the events were, ascending."""
        rows = np.flatnonzero(self.held.there)
        contacts, times, numbers = self.held.contacts[rows], self.held.times[rows], self.numbers[rows]
        order = np.lexsort((numbers, times, contacts))
        return contacts[order].astype(np.uint32), times[order], numbers[order].astype(np.uint32)


def _feed(changed: _Changed, fresh: Ordinals) -> tuple[Ordinals, npt.NDArray[np.uint8]]:
    """(ascending ordinals of contacts that are new, gained events or lost some; kinds of each)."""
    left = changed.held.contacts[changed.held.there].astype(np.uint32)
    concerned = np.union1d(changed.contacts[~changed.retracts], left)
    ordinals = np.union1d(concerned, fresh)
    kinds = np.zeros(len(ordinals), np.uint8)
    kinds[np.searchsorted(ordinals, concerned)] |= KIND_BITS[ChangeKind.EVENTS]
    kinds[np.searchsorted(ordinals, fresh)] |= KIND_BITS[ChangeKind.CREATED]
    return ordinals, kinds


def _always(values: npt.NDArray[np.integer]) -> _Cells:
    return values.astype(np.int64), np.ones(len(values), np.uint8)


def _joined(parts: Sequence[Ints]) -> Ints:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _all_of(parts: Sequence[pa.Array]) -> pa.Array:
    return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)


def _column_of(parts: Sequence[EventColumn]) -> EventColumn:
    if len(parts) == 1:
        return parts[0]
    values = [part.values for part in parts]
    joined = pa.concat_arrays(values) if isinstance(values[0], pa.Array) else np.concatenate(values)
    return EventColumn(joined, np.concatenate([part.present for part in parts]))
