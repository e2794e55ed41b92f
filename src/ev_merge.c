/* Writing layers of events, and two of them into one: walks over rows and places that ascend on both sides. */
#include "ev_layer.h"

size_t ev_plan_size(const ev_plan *p) {
    size_t size = EV_LAYER_HEADER + (size_t)p->nstale * EV_PLACE_BYTES;
    for (uint32_t i = 0; i < p->ncolumns; i++) size += bm_chunk_size(&p->columns[i]);
    return size;
}

uint8_t *ev_plan_begin(const ev_plan *p, uint8_t *to, uint8_t **codes) {
    memset(to, 0, EV_LAYER_HEADER);
    to[0] = EV_LAYER_VERSION;
    to[1] = (uint8_t)p->ncolumns;
    *(bm_u32 *)(to + 4) = p->rows;
    *(bm_u32 *)(to + 12) = p->nstale;
    to += EV_LAYER_HEADER;
    for (uint32_t i = 0; i < p->ncolumns; i++) {
        codes[i] = bm_chunk_begin(&p->columns[i], to);
        to += bm_chunk_size(&p->columns[i]);
    }
    return to;
}

/* --- the order of rows and places ------------------------------------------------------------------------ */

typedef struct {
    int64_t contact, time, event, line;
} key; /* of a place with a line of 0 */

static inline int64_t value_at(const ev_layer *l, uint32_t column, uint32_t row) {
    return ev_value(&l->b.columns[column], bm_code(&l->b.columns[column], row));
}

static key row_key(const ev_layer *l, uint32_t row) {
    return (key){value_at(l, EV_CONTACT, row), value_at(l, EV_TIME, row), value_at(l, EV_EVENT, row),
                 value_at(l, EV_LINE, row)};
}

static key place_key(const ev_layer *l, uint32_t i) { return (key){l->contacts[i], l->times[i], l->events[i], 0}; }

static int compare_places(const key *a, const key *b) {
    if (a->contact != b->contact) return a->contact < b->contact ? -1 : 1;
    if (a->time != b->time) return a->time < b->time ? -1 : 1;
    return a->event == b->event ? 0 : a->event < b->event ? -1 : 1;
}

static int compare_rows(const key *a, const key *b) {
    int places = compare_places(a, b);
    return places ? places : a->line == b->line ? 0 : a->line < b->line ? -1 : 1;
}

/* The next row of `older` from *row on that no place of `newer` voids, and its key; *place goes along. */
static bool next_kept(const ev_layer *older, const ev_layer *newer, uint32_t *row, uint32_t *place, key *at) {
    for (; *row < older->b.rows; (*row)++) {
        *at = row_key(older, *row);
        int side = 1;
        for (; *place < newer->nstale; (*place)++) {
            key stale = place_key(newer, *place);
            side = compare_places(&stale, at);
            if (side >= 0) break;
        }
        if (*place == newer->nstale || side > 0) return true;
    }
    return false;
}

/* The rows that are left, in order; UINT32_MAX where one is in both. */
static uint32_t merge_rows(const ev_layer *older, const ev_layer *newer, uint32_t *rows) {
    uint32_t i = 0, j = 0, place = 0, n = 0;
    key a = {0}, b = {0};
    bool left = next_kept(older, newer, &i, &place, &a);
    if (newer->b.rows) b = row_key(newer, 0);
    while (left || j < newer->b.rows) {
        int side = !left ? 1 : j == newer->b.rows ? -1 : compare_rows(&a, &b);
        if (side == 0) return UINT32_MAX;
        if (side < 0) {
            rows[n++] = i++;
            left = next_kept(older, newer, &i, &place, &a);
        } else {
            rows[n++] = j++ | EV_NEWER;
            if (j < newer->b.rows) b = row_key(newer, j);
        }
    }
    return n;
}

/* The places of either, each once: how many (`most` at most), and where `contacts` is given these themselves. */
static uint32_t merge_places(const ev_layer *older, const ev_layer *newer, uint32_t most, bm_u32 *contacts,
                             bm_i64 *times, bm_u32 *events) {
    uint32_t i = 0, j = 0, n = 0;
    while (n < most && (i < older->nstale || j < newer->nstale)) {
        key a = {0}, b = {0};
        if (i < older->nstale) a = place_key(older, i);
        if (j < newer->nstale) b = place_key(newer, j);
        int side = i == older->nstale ? 1 : j == newer->nstale ? -1 : compare_places(&a, &b);
        if (contacts) {
            const key *it = side <= 0 ? &a : &b;
            contacts[n] = (uint32_t)it->contact;
            times[n] = it->time;
            events[n] = (uint32_t)it->event;
        }
        n++;
        i += side <= 0;
        j += side >= 0;
    }
    return n;
}

/* --- columns --------------------------------------------------------------------------------------------- */

static inline const bm_chunk *chunk_of(const ev_layer *older, const ev_layer *newer, uint32_t row, uint32_t column) {
    return &(row & EV_NEWER ? newer : older)->b.columns[column];
}

static void plan_column(const ev_layer *older, const ev_layer *newer, const uint32_t *rows, uint32_t n, uint32_t column,
                        bm_chunk *c) {
    memset(c, 0, sizeof *c);
    for (uint32_t r = 0; r < n; r++) {
        const bm_chunk *from = chunk_of(older, newer, rows[r], column);
        uint64_t code = ev_code(from, rows[r] & ~EV_NEWER);
        if (!code) continue;
        int64_t v = ev_value(from, code);
        if (!c->present || v < c->base) c->base = v;
        if (!c->present || v > c->max) c->max = v;
        c->present++;
        c->rows = r + 1;
    }
    bm_chunk_fit(c);
}

static void write_column(const ev_layer *older, const ev_layer *newer, const uint32_t *rows, uint32_t column,
                         const bm_chunk *c, uint8_t *codes) {
    for (uint32_t r = 0; c->width && r < c->rows; r++) {
        const bm_chunk *from = chunk_of(older, newer, rows[r], column);
        uint64_t code = ev_code(from, rows[r] & ~EV_NEWER);
        bm_put_code(codes, c->width, r, code ? code + ((uint64_t)from->base - (uint64_t)c->base) : 0);
    }
}

const char *ev_merge_plan(const ev_layer *older, const ev_layer *newer, uint32_t *rows, ev_plan *p) {
    p->ncolumns = newer->b.ncolumns;
    p->rows = merge_rows(older, newer, rows);
    if (p->rows == UINT32_MAX) return "a row is in both layers, and the newer has no stale place there";
    if (p->rows > EV_LAYER_MOST) return "more rows than a layer holds";
    p->nstale = merge_places(older, newer, UINT32_MAX, NULL, NULL, NULL);
    if (p->nstale > EV_LAYER_MOST) return "more stale places than a layer holds";
    for (uint32_t i = 0; i < p->ncolumns; i++) plan_column(older, newer, rows, p->rows, i, &p->columns[i]);
    return NULL;
}

void ev_merge_write(const ev_layer *older, const ev_layer *newer, const uint32_t *rows, const ev_plan *p, uint8_t *to) {
    uint8_t *codes[EV_MAX_COLUMNS];
    bm_u32 *contacts = (bm_u32 *)ev_plan_begin(p, to, codes);
    bm_i64 *times = (bm_i64 *)(contacts + p->nstale);
    for (uint32_t i = 0; i < p->ncolumns; i++)
        write_column(older, newer, rows, i, &p->columns[i], codes[i]);
    merge_places(older, newer, p->nstale, contacts, times, (bm_u32 *)(times + p->nstale));
}
