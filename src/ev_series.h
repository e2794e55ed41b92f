/* Series of events: what the times of a contact's rows say together.
 *
 * Rows are given whole, as arrays: those of a contact together, contacts ascending, in any order within one. Times may be
 * any, those of damaged blocks too: differences are taken without sign. */
#ifndef EV_SERIES_H
#define EV_SERIES_H

#include "bm.h"

/* --- sequences (ev_sequence.c) -------------------------------------------------------------------------- */

#define EV_MAX_STEPS 16u

/* The rows of one step. */
typedef struct {
    const uint32_t *contacts;
    const int64_t *times;
    size_t n;
    uint64_t within; /* milliseconds behind the step before, at most; UINT64_MAX for any */
} ev_step;

/* The contacts with rows of the n steps one after another, each strictly later than the one before and within its time,
 * ascending, to `found`, which has room for as many as the first step has rows. 1 <= n <= EV_MAX_STEPS.
 *
 * With `none` (else NULL) there must be such a chain that no row of `none` is later than its end by none->within or less,
 * and that time must be over before `end`, which is later than all times. A status: BM_OK, BM_CANCELLED, BM_DEADLINE or
 * BM_NO_MEMORY. */
int ev_follow(const ev_step *steps, uint32_t n, const ev_step *none, int64_t end, const bm_stop *stop, uint32_t *found,
              size_t *nfound);

/* --- gaps (ev_gaps.c) ----------------------------------------------------------------------------------- */

/* How far apart the times of one contact are: there are `gaps` + 1 of them, and `spread` is
 * gaps * sum of (gap * gap) - (sum of the gaps)^2, which is gaps^2 times the variance: below 2^127 for times of the years
 * 1 to 9999 and fewer than 2^31 rows. */
typedef struct {
    uint32_t contact, gaps;
    uint64_t spread_high, spread_low;
} ev_spread;

/* Of each contact with two rows at least, ascending, to `found`, which has room for n / 2. A status as above. */
int ev_spreads(const uint32_t *contacts, const int64_t *times, size_t n, const bm_stop *stop, ev_spread *found,
               size_t *nfound);

/* --- both ----------------------------------------------------------------------------------------------- */

/* A row: its time, and the step that it is of. */
typedef struct {
    int64_t time;
    uint32_t step;
} ev_moment;

typedef struct {
    ev_moment *at; /* room for cap */
    size_t n, cap;
} ev_moments;

/* Adds the rows of one contact from `first` on; where they end, or SIZE_MAX without memory. */
size_t ev_moments_add(ev_moments *m, const uint32_t *contacts, const int64_t *times, size_t first, size_t n, uint32_t step);
/* Sorts them by time. */
void ev_moments_sort(ev_moments *m);

/* After so many rows a stop is looked at. */
#define EV_SERIES_LOOK (1u << 16)

#endif
