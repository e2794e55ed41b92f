"""What commits leave: the log's records and how they continue the base, the change feed, the receipts."""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from itertools import groupby, islice

import numpy as np
import numpy.typing as npt

from segidx.kernels.deltas import DeltaArrays, PostingChanges, build_delta
from segidx.model.errors import CorruptData
from segidx.model.schema import FieldType
from segidx.store.feed import KIND_BITS, read_changes
from segidx.store.layout import (
    DB_CHANGES,
    DB_LOG,
    DB_RECEIPTS,
    DB_STRINGS,
    IDS_TABLE,
    Handle,
    part_key,
    split_part_key,
)
from segidx.store.log import Record, read_log
from segidx.store.receipts import read_receipt
from segidx.store.strings import StringTable
from segidx.store.verify.context import CODED, Context
from segidx.store.verify.log_events import Ends, check_merging, contacts_of, layers, places

_PART_KEY_BYTES = 12
_RECEIPT_PART, _RECEIPT_TIME = 19, 25  # bytes of a key


def _parts(c: Context, database: bytes) -> Iterator[tuple[int, list[int]] | str]:
    """(generation, its parts) in order; a problem in place of a key that is none."""
    keys = c.keys(database)
    for generation, group in groupby(keys, lambda k: split_part_key(k)[0] if len(k) == _PART_KEY_BYTES else -1):
        if generation < 0:
            yield f"{database.decode()}: {len(list(group))} keys do not have {_PART_KEY_BYTES} bytes"
        else:
            yield generation, [split_part_key(key)[1] for key in group]


# --- the log ---


def check_log(c: Context) -> Generator[str, None, bool]:
    """The records above the merge point; returns whether all can be read and mean something. Older records wait to be
    deleted, in whatever part that has been left."""
    db = c.dbs.get(DB_LOG)
    if db is None:  # format 1
        return True
    sound = True
    for found in _parts(c, DB_LOG):
        if isinstance(found, str):
            yield found
            continue
        generation, parts = found
        if generation > c.state.generation:
            yield f"the log has a record of generation {generation}, and the newest is {c.state.generation}"
        elif generation > c.state.merged and parts != list(range(len(parts))):
            sound = False
            yield f"the log record of generation {generation} has the parts {parts}"
    ends = Ends(c, {})
    before: Record | None = None
    segments: dict[int, int] = {}
    for generation in range(c.state.merged + 1, c.state.generation + 1):
        c.tick()
        try:
            ((record, _),) = read_log(c.txn, db, generation - 1, generation)
        except CorruptData as error:
            sound = False
            yield error.message
            continue
        except struct.error:  # a key that is none, as was said
            sound = False
            continue
        for problem in _record(c, db, record, before, ends):
            sound = False
            yield f"the log record of generation {generation} {problem}"
        before = record
        segments[generation] = record.segment
    for problem in check_merging(c, segments):
        sound = False
        yield problem
    c.ids = ends.of(IDS_TABLE)
    for table, end in ends.given.items():
        if end < c.base_size(table) and c.readable(DB_STRINGS, table):
            sound = False
            yield f"string table {table} has {c.base_size(table)} strings in the base, and {end} by the log's records"
    return sound


def _record(c: Context, db: Handle, record: Record, before: Record | None, ends: Ends) -> Iterator[str]:
    """What is wrong with one record, as the rest of a sentence. `ends` is brought up to it."""
    first = c.txn.get(part_key(record.generation, 0), db=db)
    if first is None or bytes(first[1:4]) != bytes(3):
        yield "has reserved bytes set"
    old = before.segment if before is not None and before.generation == record.generation - 1 else None
    if record.segment > record.generation or (old is None and record.segment < 1):
        yield f"is of segment {record.segment}"
    elif old is not None and record.segment not in (old, record.generation):
        yield f"is of segment {record.segment}, where the one before is of {old}"
    yield from _new_strings(c, record, ends)
    yield from _delta(c, DeltaArrays(record.delta), ends)
    yield from layers(c, record, ends)
    yield from _fed(c, record)


def _new_strings(c: Context, record: Record, ends: Ends) -> Iterator[str]:
    for table, new in record.strings.items():
        field = c.fields.get(table)
        coded = field is not None and field.type in CODED
        if table != IDS_TABLE and table not in c.event_tables and not coded:
            yield f"has strings of table {table}, which no field has"
            continue
        stored, given = c.base_size(table), ends.given.get(table)
        if new.first > ends.of(table) or (given is not None and new.first != given):
            yield f"gives codes of string table {table} out from {new.first}, where {ends.of(table)} is due"
        ends.given[table] = end = new.first + len(new.strings)
        shared = min(end, stored)
        if new.first < shared and c.readable(DB_STRINGS, table):  # a merge was at it
            base = StringTable(c.txn, c.dbs[DB_STRINGS], table, c.catalog.hash_key)
            if not base.slice(new.first, shared).equals(new.strings.slice(0, shared - new.first)):
                yield f"has other strings for codes {new.first} to {shared - 1} of string table {table} than the base"


def _delta(c: Context, arrays: DeltaArrays, ends: Ends) -> Iterator[str]:
    """Every field, code and ordinal is one that there is, and nothing is said twice."""
    owners = (arrays.keys >> np.uint64(32)).astype(np.int64)
    for field_id in np.unique(owners).tolist():
        codes = (arrays.keys[arrays.keys_of(field_id)] & np.uint64(0xFFFFFFFF)).astype(np.int64)
        field = c.fields.get(field_id)
        if field is not None and field.type in CODED:
            codes = codes[-1:]  # the greatest tells of all
        for code in codes.tolist():
            stray = c.stray(field_id, code, ends.of(field_id))
            if stray:
                yield f"changes {c.value(field_id, code)}, and {stray}"
    ids = ends.of(IDS_TABLE)
    columns = arrays.columns()
    valued = [column.ordinals for column in columns if column.field not in c.event_columns]
    of_contacts = np.concatenate([*valued, arrays.ordinals[:0]])
    for listed, what in ((arrays.adds, "adds"), (arrays.removes, "removes"), (of_contacts, "has a value of")):
        if len(listed) and int(listed.max()) >= ids:
            yield f"{what} ordinal {int(listed.max())}, and only {ids} were given out"
    both = np.intersect1d(_pairs(arrays.adds, arrays.add_ends), _pairs(arrays.removes, arrays.remove_ends))
    if len(both):
        yield f"both adds and removes ordinal {int(both[0]) & 0xFFFFFFFF} of one value"
    for column in columns:
        field = c.fields.get(column.field)
        if column.field in c.event_columns:
            yield from places(c, column, ends)
        elif field is None or field.type is FieldType.TAGS:
            yield f"has values of {c.name(column.field)}, which has no column"
        elif field.type in CODED or field.type is FieldType.BOOL:
            values = column.values[column.present]
            limit = 2 if field.type is FieldType.BOOL else ends.of(column.field)
            if len(values) and (int(values.min()) < 0 or int(values.max()) >= limit):
                yield f"has values of {c.name(column.field)} outside of its {limit} codes"
    held = arrays.counts.astype(np.int64)
    postings = PostingChanges(arrays.keys, held, arrays.add_ends, arrays.adds, arrays.remove_ends, arrays.removes)
    if build_delta([postings], columns).data != arrays.delta.data:
        yield "has a delta that is not in its canonical form"


def _pairs(listed: npt.NDArray[np.uint32], ends: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    """index of the key << 32 | ordinal."""
    owners = np.searchsorted(ends, np.arange(len(listed)), "right").astype(np.uint64)
    return owners << np.uint64(32) | listed


def _fed(c: Context, record: Record) -> Iterator[str]:
    """The change feed tells of just the contacts that a record changes, unless its entry is deleted or damaged."""
    db = c.dbs[DB_CHANGES]
    told = []
    try:
        for part in read_changes(c.txn, db, record.generation - 1):
            if part.generation != record.generation:
                return
            told.append(part.ordinals)
            if part.last:
                break
    except (CorruptData, struct.error):  # which `check_feed` names
        return
    if not told or c.txn.get(part_key(record.generation, 0), db=db) is None:
        return
    arrays = DeltaArrays(record.delta)
    valued = [column.ordinals for column in arrays.columns() if column.field not in c.event_columns]
    changed = np.unique(np.concatenate([arrays.adds, arrays.removes, *valued, *contacts_of(record)]))
    wrong = np.setxor1d(changed, np.concatenate(told))
    if len(wrong):
        yield f"and the change feed differ in {len(wrong)} contacts (first ordinal {int(wrong[0])})"


# --- the change feed ---


def check_feed(c: Context) -> Iterator[str]:
    """Its parts, and that no generation is missing up to the newest."""
    db = c.dbs.get(DB_CHANGES)
    if db is None:
        return
    newest = c.state.generation
    before: int | None = None
    for found in _parts(c, DB_CHANGES):
        if isinstance(found, str):
            yield found
            continue
        generation, parts = found
        what = f"the changes of generation {generation}"
        if generation > newest:
            yield f"{what} are in the feed, and the newest is {newest}"
        elif before is not None and generation != before + 1:
            yield f"{what} follow those of {before} in the feed"
        # Deleting goes from part to part, from the oldest on.
        if parts != list(range(parts[0], parts[0] + len(parts))) or (before is not None and parts[0]):
            yield f"{what} have the parts {parts}"
        before = generation
        yield from _feed_parts(c, db, generation, parts)
    if before is not None and before < newest:
        yield f"the change feed ends with generation {before}, and the newest is {newest}"


def _feed_parts(c: Context, db: Handle, generation: int, numbers: list[int]) -> Iterator[str]:
    parts = len(numbers)
    what = f"the changes of generation {generation}"
    highest = -1
    try:
        for at, part in enumerate(islice(read_changes(c.txn, db, generation - 1), parts), 1):
            c.tick()
            if part.last != (at == parts):
                yield f"{what}: part {at} of {parts} says that it is {'' if part.last else 'not '}the last"
            ordinals = part.ordinals.astype(np.int64)
            if len(ordinals) and (int(ordinals[0]) <= highest or bool((np.diff(ordinals) <= 0).any())):
                yield f"{what}: the contacts do not ascend"
            highest = int(ordinals[-1]) if len(ordinals) else highest
            if len(part.kinds) and not 0 < int(part.kinds.min()) <= int(part.kinds.max()) < 2 * max(KIND_BITS.values()):
                yield f"{what}: a contact changed in no known way"
    except CorruptData as error:
        yield error.message
    if highest >= c.ids:
        yield f"{what}: tell of ordinal {highest}, and only {c.ids} were given out"
    for number in numbers:
        head = bytes(c.txn.get(part_key(generation, number), db=db) or b"")[:4]
        if head[1:2] not in (b"\0", b"\1") or head[2:] != bytes(2):
            yield f"{what}: reserved bytes are set"


# --- receipts ---


class _Receipt:
    """Reads the receipt of a batch key of which the digest alone is known, by putting it into the keys asked for."""

    def __init__(self, c: Context, digest: bytes) -> None:
        self._c = c
        self._digest = digest
        self.asked = 0

    def get(self, key: bytes, default: None = None, *, db: Handle) -> memoryview | bytes | None:
        self.asked += 1
        return self._c.txn.get(b"k" + self._digest + key[-2:], db=db)


def check_receipts(c: Context) -> Iterator[str]:
    """Every answer can be read, and each is forgotten at its time."""
    db = c.dbs.get(DB_RECEIPTS)
    if db is None:
        return
    for digest, group in groupby(c.keys(DB_RECEIPTS, b"k"), lambda key: key[1:17]):
        c.tick()
        keys = list(group)
        what = f"the receipt {digest.hex()}"
        if any(key != b"k" + digest + struct.pack(">H", part) for part, key in enumerate(keys)):
            yield f"{what} lacks a part, or has a key that is none"
        reader = _Receipt(c, digest)
        try:
            result = read_receipt(reader, db, "")
        except (CorruptData, KeyError, TypeError) as error:
            yield f"{what}: {error}"
            continue
        head = bytes(c.txn.get(keys[0], db=db) or b"")
        if head[1:4] != bytes(3) or head[12:16] != bytes(4):
            yield f"{what}: reserved bytes are set"
        if reader.asked != len(keys):
            yield f"{what} has {len(keys)} parts where its header says {reader.asked}"
        if result is not None and not 0 <= result.generation <= c.state.generation:
            yield f"{what} is of generation {result.generation}, and the newest is {c.state.generation}"
    yield from _receipt_times(c, db)


def _receipt_times(c: Context, db: Handle) -> Iterator[str]:
    timed = 0
    for key in c.keys(DB_RECEIPTS):
        if key[:1] == b"k":
            continue
        if key[:1] != b"t" or len(key) != _RECEIPT_TIME or bytes(c.txn.get(key, db=db) or b"") != b"\0":
            yield f"receipts: key {key.hex()} means nothing"
        elif c.txn.get(b"k" + key[9:] + bytes(2), db=db) is None:
            yield f"the receipt {key[9:].hex()} is to be forgotten, and is not there"
        else:
            timed += 1
    kept = sum(len(key) == _RECEIPT_PART and key[17:] == bytes(2) for key in c.keys(DB_RECEIPTS, b"k"))
    if timed != kept:
        yield f"{kept} receipts are kept, and {timed} are to be forgotten"
