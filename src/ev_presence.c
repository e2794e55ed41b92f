/* Making the presence of a month's blocks. */
#define _DEFAULT_SOURCE /* madvise */
#include <stdlib.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "ev_presence.h"

#define LINE EV_LINE_BYTES
#define HUGE_PAGE ((size_t)1 << 21)

/* Of some megabytes read from one end to the other, looking up where the pages are is half the time: in huge pages, where the
 * system gives any. Memory for at least so many lines. */
static void *allocate(size_t *lines) {
    size_t size = (*lines + 1) * LINE;
    const bool huge = size >= HUGE_PAGE / 2;
    if (huge) size = (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    *lines = size / LINE;
    void *p = aligned_alloc(huge ? HUGE_PAGE : LINE, size);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (p && huge) (void)madvise(p, size, MADV_HUGEPAGE);
#endif
    return p;
}

static size_t lines_of(const ev_block *b) { return (sizeof(ev_there) + b->rows + 64 + LINE - 1) / LINE; }

/* False where the contacts do not ascend, as those of damaged blocks may. */
static bool make(ev_there *to, const ev_block *b) {
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
    memset(to->lows + b->rows, 0, 64);
    return true;
}

int ev_presence_make(ev_presence *p, const ev_month *m) {
    memset(p, 0, sizeof *p);
    size_t lines = 0;
    p->nblocks = m->n ? m->starts[m->n] : 0;
    for (uint32_t i = 0; i < p->nblocks; i++) lines += lines_of(m->blocks[i]);
    p->at = malloc((size_t)p->nblocks * sizeof *p->at + 1);
    if (lines >= EV_NOT_THERE) return BM_NO_MEMORY;
    p->there = allocate(&lines);
    p->nlines = (uint32_t)lines;
    if (!p->at || !p->there) return BM_NO_MEMORY;
    uint32_t at = 0;
    for (uint32_t i = 0; i < p->nblocks; i++) {
        const ev_block *b = m->blocks[i];
        const bool made = make((ev_there *)(p->there + (size_t)at * LINE), b);
        p->at[i] = made ? at : EV_NOT_THERE;
        at += made ? (uint32_t)lines_of(b) : 0;
    }
    return BM_OK;
}

void ev_presence_clear(ev_presence *p) {
    free(p->there);
    free(p->at);
    memset(p, 0, sizeof *p);
}

size_t ev_presence_bytes(const ev_presence *p) { return (size_t)p->nlines * LINE + p->nblocks * sizeof *p->at; }
