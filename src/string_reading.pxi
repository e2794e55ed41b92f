# Strings looked up and read, in buckets and blocks as they are stored. Part of strings.pyx.


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
