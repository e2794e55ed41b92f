"""Pruning: the events of a type before its horizon dropped, range by range, and put into opening balances.

The horizon is recorded first, in a commit of its own. From then on whatever reaches behind it is refused, and so is
every write of an event there, so that the log, once it is merged, says nothing of such events any more. Then one
transaction after another drops the events of some ranges and adds what they came to to the balances of the same ranges.
A number over all time is what the balance holds and the events that are there: before, meanwhile, and behind a prune
that was killed, which the next one finishes.

All of it happens in the writer's thread, and no part of it beside a merge: both read blocks and write them anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import lmdb
import numpy as np
import numpy.typing as npt

from segidx.exec.events import combined, counts, numbers_of_ranges
from segidx.ingest.derived import numbers_to_keep
from segidx.kernels.bitmaps import Stop
from segidx.kernels.columns import VALUE_LIMIT
from segidx.kernels.events import TIME, GroupedRows
from segidx.model.errors import SumTooLarge
from segidx.model.events import LINE, ORDER, EventType
from segidx.model.retention import Balance
from segidx.model.windows import MIN_INSTANT
from segidx.plan.context import BindContext
from segidx.plan.events import bind_aggregate
from segidx.plan.values import BoundAggregate, BoundEvents
from segidx.store import base
from segidx.store.balances import free_number, leftovers
from segidx.store.catalog import Catalog, write_horizons
from segidx.store.columns import changed_chunk, read_cells
from segidx.store.environment import AccountStore
from segidx.store.event_blocks import block_columns, month_of
from segidx.store.event_groups import read_group
from segidx.store.layout import (
    DB_COLUMNS,
    DB_EVENTS,
    DB_META,
    RANGE_BITS,
    Handle,
    balance_column,
    block_key,
    event_key,
    split_event_key,
)
from segidx.store.snapshot import Snapshot

# Chunks of balances that are kept no more which one transaction deletes.
_LEFTOVERS = 200

I64 = npt.NDArray[np.int64]


class Dropped(NamedTuple):
    """What one transaction has dropped. `first` is the range to go on with, None where all is done; `ended` are numbers
    that have no balance any more, since a contact's is too large for one."""

    first: int | None
    events: int
    lines: int
    ended: tuple[str, ...]


def types_of(type: EventType) -> tuple[EventType, ...]:
    """The types whose events go together: orders with their lines."""
    return (ORDER, LINE) if type == ORDER else (type,)


# --- horizons ----------------------------------------------------------------------------------------------


def record_horizons(store: AccountStore, wanted: Mapping[str, int]) -> None:
    """Move horizons forward, by names of types, in ms since 1970; those that are there already or further on stay. Of
    a type that had none the balances are begun; of others those end whose numbers are declared no more."""
    with store.write() as write:
        catalog = write.catalog()
        horizons = dict(catalog.horizons)
        moved = {name: time for name, time in wanted.items() if time > horizons.get(name, 0)}
        if not moved:
            return
        begun = {name for name in moved if name not in horizons}
        numbers = [value for value in numbers_to_keep(catalog) if _owner(value.events.type) in moved]
        held = [
            each for each in catalog.balances if _owner(each.value.events.type) not in moved or each.value in numbers
        ]
        taken = {each.number for each in catalog.balances}
        for value in numbers:
            if _owner(value.events.type) in begun:
                number = free_number(write.txn, write.dbs[DB_COLUMNS], taken)
                if number is not None:
                    taken.add(number)
                    held.append(Balance(number, value))
        write_horizons(write.txn, write.dbs[DB_META], horizons | moved, held)
        write.save_state(replace(write.state, schema=write.state.schema + 1))


def _owner(name: str) -> str:
    return ORDER.name if name == LINE.name else name


# --- what there is to drop ---------------------------------------------------------------------------------


def count_before(snapshot: Snapshot, type: EventType, horizon: int, stop: Stop | None = None) -> tuple[int, int]:
    """(events, lines) that there are of a type before an instant. Raises Stopped."""
    context = BindContext(snapshot, horizon, snapshot.catalog.account.tz, stop, behind_horizons=True)
    found = [
        int(counts((BoundEvents(each, MIN_INSTANT, horizon, ()),), None, context)[1].sum()) for each in types_of(type)
    ]
    return found[0], sum(found[1:])


# --- dropping ----------------------------------------------------------------------------------------------


def drop_slice(store: AccountStore, type: EventType, first: int) -> Dropped:
    """Drop the events behind the type's horizon of some ranges from the range `first` on, about 4 MB of them, in one
    transaction.

    For the writer's thread, while no merge runs, when all that was committed before the horizon is merged. Raises
    CorruptData and StorageFull; nothing is done then.
    """
    with store.snapshot() as snapshot:
        slice = _Slice(snapshot, type)
        for ordinals in slice.ranges(first):
            if slice.bytes >= base.SLICE_BYTES:
                return slice.commit(store, ordinals)
            slice.take(ordinals)
        return slice.commit(store, None)


def drop_leftovers(store: AccountStore) -> bool:
    """Delete some of what is left of balances that are kept no more; whether that was all."""
    kept = {each.number for each in _catalog(store).balances}
    with store.write() as write:
        keys = leftovers(write.txn, write.dbs[DB_COLUMNS], kept, _LEFTOVERS)
        for key in keys:
            write.txn.delete(key, db=write.dbs[DB_COLUMNS])
        if keys:
            write.changed_base()
    return len(keys) < _LEFTOVERS


def _catalog(store: AccountStore) -> Catalog:
    with store.snapshot() as snapshot:
        return snapshot.catalog


@dataclass(frozen=True, slots=True)
class _Kept:
    """A number of which a balance is kept, up to the horizon."""

    balance: Balance
    value: BoundAggregate


class _Slice:
    """What one transaction will do."""

    def __init__(self, snapshot: Snapshot, type: EventType) -> None:
        self._snapshot = snapshot
        self._types = types_of(type)
        horizon = snapshot.catalog.horizon(type)
        assert horizon is not None, "the horizon is recorded first"
        self._horizon = horizon
        self._last = month_of(horizon - 1)
        self._context = BindContext(snapshot, horizon, snapshot.catalog.account.tz, behind_horizons=True)
        self._kept = [_Kept(each, self._bound(each)) for each in snapshot.catalog.balances if self._is_mine(each)]
        self._events: list[tuple[bytes, bytes | None]] = []
        self._columns: list[tuple[bytes, bytes]] = []
        self._rows = [0, 0]
        self._ended: list[Balance] = []
        self.bytes = 0

    def ranges(self, first: int) -> Iterable[int]:
        """Those from `first` on that have a block of the horizon's month or an earlier one, ascending."""
        found: set[int] = set()
        for type in self._types:
            found |= _ranges(self._snapshot.txn, self._snapshot.dbs[DB_EVENTS], type, first, self._last)
        return sorted(found)

    def take(self, ordinals: int) -> None:
        """Drop what a range has."""
        dropped = False
        for place, type in enumerate(self._types):
            rows = self._drop(type, ordinals)
            self._rows[place] += rows
            dropped |= rows > 0
        if dropped:
            for kept in self._kept:
                self._add(kept, ordinals)

    def commit(self, store: AccountStore, first: int | None) -> Dropped:
        ended = {each.number: each.text for each in self._ended}
        if self._events:
            with store.write() as write:
                assert write.state.base == self._snapshot.state.base, "nobody else changes the base"
                for key, value in self._events:
                    if value is None:
                        write.txn.delete(key, db=write.dbs[DB_EVENTS])
                    else:
                        write.txn.put(key, value, db=write.dbs[DB_EVENTS])
                for key, value in self._columns:
                    write.txn.put(key, value, db=write.dbs[DB_COLUMNS])
                if ended:
                    catalog = write.catalog()
                    held = [each for each in catalog.balances if each.number not in ended]
                    write_horizons(write.txn, write.dbs[DB_META], catalog.horizons, held)
                    write.save_state(replace(write.state, schema=write.state.schema + 1))
                write.changed_base()
        events, lines = self._rows
        return Dropped(first, events, lines, tuple(sorted(ended.values())))

    # --- events ---

    def _drop(self, type: EventType, ordinals: int) -> int:
        """Take the events behind the horizon out of the blocks of a range; how many they are."""
        txn, db = self._snapshot.txn, self._snapshot.dbs[DB_EVENTS]
        rows = 0
        for month, parts in _months(txn, db, type, ordinals, self._last):
            blocks = read_group(txn, db, type, ordinals, month)
            gone = np.concatenate([block.decode()[TIME][0] for block in blocks]) < self._horizon
            if not gone.any():
                continue
            rows += int(gone.sum())
            kept: list[bytes] = []
            if not gone.all():
                nothing = (np.zeros(0, np.int64), np.zeros(0, np.uint8))
                kept = GroupedRows([nothing] * block_columns(type)).merged(0, 0, blocks, gone.astype(np.uint8))
            for part in range(max(parts, len(kept))):
                value = kept[part] if part < len(kept) else None
                self._events.append((event_key(type.number, ordinals, month, part), value))
                self.bytes += len(value or b"")
            self.bytes += sum(block.rows for block in blocks)  # pages that are given up are written down too
        return rows

    # --- balances ---

    def _is_mine(self, balance: Balance) -> bool:
        return balance.value.events.type in {each.name for each in self._types}

    def _bound(self, balance: Balance) -> BoundAggregate:
        bound = bind_aggregate(balance.value, self._context, "balance")
        assert isinstance(bound, BoundAggregate)
        assert not bound.also
        return bound

    def _add(self, kept: _Kept, ordinals: int) -> None:
        """Add what the dropped events of a range come to."""
        if kept.balance in self._ended:
            return
        field = balance_column(kept.balance.number)
        txn, db = self._snapshot.txn, self._snapshot.dbs[DB_COLUMNS]
        try:
            owners, numbers = numbers_of_ranges(kept.value, (ordinals, ordinals + 1), self._context)
            if not len(owners):
                return
            before, there = read_cells(txn, db, field, owners.astype(np.int64))
            parts = [(owners[there], before[there]), (owners, numbers)]
            owners, numbers = combined(kept.value.function, parts)
        except SumTooLarge:
            self._ended.append(kept.balance)
            return
        if bool(((numbers >= VALUE_LIMIT) | (numbers <= -VALUE_LIMIT)).any()):  # more than a column holds
            self._ended.append(kept.balance)
            return
        rows = owners.astype(np.int64) - (ordinals << RANGE_BITS)
        chunk = changed_chunk(txn, db, field, ordinals, rows, numbers, np.ones(len(rows), np.bool_))
        assert chunk is not None
        self._columns.append((block_key(field, ordinals), chunk))
        self.bytes += len(chunk)


def _ranges(txn: lmdb.Transaction, db: Handle, type: EventType, first: int, last_month: int) -> set[int]:
    """The ranges from `first` on whose earliest block of a type is of that month or an earlier one."""
    found = set()
    with txn.cursor(db) as cursor:
        there = cursor.set_range(event_key(type.number, first))
        while there:
            number, ordinals, month, _ = split_event_key(cursor.key())
            if number != type.number:
                break
            if month <= last_month:
                found.add(ordinals)
            there = cursor.set_range(event_key(type.number, ordinals + 1))
    return found


def _months(
    txn: lmdb.Transaction, db: Handle, type: EventType, ordinals: int, last_month: int
) -> list[tuple[int, int]]:
    """(month, parts) of a range's blocks up to that month, ascending."""
    found: dict[int, int] = {}
    with txn.cursor(db) as cursor:
        if cursor.set_range(event_key(type.number, ordinals)):
            for key in cursor.iternext(keys=True, values=False):
                number, owner, month, part = split_event_key(key)
                if (number, owner) != (type.number, ordinals) or month > last_month:
                    break
                found[month] = part + 1
    return sorted(found.items())
