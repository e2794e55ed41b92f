"""Bytes of an account, changed behind its back: for tests of what finds damage.

It may import anything below the service.
"""

from __future__ import annotations

from segidx.database import Account


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
