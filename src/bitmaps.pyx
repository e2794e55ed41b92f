"""Python face of the native evaluator (bm.h): postings and columns over borrowed buffers, programs over them; a room each
in postings.pxi, columns.pxi and programs.pxi.

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


include "postings.pxi"
include "deltas.pxi"
include "banded.pxi"
include "columns.pxi"
include "programs.pxi"
