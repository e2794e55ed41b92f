"""Python face of the native evaluator (bm.h): postings and columns over borrowed buffers, programs over them.

Computes only: it must not do I/O and knows nothing of stores. The GIL is released for every evaluation.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

import os
from zlib import crc32

import numpy as np


cdef extern from "bm.h" nogil:
    ctypedef struct bm_container:
        const uint8_t *data
        uint16_t key

    ctypedef struct bm_dir:
        bm_container *at
        uint32_t n

    ctypedef struct bm_posting:
        bm_dir base
        bm_dir added
        bm_dir removed
        int64_t card

    ctypedef struct bm_chunk:
        const uint8_t *codes
        int64_t base
        int64_t max
        uint32_t present
        uint32_t rows
        uint32_t checksum
        uint8_t width
        uint8_t sparse "sparse"

    ctypedef struct bm_layer:
        const uint32_t *ordinals
        const int64_t *values
        const uint8_t *present
        uint32_t n
        int64_t least
        int64_t most

    ctypedef struct bm_column:
        bm_chunk *at
        uint32_t n
        const bm_layer *const *layers
        uint32_t nlayers

    ctypedef struct bm_table:
        int64_t base
        uint64_t nbits
        uint8_t negate "negate"
        uint64_t *words

    ctypedef struct bm_prog:
        pass

    ctypedef uint32_t bm_edge

    ctypedef struct bm_stop:
        int cancelled
        int64_t deadline_ns

    ctypedef struct bm_output:
        pass

    const uint32_t BM_TRUE, BM_FALSE, BM_NO_EDGE, BM_MAX_DEPTH, BM_CHUNK_ROWS, BM_CHUNK_HEADER
    const int BM_OK, BM_CANCELLED, BM_DEADLINE, BM_NO_MEMORY

    uint32_t bm_dir_count(const uint8_t *buf, size_t len, const char **reason)
    bint bm_dir_append(bm_dir *dir, const uint8_t *buf, size_t len, const char **reason)
    uint64_t bm_dir_card(const bm_dir *dir)
    bint bm_posting_has(const bm_posting *p, uint32_t ordinal)
    const char *bm_validate(const uint8_t *buf, size_t len)

    const char *bm_chunk_open(bm_chunk *chunk, const uint8_t *buf, size_t len)
    const char *bm_chunk_check(const bm_chunk *chunk)
    void bm_chunk_thin(bm_chunk *chunk)
    size_t bm_chunk_size(const bm_chunk *chunk)
    const char *bm_chunk_plan(bm_chunk *chunk, const int64_t *values, const uint8_t *present, uint32_t n)
    void bm_chunk_write(const bm_chunk *chunk, const int64_t *values, const uint8_t *present, uint8_t *out)
    void bm_chunk_read(const bm_chunk *chunk, int64_t *values, uint8_t *present)
    bint bm_layer_index(bm_layer *l)
    void bm_layer_clear(bm_layer *l)
    void bm_column_take(const bm_column *c, const uint32_t *ordinals, size_t n, int64_t *values, uint8_t *present)
    void bm_column_bounds(const bm_column *c, int64_t *min, int64_t *max, uint64_t *present)
    void bm_column_estimate(const bm_column *c, int64_t lo, int64_t hi, uint64_t *least, double *expected,
                            uint64_t *most)

    bm_prog *bm_prog_new()
    void bm_prog_free(bm_prog *p)
    bm_edge bm_prog_posting(bm_prog *p, const bm_posting *posting)
    bm_edge bm_prog_range(bm_prog *p, const bm_column *c, int64_t lo, int64_t hi, const bm_posting *overlay)
    bm_edge bm_prog_table(bm_prog *p, const bm_column *c, const bm_table *t, const bm_posting *overlay)
    bm_edge bm_prog_all(bm_prog *p, bm_edge *edges, uint32_t n)
    bm_edge bm_prog_any(bm_prog *p, bm_edge *edges, uint32_t n)
    bm_edge bm_prog_at_least(bm_prog *p, int64_t k, bm_edge *edges, uint32_t n)
    uint32_t bm_prog_size(const bm_prog *p)
    uint32_t bm_prog_depth(const bm_prog *p, bm_edge e)
    bint bm_prog_finish(bm_prog *p, bm_edge root, const bm_posting *universe)

    void bm_stop_cancel(bm_stop *stop)
    int bm_stop_look(const bm_stop *stop)
    int bm_count(const bm_prog *p, uint32_t first, uint32_t last, const bm_stop *stop, uint64_t *count)
    int bm_materialise(const bm_prog *p, uint32_t first, uint32_t last, const bm_stop *stop, bm_output *out)
    size_t bm_output_size(const bm_output *out)
    void bm_output_write(const bm_output *out, uint8_t *to)
    void bm_output_free(bm_output *out)
    const char *bm_simd_choose(const char *wanted)


CHUNK_ROWS = BM_CHUNK_ROWS
LAST_KEY = 65535


class CorruptPosting(Exception):
    """Bytes that are not a readable portable Roaring bitmap. `part` is the index among the parts, "added" or "removed"."""

    def __init__(self, part, reason):
        super().__init__(f"posting part {part}: {reason}")
        self.part = part
        self.reason = reason


class CorruptColumn(Exception):
    """Bytes that are not a readable column chunk. `chunk` is its number, or None for a chunk on its own."""

    def __init__(self, chunk, reason):
        super().__init__(f"column chunk {chunk}: {reason}" if chunk is not None else f"column chunk: {reason}")
        self.chunk = chunk
        self.reason = reason


class Stopped(Exception):
    """An evaluation ended by its Stop; `reason` is "cancelled" or "deadline"."""

    def __init__(self, reason):
        super().__init__(f"the evaluation was stopped: {reason}")
        self.reason = reason


cdef str _level = bm_simd_choose(os.environ.get("SEGIDX_SIMD", "").encode()).decode()


def simd_level():
    """The instruction set in use: "scalar", "avx2" or "avx512". SEGIDX_SIMD at import asks for a lower one."""
    return _level


cdef class _Buffers:
    """Buffers borrowed from Python objects until this object goes."""

    cdef Py_buffer *views
    cdef Py_ssize_t n

    def __cinit__(self, Py_ssize_t capacity):
        self.views = <Py_buffer *>PyMem_Malloc(max(capacity, 1) * sizeof(Py_buffer))
        if self.views == NULL:
            raise MemoryError
        self.n = 0

    cdef Py_buffer *take(self, obj) except NULL:
        PyObject_GetBuffer(obj, &self.views[self.n], PyBUF_SIMPLE)
        self.n += 1
        return &self.views[self.n - 1]

    def __dealloc__(self):
        cdef Py_ssize_t i
        if self.views != NULL:
            for i in range(self.n):
                PyBuffer_Release(&self.views[i])
            PyMem_Free(self.views)


cdef int _open_dir(bm_dir *dir, object names, list objects, _Buffers held, Py_ssize_t skip) except -1:
    """Open `objects` one behind another into one directory; `names[i]` is what an error calls each."""
    cdef Py_ssize_t i, first = held.n
    cdef const char *reason = NULL
    cdef uint64_t total = 0
    cdef Py_buffer *view
    for i in range(len(objects)):
        view = held.take(objects[i])
        if view.len < skip:
            raise CorruptPosting(names[i], "shorter than the value header")
        total += bm_dir_count(<const uint8_t *>view.buf + skip, view.len - skip, &reason)
        if reason != NULL:
            raise CorruptPosting(names[i], reason.decode())
    if total > 65536:
        raise CorruptPosting(names[0], "the parts hold more than 65536 containers")
    dir.at = <bm_container *>calloc(total + 1, sizeof(bm_container))
    if dir.at == NULL:
        raise MemoryError
    for i in range(len(objects)):
        view = &held.views[first + i]
        if not bm_dir_append(dir, <const uint8_t *>view.buf + skip, view.len - skip, &reason):
            raise CorruptPosting(names[i], reason.decode())
    return 0


cdef class Posting:
    """The operand (B, A, R), read in place: the set (B minus R) plus A of u32 ordinals.

    `parts` hold B: portable Roaring buffers whose container keys ascend from part to part, each behind `skip` bytes of
    value header. `added` (A) and `removed` (R) are one portable Roaring buffer each, without such a header, or None.
    `cardinality` relies on R lying inside B and A beside it; evaluation takes any A and R (see `overlaid`).

    Opening checks headers, offsets and extents (CorruptPosting says which part and why) and copies nothing. The buffers
    are BORROWED: a reference to each is kept, which keeps bytes objects alive, but a memoryview into an LMDB page is
    valid only while its read transaction is. Drop the posting, and every Program that uses it, before ending that.
    """

    cdef bm_posting c
    cdef _Buffers held
    cdef Posting under  # whose base this one shares

    def __cinit__(self, parts, added=None, removed=None, Py_ssize_t skip=0):
        cdef list pieces = list(parts)
        if skip < 0:
            raise ValueError("skip is a number of bytes, not below 0")
        self.held = _Buffers(len(pieces) + 2)
        _open_dir(&self.c.base, range(len(pieces)), pieces, self.held, skip)
        if added is not None:
            _open_dir(&self.c.added, ("added",), [added], self.held, 0)
        if removed is not None:
            _open_dir(&self.c.removed, ("removed",), [removed], self.held, 0)
        self.c.card = <int64_t>(bm_dir_card(&self.c.base) + bm_dir_card(&self.c.added))
        self.c.card -= <int64_t>bm_dir_card(&self.c.removed)

    def __dealloc__(self):
        if self.under is None:
            free(self.c.base.at)
        free(self.c.added.at)
        free(self.c.removed.at)

    def overlaid(self, added=None, removed=None):
        """This posting's base under other A and R, sharing what was opened; the new posting keeps this one alive.

        A and R may overlap B anyhow, as they do while a merge is half done: then `cardinality` is only an upper bound
        of some sense, and the exact one is the caller's to know.
        """
        cdef Posting over = Posting((), added, removed)
        free(over.c.base.at)
        over.under = self
        over.c.base = self.c.base
        over.c.card += <int64_t>bm_dir_card(&self.c.base)
        return over

    @property
    def cardinality(self):
        """|B| + |A| - |R|, from the headers."""
        return max(self.c.card, 0)

    def __len__(self):
        return max(self.c.card, 0)

    @property
    def min_key(self):
        """The least container key (ordinal >> 16) of B and A, or None when both are empty."""
        cdef uint32_t key = 65536
        if self.c.base.n:
            key = self.c.base.at[0].key
        if self.c.added.n and self.c.added.at[0].key < key:
            key = self.c.added.at[0].key
        return None if key == 65536 else key

    @property
    def max_key(self):
        """The greatest container key (ordinal >> 16) of B and A, or None when both are empty."""
        cdef int64_t key = -1
        if self.c.base.n:
            key = self.c.base.at[self.c.base.n - 1].key
        if self.c.added.n and self.c.added.at[self.c.added.n - 1].key > key:
            key = self.c.added.at[self.c.added.n - 1].key
        return None if key < 0 else key

    def contains(self, uint32_t ordinal):
        """Whether the ordinal is in the set."""
        return bool(bm_posting_has(&self.c, ordinal))

    def __contains__(self, uint32_t ordinal):
        return bool(bm_posting_has(&self.c, ordinal))

    def contains_many(self, ordinals):
        """Which of `ordinals` (u32[n], any order) are in the set: bool[n]."""
        cdef const uint32_t[::1] wanted = np.ascontiguousarray(ordinals, dtype=np.uint32)
        found = np.empty(wanted.shape[0], dtype=np.bool_)
        cdef uint8_t[::1] out = found.view(np.uint8)
        cdef Py_ssize_t i
        with nogil:
            for i in range(wanted.shape[0]):
                out[i] = bm_posting_has(&self.c, wanted[i])
        return found


def postings_hold(list postings not None, const int64_t[::1] ends, const uint32_t[::1] ordinals):
    """Which ordinals their postings hold: u8[n]. Posting i is asked about ordinals[ends[i - 1]:ends[i]]."""
    cdef Py_ssize_t n = ordinals.shape[0], i, at = 0, end
    cdef const bm_posting *posting
    found = np.empty(n, dtype=np.uint8)
    cdef uint8_t[::1] out = found
    if ends.shape[0] != len(postings) or (len(postings) and ends[ends.shape[0] - 1] != n):
        raise ValueError("every posting needs an end, and the last is that of the ordinals")
    for i in range(len(postings)):
        posting = &(<Posting?>postings[i]).c
        end = ends[i]
        if end < at or end > n:
            raise ValueError("the ends do not ascend")
        while at < end:
            out[at] = bm_posting_has(posting, ordinals[at])
            at += 1
    return found


def validate(buffer):
    """Validate a portable Roaring buffer in full: None when it is sound and canonical, else what is wrong with it."""
    cdef _Buffers held = _Buffers(1)
    cdef Py_buffer *view = held.take(buffer)
    cdef const char *reason
    with nogil:
        reason = bm_validate(<const uint8_t *>view.buf, view.len)
    return None if reason == NULL else reason.decode()


include "deltas.pxi"
include "banded.pxi"


# --- columns ---------------------------------------------------------------------------------------------------


cdef tuple _values_and_present(values, present):
    v = np.ascontiguousarray(values, dtype=np.int64)
    p = np.ascontiguousarray(present, dtype=np.uint8)
    if v.ndim != 1 or p.ndim != 1 or v.shape[0] != p.shape[0]:
        raise ValueError("values and present are one-dimensional and of one length")
    if v.shape[0] > BM_CHUNK_ROWS:
        raise ValueError(f"a chunk holds {BM_CHUNK_ROWS} rows, not {v.shape[0]}")
    return v, p


def encode_chunk(values, present, *, bint sparse=True):
    """Encode one column chunk.

    values: int64[n], n <= 16384, ignored where present is 0; present: uint8[n] or bool[n]. Rows behind the last present
    one are not stored, and of a few among many no others either, if the chunk may be sparse: those of blocks of events may
    not. A present value outside -2^62 < value < 2^62 is a ValueError.
    """
    v, p = _values_and_present(values, present)
    cdef const int64_t[::1] vs = v
    cdef const uint8_t[::1] ps = p
    cdef uint32_t n = v.shape[0]
    cdef int64_t no_value = 0
    cdef uint8_t no_flag = 0
    cdef const int64_t *vp = &vs[0] if n else &no_value
    cdef const uint8_t *pp = &ps[0] if n else &no_flag
    cdef bm_chunk chunk
    cdef const char *reason = bm_chunk_plan(&chunk, vp, pp, n)
    if reason != NULL:
        raise ValueError(reason.decode())
    if sparse:
        bm_chunk_thin(&chunk)
    cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>bm_chunk_size(&chunk))
    cdef uint8_t *to = <uint8_t *>PyBytes_AS_STRING(out)
    bm_chunk_write(&chunk, vp, pp, to)
    cdef uint32_t checksum = _checksum(out)
    memcpy(to + 8, &checksum, 4)
    return out


cdef uint32_t _checksum(buffer) except? 0:
    view = memoryview(buffer).cast("B")
    return crc32(view[12:], crc32(view[:8]))


cdef object _open_chunk(bm_chunk *chunk, object number, Py_buffer *view):
    cdef const char *reason = bm_chunk_open(chunk, <const uint8_t *>view.buf, view.len)
    if reason != NULL:
        raise CorruptColumn(number, reason.decode())


def decode_chunk(buffer):
    """Decode a chunk: (values int64[16384], present uint8[16384]); values are 0 where there is none."""
    cdef _Buffers held = _Buffers(1)
    cdef bm_chunk chunk
    _open_chunk(&chunk, None, held.take(buffer))
    values = np.empty(BM_CHUNK_ROWS, dtype=np.int64)
    present = np.empty(BM_CHUNK_ROWS, dtype=np.uint8)
    cdef int64_t[::1] vs = values
    cdef uint8_t[::1] ps = present
    with nogil:
        bm_chunk_read(&chunk, &vs[0], &ps[0])
    return values, present


def chunk_header(buffer):
    """The header of a chunk: (width, rows, present, min, max). min and max are None when no row has a value."""
    cdef _Buffers held = _Buffers(1)
    cdef bm_chunk chunk
    _open_chunk(&chunk, None, held.take(buffer))
    if not chunk.present:
        return chunk.width, chunk.rows, 0, None, None
    return chunk.width, chunk.rows, chunk.present, chunk.base, chunk.max


def verify_chunk(buffer):
    """Check a chunk in full, checksum and every code: None when it is sound, else what is wrong with it."""
    cdef _Buffers held = _Buffers(1)
    cdef bm_chunk chunk
    cdef Py_buffer *view = held.take(buffer)
    cdef const char *reason = bm_chunk_open(&chunk, <const uint8_t *>view.buf, view.len)
    if reason == NULL and _checksum(buffer) != chunk.checksum:
        return "the checksum does not match"
    if reason == NULL:
        reason = bm_chunk_check(&chunk)
    return None if reason == NULL else reason.decode()


cdef class Column:
    """One typed value a contact, read in place: `chunks[i]` covers ordinals i * 16384 up to (i + 1) * 16384.

    A chunk is what encode_chunk made, behind `skip` bytes of value header, or None where no contact has a value.
    Opening checks each header and length (CorruptColumn says which chunk and why), not the checksum. The buffers are
    BORROWED exactly as those of a Posting: memory in LMDB pages must be dropped before its read transaction ends.
    """

    cdef bm_column c
    cdef _Buffers held
    cdef Column under  # whose chunks this one shares
    cdef const bm_layer **layers
    cdef tuple kept  # that own the layers

    def __cinit__(self, chunks, Py_ssize_t skip=0):
        cdef list pieces = list(chunks)
        cdef Py_ssize_t i
        cdef Py_buffer *view
        cdef const char *reason
        if skip < 0:
            raise ValueError("skip is a number of bytes, not below 0")
        if len(pieces) > 4 * 65536:
            raise ValueError("a column has 262144 chunks at most")
        self.held = _Buffers(len(pieces))
        self.c.at = <bm_chunk *>calloc(len(pieces) + 1, sizeof(bm_chunk))
        if self.c.at == NULL:
            raise MemoryError
        self.c.n = len(pieces)
        for i in range(len(pieces)):
            if pieces[i] is None:
                continue
            view = self.held.take(pieces[i])
            if view.len < skip:
                raise CorruptColumn(i, "shorter than the value header")
            reason = bm_chunk_open(&self.c.at[i], <const uint8_t *>view.buf + skip, view.len - skip)
            if reason != NULL:
                raise CorruptColumn(i, reason.decode())

    def __dealloc__(self):
        if self.under is None:
            free(self.c.at)
        free(self.layers)

    def overlaid(self, uint32_t field, tuple deltas):
        """This column's chunks under the values that `deltas` (oldest first) hold of the field; itself where they hold
        none. Shares what was opened and keeps this column and the deltas alive."""
        cdef list layers = [layer for d in deltas if (layer := (<Delta?>d).layer(field)) is not None]
        if not layers:
            return self
        cdef Column over = Column(())
        free(over.c.at)
        over.under = self
        over.c = self.c
        over.kept = tuple(layers)
        over.layers = <const bm_layer **>calloc(len(layers), sizeof(void *))
        if over.layers == NULL:
            raise MemoryError
        for i, layer in enumerate(layers):
            over.layers[i] = &(<_Layer>layer).c
        over.c.layers = over.layers
        over.c.nlayers = len(layers)
        return over

    def __len__(self):
        return self.c.n

    @property
    def layered(self):
        """Whether deltas lie above the chunks, so that `bounds` and estimates are no longer tight."""
        return self.c.nlayers > 0

    def zone(self, uint32_t chunk):
        """(min, max, present) of a stored chunk's values, whatever lies above it; None when it has none."""
        if chunk >= self.c.n or not self.c.at[chunk].present:
            return None
        return self.c.at[chunk].base, self.c.at[chunk].max, self.c.at[chunk].present

    def take(self, ordinals):
        """The values of `ordinals` (u32[n], any order): (int64[n], uint8[n] present). 0 where there is none."""
        cdef const uint32_t[::1] wanted = np.ascontiguousarray(ordinals, dtype=np.uint32)
        cdef Py_ssize_t n = wanted.shape[0]
        values = np.empty(n, dtype=np.int64)
        present = np.empty(n, dtype=np.uint8)
        cdef int64_t[::1] vs = values
        cdef uint8_t[::1] ps = present
        if n:
            with nogil:
                bm_column_take(&self.c, &wanted[0], n, &vs[0], &ps[0])
        return values, present

    def bounds(self):
        """(min, max, present) over all chunks, from their headers; (None, None, 0) when there is no value.

        Under deltas: bounds that contain every value, and at most how many there are.
        """
        cdef int64_t low, high
        cdef uint64_t present
        bm_column_bounds(&self.c, &low, &high, &present)
        return (low, high, present) if present else (None, None, 0)

    def estimate_range(self, lo, hi):
        """(least, expected, most) contacts with lo <= value <= hi, from chunk headers alone.

        least counts chunks that lie inside, most those that overlap, expected interpolates within the overlapping ones
        as if values were spread evenly. Rows that deltas touch widen both ends.
        """
        cdef uint64_t least, most
        cdef double expected
        cdef int64_t low = _clamp(lo), high = _clamp(hi)
        if lo > hi:
            return 0, 0.0, 0
        with nogil:
            bm_column_estimate(&self.c, low, high, &least, &expected, &most)
        return least, expected, most


cdef int64_t _clamp(value) except? -1:
    """Any integer bound as an int64 with the same meaning: values stay below 2^62 in magnitude."""
    return INT64_MIN if value < INT64_MIN else INT64_MAX if value > INT64_MAX else <int64_t>value


# --- programs --------------------------------------------------------------------------------------------------


cdef class Stop:
    """Ends evaluations early: at `deadline_monotonic_ns` (of time.monotonic_ns; 0 for none) or when cancelled.

    Looked at between containers, and every 64 leaf evaluations within one. One Stop may serve many calls and threads.
    """

    cdef bm_stop c

    def __cinit__(self, int64_t deadline_monotonic_ns=0):
        self.c.cancelled = 0
        self.c.deadline_ns = deadline_monotonic_ns

    def cancel(self):
        """Stop every evaluation that was given this, soon. Callable from any thread."""
        bm_stop_cancel(&self.c)

    def check(self):
        """Raise Stopped if the deadline has passed or it was cancelled; for work outside the kernels."""
        _raise_unless_ok(bm_stop_look(&self.c))

    @property
    def stopped(self):
        """Whether an evaluation started now would stop at once."""
        return bm_stop_look(&self.c) != BM_OK


cdef class _Table:
    cdef bm_table c

    def __cinit__(self, base, bits, bint negate):
        cdef _Buffers held = _Buffers(1)
        cdef Py_buffer *view = held.take(bits)
        if view.len > 1 << 28:
            raise ValueError("a table holds 2^31 values at most")
        if not -(1 << 62) <= base <= 1 << 62:
            raise ValueError("the base of a table lies within -2^62 and 2^62")
        self.c.base = base
        self.c.negate = negate
        self.c.nbits = 8 * <uint64_t>view.len
        self.c.words = <uint64_t *>calloc((view.len + 7) // 8 + 1, 8)
        if self.c.words == NULL:
            raise MemoryError
        memcpy(self.c.words, view.buf, view.len)

    def __dealloc__(self):
        free(self.c.words)


cdef class Program:
    """An expression over postings and columns, evaluated container by container without a result bitmap.

    Build leaves and inner nodes; each method returns a node, an int that later calls may use any number of times. Then
    `finish` with the root and the universe; from there on `count`, `any` and `materialise` may be called, from many
    threads at once and over different ranges of container keys. The result is always root AND universe, and negation
    is within the universe.

    The program keeps the Posting and Column objects alive, not the pages they borrow: see Posting.
    """

    cdef bm_prog *p
    cdef list kept
    cdef bint finished
    cdef Posting universe

    def __cinit__(self):
        self.p = bm_prog_new()
        if self.p == NULL:
            raise MemoryError
        self.kept = []

    def __dealloc__(self):
        bm_prog_free(self.p)

    cdef object _node(self, bm_edge e):
        if e == BM_NO_EDGE:
            raise MemoryError("the program has too many nodes, or memory ran out")
        if bm_prog_depth(self.p, e) > BM_MAX_DEPTH:
            raise ValueError(f"the expression is deeper than {BM_MAX_DEPTH} levels")
        return e

    cdef int _building(self) except -1:
        if self.finished:
            raise RuntimeError("the program is finished: nothing can be added to it")
        return 0

    cdef bm_edge _edge(self, node) except? 0xffffffff:
        if not 0 <= node < 2 * bm_prog_size(self.p):
            raise ValueError(f"{node} is not a node of this program")
        return node

    cdef bm_edge *_edges(self, list nodes) except NULL:
        cdef bm_edge *edges = <bm_edge *>PyMem_Malloc((len(nodes) + 1) * sizeof(bm_edge))
        cdef Py_ssize_t i
        if edges == NULL:
            raise MemoryError
        try:
            for i in range(len(nodes)):
                edges[i] = self._edge(nodes[i])
        except BaseException:
            PyMem_Free(edges)
            raise
        return edges

    cdef bm_posting *_overlay(self, added, removed) except? NULL:
        if added is None and removed is None:
            return NULL
        cdef Posting overlay = Posting((), added, removed)
        self.kept.append(overlay)
        return &overlay.c

    def posting(self, Posting posting not None):
        """The contacts of a posting."""
        self._building()
        self.kept.append(posting)
        return self._node(bm_prog_posting(self.p, &posting.c))

    def range(self, Column column not None, lo, hi, added=None, removed=None):
        """The contacts whose value lies in lo..hi, both inclusive; a missing value never does.

        `added` and `removed` are portable Roaring buffers that overlay the scan: (scan minus removed) plus added.
        """
        self._building()
        cdef bm_posting *overlay = self._overlay(added, removed)
        cdef int64_t low = _clamp(lo), high = _clamp(hi)
        if lo > hi:
            low, high = 1, 0
        self.kept.append(column)
        return self._node(bm_prog_range(self.p, &column.c, low, high, overlay))

    def table(self, Column column not None, base, bits, bint negate=False, added=None, removed=None):
        """The contacts whose value v has bit v - base set in `bits` (least significant bit of byte 0 first).

        Values before and behind the table are not in it. `negate` takes the present values that are not in the table
        instead; a missing value matches neither way. `bits` is copied. Overlays as in `range`.
        """
        self._building()
        cdef bm_posting *overlay = self._overlay(added, removed)
        cdef _Table table = _Table(base, bits, negate)
        self.kept.append(column)
        self.kept.append(table)
        return self._node(bm_prog_table(self.p, &column.c, &table.c, overlay))

    def all_of(self, nodes):
        """The intersection; of no nodes, everything."""
        self._building()
        cdef list items = list(nodes)
        cdef bm_edge *edges = self._edges(items)
        cdef bm_edge e = bm_prog_all(self.p, edges, len(items))
        PyMem_Free(edges)
        return self._node(e)

    def any_of(self, nodes):
        """The union; of no nodes, nothing."""
        self._building()
        cdef list items = list(nodes)
        cdef bm_edge *edges = self._edges(items)
        cdef bm_edge e = bm_prog_any(self.p, edges, len(items))
        PyMem_Free(edges)
        return self._node(e)

    def at_least(self, k, nodes):
        """The contacts in at least k of the nodes; a node listed twice counts twice. k <= 0 is everything."""
        self._building()
        cdef list items = list(nodes)
        cdef bm_edge *edges = self._edges(items)
        cdef bm_edge e = bm_prog_at_least(self.p, min(max(k, 0), len(items) + 1), edges, len(items))
        PyMem_Free(edges)
        return self._node(e)

    def negate(self, node):
        """The complement."""
        self._building()
        return self._edge(node) ^ 1

    def constant(self, bint value):
        """Everything, or nothing."""
        self._building()
        return BM_TRUE if value else BM_FALSE

    def finish(self, root, Posting universe not None):
        """Fix the program to root AND universe and make it ready to evaluate. Returns the program."""
        self._building()
        cdef bm_edge e = self._edge(root)
        self.kept.append(universe)
        if not bm_prog_finish(self.p, e, &universe.c):
            raise MemoryError
        self.universe = universe
        self.finished = True
        return self

    def keys(self):
        """(first, last) container key of the universe, to split an evaluation by; None when it is empty."""
        self._ready()
        first = self.universe.min_key
        return None if first is None else (first, self.universe.max_key)

    cdef int _ready(self) except -1:
        if not self.finished:
            raise RuntimeError("the program is not finished: call finish(root, universe) first")
        return 0

    cdef int _range(self, first, last) except -1:
        if not (0 <= first <= 65535 and 0 <= last <= 65535):
            raise ValueError("container keys are 0 to 65535")
        return self._ready()

    def count(self, first_key=0, last_key=LAST_KEY, Stop stop=None):
        """How many contacts match, over container keys first_key..last_key. Raises Stopped."""
        self._range(first_key, last_key)
        cdef uint32_t first = first_key, last = last_key
        cdef uint64_t count = 0
        cdef const bm_stop *s = &stop.c if stop is not None else NULL
        cdef int status
        with nogil:
            status = bm_count(self.p, first, last, s, &count)
        _raise_unless_ok(status)
        return count

    def any(self, first_key=0, last_key=LAST_KEY, Stop stop=None):
        """Whether any contact matches, over container keys first_key..last_key. Raises Stopped."""
        self._range(first_key, last_key)
        cdef uint32_t first = first_key, last = last_key
        cdef bint found = False
        cdef const bm_stop *s = &stop.c if stop is not None else NULL
        cdef int status
        with nogil:
            status = _any(self.p, first, last, s, &found)
        _raise_unless_ok(status)
        return bool(found)

    def materialise(self, first_key=0, last_key=LAST_KEY, Stop stop=None):
        """The contacts that match, as a portable Roaring bitmap of arrays and bitsets. Raises Stopped."""
        self._range(first_key, last_key)
        cdef uint32_t first = first_key, last = last_key
        cdef const bm_stop *s = &stop.c if stop is not None else NULL
        cdef bm_output out
        cdef int status
        cdef bytes result
        with nogil:
            status = bm_materialise(self.p, first, last, s, &out)
        try:
            _raise_unless_ok(status)
            result = PyBytes_FromStringAndSize(NULL, bm_output_size(&out))
            bm_output_write(&out, <uint8_t *>PyBytes_AS_STRING(result))
        finally:
            bm_output_free(&out)
        return result


cdef extern from *:
    """
    #include "bm.h"
    static int segidx_any(const bm_prog *p, uint32_t first, uint32_t last, const bm_stop *stop, int *found) {
        bool any = false;
        int status = bm_any(p, first, last, stop, &any);
        *found = any;
        return status;
    }
    """
    int _any "segidx_any" (const bm_prog *p, uint32_t first, uint32_t last, const bm_stop *stop, bint *found) nogil


cdef int _raise_unless_ok(int status) except -1:
    if status == BM_CANCELLED:
        raise Stopped("cancelled")
    if status == BM_DEADLINE:
        raise Stopped("deadline")
    if status == BM_NO_MEMORY:
        raise MemoryError
    return 0
