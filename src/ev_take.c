/* Orders and the visits before them; see ev_take.h.
 *
 * The visits of a range are dealt out to its contacts by counting, where they nearly always ascend by time already: blocks
 * come month by month, each in order. Each order then finds the last visit before it by halves. */
#include "ev_take.h"

#include <stdlib.h>

/* Orders between two looks at the clock, as far as a range has more. */
#define LOOK_EVERY (1u << 16)

enum { TIME, EVENT, SOURCE, PAID, SEEN_WIDTH, ASKED_WIDTH = SOURCE };

/* What the last visit of a time is known to be; a group's number, and more. */
enum { UNKNOWN, ALIKE, FIRST_GROUP };

typedef struct {
    int64_t time;
    uint32_t row;  /* among the visits that were found */
    uint32_t tied; /* of the last visit of a time: UNKNOWN, ALIKE, or FIRST_GROUP and its group, of those of the range */
} visit;

/* Room to work in, for all ranges of a call. */
typedef struct {
    ev_found orders, visits;
    uint64_t bits[BM_CHUNK_WORDS];
    uint32_t buyers[BM_CHUNK_ROWS];
    uint32_t starts[BM_CHUNK_ROWS + 1], ends[BM_CHUNK_ROWS]; /* of each contact among the dealt visits */
    visit *dealt;
    size_t cap;
    int64_t groups; /* before this range */
} room;

static bool add(ev_numbers *to, const int64_t *numbers, size_t n) {
    if (to->cap - to->n < n) {
        size_t cap = 2 * to->cap + 64 * n;
        int64_t *at = realloc(to->at, cap * sizeof *at);
        if (!at) return false;
        to->at = at;
        to->cap = cap;
    }
    memcpy(to->at + to->n, numbers, n * sizeof *numbers);
    to->n += n;
    return true;
}

static uint32_t within_range(uint32_t ordinal) { return ordinal & (BM_CHUNK_ROWS - 1); }

/* The contacts of the orders, ascending; how many. */
static size_t list_buyers(room *x, uint32_t number) {
    size_t n = 0;
    memset(x->bits, 0, sizeof x->bits);
    for (size_t i = 0; i < x->orders.n; i++) {
        uint32_t contact = within_range(x->orders.ordinals[i]);
        x->bits[contact >> 6] |= 1ull << (contact & 63);
    }
    for (uint32_t w = 0; w < BM_CHUNK_WORDS; w++)
        for (uint64_t left = x->bits[w]; left; left &= left - 1)
            x->buyers[n++] = number * BM_CHUNK_ROWS + 64 * w + (uint32_t)__builtin_ctzll(left);
    return n;
}

static int by_time(const void *a, const void *b) {
    int64_t one = ((const visit *)a)->time, other = ((const visit *)b)->time;
    return (one > other) - (one < other);
}

/* Sorts visits, few of which are out of place where they come from blocks; many that are, of one contact, by qsort. */
static void sort_visits(visit *v, size_t n) {
    size_t moved = 0;
    for (size_t i = 1; i < n; i++) {
        if (v[i - 1].time <= v[i].time) continue;
        visit one = v[i];
        size_t j = i;
        for (; j && v[j - 1].time > one.time; j--) v[j] = v[j - 1];
        v[j] = one;
        if ((moved += i - j) > 16 * n) {
            qsort(v, n, sizeof *v, by_time);
            return;
        }
    }
}

/* Deals the visits out to their contacts, in the order of time; false without memory. */
static bool deal(room *x) {
    const size_t n = x->visits.n;
    if (n > UINT32_MAX) return false;
    if (n > x->cap) {
        visit *dealt = realloc(x->dealt, 2 * n * sizeof *dealt);
        if (!dealt) return false;
        x->dealt = dealt;
        x->cap = 2 * n;
    }
    memset(x->starts, 0, sizeof x->starts);
    for (size_t i = 0; i < n; i++) x->starts[within_range(x->visits.ordinals[i]) + 1]++;
    for (uint32_t c = 0; c < BM_CHUNK_ROWS; c++) {
        x->starts[c + 1] += x->starts[c];
        x->ends[c] = x->starts[c];
    }
    for (size_t i = 0; i < n; i++)
        x->dealt[x->ends[within_range(x->visits.ordinals[i])]++] =
            (visit){x->visits.numbers[i * SEEN_WIDTH + TIME], (uint32_t)i, UNKNOWN};
    for (uint32_t c = 0; c < BM_CHUNK_ROWS; c++)
        if (x->ends[c] - x->starts[c] > 1) sort_visits(x->dealt + x->starts[c], x->ends[c] - x->starts[c]);
    return true;
}

static const int64_t *row_of(const room *x, const visit *v) { return x->visits.numbers + (size_t)v->row * SEEN_WIDTH; }

static bool alike(const room *x, const visit *one, const visit *other) {
    const int64_t *a = row_of(x, one), *b = row_of(x, other);
    return a[SOURCE] == b[SOURCE] && a[PAID] == b[PAID];
}

/* Finds out what the visits of the time of `last`, which is the last of them, are: once. False without memory. */
static bool settle(room *x, const visit *first, visit *last, ev_taken *found) {
    const visit *v = last;
    last->tied = ALIKE;
    for (; v > first && v[-1].time == last->time; v--)
        if (!alike(x, v - 1, last)) last->tied = UNKNOWN;
    if (last->tied == ALIKE) return true;
    last->tied = FIRST_GROUP + (uint32_t)(found->groups - x->groups);
    for (; v <= last; v++) {
        const int64_t *row = row_of(x, v), tied[] = {found->groups, row[EVENT], row[SOURCE], row[PAID]};
        if (!add(&found->tied, tied, 4)) return false;
    }
    found->groups++;
    return true;
}

/* The orders of the range, each with the last visit before it; a status. */
static int attribute(room *x, uint64_t within, const bm_stop *stop, ev_taken *found) {
    for (size_t i = 0; i < x->orders.n; i++) {
        if (stop && i % LOOK_EVERY == LOOK_EVERY - 1) {
            int status = bm_stop_look(stop);
            if (status != BM_OK) return status;
        }
        const int64_t *order = x->orders.numbers + i * ASKED_WIDTH;
        const uint32_t contact = within_range(x->orders.ordinals[i]);
        uint32_t first = x->starts[contact], lo = first, hi = x->ends[contact];
        while (lo < hi) { /* the first visit behind the order */
            uint32_t mid = lo + (hi - lo) / 2;
            if (x->dealt[mid].time <= order[TIME]) lo = mid + 1;
            else hi = mid;
        }
        if (lo == first) continue;
        visit *last = &x->dealt[lo - 1];
        if ((uint64_t)order[TIME] - (uint64_t)last->time > within) continue;
        if (last->tied == UNKNOWN && !settle(x, x->dealt + first, last, found)) return BM_NO_MEMORY;
        const int64_t *row = row_of(x, last);
        const int64_t settled[] = {order[EVENT], row[SOURCE], row[PAID]};
        const int64_t torn[] = {order[EVENT], x->groups + last->tied - FIRST_GROUP};
        if (last->tied == ALIKE ? !add(&found->settled, settled, 3) : !add(&found->torn, torn, 2)) return BM_NO_MEMORY;
    }
    return BM_OK;
}

/* Whether there may be rows of a range: to ask costs far less than to look. */
static bool any_rows(const ev_held *h, uint32_t number) {
    for (size_t m = 0; m < h->nmonths; m++) {
        const uint32_t at = number - h->months[m]->first;
        if (at < h->months[m]->n && h->months[m]->starts[at] < h->months[m]->starts[at + 1]) return true;
    }
    for (uint32_t i = 0; i < h->nlayers; i++)
        if (ev_layer_part(h->layers[i], number)) return true;
    return false;
}

static int take_range(room *x, uint32_t number, ev_held *orders, const ev_query *asked, ev_held *visits, ev_query *seen,
                      uint64_t within, const bm_stop *stop, ev_taken *found) {
    x->orders.n = x->visits.n = 0;
    orders->first = visits->first = number;
    orders->end = visits->end = number + 1;
    int status = ev_collect(orders, asked, stop, &x->orders);
    if (status != BM_OK || !x->orders.n) return status;
    seen->among = x->buyers;
    seen->namong = list_buyers(x, number);
    if ((status = ev_collect(visits, seen, stop, &x->visits)) != BM_OK || !x->visits.n) return status;
    if (!deal(x)) return BM_NO_MEMORY;
    x->groups = found->groups;
    return attribute(x, within, stop, found);
}

/* The first range from `number` on that has a candidate; EV_NUMBERS without one. */
static uint32_t next_of(const ev_query *q, uint32_t number) {
    size_t lo = 0, hi = q->namong;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (q->among[mid] / BM_CHUNK_ROWS < number) lo = mid + 1;
        else hi = mid;
    }
    return lo == q->namong ? EV_NUMBERS : q->among[lo] / BM_CHUNK_ROWS;
}

int ev_take(const ev_held *orders, const ev_query *asked, const ev_held *visits, const ev_query *seen, uint64_t within,
            const bm_stop *stop, ev_taken *found) {
    const uint32_t end = ev_end(orders);
    ev_held bought = *orders, visited = *visits;
    ev_query of_buyers = *seen;
    int status = stop ? bm_stop_look(stop) : BM_OK;
    if (status != BM_OK) return status;
    room *x = calloc(1, sizeof *x);
    if (!x) return BM_NO_MEMORY;
    for (uint32_t number = orders->first; number < end && status == BM_OK; number++) {
        if (asked->among && (number = next_of(asked, number)) >= end) break;
        if (any_rows(orders, number))
            status = take_range(x, number, &bought, asked, &visited, &of_buyers, within, stop, found);
    }
    ev_found_free(&x->orders);
    ev_found_free(&x->visits);
    free(x->dealt);
    free(x);
    return status;
}

void ev_taken_free(ev_taken *t) {
    free(t->settled.at);
    free(t->torn.at);
    free(t->tied.at);
    memset(t, 0, sizeof *t);
}
