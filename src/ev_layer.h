/* Layers of events: recent rows of one kind, of any contacts and times, that lie above the base blocks, and the places
 * at which what lies below them is void.
 *
 * A stale place is a contact, a time and an event. It speaks of the base and of older layers, never of its own layer's
 * rows. Opening and checking a layer reads every byte; still nothing here relies on what a code says for staying inside
 * the bytes, so that the rule of ev_block.h holds. */
#ifndef EV_LAYER_H
#define EV_LAYER_H

#include "ev_block.h"

#define EV_LAYER_VERSION 1u
#define EV_LAYER_HEADER 16u
#define EV_LAYER_MOST (1u << 24) /* rows, and stale places */
#define EV_PLACE_BYTES 16u
#define EV_NUMBERS (1u << 18) /* of ranges */

/* Where a range's rows and stale places begin; they end where the next part's begin. */
typedef struct {
    uint32_t number, row, stale;
} ev_part;

typedef struct ev_layer {
    ev_block b; /* of up to EV_LAYER_MOST rows, and contacts that are whole ordinals */
    uint32_t nstale;
    const bm_u32 *contacts; /* of the stale places, ascending by contact, time and event */
    const bm_i64 *times;
    const bm_u32 *events;
    ev_part *parts; /* nparts of them by ascending number, and one behind the last */
    uint32_t nparts;
    uint16_t *lows; /* of each row its contact within its range; and BM_PAD bytes that mean nothing */
} ev_layer;

/* --- one layer (ev_layer.c) ----------------------------------------------------------------------------- */

/* NULL, or what is wrong with the header or with that of *column. Borrows buf, and owns nothing yet. */
const char *ev_layer_open(ev_layer *l, const uint8_t *buf, size_t len, int *column);
/* Every code, and the order of rows and stale places: NULL, or what is wrong; the checksum is the caller's. */
const char *ev_layer_check(const ev_layer *l, int *column);
/* Finds the parts of a layer that passed the check, and its rows' contacts within them; false without memory. */
bool ev_layer_index(ev_layer *l);
void ev_layer_clear(ev_layer *l);
/* The first row, and the first stale place, of a contact from this one on. */
uint32_t ev_layer_row(const ev_layer *l, uint64_t contact);
uint32_t ev_layer_place(const ev_layer *l, uint64_t contact);
/* The part of a range, or NULL. */
const ev_part *ev_layer_part(const ev_layer *l, uint32_t number);
/* The index of the first part from `number` on, or nparts. */
uint32_t ev_layer_seek(const ev_layer *l, uint32_t number);
/* Rows first to first + n - 1, all of them the layer's, as a block whose bounds are those of the layer and whose counts of
 * values may be unknown: to be scanned, when they are a block's at most, or read. */
void ev_layer_slice(const ev_layer *l, uint32_t first, uint32_t n, ev_block *to);
/* The same, of one column; of the others nothing is said. */
void ev_layer_slice_column(const ev_layer *l, uint32_t column, uint32_t first, uint32_t n, ev_block *to);

/* --- making layers (ev_merge.c) ------------------------------------------------------------------------- */

/* A layer to be written: of the columns what their headers say. */
typedef struct {
    uint32_t rows, ncolumns, nstale;
    bm_chunk columns[EV_MAX_COLUMNS];
} ev_plan;

size_t ev_plan_size(const ev_plan *p);
/* Writes all but the codes, the stale places and the checksum, which stays 0. *codes is where each column's codes go;
 * returns where the stale places do: contacts, times, events. */
uint8_t *ev_plan_begin(const ev_plan *p, uint8_t *to, uint8_t **codes);

/* Plans the layer that reads as newer above older, which have as many columns each. The rows of both that it has go to
 * `rows`, which has room for those of both: the index, and EV_NEWER for one of newer. NULL, or why it cannot be. */
#define EV_NEWER (1u << 31)
const char *ev_merge_plan(const ev_layer *older, const ev_layer *newer, uint32_t *rows, ev_plan *p);
void ev_merge_write(const ev_layer *older, const ev_layer *newer, const uint32_t *rows, const ev_plan *p, uint8_t *to);

/* --- reading the base under layers (ev_stale.c) --------------------------------------------------------- */

/* The rows and stale places of one layer in the range in hand; no rows where these were picked (ev_pick.c). */
typedef struct {
    const ev_layer *layer;
    uint32_t row, row_end, stale, stale_end;
    const struct ev_reading *reading;
} ev_above;

/* Clears the bits of the rows of a block (lo to hi are its contacts within the range, and those of its column begin at
 * `first`) that a stale place of the n layers voids, if its time lies from `from` to `to` and its contact is chosen
 * (NULL: any). */
void ev_void_rows(uint64_t *mask, const ev_block *b, int64_t first, uint32_t lo, uint32_t hi, const ev_above *above,
                  uint32_t n, int64_t from, int64_t to, const uint64_t *chosen);
/* Whether a stale place of the n layers voids a row of an older one. */
bool ev_is_void(const ev_layer *l, uint32_t row, const ev_above *above, uint32_t n);

#endif
