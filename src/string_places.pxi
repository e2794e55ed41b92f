# Places: which bucket or block each query goes to, in order. Part of strings.pyx.


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
