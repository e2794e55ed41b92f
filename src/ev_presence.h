/* Presence: where the rows of a block's contacts are.
 *
 * Of each page of 256 contacts it is known where their rows begin, and of each row the low byte of its contact. So rows of few
 * candidates are found by looking at a byte a row, many at a time, and none where a page has no candidate. It is made in
 * memory from the blocks of a month, and borrows nothing of them. */
#ifndef EV_PRESENCE_H
#define EV_PRESENCE_H

#include "ev_memory.h"
#include "ev_order.h"

#define EV_NOT_THERE UINT32_MAX

/* Of one block: in whole cache lines. */
typedef struct {
    uint16_t first[BM_PAGES + 1]; /* the first row of a contact from 256 * i on; the last is how many rows there are */
    uint8_t lows[];               /* of each row, and 64 more; then a bit a row: it counts */
} ev_there;

/* Of the blocks of a month. */
typedef struct ev_presence {
    uint8_t *there;
    uint32_t *at;   /* by block: where its own begins, in lines, or EV_NOT_THERE */
    uint32_t *rows; /* by block: how many rows those before it have */
    uint32_t nblocks, counts; /* the column that says whether a row counts */
    size_t size; /* of the memory at `there` */
} ev_presence;

static inline const ev_there *ev_there_of(const ev_presence *p, uint32_t block) {
    return (const ev_there *)(p->there + (size_t)p->at[block] * EV_LINE_BYTES);
}

static inline const uint8_t *ev_counting(const ev_there *t) { return t->lows + t->first[BM_PAGES] + 64; }

/* Makes that of a month: BM_OK or BM_NO_MEMORY. The caller clears what was made, whatever is returned. */
int ev_presence_make(ev_presence *p, const ev_month *m);
void ev_presence_clear(ev_presence *p);
size_t ev_presence_bytes(const ev_presence *p);
/* The values of a column of the month that the presence was made of, in the order of its rows: BM_OK, BM_NO_MEMORY, or
 * EV_UNORDERED where codes of 32 bits do not do. The caller frees the codes. */
int ev_presence_measure(ev_measure *v, const ev_presence *p, const ev_month *m, uint32_t column);
/* The bytes that these take. */
size_t ev_presence_measure_bytes(const ev_presence *p);

#endif
