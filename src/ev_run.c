/* Runs: the rows of one value, looked up in the order of a month instead of found among all of its rows.
 *
 * Of the rows of a range, those in the window and of the candidates are found in the order itself. Where that is all that
 * is asked, and only contacts matter, no block is read; else each row is looked up in its block. */
#include "ev_scan.h"

/* The first row from `at` to below `end` whose place is `place` or behind, in steps that double. */
static uint32_t seek(const ev_order *o, uint32_t at, uint32_t end, uint64_t place) {
    uint32_t step = 16, hi = at;
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

/* Where the rows of a month's blocks from this index on begin. */
static inline uint64_t place_of(uint32_t block) { return (uint64_t)block << EV_ROW_BITS; }

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

void ev_runs_begin(ev_call *x, const ev_held *h) {
    const ev_query *q = x->q;
    const ev_filter *f = q->filter;
    x->nruns = 0;
    x->by = h->orders ? &f->conjuncts[h->by] : NULL;
    for (size_t m = 0; h->orders && m < h->nmonths; m++) {
        const ev_month *month = h->months[m];
        ev_run run = {h->orders[m], h->measures[m], month, 0, 0, false, true};
        if (!run.order || h->first >= month->first + month->n) continue;
        const bm_scan window = {NULL, NULL, q->first, q->last};
        uint64_t lo, hi;
        const int inside = bm_chunk_zone(&window, &month->bounds->columns[EV_TIME], &lo, &hi);
        bool none = inside == BM_ZONE_NONE;
        run.inside = inside == BM_ZONE_ALL;
        for (uint32_t i = 0; i < f->nconjuncts && !none; i++) {
            if (i == h->by) continue;
            const int zone = ev_conjunct_zone(f, &f->conjuncts[i], month->bounds, x->room.zones);
            none = zone == BM_ZONE_NONE;
            run.plain &= zone == BM_ZONE_ALL;
        }
        for (uint32_t i = 0; i < h->nvalues && !none; i++) {
            ev_order_find(run.order, h->values[i], &run.at, &run.end);
            if (h->first > month->first)
                run.at = seek(run.order, run.at, run.end, place_of(month->starts[h->first - month->first]));
            if (run.at < run.end) x->runs[x->nruns++] = run;
        }
    }
}

uint32_t ev_runs_next(const ev_call *x, uint32_t number) {
    uint32_t next = EV_NUMBERS;
    for (uint32_t i = 0; i < x->nruns && next > number; i++) {
        const ev_run *r = &x->runs[i];
        const ev_month *m = r->month;
        if (r->at == r->end) continue;
        const uint32_t block = r->order->places[r->at] >> EV_ROW_BITS;
        const uint32_t at = number >= m->first && number - m->first < m->n ? number - m->first : m->n;
        const uint32_t its = at < m->n && block < m->starts[at + 1] ? number : range_of(m, block);
        if (its < next) next = its;
    }
    return next;
}

/* Takes out of the mask, of the n rows from `at` on, those outside the window: of the coarse time that a bound of it falls
 * in, row by row. */
static void keep_window(const ev_call *x, const ev_run *r, uint32_t at, uint32_t n, uint64_t *mask, uint64_t *other) {
    const ev_order *o = r->order;
    const ev_query *q = x->q;
    const uint8_t *times = (const uint8_t *)(o->times + at);
    const uint64_t from = q->first > o->first ? ((uint64_t)q->first - (uint64_t)o->first) >> o->shift : 0;
    uint64_t to = q->last >= o->first ? ((uint64_t)q->last - (uint64_t)o->first) >> o->shift : 0;
    if (to > UINT16_MAX) to = UINT16_MAX;
    bm_ops.range[1](times, n, from, to - from, mask);
    const uint64_t edges[2] = {from, to};
    for (uint32_t i = 0; i < (from == to ? 1u : 2u); i++) {
        bm_ops.range[1](times, n, edges[i], 0, other);
        for (uint32_t w = 0; w < (n + 63) / 64; w++) {
            for (uint64_t left = other[w] & mask[w]; left; left &= left - 1) {
                const uint32_t bit = (uint32_t)__builtin_ctzll(left), place = o->places[at + w * 64 + bit];
                const bm_chunk *c = &r->month->blocks[place >> EV_ROW_BITS]->columns[EV_TIME];
                const int64_t time = ev_value(c, ev_code(c, place & (BM_CHUNK_ROWS - 1)));
                if (time < q->first || time > q->last) mask[w] &= ~(1ull << bit);
            }
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

int ev_add_runs(ev_call *x, ev_source *from) {
    for (uint32_t i = 0; i < x->nruns; i++) {
        ev_run *r = &x->runs[i];
        const uint32_t number = x->number - r->month->first;
        if (r->at == r->end || number >= r->month->n) continue;
        uint32_t at = seek(r->order, r->at, r->end, place_of(r->month->starts[number]));
        const uint32_t end = r->at = seek(r->order, at, r->end, place_of(r->month->starts[number + 1]));
        for (uint32_t n; at < end; at += n) {
            n = end - at < BM_CHUNK_ROWS ? end - at : BM_CHUNK_ROWS;
            const int status = add_rows(x, r, from, at, n);
            if (status != BM_OK) return status;
        }
    }
    return BM_OK;
}
