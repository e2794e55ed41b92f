"""Writing the product catalogue: which blocks a batch changes, and to what. Values are valid already.

Nothing is written here but by `write_blocks`, within the transaction of a commit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import lmdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from segidx.model.products import MAX_PRODUCT_BYTES
from segidx.model.schema import Field, Schema
from segidx.store.layout import Handle, Writer
from segidx.store.product_blocks import (
    ARROW_TYPES,
    EMPTY,
    ID,
    block_key,
    column_of,
    cut,
    decode_block,
    encode_block,
    row_sizes,
    stored_bounds,
)

Rows = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PropertyChange:
    """New values of one property for some products of a batch: `rows` and `cleared` are disjoint indices into the
    batch's ids, each ascending; `values` has one element a row of `rows`, of the type the property is stored in."""

    rows: Rows
    values: pa.Array
    cleared: Rows


@dataclass(frozen=True, slots=True)
class ProductRows:
    """Distinct products: of those in `dropped` what is held goes first, and those not in `kept` are gone then."""

    ids: pa.StringArray
    dropped: Bools
    kept: Bools
    changes: Mapping[str, PropertyChange] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChangedBlocks:
    """What a batch comes to. `blocks` maps the bounds of blocks that change to their rows, None where one goes away.
    `too_large` are the rows of the batch that were left out, since their product would have too many bytes."""

    blocks: Mapping[bytes, pa.RecordBatch | None]
    created: int
    deleted: int
    too_large: Rows


class _Sorted:
    """A batch in byte order of ids: for each property, what becomes of each of its rows."""

    def __init__(self, given: ProductRows, properties: Schema) -> None:
        order = pc.sort_indices(given.ids).to_numpy(zero_copy_only=False).astype(np.int64)
        self.order = order
        self.ids = given.ids.take(pa.array(order))
        self.dropped, self.kept = given.dropped[order], given.kept[order]
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        numbers = {p.name: number for number, p in enumerate(properties, 1)}
        self.changes: list[tuple[int, Field, Rows, pa.Array]] = []
        for name, change in given.changes.items():
            # By row: the index of its value, -1 where the value goes, -2 where it stays.
            source = np.full(len(order), -2, np.int64)
            source[back[change.rows]] = np.arange(len(change.rows))
            source[back[change.cleared]] = -1
            self.changes.append((numbers[name], properties[name], source, change.values))


def changed_blocks(txn: lmdb.Transaction, db: Handle, given: ProductRows, properties: Schema) -> ChangedBlocks:
    """What the batch changes of the catalogue that the transaction sees. Raises CorruptData."""
    batch = _Sorted(given, properties)
    bounds = stored_bounds(txn, db)
    # Ids before the first bound, where the block of them has gone, are of a new first block.
    homes = np.array([bisect_right(bounds, each.encode()) - 1 for each in batch.ids.to_pylist()], np.int64)
    blocks: dict[bytes, pa.RecordBatch | None] = {}
    created = deleted = 0
    too_large: list[Rows] = []
    starts = np.flatnonzero(np.diff(homes, prepend=-2)).tolist()
    for start, end in pairwise([*starts, len(homes)]):
        home = int(homes[start])
        bound = b"" if home < 0 else bounds[home]
        old = EMPTY
        if home >= 0:
            value = txn.get(block_key(bound), db=db)
            assert value is not None
            old = decode_block(bound, value).rows
        taken = np.arange(start, end)
        merged = _merged(old, batch, taken, properties)
        large = merged.places[row_sizes(merged.rows)[merged.slots] > MAX_PRODUCT_BYTES]
        if len(large):  # once more without these
            too_large.append(batch.order[large])
            merged = _merged(old, batch, np.setdiff1d(taken, large), properties)
        created, deleted = created + merged.created, deleted + merged.deleted
        if merged.rows.equals(old):
            continue
        blocks[bound] = None
        for number, piece in enumerate(cut(merged.rows)):
            blocks[piece.column(0)[0].as_py().encode() if number else bound] = piece
    return ChangedBlocks(blocks, created, deleted, np.sort(np.concatenate([np.zeros(0, np.int64), *too_large])))


@dataclass(frozen=True, slots=True)
class _Merged:
    """The rows of a block after a part of a batch; `places` of the batch stand in `slots` of it."""

    rows: pa.RecordBatch
    places: Rows
    slots: Rows
    created: int
    deleted: int


def _merged(old: pa.RecordBatch, batch: _Sorted, taken: Rows, properties: Schema) -> _Merged:
    held = old.num_rows
    ids = batch.ids.take(pa.array(taken))
    at = pc.fill_null(pc.index_in(ids, value_set=old.column(0)), -1).to_numpy(zero_copy_only=False).astype(np.int64)
    dropped, kept = batch.dropped[taken], batch.kept[taken]
    known = at >= 0
    fresh = ~known & kept
    slots = at.copy()
    slots[fresh] = held + np.arange(int(fresh.sum()))
    size = held + int(fresh.sum())
    stays = np.ones(size, np.bool_)
    stays[at[known & ~kept]] = False
    all_ids = pa.concat_arrays([old.column(0), ids.filter(pa.array(fresh))])
    order = pc.sort_indices(all_ids).to_numpy(zero_copy_only=False).astype(np.int64)
    order = order[stays[order]]

    changes = {number: (source, values) for number, _, source, values in batch.changes}
    arrays, names = [all_ids.take(pa.array(order))], [ID]
    written = slots >= 0  # not of unknown products that are deleted
    for number, property in enumerate(properties, 1):
        if number not in changes and str(number) not in old.schema.names:
            continue
        source = np.full(size, -1, np.int64)
        source[:held] = np.arange(held)
        source[at[known & dropped]] = -1
        column, values = column_of(old, number, property), pa.array([], ARROW_TYPES[property.type])
        if number in changes:
            given, values = changes[number][0][taken], changes[number][1]
            touched = written & (given > -2)
            sets = touched & (given >= 0)
            values = values.take(pa.array(given[sets]))
            source[slots[touched]] = -1
            source[slots[sets]] = held + np.arange(int(sets.sum()))
        chosen = source[order]
        merged = pa.concat_arrays([column, values]).take(pa.array(chosen, mask=chosen < 0))
        if merged.null_count < len(merged):
            arrays.append(merged)
            names.append(str(number))
    place = np.full(size, -1, np.int64)
    place[order] = np.arange(len(order))
    present = written & kept
    return _Merged(
        pa.record_batch(arrays, names),
        taken[present],
        place[slots[present]],
        int(fresh.sum()),
        int((known & ~kept).sum()),
    )


def write_blocks(txn: Writer, db: Handle, changed: ChangedBlocks, stamp: int) -> None:
    """Put the blocks into their places."""
    for bound, rows in changed.blocks.items():
        if rows is None:
            txn.delete(block_key(bound), db=db)
        else:
            txn.put(block_key(bound), encode_block(stamp, rows), db=db)
