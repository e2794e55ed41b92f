/* In which order the operands of an inner node are taken inside one container, and counting planes. */
#include "bm_prog.h"

static bm_ranked rank(const bm_ctx *x, bm_edge e, uint32_t hi) {
    const bm_node *n = &x->prog->nodes[e >> 1];
    uint64_t cost = n->kind == BM_NODE_POSTING ? (bm_is_plain(x, n) ? 0 : 1) : n->kind == BM_NODE_SCAN ? 3 : 2;
    return (uint64_t)(cost == 3) << 62 | (uint64_t)hi << 36 | cost << 32 | e;
}

uint32_t bm_live_kids(const bm_ctx *x, const bm_node *n, bm_ranked *kids, uint32_t *empty, uint32_t *full) {
    const bm_edge *e = x->prog->edges + n->first;
    uint32_t m = 0;
    *empty = *full = 0;
    for (uint32_t i = 0; i < n->n; i++) {
        bm_bounds b = bm_edge_bounds(x, e[i]);
        if (b.hi == 0) ++*empty;
        else if (b.lo == BM_ROWS) ++*full;
        else kids[m++] = rank(x, e[i], b.hi);
    }
    return m;
}

void bm_sort(bm_ranked *kids, uint32_t n) { /* shell sort, gaps of M. Ciura (2001): mostly few operands */
    static const uint32_t gaps[] = {8861, 3938, 1750, 701, 301, 132, 57, 23, 10, 4, 1};
    for (uint32_t g = 0; g < sizeof gaps / sizeof *gaps; g++) {
        uint32_t gap = gaps[g];
        for (uint32_t i = gap; i < n; i++) {
            bm_ranked v = kids[i];
            uint32_t j = i;
            for (; j >= gap && kids[j - gap] > v; j -= gap) kids[j] = kids[j - gap];
            kids[j] = v;
        }
    }
}

void bm_planes_begin(uint64_t *planes, uint32_t nplanes, uint32_t k, uint32_t words) {
    uint64_t start = (1ull << nplanes) - k;
    for (uint32_t p = 0; p < nplanes; p++) memset(planes + (size_t)p * words, (start >> p) & 1 ? 0xff : 0, words * 8);
}
