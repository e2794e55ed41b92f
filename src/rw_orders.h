/* Orders of writes, straight from the wire to columns, as rw_rows.h does it for contacts.
 *
 * Only what is plain is taken: a request whose events are orders, each field given once, with ASCII ids and strings,
 * numbers in digits, no currency but the account's. Anything else (and anything malformed or out of range) ends the parse
 * with RW_UNUSUAL, and all events go the general way, which also words the refusals. */
#ifndef RW_ORDERS_H
#define RW_ORDERS_H

#include "rw_rows.h"

/* A property of each order or line: `values` i64 or strings, meaningless (0, empty) where `there` is 0. */
typedef struct {
    rw_buf values, there;
    rw_strings strings;
} rw_column;

enum { RW_SOURCE, RW_PAID, RW_AMOUNT, RW_ORDER_COLUMNS };
enum { RW_PRODUCT, RW_PRODUCER, RW_CATEGORY, RW_QUANTITY, RW_UNIT_PRICE, RW_LINE_AMOUNT, RW_LINE_COLUMNS };

/* What a parse keeps to. */
typedef struct {
    const uint8_t *currency; /* of the account */
    uint32_t currency_len, money_scale, max_orders, max_lines; /* of all orders */
} rw_order_rules;

typedef struct {
    rw_strings ids, contacts;
    rw_buf times, revisions, line_counts; /* i64: ms since 1970; 0 where none is given */
    rw_column orders[RW_ORDER_COLUMNS], lines[RW_LINE_COLUMNS];
} rw_orders;

/* The events, field `events_field`, of a request. Amounts that are not given are worked out where they can be. */
int rw_parse_orders(
    rw_orders *o, const uint8_t *data, size_t len, uint32_t events_field, const rw_order_rules *rules);
void rw_free_orders(rw_orders *o);

#endif
