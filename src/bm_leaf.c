/* Leaves of an expression in one container: a posting with its overlay, a column scan with its overlay, and the count of
 * two overlaid postings. */
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
static bm_val overlay_arrays(bm_ctx *x, const bm_cursor *c, uint16_t *out) {
    const bm_container *base = c->now[0], *added = c->now[1], *removed = c->now[2];
    const bm_u16 *b = (const bm_u16 *)base->data;
    const bm_u16 *a = added ? (const bm_u16 *)added->data : NULL, *r = removed ? (const bm_u16 *)removed->data : NULL;
    uint32_t nb = base->card, na = added ? added->card : 0, nr = removed ? removed->card : 0;
    uint32_t at = 0, i = 0, j = 0, n = 0;
    /* Searches would wait for one cold line after the other. */
    for (uint32_t i = 0; i < nb; i += 32) __builtin_prefetch(b + i);
    uint32_t *apart = bm_take(x, (na + nr) * sizeof *apart), *rpart = apart + na;
    bm_array_ranks(a, na, b, nb, apart);
    bm_array_ranks(r, nr, b, nb, rpart);
    while (i < na || j < nr) {
        bool add = j == nr || (i < na && a[i] <= r[j]);
        uint16_t v = add ? a[i] : r[j];
        uint32_t to = add ? apart[i] : rpart[j];
        if (to < at) to = at; /* damaged lists need not ascend */
        memcpy(out + n, b + at, 2 * (size_t)(to - at));
        n += to - at;
        at = to + (to < nb && b[to] == v);
        if (add) out[n++] = v;
        i += i < na && a[i] == v;
        j += j < nr && r[j] == v;
    }
    memcpy(out + n, b + at, 2 * (size_t)(nb - at));
    n += nb - at;
    x->top = (uint8_t *)apart;
    return (bm_val){n ? BM_ARRAY : BM_EMPTY, 0, n, (const uint8_t *)out};
}

bm_val bm_posting_eval(bm_ctx *x, const bm_node *n, uint8_t *dst) {
    const bm_cursor *c = &x->leaves[n->leaf];
    const bm_container *base = c->now[0], *added = c->now[1], *removed = c->now[2];
    if (!added && !removed) return bm_borrow(base, 0);
    if (!base) return bm_borrow(added, 0);
    uint32_t na = added ? added->card : 0u, nr = removed ? removed->card : 0u;
    if (short_array(base) && short_array(added) && short_array(removed) && base->card + na <= BM_ARRAY_MAX &&
        na + nr <= BM_OVERLAY_LISTED)
        return overlay_arrays(x, c, (uint16_t *)dst);
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

/* --- counting two overlaid postings ------------------------------------------------------------------------ */

/* Which of a short list of rows a container holds; none if there is no container. */
static void held(const bm_container *c, const bm_container *list, uint64_t *mask) {
    const bm_u16 *rows = (const bm_u16 *)list->data;
    if (!c) memset(mask, 0, (list->card + 63) / 64 * 8);
    else if (c->type == BM_BITS) bm_ops.array_test_bits(rows, list->card, c->data, mask);
    else if (c->type == BM_ARRAY) bm_array_test_search(rows, list->card, (const bm_u16 *)c->data, c->card, mask);
    else {
        memset(mask, 0, (list->card + 63) / 64 * 8);
        for (uint32_t i = 0; i < list->card; i++)
            mask[i >> 6] |= (uint64_t)bm_runs_has((const bm_u16 *)c->data, c->runs, rows[i]) << (i & 63);
    }
}

/* The rows of a list that are in another one, too, get this bit. */
static void assign_common(const bm_container *other, const bm_container *list, uint64_t *mask, bool on) {
    uint64_t common[BM_MASK_WORDS];
    if (!other) return;
    bm_ops.array_test((const bm_u16 *)list->data, list->card, (const bm_u16 *)other->data, other->card, common);
    for (uint32_t w = 0; w * 64 < list->card; w++) mask[w] = on ? mask[w] | common[w] : mask[w] & ~common[w];
}

/* Which rows of the overlay's list change the base: those added that it lacks, those removed that it has. All do, but after
 * a half-done merge or where a contact changed back, so that a list of which it was found is not looked up again. */
static void changing(const bm_cursor *own, uint32_t which, uint64_t *mask) {
    const bm_container *list = own->now[which];
    uint32_t n = list->card, changed = 0;
    bool known = __atomic_load_n(&list->runs, __ATOMIC_RELAXED) == BM_NEW;
    if (!known) held(own->now[0], list, mask);
    for (uint32_t w = 0; w * 64 < n; w++) {
        uint64_t all = bm_ones(n - w * 64);
        mask[w] = known ? all : which == 1 ? ~mask[w] & all : mask[w];
        if (!known) changed += (uint32_t)__builtin_popcountll(mask[w]);
    }
    if (changed == n) __atomic_store_n(&((bm_container *)list)->runs, BM_NEW, __ATOMIC_RELAXED);
}

/* What adding (which 1) or removing (2) the rows of a list changes of |own| and of |own AND other|, where `other` is what
 * it is with its overlay if `other_now`, else its base. */
static void put_right(const bm_cursor *own, const bm_cursor *other, bool other_now, uint32_t which, int64_t *card,
                      int64_t *both) {
    uint64_t changed[BM_MASK_WORDS], theirs[BM_MASK_WORDS];
    const bm_container *list = own->now[which];
    int sign = which == 1 ? 1 : -1;
    if (!list) return;
    changing(own, which, changed);
    held(other->now[0], list, theirs);
    if (other_now) {
        assign_common(other->now[2], list, theirs, false);
        assign_common(other->now[1], list, theirs, true);
    }
    for (uint32_t w = 0; w * 64 < list->card; w++) {
        *card += sign * __builtin_popcountll(changed[w]);
        *both += sign * __builtin_popcountll(changed[w] & theirs[w]);
    }
}

static bool few_touched(const bm_cursor *c) {
    uint32_t n = 0;
    for (uint32_t which = 1; which < 3; which++) {
        if (!short_array(c->now[which])) return false;
        n += c->now[which] ? c->now[which]->card : 0u;
    }
    return n <= BM_PAIR_TOUCHED;
}

bool bm_leaf_pair_count(bm_ctx *x, bm_edge a, bm_edge b, uint32_t *count) {
    const bm_node *m = &x->prog->nodes[a >> 1], *n = &x->prog->nodes[b >> 1];
    if (m->kind != BM_NODE_POSTING || n->kind != BM_NODE_POSTING) return false;
    const bm_cursor *c = &x->leaves[m->leaf], *d = &x->leaves[n->leaf];
    if (!few_touched(c) || !few_touched(d)) return false;
    const bm_container *p = c->now[0], *q = d->now[0];
    int64_t ab = p && q ? bm_pair_count(x, p, false, q, false) : 0, na = p ? p->card : 0u, nb = q ? q->card : 0u;
    for (uint32_t which = 1; which < 3; which++) put_right(c, d, false, which, &na, &ab);
    for (uint32_t which = 1; which < 3; which++) put_right(d, c, true, which, &nb, &ab);
    int64_t found = a & 1 && b & 1 ? BM_ROWS + ab - na - nb : a & 1 ? nb - ab : b & 1 ? na - ab : ab;
    /* Damaged postings may add up to anything. */
    *count = found < 0 ? 0 : found > BM_ROWS ? BM_ROWS : (uint32_t)found;
    return true;
}
