/* Rows of few candidates, by the presence of blocks.
 *
 * What such rows say lies in many cache lines that are far from each other: to read one after the other is to wait for each.
 * So the rows of all blocks of a range are found first, each is sent for as soon as it is found, and then they are read. */
#include "ev_scan.h"

static void note_column(ev_call *x, uint32_t column) {
    for (uint32_t i = 0; i < x->ncolumns; i++)
        if (x->columns[i] == column) return;
    x->columns[x->ncolumns++] = (uint8_t)column;
}

bool ev_asks_for(const ev_filter *f, const ev_conjunct *part, uint32_t column) {
    const ev_op *op = &f->ops[part->first];
    const bm_scan *s = &op->scan;
    const bool alone = part->end - part->first == 1 && op->kind == EV_SCAN;
    return alone && op->column == column && !s->table && s->lo == 1 && s->hi == 1;
}

void ev_chosen_begin(ev_call *x, const ev_held *h) {
    const ev_query *q = x->q;
    const ev_filter *f = q->filter;
    const bm_scan window = {NULL, NULL, q->first, q->last};
    uint64_t lo, hi;
    x->nknown = x->ncolumns = 0;
    if (!x->narrowed || !h->presences) return;
    for (size_t m = 0; m < h->nmonths; m++) {
        const ev_month *month = h->months[m];
        if (!h->presences[m] || (h->orders && h->orders[m])) continue;
        const int inside = bm_chunk_zone(&window, &month->bounds->columns[EV_TIME], &lo, &hi);
        if (inside == BM_ZONE_NONE) continue;
        bool plain = true;
        const ev_conjunct *counted = NULL;
        for (uint32_t i = 0; f && i < f->nconjuncts; i++) {
            const ev_conjunct *part = &f->conjuncts[i];
            if (ev_conjunct_zone(f, part, month->bounds, x->room.zones) == BM_ZONE_ALL) continue;
            if (ev_asks_for(f, part, h->presences[m]->counts)) counted = part;
            else plain = false;
        }
        const ev_measure *measure = x->kind == EV_SUM && h->valued ? h->valued[m] : NULL;
        x->known[x->nknown++] =
            (ev_known){month, h->presences[m], measure, counted, (uint32_t)m, inside == BM_ZONE_ALL, plain};
    }
    for (uint32_t i = 0; f && i < f->n; i++)
        if (f->ops[i].kind == EV_SCAN) note_column(x, f->ops[i].column);
    if (q->measure != EV_NO_COLUMN) note_column(x, (uint32_t)q->measure);
    for (uint32_t i = 0; i < q->nlisted; i++) note_column(x, q->listed[i]);
}

/* --- one range ---------------------------------------------------------------------------------------------- */

/* So many bytes of a block's presence are sent for while that of the range before it is read; the rest follows by itself. */
#define EV_AHEAD (8 * EV_LINE_BYTES)

static void fetch(const void *at, size_t size) {
    for (size_t i = 0; i < size; i += EV_LINE_BYTES) __builtin_prefetch((const uint8_t *)at + i);
}

static void fetch_codes(const bm_chunk *c, const uint16_t *rows, uint32_t n) {
    for (uint32_t i = 0; c->width && i < n; i++) __builtin_prefetch(c->codes + (size_t)rows[i] * c->width);
}

/* Finds the candidates' rows in the block. */
static void find(ev_call *x, const ev_known *k, uint32_t block, bool stale) {
    const ev_block *b = k->month->blocks[block];
    const bool alone = k->measure && k->inside && k->plain && !stale;
    const uint32_t *codes = alone ? k->measure->codes + k->presence->rows[block] : NULL;
    for (uint32_t i = 0; i < x->ncolumns && !codes; i++) __builtin_prefetch(&b->columns[x->columns[i]]);
    if (!k->inside) __builtin_prefetch(&b->columns[EV_TIME]);
    const ev_there *there = ev_there_of(k->presence, block);
    const bm_paged of = {there->first, there->lows, k->counted ? ev_counting(there) : NULL};
    if (block + 1 < k->presence->nblocks && k->presence->at[block + 1] != EV_NOT_THERE)
        fetch(ev_there_of(k->presence, block + 1), EV_AHEAD);
    uint16_t *rows = x->rows_found + x->nfound, *contacts = x->contacts_found + x->nfound;
    const uint32_t n = bm_ops.rows_of(&of, x->chosen, x->pages, rows, contacts);
    if (!n) return;
    x->hits[x->nhits++] = (ev_hit){k, b, codes, x->nfound, n};
    x->nfound += n;
    for (uint32_t i = 0; codes && i < n; i++) __builtin_prefetch(codes + rows[i]);
    if (codes) return;
    if (!k->inside) fetch_codes(&b->columns[EV_TIME], rows, n);
    for (uint32_t i = 0; i < x->ncolumns; i++)
        if (!k->counted || x->columns[i] != k->presence->counts) fetch_codes(&b->columns[x->columns[i]], rows, n);
}

/* Adds what has been found. */
static int settle(ev_call *x, ev_source *from) {
    int status = BM_OK;
    for (uint32_t i = 0; i < x->nhits && status == BM_OK; i++) {
        const ev_hit *hit = &x->hits[i];
        const uint16_t *rows = x->rows_found + hit->at, *contacts = x->contacts_found + hit->at;
        if (hit->codes && ev_add_valued(x, hit->known->measure, contacts, rows, hit->codes, hit->n)) continue;
        if (hit->known->inside && hit->known->plain && !from->stale) {
            status = ev_add_rows(x, hit->block, rows, contacts, hit->n);
        } else {
            memcpy(x->room.rows, rows, hit->n * sizeof *rows);
            memcpy(x->room.contacts, contacts, hit->n * sizeof *contacts);
            from->block = hit->block;
            from->lo = (uint32_t)hit->block->columns[EV_CONTACT].base;
            from->hi = (uint32_t)hit->block->columns[EV_CONTACT].max;
            status = ev_add_chosen(x, from, hit->n, hit->known->counted);
        }
    }
    x->nhits = x->nfound = 0;
    return status;
}

bool ev_chosen_few(const ev_call *x) { return x->nknown && x->nchosen <= EV_FOUND_OF; }

int ev_chosen_add(ev_call *x, ev_source *from, ev_which which) {
    x->nhits = x->nfound = 0;
    for (uint32_t i = 0; i < x->nknown; i++) {
        const ev_known *k = &x->known[i];
        const uint32_t at = x->number - k->month->first;
        if (at >= k->month->n || (which != EV_EVERY && x->covered[k->at] != (which == EV_COVERED))) continue;
        for (uint32_t block = k->month->starts[at]; block < k->month->starts[at + 1]; block++) {
            if (k->presence->at[block] == EV_NOT_THERE) continue;
            find(x, k, block, from->stale);
            if (x->nhits < EV_FOUND_BLOCKS && x->nfound < EV_FOUND_ROWS) continue;
            const int status = settle(x, from);
            if (status != BM_OK) return status;
        }
    }
    return settle(x, from);
}
