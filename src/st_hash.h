/* Hashing strings with SipHash, and removing duplicates from a batch.
 *
 * Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", INDOCRYPT 2012. The table uses
 * SipHash-1-3 with a secret key, so that nobody who chooses the strings can make them collide. */
#ifndef SEGIDX_ST_HASH_H
#define SEGIDX_ST_HASH_H

#include "st_common.h"

/* A batch of n strings in Arrow's layout: string i is data[offsets[i] .. offsets[i + 1]). `valid` has a byte
 * for each string, 0 for null, or is NULL when there are no nulls. All memory is borrowed from the caller. */
typedef struct {
    const uint8_t *data;
    const int64_t *offsets;
    const uint8_t *valid;
    size_t n;
} st_batch;

static inline const uint8_t *st_batch_at(const st_batch *b, size_t i, size_t *len) {
    *len = (size_t)(b->offsets[i + 1] - b->offsets[i]);
    return b->data + b->offsets[i];
}

static inline int st_batch_valid(const st_batch *b, size_t i) { return !b->valid || b->valid[i]; }

/* SipHash-c-d of n bytes, 64-bit result; `key` is 16 bytes. */
uint64_t st_siphash(const uint8_t *key, const uint8_t *p, size_t n, int c, int d);
uint64_t st_siphash13(const uint8_t *key, const uint8_t *p, size_t n);

/* SipHash-1-3 AND mask of every string; nulls give 0. */
void st_hash_batch(const st_batch *b, const uint8_t *key, uint64_t mask, uint64_t *out);

/* Give codes to the strings that have none. codes[i] >= 0 is left alone; the others get next, next + 1, ...
 * in order of first appearance, equal strings the same one, nulls stay -1. `fresh` (room for n) receives the
 * index of each first appearance. Returns how many there are, or -1 without memory. */
int64_t st_assign_codes(const st_batch *b, const uint64_t *hashes, int64_t *codes, int64_t next, uint32_t *fresh);

#endif
