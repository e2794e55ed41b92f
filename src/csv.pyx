"""Native core of reading CSV files that have lines of too many or too few cells: where rows end, and how many cells
they have. Computes only; the GIL is released. What a row is, is what pyarrow's reader takes for one: a quote means
something at the start of a cell alone, a doubled one within quotes is itself, lines end in LF, CR or both, and empty
ones are no rows."""

from libc.stdint cimport int64_t, uint8_t


cdef const uint8_t *row_end(const uint8_t *at, const uint8_t *end, uint8_t delimiter, bint final,
                            int64_t *cells) noexcept nogil:
    """The end of the row that begins at `at` (before `end`), with its line's, and its cells; NULL if it is not whole.
    What ends without a line's end is whole if it is `final`."""
    cdef uint8_t c
    cells[0] = 1
    while at < end:  # a cell
        if at[0] == b'"':
            at += 1
            while at < end:
                if at[0] != b'"':
                    at += 1
                elif at + 1 < end and at[1] == b'"':
                    at += 2
                else:
                    break
            if at == end:
                break
            at += 1
            if at == end and not final:
                return NULL  # the next byte may be a quote too
        while True:
            if at == end:
                return at if final else NULL
            c = at[0]
            at += 1
            if c == delimiter:
                cells[0] += 1
                break
            if c == b'\n':
                return at
            if c == b'\r':
                return at + 1 if at < end and at[0] == b'\n' else at
    return at if final else NULL


def next_ragged(const uint8_t[::1] data, Py_ssize_t start, int delimiter, int64_t columns, bint final):
    """From `start`, where a row or an empty line begins: (rows, at, end, cells), so many rows of `columns` cells, which
    end at `at`, and behind them a row that has another number of `cells` and ends at `end`. Cells are 0, and `at` is
    `end`, where no whole row follows; what ends without a line's end is whole if it is `final`."""
    cdef const uint8_t *origin
    cdef const uint8_t *at
    cdef const uint8_t *end
    cdef const uint8_t *next = NULL
    cdef int64_t rows = 0, cells = 0
    if start >= data.shape[0]:
        return 0, start, start, 0
    with nogil:
        origin = &data[0]
        at, end = origin + start, origin + data.shape[0]
        while at < end:
            if at[0] == b'\n' or at[0] == b'\r':
                at += 1
                continue
            next = row_end(at, end, <uint8_t>delimiter, final, &cells)
            if next == NULL or cells != columns:
                break
            rows += 1
            at, next = next, NULL
    if next == NULL:
        return rows, at - origin, at - origin, 0
    return rows, at - origin, next - origin, cells
