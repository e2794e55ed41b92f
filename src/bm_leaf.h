/* Leaves in one container (bm_leaf.c), for bm_eval.c and bm_filter.c. */
#ifndef BM_LEAF_H
#define BM_LEAF_H

#include "bm_prog.h"

bm_val bm_posting_eval(bm_ctx *x, const bm_node *n, uint8_t *dst);
bm_val bm_scan_eval(bm_ctx *x, const bm_node *n, uint8_t *dst);
void bm_leaf_test(bm_ctx *x, const bm_node *n, const bm_u16 *cand, uint32_t m, uint64_t *mask);
/* Clear the rows of an overlaid posting from `bits`; false, having done nothing, unless its base and overlay are short. */
bool bm_leaf_clear(bm_ctx *x, const bm_node *n, uint8_t *bits);
/* |a AND b| of two postings, the complement of each where it is negated; false, having done nothing, where one is none or
 * has so large an overlay that laying it out is quicker. */
bool bm_leaf_pair_count(bm_ctx *x, bm_edge a, bm_edge b, uint32_t *count);
#define BM_LEAF_NEED (2 * bm_room(BM_BUF) + bm_room(BM_MASK_WORDS * 8)) /* scratch of any of them */

#endif
