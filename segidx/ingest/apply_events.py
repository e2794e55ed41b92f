"""What a batch of events of one type writes straight into the base, in one transaction: new ids and strings get their
codes, the rows go to the event store. The contacts are there already, and in the base. Imports store, kernels and the
model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segidx.ingest.event_batch import (
    EventBatch,
    EventColumn,
    by_index,
    check_times,
    codes_of,
    lines_of,
    pruned_rejects,
    takes_effect,
)
from segidx.kernels.columns import CHUNK_ROWS
from segidx.model.events import LINE, ORDER, EventType
from segidx.store.caches import Caches
from segidx.store.catalog import Catalog
from segidx.store.columns import changed_chunk, has_column, read_cells
from segidx.store.derived import Bind
from segidx.store.environment import WriteTransaction
from segidx.store.events import EventRows, write_events
from segidx.store.layout import (
    DB_COLUMNS,
    DB_STRINGS,
    PLACE_CONTACT,
    PLACE_REVISION,
    block_key,
    event_ids_table,
    event_place,
    event_table,
)
from segidx.store.overlay import Overlay
from segidx.store.snapshot import Snapshot
from segidx.store.strings import StringTable

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Effective:
    """What of a batch takes effect, and the distinct contacts that it needs, those of events included that the batch
    itself replaced: `ordinals` are those of `contacts`, -1 where one is to be created, and `owners` says which of them
    each event of the batch is of."""

    batch: EventBatch
    contacts: pa.Array
    owners: Ints
    ordinals: Ints

    @property
    def unknown(self) -> pa.Array:
        """The contacts that are to be created."""
        return self.contacts.filter(pa.array(self.ordinals < 0))

    def with_contacts(self, ordinals: Ints) -> Effective:
        """The same with the ordinals of those that were unknown."""
        known = self.ordinals.copy()
        known[known < 0] = ordinals
        return replace(self, ordinals=known)


def effective(batch: EventBatch, snapshot: Snapshot) -> Effective:
    """Of a batch that retracts nothing, what takes effect on the base. What does not is among its `duplicates`, or of
    pruned events among its `rejects`.

    The base must hold all that is committed. Raises PrunedHistory for events that were pruned since it was made.
    """
    assert not batch.retracts.any(), "retractions are committed through the log"
    count = len(batch.ids)
    there, retracted, refused = np.zeros((3, count), np.bool_)
    held = np.zeros(count, np.int64)
    horizon = snapshot.catalog.horizon(batch.type)
    check_times(batch, horizon)
    # Where nothing has a revision nor was retracted or pruned, every write takes effect, whatever is there.
    revisions = event_place(batch.type, PLACE_REVISION)
    if horizon is not None or has_column(snapshot.txn, snapshot.dbs[DB_COLUMNS], revisions):
        numbers = snapshot.table(event_ids_table(batch.type)).find(batch.ids)
        known = np.flatnonzero(numbers >= 0)
        if len(known):
            places = snapshot.event_places(batch.type, numbers[known])
            there[known], held[known], retracted[known] = places.there, places.revisions, places.retracted
            if horizon is not None:
                refused[known] = places.there & (places.times < horizon)
    effect = takes_effect(batch.revisions, held, there, retracted) & ~refused
    if not effect.all():
        kept = np.flatnonzero(effect)
        rejects = pruned_rejects(batch, refused)
        late = count - len(kept) - len(rejects)
        needed = [batch.contacts.filter(pa.array(effect))]
        some = replace(batch.take(kept), rejects=by_index(batch.rejects, rejects), duplicates=batch.duplicates + late)
    else:
        needed, some = [batch.contacts], batch
    gone = batch.superseded
    if batch.found is not None and some is batch and gone is None:
        found = batch.found
        ordinals = found.ordinals.copy()
        missing = np.flatnonzero(ordinals < 0)  # they may have been created since
        ordinals[missing] = snapshot.ids.find(found.contacts.take(pa.array(missing)))
        return Effective(batch, found.contacts, found.owners, ordinals)
    if gone is not None:
        rows = gone.rows
        first = takes_effect(gone.revisions, held[rows], there[rows], retracted[rows]) & ~refused[rows]
        needed.append(gone.contacts.filter(pa.array(first)))
    encoded = pa.concat_arrays(needed).dictionary_encode()
    owners = encoded.indices.to_numpy(zero_copy_only=False)[: len(some.ids)].astype(np.int64)
    return Effective(some, encoded.dictionary, owners, snapshot.ids.find(encoded.dictionary))


@dataclass(frozen=True, slots=True)
class _Tables:
    write: WriteTransaction
    catalog: Catalog

    def __call__(self, table: int) -> StringTable:
        return StringTable(self.write.txn, self.write.dbs[DB_STRINGS], table, self.catalog.hash_key)


def apply_events(write: WriteTransaction, effect: Effective, bind: Bind = lambda _: ()) -> npt.NDArray[np.uint32]:
    """Write the events that take effect, of contacts that are all known, and raise the version of the base; the
    ascending ordinals of the contacts concerned, those that an event was taken from included. Raises CorruptData and
    StorageFull; abort the transaction then."""
    catalog = write.catalog()
    tables = _Tables(write, catalog)
    batch = effect.batch
    type = batch.type
    assert (effect.ordinals >= 0).all(), "contacts are created before their events"
    contacts = effect.ordinals[effect.owners].astype(np.uint32)
    numbers, first_new = tables(event_ids_table(type)).insert(batch.ids)
    events = numbers.astype(np.uint32)
    old = numbers[numbers < first_new]
    left, had = read_cells(write.txn, write.dbs[DB_COLUMNS], event_place(type, PLACE_CONTACT), old)
    rows = {
        type: EventRows(
            contacts=contacts,
            times=batch.times,
            events=events,
            lines=batch.line_counts,
            properties=_properties(batch.properties, type, tables),
        )
    }
    if type == ORDER:
        owner, lines = lines_of(batch.line_counts)
        rows[LINE] = EventRows(
            contacts=contacts[owner],
            times=batch.times[owner],
            events=events[owner],
            lines=lines,
            properties=_properties(batch.lines, LINE, tables),
        )
    # Bound to what this transaction has written, since filters are made of strings' codes.
    maintained = bind(Snapshot(write.txn, write.dbs, Caches(Overlay(catalog.hash_key))))
    write_events(write, catalog, rows, first_new, maintained)
    _write_revisions(write, type, numbers, batch.revisions, first_new)
    named = np.zeros(len(effect.ordinals), np.bool_)
    named[effect.owners] = True
    concerned = np.sort(effect.ordinals[named]).astype(np.uint32)  # each once, since the contacts are distinct
    return np.union1d(concerned, left[had].astype(np.uint32)) if had.any() else concerned


def _write_revisions(write: WriteTransaction, type: EventType, numbers: Ints, revisions: Ints, first_new: int) -> None:
    """Note the revisions where they are not what is held already."""
    db = write.dbs[DB_COLUMNS]
    old = numbers < first_new
    given = revisions != 0
    if old.any():
        held = np.zeros(len(numbers), np.int64)
        values, _ = read_cells(write.txn, db, event_place(type, PLACE_REVISION), numbers[old])
        held[old] = values >> 1
        given = given & (held != revisions)
    order = np.flatnonzero(given)
    order = order[np.argsort(numbers[order])]
    numbers, values = numbers[order], revisions[order] << 1
    field = event_place(type, PLACE_REVISION)
    chunks = numbers // CHUNK_ROWS
    for chunk in np.unique(chunks).tolist():
        lo, hi = np.searchsorted(chunks, [chunk, chunk + 1])
        rows = numbers[lo:hi] - chunk * CHUNK_ROWS
        value = changed_chunk(write.txn, db, field, chunk, rows, values[lo:hi], np.ones(hi - lo, np.bool_))
        assert value is not None
        write.txn.put(block_key(field, chunk), value, db=db)


@dataclass(frozen=True, slots=True)
class _Codes:
    """The codes that a table has for strings, or gives them."""

    table: StringTable

    def __call__(self, strings: pa.Array) -> Ints:
        return self.table.insert(strings)[0]


def _properties(columns: tuple[EventColumn, ...], type: EventType, tables: _Tables) -> list[tuple[Ints, Mask]]:
    """The columns with strings as codes of their dictionaries."""
    found = []
    for index, column in enumerate(columns):
        values = column.values
        if isinstance(values, pa.Array):
            values = codes_of(column, _Codes(tables(event_table(type, index))))
        found.append((values, column.present))
    return found
