/* A predicate on a column over one container: bounds from the zone maps, all rows to a bitset, or chosen candidates.
 *
 * Nothing is materialised beyond the container in hand; the kernels are in bm_scan_simd.c. */
#include "bm_kernels.h"

int bm_chunk_zone(const bm_scan *s, const bm_chunk *c, uint64_t *lo, uint64_t *hi) {
    uint64_t top = (uint64_t)c->max - (uint64_t)c->base + 1;
    if (!c->present) return BM_ZONE_NONE;
    if (s->table) {
        *lo = 1;
        *hi = top;
        int64_t first = s->table->base; /* the last value is first + nbits - 1, and nbits may be 0 */
        bool apart = !s->table->nbits || c->max < first ||
                     (c->base >= first && (uint64_t)c->base - (uint64_t)first >= s->table->nbits);
        return !apart ? BM_ZONE_SOME : s->table->negate ? BM_ZONE_ALL : BM_ZONE_NONE;
    }
    if (s->lo > s->hi || s->hi < c->base || s->lo > c->max) return BM_ZONE_NONE;
    *lo = s->lo <= c->base ? 1 : (uint64_t)s->lo - (uint64_t)c->base + 1;
    *hi = s->hi >= c->max ? top : (uint64_t)s->hi - (uint64_t)c->base + 1;
    return *lo == 1 && *hi == top ? BM_ZONE_ALL : BM_ZONE_SOME;
}

void bm_scan_bounds(const bm_scan *s, uint32_t key, uint32_t *least, uint32_t *most) {
    uint64_t lo, hi;
    *least = *most = 0;
    for (uint32_t i = key * BM_CHUNKS; i < (key + 1) * BM_CHUNKS && i < s->column->n; i++) {
        const bm_chunk *c = &s->column->at[i];
        int z = bm_chunk_zone(s, c, &lo, &hi);
        if (z != BM_ZONE_NONE) *most += c->present;
        if (z == BM_ZONE_ALL) *least += c->present;
    }
    for (uint32_t i = 0; i < s->column->nlayers; i++) {
        uint32_t from, to;
        bm_layer_rows(s->column->layers[i], key, &from, &to);
        *least = *least > to - from ? *least - (to - from) : 0;
        *most += to - from;
    }
    if (*most > BM_ROWS) *most = BM_ROWS;
}

/* Whether a layer's value matches: without a branch for a range, since which way it goes is anyone's guess. */
static inline bool layer_match(const bm_scan *s, const bm_layer *l, uint32_t at) {
    int64_t v = l->values[at];
    bool present = l->all_present || l->present[at]; /* of rows apart, that would be another cache miss */
    if (!s->table) return present & (s->lo <= v) & (v <= s->hi);
    uint64_t bit = (uint64_t)v - (uint64_t)s->table->base; /* wraps to huge below the table */
    bool in = bit < s->table->nbits && ((s->table->words[bit >> 6] >> (bit & 63)) & 1);
    return present & (in != s->table->negate);
}

static inline void put_bit(uint64_t *bits, uint32_t at, bool on) {
    bits[at >> 6] = (bits[at >> 6] & ~(1ull << (at & 63))) | (uint64_t)on << (at & 63);
}

static void layer_bits(const bm_scan *s, const bm_layer *l, uint32_t key, uint64_t *bits) {
    uint32_t from, to;
    bm_layer_rows(l, key, &from, &to);
    for (uint32_t i = from; i < to; i++) put_bit(bits, l->rows[i], layer_match(s, l, i));
}

/* The candidates that the layers have get the bits of their newer values, the newest last. */
static void layers_test(const bm_scan *s, uint32_t key, const bm_u16 *cand, uint32_t n, uint64_t *mask) {
    uint64_t common[BM_MASK_WORDS];
    uint16_t rows[BM_BUF / 2];
    uint32_t at[BM_ARRAY_MAX];
    for (uint32_t l = 0; l < s->column->nlayers; l++) {
        const bm_layer *layer = s->column->layers[l];
        uint32_t from, to, i = 0;
        bm_layer_rows(layer, key, &from, &to);
        if (from == to) continue;
        const bm_u16 *its = (const bm_u16 *)layer->rows + from;
        bm_ops.array_test(cand, n, its, to - from, common);
        bm_array_ranks((const bm_u16 *)rows, bm_ops.compact(cand, n, common, rows), its, to - from, at);
        for (uint32_t w = 0; w * 64 < n; w++)
            for (uint64_t left = common[w]; left; left &= left - 1, i++) {
                if (at[i] >= to - from) return; /* damaged candidates need not ascend */
                put_bit(mask, w * 64 + (uint32_t)__builtin_ctzll(left), layer_match(s, layer, from + at[i]));
            }
    }
}

static inline bool in_table(const bm_table *t, const bm_chunk *c, uint64_t code) {
    if (!code) return false;
    uint64_t at = (uint64_t)c->base + code - 1 - (uint64_t)t->base; /* wraps to huge below the table */
    bool in = at < t->nbits && ((t->words[at >> 6] >> (at & 63)) & 1);
    return in != t->negate;
}

/* The table restated over this chunk's codes: bit `code` of lut, for all 2^(8 * width) codes. */
static void translate(const bm_table *t, const bm_chunk *c, uint64_t *lut) {
    uint32_t words = c->width == 1 ? 4 : 1024;
    uint64_t top = (uint64_t)c->max - (uint64_t)c->base + 1;
    uint64_t shift = (uint64_t)c->base - 1 - (uint64_t)t->base; /* table bit = code + shift */
    for (uint32_t w = 0; w < words; w++) {
        uint64_t at = (uint64_t)w * 64 + shift, v = 0;
        if ((uint64_t)w * 64 > top) {
            lut[w] = 0;
            continue;
        }
        if (at < t->nbits) {
            v = t->words[at >> 6] >> (at & 63);
            if (at & 63) v |= t->words[(at >> 6) + 1] << (64 - (at & 63)); /* one zero word follows the table */
        } else if (at > (uint64_t)-64) { /* the table begins inside this word */
            v = t->nbits ? t->words[0] << (0 - at) : 0;
        }
        if (t->negate) v = ~v;
        if (w == 0) v &= ~1ull; /* code 0 is a missing value */
        if (top - (uint64_t)w * 64 < 63) v &= bm_ones((uint32_t)(top - (uint64_t)w * 64) + 1);
        lut[w] = v;
    }
}

/* A table over codes of 4 bytes. The chunk overlaps the table, so that some code does. `all` is scratch. */
static void wide_bits(const bm_table *t, const bm_chunk *c, uint64_t *out, uint64_t *all) {
    uint64_t top = (uint64_t)c->max - (uint64_t)c->base + 1;
    bool inside = t->base <= c->base; /* the table begins at or before the chunk's values */
    uint64_t at = inside ? (uint64_t)c->base - (uint64_t)t->base : 0;
    uint64_t first = inside ? 1 : (uint64_t)t->base - (uint64_t)c->base + 1;
    uint64_t span = t->nbits - at - 1 < top - first ? t->nbits - at - 1 : top - first;
    bm_ops.lookup_wide(c->codes, c->rows, (uint32_t)first, (uint32_t)span, t->words, (uint32_t)at, out);
    if (!t->negate) return;
    memset(all, 0, BM_CHUNK_WORDS * 8);
    bm_ops.range[2](c->codes, c->rows, 1, top - 1, all);
    for (uint32_t w = 0; w < BM_CHUNK_WORDS; w++) out[w] = all[w] & ~out[w];
}

static void set_rows(uint64_t *out, uint32_t rows) {
    for (uint32_t w = 0; w < BM_CHUNK_WORDS; w++)
        out[w] = rows >= (w + 1) * 64 ? ~0ull : rows > w * 64 ? bm_ones(rows - w * 64) : 0;
}

/* The codes of a sparse chunk are compared as those of a chunk of fewer rows, then laid out over the rows that have one. */
static void sparse_bits(const bm_scan *s, const bm_chunk *c, uint64_t *out, uint64_t *lut) {
    uint64_t packed[BM_CHUNK_WORDS + 1] = {0};
    bm_chunk few = *c;
    few.sparse = false;
    few.rows = c->present;
    bm_chunk_bits(s, &few, packed, lut);
    const uint32_t words = (c->rows + 63) / 64;
    memset(out, 0, BM_CHUNK_WORDS * 8);
    bm_ops.spread(packed, bm_chunk_groups(c), words, out);
    if (c->rows & 63) out[words - 1] &= bm_ones(c->rows & 63); /* what says which rows those are may be damaged */
}

void bm_chunk_bits(const bm_scan *s, const bm_chunk *c, uint64_t *out, uint64_t *lut) {
    uint64_t lo = 0, hi = 0;
    if (c->sparse) {
        sparse_bits(s, c, out, lut);
        return;
    }
    int z = bm_chunk_zone(s, c, &lo, &hi);
    if (z == BM_ZONE_ALL && c->present == c->rows) {
        set_rows(out, c->rows);
        return;
    }
    memset(out, 0, BM_CHUNK_WORDS * 8);
    if (z == BM_ZONE_NONE) return;
    if (c->width == 0) { /* one value throughout: a table decides */
        if (in_table(s->table, c, 1)) set_rows(out, c->rows);
    } else if (!s->table || z == BM_ZONE_ALL) {
        uint32_t which = c->width == 1 ? 0 : c->width == 2 ? 1 : c->width == 4 ? 2 : 3;
        bm_ops.range[which](c->codes, c->rows, lo, hi - lo, out);
    } else if (c->width <= 2) {
        translate(s->table, c, lut);
        bm_ops.lookup[c->width - 1](c->codes, c->rows, lut, out);
    } else if (c->width == 4) {
        wide_bits(s->table, c, out, lut);
    } else {
        for (uint32_t r = 0; r < c->rows; r++) out[r >> 6] |= (uint64_t)in_table(s->table, c, bm_code(c, r)) << (r & 63);
    }
}

void bm_scan_bits(const bm_scan *s, uint32_t key, uint8_t *dst, uint64_t *lut) {
    for (uint32_t i = 0; i < BM_CHUNKS; i++) {
        uint32_t at = key * BM_CHUNKS + i;
        uint64_t *out = (uint64_t *)dst + i * BM_CHUNK_WORDS;
        if (at < s->column->n) bm_chunk_bits(s, &s->column->at[at], out, lut);
        else memset(out, 0, BM_CHUNK_WORDS * 8);
    }
    for (uint32_t i = 0; i < s->column->nlayers; i++) layer_bits(s, s->column->layers[i], key, (uint64_t *)dst);
}

/* Candidates m of one chunk from `cand`; bit i of the result into mask at position at + i. */
#define TEST_ROWS(type, match)                                                               \
    for (uint32_t i = 0; i < m; i++) {                                                       \
        uint32_t row = cand[i] & (BM_CHUNK_ROWS - 1);                                        \
        uint64_t code = row < c->rows ? ((const type *)c->codes)[row] : 0;                   \
        mask[(at + i) >> 6] |= (uint64_t)(match) << ((at + i) & 63);                         \
    }

#define SPARSE_ROWS(type)                                                                     \
    for (uint32_t i = 0; i < n; i++) {                                                        \
        const uint64_t code = ((const type *)c->codes)[places[i] & BM_PLACE];                  \
        const uint64_t in = (places[i] >> 15) & (code - lo <= span);                           \
        mask[(at + i) >> 6] |= in << ((at + i) & 63);                                          \
    }

static void sparse_test(const bm_scan *s, const bm_chunk *c, uint64_t lo, uint64_t span, const bm_u16 *cand, uint32_t at,
                        uint32_t m, uint64_t *mask) {
    uint16_t places[256];
    for (uint32_t n; m; cand += n, at += n, m -= n) {
        n = m < 256 ? m : 256;
        bm_ops.places(bm_chunk_groups(c), cand, n, c->present, places);
        if (!s->table && c->width == 4) {
            SPARSE_ROWS(bm_u32)
        } else if (!s->table && c->width == 8) {
            SPARSE_ROWS(bm_u64)
        } else {
            for (uint32_t i = 0; i < n; i++) {
                const uint64_t code = places[i] & BM_THERE ? bm_code(c, places[i] & BM_PLACE) : 0;
                const bool in = s->table ? in_table(s->table, c, code) : code - lo <= span;
                mask[(at + i) >> 6] |= (uint64_t)in << ((at + i) & 63);
            }
        }
    }
}

void bm_chunk_test(const bm_scan *s, const bm_chunk *c, const bm_u16 *cand, uint32_t at, uint32_t m, uint64_t *mask) {
    uint64_t lo = 0, hi = 0;
    int z = bm_chunk_zone(s, c, &lo, &hi);
    if (z == BM_ZONE_NONE) return;
    uint64_t span = hi - lo;
    if (c->width == 0) {
        bool in = s->table ? in_table(s->table, c, 1) : true;
        for (uint32_t i = 0; in && i < m; i++)
            mask[(at + i) >> 6] |= (uint64_t)((cand[i] & (BM_CHUNK_ROWS - 1)) < c->rows) << ((at + i) & 63);
    } else if (c->sparse) {
        sparse_test(s, c, lo, span, cand, at, m, mask);
    } else if (s->table) {
        for (uint32_t i = 0; i < m; i++) {
            uint32_t row = cand[i] & (BM_CHUNK_ROWS - 1);
            bool in = row < c->rows && in_table(s->table, c, bm_code(c, row));
            mask[(at + i) >> 6] |= (uint64_t)in << ((at + i) & 63);
        }
    } else if (c->width == 1) {
        TEST_ROWS(uint8_t, code - lo <= span)
    } else if (c->width == 2) {
        TEST_ROWS(bm_u16, code - lo <= span)
    } else if (c->width == 4) {
        TEST_ROWS(bm_u32, code - lo <= span)
    } else {
        TEST_ROWS(bm_u64, code - lo <= span)
    }
}

void bm_scan_test(const bm_scan *s, uint32_t key, const bm_u16 *cand, uint32_t n, uint64_t *mask) {
    memset(mask, 0, (n + 63) / 64 * 8);
    for (uint32_t i = 0; i < n;) {
        uint32_t chunk = cand[i] / BM_CHUNK_ROWS, end = i + 1;
        while (end < n && cand[end] / BM_CHUNK_ROWS == chunk) end++;
        uint32_t at = key * BM_CHUNKS + chunk;
        if (at < s->column->n) bm_chunk_test(s, &s->column->at[at], cand + i, i, end - i, mask);
        i = end;
    }
    if (s->column->nlayers) layers_test(s, key, cand, n, mask);
}
