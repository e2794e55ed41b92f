/* Opening portable Roaring buffers in place: bounds checks of the header and the extents, nothing copied.
 *
 * The layout (https://github.com/RoaringBitmap/RoaringFormatSpec): with runs, u32 12347 | (n - 1) << 16 and a bitset
 * of run flags; without, u32 12346 and u32 n; then n x (u16 key, u16 cardinality - 1); then n x u32 offsets, left
 * out only with runs and n < 4; then the containers. */
#include "bm_kernels.h"

#define COOKIE_PLAIN 12346u
#define COOKIE_RUNS 12347u
#define NO_OFFSETS_BELOW 4u

uint32_t bm_dir_count(const uint8_t *buf, size_t len, const char **reason) {
    *reason = NULL;
    if (len < 4) {
        *reason = "shorter than a header";
        return 0;
    }
    uint32_t cookie = *(const bm_u32 *)buf;
    if ((cookie & 0xffff) == COOKIE_RUNS) return (cookie >> 16) + 1;
    if (cookie != COOKIE_PLAIN) {
        *reason = "not a portable Roaring bitmap (wrong cookie)";
        return 0;
    }
    if (len < 8) {
        *reason = "shorter than a header";
        return 0;
    }
    uint32_t n = *(const bm_u32 *)(buf + 4);
    if (n > 65536) {
        *reason = "more than 65536 containers";
        return 0;
    }
    return n;
}

bool bm_dir_append(bm_dir *dir, const uint8_t *buf, size_t len, const char **reason) {
    uint32_t n = bm_dir_count(buf, len, reason);
    if (*reason) return false;
    bool with_runs = (*(const bm_u32 *)buf & 0xffff) == COOKIE_RUNS;
    const uint8_t *flags = with_runs ? buf + 4 : NULL;
    size_t heads = with_runs ? 4 + (size_t)(n + 7) / 8 : 8;
    size_t at = heads + 4 * (size_t)n;
    bool offsets = !with_runs || n >= NO_OFFSETS_BELOW;
    size_t offsets_at = at;
    if (offsets) at += 4 * (size_t)n;
    if (at > len) {
        *reason = "the header is cut short";
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        bm_container *c = &dir->at[dir->n];
        c->key = *(const bm_u16 *)(buf + heads + 4 * (size_t)i);
        c->card = *(const bm_u16 *)(buf + heads + 4 * (size_t)i + 2) + 1u;
        c->runs = 0;
        if (dir->n && dir->at[dir->n - 1].key >= c->key) {
            *reason = "container keys do not ascend";
            return false;
        }
        if (offsets) at = *(const bm_u32 *)(buf + offsets_at + 4 * (size_t)i);
        if (at < heads + 4 * (size_t)n || at > len) {
            *reason = "a container offset is outside the buffer";
            return false;
        }
        size_t size;
        if (flags && (flags[i / 8] >> (i % 8)) & 1) {
            if (len - at < 2) {
                *reason = "a run container is cut short";
                return false;
            }
            c->type = BM_RUNS;
            c->runs = *(const bm_u16 *)(buf + at);
            c->data = buf + at + 2;
            size = 2 + 4 * (size_t)c->runs;
        } else if (c->card <= BM_ARRAY_MAX) {
            c->type = BM_ARRAY;
            c->data = buf + at;
            size = 2 * (size_t)c->card;
        } else {
            c->type = BM_BITS;
            c->data = buf + at;
            size = BM_BITS_BYTES;
        }
        if (len - at < size) {
            *reason = "a container is cut short";
            return false;
        }
        at += size;
        dir->n++;
    }
    return true;
}

uint64_t bm_dir_card(const bm_dir *dir) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < dir->n; i++) n += dir->at[i].card;
    return n;
}

uint32_t bm_dir_seek(const bm_dir *dir, uint32_t key) {
    uint32_t lo = 0, hi = dir->n;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (dir->at[mid].key < key) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

const bm_container *bm_dir_find(const bm_dir *dir, uint32_t key) {
    uint32_t i = bm_dir_seek(dir, key);
    return i < dir->n && dir->at[i].key == key ? &dir->at[i] : NULL;
}

bool bm_container_has(const bm_container *c, uint16_t low) {
    switch (c->type) {
    case BM_ARRAY: return bm_array_has((const bm_u16 *)c->data, c->card, low);
    case BM_BITS: return (c->data[low >> 3] >> (low & 7)) & 1;
    default: return bm_runs_has((const bm_u16 *)c->data, c->runs, low);
    }
}

bool bm_posting_has(const bm_posting *p, uint32_t ordinal) {
    uint32_t key = ordinal >> 16;
    uint16_t low = (uint16_t)ordinal;
    const bm_container *c = bm_dir_find(&p->added, key);
    if (c && bm_container_has(c, low)) return true;
    c = bm_dir_find(&p->base, key);
    if (!c || !bm_container_has(c, low)) return false;
    c = bm_dir_find(&p->removed, key);
    return !c || !bm_container_has(c, low);
}
