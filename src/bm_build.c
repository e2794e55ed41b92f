/* Ascending ordinals to a portable Roaring bitmap: a container is an array up to 4,096 elements, else a bitset. */
#include "bm_delta.h"

static size_t run_end(const uint32_t *o, size_t n, size_t from) {
    size_t to = from + 1;
    while (to < n && o[to] >> 16 == o[from] >> 16) to++;
    return to;
}

static size_t payload(size_t card) { return card > BM_ARRAY_MAX ? BM_BITS_BYTES : 2 * card; }

size_t bm_build_size(const uint32_t *o, size_t n) {
    size_t size = 8;
    for (size_t i = 0, end; i < n; i = end) {
        end = run_end(o, n, i);
        size += 8 + payload(end - i);
    }
    return size;
}

void bm_build(const uint32_t *o, size_t n, uint8_t *to) {
    uint32_t containers = 0;
    for (size_t i = 0; i < n; i = run_end(o, n, i)) containers++;
    ((bm_u32 *)to)[0] = 12346; /* the cookie of bitmaps without run containers */
    ((bm_u32 *)to)[1] = containers;
    bm_u16 *head = (bm_u16 *)(to + 8);
    bm_u32 *offset = (bm_u32 *)(to + 8 + 4 * (size_t)containers);
    uint8_t *p = to + 8 + 8 * (size_t)containers;
    for (size_t i = 0, end; i < n; i = end) {
        end = run_end(o, n, i);
        *head++ = (uint16_t)(o[i] >> 16);
        *head++ = (uint16_t)(end - i - 1);
        *offset++ = (uint32_t)(p - to);
        if (end - i > BM_ARRAY_MAX) {
            memset(p, 0, BM_BITS_BYTES);
            for (size_t j = i; j < end; j++) p[(o[j] & 0xffff) >> 3] |= (uint8_t)(1u << (o[j] & 7));
        } else {
            for (size_t j = i; j < end; j++) ((bm_u16 *)p)[j - i] = (uint16_t)o[j];
        }
        p += payload(end - i);
    }
}

bool bm_dir_ordinals(const bm_dir *dir, uint32_t *to) {
    for (uint32_t i = 0; i < dir->n; i++)
        if (dir->at[i].type != BM_ARRAY) return false;
    for (uint32_t i = 0; i < dir->n; i++) {
        const bm_u16 *low = (const bm_u16 *)dir->at[i].data;
        for (uint32_t j = 0; j < dir->at[i].card; j++) *to++ = (uint32_t)dir->at[i].key << 16 | low[j];
    }
    return true;
}
