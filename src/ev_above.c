/* What layers have in the range in hand: the rows that were picked of them, those of their bits, or slices; see ev_pick.c.
 * Of each it is asked here whether it is of a candidate, and whether a stale place of a newer layer voids it. */
#include "ev_scan.h"

uint32_t ev_layers_next(ev_call *x, uint32_t number) {
    const ev_picked *p = &x->picked;
    uint32_t next = EV_NUMBERS;
    if (p->n) {
        uint32_t at = number > p->first ? number - p->first : 0;
        while (at < p->nranges && p->starts[at] == p->starts[at + 1]) at++;
        if (at < p->nranges) next = p->first + at;
    }
    for (uint32_t i = 0; i < x->nreadings && next > number; i++) {
        ev_reading *r = &x->readings[i];
        if (r->way == EV_PICKED) continue;
        while (r->layer->parts[r->part].number < number) r->part++;
        if (r->layer->parts[r->part].number < next) next = r->layer->parts[r->part].number;
    }
    return next;
}

uint32_t ev_layers_above(ev_call *x) {
    uint32_t found = 0;
    for (uint32_t i = x->nreadings; i-- > 0;) {
        ev_reading *r = &x->readings[i];
        const ev_part *parts = r->layer->parts;
        while (parts[r->part].number < x->number) r->part++;
        const ev_part *part = &parts[r->part];
        if (part->number != x->number) continue;
        ev_above a = {r->layer, 0, 0, part[0].stale, part[1].stale, r};
        if (r->way != EV_PICKED) {
            a.row = part[0].row;
            a.row_end = part[1].row;
        }
        if (a.row < a.row_end || a.stale < a.stale_end) x->above[found++] = a;
    }
    return found;
}

/* --- void rows ------------------------------------------------------------------------------------------ */

/* Notes the contacts of the range that have stale places; whether there are any. */
static bool note_stale(ev_call *x, uint32_t nabove) {
    bool any = false;
    for (uint32_t i = 0; i < nabove; i++) {
        const ev_above *a = &x->above[i];
        if (a->stale == a->stale_end) continue;
        if (!any) memset(x->stale, 0, sizeof x->stale);
        any = true;
        for (uint32_t at = a->stale; at < a->stale_end; at++) {
            const uint32_t contact = a->layer->contacts[at] & (BM_CHUNK_ROWS - 1);
            x->stale[contact >> 6] |= 1ull << (contact & 63);
        }
    }
    return any;
}

static inline bool has(const uint64_t *bits, uint32_t contact) { return bits[contact >> 6] >> (contact & 63) & 1; }

/* --- adding rows ---------------------------------------------------------------------------------------- */

static bool only_contacts(const ev_call *x) { return x->kind == EV_SEEN || x->kind == EV_COUNT; }

/* Adds the rows that are on their way. */
static int settle(ev_call *x) {
    const uint32_t n = x->nbatch;
    const bm_u16 *contacts = (const bm_u16 *)x->room.contacts;
    x->nbatch = 0;
    if (!n) return BM_OK;
    if (!only_contacts(x)) return ev_add_values(x, contacts, x->batch, n, x->picked.reach);
    ev_add_contacts(x, contacts, n);
    return BM_OK;
}

/* Makes x->slice of those columns of a layer that adding its rows looks at. */
static void slice(ev_call *x, const ev_layer *l, uint32_t first, uint32_t n) {
    x->slice.rows = n;
    x->slice.ncolumns = l->b.ncolumns;
    ev_layer_slice_column(l, EV_CONTACT, first, n, &x->slice);
    ev_layer_slice_column(l, EV_TIME, first, n, &x->slice);
    if (x->q->measure != EV_NO_COLUMN) ev_layer_slice_column(l, (uint32_t)x->q->measure, first, n, &x->slice);
    for (uint32_t i = 0; i < x->q->nlisted; i++) ev_layer_slice_column(l, x->q->listed[i], first, n, &x->slice);
}

/* Lists those of n rows from `first` on, of contacts that these are, which the bits leave (from bit `at` on; NULL: all) and
 * which are of candidates: how many. */
static uint32_t list(ev_call *x, const bm_u16 *contacts, uint32_t n, const uint64_t *bits, uint32_t at) {
    uint16_t *rows = x->room.rows;
    const uint64_t *of_candidates = x->room.other;
    uint32_t found = 0;
    if (!bits && !x->narrowed) {
        for (; found < n; found++) rows[found] = (uint16_t)found;
        return found;
    }
    if (x->narrowed) bm_ops.member((const uint8_t *)contacts, n, 0, x->chosen, x->room.other);
    const uint32_t by = at & 63;
    if (bits) bits += at / 64;
    for (uint32_t w = 0; w < (n + 63) / 64; w++) {
        uint64_t left = n - w * 64 < 64 ? bm_ones(n - w * 64) : ~0ull;
        if (bits) left &= by ? bits[w] >> by | bits[w + 1] << (64 - by) : bits[w];
        if (x->narrowed) left &= of_candidates[w];
        for (; left; left &= left - 1) rows[found++] = (uint16_t)(w * 64 + (uint32_t)__builtin_ctzll(left));
    }
    return found;
}

/* Adds those of n rows of a layer that its bits leave. */
static int add_masked(ev_call *x, const ev_above *a, uint32_t first, uint32_t n, uint32_t nabove, bool stale) {
    const ev_layer *l = a->layer;
    const ev_reading *r = a->reading;
    const bm_u16 *contacts = (const bm_u16 *)(l->lows + first);
    const uint16_t *rows = x->room.rows;
    const bool contact_only = only_contacts(x);
    if (!r->bits && !x->narrowed && !stale) {
        if (contact_only) {
            ev_add_contacts(x, contacts, n);
            return BM_OK;
        }
        slice(x, l, first, n);
        return ev_add_rows(x, &x->slice, NULL, NULL, n);
    }
    uint32_t left = list(x, contacts, n, r->bits, first - r->row);
    if (stale) {
        const uint32_t listed = left;
        left = 0;
        for (uint32_t i = 0; i < listed; i++) {
            x->room.rows[left] = rows[i];
            left += !has(x->stale, contacts[rows[i]]) || !ev_is_void(l, first + rows[i], x->above, nabove);
        }
    }
    if (!left) return BM_OK;
    if (!contact_only && x->q->measure == EV_NO_COLUMN) {
        slice(x, l, first, n);
        return ev_add_rows(x, &x->slice, rows, NULL, left);
    }
    if (x->nbatch + left > BM_CHUNK_ROWS) {
        const int status = settle(x);
        if (status != BM_OK) return status;
    }
    uint16_t *to = x->room.contacts;
    uint32_t at = x->nbatch;
    if (contact_only) {
        for (uint32_t i = 0; i < left; i++) to[at++] = contacts[rows[i]];
    } else {
        const bm_chunk *measure = &l->b.columns[x->q->measure];
        for (uint32_t i = 0; i < left; i++) {
            const uint64_t code = ev_code(measure, first + rows[i]);
            to[at] = contacts[rows[i]];
            x->batch[at] = ev_value(measure, code);
            at += code != 0;
        }
    }
    x->nbatch = at;
    return BM_OK;
}

static int add_slice(ev_call *x, const ev_above *a, uint32_t first, uint32_t n, uint32_t nabove, bool stale) {
    ev_source from = {&x->slice, (int64_t)x->number * BM_CHUNK_ROWS, a->layer->lows[first], a->layer->lows[first + n - 1],
                      nabove, stale};
    ev_layer_slice(a->layer, first, n, &x->slice);
    return ev_add_block(x, &from);
}

/* Adds picked rows whole, those of one layer that lie near each other together. */
static int add_whole(ev_call *x, const uint32_t *at, uint32_t n) {
    const ev_picked *p = &x->picked;
    uint32_t of = 0;
    for (uint32_t i = 0, j; i < n; i = j) {
        while (of + 1 < p->nlayers && p->layers[of + 1].first <= at[i]) of++;
        const uint32_t end = of + 1 < p->nlayers ? p->layers[of + 1].first : p->n, first = p->rows[at[i]];
        for (j = i; j < n && at[j] < end && p->rows[at[j]] - first < BM_CHUNK_ROWS; j++)
            x->room.rows[j - i] = (uint16_t)(p->rows[at[j]] - first);
        slice(x, p->layers[of].layer, first, (uint32_t)x->room.rows[j - i - 1] + 1);
        const int status = ev_add_rows(x, &x->slice, x->room.rows, NULL, j - i);
        if (status != BM_OK) return status;
    }
    return BM_OK;
}

/* Adds n of the picked rows of the range. */
static int add_picked(ev_call *x, uint32_t first, uint32_t n, uint32_t nabove, bool stale) {
    const ev_picked *p = &x->picked;
    const uint16_t *contacts = p->lows + first;
    uint32_t *at = p->at + first, of = 0, left = 0;
    if (only_contacts(x) && !x->narrowed && !stale) {
        ev_add_contacts(x, (const bm_u16 *)contacts, n);
        return BM_OK;
    }
    if (!x->narrowed && !stale) memcpy(x->room.contacts, contacts, (left = n) * sizeof *contacts);
    else for (uint32_t i = 0; i < n; i++) {
        at[left] = at[i];
        x->room.contacts[left] = contacts[i];
        if (x->narrowed && !has(x->chosen, contacts[i])) continue;
        if (stale && has(x->stale, contacts[i])) {
            while (of + 1 < p->nlayers && p->layers[of + 1].first <= at[i]) of++;
            while (nabove && x->above[nabove - 1].reading->index <= of) nabove--;
            if (ev_is_void(p->layers[of].layer, p->rows[at[i]], x->above, nabove)) continue;
        }
        left++;
    }
    if (!only_contacts(x) && x->q->measure == EV_NO_COLUMN) return left ? add_whole(x, at, left) : BM_OK;
    for (uint32_t i = 0; i < left && !only_contacts(x); i++) x->batch[i] = p->values[at[i]];
    x->nbatch = left;
    return settle(x);
}

int ev_layers_add(ev_call *x, uint32_t nabove, const bm_stop *stop) {
    const ev_picked *p = &x->picked;
    const uint32_t number = x->number - p->first;
    const bool any_stale = note_stale(x, nabove);
    int status = BM_OK;
    if (p->n && x->number >= p->first && number < p->nranges)
        for (uint32_t at = p->starts[number], end = p->starts[number + 1], n; at < end && status == BM_OK; at += n) {
            n = end - at < BM_CHUNK_ROWS ? end - at : BM_CHUNK_ROWS;
            status = add_picked(x, at, n, nabove, any_stale);
        }
    bool stale = false; /* so far: newer layers come first */
    for (uint32_t i = 0; i < nabove && status == BM_OK; i++) {
        const ev_above *a = &x->above[i];
        for (uint32_t row = a->row, n; row < a->row_end && status == BM_OK; row += n) {
            if (stop && (status = bm_stop_look(stop)) != BM_OK) break;
            n = a->row_end - row < BM_CHUNK_ROWS ? a->row_end - row : BM_CHUNK_ROWS;
            if (a->reading->way == EV_MASKED) status = add_masked(x, a, row, n, i, stale);
            else if ((status = settle(x)) == BM_OK) status = add_slice(x, a, row, n, i, stale);
        }
        stale |= a->stale < a->stale_end;
    }
    const int settled = settle(x);
    return status == BM_OK ? settled : status;
}
