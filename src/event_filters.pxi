# Filters of event rows: their programs, and what the ops point to. Included by events.pyx.

cdef class _Table:
    """The integers whose bit is set, least significant bit of byte 0 first and standing for `base`."""

    cdef bm_table c

    def __cinit__(self, base, const uint8_t[::1] bits, bint negate):
        if bits.shape[0] > 1 << 28:
            raise ValueError("a table holds 2^31 values at most")
        if not -(1 << 62) <= base <= 1 << 62:
            raise ValueError("the base of a table lies within -2^62 and 2^62")
        self.c.base = base
        self.c.negate = negate
        self.c.nbits = 8 * <uint64_t>bits.shape[0]
        self.c.words = <uint64_t *>calloc((bits.shape[0] + 7) // 8 + 1, 8)
        if self.c.words == NULL:
            raise MemoryError
        if bits.shape[0]:
            memcpy(self.c.words, &bits[0], bits.shape[0])

    def __dealloc__(self):
        free(self.c.words)


# Of one zone: the years 1 to 9999 with a change each month.
_MAX_CHANGES = 1 << 17


cdef class _Zone:
    """Where the offset of local time changes and what it is from there on: int64 arrays, or their bytes."""

    cdef ev_zone c
    cdef const int64_t[::1] starts
    cdef const int64_t[::1] offsets

    def __cinit__(self, starts, offsets):
        self.starts = _integers(starts)
        self.offsets = _integers(offsets)
        cdef Py_ssize_t n = self.starts.shape[0], i
        if not 1 <= n <= _MAX_CHANGES or self.offsets.shape[0] != n:
            raise ValueError(f"a zone has 1 to {_MAX_CHANGES} starts and as many offsets")
        for i in range(n):
            if i and self.starts[i - 1] >= self.starts[i]:
                raise ValueError("the starts of a zone's offsets ascend")
            if not -_MAX_OFFSET <= self.offsets[i] <= _MAX_OFFSET:
                raise ValueError("an offset is less than 8 days")
        self.c.starts, self.c.offsets, self.c.n = &self.starts[0], &self.offsets[0], n


_MAX_OFFSET = 8 * 86_400_000 - 1


def _integers(values):
    held = memoryview(values)
    return held if held.format == "l" or held.format == "q" else held.cast("B").cast("q")


cdef class _Clock:
    """Hours of the local week: those of a day ("hour", bit 0 to 23) or whole days ("weekday", bit 0, Monday, to 6); or
    months of the local year ("month", bit 0, January, to 11)."""

    cdef ev_clock c
    cdef _Zone zone

    def __cinit__(self, unit, starts, offsets, mask):
        if unit not in _UNITS:
            raise ValueError(f"a clock shows the hour, the weekday or the month, not {unit!r}")
        if not 0 <= mask < 1 << _UNITS[unit]:
            raise ValueError(f"{mask} is no mask of {unit}s")
        self.zone = _Zone(starts, offsets)
        self.c.zone = self.zone.c
        week = sum(mask << 24 * day for day in range(7)) if unit == "hour" else _days(mask)
        if unit == "month":
            self.c.months, week = True, mask
        for i in range(3):
            self.c.week[i] = week >> 64 * i & 0xFFFFFFFFFFFFFFFF


# How many values each has.
_UNITS = {"hour": 24, "weekday": 7, "month": 12}


def _days(mask):
    return sum(0xFFFFFF << 24 * day for day in range(7) if mask >> day & 1)


# Of the sets of rows that a filter holds at a time; each takes 2 KiB.
_MAX_DEPTH = 1 << 16


cdef class _Equal:
    """A conjunct of a filter that asks for some values of a column."""

    cdef readonly uint32_t column
    cdef uint32_t conjunct, n
    cdef int64_t values[16]


cdef class EventFilter:
    """Which rows to look at: a program in postfix form, checked here (ValueError, TypeError). Immutable.

    Each op pushes a set of rows or puts one in the place of the topmost ones, and one is left at the end:
      ("range", column, lo, hi)              lo <= value <= hi
      ("table", column, base, bits, negate)  bit value - base of `bits` is set, least significant of byte 0 first;
                                             `negate` takes the other values that are present
      ("present", column)                    there is a value
      ("clock", unit, starts, offsets, mask) the local time lies in one of the hours of the day (unit "hour"; bit 0 to 23
                                             of `mask`), on one of the weekdays ("weekday"; bit 0 is Monday, 6 Sunday), or
                                             in one of the months ("month"; bit 0 is January, 11 December).
                                             From starts[i] on (ms, ascending) local time is offsets[i] ms ahead of UTC;
                                             before the first start too. int64 arrays, or their bytes
      ("constant", bool)                     every row, or none
      ("all", n), ("any", n)                 in all, in any of the n topmost sets
      ("at_least", k, n)                     in at least k of them
      ("not",)                               not in the topmost
    A missing value is in no range and no table.
    """

    cdef ev_filter c
    cdef list held  # what the ops point to
    cdef readonly tuple equals  # conjuncts that ask for a few values of a property

    def __cinit__(self, ops):
        cdef list items = list(ops)
        cdef int64_t height = 0
        self.held = []
        self.c.ops = <ev_op *>calloc(len(items) + 1, sizeof(ev_op))
        if self.c.ops == NULL:
            raise MemoryError
        for i, op in enumerate(items):
            try:
                height = self._add(&self.c.ops[i], op, height)
            except (TypeError, ValueError) as error:
                raise type(error)(f"op {i} of the filter: {error}") from None
            self.c.n += 1
            self.c.depth = max(self.c.depth, <uint32_t>height)
        if height != 1:
            raise ValueError(f"a filter leaves one set of rows, not {height}")
        if not ev_filter_split(&self.c):
            raise MemoryError
        self.equals = tuple(self._equals())

    def __dealloc__(self):
        free(self.c.ops)
        free(self.c.conjuncts)

    def asks_only(self, int64_t column):
        """Whether all that it asks is that a column is 1."""
        cdef _Equal each
        for each in self.equals:
            if each.column == column:
                return self.c.nconjuncts == 1 and each.n == 1 and each.values[0] == 1
        return False

    cdef list _equals(self):
        cdef list found = []
        cdef _Equal each
        for i in range(self.c.nconjuncts):
            each = _Equal()
            each.n = ev_conjunct_values(&self.c, &self.c.conjuncts[i], each.values)
            if each.n:
                each.conjunct, each.column = i, self.c.ops[self.c.conjuncts[i].first].column
                found.append(each)
        return found

    cdef int64_t _add(self, ev_op *to, op, int64_t height) except -1:
        """The height of the stack after the op."""
        cdef _Table table
        cdef _Clock clock
        name, *rest = op
        if name == "range":
            column, lo, hi = rest
            self._scan(to, column)
            to.scan.lo, to.scan.hi = _clamp(lo), _clamp(hi)
        elif name == "present":
            (column,) = rest
            self._scan(to, column)
            to.scan.lo, to.scan.hi = INT64_MIN, INT64_MAX
        elif name == "table":
            column, base, bits, negate = rest
            self._scan(to, column)
            table = _Table(base, bits, negate)
            self.held.append(table)
            to.scan.table = &table.c
        elif name == "clock":
            clock = _Clock(*rest)
            self.held.append(clock)
            to.kind = EV_CLOCK
            to.clock = &clock.c
        elif name == "constant":
            (value,) = rest
            to.kind = EV_CONSTANT
            to.value = bool(value)
        elif name == "not":
            if rest:
                raise ValueError("not takes nothing")
            self._take(to, EV_NOT, 1, height)
            return height
        elif name == "all" or name == "any":
            (n,) = rest
            self._take(to, EV_ALL if name == "all" else EV_ANY, n, height)
            return self._grown(height - n)
        elif name == "at_least":
            k, n = rest
            self._take(to, EV_AT_LEAST, n, height)
            to.k = min(max(k, 0), n + 1)
            return self._grown(height - n)
        else:
            raise ValueError(f"there is no op {name!r}")
        return self._grown(height)

    cdef int _scan(self, ev_op *to, column) except -1:
        if not 0 <= column < EV_MAX_COLUMNS:
            raise ValueError(f"columns are 0 to {EV_MAX_COLUMNS - 1}, not {column}")
        to.kind = EV_SCAN
        to.column = column
        self.c.ncolumns = max(self.c.ncolumns, <uint32_t>to.column + 1)
        return 0

    cdef int _take(self, ev_op *to, uint8_t kind, n, int64_t height) except -1:
        if not 0 <= n <= height:
            raise ValueError(f"it takes {n} sets of rows, and there are {height}")
        to.kind = kind
        to.n = n
        return 0

    cdef int64_t _grown(self, int64_t height) except -1:
        if height >= _MAX_DEPTH:
            raise ValueError(f"a filter holds {_MAX_DEPTH} sets of rows at a time at most")
        return height + 1
