"""Opening balances: what a contact's dropped events came to, a column by contact for each number of which one is kept.

A chunk of a balance and the blocks of the same range of contacts (both of 16,384 ordinals) are changed in one
transaction: what is in the one is not in the other.
"""

from __future__ import annotations

import lmdb
import numpy as np
import numpy.typing as npt

from segidx.kernels.columns import CHUNK_ROWS
from segidx.store.columns import has_column, scan_column
from segidx.store.layout import DB_COLUMNS, MAX_BALANCES, Handle, balance_column, balance_of, block_key, split_block_key
from segidx.store.snapshot import Snapshot

Ordinals = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.int64]

assert CHUNK_ROWS == 1 << 14  # one chunk is one range of contacts


def opening_balance(snapshot: Snapshot, number: int, among: Ordinals | None) -> tuple[Ordinals, Numbers]:
    """The contacts, of `among` (ascending) where it is given, of whom the balance holds something, ascending, and what.
    Raises CorruptData."""
    if among is None:
        parts = [
            ((np.flatnonzero(present) + first).astype(np.uint32), values[present])
            for first, values, present in scan_column(snapshot.txn, snapshot.dbs[DB_COLUMNS], balance_column(number))
        ]
        if not parts:
            return np.zeros(0, np.uint32), np.zeros(0, np.int64)
        return np.concatenate([owners for owners, _ in parts]), np.concatenate([values for _, values in parts])
    among = among[: np.searchsorted(among, snapshot.base_size)]  # whoever came later has none
    values, present = snapshot.base_column(balance_column(number)).take(among)
    there = np.asarray(present) != 0
    return among[there], np.asarray(values)[there]


def free_number(txn: lmdb.Transaction, db: Handle, taken: set[int]) -> int | None:
    """The least number that no balance has, and of which nothing is left; None when there is none."""
    for number in range(MAX_BALANCES):
        if number not in taken and not has_column(txn, db, balance_column(number)):
            return number
    return None


def leftovers(txn: lmdb.Transaction, db: Handle, kept: set[int], most: int) -> list[bytes]:
    """Keys of chunks of balances that are kept no more, at most so many."""
    found: list[bytes] = []
    with txn.cursor(db) as cursor:
        there = cursor.set_range(block_key(balance_column(0), 0))
        while there and len(found) < most:
            number = balance_of(split_block_key(cursor.key())[0])
            if number is None:
                break
            if number not in kept:
                found.append(bytes(cursor.key()))
            there = cursor.next()
    return found
