"""Every stored value of the base but those of string tables, on its own: checksums, canonical form, and numbers within
what was given out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from segidx.kernels.bitmaps import validate
from segidx.kernels.columns import CHUNK_ROWS, decode_chunk, encode_chunk, verify_chunk
from segidx.model.errors import CorruptData
from segidx.model.schema import FieldType
from segidx.store.bands import MAX_PIECES
from segidx.store.base import TEXT_POSTING_MIN
from segidx.store.counts import BLOCK_CODES, HAS_POSTING
from segidx.store.layout import (
    CONTAINER_BITS,
    DB_COLUMNS,
    DB_COUNTS,
    DB_META,
    DB_POSTINGS,
    KIND_COUNTS,
    KIND_POSTING,
    META_STATE,
    SHARD_BITS,
    SYSTEM_FIELD,
    balance_of,
    block_key,
    derived_of,
    event_ids_table,
    open_value,
    split_block_key,
    split_posting_key,
)
from segidx.store.verify.balances import check_horizons
from segidx.store.verify.context import CODED, Context

Entries = npt.NDArray[np.uint32]


def check_catalog(c: Context, directory: str) -> Iterator[str]:
    """The state and the catalog, which have been read already."""
    c.tick()
    state = c.state
    if state.merged > state.generation:
        yield f"the state says that generation {state.merged} is merged, and the newest is {state.generation}"
    stored = c.txn.get(META_STATE, db=c.dbs[DB_META])
    if stored is not None and bytes(stored[1:4]) != bytes(3):
        yield "the state of the account has reserved bytes set"
    c.tick()
    if c.catalog.account.name != directory:
        yield f"the catalog is that of account {c.catalog.account.name!r}, in the directory of {directory!r}"
    for due, field in enumerate(c.catalog.schema, 1):
        if c.catalog.field_ids[field.name] != due:
            yield f"field {field.name!r} has the id {c.catalog.field_ids[field.name]} where {due} is due"
    yield from check_horizons(c)


# --- postings ---


def check_postings(c: Context) -> Iterator[str]:
    for item in c.items(DB_POSTINGS, 8):
        if isinstance(item, str):
            yield item
            continue
        key, value = item
        field, code, shard = split_posting_key(key)
        banded = derived_of(field) is not None
        what = (
            f"{c.value(field, code)}, contacts {shard}"
            if banded
            else f"posting of {c.value(field, code)}, shard {shard}"
        )
        stray = c.stray(field, code, c.base_size(field))
        if stray:
            yield f"{what} is stored, and {stray}"
        try:
            cardinality, payload = open_value(KIND_POSTING, value, what, checksum=True)
            problem = validate(payload)
        except CorruptData as error:
            yield error.message
            c.lose(DB_POSTINGS, field, code)
            continue
        if problem is not None:
            yield f"{what}: {problem}"
            c.lose(DB_POSTINGS, field, code)
            continue
        bitmap = BitMap.deserialize(bytes(payload))
        if bytes(value[2:4]) != bytes(2):
            yield f"{what}: reserved bytes are set"
        if len(bitmap) != cardinality:
            yield f"{what}: holds {len(bitmap)} contacts where its header says {cardinality}"
            c.lose(DB_POSTINGS, field, code)
        elif not bitmap:
            yield f"{what} is stored, though empty"
        elif banded:
            last = shard << CONTAINER_BITS | _last_low(bitmap)
            if bitmap.max() >> CONTAINER_BITS >= MAX_PIECES:
                yield f"{what}: has more bands than a number has"
            if last >= c.base_ids:
                yield f"{what}: holds ordinal {last}, and only {c.base_ids} were given out"
        elif bitmap.min() >> SHARD_BITS != shard or bitmap.max() >> SHARD_BITS != shard:
            yield f"{what}: ordinals {bitmap.min()} to {bitmap.max()} leave the shard"
        elif bitmap.max() >= c.base_ids:
            yield f"{what}: holds ordinal {bitmap.max()}, and only {c.base_ids} were given out"


def _last_low(bitmap: BitMap) -> int:
    """The greatest low half of its members."""
    lows = np.frombuffer(bitmap.to_array(), np.uint32) & np.uint32((1 << CONTAINER_BITS) - 1)
    return int(lows.max())


# --- columns ---


def check_columns(c: Context) -> Iterator[str]:
    for item in c.items(DB_COLUMNS, 8):
        if isinstance(item, str):
            yield item
            continue
        key, value = item
        field_id, chunk = split_block_key(key)
        what = f"{c.column(field_id)}, chunk {chunk}"
        field = c.fields.get(field_id)
        events = c.event_columns.get(field_id)
        if key != block_key(field_id, chunk):
            yield f"columns: key {key.hex()} means nothing"
        elif field is None and events is None and derived_of(field_id) is None and balance_of(field_id) is None:
            yield f"{what} is stored, and there is no such field"
        elif field is not None and field.type is FieldType.TAGS:
            yield f"{what} is stored, and tags have no column"
        problem = verify_chunk(value)
        if problem is not None:
            yield f"{what}: {problem}"
            c.lose(DB_COLUMNS, field_id)
            continue
        values, present = decode_chunk(value)
        rows = np.flatnonzero(present)
        if not len(rows):
            yield f"{what} is stored, though empty"
            continue
        if encode_chunk(values, present) != bytes(value):
            yield f"{what} is not in its shortest form"
        last = chunk * CHUNK_ROWS + int(rows[-1])
        given = c.base_size(event_ids_table(events[0])) if events else c.base_ids
        if events and last >= given:
            yield f"{what}: has a value of {events[0].name} {last}, and only {given} ids were given out"
        elif not events and last >= given:
            yield f"{what}: has a value of ordinal {last}, and only {c.base_ids} were given out"


# --- counts ---


def check_counts(c: Context) -> Iterator[str]:
    for item in c.items(DB_COUNTS, 8):
        if isinstance(item, str):
            yield item
            continue
        key, value = item
        field_id, block = split_block_key(key)
        what = f"counts of {c.name(field_id)}, block {block}"
        if key != block_key(field_id, block):
            yield f"counts: key {key.hex()} means nothing"
        elif field_id != SYSTEM_FIELD and field_id not in c.fields:
            yield f"{what} are stored, and there is no such field"
        try:
            in_use, payload = open_value(KIND_COUNTS, value, what, checksum=True)
            if len(payload) != 4 * BLOCK_CODES:
                raise CorruptData(f"{what}: {len(payload)} bytes instead of {4 * BLOCK_CODES}")
        except CorruptData as error:
            yield error.message
            c.lose(DB_COUNTS, field_id)
            continue
        if bytes(value[2:4]) != bytes(2):
            yield f"{what}: reserved bytes are set"
        raw = np.frombuffer(payload, "<u4")
        held = raw & np.uint32(HAS_POSTING - 1)
        if int(np.count_nonzero(held)) != in_use:
            yield f"{what}: {int(np.count_nonzero(held))} codes are in use where its header says {in_use}"
        yield from _entries(c, field_id, block * BLOCK_CODES, held, (raw & np.uint32(HAS_POSTING)) != 0)


def _entries(c: Context, field_id: int, first: int, held: Entries, flagged: npt.NDArray[np.bool_]) -> Iterator[str]:
    """What is wrong with the counts and flags of the codes from `first` on."""
    used = np.flatnonzero((held != 0) | flagged)
    field = c.fields.get(field_id)
    if field is not None and field.type in CODED:
        used = used[used >= c.base_size(field_id) - first]
    for at in used.tolist():
        stray = c.stray(field_id, first + at, c.base_size(field_id))
        if stray:
            yield f"counts of {c.value(field_id, first + at)}: it has an entry, and {stray}"
    if field is None:
        return
    # Of texts those have postings that once were held by enough contacts.
    least = TEXT_POSTING_MIN if field.type is FieldType.TEXT else 1
    for at in np.flatnonzero((held >= least) & ~flagged).tolist():
        yield f"counts of {c.value(field_id, first + at)}: held by {int(held[at])}, without the flag of its posting"
