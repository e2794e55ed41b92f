/* A set of 128-bit hashes that only grows: which of many strings were met before, in some 20 bytes each.
 *
 * 256 tables with linear probing, by the highest 8 bits of the first half: each grows alone, so that growing never takes
 * much more memory than the set itself. */
#ifndef SEGIDX_ST_SEEN_H
#define SEGIDX_ST_SEEN_H

#include "st_common.h"

#define ST_SEEN_PARTS 256u

typedef struct {
    uint64_t *slots; /* room pairs; a free one is (0, 0) */
    size_t room, n;
} st_seen_part;

typedef struct {
    st_seen_part parts[ST_SEEN_PARTS];
} st_seen;

/* met[i] = whether the pair high[i], low[i] is in the set; then it is. Pairs may repeat: the first of them is not met.
 * ST_OK or ST_NO_MEMORY, and then some pairs are in the set. */
int st_seen_add(st_seen *set, const uint64_t *high, const uint64_t *low, size_t n, uint8_t *met);
void st_seen_free(st_seen *set);

#endif
