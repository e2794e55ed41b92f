"""Python face of the event blocks (ev_block.h) and of the layers above them (event_layers.pxi): encoding and checking
them, and numbers a contact made of the rows that pass a filter (event_filters.pxi).

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


cdef extern from "ev_layer.h" nogil:
    """
    #include "ev_order.h"
    #include "ev_presence.h"
    #include "ev_ledger.h"
    """
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

    ctypedef struct ev_zone:
        const int64_t *starts
        const int64_t *offsets
        uint32_t n

    ctypedef struct ev_clock:
        ev_zone zone
        uint64_t week[3]
        uint8_t months "months"

    ctypedef struct ev_op:
        uint8_t kind
        uint8_t column
        uint8_t value "value"
        uint32_t n
        uint32_t k
        bm_scan scan
        const ev_clock *clock

    ctypedef struct ev_conjunct:
        uint32_t first

    ctypedef struct ev_filter:
        ev_op *ops
        uint32_t n
        uint32_t depth
        uint32_t ncolumns
        const ev_conjunct *conjuncts
        uint32_t nconjuncts

    ctypedef struct bm_container:
        pass

    ctypedef struct bm_dir:
        bm_container *at
        uint32_t n

    ctypedef struct ev_query:
        const ev_filter *filter
        int64_t first
        int64_t last
        int measure
        uint8_t how
        uint8_t listed[32]
        uint32_t nlisted
        const ev_zone *zone
        const uint32_t *among
        size_t namong
        const bm_dir *set
        int64_t low
        int64_t high
        bint as_set
        bint as_count
        const bm_dir *within

    ctypedef struct ev_month:
        uint32_t first
        uint32_t n
        const uint32_t *starts
        const ev_block *const *blocks
        const ev_block *bounds
        uint64_t serial

    ctypedef struct ev_order:
        uint32_t n, nvalues, nblocks
        uint64_t mark

    ctypedef struct ev_measure:
        uint32_t *codes
        uint64_t mark

    ctypedef struct ev_presence:
        uint32_t nblocks

    ctypedef struct ev_ledger:
        uint32_t first, n, column
        const uint32_t *rows

    ctypedef struct bm_output:
        pass

    ctypedef struct ev_found:
        uint32_t *ordinals
        int64_t *numbers
        size_t n, width
        bm_output set "set"
        uint64_t count

    ctypedef struct ev_part:
        uint32_t number

    ctypedef struct ev_layer:
        ev_block b
        uint32_t nstale
        const uint32_t *contacts
        const int64_t *times
        const uint32_t *events
        ev_part *parts
        uint32_t nparts

    ctypedef struct ev_held:
        const ev_month *const *months
        size_t nmonths
        const ev_order *const *orders
        const ev_measure *const *measures
        const ev_presence *const *presences
        const ev_measure *const *valued
        const ev_ledger *ledger
        uint32_t by, nvalues
        const int64_t *values
        const ev_layer *const *layers
        uint32_t nlayers, nfolded, folded_below, first, end

    const uint32_t EV_NUMBERS
    const uint32_t BM_CHUNK_ROWS, BM_CHUNK_WORDS, BM_CHUNK_HEADER
    const uint32_t EV_VERSION, EV_HEADER, EV_MAX_COLUMNS, EV_MIN_COLUMNS
    const uint8_t EV_SCAN, EV_CLOCK, EV_CONSTANT, EV_ALL, EV_ANY, EV_AT_LEAST, EV_NOT
    const uint8_t EV_ADD, EV_LEAST, EV_MOST, EV_DISTINCT, EV_DAYS, EV_ROWS
    const int EV_NO_COLUMN, EV_OVERFLOW, BM_OK, BM_CANCELLED, BM_DEADLINE, BM_NO_MEMORY

    const char *ev_block_open(ev_block *b, const uint8_t *buf, size_t len, int *column)
    const char *ev_block_order(const ev_block *b)
    void ev_block_read(const ev_block *b, uint32_t column, int64_t *values, uint8_t *present)
    void ev_month_bounds(const ev_block *const *blocks, uint32_t n, uint32_t ncolumns, ev_block *bounds)
    const uint32_t EV_VALUES
    const int EV_UNORDERED
    int ev_order_make(ev_order *o, const ev_month *m, uint32_t column)
    void ev_order_clear(ev_order *o)
    int ev_measure_make(ev_measure *v, const ev_order *o, const ev_month *m, uint32_t column)
    uint64_t ev_measure_mark(const ev_month *m, uint32_t column)
    size_t ev_order_bytes(const ev_order *o)
    uint64_t ev_order_mark(const ev_month *m, uint32_t column)
    int ev_presence_make(ev_presence *p, const ev_month *m)
    void ev_presence_clear(ev_presence *p)
    size_t ev_presence_bytes(const ev_presence *p)
    size_t ev_presence_measure_bytes(const ev_presence *p)
    int ev_presence_measure(ev_measure *v, const ev_presence *p, const ev_month *m, uint32_t column)
    int ev_ledger_begin(ev_ledger *l, const ev_month *const *months, size_t nmonths, uint32_t column)
    int ev_ledger_fill(ev_ledger *l, const ev_month *const *months, size_t nmonths, uint32_t first, uint32_t end)
    void ev_ledger_clear(ev_ledger *l)
    size_t ev_ledger_bytes(const ev_ledger *l)
    const uint32_t *ev_order_find(const ev_order *o, int64_t value, uint32_t *at, uint32_t *end)
    uint32_t ev_conjunct_values(const ev_filter *f, const ev_conjunct *part, int64_t *values)
    bint ev_filter_split(ev_filter *f)
    int ev_collect(const ev_held *held, const ev_query *q, const bm_stop *stop, ev_found *found)
    void ev_found_free(ev_found *found)
    uint32_t bm_dir_count(const uint8_t *buf, size_t len, const char **reason)
    bint bm_dir_append(bm_dir *dir, const uint8_t *buf, size_t len, const char **reason)
    size_t bm_output_size(const bm_output *out)
    void bm_output_write(const bm_output *out, uint8_t *to)
    const char *bm_simd_choose(const char *wanted)


# Stop is defined in programs.pxi, of bitmaps.pyx: its layout, which the import compares.
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
    """Bytes that are not a readable block or layer of events. `column` is the one concerned, None for what is no column's."""

    def __init__(self, column, reason, of="block"):
        super().__init__(f"event {of}: {_where(column, reason)}")
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
            chunks.append(encode_chunk(values, present, sparse=False))
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

    def zone(self, int64_t column):
        """(min, max, present) of the column's values; None when it has none."""
        return _zone(&self.c, column)

    def decode(self):
        """The columns, each (values int64[n], present uint8[n]), copied; values are 0 where there is none."""
        return _decoded(&self.c)


cdef object _zone(const ev_block *block, int64_t column):
    if not 0 <= column < block.ncolumns:
        raise IndexError(f"column {column} of {block.ncolumns}")
    cdef const bm_chunk *chunk = &block.columns[column]
    return (chunk.base, chunk.max, chunk.present) if chunk.present else None


cdef list _decoded(const ev_block *block):
    cdef list found = []
    cdef int64_t[::1] vs
    cdef uint8_t[::1] ps
    cdef uint32_t i
    for i in range(block.ncolumns):
        values = np.empty(block.rows, dtype=np.int64)
        present = np.empty(block.rows, dtype=np.uint8)
        if block.rows:
            vs = values
            ps = present
            with nogil:
                ev_block_read(block, i, &vs[0], &ps[0])
        found.append((values, present))
    return found


include "event_layers.pxi"
include "event_rows.pxi"


# --- aggregates ------------------------------------------------------------------------------------------------


cdef int64_t _clamp(value) except? -1:
    """Any integer bound as an int64 with the same meaning: values stay below 2^62 in magnitude."""
    return INT64_MIN if value < INT64_MIN else INT64_MAX if value > INT64_MAX else <int64_t>value


include "event_filters.pxi"
include "event_favourites.pxi"
include "event_series.pxi"


include "event_months.pxi"
include "event_ledgers.pxi"


include "event_questions.pxi"
include "event_taking.pxi"
