/* Forward blocks: the strings of 16 consecutive codes.
 *
 *   0  u8   version (1)            8  u32  blanked: bit i set when string i was erased (it is then empty)
 *   1  u8   2, bytes of an end    12  count * u16: where each string ends, from the first string's start
 *   2  u16  count (1 to 16)        ..  the strings' bytes, to the end of the value
 *   4  u32  checksum, CRC-32 of all bytes but these four
 *
 * At most 12 + 32 + 32,768 bytes.
 * 16, because LMDB leaves one node's room free in each page it fills in order: of 64 ids of 16 bytes a block only
 * two blocks stay in a page that has room for three, of 16 eleven out of twelve (docs/adr/002-string-table.md). */
#ifndef SEGIDX_ST_BLOCK_H
#define SEGIDX_ST_BLOCK_H

#include "st_hash.h"

#define ST_BLOCK_BITS 4u
#define ST_BLOCK 16u
#define ST_BLOCK_HEADER 12u
#define ST_BLOCK_VERSION 1u
#define ST_BLOCK_WIDTH 2u

_Static_assert(ST_BLOCK == 1u << ST_BLOCK_BITS, "block size");
_Static_assert(ST_BLOCK * ST_MAX_STRING <= 0xFFFF, "where a string ends must fit 16 bits");

/* An opened block; borrows the value it was opened on. */
typedef struct {
    const uint8_t *ends;
    const uint8_t *bytes;
    uint32_t blanked;
    uint32_t size; /* of `bytes` */
    uint32_t count;
} st_block;

/* A stored value; p is NULL when there is none. */
typedef struct {
    const uint8_t *p;
    size_t n;
} st_value;

/* Check header and extents (not the checksum, nor the offsets before the last: st_block_at checks those it
 * uses). `expected` is the count the table says this block has. */
int st_block_open(st_block *block, st_value value, uint32_t expected);

static inline uint32_t st_block_end(const st_block *block, uint32_t i) {
    return st_load16(block->ends + ST_BLOCK_WIDTH * i);
}

/* String i < count of the block, borrowed. */
static inline int st_block_at(const st_block *block, uint32_t i, const uint8_t **p, uint32_t *len) {
    uint32_t from = i ? st_block_end(block, i - 1) : 0, to = st_block_end(block, i);
    if (from > to || to > block->size) return ST_OFFSETS;
    if (to - from > ST_MAX_STRING) return ST_TOO_LONG;
    *p = block->bytes + from;
    *len = to - from;
    return ST_OK;
}

/* Everything: extents, checksum, every offset, UTF-8, blanked strings empty. */
int st_block_check(st_value value, uint32_t expected);

/* How many strings block `id` of a table of `count` strings has. */
static inline uint32_t st_block_expected(uint32_t id, uint64_t count) {
    uint64_t first = (uint64_t)id << ST_BLOCK_BITS;
    if (first >= count) return 0;
    return count - first < ST_BLOCK ? (uint32_t)(count - first) : ST_BLOCK;
}

/* Pack the blocks that hold `old` (the last, partial block; count 0 if there is none) followed by the strings
 * fresh[0 .. m) of the batch. ends[k] is where block k ends in `out`; a NULL `out` only measures.
 * Returns the total size. `old` must have passed st_block_check. */
size_t st_block_pack(const st_block *old, const st_batch *batch, const uint32_t *fresh, size_t m, uint8_t *out,
                     int64_t *ends);

/* Write to `out` (room for value.n) the block with the strings of `slots` (a bit each) blanked; returns its
 * size. `block` must have been opened on a value that passed st_block_check. */
size_t st_block_blank(const st_block *block, uint32_t slots, uint8_t *out);

/* The bulk operations below work on groups of keys (code << 32 | index) made by st_sort with shift
 * 32 + ST_BLOCK_BITS: group g has the block ids[g], stored in values[g], and keys starts[g] .. starts[g + 1].
 * They return a status, and on trouble leave the group's number in *bad. */
typedef struct {
    const st_value *values;
    const uint32_t *ids;
    const int64_t *starts;
    const uint64_t *keys;
    size_t groups;
} st_grouped;

/* Where a key's code holds the very string batch[index], set codes[index] to it (the lowest such code). */
int st_block_match(const st_grouped *in, uint64_t count, const st_batch *batch, int64_t *codes, size_t *bad);

/* spans[index] = length of the string of each key's code; then, with `out`, copy it to out + at[index]. */
int st_block_lengths(const st_grouped *in, uint64_t count, int64_t *lengths, size_t *bad);
int st_block_copy(const st_grouped *in, uint64_t count, const int32_t *at, uint8_t *out, size_t *bad);

/* entries[index] = fingerprint << 32 | code of each key's code, or ~0 where that code is blanked already.
 * Checks the blocks wholly. */
int st_block_entries(const st_grouped *in, uint64_t count, const uint8_t *hash_key, uint64_t hash_mask,
                     uint64_t *entries, size_t *bad);

/* Codes [first, last): the blocks are values[0 ..] from first >> 6 on. Measures when out is NULL (offsets is
 * then filled: last - first + 1 of them), copies otherwise. *total is the size in bytes. */
int st_block_slice(const st_value *values, uint64_t first, uint64_t last, uint64_t count, int32_t *offsets,
                   uint8_t *out, int64_t *total, size_t *bad);

#endif
