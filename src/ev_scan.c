/* Counts and sums a contact over the rows of event blocks that lie in a window of time and pass a filter.
 *
 * A set of rows is a mask of one bit a row. Where few rows are left after the window and the candidates, they are
 * listed, and the filter looks at these alone: bit i of a mask then speaks of row i of the list. */
#include <stdlib.h>

#include "ev_block.h"

/* So many rows or fewer are listed; the figure of a container, for one of its chunks. */
#define EV_LISTED (BM_SWITCH_BEFORE_SCAN / BM_CHUNKS)

typedef struct {
    const ev_query *q;
    bm_table chosen; /* the candidates, as a table over the column of contacts */
    uint64_t chosen_words[BM_CHUNK_WORDS + 1];
    uint64_t mask[BM_WORDS]; /* as long as a container, for bm_ops.extract; 0 behind the block's words */
    uint64_t other[BM_CHUNK_WORDS];
    uint64_t lut[BM_BUF / 8];
    uint16_t rows[BM_CHUNK_ROWS + BM_PAD / 2];
    uint8_t *zones;  /* depth of the filter */
    uint64_t *masks; /* BM_CHUNK_WORDS for each */
} ev_call;

/* What zone maps say of a filter: BM_ZONE_NONE or BM_ZONE_ALL of the block's rows, or some. */
static int filter_zone(const ev_call *x, const ev_block *b) {
    const ev_filter *f = x->q->filter;
    uint8_t *top = x->zones; /* behind the topmost */
    uint64_t lo, hi;
    for (uint32_t i = 0; i < f->n; i++) {
        const ev_op *op = &f->ops[i];
        uint32_t sure = 0, possible = 0, need = op->kind == EV_ALL ? op->n : op->kind == EV_ANY ? 1 : op->k;
        switch (op->kind) {
        case EV_SCAN: {
            const bm_chunk *c = &b->columns[op->column];
            int z = bm_chunk_zone(&op->scan, c, &lo, &hi);
            *top++ = (uint8_t)(z == BM_ZONE_ALL && c->present < b->rows ? BM_ZONE_SOME : z);
            break;
        }
        case EV_CONSTANT: *top++ = op->value ? BM_ZONE_ALL : BM_ZONE_NONE; break;
        case EV_NOT: top[-1] = (uint8_t)(BM_ZONE_ALL - top[-1]); break;
        default:
            top -= op->n;
            for (uint32_t j = 0; j < op->n; j++) {
                sure += top[j] == BM_ZONE_ALL;
                possible += top[j] != BM_ZONE_NONE;
            }
            *top++ = sure >= need ? BM_ZONE_ALL : possible < need ? BM_ZONE_NONE : BM_ZONE_SOME;
        }
    }
    return x->zones[0];
}

/* Rows in at least k of the n masks, into the first: a counter a row in bit planes, begun so that k more overflow. */
static void at_least(uint64_t *masks, uint32_t n, uint32_t k, uint32_t words) {
    uint32_t nplanes = 0;
    while (nplanes < 31 && (1u << nplanes) < k) nplanes++;
    for (uint32_t w = 0; w < words; w++) {
        uint64_t planes[32], over = 0;
        for (uint32_t p = 0; p < nplanes; p++) planes[p] = ((1u << nplanes) - k) >> p & 1 ? ~0ull : 0;
        for (uint32_t i = 0; i < n; i++) {
            uint64_t carry = masks[i * (size_t)BM_CHUNK_WORDS + w];
            for (uint32_t p = 0; p < nplanes && carry; p++) {
                uint64_t both = planes[p] & carry;
                planes[p] ^= carry;
                carry = both;
            }
            over |= carry;
        }
        masks[w] = over;
    }
}

/* The filter's mask of the block's rows, or of the first `listed` of x->rows. Bits behind these mean nothing. */
static const uint64_t *filter_mask(ev_call *x, const ev_block *b, uint32_t listed) {
    const ev_filter *f = x->q->filter;
    const uint32_t words = ((listed ? listed : b->rows) + 63) / 64;
    uint64_t *top = x->masks; /* behind the topmost */
    for (uint32_t i = 0; i < f->n; i++) {
        const ev_op *op = &f->ops[i];
        const bm_chunk *c = &b->columns[op->column];
        switch (op->kind) {
        case EV_SCAN:
            if (listed) {
                memset(top, 0, words * 8);
                bm_chunk_test(&op->scan, c, (const bm_u16 *)x->rows, 0, listed, top);
            } else {
                bm_chunk_bits(&op->scan, c, top, x->lut);
            }
            top += BM_CHUNK_WORDS;
            break;
        case EV_CONSTANT:
            memset(top, op->value ? 0xff : 0, words * 8);
            top += BM_CHUNK_WORDS;
            break;
        case EV_NOT:
            top -= BM_CHUNK_WORDS;
            for (uint32_t w = 0; w < words; w++) top[w] = ~top[w];
            top += BM_CHUNK_WORDS;
            break;
        default:
            top -= op->n * (size_t)BM_CHUNK_WORDS;
            if (op->n == 0 || (op->kind == EV_AT_LEAST && op->k == 0)) {
                bool all = op->kind == EV_ALL || (op->kind == EV_AT_LEAST && op->k == 0);
                memset(top, all ? 0xff : 0, words * 8);
            } else if (op->kind == EV_AT_LEAST) {
                at_least(top, op->n, op->k, words);
            } else {
                for (uint32_t j = 1; j < op->n; j++) {
                    const uint64_t *with = top + j * (size_t)BM_CHUNK_WORDS;
                    if (op->kind == EV_ALL) for (uint32_t w = 0; w < words; w++) top[w] &= with[w];
                    else for (uint32_t w = 0; w < words; w++) top[w] |= with[w];
                }
            }
            top += BM_CHUNK_WORDS;
        }
    }
    return x->masks;
}

/* Adds the first n of x->rows; true when a sum overflowed. Codes may be damaged, so that ordinals are cut to size. */
static bool add_rows(ev_call *x, const ev_block *b, uint32_t n) {
    const ev_query *q = x->q;
    const bm_chunk *contacts = &b->columns[EV_CONTACT];
    const bm_chunk *measure = q->measure == EV_NO_COLUMN ? NULL : &b->columns[q->measure];
    bool overflow = false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = x->rows[i];
        uint32_t contact = (uint32_t)ev_value(contacts, bm_code(contacts, row)) & (BM_CHUNK_ROWS - 1);
        q->counts[contact]++;
        uint64_t code = measure ? ev_code(measure, row) : 0;
        if (!code) continue;
        overflow |= __builtin_add_overflow(q->sums[contact], ev_value(measure, code), &q->sums[contact]);
        q->measured[contact]++;
    }
    return overflow;
}

/* Whether there is a candidate from lo to hi, both inside the range. */
static bool any_between(const uint64_t *bits, uint32_t lo, uint32_t hi) {
    for (uint32_t w = lo >> 6; w <= hi >> 6; w++) {
        uint64_t some = bits[w];
        if (w == lo >> 6) some &= ~0ull << (lo & 63);
        if (w == hi >> 6) some &= ~0ull >> (63 - (hi & 63));
        if (some) return true;
    }
    return false;
}

/* One block; true when a sum overflowed. */
static bool add_block(ev_call *x, const ev_block *b) {
    const ev_query *q = x->q;
    const bm_chunk *contacts = &b->columns[EV_CONTACT], *times = &b->columns[EV_TIME];
    const bm_scan window = {NULL, NULL, q->first, q->last}, chosen = {NULL, &x->chosen, 0, 0};
    const uint32_t words = (b->rows + 63) / 64;
    uint64_t lo, hi;
    if (bm_chunk_zone(&window, times, &lo, &hi) == BM_ZONE_NONE) return false; /* also a block without rows */
    if (q->candidates && !any_between(q->candidates, (uint32_t)contacts->base, (uint32_t)contacts->max)) return false;
    int zone = q->filter ? filter_zone(x, b) : BM_ZONE_ALL;
    if (zone == BM_ZONE_NONE) return false;

    bm_chunk_bits(&window, times, x->mask, x->lut);
    if (q->candidates) {
        bm_chunk_bits(&chosen, contacts, x->other, x->lut);
        for (uint32_t w = 0; w < words; w++) x->mask[w] &= x->other[w];
    }
    uint32_t left = 0;
    for (uint32_t w = 0; w < words; w++) left += (uint32_t)__builtin_popcountll(x->mask[w]);
    if (!left) return false;
    if (zone != BM_ZONE_ALL && left > EV_LISTED) {
        const uint64_t *pass = filter_mask(x, b, 0);
        for (uint32_t w = 0; w < words; w++) x->mask[w] &= pass[w];
    }
    uint32_t n = bm_ops.extract((const uint8_t *)x->mask, 0, x->rows, BM_CHUNK_ROWS);
    if (zone != BM_ZONE_ALL && left <= EV_LISTED)
        n = bm_ops.compact((const bm_u16 *)x->rows, n, filter_mask(x, b, n), x->rows);
    return add_rows(x, b, n);
}

int ev_accumulate(const ev_block *const *blocks, size_t n, const ev_query *q, const bm_stop *stop) {
    const uint32_t depth = q->filter ? q->filter->depth : 0;
    int status = stop ? bm_stop_look(stop) : BM_OK;
    if (status != BM_OK || !n || q->first > q->last) return status;
    ev_call *x = malloc(sizeof *x);
    uint64_t *masks = malloc((size_t)depth * (BM_CHUNK_WORDS * 8 + 1) + 1);
    if (x && masks) {
        x->q = q;
        x->masks = masks;
        x->zones = (uint8_t *)(masks + (size_t)depth * BM_CHUNK_WORDS);
        memset(x->mask, 0, sizeof x->mask);
        x->chosen = (bm_table){0, BM_CHUNK_ROWS, false, x->chosen_words};
        x->chosen_words[BM_CHUNK_WORDS] = 0;
        if (q->candidates) memcpy(x->chosen_words, q->candidates, BM_CHUNK_WORDS * 8);
        for (size_t i = 0; i < n && status == BM_OK; i++) {
            if (stop) status = bm_stop_look(stop);
            if (status == BM_OK && add_block(x, blocks[i])) status = EV_OVERFLOW;
        }
    } else {
        status = BM_NO_MEMORY;
    }
    free(x);
    free(masks);
    return status;
}
