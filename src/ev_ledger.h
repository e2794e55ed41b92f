/* Ledgers: the rows of some months by contact, each contact's side by side, so that a question of many months about few
 * contacts reads a line or two of the cache for each of them, and nothing of the others.
 *
 * A ledger is made in memory from the blocks of its months, range by range, and borrows nothing of them. It says of each row
 * the value of one column, whether the row counts, and the time in steps: where a window begins or ends within a step, whose
 * rows are inside is left open. */
#ifndef EV_LEDGER_H
#define EV_LEDGER_H

#include "ev_block.h"

#define EV_STEPS (1u << 31) /* of time, at most */

/* Of one range: which contacts have rows, how many rows those before each 64 contacts have, and a bit a row that is its
 * contact's first, with one more behind the last row. */
typedef struct {
    uint64_t has[BM_CHUNK_WORDS];
    uint32_t before[BM_CHUNK_WORDS];
    uint64_t firsts[];
} ev_sheet;

enum { EV_UNMADE = 0, EV_MADE = 1, EV_UNFIT = 2 }; /* of a sheet: EV_UNFIT where codes are damaged */

/* A month of a ledger, by its serial; the times of its rows lie between these, both included. */
typedef struct {
    uint64_t serial;
    int64_t since, until;
} ev_member;

typedef struct ev_ledger {
    ev_member *members; /* nmembers of them */
    size_t nmembers;
    uint32_t first, n;    /* ranges */
    uint32_t *rows;       /* by range: how many those before it have; n + 1 of them */
    uint32_t *lines;      /* by range: where its sheet begins, in lines of the cache; n + 1 of them */
    uint8_t *made;        /* by range, of the enum: to be read by ev_ledger_sheet */
    uint8_t *sheets;
    bm_entry *entries; /* their codes are value - base + 1 */
    size_t size;          /* of the memory of both */
    uint32_t column, counts; /* whose values are kept, and that which says whether a row counts */
    int64_t since, until; /* the times of the rows lie between these, both included */
    uint32_t shift;       /* a step is 1 << shift ms */
    int64_t base, most;   /* of all values */
} ev_ledger;

/* Takes the memory of a ledger of some months, all of whose blocks have the column: BM_OK, BM_NO_MEMORY, or EV_UNORDERED where
 * codes of 32 bits do not do. The caller clears it, whatever is returned. */
int ev_ledger_begin(ev_ledger *l, const ev_month *const *months, size_t nmonths, uint32_t column);
/* Makes the sheets of the ranges from `from` to below `to`, of the same months: BM_OK or BM_NO_MEMORY. One thread at a time,
 * while others read. */
int ev_ledger_fill(ev_ledger *l, const ev_month *const *months, size_t nmonths, uint32_t from, uint32_t to);
void ev_ledger_clear(ev_ledger *l);
/* The bytes that it takes. */
size_t ev_ledger_bytes(const ev_ledger *l);
/* Whether it has the month. */
bool ev_ledger_has(const ev_ledger *l, const ev_month *month);
/* The sheet of a range, or NULL where it is not made. */
const ev_sheet *ev_ledger_sheet(const ev_ledger *l, uint32_t number);

#endif
