"""The column codec: one optional integer a contact, in chunks of 16,384 ordinals with a zone map each.

A chunk is a 32-byte little-endian header and one code a row, in the narrowest width that holds max - min + 1:

    offset  type  field
    0       u8    version, 1
    1       u8    width: bytes a code: 1, 2, 4 or 8; 0 when no row has a value or every stored row has the same one
    2       u16   flags, 0
    4       u32   present: rows with a value
    8       u32   checksum: CRC-32 of the other 28 header bytes, then of the codes
    12      u32   rows: codes stored; the rows behind the last value are left out
    16      i64   base: the least value, 0 when there is none
    24      i64   max: the greatest value, 0 when there is none
    32            rows * width bytes of codes: value - base + 1, or 0 where there is no value

Values lie strictly between -2^62 and 2^62. Opening checks the header against the length; `verify_chunk` checks the
checksum and every code. Buffers in, arrays out: no I/O, and nothing else of segidx is imported.
"""

from segidx.kernels._bitmaps import (
    CHUNK_ROWS,
    Column,
    CorruptColumn,
    chunk_header,
    decode_chunk,
    encode_chunk,
    verify_chunk,
)

VALUE_LIMIT = 1 << 62
"""A value v is storable iff -VALUE_LIMIT < v < VALUE_LIMIT."""

__all__ = [
    "CHUNK_ROWS",
    "VALUE_LIMIT",
    "Column",
    "CorruptColumn",
    "chunk_header",
    "decode_chunk",
    "encode_chunk",
    "verify_chunk",
]
