/* Values: a set inside one container in whatever form it came, and the operations that depend on the form. */
#include "bm_prog.h"

/* An array in the very buffer its bits go to. Apart, so that this frame stays out of the recursion. */
static __attribute__((noinline)) void array_to_bits(uint8_t *buf, uint32_t n) {
    uint16_t copy[BM_ARRAY_MAX];
    memcpy(copy, buf, 2 * (size_t)n);
    memset(buf, 0, BM_BITS_BYTES);
    bm_ops.array_set(copy, n, buf);
}

const uint8_t *bm_val_bits(const bm_val *v, uint8_t *buf) {
    if (v->type == BM_BITS) return v->ptr;
    if (v->type == BM_ARRAY && v->ptr == buf) {
        array_to_bits(buf, v->n);
        return buf;
    }
    memset(buf, 0, BM_BITS_BYTES);
    if (v->type == BM_ARRAY) bm_ops.array_set((const bm_u16 *)v->ptr, v->n, buf);
    else if (v->type == BM_RUNS) bm_ops.runs_set((const bm_u16 *)v->ptr, v->n, buf);
    return buf;
}

uint32_t bm_val_count(const bm_val *v) {
    uint32_t n = 0;
    if (v->type == BM_ARRAY) n = v->n;
    else if (v->type == BM_BITS) {
        bm_src src = {v->ptr, 0};
        n = bm_ops.all(&src, 1, NULL);
    } else if (v->type == BM_RUNS) {
        const bm_u16 *r = (const bm_u16 *)v->ptr;
        for (uint32_t i = 0; i < v->n; i++) n += bm_run_last(r, i) - r[2 * i] + 1;
        if (n > BM_ROWS) n = BM_ROWS; /* overlapping runs: corrupt */
    }
    return v->neg ? BM_ROWS - n : n;
}

const bm_u16 *bm_val_array(const bm_val *v, uint16_t *out, uint32_t cap, uint8_t *tmp, uint32_t *n) {
    if (v->type == BM_ARRAY && !v->neg) {
        *n = v->n < cap ? v->n : cap;
        return (const bm_u16 *)v->ptr;
    }
    if (v->type == BM_EMPTY && !v->neg) *n = 0;
    else if (v->type == BM_RUNS && !v->neg) *n = bm_runs_to_array((const bm_u16 *)v->ptr, v->n, out, cap);
    else *n = bm_ops.extract(bm_val_bits(v, tmp), v->neg ? ~0ull : 0, out, cap);
    return out;
}

/* Two searches a run, or all runs as bits and one look each: about 50 ns a run against 600 and 1 a candidate. */
static bool few_runs(uint32_t nruns, uint32_t n) { return nruns <= BM_WALK_RUNS / 2 || nruns * 64 < n + 768; }

static void test_runs(bm_ctx *x, const bm_u16 *cand, uint32_t n, const bm_u16 *runs, uint32_t nruns, uint64_t *mask) {
    if (n <= BM_WALK_RUNS) {
        memset(mask, 0, (n + 63) / 64 * 8);
        for (uint32_t i = 0; i < n; i++) mask[i >> 6] |= (uint64_t)bm_runs_has(runs, nruns, cand[i]) << (i & 63);
        return;
    }
    if (few_runs(nruns, n)) {
        bm_runs_test(cand, n, runs, nruns, mask);
        return;
    }
    uint8_t *mark = x->top, *bits = bm_take(x, BM_BUF);
    bm_ops.runs_write(runs, nruns, bits);
    bm_ops.array_test_bits(cand, n, bits, mask);
    x->top = mark;
}

void bm_val_test(bm_ctx *x, const bm_val *v, const bm_u16 *cand, uint32_t n, uint64_t *mask) {
    uint32_t words = (n + 63) / 64;
    if (v->type == BM_ARRAY) bm_ops.array_test(cand, n, (const bm_u16 *)v->ptr, v->n, mask);
    else if (v->type == BM_BITS) bm_ops.array_test_bits(cand, n, v->ptr, mask);
    else if (v->type == BM_RUNS) test_runs(x, cand, n, (const bm_u16 *)v->ptr, v->n, mask);
    else memset(mask, 0, words * 8);
    if (!v->neg || !n) return;
    for (uint32_t w = 0; w < words; w++) mask[w] = ~mask[w];
    if (n & 63) mask[words - 1] &= bm_ones(n & 63);
}

/* --- |a & b| of two borrowed containers ----------------------------------------------------------------- */

static uint32_t runs_and_bits(bm_ctx *x, const bm_container *r, const uint8_t *bits) {
    const bm_u16 *runs = (const bm_u16 *)r->data;
    /* range by range about 1.2 ns a word; expanding and one pass about 250 ns and more */
    if (r->card / 64 + 4u * r->runs <= 192u) return bm_runs_count_in_bits(runs, r->runs, bits);
    uint8_t *mark = x->top, *mine = bm_take(x, BM_BUF);
    bm_ops.runs_write(runs, r->runs, mine);
    bm_src src[2] = {{mine, 0}, {bits, 0}};
    uint32_t n = bm_ops.all(src, 2, NULL);
    x->top = mark;
    return n;
}

static uint32_t runs_and_array(bm_ctx *x, const bm_container *r, const bm_container *a) {
    const bm_u16 *runs = (const bm_u16 *)r->data, *array = (const bm_u16 *)a->data;
    uint32_t n = 0;
    if (a->card <= BM_WALK_RUNS) {
        for (uint32_t i = 0; i < a->card; i++) n += bm_runs_has(runs, r->runs, array[i]);
        return n;
    }
    if (few_runs(r->runs, a->card)) return bm_runs_count_in_array(runs, r->runs, array, a->card);
    uint8_t *bits = bm_take(x, BM_BUF);
    bm_ops.runs_write(runs, r->runs, bits);
    n = bm_ops.array_count_in_bits(array, a->card, bits);
    x->top = bits;
    return n;
}

static uint32_t both(bm_ctx *x, const bm_container *a, const bm_container *b) {
    if (a->type > b->type) { /* array, bits, runs */
        const bm_container *t = a;
        a = b;
        b = t;
    }
    if (b->type == BM_RUNS) {
        if (b->card == BM_ROWS) return a->card;
        if (a->type == BM_RUNS)
            return bm_runs_and_count((const bm_u16 *)a->data, a->runs, (const bm_u16 *)b->data, b->runs);
        return a->type == BM_BITS ? runs_and_bits(x, b, a->data) : runs_and_array(x, b, a);
    }
    if (b->type == BM_BITS) {
        if (a->type == BM_ARRAY) return bm_ops.array_count_in_bits((const bm_u16 *)a->data, a->card, b->data);
        bm_src src[2] = {{a->data, 0}, {b->data, 0}};
        return bm_ops.all(src, 2, NULL);
    }
    return bm_ops.array_and_count((const bm_u16 *)a->data, a->card, (const bm_u16 *)b->data, b->card);
}

uint32_t bm_pair_count(bm_ctx *x, const bm_container *a, bool aneg, const bm_container *b, bool bneg) {
    uint32_t ab = both(x, a, b);
    if (aneg && bneg) return BM_ROWS + ab - a->card - b->card;
    if (aneg) return b->card - ab;
    return bneg ? a->card - ab : ab;
}
