/* A growing set of 128-bit hashes; see st_seen.h. */
#include "st_seen.h"

#include <stdlib.h>

#define FIRST_ROOM 16u
#define AHEAD 12u /* a slot is a cache miss each: several are fetched at once */

/* Where a pair is looked for first: the bits below those that chose the part, spread over the room. */
static inline size_t home(uint64_t high, size_t room) { return (size_t)(((unsigned __int128)(high << 8) * room) >> 64); }

static inline uint64_t *find(const st_seen_part *part, uint64_t high, uint64_t low) {
    size_t i = home(high, part->room);
    for (;;) {
        uint64_t *slot = part->slots + 2 * i;
        if ((slot[0] == high && slot[1] == low) || !(slot[0] | slot[1])) return slot;
        if (++i == part->room) i = 0;
    }
}

/* Room for one more, at most 4 of 5 slots taken. */
static int grow(st_seen_part *part) {
    if (part->room && (part->n + 1) * 5 <= part->room * 4) return ST_OK;
    st_seen_part wider = {NULL, part->room < FIRST_ROOM ? FIRST_ROOM : part->room + part->room / 2, part->n};
    wider.slots = calloc(wider.room, 16);
    if (!wider.slots) return ST_NO_MEMORY;
    for (size_t i = 0; i < part->room; i++) {
        uint64_t *slot = part->slots + 2 * i;
        if (slot[0] | slot[1]) memcpy(find(&wider, slot[0], slot[1]), slot, 16);
    }
    free(part->slots);
    *part = wider;
    return ST_OK;
}

int st_seen_add(st_seen *set, const uint64_t *high, const uint64_t *low, size_t n, uint8_t *met) {
    for (size_t i = 0; i < n; i++) {
        if (i + AHEAD < n) {
            const st_seen_part *next = &set->parts[high[i + AHEAD] >> 56];
            if (next->room) __builtin_prefetch(next->slots + 2 * home(high[i + AHEAD], next->room), 1);
        }
        st_seen_part *part = &set->parts[high[i] >> 56];
        int status = grow(part);
        if (status) return status;
        uint64_t second = high[i] | low[i] ? low[i] : 1; /* (0, 0) says that a slot is free */
        uint64_t *slot = find(part, high[i], second);
        met[i] = slot[0] | slot[1] ? 1 : 0;
        if (!met[i]) {
            slot[0] = high[i];
            slot[1] = second;
            part->n++;
        }
    }
    return ST_OK;
}

void st_seen_free(st_seen *set) {
    for (size_t p = 0; p < ST_SEEN_PARTS; p++) {
        free(set->parts[p].slots);
        set->parts[p] = (st_seen_part){NULL, 0, 0};
    }
}
