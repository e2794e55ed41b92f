"""Merging: the log's records folded into the base, and what is no longer needed deleted.

Commits go on meanwhile: a merge reads from short transactions, writes in transactions of at most 4 MB, and moves the
merge point in the last of them. Killed anywhere, it leaves a state that reads exactly as before; the next one does the
whole again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from segidx.store.base import Slices, concatenated, fold
from segidx.store.environment import AccountStore
from segidx.store.feed import trim_changes
from segidx.store.layout import DB_CHANGES, DB_LOG, DB_RECEIPTS
from segidx.store.log import NewStrings, trim_log
from segidx.store.overlay import Segment, merged_delta
from segidx.store.receipts import trim_receipts

# Deletions of one transaction: each frees up to 32 pages and dirties few.
_TRIM_MOST = 200


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge did."""

    generation: int  # the merge point now
    log_bytes: int  # folded


def merge(store: AccountStore, now: int) -> Merged:
    """Fold all that is committed when it begins, and trim what is too old at `now` (ms since 1970).

    One merge at a time. Raises StorageFull and CorruptData; what was folded until then does no harm.
    """
    with store.snapshot() as snapshot:
        chosen = snapshot.view.segments
        strings = _strings(chosen)
        catalog = snapshot.catalog
    if not chosen:
        _trim(store, store.state().merged, now)
        return Merged(store.state().merged, 0)
    sink = Slices(store)
    try:
        deltas = tuple(d for s in chosen for d in s.deltas)
        if strings or deltas:
            fold(sink, strings, merged_delta(deltas), catalog)
    finally:
        sink.close()
    merged = chosen[-1].last
    with store.write() as write:
        write.save_state(replace(write.state, merged=merged, base=write.state.base + 1))
    _trim(store, merged, now)
    return Merged(merged, sum(s.log_bytes for s in chosen))


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
            done = trim_log(write.txn, write.dbs[DB_LOG], merged, _TRIM_MOST)
    done = False
    while not done:
        with store.write() as write:
            changes = trim_changes(write.txn, write.dbs[DB_CHANGES], now, _TRIM_MOST)
            receipts = trim_receipts(write.txn, write.dbs[DB_RECEIPTS], now, _TRIM_MOST)
            done = changes and receipts
