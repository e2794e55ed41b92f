/* See rw_rows.h. */
#include "rw_rows.h"
#include "rw_wire.h"

#define MAX_EDITS 16u /* tags of one field in one row: repeats among them are looked for one by one */

/* --- values ------------------------------------------------------------------------------------------------- */

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

int64_t rw_header(
    const uint8_t *data, size_t len, uint32_t rows_field, uint32_t events_field, uint8_t *out, int *events) {
    span s = {data, data + len};
    token t;
    int64_t n = 0;
    *events = 0;
    while (s.at < s.end) {
        if (!next(&s, &t)) return -1;
        if (t.number == rows_field) continue;
        if (t.number == events_field) {
            *events = 1;
            continue;
        }
        memcpy(out + n, t.from, (size_t)(s.at - t.from));
        n += s.at - t.from;
    }
    return n;
}
