"""Merging events: the layers of the log folded into the blocks of the base, range by range.

What a layer says is not said twice without harm, as a delta is: its rows would be there twice. So each transaction of a
merge holds whole ranges and, with them, how far the merge has come (`EventsMerged` of the catalog); readers leave the
layers out that a range holds already. A merge that was cut short is finished, to the same generation, before another
begins.
"""

from __future__ import annotations

from collections.abc import Sequence

import lmdb
import numpy as np

from segidx.kernels.events import EventLayer
from segidx.model.errors import CorruptData
from segidx.model.events import EventType
from segidx.store import base
from segidx.store.catalog import Catalog, EventsMerged, read_events_merged, write_events_merged
from segidx.store.derived import Followers, Maintained
from segidx.store.environment import AccountStore
from segidx.store.event_blocks import check_layers
from segidx.store.event_groups import Stale, change_groups
from segidx.store.layout import DB_COLUMNS, DB_EVENTS, DB_META, DB_POSTINGS, RANGE_BITS
from segidx.store.overlay import Segment, merged_layer


def fold_events(
    store: AccountStore, segments: Sequence[Segment], catalog: Catalog, maintained: Sequence[Maintained] = ()
) -> int:
    """Fold the layers of the oldest segments, which are closed and hold all through the generation of the last, into
    the base; what a merge to the same generation has folded before is left out. Returns the bytes of values written.

    The columns of derived numbers that are `maintained` follow; others of the same types are kept no more.

    The strings and the deltas of the segments are in the base. The caller moves the merge point, and in the same
    transaction says that no merge is at it. Raises CorruptData, and what transactions raise.
    """
    generation = segments[-1].last
    with store.begin() as txn:
        before = read_events_merged(txn, store.databases[DB_META])
    assert before is None or before.generation == generation, "the merge before is finished first"
    slices = _Slices(store, generation, maintained)
    try:
        for number in sorted({number for segment in segments for number in segment.layers}):
            type = catalog.event_types.numbered(number)
            if type is None:
                raise CorruptData(
                    f"the log has events of type {number}, and there is no such type; restore from a backup"
                )
            layers = [layer for s in segments for layer in s.layers.get(number, ())]
            check_layers(type, layers)
            layer = merged_layer(layers)
            stale = Stale(*(each.astype(np.int64) for each in layer.stale_places()))
            for ordinals in layer.ranges().tolist():
                if before is None or not before.has(number, ordinals):
                    slices.fold(type, ordinals, layer, stale)
        slices.commit()
    finally:
        slices.close()
    return slices.written


class _Slices:
    """Commits whole ranges, once they come to 4 MB."""

    def __init__(self, store: AccountStore, generation: int, maintained: Sequence[Maintained]) -> None:
        self._store = store
        self._generation = generation
        self._followers = Followers(maintained)
        self._chunks: list[tuple[bytes, bytes | None]] = []
        self._waiting: list[tuple[bytes, bytes | None]] = []
        self._bytes = 0
        self.written = 0
        self._come_to: EventsMerged | None = None
        self._reader: lmdb.Transaction | None = None

    def fold(self, type: EventType, ordinals: int, layer: EventLayer, stale: Stale) -> None:
        """What a layer, whose places are `stale`, says of one range."""
        contacts = ordinals << RANGE_BITS, ordinals + 1 << RANGE_BITS
        stale = stale.take(slice(*layer.stale_of(*contacts)))
        if self._reader is None:
            self._reader = self._store.begin()
        columns = layer.decode(*layer.rows_of(*contacts))
        chunks = self._followers.chunks(
            self._reader, dict(self._store.databases), type, ordinals, layer, stale.contacts
        )
        self._chunks += chunks
        self._bytes += sum(len(key) + len(value or b"") for key, value in chunks)
        change_groups(self._put, self._reader, self._store.databases[DB_EVENTS], type, columns, stale)
        self._come_to = EventsMerged(self._generation, type.number, ordinals + 1)
        if self._bytes >= base.SLICE_BYTES:
            self.commit()

    def _put(self, key: bytes, value: bytes | None) -> None:
        self._store.courtesy.make_way()
        self._waiting.append((key, value))
        self._bytes += len(key) + len(value or b"")

    def commit(self) -> None:
        if self._come_to is None:
            return
        assert self._reader is not None
        bands = self._followers.bands(self._reader, dict(self._store.databases))
        self.close()
        with self._store.write() as write:
            for key, value in self._waiting:
                if value is None:
                    write.txn.delete(key, db=write.dbs[DB_EVENTS])
                else:
                    write.txn.put(key, value, db=write.dbs[DB_EVENTS])
            for key, value in self._chunks:
                if value is None:
                    write.txn.delete(key, db=write.dbs[DB_COLUMNS])
                else:
                    write.txn.put(key, value, db=write.dbs[DB_COLUMNS])
            for key, value in bands:
                if value is None:
                    write.txn.delete(key, db=write.dbs[DB_POSTINGS])
                else:
                    write.txn.put(key, value, db=write.dbs[DB_POSTINGS])
            self._followers.settle(write)
            write_events_merged(write.txn, write.dbs[DB_META], self._come_to)
            write.changed_base()
        self.written += self._bytes
        self._waiting, self._chunks, self._bytes, self._come_to = [], [], 0, None

    def close(self) -> None:
        """End the reader: one that stays open makes the file grow."""
        if self._reader is not None:
            self._reader.abort()
            self._reader = None
