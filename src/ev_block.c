/* Reading event blocks: a header, and behind it one column chunk (bm_column.c) a column.
 *
 *    0  u8   version (1)
 *    1  u8   columns
 *    2  u16  flags (0)
 *    4  u32  rows
 *    8  u32  checksum: CRC-32 of the header without this field; each chunk has its own
 *   12  u32  a column: where its chunk ends, counted from the start of the block; the first begins behind these
 *
 * Column 0 is the contact's ordinal within the range, 1 the time, 2 the event's number, 3 the line's number, the last
 * whether the row counts (0 or 1); every row has these. Between them are the properties of the kind. */
#include "ev_block.h"

const char *ev_block_open(ev_block *b, const uint8_t *buf, size_t len, int *column) {
    *column = EV_NO_COLUMN;
    if (len < EV_HEADER) return "shorter than a block header";
    if (buf[0] != EV_VERSION) return "unknown block version";
    if (*(const bm_u16 *)(buf + 2) != 0) return "unknown block flags";
    b->data = buf;
    b->ncolumns = buf[1];
    b->rows = *(const bm_u32 *)(buf + 4);
    b->checksum = *(const bm_u32 *)(buf + 8);
    if (b->ncolumns < EV_MIN_COLUMNS || b->ncolumns > EV_MAX_COLUMNS) return "the number of columns is not 5 to 32";
    if (b->rows > BM_CHUNK_ROWS) return "more rows than a block holds";
    size_t at = EV_HEADER + 4 * (size_t)b->ncolumns;
    if (len < at) return "shorter than the block header";
    for (uint32_t i = 0; i < b->ncolumns; i++) {
        size_t end = *(const bm_u32 *)(buf + EV_HEADER + 4 * (size_t)i);
        *column = (int)i;
        if (end < at || end > len) return "its end does not lie behind its start and inside the block";
        const char *reason = bm_chunk_head(&b->columns[i], buf + at, end - at, BM_CHUNK_ROWS);
        if (reason) return reason;
        if (end - at != bm_chunk_size(&b->columns[i])) return "the length does not match rows and width";
        at = end;
    }
    const char *reason = ev_block_columns(b, BM_CHUNK_ROWS - 1, column);
    if (reason) return reason;
    return at == len ? NULL : "bytes behind the last column";
}

const char *ev_block_columns(const ev_block *b, uint32_t most, int *column) {
    for (uint32_t i = 0; i < b->ncolumns; i++) {
        const bm_chunk *c = &b->columns[i];
        *column = (int)i;
        if (c->rows > b->rows) return "more rows than the block";
        bool everywhere = i < EV_MIN_COLUMNS - 1 || i == b->ncolumns - 1;
        if (everywhere && c->present != b->rows) return "a row has no value, and this column must have all";
    }
    const bm_chunk *c = b->columns;
    *column = EV_CONTACT;
    if (c[EV_CONTACT].base < 0 || c[EV_CONTACT].max > (int64_t)most) return "a contact is outside the range";
    *column = EV_EVENT;
    if (c[EV_EVENT].base < 0 || c[EV_EVENT].max > (int64_t)UINT32_MAX) return "an event number is not a u32";
    *column = EV_LINE;
    if (c[EV_LINE].base < 0) return "a line number is negative";
    *column = (int)b->ncolumns - 1;
    if (c[*column].base < 0 || c[*column].max > 1) return "whether a row counts is neither 0 nor 1";
    *column = EV_NO_COLUMN;
    return NULL;
}

const char *ev_block_order(const ev_block *b) {
    for (uint32_t r = 1; r < b->rows; r++) {
        uint32_t i = EV_CONTACT;
        uint64_t before = bm_code(&b->columns[i], r - 1), now = bm_code(&b->columns[i], r);
        while (before == now && i < EV_LINE) {
            i++;
            before = bm_code(&b->columns[i], r - 1);
            now = bm_code(&b->columns[i], r);
        }
        if (before >= now) return "the rows do not ascend by contact, time, event and line";
    }
    return NULL;
}

void ev_block_read(const ev_block *b, uint32_t column, int64_t *values, uint8_t *present) {
    const bm_chunk c = b->columns[column]; /* a copy: what is written cannot change it, and it is looked at once */
    const uint32_t rows = c.rows < b->rows ? c.rows : b->rows;
    for (uint32_t r = 0; r < rows; r++) {
        uint64_t code = bm_code(&c, r);
        present[r] = code != 0;
        values[r] = code ? ev_value(&c, code) : 0;
    }
    memset(present + rows, 0, b->rows - rows);
    memset(values + rows, 0, (b->rows - rows) * sizeof *values);
}

void ev_month_bounds(const ev_block *const *blocks, uint32_t n, uint32_t ncolumns, ev_block *bounds) {
    memset(bounds, 0, sizeof *bounds);
    bounds->ncolumns = ncolumns;
    for (uint32_t i = 0; i < n; i++) {
        bounds->rows += blocks[i]->rows;
        for (uint32_t j = 0; j < ncolumns; j++) {
            const bm_chunk *c = &blocks[i]->columns[j];
            bm_chunk *all = &bounds->columns[j];
            if (!c->present) continue;
            if (!all->present || c->base < all->base) all->base = c->base;
            if (!all->present || c->max > all->max) all->max = c->max;
            all->present += c->present;
        }
    }
}
