"""The log: one record a commit, with all that the commit changed, until a merge has folded it into the base.

A record is cut into parts, each one value under (generation, part), appended in order. Its bytes are described in
docs/FORMAT.md. Nothing here knows what a change means: it holds new strings, a delta, layers of events.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import lmdb
import numpy as np
import pyarrow as pa

from segidx.kernels.deltas import CorruptDelta, Delta
from segidx.kernels.events import CorruptEvents, EventLayer
from segidx.model.errors import CorruptData
from segidx.store.layout import Handle, Writer, part_key, split_part_key

# The largest value that LMDB keeps in a page of 4 KiB beside another, key and node's head included. A larger one takes
# pages in a row: where free pages are many and scattered, LMDB reads its list of them until it finds such, and each
# commit writes back all that was read.
PART_BYTES = 2018
# Version 1 had no events.
_VERSION, _WITHOUT_EVENTS = 2, 1
# version u8, 3 zero bytes, CRC-32 of all that follows it, generation, segment, time (ms since 1970), tables, types of
# events, bytes of the delta
_HEADER = struct.Struct("<B3sIQQqIIQ")
_SUM_FROM = 8
# table, first code, strings, bytes
_TABLE = struct.Struct("<IIII")
# number of the event type, bytes of its layer
_EVENTS = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class NewStrings:
    """Strings that a commit appended to a string table: they have the codes first, first + 1, ..."""

    first: int
    strings: pa.StringArray


@dataclass(frozen=True, slots=True)
class Record:
    """What one commit changed. Records of one `segment` (the generation of its first record) are merged together."""

    generation: int
    segment: int
    time: int  # of the commit, milliseconds since 1970
    strings: dict[int, NewStrings]  # by string table
    delta: Delta
    events: dict[int, bytes] = field(default_factory=dict)  # a layer by number of the event type


def encode_record(record: Record) -> bytes:
    parts = []
    for table, new in sorted(record.strings.items()):
        array = new.strings
        offsets = np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1]
        data = memoryview(array.buffers()[2] or b"")[int(offsets[0]) : int(offsets[-1])]
        ends = (offsets[1:] - offsets[0]).astype("<u4")
        parts += [_TABLE.pack(table, new.first, len(array), len(data)), ends.tobytes(), bytes(data)]
    parts.append(record.delta.data)
    for number, layer in sorted(record.events.items()):
        parts += [_EVENTS.pack(number, len(layer)), layer]
    head = _HEADER.pack(
        _VERSION,
        b"",
        0,
        record.generation,
        record.segment,
        record.time,
        len(record.strings),
        len(record.events),
        len(record.delta.data),
    )
    body = head[_SUM_FROM:] + b"".join(parts)
    return head[:4] + struct.pack("<I", zlib.crc32(body)) + body


def decode_record(data: bytes, generation: int) -> Record:
    """The record of those bytes, checked wholly. Raises CorruptData."""
    what = f"the log record of generation {generation}"
    try:
        version, _, crc, found, segment, time, tables, types, delta_bytes = _HEADER.unpack_from(data)
        if version not in (_VERSION, _WITHOUT_EVENTS) or found != generation:
            raise CorruptData(f"{what} is not one; restore from a backup")
        if zlib.crc32(data[_SUM_FROM:]) != crc:
            raise CorruptData(f"{what} fails its checksum; restore from a backup")
        at = _HEADER.size
        strings = {}
        for _ in range(tables):
            table, first, count, size = _TABLE.unpack_from(data, at)
            at += _TABLE.size
            ends = np.frombuffer(data, "<u4", count, at)
            offsets = np.zeros(count + 1, np.int32)
            offsets[1:] = ends
            at += ends.nbytes
            if count == 0 or int(offsets[-1]) != size or bool((np.diff(offsets) < 0).any()):
                raise CorruptData(f"{what}: the strings of table {table} contradict themselves; restore from a backup")
            text = data[at : at + size]
            array = pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text))
            array.validate(full=True)
            strings[table] = NewStrings(first, array)
            at += size
        if len(data) - at < delta_bytes:
            raise CorruptData(f"{what} has {len(data) - at} bytes of delta, not {delta_bytes}; restore from a backup")
        delta = Delta(data[at : at + delta_bytes])
        at += delta_bytes
        events: dict[int, bytes] = {}
        for _ in range(types if version == _VERSION else 0):
            number, size = _EVENTS.unpack_from(data, at)
            at += _EVENTS.size
            if number <= max(events, default=0) or size > len(data) - at:
                raise CorruptData(f"{what}: its events of type {number} contradict the rest; restore from a backup")
            events[number] = data[at : at + size]
            EventLayer(events[number])
            at += size
        if at != len(data):
            raise CorruptData(f"{what} has {len(data) - at} bytes behind its end; restore from a backup")
        return Record(generation, segment, time, strings, delta, events)
    except (struct.error, ValueError, pa.ArrowInvalid, CorruptDelta, CorruptEvents) as error:
        raise CorruptData(f"{what} cannot be read ({error}); restore from a backup") from error


def append_record(txn: Writer, db: Handle, record: Record) -> int:
    """Append a record, newer than all that the log holds; its bytes."""
    data = encode_record(record)
    for part, start in enumerate(range(0, len(data), PART_BYTES)):
        txn.put(part_key(record.generation, part), data[start : start + PART_BYTES], append=True, db=db)
    return len(data)


def read_log(txn: lmdb.Transaction, db: Handle, after: int, last: int) -> Iterator[tuple[Record, int]]:
    """(record, its bytes) of the generations after+1 to last, each of which must be there. Raises CorruptData."""
    with txn.cursor(db) as cursor:
        wanted = after + 1
        found = cursor.set_range(part_key(wanted, 0))
        while wanted <= last:
            parts: list[bytes] = []
            while found:
                generation, part = split_part_key(cursor.key())
                if generation != wanted or part != len(parts):
                    break
                parts.append(bytes(cursor.value()))
                found = cursor.next()
            if not parts:
                raise CorruptData(f"the log has no record of generation {wanted}; restore from a backup")
            data = b"".join(parts)
            yield decode_record(data, wanted), len(data)
            wanted += 1


def trim_log(txn: lmdb.Transaction, db: Handle, merged: int, most: int) -> bool:
    """Delete at most `most` parts of records up to generation `merged`; whether none is left."""
    with txn.cursor(db) as cursor:
        for _ in range(most):
            if not cursor.first() or split_part_key(cursor.key())[0] > merged:
                return True
            cursor.delete()
    return False
