# Orders of writes (rw_orders.h), from the bytes of a request to columns. Included by rows.pyx.

cdef extern from "rw_orders.h" nogil:
    ctypedef struct rw_column:
        rw_buf values
        rw_buf there
        rw_strings strings

    ctypedef struct rw_order_rules:
        const uint8_t *currency
        uint32_t currency_len
        uint32_t money_scale
        uint32_t max_orders
        uint32_t max_lines

    ctypedef struct rw_orders:
        rw_strings ids
        rw_strings contacts
        rw_buf times
        rw_buf revisions
        rw_buf line_counts
        rw_column *orders
        rw_column *lines

    const uint32_t RW_PAID, RW_ORDER_COLUMNS, RW_QUANTITY, RW_LINE_COLUMNS
    int rw_parse_orders(rw_orders *o, const uint8_t *data, size_t len, uint32_t events_field,
                        const rw_order_rules *rules)
    void rw_free_orders(rw_orders *o)


cdef list _columns(rw_column *columns, uint32_t texts, uint32_t n):
    """(values, there u8) of each; the first `texts` have strings, (int32 ends, bytes), the others i64."""
    return [
        (
            _strings(&columns[i].strings) if i < texts else _array(&columns[i].values, np.int64),
            _array(&columns[i].there, np.uint8),
        )
        for i in range(n)
    ]


def parse_orders(bytes data not None, uint32_t events_field, bytes currency not None, uint32_t money_scale,
                 uint32_t max_orders, uint32_t max_lines):
    """The events of a request, all of them orders, in columns, or None for anything that is not plain.

    Returns (ids, contacts, times i64, revisions i64, line_counts i64, columns of orders, columns of lines), ids and
    contacts as (int32 ends, bytes), columns in the order of the properties, as `_columns` has them.
    """
    cdef rw_orders orders
    cdef rw_order_rules rules
    cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef size_t size = len(data)
    cdef int status
    rules.currency = <const uint8_t *>PyBytes_AS_STRING(currency)
    rules.currency_len = len(currency)
    rules.money_scale, rules.max_orders, rules.max_lines = money_scale, max_orders, max_lines
    with nogil:
        status = rw_parse_orders(&orders, at, size, events_field, &rules)
    try:
        if status == RW_NO_MEMORY:
            raise MemoryError
        if status != RW_OK:
            return None
        return (
            _strings(&orders.ids),
            _strings(&orders.contacts),
            _array(&orders.times, np.int64),
            _array(&orders.revisions, np.int64),
            _array(&orders.line_counts, np.int64),
            _columns(orders.orders, RW_PAID, RW_ORDER_COLUMNS),
            _columns(orders.lines, RW_QUANTITY, RW_LINE_COLUMNS),
        )
    finally:
        rw_free_orders(&orders)
