"""Bands of derived numbers as bitmaps, in step with the columns of these numbers.

The thresholds of all bands that are declared over a number cut its values into pieces, each from one threshold to the
next; a band is one piece, or a few beside each other. Of every 65,536 contacts one value is stored among the postings:
a Roaring bitmap whose container keys are the pieces, each container the contacts whose numbers lie in that piece. It
says what the column says, and is changed in the transaction that changes a chunk of it. It imports no column and no
event: numbers come as arrays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import takewhile
from typing import NamedTuple

import lmdb
import numpy as np
import numpy.typing as npt

from segidx.kernels.bitmaps import CorruptPosting, Posting, open_banded
from segidx.model.errors import CorruptData
from segidx.store.layout import (
    CONTAINER_BITS,
    HEADER_BYTES,
    RANGE_BITS,
    Handle,
    Reader,
    derived_column,
    derived_of,
    posting_key,
    split_posting_key,
)
from segidx.store.postings import bitmap_of, changed_shard, shard_value

Ordinals = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.int64]
Present = npt.NDArray[np.uint8]

MAX_PIECES = 256
"""Of one number. A stored value stays below 256 KiB: 2 bytes a contact at most, and 16 a piece."""
CHUNKS = 1 << (CONTAINER_BITS - RANGE_BITS)
"""Chunks of a column whose contacts one stored value holds."""


@dataclass(frozen=True, slots=True)
class KeptBands:
    """The bands that a number's column has bitmaps of. `thresholds` ascend. `built`: the values below that one are in
    place; None: all are."""

    thresholds: tuple[Decimal, ...]
    built: int | None

    def has(self, ordinals: int) -> bool:
        """Whether the bitmaps are in step with a chunk of the column."""
        return self.built is None or ordinals // CHUNKS < self.built

    @property
    def pieces(self) -> int:
        return len(self.thresholds) + 1


class Moves(NamedTuple):
    """Members that a stored value loses and gains: piece << 16 | low half of the ordinal."""

    gone: Ordinals
    come: Ordinals


def in_units(thresholds: Iterable[Decimal], scale: int) -> Numbers:
    """Thresholds as a column of that scale has them. They have no more decimals."""
    return np.array([int(each.scaleb(scale)) for each in thresholds], np.int64)


def moves(
    thresholds: Numbers, ordinals: int, before: tuple[Numbers, Present], after: tuple[Numbers, Present]
) -> Moves | None:
    """What changes where a chunk's values and presence become others; None where no contact changes its piece."""
    rows = np.flatnonzero((before[0] != after[0]) | (before[1] != after[1]))
    old, new = (pieces_of(thresholds, values[rows], present[rows]) for values, present in (before, after))
    moved = old != new
    if not moved.any():
        return None
    low = rows | (ordinals % CHUNKS) << RANGE_BITS
    gone, come = moved & (old >= 0), moved & (new >= 0)
    return Moves(_members(old[gone], low[gone]), _members(new[come], low[come]))


def pieces_of(thresholds: Numbers, values: Numbers, present: npt.NDArray[np.bool_] | Present) -> Numbers:
    """The piece of each; -1 where there is no value."""
    return np.where(present != 0, np.searchsorted(thresholds, values, side="right"), -1)


def _members(pieces: Numbers, low: Numbers) -> Ordinals:
    return (pieces << CONTAINER_BITS | low).astype(np.uint32)


def changed_value(txn: Reader, db: Handle, number: int, place: int, parts: Iterable[Moves]) -> bytes | None:
    """A stored value after moves within different chunks; None when it has no member then. Raises CorruptData."""
    listed = list(parts)
    gone, come = (np.sort(np.concatenate([each[side] for each in listed])) for side in (0, 1))
    return changed_shard(txn, db, derived_column(number), 0, place, come, gone)


def new_value(thresholds: Numbers, values: Numbers, present: Present) -> bytes | None:
    """The stored value of 65,536 contacts of these values; None when none has one."""
    pieces = pieces_of(thresholds, values, present).astype(np.int16)
    order = np.argsort(pieces, kind="stable")
    order = order[np.searchsorted(pieces[order], 0) :]
    return shard_value(bitmap_of(_members(pieces[order].astype(np.int64), order)))


def open_bands(txn: Reader, db: Handle, number: int, pieces: int, size: int) -> list[Posting]:
    """The contacts of each piece, of ordinals 0 to size-1. They borrow LMDB's pages, like a posting (`open_posting`).
    Raises CorruptData."""
    places, parts = [], []
    for place in range(-(-size >> CONTAINER_BITS)):
        value = txn.get(band_key(number, place), db=db)
        if value is not None:
            places.append(place)
            parts.append(value)
    try:
        return open_banded(parts, places, pieces, skip=HEADER_BYTES)
    except CorruptPosting as error:
        raise CorruptData(f"bands of derived number {number}: {error}; restore from a backup") from error


def band_key(number: int, place: int) -> bytes:
    """The key of the bands of a number, of the contacts from place << 16 on."""
    return posting_key(derived_column(number), 0, place)


def stored_places(txn: lmdb.Transaction, db: Handle, number: int) -> list[int]:
    """Of which contacts bands of a number are stored, ascending."""
    return [place for _, place, _ in takewhile(lambda each: each[0] == number, _stored(txn, db, number))]


def leftovers(txn: lmdb.Transaction, db: Handle, kept: set[int], most: int) -> list[bytes]:
    """Keys of bands of numbers that have none any more, at most so many."""
    found: list[bytes] = []
    for number, _, key in _stored(txn, db, 0):
        if len(found) >= most:
            break
        if number not in kept:
            found.append(key)
    return found


def _stored(txn: lmdb.Transaction, db: Handle, first: int) -> Iterable[tuple[int, int, bytes]]:
    """(number, place, key) of what is stored, from a number on."""
    with txn.cursor(db) as cursor:
        there = cursor.set_range(band_key(first, 0))
        while there:
            key = bytes(cursor.key())
            field, _, place = split_posting_key(key)
            number = derived_of(field)
            if number is None:
                return
            yield number, place, key
            there = cursor.next()
