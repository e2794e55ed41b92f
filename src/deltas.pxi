# Deltas (bm_delta.h): the layers of an overlay, and the contents of a log record. Part of bitmaps.pyx.

cdef extern from "bm_delta.h" nogil:
    ctypedef struct bm_delta:
        uint32_t nkeys, nadds, nremoves, nfields, nvalues
        const uint64_t *keys
        const int64_t *values
        const int64_t *least
        const int64_t *most
        const uint32_t *counts
        const uint32_t *field_ends
        const uint32_t *ordinals
        const uint8_t *present

    const char *bm_delta_open(bm_delta *d, const uint8_t *buf, size_t len)
    size_t bm_delta_bytes(uint32_t nkeys, uint32_t nadds, uint32_t nremoves, uint32_t nfields, uint32_t nvalues)
    void bm_delta_merge_size(const bm_delta *older, const bm_delta *newer, bm_delta *out)
    void bm_delta_merge(const bm_delta *older, const bm_delta *newer, const bm_delta *sizes, uint8_t *to)
    int64_t bm_delta_key(const bm_delta *d, uint64_t key)
    int64_t bm_delta_field(const bm_delta *d, uint32_t field)
    void bm_delta_held(const bm_delta *const *layers, uint32_t n, const uint64_t *keys, const uint32_t *ordinals,
                       size_t pairs, uint8_t *held)
    size_t bm_delta_counts(const bm_delta *const *layers, uint32_t n, const uint64_t *keys, size_t nkeys, int64_t *counts)
    size_t bm_delta_room(const bm_delta *const *layers, uint32_t n, uint64_t key)
    int bm_delta_fold(const bm_delta *const *layers, uint32_t n, uint64_t key, uint32_t *added, uint32_t *removed,
                      uint32_t *added2, uint32_t *removed2, size_t *nadded, size_t *nremoved)
    uint32_t bm_delta_settle(const uint32_t *older, uint32_t nolder, const uint32_t *taken, uint32_t ntaken,
                             const uint32_t *newer, uint32_t nnewer, uint32_t *to)
    bint bm_dir_ordinals(const bm_dir *dir, uint32_t *to)
    size_t bm_build_size(const uint32_t *ordinals, size_t n)
    void bm_build(const uint32_t *ordinals, size_t n, uint8_t *to)


class CorruptDelta(Exception):
    """Bytes that are not a delta."""


cdef class _Layer


cdef class Delta:
    """What some commits changed, as sorted arrays over one bytes object, which is kept. Immutable.

    Opening checks everything (CorruptDelta says what is wrong).
    """

    cdef bm_delta c
    cdef readonly bytes data
    cdef dict layers  # by field, those that a column was read through

    def __cinit__(self, bytes data not None):
        cdef const char *reason
        cdef const uint8_t *buf = <const uint8_t *>PyBytes_AS_STRING(data)
        cdef size_t size = len(data)
        self.data = data
        self.layers = {}
        with nogil:
            reason = bm_delta_open(&self.c, buf, size)
        if reason != NULL:
            raise CorruptDelta(reason.decode())

    cdef _Layer layer(self, uint32_t field):
        """The values of a field, None where there are none; indexed when first asked for."""
        cdef int64_t at
        cdef _Layer found = self.layers.get(field)
        if found is None:
            at = bm_delta_field(&self.c, field)
            if at >= 0:  # two threads may both make one, and either serves
                found = self.layers[field] = _Layer(self, at)
        return found

    def __len__(self):
        """Bytes."""
        return len(self.data)

    @property
    def shape(self):
        """(keys, adds, removes, fields, values): how many there are of each."""
        return self.c.nkeys, self.c.nadds, self.c.nremoves, self.c.nfields, self.c.nvalues

    def has_key(self, uint64_t key):
        """Whether a membership or the count of the key is set."""
        return bm_delta_key(&self.c, key) >= 0

    def has_field(self, uint32_t field):
        """Whether values of the field are set."""
        return bm_delta_field(&self.c, field) >= 0

    def merged(self, Delta newer not None):
        """A delta that sets what this one and then `newer` set."""
        cdef bm_delta sizes
        with nogil:
            bm_delta_merge_size(&self.c, &newer.c, &sizes)
        cdef bytes out = PyBytes_FromStringAndSize(
            NULL, bm_delta_bytes(sizes.nkeys, sizes.nadds, sizes.nremoves, sizes.nfields, sizes.nvalues)
        )
        cdef uint8_t *to = <uint8_t *>PyBytes_AS_STRING(out)
        with nogil:
            bm_delta_merge(&self.c, &newer.c, &sizes, to)
        return Delta(out)


cdef class _Layer:
    """The values of one field of a delta, indexed by container. Keeps their bytes alive."""

    cdef bm_layer c
    cdef bytes data

    def __cinit__(self, Delta delta not None, Py_ssize_t at):
        cdef uint32_t first = delta.c.field_ends[at - 1] if at else 0
        cdef bint ok
        self.data = delta.data
        self.c.ordinals = delta.c.ordinals + first
        self.c.values = delta.c.values + first
        self.c.present = delta.c.present + first
        self.c.n = delta.c.field_ends[at] - first
        self.c.least = delta.c.least[at]
        self.c.most = delta.c.most[at]
        with nogil:
            ok = bm_layer_index(&self.c)
        if not ok:
            raise MemoryError

    def __dealloc__(self):
        bm_layer_clear(&self.c)


cdef class _Layers:
    """Pointers to the deltas of a tuple, for one call."""

    cdef const bm_delta **at
    cdef uint32_t n
    cdef tuple kept

    def __cinit__(self, tuple deltas not None):
        cdef Py_ssize_t i
        self.kept = deltas
        self.n = len(deltas)
        self.at = <const bm_delta **>PyMem_Malloc((len(deltas) + 1) * sizeof(void *))
        if self.at == NULL:
            raise MemoryError
        for i in range(len(deltas)):
            self.at[i] = &(<Delta?>deltas[i]).c

    def __dealloc__(self):
        PyMem_Free(self.at)


def overlay_held(tuple deltas, const uint64_t[::1] keys, const uint32_t[::1] ordinals, uint8_t[::1] held):
    """Bring `held` (u8[n], 1 where the pair keys[i], ordinals[i] is held below the deltas) up to the deltas, oldest first.

    Quickest when pairs of one key lie together.
    """
    cdef _Layers layers = _Layers(deltas)
    cdef Py_ssize_t n = keys.shape[0]
    if ordinals.shape[0] != n or held.shape[0] != n:
        raise ValueError("keys, ordinals and held are of one length")
    if n:
        with nogil:
            bm_delta_held(layers.at, layers.n, &keys[0], &ordinals[0], n, &held[0])


def overlay_counts(tuple deltas, const uint64_t[::1] keys, int64_t[::1] counts):
    """Bring the counts of `keys` up to the deltas, in place; the number of keys that they set."""
    cdef _Layers layers = _Layers(deltas)
    cdef size_t found = 0
    if keys.shape[0] != counts.shape[0]:
        raise ValueError("keys and counts are of one length")
    if keys.shape[0]:
        with nogil:
            found = bm_delta_counts(layers.at, layers.n, &keys[0], keys.shape[0], &counts[0])
    return found


cdef class Fold:
    """The overlay of one key by some deltas together. Immutable.

    `bitmaps` are (A, R), portable Roaring bitmaps, None where there is none.
    """

    cdef bytes added, removed  # the same ordinals, u32 and ascending
    cdef readonly tuple bitmaps


# Ordinals from which on the interpreter's lock is given up: among busy threads, getting it back may take longer than
# folding fewer, some tens of microseconds.
cdef enum:
    _WORTH_UNLOCKING = 1 << 14


def fold_key(tuple deltas, uint64_t key, Fold before=None):
    """The overlay of a key by the deltas, oldest first, above `before`.

    The deltas may hold again what `before` was folded of, as long as they hold all that came behind it: they set.
    """
    cdef _Layers layers = _Layers(deltas)
    cdef size_t nadded = len(before.added) // 4 if before is not None else 0
    cdef size_t nremoved = len(before.removed) // 4 if before is not None else 0
    cdef size_t room = bm_delta_room(layers.at, layers.n, key) + nadded + nremoved
    cdef uint32_t *arena
    cdef int which
    cdef Fold found = Fold.__new__(Fold)
    found.added = found.removed = b""
    found.bitmaps = (None, None)
    if not room:
        return found
    arena = <uint32_t *>PyMem_Malloc(4 * room * sizeof(uint32_t))
    if arena == NULL:
        raise MemoryError
    try:
        if before is not None:
            memcpy(arena, PyBytes_AS_STRING(before.added), 4 * nadded)
            memcpy(arena + room, PyBytes_AS_STRING(before.removed), 4 * nremoved)
        if room > _WORTH_UNLOCKING:
            with nogil:
                which = bm_delta_fold(layers.at, layers.n, key, arena, arena + room, arena + 2 * room,
                                      arena + 3 * room, &nadded, &nremoved)
        else:
            which = bm_delta_fold(layers.at, layers.n, key, arena, arena + room, arena + 2 * room, arena + 3 * room,
                                  &nadded, &nremoved)
        found.added = PyBytes_FromStringAndSize(<char *>(arena + 2 * which * room), 4 * nadded)
        found.removed = PyBytes_FromStringAndSize(<char *>(arena + (2 * which + 1) * room), 4 * nremoved)
        found.bitmaps = (_bitmap(arena + 2 * which * room, nadded), _bitmap(arena + (2 * which + 1) * room, nremoved))
        return found
    finally:
        PyMem_Free(arena)


def overlay_bitmaps(tuple deltas, uint64_t key):
    """(A, R) of a key by all deltas together: portable Roaring bitmaps, None where there is none."""
    return fold_key(deltas, key).bitmaps


cdef object _bitmap(const uint32_t *ordinals, size_t n):
    cdef bytes out
    cdef uint8_t *to
    if not n:
        return None
    out = PyBytes_FromStringAndSize(NULL, bm_build_size(ordinals, n))
    to = <uint8_t *>PyBytes_AS_STRING(out)
    if n > _WORTH_UNLOCKING:
        with nogil:
            bm_build(ordinals, n, to)
    else:
        bm_build(ordinals, n, to)
    return out


# Up to so many ordinals a bitmap is changed as one list: beyond, the containers that do not change should be copied.
_LISTED = 1 << 14


def changed_bitmap(buffer, const uint32_t[::1] added, const uint32_t[::1] removed):
    """(cardinality before, cardinality, bytes) of a portable Roaring bitmap after ascending ordinals were added and removed; a quick way for
    small bitmaps of arrays, None for all others. No ordinal is in both lists.

    The bitmap must be sound: its checksum was compared. CorruptPosting for one that cannot even be opened.
    """
    cdef bm_posting p
    cdef _Buffers held = _Buffers(1)
    cdef uint32_t n, na = added.shape[0], nr = removed.shape[0]
    cdef uint32_t nothing = 0
    cdef uint32_t *lists = NULL
    cdef uint64_t card
    memset(&p, 0, sizeof(p))
    try:
        _open_dir(&p.base, ("",), [buffer], held, 0)
        card = bm_dir_card(&p.base)
        if card + na > <uint64_t>_LISTED:
            return None
        lists = <uint32_t *>PyMem_Malloc((2 * card + na + 1) * sizeof(uint32_t))
        if lists == NULL:
            raise MemoryError
        if not bm_dir_ordinals(&p.base, lists):
            return None
        n = bm_delta_settle(lists, <uint32_t>card, &removed[0] if nr else &nothing, nr, &added[0] if na else &nothing, na,
                            lists + card)
        return card, n, _bitmap(lists + card, n) or b""
    finally:
        free(p.base.at)
        PyMem_Free(lists)
