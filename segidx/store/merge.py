"""Merging: the log's records folded into the base, and what is no longer needed deleted.

Commits go on meanwhile: a merge reads from short transactions, writes in transactions of about 4 MB, and moves the
merge point in the last of them. Killed anywhere, it leaves a state that reads exactly as before. What sets (deltas,
strings) is folded again by the next merge; events are folded once (see `segidx.store.event_merge`), and the next merge
goes on where they were left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from segidx.kernels.deltas import EMPTY
from segidx.kernels.events import LAYER_ROWS
from segidx.model.errors import CorruptData
from segidx.store.base import Slices, concatenated, fold
from segidx.store.catalog import Catalog, write_events_merged
from segidx.store.derived import Bind, Maintained
from segidx.store.environment import AccountStore
from segidx.store.event_merge import fold_events
from segidx.store.feed import trim_changes
from segidx.store.layout import DB_CHANGES, DB_LOG, DB_META, DB_RECEIPTS
from segidx.store.log import NewStrings, trim_log
from segidx.store.overlay import Segment, merged_delta
from segidx.store.receipts import trim_receipts
from segidx.store.snapshot import Snapshot

# Deletions of one transaction: each frees up to 32 pages and dirties few. Parts of the log are half a page.
_TRIM_MOST = 200
_TRIM_LOG = 20


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge did."""

    generation: int  # the merge point now
    log_bytes: int  # folded
    written: int  # bytes of the values that it put into the base


def merge(store: AccountStore, now: int, close: Callable[[], Snapshot], bind: Bind = lambda _: ()) -> Merged:
    """Fold all that is committed when it begins, and trim what is too old at `now` (ms since 1970).

    `close` takes a snapshot after which no commit joins a segment of its view; `bind` binds the columns of derived
    numbers that follow. One merge at a time. Raises StorageFull
    and CorruptData; what was folded until then does no harm.
    """
    log_bytes = written = 0
    more = True
    while more:
        with close() as snapshot:
            chosen = _chosen(snapshot)
            more = len(chosen) < len(snapshot.view.segments)
            strings = _strings(chosen)
            catalog, maintained = snapshot.catalog, bind(snapshot)
        if chosen:
            written += _fold(store, chosen, strings, catalog, maintained)
            log_bytes += sum(s.log_bytes for s in chosen)
    merged = store.state().merged
    _trim(store, merged, now)
    return Merged(merged, log_bytes, written)


def _chosen(snapshot: Snapshot) -> tuple[Segment, ...]:
    """The segments to fold together: all, or fewer where a merge was cut short, which is finished first."""
    segments, before = snapshot.view.segments, snapshot.events_merged
    if before is None:
        return _that_fit(segments)
    chosen = tuple(s for s in segments if s.last <= before.generation)
    if not chosen or chosen[-1].last != before.generation:
        raise CorruptData(
            f"events are merged in part through generation {before.generation}, at which no segment of the log ends;"
            " run `segidx verify`, restore from a backup"
        )
    return chosen


def _that_fit(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """The oldest of them, so that the events of a type fit in one layer; one at least."""
    sizes: Counter[int] = Counter()
    for count, segment in enumerate(segments):
        for number, layers in segment.layers.items():
            sizes[number] += sum(max(layer.rows, layer.stale) for layer in layers)
        if count and max(sizes.values(), default=0) > LAYER_ROWS:
            return segments[:count]
    return segments


def _fold(
    store: AccountStore,
    chosen: Sequence[Segment],
    strings: dict[int, NewStrings],
    catalog: Catalog,
    maintained: Sequence[Maintained],
) -> int:
    sink = Slices(store)
    try:
        deltas = tuple(d for s in chosen for d in s.deltas)
        if strings or deltas:
            fold(sink, strings, merged_delta(deltas or (EMPTY,)), catalog)
    finally:
        sink.close()
    written = sink.written + fold_events(store, chosen, catalog, maintained)
    with store.write() as write:
        write_events_merged(write.txn, write.dbs[DB_META], None)
        write.save_state(replace(write.state, merged=chosen[-1].last, base=write.state.base + 1))
    return written


def _strings(segments: Sequence[Segment]) -> dict[int, NewStrings]:
    """The new strings of segments by table; those of later commits too, which are as true as the others."""
    parts: dict[int, list[NewStrings]] = {}
    for segment in segments:
        for table, fresh in segment.fresh.items():
            codes = np.arange(fresh.first, fresh.end)
            parts.setdefault(table, []).append(NewStrings(fresh.first, fresh.get(codes)))
    return {table: concatenated(found) for table, found in parts.items()}


def _trim(store: AccountStore, merged: int, now: int) -> None:
    done = False
    while not done:
        with store.write() as write:
            done = trim_log(write.txn, write.dbs[DB_LOG], merged, _TRIM_LOG * _TRIM_MOST)
    done = False
    while not done:
        with store.write() as write:
            changes = trim_changes(write.txn, write.dbs[DB_CHANGES], now, _TRIM_MOST)
            receipts = trim_receipts(write.txn, write.dbs[DB_RECEIPTS], now, _TRIM_MOST)
            done = changes and receipts
