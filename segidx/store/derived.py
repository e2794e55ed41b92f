"""Derived numbers kept as columns by contact, in step with the blocks of events: which there are, and how a range of
one follows when its blocks change.

What is kept is of one type of events; a number of a group is several. A chunk of a column and the blocks of its range
(both of 16,384 ordinals) are changed in one transaction, so that a chunk always says what the events in the blocks of
its range come to, whatever the log holds above them; and so are the bitmaps of its bands (`segidx.store.bands`).
Filters are bound above this floor: a `Maintained` comes from there. A column that did not follow is kept no more, until
it is built anew under another number.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import lmdb
import numpy as np
import numpy.typing as npt

from segidx.kernels.bitmaps import Posting
from segidx.kernels.columns import VALUE_LIMIT, encode_chunk
from segidx.kernels.events import TIME, EventFilter, EventLayer, EventMonth, collect
from segidx.model.bands import threshold_text
from segidx.model.derived import derived_value, value_text
from segidx.model.errors import CorruptData, SegidxError
from segidx.model.events import EventType
from segidx.model.expression import Aggregate
from segidx.store.bands import CHUNKS, KeptBands, Moves, band_key, changed_value, moves, open_bands
from segidx.store.columns import read_chunk
from segidx.store.environment import WriteTransaction
from segidx.store.event_blocks import month_of, open_block
from segidx.store.layout import (
    DB_COLUMNS,
    DB_EVENTS,
    DB_META,
    DB_POSTINGS,
    MAX_KEPT,
    META_KEPT,
    RANGE_BITS,
    Handle,
    Reader,
    balance_column,
    block_key,
    derived_column,
    derived_of,
    event_key,
    split_block_key,
    split_event_key,
)
from segidx.store.snapshot import Snapshot

Ordinals = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.int64]

# So many months before the newest event, columns are not asked any more.
_LATE_MONTHS = 2
_JOIN = {"sum": np.add, "min": np.minimum, "max": np.maximum}


class NumberTooLarge(Exception):
    """A contact's number is more than a column holds."""


@dataclass(frozen=True, slots=True)
class KeptNumber:
    """A number, of one type, and its column. `built`: the ranges below that one are in place; None: all are. One that
    was too large is kept no more, and answered from the events. `bands`: those that it has bitmaps of."""

    number: int
    value: Aggregate
    built: int | None
    too_large: bool = False
    bands: KeptBands | None = None

    def has(self, ordinals: int) -> bool:
        """Whether a range's chunk is in step with its blocks."""
        return not self.too_large and (self.built is None or ordinals < self.built)

    @property
    def is_whole(self) -> bool:
        return not self.too_large and self.built is None


@dataclass(frozen=True, slots=True)
class Maintained:
    """A column with what its numbers are made of: `how` is the kernel's word, `measure` the column of the blocks, and
    the window is all time."""

    kept: KeptNumber
    type: EventType
    how: str
    measure: int
    where: EventFilter | None
    start: int
    end: int
    opening: int | None = None  # the balance that holds what dropped events came to
    thresholds: Numbers | None = None  # of its bands, in the column's units

    def collected(
        self,
        months: Iterable[EventMonth],
        layers: Sequence[EventLayer],
        ranges: tuple[int, int],
        among: Ordinals | None = None,
    ) -> tuple[Ordinals, Numbers]:
        """What the events of some ranges come to: contacts ascending, and theirs. Raises NumberTooLarge."""
        try:
            owners, numbers = collect(
                months,
                self.where,
                self.start,
                self.end,
                self.measure,
                among,
                how=self.how,
                layers=layers,
                ranges=ranges,
            )
        except OverflowError:
            raise NumberTooLarge from None
        return owners, self.checked(numbers)

    @staticmethod
    def checked(numbers: Numbers) -> Numbers:
        if bool(((numbers >= VALUE_LIMIT) | (numbers <= -VALUE_LIMIT)).any()):
            raise NumberTooLarge
        return numbers


def add_opening(
    each: Maintained,
    txn: Reader,
    db: Handle,
    ordinals: int,
    values: Numbers,
    present: npt.NDArray[np.uint8],
    rows: Numbers | None = None,
) -> None:
    """Add to the numbers of a range what the opening balance holds of its rows, or of some of them: what the events in
    the blocks come to becomes what all did. Raises CorruptData, NumberTooLarge."""
    if each.opening is None:
        return
    held, there = read_chunk(txn, db, balance_column(each.opening), ordinals)
    at = np.flatnonzero(there) if rows is None else rows[there[rows] != 0]
    values[at] = each.checked(np.where(present[at] != 0, _JOIN[each.how](values[at], held[at]), held[at]))
    present[at] = 1


Bind = Callable[[Snapshot], "tuple[Maintained, ...]"]
"""Binds what the directory of a snapshot names."""


# --- the directory -----------------------------------------------------------------------------------------


def read_kept(txn: Reader, db: Handle) -> tuple[KeptNumber, ...]:
    """The columns that there are. Raises CorruptData."""
    value = txn.get(META_KEPT, db=db)
    if value is None:
        return ()
    try:
        return tuple(
            KeptNumber(
                row["number"],
                derived_value(row["value"]),
                row["built"],
                row.get("too_large", False),
                _bands(row.get("bands")),
            )
            for row in json.loads(bytes(value))
        )
    except (ArithmeticError, ValueError, TypeError, KeyError, SegidxError) as error:
        raise CorruptData(f"the columns of derived numbers cannot be read ({error}); restore from a backup") from error


def _bands(row: dict[str, Any] | None) -> KeptBands | None:
    return None if row is None else KeptBands(tuple(map(Decimal, row["thresholds"])), row["built"])


def write_kept(write: WriteTransaction, kept: Iterable[KeptNumber]) -> None:
    rows = [
        {"number": each.number, "value": value_text(each.value), "built": each.built}
        | ({"too_large": True} if each.too_large else {})
        | ({"bands": _stored_bands(each.bands)} if each.bands else {})
        for each in kept
    ]
    write.txn.put(META_KEPT, json.dumps(rows, ensure_ascii=False).encode(), db=write.dbs[DB_META])


def _stored_bands(bands: KeptBands) -> dict[str, Any]:
    return {"thresholds": [threshold_text(each) for each in bands.thresholds], "built": bands.built}


def free_number(txn: lmdb.Transaction, db: Handle, taken: set[int]) -> int | None:
    """The least number that no column has, and of which nothing is left; None when there is none."""
    left = {derived_of(split_block_key(key)[0]) for key in _chunk_keys(txn, db)}
    return next((number for number in range(MAX_KEPT) if number not in taken and number not in left), None)


def leftovers(txn: lmdb.Transaction, db: Handle, kept: set[int], most: int) -> list[bytes]:
    """Keys of chunks of columns that are kept no more, at most so many."""
    found: list[bytes] = []
    for key in _chunk_keys(txn, db):
        if derived_of(split_block_key(key)[0]) not in kept:
            found.append(key)
            if len(found) == most:
                break
    return found


def _chunk_keys(txn: lmdb.Transaction, db: Handle) -> Iterable[bytes]:
    with txn.cursor(db) as cursor:
        there = cursor.set_range(block_key(derived_column(0), 0))
        while there:
            key = bytes(cursor.key())
            if derived_of(split_block_key(key)[0]) is None:
                return
            yield key
            there = cursor.next()


# --- following changes of blocks ---------------------------------------------------------------------------


class Followers:
    """The columns of what one or more transactions change, and what becomes of them."""

    def __init__(self, maintained: Iterable[Maintained]) -> None:
        self._maintained = tuple(maintained)
        self._moves: defaultdict[tuple[int, int], list[Moves]] = defaultdict(list)  # by number and stored value
        self._too_large: set[int] = set()
        self._types: set[str] = set()  # whose blocks were changed

    def of(self, type: EventType) -> bool:
        """Whether any column follows the events of a type, which are about to change."""
        self._types.add(type.name)
        return any(each.type == type for each in self._maintained)

    def chunks(
        self,
        txn: lmdb.Transaction,
        dbs: dict[bytes, Handle],
        type: EventType,
        ordinals: int,
        layer: EventLayer,
        stale: Numbers,
    ) -> list[tuple[bytes, bytes | None]]:
        """Keys and values of the columns' chunks of a range, once the layer is in its blocks; `stale` are the contacts
        (whole ordinals) of its stale places in the range. The transaction sees the blocks as they were. Raises
        CorruptData."""
        self._types.add(type.name)
        found = []
        for each in self._maintained:
            if each.type != type or not each.kept.has(ordinals) or each.kept.number in self._too_large:
                continue
            field = derived_column(each.kept.number)
            values, present = read_chunk(txn, dbs[DB_COLUMNS], field, ordinals)
            before = values.copy(), present.copy()
            try:
                _follow(each, txn, dbs, ordinals, layer, np.unique(stale).astype(np.uint32), values, present)
            except NumberTooLarge:
                self._too_large.add(each.kept.number)
                continue
            found.append((block_key(field, ordinals), encode_chunk(values, present) if present.any() else None))
            self._move(each, ordinals, before, (values, present))
        return found

    def _move(
        self,
        each: Maintained,
        ordinals: int,
        before: tuple[Numbers, npt.NDArray[np.uint8]],
        after: tuple[Numbers, npt.NDArray[np.uint8]],
    ) -> None:
        """Note which contacts of a chunk change their bands."""
        bands = each.kept.bands
        if bands is None or not bands.has(ordinals):
            return
        assert each.thresholds is not None
        moved = moves(each.thresholds, ordinals, before, after)
        if moved is not None:
            self._moves[each.kept.number, ordinals // CHUNKS].append(moved)

    def bands(self, txn: lmdb.Transaction, dbs: dict[bytes, Handle]) -> list[tuple[bytes, bytes | None]]:
        """Keys and values of the bitmaps of bands that belong to all chunks since the last time; `txn` sees them as
        they were before those. Raises CorruptData."""
        waiting, self._moves = self._moves, defaultdict(list)
        return [
            (band_key(number, place), changed_value(txn, dbs[DB_POSTINGS], number, place, parts))
            for (number, place), parts in waiting.items()
        ]

    def settle(self, write: WriteTransaction) -> None:
        """In the transaction that changes the blocks: end what is too large, and keep no more what did not follow."""
        before = read_kept(write.txn, write.dbs[DB_META])
        following = {each.kept.number for each in self._maintained}
        after = tuple(
            replace(each, too_large=True) if each.number in self._too_large else each
            for each in before
            if each.too_large or each.number in following or each.value.events.type not in self._types
        )
        if after != before:
            write_kept(write, after)


def _follow(
    each: Maintained,
    txn: lmdb.Transaction,
    dbs: dict[bytes, Handle],
    ordinals: int,
    layer: EventLayer,
    stale: Ordinals,
    values: Numbers,
    mask: npt.NDArray[np.uint8],
) -> None:
    """Bring the chunk of a range under the layer: contacts with a stale place are made anew, others added to."""
    ranges, first = (ordinals, ordinals + 1), ordinals << RANGE_BITS
    owners, numbers = each.collected((), (layer,), ranges)
    if len(stale):
        added = ~np.isin(owners, stale)
        owners, numbers = owners[added], numbers[added]
    rows = owners.astype(np.int64) - first
    there = mask[rows] != 0
    # Both are below 2^62, so that the sum of them is a number of 64 bits.
    values[rows] = each.checked(np.where(there, _JOIN[each.how](values[rows], numbers), numbers))
    mask[rows] = 1
    if len(stale):
        gone = stale.astype(np.int64) - first
        values[gone], mask[gone] = 0, 0
        months = _months(txn, dbs[DB_EVENTS], each.type, ordinals)
        owners, numbers = each.collected(months, (layer,), ranges, stale)
        rows = owners.astype(np.int64) - first
        values[rows], mask[rows] = numbers, 1
        add_opening(each, txn, dbs[DB_COLUMNS], ordinals, values, mask, gone)


def _months(txn: lmdb.Transaction, db: Handle, type: EventType, ordinals: int) -> list[EventMonth]:
    """The blocks of a range, by month. They borrow pages."""
    found: dict[int, list[tuple[int, object]]] = {}
    with txn.cursor(db) as cursor:
        there = cursor.set_range(event_key(type.number, ordinals))
        while there:
            key = bytes(cursor.key())
            number, owner, month, _ = split_event_key(key)
            if (number, owner) != (type.number, ordinals):
                break
            found.setdefault(month, []).append((ordinals, open_block(type, key, cursor.value())))
            there = cursor.next()
    return [EventMonth(pairs) for _, pairs in sorted(found.items())]  # type: ignore[arg-type]


# --- what columns know -------------------------------------------------------------------------------------


def kept_numbers(snapshot: Snapshot) -> tuple[KeptNumber, ...]:
    """The columns that a snapshot's base has. Raises CorruptData."""
    return snapshot.remembered(META_KEPT, lambda: read_kept(snapshot.txn, snapshot.dbs[DB_META]), base=True)


def kept_bands(snapshot: Snapshot, kept: KeptNumber) -> list[Posting]:
    """The contacts of each piece between the thresholds of a number's bands, by what the blocks hold; each lives as
    long as the snapshot's other postings. Raises CorruptData."""
    bands, number = kept.bands, kept.number
    assert bands is not None
    return snapshot.remembered(
        (DB_POSTINGS, META_KEPT, number),
        lambda: open_bands(snapshot.txn, snapshot.dbs[DB_POSTINGS], number, bands.pieces, snapshot.base_size),
        base=True,
    )


def late_ranges(snapshot: Snapshot, type: EventType, at: int) -> tuple[int, ...] | None:
    """The ranges whose blocks hold an event of a type at an instant or later, ascending; None where the instant is so
    long ago that most do."""
    newest = snapshot.newest_event
    if newest is None or newest < at:
        return ()
    first, last = month_of(at), month_of(newest)
    if last - first > _LATE_MONTHS:
        return None
    months = snapshot.event_months(type, first, last)
    return tuple(
        number
        for number in range(max((month.last + 1 for month in months), default=0))
        if any(_ends_late(month, number, at) for month in months)
    )


def _ends_late(month: EventMonth, number: int, at: int) -> bool:
    zones = (block.zone(TIME) for block in month.of(number))
    return any(zone is not None and zone[1] >= at for zone in zones)
