/* Hash buckets, addressed by linear hashing.
 *
 *   0  u8   version (1)           8  u32  count
 *   1  u8   zero                 12  u32  its place, see below
 *   2  u16  zero                 16  count * u64, ascending: fingerprint << 32 | code
 *   4  u32  checksum, CRC-32 of all bytes but these four
 *
 * Source of the addressing: Litwin, "Linear hashing: a new tool for file and table addressing", VLDB 1980.
 * The bucket created as number n >= 1 splits off the one whose number is n without its top bit; so a file grows by
 * one bucket at a time and no directory is kept.
 *
 * The fingerprint is the low 32 bits of the hash, and the address is taken from the fingerprint itself: a split
 * then needs nothing but the bucket, and a misplaced entry shows without its string. The price is that only
 * 32 - log2(n) bits discriminate inside a bucket: a probe meets a stranger's entry with probability
 * entries / 2^32, 0.25 % at 10 million strings. A match is always confirmed against the string.
 *
 * Litwin's address is the hash's low bits. Ours is its high bits, which makes the two halves of a split neighbours
 * in key order: an LMDB page that held a bucket holds both halves after, instead of being left half empty. A bucket
 * is known by its *place*, the lowest fingerprint at home in it, which is its number with the bits reversed. */
#ifndef SEGIDX_ST_BUCKET_H
#define SEGIDX_ST_BUCKET_H

#include "st_block.h"

#define ST_BUCKET_HEADER 16u
#define ST_BUCKET_VERSION 1u

/* An opened bucket; borrows the value it was opened on. */
typedef struct {
    const uint8_t *entries;
    uint32_t count;
} st_bucket;

/* Bits needed to write any number below n (n >= 1). */
static inline unsigned st_bits_below(uint32_t n) { return n <= 1 ? 0 : 32u - (unsigned)__builtin_clz(n - 1); }

static inline uint32_t st_reverse(uint32_t v) {
    v = (v >> 1 & 0x55555555u) | (v & 0x55555555u) << 1;
    v = (v >> 2 & 0x33333333u) | (v & 0x33333333u) << 2;
    v = (v >> 4 & 0x0F0F0F0Fu) | (v & 0x0F0F0F0Fu) << 4;
    return __builtin_bswap32(v);
}

/* The place of a fingerprint's bucket in a table of n >= 1 buckets. */
static inline uint32_t st_place(uint32_t fingerprint, uint32_t n) {
    unsigned free_bits = 32u - st_bits_below(n);
    uint32_t place = (uint32_t)((uint64_t)fingerprint >> free_bits << free_bits);
    if (st_reverse(place) < n) return place;
    return place & ~(1u << free_bits); /* that bucket is not split off yet; free_bits < 32, as n > 1 */
}

/* Check header and extents, not the checksum or the entries. */
int st_bucket_open(st_bucket *bucket, st_value value, uint32_t place);

/* Everything: extents, checksum, strictly ascending entries, each at home in a table of n buckets, codes below
 * count. */
int st_bucket_check(st_value value, uint32_t place, uint32_t n, uint64_t count);

static inline uint64_t st_bucket_entry(const st_bucket *bucket, uint32_t i) {
    return st_load64(bucket->entries + 8 * (size_t)i);
}

/* The first entry not below `want`. Safe on any bytes; meaningful if they are sorted. */
static inline uint32_t st_bucket_lower_bound(const st_bucket *bucket, uint64_t want) {
    uint32_t from = 0, len = bucket->count;
    while (len) {
        uint32_t half = len / 2;
        int right = st_bucket_entry(bucket, from + half) < want;
        from = right ? from + half + 1 : from;
        len = right ? len - half - 1 : half;
    }
    return from;
}

/* Look up the hashes of each key's index in its bucket; keys are (place << 32 | index), grouped by place.
 * *out (malloc, the caller frees) receives (code << 32 | index) of every entry with the same fingerprint. */
int st_bucket_probe(const st_grouped *in, uint64_t count, const uint64_t *hashes, uint64_t **out, size_t *out_n,
                    size_t *bad);

/* Append the entries of buckets ids[0 .. groups) to `out`, all wholly checked; *n of them. A NULL `out` only
 * counts. */
int st_bucket_gather(const st_value *values, const uint32_t *ids, size_t groups, uint32_t buckets, uint64_t count,
                     uint64_t *out, size_t *n, size_t *bad);

/* Write buckets ids[0 .. k) (ascending) of a table of `buckets`, holding entries[0 .. n), to `out`, which has
 * room for k * 16 + n * 8 bytes; ends[i] is where bucket i ends. ST_ADDRESS if an entry is at home in none. */
int st_bucket_build(const uint64_t *entries, size_t n, const uint32_t *ids, size_t k, uint32_t buckets, uint8_t *out,
                    int64_t *ends);

/* Copy the bucket to `out` (room for value.n) without gone[0 .. n), which are ascending; *size is the result's.
 * ST_ENTRY if one of them is not there. The value must have passed st_bucket_check. */
int st_bucket_remove(st_value value, uint32_t place, const uint64_t *gone, size_t n, uint8_t *out, size_t *size);

#endif
