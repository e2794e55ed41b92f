"""Native core of the string table: hashing, packing, probing and comparing strings in bulk.

Glue over src/st_*.c, where the formats and algorithms are described; places, reading and writing have rooms in
string_*.pxi, and `segidx/kernels/strings.py` is the typed face to import. Computes only: no I/O, and no import of segidx.
Every function that takes stored values takes a list of buffers (None where nothing is stored), reads them in place
during the call and keeps none of them; everything returned is a copy. The GIL is released around all work that grows
with the input.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

import numpy as np


cdef extern from "st_common.h" nogil:
    uint32_t ST_MAX_STRING
    int ST_OK
    int ST_NO_MEMORY
    const char *st_status_text(int status)
    void st_crc_init()
    uint32_t st_crc32(uint32_t crc, const uint8_t *p, size_t n)
    int st_utf8_valid(const uint8_t *p, size_t n)

cdef extern from "st_hash.h" nogil:
    ctypedef struct st_batch:
        const uint8_t *data
        const int64_t *offsets
        const uint8_t *valid
        size_t n
    uint64_t st_siphash(const uint8_t *key, const uint8_t *p, size_t n, int c, int d)
    uint64_t st_siphash13(const uint8_t *key, const uint8_t *p, size_t n)
    void st_hash_batch(const st_batch *b, const uint8_t *key, uint64_t mask, uint64_t *out)
    int64_t st_assign_codes(const st_batch *b, const uint64_t *hashes, int64_t *codes, int64_t next, uint32_t *fresh)

cdef extern from "st_sort.h" nogil:
    void st_sort(uint64_t *keys, uint64_t *spare, size_t n, unsigned shift, unsigned bits)
    size_t st_groups(const uint64_t *keys, size_t n, unsigned shift, uint32_t *ids, int64_t *starts)
    void st_sort_entries(uint64_t *entries, size_t n)

cdef extern from "st_block.h" nogil:
    uint32_t ST_BLOCK
    uint32_t ST_BLOCK_BITS
    ctypedef struct st_block:
        uint32_t blanked
        uint32_t count
    ctypedef struct st_value:
        const uint8_t *p
        size_t n
    ctypedef struct st_grouped:
        const st_value *values
        const uint32_t *ids
        const int64_t *starts
        const uint64_t *keys
        size_t groups
    int st_block_open(st_block *block, st_value value, uint32_t expected)
    int st_block_at(const st_block *block, uint32_t i, const uint8_t **p, uint32_t *len)
    int st_block_check(st_value value, uint32_t expected)
    uint32_t st_block_expected(uint32_t id, uint64_t count)
    size_t st_block_pack(const st_block *old, const st_batch *batch, const uint32_t *fresh, size_t m, uint8_t *out,
                         int64_t *ends)
    size_t st_block_blank(const st_block *block, uint32_t slots, uint8_t *out)
    int st_block_match(const st_grouped *x, uint64_t count, const st_batch *batch, int64_t *codes, size_t *bad)
    int st_block_lengths(const st_grouped *x, uint64_t count, int64_t *lengths, size_t *bad)
    int st_block_copy(const st_grouped *x, uint64_t count, const int32_t *at, uint8_t *out, size_t *bad)
    int st_block_entries(const st_grouped *x, uint64_t count, const uint8_t *hash_key, uint64_t hash_mask,
                         uint64_t *entries, size_t *bad)
    int st_block_slice(const st_value *values, uint64_t first, uint64_t last, uint64_t count, int32_t *offsets,
                       uint8_t *out, int64_t *total, size_t *bad)

cdef extern from "st_bucket.h" nogil:
    uint32_t ST_BUCKET_HEADER
    ctypedef struct st_bucket:
        uint32_t count
    unsigned st_bits_below(uint32_t n)
    uint32_t st_place(uint32_t fingerprint, uint32_t n)
    uint32_t st_reverse(uint32_t v)
    int st_bucket_open(st_bucket *bucket, st_value value, uint32_t place)
    int st_bucket_check(st_value value, uint32_t place, uint32_t n, uint64_t count)
    uint64_t st_bucket_entry(const st_bucket *bucket, uint32_t i)
    uint32_t st_bucket_lower_bound(const st_bucket *bucket, uint64_t want)
    int st_bucket_probe(const st_grouped *x, uint64_t count, const uint64_t *hashes, uint64_t **out, size_t *out_n,
                        size_t *bad)
    int st_bucket_gather(const st_value *values, const uint32_t *ids, size_t groups, uint32_t buckets, uint64_t count,
                         uint64_t *out, size_t *n, size_t *bad)
    int st_bucket_build(const uint64_t *entries, size_t n, const uint32_t *ids, size_t k, uint32_t buckets,
                        uint8_t *out, int64_t *ends)
    int st_bucket_remove(st_value value, uint32_t place, const uint64_t *gone, size_t n, uint8_t *out, size_t *size)

cdef extern from "st_seen.h" nogil:
    ctypedef struct st_seen:
        pass
    int st_seen_add(st_seen *set, const uint64_t *high, const uint64_t *low, size_t n, uint8_t *met)
    void st_seen_free(st_seen *set)


BLOCK = ST_BLOCK
MAX_STRING = ST_MAX_STRING
BUCKET_HEADER = ST_BUCKET_HEADER

st_crc_init()


class CorruptStrings(Exception):
    """Stored bytes of a string table that no string table wrote. The message names the block or bucket."""


CorruptStrings.__module__ = "segidx.kernels.strings"


# --- borrowing ---------------------------------------------------------------------------------------------


cdef class _Values:
    """A list of buffers, opened: pointers and lengths for C. Releases them when it goes."""

    cdef Py_buffer *views
    cdef st_value *values
    cdef Py_ssize_t n

    def __cinit__(self, list buffers):
        cdef Py_ssize_t i
        self.n = 0
        self.views = <Py_buffer *>calloc(len(buffers) + 1, sizeof(Py_buffer))
        self.values = <st_value *>calloc(len(buffers) + 1, sizeof(st_value))
        if self.views == NULL or self.values == NULL:
            raise MemoryError()
        for i in range(len(buffers)):
            if buffers[i] is not None:
                PyObject_GetBuffer(buffers[i], &self.views[i], PyBUF_SIMPLE)
                # An empty value is there, but too short for any header: give it an address that is not NULL.
                self.values[i].p = <const uint8_t *>self.views[i].buf if self.views[i].len else <const uint8_t *>self.views
                self.values[i].n = <size_t>self.views[i].len
            self.n = i + 1

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.n):
            PyBuffer_Release(&self.views[i])  # does nothing for those never filled in
        free(self.views)
        free(self.values)


cdef uint8_t NOTHING = 0  # an address for the bytes of a batch that has none: memcmp and memcpy refuse NULL


cdef st_batch _batch(const uint8_t[::1] data, const int64_t[::1] offsets, const uint8_t[::1] valid):
    cdef st_batch batch
    batch.n = <size_t>(offsets.shape[0] - 1)
    batch.offsets = &offsets[0]
    batch.data = &data[0] if data.shape[0] else &NOTHING
    batch.valid = NULL
    if valid is not None and valid.shape[0]:
        batch.valid = &valid[0]
    return batch


cdef st_grouped _grouped(_Values values, const uint32_t[::1] ids, const int64_t[::1] starts, const uint64_t[::1] keys):
    if not (values.n == ids.shape[0] == starts.shape[0] - 1) or starts[starts.shape[0] - 1] > keys.shape[0]:
        raise ValueError("values, ids and starts are not of one length")
    cdef st_grouped grouped
    grouped.values = values.values
    grouped.groups = <size_t>values.n
    grouped.ids = &ids[0] if ids.shape[0] else NULL
    grouped.starts = &starts[0]
    grouped.keys = &keys[0] if keys.shape[0] else NULL
    return grouped


cdef _raise(int status, str kind, number):
    if status == ST_NO_MEMORY:
        raise MemoryError()
    raise CorruptStrings(f"{kind} {number}: {st_status_text(status).decode()}")


cdef const uint8_t *_hash_key(const uint8_t[::1] key) except NULL:
    if key.shape[0] != 16:
        raise ValueError(f"a hash key has 16 bytes, not {key.shape[0]}")
    return &key[0]


# --- hashing and batches -----------------------------------------------------------------------------------


def crc32(const uint8_t[::1] data):
    return st_crc32(0, &data[0] if data.shape[0] else NULL, data.shape[0])


def utf8_valid(const uint8_t[::1] data):
    return bool(st_utf8_valid(&data[0] if data.shape[0] else NULL, data.shape[0]))


def siphash(const uint8_t[::1] data, const uint8_t[::1] key, int c=1, int d=3):
    return st_siphash(_hash_key(key), &data[0] if data.shape[0] else &NOTHING, data.shape[0], c, d)


def check_offsets(const int64_t[::1] offsets, int64_t size):
    """The index of the first string whose offsets decrease or leave [0, size], or -1."""
    cdef Py_ssize_t i, bad = -1, n = offsets.shape[0] - 1
    if n < 0:
        raise ValueError("offsets are empty")
    if offsets[0] < 0 or offsets[0] > size:
        return 0
    with nogil:
        for i in range(n):
            if offsets[i + 1] < offsets[i] or offsets[i + 1] > size:
                bad = i
                break
    return bad


def hash_batch(const uint8_t[::1] data, const int64_t[::1] offsets, const uint8_t[::1] valid, const uint8_t[::1] key,
               uint64_t mask):
    cdef st_batch batch = _batch(data, offsets, valid)
    cdef const uint8_t *k = _hash_key(key)
    out = np.empty(batch.n, np.uint64)
    cdef uint64_t[::1] view = out
    cdef uint64_t *to = &view[0] if batch.n else NULL
    with nogil:
        st_hash_batch(&batch, k, mask, to)
    return out


def assign_codes(const uint8_t[::1] data, const int64_t[::1] offsets, const uint8_t[::1] valid,
                 const uint64_t[::1] hashes, int64_t[::1] codes, int64_t next_code):
    cdef st_batch batch = _batch(data, offsets, valid)
    if not (hashes.shape[0] == codes.shape[0] == offsets.shape[0] - 1):
        raise ValueError("hashes and codes are not of the batch's length")
    if batch.n == 0:
        return np.empty(0, np.uint32)
    fresh = np.empty(batch.n, np.uint32)
    cdef uint32_t[::1] view = fresh
    cdef int64_t n
    with nogil:
        n = st_assign_codes(&batch, &hashes[0], &codes[0], next_code, &view[0])
    if n < 0:
        raise MemoryError()
    return fresh[:n].copy()


def first_invalid(const uint8_t[::1] data, const int64_t[::1] offsets, const uint32_t[::1] chosen):
    """(index, problem) of the first chosen string that is too long ("long") or not UTF-8 ("utf8"), or None."""
    cdef Py_ssize_t i, bad = -1
    cdef int64_t n
    cdef bint too_long = False
    with nogil:
        for i in range(chosen.shape[0]):
            n = offsets[chosen[i] + 1] - offsets[chosen[i]]
            too_long = n > ST_MAX_STRING
            if too_long or (n and not st_utf8_valid(&data[offsets[chosen[i]]], <size_t>n)):
                bad = i
                break
    if bad < 0:
        return None
    return int(chosen[bad]), "long" if too_long else "utf8"


cdef class Seen:
    """A set of 128-bit hashes that only grows, in some 20 bytes each; not safe for several threads."""

    cdef st_seen *set

    def __cinit__(self):
        self.set = <st_seen *>calloc(1, sizeof(st_seen))
        if self.set == NULL:
            raise MemoryError()

    def __dealloc__(self):
        if self.set != NULL:
            st_seen_free(self.set)
        free(self.set)

    def add(self, const uint64_t[::1] high, const uint64_t[::1] low):
        """Which of the hashes, given in two halves, were in the set or came before in the call, bool[n]; all of them
        are in it from now on."""
        cdef Py_ssize_t n = high.shape[0]
        cdef int status
        if low.shape[0] != n:
            raise ValueError("the halves are not of one length")
        met = np.zeros(n, np.uint8)
        cdef uint8_t[::1] view = met
        if n:
            with nogil:
                status = st_seen_add(self.set, &high[0], &low[0], n, &view[0])
            if status:
                raise MemoryError()
        return met.view(np.bool_)


include "string_places.pxi"
include "string_reading.pxi"
include "string_writing.pxi"
