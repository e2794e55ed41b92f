/* Different values a contact: pairs are gathered, and now and then sorted and made unique.
 *
 * Contacts are put in order by counting, for they are 16,384 at most, and then the values of each sorted alone: most
 * contacts have few, and days come in order. */
#include <stdlib.h>

#include "ev_block.h"

#define FEW 32 /* values that are sorted by insertion */

static void sift(int64_t *v, size_t at, size_t n) {
    int64_t value = v[at];
    for (size_t kid; (kid = 2 * at + 1) < n; at = kid) {
        kid += kid + 1 < n && v[kid + 1] > v[kid];
        if (v[kid] <= value) break;
        v[at] = v[kid];
    }
    v[at] = value;
}

static void sort(int64_t *v, size_t n) {
    size_t sorted = 1;
    while (sorted < n && v[sorted - 1] <= v[sorted]) sorted++;
    if (sorted >= n) return;
    if (n <= FEW) {
        for (size_t i = sorted; i < n; i++) {
            int64_t value = v[i];
            size_t at = i;
            for (; at && v[at - 1] > value; at--) v[at] = v[at - 1];
            v[at] = value;
        }
        return;
    }
    for (size_t i = n / 2; i-- > 0;) sift(v, i, n); /* a heap, the greatest on top */
    for (size_t last = n - 1; last > 0; last--) {
        int64_t greatest = v[0];
        v[0] = v[last];
        v[last] = greatest;
        sift(v, 0, last);
    }
}

/* Whether they are in order as they are, each once: so days of one block. */
static bool settled(const ev_pairs *p) {
    for (size_t i = 1; i < p->n; i++) {
        uint16_t a = p->contacts[i - 1], b = p->contacts[i];
        if (a > b || (a == b && p->values[i - 1] >= p->values[i])) return false;
    }
    return true;
}

void ev_pairs_settle(ev_pairs *p) {
    if (settled(p)) return;
    uint32_t *starts = p->starts;
    size_t left = 0;
    memset(starts, 0, sizeof p->starts);
    for (size_t i = 0; i < p->n; i++) starts[p->contacts[i] + 1]++;
    for (uint32_t c = 0; c < BM_CHUNK_ROWS; c++) starts[c + 1] += starts[c];
    for (size_t i = 0; i < p->n; i++) p->spare_values[starts[p->contacts[i]]++] = p->values[i];
    /* Each start has become the end, which is where the next one begins. */
    for (uint32_t c = 0, first = 0; c < BM_CHUNK_ROWS; first = starts[c++]) {
        const int64_t *found = p->spare_values + first;
        size_t n = starts[c] - first;
        sort(p->spare_values + first, n);
        for (size_t i = 0; i < n; i++) {
            if (i && found[i] == found[i - 1]) continue;
            p->contacts[left] = (uint16_t)c;
            p->values[left++] = found[i];
        }
    }
    p->n = left;
}

bool ev_pairs_room(ev_pairs *p, size_t more) {
    if (p->cap - p->n >= more) return true;
    ev_pairs_settle(p);
    if (p->cap / 2 >= p->n && p->cap - p->n >= more) return true;
    size_t cap = 2 * p->cap + more;
    if (cap > UINT32_MAX) return false;
    uint16_t *contacts = realloc(p->contacts, cap * sizeof *contacts);
    if (contacts) p->contacts = contacts;
    int64_t *values = realloc(p->values, cap * sizeof *values);
    if (values) p->values = values;
    int64_t *spare = malloc(cap * sizeof *spare); /* which holds nothing between calls */
    if (!contacts || !values || !spare) {
        free(spare);
        return false;
    }
    free(p->spare_values);
    p->spare_values = spare;
    p->cap = cap;
    return true;
}

void ev_pairs_free(ev_pairs *p) {
    free(p->contacts);
    free(p->values);
    free(p->spare_values);
    memset(p, 0, sizeof *p);
}
