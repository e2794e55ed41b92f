/* Event blocks: rows of one kind of events, of one range of 16,384 contacts and one month; aggregates a contact over
 * them.
 *
 * The rules of bm.h hold here too: bytes are borrowed, and whatever they hold, only what lies inside them is read. What
 * passes ev_block_open may still hold damaged codes, which give wrong numbers and never a wild access. */
#ifndef EV_BLOCK_H
#define EV_BLOCK_H

#include "bm_kernels.h"

/* --- blocks (ev_block.c) -------------------------------------------------------------------------------- */

#define EV_VERSION 1u
#define EV_HEADER 12u        /* bytes before the ends of the columns */
#define EV_MAX_COLUMNS 32u
#define EV_MIN_COLUMNS 5u    /* those below, and whether the row counts */

enum { EV_CONTACT = 0, EV_TIME = 1, EV_EVENT = 2, EV_LINE = 3 }; /* columns of every kind; the last one is the counts */
enum { EV_NO_COLUMN = -1 };

typedef struct {
    const uint8_t *data;
    uint32_t rows, ncolumns, checksum;
    bm_chunk columns[EV_MAX_COLUMNS];
} ev_block;

/* NULL, or what is wrong with the header or with that of *column (EV_NO_COLUMN: with the block's own). */
const char *ev_block_open(ev_block *b, const uint8_t *buf, size_t len, int *column);
/* What the columns must have whatever holds them, contacts from 0 to `most`: a part of ev_block_open. */
const char *ev_block_columns(const ev_block *b, uint32_t most, int *column);
/* Whether the rows ascend by contact, time, event and line, none twice; NULL when so, else what is wrong. */
const char *ev_block_order(const ev_block *b);
/* The column's b->rows values, 0 where there is none. */
void ev_block_read(const ev_block *b, uint32_t column, int64_t *values, uint8_t *present);

static inline uint64_t ev_code(const bm_chunk *c, uint32_t row) { return row < c->rows ? bm_code(c, row) : 0; }
static inline int64_t ev_value(const bm_chunk *c, uint64_t code) { return (int64_t)((uint64_t)c->base + code - 1); }

struct ev_layer;
struct ev_order;
struct ev_measure;
struct ev_presence;
struct ev_ledger;

/* --- local time (ev_clock.c) ---------------------------------------------------------------------------- */

/* The offset of local time from each start on; the first holds before it too. Milliseconds, starts ascending, n >= 1. */
typedef struct {
    const int64_t *starts, *offsets;
    uint32_t n;
} ev_zone;

/* Hours of the local week: bit i of the 168 is the one that begins i hours behind the midnight that begins Monday. Or with
 * `months` local months: bit 0 of the first word is January. */
typedef struct {
    ev_zone zone;
    uint64_t week[3];
    bool months;
} ev_clock;

/* Room to work in. */
typedef struct {
    uint64_t *passing, *unsure; /* BM_BUF bytes each */
    uint16_t *highs;            /* of BM_CHUNK_ROWS rows */
    uint64_t *bits;             /* BM_CHUNK_WORDS */
} ev_clock_room;

/* The rows of a chunk of times in one of the hours or months, (rows + 63) / 64 words; and of the n rows listed, as many bits. */
void ev_clock_bits(const ev_clock *k, const bm_chunk *c, uint32_t rows, uint64_t *out, const ev_clock_room *room);
void ev_clock_test(const ev_clock *k, const bm_chunk *c, const uint16_t *rows, uint32_t n, uint64_t *out);
/* BM_ZONE_NONE without any hour or month, BM_ZONE_ALL with all, else BM_ZONE_SOME. */
int ev_clock_zone(const ev_clock *k);
/* The number of the local day that each of the n rows is on: consecutive days have consecutive numbers. */
void ev_clock_days(const ev_zone *z, const bm_chunk *c, const uint16_t *rows, uint32_t n, int64_t *days);

/* --- distinct values (ev_distinct.c) -------------------------------------------------------------------- */

/* Pairs of a contact within its range and a value. When they fill the room they are made unique, and only where that
 * leaves more than half of it taken is there more: it grows with the distinct pairs of a range, not with its rows. */
typedef struct {
    uint16_t *contacts;             /* room for cap of each */
    int64_t *values, *spare_values;
    size_t n, cap;
    uint32_t starts[BM_CHUNK_ROWS + 1]; /* scratch */
} ev_pairs;

/* Makes room for so many more; false without memory. */
bool ev_pairs_room(ev_pairs *p, size_t more);
/* Adds one to a set that has room. */
static inline void ev_pairs_add(ev_pairs *p, uint32_t contact, int64_t value) {
    size_t n = p->n;
    if (n && p->contacts[n - 1] == contact && p->values[n - 1] == value) return;
    p->contacts[n] = (uint16_t)contact;
    p->values[n] = value;
    p->n = n + 1;
}
/* Sorts the pairs by contact and value and leaves each once. */
void ev_pairs_settle(ev_pairs *p);
void ev_pairs_free(ev_pairs *p);

/* --- aggregates (ev_scan.c) ----------------------------------------------------------------------------- */

enum { EV_SCAN, EV_CLOCK, EV_CONSTANT, EV_ALL, EV_ANY, EV_AT_LEAST, EV_NOT };

/* One step of a filter in postfix form: pushes a set of rows, or puts one in the place of the n topmost. */
typedef struct {
    uint8_t kind, column; /* SCAN */
    bool value;           /* CONSTANT */
    uint32_t n, k;        /* ALL, ANY, AT_LEAST; 0 <= k <= n + 1 */
    bm_scan scan;         /* of the block's column: scan.column is not used */
    const ev_clock *clock; /* CLOCK, of the times */
} ev_op;

/* What all rows that pass have in common with others: the steps from first to below end leave one set, and the rows are
 * those in all of the conjuncts' sets. */
typedef struct {
    uint32_t first, end;
    uint8_t cost;
} ev_conjunct;

/* The caller has checked that no step takes more than there is, and that one set is left. */
typedef struct {
    ev_op *ops;
    uint32_t n, depth; /* the most sets there are at a time */
    uint32_t ncolumns; /* that a block must have */
    ev_conjunct *conjuncts; /* the cheap ones first; see ev_filter_split */
    uint32_t nconjuncts;
} ev_filter;

/* Finds the conjuncts, which the caller frees; false without memory. */
bool ev_filter_split(ev_filter *f);

enum { EV_ADD, EV_LEAST, EV_MOST, EV_DISTINCT, EV_DAYS, EV_ROWS };
#define EV_MISSING INT64_MIN /* of a row that is listed, where it has no value */

typedef struct {
    const ev_filter *filter; /* NULL for every row */
    int64_t first, last;     /* times, both included */
    int measure;             /* the column that numbers are made of, or EV_NO_COLUMN to count */
    uint8_t how;             /* EV_ADD, EV_LEAST or EV_MOST of the measure, EV_DISTINCT values of it, or EV_DAYS;
                              * EV_ROWS for the rows themselves: the nlisted columns `listed`, and low and high mean
                              * nothing */
    uint8_t listed[EV_MAX_COLUMNS];
    uint32_t nlisted;
    const ev_zone *zone;     /* EV_DAYS: whose local days are counted */
    const uint32_t *among;   /* ascending ordinals: the contacts to look at, namong of them; NULL for all */
    size_t namong;
    const bm_dir *set;       /* the same as a set, in place of the list; or NULL */
    int64_t low, high;       /* the numbers to report, both included */
    bool as_set;             /* report no numbers, and contacts as a set */
    bool as_count;           /* nor that, but only how many there are; as_set is true then */
    const bm_dir *within;    /* and of these alone; or NULL */
} ev_query;

/* The blocks of one month: those of range first + i, which has the ordinals from (first + i) << 14 on, are blocks[starts[i]]
 * to blocks[starts[i + 1] - 1]. */
typedef struct {
    uint32_t first, n;
    const uint32_t *starts; /* n + 1 */
    const ev_block *const *blocks;
    const ev_block *bounds; /* no rows, but how many there are, and of each column the bounds of all blocks */
    uint64_t serial;        /* no other month has the same */
} ev_month;
/* Makes the bounds of blocks that have so many columns at least. */
void ev_month_bounds(const ev_block *const *blocks, uint32_t n, uint32_t ncolumns, ev_block *bounds);

/* Where to look: months, and above them layers, the oldest first. Of ranges below folded_below the first nfolded layers
 * are in the blocks already. Only ranges from first to below end are looked at. Of a month that has one of `orders`, by
 * the column of the filter's conjunct `by`, only the rows of the values are, which that conjunct compares with. */
typedef struct {
    const ev_month *const *months;
    size_t nmonths;
    const struct ev_order *const *orders; /* NULL for a month that has none */
    const struct ev_measure *const *measures; /* of the query's measure, in that order; NULL where it is not known */
    const struct ev_presence *const *presences; /* NULL, or NULL for a month that has none */
    const struct ev_measure *const *valued; /* of the query's measure, by presence; NULL where it is not known */
    const struct ev_ledger *ledger; /* NULL, or what has the rows of some of the months by contact, and perhaps of others */
    uint32_t by, nvalues;
    const int64_t *values;
    const struct ev_layer *const *layers;
    uint32_t nlayers, nfolded, folded_below;
    uint32_t first, end;
} ev_held;

/* What was found: contacts in ascending order and the number of each; or rows, those of a range together, with `width`
 * values each; or the contacts alone, as a set; or how many. */
typedef struct {
    uint32_t *ordinals;
    int64_t *numbers;
    size_t n, cap, width;
    bm_output set;
    uint64_t count;
} ev_found;

enum { EV_OVERFLOW = 16 }; /* beside BM_OK, BM_CANCELLED, BM_DEADLINE and BM_NO_MEMORY */

/* The contacts with at least one row that counts towards their number (any row, or with a measure one that has it) and
 * a number within the bounds. Blocks and layers must have the columns that the query names. The caller frees what was
 * found, whatever is returned. */
int ev_collect(const ev_held *held, const ev_query *q, const bm_stop *stop, ev_found *found);
/* One behind the last range that is looked at and may have rows. */
uint32_t ev_end(const ev_held *held);
void ev_found_free(ev_found *found);

#endif
