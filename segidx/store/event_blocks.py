"""Blocks of events in LMDB, read in place: their names, opening, and which there are.

A block holds rows of one type, of one range (16,384 ordinals) and one month (UTC), sorted by contact, time, event and
line; the codec is native (`segidx.kernels.events`). `segidx.store.events` writes them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from functools import lru_cache

import lmdb
import numpy as np
import numpy.typing as npt

from segidx.kernels.events import LINE, CorruptEvents, EventBlock, EventLayer, EventMonth
from segidx.model.errors import CorruptData
from segidx.model.events import BUILT_IN, EventType
from segidx.store.layout import Handle, Reader, event_key, split_event_key

# The first property's column of a block, behind those that all types have; the last column is whether the row counts.
FIRST_PROPERTY = LINE + 1

LAST_MONTH = (1 << 16) - 1


def block_columns(type: EventType) -> int:
    """Columns of a block."""
    return FIRST_PROPERTY + len(type.properties) + 1


def month_of(time: int) -> int:
    """The month since 1970-01, UTC, of an instant in ms since 1970."""
    return _month_of_day(time // 86_400_000)


@lru_cache(maxsize=1 << 12)
def _month_of_day(day: int) -> int:
    return int(np.datetime64(day, "D").astype("datetime64[M]").astype(np.int64))


def months_of(times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The months of instants."""
    return times.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)


def group_name(number: int, ordinals: int, month: int) -> str:
    """How messages call the blocks of a type (by its number), a range and a month."""
    built_in = next((each.name for each in BUILT_IN if each.number == number), f"type {number}")
    return f"events of {built_in}, range {ordinals}, month {month_name(month)}"


def month_name(month: int) -> str:
    return f"{1970 + month // 12}-{month % 12 + 1:02}"


def block_name(key: bytes) -> str:
    """How messages call a block."""
    number, ordinals, month, part = split_event_key(key)
    return f"{group_name(number, ordinals, month)}, part {part}"


def open_block(type: EventType, key: bytes, value: memoryview | bytes) -> EventBlock:
    """A block; it borrows the value. Raises CorruptData, also for one that has not the columns of its type."""
    try:
        block = EventBlock(value)
    except CorruptEvents as error:
        where = "" if error.column is None else f"column {error.column}: "
        raise CorruptData(f"{block_name(key)}: {where}{error.reason}; restore from a backup") from error
    if block.columns != block_columns(type):
        raise CorruptData(
            f"{block_name(key)}: has {block.columns} columns instead of {block_columns(type)}; restore from a backup"
        )
    return block


def check_layers(type: EventType, layers: Iterable[EventLayer]) -> None:
    """Raises CorruptData for layers of the log that have not the columns of their type."""
    if any(layer.columns != block_columns(type) for layer in layers):
        raise CorruptData(f"the log's {type.name} events have not the columns of their type; restore from a backup")


class EventMonths:
    """The blocks of one type, opened month by month when they are first asked for. Safe for threads that see the same
    version of the base."""

    def __init__(self, txn: lmdb.Transaction, db: Handle, type: EventType) -> None:
        self._type = type
        self._keys: dict[int, list[bytes]] = {}  # by month; those of a month by range and part
        ranges: list[int] = []
        with txn.cursor(db) as cursor:
            if cursor.set_range(event_key(type.number, 0)):
                for key in cursor.iternext(keys=True, values=False):
                    owner, number, month, _ = split_event_key(key)
                    if owner != type.number:
                        break
                    if not ranges or ranges[-1] != number:
                        ranges.append(number)
                    self._keys.setdefault(month, []).append(bytes(key))
        self.ranges = tuple(ranges)  # those that have blocks, ascending
        self._months = sorted(self._keys)
        self._opened: dict[int, EventMonth] = {}

    def between(self, txn: Reader, db: Handle, first_month: int, last_month: int) -> dict[int, EventMonth]:
        """Those months (since 1970-01, UTC) from the first to the last, both included, that have blocks, in order. They
        borrow pages. Raises CorruptData."""
        lo, hi = bisect_left(self._months, first_month), bisect_right(self._months, last_month)
        opened = self._opened
        return {month: opened.get(month) or self._open(txn, db, month) for month in self._months[lo:hi]}

    def _open(self, txn: Reader, db: Handle, month: int) -> EventMonth:
        found = []
        for key in self._keys[month]:
            value = txn.get(key, db=db)
            assert value is not None  # its key is there in this version of the base
            found.append((split_event_key(key)[1], open_block(self._type, key, value)))
        opened = self._opened[month] = EventMonth(found)
        return opened
