# Layers of events (ev_layer.h): making, opening and merging them. Part of events.pyx.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize


cdef extern from "ev_layer.h" nogil:
    ctypedef struct ev_plan:
        uint32_t rows
        uint32_t ncolumns
        uint32_t nstale
        bm_chunk *columns

    const uint32_t EV_LAYER_MOST, EV_PLACE_BYTES

    const char *bm_chunk_plan(bm_chunk *chunk, const int64_t *values, const uint8_t *present, uint32_t n)
    void bm_chunk_write(const bm_chunk *chunk, const int64_t *values, const uint8_t *present, uint8_t *out)
    const char *ev_layer_open(ev_layer *layer, const uint8_t *buf, size_t len, int *column)
    const char *ev_layer_check(const ev_layer *layer, int *column)
    bint ev_layer_index(ev_layer *layer)
    void ev_layer_clear(ev_layer *layer)
    uint32_t ev_layer_row(const ev_layer *layer, uint64_t contact)
    uint32_t ev_layer_place(const ev_layer *layer, uint64_t contact)
    void ev_layer_slice(const ev_layer *layer, uint32_t first, uint32_t n, ev_block *to)
    size_t ev_plan_size(const ev_plan *plan)
    uint8_t *ev_plan_begin(const ev_plan *plan, uint8_t *to, uint8_t **codes)
    const char *ev_merge_plan(const ev_layer *older, const ev_layer *newer, uint32_t *rows, ev_plan *plan)
    void ev_merge_write(const ev_layer *older, const ev_layer *newer, const uint32_t *rows, const ev_plan *plan,
                        uint8_t *to)


LAYER_ROWS = EV_LAYER_MOST


cdef uint32_t _layer_checksum(buffer) except? 0:
    view = memoryview(buffer).cast("B")
    return crc32(view[12:], crc32(view[:8]))


cdef bytes _sealed(bytes layer):
    """The layer that was just written, with its checksum."""
    cdef uint32_t checksum = _layer_checksum(layer)
    memcpy(PyBytes_AS_STRING(layer) + 8, &checksum, 4)
    return layer


cdef list _aligned(list pairs):
    """The columns as arrays, all of one length."""
    cdef list found = []
    for i, (values, present) in enumerate(pairs):
        if len(values) > EV_LAYER_MOST:
            raise ValueError(f"a layer holds {EV_LAYER_MOST} rows at most, not {len(values)}")
        v = np.ascontiguousarray(values, dtype=np.int64)
        p = np.ascontiguousarray(present, dtype=np.uint8)
        if v.ndim != 1 or p.ndim != 1 or len(v) != len(p):
            raise ValueError(f"column {i}: values and present are one-dimensional and of one length")
        if found and len(v) != len(found[0][0]):
            raise ValueError(f"column {i} has {len(v)} rows, and column 0 has {len(found[0][0])}")
        found.append((v, p))
    return found


def encode_layer(columns, const uint32_t[::1] contacts, const int64_t[::1] times, const uint32_t[::1] events):
    """Encode one layer from its columns, which are those of encode_block with whole ordinals in column 0, of up to 2^24
    rows, and from its stale places: their contacts, times and events, ascending by the three and each once.

    There may be no rows and no stale places. ValueError for anything else, or a value that a column cannot hold.
    """
    cdef list pairs = list(columns)
    cdef ev_plan plan
    cdef const int64_t[::1] vs
    cdef const uint8_t[::1] ps
    cdef uint8_t *codes[32]  # EV_MAX_COLUMNS
    cdef uint8_t *to
    cdef const char *reason
    cdef uint32_t i
    if not EV_MIN_COLUMNS <= len(pairs) <= EV_MAX_COLUMNS:
        raise ValueError(f"a layer has {EV_MIN_COLUMNS} to {EV_MAX_COLUMNS} columns, not {len(pairs)}")
    pairs = _aligned(pairs)
    rows, stale = len(pairs[0][0]), len(contacts)
    if stale > EV_LAYER_MOST:
        raise ValueError(f"a layer holds {EV_LAYER_MOST} stale places at most, not {stale}")
    if not stale == len(times) == len(events):
        raise ValueError(f"stale places are {stale} contacts, {len(times)} times and {len(events)} events")
    memset(&plan, 0, sizeof(plan))
    plan.rows, plan.ncolumns, plan.nstale = rows, len(pairs), stale
    if plan.rows:
        for i in range(plan.ncolumns):
            vs, ps = pairs[i]
            with nogil:
                reason = bm_chunk_plan(&plan.columns[i], &vs[0], &ps[0], plan.rows)
            if reason != NULL:
                raise ValueError(f"column {i}: {reason.decode()}")
    cdef bytes out = PyBytes_FromStringAndSize(NULL, ev_plan_size(&plan))
    to = ev_plan_begin(&plan, <uint8_t *>PyBytes_AS_STRING(out), codes)
    if plan.rows:
        for i in range(plan.ncolumns):
            vs, ps = pairs[i]
            with nogil:  # which writes the header anew
                bm_chunk_write(&plan.columns[i], &vs[0], &ps[0], codes[i] - BM_CHUNK_HEADER)
    if plan.nstale:
        memcpy(to, &contacts[0], 4 * plan.nstale)
        memcpy(to + 4 * <size_t>plan.nstale, &times[0], 8 * <size_t>plan.nstale)
        memcpy(to + 12 * <size_t>plan.nstale, &events[0], 4 * <size_t>plan.nstale)
    try:
        return EventLayer(_sealed(out)).data
    except CorruptEvents as error:
        raise ValueError(_where(error.column, error.reason)) from None


def merge_layers(EventLayer older not None, EventLayer newer not None):
    """The bytes of one layer that reads as both do: the rows of `older` that no stale place of `newer` voids, the rows of
    `newer`, and the stale places of either.

    ValueError for a row that is in both, for too many of them, and for layers of different columns.
    """
    cdef ev_plan plan
    cdef const char *reason
    cdef bytes out
    cdef uint8_t *to
    cdef uint32_t *rows
    if older.c.b.ncolumns != newer.c.b.ncolumns:
        raise ValueError(f"layers of {older.c.b.ncolumns} and of {newer.c.b.ncolumns} columns")
    memset(&plan, 0, sizeof(plan))
    rows = <uint32_t *>PyMem_Malloc((<size_t>older.c.b.rows + newer.c.b.rows + 1) * sizeof(uint32_t))
    if rows == NULL:
        raise MemoryError
    try:
        with nogil:
            reason = ev_merge_plan(&older.c, &newer.c, rows, &plan)
        if reason != NULL:
            raise ValueError(reason.decode())
        out = PyBytes_FromStringAndSize(NULL, ev_plan_size(&plan))
        to = <uint8_t *>PyBytes_AS_STRING(out)
        with nogil:
            ev_merge_write(&older.c, &newer.c, rows, &plan, to)
        return _sealed(out)
    finally:
        PyMem_Free(rows)


cdef class EventLayer:
    """A layer that encode_layer or merge_layers made, read in place.

    Opening checks all of it (CorruptEvents): the checksum, every code, the order of rows and of stale places. The buffer
    is kept and must not change.
    """

    cdef ev_layer c
    cdef Py_buffer view
    cdef readonly object data
    cdef readonly dict remembered  # what its owner has made of it; not looked at here

    def __cinit__(self, buffer):
        cdef int column = EV_NO_COLUMN
        cdef const char *reason
        cdef bint enough = True
        self.remembered = {}
        PyObject_GetBuffer(buffer, &self.view, PyBUF_SIMPLE)
        self.data = buffer
        reason = ev_layer_open(&self.c, <const uint8_t *>self.view.buf, self.view.len, &column)
        if reason == NULL:
            if _layer_checksum(buffer) != self.c.b.checksum:
                raise CorruptEvents(None, "the checksum does not match", "layer")
            with nogil:
                reason = ev_layer_check(&self.c, &column)
                if reason == NULL:
                    enough = ev_layer_index(&self.c)
        if reason != NULL:
            raise CorruptEvents(None if column == EV_NO_COLUMN else column, reason.decode(), "layer")
        if not enough:
            raise MemoryError

    def __dealloc__(self):
        ev_layer_clear(&self.c)
        PyBuffer_Release(&self.view)

    def __len__(self):
        return self.view.len

    @property
    def rows(self):
        """How many rows there are."""
        return self.c.b.rows

    @property
    def stale(self):
        """How many stale places there are."""
        return self.c.nstale

    @property
    def columns(self):
        """How many columns there are."""
        return self.c.b.ncolumns

    def zone(self, int64_t column):
        """(min, max, present) of the column's values; None when it has none."""
        return _zone(&self.c.b, column)

    def decode(self, first=0, end=None):
        """The columns of the rows from first on and below end, of all by default: each (values int64[n], present
        uint8[n]), copied; values are 0 where there is none."""
        cdef uint32_t last = self.c.b.rows if end is None else end
        cdef uint32_t begin = first
        cdef ev_block some
        if not begin <= last <= self.c.b.rows:
            raise IndexError(f"rows {begin} to {last} of {self.c.b.rows}")
        ev_layer_slice(&self.c, begin, last - begin, &some)
        return _decoded(&some)

    def stale_places(self):
        """The stale places, copied: their contacts uint32[n], times int64[n] and events uint32[n]."""
        cdef size_t n = self.c.nstale
        at = self.view.len - EV_PLACE_BYTES * n
        view = memoryview(self.data).cast("B")
        return (
            np.frombuffer(view, "<u4", n, at).copy(),
            np.frombuffer(view, "<i8", n, at + 4 * n).copy(),
            np.frombuffer(view, "<u4", n, at + 12 * n).copy(),
        )

    @property
    def last(self):
        """The number of the last range that has a row or a stale place; -1 without any."""
        return <int64_t>self.c.parts[self.c.nparts - 1].number if self.c.nparts else -1

    def ranges(self):
        """The numbers of the ranges, ascending, uint32[n], that have a row or a stale place here."""
        found = np.empty(self.c.nparts, np.uint32)
        cdef uint32_t[::1] numbers = found
        cdef uint32_t i
        for i in range(self.c.nparts):
            numbers[i] = self.c.parts[i].number
        return found

    def rows_of(self, first_contact, end_contact):
        """The rows of the contacts from first_contact on and below end_contact: the first, and the one behind the last."""
        cdef uint64_t first = _ordinal(first_contact), end = _ordinal(end_contact)
        return ev_layer_row(&self.c, first), ev_layer_row(&self.c, max(first, end))

    def stale_of(self, first_contact, end_contact):
        """The same for the stale places."""
        cdef uint64_t first = _ordinal(first_contact), end = _ordinal(end_contact)
        return ev_layer_place(&self.c, first), ev_layer_place(&self.c, max(first, end))



cdef uint64_t _ordinal(contact) except? 0:
    return min(max(contact, 0), 1 << 32)
