"""Keeping derived numbers: binding their filters for those who change blocks, and building the columns that there are
to be and are not yet.

A column is built range by range from the blocks, in transactions of its own: nothing asks for it before it is whole,
and whoever changes a range that is built already changes its chunk too. So it may be built at any time, beside commits
and behind a merge that was cut short. The bitmaps of its bands are made of it then (`segidx.ingest.bands`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import lmdb
import numpy as np

from segidx.ingest.bands import begin_bands, build_more_bands, other_bands, without_other_bands
from segidx.kernels.columns import CHUNK_ROWS, encode_chunk
from segidx.kernels.events import EventFilter
from segidx.model.derived import members_of
from segidx.model.expression import Aggregate
from segidx.model.windows import MAX_INSTANT
from segidx.plan.context import BindContext
from segidx.plan.derived import HOW, foreign_field
from segidx.plan.events import bind_aggregate
from segidx.plan.values import BoundAggregate
from segidx.store import bands
from segidx.store.catalog import Catalog
from segidx.store.columns import stored_chunks
from segidx.store.derived import (
    KeptNumber,
    Maintained,
    NumberTooLarge,
    add_opening,
    free_number,
    leftovers,
    read_kept,
    write_kept,
)
from segidx.store.environment import AccountStore
from segidx.store.event_blocks import LAST_MONTH
from segidx.store.layout import (
    DB_COLUMNS,
    DB_EVENTS,
    DB_META,
    DB_POSTINGS,
    Handle,
    balance_column,
    block_key,
    derived_column,
)
from segidx.store.snapshot import Snapshot

# Ranges of one transaction: chunks of at most 128 KiB each, so 4 MB.
_TOGETHER = 32
# Chunks that one transaction deletes.
_LEFTOVERS = 200


def numbers_to_keep(catalog: Catalog) -> tuple[Aggregate, ...]:
    """The numbers of one type each that an account's derived numbers and its bands of all time are made of, each once,
    as far as the events alone decide them, and these are there or an opening balance holds what they came to."""
    values = [each.value for each in catalog.derived.values()]
    values += [each.value for each in catalog.bands.values() if not each.is_windowed]
    found = dict.fromkeys(member for value in values for member in members_of(value, catalog.event_groups))
    return tuple(each for each in found if _can_be_kept(each, catalog))


def _can_be_kept(value: Aggregate, catalog: Catalog) -> bool:
    if value.events.type not in catalog.event_types or foreign_field(value, catalog) is not None:
        return False
    pruned = catalog.horizon(catalog.event_types[value.events.type]) is not None
    return not pruned or any(each.value == value for each in catalog.balances)


def bind_kept(snapshot: Snapshot) -> tuple[Maintained, ...]:
    """The columns that a snapshot's base holds a part of, ready to follow. Raises CorruptData."""
    kept = read_kept(snapshot.txn, snapshot.dbs[DB_META])
    wanted = numbers_to_keep(snapshot.catalog)
    return tuple(bound(each, snapshot) for each in kept if not each.too_large and each.value in wanted)


def bound(kept: KeptNumber, snapshot: Snapshot) -> Maintained:
    """A column with its filter bound to the strings that the snapshot sees, over all time."""
    value = _bound_value(kept, snapshot)
    events = value.events
    where = EventFilter(events.where) if events.where else None
    thresholds = bands.in_units(kept.bands.thresholds, value.scale) if kept.bands else None
    return Maintained(
        kept,
        events.type,
        HOW[value.function],
        value.measure,
        where,
        events.start,
        events.end,
        events.opening,
        thresholds,
    )


def _bound_value(kept: KeptNumber, snapshot: Snapshot) -> BoundAggregate:
    context = BindContext(snapshot, MAX_INSTANT, snapshot.catalog.account.tz)
    value = bind_aggregate(kept.value, context, "derived")
    assert isinstance(value, BoundAggregate)
    assert not value.also
    return value


def _scale(kept: KeptNumber, snapshot: Snapshot) -> int:
    return _bound_value(kept, snapshot).scale


def lacks_columns(store: AccountStore) -> bool:
    """Whether there are events, and other columns, or bitmaps of bands, than there are to be."""
    with store.snapshot() as snapshot:
        if DB_EVENTS not in snapshot.dbs or not store.writable:
            return False
        with snapshot.txn.cursor(snapshot.dbs[DB_EVENTS]) as cursor:
            if not cursor.first():
                return False
        kept = read_kept(snapshot.txn, snapshot.dbs[DB_META])
        wanted = numbers_to_keep(snapshot.catalog)
        return (
            {each.value for each in kept} != set(wanted)
            or any(each.built is not None and not each.too_large for each in kept)
            or other_bands(kept, snapshot.catalog)
        )


def keep_all(store: AccountStore, stop: Callable[[], bool] = lambda: False) -> None:
    """Keep what is to be kept and nothing else: begin columns, build them, delete what is left of others. Until `stop`
    says so. Nobody else builds or merges meanwhile. Raises CorruptData and StorageFull."""
    _begin(store)
    while not (stopped := stop()) and not _drop_leftovers(store):
        pass
    if not stopped:
        begin_bands(store)
    while not stop() and not _build_more(store):
        pass
    while not stop() and not build_more_bands(store, _scale):
        pass


def _begin(store: AccountStore) -> None:
    with store.snapshot() as snapshot:
        before = read_kept(snapshot.txn, snapshot.dbs[DB_META])
        if {each.value for each in before} == set(numbers_to_keep(snapshot.catalog)) and all(
            without_other_bands(each, snapshot.catalog) is each for each in before
        ):
            return
    with store.write() as write:
        before = read_kept(write.txn, write.dbs[DB_META])
        catalog = write.catalog()
        wanted = numbers_to_keep(catalog)
        held = {each.value: each for each in before}
        taken = {each.number for each in before}
        after = []
        for value in wanted:
            kept = held.get(value)
            if kept is None:
                number = free_number(write.txn, write.dbs[DB_COLUMNS], taken)
                if number is None:
                    continue  # answered from the events
                taken.add(number)
                kept = KeptNumber(number, value, 0)
            after.append(without_other_bands(kept, catalog))
        write_kept(write, after)
        write.changed_base()


def _drop_leftovers(store: AccountStore) -> bool:
    """Delete some of what is left of columns and bands that are kept no more; whether that was all."""
    with store.begin() as txn:
        if not _leftovers(txn, store.databases, 1):
            return True
    with store.write() as write:
        found = _leftovers(write.txn, write.dbs, _LEFTOVERS)
        for database, key in found:
            write.txn.delete(key, db=write.dbs[database])
        write.changed_base()
    return len(found) < _LEFTOVERS


def _leftovers(txn: lmdb.Transaction, dbs: Mapping[bytes, Handle], most: int) -> list[tuple[bytes, bytes]]:
    """Databases and keys of what is left, at most so many."""
    kept = [each for each in read_kept(txn, dbs[DB_META]) if not each.too_large]
    found = [(DB_COLUMNS, key) for key in leftovers(txn, dbs[DB_COLUMNS], {each.number for each in kept}, most)]
    banded = {each.number for each in kept if each.bands}
    return found + [(DB_POSTINGS, key) for key in bands.leftovers(txn, dbs[DB_POSTINGS], banded, most - len(found))]


def _build_more(store: AccountStore) -> bool:
    """Build some ranges of one column; whether there is nothing to build."""
    with store.snapshot() as snapshot:
        todo = [
            each
            for each in read_kept(snapshot.txn, snapshot.dbs[DB_META])
            if each.built is not None and not each.too_large
        ]
        if not todo:
            return True
        kept, base = todo[0], snapshot.state.base
        assert kept.built is not None
        first = kept.built
        column = bound(kept, snapshot)
        months = snapshot.event_months(column.type, 0, LAST_MONTH)
        last = max((month.last for month in months), default=-1)
        if column.opening is not None:
            dropped = stored_chunks(snapshot.txn, snapshot.dbs[DB_COLUMNS], balance_column(column.opening))
            last = max([last, *dropped])
        end = first + _TOGETHER
        built = replace(kept, built=None if end > last else end)
        chunks: Sequence[tuple[int, bytes]] = ()
        if first <= last:
            try:
                chunks = _chunks(column, snapshot, first, end)
            except NumberTooLarge:
                built, chunks = replace(kept, too_large=True), ()
    with store.write() as write:
        if write.state.base != base:
            return False  # blocks may have changed: look again
        for ordinals, value in chunks:
            write.txn.put(block_key(derived_column(kept.number), ordinals), value, db=write.dbs[DB_COLUMNS])
        now = read_kept(write.txn, write.dbs[DB_META])
        write_kept(write, [built if each.number == kept.number else each for each in now])
        write.changed_base()
    return False


def _chunks(column: Maintained, snapshot: Snapshot, first: int, end: int) -> list[tuple[int, bytes]]:
    """The chunks of the ranges from one to another, those without a value left out. Raises NumberTooLarge."""
    months = snapshot.event_months(column.type, 0, LAST_MONTH)
    owners, numbers = column.collected(months, (), (first, end))
    ranges = owners // CHUNK_ROWS
    found = []
    for ordinals in range(first, end):
        lo, hi = np.searchsorted(ranges, [ordinals, ordinals + 1])
        values, present = np.zeros(CHUNK_ROWS, np.int64), np.zeros(CHUNK_ROWS, np.uint8)
        rows = owners[lo:hi].astype(np.int64) - ordinals * CHUNK_ROWS
        values[rows], present[rows] = numbers[lo:hi], 1
        add_opening(column, snapshot.txn, snapshot.dbs[DB_COLUMNS], ordinals, values, present)
        if present.any():
            found.append((ordinals, encode_chunk(values, present)))
    return found
