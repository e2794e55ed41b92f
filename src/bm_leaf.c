/* Leaves of an expression in one container: a posting with its overlay, a column scan with its overlay. */
#include "bm_leaf.h"

static void set_container(uint8_t *bits, const bm_container *c) {
    if (c->type == BM_ARRAY) bm_ops.array_set((const bm_u16 *)c->data, c->card, bits);
    else if (c->type == BM_RUNS) bm_ops.runs_set((const bm_u16 *)c->data, c->runs, bits);
    else
        for (uint32_t w = 0; w < BM_WORDS; w++) ((bm_u64 *)bits)[w] |= ((const bm_u64 *)c->data)[w];
}

static void clear_container(uint8_t *bits, const bm_container *c) {
    if (c->type == BM_ARRAY) bm_ops.array_clear((const bm_u16 *)c->data, c->card, bits);
    else if (c->type == BM_RUNS) bm_ops.runs_clear((const bm_u16 *)c->data, c->runs, bits);
    else
        for (uint32_t w = 0; w < BM_WORDS; w++) ((bm_u64 *)bits)[w] &= ~((const bm_u64 *)c->data)[w];
}

static bool short_array(const bm_container *c) { return !c || c->type == BM_ARRAY; }

/* (base \ removed) | added where all three are arrays and the result surely is one. */
static bm_val overlay_arrays(bm_ctx *x, const bm_cursor *c, uint8_t *dst) {
    const bm_container *base = c->now[0], *added = c->now[1], *removed = c->now[2];
    uint8_t *mark = x->top;
    const bm_u16 *a = base ? (const bm_u16 *)base->data : NULL;
    uint32_t n = base ? base->card : 0;
    if (removed) {
        uint16_t *out = added ? bm_take(x, BM_BUF) : (uint16_t *)dst;
        n = bm_array_andnot(a, n, (const bm_u16 *)removed->data, removed->card, out, BM_ARRAY_MAX);
        a = out;
    }
    if (added) {
        n = bm_array_or(a, n, (const bm_u16 *)added->data, added->card, (uint16_t *)dst, BM_ARRAY_MAX);
        a = (const bm_u16 *)dst;
    }
    x->top = mark;
    return (bm_val){n ? BM_ARRAY : BM_EMPTY, 0, n, (const uint8_t *)a};
}

bm_val bm_posting_eval(bm_ctx *x, const bm_node *n, uint8_t *dst) {
    const bm_cursor *c = &x->leaves[n->leaf];
    const bm_container *base = c->now[0], *added = c->now[1], *removed = c->now[2];
    if (!added && !removed) return bm_borrow(base, 0);
    if (!base) return bm_borrow(added, 0);
    if (short_array(base) && short_array(added) && short_array(removed) &&
        base->card + (added ? (uint32_t)added->card : 0u) <= BM_ARRAY_MAX)
        return overlay_arrays(x, c, dst);
    if (base->type == BM_BITS) memcpy(dst, base->data, BM_BITS_BYTES);
    else {
        memset(dst, 0, BM_BITS_BYTES);
        set_container(dst, base);
    }
    if (removed) clear_container(dst, removed);
    if (added) set_container(dst, added);
    return (bm_val){BM_BITS, 0, 0, dst};
}

bm_val bm_scan_eval(bm_ctx *x, const bm_node *n, uint8_t *dst) {
    const bm_cursor *c = &x->leaves[n->leaf];
    uint8_t *mark = x->top;
    bm_scan_bits(&n->scan, x->key, dst, bm_take(x, BM_BUF));
    x->top = mark;
    if (c->now[2]) clear_container(dst, c->now[2]);
    if (c->now[1]) set_container(dst, c->now[1]);
    return (bm_val){BM_BITS, 0, 0, dst};
}

void bm_leaf_test(bm_ctx *x, const bm_node *n, const bm_u16 *cand, uint32_t m, uint64_t *mask) {
    const bm_cursor *c = &x->leaves[n->leaf];
    uint32_t words = (m + 63) / 64;
    if (n->kind == BM_NODE_SCAN) bm_scan_test(&n->scan, x->key, cand, m, mask);
    else {
        bm_val base = bm_borrow(c->now[0], 0);
        bm_val_test(x, &base, cand, m, mask);
    }
    if (!c->now[1] && !c->now[2]) return;
    uint64_t *other = bm_take(x, BM_MASK_WORDS * 8);
    if (c->now[2]) {
        bm_val removed = bm_borrow(c->now[2], 0);
        bm_val_test(x, &removed, cand, m, other);
        for (uint32_t w = 0; w < words; w++) mask[w] &= ~other[w];
    }
    if (c->now[1]) {
        bm_val added = bm_borrow(c->now[1], 0);
        bm_val_test(x, &added, cand, m, other);
        for (uint32_t w = 0; w < words; w++) mask[w] |= other[w];
    }
    x->top = (uint8_t *)other;
}
