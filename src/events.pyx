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

    ctypedef struct ev_op:
        uint8_t kind
        uint8_t column
        uint8_t value "value"
        uint32_t n
        uint32_t k
        bm_scan scan
        const ev_clock *clock

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
        uint8_t how
        uint8_t listed[32]
        uint32_t nlisted
        const ev_zone *zone
        const uint32_t *among
        size_t namong
        int64_t low
        int64_t high

    ctypedef struct ev_range:
        uint32_t number
        const ev_block *const *blocks
        size_t n
        uint32_t first_layer

    ctypedef struct ev_found:
        uint32_t *ordinals
        int64_t *numbers
        size_t n, width

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

    const uint32_t BM_CHUNK_ROWS, BM_CHUNK_WORDS, BM_CHUNK_HEADER
    const uint32_t EV_VERSION, EV_HEADER, EV_MAX_COLUMNS, EV_MIN_COLUMNS
    const uint8_t EV_SCAN, EV_CLOCK, EV_CONSTANT, EV_ALL, EV_ANY, EV_AT_LEAST, EV_NOT
    const uint8_t EV_ADD, EV_LEAST, EV_MOST, EV_DISTINCT, EV_DAYS, EV_ROWS
    const int EV_NO_COLUMN, EV_OVERFLOW, BM_OK, BM_CANCELLED, BM_DEADLINE, BM_NO_MEMORY

    const char *ev_block_open(ev_block *b, const uint8_t *buf, size_t len, int *column)
    const char *ev_block_order(const ev_block *b)
    void ev_block_read(const ev_block *b, uint32_t column, int64_t *values, uint8_t *present)
    int ev_collect(const ev_range *ranges, size_t n, const ev_layer *const *layers, uint32_t nlayers, const ev_query *q,
                   const bm_stop *stop, ev_found *found)
    void ev_found_free(ev_found *found)
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


# --- aggregates ------------------------------------------------------------------------------------------------


cdef int64_t _clamp(value) except? -1:
    """Any integer bound as an int64 with the same meaning: values stay below 2^62 in magnitude."""
    return INT64_MIN if value < INT64_MIN else INT64_MAX if value > INT64_MAX else <int64_t>value


include "event_filters.pxi"


def _listed(number, blocks, first_layer=0):
    return number, tuple(blocks), first_layer


_HOW = {"sum": EV_ADD, "min": EV_LEAST, "max": EV_MOST, "distinct": EV_DISTINCT, "distinct_days": EV_DAYS}
MISSING = INT64_MIN


cdef class _Held:
    """The ranges and layers of a call, as the native code takes them."""

    cdef list ranges
    cdef tuple layers
    cdef const ev_block **blocks_at
    cdef ev_range *ranges_at
    cdef const ev_layer **layers_at
    cdef size_t n
    cdef uint32_t nlayers

    def __cinit__(self, ranges, layers, uint32_t needed):
        cdef EventBlock block
        cdef EventLayer layer
        cdef Py_ssize_t i, at = 0
        self.ranges = [_listed(*each) for each in ranges]
        self.layers = tuple(layers)
        total = sum(len(blocks) for _, blocks, _ in self.ranges)
        self.n, self.nlayers = len(self.ranges), len(self.layers)
        self.blocks_at = <const ev_block **>PyMem_Malloc((total + 1) * sizeof(void *))
        self.ranges_at = <ev_range *>PyMem_Malloc((self.n + 1) * sizeof(ev_range))
        self.layers_at = <const ev_layer **>PyMem_Malloc((self.nlayers + 1) * sizeof(void *))
        if self.blocks_at == NULL or self.ranges_at == NULL or self.layers_at == NULL:
            raise MemoryError
        for i in range(len(self.layers)):
            layer = <EventLayer?>self.layers[i]
            if layer.c.b.ncolumns < needed:
                raise ValueError(f"a layer has {layer.c.b.ncolumns} columns: there is no column {needed - 1}")
            self.layers_at[i] = &layer.c
        for i in range(len(self.ranges)):
            number, blocks, first = self.ranges[i]
            if not 0 <= number < 1 << 18:
                raise ValueError(f"ranges have the numbers 0 to {(1 << 18) - 1}, not {number}")
            if not 0 <= first <= len(self.layers):
                raise ValueError(f"the first of {len(self.layers)} layers cannot be {first}")
            self.ranges_at[i].first_layer = first
            self.ranges_at[i].number = number
            self.ranges_at[i].blocks = self.blocks_at + at
            self.ranges_at[i].n = len(blocks)
            for each in blocks:
                block = <EventBlock?>each
                if block.c.ncolumns < needed:
                    raise ValueError(f"a block has {block.c.ncolumns} columns: there is no column {needed - 1}")
                self.blocks_at[at] = &block.c
                at += 1

    def __dealloc__(self):
        PyMem_Free(self.blocks_at)
        PyMem_Free(self.ranges_at)
        PyMem_Free(self.layers_at)


cdef int _run(_Held held, const ev_query *q, const bm_stop *stop, ev_found *found) except -1:
    cdef int status
    with nogil:
        status = ev_collect(held.ranges_at, held.n, held.layers_at, held.nlayers, q, stop, found)
    if status == BM_CANCELLED:
        raise Stopped("cancelled")
    if status == BM_DEADLINE:
        raise Stopped("deadline")
    if status == BM_NO_MEMORY:
        raise MemoryError
    if status == EV_OVERFLOW:
        raise OverflowError("a sum leaves 64 bits")
    return 0


def select(ranges, EventFilter filter, start, end, columns, among=None, Stop stop=None, layers=()):
    """The rows themselves that collect would look at: (ordinals uint32[n], a tuple of an int64[n] for each of the
    `columns`). A missing value is MISSING. The rows of a range stand together, in the order of the ranges, and in no
    order among themselves.
    """
    cdef ev_query q
    cdef ev_found found
    cdef uint32_t needed = filter.c.ncolumns if filter is not None else 0, nothing = 0
    cdef const uint32_t[::1] chosen
    cdef list asked = list(columns)
    if not 1 <= len(asked) <= <int>EV_MAX_COLUMNS:
        raise ValueError(f"1 to {EV_MAX_COLUMNS} columns are listed, not {len(asked)}")
    memset(&q, 0, sizeof(q))
    memset(&found, 0, sizeof(found))
    for i, column in enumerate(asked):
        if not 0 <= column < <int>EV_MAX_COLUMNS:
            raise ValueError(f"columns are 0 to {EV_MAX_COLUMNS - 1}, not {column}")
        q.listed[i] = column
        needed = max(needed, <uint32_t>column + 1)
    q.nlisted = len(asked)
    q.filter = &filter.c if filter is not None else NULL
    q.first, q.last = _clamp(start), _clamp(end - 1)
    q.measure, q.how = EV_NO_COLUMN, EV_ROWS
    if among is not None:
        chosen = among
        q.among, q.namong = &chosen[0] if chosen.shape[0] else &nothing, chosen.shape[0]
    try:
        _run(_Held(ranges, layers, needed), &q, &stop.c if stop is not None else NULL, &found)
        ordinals, values = np.empty(found.n, np.uint32), np.empty((found.n, q.nlisted), np.int64)
        _copy(&found, ordinals, values.reshape(-1))
        return ordinals, tuple(np.ascontiguousarray(values[:, i]) for i in range(q.nlisted))
    finally:
        ev_found_free(&found)


def collect(
    ranges,
    EventFilter filter,
    start,
    end,
    int64_t measure,
    among=None,
    low=None,
    high=None,
    Stop stop=None,
    how="sum",
    layers=(),
    zone=None,
):
    """The number of each contact over the rows with start <= time < end that pass the filter (None: all): how many they
    are, or where `measure` is a column and not -1, the sum, the least or the greatest of its values, or how many
    different ones there are (`how`: "sum", "min", "max", "distinct"). "distinct_days" takes no measure: on how many
    different local days the rows are, in the zone (starts, offsets), as a filter's op "clock" has it.

    `ranges` are pairs of a number and its blocks: ordinals from number << 14 on. Returns (ordinals uint32[n], numbers
    int64[n]), in the order of the ranges, of the contacts that have such a row (with a measure: one with a value) and a
    number with low <= number <= high (None: no bound). `among` (uint32, ascending) are the only contacts that are looked
    at. OverflowError when a sum leaves 64 bits on its way; Stopped by `stop`.

    Above the blocks lie `layers` (EventLayer), the oldest first: their rows in the ranges that are listed count too, and
    the rows of blocks and of older layers do not at the stale places of a layer. A range may be a triple, with the number
    of the first layer that lies above its blocks; it is 0 where it is not said.
    """
    cdef ev_query q
    cdef ev_found found
    cdef uint32_t needed = filter.c.ncolumns if filter is not None else 0, nothing = 0
    cdef const bm_stop *s = &stop.c if stop is not None else NULL
    cdef const uint32_t[::1] chosen
    if not -1 <= measure < EV_MAX_COLUMNS:
        raise ValueError(f"the measure is a column, or -1 for none, not {measure}")
    memset(&q, 0, sizeof(q))
    q.filter = &filter.c if filter is not None else NULL
    q.first, q.last = _clamp(start), _clamp(end - 1)
    if how not in _HOW or (measure < 0 and how not in ("sum", "distinct_days")) or (
        measure >= 0 and how == "distinct_days"
    ):
        raise ValueError(f"{how!r} is not what can be made of {'rows' if measure < 0 else 'a measure'}")
    q.how = _HOW[how]
    if (zone is not None) != (how == "distinct_days"):
        raise ValueError("days are counted in a zone, and nothing else is")
    cdef _Zone where = None if zone is None else _Zone(*zone)
    q.zone = NULL if where is None else &where.c
    q.measure = EV_NO_COLUMN if measure < 0 else <int>measure
    q.among, q.namong = NULL, 0
    if among is not None:
        chosen = among
        q.among, q.namong = &chosen[0] if chosen.shape[0] else &nothing, chosen.shape[0]
    q.low = INT64_MIN if low is None else _clamp(low)
    q.high = INT64_MAX if high is None else _clamp(high)
    needed = max(needed, <uint32_t>(measure + 1))
    memset(&found, 0, sizeof(found))
    try:
        _run(_Held(ranges, layers, needed), &q, s, &found)
        ordinals, numbers = np.empty(found.n, np.uint32), np.empty(found.n, np.int64)
        _copy(&found, ordinals, numbers)
        return ordinals, numbers
    finally:
        ev_found_free(&found)


cdef void _copy(const ev_found *found, uint32_t[::1] ordinals, int64_t[::1] numbers):
    if found.n:
        memcpy(&ordinals[0], found.ordinals, found.n * sizeof(uint32_t))
        memcpy(&numbers[0], found.numbers, found.n * found.width * sizeof(int64_t))
