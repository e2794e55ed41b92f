"""Records of an account's log, its change feed and its receipts, changed into other well-formed ones: for tests of what
finds damage."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from segidx.database import Account
from segidx.kernels.deltas import ColumnChanges, DeltaArrays, PostingChanges, build_delta
from segidx.store.layout import DB_CHANGES, DB_LOG, DB_RECEIPTS, part_key, split_part_key
from segidx.store.log import NewStrings, Record, encode_record, read_log
from segidx.testing.damage import put


def record_of(account: Account, generation: int) -> Record:
    with account._store.begin() as txn:
        ((record, _),) = read_log(txn, account._store.databases[DB_LOG], generation - 1, generation)
    return record


def log(account: Account, generation: int, **changes: Any) -> None:
    """Change a log record into another well-formed one, of one part."""
    changed = encode_record(replace(record_of(account, generation), **changes))
    with account._store.write() as w, w.txn.cursor(w.dbs[DB_LOG]) as cursor:
        while cursor.set_range(part_key(generation, 0)) and split_part_key(cursor.key())[0] == generation:
            cursor.delete()
        w.txn.put(part_key(generation, 0), changed, db=w.dbs[DB_LOG])


def strings(account: Account, generation: int, table: int, first: int | None, texts: list[str] | None) -> None:
    """Change the new strings of a log record."""
    held = dict(record_of(account, generation).strings)
    old = held.get(table, NewStrings(0, pa.array([], pa.string())))
    held[table] = NewStrings(
        old.first if first is None else first, old.strings if texts is None else pa.array(texts, pa.string())
    )
    log(account, generation, strings=held)


def delta(
    account: Account,
    generation: int,
    *,
    keys: dict[int, tuple[int, list[int], list[int]]] | None = None,
    columns: dict[int, dict[int, int | None]] | None = None,
) -> None:
    """Add keys (count, adds, removes), or replace them, and values to the delta of a log record."""
    old = DeltaArrays(record_of(account, generation).delta)
    held = {int(key): (int(old.counts[i]), *old.memberships(i)) for i, key in enumerate(old.keys)} | (keys or {})
    parts = [
        PostingChanges(
            np.array([key], np.uint64),
            np.array([count], np.int64),
            np.array([len(adds)], np.uint32),
            np.array(adds, np.uint32),
            np.array([len(removes)], np.uint32),
            np.array(removes, np.uint32),
        )
        for key, (count, adds, removes) in sorted(held.items())
    ]
    cells: dict[int, dict[int, int | None]] = {}
    for column in old.columns():
        rows = zip(column.ordinals.tolist(), column.values.tolist(), column.present.tolist(), strict=True)
        cells[column.field] = {ordinal: value if present else None for ordinal, value, present in rows}
    for field, values in (columns or {}).items():
        cells.setdefault(field, {}).update(values)
    changed = [
        ColumnChanges(
            field,
            np.array(sorted(values), np.uint32),
            np.array([values[o] or 0 for o in sorted(values)], np.int64),
            np.array([values[o] is not None for o in sorted(values)], np.bool_),
        )
        for field, values in sorted(cells.items())
    ]
    log(account, generation, delta=build_delta(parts, changed))


def feed(account: Account, generation: int, part: int, ordinals: list[int], kinds: list[int], *, last: int = 1) -> None:
    head = struct.pack("<BB2sIqII", 1, last, b"", 0, 0, len(ordinals), 0)
    body = head[8:] + np.array(ordinals, "<u4").tobytes() + bytes(kinds)
    value = head[:4] + struct.pack("<I", zlib.crc32(body)) + body
    put(account, DB_CHANGES, part_key(generation, part), value)


def receipt_keys(account: Account) -> list[bytes]:
    with account._store.begin() as txn:
        return [bytes(key) for key, _ in txn.cursor(account._store.databases[DB_RECEIPTS])]
