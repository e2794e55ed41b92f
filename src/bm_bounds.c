/* Cursors of the leaves, and lower and upper bounds of every node's cardinality in the current container, from
 * directories and zone maps alone: about 4 ns a node. They decide what is skipped, what leads, what is full. */
#include "bm_prog.h"

static const bm_dir *dir_of(const bm_posting *p, uint32_t which) {
    return which == 0 ? &p->base : which == 1 ? &p->added : &p->removed;
}

void bm_seek(bm_ctx *x, uint32_t key) {
    for (uint32_t i = 0; i < x->prog->norder; i++) {
        const bm_node *n = &x->prog->nodes[x->prog->order[i]];
        if (n->leaf < 0 || !n->posting) continue;
        for (uint32_t d = 0; d < 3; d++) x->leaves[n->leaf].at[d] = bm_dir_seek(dir_of(n->posting, d), key);
    }
}

static inline const bm_container *step(const bm_dir *dir, uint32_t *at, uint32_t key) {
    while (*at < dir->n && dir->at[*at].key < key) ++*at;
    return *at < dir->n && dir->at[*at].key == key ? &dir->at[*at] : NULL;
}

static inline uint32_t card(const bm_container *c) { return c ? c->card : 0; }

static inline uint32_t capped(uint32_t n) { return n > BM_ROWS ? BM_ROWS : n; }

/* (B \ R) | A from the three cardinalities, whatever overlaps what. */
static inline bm_bounds overlaid(bm_bounds base, uint32_t added, uint32_t removed) {
    bm_bounds b;
    uint32_t left = base.lo > removed ? base.lo - removed : 0;
    b.lo = left > added ? left : added;
    b.hi = capped(base.hi + added);
    return b;
}

static bm_bounds all_bounds(const bm_ctx *x, const bm_node *n) {
    uint64_t lo = 0;
    uint32_t hi = BM_ROWS;
    const bm_edge *e = x->prog->edges + n->first;
    for (uint32_t i = 0; i < n->n; i++) {
        bm_bounds b = bm_edge_bounds(x, e[i]);
        lo += b.lo;
        if (b.hi < hi) hi = b.hi;
    }
    uint64_t spare = (uint64_t)(n->n - 1) * BM_ROWS;
    return (bm_bounds){lo > spare ? (uint32_t)(lo - spare) : 0, hi};
}

/* Each row in the result is in k operands at least, each other row in k - 1 at most. */
static bm_bounds at_least_bounds(const bm_ctx *x, const bm_node *n) {
    uint64_t lo = 0, hi = 0, spare = (uint64_t)(n->k - 1) * BM_ROWS;
    const bm_edge *e = x->prog->edges + n->first;
    for (uint32_t i = 0; i < n->n; i++) {
        bm_bounds b = bm_edge_bounds(x, e[i]);
        lo += b.lo;
        hi += b.hi;
    }
    uint32_t beyond = n->n - n->k + 1;
    bm_bounds b = {lo > spare ? (uint32_t)((lo - spare + beyond - 1) / beyond) : 0, BM_ROWS};
    if (hi / n->k < BM_ROWS) b.hi = (uint32_t)(hi / n->k);
    return b;
}

void bm_enter(bm_ctx *x, uint32_t key) {
    const bm_prog *p = x->prog;
    x->key = key;
    for (uint32_t i = 0; i < p->norder; i++) {
        uint32_t at = p->order[i];
        const bm_node *n = &p->nodes[at];
        bm_bounds b = {BM_ROWS, BM_ROWS};
        switch (n->kind) {
        case BM_NODE_POSTING: {
            bm_cursor *c = &x->leaves[n->leaf];
            c->now[0] = step(&n->posting->base, &c->at[0], key);
            c->now[1] = n->posting->added.n ? step(&n->posting->added, &c->at[1], key) : NULL;
            c->now[2] = c->now[0] && n->posting->removed.n ? step(&n->posting->removed, &c->at[2], key) : NULL;
            b.lo = b.hi = card(c->now[0]);
            if (c->now[1] || c->now[2]) b = overlaid(b, card(c->now[1]), card(c->now[2]));
            break;
        }
        case BM_NODE_SCAN: {
            bm_cursor *c = &x->leaves[n->leaf];
            bm_scan_bounds(&n->scan, key, &b.lo, &b.hi);
            if (n->posting) {
                c->now[1] = step(&n->posting->added, &c->at[1], key);
                c->now[2] = step(&n->posting->removed, &c->at[2], key);
                b = overlaid(b, card(c->now[1]), card(c->now[2]));
            }
            break;
        }
        case BM_NODE_ALL: b = all_bounds(x, n); break;
        case BM_NODE_AT_LEAST: b = at_least_bounds(x, n); break;
        default: break;
        }
        x->bounds[at] = b;
    }
}
