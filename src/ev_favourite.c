/* Favourite values a contact: the weights of one contact's codes are added up in a hash table that grows with its
 * different codes and is emptied by them, so that the whole is linear in the rows. */
#include <stdlib.h>

#include "ev_favourite.h"

#define LEAST 64u      /* places of the smallest table */
#define LOOK 65536u    /* rows between two looks at the stop */

typedef struct {
    int64_t code, sum;
    uint32_t place;
} entry;

/* `places` hold the number of an entry plus 1, or 0; they are twice as many as the entries there is room for. */
typedef struct {
    entry *entries;
    uint32_t *places;
    uint32_t n, mask;
} sums;

static uint32_t place_of(const sums *s, int64_t code) {
    uint32_t at = (uint32_t)(((uint64_t)code * 0x9E3779B97F4A7C15u) >> 32) & s->mask;
    while (s->places[at] && s->entries[s->places[at] - 1].code != code) at = (at + 1) & s->mask;
    return at;
}

/* Room for as many entries as half of the places; they are found anew. */
static bool resize(sums *s, uint32_t places) {
    entry *entries = realloc(s->entries, (size_t)places / 2 * sizeof *entries);
    if (!entries) return false;
    s->entries = entries;
    uint32_t *fresh = calloc(places, sizeof *fresh);
    if (!fresh) return false;
    free(s->places);
    s->places = fresh;
    s->mask = places - 1;
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t at = place_of(s, entries[i].code);
        entries[i].place = at;
        fresh[at] = i + 1;
    }
    return true;
}

/* Adds to the sum of a code. */
static int add(sums *s, int64_t code, int64_t weight) {
    uint32_t at = place_of(s, code);
    if (s->places[at]) {
        entry *held = &s->entries[s->places[at] - 1];
        return __builtin_add_overflow(held->sum, weight, &held->sum) ? EV_OVERFLOW : BM_OK;
    }
    if (s->n == (s->mask + 1) / 2) {
        if (s->n >= 1u << 30 || !resize(s, 2 * (s->mask + 1))) return BM_NO_MEMORY;
        at = place_of(s, code);
    }
    s->entries[s->n] = (entry){code, weight, at};
    s->places[at] = ++s->n;
    return BM_OK;
}

/* Puts the codes of the greatest sum, if that is above 0, and empties the table. Returns how many there are. */
static size_t take_most(sums *s, int64_t *favourites) {
    int64_t most = 0;
    size_t found = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        const entry *e = &s->entries[i];
        s->places[e->place] = 0;
        if (e->sum > most) most = e->sum, found = 0;
        if (most && e->sum == most) favourites[found++] = e->code;
    }
    s->n = 0;
    return found;
}

int ev_favourites(const uint32_t *contacts, const int64_t *codes, const int64_t *weights, size_t n, const bm_stop *stop,
                  uint32_t *owners, int64_t *favourites, size_t *found) {
    sums s = {0};
    size_t at = 0, looked = 0;
    int status = resize(&s, LEAST) ? BM_OK : BM_NO_MEMORY;
    for (size_t row = 0; row < n && status == BM_OK;) {
        uint32_t contact = contacts[row];
        for (; row < n && contacts[row] == contact && status == BM_OK; row++) {
            if (stop && row >= looked) {
                looked = row + LOOK;
                status = bm_stop_look(stop);
                if (status != BM_OK) break;
            }
            int64_t weight = !weights ? 1 : weights[row] == INT64_MIN ? 0 : weights[row];
            status = add(&s, codes[row], weight);
        }
        if (status != BM_OK) break;
        for (size_t end = at + take_most(&s, favourites + at); at < end; at++) owners[at] = contact;
    }
    free(s.entries);
    free(s.places);
    *found = at;
    return status;
}
