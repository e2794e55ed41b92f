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
        for (uint32_t i = 0; f && i < f->nconjuncts; i++)
            plain &= ev_conjunct_zone(f, &f->conjuncts[i], month->bounds, x->room.zones) == BM_ZONE_ALL;
        x->known[x->nknown++] = (ev_known){month, h->presences[m], inside == BM_ZONE_ALL, plain};
    }
    for (uint32_t i = 0; f && i < f->n; i++)
        if (f->ops[i].kind == EV_SCAN) note_column(x, f->ops[i].column);
    if (q->measure != EV_NO_COLUMN) note_column(x, (uint32_t)q->measure);
}

/* --- one range ---------------------------------------------------------------------------------------------- */

static void fetch_codes(const bm_chunk *c, const uint16_t *rows, uint32_t n) {
    for (uint32_t i = 0; c->width && i < n; i++) __builtin_prefetch(c->codes + (size_t)rows[i] * c->width);
}

/* Finds the candidates' rows in the block. */
static void find(ev_call *x, const ev_known *k, uint32_t block, uint64_t pages) {
    const ev_block *b = k->month->blocks[block];
    for (uint32_t i = 0; i < x->ncolumns; i++) __builtin_prefetch(&b->columns[x->columns[i]]);
    if (!k->inside) __builtin_prefetch(&b->columns[EV_TIME]);
    const ev_there *there = (const ev_there *)(k->presence->there + (size_t)k->presence->at[block] * EV_LINE_BYTES);
    const bm_paged of = {there->first, there->lows};
    uint16_t *rows = x->rows_found + x->nfound;
    const uint32_t n = bm_ops.rows_of(&of, x->chosen, pages, rows, x->contacts_found + x->nfound);
    if (!n) return;
    if (!k->inside) fetch_codes(&b->columns[EV_TIME], rows, n);
    for (uint32_t i = 0; i < x->ncolumns; i++) fetch_codes(&b->columns[x->columns[i]], rows, n);
    x->hits[x->nhits++] = (ev_hit){k, b, x->nfound, n};
    x->nfound += n;
}

/* Adds what has been found. */
static int settle(ev_call *x, ev_source *from) {
    int status = BM_OK;
    for (uint32_t i = 0; i < x->nhits && status == BM_OK; i++) {
        const ev_hit *hit = &x->hits[i];
        const uint16_t *rows = x->rows_found + hit->at, *contacts = x->contacts_found + hit->at;
        if (hit->known->inside && hit->known->plain && !from->stale) {
            status = ev_add_rows(x, hit->block, rows, contacts, hit->n);
        } else {
            memcpy(x->room.rows, rows, hit->n * sizeof *rows);
            memcpy(x->room.contacts, contacts, hit->n * sizeof *contacts);
            from->block = hit->block;
            from->lo = (uint32_t)hit->block->columns[EV_CONTACT].base;
            from->hi = (uint32_t)hit->block->columns[EV_CONTACT].max;
            status = ev_add_chosen(x, from, hit->n);
        }
    }
    x->nhits = x->nfound = 0;
    return status;
}

bool ev_chosen_few(const ev_call *x) {
    return x->nknown && x->nchosen <= EV_FOUND_OF;
}

int ev_chosen_add(ev_call *x, ev_source *from) {
    uint64_t pages = 0;
    for (uint32_t w = 0; w < BM_CHUNK_WORDS; w++) pages |= (uint64_t)(x->chosen[w] != 0) << (w / (BM_PAGE / 64));
    x->nhits = x->nfound = 0;
    for (uint32_t i = 0; i < x->nknown; i++) {
        const ev_known *k = &x->known[i];
        const uint32_t at = x->number - k->month->first;
        if (at >= k->month->n) continue;
        for (uint32_t block = k->month->starts[at]; block < k->month->starts[at + 1]; block++) {
            if (k->presence->at[block] == EV_NOT_THERE) continue;
            find(x, k, block, pages);
            if (x->nhits < EV_FOUND_BLOCKS && x->nfound < EV_FOUND_ROWS) continue;
            const int status = settle(x, from);
            if (status != BM_OK) return status;
        }
    }
    return settle(x, from);
}
