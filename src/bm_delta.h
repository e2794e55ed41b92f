/* A delta: what some commits changed, as sorted arrays in one buffer. The layers of an overlay are deltas, oldest
 * first; a log record holds one. Everything in it sets: a membership to 0 or 1, a count, a value; so applying it again
 * changes nothing.
 *
 * Little-endian, one behind another (n... are counts of the header):
 *    0  u32  version (1)         16  u32  nfields
 *    4  u32  nkeys               20  u32  nvalues
 *    8  u32  nadds               24  u64  0
 *   12  u32  nremoves
 *   32  u64  keys[nkeys]         field << 32 | code, ascending
 *       i64  values[nvalues]     0 where not present
 *       i64  least[nfields], most[nfields]   of the present values; 0 when there is none
 *       u32  counts[nkeys]       contacts that hold the value afterwards
 *       u32  add_ends[nkeys], remove_ends[nkeys]
 *       u32  adds[nadds], removes[nremoves]  ordinals, ascending within a key, never in both
 *       u32  fields[nfields]     ascending
 *       u32  field_ends[nfields]
 *       u32  ordinals[nvalues]   ascending within a field
 *       u8   present[nvalues] */
#ifndef BM_DELTA_H
#define BM_DELTA_H

#include "bm.h"

#define BM_DELTA_VERSION 1u
#define BM_DELTA_HEADER 32u

typedef struct {
    uint32_t nkeys, nadds, nremoves, nfields, nvalues;
    const bm_u64 *keys;
    const bm_i64 *values, *least, *most;
    const bm_u32 *counts, *add_ends, *remove_ends, *adds, *removes, *fields, *field_ends, *ordinals;
    const uint8_t *present;
} bm_delta;

/* Checks all of the buffer and points into it, which is borrowed; NULL, or what is wrong. */
const char *bm_delta_open(bm_delta *d, const uint8_t *buf, size_t len);
size_t bm_delta_bytes(uint32_t nkeys, uint32_t nadds, uint32_t nremoves, uint32_t nfields, uint32_t nvalues);

/* What `older` and then `newer` set. Sizes first (into *out, pointers unset), then the bytes. */
void bm_delta_merge_size(const bm_delta *older, const bm_delta *newer, bm_delta *out);
void bm_delta_merge(const bm_delta *older, const bm_delta *newer, const bm_delta *sizes, uint8_t *to);

/* The index of a key or field, or -1. */
int64_t bm_delta_key(const bm_delta *d, uint64_t key);
int64_t bm_delta_field(const bm_delta *d, uint32_t field);

/* For pairs (keys[i], ordinals[i]), best grouped by key: held[i] = 1 or 0 as the newest layer says that names the
 * pair, unchanged where none does. */
void bm_delta_held(const bm_delta *const *layers, uint32_t n, const uint64_t *keys, const uint32_t *ordinals, size_t pairs,
                   uint8_t *held);
/* counts[i] of keys[i] by the newest layer that has it, unchanged where none does. Returns how many were set. */
size_t bm_delta_counts(const bm_delta *const *layers, uint32_t n, const uint64_t *keys, size_t nkeys, int64_t *counts);

/* The overlay of one key: ordinals added and removed by all layers together, above what *nadded and *nremoved of the two
 * arrays say already. Both have room for these and `room` more, as have the two scratch arrays; which pair holds the
 * answer is said by the return value (0: the first, 1: the scratch). */
size_t bm_delta_room(const bm_delta *const *layers, uint32_t n, uint64_t key);
int bm_delta_fold(const bm_delta *const *layers, uint32_t n, uint64_t key, uint32_t *added, uint32_t *removed,
                  uint32_t *added2, uint32_t *removed2, size_t *nadded, size_t *nremoved);

/* (older without taken) and newer, all ascending; `to` has room for both. How many there are. */
uint32_t bm_delta_settle(const bm_u32 *older, uint32_t nolder, const bm_u32 *taken, uint32_t ntaken, const bm_u32 *newer,
                         uint32_t nnewer, uint32_t *to);
/* The ordinals of containers that are all arrays, into `to`; false, at once, where one is not. */
bool bm_dir_ordinals(const bm_dir *dir, uint32_t *to);

/* Ascending ordinals as a portable Roaring bitmap of arrays and bitsets (bm_build.c). */
size_t bm_build_size(const uint32_t *ordinals, size_t n);
void bm_build(const uint32_t *ordinals, size_t n, uint8_t *to);

#endif
