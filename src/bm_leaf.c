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

/* (base \ removed) | added where all three are arrays and the result surely is one. What changes is short, so that
 * whole stretches of the base are copied between two changes. */
static bm_val overlay_arrays(const bm_cursor *c, uint16_t *out) {
    const bm_container *base = c->now[0], *added = c->now[1], *removed = c->now[2];
    const bm_u16 *b = (const bm_u16 *)base->data;
    const bm_u16 *a = added ? (const bm_u16 *)added->data : NULL, *r = removed ? (const bm_u16 *)removed->data : NULL;
    uint32_t nb = base->card, na = added ? added->card : 0, nr = removed ? removed->card : 0;
    uint32_t at = 0, i = 0, j = 0, n = 0;
    while (i < na || j < nr) {
        bool add = j == nr || (i < na && a[i] <= r[j]);
        uint16_t v = add ? a[i] : r[j];
        uint32_t to = bm_array_seek(b, at, nb, v);
        memcpy(out + n, b + at, 2 * (size_t)(to - at));
        n += to - at;
        at = to + (to < nb && b[to] == v);
        if (add) out[n++] = v;
        i += i < na && a[i] == v;
        j += j < nr && r[j] == v;
    }
    memcpy(out + n, b + at, 2 * (size_t)(nb - at));
    n += nb - at;
    return (bm_val){n ? BM_ARRAY : BM_EMPTY, 0, n, (const uint8_t *)out};
}

bm_val bm_posting_eval(bm_ctx *x, const bm_node *n, uint8_t *dst) {
    const bm_cursor *c = &x->leaves[n->leaf];
    const bm_container *base = c->now[0], *added = c->now[1], *removed = c->now[2];
    if (!added && !removed) return bm_borrow(base, 0);
    if (!base) return bm_borrow(added, 0);
    if (short_array(base) && short_array(added) && short_array(removed) &&
        base->card + (added ? (uint32_t)added->card : 0u) <= BM_ARRAY_MAX)
        return overlay_arrays(c, (uint16_t *)dst);
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

/* So short an array that looking each of its elements up among m candidates beats the reverse. */
static bool is_few(const bm_container *c, uint32_t m) {
    return !c || (c->type == BM_ARRAY && c->card * 8u < m);
}

/* The candidates that are in a short array get this bit. */
static void assign(const bm_container *c, const bm_u16 *cand, uint32_t m, uint64_t *mask, uint64_t bit) {
    const bm_u16 *list = c ? (const bm_u16 *)c->data : NULL;
    uint32_t at = 0;
    for (uint32_t i = 0; c && i < c->card && at < m; i++) {
        at = bm_array_seek(cand, at, m, list[i]);
        if (at < m && cand[at] == list[i]) mask[at >> 6] = (mask[at >> 6] & ~(1ull << (at & 63))) | bit << (at & 63);
    }
}

/* Clear a posting's rows from bits: an OR, in complement. Saves what clearing the base must not take. */
bool bm_leaf_clear(bm_ctx *x, const bm_node *n, uint8_t *bits) {
    const bm_cursor *c = &x->leaves[n->leaf];
    const bm_container *base = c->now[0], *added = c->now[1], *removed = c->now[2];
    if (!base || base->type == BM_BITS || !short_array(added) || !short_array(removed)) return false;
    uint8_t *mark = x->top, *held = removed ? bm_take(x, removed->card) : NULL;
    const bm_u16 *r = removed ? (const bm_u16 *)removed->data : NULL;
    for (uint32_t i = 0; removed && i < removed->card; i++) held[i] = bits[r[i] >> 3] >> (r[i] & 7) & 1;
    clear_container(bits, base);
    for (uint32_t i = 0; removed && i < removed->card; i++) bits[r[i] >> 3] |= (uint8_t)(held[i] << (r[i] & 7));
    if (added) clear_container(bits, added);
    x->top = mark;
    return true;
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
    if (is_few(c->now[1], m) && is_few(c->now[2], m)) {
        assign(c->now[2], cand, m, mask, 0);
        assign(c->now[1], cand, m, mask, 1);
        return;
    }
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
