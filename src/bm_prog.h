/* A program as the evaluator sees it, and the state of one call. Shared by bm_program.c, bm_bounds.c, bm_eval.c,
 * bm_filter.c and bm_call.c only.
 *
 * There is one inner operation, ALL (and the counting AT_LEAST): an OR is the complement of the ALL of complements,
 * and complements live on edges. So "a AND NOT b" is an and-not, "OR stops at full" is "ALL stops at empty", and
 * nothing is ever complemented on its own. */
#ifndef BM_PROG_H
#define BM_PROG_H

#include "bm_kernels.h"

enum { BM_NODE_TRUE, BM_NODE_POSTING, BM_NODE_SCAN, BM_NODE_ALL, BM_NODE_AT_LEAST };

typedef struct {
    uint8_t kind;
    uint32_t first, n;         /* operands: edges[first .. first + n) */
    uint32_t k;                /* AT_LEAST */
    uint32_t depth, weight;    /* height over the leaves; unfolded size, saturating */
    int32_t leaf, memo;        /* index of the cursor; of the memo slot, or -1 */
    size_t need;               /* bytes of scratch to evaluate it, operands included */
    const bm_posting *posting; /* POSTING: the operand; SCAN: its overlay (base empty), or NULL */
    bm_scan scan;
} bm_node;

struct bm_prog {
    bm_node *nodes;
    bm_edge *edges;
    uint32_t n, cap, nedges, edges_cap;
    /* after bm_prog_finish */
    uint32_t *order; /* the nodes that count, operands before users */
    uint32_t norder, nleaves, nmemos;
    bm_edge root;
    const bm_posting *universe;
};

typedef struct {
    uint32_t lo, hi; /* of a node's cardinality inside the current container */
} bm_bounds;

/* The containers of a leaf at the current key: base, added, removed. */
typedef struct {
    uint32_t at[3];
    const bm_container *now[3];
} bm_cursor;

/* A set inside one container. BM_EMPTY with neg is everything. `ptr` is borrowed from a posting or a memo, or is the
 * destination the evaluation was given; the holder must not write through it unless it is that destination. */
typedef struct {
    uint8_t type, neg;
    uint32_t n; /* elements of an array, runs of a run list */
    const uint8_t *ptr;
} bm_val;

typedef struct {
    uint8_t *buf; /* 8 KiB, from the first use */
    uint32_t key; /* of the container the value is for */
    bool filled;
    bm_val val;
} bm_memo;

typedef struct {
    const bm_prog *prog;
    const bm_stop *stop;
    uint32_t key, ticks;
    int halted; /* BM_OK until stopped; then every evaluation answers "empty" at once */
    bm_bounds *bounds;
    bm_cursor *leaves;
    bm_memo *memos;
    uint8_t *arena, *top, *end;
} bm_ctx;

/* Scratch is a stack: take moves the top, the caller puts it back where it was. Sizes were added up by finish. */
static inline void *bm_take(bm_ctx *x, size_t bytes) {
    uint8_t *p = x->top;
    x->top += (bytes + 63) & ~(size_t)63;
#ifdef SEGIDX_DEBUG
    if (x->top > x->end) __builtin_trap();
#endif
    return p;
}

static inline size_t bm_room(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

static inline bm_bounds bm_edge_bounds(const bm_ctx *x, bm_edge e) {
    bm_bounds b = x->bounds[e >> 1];
    if (e & 1) {
        uint32_t lo = BM_ROWS - b.hi;
        b.hi = BM_ROWS - b.lo;
        b.lo = lo;
    }
    return b;
}

/* Every so many leaf evaluations, look whether to stop. */
static inline void bm_tick(bm_ctx *x) {
    if (++x->ticks % BM_STOP_TICKS == 0 && x->stop && !x->halted) x->halted = bm_stop_look(x->stop);
}

static inline bool bm_is_plain(const bm_ctx *x, const bm_node *n) { /* a posting with no overlay in this container */
    const bm_cursor *c = &x->leaves[n->leaf];
    return !c->now[1] && !c->now[2];
}

static inline bm_val bm_borrow(const bm_container *c, uint8_t neg) {
    if (!c) return (bm_val){BM_EMPTY, neg, 0, NULL};
    return (bm_val){(uint8_t)c->type, neg, c->type == BM_RUNS ? c->runs : c->card, c->data};
}

/* bm_bounds.c */
void bm_seek(bm_ctx *x, uint32_t key);  /* cursors to the first container at or behind key */
void bm_enter(bm_ctx *x, uint32_t key); /* to exactly key (ascending), and the bounds of every node */

/* bm_value.c */
/* The words of v, its sign aside (v.neg stays with the caller): v's own if it is a bitset, else written to buf. */
const uint8_t *bm_val_bits(const bm_val *v, uint8_t *buf);
uint32_t bm_val_count(const bm_val *v);
/* As an ascending array of at most cap; borrowed when it is one already, else in out; tmp is for a complement. */
const bm_u16 *bm_val_array(const bm_val *v, uint16_t *out, uint32_t cap, uint8_t *tmp, uint32_t *n);
void bm_val_test(bm_ctx *x, const bm_val *v, const bm_u16 *cand, uint32_t n, uint64_t *mask);
uint32_t bm_pair_count(bm_ctx *x, const bm_container *a, bool aneg, const bm_container *b, bool bneg);

/* bm_eval.c: the whole container; the result is borrowed or in dst (BM_BUF bytes, 64-byte aligned). */
bm_val bm_eval(bm_ctx *x, bm_edge e, uint8_t *dst);
uint32_t bm_eval_count(bm_ctx *x, bm_edge e);
size_t bm_eval_need(const bm_node *n);

/* bm_filter.c: bit i of mask = candidate i is in e. n <= BM_ARRAY_MAX. */
void bm_test(bm_ctx *x, bm_edge e, const bm_u16 *cand, uint32_t n, uint64_t *mask);
size_t bm_test_need(const bm_node *n);

/* --- operands of an inner node, in the order to take them (bm_order.c) ---------------------------------- */

typedef uint64_t bm_ranked; /* scans last, then by upper bound, then by cost; the edge in the low half */

static inline bm_edge bm_ranked_edge(bm_ranked r) { return (bm_edge)r; }

/* The operands of n that are neither empty nor full here, into kids; *empty counts the empty, *full the full. */
uint32_t bm_live_kids(const bm_ctx *x, const bm_node *n, bm_ranked *kids, uint32_t *empty, uint32_t *full);
void bm_sort(bm_ranked *kids, uint32_t n);
static inline uint32_t bm_ranked_hi(bm_ranked r) { return (uint32_t)(r >> 36) & 0x3ffff; }
static inline bool bm_ranked_scan(bm_ranked r) { return r >> 62; }

/* Counters that overflow at the k-th addition need ceil(log2 k) planes, begun at 2^planes - k. */
static inline uint32_t bm_planes(uint32_t k) {
    uint32_t p = 0;
    while ((1ull << p) < k) p++;
    return p;
}
void bm_planes_begin(uint64_t *planes, uint32_t nplanes, uint32_t k, uint32_t words);

#endif
