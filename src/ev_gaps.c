/* Gaps: how far apart the times of each contact are. */
#include <stdlib.h>

#include "ev_series.h"

static ev_spread spread_of(const ev_moments *m, uint32_t contact) {
    const uint64_t gaps = m->n - 1, whole = (uint64_t)m->at[gaps].time - (uint64_t)m->at[0].time;
    unsigned __int128 squares = 0;
    for (size_t i = 1; i < m->n; i++) {
        uint64_t gap = (uint64_t)m->at[i].time - (uint64_t)m->at[i - 1].time;
        squares += (unsigned __int128)gap * gap;
    }
    unsigned __int128 spread = gaps * squares - (unsigned __int128)whole * whole;
    return (ev_spread){contact, (uint32_t)gaps, (uint64_t)(spread >> 64), (uint64_t)spread};
}

int ev_spreads(const uint32_t *contacts, const int64_t *times, size_t n, const bm_stop *stop, ev_spread *found,
               size_t *nfound) {
    ev_moments m = {NULL, 0, 0};
    int status = BM_OK;
    *nfound = 0;
    for (size_t first = 0, looked = EV_SERIES_LOOK, end; first < n; first = end) {
        if (stop && looked >= EV_SERIES_LOOK) {
            looked = 0;
            if ((status = bm_stop_look(stop)) != BM_OK) break;
        }
        m.n = 0;
        end = ev_moments_add(&m, contacts, times, first, n, 0);
        if (end == SIZE_MAX) {
            status = BM_NO_MEMORY;
            break;
        }
        looked += m.n;
        if (m.n < 2) continue;
        ev_moments_sort(&m);
        found[(*nfound)++] = spread_of(&m, contacts[first]);
    }
    free(m.at);
    return status;
}
