/* Kernels on single containers, shared by the evaluator's files. Nothing outside src/bm_*.c and src/ev_*.c
 * includes this.
 *
 * Bitsets are 1,024 little-endian words at any alignment; arrays are ascending u16; runs are (start, length - 1)
 * pairs of u16. Sources may be borrowed bytes; a destination is always scratch of BM_BUF bytes. */
#ifndef BM_KERNELS_H
#define BM_KERNELS_H

#include "bm.h"

/* One operand of an n-ary AND: a bitset and ~0 when it counts complemented, else 0. */
typedef struct {
    const uint8_t *bits;
    uint64_t flip;
} bm_src;

#define BM_PAGE 256u
#define BM_PAGES (BM_CHUNK_ROWS / BM_PAGE)

/* Rows that ascend by contact, of which there are BM_CHUNK_ROWS. */
typedef struct {
    const uint16_t *first; /* where the rows of each page begin, and those of the last end */
    const uint8_t *lows;   /* the low byte of each row's contact; 64 bytes more may be read */
    const uint8_t *some;   /* NULL, or a bit a row: only these are meant; 9 bytes more may be read */
} bm_paged;

/* Rows of BM_CHUNK_ROWS contacts, those of each together, by contact. */
typedef struct {
    const uint64_t *has;    /* a bit a contact: it has rows */
    const uint32_t *before; /* how many rows those before each 64 contacts have */
    const uint64_t *firsts; /* a bit a row: it is its contact's first; the one behind the last row is set too */
} bm_sheet;

/* Those of one contact. */
typedef struct {
    uint32_t row, n;
    uint16_t contact;
} bm_stretch;

/* One of these rows. */
typedef struct {
    uint32_t code; /* 0 where it has no value */
    uint32_t when; /* a step of time << 1, and 1 more where the row counts */
} bm_entry;

/* Which of them are added up: those of the steps lo to hi, of these only those that count where that is asked. All rows of the
 * steps sure_lo to sure_hi are meant (no step where the first is greater); of the other steps that is open. */
typedef struct {
    uint32_t lo, hi, sure_lo, sure_hi;
    bool counting;
} bm_steps;

/* What those of a contact come to. */
typedef struct {
    uint64_t sum;          /* of the codes, */
    uint32_t valued, rows; /* those that are not 0, and all; of sure steps */
    bool open;             /* whether some are of other steps */
} bm_total;

typedef struct {
    /* The AND of n >= 1 operands: its cardinality, and the words themselves when dst is given. dst may be one of
     * the operands, else must not overlap any. */
    uint32_t (*all)(const bm_src *src, uint32_t n, uint8_t *dst);
    /* The bits set in n words. */
    uint32_t (*count)(const uint64_t *words, uint32_t n);
    /* Positions of the set bits of bits ^ flip, at most cap of them. out has BM_PAD bytes of slack. */
    uint32_t (*extract)(const uint8_t *bits, uint64_t flip, uint16_t *out, uint32_t cap);
    /* The elements of cand whose bit is set in mask, in order. out may be cand itself, and has slack. */
    uint32_t (*compact)(const bm_u16 *cand, uint32_t n, const uint64_t *mask, uint16_t *out);
    /* Intersection of two arrays; out must overlap neither and has slack. */
    uint32_t (*array_and)(const bm_u16 *a, uint32_t na, const bm_u16 *b, uint32_t nb, uint16_t *out, uint32_t cap);
    uint32_t (*array_and_count)(const bm_u16 *a, uint32_t na, const bm_u16 *b, uint32_t nb);
    /* Bit i of mask = a[i] is in b. */
    void (*array_test)(const bm_u16 *a, uint32_t n, const bm_u16 *b, uint32_t nb, uint64_t *mask);
    void (*array_set)(const bm_u16 *a, uint32_t n, uint8_t *bits);
    void (*array_clear)(const bm_u16 *a, uint32_t n, uint8_t *bits);
    uint32_t (*array_count_in_bits)(const bm_u16 *a, uint32_t n, const uint8_t *bits);
    void (*array_test_bits)(const bm_u16 *a, uint32_t n, const uint8_t *bits, uint64_t *mask);
    /* The union of the runs as a bitset: written to dst, or combined with it. dst is scratch. */
    void (*runs_write)(const bm_u16 *runs, uint32_t n, uint8_t *dst);
    void (*runs_set)(const bm_u16 *runs, uint32_t n, uint8_t *dst);
    void (*runs_clear)(const bm_u16 *runs, uint32_t n, uint8_t *dst);
    void (*runs_keep)(const bm_u16 *runs, uint32_t n, uint8_t *dst); /* clears what lies between them */
    /* Rows whose code lies in lo..lo + span, for codes of 1, 2, 4 and 8 bytes; writes (rows + 63) / 64 words. */
    void (*range[4])(const uint8_t *codes, uint32_t rows, uint64_t lo, uint64_t span, uint64_t *out);
    /* Rows whose code's bit is set in lut (256 bits, 65,536 bits), for codes of 1 and 2 bytes. */
    void (*lookup[2])(const uint8_t *codes, uint32_t rows, const uint64_t *lut, uint64_t *out);
    /* Codes of 4 bytes in a wide table: rows with code - lo <= span and bit (code - lo + at) of bits set. at + span is
     * below 2^31. */
    void (*lookup_wide)(const uint8_t *codes, uint32_t rows, uint32_t lo, uint32_t span, const uint64_t *bits,
                        uint32_t at, uint64_t *out);
    /* The rows of n groups that have a value, in order, get the bits of packed, which has a word more than they need. */
    void (*spread)(const uint64_t *packed, const bm_group *groups, uint32_t n, uint64_t *out);
    /* The places of m rows of a chunk: see bm_group_place. */
    void (*places)(const bm_group *groups, const bm_u16 *cand, uint32_t m, uint32_t present, uint16_t *at);
    /* Codes of 2 bytes: rows whose bit (code + shift) % BM_CHUNK_ROWS of bits is set. */
    void (*member)(const uint8_t *codes, uint32_t rows, uint32_t shift, const uint64_t *bits, uint64_t *out);
    /* The rows of the contacts chosen, BM_CHUNK_WORDS words, in the pages whose bit is set: how many, in order, and the
     * contact of each. Both outputs have BM_PAD bytes of slack. */
    uint32_t (*rows_of)(const bm_paged *of, const uint64_t *chosen, uint64_t pages, uint16_t *rows, uint16_t *contacts);
    /* The rows of the contacts chosen, BM_CHUNK_WORDS words, from word *word on: for how many contacts, in order, and so many
     * that 64 more would not fit in `most`, or all. *word is where to go on. */
    uint32_t (*stretches)(const bm_sheet *s, const uint64_t *chosen, uint32_t *word, bm_stretch *out, uint32_t most);
    /* What each of n stretches comes to. */
    void (*totals)(const bm_entry *entries, const bm_steps *steps, const bm_stretch *of, uint32_t n, bm_total *out);
} bm_simd;

extern bm_simd bm_ops;
extern const bm_simd bm_ops_scalar; /* of bitsets and scans; arrays and runs add their own */
void bm_use_scalar_arrays(bm_simd *ops);
void bm_use_scalar_runs(bm_simd *ops);
void bm_use_avx2_runs(bm_simd *ops);
void bm_use_avx512_runs(bm_simd *ops);
void bm_use_avx2_bits(bm_simd *ops);
void bm_use_avx512_bits(bm_simd *ops);
void bm_use_sse_arrays(bm_simd *ops);
void bm_use_avx2_scans(bm_simd *ops);
void bm_use_avx512_scans(bm_simd *ops);
void bm_use_scalar_pages(bm_simd *ops);
void bm_use_avx2_pages(bm_simd *ops);
void bm_use_avx512_pages(bm_simd *ops);
void bm_use_scalar_sheets(bm_simd *ops);
void bm_use_avx2_sheets(bm_simd *ops);
void bm_use_avx512_sheets(bm_simd *ops);

static inline uint64_t bm_ones(uint32_t n) { return n >= 64 ? ~0ull : (1ull << n) - 1; } /* the n lowest bits */

/* bm_bitset.c */
uint32_t bm_bits_all_scalar(const bm_src *src, uint32_t n, uint8_t *dst);
uint32_t bm_bits_count_scalar(const uint64_t *words, uint32_t n);
uint32_t bm_bits_extract_scalar(const uint8_t *bits, uint64_t flip, uint16_t *out, uint32_t cap);
uint32_t bm_compact_scalar(const bm_u16 *cand, uint32_t n, const uint64_t *mask, uint16_t *out);
uint32_t bm_bits_count_range(const uint8_t *bits, uint32_t first, uint32_t last);
void bm_bits_set_range(uint8_t *bits, uint32_t first, uint32_t last);
void bm_bits_clear_range(uint8_t *bits, uint32_t first, uint32_t last);
/* Add the bits of add ^ flip to the counters in `nplanes` bit planes; rows whose counter overflows are set in `over`. */
void bm_bits_carry(const uint8_t *add, uint64_t flip, uint64_t *planes, uint32_t nplanes, uint64_t *over,
                   uint32_t words);

/* bm_array.c */
uint32_t bm_array_and_scalar(const bm_u16 *a, uint32_t na, const bm_u16 *b, uint32_t nb, uint16_t *out, uint32_t cap);
uint32_t bm_array_and_count_scalar(const bm_u16 *a, uint32_t na, const bm_u16 *b, uint32_t nb);
uint32_t bm_array_or(const bm_u16 *a, uint32_t na, const bm_u16 *b, uint32_t nb, uint16_t *out, uint32_t cap);
uint32_t bm_array_andnot(const bm_u16 *a, uint32_t na, const bm_u16 *b, uint32_t nb, uint16_t *out, uint32_t cap);
/* The first index >= from whose element is >= v, or n. */
uint32_t bm_array_seek(const bm_u16 *a, uint32_t from, uint32_t n, uint16_t v);
/* How many elements of b lie below each of a, by binary search: for b much longer than a. */
void bm_array_ranks(const bm_u16 *a, uint32_t n, const bm_u16 *b, uint32_t nb, uint32_t *at);
/* Membership of each of a in the array b, in the same way. */
void bm_array_test_search(const bm_u16 *a, uint32_t n, const bm_u16 *b, uint32_t nb, uint64_t *mask);
bool bm_array_has(const bm_u16 *a, uint32_t n, uint16_t v);

/* bm_run.c */
static inline uint32_t bm_run_last(const bm_u16 *runs, uint32_t i) { /* clamped: length bytes are not trusted */
    uint32_t last = (uint32_t)runs[2 * i] + runs[2 * i + 1];
    return last > 65535u ? 65535u : last;
}
uint32_t bm_runs_and_count(const bm_u16 *a, uint32_t na, const bm_u16 *b, uint32_t nb);
uint32_t bm_runs_count_in_bits(const bm_u16 *runs, uint32_t n, const uint8_t *bits);
uint32_t bm_runs_to_array(const bm_u16 *runs, uint32_t n, uint16_t *out, uint32_t cap);
uint32_t bm_runs_count_in_array(const bm_u16 *runs, uint32_t n, const bm_u16 *a, uint32_t na);
/* Bits of the candidates inside the runs; for few runs: two searches each. */
void bm_runs_test(const bm_u16 *cand, uint32_t n, const bm_u16 *runs, uint32_t nruns, uint64_t *mask);
bool bm_runs_has(const bm_u16 *runs, uint32_t n, uint16_t v);

/* bm_scan.c: a predicate on a column, one container at a time */
typedef struct {
    const bm_column *column;
    const bm_table *table; /* NULL for a range */
    int64_t lo, hi;
} bm_scan;
void bm_scan_bounds(const bm_scan *s, uint32_t key, uint32_t *lo, uint32_t *hi);
void bm_scan_bits(const bm_scan *s, uint32_t key, uint8_t *dst, uint64_t *lut); /* lut: BM_BUF bytes of scratch */
void bm_scan_test(const bm_scan *s, uint32_t key, const bm_u16 *cand, uint32_t n, uint64_t *mask);

/* The same on one chunk, whatever column it is of: s->column is not looked at. */
enum { BM_ZONE_NONE, BM_ZONE_SOME, BM_ZONE_ALL }; /* which of a chunk's present values match, by its zone map */
/* Also the codes lo..hi (1 at least) that can match, for a chunk that has values. */
int bm_chunk_zone(const bm_scan *s, const bm_chunk *c, uint64_t *lo, uint64_t *hi);
/* All rows: BM_CHUNK_WORDS words, 0 behind the chunk's rows. */
void bm_chunk_bits(const bm_scan *s, const bm_chunk *c, uint64_t *out, uint64_t *lut);
/* The m rows `cand`: bit at + i of mask, which must be clear, says whether cand[i] matches. */
void bm_chunk_test(const bm_scan *s, const bm_chunk *c, const bm_u16 *cand, uint32_t at, uint32_t m, uint64_t *mask);

/* The rows of a layer in one container, as indices [*from, *to). */
static inline void bm_layer_rows(const bm_layer *l, uint32_t key, uint32_t *from, uint32_t *to) {
    bool has = key < l->nkeys;
    *from = has ? l->starts[key] : 0;
    *to = has ? l->starts[key + 1] : 0;
}

static inline uint64_t bm_code(const bm_chunk *c, uint32_t row) { /* row < c->rows */
    switch (c->width) {
    case 1: return c->codes[row];
    case 2: return ((const bm_u16 *)c->codes)[row];
    case 4: return ((const bm_u32 *)c->codes)[row];
    case 8: return ((const bm_u64 *)c->codes)[row];
    default: return 1; /* width 0: every row holds the one value */
    }
}

/* The groups of a sparse chunk. */
static inline const bm_group *bm_chunk_groups(const bm_chunk *c) { return (const bm_group *)(c->codes - BM_SPARSE_HEAD); }

#define BM_PLACE 0x3fffu /* of a place: where the code of a row stands among those of a sparse chunk; */
#define BM_THERE 0x8000u /* and whether the row has one */

/* The place of a row among `present` codes, never behind them: what the groups say may be damaged. Without a branch, since
 * whether a row has a value is anyone's guess. */
static inline uint32_t bm_group_place(const bm_group *groups, uint32_t row, uint32_t present) {
    const uint64_t rows = groups[row >> 6].rows;
    const uint32_t at = groups[row >> 6].before + (uint32_t)__builtin_popcountll(rows & bm_ones(row & 63));
    const uint32_t in = at < present;
    return (in ? at : 0) | ((uint32_t)(rows >> (row & 63)) & in) << 15;
}

/* The code of a row of any chunk but those of blocks, which are never sparse; row < c->rows. */
static inline uint64_t bm_chunk_code(const bm_chunk *c, uint32_t row) {
    if (!c->sparse) return bm_code(c, row);
    const uint32_t place = bm_group_place(bm_chunk_groups(c), row, c->present);
    return place & BM_THERE ? bm_code(c, place & BM_PLACE) : 0;
}

static inline void bm_put_code(uint8_t *codes, uint32_t width, uint32_t row, uint64_t code) { /* width > 0 */
    switch (width) {
    case 1: codes[row] = (uint8_t)code; break;
    case 2: ((bm_u16 *)codes)[row] = (uint16_t)code; break;
    case 4: ((bm_u32 *)codes)[row] = (uint32_t)code; break;
    default: ((bm_u64 *)codes)[row] = code; break;
    }
}

#endif
