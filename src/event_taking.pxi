# Orders that take the source of a visit (ev_take.h). Part of events.pyx.


cdef extern from "ev_take.h" nogil:
    ctypedef struct ev_numbers:
        int64_t *at
        size_t n

    ctypedef struct ev_taken:
        ev_numbers settled, torn, tied
        int64_t groups

    int ev_take(const ev_held *orders, const ev_query *asked, const ev_held *visits, const ev_query *seen,
                uint64_t within, const bm_stop *stop, ev_taken *found)
    void ev_taken_free(ev_taken *found)


def take(orders, visits, columns, int64_t within, among=None, Stop stop=None, ranges=_EVERYWHERE):
    """Which orders take the source of a visit: that of the contact's last one at the order's time or up to `within` ms
    before it. `orders` and `visits` are each (months, filter, start, end, layers, folded), as `select` takes them, and
    `columns` those of the visits' source and paid. `among` and `ranges` are as there.

    Returns (settled int64[k, 3]: an order's event number, its visit's source and paid, MISSING where that has none;
    torn int64[l, 2]: an order's event number and a group; tied int64[m, 4]: a group, a visit's event number, its source
    and paid). A group are the visits of one contact and time, which do not all say the same: where they are the last,
    their ids decide. Groups count from 0 and ascend. Orders come in no order.
    """
    cdef _Question asked = _Question(), seen = _Question()
    cdef _Held bought, visited
    cdef const bm_stop *s = &stop.c if stop is not None else NULL
    cdef ev_taken found
    cdef int status
    if within < 0:
        raise ValueError(f"a visit lies {within} ms before an order")
    months, where, start, end, layers, folded = orders
    if isinstance(among, bytes):
        raise TypeError("`among` is a list here")
    asked._about(where, start, end, among)
    asked._list([1, 2])  # EV_TIME, EV_EVENT
    bought = _Held(months, layers, folded, ranges, asked._needed())
    months, where, start, end, layers, folded = visits
    seen._about(where, start, end, None)
    source, paid = columns
    seen._list([1, 2, source, paid])
    visited = _Held(months, layers, folded, ranges, seen._needed())
    memset(&found, 0, sizeof(found))
    try:
        with nogil:
            status = ev_take(&bought.c, &asked.c, &visited.c, &seen.c, within, s, &found)
        _ended(status)
        return _numbers_of(&found.settled, 3), _numbers_of(&found.torn, 2), _numbers_of(&found.tied, 4)
    finally:
        ev_taken_free(&found)


cdef object _numbers_of(const ev_numbers *found, size_t width):
    numbers = np.empty(found.n, np.int64)
    cdef int64_t[::1] to = numbers
    if found.n:
        memcpy(&to[0], found.at, found.n * sizeof(int64_t))
    return numbers.reshape(-1, width)
