/* What was found, container by container, and its portable Roaring form. */
#include <stdlib.h>

#include "bm.h"

uint8_t *bm_output_add(bm_output *out, uint32_t key, uint32_t card, uint32_t size) {
    if (out->n == out->heads_cap) {
        uint32_t cap = out->heads_cap ? 2 * out->heads_cap : 64;
        uint32_t *heads = realloc(out->heads, cap * sizeof *heads);
        if (heads) out->heads = heads;
        uint32_t *sizes = heads ? realloc(out->sizes, cap * sizeof *sizes) : NULL;
        if (!sizes) return NULL;
        out->sizes = sizes;
        out->heads_cap = cap;
    }
    if (out->cap - out->used < size) {
        size_t cap = 2 * out->cap + 4 * BM_BITS_BYTES;
        uint8_t *payload = realloc(out->payload, cap);
        if (!payload) return NULL;
        out->payload = payload;
        out->cap = cap;
    }
    out->heads[out->n] = key | (card - 1) << 16;
    out->sizes[out->n++] = size;
    out->used += size;
    return out->payload + out->used - size;
}

size_t bm_output_size(const bm_output *out) { return 8 + 8 * (size_t)out->n + out->used; }

void bm_output_write(const bm_output *out, uint8_t *to) {
    uint32_t offset = 8 + 8 * out->n;
    *(bm_u32 *)to = 12346;
    *(bm_u32 *)(to + 4) = out->n;
    for (uint32_t i = 0; i < out->n; i++) {
        *(bm_u32 *)(to + 8 + 4 * (size_t)i) = out->heads[i];
        *(bm_u32 *)(to + 8 + 4 * ((size_t)out->n + i)) = offset;
        offset += out->sizes[i];
    }
    if (out->used) memcpy(to + 8 + 8 * (size_t)out->n, out->payload, out->used);
}

void bm_output_free(bm_output *out) {
    free(out->heads);
    free(out->sizes);
    free(out->payload);
    memset(out, 0, sizeof *out);
}
