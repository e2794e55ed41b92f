/* Column chunks: one value a contact for 16,384 ordinals, in the narrowest of 1, 2, 4 or 8 bytes.
 *
 * A chunk is a 32-byte little-endian header and rows * width bytes of codes:
 *    0  u8   version (1)
 *    1  u8   width: bytes a code; 0 when no row has a value, or when every one of `rows` has the same
 *    2  u16  flags: 1 sparse
 *    4  u32  present: rows with a value
 *    8  u32  checksum: CRC-32 of the header without this field, then of the codes
 *   12  u32  rows: codes stored; the rows behind them have no value
 *   16  i64  base: the least value (0 when there is none)
 *   24  i64  max: the greatest (0 when there is none)
 * code = value - base + 1, and 0 where there is no value, so that a range test is one unsigned compare and never
 * meets a missing value. |value| < 2^62 keeps every code and every difference inside 64 bits.
 *
 * A sparse chunk has codes of those rows alone that have a value, and before them 256 groups of 10 bytes, one for 64 rows:
 *    0  u64  bit r is set where row r of the group has a value
 *    8  u16  rows of the groups before that have one
 * It is chosen where that saves half or more of codes of 4 or 8 bytes: of narrower ones all rows are compared more quickly
 * than the few are laid out, and where more have a value, candidates are tested more slowly. */
#include <stdlib.h>

#include "bm_kernels.h"

static uint64_t difference(int64_t a, int64_t b) { return (uint64_t)a - (uint64_t)b; }

static uint32_t width_for(uint64_t code) {
    return code <= 0xff ? 1 : code <= 0xffff ? 2 : code <= 0xffffffffull ? 4 : 8;
}

static const char *open_head(bm_chunk *c, const uint8_t *buf, size_t len, uint32_t most, uint32_t flags) {
    memset(c, 0, sizeof *c);
    if (len < BM_CHUNK_HEADER) return "shorter than a chunk header";
    if (buf[0] != BM_CHUNK_VERSION) return "unknown chunk version";
    c->width = buf[1];
    c->present = *(const bm_u32 *)(buf + 4);
    c->checksum = *(const bm_u32 *)(buf + 8);
    c->rows = *(const bm_u32 *)(buf + 12);
    c->base = *(const bm_i64 *)(buf + 16);
    c->max = *(const bm_i64 *)(buf + 24);
    if (*(const bm_u16 *)(buf + 2) & ~flags) return "unknown chunk flags";
    c->sparse = *(const bm_u16 *)(buf + 2) & BM_CHUNK_SPARSE;
    c->codes = buf + BM_CHUNK_HEADER + (c->sparse ? BM_SPARSE_HEAD : 0);
    if (c->sparse && !c->width) return "a sparse chunk without codes";
    if (c->width > 8 || !((1u << c->width) & 0x117u)) return "the code width is not 0, 1, 2, 4 or 8";
    if (c->rows > most) return "more rows than a chunk holds";
    if (c->present > c->rows) return "more values than rows";
    if (len < bm_chunk_size(c)) return "the length does not match rows and width";
    if (c->base <= -BM_VALUE_LIMIT || c->max >= BM_VALUE_LIMIT || c->base > c->max) return "the bounds are not valid";
    if (c->width == 0 && c->present != c->rows) return "width 0 with missing values between";
    if (c->width == 0 && c->base != c->max) return "width 0 with differing bounds";
    if (c->width && width_for(difference(c->max, c->base) + 1) > c->width) return "the width does not hold the bounds";
    return NULL;
}

const char *bm_chunk_open(bm_chunk *c, const uint8_t *buf, size_t len) {
    const char *reason = open_head(c, buf, len, BM_CHUNK_ROWS, BM_CHUNK_SPARSE);
    if (reason) return reason;
    return len == bm_chunk_size(c) ? NULL : "the length does not match rows and width";
}

const char *bm_chunk_head(bm_chunk *c, const uint8_t *buf, size_t len, uint32_t most) {
    return open_head(c, buf, len, most, 0);
}

/* What is wrong with what stands before the codes of a sparse chunk. */
static const char *check_sparse(const bm_chunk *c) {
    const bm_group *groups = bm_chunk_groups(c);
    uint32_t before = 0;
    for (uint32_t g = 0; g < BM_CHUNK_WORDS; g++) {
        if (groups[g].rows & ~(c->rows > g * 64 ? bm_ones(c->rows - g * 64) : 0)) return "a value behind the rows";
        if (groups[g].before != before) return "the count of values before some rows is false";
        before += (uint32_t)__builtin_popcountll(groups[g].rows);
    }
    if (before != c->present) return "the count of values is false";
    for (uint32_t i = 0; i < c->present; i++)
        if (!bm_code(c, i)) return "a value without a code";
    return NULL;
}

const char *bm_chunk_check(const bm_chunk *c) {
    uint64_t top = difference(c->max, c->base) + 1, least = UINT64_MAX, most = 0;
    uint32_t present = 0;
    const char *reason = c->sparse ? check_sparse(c) : NULL;
    if (reason) return reason;
    for (uint32_t r = 0; r < c->rows; r++) {
        uint64_t code = bm_chunk_code(c, r);
        if (code > top) return "a code lies above the maximum";
        if (!code) continue;
        present++;
        if (code < least) least = code;
        if (code > most) most = code;
    }
    if (present != c->present) return "the count of values is false";
    if (present && (least != 1 || most != top)) return "the bounds are not those of the values";
    return NULL;
}

const char *bm_chunk_plan(bm_chunk *c, const int64_t *values, const uint8_t *present, uint32_t n) {
    memset(c, 0, sizeof *c);
    int64_t least = INT64_MAX, most = INT64_MIN;
    uint32_t count = 0, rows = n;
    while (rows && !present[rows - 1]) rows--;
    for (uint32_t r = 0; r < rows; r++) { /* without branches, so that it is done several rows at a time */
        int64_t low = present[r] ? values[r] : INT64_MAX, high = present[r] ? values[r] : INT64_MIN;
        least = low < least ? low : least;
        most = high > most ? high : most;
        count += present[r] != 0;
    }
    if (count) {
        if (least <= -BM_VALUE_LIMIT || most >= BM_VALUE_LIMIT) return "a value is outside -2^62 < value < 2^62";
        c->base = least;
        c->max = most;
        c->present = count;
        c->rows = rows;
    }
    bm_chunk_fit(c);
    return NULL;
}

void bm_chunk_thin(bm_chunk *c) {
    const size_t all = (size_t)c->rows * c->width, some = BM_SPARSE_HEAD + (size_t)c->present * c->width;
    c->sparse = c->width >= 4 && 2 * some <= all;
}

void bm_chunk_fit(bm_chunk *c) {
    if (c->present == c->rows && c->base == c->max) c->width = 0;
    else c->width = (uint8_t)width_for(difference(c->max, c->base) + 1);
}

uint8_t *bm_chunk_begin(const bm_chunk *c, uint8_t *out) {
    memset(out, 0, BM_CHUNK_HEADER);
    out[0] = BM_CHUNK_VERSION;
    out[1] = c->width;
    *(bm_u16 *)(out + 2) = c->sparse ? BM_CHUNK_SPARSE : 0;
    *(bm_u32 *)(out + 4) = c->present;
    *(bm_u32 *)(out + 12) = c->rows;
    *(bm_i64 *)(out + 16) = c->base;
    *(bm_i64 *)(out + 24) = c->max;
    return out + BM_CHUNK_HEADER;
}

static void write_sparse(const bm_chunk *c, const int64_t *values, const uint8_t *present, uint8_t *out) {
    bm_group *groups = (bm_group *)out;
    uint8_t *codes = out + BM_SPARSE_HEAD;
    uint32_t n = 0;
    for (uint32_t g = 0; g < BM_CHUNK_WORDS; g++) {
        uint64_t rows = 0;
        groups[g].before = (uint16_t)n;
        for (uint32_t r = g * 64; r < g * 64 + 64 && r < c->rows; r++) {
            if (!present[r]) continue;
            rows |= 1ull << (r & 63);
            bm_put_code(codes, c->width, n++, difference(values[r], c->base) + 1);
        }
        groups[g].rows = rows;
    }
}

void bm_chunk_write(const bm_chunk *c, const int64_t *values, const uint8_t *present, uint8_t *out) {
    uint8_t *codes = bm_chunk_begin(c, out);
    if (c->sparse) {
        write_sparse(c, values, present, codes);
        return;
    }
    const uint32_t rows = c->rows;
    const int64_t base = c->base;
#define WRITE(kind) \
    for (uint32_t r = 0; r < rows; r++) ((kind *)codes)[r] = (kind)(present[r] ? difference(values[r], base) + 1 : 0)
    switch (c->width) { /* a loop each, so that it is done several rows at a time */
    case 1: WRITE(uint8_t); break;
    case 2: WRITE(bm_u16); break;
    case 4: WRITE(bm_u32); break;
    case 8: WRITE(bm_u64); break;
    default: break; /* width 0: nothing but the header */
    }
#undef WRITE
}

static inline int64_t decode(const bm_chunk *c, uint64_t code) { return (int64_t)((uint64_t)c->base + code - 1); }

void bm_chunk_read(const bm_chunk *c, int64_t *values, uint8_t *present) {
    for (uint32_t r = 0; r < BM_CHUNK_ROWS; r++) {
        uint64_t code = r < c->rows ? bm_chunk_code(c, r) : 0;
        present[r] = code != 0;
        values[r] = code ? decode(c, code) : 0;
    }
}

bool bm_layer_index(bm_layer *l) {
    l->nkeys = l->n ? (l->ordinals[l->n - 1] >> 16) + 1 : 0;
    l->rows = malloc(((size_t)l->n + 1) * sizeof *l->rows);
    l->starts = malloc(((size_t)l->nkeys + 1) * sizeof *l->starts);
    if (!l->rows || !l->starts) {
        bm_layer_clear(l);
        return false;
    }
    uint32_t key = 0;
    l->starts[0] = 0;
    l->all_present = true;
    for (uint32_t i = 0; i < l->n; i++) {
        l->all_present &= l->present[i] != 0;
        while (key < l->ordinals[i] >> 16) l->starts[++key] = i;
        l->rows[i] = (uint16_t)l->ordinals[i];
    }
    l->starts[l->nkeys] = l->n;
    return true;
}

void bm_layer_clear(bm_layer *l) {
    free(l->rows);
    free(l->starts);
    memset(l, 0, sizeof *l);
}

/* The index of a row in a layer, or -1. */
static int64_t layer_find(const bm_layer *l, uint32_t ordinal) {
    uint32_t from, to;
    bm_layer_rows(l, ordinal >> 16, &from, &to);
    while (from < to) {
        uint32_t mid = (from + to) / 2;
        if (l->ordinals[mid] == ordinal) return mid;
        if (l->ordinals[mid] < ordinal) from = mid + 1;
        else to = mid;
    }
    return -1;
}

void bm_column_take(const bm_column *c, const uint32_t *ordinals, size_t n, int64_t *values, uint8_t *present) {
    for (size_t i = 0; i < n; i++) {
        uint32_t at = ordinals[i] / BM_CHUNK_ROWS, row = ordinals[i] % BM_CHUNK_ROWS;
        for (uint32_t l = c->nlayers; l-- > 0;) { /* the newest that has the row */
            int64_t found = layer_find(c->layers[l], ordinals[i]);
            if (found < 0) continue;
            present[i] = c->layers[l]->present[found] != 0;
            values[i] = present[i] ? c->layers[l]->values[found] : 0;
            goto next;
        }
        uint64_t code = at < c->n && row < c->at[at].rows ? bm_chunk_code(&c->at[at], row) : 0;
        present[i] = code != 0;
        values[i] = code ? decode(&c->at[at], code) : 0;
    next:;
    }
}

void bm_column_bounds(const bm_column *c, int64_t *min, int64_t *max, uint64_t *present) {
    *present = 0;
    *min = *max = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        const bm_chunk *k = &c->at[i];
        if (!k->present) continue;
        if (!*present || k->base < *min) *min = k->base;
        if (!*present || k->max > *max) *max = k->max;
        *present += k->present;
    }
    for (uint32_t i = 0; i < c->nlayers; i++) {
        const bm_layer *l = c->layers[i];
        if (!l->n) continue;
        if (!*present || l->least < *min) *min = l->least;
        if (!*present || l->most > *max) *max = l->most;
        *present += l->n;
    }
}

/* The share of the values [base, top] that lies in [lo, hi], if they are spread evenly. */
static double share(int64_t lo, int64_t hi, int64_t base, int64_t top) {
    if (lo > hi || hi < base || lo > top) return 0;
    int64_t from = lo > base ? lo : base, to = hi < top ? hi : top;
    return ((double)difference(to, from) + 1) / ((double)difference(top, base) + 1);
}

void bm_column_estimate(const bm_column *c, int64_t lo, int64_t hi, uint64_t *least, double *expected, uint64_t *most) {
    uint64_t rows = 0, touched = 0;
    *least = *most = 0;
    *expected = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        const bm_chunk *k = &c->at[i];
        rows += k->present;
        if (!k->present || lo > hi || hi < k->base || lo > k->max) continue;
        *most += k->present;
        if (lo <= k->base && hi >= k->max) *least += k->present;
        *expected += k->present * share(lo, hi, k->base, k->max);
    }
    if (!c->nlayers) return;
    for (uint32_t i = 0; i < c->nlayers; i++) touched += c->layers[i]->n;
    /* Any touched row may have left, and may have come where the layer's values reach. */
    *least = *least > touched ? *least - touched : 0;
    if (rows) *expected *= 1 - (double)(touched < rows ? touched : rows) / (double)rows;
    for (uint32_t i = 0; i < c->nlayers; i++) {
        const bm_layer *l = c->layers[i];
        double part = l->n * share(lo, hi, l->least, l->most);
        *expected += part;
        if (part > 0) *most += l->n;
    }
}
