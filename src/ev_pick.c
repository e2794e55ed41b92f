/* Reading layers: which of a layer's rows are looked at, and where.
 *
 * A layer has rows of all ranges, and of each but few: to look at these as a block of their own takes longer than the rows
 * themselves. Where a filter leaves few rows of a layer, it is asked of all of them at once, as many as a block has at a
 * time; and of a layer that has next to no rows of a range, all are taken. Rows that were picked so are added when their
 * range comes, if they are not void and of a candidate. */
#include <stdlib.h>

#include "ev_scan.h"

/* To look at the rows of a range costs as much as to compare so many, and one by one; a row that was picked as much as so
 * many (200, 1 to 2 and 8 nanoseconds). */
#define SLICE 200u
#define PICKED 6u

static uint32_t contact_of(const ev_layer *l, uint32_t row) {
    const bm_chunk *c = &l->b.columns[EV_CONTACT];
    return (uint32_t)ev_value(c, bm_code(c, row));
}

static bool room_for(ev_picked *p, uint32_t more) {
    if (p->cap - p->n >= more) return true;
    const uint32_t cap = 2 * p->cap + more + 64;
    uint32_t *rows = realloc(p->rows, (size_t)cap * sizeof *rows);
    if (rows) p->rows = rows;
    uint32_t *contacts = rows ? realloc(p->contacts, (size_t)cap * sizeof *contacts) : NULL;
    if (!contacts) return false;
    p->contacts = contacts;
    p->cap = cap;
    return true;
}

/* Picks the n rows in x->room.rows of the slice that begins at `first`. */
static bool pick(ev_call *x, const ev_layer *l, uint32_t first, uint32_t n) {
    ev_picked *p = &x->picked;
    if (!room_for(p, n)) return false;
    for (uint32_t i = 0; i < n; i++) {
        p->rows[p->n] = first + x->room.rows[i];
        p->contacts[p->n++] = contact_of(l, first + x->room.rows[i]);
    }
    return true;
}

/* Whether the window or a conjunct lets nothing of the layer pass. */
static bool passes_none(ev_call *x, const ev_layer *l) {
    const ev_filter *f = x->q->filter;
    const bm_scan window = {NULL, NULL, x->q->first, x->q->last};
    uint64_t lo, hi;
    int zone = bm_chunk_zone(&window, &l->b.columns[EV_TIME], &lo, &hi);
    for (uint32_t i = 0; f && i < f->nconjuncts && zone != BM_ZONE_NONE; i++)
        zone = ev_conjunct_zone(f, &f->conjuncts[i], &l->b, x->room.zones);
    return zone == BM_ZONE_NONE;
}

/* Picks of the layer's rows from one part to below another, or none where they are too many: then *picked is false. */
static int pick_some(ev_call *x, const ev_layer *l, const ev_part *from, const ev_part *to, const bm_stop *stop,
                     bool *picked) {
    const uint32_t before = x->picked.n, end = to->row;
    const uint64_t parts = (uint64_t)(to - from), rows = end - from->row;
    for (uint32_t row = from->row, n; row < end; row += n) {
        const int status = stop ? bm_stop_look(stop) : BM_OK;
        if (status != BM_OK) return status;
        n = end - row < BM_CHUNK_ROWS ? end - row : BM_CHUNK_ROWS;
        const uint64_t most = n * (SLICE * parts + rows) / (PICKED * rows);
        if (most < n && !x->q->filter) return BM_OK;
        ev_layer_slice(l, row, n, &x->slice);
        const uint32_t found = ev_pick_rows(x, &x->slice, most < n ? (uint32_t)most : n);
        if (found == UINT32_MAX) {
            x->picked.n = before;
            return BM_OK;
        }
        if (!pick(x, l, row, found)) return BM_NO_MEMORY;
    }
    *picked = true;
    return BM_OK;
}

int ev_layers_begin(ev_call *x, const ev_held *h, const bm_stop *stop) {
    for (uint32_t i = 0; i < h->nlayers; i++) {
        const ev_layer *l = h->layers[i];
        ev_reading *r = &x->readings[i];
        uint32_t first = h->first;
        if (i < h->nfolded && h->folded_below > first) first = h->folded_below; /* below it, they are in the blocks */
        *r = (ev_reading){l, ev_layer_seek(l, first), false, x->picked.n, x->picked.n};
        const ev_part *from = &l->parts[r->part], *to = &l->parts[ev_layer_seek(l, h->end)];
        if (from >= to || passes_none(x, l)) {
            r->picked = true;
            continue;
        }
        const int status = pick_some(x, l, from, to, stop, &r->picked);
        if (status != BM_OK) return status;
        r->end = x->picked.n;
    }
    return BM_OK;
}

uint32_t ev_layers_next(ev_call *x, uint32_t n, uint32_t number) {
    const uint64_t first = (uint64_t)number * BM_CHUNK_ROWS;
    uint32_t next = EV_NUMBERS;
    for (uint32_t i = 0; i < n && next > number; i++) {
        ev_reading *r = &x->readings[i];
        uint32_t its = EV_NUMBERS;
        if (r->picked) {
            while (r->at < r->end && x->picked.contacts[r->at] < first) r->at++;
            if (r->at < r->end) its = x->picked.contacts[r->at] / BM_CHUNK_ROWS;
        } else {
            while (r->layer->parts[r->part].number < number) r->part++;
            its = r->layer->parts[r->part].number;
        }
        if (its < next) next = its;
    }
    return next;
}

uint32_t ev_layers_above(ev_call *x, uint32_t n) {
    const uint64_t first = (uint64_t)x->number * BM_CHUNK_ROWS, behind = first + BM_CHUNK_ROWS;
    uint32_t found = 0;
    for (uint32_t i = n; i-- > 0;) {
        ev_reading *r = &x->readings[i];
        const ev_part *parts = r->layer->parts;
        while (parts[r->part].number < x->number) r->part++;
        const ev_part *part = &parts[r->part];
        ev_above a = {r->layer, 0, 0, 0, 0, r->at, r->at};
        if (part->number == x->number) {
            a.stale = part[0].stale;
            a.stale_end = part[1].stale;
            if (!r->picked) {
                a.row = part[0].row;
                a.row_end = part[1].row;
            }
        }
        if (r->picked) {
            while (r->at < r->end && x->picked.contacts[r->at] < first) r->at++;
            a.picked = r->at;
            while (r->at < r->end && x->picked.contacts[r->at] < behind) r->at++;
            a.picked_end = r->at;
        }
        if (a.row < a.row_end || a.stale < a.stale_end || a.picked < a.picked_end) x->above[found++] = a;
    }
    return found;
}

/* Adds n rows of a layer, of which x->room.rows are the contacts, where only these matter, or the rows from `first` on. */
static int add(ev_call *x, const ev_layer *l, bool contacts, uint32_t first, uint32_t n) {
    if (contacts) {
        ev_add_contacts(x, (const bm_u16 *)x->room.rows, n);
        return BM_OK;
    }
    const uint32_t rows = (uint32_t)x->room.rows[n - 1] + 1;
    x->slice.rows = rows;
    x->slice.ncolumns = l->b.ncolumns;
    ev_layer_slice_column(l, EV_CONTACT, first, rows, &x->slice);
    ev_layer_slice_column(l, EV_TIME, first, rows, &x->slice);
    if (x->q->measure != EV_NO_COLUMN) ev_layer_slice_column(l, (uint32_t)x->q->measure, first, rows, &x->slice);
    for (uint32_t i = 0; i < x->q->nlisted; i++) ev_layer_slice_column(l, x->q->listed[i], first, rows, &x->slice);
    return ev_add_rows(x, &x->slice, x->room.rows, NULL, n);
}

int ev_add_picked(ev_call *x, const ev_above *a, const ev_source *from) {
    const bool contacts = x->kind == EV_SEEN || x->kind == EV_COUNT;
    uint32_t n = 0, first = 0;
    for (uint32_t i = a->picked; i < a->picked_end; i++) {
        const uint32_t row = x->picked.rows[i], contact = x->picked.contacts[i] & (BM_CHUNK_ROWS - 1);
        if (x->narrowed && !(x->chosen[contact >> 6] >> (contact & 63) & 1)) continue;
        if (from->stale && ev_is_void(a->layer, row, x->above, from->nabove)) continue;
        if (n && (n == BM_CHUNK_ROWS || (!contacts && row - first >= BM_CHUNK_ROWS))) {
            const int status = add(x, a->layer, contacts, first, n);
            if (status != BM_OK) return status;
            n = 0;
        }
        if (!n) first = row;
        x->room.rows[n++] = (uint16_t)(contacts ? contact : row - first);
    }
    return n ? add(x, a->layer, contacts, first, n) : BM_OK;
}
