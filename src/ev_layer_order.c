/* Putting the rows of a layer in order: a radix sort of codes, which takes as long however far the codes lie apart. */
#include <stdlib.h>

#include "ev_layer.h"
#include "ev_order.h"

#define DIGIT 11u

/* Sorts the n pairs of code << 32 | row by code, of which `bits` matter, those of one code in the order they are in. False
 * without memory. */
static bool sort(uint64_t *pairs, uint32_t n, uint32_t bits) {
    uint64_t *from = pairs, *to = malloc((size_t)n * sizeof *to + 1);
    uint32_t next[1u << DIGIT];
    if (!to) return false;
    for (uint32_t at = 0; at < bits; at += DIGIT) {
        memset(next, 0, sizeof next);
        for (uint32_t i = 0; i < n; i++) next[from[i] >> (32 + at) & ((1u << DIGIT) - 1)]++;
        for (uint32_t d = 0, sum = 0; d < 1u << DIGIT; d++) {
            const uint32_t here = next[d];
            next[d] = sum;
            sum += here;
        }
        for (uint32_t i = 0; i < n; i++) to[next[from[i] >> (32 + at) & ((1u << DIGIT) - 1)]++] = from[i];
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != pairs) memcpy(pairs, from, (size_t)n * sizeof *pairs);
    free(from == pairs ? to : from);
    return true;
}

static bool fill(ev_layer_order *o, const bm_chunk *c, const uint64_t *pairs) {
    for (uint32_t i = 0; i < o->n; i++) o->nvalues += !i || pairs[i] >> 32 != pairs[i - 1] >> 32;
    o->values = malloc((size_t)o->nvalues * sizeof *o->values + 1);
    o->starts = malloc(((size_t)o->nvalues + 1) * sizeof *o->starts);
    o->rows = malloc((size_t)o->n * sizeof *o->rows + 1);
    if (!o->values || !o->starts || !o->rows) return false;
    uint32_t at = 0;
    for (uint32_t i = 0; i < o->n; i++) {
        if (!i || pairs[i] >> 32 != pairs[i - 1] >> 32) {
            o->values[at] = ev_value(c, pairs[i] >> 32);
            o->starts[at++] = i;
        }
        o->rows[i] = (uint32_t)pairs[i];
    }
    o->starts[at] = o->n;
    return true;
}

int ev_layer_order_make(ev_layer_order *o, const ev_layer *l, uint32_t column) {
    const bm_chunk *c = &l->b.columns[column];
    memset(o, 0, sizeof *o);
    if (c->width > 4) return EV_UNORDERED;
    uint64_t *pairs = malloc((size_t)c->rows * sizeof *pairs + 1), most = 0;
    if (!pairs) return BM_NO_MEMORY;
    for (uint32_t row = 0; row < c->rows; row++) {
        const uint64_t code = bm_code(c, row);
        if (!code) continue;
        if (code > most) most = code;
        pairs[o->n++] = code << 32 | row;
    }
    const uint32_t bits = most ? 64 - (uint32_t)__builtin_clzll(most) : 0;
    const bool made = sort(pairs, o->n, bits) && fill(o, c, pairs);
    free(pairs);
    return made ? BM_OK : BM_NO_MEMORY;
}

void ev_layer_order_clear(ev_layer_order *o) {
    free(o->values);
    free(o->starts);
    free(o->rows);
    memset(o, 0, sizeof *o);
}

size_t ev_layer_order_bytes(const ev_layer_order *o) { return 4 * (size_t)o->n + 12 * (size_t)o->nvalues; }

void ev_layer_order_find(const ev_layer_order *o, int64_t value, uint32_t *at, uint32_t *end) {
    uint32_t lo = 0, hi = o->nvalues;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (o->values[mid] < value) lo = mid + 1;
        else hi = mid;
    }
    const bool there = lo < o->nvalues && o->values[lo] == value;
    *at = there ? o->starts[lo] : 0;
    *end = there ? o->starts[lo + 1] : 0;
}
