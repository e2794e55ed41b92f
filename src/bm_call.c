/* One call: count, any or materialise over a range of containers of the universe. Each call has its own scratch,
 * taken once; a program is read only, so that many threads may call at the same time. */
#include <stdlib.h>

#include "bm_prog.h"

static void close_ctx(bm_ctx *x) {
    for (uint32_t i = 0; x->memos && i < x->prog->nmemos; i++) free(x->memos[i].buf);
    free(x->bounds);
    free(x->leaves);
    free(x->memos);
    free(x->arena);
}

static bool open_ctx(bm_ctx *x, const bm_prog *p, const bm_stop *stop) {
    memset(x, 0, sizeof *x);
    x->prog = p;
    x->stop = stop;
    /* the root's own needs, its result, and two buffers to bring the result into its final form */
    size_t need = p->nodes[p->root >> 1].need + 4 * bm_room(BM_BUF);
    x->bounds = calloc(p->n, sizeof *x->bounds);
    x->leaves = calloc((size_t)p->nleaves + 1, sizeof *x->leaves);
    x->memos = calloc((size_t)p->nmemos + 1, sizeof *x->memos);
    x->arena = aligned_alloc(64, need);
    x->top = x->arena;
    x->end = x->arena + need;
    if (x->bounds && x->leaves && x->memos && x->arena) return true;
    close_ctx(x);
    return false;
}

typedef struct {
    uint32_t base, added;
} bm_keys; /* where in the universe's two directories the walk stands */

/* The next key of the universe up to last, or UINT32_MAX. */
static uint32_t next_key(const bm_posting *u, bm_keys *at, uint32_t last) {
    uint32_t b = at->base < u->base.n ? u->base.at[at->base].key : UINT32_MAX;
    uint32_t a = at->added < u->added.n ? u->added.at[at->added].key : UINT32_MAX;
    uint32_t key = a < b ? a : b;
    if (key > last) return UINT32_MAX;
    at->base += b == key;
    at->added += a == key;
    return key;
}

/* What is done with each container; false to end the walk. */
typedef bool (*bm_visit)(bm_ctx *x, bm_bounds b, void *to);

static int walk(const bm_prog *p, uint32_t first, uint32_t last, const bm_stop *stop, bm_visit visit, void *to) {
    bm_ctx x;
    int status = stop ? bm_stop_look(stop) : BM_OK;
    if (status != BM_OK) return status;
    if (!open_ctx(&x, p, stop)) return BM_NO_MEMORY;
    bm_keys at = {bm_dir_seek(&p->universe->base, first), bm_dir_seek(&p->universe->added, first)};
    bm_seek(&x, first);
    bool on = true;
    while (on && !x.halted) {
        uint32_t key = next_key(p->universe, &at, last);
        if (key == UINT32_MAX) break;
        if (stop && (x.halted = bm_stop_look(stop)) != BM_OK) break;
        bm_enter(&x, key);
        bm_bounds b = bm_edge_bounds(&x, p->root);
        if (b.hi) on = visit(&x, b, to);
    }
    status = x.halted;
    close_ctx(&x);
    return status;
}

static bool visit_count(bm_ctx *x, bm_bounds b, void *to) {
    *(uint64_t *)to += b.lo == b.hi ? b.lo : bm_eval_count(x, x->prog->root);
    return true;
}

int bm_count(const bm_prog *p, uint32_t first_key, uint32_t last_key, const bm_stop *stop, uint64_t *count) {
    *count = 0;
    return walk(p, first_key, last_key, stop, visit_count, count);
}

static bool visit_any(bm_ctx *x, bm_bounds b, void *to) {
    bool found = b.lo > 0 || bm_eval_count(x, x->prog->root) > 0;
    if (found && !x->halted) *(bool *)to = true;
    return !found;
}

int bm_any(const bm_prog *p, uint32_t first_key, uint32_t last_key, const bm_stop *stop, bool *any) {
    *any = false;
    return walk(p, first_key, last_key, stop, visit_any, any);
}

/* --- materialise -------------------------------------------------------------------------------------- */

typedef struct {
    bm_output *out;
    bool failed;
} bm_sink;

static bool visit_emit(bm_ctx *x, bm_bounds b, void *to) {
    bm_sink *sink = to;
    uint8_t *mark = x->top, *own = bm_take(x, BM_BUF), *tmp = bm_take(x, BM_BUF), *at;
    uint16_t *array = bm_take(x, BM_BUF);
    bm_val v = bm_eval(x, x->prog->root, own);
    uint32_t count = x->halted ? 0 : bm_val_count(&v);
    if (count > BM_ARRAY_MAX) {
        at = bm_output_add(sink->out, x->key, count, BM_BITS_BYTES);
        bm_src src = {bm_val_bits(&v, tmp), v.neg ? ~0ull : 0};
        if (at) bm_ops.all(&src, 1, at);
        sink->failed = !at;
    } else if (count) {
        uint32_t n;
        const bm_u16 *a = bm_val_array(&v, array, BM_ARRAY_MAX, tmp, &n);
        at = n ? bm_output_add(sink->out, x->key, n, 2 * n) : NULL;
        if (at) memcpy(at, a, 2 * (size_t)n);
        sink->failed = n && !at;
    }
    x->top = mark;
    return !sink->failed;
}

int bm_materialise(const bm_prog *p, uint32_t first_key, uint32_t last_key, const bm_stop *stop, bm_output *out) {
    bm_sink sink = {out, false};
    memset(out, 0, sizeof *out);
    int status = walk(p, first_key, last_key, stop, visit_emit, &sink);
    return status == BM_OK && sink.failed ? BM_NO_MEMORY : status;
}
