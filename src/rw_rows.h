/* Rows of writes, straight from the wire to columns: what the usual batch of a stream holds, at the speed of copying.
 *
 * Only what is plain is taken: ASCII ids, declared fields with values of their own kind, ASCII strings,
 * decimals in digits, tags given and taken. Anything else (and anything malformed) ends the parse with RW_UNUSUAL, and the
 * whole batch goes the general way, which also words the refusals. Wire format: protobuf, messages of
 * proto/segidx/v1/ingest.proto. */
#ifndef RW_ROWS_H
#define RW_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RW_OK = 0, RW_UNUSUAL = 1, RW_NO_MEMORY = 2, RW_REPEATED = 3 };
enum { RW_TAGS, RW_STRING, RW_NUMBER, RW_TIMESTAMP, RW_DATE, RW_BOOL };

typedef struct {
    uint8_t *at;
    size_t n, cap; /* bytes */
} rw_buf;

/* Strings end to end: int32 ends in `ends`, the first 0. */
typedef struct {
    rw_buf ends, data;
} rw_strings;

typedef struct {
    const uint8_t *name; /* borrowed */
    uint32_t name_len, kind, scale;
    int64_t last_row; /* written to, -1 at first */
    rw_buf rows;      /* i64: rows with a value; of tags the row of each edit */
    rw_buf values;    /* i64, of all kinds but strings and tags */
    rw_buf cleared;   /* i64 */
    rw_buf added;     /* u8, of tags: given or taken */
    rw_strings strings;
} rw_field;

typedef struct {
    rw_field *fields;
    uint32_t nfields, nrows;
    uint32_t *names, names_mask; /* hash table of fields, index + 1 */
    uint32_t *ids_seen, ids_mask;
    rw_strings ids;
    rw_buf must_exist; /* u8 */
    uint32_t default_tags; /* index of the field that an empty name of a tag edit means, or UINT32_MAX */
} rw_batch;

/* `fields` have name, name_len, kind and scale set, the rest zero; they stay the caller's. */
int rw_begin(rw_batch *b, rw_field *fields, uint32_t nfields);
/* The rows from byte *at of a request, whose rows are field `rows_field`; at most max_rows of them, else RW_UNUSUAL. A
 * row whose id an earlier row had ends the parse with RW_REPEATED, *at at that row: go on there with another batch. */
int rw_parse(rw_batch *b, const uint8_t *data, size_t len, size_t *at, uint32_t rows_field, uint32_t max_rows);
void rw_free(rw_batch *b);

/* The request without its rows and events (field 0: there are none), into `out` of `len` bytes at least: how many bytes,
 * or -1 when it is malformed. `events` says whether it has any. */
int64_t rw_header(
    const uint8_t *data, size_t len, uint32_t rows_field, uint32_t events_field, uint8_t *out, int *events);

#endif
