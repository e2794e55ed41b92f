/* Reading layers of events: a header, column chunks (bm_column.c) of up to 2^24 rows, and the stale places.
 *
 *    0  u8   version (1)
 *    1  u8   columns, 5 to 32: those of a block of the kind
 *    2  u16  flags (0)
 *    4  u32  rows, 2^24 at most
 *    8  u32  checksum: CRC-32 of all other bytes
 *   12  u32  stale places, 2^24 at most
 *   16  the columns, one behind another: each a column chunk whose own checksum is 0. It takes 32 + rows * width bytes,
 *       by its header, which leaves out the rows behind its last value; so there is no table of ends
 *       the stale places: a u32 contact each, then an i64 time each, then a u32 event each
 *
 * Column 0 is the contact's whole ordinal; the others are those of a block (ev_block.c). Rows ascend by contact, time,
 * event and line, stale places by contact, time and event; none is there twice. A stale place's time is one that a
 * column may hold. */
#include <stdlib.h>

#include "ev_layer.h"

const char *ev_layer_open(ev_layer *l, const uint8_t *buf, size_t len, int *column) {
    ev_block *b = &l->b;
    memset(l, 0, sizeof *l);
    *column = EV_NO_COLUMN;
    if (len < EV_LAYER_HEADER) return "shorter than a layer header";
    if (buf[0] != EV_LAYER_VERSION) return "unknown layer version";
    if (*(const bm_u16 *)(buf + 2) != 0) return "unknown layer flags";
    b->data = buf;
    b->ncolumns = buf[1];
    b->rows = *(const bm_u32 *)(buf + 4);
    b->checksum = *(const bm_u32 *)(buf + 8);
    l->nstale = *(const bm_u32 *)(buf + 12);
    if (b->ncolumns < EV_MIN_COLUMNS || b->ncolumns > EV_MAX_COLUMNS) return "the number of columns is not 5 to 32";
    if (b->rows > EV_LAYER_MOST) return "more rows than a layer holds";
    if (l->nstale > EV_LAYER_MOST) return "more stale places than a layer holds";
    size_t at = EV_LAYER_HEADER;
    for (uint32_t i = 0; i < b->ncolumns; i++) {
        bm_chunk *c = &b->columns[i];
        *column = (int)i;
        const char *reason = bm_chunk_head(c, buf + at, len - at, EV_LAYER_MOST);
        if (reason) return reason;
        if (c->checksum) return "a checksum of its own";
        at += bm_chunk_size(c);
    }
    const char *reason = ev_block_columns(b, UINT32_MAX, column);
    if (reason) return reason;
    if (len - at != (size_t)l->nstale * EV_PLACE_BYTES) return "the length does not match columns and stale places";
    l->contacts = (const bm_u32 *)(buf + at);
    l->times = (const bm_i64 *)(l->contacts + l->nstale);
    l->events = (const bm_u32 *)(l->times + l->nstale);
    return NULL;
}

static bool ascends(const ev_layer *l, uint32_t i) { /* place i - 1 to place i */
    if (l->contacts[i] != l->contacts[i - 1]) return l->contacts[i] > l->contacts[i - 1];
    if (l->times[i] != l->times[i - 1]) return l->times[i] > l->times[i - 1];
    return l->events[i] > l->events[i - 1];
}

const char *ev_layer_check(const ev_layer *l, int *column) {
    for (uint32_t i = 0; i < l->b.ncolumns; i++) {
        *column = (int)i;
        const char *reason = bm_chunk_check(&l->b.columns[i]);
        if (reason) return reason;
    }
    *column = EV_NO_COLUMN;
    for (uint32_t i = 0; i < l->nstale; i++) {
        if (i && !ascends(l, i)) return "the stale places do not ascend by contact, time and event";
        if (l->times[i] <= -BM_VALUE_LIMIT || l->times[i] >= BM_VALUE_LIMIT) return "the time of a stale place is not valid";
    }
    return ev_block_order(&l->b);
}

static uint32_t contact_of(const ev_layer *l, uint32_t row) {
    const bm_chunk *c = &l->b.columns[EV_CONTACT];
    return (uint32_t)ev_value(c, bm_code(c, row));
}

bool ev_layer_index(ev_layer *l) {
    const uint32_t rows = l->b.rows, stale = l->nstale;
    uint32_t cap = 0, row = 0, place = 0, n = 0;
    l->lows = malloc((size_t)rows * sizeof *l->lows + BM_PAD * sizeof *l->lows);
    if (!l->lows) return false;
    for (uint32_t i = 0; i < rows; i++) l->lows[i] = contact_of(l, i) & (BM_CHUNK_ROWS - 1);
    memset(l->lows + rows, 0, BM_PAD * sizeof *l->lows);
    for (;;) {
        if (n == cap) {
            cap = cap ? 2 * cap : 16;
            ev_part *parts = realloc(l->parts, cap * sizeof *parts);
            if (!parts) return false;
            l->parts = parts;
        }
        if (row == rows && place == stale) break;
        uint32_t number = EV_NUMBERS;
        if (row < rows) number = contact_of(l, row) / BM_CHUNK_ROWS;
        if (place < stale && l->contacts[place] / BM_CHUNK_ROWS < number) number = l->contacts[place] / BM_CHUNK_ROWS;
        l->parts[n++] = (ev_part){number, row, place};
        while (row < rows && contact_of(l, row) / BM_CHUNK_ROWS == number) row++;
        while (place < stale && l->contacts[place] / BM_CHUNK_ROWS == number) place++;
    }
    l->parts[n] = (ev_part){EV_NUMBERS, rows, stale};
    l->nparts = n;
    return true;
}

void ev_layer_clear(ev_layer *l) {
    free(l->parts);
    free(l->lows);
    memset(l, 0, sizeof *l);
}

uint32_t ev_layer_row(const ev_layer *l, uint64_t contact) {
    uint32_t lo = 0, hi = l->b.rows;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (contact_of(l, mid) < contact) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

uint32_t ev_layer_place(const ev_layer *l, uint64_t contact) {
    uint32_t lo = 0, hi = l->nstale;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (l->contacts[mid] < contact) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

uint32_t ev_layer_seek(const ev_layer *l, uint32_t number) {
    uint32_t lo = 0, hi = l->nparts;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (l->parts[mid].number < number) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

const ev_part *ev_layer_part(const ev_layer *l, uint32_t number) {
    const ev_part *part = l->nparts ? &l->parts[ev_layer_seek(l, number)] : NULL;
    return part && part->number == number ? part : NULL;
}

void ev_layer_slice_column(const ev_layer *l, uint32_t column, uint32_t first, uint32_t n, ev_block *to) {
    const bm_chunk *c = &l->b.columns[column];
    bm_chunk *slice = &to->columns[column];
    const uint32_t left = c->rows > first ? c->rows - first : 0, rows = left < n ? left : n;
    *slice = *c;
    slice->codes += rows ? (size_t)first * c->width : 0;
    slice->rows = rows;
    /* How many of these have a value is not known where some of the column have none: a number that no count of rows
     * equals keeps anyone from concluding that all have one. */
    slice->present = c->present == c->rows || !rows ? rows : UINT32_MAX;
}

void ev_layer_slice(const ev_layer *l, uint32_t first, uint32_t n, ev_block *to) {
    to->data = l->b.data;
    to->rows = n;
    to->ncolumns = l->b.ncolumns;
    for (uint32_t i = 0; i < to->ncolumns; i++) ev_layer_slice_column(l, i, first, n, to);
}
