# Blocks and buckets made, erased from and checked. Part of strings.pyx.


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
