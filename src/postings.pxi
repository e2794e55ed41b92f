# Postings, read in place: sets of ordinals as LMDB's pages hold them. Part of bitmaps.pyx.


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
