"""Receipts: the answers of batches that came with a key, so that a batch sent again changes nothing.

Keys of the database: `k`, 16 bytes of SHA-256 of the batch key (of a batch of products, of BLAKE2b), part u16: the
answer, compressed JSON, in parts. And `t`, time (ms since 1970) u64, the 16 bytes: what is to be forgotten when.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterable
from typing import Any

import lmdb

from segidx.model.errors import CorruptData
from segidx.model.results import ProductWriteResult, Reject, WriteResult
from segidx.store.layout import Handle, Reader, Writer

RETAINED_MILLIS = 48 * 3_600_000
_PART_BYTES = 128 << 10
_VERSION = 1
_TIME = struct.Struct(">Q")
_PART = struct.Struct(">H")
# version u8, 3 zero bytes, parts u32, CRC-32 of the compressed answer u32, 0 u32
_HEADER = struct.Struct("<B3sIII")


def _digest(batch_key: str) -> bytes:
    return hashlib.sha256(batch_key.encode()).digest()[:16]


def _products_digest(batch_key: str) -> bytes:
    """Keys of batches of products are their own: one may be that of a batch of contacts too."""
    return hashlib.blake2b(batch_key.encode(), digest_size=16).digest()


def read_receipt(txn: Reader, db: Handle, batch_key: str) -> WriteResult | None:
    """The answer that the batch of this key got, or None. Raises CorruptData."""
    held = _read(txn, db, _digest(batch_key))
    if held is None:
        return None
    return WriteResult(
        held["generation"],
        held["accepted"],
        held["created"],
        held["duplicates"],
        _read_rejects(held["rejects"]),
        replayed=True,
        # Absent of batches without events, and of those that older releases answered.
        events_accepted=held.get("events_accepted", 0),
        events_duplicates=held.get("events_duplicates", 0),
        event_rejects=_read_rejects(held.get("event_rejects", ())),
    )


def read_products_receipt(txn: Reader, db: Handle, batch_key: str) -> ProductWriteResult | None:
    """The same of a batch of products."""
    held = _read(txn, db, _products_digest(batch_key))
    if held is None:
        return None
    return ProductWriteResult(
        held["generation"],
        held["accepted"],
        held["created"],
        held["deleted"],
        held["duplicates"],
        _read_rejects(held["rejects"]),
        replayed=True,
    )


def _read(txn: Reader, db: Handle, digest: bytes) -> dict[str, Any] | None:
    prefix = b"k" + digest
    first = txn.get(prefix + _PART.pack(0), db=db)
    if first is None:
        return None
    try:
        version, _, parts, crc, _ = _HEADER.unpack_from(first)
        data = bytes(first)[_HEADER.size :]
        for part in range(1, parts):
            piece = txn.get(prefix + _PART.pack(part), db=db)
            if piece is None:
                break  # the checksum tells
            data += bytes(piece)
        if version != _VERSION or zlib.crc32(data) != crc:
            raise CorruptData("the receipt of a batch fails its checksum; restore from a backup")
        held = json.loads(zlib.decompress(data))
    except (struct.error, ValueError, zlib.error) as error:
        raise CorruptData(f"the receipt of a batch cannot be read ({error}); restore from a backup") from error
    found: dict[str, Any] = held
    return found


def _read_rejects(rows: Iterable[list[Any]]) -> tuple[Reject, ...]:
    return tuple(Reject(*row) for row in rows)


def _rejects(rejects: Iterable[Reject]) -> list[list[Any]]:
    return [[r.index, r.contact_id, r.field, r.reason, r.message] for r in rejects]


def write_receipt(txn: Writer, db: Handle, batch_key: str, result: WriteResult, now: int) -> None:
    """Keep the answer of a batch."""
    held: dict[str, Any] = {
        "generation": result.generation,
        "accepted": result.accepted,
        "created": result.created,
        "duplicates": result.duplicates,
        "rejects": _rejects(result.rejects),
    }
    if result.events_accepted or result.events_duplicates or result.event_rejects:
        held["events_accepted"] = result.events_accepted
        held["events_duplicates"] = result.events_duplicates
        held["event_rejects"] = _rejects(result.event_rejects)
    _write(txn, db, _digest(batch_key), held, now)


def write_products_receipt(txn: Writer, db: Handle, batch_key: str, result: ProductWriteResult, now: int) -> None:
    """The same of a batch of products."""
    held = {
        "generation": result.generation,
        "accepted": result.accepted,
        "created": result.created,
        "deleted": result.deleted,
        "duplicates": result.duplicates,
        "rejects": _rejects(result.rejects),
    }
    _write(txn, db, _products_digest(batch_key), held, now)


def _write(txn: Writer, db: Handle, digest: bytes, held: dict[str, Any], now: int) -> None:
    data = zlib.compress(json.dumps(held, separators=(",", ":")).encode(), 1)
    pieces = [data[start : start + _PART_BYTES] for start in range(0, len(data), _PART_BYTES)]
    for part, piece in enumerate(pieces):
        head = _HEADER.pack(_VERSION, b"", len(pieces), zlib.crc32(data), 0) if part == 0 else b""
        txn.put(b"k" + digest + _PART.pack(part), head + piece, db=db)
    txn.put(b"t" + _TIME.pack(now) + digest, b"\0", db=db)


def trim_receipts(txn: lmdb.Transaction, db: Handle, now: int, most: int) -> bool:
    """Forget at most `most` of the batches whose time is over; whether none of them is left."""
    with txn.cursor(db) as cursor:
        for _ in range(most):
            if not cursor.set_range(b"t") or not bytes(cursor.key()).startswith(b"t"):
                return True
            key = bytes(cursor.key())
            if _TIME.unpack(key[1:9])[0] > now - RETAINED_MILLIS:
                return True
            prefix = b"k" + key[9:]
            there = cursor.set_range(prefix)
            while there and bytes(cursor.key()).startswith(prefix):
                there = cursor.delete()
            txn.delete(key, db=db)
    return False
