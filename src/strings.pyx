"""Native core of the string table: hashing, packing, probing and comparing strings in bulk.

Glue over src/st_*.c, where the formats and algorithms are described; `segidx/kernels/strings.py` is the typed
face to import. Computes only: no I/O, and no import of segidx. Every function that takes stored values takes a
list of buffers (None where nothing is stored), reads them in place during the call and keeps none of them;
everything returned is a copy. The GIL is released around all work that grows with the input.
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


# --- places: which bucket or block each query goes to, in order ---------------------------------------------


cdef _sorted_groups(keys, unsigned shift, unsigned bits):
    """Sort keys in place by their highest `bits` bits, and group them by key >> shift."""
    cdef uint64_t[::1] view = keys
    cdef Py_ssize_t n = view.shape[0]
    ids = np.empty(n, np.uint32)
    starts = np.empty(n + 1, np.int64)
    cdef uint32_t[::1] ids_view = ids
    cdef int64_t[::1] starts_view = starts
    cdef uint64_t[::1] spare
    cdef size_t groups
    if n == 0:
        starts[0] = 0
        return keys, ids, starts
    spare = np.empty(n, np.uint64)
    with nogil:
        st_sort(&view[0], &spare[0], n, 64 - bits, bits)
        groups = st_groups(&view[0], n, shift, &ids_view[0], &starts_view[0])
    return keys, ids[:groups].copy(), starts[:groups + 1].copy()


def by_bucket(const uint64_t[::1] hashes, const uint8_t[::1] valid, uint32_t buckets):
    cdef Py_ssize_t i, m = 0, n = hashes.shape[0]
    cdef bint all_valid = valid is None or valid.shape[0] == 0
    if buckets == 0 or n > 0xFFFFFFFF:
        raise ValueError("no buckets, or more than 2**32 - 1 strings at a time")
    keys = np.empty(n, np.uint64)
    cdef uint64_t[::1] view = keys
    with nogil:
        for i in range(n):
            if all_valid or valid[i]:
                view[m] = <uint64_t>st_place(<uint32_t>hashes[i], buckets) << 32 | <uint64_t>i
                m += 1
    return _sorted_groups(keys[:m].copy() if m < n else keys, 32, st_bits_below(buckets))


def by_block(uint64_t[::1] keys):
    return _sorted_groups(np.asarray(keys), 32 + ST_BLOCK_BITS, 32 - ST_BLOCK_BITS)


def code_keys(const uint32_t[::1] codes):
    cdef Py_ssize_t i, n = codes.shape[0]
    if n > 0xFFFFFFFF:
        raise ValueError("more than 2**32 - 1 codes at a time")
    keys = np.empty(n, np.uint64)
    cdef uint64_t[::1] view = keys
    with nogil:
        for i in range(n):
            view[i] = <uint64_t>codes[i] << 32 | <uint64_t>i
    return keys


def places_of(const uint32_t[::1] fingerprints, uint32_t buckets):
    """The places of fingerprints, uint32[n], in a table of `buckets`."""
    cdef Py_ssize_t i, n = fingerprints.shape[0]
    if buckets == 0:
        raise ValueError("no buckets")
    out = np.empty(n, np.uint32)
    cdef uint32_t[::1] view = out
    with nogil:
        for i in range(n):
            view[i] = st_place(fingerprints[i], buckets)
    return out


def place_range(uint32_t first, uint32_t last):
    """The places of the buckets created as number first to last - 1, uint32[last - first], in that order."""
    cdef uint32_t i
    out = np.empty(last - first if last > first else 0, np.uint32)
    cdef uint32_t[::1] view = out
    with nogil:
        for i in range(first, last):
            view[i - first] = st_reverse(i)
    return out


# --- looking up --------------------------------------------------------------------------------------------


def probe(list values, const uint64_t[::1] keys, const uint32_t[::1] ids, const int64_t[::1] starts,
          const uint64_t[::1] hashes, uint64_t count):
    cdef _Values opened = _Values(values)
    cdef st_grouped grouped = _grouped(opened, ids, starts, keys)
    cdef uint64_t *found = NULL
    cdef size_t n = 0, bad = 0
    cdef int status
    cdef const uint64_t *h = &hashes[0] if hashes.shape[0] else NULL
    with nogil:
        status = st_bucket_probe(&grouped, count, h, &found, &n, &bad)
    if status:
        _raise(status, "hash bucket", ids[bad])
    out = np.empty(n, np.uint64)
    cdef uint64_t[::1] view = out
    if n:
        memcpy(&view[0], found, n * sizeof(uint64_t))
    free(found)
    return out


def match(list values, const uint64_t[::1] keys, const uint32_t[::1] ids, const int64_t[::1] starts, uint64_t count,
          const uint8_t[::1] data, const int64_t[::1] offsets, int64_t[::1] codes):
    cdef _Values opened = _Values(values)
    cdef st_grouped grouped = _grouped(opened, ids, starts, keys)
    cdef st_batch batch = _batch(data, offsets, None)
    cdef size_t bad = 0
    cdef int status
    if codes.shape[0] != offsets.shape[0] - 1:
        raise ValueError("codes are not of the batch's length")
    if grouped.groups == 0:
        return
    with nogil:
        status = st_block_match(&grouped, count, &batch, &codes[0], &bad)
    if status:
        _raise(status, "string block", ids[bad])


def place_one(const uint8_t[::1] data, const uint8_t[::1] key, uint64_t mask, uint32_t buckets):
    """(hash, its bucket's place) of one string."""
    cdef uint64_t hashed = st_siphash13(_hash_key(key), &data[0] if data.shape[0] else &NOTHING, data.shape[0]) & mask
    return hashed, st_place(<uint32_t>hashed, buckets)


def probe_one(value, uint32_t place, uint64_t hashed, uint64_t count):
    cdef _Values opened = _Values([value])
    cdef st_bucket b
    cdef uint32_t fingerprint = <uint32_t>hashed, i
    cdef uint64_t entry
    cdef int status = st_bucket_open(&b, opened.values[0], place)
    if status:
        _raise(status, "hash bucket", place)
    found = []
    i = st_bucket_lower_bound(&b, <uint64_t>fingerprint << 32)
    while i < b.count:
        entry = st_bucket_entry(&b, i)
        if <uint32_t>(entry >> 32) != fingerprint:
            break
        if <uint32_t>entry >= count:
            raise CorruptStrings(f"hash bucket {place}: an entry's code is beyond the table's end")
        found.append(<uint32_t>entry)
        i += 1
    return found


def read_one(value, uint32_t code, uint64_t count):
    """The bytes of one code's string (b"" when blanked), from its block."""
    cdef _Values opened = _Values([value])
    cdef st_block block
    cdef const uint8_t *p = NULL
    cdef uint32_t n = 0, slot = code % ST_BLOCK, block_id = code // ST_BLOCK
    cdef int status = st_block_open(&block, opened.values[0], st_block_expected(block_id, count))
    if not status and slot < block.count:
        status = st_block_at(&block, slot, &p, &n)
    if status:
        _raise(status, "string block", block_id)
    if slot >= block.count:
        raise CorruptStrings(f"string block {block_id}: holds no code {code}")
    return PyBytes_FromStringAndSize(<const char *>p, n)


def holds_one(value, uint32_t code, uint64_t count, bytes string):
    """Whether the code is not blanked and its string is this one."""
    cdef _Values opened
    cdef st_block block
    if read_one(value, code, count) != string:
        return False
    if string:
        return True
    opened = _Values([value])
    st_block_open(&block, opened.values[0], st_block_expected(code // ST_BLOCK, count))
    return not (block.blanked >> (code % ST_BLOCK)) & 1


def read(list values, const uint64_t[::1] keys, const uint32_t[::1] ids, const int64_t[::1] starts, uint64_t count):
    cdef _Values opened = _Values(values)
    cdef st_grouped grouped = _grouped(opened, ids, starts, keys)
    cdef size_t bad = 0
    cdef int status = ST_OK
    cdef Py_ssize_t n = keys.shape[0]
    offsets64 = np.zeros(n + 1, np.int64)
    cdef int64_t[::1] lengths = offsets64
    if n:
        with nogil:
            status = st_block_lengths(&grouped, count, &lengths[1], &bad)
        if status:
            _raise(status, "string block", ids[bad])
    np.cumsum(offsets64, out=offsets64)
    cdef int64_t total = offsets64[n]
    if total > 0x7FFFFFFF:
        raise OverflowError(f"{n} strings hold {total} bytes together, more than the 2**31 - 1 of one string array")
    offsets = offsets64.astype(np.int32)
    data = np.empty(total, np.uint8)
    cdef int32_t[::1] at = offsets
    cdef uint8_t[::1] to = data
    cdef uint8_t *out = &to[0] if total else NULL
    if n:
        with nogil:
            status = st_block_copy(&grouped, count, &at[0], out, &bad)
        if status:
            _raise(status, "string block", ids[bad])
    return offsets, data


def read_slice(list values, uint64_t first, uint64_t last, uint64_t count):
    cdef _Values opened = _Values(values)
    cdef size_t bad = 0
    cdef int status
    cdef int64_t total = 0
    cdef uint64_t base = first // ST_BLOCK
    if first > last or last > count or (first < last and opened.n != <Py_ssize_t>((last - 1) // ST_BLOCK - base + 1)):
        raise ValueError("values are not the blocks of [first, last)")
    offsets = np.zeros(last - first + 1, np.int32)
    cdef int32_t[::1] at = offsets
    with nogil:
        status = st_block_slice(opened.values, first, last, count, &at[0], NULL, &total, &bad)
    if status:
        _raise(status, "string block", base + bad)
    if total > 0x7FFFFFFF:
        raise OverflowError(f"codes {first} to {last} hold {total} bytes, more than the 2**31 - 1 of one string array")
    data = np.empty(total, np.uint8)
    cdef uint8_t[::1] to = data
    cdef uint8_t *out = &to[0] if total else NULL
    if total:
        with nogil:
            status = st_block_slice(opened.values, first, last, count, &at[0], out, &total, &bad)
        if status:
            _raise(status, "string block", base + bad)
    return offsets, data


# --- writing -----------------------------------------------------------------------------------------------


def pack_blocks(last_block, uint64_t count, const uint8_t[::1] data, const int64_t[::1] offsets,
                const uint32_t[::1] fresh):
    cdef st_batch batch = _batch(data, offsets, None)
    cdef st_block old
    cdef _Values opened = _Values([last_block])
    cdef uint32_t block_id = <uint32_t>(count // ST_BLOCK), kept = <uint32_t>(count % ST_BLOCK)
    cdef int status
    cdef Py_ssize_t m = fresh.shape[0]
    old.count = 0
    if kept:
        status = st_block_check(opened.values[0], kept)
        if status:
            _raise(status, "string block", block_id)
        st_block_open(&old, opened.values[0], kept)
    if m == 0:
        return np.empty(0, np.uint8), np.empty(0, np.int64)
    blocks = (kept + m + ST_BLOCK - 1) // ST_BLOCK
    ends = np.empty(blocks, np.int64)
    cdef int64_t[::1] ends_view = ends
    cdef const uint32_t *chosen = &fresh[0]
    cdef size_t size
    with nogil:
        size = st_block_pack(&old, &batch, chosen, m, NULL, NULL)
    packed = np.empty(size, np.uint8)
    cdef uint8_t[::1] out = packed
    with nogil:
        st_block_pack(&old, &batch, chosen, m, &out[0], &ends_view[0])
    return packed, ends


def gather(list values, const uint32_t[::1] ids, uint32_t buckets, uint64_t count):
    cdef _Values opened = _Values(values)
    cdef size_t n = 0, bad = 0
    cdef int status
    if opened.n != ids.shape[0]:
        raise ValueError("values and ids are not of one length")
    if opened.n == 0:
        return np.empty(0, np.uint64)
    with nogil:
        status = st_bucket_gather(opened.values, &ids[0], opened.n, buckets, count, NULL, &n, &bad)
    if status:
        _raise(status, "hash bucket", ids[bad])
    entries = np.empty(n + 1, np.uint64)  # one more: C tells measuring from copying by the pointer
    cdef uint64_t[::1] view = entries
    with nogil:
        status = st_bucket_gather(opened.values, &ids[0], opened.n, buckets, count, &view[0], &n, &bad)
    if status:
        _raise(status, "hash bucket", ids[bad])
    return entries[:n]


def build_buckets(const uint64_t[::1] entries, const uint32_t[::1] ids, uint32_t buckets):
    cdef Py_ssize_t n = entries.shape[0], k = ids.shape[0]
    cdef int status
    if n > 0xFFFFFFFF or buckets == 0:
        raise ValueError("no buckets, or more than 2**32 - 1 entries at a time")
    packed = np.empty(k * ST_BUCKET_HEADER + n * 8, np.uint8)
    ends = np.empty(k, np.int64)
    if k == 0:
        return packed, ends
    cdef uint8_t[::1] out = packed
    cdef int64_t[::1] ends_view = ends
    cdef const uint64_t *from_ = &entries[0] if n else NULL
    with nogil:
        status = st_bucket_build(from_, n, &ids[0], k, buckets, &out[0], &ends_view[0])
    if status == ST_NO_MEMORY:
        raise MemoryError()
    if status:
        raise ValueError("an entry is at home in none of the buckets to write")
    return packed, ends


# --- erasing and verifying -----------------------------------------------------------------------------------


def entries_of(list values, const uint64_t[::1] keys, const uint32_t[::1] ids, const int64_t[::1] starts,
               uint64_t count, const uint8_t[::1] hash_key, uint64_t hash_mask):
    cdef _Values opened = _Values(values)
    cdef st_grouped grouped = _grouped(opened, ids, starts, keys)
    cdef const uint8_t *k = _hash_key(hash_key)
    cdef size_t bad = 0
    cdef int status
    entries = np.full(keys.shape[0], ~np.uint64(0))  # of the codes of other blocks nothing is said
    cdef uint64_t[::1] view = entries
    if keys.shape[0] == 0:
        return entries
    with nogil:
        status = st_block_entries(&grouped, count, k, hash_mask, &view[0], &bad)
    if status:
        _raise(status, "string block", ids[bad])
    return entries


def blank_block(value, uint32_t block_id, uint64_t count, uint32_t slots):
    cdef _Values opened = _Values([value])
    cdef st_block block
    cdef uint32_t expected = st_block_expected(block_id, count)
    cdef int status = st_block_check(opened.values[0], expected)
    if status:
        _raise(status, "string block", block_id)
    st_block_open(&block, opened.values[0], expected)
    out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>opened.values[0].n)
    cdef size_t size = st_block_blank(&block, slots, <uint8_t *>PyBytes_AS_STRING(out))
    return out[:size]


def remove_entries(value, uint32_t place, uint32_t buckets, uint64_t count, gone):
    cdef _Values opened = _Values([value])
    ordered = np.array(gone, np.uint64)
    cdef uint64_t[::1] view = ordered
    cdef size_t size = 0
    cdef int status = st_bucket_check(opened.values[0], place, buckets, count)
    if status:
        _raise(status, "hash bucket", place)
    if view.shape[0] == 0:
        return bytes(value)
    st_sort_entries(&view[0], view.shape[0])
    out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>opened.values[0].n)
    status = st_bucket_remove(opened.values[0], place, &view[0], view.shape[0], <uint8_t *>PyBytes_AS_STRING(out), &size)
    if status:
        _raise(status, "hash bucket", place)
    return out[:size]


def check_block(value, uint32_t block_id, uint64_t count):
    """Wholly check a block; returns its mask of blanked strings."""
    cdef _Values opened = _Values([value])
    cdef st_block block
    cdef int status = st_block_check(opened.values[0], st_block_expected(block_id, count))
    if status:
        _raise(status, "string block", block_id)
    st_block_open(&block, opened.values[0], st_block_expected(block_id, count))
    return block.blanked


def check_bucket(value, uint32_t place, uint32_t buckets, uint64_t count):
    """Wholly check a place; returns its number of entries."""
    cdef _Values opened = _Values([value])
    cdef st_bucket b
    cdef int status = st_bucket_check(opened.values[0], place, buckets, count)
    if status:
        _raise(status, "hash bucket", place)
    st_bucket_open(&b, opened.values[0], place)
    return b.count
