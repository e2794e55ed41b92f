"""The product catalogue: every block on its own, their order and ranges, and what the catalogue says of them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc

from segidx.model.errors import CorruptData
from segidx.model.products import MAX_PRODUCT_BYTES, MAX_PRODUCT_ID_BYTES
from segidx.model.schema import MAX_MINOR_UNITS, MAX_STRING_BYTES, Field, FieldType
from segidx.store.catalog import ProductsState, read_products_state
from segidx.store.layout import DB_META, DB_PRODUCTS
from segidx.store.product_blocks import ARROW_TYPES, ID, bound_of, decode_block, row_sizes
from segidx.store.verify.context import Context


def check_products(c: Context) -> Iterator[str]:
    """All of the catalogue; no other keys in its database."""
    c.tick()
    try:
        state = read_products_state(c.txn, c.dbs[DB_META])
    except CorruptData as problem:
        yield problem.message
        return
    if DB_PRODUCTS not in c.dbs:
        if state is not None:
            yield "the catalogue says that there are products, and their database is absent"
        return
    state = state or ProductsState(0, 0)
    if state.stamp > c.state.generation:
        yield f"the products were changed in generation {state.stamp}, and the newest is {c.state.generation}"
    properties = {str(number): each for number, each in enumerate(c.catalog.products, 1)}
    keys = list(c.keys(DB_PRODUCTS))
    counted, newest, whole = 0, 0, True
    for place, key in enumerate(keys):
        c.tick()
        try:
            bound = bound_of(key)
            block = decode_block(bound, c.value_of(DB_PRODUCTS, key))
        except CorruptData as problem:
            whole = False
            yield problem.message
            continue
        counted, newest = counted + block.rows.num_rows, max(newest, block.stamp)
        named = f"products from {bound.decode(errors='replace')!r} on"
        if block.stamp > state.stamp:
            yield f"{named}: written in generation {block.stamp}, and the newest change is said to be of {state.stamp}"
        end = keys[place + 1][1:] if place + 1 < len(keys) else None
        for what in _problems(block.rows, bound, end, properties):
            yield f"{named}: {what}"
    if whole and counted != state.count:
        yield f"there are {counted} products, and {state.count} are said"


def _problems(rows: pa.RecordBatch, bound: bytes, end: bytes | None, properties: dict[str, Field]) -> Iterator[str]:
    """What is wrong within one block, whose ids are `bound` and later, and before `end`."""
    try:
        rows.validate(full=True)
    except pa.ArrowInvalid as error:
        yield f"it is malformed ({error})"
        return
    if not rows.num_rows:
        yield "it is empty"
        return
    if rows.column(0).null_count:
        yield "a product has no id"
        return
    ids = [each.encode() for each in rows.column(0).to_pylist()]
    if any(one >= other for one, other in pairwise(ids)):
        yield "its ids do not ascend"
    if ids[0] < bound or (end is not None and ids[-1] >= end):
        yield "it has ids of another block"
    if not all(1 <= len(each) <= MAX_PRODUCT_ID_BYTES for each in ids):
        yield f"an id has not 1 to {MAX_PRODUCT_ID_BYTES} bytes"
    if any(not unicodedata.is_normalized("NFC", each.decode()) for each in ids):
        yield "an id is not in NFC"
    if int(row_sizes(rows).max()) > MAX_PRODUCT_BYTES:
        yield "a product has too many bytes of values"
    names = rows.schema.names
    if names != [ID, *sorted(names[1:], key=lambda name: (len(name), name))] or len(set(names)) < len(names):
        yield "its columns do not ascend"
    for name, column in zip(names[1:], rows.columns[1:], strict=True):
        found = properties.get(name)
        if found is None:
            yield f"there is no property {name}"
        elif column.type != ARROW_TYPES[found.type]:
            yield f"property {found.name!r} is stored as {column.type}, where {ARROW_TYPES[found.type]} is due"
        elif column.null_count == len(column):
            yield f"property {found.name!r} has a column without values"
        else:
            yield from _values(column, found)


def _values(column: pa.Array, of: Field) -> Iterator[str]:
    if of.type is FieldType.NUMBER:
        ends = pc.min_max(column)
        if not -MAX_MINOR_UNITS <= ends["min"].as_py() <= ends["max"].as_py() <= MAX_MINOR_UNITS:
            yield f"property {of.name!r} has a number that is out of range"
        return
    strings = column
    if of.type is FieldType.TAGS:
        for tags in column.drop_null().to_pylist():
            if not tags or None in tags or len(set(tags)) < len(tags):
                yield f"property {of.name!r} has tags that are none, or twice the same"
                return
        strings = column.flatten()
    if of.type is not FieldType.BOOL:
        least = 1 if of.type is FieldType.TAGS else 0
        distinct = strings.drop_null().unique().to_pylist()
        if any(not least <= len(each.encode()) <= MAX_STRING_BYTES for each in distinct):
            yield f"property {of.name!r} has a string that is not {least} to {MAX_STRING_BYTES} bytes long"
        if any(not unicodedata.is_normalized("NFC", each) for each in distinct):
            yield f"property {of.name!r} has a string that is not in NFC"
