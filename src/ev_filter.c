/* Which rows of a block pass a filter: its conjuncts one by one, the cheap ones first, over all rows or over listed ones.
 *
 * A set of rows is a mask of one bit a row; over listed rows, bit i of a mask speaks of row i of the list. */
#include <stdlib.h>

#include "ev_scan.h"

/* Where the postfix form of the step that ends at `end` begins. */
static uint32_t begin_of(const ev_filter *f, uint32_t end) {
    uint32_t need = 1;
    while (need) {
        const ev_op *op = &f->ops[--end];
        uint32_t takes = op->kind == EV_SCAN || op->kind == EV_CLOCK || op->kind == EV_CONSTANT ? 0 : op->kind == EV_NOT ? 1 : op->n;
        need += takes - 1;
    }
    return end;
}

static uint8_t cost_of(const ev_filter *f, uint32_t first, uint32_t end) {
    const ev_op *op = &f->ops[first];
    if (end - first > 1) return EV_DEAR;
    return op->kind == EV_SCAN ? (op->scan.table ? EV_LOOKED_UP : EV_COMPARED) : op->kind == EV_CLOCK ? EV_DEAR : EV_COMPARED;
}

bool ev_filter_split(ev_filter *f) {
    /* Every step in the place of one conjunct at most; those that are ALL are opened, from the last on. */
    ev_conjunct *found = malloc((size_t)(f->n + 1) * sizeof *found);
    if (!found) return false;
    uint32_t n = 0;
    found[n++] = (ev_conjunct){0, f->n, 0};
    for (uint32_t i = 0; i < n;) {
        uint32_t end = found[i].end - 1; /* where the operands end */
        const ev_op *op = &f->ops[end];
        if (op->kind != EV_ALL || !op->n) {
            i++;
            continue;
        }
        for (uint32_t j = 0, left = op->n; j < left; j++) {
            uint32_t begin = begin_of(f, end);
            found[j ? n++ : i] = (ev_conjunct){begin, end, 0};
            end = begin;
        }
    }
    for (uint32_t i = 0; i < n; i++) found[i].cost = cost_of(f, found[i].first, found[i].end);
    /* The cheap ones first; of one cost in the order in which they are asked. Filters are short. */
    for (uint32_t i = 1; i < n; i++) {
        ev_conjunct c = found[i];
        uint32_t j = i;
        for (; j && (found[j - 1].cost > c.cost || (found[j - 1].cost == c.cost && found[j - 1].first > c.first)); j--)
            found[j] = found[j - 1];
        found[j] = c;
    }
    free(f->conjuncts);
    f->conjuncts = found;
    f->nconjuncts = n;
    return true;
}

int ev_conjunct_zone(const ev_filter *f, const ev_conjunct *part, const ev_block *b, uint8_t *zones) {
    uint8_t *top = zones; /* behind the topmost */
    uint64_t lo, hi;
    for (uint32_t i = part->first; i < part->end; i++) {
        const ev_op *op = &f->ops[i];
        uint32_t sure = 0, possible = 0, need = op->kind == EV_ALL ? op->n : op->kind == EV_ANY ? 1 : op->k;
        switch (op->kind) {
        case EV_SCAN: {
            const bm_chunk *c = &b->columns[op->column];
            int z = bm_chunk_zone(&op->scan, c, &lo, &hi);
            *top++ = (uint8_t)(z == BM_ZONE_ALL && c->present != b->rows ? BM_ZONE_SOME : z);
            break;
        }
        case EV_CLOCK: *top++ = (uint8_t)ev_clock_zone(op->clock); break;
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
    return zones[0];
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

const uint64_t *ev_conjunct_mask(const ev_filter *f, const ev_conjunct *part, const ev_block *b, ev_room *x,
                                 uint32_t listed) {
    const uint32_t words = ((listed ? listed : b->rows) + 63) / 64;
    const ev_clock_room room = {x->lut, x->unsure, x->rows, x->other}; /* which is free while rows are not listed */
    uint64_t *top = x->masks; /* behind the topmost */
    for (uint32_t i = part->first; i < part->end; i++) {
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
        case EV_CLOCK:
            if (listed) ev_clock_test(op->clock, &b->columns[EV_TIME], x->rows, listed, top);
            else ev_clock_bits(op->clock, &b->columns[EV_TIME], b->rows, top, &room);
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
