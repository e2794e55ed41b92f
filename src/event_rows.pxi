# Rows of events on their way into blocks (ev_rows.h). Part of events.pyx.


cdef extern from "ev_rows.h" nogil:
    ctypedef struct ev_cells:
        const int64_t *values
        const uint8_t *present

    ctypedef struct ev_parts:
        uint8_t *data
        size_t size
        size_t *ends
        size_t n

    const char *EV_TWICE
    const char *EV_NO_ROOM
    int64_t ev_rows_order(const int64_t *contacts, const int64_t *times, const int64_t *events, const int64_t *lines,
                          size_t n, uint32_t *order, int64_t *groups, int64_t *starts)
    const char *ev_group_write(const ev_block *const *blocks, size_t nblocks, const uint8_t *gone,
                               const ev_cells *columns, uint32_t ncolumns, const uint32_t *order, size_t n,
                               ev_parts *out)
    void ev_parts_free(ev_parts *parts)

cdef extern from "st_common.h" nogil:
    void st_crc_init()

st_crc_init()


cdef class GroupedRows:
    """Rows of one type of events, in the order of their groups: a range of 16,384 ordinals and a month (UTC) each.

    `groups`, int64[g] ascending, has range << 16 | month; `starts`, int64[g + 1], where the rows of each group begin.
    Keeps the columns' arrays. Safe for several threads.
    """

    cdef list columns
    cdef ev_cells cells[32]  # EV_MAX_COLUMNS
    cdef uint32_t ncolumns
    cdef object order
    cdef const uint32_t *order_at
    cdef readonly object groups, starts

    def __cinit__(self, columns):
        """Columns as those of encode_block, each (values int64[n], present uint8[n]), of rows in any order and with whole
        ordinals in column 0. ValueError for anything else, and for months that are not below 65,536."""
        cdef const int64_t[::1] vs
        cdef const uint8_t[::1] ps
        cdef uint32_t[::1] order
        cdef int64_t[::1] groups, starts
        cdef int64_t found = 0
        cdef size_t n
        cdef uint32_t i
        self.columns = [
            (np.ascontiguousarray(v, np.int64), np.ascontiguousarray(p, np.uint8)) for v, p in columns
        ]
        if not EV_MIN_COLUMNS <= len(self.columns) <= EV_MAX_COLUMNS:
            raise ValueError(f"a block has {EV_MIN_COLUMNS} to {EV_MAX_COLUMNS} columns, not {len(self.columns)}")
        self.ncolumns = len(self.columns)
        n = len(self.columns[0][0])
        if n > 0xFFFFFFFE:
            raise ValueError("more than 2**32 - 2 rows at a time")
        for i in range(self.ncolumns):
            vs, ps = self.columns[i]
            if <size_t>vs.shape[0] != n or <size_t>ps.shape[0] != n:
                raise ValueError(f"column {i} has {len(vs)} rows, and column 0 has {n}")
            everywhere = self.columns[i][1].all()
            self.cells[i].values = &vs[0] if n else NULL
            if not everywhere:
                self.cells[i].present = &ps[0]
            if (i < EV_MIN_COLUMNS - 1 or i == self.ncolumns - 1) and not everywhere:
                raise ValueError(f"column {i}: a row has no value, and this column must have all")
        self.order, self.groups, self.starts = np.empty(n, np.uint32), np.empty(n, np.int64), np.zeros(n + 1, np.int64)
        if n:
            order, groups, starts = self.order, self.groups, self.starts
            self.order_at = &order[0]
            with nogil:
                found = ev_rows_order(self.cells[0].values, self.cells[1].values, self.cells[2].values,
                                      self.cells[3].values, n, &order[0], &groups[0], &starts[0])
        if found == -1:
            raise MemoryError
        if found < 0:
            raise ValueError("a contact is no u32, or a time is in no month from January 1970 on")
        self.groups, self.starts = self.groups[:found].copy(), self.starts[:found + 1].copy()

    def merged(self, Py_ssize_t first, Py_ssize_t end, blocks, gone=None):
        """The values of the blocks of a group: with what `blocks` (EventBlock, those that it has now, verified) hold but
        the rows that are `gone` (uint8 of all their rows, one block's behind the other's), and the rows first to end - 1
        in the order of the groups. Blocks have 16,384 rows at most, and 128 KiB but for one of a single row.

        CorruptEvents where a row would be there twice, or the blocks are not in order.
        """
        cdef list held = list(blocks), found = []
        cdef EventBlock block
        cdef const ev_block **at = NULL
        cdef const uint8_t[::1] going
        cdef const uint8_t *going_at = NULL
        cdef const char *reason
        cdef ev_parts parts
        cdef size_t i, start = 0, rows = 0, n = len(held), m
        if not 0 <= first <= end <= len(self.order):
            raise IndexError(f"rows {first} to {end} of {len(self.order)}")
        m = end - first
        memset(&parts, 0, sizeof(parts))
        at = <const ev_block **>PyMem_Malloc((n + 1) * sizeof(void *))
        if at == NULL:
            raise MemoryError
        try:
            for i in range(n):
                block = <EventBlock?>held[i]
                if block.c.ncolumns != self.ncolumns:
                    raise ValueError(f"a block has {block.c.ncolumns} columns, and the rows have {self.ncolumns}")
                at[i] = &block.c
                rows += block.c.rows
            if gone is not None:
                going = gone
                if <size_t>going.shape[0] != rows:
                    raise ValueError(f"{going.shape[0]} rows are said to go or stay, and there are {rows}")
                going_at = &going[0] if rows else NULL
            with nogil:
                reason = ev_group_write(at, n, going_at, self.cells, self.ncolumns, self.order_at + first, m, &parts)
            if reason == EV_NO_ROOM:
                raise MemoryError
            if reason == EV_TWICE:
                raise CorruptEvents(None, reason.decode(), "group")
            if reason != NULL:
                raise ValueError(reason.decode())
            for i in range(parts.n):
                found.append(PyBytes_FromStringAndSize(<const char *>parts.data + start, parts.ends[i] - start))
                start = parts.ends[i]
            return found
        finally:
            ev_parts_free(&parts)
            PyMem_Free(at)
