"""Reading a CSV file that has lines of too many or too few cells: which they are, and what is said of them. Such a line
is a row of the file, of which nothing else is known. Imports the model, kernels and its neighbours only.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from segidx.kernels._csv import next_ragged
from segidx.model.errors import RaggedRow

# The column that says of ragged rows, and of no other, what is wrong with them. No column of a CSV file is called so:
# a header with this character is refused.
RAGGED = "\ufffdragged"
# Rows that are made at once: a block of many short lines has millions.
_PIECE_ROWS = 100_000
BOM = b"\xef\xbb\xbf"


class Stream(Protocol):
    """What is read of a file."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of a file that follow one another: `rows` in all, `kept` the text of the good ones. `ragged` are the others,
    ascending and counted from 0 in the block, and `cells` what they have of them."""

    rows: int
    kept: bytes
    ragged: array[int]
    cells: array[int]


def blocks(stream: Stream, delimiter: str, columns: int, block_bytes: int) -> Iterator[Block]:
    """The rows behind the header of a file of so many columns, as pyarrow counts them, in blocks of some
    `block_bytes`. Raises ArrowInvalid for a row that is longer."""
    text = _read(stream, block_bytes).removeprefix(BOM)
    _, _, at, _ = next_ragged(text, 0, ord(delimiter), -1, True)  # the header, whatever cells it has
    is_last = False
    while not is_last:
        more = _read(stream, block_bytes)
        is_last = len(more) < block_bytes
        text = text[at:] + more
        block, at = _block(text, ord(delimiter), columns, is_last)
        if not at and len(text) > block_bytes:
            raise pa.ArrowInvalid(f"a row is longer than {block_bytes:,} bytes; a quote may have no end")
        if block.rows:
            yield block


def _read(stream: Stream, size: int) -> bytes:
    """So many bytes; fewer at the end of the file alone. (What is read of a compressed one may be fewer.)"""
    parts = []
    while size and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _block(text: bytes, delimiter: int, columns: int, is_last: bool) -> tuple[Block, int]:
    """The whole rows that the text begins with, and where they end."""
    view = memoryview(text)
    kept: list[memoryview] = []
    ragged, cells = array("q"), array("q")
    rows = start = 0
    while True:
        good, end, start_of_next, found = next_ragged(view, start, delimiter, columns, is_last)
        rows += good
        if good:
            kept.append(view[start:end])
        if not found:
            return Block(rows, b"".join(kept), ragged, cells), end
        ragged.append(rows)
        cells.append(found)
        rows += 1
        start = start_of_next


def pieces(
    block: Block, start: int, read: Callable[[bytes], pa.RecordBatch], say: Callable[[int], str]
) -> Iterator[pa.RecordBatch]:
    """The rows of a block from the one numbered `start` on. `read` makes the good ones of their text; ragged ones are
    of nulls, and have in RAGGED, the last column, what `say` tells of their cells. Raises ArrowInvalid where `read`
    takes something else for rows."""
    good = read(block.kept)
    if good.num_rows != block.rows - len(block.ragged):
        raise pa.ArrowInvalid(f"{good.num_rows} rows were read where {block.rows - len(block.ragged)} are")
    ragged = np.frombuffer(block.ragged, np.int64)
    said = {count: say(count) for count in set(block.cells)}
    for first in range(start, block.rows, _PIECE_ROWS):
        end = min(first + _PIECE_ROWS, block.rows)
        low, high = np.searchsorted(ragged, (first, end)).tolist()
        if low == high:
            yield with_ragged(good.slice(first - low, end - first))
            continue
        at = ragged[low:high] - first
        is_ragged = np.zeros(end - first, np.bool_)
        is_ragged[at] = True
        places = first - low + np.cumsum(~is_ragged) - 1
        rows = good.take(pa.array(places, mask=is_ragged))
        messages = np.full(end - first, None, object)
        messages[at] = [said[count] for count in block.cells[low:high]]
        yield with_ragged(rows, pa.array(messages, pa.string()))


def with_ragged(batch: pa.RecordBatch, messages: pa.Array | None = None) -> pa.RecordBatch:
    """The batch with the column RAGGED; by default none of its rows is ragged."""
    return batch.append_column(RAGGED, pa.nulls(batch.num_rows, pa.string()) if messages is None else messages)


def without_ragged(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The good rows of a batch, less the column RAGGED."""
    column = batch.column(batch.num_columns - 1)
    rows = batch.select(range(batch.num_columns - 1))
    return rows if column.null_count == len(column) else rows.filter(column.is_null())


def ragged_rows(batch: pa.RecordBatch) -> dict[int, RaggedRow]:
    """The ragged rows of a batch, ascending, with what is wrong with them; of files that have no lines there are
    none."""
    at = batch.schema.get_field_index(RAGGED)
    if at < 0 or batch.column(at).null_count == batch.num_rows:
        return {}
    rows = np.flatnonzero(batch.column(at).is_valid().to_numpy(zero_copy_only=False))
    messages = batch.column(at).take(pa.array(rows)).to_pylist()
    errors = {message: RaggedRow(message) for message in set(messages)}
    return {row: errors[message] for row, message in zip(rows.tolist(), messages, strict=True)}
