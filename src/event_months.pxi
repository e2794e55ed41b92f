# Months of blocks, and their rows in the order of a column's values. Included by events.pyx.

cdef uint64_t _serial = 0


cdef class EventMonth:
    """The blocks of one month of a type by range, opened: pairs of a range's number and a block, the numbers ascending and
    the blocks of a range in order. It borrows what the blocks borrow."""

    cdef ev_month c
    cdef ev_block bounds
    cdef tuple blocks
    cdef uint32_t least  # columns of a block
    cdef readonly uint64_t rows
    cdef dict orders  # by column; a call keeps those that it uses, and so it does the measures
    cdef dict measures  # by the order's column and their own
    cdef EventPresence presence  # None where it is not made; a call keeps the one that it uses, and its values
    cdef dict values  # by column
    cdef dict ledgers  # by column; a call keeps the one that it uses
    cdef object __weakref__

    def __cinit__(self, pairs):
        global _serial
        cdef list given = list(pairs)
        cdef EventBlock block
        cdef uint32_t number, before = 0, i
        cdef uint32_t *starts
        cdef const ev_block **blocks
        self.blocks = tuple(block for _, block in given)
        self.least = EV_MAX_COLUMNS
        self.orders, self.measures, self.values, self.ledgers = {}, {}, {}, {}
        self.c.bounds = &self.bounds
        _serial += 1
        self.c.serial = _serial
        if not given:
            return
        first, last = given[0][0], given[len(given) - 1][0]
        if not 0 <= first <= last < EV_NUMBERS:
            raise ValueError(f"ranges have the numbers 0 to {EV_NUMBERS - 1} and ascend, not {first} to {last}")
        self.c.first, self.c.n = first, last - first + 1
        self.c.starts = starts = <uint32_t *>PyMem_Malloc((self.c.n + 1) * sizeof(uint32_t))
        self.c.blocks = blocks = <const ev_block **>PyMem_Malloc(len(given) * sizeof(void *))
        if starts == NULL or blocks == NULL:
            raise MemoryError
        starts[0] = 0
        for i, (each, block) in enumerate(given):
            number = each - self.c.first if self.c.first <= each <= last else self.c.n
            if number < before or number == self.c.n:
                raise ValueError("the numbers of the ranges ascend")
            while before < number:
                before += 1
                starts[before] = i
            blocks[i] = &block.c
            self.least = min(self.least, block.c.ncolumns)
            self.rows += block.c.rows
        starts[self.c.n] = len(given)
        ev_month_bounds(blocks, len(given), self.least, &self.bounds)

    def __dealloc__(self):
        PyMem_Free(<void *>self.c.starts)
        PyMem_Free(<void *>self.c.blocks)

    def __len__(self):
        return len(self.blocks)

    @property
    def last(self):
        """The number of the last range that has blocks; -1 without any."""
        return <int64_t>self.c.first + self.c.n - 1

    def of(self, int64_t number):
        """The blocks of a range, in order."""
        at = number - self.c.first
        return self.blocks[self.c.starts[at] : self.c.starts[at + 1]] if 0 <= at < self.c.n else ()

    def zone(self, int64_t column):
        """(min, max, present) of the column's values in all blocks; None when they have none."""
        return _zone(&self.bounds, column)

    # --- orders

    def use(self, EventOrder order):
        """Look rows up in the order from now on. False when it is not of these rows, which are all read to know that."""
        cdef uint64_t mark
        if order.c.nblocks != len(self.blocks) or order.column >= self.least:
            return False
        with nogil:
            mark = ev_order_mark(&self.c, order.column)
        if mark != order.c.mark:
            return False
        self.orders[order.column] = order
        return True

    def measure(self, EventMeasure measure):
        """Read its values in that order from now on. False when it is not of the order in use, or of these rows' values,
        which are all read to know that."""
        cdef uint64_t mark
        if self.orders.get(measure.order.column) is not measure.order or measure.column >= self.least:
            return False
        with nogil:
            mark = ev_measure_mark(&self.c, measure.column)
        if mark != measure.c.mark:
            return False
        self.measures[measure.order.column, measure.column] = measure
        return True

    def ordered(self, uint32_t column):
        """Whether there is an order by the column that is used."""
        return column in self.orders

    def forget(self, uint32_t column):
        """Use no order by the column any more. Calls under way still do."""
        self.orders.pop(column, None)
        self.measures = {key: measure for key, measure in self.measures.items() if key[0] != column}

    def looked_up(self, EventFilter filter, int64_t measure=-1):
        """Whether a call with the filter (None: without), a sum over `measure` where that is not -1, looks its rows up in an
        order."""
        cdef _Equal each
        for each in filter.equals if filter is not None else ():
            if self.order_for(filter, each, measure) is not None:
                return True
        return False

    def counted(self, EventFilter filter):
        """Whether a call with the filter (None: without) looks at all rows, or at all that count, as a ledger has them."""
        return filter is None or filter.asks_only(self.bounds.ncolumns - 1)

    def cost(self, EventFilter filter, int64_t measure=-1, contacts=None, bint located=False):
        """About how many nanoseconds of one thread a call with the filter (None: without) takes in this month, a sum over
        the column `measure` where that is not -1, about so many contacts alone where that is said; with `located` as if
        rows were located. For choosing between ways to the same answer."""
        cdef double asked = min(1.0, contacts / (<double>max(self.c.n, 1) * BM_CHUNK_ROWS)) if contacts is not None else 1.0
        cdef double reached = min(1.0, contacts / <double>max(self.c.n, 1)) if contacts is not None else 1.0  # of the ranges
        cdef double row
        cdef uint64_t rows, left, least = self.rows
        cdef _Equal each, best = None
        cdef EventOrder order
        if filter is not None:
            for each in filter.equals:
                left = self.left(filter, each, measure)
                if left < least:
                    best, least = each, left
        if best is not None:
            order = self.orders[best.column]
            row = _FAR if self.far(filter, best, measure) else _SUMMED if measure >= 0 else _SEEN
            if contacts is not None:
                row = _TESTED + asked * row
            rows = order.rows_of(best)
            return <int64_t>(reached * (min(self.c.n, rows) * _RUN + rows * row))
        if contacts is not None and (located or self.presence is not None):
            return <int64_t>(reached * self.rows * (_LOCATED + asked * _CANDIDATE))
        return <int64_t>(reached * self.rows * (_COMPARED if filter is not None and self.selects(filter) else _ADDED))

    cdef bint selects(self, EventFilter filter):
        """Whether it asks for a few of many values, so that few rows are left once these are compared."""
        cdef _Equal each
        for each in filter.equals:
            if self.bounds.columns[each.column].max - self.bounds.columns[each.column].base >= _MANY_VALUES:
                return True
        return False

    # --- presence

    def locate(self):
        """Find the rows of a call's candidates by their presence from now on (ev_presence.h)."""
        self.presence = EventPresence(self)

    def value(self, uint32_t column):
        """Sum the values of located rows over this column from a copy of them from now on. Raises ValueError for a column
        whose values lie too far from each other, and where rows are not located."""
        self.values[column] = EventValues(self, self.presence, column)

    @property
    def located(self):
        """The memory that both take; 0 where the contacts of all rows are looked at."""
        cdef EventPresence presence = self.presence
        if presence is None:
            return 0
        return ev_presence_bytes(&presence.c) + sum([values.nbytes for values in list(self.values.values())])

    @property
    def kept_by_contact(self):
        """The columns of which a ledger has the values of this month's rows by contact (see EventLedger)."""
        return tuple(self.ledgers)

    def lose(self):
        """Look at the contacts of all rows again. Calls under way still find them."""
        self.presence, self.values = None, {}

    cdef bint far(self, EventFilter filter, _Equal each, int64_t measure):
        """Whether a row of the order is looked up in its block: for another condition, or a value that is not in the order."""
        return filter.c.nconjuncts > 1 or (measure >= 0 and (each.column, measure) not in self.measures)

    cdef EventOrder order_for(self, EventFilter filter, _Equal each, int64_t measure):
        """That in which it is cheaper to look up the rows of these values than to scan all; or None."""
        cdef EventOrder order = self.orders.get(each.column)
        if order is None:
            return None
        cost = _LOOKED_UP_FAR if self.far(filter, each, measure) else _LOOKED_UP
        return order if order.rows_of(each) * cost <= self.rows else None

    cdef uint64_t left(self, EventFilter filter, _Equal each, int64_t measure):
        """What is left to look at, in rows that are compared."""
        cdef EventOrder order = self.order_for(filter, each, measure)
        if order is None:
            return self.rows
        return order.rows_of(each) * (_LOOKED_UP_FAR if self.far(filter, each, measure) else _LOOKED_UP)


# What it costs to look up a row, in rows that are compared one after the other and added where they pass: in the order alone,
# and in its block.
cdef uint64_t _LOOKED_UP = 4, _LOOKED_UP_FAR = 24

# What things cost, in nanoseconds of one core (AMD EPYC with AVX-512, the other one busy, rows not in its cache). Of scans, a
# row of which a filter asks for a few of many values, and any other one; where rows are located one of all, and one of a
# candidate. Of orders a range, and a row of which only the contact matters, one whose value in the order is added, one that
# is looked up in its block, and one whose contact is tested.
cdef double _COMPARED = 0.5, _ADDED = 1.2, _LOCATED = 0.2, _CANDIDATE = 5
cdef double _RUN = 50, _SEEN = 1.7, _SUMMED = 2.5, _FAR = 30, _TESTED = 0.6
# Between the least and the greatest value of a column that has many.
cdef int64_t _MANY_VALUES = 16


cdef class EventOrder:
    """The rows of a month in the order of a column's values, so that a call whose filter asks for one of them looks at
    its rows alone. For EventMonth.use. Borrows nothing of the month."""

    cdef ev_order c
    cdef readonly uint32_t column

    def __cinit__(self, EventMonth month, uint32_t column):
        """Raises ValueError for a column whose values lie too far from each other, or of too many rows."""
        cdef int status
        if column >= month.least:
            raise ValueError(f"there is no column {column}")
        self.column = column
        with nogil:
            status = ev_order_make(&self.c, &month.c, column)
        if status == BM_NO_MEMORY:
            raise MemoryError
        if status == EV_UNORDERED:
            raise ValueError(f"column {column} cannot be ordered")

    def __dealloc__(self):
        ev_order_clear(&self.c)

    @property
    def nbytes(self):
        """The memory that it takes."""
        return ev_order_bytes(&self.c)

    @property
    def values(self):
        """How many different values there are."""
        return self.c.nvalues

    cdef uint64_t rows_of(self, _Equal each):
        cdef uint64_t rows = 0
        cdef uint32_t at, end, i
        for i in range(each.n):
            ev_order_find(&self.c, each.values[i], &at, &end)
            rows += end - at
        return rows


cdef class EventMeasure:
    """The values of another column in the order of a month's rows, so that sums over the rows of a value read them one
    after the other. For EventMonth.measure. Immutable, and borrows nothing of the month."""

    cdef ev_measure c
    cdef readonly EventOrder order
    cdef readonly uint32_t column

    def __cinit__(self, EventMonth month, EventOrder order, uint32_t column):
        """`month` is one that uses the order. Raises ValueError for a column whose values lie too far from each other."""
        cdef int status
        if month.orders.get(order.column) is not order or column >= month.least:
            raise ValueError(f"the month does not use the order, or has no column {column}")
        self.order, self.column = order, column
        with nogil:
            status = ev_measure_make(&self.c, &order.c, &month.c, column)
        if status == BM_NO_MEMORY:
            raise MemoryError
        if status == EV_UNORDERED:
            raise ValueError(f"column {column} cannot be measured")

    def __dealloc__(self):
        free(self.c.codes)

    @property
    def nbytes(self):
        """The memory that it takes, beside that of the order."""
        return 4 * <uint64_t>self.order.c.n


cdef class EventPresence:
    """Where the rows of contacts are in the blocks of a month. Borrows nothing of the month."""

    cdef ev_presence c

    def __cinit__(self, EventMonth month):
        cdef int status
        with nogil:
            status = ev_presence_make(&self.c, &month.c)
        if status == BM_NO_MEMORY:
            raise MemoryError

    def __dealloc__(self):
        ev_presence_clear(&self.c)


cdef class EventValues:
    """The values of a column in the order of a month's rows, close together. For EventMonth.value."""

    cdef ev_measure c
    cdef EventPresence presence

    def __cinit__(self, EventMonth month, EventPresence presence, uint32_t column):
        cdef int status
        if presence is None or column >= month.least:
            raise ValueError(f"the rows are not located, or there is no column {column}")
        self.presence = presence
        with nogil:
            status = ev_presence_measure(&self.c, &presence.c, &month.c, column)
        if status == BM_NO_MEMORY:
            raise MemoryError
        if status == EV_UNORDERED:
            raise ValueError(f"column {column} cannot be measured")

    def __dealloc__(self):
        free(self.c.codes)

    @property
    def nbytes(self):
        """The memory that it takes, beside that of the presence."""
        return ev_presence_measure_bytes(&self.presence.c)
