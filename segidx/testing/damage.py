"""Bytes of an account, changed behind its back: for tests of what finds damage.

It may import anything below the service.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
from pyroaring import BitMap

from segidx.database import Account
from segidx.kernels.columns import CHUNK_ROWS, decode_chunk, encode_chunk
from segidx.store.counts import BLOCK_CODES, HAS_POSTING, read_block
from segidx.store.layout import DB_COLUMNS, DB_COUNTS, DB_POSTINGS, KIND_COUNTS, block_key, posting_key, seal
from segidx.store.postings import read_shard, shard_value


def put(account: Account, database: bytes, key: bytes, value: bytes) -> None:
    """Puts a value where it does not belong, or another in place of one."""
    with account._store.write() as w:
        w.txn.put(key, value, db=w.dbs[database])


def clear(account: Account, database: bytes, key: bytes) -> None:
    """Takes a value away."""
    with account._store.write() as w:
        assert w.txn.delete(key, db=w.dbs[database])


def get(account: Account, database: bytes, key: bytes) -> bytes:
    """The bytes of a value."""
    with account._store.begin() as txn:
        value = txn.get(key, db=account._store.databases[database])
        assert value is not None
        return bytes(value)


def flip(account: Account, database: bytes, key: bytes, at: int, bits: int = 1) -> None:
    """Turns some bits of one byte of a value over."""
    value = bytearray(get(account, database, key))
    value[at] ^= bits
    put(account, database, key, bytes(value))


def posting(account: Account, field: int, code: int, change: Callable[[BitMap], object]) -> None:
    """Change shard 0 of a stored posting into another well-formed one."""
    with account._store.begin() as txn:
        bitmap = read_shard(txn, account._store.databases[DB_POSTINGS], field, code, 0)
    change(bitmap)
    value = shard_value(bitmap)
    assert value is not None
    put(account, DB_POSTINGS, posting_key(field, code, 0), value)


def cell(account: Account, field: int, ordinal: int, value: int | None) -> None:
    """Change one value of a stored column."""
    key = block_key(field, ordinal // CHUNK_ROWS)
    values, present = decode_chunk(get(account, DB_COLUMNS, key))
    values[ordinal % CHUNK_ROWS], present[ordinal % CHUNK_ROWS] = value or 0, value is not None
    put(account, DB_COLUMNS, key, encode_chunk(values, present))


def counted(account: Account, field: int, code: int, change: Callable[[int], int]) -> None:
    """Change one raw entry of the stored counts."""
    block, db = code // BLOCK_CODES, account._store.databases[DB_COUNTS]
    with account._store.begin() as txn:
        entries = read_block(txn, db, field, block)
    entries[code % BLOCK_CODES] = change(int(entries[code % BLOCK_CODES]))
    in_use = int(np.count_nonzero(entries & np.uint32(HAS_POSTING - 1)))
    put(account, DB_COUNTS, block_key(field, block), seal(KIND_COUNTS, in_use, entries.tobytes()))


def code_of(account: Account, field: int, text: str) -> int:
    with account._store.snapshot() as snapshot:
        code = snapshot.table(field).find_one(text)
    assert code is not None
    return code


def string_key(table: int, kind: int, number: int, zero: int = 0) -> bytes:
    return struct.pack(">HBBI", table, kind, zero, number)
