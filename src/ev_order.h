/* Rows of a month in the order of the values of one column: those of one value lie together, so that a question about one
 * value looks at its rows alone.
 *
 * An order is made in memory from the blocks of a month, and borrows nothing of them. It says of each row in which block
 * it is, the contact, and the time in steps coarse enough for 16 bits: what most questions need, and for the rest the row
 * is looked up. Whether it is that of a month, its mark tells: see ev_order_mark. */
#ifndef EV_ORDER_H
#define EV_ORDER_H

#include "ev_block.h"

#define EV_ROW_BITS 14u               /* of a place: the row in its block; the block's index is above */
#define EV_ORDER_SPAN (1u << 22)      /* between the least and the greatest value of a column that may be ordered */
#define EV_VALUES 16u                 /* so many values at most are looked up one by one */
#define EV_ROWS_LISTED 4u             /* rows a range from which on it is listed where a value's ranges begin */
#define EV_UNLISTED UINT32_MAX

typedef struct ev_order {
    uint32_t n;         /* rows: those with a value */
    uint32_t nvalues, nblocks;
    int64_t *values;    /* ascending */
    uint32_t *starts;   /* nvalues + 1: the rows of values[i] are those from starts[i] to below starts[i + 1] */
    uint32_t *places;   /* index of the block << EV_ROW_BITS | row; they ascend within a value */
    uint32_t *listed;   /* by value: where in `firsts` its ranges are, or EV_UNLISTED for one of few rows */
    uint32_t *firsts;   /* of a listed value: its first row of each of the month's nranges ranges, and behind them its end */
    uint32_t nranges;
    size_t nfirsts;
    uint16_t *contacts; /* within the range of the block; BM_PAD bytes more */
    uint16_t *times;    /* (time - first) >> shift; BM_PAD bytes more */
    int64_t first;
    uint32_t shift;
    uint64_t mark;
} ev_order;

/* The values of another column in the same order, for sums over the rows of a value. */
typedef struct ev_measure {
    uint32_t *codes;    /* value - base + 1, or 0 where there is none */
    int64_t base, most; /* of all values */
    bool whole;         /* every row has one */
    uint64_t mark;      /* see ev_measure_mark */
} ev_measure;

enum { EV_UNORDERED = 17 }; /* beside BM_OK and BM_NO_MEMORY: the column's values, or the month's blocks, are too many */

/* Orders the rows of a month, all of whose blocks have the column. The caller clears what was made, whatever is
 * returned. */
int ev_order_make(ev_order *o, const ev_month *m, uint32_t column);
void ev_order_clear(ev_order *o);
/* The bytes that an order takes. */
size_t ev_order_bytes(const ev_order *o);
/* A hash of all that an order by this column is made of. */
uint64_t ev_order_mark(const ev_month *m, uint32_t column);
/* The same for a column of the month that the order was made of; EV_UNORDERED where codes of 32 bits do not do. The caller
 * frees the codes. */
int ev_measure_make(ev_measure *v, const ev_order *o, const ev_month *m, uint32_t column);
uint64_t ev_measure_mark(const ev_month *m, uint32_t column);
/* The rows of a value: from *at to below *end. And its place among the firsts; NULL where it is not listed. */
const uint32_t *ev_order_find(const ev_order *o, int64_t value, uint32_t *at, uint32_t *end);

/* How many values a conjunct compares one column with, all of them in *values and EV_VALUES at most; 0 for any other. */
uint32_t ev_conjunct_values(const ev_filter *f, const ev_conjunct *part, int64_t *values);

#endif
