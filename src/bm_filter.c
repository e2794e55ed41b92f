/* Candidate mode: which of a short ascending list of rows are in a node, as one bit a candidate. AND, OR, NOT and
 * AT_LEAST are then operations on at most 64 words. */
#include "bm_leaf.h"

static void flip(uint64_t *mask, uint32_t n) {
    for (uint32_t w = 0; w < (n + 63) / 64; w++) mask[w] = ~mask[w];
    if (n & 63) mask[n / 64] &= bm_ones(n & 63);
}

static void fill(uint64_t *mask, uint32_t n, bool on) {
    memset(mask, 0, (n + 63) / 64 * 8);
    if (on) flip(mask, n);
}

/* The union of the complemented plain arrays and run lists among the operands, laid out as bits once, so that each
 * candidate is looked up once and not in each of them. They leave kids; false when fewer than two are worth it. */
static const bm_container *short_complement(const bm_ctx *x, bm_edge e, uint32_t n) {
    const bm_node *kid = &x->prog->nodes[e >> 1];
    if (!(e & 1) || kid->kind != BM_NODE_POSTING || !bm_is_plain(x, kid)) return NULL;
    const bm_container *c = x->leaves[kid->leaf].now[0];
    if (!c || c->type == BM_BITS) return NULL;
    return (c->type == BM_ARRAY ? c->card : 2u * c->runs) <= 8 * n ? c : NULL;
}

static bool gather_short(bm_ctx *x, bm_ranked *kids, uint32_t *m, uint32_t n, uint8_t *bits) {
    uint32_t found = 0, left = 0;
    for (uint32_t i = 0; i < *m; i++) found += short_complement(x, bm_ranked_edge(kids[i]), n) != NULL;
    if (found < 2) return false;
    memset(bits, 0, BM_BITS_BYTES);
    for (uint32_t i = 0; i < *m; i++) {
        const bm_container *c = short_complement(x, bm_ranked_edge(kids[i]), n);
        if (!c) kids[left++] = kids[i];
        else if (c->type == BM_ARRAY) bm_ops.array_set((const bm_u16 *)c->data, c->card, bits);
        else bm_ops.runs_set((const bm_u16 *)c->data, c->runs, bits);
    }
    *m = left;
    return true;
}

static void test_all(bm_ctx *x, const bm_node *node, const bm_u16 *cand, uint32_t n, uint64_t *mask) {
    uint8_t *mark = x->top;
    bm_ranked *kids = bm_take(x, (size_t)node->n * sizeof *kids);
    uint64_t *one = bm_take(x, BM_MASK_WORDS * 8), some = 1;
    uint32_t empty, full, m = bm_live_kids(x, node, kids, &empty, &full);
    fill(mask, n, !empty);
    uint8_t *bits = bm_take(x, BM_BUF);
    if (!empty && gather_short(x, kids, &m, n, bits)) {
        bm_tick(x);
        bm_ops.array_test_bits(cand, n, bits, mask);
        flip(mask, n);
    }
    if (m > 1 && !empty) bm_sort(kids, m);
    for (uint32_t i = 0; i < m && some && !empty; i++) {
        bm_test(x, bm_ranked_edge(kids[i]), cand, n, one);
        some = 0;
        for (uint32_t w = 0; w < (n + 63) / 64; w++) some |= mask[w] &= one[w];
    }
    x->top = mark;
}

static void test_at_least(bm_ctx *x, const bm_node *node, const bm_u16 *cand, uint32_t n, uint64_t *mask) {
    uint8_t *mark = x->top;
    bm_ranked *kids = bm_take(x, (size_t)node->n * sizeof *kids);
    uint32_t empty, full, m = bm_live_kids(x, node, kids, &empty, &full), words = (n + 63) / 64;
    fill(mask, n, full >= node->k);
    if (full < node->k && m + full >= node->k) {
        uint32_t k = node->k - full, nplanes = bm_planes(k);
        uint64_t *planes = bm_take(x, (size_t)nplanes * BM_MASK_WORDS * 8), *one = bm_take(x, BM_MASK_WORDS * 8);
        bm_planes_begin(planes, nplanes, k, words);
        for (uint32_t i = 0; i < m && !x->halted; i++) {
            bm_test(x, bm_ranked_edge(kids[i]), cand, n, one);
            bm_bits_carry((const uint8_t *)one, 0, planes, nplanes, mask, words);
        }
    }
    x->top = mark;
}

static void test_inner(bm_ctx *x, const bm_node *node, bm_edge e, const bm_u16 *cand, uint32_t n, uint64_t *mask) {
    if (node->memo >= 0) {
        const bm_memo *memo = &x->memos[node->memo];
        bool filled = memo->filled && memo->key == x->key;
        if (filled || node->weight >= BM_MEMO_FILTER_WEIGHT) { /* else shared nodes multiply the work */
            uint8_t *mark = x->top;
            bm_val v = bm_eval(x, e & ~1u, bm_take(x, BM_BUF));
            bm_val_test(x, &v, cand, n, mask);
            x->top = mark;
            return;
        }
    }
    if (node->kind == BM_NODE_ALL) test_all(x, node, cand, n, mask);
    else test_at_least(x, node, cand, n, mask);
}

void bm_test(bm_ctx *x, bm_edge e, const bm_u16 *cand, uint32_t n, uint64_t *mask) {
    const bm_node *node = &x->prog->nodes[e >> 1];
    bm_bounds b = x->bounds[e >> 1];
    if (x->halted || b.hi == 0 || b.lo == BM_ROWS) fill(mask, n, b.lo == BM_ROWS);
    else if (node->depth == 0) {
        bm_leaf_test(x, node, cand, n, mask);
        bm_tick(x);
    } else test_inner(x, node, e, cand, n, mask);
    if (e & 1) flip(mask, n);
}

size_t bm_test_need(const bm_node *n) {
    size_t mask = bm_room(BM_MASK_WORDS * 8), kids = bm_room(n->n * sizeof(bm_ranked));
    switch (n->kind) {
    case BM_NODE_ALL: return mask + kids + 3 * bm_room(BM_BUF);
    case BM_NODE_AT_LEAST: return mask * (bm_planes(n->k) + 1) + kids + 2 * bm_room(BM_BUF);
    default: return bm_room(BM_BUF); /* the leaf's own is in bm_eval_need */
    }
}
