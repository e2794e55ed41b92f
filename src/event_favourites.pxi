# Favourite values a contact (ev_favourite.h). Part of events.pyx.


cdef extern from "ev_favourite.h" nogil:
    int ev_favourites(const uint32_t *contacts, const int64_t *codes, const int64_t *weights, size_t n,
                      const bm_stop *stop, uint32_t *owners, int64_t *favourites, size_t *found)


def favourites(const uint32_t[::1] contacts, const int64_t[::1] codes, weights=None, Stop stop=None):
    """The codes of each contact that weigh the most, of rows that stand grouped by contact: a contact, a code and a
    weight each (uint32[n], int64[n], int64[n]; without weights 1 each; the least int64 is a missing one, and weighs
    nothing).

    Returns (contacts uint32[m], codes int64[m]): each contact as often as it has codes whose weights add up to the most,
    if that is above 0; contacts in the order of the rows. OverflowError when a sum leaves 64 bits on its way; Stopped by
    `stop`.
    """
    cdef Py_ssize_t n = contacts.shape[0]
    cdef const int64_t[::1] given
    cdef const int64_t *weights_at = NULL
    cdef uint32_t[::1] owners_at
    cdef int64_t[::1] found_at
    cdef const bm_stop *s = &stop.c if stop is not None else NULL
    cdef size_t m = 0
    cdef int status
    if codes.shape[0] != n or (weights is not None and len(weights) != n):
        raise ValueError("there is a code a row, and a weight a row or none")
    owners, found = np.empty(n, np.uint32), np.empty(n, np.int64)
    if n:
        if weights is not None:
            given = weights
            weights_at = &given[0]
        owners_at, found_at = owners, found
        with nogil:
            status = ev_favourites(&contacts[0], &codes[0], weights_at, n, s, &owners_at[0], &found_at[0], &m)
        if status == BM_CANCELLED:
            raise Stopped("cancelled")
        if status == BM_DEADLINE:
            raise Stopped("deadline")
        if status == BM_NO_MEMORY:
            raise MemoryError
        if status == EV_OVERFLOW:
            raise OverflowError("a sum leaves 64 bits")
    return owners[:m].copy(), found[:m].copy()
