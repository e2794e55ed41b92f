/* Reading layers: what of a layer is known before the first range is looked at.
 *
 * A layer has rows of all ranges, and of each but few: to look at these as a block of their own takes longer than the rows
 * themselves. So window and filter are asked of all rows of a layer at once, as many as a block has at a time. Where they
 * leave few, these are picked, and those of all layers are put together by range, so that a range takes them at one go;
 * else the layer keeps a bit a row, and a range looks at its own rows' (ev_above.c). Of few candidates' ranges, what is
 * not asked at once is less than what is: then the layer is looked at in slices after all. */
#include <stdlib.h>

#include "ev_scan.h"

/* So many picked rows, and words of bits, are room that a call leaves to the next one. */
#define EV_KEPT (1u << 16)

/* What things take, in tenths of a nanosecond: */
#define SLICE 1800u /* to look at the rows of a range as a block */
#define MASKED 300u /* to look at the bits of a range's rows, more than its rows take */
#define PICKED 50u  /* to pick a row, put it to its range and add it; again more than a row of a bit takes */
static const uint32_t ASKED[] = {[EV_COMPARED] = 1, [EV_LOOKED_UP] = 8, [EV_DEAR] = 25}; /* to ask a row for a conjunct */

/* --- whole layers --------------------------------------------------------------------------------------- */

/* What is asked of a layer's rows: what that takes a row, or UINT32_MAX where the window or a conjunct lets nothing pass. */
static uint32_t asked_of(ev_call *x, const ev_layer *l) {
    const ev_filter *f = x->q->filter;
    const bm_scan window = {NULL, NULL, x->q->first, x->q->last};
    uint64_t lo, hi;
    int zone = bm_chunk_zone(&window, &l->b.columns[EV_TIME], &lo, &hi);
    uint32_t each = zone == BM_ZONE_SOME ? ASKED[EV_COMPARED] : 0;
    for (uint32_t i = 0; f && i < f->nconjuncts && zone != BM_ZONE_NONE; i++) {
        zone = ev_conjunct_zone(f, &f->conjuncts[i], &l->b, x->room.zones);
        if (zone == BM_ZONE_SOME) each += ASKED[f->conjuncts[i].cost];
    }
    return zone == BM_ZONE_NONE ? UINT32_MAX : each;
}

/* A bit for each of the layer's n rows from `first` on that passes, in `bits`; how many do in *passing. */
static int pass(ev_call *x, const ev_layer *l, uint32_t first, uint32_t n, uint64_t *bits, uint32_t *passing,
                const bm_stop *stop) {
    *passing = 0;
    for (uint32_t at = 0, rows; at < n; at += rows) {
        const int status = stop ? bm_stop_look(stop) : BM_OK;
        if (status != BM_OK) return status;
        rows = n - at < BM_CHUNK_ROWS ? n - at : BM_CHUNK_ROWS;
        ev_layer_slice(l, first + at, rows, &x->slice);
        *passing += ev_pass_rows(x, &x->slice, bits + at / 64);
    }
    return BM_OK;
}

/* --- picked rows ---------------------------------------------------------------------------------------- */

/* Makes room for n rows; what was kept of calls before is used again. */
static bool room_for(ev_picked *p, uint32_t n, bool valued) {
    if (n > p->cap) {
        ev_picked_clear(p);
        p->rows = malloc((size_t)n * sizeof *p->rows);
        p->contacts = malloc((size_t)n * sizeof *p->contacts);
        p->at = malloc((size_t)n * sizeof *p->at);
        p->lows = malloc(((size_t)n + BM_PAD) * sizeof *p->lows);
        if (!p->rows || !p->contacts || !p->at || !p->lows) return false;
        p->cap = n;
    }
    if (valued && !p->values && p->cap) p->values = malloc((size_t)p->cap * sizeof *p->values);
    return !valued || p->values || !p->cap;
}

/* Picks those of the layer's rows that its bits say, or for NULL all. Their contacts are what the layer was opened with, and
 * so ascend also where bytes were damaged since. */
static void pick_rows(ev_picked *p, const ev_picked_of *of) {
    const ev_part *part = of->layer->parts + of->part;
    const uint16_t *lows = of->layer->lows;
    uint32_t *rows = p->rows, *to = p->contacts, at = p->n;
    for (uint32_t w = 0; w < (of->n + 63) / 64; w++) {
        const uint64_t some = of->bits ? of->bits[w] : bm_ones(of->n - w * 64 < 64 ? of->n - w * 64 : 64);
        for (uint64_t left = some; left; left &= left - 1) {
            const uint32_t row = of->row + w * 64 + (uint32_t)__builtin_ctzll(left);
            while (part[1].row <= row) part++;
            rows[at] = row;
            to[at++] = part->number * BM_CHUNK_ROWS + lows[row];
        }
    }
    p->n = at;
}

/* Finds the values of the rows picked from `from` on; without one, a row adds nothing, and is not picked. */
static void pick_values(ev_picked *p, const bm_chunk *measure, uint32_t from) {
    uint32_t kept = from;
    for (uint32_t i = from; i < p->n; i++) {
        const uint64_t code = ev_code(measure, p->rows[i]);
        p->rows[kept] = p->rows[i];
        p->contacts[kept] = p->contacts[i];
        p->values[kept] = ev_value(measure, code);
        kept += code != 0;
    }
    p->n = kept;
}

/* Puts the picked rows together by range, those of one layer behind those of older ones. */
static bool sort_picked(ev_picked *p) {
    uint32_t least = UINT32_MAX, most = 0;
    for (uint32_t i = 0; i < p->nlayers; i++) { /* those of one layer ascend */
        const uint32_t end = i + 1 < p->nlayers ? p->layers[i + 1].first : p->n, first = p->layers[i].first;
        if (first == end) continue;
        if (p->contacts[first] < least) least = p->contacts[first];
        if (p->contacts[end - 1] > most) most = p->contacts[end - 1];
    }
    if (!p->n) return true;
    p->first = least / BM_CHUNK_ROWS;
    p->nranges = most / BM_CHUNK_ROWS - p->first + 1;
    p->starts = calloc((size_t)p->nranges + 2, sizeof *p->starts);
    if (!p->starts) return false;
    uint32_t *next = p->starts + 1; /* of each range; when all are put there, it is where those of the range behind begin */
    for (uint32_t i = 0; i < p->n; i++) next[p->contacts[i] / BM_CHUNK_ROWS - p->first + 1]++;
    for (uint32_t r = 1; r <= p->nranges; r++) next[r] += next[r - 1];
    for (uint32_t i = 0; i < p->n; i++) {
        const uint32_t contact = p->contacts[i], to = next[contact / BM_CHUNK_ROWS - p->first]++;
        p->lows[to] = contact & (BM_CHUNK_ROWS - 1);
        p->at[to] = i;
    }
    return true;
}

static bool pick_all(ev_call *x) {
    ev_picked *p = &x->picked;
    const int column = x->q->measure;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->nlayers; i++) n += p->layers[i].passing;
    if (!room_for(p, n, column != EV_NO_COLUMN)) return false;
    for (uint32_t i = 0; i < p->nlayers; i++) {
        ev_picked_of *of = &p->layers[i];
        of->first = p->n;
        if (!of->passing) continue;
        pick_rows(p, of);
        if (column != EV_NO_COLUMN) pick_values(p, &of->layer->b.columns[column], of->first);
    }
    return sort_picked(p);
}

void ev_picked_clear(ev_picked *p) {
    free(p->rows);
    free(p->contacts);
    free(p->values);
    free(p->lows);
    free(p->at);
    p->rows = p->contacts = p->at = NULL;
    p->values = NULL;
    p->lows = NULL;
    p->cap = 0;
}

void ev_layers_end(ev_call *x) {
    ev_picked *p = &x->picked;
    free(p->starts);
    p->starts = NULL;
    p->n = 0;
    p->reach = 0;
    if (p->cap > EV_KEPT) ev_picked_clear(p);
    if (x->nbits > EV_KEPT) {
        free(x->bits);
        x->bits = NULL;
        x->nbits = 0;
    }
}

/* --- all layers ----------------------------------------------------------------------------------------- */

/* Finds out how the layer's rows are looked at, of which `n` from r->row on are of ranges asked for, in so many parts; in
 * *passing how many of them are to be picked. A status. `bits` has room for them. */
static int begin(ev_call *x, ev_reading *r, uint32_t n, uint64_t parts, uint64_t candidates, uint64_t *bits,
                 uint32_t *passing, const bm_stop *stop) {
    const ev_layer *l = r->layer;
    const uint32_t each = asked_of(x, l);
    *passing = 0;
    if (!n || each == UINT32_MAX) return BM_OK;
    if (x->narrowed && candidates < parts) parts = candidates;
    if (x->narrowed && (uint64_t)n * each > parts * (SLICE - MASKED)) {
        r->way = EV_SLICED;
        return BM_OK;
    }
    if (x->q->measure != EV_NO_COLUMN) {
        const bm_chunk *measure = &l->b.columns[x->q->measure];
        const double least = (double)measure->base, most = (double)measure->max, reach = most > -least ? most : -least;
        if (reach > x->picked.reach) x->picked.reach = reach;
    }
    uint32_t left = n;
    if (each) {
        const int status = pass(x, l, r->row, n, bits, &left, stop);
        if (status != BM_OK) return status;
        r->bits = bits;
    }
    if ((uint64_t)left * PICKED > parts * MASKED) r->way = EV_MASKED;
    else *passing = left;
    return BM_OK;
}

/* How many words of bits the layers take at most: one more each than their rows. */
static size_t words_of(const ev_held *h) {
    size_t words = 0;
    for (uint32_t i = 0; i < h->nlayers; i++) words += h->layers[i]->b.rows / 64 + 2;
    return words;
}

int ev_layers_begin(ev_call *x, const ev_held *h, const bm_stop *stop) {
    const size_t words = words_of(h);
    if (words > x->nbits) {
        free(x->bits);
        x->bits = malloc(words * sizeof *x->bits);
        x->nbits = x->bits ? words : 0;
        if (!x->bits) return BM_NO_MEMORY;
    }
    const uint64_t candidates = x->narrowed ? ev_among_count(x) : 0;
    uint64_t *bits = x->bits;
    x->nreadings = 0;
    x->picked.nlayers = h->nlayers;
    for (uint32_t i = 0; i < h->nlayers; i++) {
        const ev_layer *l = h->layers[i];
        uint32_t first = h->first;
        if (i < h->nfolded && h->folded_below > first) first = h->folded_below; /* below it, they are in the blocks */
        const uint32_t part = ev_layer_seek(l, first), end = ev_layer_seek(l, h->end);
        ev_picked_of *of = &x->picked.layers[i];
        *of = (ev_picked_of){l, part, 0, 0, 0, 0, NULL};
        if (part >= end) continue;
        ev_reading r = {l, i, part, EV_PICKED, NULL, l->parts[part].row};
        const uint32_t n = l->parts[end].row - r.row;
        uint32_t passing;
        const int status = begin(x, &r, n, end - part, candidates, bits, &passing, stop);
        if (status != BM_OK) return status;
        *of = (ev_picked_of){l, part, 0, passing, r.row, n, r.bits};
        if (r.bits) bits += (n + 63) / 64 + 1;
        const bool stale = l->parts[part].stale < l->parts[end].stale;
        if (r.way != EV_PICKED || stale) x->readings[x->nreadings++] = r;
    }
    return pick_all(x) ? BM_OK : BM_NO_MEMORY;
}
