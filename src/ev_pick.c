/* Reading layers: which of a layer's rows are looked at, and where.
 *
 * A layer has rows of all ranges, and of each but few: to look at these as a block of their own takes longer than the rows
 * themselves. Where a filter leaves few rows of a layer, it is asked of all of them at once, as many as a block has at a
 * time, or the rows are found in the layer's order; a layer that has next to no rows of a range is listed whatever it is
 * asked. Rows that were picked so are added when their range comes, if they are not void and of a candidate. */
#include <stdlib.h>

#include "ev_scan.h"

/* A filter that leaves more than one row in so many leaves too many to be picked. */
#define PICKED_SHARE 8u
/* With fewer rows a range, all of a layer's rows are picked: a slice costs as much as so many. */
#define SPARSE 16u
/* A row that is looked up costs as much as so many that are compared one after the other. */
#define LOOKED_UP 4u

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

/* Whether the window or a conjunct lets nothing of the layer pass; and whether all of it passes all but `by`. */
static bool passes_none(ev_call *x, const ev_layer *l, const ev_conjunct *by, bool *all) {
    const ev_filter *f = x->q->filter;
    const bm_scan window = {NULL, NULL, x->q->first, x->q->last};
    uint64_t lo, hi;
    int zone = bm_chunk_zone(&window, &l->b.columns[EV_TIME], &lo, &hi);
    *all = zone == BM_ZONE_ALL;
    for (uint32_t i = 0; f && i < f->nconjuncts && zone != BM_ZONE_NONE; i++) {
        if (&f->conjuncts[i] == by) continue;
        zone = ev_conjunct_zone(f, &f->conjuncts[i], &l->b, x->room.zones);
        *all &= zone == BM_ZONE_ALL;
    }
    return zone == BM_ZONE_NONE;
}

/* Picks of the rows from `row` to below `end` by comparing them all. BM_OK also where they are too many: then none is, and
 * *picked is false. */
static int pick_compared(ev_call *x, const ev_layer *l, uint32_t row, uint32_t end, bool sparse, const bm_stop *stop,
                         bool *picked) {
    const uint32_t before = x->picked.n;
    for (uint32_t n; row < end; row += n) {
        const int status = stop ? bm_stop_look(stop) : BM_OK;
        if (status != BM_OK) return status;
        n = end - row < BM_CHUNK_ROWS ? end - row : BM_CHUNK_ROWS;
        ev_layer_slice(l, row, n, &x->slice);
        const uint32_t found = ev_pick_rows(x, &x->slice, 0, NULL, sparse ? n : n / PICKED_SHARE);
        if (found == UINT32_MAX) {
            x->picked.n = before;
            *picked = false;
            return BM_OK;
        }
        if (!pick(x, l, row, found)) return BM_NO_MEMORY;
    }
    *picked = true;
    return BM_OK;
}

/* Merges the picked rows from `from` on, which ascend up to `middle` and from there on, so that all do. */
static bool merge(ev_picked *p, uint32_t from, uint32_t middle) {
    const uint32_t n = middle - from;
    uint32_t *left = malloc((size_t)n * sizeof *left + 1);
    if (!left) return false;
    if (n) memcpy(left, p->rows + from, (size_t)n * sizeof *left);
    for (uint32_t i = 0, j = middle, to = from; i < n; to++)
        p->rows[to] = j == p->n || left[i] < p->rows[j] ? left[i++] : p->rows[j++];
    free(left);
    return true;
}

/* The first of the rows from `at` to below `end` that is `row` or behind. */
static uint32_t seek(const ev_layer_order *o, uint32_t at, uint32_t end, uint32_t row) {
    while (at < end) {
        const uint32_t mid = at + (end - at) / 2;
        if (o->rows[mid] < row) at = mid + 1;
        else end = mid;
    }
    return at;
}

/* The same by looking them up in the layer's order. */
static int pick_looked_up(ev_call *x, const ev_held *h, const ev_layer *l, const ev_layer_order *o, uint32_t row,
                          uint32_t end, bool all, bool *picked) {
    ev_picked *p = &x->picked;
    const ev_conjunct *by = &x->q->filter->conjuncts[h->sorted_by];
    const uint32_t before = p->n;
    for (uint32_t i = 0; i < h->nsorted; i++) {
        uint32_t at, last;
        ev_layer_order_find(o, h->sorted_values[i], &at, &last);
        at = seek(o, at, last, row);
        last = seek(o, at, last, end);
        if ((uint64_t)(p->n - before + last - at) * LOOKED_UP > end - row) {
            p->n = before;
            *picked = false;
            return BM_OK;
        }
        if (!room_for(p, last - at)) return BM_NO_MEMORY;
        const uint32_t middle = p->n;
        if (last > at) memcpy(p->rows + p->n, o->rows + at, (size_t)(last - at) * sizeof *p->rows);
        p->n += last - at;
        if (!merge(p, before, middle)) return BM_NO_MEMORY;
    }
    *picked = true;
    const uint32_t found = p->n;
    if (!all) p->n = before; /* what passes is put in the place of what was found, which is never overtaken */
    for (uint32_t i = before; i < found;) {
        if (all) {
            p->contacts[i] = contact_of(l, p->rows[i]);
            i++;
            continue;
        }
        const uint32_t first = p->rows[i];
        uint32_t n = 0;
        for (; i < found && p->rows[i] - first < BM_CHUNK_ROWS; i++) x->room.rows[n++] = (uint16_t)(p->rows[i] - first);
        ev_layer_slice(l, first, p->rows[i - 1] - first + 1, &x->slice);
        if (!pick(x, l, first, ev_pick_rows(x, &x->slice, n, by, UINT32_MAX))) return BM_NO_MEMORY;
    }
    return BM_OK;
}

int ev_layers_begin(ev_call *x, const ev_held *h, const bm_stop *stop) {
    for (uint32_t i = 0; i < h->nlayers; i++) {
        const ev_layer *l = h->layers[i];
        const ev_layer_order *o = h->sorted ? h->sorted[i] : NULL;
        ev_reading *r = &x->readings[i];
        uint32_t first = h->first;
        if (i < h->nfolded && h->folded_below > first) first = h->folded_below; /* below it, they are in the blocks */
        *r = (ev_reading){l, ev_layer_seek(l, first), false, x->picked.n, x->picked.n};
        const ev_part *from = &l->parts[r->part], *to = &l->parts[ev_layer_seek(l, h->end)];
        if (from >= to) {
            r->picked = true;
            continue;
        }
        bool all = false;
        int status = BM_OK;
        if (passes_none(x, l, o ? &x->q->filter->conjuncts[h->sorted_by] : NULL, &all)) r->picked = true;
        else if (o) status = pick_looked_up(x, h, l, o, from->row, to->row, all, &r->picked);
        if (status == BM_OK && !r->picked) {
            const bool sparse = to->row - from->row < (uint64_t)(to - from) * SPARSE;
            if (sparse || x->q->filter) status = pick_compared(x, l, from->row, to->row, sparse, stop, &r->picked);
        }
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
    return ev_add_rows(x, &x->slice, x->room.rows, n);
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
