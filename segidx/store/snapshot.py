"""`Snapshot`: one consistent read view of an account, for one evaluation: the base and the overlay above it.

It owns an LMDB read transaction and everything borrowed through it. Close it with the evaluation, after the last use
of any posting or column taken from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TypeVar, cast

import lmdb
import numpy as np
import numpy.typing as npt

from segidx.kernels.bitmaps import Column, Posting, postings_hold
from segidx.kernels.columns import CHUNK_ROWS
from segidx.kernels.deltas import Delta, DeltaArrays, key_of, overlay_counts, overlay_held
from segidx.kernels.events import EventBlock, EventFilter, EventLayer, EventMonth
from segidx.model.errors import Closed
from segidx.model.events import EventType
from segidx.model.schema import Field, FieldType
from segidx.store import counts
from segidx.store.caches import Caches, Opened
from segidx.store.catalog import (
    Catalog,
    EventsMerged,
    read_catalog,
    read_events_merged,
    read_newest_change,
    read_newest_event,
    read_products_state,
    read_state,
    stored_state,
)
from segidx.store.columns import column_bounds, open_column
from segidx.store.event_blocks import EventMonths, check_layers
from segidx.store.event_places import EventPlaces, layered_places
from segidx.store.fresh import LayeredStrings
from segidx.store.layout import (
    DB_COLUMNS,
    DB_COUNTS,
    DB_EVENTS,
    DB_LOG,
    DB_META,
    DB_POSTINGS,
    DB_PRODUCTS,
    DB_STRINGS,
    IDS_TABLE,
    LAST_RANGE,
    LIVE_CODE,
    META_EVENTS_MERGED,
    META_NEWEST_EVENT,
    PLACE_CONTACT,
    PLACE_REVISION,
    PLACE_TIME,
    SHARD_BITS,
    SYSTEM_FIELD,
    Handle,
    block_key,
    event_ids_table,
    event_place,
    event_table,
    posting_key,
)
from segidx.store.overlay import NEWER_MEANWHILE
from segidx.store.postings import open_posting
from segidx.store.products import NO_PRODUCTS, Products
from segidx.store.strings import StringTable

Found = TypeVar("Found")

_SHARD_ROOM = 12  # bits of a shard's number: there are 4,096 at most


class Snapshot:
    """Reads of one transaction. Not for several threads at once; what it returns may be evaluated by many."""

    def __init__(self, txn: lmdb.Transaction, dbs: Mapping[bytes, Handle], caches: Caches) -> None:
        self.txn = txn
        self.dbs = dbs
        self._overlay = caches.overlay
        self._verified = caches.verified
        self._products = caches.products
        self._orders = caches.orders
        self._catalogue: Products | None = None
        self._tables: dict[int, LayeredStrings] = {}
        stored = stored_state(txn, dbs[DB_META])
        opened = caches.opened(stored)
        if opened is None:
            opened = self._open(stored, caches)
        self.state = opened.state
        self.view = opened.view
        self.catalog = opened.catalog
        self.size = opened.size  # ordinals given out, dead ones included
        self.base_size = opened.base_size  # those that the base knows
        self._base = opened.base
        self._entries = opened.entries
        self._layers = opened.layers

    def _open(self, stored: bytes, caches: Caches) -> Opened:
        """What there is to know of a state that no snapshot at hand has seen."""
        txn, meta = self.txn, self.dbs[DB_META]
        state = read_state(txn, meta)
        self.view = self._overlay.view(txn, self.dbs.get(DB_LOG), state)
        catalogs = caches.catalogs.entries((state.schema,))
        self.catalog = cast("Catalog", catalogs.get("catalog") or read_catalog(txn, meta))
        catalogs["catalog"] = self.catalog
        if self.catalog.format_version >= 3 and DB_EVENTS not in self.dbs:  # opened when it was older, without events
            raise Closed(NEWER_MEANWHILE)
        self._base = caches.base.entries((state.base,))
        opened = Opened(
            stored,
            state,
            self.view,
            self.catalog,
            self._base,
            caches.views.entries((state.base, state.generation, state.schema)),
            len(self.ids),
            len(self.ids.base),
        )
        caches.keep(opened)
        return opened

    @property
    def ids(self) -> LayeredStrings:
        """The contact ids, by ordinal."""
        return self.table(IDS_TABLE)

    @property
    def generation(self) -> int:
        return self.state.generation

    def table(self, table: int) -> LayeredStrings:
        """A string table by its id: of the contact ids, or a field's dictionary."""
        found = self._tables.get(table)
        if found is None:
            base = self._base_table(table)
            size = self.view.sizes.get(table)
            found = LayeredStrings(base, self.view.fresh(table), len(base) if size is None else size)
            self._tables[table] = found
        return found

    def _base_table(self, table: int) -> StringTable:
        key = (DB_STRINGS, table)
        state = cast("tuple[int, int, int, int] | None", self._base.get(key))
        found = StringTable(self.txn, self.dbs[DB_STRINGS], table, self.catalog.hash_key, state=state)
        if state is None:
            self._base[key] = found.state
        return found

    def field_id(self, field: Field) -> int:
        return self.catalog.field_ids[field.name]

    def base_posting(self, field_id: int, code: int) -> Posting:
        """The base's posting of a value, without what the log has changed; lives as long as `posting`'s."""
        key = (field_id, code)
        found = self._base.get(key)
        if found is None:
            shards = -(-self.base_size >> SHARD_BITS) if self.base_size else 0
            found = self._base[key] = open_posting(self.txn, self.dbs[DB_POSTINGS], field_id, code, shards)
        return cast(Posting, found)

    def held(
        self,
        field_id: int,
        codes: npt.NDArray[np.int64],
        ordinals: npt.NDArray[np.uint32],
        newer: tuple[Delta, ...] = (),
    ) -> npt.NDArray[np.bool_]:
        """Which (code, ordinal) pairs are held, after the `newer` deltas too; pairs of one code should lie together.

        For few pairs of many values: no bitmaps of the overlay are made.
        """
        if not len(codes):
            return np.zeros(0, np.bool_)
        starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
        postings = [self.base_posting(field_id, code) for code in codes[starts].tolist()]
        ordinals = np.ascontiguousarray(ordinals, np.uint32)
        held = postings_hold(postings, np.r_[starts[1:], len(codes)].astype(np.int64), ordinals)
        overlay_held(self.view.deltas + newer, codes.astype(np.uint64) | np.uint64(field_id << 32), ordinals, held)
        return held.astype(np.bool_)

    def posting(self, field_id: int, code: int) -> Posting:
        """The posting of a value. It borrows pages: do not use it after this snapshot is closed."""
        key = (field_id, code)
        found = self._entries.get(key)
        if found is None:
            found = self.base_posting(field_id, code)
            added, removed = self._overlay.bitmaps(self.view, key_of(field_id, code))
            if added is not None or removed is not None:
                found = found.overlaid(added, removed)
            self._entries[key] = found
        return cast(Posting, found)

    def verify_blocks(self, database: bytes, field_id: int, blocks: npt.NDArray[np.int64]) -> None:
        """Make sure that column chunks, or blocks of counts, are whole, as the writer does with what it compares
        changes with. Raises CorruptData."""
        key = (database, field_id, "verified")
        seen = cast("npt.NDArray[np.bool_]", self._base.get(key, np.zeros(0, np.bool_)))
        most = int(blocks.max()) + 1 if len(blocks) else 0
        if most > len(seen):
            seen = self._base[key] = np.concatenate([seen, np.zeros(most - len(seen), np.bool_)])
        todo = np.unique(blocks[~seen[blocks]])
        keys = (block_key(field_id, block) for block in todo.tolist())
        self._verified.check(self.txn, database, self.dbs[database], keys)
        seen[todo] = True

    def verify_shards(self, field_id: int, codes: npt.NDArray[np.int64], shards: npt.NDArray[np.int64]) -> None:
        """The same of shards of postings."""
        seen = cast("set[int]", self._base.setdefault((DB_POSTINGS, field_id, "verified"), set()))
        todo = set((codes << _SHARD_ROOM | shards).tolist()) - seen
        keys = (posting_key(field_id, each >> _SHARD_ROOM, each & ((1 << _SHARD_ROOM) - 1)) for each in todo)
        self._verified.check(self.txn, DB_POSTINGS, self.dbs[DB_POSTINGS], keys)
        seen |= todo

    def universe(self) -> Posting:
        """The live contacts."""
        return self.posting(SYSTEM_FIELD, LIVE_CODE)

    def base_column(self, field_id: int) -> Column:
        """The base's column of a field; lives as long as `column`'s."""
        found = self._base.get(field_id)
        if found is None:
            found = self._base[field_id] = open_column(self.txn, self.dbs[DB_COLUMNS], field_id, self.base_size)
        return cast(Column, found)

    def column(self, field_id: int) -> Column:
        """The column of a single-valued field. It borrows pages: do not use it after this snapshot is closed."""
        found = self._entries.get(field_id)
        if found is None:
            found = self._entries[field_id] = self.base_column(field_id).overlaid(field_id, self.view.deltas)
        return cast(Column, found)

    def column_bounds(self, field_id: int) -> tuple[int | None, int | None]:
        """(least, greatest) value of a column, exactly; None where there is none. `column(...).bounds()` is quick and
        may be wider."""
        column = self.column(field_id)
        if not column.layered:
            low, high, _ = column.bounds()
            return low, high
        changes = [c for d in self.view.deltas if (c := DeltaArrays(d).values_of(field_id)) is not None]
        return column_bounds(self.txn, self.dbs[DB_COLUMNS], field_id, column, changes)

    def dictionary(self, field: Field) -> LayeredStrings:
        """The strings of a category, text or tags field, by code."""
        return self.table(self.field_id(field))

    def remembered(self, key: object, find: Callable[[], Found], *, base: bool) -> Found:
        """What `find` has found once for all snapshots of this version of the base or, above it, of this generation."""
        entries = self._base if base else self._entries
        if key not in entries:
            entries[key] = find()
        return cast(Found, entries[key])

    # --- events ---

    @property
    def newest_event(self) -> int | None:
        """The newest time that an accepted event has had, ms since 1970."""
        if META_NEWEST_EVENT not in self._entries:
            self._entries[META_NEWEST_EVENT] = read_newest_event(self.txn, self.dbs[DB_META])
        return cast("int | None", self._entries[META_NEWEST_EVENT])

    @property
    def newest_change(self) -> int | None:
        """The newest time of the history of tracked fields, ms since 1970; None while none is kept."""
        return read_newest_change(self.txn, self.dbs[DB_META])

    @property
    def events_merged(self) -> EventsMerged | None:
        """How far a merge that is not done yet has folded events into this base."""
        if META_EVENTS_MERGED not in self._base:
            self._base[META_EVENTS_MERGED] = read_events_merged(self.txn, self.dbs[DB_META])
        return cast("EventsMerged | None", self._base[META_EVENTS_MERGED])

    def event_layers(self, type: EventType) -> tuple[EventLayer, ...]:
        """What the log holds of the events of a type, oldest first; see `first_event_layer`. Raises CorruptData."""
        return self._layers_of(type)[0]

    def closed_event_layers(self, type: EventType) -> int:
        """How many of them, the oldest, are of segments that no commit adds to any more."""
        return sum(len(s.layers.get(type.number, ())) for s in self.view.segments[:-1])

    def first_event_layer(self, type: EventType, number: int) -> int:
        """From which layer of a type on they lie above the blocks of a range: where a merge has come past, the base
        holds what the older ones say."""
        merged = self.events_merged
        return self._layers_of(type)[1] if merged is not None and merged.has(type.number, number) else 0

    def _layers_of(self, type: EventType) -> tuple[tuple[EventLayer, ...], int]:
        """The layers, and how many of them the merge that is under way folds: its segments were closed before it began,
        so that none goes on behind its generation."""
        found = self._layers.get(type.number)
        if found is None:
            layers = self.view.layers(type.number)
            check_layers(type, layers)
            merged = self.events_merged
            chosen = (s for s in self.view.segments if merged is not None and s.last <= merged.generation)
            found = self._layers[type.number] = layers, sum(len(s.layers.get(type.number, ())) for s in chosen)
        return found

    def events_folded(self, type: EventType) -> tuple[int, int]:
        """(n, range): the blocks of a type's ranges below that one hold what its first n layers say. See
        `first_event_layer`."""
        merged = self.events_merged
        if merged is None or type.number > merged.type:
            return 0, 0
        return self._layers_of(type)[1], merged.range if type.number == merged.type else LAST_RANGE + 1

    def _event_months(self, type: EventType) -> EventMonths:
        key = (DB_EVENTS, type.number)
        found = self._base.get(key)
        if found is None:
            found = self._base[key] = EventMonths(self.txn, self.dbs[DB_EVENTS], type)
        return cast(EventMonths, found)

    def event_months(
        self,
        type: EventType,
        first_month: int,
        last_month: int,
        filter: EventFilter | None = None,
        measure: int | None = None,
    ) -> tuple[EventMonth, ...]:
        """The blocks of a type of the months (since 1970-01, UTC) from the first to the last, both included, those
        without any left out. With a filter, and the measure of a sum, which they are about to be asked with, they may
        be in the order of what it asks for. They borrow pages: do not use them after this snapshot is closed. Raises
        CorruptData."""
        if DB_EVENTS not in self.dbs:  # read as an older format
            return ()
        found = self._event_months(type).between(self.txn, self.dbs[DB_EVENTS], first_month, last_month)
        if filter is not None and filter.equals:
            self._orders.asked(type.number, tuple(found.items()), filter, measure)
        return tuple(found.values())

    def locate_events(
        self,
        type: EventType,
        first_month: int,
        last_month: int,
        filter: EventFilter | None = None,
        measure: int | None = None,
    ) -> None:
        """A question about some contacts alone, with this filter, a sum over `measure` if that is given, is about to be
        put to these months: their rows may be located for it."""
        if DB_EVENTS in self.dbs:
            found = self._event_months(type).between(self.txn, self.dbs[DB_EVENTS], first_month, last_month)
            self._orders.narrowed(type.number, tuple(found.items()), filter, measure)

    def event_ranges(self, type: EventType) -> list[int]:
        """The ranges (ordinal >> 14) that have events of a type, in blocks or in layers, ascending. Layers' events may
        be in the base already, or void what there is."""
        if DB_EVENTS not in self.dbs:
            return []
        above = (number for layer in self.event_layers(type) for number in layer.ranges().tolist())
        return sorted({*self._event_months(type).ranges, *above})

    def event_blocks(self, type: EventType, number: int, first_month: int, last_month: int) -> tuple[EventBlock, ...]:
        """The blocks of one range and of the months from the first to the last, in order; as `event_months`."""
        return tuple(b for month in self.event_months(type, first_month, last_month) for b in month.of(number))

    def event_places(
        self, type: EventType, events: npt.NDArray[np.int64], newer: tuple[Delta, ...] = ()
    ) -> EventPlaces:
        """Where events lie, by their numbers in any order, and what revision is held of them, after the `newer` deltas
        too. What of the base it reads is verified. Raises CorruptData."""
        end = len(self.table(event_ids_table(type)).base)
        chunks = np.unique(events[events < end] // CHUNK_ROWS)
        for place in (PLACE_CONTACT, PLACE_TIME, PLACE_REVISION):
            self.verify_blocks(DB_COLUMNS, event_place(type, place), chunks)
        return layered_places(self.txn, self.dbs[DB_COLUMNS], type, events, end, self.view.deltas + newer)

    def event_dictionary(self, type: EventType, index: int) -> LayeredStrings:
        """The strings of a category property, the one at `index` among those of its type, by code."""
        return self.table(event_table(type, index))

    # --- products ---

    @property
    def products(self) -> Products:
        """The catalogue of products. Raises CorruptData."""
        if self._catalogue is None:
            state = read_products_state(self.txn, self.dbs[DB_META])
            if state is None:
                self._catalogue = NO_PRODUCTS
            elif DB_PRODUCTS not in self.dbs:  # opened before there were any
                raise Closed(NEWER_MEANWHILE)
            else:
                self._catalogue = self._products.at(self.txn, self.dbs[DB_PRODUCTS], state.stamp)
        return self._catalogue

    # --- counts ---

    def live_count(self) -> int:
        return self.value_count(SYSTEM_FIELD, LIVE_CODE)

    def set_count(self, field: Field) -> int:
        """Contacts that have a value of the field (at least one tag)."""
        return self.value_count(SYSTEM_FIELD, self.field_id(field))

    def code_of(self, field: Field, text: str) -> int | None:
        """The code of a string in the field's dictionary."""
        return self.code_in(self.field_id(field), text)

    def code_in(self, table: int, text: str) -> int | None:
        """The code of a string in a table; remembered, since an editor asks for it at every key."""
        key = (DB_STRINGS, table, text)
        if key not in self._base:
            self._base[key] = self.table(table).base.find_one(text)
        found = cast("int | None", self._base[key])
        if found is None and self.view.fresh(table):
            return self.table(table).find_one(text)
        return found

    def value_entry(self, field_id: int, code: int) -> tuple[int, bool]:
        """(contacts that hold one value, whether the base keeps its posting)."""
        key = (field_id, code, "count")
        found = self._entries.get(key)
        if found is None:
            below = self._base.get(key)
            if below is None:
                below = self._base[key] = counts.read_entry(self.txn, self.dbs[DB_COUNTS], field_id, code)
            count, kept = cast("tuple[int, bool]", below)
            if self.view.deltas:
                newer = np.array([count], np.int64)
                overlay_counts(self.view.deltas, np.array([key_of(field_id, code)], np.uint64), newer)
                count = int(newer[0])
            found = self._entries[key] = (count, kept)
        return cast("tuple[int, bool]", found)

    def value_count(self, field_id: int, code: int) -> int:
        """Contacts that hold one value."""
        return self.value_entry(field_id, code)[0]

    def has_posting(self, field: Field, code: int) -> bool:
        """Whether the value's posting is kept. All are, but those of rare texts."""
        return field.type is not FieldType.TEXT or self.value_entry(self.field_id(field), code)[1]

    def value_counts(self, field: Field) -> tuple[counts.Counts, npt.NDArray[np.bool_]]:
        """(contacts, whether a posting is kept) for every code of a dictionary, in order of code; copies."""
        field_id = self.field_id(field)
        found, flags = counts.read_entries(self.txn, self.dbs[DB_COUNTS], field_id, len(self.dictionary(field)))
        for delta in self.view.deltas:
            arrays = DeltaArrays(delta)
            here = arrays.keys_of(field_id)
            found[(arrays.keys[here] & np.uint64(0xFFFFFFFF)).astype(np.int64)] = arrays.counts[here]
        return found, flags if field.type is FieldType.TEXT else np.ones_like(flags)

    def distinct(self, field: Field) -> int:
        """Values of a coded field that some contact holds."""
        return int(np.count_nonzero(self.value_counts(field)[0]))

    def stored_postings(self) -> int:
        """Stored values of postings: one for each shard of each, and those of bands."""
        return int(self.txn.stat(self.dbs[DB_POSTINGS])["entries"])

    def close(self) -> None:
        """End the read transaction. Everything borrowed from this snapshot is invalid from now on."""
        self._entries = {}
        self._base = {}
        self._tables = {}
        self.txn.abort()

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
