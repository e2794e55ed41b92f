/* What the stale places of layers void in a block, or in rows of an older layer.
 *
 * Places and rows both ascend by contact, time and event, so that the search for the next place begins at the row of the
 * last one, in steps that double: few places among many rows cost a logarithm each, many places among few rows no more
 * than a look. Rows of a damaged block need not ascend, and then rows are missed or not; nothing outside them is read. */
#include "ev_layer.h"

/* A place in the codes of a block's columns. */
typedef struct {
    uint64_t contact, time, event;
} place;

static inline int compare(const ev_block *b, uint32_t row, const place *p) { /* the row with the place */
    uint64_t code = bm_code(&b->columns[EV_CONTACT], row);
    if (code != p->contact) return code < p->contact ? -1 : 1;
    code = bm_code(&b->columns[EV_TIME], row);
    if (code != p->time) return code < p->time ? -1 : 1;
    code = bm_code(&b->columns[EV_EVENT], row);
    return code == p->event ? 0 : code < p->event ? -1 : 1;
}

/* The first row from `row` on that is not below the place. */
static uint32_t seek(const ev_block *b, uint32_t row, const place *p) {
    uint32_t step = 1, hi = row;
    while (hi < b->rows && compare(b, hi, p) < 0) {
        row = hi + 1;
        hi = b->rows - hi > step ? hi + step : b->rows;
        step *= 2;
    }
    while (row < hi) {
        uint32_t mid = row + (hi - row) / 2;
        if (compare(b, mid, p) < 0) row = mid + 1;
        else hi = mid;
    }
    return row;
}

/* The same for the places of one layer. */
static void void_by(uint64_t *mask, const ev_block *b, int64_t first, uint32_t lo, uint32_t hi, const ev_above *a,
                    int64_t from, int64_t to, const uint64_t *chosen) {
    const bm_chunk *contacts = &b->columns[EV_CONTACT], *times = &b->columns[EV_TIME], *events = &b->columns[EV_EVENT];
    const uint64_t span = (uint64_t)to - (uint64_t)from;
    uint32_t row = 0;
    for (uint32_t i = a->stale; i < a->stale_end && row < b->rows; i++) {
        int64_t time = a->layer->times[i];
        if ((uint64_t)time - (uint64_t)from > span) continue;
        uint32_t contact = a->layer->contacts[i] & (BM_CHUNK_ROWS - 1);
        int64_t event = a->layer->events[i];
        if (contact < lo || contact > hi || event < events->base || event > events->max) continue;
        if (chosen && !(chosen[contact >> 6] >> (contact & 63) & 1)) continue;
        place p = {
            (uint64_t)(first + contact) - (uint64_t)contacts->base + 1,
            (uint64_t)time - (uint64_t)times->base + 1,
            (uint64_t)event - (uint64_t)events->base + 1,
        };
        for (row = seek(b, row, &p); row < b->rows && compare(b, row, &p) == 0; row++)
            mask[row >> 6] &= ~(1ull << (row & 63));
    }
}

void ev_void_rows(uint64_t *mask, const ev_block *b, int64_t first, uint32_t lo, uint32_t hi, const ev_above *above,
                  uint32_t n, int64_t from, int64_t to, const uint64_t *chosen) {
    const bm_chunk *times = &b->columns[EV_TIME];
    if (from < times->base) from = times->base;
    if (to > times->max) to = times->max;
    if (from > to) return;
    for (uint32_t i = 0; i < n; i++) void_by(mask, b, first, lo, hi, &above[i], from, to, chosen);
}

bool ev_is_void(const ev_layer *l, uint32_t row, const ev_above *above, uint32_t n) {
    const bm_chunk *columns = l->b.columns;
    const uint32_t contact = (uint32_t)ev_value(&columns[EV_CONTACT], bm_code(&columns[EV_CONTACT], row));
    const int64_t time = ev_value(&columns[EV_TIME], bm_code(&columns[EV_TIME], row));
    const uint32_t event = (uint32_t)ev_value(&columns[EV_EVENT], bm_code(&columns[EV_EVENT], row));
    for (uint32_t i = 0; i < n; i++) {
        const ev_layer *by = above[i].layer;
        uint32_t lo = above[i].stale, hi = above[i].stale_end;
        while (lo < hi) {
            const uint32_t mid = lo + (hi - lo) / 2;
            if (by->contacts[mid] != contact ? by->contacts[mid] < contact
                : by->times[mid] != time     ? by->times[mid] < time
                                             : by->events[mid] < event) lo = mid + 1;
            else hi = mid;
        }
        if (lo < above[i].stale_end && by->contacts[lo] == contact && by->times[lo] == time && by->events[lo] == event)
            return true;
    }
    return false;
}
