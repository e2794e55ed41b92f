/* Rows of events on their way into blocks: put in the order of groups and rows, merged with the blocks of their group,
 * and cut into new ones. A group is a range of 16,384 ordinals and a month (UTC). */
#ifndef EV_ROWS_H
#define EV_ROWS_H

#include "ev_block.h"

#define EV_BLOCK_BYTES (128u << 10) /* of a block of more than one row */
#define EV_MONTHS 65536

/* n rows of a column; `present` is NULL where all have a value. */
typedef struct {
    const int64_t *values;
    const uint8_t *present;
} ev_cells;

/* order[i] is the row that comes i-th by range, month, contact, time, event and line; contacts are whole ordinals. Row
 * numbers of equal rows ascend. groups[g] = range << 16 | month, whose rows are order[starts[g]] .. [starts[g + 1] - 1];
 * there is room for n groups, and n + 1 starts. Returns how many groups there are, -1 without memory, -2 for a contact or
 * a month that cannot be. */
int64_t ev_rows_order(const int64_t *contacts, const int64_t *times, const int64_t *events, const int64_t *lines, size_t n,
                      uint32_t *order, int64_t *groups, int64_t *starts);

/* The month since January 1970, UTC, of an instant in milliseconds. */
int64_t ev_month_of(int64_t time);

/* Blocks end to end; ends[i] is where the i-th ends. The caller frees both, whatever is returned. */
typedef struct {
    uint8_t *data;
    size_t size, room;
    size_t *ends;
    size_t n, ends_room;
} ev_parts;

void ev_parts_free(ev_parts *p);

/* The blocks of a group: what the present ones hold but the rows that are `gone` (a byte each, NULL for none), and the n
 * rows order[0 .. n) of the columns, which are in the order of ev_rows_order. NULL, or why it cannot be; EV_TWICE where a
 * row would be there twice or the present blocks are not in order, EV_NO_ROOM without memory. */
extern const char EV_TWICE[], EV_NO_ROOM[];
const char *ev_group_write(const ev_block *const *blocks, size_t nblocks, const uint8_t *gone, const ev_cells *columns,
                           uint32_t ncolumns, const uint32_t *order, size_t n, ev_parts *out);

#endif
