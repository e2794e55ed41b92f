/* Radix sort and grouping; see st_sort.h. */
#include "st_sort.h"

#include <stdlib.h>

#define DIGIT 11
#define RADIX (1u << DIGIT)
#define SHORT_SORT 64     /* below this, clearing the radix counters costs more than insertion */
#define SHORT_ENTRIES 512 /* a bucket of usual size */

static inline uint64_t field_of(uint64_t key, unsigned shift, uint64_t mask) { return (key >> shift) & mask; }

void st_sort(uint64_t *keys, uint64_t *spare, size_t n, unsigned shift, unsigned bits) {
    if (n < 2 || !bits) return;
    uint64_t mask = bits >= 64 ? ~0ull : (1ull << bits) - 1;
    if (n <= SHORT_SORT) {
        for (size_t i = 1; i < n; i++) {
            uint64_t key = keys[i], f = field_of(key, shift, mask);
            size_t j = i;
            for (; j && field_of(keys[j - 1], shift, mask) > f; j--) keys[j] = keys[j - 1];
            keys[j] = key;
        }
        return;
    }
    uint64_t *from = keys, *to = spare;
    size_t counts[RADIX];
    for (unsigned done = 0; done < bits; done += DIGIT) {
        unsigned width = bits - done < DIGIT ? bits - done : DIGIT;
        uint64_t digit_mask = (1ull << width) - 1;
        memset(counts, 0, sizeof counts);
        for (size_t i = 0; i < n; i++) counts[field_of(from[i], shift + done, digit_mask)]++;
        size_t at = 0;
        for (size_t d = 0; d <= digit_mask; d++) {
            size_t c = counts[d];
            counts[d] = at;
            at += c;
        }
        for (size_t i = 0; i < n; i++) to[counts[field_of(from[i], shift + done, digit_mask)]++] = from[i];
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != keys) memcpy(keys, from, n * sizeof *keys);
}

size_t st_groups(const uint64_t *keys, size_t n, unsigned shift, uint32_t *ids, int64_t *starts) {
    size_t g = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t id = (uint32_t)(keys[i] >> shift);
        if (!g || ids[g - 1] != id) {
            ids[g] = id;
            starts[g++] = (int64_t)i;
        }
    }
    starts[g] = (int64_t)n;
    return g;
}

static int compare_entries(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void st_sort_entries(uint64_t *entries, size_t n) {
    if (n > SHORT_ENTRIES) {
        qsort(entries, n, sizeof *entries, compare_entries);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        uint64_t e = entries[i];
        size_t j = i;
        for (; j && entries[j - 1] > e; j--) entries[j] = entries[j - 1];
        entries[j] = e;
    }
}
