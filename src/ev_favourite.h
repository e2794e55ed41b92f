/* Favourite values a contact (ev_favourite.c): of the codes that stand beside a contact, those that weigh the most. */
#ifndef EV_FAVOURITE_H
#define EV_FAVOURITE_H

#include "ev_block.h"

/* The n rows stand grouped by contact; each has a code and a weight (weights: NULL for 1 each; INT64_MIN is one that is
 * missing, and weighs nothing). Puts into `owners` and `favourites`, which have room for n, every contact with the codes
 * whose weights add up to the most, if that is above 0: one code, or several that are equal. *found says how many. Returns
 * BM_OK, BM_CANCELLED, BM_DEADLINE, BM_NO_MEMORY, or EV_OVERFLOW where a sum leaves 64 bits on its way. */
int ev_favourites(const uint32_t *contacts, const int64_t *codes, const int64_t *weights, size_t n, const bm_stop *stop,
                  uint32_t *owners, int64_t *favourites, size_t *found);

#endif
