/* Evaluating a node over one whole container.
 *
 * An ALL goes one of two ways. If a posting holds 4,096 rows at most, or an inner node fewer still, that one becomes a list of
 * candidates and the others filter it. Otherwise the plain bitsets are only listed, arrays and runs are worked into
 * one accumulator, inner nodes and scans are evaluated into a second buffer, and one n-ary pass reads everything once
 * and counts; a count writes nothing back. When the accumulator turns out sparse, candidates take over midway. */
#include <stdlib.h>

#include "bm_leaf.h"

static const bm_val EMPTY = {BM_EMPTY, 0, 0, NULL};
static const bm_val FULL = {BM_EMPTY, 1, 0, NULL};

/* Answers of all_*: a count when out is NULL, else the value in *out (and no meaningful number). */
static uint32_t give_empty(bm_val *out) {
    if (out) *out = EMPTY;
    return 0;
}

static uint32_t give_full(bm_val *out) {
    if (out) *out = FULL;
    return BM_ROWS;
}

/* The container of a posting without overlay here, or NULL. */
static const bm_container *plain(const bm_ctx *x, bm_edge e) {
    const bm_node *n = &x->prog->nodes[e >> 1];
    return n->kind == BM_NODE_POSTING && bm_is_plain(x, n) ? x->leaves[n->leaf].now[0] : NULL;
}

/* A complemented posting that has an overlay here over an array or runs. */
static bool is_overlaid(const bm_ctx *x, bm_edge e) {
    const bm_node *n = &x->prog->nodes[e >> 1];
    if (!(e & 1) || n->kind != BM_NODE_POSTING || bm_is_plain(x, n)) return false;
    const bm_container *base = x->leaves[n->leaf].now[0];
    return base && base->type != BM_BITS;
}

/* Candidates through the remaining operands. a and b are buffers the result may use; cand may lie in a, or outside. */
static uint32_t narrow(bm_ctx *x, const bm_u16 *cand, uint32_t n, const bm_ranked *kids, uint32_t m, uint16_t *a,
                       uint16_t *b, uint8_t *dst, bm_val *out) {
    uint64_t *mask = bm_take(x, BM_MASK_WORDS * 8);
    for (uint32_t i = 0; i < m && n && !x->halted; i++) {
        bm_edge e = bm_ranked_edge(kids[i]);
        bool count_only = !out && i + 1 == m;
        const bm_container *c = plain(x, e);
        if (c && c->type == BM_ARRAY && !(e & 1)) {
            bm_tick(x);
            if (count_only) return bm_ops.array_and_count(cand, n, (const bm_u16 *)c->data, c->card);
            uint16_t *to = cand == (const bm_u16 *)a ? b : a;
            n = bm_ops.array_and(cand, n, (const bm_u16 *)c->data, c->card, to, BM_ARRAY_MAX);
            cand = (const bm_u16 *)to;
            continue;
        }
        if (c && c->type == BM_BITS && count_only) {
            uint32_t got = bm_ops.array_count_in_bits(cand, n, c->data);
            return e & 1 ? n - got : got;
        }
        bm_test(x, e, cand, n, mask);
        if (count_only) return bm_ops.count(mask, (n + 63) / 64);
        uint16_t *to = cand == (const bm_u16 *)b ? b : a;
        n = bm_ops.compact(cand, n, mask, to);
        cand = (const bm_u16 *)to;
    }
    if (!n || x->halted) return give_empty(out);
    if (out) {
        memmove(dst, (const uint8_t *)cand, 2 * (size_t)n);
        *out = (bm_val){BM_ARRAY, 0, n, dst};
    }
    return n;
}

static uint32_t all_sparse(bm_ctx *x, bm_ranked *kids, uint32_t m, uint32_t lead, uint8_t *dst, bm_val *out) {
    bm_ranked first = kids[lead];
    kids[lead] = kids[0];
    bm_sort(kids + 1, m - 1);
    uint8_t *own = bm_take(x, BM_BUF);
    uint16_t *a = bm_take(x, BM_BUF), *b = bm_take(x, BM_BUF);
    bm_val v = bm_eval(x, bm_ranked_edge(first), own);
    uint32_t n;
    const bm_u16 *cand = bm_val_array(&v, a, BM_ARRAY_MAX, (uint8_t *)b, &n);
    return narrow(x, cand, n, kids + 1, m - 1, a, b, dst, out);
}

/* An OR of a few short arrays stays an array: kids are complemented plain arrays of BM_MERGE_MAX elements in all. */
static uint32_t none_of_arrays(bm_ctx *x, const bm_ranked *kids, uint32_t m, uint8_t *dst, bm_val *out) {
    uint16_t *a = bm_take(x, BM_BUF), *b = bm_take(x, BM_BUF);
    const bm_container *c = plain(x, bm_ranked_edge(kids[0]));
    const bm_u16 *have = (const bm_u16 *)c->data;
    uint32_t n = c->card;
    for (uint32_t i = 1; i < m; i++) {
        c = plain(x, bm_ranked_edge(kids[i]));
        uint16_t *to = i + 1 == m && out ? (uint16_t *)dst : have == (const bm_u16 *)a ? b : a;
        n = bm_array_or(have, n, (const bm_u16 *)c->data, c->card, to, BM_ARRAY_MAX);
        have = (const bm_u16 *)to;
    }
    if (out) *out = (bm_val){BM_ARRAY, 1, n, (const uint8_t *)have};
    return BM_ROWS - n;
}

static bool are_short_arrays(const bm_ctx *x, const bm_ranked *kids, uint32_t m) {
    uint32_t total = 0;
    for (uint32_t i = 0; i < m; i++) {
        bm_edge e = bm_ranked_edge(kids[i]);
        const bm_container *c = e & 1 ? plain(x, e) : NULL;
        if (!c || c->type != BM_ARRAY || (total += c->card) > BM_MERGE_MAX) return false;
    }
    return true;
}

/* The state of a dense ALL: operands listed so far, and the accumulator, which is one of them once `used`. */
typedef struct {
    bm_src *src;
    uint32_t n;
    uint8_t *acc;
    bool used;
    uint32_t known; /* cardinality of acc when it is the only operand; above BM_ROWS when not known */
} bm_dense;

/* Plain postings into d; what is left (inner nodes, scans, overlays) moves to the front of kids. How many are left. */
static uint32_t take_plain(bm_ctx *x, bm_dense *d, bm_ranked *kids, uint32_t m, uint32_t *least) {
    uint32_t left = 0;
    for (uint32_t i = 0; i < m; i++) { /* what narrows by assignment goes first */
        bm_edge e = bm_ranked_edge(kids[i]);
        const bm_container *c = plain(x, e);
        if (!c) continue;
        bm_tick(x);
        if (bm_ranked_hi(kids[i]) < *least) *least = bm_ranked_hi(kids[i]);
        if (c->type == BM_BITS) d->src[d->n++] = (bm_src){c->data, e & 1 ? ~0ull : 0};
        if (c->type != BM_RUNS || e & 1) continue;
        if (d->used) bm_ops.runs_keep((const bm_u16 *)c->data, c->runs, d->acc);
        else {
            bm_ops.runs_write((const bm_u16 *)c->data, c->runs, d->acc);
            d->used = true;
        }
    }
    for (uint32_t i = 0; i < m; i++) {
        bm_edge e = bm_ranked_edge(kids[i]);
        const bm_container *c = plain(x, e);
        if (!c && is_overlaid(x, e)) {
            if (!d->used) memset(d->acc, 0xff, BM_BITS_BYTES);
            d->used = true;
            if (bm_leaf_clear(x, &x->prog->nodes[e >> 1], d->acc)) {
                bm_tick(x);
                continue;
            }
        }
        if (!c || (c->type == BM_ARRAY && !(e & 1))) {
            kids[left++] = kids[i];
            continue;
        }
        if (c->type == BM_BITS || !(e & 1)) continue;
        if (!d->used) memset(d->acc, 0xff, BM_BITS_BYTES);
        d->used = true;
        if (c->type == BM_ARRAY) bm_ops.array_clear((const bm_u16 *)c->data, c->card, d->acc);
        else bm_ops.runs_clear((const bm_u16 *)c->data, c->runs, d->acc);
    }
    if (d->used) d->src[d->n++] = (bm_src){d->acc, 0};
    return left;
}

/* Everything listed into the accumulator. */
static void fold(bm_dense *d) {
    d->known = bm_ops.all(d->src, d->n, d->acc);
    d->src[0] = (bm_src){d->acc, 0};
    d->n = 1;
    d->used = true;
}

static uint32_t all_dense(bm_ctx *x, bm_ranked *kids, uint32_t m, uint8_t *dst, bm_val *out) {
    bm_dense d = {bm_take(x, ((size_t)m + 2) * sizeof(bm_src)), 0, out ? dst : bm_take(x, BM_BUF), false, BM_ROWS + 1};
    uint8_t *other = bm_take(x, BM_BUF);
    uint32_t least = BM_ROWS, left = take_plain(x, &d, kids, m, &least);
    if (left > 1) bm_sort(kids, left);
    if (left && d.n && least <= BM_FOLD_EARLY) fold(&d);
    for (uint32_t i = 0; i < left; i++) {
        if (!d.known || x->halted) return give_empty(out);
        if (d.known <= (bm_ranked_scan(kids[i]) ? BM_SWITCH_BEFORE_SCAN : BM_SWITCH_BEFORE_INNER)) {
            uint16_t *a = bm_take(x, BM_BUF);
            uint32_t n = bm_ops.extract(d.acc, 0, a, BM_ARRAY_MAX);
            return narrow(x, (const bm_u16 *)a, n, kids + i, left - i, a, (uint16_t *)other, dst, out);
        }
        bm_edge e = bm_ranked_edge(kids[i]);
        uint8_t *to = d.used ? other : d.acc;
        bm_val v = bm_eval(x, e, to);
        if (v.type == BM_EMPTY && !v.neg) return give_empty(out);
        if (v.type == BM_EMPTY) continue;
        const uint8_t *bits = bm_val_bits(&v, to);
        d.src[d.n++] = (bm_src){bits, v.neg ? ~0ull : 0};
        if (bits == d.acc) d.used = true;
        d.known = BM_ROWS + 1;
        if (i + 1 == left) break;
        const bm_node *next = &x->prog->nodes[bm_ranked_edge(kids[i + 1]) >> 1];
        if (bits == other || next->kind == BM_NODE_SCAN || next->weight >= 8) fold(&d);
    }
    if (x->halted || !d.known) return give_empty(out);
    if (!d.n) return give_full(out);
    if (!out) return d.known <= BM_ROWS ? d.known : bm_ops.all(d.src, d.n, NULL);
    if (d.n == 1) { /* the accumulator, which is dst, or one borrowed operand */
        *out = (bm_val){BM_BITS, d.src[0].flip != 0, 0, d.src[0].bits};
        return 0;
    }
    *out = bm_ops.all(d.src, d.n, dst) ? (bm_val){BM_BITS, 0, 0, dst} : EMPTY;
    return 0;
}

static uint32_t all(bm_ctx *x, const bm_node *node, uint8_t *dst, bm_val *out) {
    uint8_t *mark = x->top;
    bm_ranked *kids = bm_take(x, (size_t)node->n * sizeof *kids);
    uint32_t empty, full, m = bm_live_kids(x, node, kids, &empty, &full), count;
    if (empty) count = give_empty(out);
    else if (m == 0) count = give_full(out);
    else if (m == 1) {
        bm_edge e = bm_ranked_edge(kids[0]);
        count = 0;
        if (out) *out = bm_eval(x, e, dst);
        else count = bm_eval_count(x, e);
    } else {
        uint32_t lead = m, least = BM_ARRAY_MAX + 1;
        for (uint32_t i = 0; i < m; i++) {
            uint32_t hi = bm_ranked_hi(kids[i]);
            bool posting = x->prog->nodes[bm_ranked_edge(kids[i]) >> 1].kind == BM_NODE_POSTING;
            if (hi < least && (posting || (hi <= BM_INNER_LEAD && !bm_ranked_scan(kids[i])))) {
                least = hi;
                lead = i;
            }
        }
        const bm_container *a = m == 2 && !out ? plain(x, bm_ranked_edge(kids[0])) : NULL;
        const bm_container *b = a ? plain(x, bm_ranked_edge(kids[1])) : NULL;
        if (b) {
            bm_tick(x);
            count = bm_pair_count(x, a, kids[0] & 1, b, kids[1] & 1);
        } else if (m == 2 && !out && bm_leaf_pair_count(x, bm_ranked_edge(kids[0]), bm_ranked_edge(kids[1]), &count)) {
            bm_tick(x);
        } else if (lead < m) count = all_sparse(x, kids, m, lead, dst, out);
        else if (are_short_arrays(x, kids, m)) count = none_of_arrays(x, kids, m, dst, out);
        else count = all_dense(x, kids, m, dst, out);
    }
    x->top = mark;
    return count;
}

static bm_val at_least(bm_ctx *x, const bm_node *node, uint8_t *dst) {
    uint8_t *mark = x->top;
    bm_ranked *kids = bm_take(x, (size_t)node->n * sizeof *kids);
    uint32_t empty, full, m = bm_live_kids(x, node, kids, &empty, &full);
    bm_val v = {BM_BITS, 0, 0, dst};
    if (full >= node->k) v = FULL;
    else if (m + full < node->k) v = EMPTY;
    else {
        uint32_t k = node->k - full, nplanes = bm_planes(k);
        uint64_t *planes = bm_take(x, (size_t)nplanes * BM_BITS_BYTES);
        uint8_t *other = bm_take(x, BM_BUF);
        bm_planes_begin(planes, nplanes, k, BM_WORDS);
        memset(dst, 0, BM_BITS_BYTES);
        for (uint32_t i = 0; i < m && !x->halted; i++) {
            bm_val kid = bm_eval(x, bm_ranked_edge(kids[i]), other);
            bm_bits_carry(bm_val_bits(&kid, other), kid.neg ? ~0ull : 0, planes, nplanes, (uint64_t *)dst, BM_WORDS);
        }
    }
    x->top = mark;
    return v;
}

static bm_val inner(bm_ctx *x, const bm_node *n, uint8_t *dst) {
    bm_memo *memo = n->memo >= 0 ? &x->memos[n->memo] : NULL;
    if (memo && memo->filled && memo->key == x->key) return memo->val;
    if (memo && !memo->buf && !(memo->buf = aligned_alloc(64, bm_room(BM_BUF)))) memo = NULL; /* then without */
    if (memo) dst = memo->buf;
    bm_val v = EMPTY;
    if (n->kind == BM_NODE_ALL) all(x, n, dst, &v);
    else v = at_least(x, n, dst);
    if (memo && !x->halted) {
        memo->val = v;
        memo->key = x->key;
        memo->filled = true;
    }
    return v;
}

bm_val bm_eval(bm_ctx *x, bm_edge e, uint8_t *dst) {
    const bm_node *n = &x->prog->nodes[e >> 1];
    bm_bounds b = x->bounds[e >> 1];
    bm_val v = EMPTY;
    if (x->halted) return v;
    if (b.lo == BM_ROWS) v = FULL;
    else if (b.hi != 0) {
        if (n->kind == BM_NODE_POSTING) v = bm_posting_eval(x, n, dst);
        else if (n->kind == BM_NODE_SCAN) v = bm_scan_eval(x, n, dst);
        else v = inner(x, n, dst);
        if (n->depth == 0) bm_tick(x);
    }
    v.neg ^= e & 1;
    return v;
}

uint32_t bm_eval_count(bm_ctx *x, bm_edge e) {
    const bm_node *n = &x->prog->nodes[e >> 1];
    bm_bounds b = bm_edge_bounds(x, e);
    if (b.lo == b.hi) return b.lo;
    if (n->kind == BM_NODE_ALL && n->memo < 0) {
        uint32_t count = all(x, n, NULL, NULL);
        return e & 1 ? BM_ROWS - count : count;
    }
    uint8_t *mark = x->top;
    bm_val v = bm_eval(x, e, bm_take(x, BM_BUF));
    uint32_t count = bm_val_count(&v);
    x->top = mark;
    return count;
}

size_t bm_eval_need(const bm_node *n) {
    size_t room = bm_room(BM_BUF);
    switch (n->kind) {
    case BM_NODE_TRUE: return room;
    case BM_NODE_POSTING:
    case BM_NODE_SCAN: return room + BM_LEAF_NEED;
    case BM_NODE_ALL:
        return 5 * room + bm_room(n->n * sizeof(bm_ranked)) + bm_room(((size_t)n->n + 2) * sizeof(bm_src)) +
               bm_room(BM_MASK_WORDS * 8);
    default:
        return 2 * room + bm_room(n->n * sizeof(bm_ranked)) + bm_room((size_t)bm_planes(n->k) * BM_BITS_BYTES);
    }
}
