/* Building a program and making it ready: constants folded, nested ALLs flattened, duplicates dropped, scratch sized. */
#include <stdlib.h>

#include "bm_prog.h"

static bool reserve(void **p, uint32_t *cap, uint32_t want, size_t size) {
    if (want <= *cap) return true;
    uint32_t more = *cap ? *cap : 16;
    while (more < want) more *= 2;
    void *q = realloc(*p, (size_t)more * size);
    if (!q) return false;
    *p = q;
    *cap = more;
    return true;
}

static bm_node *add_node(bm_prog *p, uint8_t kind) {
    if (p->n >= BM_MAX_NODES || !reserve((void **)&p->nodes, &p->cap, p->n + 1, sizeof(bm_node))) return NULL;
    bm_node *n = &p->nodes[p->n++];
    memset(n, 0, sizeof *n);
    n->kind = kind;
    n->leaf = n->memo = -1;
    n->weight = 1;
    return n;
}

bm_prog *bm_prog_new(void) {
    bm_prog *p = calloc(1, sizeof *p);
    if (p && !add_node(p, BM_NODE_TRUE)) {
        free(p);
        return NULL;
    }
    return p;
}

void bm_prog_free(bm_prog *p) {
    if (!p) return;
    free(p->nodes);
    free(p->edges);
    free(p->order);
    free(p);
}

uint32_t bm_prog_size(const bm_prog *p) { return p->n; }

uint32_t bm_prog_depth(const bm_prog *p, bm_edge e) { return p->nodes[e >> 1].depth; }

bm_edge bm_prog_posting(bm_prog *p, const bm_posting *posting) {
    bm_node *n = add_node(p, BM_NODE_POSTING);
    if (!n) return BM_NO_EDGE;
    n->posting = posting;
    return (p->n - 1) << 1;
}

static bm_edge add_scan(bm_prog *p, bm_scan scan, const bm_posting *overlay) {
    bm_node *n = add_node(p, BM_NODE_SCAN);
    if (!n) return BM_NO_EDGE;
    n->scan = scan;
    n->posting = overlay;
    return (p->n - 1) << 1;
}

bm_edge bm_prog_range(bm_prog *p, const bm_column *c, int64_t lo, int64_t hi, const bm_posting *overlay) {
    return add_scan(p, (bm_scan){c, NULL, lo, hi}, overlay);
}

bm_edge bm_prog_table(bm_prog *p, const bm_column *c, const bm_table *t, const bm_posting *overlay) {
    return add_scan(p, (bm_scan){c, t, 0, 0}, overlay);
}

static bm_edge add_inner(bm_prog *p, uint8_t kind, uint32_t k, const bm_edge *edges, uint32_t n) {
    if (p->nedges > UINT32_MAX / 2 - n || !reserve((void **)&p->edges, &p->edges_cap, p->nedges + n, sizeof(bm_edge)))
        return BM_NO_EDGE;
    bm_node *node = add_node(p, kind);
    if (!node) return BM_NO_EDGE;
    node->first = p->nedges;
    node->n = n;
    node->k = k;
    memcpy(p->edges + p->nedges, edges, (size_t)n * sizeof(bm_edge));
    p->nedges += n;
    for (uint32_t i = 0; i < n; i++) {
        const bm_node *kid = &p->nodes[edges[i] >> 1];
        if (kid->depth >= node->depth) node->depth = kid->depth + 1;
        node->weight = node->weight + kid->weight < node->weight ? UINT32_MAX : node->weight + kid->weight;
    }
    return (p->n - 1) << 1;
}

static int by_value(const void *a, const void *b) {
    bm_edge x = *(const bm_edge *)a, y = *(const bm_edge *)b;
    return (x > y) - (x < y);
}

bm_edge bm_prog_all(bm_prog *p, bm_edge *edges, uint32_t n) {
    qsort(edges, n, sizeof *edges, by_value);
    uint32_t m = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (edges[i] == BM_TRUE || (m && edges[m - 1] == edges[i])) continue;
        if (edges[i] == BM_FALSE || (m && edges[m - 1] == (edges[i] ^ 1))) return BM_FALSE; /* x and not x */
        edges[m++] = edges[i];
    }
    if (m == 0) return BM_TRUE;
    return m == 1 ? edges[0] : add_inner(p, BM_NODE_ALL, 0, edges, m);
}

bm_edge bm_prog_any(bm_prog *p, bm_edge *edges, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) edges[i] ^= 1;
    bm_edge e = bm_prog_all(p, edges, n);
    return e == BM_NO_EDGE ? e : e ^ 1;
}

bm_edge bm_prog_at_least(bm_prog *p, int64_t k, bm_edge *edges, uint32_t n) {
    uint32_t m = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (edges[i] == BM_TRUE) k--;
        else if (edges[i] != BM_FALSE) edges[m++] = edges[i];
    }
    if (k <= 0) return BM_TRUE;
    if (k > m) return BM_FALSE;
    if (k == 1) return bm_prog_any(p, edges, m);
    if (k == m) return bm_prog_all(p, edges, m);
    return add_inner(p, BM_NODE_AT_LEAST, (uint32_t)k, edges, m);
}

/* --- finish ------------------------------------------------------------------------------------------- */

/* How often each node is named from the nodes that root reaches; 0 for the unreached. */
static uint32_t *count_uses(const bm_prog *p, bm_edge root) {
    uint32_t *uses = calloc(p->n, sizeof *uses);
    if (!uses) return NULL;
    uses[root >> 1] = 1;
    for (uint32_t i = p->n; i-- > 0;)
        for (uint32_t j = 0; uses[i] && j < p->nodes[i].n; j++) uses[p->edges[p->nodes[i].first + j] >> 1]++;
    return uses;
}

/* Rebuild what root reaches into q, replacing an ALL named once by its operands. The new root, or BM_NO_EDGE. */
static bm_edge rebuild(const bm_prog *p, bm_prog *q, bm_edge root, const uint32_t *uses) {
    bm_edge *now = malloc((size_t)p->n * sizeof *now), *list = NULL, result = BM_NO_EDGE;
    uint32_t cap = 0;
    if (!now) return BM_NO_EDGE;
    for (uint32_t i = 0; i < p->n; i++) {
        const bm_node *node = &p->nodes[i];
        if (i == 0) {
            now[0] = BM_TRUE;
            continue;
        }
        if (!uses[i]) continue;
        bm_edge e;
        if (node->kind == BM_NODE_POSTING) e = bm_prog_posting(q, node->posting);
        else if (node->kind == BM_NODE_SCAN) e = add_scan(q, node->scan, node->posting);
        else {
            uint32_t m = 0;
            for (uint32_t j = 0; j < node->n; j++) {
                bm_edge old = p->edges[node->first + j], kid = now[old >> 1] ^ (old & 1);
                const bm_node *inner = &q->nodes[kid >> 1];
                bool merge = node->kind == BM_NODE_ALL && !(kid & 1) && inner->kind == BM_NODE_ALL && uses[old >> 1] == 1;
                uint32_t count = merge ? inner->n : 1;
                if (!reserve((void **)&list, &cap, m + count, sizeof *list)) goto out;
                if (merge) memcpy(list + m, q->edges + inner->first, (size_t)count * sizeof *list);
                else list[m] = kid;
                m += count;
            }
            e = node->kind == BM_NODE_ALL ? bm_prog_all(q, list, m) : bm_prog_at_least(q, node->k, list, m);
        }
        if (e == BM_NO_EDGE) goto out;
        now[i] = e;
    }
    result = now[root >> 1] ^ (root & 1);
out:
    free(now);
    free(list);
    return result;
}

bool bm_prog_finish(bm_prog *p, bm_edge root, const bm_posting *universe) {
    bm_edge both[2] = {bm_prog_posting(p, universe), root};
    if (both[0] == BM_NO_EDGE || (root = bm_prog_all(p, both, 2)) == BM_NO_EDGE) return false;
    bm_prog *q = bm_prog_new();
    uint32_t *uses = count_uses(p, root);
    bool ok = q && uses && (q->root = rebuild(p, q, root, uses)) != BM_NO_EDGE;
    free(uses);
    uses = ok ? count_uses(q, q->root) : NULL;
    ok = uses && (q->order = malloc((size_t)q->n * sizeof *q->order)) != NULL;
    for (uint32_t i = 0; ok && i < q->n; i++) {
        bm_node *n = &q->nodes[i];
        if (!uses[i]) continue;
        q->order[q->norder++] = i;
        if (n->kind == BM_NODE_POSTING || n->kind == BM_NODE_SCAN) n->leaf = (int32_t)q->nleaves++;
        bool inner = n->kind == BM_NODE_ALL || n->kind == BM_NODE_AT_LEAST;
        if (inner && uses[i] > 1 && n->weight >= BM_MEMO_WEIGHT && q->nmemos < BM_MEMO_SLOTS)
            n->memo = (int32_t)q->nmemos++;
        size_t kids = 0;
        for (uint32_t j = 0; j < n->n; j++) {
            size_t need = q->nodes[q->edges[n->first + j] >> 1].need;
            if (need > kids) kids = need;
        }
        size_t eval = bm_eval_need(n), test = bm_test_need(n); /* a filter may evaluate its own node whole */
        n->need = (eval > test ? eval : test) + 2 * bm_room(BM_BUF) + kids;
    }
    free(uses);
    if (!ok) {
        bm_prog_free(q);
        return false;
    }
    q->universe = universe;
    bm_prog old = *p;
    *p = *q;
    *q = old;
    bm_prog_free(q);
    return true;
}
