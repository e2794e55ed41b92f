# Questions to months and layers of events, and what is found. Included by events.pyx.

_HOW = {"sum": EV_ADD, "min": EV_LEAST, "max": EV_MOST, "distinct": EV_DISTINCT, "distinct_days": EV_DAYS}
MISSING = INT64_MIN


cdef class _Held:
    """Where a call looks, as the native code takes it."""

    cdef ev_held c
    cdef tuple months, layers
    cdef list orders, presences  # what the native code borrows
    cdef EventLedger ledger

    def __cinit__(self, months, layers, folded, ranges, uint32_t needed, EventFilter filter=None, int measure=EV_NO_COLUMN,
                  bint narrowed=False):
        cdef const ev_month **months_at
        cdef const ev_layer **layers_at
        cdef EventMonth month
        cdef EventLayer layer
        self.months, self.layers = tuple(months), tuple(layers)
        self.c.nmonths, self.c.nlayers = len(self.months), len(self.layers)
        self.c.months = months_at = <const ev_month **>PyMem_Malloc((self.c.nmonths + 1) * sizeof(void *))
        self.c.layers = layers_at = <const ev_layer **>PyMem_Malloc((self.c.nlayers + 1) * sizeof(void *))
        if months_at == NULL or layers_at == NULL:
            raise MemoryError
        for i, month in enumerate(self.months):
            if month.least < needed:
                raise ValueError(f"a block has {month.least} columns: there is no column {needed - 1}")
            months_at[i] = &month.c
        if filter is not None and filter.equals:
            self._choose(filter, measure)
        if narrowed:
            self._locate(measure)
            self._cover(measure)
        for i, layer in enumerate(self.layers):
            if layer.c.b.ncolumns < needed:
                raise ValueError(f"a layer has {layer.c.b.ncolumns} columns: there is no column {needed - 1}")
            layers_at[i] = &layer.c
        nfolded, below = folded
        if not 0 <= nfolded <= self.c.nlayers:
            raise ValueError(f"of {self.c.nlayers} layers {nfolded} cannot be in the blocks")
        first, end = ranges
        self.c.nfolded, self.c.folded_below = nfolded, min(max(below, 0), EV_NUMBERS)
        self.c.first, self.c.end = min(max(first, 0), EV_NUMBERS), min(max(end, 0), EV_NUMBERS)

    cdef _choose(self, EventFilter filter, int measure):
        """Of what the filter asks for by value, that which the orders of the months leave the fewest rows of."""
        cdef EventMonth month
        cdef EventOrder order
        cdef EventMeasure values
        cdef const ev_order **orders
        cdef const ev_measure **measures
        cdef _Equal best = None, each
        cdef uint64_t left, least = 0
        cdef bint any_
        for each in filter.equals:
            left, any_ = 0, False
            for month in self.months:
                any_ |= each.column in month.orders
                left += month.left(filter, each, measure)
            if any_ and (best is None or left < least):
                best, least = each, left
        if best is None:
            return
        self.c.orders = orders = <const ev_order **>calloc(self.c.nmonths, sizeof(void *))
        self.c.measures = measures = <const ev_measure **>calloc(self.c.nmonths, sizeof(void *))
        if orders == NULL or measures == NULL:
            raise MemoryError
        self.orders = [filter]
        for i, month in enumerate(self.months):
            order = month.order_for(filter, best, measure)
            if order is not None:
                self.orders.append(order)
                orders[i] = &order.c
                values = month.measures.get((best.column, measure))
                if values is not None and values.order is order:
                    self.orders.append(values)
                    measures[i] = &values.c
        self.c.by, self.c.values, self.c.nvalues = best.conjunct, best.values, best.n

    cdef _locate(self, int measure):
        """Find rows of candidates by their presence, in the months that have it."""
        cdef EventMonth month
        cdef EventPresence presence
        cdef EventValues values
        cdef const ev_measure **valued
        cdef const ev_presence **presences
        self.presences = []
        for month in self.months:
            self.presences.append(month.presence)
        if self.presences.count(None) == len(self.presences):
            return
        self.c.presences = presences = <const ev_presence **>calloc(self.c.nmonths, sizeof(void *))
        self.c.valued = valued = <const ev_measure **>calloc(self.c.nmonths, sizeof(void *))
        if presences == NULL or valued == NULL:
            raise MemoryError
        for i, month in enumerate(self.months):
            presence = self.presences[i]
            if presence is None:
                continue
            presences[i] = &presence.c
            values = month.values.get(measure)
            if values is not None and values.presence is presence:
                self.presences.append(values)
                valued[i] = &values.c

    cdef _cover(self, int measure):
        """Find rows of candidates in a ledger of some of the months, where there is one."""
        cdef EventMonth month
        for month in self.months:
            for ledger in list(month.ledgers.values()):
                if measure == EV_NO_COLUMN or measure == ledger.column:
                    self.ledger = ledger
                    self.c.ledger = &self.ledger.c
                    return

    def __dealloc__(self):
        free(<void *>self.c.presences)
        free(<void *>self.c.valued)
        free(<void *>self.c.orders)
        free(<void *>self.c.measures)
        PyMem_Free(<void *>self.c.months)
        PyMem_Free(<void *>self.c.layers)


cdef _open_set(bm_dir *to, bytes given):
    """Open a portable Roaring bitmap, whose bytes are borrowed."""
    cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(given)
    cdef const char *reason = NULL
    cdef uint32_t n = bm_dir_count(at, len(given), &reason)
    if reason == NULL:
        to.at = <bm_container *>calloc(n + 1, sizeof(bm_container))
        if to.at == NULL:
            raise MemoryError
        bm_dir_append(to, at, len(given), &reason)
    if reason != NULL:
        raise ValueError(reason.decode())


cdef class _Question:
    """A query, and where it is asked."""

    cdef ev_query c
    cdef _Held held
    cdef EventFilter filter
    cdef object kept  # what the query borrows
    cdef bm_dir set, within
    cdef uint32_t nothing

    cdef _about(self, EventFilter filter, start, end, among):
        cdef const uint32_t[::1] listed
        self.filter = filter
        self.c.filter = &filter.c if filter is not None else NULL
        self.c.first, self.c.last = _clamp(start), _clamp(end - 1)
        self.c.among, self.c.namong, self.c.set = NULL, 0, NULL
        if isinstance(among, bytes):
            _open_set(&self.set, among)
            self.c.set = &self.set
        elif among is not None:
            listed = among
            self.c.among, self.c.namong = &listed[0] if listed.shape[0] else &self.nothing, listed.shape[0]
        self.kept = among

    def __dealloc__(self):
        free(self.set.at)
        free(self.within.at)

    cdef _aggregate(self, int64_t measure, low, high, how, zone):
        cdef _Zone where
        if not -1 <= measure < EV_MAX_COLUMNS:
            raise ValueError(f"the measure is a column, or -1 for none, not {measure}")
        if how not in _HOW or (measure < 0 and how not in ("sum", "distinct_days")) or (
            measure >= 0 and how == "distinct_days"
        ):
            raise ValueError(f"{how!r} is not what can be made of {'rows' if measure < 0 else 'a measure'}")
        if (zone is not None) != (how == "distinct_days"):
            raise ValueError("days are counted in a zone, and nothing else is")
        self.c.how = _HOW[how]
        self.c.zone = NULL
        if zone is not None:
            where = _Zone(*zone)
            self.c.zone = &where.c
            self.kept = self.kept, where
        self.c.measure = EV_NO_COLUMN if measure < 0 else <int>measure
        self.c.low = INT64_MIN if low is None else _clamp(low)
        self.c.high = INT64_MAX if high is None else _clamp(high)

    cdef list _list(self, columns):
        """Ask for rows, of which these columns are listed."""
        cdef list asked = list(columns)
        if not 1 <= len(asked) <= <int>EV_MAX_COLUMNS:
            raise ValueError(f"1 to {EV_MAX_COLUMNS} columns are listed, not {len(asked)}")
        for i, column in enumerate(asked):
            if not 0 <= column < <int>EV_MAX_COLUMNS:
                raise ValueError(f"columns are 0 to {EV_MAX_COLUMNS - 1}, not {column}")
            self.c.listed[i] = column
        self.c.nlisted, self.c.how, self.c.measure = len(asked), EV_ROWS, EV_NO_COLUMN
        return asked

    cdef uint32_t _needed(self):
        """How many columns blocks and layers must have."""
        cdef uint32_t needed = self.c.filter.ncolumns if self.c.filter != NULL else 0
        needed = max(needed, <uint32_t>(self.c.measure + 1))
        for i in range(self.c.nlisted):
            needed = max(needed, <uint32_t>self.c.listed[i] + 1)
        return needed

    cdef _ask(self, months, layers, folded, ranges, Stop stop, ev_found *found):
        """Raises Stopped, OverflowError. The caller frees what was found."""
        cdef const bm_stop *s = &stop.c if stop is not None else NULL
        cdef _Held held = _Held(months, layers, folded, ranges, self._needed(), self.filter, self.c.measure,
                                self.c.among != NULL or self.c.set != NULL)
        cdef int status
        with nogil:
            status = ev_collect(&held.c, &self.c, s, found)
        if status == EV_OVERFLOW:
            raise OverflowError("a sum leaves 64 bits")
        _ended(status)


_EVERYWHERE = (0, EV_NUMBERS)


def collect(
    months,
    EventFilter filter,
    start,
    end,
    int64_t measure,
    among=None,
    low=None,
    high=None,
    Stop stop=None,
    how="sum",
    layers=(),
    zone=None,
    folded=(0, 0),
    ranges=_EVERYWHERE,
):
    """The number of each contact over the rows with start <= time < end that pass the filter (None: all): how many they
    are, or where `measure` is a column and not -1, the sum, the least or the greatest of its values, or how many
    different ones there are (`how`: "sum", "min", "max", "distinct"). "distinct_days" takes no measure: on how many
    different local days the rows are, in the zone (starts, offsets), as a filter's op "clock" has it.

    Returns (ordinals uint32[n], numbers int64[n]), ascending, of the contacts that have such a row (with a measure: one
    with a value) and a number with low <= number <= high (None: no bound). `among` (uint32, ascending, or a portable
    Roaring bitmap) are the only contacts that are looked at, and of `ranges` (first, end) are only the ordinals from
    first << 14 on and below end << 14. OverflowError when a sum leaves 64 bits on its way; Stopped by `stop`.

    Rows are those of the `months` (EventMonth) and of the `layers` (EventLayer), the oldest first: a layer's rows count
    too, and the rows of blocks and of older layers do not at its stale places. `folded` is (n, number): the blocks of the
    ranges below that number hold what the first n layers say.
    """
    cdef _Question question = _Question()
    cdef ev_found found
    memset(&found, 0, sizeof(found))
    question._about(filter, start, end, among)
    question._aggregate(measure, low, high, how, zone)
    try:
        question._ask(months, layers, folded, ranges, stop, &found)
        ordinals, numbers = np.empty(found.n, np.uint32), np.empty(found.n, np.int64)
        _copy(&found, ordinals, numbers)
        return ordinals, numbers
    finally:
        ev_found_free(&found)


def collect_set(
    months,
    EventFilter filter,
    start,
    end,
    int64_t measure,
    among=None,
    low=None,
    high=None,
    Stop stop=None,
    how="sum",
    layers=(),
    zone=None,
    folded=(0, 0),
    ranges=_EVERYWHERE,
):
    """The contacts that collect would return, without their numbers: a portable Roaring bitmap."""
    cdef _Question question = _Question()
    cdef ev_found found
    cdef bytes result
    memset(&found, 0, sizeof(found))
    question._about(filter, start, end, among)
    question._aggregate(measure, low, high, how, zone)
    question.c.as_set = True
    try:
        question._ask(months, layers, folded, ranges, stop, &found)
        result = PyBytes_FromStringAndSize(NULL, bm_output_size(&found.set))
        bm_output_write(&found.set, <uint8_t *>PyBytes_AS_STRING(result))
        return result
    finally:
        ev_found_free(&found)


def collect_count(
    months,
    EventFilter filter,
    start,
    end,
    int64_t measure,
    among=None,
    low=None,
    high=None,
    Stop stop=None,
    how="sum",
    layers=(),
    zone=None,
    folded=(0, 0),
    ranges=_EVERYWHERE,
    bytes within=None,
):
    """How many contacts collect would return, counted without being listed; of those `within`, a portable Roaring bitmap,
    if it is given."""
    cdef _Question question = _Question()
    cdef ev_found found
    memset(&found, 0, sizeof(found))
    question._about(filter, start, end, among)
    question._aggregate(measure, low, high, how, zone)
    question.c.as_set = question.c.as_count = True
    if within is not None:
        _open_set(&question.within, within)
        question.c.within = &question.within
    try:
        question._ask(months, layers, folded, ranges, stop, &found)
        return found.count
    finally:
        ev_found_free(&found)


def select(
    months,
    EventFilter filter,
    start,
    end,
    columns,
    among=None,
    Stop stop=None,
    layers=(),
    folded=(0, 0),
    ranges=_EVERYWHERE,
):
    """The rows themselves that collect would look at: (ordinals uint32[n], a tuple of an int64[n] for each of the
    `columns`). A missing value is MISSING. The rows of a range stand together, in the order of the ranges, and in no
    order among themselves.
    """
    cdef _Question question = _Question()
    cdef ev_found found
    memset(&found, 0, sizeof(found))
    asked = question._list(columns)
    question._about(filter, start, end, among)
    try:
        question._ask(months, layers, folded, ranges, stop, &found)
        ordinals, values = np.empty(found.n, np.uint32), np.empty((found.n, len(asked)), np.int64)
        _copy(&found, ordinals, values.reshape(-1))
        return ordinals, tuple(np.ascontiguousarray(values[:, i]) for i in range(len(asked)))
    finally:
        ev_found_free(&found)


cdef void _copy(const ev_found *found, uint32_t[::1] ordinals, int64_t[::1] numbers):
    if found.n:
        memcpy(&ordinals[0], found.ordinals, found.n * sizeof(uint32_t))
        memcpy(&numbers[0], found.numbers, found.n * found.width * sizeof(int64_t))
