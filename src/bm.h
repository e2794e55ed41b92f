/* The native evaluator: Roaring postings and column chunks in place, expressions over them, container by container.
 *
 * Nothing here allocates Python objects, does I/O or takes a lock. Bytes given to bm_*_open are borrowed: they
 * must outlive what was opened over them. Whatever those bytes hold, evaluation reads inside them only; bytes that
 * pass the open checks but break an invariant (an unsorted array, a false cardinality) give a wrong number, never
 * a wild access. That is why every writer of an array below takes its capacity. */
#ifndef BM_H
#define BM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "bm_tuning.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "segidx reads its little-endian formats in place; a big-endian host is not supported"
#endif

/* Loads at any alignment: LMDB values start at even addresses, value headers may make them odd. */
typedef uint16_t __attribute__((aligned(1), may_alias)) bm_u16;
typedef uint32_t __attribute__((aligned(1), may_alias)) bm_u32;
typedef uint64_t __attribute__((aligned(1), may_alias)) bm_u64;
typedef int64_t __attribute__((aligned(1), may_alias)) bm_i64;

/* --- postings (bm_view.c, bm_validate.c) ---------------------------------------------------------------- */

enum { BM_EMPTY = 0, BM_ARRAY = 1, BM_BITS = 2, BM_RUNS = 3 };

/* One container in place. `runs` counts (start, length - 1) pairs of BM_RUNS; of an overlay's array it is BM_NEW once an
 * evaluation has found that each of its rows changes the base (threads may find it at the same time, and store the same). */
typedef struct {
    const uint8_t *data;
    uint32_t card : 24;
    uint32_t type : 8;
    uint16_t key;
    uint16_t runs;
} bm_container;

enum { BM_NEW = 1 };

/* Containers in ascending order of key. */
typedef struct {
    bm_container *at;
    uint32_t n;
} bm_dir;

/* An operand (B, A, R): the set (base \ removed) | added. */
typedef struct {
    bm_dir base, added, removed;
    int64_t card; /* |B| + |A| - |R|: right when R is inside B and A is disjoint from B */
} bm_posting;

/* How many containers the header of a portable Roaring buffer announces; 0 with *reason set when it is malformed. */
uint32_t bm_dir_count(const uint8_t *buf, size_t len, const char **reason);
/* Append the containers of one buffer to dir (which has room); false with *reason set when malformed. */
bool bm_dir_append(bm_dir *dir, const uint8_t *buf, size_t len, const char **reason);
uint64_t bm_dir_card(const bm_dir *dir); /* sum of the cardinalities the headers state */
/* The first index whose key is >= key. */
uint32_t bm_dir_seek(const bm_dir *dir, uint32_t key);
const bm_container *bm_dir_find(const bm_dir *dir, uint32_t key);
bool bm_container_has(const bm_container *c, uint16_t low);
bool bm_posting_has(const bm_posting *p, uint32_t ordinal);
/* Full validation of one portable buffer; NULL when sound, else what is wrong with it. */
const char *bm_validate(const uint8_t *buf, size_t len);

/* --- columns (bm_column.c) ------------------------------------------------------------------------------ */

#define BM_CHUNK_HEADER 32u
#define BM_CHUNK_VERSION 1u
#define BM_CHUNK_SPARSE 1u           /* a flag */
#define BM_SPARSE_HEAD (256u * 10) /* of groups of 64 rows */
#define BM_VALUE_LIMIT ((int64_t)1 << 62) /* |value| stays below */

/* 64 rows of a sparse chunk: bit r is set where row r has a value; and how many rows before them have one. */
typedef struct __attribute__((packed)) {
    uint64_t rows;
    uint16_t before;
} bm_group;

typedef struct {
    const uint8_t *codes; /* rows * width bytes, of a sparse chunk present * width; NULL for a chunk without any value */
    int64_t base, max;    /* of the present values */
    uint32_t present, rows;
    uint32_t checksum;
    uint8_t width; /* bytes a code: 0, 1, 2, 4, 8 */
    bool sparse;   /* only rows with a value have a code (see bm_chunk_code in bm_kernels.h) */
} bm_chunk;

/* Newer values of some rows: those of one field in one delta (bm_delta.h), whose memory they borrow, and an index of
 * them by container, which they own. */
typedef struct {
    const bm_u32 *ordinals; /* ascending */
    const bm_i64 *values;
    const uint8_t *present;
    uint32_t n;
    int64_t least, most; /* of the present values */
    uint16_t *rows;      /* the low half of each ordinal */
    uint32_t *starts;    /* container k has the rows [starts[k], starts[k + 1]) */
    uint32_t nkeys;      /* no container from this one on has any */
    bool all_present;
} bm_layer;

/* Chunks, and the layers above them, oldest first: a row's value is that of the newest layer that has the row. */
typedef struct {
    bm_chunk *at;
    uint32_t n;
    const bm_layer *const *layers;
    uint32_t nlayers;
} bm_column;

/* Make the index of a layer whose borrowed parts are set; false without memory. */
bool bm_layer_index(bm_layer *l);
void bm_layer_clear(bm_layer *l);

/* A set of integers as bits, least significant first: value v is in it iff bit v - base is set. */
typedef struct {
    int64_t base;
    uint64_t nbits;
    bool negate; /* present values outside the set match instead */
    uint64_t *words; /* (nbits + 63) / 64 and one more, zero padded */
} bm_table;

const char *bm_chunk_open(bm_chunk *chunk, const uint8_t *buf, size_t len);
/* The same for one of at most `most` rows, not sparse, and for the first bytes of buf alone: it takes bm_chunk_size of
 * them. */
const char *bm_chunk_head(bm_chunk *chunk, const uint8_t *buf, size_t len, uint32_t most);
static inline size_t bm_chunk_size(const bm_chunk *c) {
    return BM_CHUNK_HEADER + (c->sparse ? BM_SPARSE_HEAD + (size_t)c->present * c->width : (size_t)c->rows * c->width);
}
/* Whether every code of the chunk agrees with its header; NULL when so, else what is wrong. */
const char *bm_chunk_check(const bm_chunk *chunk);
/* The width and bounds for `n` values, into *chunk; NULL, or why they cannot be stored. */
const char *bm_chunk_plan(bm_chunk *chunk, const int64_t *values, const uint8_t *present, uint32_t n);
/* Makes a planned chunk sparse where that is worth it. */
void bm_chunk_thin(bm_chunk *chunk);
/* The narrowest width for the chunk's bounds and counts. */
void bm_chunk_fit(bm_chunk *chunk);
/* Writes the header, its checksum 0, and returns where the codes go. */
uint8_t *bm_chunk_begin(const bm_chunk *chunk, uint8_t *out);
void bm_chunk_write(const bm_chunk *chunk, const int64_t *values, const uint8_t *present, uint8_t *out);
void bm_chunk_read(const bm_chunk *chunk, int64_t *values, uint8_t *present);
void bm_column_take(const bm_column *c, const uint32_t *ordinals, size_t n, int64_t *values, uint8_t *present);
/* Bounds of the values and at most how many there are, from headers and layers alone: never narrower than the truth,
 * and exact where there is no layer. */
void bm_column_bounds(const bm_column *c, int64_t *min, int64_t *max, uint64_t *present);
void bm_column_estimate(const bm_column *c, int64_t lo, int64_t hi, uint64_t *least, double *expected, uint64_t *most);

/* --- programs (bm_program.c) ---------------------------------------------------------------------------- */

typedef struct bm_prog bm_prog;

/* An edge names a node and whether it is complemented: node << 1 | negated. TRUE and FALSE always exist. */
typedef uint32_t bm_edge;
#define BM_TRUE 0u
#define BM_FALSE 1u
#define BM_NO_EDGE UINT32_MAX /* out of memory, or too many nodes */

bm_prog *bm_prog_new(void);
void bm_prog_free(bm_prog *p);
bm_edge bm_prog_posting(bm_prog *p, const bm_posting *posting);
bm_edge bm_prog_range(bm_prog *p, const bm_column *c, int64_t lo, int64_t hi, const bm_posting *overlay);
bm_edge bm_prog_table(bm_prog *p, const bm_column *c, const bm_table *t, const bm_posting *overlay);
/* `edges` is scratch of the caller and is overwritten. */
bm_edge bm_prog_all(bm_prog *p, bm_edge *edges, uint32_t n);
bm_edge bm_prog_any(bm_prog *p, bm_edge *edges, uint32_t n);
bm_edge bm_prog_at_least(bm_prog *p, int64_t k, bm_edge *edges, uint32_t n);
uint32_t bm_prog_size(const bm_prog *p);
uint32_t bm_prog_depth(const bm_prog *p, bm_edge e);
/* Simplify root & universe and make the program ready; false when out of memory. Once only. */
bool bm_prog_finish(bm_prog *p, bm_edge root, const bm_posting *universe);

/* --- stopping (bm_stop.c) ------------------------------------------------------------------------------- */

typedef struct {
    int cancelled;           /* set with bm_stop_cancel from any thread */
    int64_t deadline_ns;     /* CLOCK_MONOTONIC; 0 for none */
} bm_stop;

enum { BM_OK = 0, BM_CANCELLED = 1, BM_DEADLINE = 2, BM_NO_MEMORY = 3 };

void bm_stop_cancel(bm_stop *stop);
int bm_stop_look(const bm_stop *stop); /* BM_OK, BM_CANCELLED or BM_DEADLINE */

/* --- evaluation (bm_call.c) ----------------------------------------------------------------------------- */

/* All three look at containers first_key..last_key of the universe, and are safe from many threads at once. */
int bm_count(const bm_prog *p, uint32_t first_key, uint32_t last_key, const bm_stop *stop, uint64_t *count);
int bm_any(const bm_prog *p, uint32_t first_key, uint32_t last_key, const bm_stop *stop, bool *any);

typedef struct {
    uint32_t n;          /* containers */
    uint32_t *heads;     /* n times key | (cardinality - 1) << 16 */
    uint32_t *sizes;     /* payload bytes of each */
    uint8_t *payload;
    size_t used, cap;
    uint32_t heads_cap;
} bm_output;

int bm_materialise(const bm_prog *p, uint32_t first_key, uint32_t last_key, const bm_stop *stop, bm_output *out);
/* Append a container: room for its payload of so many bytes, or NULL without memory. Keys ascend. */
uint8_t *bm_output_add(bm_output *out, uint32_t key, uint32_t card, uint32_t size);
size_t bm_output_size(const bm_output *out);             /* bytes of the portable form */
void bm_output_write(const bm_output *out, uint8_t *to); /* exactly that many */
void bm_output_free(bm_output *out);

/* --- dispatch (bm_simd.c) ------------------------------------------------------------------------------- */

/* Choose the kernels: "scalar", "avx2", "avx512", or NULL for the best this machine has. Never picks a level the
 * machine lacks. Returns the level chosen. Call once, before any evaluation. */
const char *bm_simd_choose(const char *wanted);

#endif
