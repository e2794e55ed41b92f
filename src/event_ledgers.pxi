# Rows of some months by contact. Included by events.pyx.

from weakref import ref


cdef class EventLedger:
    """The rows of some months of a type by contact, with the values of a column (ev_ledger.h): calls about few contacts of
    these months look at their rows there where that costs less than to look at the months'. It borrows nothing of the months,
    and is filled bit by bit."""

    cdef ev_ledger c
    cdef readonly uint32_t column
    cdef readonly tuple months  # weak references
    cdef uint32_t at  # the range to go on with

    def __cinit__(self, months, uint32_t column):
        """Raises ValueError for a column whose values lie too far from each other, and for months without events."""
        cdef tuple given = tuple(months)
        cdef EventMonth month
        cdef const ev_month **at
        cdef size_t n = len(given)
        cdef int status
        for month in given:
            if column >= month.least:
                raise ValueError(f"there is no column {column}")
        self.column = column
        self.months = tuple([ref(month) for month in given])
        at = _months_at(given)
        with nogil:
            status = ev_ledger_begin(&self.c, at, n, column)
        PyMem_Free(at)
        if status == BM_NO_MEMORY:
            raise MemoryError
        if status == EV_UNORDERED:
            raise ValueError(f"column {column} of these months cannot be kept by contact")
        self.at = self.c.first

    def __dealloc__(self):
        ev_ledger_clear(&self.c)

    def fill(self, uint64_t rows):
        """Go on with so many rows, or a range more. Whether that is all of it. The months' blocks are read, and must be
        open; ValueError where a month is not there any more. One thread at a time."""
        cdef tuple months = tuple([month() for month in self.months])
        cdef uint32_t end = self.at, last = self.c.first + self.c.n
        cdef const ev_month **at
        cdef size_t n = len(months)
        cdef int status
        if None in months:
            raise ValueError("a month is not there any more")
        rows += self.c.rows[self.at - self.c.first]
        while end < last and (end == self.at or self.c.rows[end - self.c.first] < rows):
            end += 1
        at = _months_at(months)
        with nogil:
            status = ev_ledger_fill(&self.c, at, n, self.at, end)
        PyMem_Free(at)
        if status == BM_NO_MEMORY:
            raise MemoryError
        self.at = end
        return self.full

    @property
    def full(self):
        """Whether all ranges are filled."""
        return self.at == self.c.first + self.c.n

    @property
    def nbytes(self):
        """The memory that it takes, or will when it is full."""
        return ev_ledger_bytes(&self.c)

    def use(self):
        """Look rows of the months up in it from now on, as far as it is filled."""
        cdef EventMonth month
        for each in self.months:
            month = each()
            if month is not None:
                month.ledgers[self.column] = self

    def forget(self):
        """Do so no more. Calls under way still do."""
        cdef EventMonth month
        for each in self.months:
            month = each()
            if month is not None and month.ledgers.get(self.column) is self:
                del month.ledgers[self.column]


cdef const ev_month **_months_at(tuple months) except NULL:
    cdef const ev_month **at = <const ev_month **>PyMem_Malloc((len(months) + 1) * sizeof(void *))
    cdef EventMonth month
    if at == NULL:
        raise MemoryError
    for i, month in enumerate(months):
        at[i] = &month.c
    return at
