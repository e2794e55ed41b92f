/* Sorting 64-bit keys by a range of their bits, and cutting them into groups.
 *
 * The table's bulk operations all have the same shape: bring queries into the order of the buckets (or blocks)
 * they touch, so that LMDB is walked once and in key order. A key is (place << 32 | index of the query). */
#ifndef SEGIDX_ST_SORT_H
#define SEGIDX_ST_SORT_H

#include "st_common.h"

/* Stable ascending sort by bits [shift, shift + bits) of each key. `spare` has room for n keys; the result is
 * in `keys`. Least-significant-digit radix sort, 11 bits a pass; insertion sort for short inputs. */
void st_sort(uint64_t *keys, uint64_t *spare, size_t n, unsigned shift, unsigned bits);

/* Cut sorted keys where key >> shift changes. ids[g] is the value of group g, starts[g] .. starts[g + 1] its
 * keys. Room: ids n, starts n + 1. Returns the number of groups. */
size_t st_groups(const uint64_t *keys, size_t n, unsigned shift, uint32_t *ids, int64_t *starts);

/* Ascending sort of whole keys; quick where the input is nearly sorted, as a bucket with few new entries is. */
void st_sort_entries(uint64_t *entries, size_t n);

#endif
