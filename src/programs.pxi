# Programs: expressions over postings and columns, built and evaluated, and what stops them. Part of bitmaps.pyx.


cdef class Stop:
    """Ends evaluations early: at `deadline_monotonic_ns` (of time.monotonic_ns; 0 for none) or when cancelled.

    Looked at between containers, and every 64 leaf evaluations within one. One Stop may serve many calls and threads.
    """

    cdef bm_stop c

    def __cinit__(self, int64_t deadline_monotonic_ns=0):
        self.c.cancelled = 0
        self.c.deadline_ns = deadline_monotonic_ns

    def cancel(self):
        """Stop every evaluation that was given this, soon. Callable from any thread."""
        bm_stop_cancel(&self.c)

    def check(self):
        """Raise Stopped if the deadline has passed or it was cancelled; for work outside the kernels."""
        _raise_unless_ok(bm_stop_look(&self.c))

    @property
    def stopped(self):
        """Whether an evaluation started now would stop at once."""
        return bm_stop_look(&self.c) != BM_OK


cdef class _Table:
    cdef bm_table c

    def __cinit__(self, base, bits, bint negate):
        cdef _Buffers held = _Buffers(1)
        cdef Py_buffer *view = held.take(bits)
        if view.len > 1 << 28:
            raise ValueError("a table holds 2^31 values at most")
        if not -(1 << 62) <= base <= 1 << 62:
            raise ValueError("the base of a table lies within -2^62 and 2^62")
        self.c.base = base
        self.c.negate = negate
        self.c.nbits = 8 * <uint64_t>view.len
        self.c.words = <uint64_t *>calloc((view.len + 7) // 8 + 1, 8)
        if self.c.words == NULL:
            raise MemoryError
        memcpy(self.c.words, view.buf, view.len)

    def __dealloc__(self):
        free(self.c.words)


cdef class Program:
    """An expression over postings and columns, evaluated container by container without a result bitmap.

    Build leaves and inner nodes; each method returns a node, an int that later calls may use any number of times. Then
    `finish` with the root and the universe; from there on `count`, `any` and `materialise` may be called, from many
    threads at once and over different ranges of container keys. The result is always root AND universe, and negation
    is within the universe.

    The program keeps the Posting and Column objects alive, not the pages they borrow: see Posting.
    """

    cdef bm_prog *p
    cdef list kept
    cdef bint finished
    cdef Posting universe

    def __cinit__(self):
        self.p = bm_prog_new()
        if self.p == NULL:
            raise MemoryError
        self.kept = []

    def __dealloc__(self):
        bm_prog_free(self.p)

    cdef object _node(self, bm_edge e):
        if e == BM_NO_EDGE:
            raise MemoryError("the program has too many nodes, or memory ran out")
        if bm_prog_depth(self.p, e) > BM_MAX_DEPTH:
            raise ValueError(f"the expression is deeper than {BM_MAX_DEPTH} levels")
        return e

    cdef int _building(self) except -1:
        if self.finished:
            raise RuntimeError("the program is finished: nothing can be added to it")
        return 0

    cdef bm_edge _edge(self, node) except? 0xffffffff:
        if not 0 <= node < 2 * bm_prog_size(self.p):
            raise ValueError(f"{node} is not a node of this program")
        return node

    cdef bm_edge *_edges(self, list nodes) except NULL:
        cdef bm_edge *edges = <bm_edge *>PyMem_Malloc((len(nodes) + 1) * sizeof(bm_edge))
        cdef Py_ssize_t i
        if edges == NULL:
            raise MemoryError
        try:
            for i in range(len(nodes)):
                edges[i] = self._edge(nodes[i])
        except BaseException:
            PyMem_Free(edges)
            raise
        return edges

    cdef bm_posting *_overlay(self, added, removed) except? NULL:
        if added is None and removed is None:
            return NULL
        cdef Posting overlay = Posting((), added, removed)
        self.kept.append(overlay)
        return &overlay.c

    def posting(self, Posting posting not None):
        """The contacts of a posting."""
        self._building()
        self.kept.append(posting)
        return self._node(bm_prog_posting(self.p, &posting.c))

    def range(self, Column column not None, lo, hi, added=None, removed=None):
        """The contacts whose value lies in lo..hi, both inclusive; a missing value never does.

        `added` and `removed` are portable Roaring buffers that overlay the scan: (scan minus removed) plus added.
        """
        self._building()
        cdef bm_posting *overlay = self._overlay(added, removed)
        cdef int64_t low = _clamp(lo), high = _clamp(hi)
        if lo > hi:
            low, high = 1, 0
        self.kept.append(column)
        return self._node(bm_prog_range(self.p, &column.c, low, high, overlay))

    def table(self, Column column not None, base, bits, bint negate=False, added=None, removed=None):
        """The contacts whose value v has bit v - base set in `bits` (least significant bit of byte 0 first).

        Values before and behind the table are not in it. `negate` takes the present values that are not in the table
        instead; a missing value matches neither way. `bits` is copied. Overlays as in `range`.
        """
        self._building()
        cdef bm_posting *overlay = self._overlay(added, removed)
        cdef _Table table = _Table(base, bits, negate)
        self.kept.append(column)
        self.kept.append(table)
        return self._node(bm_prog_table(self.p, &column.c, &table.c, overlay))

    def all_of(self, nodes):
        """The intersection; of no nodes, everything."""
        self._building()
        cdef list items = list(nodes)
        cdef bm_edge *edges = self._edges(items)
        cdef bm_edge e = bm_prog_all(self.p, edges, len(items))
        PyMem_Free(edges)
        return self._node(e)

    def any_of(self, nodes):
        """The union; of no nodes, nothing."""
        self._building()
        cdef list items = list(nodes)
        cdef bm_edge *edges = self._edges(items)
        cdef bm_edge e = bm_prog_any(self.p, edges, len(items))
        PyMem_Free(edges)
        return self._node(e)

    def at_least(self, k, nodes):
        """The contacts in at least k of the nodes; a node listed twice counts twice. k <= 0 is everything."""
        self._building()
        cdef list items = list(nodes)
        cdef bm_edge *edges = self._edges(items)
        cdef bm_edge e = bm_prog_at_least(self.p, min(max(k, 0), len(items) + 1), edges, len(items))
        PyMem_Free(edges)
        return self._node(e)

    def negate(self, node):
        """The complement."""
        self._building()
        return self._edge(node) ^ 1

    def constant(self, bint value):
        """Everything, or nothing."""
        self._building()
        return BM_TRUE if value else BM_FALSE

    def finish(self, root, Posting universe not None):
        """Fix the program to root AND universe and make it ready to evaluate. Returns the program."""
        self._building()
        cdef bm_edge e = self._edge(root)
        self.kept.append(universe)
        if not bm_prog_finish(self.p, e, &universe.c):
            raise MemoryError
        self.universe = universe
        self.finished = True
        return self

    def keys(self):
        """(first, last) container key of the universe, to split an evaluation by; None when it is empty."""
        self._ready()
        first = self.universe.min_key
        return None if first is None else (first, self.universe.max_key)

    cdef int _ready(self) except -1:
        if not self.finished:
            raise RuntimeError("the program is not finished: call finish(root, universe) first")
        return 0

    cdef int _range(self, first, last) except -1:
        if not (0 <= first <= 65535 and 0 <= last <= 65535):
            raise ValueError("container keys are 0 to 65535")
        return self._ready()

    def count(self, first_key=0, last_key=LAST_KEY, Stop stop=None):
        """How many contacts match, over container keys first_key..last_key. Raises Stopped."""
        self._range(first_key, last_key)
        cdef uint32_t first = first_key, last = last_key
        cdef uint64_t count = 0
        cdef const bm_stop *s = &stop.c if stop is not None else NULL
        cdef int status
        with nogil:
            status = bm_count(self.p, first, last, s, &count)
        _raise_unless_ok(status)
        return count

    def any(self, first_key=0, last_key=LAST_KEY, Stop stop=None):
        """Whether any contact matches, over container keys first_key..last_key. Raises Stopped."""
        self._range(first_key, last_key)
        cdef uint32_t first = first_key, last = last_key
        cdef bint found = False
        cdef const bm_stop *s = &stop.c if stop is not None else NULL
        cdef int status
        with nogil:
            status = _any(self.p, first, last, s, &found)
        _raise_unless_ok(status)
        return bool(found)

    def materialise(self, first_key=0, last_key=LAST_KEY, Stop stop=None):
        """The contacts that match, as a portable Roaring bitmap of arrays and bitsets. Raises Stopped."""
        self._range(first_key, last_key)
        cdef uint32_t first = first_key, last = last_key
        cdef const bm_stop *s = &stop.c if stop is not None else NULL
        cdef bm_output out
        cdef int status
        cdef bytes result
        with nogil:
            status = bm_materialise(self.p, first, last, s, &out)
        try:
            _raise_unless_ok(status)
            result = PyBytes_FromStringAndSize(NULL, bm_output_size(&out))
            bm_output_write(&out, <uint8_t *>PyBytes_AS_STRING(result))
        finally:
            bm_output_free(&out)
        return result


cdef extern from *:
    """
    #include "bm.h"
    static int segidx_any(const bm_prog *p, uint32_t first, uint32_t last, const bm_stop *stop, int *found) {
        bool any = false;
        int status = bm_any(p, first, last, stop, &any);
        *found = any;
        return status;
    }
    """
    int _any "segidx_any" (const bm_prog *p, uint32_t first, uint32_t last, const bm_stop *stop, bint *found) nogil


cdef int _raise_unless_ok(int status) except -1:
    if status == BM_CANCELLED:
        raise Stopped("cancelled")
    if status == BM_DEADLINE:
        raise Stopped("deadline")
    if status == BM_NO_MEMORY:
        raise MemoryError
    return 0
