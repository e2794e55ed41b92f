/* See rw_rows.h. Everything read is bounds-checked; nothing of the wire is trusted. */
#include "rw_rows.h"

#include <stdlib.h>
#include <string.h>

#define MAX_ID 255u
#define MAX_STRING 2048u
#define MAX_EDITS 16u /* tags of one field in one row: repeats among them are looked for one by one */

#define TRY(call)                  \
    do {                           \
        int status_ = (call);      \
        if (status_) return status_; \
    } while (0)

/* --- growing buffers ---------------------------------------------------------------------------------------- */

static int reserve(rw_buf *b, size_t more) {
    if (b->n + more <= b->cap) return RW_OK;
    size_t cap = b->cap ? b->cap * 2 : 1024;
    while (cap < b->n + more) cap *= 2;
    uint8_t *at = realloc(b->at, cap);
    if (!at) return RW_NO_MEMORY;
    b->at = at;
    b->cap = cap;
    return RW_OK;
}

static int push(rw_buf *b, const void *data, size_t n) {
    TRY(reserve(b, n));
    if (n) memcpy(b->at + b->n, data, n);
    b->n += n;
    return RW_OK;
}

static int push_i64(rw_buf *b, int64_t v) { return push(b, &v, 8); }

static int push_string(rw_strings *s, const uint8_t *data, uint32_t n) {
    if (s->data.n + n > INT32_MAX) return RW_UNUSUAL;
    TRY(push(&s->data, data, n));
    int32_t end = (int32_t)s->data.n;
    return push(&s->ends, &end, 4);
}

/* --- the wire ----------------------------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *at, *end;
} span;

typedef struct {
    uint32_t number, type; /* of the field; wire type */
    uint64_t value;        /* varint */
    span bytes;            /* length-delimited */
    const uint8_t *from;   /* where the field's tag begins */
} token;

static bool varint(span *s, uint64_t *value) {
    *value = 0;
    for (uint32_t shift = 0; shift < 64; shift += 7) {
        if (s->at == s->end) return false;
        uint8_t byte = *s->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return true;
    }
    return false;
}

/* The next field; false at a malformed one. Call while s->at < s->end. */
static bool next(span *s, token *t) {
    uint64_t tag;
    t->from = s->at;
    if (!varint(s, &tag) || tag >> 32 || tag < 8) return false;
    t->number = (uint32_t)(tag >> 3);
    t->type = tag & 7;
    switch (t->type) {
    case 0: return varint(s, &t->value);
    case 1:
        if (s->end - s->at < 8) return false;
        s->at += 8;
        return true;
    case 2:
        if (!varint(s, &t->value) || t->value > (uint64_t)(s->end - s->at)) return false;
        t->bytes = (span){s->at, s->at + t->value};
        s->at += t->value;
        return true;
    case 5:
        if (s->end - s->at < 4) return false;
        s->at += 4;
        return true;
    default: return false;
    }
}

static uint32_t length(span s) { return (uint32_t)(s.end - s.at); }

static bool is_ascii(span s) {
    uint8_t high = 0;
    for (const uint8_t *p = s.at; p < s.end; p++) high |= *p;
    return high < 0x80;
}

/* --- values ------------------------------------------------------------------------------------------------- */

/* Digits with an optional sign and point, as minor units. */
static bool decimal(span s, uint32_t scale, int64_t *units) {
    bool negative = false, point = false;
    uint32_t digits = 0, decimals = 0;
    int64_t v = 0;
    if (s.at < s.end && (*s.at == '-' || *s.at == '+')) negative = *s.at++ == '-';
    if (s.at == s.end || *s.at == '.') return false;
    for (; s.at < s.end; s.at++) {
        if (*s.at == '.') {
            if (point || s.at + 1 == s.end) return false;
            point = true;
            continue;
        }
        if (*s.at < '0' || *s.at > '9') return false;
        if (point && decimals == scale) { /* only zeros may follow */
            if (*s.at != '0') return false;
            continue;
        }
        if (++digits > 17) return false;
        v = v * 10 + (*s.at - '0');
        decimals += point;
    }
    for (; decimals < scale; decimals++) {
        if (++digits > 18) return false;
        v *= 10;
    }
    *units = negative ? -v : v;
    return true;
}

/* google.protobuf.Timestamp as milliseconds since 1970, rounded down. */
static bool timestamp(span s, int64_t *millis) {
    int64_t seconds = 0, nanos = 0;
    token t;
    while (s.at < s.end) {
        if (!next(&s, &t) || t.type != 0) return false;
        if (t.number == 1) seconds = (int64_t)t.value;
        else if (t.number == 2) nanos = (int64_t)t.value;
        else return false;
    }
    if (seconds < -62135596800 || seconds > 253402300799 || nanos < 0 || nanos > 999999999) return false;
    *millis = seconds * 1000 + nanos / 1000000;
    return true;
}

/* segidx.v1.Date as days since 1970; civil calendar by H. Hinnant, "chrono-compatible low-level date algorithms". */
static bool date(span s, int64_t *days) {
    static const uint8_t month_days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    uint64_t part[4] = {0, 0, 0, 0};
    token t;
    while (s.at < s.end) {
        if (!next(&s, &t) || t.type != 0 || t.number < 1 || t.number > 3) return false;
        part[t.number] = t.value;
    }
    if (part[1] < 1 || part[1] > 9999 || part[2] < 1 || part[2] > 12 || part[3] < 1) return false;
    int64_t y = (int64_t)part[1], m = (int64_t)part[2], d = (int64_t)part[3];
    bool leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    if (d > month_days[m - 1] + (m == 2 && leap)) return false;
    y -= m <= 2;
    int64_t era = y / 400, yoe = y - era * 400, doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    *days = era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
    return true;
}

/* --- rows --------------------------------------------------------------------------------------------------- */

static uint64_t hash(span s) { /* FNV-1a */
    uint64_t h = 14695981039346656037ull;
    for (const uint8_t *p = s.at; p < s.end; p++) h = (h ^ *p) * 1099511628211ull;
    return h ^ h >> 32;
}

static bool same(const uint8_t *a, uint32_t n, span b) { return n == length(b) && memcmp(a, b.at, n) == 0; }

static rw_field *field_of(const rw_batch *b, span name) {
    for (uint32_t at = (uint32_t)hash(name) & b->names_mask; b->names[at]; at = (at + 1) & b->names_mask) {
        rw_field *f = &b->fields[b->names[at] - 1];
        if (same(f->name, f->name_len, name)) return f;
    }
    return NULL;
}

static int table(uint32_t **slots, uint32_t *mask, uint32_t entries) {
    uint32_t size = 16;
    while (size < entries * 2) size *= 2;
    *slots = calloc(size, sizeof **slots);
    *mask = size - 1;
    return *slots ? RW_OK : RW_NO_MEMORY;
}

static int value_of(rw_field *f, span message, int64_t row) {
    token t;
    int64_t v = 0;
    if (message.at == message.end || !next(&message, &t) || message.at != message.end) return RW_UNUSUAL;
    if (f->kind == RW_TAGS || f->last_row == row) return RW_UNUSUAL;
    f->last_row = row;
    if (t.number == 7 && t.type == 0) return push_i64(&f->cleared, row);
    switch (f->kind) {
    case RW_STRING:
        if (t.number != 1 || t.type != 2 || length(t.bytes) > MAX_STRING || !is_ascii(t.bytes)) return RW_UNUSUAL;
        TRY(push_i64(&f->rows, row));
        return push_string(&f->strings, t.bytes.at, length(t.bytes));
    case RW_NUMBER:
        if (t.number != 2 || t.type != 2 || !decimal(t.bytes, f->scale, &v)) return RW_UNUSUAL;
        break;
    case RW_BOOL:
        if (t.number != 3 || t.type != 0) return RW_UNUSUAL;
        v = t.value != 0;
        break;
    case RW_DATE:
        if (t.number != 4 || t.type != 2 || !date(t.bytes, &v)) return RW_UNUSUAL;
        break;
    case RW_TIMESTAMP:
        if (t.number != 5 || t.type != 2 || !timestamp(t.bytes, &v)) return RW_UNUSUAL;
        break;
    default: return RW_UNUSUAL;
    }
    TRY(push_i64(&f->rows, row));
    return push_i64(&f->values, v);
}

/* An entry of the map of fields. */
static int entry(rw_batch *b, span s, int64_t row) {
    span name = {NULL, NULL}, value = {NULL, NULL};
    token t;
    while (s.at < s.end) {
        if (!next(&s, &t) || t.type != 2) return RW_UNUSUAL;
        if (t.number == 1) name = t.bytes;
        else if (t.number == 2) value = t.bytes;
        else return RW_UNUSUAL;
    }
    rw_field *f = name.at ? field_of(b, name) : NULL;
    return f && value.at ? value_of(f, value, row) : RW_UNUSUAL;
}

static int tag_edit(rw_batch *b, span s, int64_t row) {
    rw_field *f = b->default_tags == UINT32_MAX ? NULL : &b->fields[b->default_tags];
    token t;
    for (span look = s; look.at < look.end;) {
        if (!next(&look, &t)) return RW_UNUSUAL;
        if (t.number != 1) continue;
        if (t.type != 2) return RW_UNUSUAL;
        if (length(t.bytes)) f = field_of(b, t.bytes);
    }
    if (!f || f->kind != RW_TAGS || f->last_row == row) return RW_UNUSUAL;
    f->last_row = row;
    uint32_t edits = 0;
    size_t first = f->added.n;
    span seen[MAX_EDITS];
    while (s.at < s.end) {
        if (!next(&s, &t) || t.type != 2) return RW_UNUSUAL;
        if (t.number == 1) continue;
        if ((t.number != 2 && t.number != 3) || edits == MAX_EDITS) return RW_UNUSUAL;
        uint32_t n = length(t.bytes);
        if (n == 0 || n > MAX_STRING || !is_ascii(t.bytes)) return RW_UNUSUAL;
        uint8_t added = t.number == 2;
        uint32_t i = 0;
        while (i < edits && !same(seen[i].at, length(seen[i]), t.bytes)) i++;
        if (i < edits) { /* taken before given: a tag in both is held */
            f->added.at[first + i] |= added;
            continue;
        }
        seen[edits++] = t.bytes;
        TRY(push_i64(&f->rows, row));
        TRY(push(&f->added, &added, 1));
        TRY(push_string(&f->strings, t.bytes.at, n));
    }
    return RW_OK;
}

/* Remember the id of a row, which must be a new one. */
static int identify(rw_batch *b, span id) {
    uint32_t n = length(id), at;
    if (n == 0 || n > MAX_ID || !is_ascii(id)) return RW_UNUSUAL;
    for (at = (uint32_t)hash(id) & b->ids_mask; b->ids_seen[at]; at = (at + 1) & b->ids_mask) {
        const int32_t *ends = (const int32_t *)b->ids.ends.at;
        uint32_t i = b->ids_seen[at] - 1;
        if (same(b->ids.data.at + ends[i], (uint32_t)(ends[i + 1] - ends[i]), id)) return RW_REPEATED;
    }
    b->ids_seen[at] = b->nrows + 1;
    return push_string(&b->ids, id.at, n);
}

static int row_of(rw_batch *b, span s) {
    span id = {NULL, NULL};
    token t;
    int64_t row = b->nrows;
    uint8_t must_exist = 0;
    for (span look = s; look.at < look.end;) {
        if (!next(&look, &t)) return RW_UNUSUAL;
        if (t.number == 1 && t.type == 2) id = t.bytes;
    }
    if (!id.at) return RW_UNUSUAL;
    TRY(identify(b, id)); /* before anything of the row is kept */
    while (s.at < s.end) {
        if (!next(&s, &t)) return RW_UNUSUAL;
        if (t.number == 1 && t.type == 2) continue;
        if (t.number == 2 && t.type == 2) TRY(entry(b, t.bytes, row));
        else if (t.number == 3 && t.type == 2) TRY(tag_edit(b, t.bytes, row));
        else if (t.number == 5 && t.type == 0) must_exist = t.value != 0;
        else return RW_UNUSUAL;
    }
    TRY(push(&b->must_exist, &must_exist, 1));
    b->nrows++;
    return RW_OK;
}

int rw_begin(rw_batch *b, rw_field *fields, uint32_t nfields) {
    static const char tags[] = "tags";
    memset(b, 0, sizeof *b);
    b->fields = fields;
    b->nfields = nfields;
    b->default_tags = UINT32_MAX;
    TRY(table(&b->names, &b->names_mask, nfields));
    int32_t zero = 0;
    TRY(push(&b->ids.ends, &zero, 4));
    for (uint32_t i = 0; i < nfields; i++) {
        rw_field *f = &fields[i];
        span name = {f->name, f->name + f->name_len};
        uint32_t at = (uint32_t)hash(name) & b->names_mask;
        while (b->names[at]) at = (at + 1) & b->names_mask;
        b->names[at] = i + 1;
        f->last_row = -1;
        TRY(push(&f->strings.ends, &zero, 4));
        if (f->kind == RW_TAGS && same((const uint8_t *)tags, 4, name)) b->default_tags = i;
    }
    return RW_OK;
}

int rw_parse(rw_batch *b, const uint8_t *data, size_t len, size_t *at, uint32_t rows_field, uint32_t max_rows) {
    span s = {data + *at, data + len}, count = s;
    token t;
    uint32_t rows = 0;
    while (count.at < count.end) {
        if (!next(&count, &t)) return RW_UNUSUAL;
        rows += t.number == rows_field;
    }
    if (rows > max_rows) return RW_UNUSUAL;
    TRY(table(&b->ids_seen, &b->ids_mask, rows));
    while (s.at < s.end) {
        if (!next(&s, &t)) return RW_UNUSUAL;
        if (t.number != rows_field) continue;
        if (t.type != 2) return RW_UNUSUAL;
        *at = (size_t)(t.from - data);
        TRY(row_of(b, t.bytes));
    }
    *at = len;
    return RW_OK;
}

void rw_free(rw_batch *b) {
    for (uint32_t i = 0; i < b->nfields; i++) {
        rw_field *f = &b->fields[i];
        free(f->rows.at);
        free(f->values.at);
        free(f->cleared.at);
        free(f->added.at);
        free(f->strings.ends.at);
        free(f->strings.data.at);
    }
    free(b->names);
    free(b->ids_seen);
    free(b->ids.ends.at);
    free(b->ids.data.at);
    free(b->must_exist.at);
}

int64_t rw_header(const uint8_t *data, size_t len, uint32_t rows_field, uint8_t *out) {
    span s = {data, data + len};
    token t;
    int64_t n = 0;
    while (s.at < s.end) {
        if (!next(&s, &t)) return -1;
        if (t.number == rows_field) continue;
        memcpy(out + n, t.from, (size_t)(s.at - t.from));
        n += s.at - t.from;
    }
    return n;
}
