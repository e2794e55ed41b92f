# Series of a contact's rows (ev_series.h): sequences of steps, and how far apart times are. Included by events.pyx.

cdef extern from "ev_series.h" nogil:
    ctypedef struct ev_step:
        const uint32_t *contacts
        const int64_t *times
        size_t n
        uint64_t within

    ctypedef struct ev_spread:
        uint32_t contact
        uint32_t gaps
        uint64_t spread_high
        uint64_t spread_low

    const uint32_t EV_MAX_STEPS
    int ev_follow(const ev_step *steps, uint32_t n, const ev_step *none, int64_t end, const bm_stop *stop,
                  uint32_t *found, size_t *nfound)
    int ev_spreads(const uint32_t *contacts, const int64_t *times, size_t n, const bm_stop *stop, ev_spread *found,
                   size_t *nfound)


cdef class _Step:
    """The rows of a step, as the native code takes them."""

    cdef ev_step c
    cdef const uint32_t[::1] contacts
    cdef const int64_t[::1] times

    def __cinit__(self, contacts, times, within):
        self.contacts, self.times = contacts, times
        if self.contacts.shape[0] != self.times.shape[0]:
            raise ValueError(f"{self.contacts.shape[0]} contacts have {self.times.shape[0]} times")
        _check_together(contacts)
        if within is not None and not 0 <= within < 1 << 63:
            raise ValueError(f"a step is within 0 to 2^63 - 1 milliseconds of the one before, not {within}")
        self.c.n = self.contacts.shape[0]
        if self.c.n:
            self.c.contacts, self.c.times = &self.contacts[0], &self.times[0]
        self.c.within = <uint64_t>-1 if within is None else within


def _check_together(contacts):
    if not bool((contacts[1:] >= contacts[: max(0, len(contacts) - 1)]).all()):
        raise ValueError("contacts ascend")


cdef int _ended(int status) except -1:
    if status == BM_CANCELLED:
        raise Stopped("cancelled")
    if status == BM_DEADLINE:
        raise Stopped("deadline")
    if status == BM_NO_MEMORY:
        raise MemoryError
    return 0


def follow(steps, none, end, Stop stop=None):
    """The contacts, ascending, with rows of all the steps one after another: uint32[k].

    A step is (contacts uint32[n] ascending, times int64[n] in any order within a contact, within): each row of a chain
    is strictly later than the one before, and by `within` ms at most unless that is None. With a step `none` (else None)
    no row of it may follow the end of the chain by its `within` or less, a time that is over before `end`, which lies
    behind all times.
    """
    cdef list held = [_Step(*each) for each in steps]
    cdef _Step absent = None
    cdef ev_step given[32]
    cdef uint32_t n = len(held)
    cdef const bm_stop *s = &stop.c if stop is not None else NULL
    cdef const ev_step *last = NULL
    cdef int64_t until = _clamp(end)
    cdef size_t nfound = 0
    cdef int status
    if not 1 <= n <= EV_MAX_STEPS:
        raise ValueError(f"a sequence has 1 to {EV_MAX_STEPS} steps, not {n}")
    if none is not None:
        if none[2] is None:
            raise ValueError("of a step that is absent it is said for how long")
        absent = _Step(*none)
        last = &absent.c
    for i in range(n):
        given[i] = (<_Step>held[i]).c
    found = np.empty(given[0].n + 1, np.uint32)
    cdef uint32_t[::1] to = found
    with nogil:
        status = ev_follow(given, n, last, until, s, &to[0], &nfound)
    _ended(status)
    return found[:nfound].copy()


def spreads(contacts, times, Stop stop=None):
    """How far apart the times of each contact with two rows or more are; arguments are those of a step.

    (contacts uint32[k] ascending, gaps int64[k]: how many there are between its rows, spread uint64[k, 2]: its high and
    its low half). The spread is gaps^2 times the variance of the gaps: gaps * sum of gap^2 - (sum of gap)^2.
    """
    cdef _Step rows = _Step(contacts, times, None)
    cdef const bm_stop *s = &stop.c if stop is not None else NULL
    cdef size_t nfound = 0
    cdef int status
    made = np.empty(rows.c.n // 2 + 1, [("contact", "u4"), ("gaps", "u4"), ("spread", "u8", 2)])
    cdef uint8_t[::1] to = made.view(np.uint8)
    with nogil:
        status = ev_spreads(rows.c.contacts, rows.c.times, rows.c.n, s, <ev_spread *>&to[0], &nfound)
    _ended(status)
    found = made[:nfound]
    return found["contact"].copy(), found["gaps"].astype(np.int64), found["spread"].copy()
