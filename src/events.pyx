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


_HOW = {"sum": EV_ADD, "min": EV_LEAST, "max": EV_MOST, "distinct": EV_DISTINCT, "distinct_days": EV_DAYS}
MISSING = INT64_MIN


cdef class _Held:
    """Where a call looks, as the native code takes it."""

    cdef ev_held c
    cdef tuple months, layers
    cdef list orders, presences  # what the native code borrows
    cdef EventLedger ledger

    def __cinit__(self, months, layers, folded, ranges, uint32_t needed, EventFilter filter=None, int measure=EV_NO_COLUMN,
                  bint narrowed=False):
        cdef const ev_month **months_at
        cdef const ev_layer **layers_at
        cdef EventMonth month
        cdef EventLayer layer
        self.months, self.layers = tuple(months), tuple(layers)
        self.c.nmonths, self.c.nlayers = len(self.months), len(self.layers)
        self.c.months = months_at = <const ev_month **>PyMem_Malloc((self.c.nmonths + 1) * sizeof(void *))
        self.c.layers = layers_at = <const ev_layer **>PyMem_Malloc((self.c.nlayers + 1) * sizeof(void *))
        if months_at == NULL or layers_at == NULL:
            raise MemoryError
        for i, month in enumerate(self.months):
            if month.least < needed:
                raise ValueError(f"a block has {month.least} columns: there is no column {needed - 1}")
            months_at[i] = &month.c
        if filter is not None and filter.equals:
            self._choose(filter, measure)
        if narrowed:
            self._locate(measure)
            self._cover(measure)
        for i, layer in enumerate(self.layers):
            if layer.c.b.ncolumns < needed:
                raise ValueError(f"a layer has {layer.c.b.ncolumns} columns: there is no column {needed - 1}")
            layers_at[i] = &layer.c
        nfolded, below = folded
        if not 0 <= nfolded <= self.c.nlayers:
            raise ValueError(f"of {self.c.nlayers} layers {nfolded} cannot be in the blocks")
        first, end = ranges
        self.c.nfolded, self.c.folded_below = nfolded, min(max(below, 0), EV_NUMBERS)
        self.c.first, self.c.end = min(max(first, 0), EV_NUMBERS), min(max(end, 0), EV_NUMBERS)

    cdef _choose(self, EventFilter filter, int measure):
        """Of what the filter asks for by value, that which the orders of the months leave the fewest rows of."""
        cdef EventMonth month
        cdef EventOrder order
        cdef EventMeasure values
        cdef const ev_order **orders
        cdef const ev_measure **measures
        cdef _Equal best = None, each
        cdef uint64_t left, least = 0
        cdef bint any_
        for each in filter.equals:
            left, any_ = 0, False
            for month in self.months:
                any_ |= each.column in month.orders
                left += month.left(filter, each, measure)
            if any_ and (best is None or left < least):
                best, least = each, left
        if best is None:
            return
        self.c.orders = orders = <const ev_order **>calloc(self.c.nmonths, sizeof(void *))
        self.c.measures = measures = <const ev_measure **>calloc(self.c.nmonths, sizeof(void *))
        if orders == NULL or measures == NULL:
            raise MemoryError
        self.orders = [filter]
        for i, month in enumerate(self.months):
            order = month.order_for(filter, best, measure)
            if order is not None:
                self.orders.append(order)
                orders[i] = &order.c
                values = month.measures.get((best.column, measure))
                if values is not None and values.order is order:
                    self.orders.append(values)
                    measures[i] = &values.c
        self.c.by, self.c.values, self.c.nvalues = best.conjunct, best.values, best.n

    cdef _locate(self, int measure):
        """Find rows of candidates by their presence, in the months that have it."""
        cdef EventMonth month
        cdef EventPresence presence
        cdef EventValues values
        cdef const ev_measure **valued
        cdef const ev_presence **presences
        self.presences = []
        for month in self.months:
            self.presences.append(month.presence)
        if self.presences.count(None) == len(self.presences):
            return
        self.c.presences = presences = <const ev_presence **>calloc(self.c.nmonths, sizeof(void *))
        self.c.valued = valued = <const ev_measure **>calloc(self.c.nmonths, sizeof(void *))
        if presences == NULL or valued == NULL:
            raise MemoryError
        for i, month in enumerate(self.months):
            presence = self.presences[i]
            if presence is None:
                continue
            presences[i] = &presence.c
            values = month.values.get(measure)
            if values is not None and values.presence is presence:
                self.presences.append(values)
                valued[i] = &values.c

    cdef _cover(self, int measure):
        """Find rows of candidates in a ledger of some of the months, where there is one."""
        cdef EventMonth month
        for month in self.months:
            for ledger in list(month.ledgers.values()):
                if measure == EV_NO_COLUMN or measure == ledger.column:
                    self.ledger = ledger
                    self.c.ledger = &self.ledger.c
                    return

    def __dealloc__(self):
        free(<void *>self.c.presences)
        free(<void *>self.c.valued)
        free(<void *>self.c.orders)
        free(<void *>self.c.measures)
        PyMem_Free(<void *>self.c.months)
        PyMem_Free(<void *>self.c.layers)


cdef class _Question:
    """A query, and where it is asked."""

    cdef ev_query c
    cdef _Held held
    cdef EventFilter filter
    cdef object kept  # what the query borrows
    cdef bm_dir set
    cdef uint32_t nothing

    cdef _about(self, EventFilter filter, start, end, among):
        cdef const uint32_t[::1] listed
        self.filter = filter
        self.c.filter = &filter.c if filter is not None else NULL
        self.c.first, self.c.last = _clamp(start), _clamp(end - 1)
        self.c.among, self.c.namong, self.c.set = NULL, 0, NULL
        if isinstance(among, bytes):
            self._open(among)
        elif among is not None:
            listed = among
            self.c.among, self.c.namong = &listed[0] if listed.shape[0] else &self.nothing, listed.shape[0]
        self.kept = among

    cdef _open(self, bytes among):
        """Ask about the members of a portable Roaring bitmap."""
        cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(among)
        cdef const char *reason = NULL
        cdef uint32_t n = bm_dir_count(at, len(among), &reason)
        if reason == NULL:
            self.set.at = <bm_container *>calloc(n + 1, sizeof(bm_container))
            if self.set.at == NULL:
                raise MemoryError
            bm_dir_append(&self.set, at, len(among), &reason)
        if reason != NULL:
            raise ValueError(reason.decode())
        self.c.set = &self.set

    def __dealloc__(self):
        free(self.set.at)

    cdef _aggregate(self, int64_t measure, low, high, how, zone):
        cdef _Zone where
        if not -1 <= measure < EV_MAX_COLUMNS:
            raise ValueError(f"the measure is a column, or -1 for none, not {measure}")
        if how not in _HOW or (measure < 0 and how not in ("sum", "distinct_days")) or (
            measure >= 0 and how == "distinct_days"
        ):
            raise ValueError(f"{how!r} is not what can be made of {'rows' if measure < 0 else 'a measure'}")
        if (zone is not None) != (how == "distinct_days"):
            raise ValueError("days are counted in a zone, and nothing else is")
        self.c.how = _HOW[how]
        self.c.zone = NULL
        if zone is not None:
            where = _Zone(*zone)
            self.c.zone = &where.c
            self.kept = self.kept, where
        self.c.measure = EV_NO_COLUMN if measure < 0 else <int>measure
        self.c.low = INT64_MIN if low is None else _clamp(low)
        self.c.high = INT64_MAX if high is None else _clamp(high)

    cdef list _list(self, columns):
        """Ask for rows, of which these columns are listed."""
        cdef list asked = list(columns)
        if not 1 <= len(asked) <= <int>EV_MAX_COLUMNS:
            raise ValueError(f"1 to {EV_MAX_COLUMNS} columns are listed, not {len(asked)}")
        for i, column in enumerate(asked):
            if not 0 <= column < <int>EV_MAX_COLUMNS:
                raise ValueError(f"columns are 0 to {EV_MAX_COLUMNS - 1}, not {column}")
            self.c.listed[i] = column
        self.c.nlisted, self.c.how, self.c.measure = len(asked), EV_ROWS, EV_NO_COLUMN
        return asked

    cdef uint32_t _needed(self):
        """How many columns blocks and layers must have."""
        cdef uint32_t needed = self.c.filter.ncolumns if self.c.filter != NULL else 0
        needed = max(needed, <uint32_t>(self.c.measure + 1))
        for i in range(self.c.nlisted):
            needed = max(needed, <uint32_t>self.c.listed[i] + 1)
        return needed

    cdef _ask(self, months, layers, folded, ranges, Stop stop, ev_found *found):
        """Raises Stopped, OverflowError. The caller frees what was found."""
        cdef const bm_stop *s = &stop.c if stop is not None else NULL
        cdef _Held held = _Held(months, layers, folded, ranges, self._needed(), self.filter, self.c.measure,
                                self.c.among != NULL or self.c.set != NULL)
        cdef int status
        with nogil:
            status = ev_collect(&held.c, &self.c, s, found)
        if status == EV_OVERFLOW:
            raise OverflowError("a sum leaves 64 bits")
        _ended(status)


_EVERYWHERE = (0, EV_NUMBERS)


def collect(
    months,
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
    folded=(0, 0),
    ranges=_EVERYWHERE,
):
    """The number of each contact over the rows with start <= time < end that pass the filter (None: all): how many they
    are, or where `measure` is a column and not -1, the sum, the least or the greatest of its values, or how many
    different ones there are (`how`: "sum", "min", "max", "distinct"). "distinct_days" takes no measure: on how many
    different local days the rows are, in the zone (starts, offsets), as a filter's op "clock" has it.

    Returns (ordinals uint32[n], numbers int64[n]), ascending, of the contacts that have such a row (with a measure: one
    with a value) and a number with low <= number <= high (None: no bound). `among` (uint32, ascending, or a portable
    Roaring bitmap) are the only contacts that are looked at, and of `ranges` (first, end) are only the ordinals from
    first << 14 on and below end << 14. OverflowError when a sum leaves 64 bits on its way; Stopped by `stop`.

    Rows are those of the `months` (EventMonth) and of the `layers` (EventLayer), the oldest first: a layer's rows count
    too, and the rows of blocks and of older layers do not at its stale places. `folded` is (n, number): the blocks of the
    ranges below that number hold what the first n layers say.
    """
    cdef _Question question = _Question()
    cdef ev_found found
    memset(&found, 0, sizeof(found))
    question._about(filter, start, end, among)
    question._aggregate(measure, low, high, how, zone)
    try:
        question._ask(months, layers, folded, ranges, stop, &found)
        ordinals, numbers = np.empty(found.n, np.uint32), np.empty(found.n, np.int64)
        _copy(&found, ordinals, numbers)
        return ordinals, numbers
    finally:
        ev_found_free(&found)


def collect_set(
    months,
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
    folded=(0, 0),
    ranges=_EVERYWHERE,
):
    """The contacts that collect would return, without their numbers: a portable Roaring bitmap."""
    cdef _Question question = _Question()
    cdef ev_found found
    cdef bytes result
    memset(&found, 0, sizeof(found))
    question._about(filter, start, end, among)
    question._aggregate(measure, low, high, how, zone)
    question.c.as_set = True
    try:
        question._ask(months, layers, folded, ranges, stop, &found)
        result = PyBytes_FromStringAndSize(NULL, bm_output_size(&found.set))
        bm_output_write(&found.set, <uint8_t *>PyBytes_AS_STRING(result))
        return result
    finally:
        ev_found_free(&found)


def select(
    months,
    EventFilter filter,
    start,
    end,
    columns,
    among=None,
    Stop stop=None,
    layers=(),
    folded=(0, 0),
    ranges=_EVERYWHERE,
):
    """The rows themselves that collect would look at: (ordinals uint32[n], a tuple of an int64[n] for each of the
    `columns`). A missing value is MISSING. The rows of a range stand together, in the order of the ranges, and in no
    order among themselves.
    """
    cdef _Question question = _Question()
    cdef ev_found found
    memset(&found, 0, sizeof(found))
    asked = question._list(columns)
    question._about(filter, start, end, among)
    try:
        question._ask(months, layers, folded, ranges, stop, &found)
        ordinals, values = np.empty(found.n, np.uint32), np.empty((found.n, len(asked)), np.int64)
        _copy(&found, ordinals, values.reshape(-1))
        return ordinals, tuple(np.ascontiguousarray(values[:, i]) for i in range(len(asked)))
    finally:
        ev_found_free(&found)


cdef void _copy(const ev_found *found, uint32_t[::1] ordinals, int64_t[::1] numbers):
    if found.n:
        memcpy(&ordinals[0], found.ordinals, found.n * sizeof(uint32_t))
        memcpy(&numbers[0], found.numbers, found.n * found.width * sizeof(int64_t))


include "event_taking.pxi"
