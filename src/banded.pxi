# Several sets in one buffer for each run of ordinals: bands. Part of bitmaps.pyx.


def open_banded(parts, places, Py_ssize_t bands, Py_ssize_t skip=0):
    """The postings of `bands` sets that lie in the same buffers: list[Posting]. Of part i, a portable Roaring buffer
    behind `skip` bytes of value header, the container under key k holds what set k has in container places[i] of the
    ordinals (u16[n], ascending); a set without one there has nothing.

    Opening checks and borrows as Posting does. Raises CorruptPosting, for a key that is of no set too.
    """
    cdef list pieces = list(parts)
    cdef const uint16_t[::1] at = np.ascontiguousarray(places, dtype=np.uint16)
    cdef _Buffers held = _Buffers(len(pieces))
    cdef list found = [Posting(()) for _ in range(bands)]
    cdef const char *reason = NULL
    cdef bm_dir part
    cdef bm_dir *base
    cdef bm_container *grown
    cdef Py_buffer *view
    cdef Posting posting
    cdef Py_ssize_t i
    cdef uint32_t c
    if at.shape[0] != len(pieces) or skip < 0:
        raise ValueError("every part has a place")
    for posting in found:
        grown = <bm_container *>realloc(posting.c.base.at, (len(pieces) + 1) * sizeof(bm_container))
        if grown == NULL:
            raise MemoryError
        posting.c.base.at = grown
        posting.held = held
    for i in range(len(pieces)):
        if i and at[i] <= at[i - 1]:
            raise ValueError("places ascend")
        view = held.take(pieces[i])
        if view.len < skip:
            raise CorruptPosting(i, "shorter than the value header")
        part.n = bm_dir_count(<const uint8_t *>view.buf + skip, view.len - skip, &reason)
        if reason != NULL:
            raise CorruptPosting(i, reason.decode())
        if part.n > bands:
            raise CorruptPosting(i, "more containers than sets")
        part.at = <bm_container *>malloc((part.n + 1) * sizeof(bm_container))
        if part.at == NULL:
            raise MemoryError
        part.n = 0
        try:
            if not bm_dir_append(&part, <const uint8_t *>view.buf + skip, view.len - skip, &reason):
                raise CorruptPosting(i, reason.decode())
            for c in range(part.n):
                if part.at[c].key >= bands:
                    raise CorruptPosting(i, "a container of no set")
                posting = <Posting>found[part.at[c].key]
                base = &posting.c.base
                base.at[base.n] = part.at[c]
                base.at[base.n].key = at[i]
                base.n += 1
        finally:
            free(part.at)
    for posting in found:
        posting.c.card = <int64_t>bm_dir_card(&posting.c.base)
    return found
