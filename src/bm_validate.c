/* Full validation of a portable Roaring buffer, for writes, merges, restores and `verify`: every byte is looked at. */
#include <stdlib.h>

#include "bm_kernels.h"

static const char *check_array(const bm_container *c) {
    const bm_u16 *a = (const bm_u16 *)c->data;
    for (uint32_t i = 1; i < c->card; i++)
        if (a[i - 1] >= a[i]) return "an array container is not strictly ascending";
    return NULL;
}

static const char *check_bits(const bm_container *c) {
    bm_src src = {c->data, 0};
    return bm_ops.all(&src, 1, NULL) == c->card ? NULL : "a bitset container does not have its cardinality";
}

static const char *check_runs(const bm_container *c) {
    const bm_u16 *r = (const bm_u16 *)c->data;
    uint32_t card = 0;
    for (uint32_t i = 0; i < c->runs; i++) {
        if ((uint32_t)r[2 * i] + r[2 * i + 1] > 65535u) return "a run ends outside its container";
        if (i && r[2 * i] <= bm_run_last(r, i - 1) + 1) return "runs overlap, touch or do not ascend";
        card += r[2 * i + 1] + 1u;
    }
    return card == c->card ? NULL : "a run container does not have its cardinality";
}

static size_t container_size(const bm_container *c) {
    if (c->type == BM_RUNS) return 2 + 4 * (size_t)c->runs;
    return c->type == BM_ARRAY ? 2 * (size_t)c->card : BM_BITS_BYTES;
}

static const char *check_layout(const bm_dir *dir, const uint8_t *buf, size_t len) {
    uint32_t n = dir->n;
    if (n == 0) return len == 8 ? NULL : "bytes follow the last container";
    bool with_runs = (*(const bm_u32 *)buf & 0xffff) == 12347u;
    size_t at = with_runs ? 4 + (size_t)(n + 7) / 8 : 8;
    at += 4 * (size_t)n;
    if (!with_runs || n >= 4) at += 4 * (size_t)n;
    for (uint32_t i = 0; i < n; i++) {
        const bm_container *c = &dir->at[i];
        const uint8_t *start = c->type == BM_RUNS ? c->data - 2 : c->data;
        if ((size_t)(start - buf) != at) return "containers are not laid out one after another";
        at += container_size(c);
    }
    return at == len ? NULL : "bytes follow the last container";
}

const char *bm_validate(const uint8_t *buf, size_t len) {
    const char *reason;
    uint32_t n = bm_dir_count(buf, len, &reason);
    if (reason) return reason;
    bm_dir dir = {malloc(((size_t)n + 1) * sizeof(bm_container)), 0};
    if (!dir.at) return "out of memory";
    if (bm_dir_append(&dir, buf, len, &reason)) {
        reason = check_layout(&dir, buf, len);
        for (uint32_t i = 0; i < dir.n && !reason; i++) {
            const bm_container *c = &dir.at[i];
            reason = c->type == BM_ARRAY ? check_array(c) : c->type == BM_BITS ? check_bits(c) : check_runs(c);
        }
    }
    free(dir.at);
    return reason;
}
