/* Runs: the rows of one value, looked up in the order of a month instead of found among all of its rows.
 *
 * Of the rows of a range, those in the window and of the candidates are found in the order itself. Where that is all that
 * is asked, and only contacts matter, no block is read; else each row is looked up in its block. */
#include "ev_scan.h"

/* The first row of a run, from `at` on, of the ranges from the month's number-th on; of few rows, in steps that double. */
static uint32_t seek(const ev_run *r, uint32_t at, uint32_t number) {
    if (r->firsts) return r->firsts[number] > at ? r->firsts[number] : at;
    const ev_order *o = r->order;
    const uint64_t place = (uint64_t)r->month->starts[number] << EV_ROW_BITS;
    const uint32_t end = r->end;
    uint32_t step = 4, hi = at;
    while (hi < end && o->places[hi] < place) {
        at = hi + 1;
        hi = end - hi > step ? hi + step : end;
        step *= 2;
    }
    while (at < hi) {
        uint32_t mid = at + (hi - at) / 2;
        if (o->places[mid] < place) at = mid + 1;
        else hi = mid;
    }
    return at;
}

/* The block of the run's next row. */
static inline uint32_t place_block(const ev_run *r) { return r->order->places[r->at] >> EV_ROW_BITS; }

/* The range of a block. */
static uint32_t range_of(const ev_month *m, uint32_t block) {
    uint32_t lo = 0, hi = m->n; /* starts[lo] <= block < starts[hi] */
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (m->starts[mid] <= block) lo = mid;
        else hi = mid;
    }
    return m->first + lo;
}

/* A time as the order has it; of one before or behind all of its own, the least or the greatest. */
static uint16_t coarse(const ev_order *o, int64_t time) {
    const uint64_t step = time > o->first ? ((uint64_t)time - (uint64_t)o->first) >> o->shift : 0;
    return step < UINT16_MAX ? (uint16_t)step : UINT16_MAX;
}

void ev_runs_begin(ev_call *x, const ev_held *h) {
    const ev_query *q = x->q;
    const ev_filter *f = q->filter;
    x->nruns = 0;
    x->by = h->orders ? &f->conjuncts[h->by] : NULL;
    for (size_t m = 0; h->orders && m < h->nmonths; m++) {
        const ev_month *month = h->months[m];
        ev_run run = {h->orders[m], h->measures[m], month, NULL, 0, 0, 0, 0, false, true};
        if (!run.order || h->first >= month->first + month->n) continue;
        const bm_scan window = {NULL, NULL, q->first, q->last};
        uint64_t lo, hi;
        const int inside = bm_chunk_zone(&window, &month->bounds->columns[EV_TIME], &lo, &hi);
        bool none = inside == BM_ZONE_NONE;
        run.inside = inside == BM_ZONE_ALL;
        run.from = coarse(run.order, q->first);
        run.to = coarse(run.order, q->last);
        for (uint32_t i = 0; i < f->nconjuncts && !none; i++) {
            if (i == h->by) continue;
            const int zone = ev_conjunct_zone(f, &f->conjuncts[i], month->bounds, x->room.zones);
            none = zone == BM_ZONE_NONE;
            run.plain &= zone == BM_ZONE_ALL;
        }
        for (uint32_t i = 0; i < h->nvalues && !none; i++) {
            run.firsts = ev_order_find(run.order, h->values[i], &run.at, &run.end);
            if (h->first > month->first) run.at = seek(&run, run.at, h->first - month->first);
            if (run.at < run.end) x->runs[x->nruns++] = run;
        }
    }
}

uint32_t ev_runs_next(const ev_call *x, uint32_t number) {
    uint32_t next = EV_NUMBERS;
    for (uint32_t i = 0; i < x->nruns && next > number; i++) {
        const ev_run *r = &x->runs[i];
        const ev_month *m = r->month;
        if (r->at == r->end || number >= m->first + m->n) continue; /* what is left was passed over: of no candidate */
        const uint32_t at = number < m->first ? m->n : number - m->first;
        uint32_t its = number;
        if (at == m->n || !(r->firsts ? r->at < r->firsts[at + 1] : place_block(r) < m->starts[at + 1]))
            its = range_of(m, place_block(r));
        if (its < next) next = its;
    }
    return next;
}

static bool in_window(const ev_call *x, const ev_run *r, uint32_t row) {
    const uint32_t place = r->order->places[row];
    const bm_chunk *c = &r->month->blocks[place >> EV_ROW_BITS]->columns[EV_TIME];
    const int64_t time = ev_value(c, ev_code(c, place & (BM_CHUNK_ROWS - 1)));
    return x->q->first <= time && time <= x->q->last;
}

/* The mask of those in the window, of the n rows from `at` on: of the coarse times that its bounds fall in, row by row. */
static void keep_window(const ev_call *x, const ev_run *r, uint32_t at, uint32_t n, uint64_t *mask, uint64_t *sure) {
    const uint8_t *times = (const uint8_t *)(r->order->times + at);
    const uint32_t words = (n + 63) / 64, span = (uint32_t)r->to - r->from;
    bm_ops.range[1](times, n, r->from, span, mask);
    if (span < 2) memset(sure, 0, words * 8);
    else bm_ops.range[1](times, n, r->from + 1u, span - 2, sure);
    for (uint32_t w = 0; w < words; w++) {
        for (uint64_t left = mask[w] & ~sure[w]; left; left &= left - 1) {
            const uint32_t bit = (uint32_t)__builtin_ctzll(left);
            if (!in_window(x, r, at + w * 64 + bit)) mask[w] &= ~(1ull << bit);
        }
    }
}

/* Adds the rows, as listed from `at` on, block by block. room->mask has a bit for each of the n, and is not needed then. */
static int add_by_block(ev_call *x, const ev_run *r, ev_source *from, uint32_t at, uint32_t n, const uint64_t *mask) {
    ev_room *room = &x->room;
    uint64_t passing[BM_CHUNK_WORDS]; /* the room is used anew for each block */
    const uint32_t words = (n + 63) / 64;
    memcpy(passing, mask, words * 8);
    uint32_t listed = 0, block = 0;
    for (uint32_t w = 0; w < words; w++) {
        for (uint64_t left = passing[w]; left; left &= left - 1) {
            const uint32_t place = r->order->places[at + w * 64 + (uint32_t)__builtin_ctzll(left)];
            if (listed && place >> EV_ROW_BITS != block) {
                const int status = ev_add_listed(x, from, listed);
                if (status != BM_OK) return status;
                listed = 0;
            }
            if (!listed) {
                block = place >> EV_ROW_BITS;
                from->block = r->month->blocks[block];
                from->lo = (uint32_t)from->block->columns[EV_CONTACT].base;
                from->hi = (uint32_t)from->block->columns[EV_CONTACT].max;
            }
            room->rows[listed++] = (uint16_t)(place & (BM_CHUNK_ROWS - 1));
        }
    }
    return listed ? ev_add_listed(x, from, listed) : BM_OK;
}

/* Adds the n rows from `at` on, BM_CHUNK_ROWS of them at most, all of the range in hand; a status. */
static int add_rows(ev_call *x, const ev_run *r, ev_source *from, uint32_t at, uint32_t n) {
    ev_room *room = &x->room;
    const uint32_t words = (n + 63) / 64;
    const bm_u16 *contacts = (const bm_u16 *)(r->order->contacts + at);
    if (r->inside) memset(room->mask, 0xff, words * 8);
    else keep_window(x, r, at, n, room->mask, room->other);
    if (x->narrowed) {
        bm_ops.member((const uint8_t *)contacts, n, 0, x->chosen, room->other);
        for (uint32_t w = 0; w < words; w++) room->mask[w] &= room->other[w];
    }
    if (n & 63) room->mask[words - 1] &= bm_ones(n & 63);
    const bool all = r->inside && !x->narrowed, plain = r->plain && !from->stale;
    if (plain && x->kind == EV_SUM && r->measure &&
        ev_add_codes(x, r->measure, contacts, r->measure->codes + at, n, all ? NULL : room->mask))
        return BM_OK;
    if (!plain || (x->kind != EV_SEEN && x->kind != EV_COUNT)) return add_by_block(x, r, from, at, n, room->mask);
    if (!all) {
        n = bm_ops.compact(contacts, n, room->mask, room->rows);
        contacts = (const bm_u16 *)room->rows;
    }
    ev_add_contacts(x, contacts, n);
    return BM_OK;
}

/* Sends for as many rows of the next range as this one has: runs are read in turn, a few lines of the cache of each. */
static void send_for(const ev_run *r, uint32_t at, uint32_t n) {
    if (n > r->end - at) n = r->end - at;
    const uint8_t *contacts = (const uint8_t *)(r->order->contacts + at), *times = (const uint8_t *)(r->order->times + at);
    for (uint32_t i = 0; i < 2 * n; i += EV_LINE_BYTES) {
        __builtin_prefetch(contacts + i);
        if (!r->inside) __builtin_prefetch(times + i);
    }
    for (uint32_t i = 0; r->measure && i < 4 * n; i += EV_LINE_BYTES)
        __builtin_prefetch((const uint8_t *)(r->measure->codes + at) + i);
}

int ev_add_runs(ev_call *x, ev_source *from) {
    for (uint32_t i = 0; i < x->nruns; i++) {
        ev_run *r = &x->runs[i];
        const uint32_t number = x->number - r->month->first;
        if (r->at == r->end || number >= r->month->n) continue;
        uint32_t at = seek(r, r->at, number);
        const uint32_t end = r->at = seek(r, at, number + 1);
        send_for(r, end, end - at);
        for (uint32_t n; at < end; at += n) {
            n = end - at < BM_CHUNK_ROWS ? end - at : BM_CHUNK_ROWS;
            const int status = add_rows(x, r, from, at, n);
            if (status != BM_OK) return status;
        }
    }
    return BM_OK;
}
