/* Making the presence of a month's blocks. */
#include <stdlib.h>

#include "ev_memory.h"
#include "ev_presence.h"

#define LINE EV_LINE_BYTES

static size_t lines_of(const ev_block *b) { return (sizeof(ev_there) + b->rows + 64 + b->rows / 8 + LINE) / LINE; }

/* False where the contacts do not ascend, as those of damaged blocks may. */
static bool make(ev_there *to, const ev_block *b, const bm_chunk *counts) {
    const bm_chunk *contacts = &b->columns[EV_CONTACT];
    const uint32_t shift = (uint32_t)contacts->base - 1;
    uint32_t before = 0, page = 0; /* so many pages' first rows are known */
    for (uint32_t row = 0; row < b->rows; row++) {
        const uint32_t contact = ((uint32_t)ev_code(contacts, row) + shift) & (BM_CHUNK_ROWS - 1);
        if (contact < before) return false;
        before = contact;
        to->lows[row] = (uint8_t)contact;
        while (page <= contact / BM_PAGE) to->first[page++] = (uint16_t)row;
    }
    while (page <= BM_PAGES) to->first[page++] = (uint16_t)b->rows;
    uint8_t *counting = to->lows + b->rows + 64;
    memset(to->lows + b->rows, 0, 64 + b->rows / 8 + 1);
    for (uint32_t row = 0; row < b->rows; row++) {
        const uint64_t code = ev_code(counts, row);
        counting[row >> 3] |= (uint8_t)((uint32_t)(code && ev_value(counts, code) == 1) << (row & 7));
    }
    return true;
}

int ev_presence_make(ev_presence *p, const ev_month *m) {
    memset(p, 0, sizeof *p);
    size_t lines = 0;
    p->nblocks = m->n ? m->starts[m->n] : 0;
    for (uint32_t i = 0; i < p->nblocks; i++) lines += lines_of(m->blocks[i]);
    if (lines >= EV_NOT_THERE) return BM_NO_MEMORY;
    p->at = malloc((size_t)p->nblocks * sizeof *p->at + 1);
    p->rows = malloc(((size_t)p->nblocks + 1) * sizeof *p->rows);
    p->size = ev_memory_bytes((lines + 1) * LINE);
    p->there = ev_memory(p->size);
    if (!p->at || !p->rows || !p->there) return BM_NO_MEMORY;
    p->rows[0] = 0;
    p->counts = p->nblocks ? m->bounds->ncolumns - 1 : 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < p->nblocks; i++) {
        const ev_block *b = m->blocks[i];
        const bool made = make((ev_there *)(p->there + (size_t)at * LINE), b, &b->columns[p->counts]);
        p->at[i] = made ? at : EV_NOT_THERE;
        at += made ? (uint32_t)lines_of(b) : 0;
        p->rows[i + 1] = p->rows[i] + b->rows;
    }
    return BM_OK;
}

void ev_presence_clear(ev_presence *p) {
    free(p->there);
    free(p->at);
    free(p->rows);
    memset(p, 0, sizeof *p);
}

size_t ev_presence_bytes(const ev_presence *p) { return p->size + ((size_t)2 * p->nblocks + 1) * sizeof *p->at; }

static size_t codes_of(const ev_presence *p) { return p->nblocks ? (size_t)p->rows[p->nblocks] * 4 : 0; }

size_t ev_presence_measure_bytes(const ev_presence *p) { return ev_memory_bytes(codes_of(p) + 1); }

int ev_presence_measure(ev_measure *v, const ev_presence *p, const ev_month *m, uint32_t column) {
    memset(v, 0, sizeof *v);
    const bm_chunk *bounds = &m->bounds->columns[column];
    v->base = bounds->base;
    v->most = bounds->max;
    const uint64_t span = (uint64_t)v->most - (uint64_t)v->base;
    if (!bounds->present || span >= UINT32_MAX) return EV_UNORDERED;
    v->codes = ev_memory(codes_of(p) + 1);
    if (!v->codes) return BM_NO_MEMORY;
    v->whole = true;
    uint32_t *to = v->codes;
    for (uint32_t i = 0; i < p->nblocks; i++) {
        const ev_block *b = m->blocks[i];
        const bm_chunk *c = &b->columns[column];
        for (uint32_t row = 0; row < b->rows; row++) {
            const uint64_t code = ev_code(c, row), number = (uint64_t)ev_value(c, code) - (uint64_t)v->base;
            const bool there = code && number <= span; /* damaged codes may say more than the bounds */
            *to++ = there ? (uint32_t)number + 1 : 0;
            v->whole &= there;
        }
    }
    return BM_OK;
}
