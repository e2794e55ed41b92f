"""Python face of the event blocks (ev_block.h): encoding and checking them, counts and sums a contact over them.

Computes only: it must not do I/O and knows nothing of stores. The GIL is released for every aggregation.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

import os
import struct
from zlib import crc32

import numpy as np

from segidx.kernels._bitmaps import Stopped, encode_chunk, verify_chunk


cdef extern from "ev_block.h" nogil:
    ctypedef struct bm_chunk:
        const uint8_t *codes
        int64_t base
        int64_t max
        uint32_t present
        uint32_t rows

    ctypedef struct bm_table:
        int64_t base
        uint64_t nbits
        uint8_t negate "negate"
        uint64_t *words

    ctypedef struct bm_scan:
        const bm_table *table
        int64_t lo
        int64_t hi

    ctypedef struct bm_stop:
        pass

    ctypedef struct ev_block:
        const uint8_t *data
        uint32_t rows
        uint32_t ncolumns
        uint32_t checksum
        bm_chunk *columns

    ctypedef struct ev_op:
        uint8_t kind
        uint8_t column
        uint8_t value "value"
        uint32_t n
        uint32_t k
        bm_scan scan

    ctypedef struct ev_filter:
        ev_op *ops
        uint32_t n
        uint32_t depth
        uint32_t ncolumns

    ctypedef struct ev_query:
        const ev_filter *filter
        int64_t first
        int64_t last
        int measure
        const uint64_t *candidates
        uint32_t *counts
        int64_t *sums
        uint32_t *measured

    const uint32_t BM_CHUNK_ROWS, BM_CHUNK_WORDS, BM_CHUNK_HEADER
    const uint32_t EV_VERSION, EV_HEADER, EV_MAX_COLUMNS, EV_MIN_COLUMNS
    const uint8_t EV_SCAN, EV_CONSTANT, EV_ALL, EV_ANY, EV_AT_LEAST, EV_NOT
    const int EV_NO_COLUMN, EV_OVERFLOW, BM_OK, BM_CANCELLED, BM_DEADLINE, BM_NO_MEMORY

    const char *ev_block_open(ev_block *b, const uint8_t *buf, size_t len, int *column)
    const char *ev_block_order(const ev_block *b)
    void ev_block_read(const ev_block *b, uint32_t column, int64_t *values, uint8_t *present)
    int ev_accumulate(const ev_block *const *blocks, size_t n, const ev_query *q, const bm_stop *stop)
    const char *bm_simd_choose(const char *wanted)


# Stop is defined in bitmaps.pyx: its layout, which the import compares.
cdef extern from *:
    """
    #include "bm.h"
    typedef struct {
        PyObject_HEAD
        bm_stop c;
    } segidx_stop;
    """
    ctypedef class segidx.kernels._bitmaps.Stop [object segidx_stop, check_size error]:
        cdef bm_stop c


BLOCK_ROWS = BM_CHUNK_ROWS

# This shared object links the C files of _bitmaps anew, and so has kernels of its own to choose.
bm_simd_choose(os.environ.get("SEGIDX_SIMD", "").encode())


class CorruptEvents(Exception):
    """Bytes that are not a readable block of events. `column` is the one concerned, None for the block's own header."""

    def __init__(self, column, reason):
        super().__init__(f"event block: {_where(column, reason)}")
        self.column = column
        self.reason = reason


def _where(column, reason):
    return reason if column is None else f"column {column}: {reason}"


# --- blocks ----------------------------------------------------------------------------------------------------


def encode_block(columns):
    """Encode one block from its columns, each (values int64[n], present uint8[n]), n <= 16384.

    Column 0 is ordinal & 16383, 1 the time, 2 the event's number, 3 the line's number; then come the properties, and
    last whether the row counts. The rows ascend by the first four. ValueError for anything else, or a value that a
    column chunk cannot hold.
    """
    cdef list pairs = list(columns), chunks = []
    cdef EventBlock block
    cdef const char *reason
    if not EV_MIN_COLUMNS <= len(pairs) <= EV_MAX_COLUMNS:
        raise ValueError(f"a block has {EV_MIN_COLUMNS} to {EV_MAX_COLUMNS} columns, not {len(pairs)}")
    rows = len(pairs[0][0])
    for i, (values, present) in enumerate(pairs):
        if len(values) != rows:
            raise ValueError(f"column {i} has {len(values)} rows, and column 0 has {rows}")
        try:
            chunks.append(encode_chunk(values, present))
        except ValueError as error:
            raise ValueError(f"column {i}: {error}") from None
    cdef list ends = []
    at = EV_HEADER + 4 * len(chunks)
    for chunk in chunks:
        at += len(chunk)
        ends.append(at)
    fixed = struct.pack("<BBHI", EV_VERSION, len(chunks), 0, rows)
    where = struct.pack(f"<{len(ends)}I", *ends)
    cdef bytes out = b"".join([fixed, struct.pack("<I", crc32(where, crc32(fixed))), where, *chunks])
    try:
        block = EventBlock(out)
    except CorruptEvents as error:
        raise ValueError(_where(error.column, error.reason)) from None
    with nogil:
        reason = ev_block_order(&block.c)
    if reason != NULL:
        raise ValueError(reason.decode())
    return out


def verify_block(buffer):
    """Check a block in full, checksums, codes and the order of rows: None when it is sound, else what is wrong."""
    cdef EventBlock block
    cdef const char *reason
    try:
        block = EventBlock(buffer)
    except CorruptEvents as error:
        return _where(error.column, error.reason)
    view = memoryview(buffer).cast("B")
    at = EV_HEADER + 4 * block.c.ncolumns
    if crc32(view[12:at], crc32(view[:8])) != block.c.checksum:
        return "the checksum of the header does not match"
    for i in range(block.c.ncolumns):
        end = int.from_bytes(view[EV_HEADER + 4 * i : EV_HEADER + 4 * i + 4], "little")
        wrong = verify_chunk(view[at:end])
        if wrong is not None:
            return _where(i, wrong)
        at = end
    with nogil:
        reason = ev_block_order(&block.c)
    return None if reason == NULL else reason.decode()


cdef class EventBlock:
    """A block that encode_block made, read in place.

    Opening checks the header and those of the columns (CorruptEvents), not checksums or codes: see verify_block. The
    buffer is BORROWED exactly as those of a Posting: memory in LMDB pages must be dropped before its read transaction
    ends.
    """

    cdef ev_block c
    cdef Py_buffer view

    def __cinit__(self, buffer):
        cdef int column = EV_NO_COLUMN
        cdef const char *reason
        PyObject_GetBuffer(buffer, &self.view, PyBUF_SIMPLE)
        reason = ev_block_open(&self.c, <const uint8_t *>self.view.buf, self.view.len, &column)
        if reason != NULL:
            raise CorruptEvents(None if column == EV_NO_COLUMN else column, reason.decode())

    def __dealloc__(self):
        PyBuffer_Release(&self.view)  # nothing where the buffer was not got

    @property
    def rows(self):
        """How many rows there are."""
        return self.c.rows

    @property
    def columns(self):
        """How many columns there are."""
        return self.c.ncolumns

    cdef const bm_chunk *_column(self, int64_t column) except NULL:
        if not 0 <= column < self.c.ncolumns:
            raise IndexError(f"column {column} of a block of {self.c.ncolumns}")
        return &self.c.columns[column]

    def zone(self, int64_t column):
        """(min, max, present) of the column's values; None when it has none."""
        cdef const bm_chunk *chunk = self._column(column)
        return (chunk.base, chunk.max, chunk.present) if chunk.present else None

    def decode(self):
        """The columns, each (values int64[n], present uint8[n]), copied; values are 0 where there is none."""
        cdef list found = []
        cdef int64_t[::1] vs
        cdef uint8_t[::1] ps
        cdef uint32_t i
        for i in range(self.c.ncolumns):
            values = np.empty(self.c.rows, dtype=np.int64)
            present = np.empty(self.c.rows, dtype=np.uint8)
            if self.c.rows:
                vs = values
                ps = present
                with nogil:
                    ev_block_read(&self.c, i, &vs[0], &ps[0])
            found.append((values, present))
        return found


# --- aggregates ------------------------------------------------------------------------------------------------


cdef int64_t _clamp(value) except? -1:
    """Any integer bound as an int64 with the same meaning: values stay below 2^62 in magnitude."""
    return INT64_MIN if value < INT64_MIN else INT64_MAX if value > INT64_MAX else <int64_t>value


cdef class _Table:
    """The integers whose bit is set, least significant bit of byte 0 first and standing for `base`."""

    cdef bm_table c

    def __cinit__(self, base, const uint8_t[::1] bits, bint negate):
        if bits.shape[0] > 1 << 28:
            raise ValueError("a table holds 2^31 values at most")
        if not -(1 << 62) <= base <= 1 << 62:
            raise ValueError("the base of a table lies within -2^62 and 2^62")
        self.c.base = base
        self.c.negate = negate
        self.c.nbits = 8 * <uint64_t>bits.shape[0]
        self.c.words = <uint64_t *>calloc((bits.shape[0] + 7) // 8 + 1, 8)
        if self.c.words == NULL:
            raise MemoryError
        if bits.shape[0]:
            memcpy(self.c.words, &bits[0], bits.shape[0])

    def __dealloc__(self):
        free(self.c.words)


# Of the sets of rows that a filter holds at a time; each takes 2 KiB.
_MAX_DEPTH = 1 << 16


cdef class EventFilter:
    """Which rows to look at: a program in postfix form, checked here (ValueError, TypeError). Immutable.

    Each op pushes a set of rows or puts one in the place of the topmost ones, and one is left at the end:
      ("range", column, lo, hi)              lo <= value <= hi
      ("table", column, base, bits, negate)  bit value - base of `bits` is set, least significant of byte 0 first;
                                             `negate` takes the other values that are present
      ("present", column)                    there is a value
      ("constant", bool)                     every row, or none
      ("all", n), ("any", n)                 in all, in any of the n topmost sets
      ("at_least", k, n)                     in at least k of them
      ("not",)                               not in the topmost
    A missing value is in no range and no table.
    """

    cdef ev_filter c
    cdef list tables

    def __cinit__(self, ops):
        cdef list items = list(ops)
        cdef int64_t height = 0
        self.tables = []
        self.c.ops = <ev_op *>calloc(len(items) + 1, sizeof(ev_op))
        if self.c.ops == NULL:
            raise MemoryError
        for i, op in enumerate(items):
            try:
                height = self._add(&self.c.ops[i], op, height)
            except (TypeError, ValueError) as error:
                raise type(error)(f"op {i} of the filter: {error}") from None
            self.c.n += 1
            self.c.depth = max(self.c.depth, <uint32_t>height)
        if height != 1:
            raise ValueError(f"a filter leaves one set of rows, not {height}")

    def __dealloc__(self):
        free(self.c.ops)

    cdef int64_t _add(self, ev_op *to, op, int64_t height) except -1:
        """The height of the stack after the op."""
        cdef _Table table
        name, *rest = op
        if name == "range":
            column, lo, hi = rest
            self._scan(to, column)
            to.scan.lo, to.scan.hi = _clamp(lo), _clamp(hi)
        elif name == "present":
            (column,) = rest
            self._scan(to, column)
            to.scan.lo, to.scan.hi = INT64_MIN, INT64_MAX
        elif name == "table":
            column, base, bits, negate = rest
            self._scan(to, column)
            table = _Table(base, bits, negate)
            self.tables.append(table)
            to.scan.table = &table.c
        elif name == "constant":
            (value,) = rest
            to.kind = EV_CONSTANT
            to.value = bool(value)
        elif name == "not":
            if rest:
                raise ValueError("not takes nothing")
            self._take(to, EV_NOT, 1, height)
            return height
        elif name == "all" or name == "any":
            (n,) = rest
            self._take(to, EV_ALL if name == "all" else EV_ANY, n, height)
            return self._grown(height - n)
        elif name == "at_least":
            k, n = rest
            self._take(to, EV_AT_LEAST, n, height)
            to.k = min(max(k, 0), n + 1)
            return self._grown(height - n)
        else:
            raise ValueError(f"there is no op {name!r}")
        return self._grown(height)

    cdef int _scan(self, ev_op *to, column) except -1:
        if not 0 <= column < EV_MAX_COLUMNS:
            raise ValueError(f"columns are 0 to {EV_MAX_COLUMNS - 1}, not {column}")
        to.kind = EV_SCAN
        to.column = column
        self.c.ncolumns = max(self.c.ncolumns, <uint32_t>to.column + 1)
        return 0

    cdef int _take(self, ev_op *to, uint8_t kind, n, int64_t height) except -1:
        if not 0 <= n <= height:
            raise ValueError(f"it takes {n} sets of rows, and there are {height}")
        to.kind = kind
        to.n = n
        return 0

    cdef int64_t _grown(self, int64_t height) except -1:
        if height >= _MAX_DEPTH:
            raise ValueError(f"a filter holds {_MAX_DEPTH} sets of rows at a time at most")
        return height + 1


def accumulate(blocks, EventFilter filter, start, end, int64_t measure, const uint64_t[::1] candidates,
               uint32_t[::1] counts not None, int64_t[::1] sums not None, uint32_t[::1] measured not None,
               Stop stop=None):
    """Add up the rows of `blocks` with start <= time < end that pass the filter (None: all), by contact.

    Contacts are ordinals within the blocks' range; where `candidates` (bits of uint64[256], least significant first) is
    given, only theirs are looked at. Each row adds 1 to counts[contact] and, where measure >= 0 and that column has a
    value, the value to sums[contact] and 1 to measured[contact]. OverflowError when a sum leaves 64 bits, Stopped by
    `stop`: nothing is promised of the arrays then.
    """
    cdef list held = list(blocks)
    cdef Py_ssize_t n = len(held), i
    cdef ev_query q
    cdef uint32_t needed = filter.c.ncolumns if filter is not None else 0
    cdef const bm_stop *s = &stop.c if stop is not None else NULL
    cdef const ev_block **at
    cdef EventBlock block
    cdef int status
    if candidates is not None and candidates.shape[0] != BM_CHUNK_WORDS:
        raise ValueError(f"candidates are {BM_CHUNK_WORDS} words, not {candidates.shape[0]}")
    if not counts.shape[0] == sums.shape[0] == measured.shape[0] == BM_CHUNK_ROWS:
        raise ValueError(f"counts, sums and measured are of {BM_CHUNK_ROWS} contacts each")
    if not -1 <= measure < EV_MAX_COLUMNS:
        raise ValueError(f"the measure is a column, or -1 for none, not {measure}")
    q.filter = &filter.c if filter is not None else NULL
    q.first, q.last = _clamp(start), _clamp(end - 1)
    q.measure = EV_NO_COLUMN if measure < 0 else <int>measure
    q.candidates = &candidates[0] if candidates is not None else NULL
    q.counts, q.sums, q.measured = &counts[0], &sums[0], &measured[0]
    needed = max(needed, <uint32_t>(measure + 1))
    at = <const ev_block **>PyMem_Malloc((n + 1) * sizeof(void *))
    if at == NULL:
        raise MemoryError
    try:
        for i in range(n):
            block = <EventBlock?>held[i]
            if block.c.ncolumns < needed:
                raise ValueError(f"block {i} has {block.c.ncolumns} columns: there is no column {needed - 1}")
            at[i] = &block.c
        with nogil:
            status = ev_accumulate(at, n, &q, s)
    finally:
        PyMem_Free(at)
    if status == BM_CANCELLED:
        raise Stopped("cancelled")
    if status == BM_DEADLINE:
        raise Stopped("deadline")
    if status == BM_NO_MEMORY:
        raise MemoryError
    if status == EV_OVERFLOW:
        raise OverflowError("a sum leaves 64 bits")
