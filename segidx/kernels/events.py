"""Blocks of events, layers of newer ones above them, and counts and sums a contact over both.

A block holds rows of one kind of events, of one range of 16,384 contacts and one month, ascending by contact, time,
event and line. It is a little-endian header and one column chunk (segidx/kernels/columns.py) a column:

    offset  type  field
    0       u8    version, 1
    1       u8    columns: 5 to 32
    2       u16   flags, 0
    4       u32   rows: 16,384 at most
    8       u32   checksum: CRC-32 of the other header bytes; each chunk has its own
    12      u32   a column: where its chunk ends, counted from the start of the block; chunks lie one behind another

Columns 0 to 3 are CONTACT (ordinal & 16383), TIME (ms since 1970), EVENT (its number) and LINE (its number; of an order
how many it has); the properties of the kind follow; the last column is whether the row counts, 0 or 1. These five have
a value in every row. Opening checks headers against the length; `verify_block` checks checksums, every code and the
order.

A layer holds rows of one kind of events, of any contacts and times, that no block has yet, and the stale places at
which what lies below it (blocks, and older layers) is void: a contact, a time and an event each. They never speak of
the layer's own rows. It is little-endian too:

    offset  type  field
    0       u8    version, 1
    1       u8    columns: 5 to 32, those of a block of the kind
    2       u16   flags, 0
    4       u32   rows: 2^24 at most
    8       u32   checksum: CRC-32 of all other bytes
    12      u32   stale places: 2^24 at most
    16            the columns, one behind another: column chunks whose own checksum is 0, of as many rows as it takes. A
                  chunk's length follows from its header
                  the stale places: a u32 contact each, then an i64 time each, then a u32 event each

Column CONTACT holds whole ordinals here. Rows ascend as in a block, stale places by contact, time and event, each once;
a place's time lies within -2^62 and 2^62 as values do. Opening a layer checks all of this and every code.

Buffers and arrays in, arrays out: no I/O, and nothing else of segidx is imported.
"""

from segidx.kernels._events import (
    BLOCK_ROWS,
    LAYER_ROWS,
    MISSING,
    CorruptEvents,
    EventBlock,
    EventFilter,
    EventLayer,
    EventLedger,
    EventMeasure,
    EventMonth,
    EventOrder,
    GroupedRows,
    collect,
    collect_count,
    collect_set,
    encode_block,
    encode_layer,
    favourites,
    follow,
    merge_layers,
    select,
    spreads,
    take,
    verify_block,
)

CONTACT, TIME, EVENT, LINE = range(4)
"""The columns that blocks of every kind have, before the properties."""

__all__ = [
    "BLOCK_ROWS",
    "CONTACT",
    "EVENT",
    "LAYER_ROWS",
    "LINE",
    "MISSING",
    "TIME",
    "CorruptEvents",
    "EventBlock",
    "EventFilter",
    "EventLayer",
    "EventLedger",
    "EventMeasure",
    "EventMonth",
    "EventOrder",
    "GroupedRows",
    "collect",
    "collect_count",
    "collect_set",
    "encode_block",
    "encode_layer",
    "favourites",
    "follow",
    "merge_layers",
    "select",
    "spreads",
    "take",
    "verify_block",
]
