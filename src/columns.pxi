# Columns: chunks encoded, decoded and checked, and read in place under the deltas above them. Part of bitmaps.pyx.


cdef tuple _values_and_present(values, present):
    v = np.ascontiguousarray(values, dtype=np.int64)
    p = np.ascontiguousarray(present, dtype=np.uint8)
    if v.ndim != 1 or p.ndim != 1 or v.shape[0] != p.shape[0]:
        raise ValueError("values and present are one-dimensional and of one length")
    if v.shape[0] > BM_CHUNK_ROWS:
        raise ValueError(f"a chunk holds {BM_CHUNK_ROWS} rows, not {v.shape[0]}")
    return v, p


def encode_chunk(values, present, *, bint sparse=True):
    """Encode one column chunk.

    values: int64[n], n <= 16384, ignored where present is 0; present: uint8[n] or bool[n]. Rows behind the last present
    one are not stored, and of a few among many no others either, if the chunk may be sparse: those of blocks of events may
    not. A present value outside -2^62 < value < 2^62 is a ValueError.
    """
    v, p = _values_and_present(values, present)
    cdef const int64_t[::1] vs = v
    cdef const uint8_t[::1] ps = p
    cdef uint32_t n = v.shape[0]
    cdef int64_t no_value = 0
    cdef uint8_t no_flag = 0
    cdef const int64_t *vp = &vs[0] if n else &no_value
    cdef const uint8_t *pp = &ps[0] if n else &no_flag
    cdef bm_chunk chunk
    cdef const char *reason = bm_chunk_plan(&chunk, vp, pp, n)
    if reason != NULL:
        raise ValueError(reason.decode())
    if sparse:
        bm_chunk_thin(&chunk)
    cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>bm_chunk_size(&chunk))
    cdef uint8_t *to = <uint8_t *>PyBytes_AS_STRING(out)
    bm_chunk_write(&chunk, vp, pp, to)
    cdef uint32_t checksum = _checksum(out)
    memcpy(to + 8, &checksum, 4)
    return out


cdef uint32_t _checksum(buffer) except? 0:
    view = memoryview(buffer).cast("B")
    return crc32(view[12:], crc32(view[:8]))


cdef object _open_chunk(bm_chunk *chunk, object number, Py_buffer *view):
    cdef const char *reason = bm_chunk_open(chunk, <const uint8_t *>view.buf, view.len)
    if reason != NULL:
        raise CorruptColumn(number, reason.decode())


def decode_chunk(buffer):
    """Decode a chunk: (values int64[16384], present uint8[16384]); values are 0 where there is none."""
    cdef _Buffers held = _Buffers(1)
    cdef bm_chunk chunk
    _open_chunk(&chunk, None, held.take(buffer))
    values = np.empty(BM_CHUNK_ROWS, dtype=np.int64)
    present = np.empty(BM_CHUNK_ROWS, dtype=np.uint8)
    cdef int64_t[::1] vs = values
    cdef uint8_t[::1] ps = present
    with nogil:
        bm_chunk_read(&chunk, &vs[0], &ps[0])
    return values, present


def chunk_header(buffer):
    """The header of a chunk: (width, rows, present, min, max). min and max are None when no row has a value."""
    cdef _Buffers held = _Buffers(1)
    cdef bm_chunk chunk
    _open_chunk(&chunk, None, held.take(buffer))
    if not chunk.present:
        return chunk.width, chunk.rows, 0, None, None
    return chunk.width, chunk.rows, chunk.present, chunk.base, chunk.max


def verify_chunk(buffer):
    """Check a chunk in full, checksum and every code: None when it is sound, else what is wrong with it."""
    cdef _Buffers held = _Buffers(1)
    cdef bm_chunk chunk
    cdef Py_buffer *view = held.take(buffer)
    cdef const char *reason = bm_chunk_open(&chunk, <const uint8_t *>view.buf, view.len)
    if reason == NULL and _checksum(buffer) != chunk.checksum:
        return "the checksum does not match"
    if reason == NULL:
        reason = bm_chunk_check(&chunk)
    return None if reason == NULL else reason.decode()


cdef class Column:
    """One typed value a contact, read in place: `chunks[i]` covers ordinals i * 16384 up to (i + 1) * 16384.

    A chunk is what encode_chunk made, behind `skip` bytes of value header, or None where no contact has a value.
    Opening checks each header and length (CorruptColumn says which chunk and why), not the checksum. The buffers are
    BORROWED exactly as those of a Posting: memory in LMDB pages must be dropped before its read transaction ends.
    """

    cdef bm_column c
    cdef _Buffers held
    cdef Column under  # whose chunks this one shares
    cdef const bm_layer **layers
    cdef tuple kept  # that own the layers

    def __cinit__(self, chunks, Py_ssize_t skip=0):
        cdef list pieces = list(chunks)
        cdef Py_ssize_t i
        cdef Py_buffer *view
        cdef const char *reason
        if skip < 0:
            raise ValueError("skip is a number of bytes, not below 0")
        if len(pieces) > 4 * 65536:
            raise ValueError("a column has 262144 chunks at most")
        self.held = _Buffers(len(pieces))
        self.c.at = <bm_chunk *>calloc(len(pieces) + 1, sizeof(bm_chunk))
        if self.c.at == NULL:
            raise MemoryError
        self.c.n = len(pieces)
        for i in range(len(pieces)):
            if pieces[i] is None:
                continue
            view = self.held.take(pieces[i])
            if view.len < skip:
                raise CorruptColumn(i, "shorter than the value header")
            reason = bm_chunk_open(&self.c.at[i], <const uint8_t *>view.buf + skip, view.len - skip)
            if reason != NULL:
                raise CorruptColumn(i, reason.decode())

    def __dealloc__(self):
        if self.under is None:
            free(self.c.at)
        free(self.layers)

    def overlaid(self, uint32_t field, tuple deltas):
        """This column's chunks under the values that `deltas` (oldest first) hold of the field; itself where they hold
        none. Shares what was opened and keeps this column and the deltas alive."""
        cdef list layers = [layer for d in deltas if (layer := (<Delta?>d).layer(field)) is not None]
        if not layers:
            return self
        cdef Column over = Column(())
        free(over.c.at)
        over.under = self
        over.c = self.c
        over.kept = tuple(layers)
        over.layers = <const bm_layer **>calloc(len(layers), sizeof(void *))
        if over.layers == NULL:
            raise MemoryError
        for i, layer in enumerate(layers):
            over.layers[i] = &(<_Layer>layer).c
        over.c.layers = over.layers
        over.c.nlayers = len(layers)
        return over

    def __len__(self):
        return self.c.n

    @property
    def layered(self):
        """Whether deltas lie above the chunks, so that `bounds` and estimates are no longer tight."""
        return self.c.nlayers > 0

    def zone(self, uint32_t chunk):
        """(min, max, present) of a stored chunk's values, whatever lies above it; None when it has none."""
        if chunk >= self.c.n or not self.c.at[chunk].present:
            return None
        return self.c.at[chunk].base, self.c.at[chunk].max, self.c.at[chunk].present

    def take(self, ordinals):
        """The values of `ordinals` (u32[n], any order): (int64[n], uint8[n] present). 0 where there is none."""
        cdef const uint32_t[::1] wanted = np.ascontiguousarray(ordinals, dtype=np.uint32)
        cdef Py_ssize_t n = wanted.shape[0]
        values = np.empty(n, dtype=np.int64)
        present = np.empty(n, dtype=np.uint8)
        cdef int64_t[::1] vs = values
        cdef uint8_t[::1] ps = present
        if n:
            with nogil:
                bm_column_take(&self.c, &wanted[0], n, &vs[0], &ps[0])
        return values, present

    def bounds(self):
        """(min, max, present) over all chunks, from their headers; (None, None, 0) when there is no value.

        Under deltas: bounds that contain every value, and at most how many there are.
        """
        cdef int64_t low, high
        cdef uint64_t present
        bm_column_bounds(&self.c, &low, &high, &present)
        return (low, high, present) if present else (None, None, 0)

    def estimate_range(self, lo, hi):
        """(least, expected, most) contacts with lo <= value <= hi, from chunk headers alone.

        least counts chunks that lie inside, most those that overlap, expected interpolates within the overlapping ones
        as if values were spread evenly. Rows that deltas touch widen both ends.
        """
        cdef uint64_t least, most
        cdef double expected
        cdef int64_t low = _clamp(lo), high = _clamp(hi)
        if lo > hi:
            return 0, 0.0, 0
        with nogil:
            bm_column_estimate(&self.c, low, high, &least, &expected, &most)
        return least, expected, most


cdef int64_t _clamp(value) except? -1:
    """Any integer bound as an int64 with the same meaning: values stay below 2^62 in magnitude."""
    return INT64_MIN if value < INT64_MIN else INT64_MAX if value > INT64_MAX else <int64_t>value
