/* SipHash and batch de-duplication; see st_hash.h. */
#include "st_hash.h"

#include <stdlib.h>

static inline uint64_t rotl(uint64_t x, int b) { return (x << b) | (x >> (64 - b)); }

#define SIPROUND          \
    do {                  \
        v0 += v1;         \
        v1 = rotl(v1, 13) ^ v0; \
        v0 = rotl(v0, 32); \
        v2 += v3;         \
        v3 = rotl(v3, 16) ^ v2; \
        v0 += v3;         \
        v3 = rotl(v3, 21) ^ v0; \
        v2 += v1;         \
        v1 = rotl(v1, 17) ^ v2; \
        v2 = rotl(v2, 32); \
    } while (0)

/* Inlined into both entry points, so that SipHash-1-3 is compiled with its round counts known. */
static inline uint64_t siphash(uint64_t k0, uint64_t k1, const uint8_t *p, size_t n, int c, int d) {
    uint64_t v0 = k0 ^ 0x736f6d6570736575ull;
    uint64_t v1 = k1 ^ 0x646f72616e646f6dull;
    uint64_t v2 = k0 ^ 0x6c7967656e657261ull;
    uint64_t v3 = k1 ^ 0x7465646279746573ull;
    const uint8_t *end = p + (n & ~(size_t)7);
    for (; p != end; p += 8) {
        uint64_t m = st_load64(p);
        v3 ^= m;
        for (int i = 0; i < c; i++) SIPROUND;
        v0 ^= m;
    }
    uint64_t last = (uint64_t)n << 56;
    switch (n & 7) {
    case 7: last |= (uint64_t)p[6] << 48; /* fall through */
    case 6: last |= (uint64_t)p[5] << 40; /* fall through */
    case 5: last |= (uint64_t)p[4] << 32; /* fall through */
    case 4: last |= (uint64_t)p[3] << 24; /* fall through */
    case 3: last |= (uint64_t)p[2] << 16; /* fall through */
    case 2: last |= (uint64_t)p[1] << 8;  /* fall through */
    case 1: last |= p[0];                 /* fall through */
    default: break;
    }
    v3 ^= last;
    for (int i = 0; i < c; i++) SIPROUND;
    v0 ^= last;
    v2 ^= 0xFF;
    for (int i = 0; i < d; i++) SIPROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}

uint64_t st_siphash(const uint8_t *key, const uint8_t *p, size_t n, int c, int d) {
    return siphash(st_load64(key), st_load64(key + 8), p, n, c, d);
}

uint64_t st_siphash13(const uint8_t *key, const uint8_t *p, size_t n) {
    return siphash(st_load64(key), st_load64(key + 8), p, n, 1, 3);
}

void st_hash_batch(const st_batch *b, const uint8_t *key, uint64_t mask, uint64_t *out) {
    uint64_t k0 = st_load64(key), k1 = st_load64(key + 8);
    for (size_t i = 0; i < b->n; i++) {
        size_t len;
        const uint8_t *p = st_batch_at(b, i, &len);
        out[i] = st_batch_valid(b, i) ? siphash(k0, k1, p, len, 1, 3) & mask : 0;
    }
}

int64_t st_assign_codes(const st_batch *b, const uint64_t *hashes, int64_t *codes, int64_t next, uint32_t *fresh) {
    size_t missing = 0;
    for (size_t i = 0; i < b->n; i++) missing += codes[i] < 0 && st_batch_valid(b, i);
    if (!missing) return 0;
    size_t slots = 16;
    while (slots < missing * 2) slots *= 2;
    uint32_t *table = calloc(slots, sizeof *table); /* index + 1 of a first appearance; 0 is free */
    if (!table) return -1;
    int64_t found = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (codes[i] >= 0 || !st_batch_valid(b, i)) continue;
        size_t len;
        const uint8_t *p = st_batch_at(b, i, &len);
        size_t slot = (size_t)(hashes[i] ^ (hashes[i] >> 32)) & (slots - 1);
        for (;; slot = (slot + 1) & (slots - 1)) {
            if (!table[slot]) {
                table[slot] = (uint32_t)i + 1;
                fresh[found] = (uint32_t)i;
                codes[i] = next + found++;
                break;
            }
            size_t j = table[slot] - 1, other_len;
            if (hashes[j] != hashes[i]) continue;
            const uint8_t *other = st_batch_at(b, j, &other_len);
            if (other_len == len && !memcmp(other, p, len)) {
                codes[i] = codes[j];
                break;
            }
        }
    }
    free(table);
    return found;
}
