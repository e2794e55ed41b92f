"""Python face of rw_rows.h and rw_orders.h: rows and orders of writes from the bytes of a request to columns. Computes
only."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

import numpy as np


cdef extern from "rw_rows.h" nogil:
    ctypedef struct rw_buf:
        uint8_t *at
        size_t n

    ctypedef struct rw_strings:
        rw_buf ends
        rw_buf data

    ctypedef struct rw_field:
        const uint8_t *name
        uint32_t name_len
        uint32_t kind
        uint32_t scale
        rw_buf rows
        rw_buf values
        rw_buf cleared
        rw_buf added
        rw_strings strings

    ctypedef struct rw_batch:
        uint32_t nrows
        rw_strings ids
        rw_buf must_exist

    const int RW_OK, RW_NO_MEMORY, RW_REPEATED
    const uint32_t RW_TAGS, RW_STRING, RW_NUMBER, RW_TIMESTAMP, RW_DATE, RW_BOOL

    int rw_begin(rw_batch *b, rw_field *fields, uint32_t nfields)
    int rw_parse(rw_batch *b, const uint8_t *data, size_t len, size_t *at, uint32_t rows_field, uint32_t max_rows)
    void rw_free(rw_batch *b)
    int64_t rw_header(const uint8_t *data, size_t len, uint32_t rows_field, uint32_t events_field, uint8_t *out,
                      int *events)


KIND_TAGS, KIND_STRING, KIND_NUMBER = RW_TAGS, RW_STRING, RW_NUMBER
KIND_TIMESTAMP, KIND_DATE, KIND_BOOL = RW_TIMESTAMP, RW_DATE, RW_BOOL


cdef object _array(rw_buf *buf, object dtype):
    cdef object found = np.empty(buf.n // np.dtype(dtype).itemsize, dtype)
    cdef uint8_t[::1] to = found.view(np.uint8)
    if buf.n:
        memcpy(&to[0], buf.at, buf.n)
    return found


cdef tuple _strings(rw_strings *strings):
    """(int32 ends with a leading 0, bytes)."""
    cdef object data = PyBytes_FromStringAndSize(<char *>strings.data.at, strings.data.n) if strings.data.n else b""
    return _array(&strings.ends, np.int32), data


def header(bytes data not None, uint32_t rows_field, uint32_t events_field=0):
    """(the bytes of a request without its rows and events, whether it has events), or None when they are malformed.
    Events are kept where no field of them is given."""
    cdef bytes out = PyBytes_FromStringAndSize(NULL, len(data))
    cdef int events = 0
    cdef int64_t n = rw_header(<const uint8_t *>PyBytes_AS_STRING(data), len(data), rows_field, events_field,
                               <uint8_t *>PyBytes_AS_STRING(out), &events)
    return None if n < 0 else (out[:n], bool(events))


def parse(bytes data not None, size_t start, uint32_t rows_field, list fields not None, uint32_t max_rows):
    """The rows from byte `start` of a request in columns, or None for anything that is not plain.

    `fields` are (name in UTF-8, kind, scale). Returns (end, ids, must_exist u8[n], columns): the byte where the parse
    ended, the request's length or that of a row whose id occurred before; ids as (int32 ends, bytes); and
    one of `columns` for each field: (rows i64, values, cleared i64, added u8), values i64 or (int32 ends, bytes).
    """
    cdef uint32_t n = len(fields), i
    cdef rw_field *columns = <rw_field *>calloc(n + 1, sizeof(rw_field))
    cdef rw_batch batch
    cdef bytes name
    cdef int status
    cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef size_t size = len(data)
    if start > size:
        raise ValueError(f"byte {start} is behind the request")
    if columns == NULL:
        raise MemoryError
    for i in range(n):
        name = fields[i][0]
        columns[i].name = <const uint8_t *>PyBytes_AS_STRING(name)
        columns[i].name_len = len(name)
        columns[i].kind = fields[i][1]
        columns[i].scale = fields[i][2]
    try:
        status = rw_begin(&batch, columns, n)
        if status == RW_OK:
            with nogil:
                status = rw_parse(&batch, at, size, &start, rows_field, max_rows)
        if status == RW_NO_MEMORY:
            raise MemoryError
        if status != RW_OK and status != RW_REPEATED:
            return None
        return (
            start,
            _strings(&batch.ids),
            _array(&batch.must_exist, np.uint8),
            [
                (
                    _array(&columns[i].rows, np.int64),
                    _strings(&columns[i].strings)
                    if columns[i].kind in (RW_STRING, RW_TAGS) else _array(&columns[i].values, np.int64),
                    _array(&columns[i].cleared, np.int64),
                    _array(&columns[i].added, np.uint8),
                )
                for i in range(n)
            ],
        )
    finally:
        rw_free(&batch)
        free(columns)


include "orders.pxi"
