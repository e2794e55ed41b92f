/* Sequences: which contacts have rows of several steps one after another.
 *
 * The rows of a contact are gone through in the order of time, those of one time together. Of each step the latest time
 * is kept at which a chain of the steps up to it can end: where a row of the next step comes, this is the end before it
 * that is nearest, so that any other end allows no more. */
#include <stdlib.h>

#include "ev_series.h"

size_t ev_moments_add(ev_moments *m, const uint32_t *contacts, const int64_t *times, size_t first, size_t n, uint32_t step) {
    size_t end = first;
    while (end < n && contacts[end] == contacts[first]) end++;
    if (m->cap - m->n < end - first) {
        size_t cap = 2 * m->cap + (end - first) + 64;
        ev_moment *at = realloc(m->at, cap * sizeof *at);
        if (!at) return SIZE_MAX;
        m->at = at;
        m->cap = cap;
    }
    for (size_t i = first; i < end; i++) m->at[m->n++] = (ev_moment){times[i], step};
    return end;
}

static int by_time(const void *a, const void *b) {
    int64_t one = ((const ev_moment *)a)->time, other = ((const ev_moment *)b)->time;
    return (one > other) - (one < other);
}

void ev_moments_sort(ev_moments *m) {
    ev_moment *at = m->at;
    if (m->n > 48) {
        bool sorted = true;
        for (size_t i = 1; i < m->n && sorted; i++) sorted = at[i - 1].time <= at[i].time;
        if (!sorted) qsort(at, m->n, sizeof *at, by_time);
        return;
    }
    for (size_t i = 1; i < m->n; i++) {
        ev_moment one = at[i];
        size_t j = i;
        for (; j && at[j - 1].time > one.time; j--) at[j] = at[j - 1];
        at[j] = one;
    }
}

/* The first row from `at` on whose contact is `contact` or behind it: by steps that double, then by halves. */
static size_t seek(const ev_step *s, size_t at, uint32_t contact) {
    size_t by = 1, lo = at, hi = at;
    while (hi < s->n && s->contacts[hi] < contact) {
        lo = hi + 1;
        hi += by;
        by *= 2;
    }
    if (hi > s->n) hi = s->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->contacts[mid] < contact) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

static uint64_t apart(int64_t earlier, int64_t later) { return (uint64_t)later - (uint64_t)earlier; }

/* Whether the rows of one contact, sorted by time, have such a chain. Rows of `none` are of step n. */
static bool has_chain(const ev_moments *m, const ev_step *steps, uint32_t n, const ev_step *none, int64_t end) {
    int64_t latest[EV_MAX_STEPS] = {0}, waiting_since = 0;
    uint32_t reached = 0; /* of which steps there is a latest time */
    bool waiting = false; /* for a row of `none`, since the earliest end of a chain that none has come after */
    for (size_t i = 0; i < m->n;) {
        const int64_t time = m->at[i].time;
        uint32_t seen = 0, now = 0;
        for (; i < m->n && m->at[i].time == time; i++) seen |= 1u << m->at[i].step;
        if (waiting && seen >> n & 1) {
            /* All ends since the last row of `none` are before this one; the earliest is the farthest from it. */
            if (apart(waiting_since, time) > none->within) return true;
            waiting = false;
        }
        for (uint32_t k = 0; k < n; k++)
            if (seen >> k & 1 && (!k || (reached >> (k - 1) & 1 && apart(latest[k - 1], time) <= steps[k].within)))
                now |= 1u << k;
        for (uint32_t k = 0; k < n; k++)
            if (now >> k & 1) latest[k] = time;
        reached |= now;
        if (now >> (n - 1) & 1) {
            if (!none) return true;
            if (!waiting) waiting_since = time;
            waiting = true;
        }
    }
    return waiting && apart(waiting_since, end) > none->within;
}

/* The rows of the contact that begin at *at, which moves behind them; a status. */
static int add_rows(ev_moments *m, const ev_step *s, size_t *at, uint32_t step) {
    size_t end = ev_moments_add(m, s->contacts, s->times, *at, s->n, step);
    if (end == SIZE_MAX) return BM_NO_MEMORY;
    *at = end;
    return BM_OK;
}

int ev_follow(const ev_step *steps, uint32_t n, const ev_step *none, int64_t end, const bm_stop *stop, uint32_t *found,
              size_t *nfound) {
    size_t at[EV_MAX_STEPS + 1] = {0}, looked = 0;
    ev_moments m = {NULL, 0, 0};
    int status = BM_OK;
    *nfound = 0;
    for (size_t round = 0; status == BM_OK; round++) {
        if (stop && (looked >= EV_SERIES_LOOK || !(round & 0xfff))) {
            looked = 0;
            if ((status = bm_stop_look(stop)) != BM_OK) break;
        }
        /* The next contact that all steps have. */
        if (at[0] >= steps[0].n) break;
        uint32_t contact = steps[0].contacts[at[0]], k;
        for (k = 0; k < n; k++) {
            at[k] = seek(&steps[k], at[k], contact);
            if (at[k] >= steps[k].n || steps[k].contacts[at[k]] != contact) break;
        }
        if (k < n) {
            if (at[k] >= steps[k].n) break;
            at[0] = seek(&steps[0], at[0], steps[k].contacts[at[k]]);
            continue;
        }
        m.n = 0;
        for (k = 0; k < n && status == BM_OK; k++) status = add_rows(&m, &steps[k], &at[k], k);
        if (none && status == BM_OK) {
            at[n] = seek(none, at[n], contact);
            if (at[n] < none->n && none->contacts[at[n]] == contact) status = add_rows(&m, none, &at[n], n);
        }
        if (status != BM_OK) break;
        looked += m.n;
        ev_moments_sort(&m);
        if (has_chain(&m, steps, n, none, end)) found[(*nfound)++] = contact;
    }
    free(m.at);
    return status;
}
