/* Making orders of a month's rows: by counting, since values are codes of strings, which lie close together. */
#include <stdlib.h>

#include "ev_order.h"
#include "ev_scan.h"

/* --- the mark ----------------------------------------------------------------------------------------------- */

static inline uint64_t mix(uint64_t h, uint64_t word) { /* the multiply-and-fold of wyhash */
    unsigned __int128 product = (unsigned __int128)(h ^ word ^ 0x9e3779b97f4a7c15u) * (word ^ 0xd1342543de82ef95u ^ h >> 7);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t mix_chunk(uint64_t h, const bm_chunk *c) {
    h = mix(h, (uint64_t)c->base);
    h = mix(h, (uint64_t)c->max);
    h = mix(h, (uint64_t)c->rows << 32 | c->present);
    const size_t size = (size_t)c->rows * c->width;
    uint64_t four[4] = {h, h + 1, h + 2, mix(h, c->width)}; /* side by side, since each step waits for its own last */
    size_t i = 0;
    for (; i + 32 <= size; i += 32) {
        uint64_t words[4];
        memcpy(words, c->codes + i, 32);
        for (uint32_t j = 0; j < 4; j++) four[j] = mix(four[j], words[j]);
    }
    for (; i < size; i += 8) {
        uint64_t word = 0;
        memcpy(&word, c->codes + i, size - i < 8 ? size - i : 8);
        four[i / 8 % 4] = mix(four[i / 8 % 4], word);
    }
    return mix(mix(four[0], four[1]), mix(four[2], four[3]));
}

uint64_t ev_order_mark(const ev_month *m, uint32_t column) {
    uint64_t h = mix(m->first, column);
    for (uint32_t at = 0; at < m->n; at++) {
        for (uint32_t i = m->starts[at]; i < m->starts[at + 1]; i++) {
            const ev_block *b = m->blocks[i];
            h = mix(h, (uint64_t)at << 32 | b->rows);
            h = mix_chunk(h, &b->columns[EV_CONTACT]);
            h = mix_chunk(h, &b->columns[EV_TIME]);
            h = mix_chunk(h, &b->columns[column]);
        }
    }
    return h;
}

uint64_t ev_measure_mark(const ev_month *m, uint32_t column) {
    uint64_t h = mix(m->first, column);
    for (uint32_t i = 0; m->n && i < m->starts[m->n]; i++) h = mix_chunk(h, &m->blocks[i]->columns[column]);
    return h;
}

/* --- making one --------------------------------------------------------------------------------------------- */

/* The least and the greatest value of a column of the blocks; false without any. */
static bool bounds(const ev_month *m, uint32_t column, int64_t *least, int64_t *most) {
    bool any = false;
    for (uint32_t i = 0; i < m->starts[m->n]; i++) {
        const bm_chunk *c = &m->blocks[i]->columns[column];
        if (!c->present) continue;
        if (!any || c->base < *least) *least = c->base;
        if (!any || c->max > *most) *most = c->max;
        any = true;
    }
    return any;
}

/* Of a row its value's number from `least` on; a damaged code may say more than the column's bounds. */
static inline bool number_of(const bm_chunk *c, uint32_t row, int64_t least, uint64_t span, uint64_t *number) {
    const uint64_t code = ev_code(c, row);
    *number = (uint64_t)ev_value(c, code) - (uint64_t)least;
    return code != 0 && *number <= span;
}

static bool allocate(ev_order *o, uint32_t nvalues) {
    const size_t n = o->n;
    o->nvalues = nvalues;
    o->values = malloc((size_t)nvalues * sizeof *o->values + 1);
    o->starts = malloc(((size_t)nvalues + 1) * sizeof *o->starts);
    o->places = malloc(n * sizeof *o->places + 1);
    o->contacts = malloc(n * sizeof *o->contacts + BM_PAD);
    o->times = malloc(n * sizeof *o->times + BM_PAD);
    return o->values && o->starts && o->places && o->contacts && o->times;
}

/* Lists where the ranges of frequent values begin: 4 bytes a range, which has EV_ROWS_LISTED rows of 8 bytes at least. To look
 * for it among the places costs a few cache lines each time. */
static bool list_ranges(ev_order *o, const ev_month *m) {
    o->nranges = m->n;
    o->listed = malloc((size_t)o->nvalues * sizeof *o->listed + 1);
    if (!o->listed) return false;
    for (uint32_t v = 0; v < o->nvalues; v++) {
        const uint32_t rows = o->starts[v + 1] - o->starts[v];
        const bool many = rows / EV_ROWS_LISTED >= m->n && o->nfirsts < EV_UNLISTED - m->n;
        o->listed[v] = many ? (uint32_t)o->nfirsts : EV_UNLISTED;
        if (many) o->nfirsts += (size_t)m->n + 1;
    }
    o->firsts = malloc(o->nfirsts * sizeof *o->firsts + 1);
    if (!o->firsts) return false;
    for (uint32_t v = 0; v < o->nvalues; v++) {
        if (o->listed[v] == EV_UNLISTED) continue;
        uint32_t *first = o->firsts + o->listed[v], row = o->starts[v];
        for (uint32_t range = 0; range < m->n; range++) {
            first[range] = row;
            while (row < o->starts[v + 1] && o->places[row] >> EV_ROW_BITS < m->starts[range + 1]) row++;
        }
        first[m->n] = o->starts[v + 1];
    }
    return true;
}

int ev_order_make(ev_order *o, const ev_month *m, uint32_t column) {
    memset(o, 0, sizeof *o);
    o->nblocks = m->n ? m->starts[m->n] : 0;
    int64_t least = 0, most = 0, latest = 0;
    uint64_t rows = 0;
    for (uint32_t i = 0; i < o->nblocks; i++) rows += m->blocks[i]->rows;
    if (!o->nblocks || !bounds(m, column, &least, &most) || !bounds(m, EV_TIME, &o->first, &latest)) return EV_UNORDERED;
    const uint64_t span = (uint64_t)most - (uint64_t)least;
    if (span >= EV_ORDER_SPAN || o->nblocks > 1u << (32 - EV_ROW_BITS) || rows > UINT32_MAX) return EV_UNORDERED;
    while (((uint64_t)latest - (uint64_t)o->first) >> o->shift > UINT16_MAX) o->shift++;

    uint32_t *next = calloc(span + 1, sizeof *next); /* first how many rows a value has, then where its next one goes */
    if (!next) return BM_NO_MEMORY;
    uint64_t number;
    for (uint32_t i = 0; i < o->nblocks; i++) {
        const ev_block *b = m->blocks[i];
        for (uint32_t row = 0; row < b->rows; row++) {
            if (!number_of(&b->columns[column], row, least, span, &number)) continue;
            next[number]++;
            o->n++;
        }
    }
    uint32_t nvalues = 0, at = 0;
    for (uint64_t i = 0; i <= span; i++) nvalues += next[i] != 0;
    if (!allocate(o, nvalues)) {
        free(next);
        return BM_NO_MEMORY;
    }
    nvalues = 0;
    for (uint64_t i = 0; i <= span; i++) {
        if (!next[i]) continue;
        o->values[nvalues] = (int64_t)((uint64_t)least + i);
        o->starts[nvalues++] = at;
        at += next[i];
        next[i] = at - next[i];
    }
    o->starts[nvalues] = at;
    for (uint32_t i = 0; i < o->nblocks; i++) {
        const ev_block *b = m->blocks[i];
        const bm_chunk *contacts = &b->columns[EV_CONTACT], *times = &b->columns[EV_TIME];
        for (uint32_t row = 0; row < b->rows; row++) {
            if (!number_of(&b->columns[column], row, least, span, &number)) continue;
            const uint32_t to = next[number]++;
            const uint64_t since = (uint64_t)ev_value(times, ev_code(times, row)) - (uint64_t)o->first;
            o->places[to] = i << EV_ROW_BITS | row;
            o->contacts[to] = (uint16_t)(ev_value(contacts, ev_code(contacts, row)) & (BM_CHUNK_ROWS - 1));
            o->times[to] = (uint16_t)(since >> o->shift);
        }
    }
    free(next);
    if (!list_ranges(o, m)) return BM_NO_MEMORY;
    o->mark = ev_order_mark(m, column);
    return BM_OK;
}

int ev_measure_make(ev_measure *v, const ev_order *o, const ev_month *m, uint32_t column) {
    memset(v, 0, sizeof *v);
    if (!bounds(m, column, &v->base, &v->most) || (uint64_t)v->most - (uint64_t)v->base >= UINT32_MAX) return EV_UNORDERED;
    v->codes = malloc((size_t)o->n * sizeof *v->codes + 1);
    if (!v->codes) return BM_NO_MEMORY;
    const uint64_t span = (uint64_t)v->most - (uint64_t)v->base;
    v->whole = true;
    for (uint32_t i = 0; i < o->n; i++) {
        uint64_t number;
        const bm_chunk *c = &m->blocks[o->places[i] >> EV_ROW_BITS]->columns[column];
        const bool there = number_of(c, o->places[i] & (BM_CHUNK_ROWS - 1), v->base, span, &number);
        v->codes[i] = there ? (uint32_t)number + 1 : 0;
        v->whole &= there;
    }
    v->mark = ev_measure_mark(m, column);
    return BM_OK;
}

void ev_order_clear(ev_order *o) {
    free(o->values);
    free(o->starts);
    free(o->places);
    free(o->listed);
    free(o->firsts);
    free(o->contacts);
    free(o->times);
    memset(o, 0, sizeof *o);
}

size_t ev_order_bytes(const ev_order *o) { return 8 * (size_t)o->n + 16 * (size_t)o->nvalues + 4 * o->nfirsts; }

const uint32_t *ev_order_find(const ev_order *o, int64_t value, uint32_t *at, uint32_t *end) {
    uint32_t lo = 0, hi = o->nvalues;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (o->values[mid] < value) lo = mid + 1;
        else hi = mid;
    }
    const bool there = lo < o->nvalues && o->values[lo] == value;
    *at = there ? o->starts[lo] : 0;
    *end = there ? o->starts[lo + 1] : 0;
    return there && o->listed[lo] != EV_UNLISTED ? o->firsts + o->listed[lo] : NULL;
}

/* --- what may be looked up ---------------------------------------------------------------------------------- */

uint32_t ev_conjunct_values(const ev_filter *f, const ev_conjunct *part, int64_t *values) {
    const ev_op *op = &f->ops[part->first];
    if (part->end - part->first != 1 || op->kind != EV_SCAN || op->column <= EV_LINE) return 0;
    const bm_table *t = op->scan.table;
    if (!t) {
        values[0] = op->scan.lo;
        return op->scan.lo == op->scan.hi;
    }
    if (t->negate) return 0;
    uint32_t n = 0;
    for (uint64_t w = 0; w < (t->nbits + 63) / 64; w++) {
        for (uint64_t left = t->words[w]; left; left &= left - 1) {
            if (n == EV_VALUES) return 0;
            values[n++] = t->base + (int64_t)(w * 64 + (uint64_t)__builtin_ctzll(left));
        }
    }
    return n;
}
