/* The candidates of a call, range by range: of a list, or of a set whose containers are read in place. */
#include "ev_scan.h"

uint64_t ev_pages_of(const uint64_t *chosen) {
    uint64_t pages = 0;
    for (uint32_t w = 0; w < BM_CHUNK_WORDS; w++) pages |= (uint64_t)(chosen[w] != 0) << (w / (BM_PAGE / 64));
    return pages;
}

/* Sets a contact's bit, and gives that of its page. */
static inline uint64_t choose(uint64_t *chosen, uint32_t contact) {
    chosen[contact >> 6] |= 1ull << (contact & 63);
    return 1ull << (contact / BM_PAGE);
}

/* Those of a list in the first range from `number` on that has any. */
static uint32_t of_list(ev_call *x, uint32_t number) {
    const ev_query *q = x->q;
    const uint64_t first = (uint64_t)number * BM_CHUNK_ROWS;
    size_t lo = x->among, hi = q->namong;
    while (lo < hi && q->among[lo] < first) { /* at once, but at the first range of a call */
        size_t mid = lo + (hi - lo) / 2;
        if (q->among[mid] < first) lo = mid + 1;
        else hi = mid;
    }
    if (lo == q->namong) return EV_NUMBERS;
    number = q->among[lo] / BM_CHUNK_ROWS;
    memset(x->chosen, 0, sizeof x->chosen);
    uint64_t pages = 0;
    const size_t begin = lo;
    for (; lo < q->namong && q->among[lo] / BM_CHUNK_ROWS == number; lo++)
        pages |= choose(x->chosen, q->among[lo] & (BM_CHUNK_ROWS - 1));
    x->pages = pages;
    x->nchosen = (uint32_t)(lo - begin);
    x->among = lo;
    return number;
}

/* A quarter of a container, which is a range, into x->chosen: about how many these are, and 0 only for none. Damaged containers
 * may say anything, in and out of order. */
static uint32_t of_array(ev_call *x, const bm_u16 *rows, uint32_t n, uint32_t quarter) {
    const uint32_t first = quarter * BM_CHUNK_ROWS, begin = quarter ? bm_array_seek(rows, 0, n, (uint16_t)first) : 0;
    uint64_t pages = 0;
    uint32_t i = begin;
    for (; i < n && rows[i] - first < BM_CHUNK_ROWS; i++) pages |= choose(x->chosen, rows[i] - first);
    x->pages = pages;
    return i - begin;
}

static uint32_t of_runs(ev_call *x, const bm_u16 *runs, uint32_t n, uint32_t quarter) {
    const uint32_t first = quarter * BM_CHUNK_ROWS, last = first + BM_CHUNK_ROWS - 1;
    uint32_t chosen = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t from = runs[2 * i], to = from + runs[2 * i + 1];
        if (from < first) from = first;
        if (to > last) to = last;
        if (from > to) continue;
        bm_bits_set_range((uint8_t *)x->chosen, from - first, to - first);
        chosen += to - from + 1;
    }
    x->pages = ev_pages_of(x->chosen);
    return chosen;
}

static uint32_t of_bits(ev_call *x, const uint8_t *bits, uint32_t card, uint32_t quarter) {
    memcpy(x->chosen, bits + quarter * BM_CHUNK_WORDS * 8, BM_CHUNK_WORDS * 8);
    x->pages = ev_pages_of(x->chosen);
    return x->pages ? card / BM_CHUNKS + 1 : 0;
}

/* Those of a set. */
static uint32_t of_set(ev_call *x, uint32_t number) {
    const bm_dir *set = x->q->set;
    for (size_t i = x->among ? x->among : bm_dir_seek(set, number / BM_CHUNKS); i < set->n; i++) {
        const bm_container *c = &set->at[i];
        if (c->key < number / BM_CHUNKS) continue;
        for (uint32_t quarter = c->key == number / BM_CHUNKS ? number % BM_CHUNKS : 0; quarter < BM_CHUNKS; quarter++) {
            memset(x->chosen, 0, sizeof x->chosen);
            if (c->type == BM_ARRAY) x->nchosen = of_array(x, (const bm_u16 *)c->data, c->card, quarter);
            else if (c->type == BM_RUNS) x->nchosen = of_runs(x, (const bm_u16 *)c->data, c->runs, quarter);
            else x->nchosen = of_bits(x, c->data, c->card, quarter);
            if (!x->nchosen) continue;
            x->among = i;
            return c->key * BM_CHUNKS + quarter;
        }
    }
    return EV_NUMBERS;
}

uint64_t ev_among_count(const ev_call *x) { return x->q->set ? bm_dir_card(x->q->set) : x->q->namong; }

uint32_t ev_among_next(ev_call *x, uint32_t number) { return x->q->set ? of_set(x, number) : of_list(x, number); }
