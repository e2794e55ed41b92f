/* Ordering rows of events, and rewriting groups of blocks; see ev_rows.h. */
#include "ev_rows.h"

#include <stdlib.h>
#include <string.h>

#include "bm_kernels.h"
#include "st_common.h"

const char EV_TWICE[] = "a row is there twice, or the blocks are not in order";
const char EV_NO_ROOM[] = "out of memory";

#define DAY 86400000ll
#define CONTACTS (1u << 14)

/* --- ordering ---------------------------------------------------------------------------------------------- */

/* Days to years and months: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days. */
int64_t ev_month_of(int64_t time) {
    int64_t days = time / DAY - (time % DAY < 0) + 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097, day = days - era * 146097;
    int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    int64_t of_year = day - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153; /* from March */
    year += era * 400 + (month >= 10);
    return (year - 1970) * 12 + (month < 10 ? month + 2 : month - 10);
}

typedef struct {
    uint64_t key;
    uint32_t row;
} keyed;

#define DIGIT 11
#define RADIX (1u << DIGIT)

/* Stable sort by the lowest `bits` bits of the keys, the result in a; b is as long. */
static void sort_keyed(keyed **a, keyed **b, size_t n, unsigned bits) {
    for (unsigned done = 0; done < bits; done += DIGIT) {
        size_t counts[RADIX] = {0}, at = 0;
        keyed *from = *a, *to = *b;
        for (size_t i = 0; i < n; i++) counts[from[i].key >> done & (RADIX - 1)]++;
        for (size_t d = 0; d < RADIX; d++) {
            size_t c = counts[d];
            counts[d] = at;
            at += c;
        }
        for (size_t i = 0; i < n; i++) to[counts[from[i].key >> done & (RADIX - 1)]++] = from[i];
        *a = to;
        *b = from;
    }
}

static unsigned bits_of(uint64_t most) { return most ? 64u - (unsigned)__builtin_clzll(most) : 0; }

/* Sorts rows stably by one column. */
static void sort_by(keyed **a, keyed **b, size_t n, const int64_t *values) {
    int64_t least = values[0], most = values[0];
    for (size_t i = 1; i < n; i++) {
        if (values[i] < least) least = values[i];
        if (values[i] > most) most = values[i];
    }
    for (size_t i = 0; i < n; i++) (*a)[i].key = (uint64_t)values[(*a)[i].row] - (uint64_t)least;
    sort_keyed(a, b, n, bits_of((uint64_t)most - (uint64_t)least));
}

/* Whether rows ascend by time, event and line already, as those of a file in order of time do. */
static bool in_order(const int64_t *times, const int64_t *events, const int64_t *lines, size_t n) {
    for (size_t i = 1; i < n; i++) {
        if (times[i] != times[i - 1] ? times[i] < times[i - 1]
            : events[i] != events[i - 1] ? events[i] < events[i - 1] : lines[i] < lines[i - 1])
            return false;
    }
    return true;
}

int64_t ev_rows_order(const int64_t *contacts, const int64_t *times, const int64_t *events, const int64_t *lines, size_t n,
                      uint32_t *order, int64_t *groups, int64_t *starts) {
    starts[0] = 0;
    if (!n) return 0;
    keyed *a = malloc(n * sizeof *a), *b = malloc(n * sizeof *b);
    int64_t *months = malloc(n * sizeof *months), g = -1;
    if (!a || !b || !months) goto done;
    g = -2;
    int64_t first_range = INT64_MAX, first_month = INT64_MAX, last_month = INT64_MIN, last_range = 0;
    int64_t day = INT64_MIN, month = 0; /* of the row before: most rows are of the same month, and many of one day */
    for (size_t i = 0; i < n; i++) {
        if (contacts[i] < 0 || contacts[i] > (int64_t)UINT32_MAX) goto done;
        int64_t range = contacts[i] / CONTACTS, its = times[i] / DAY - (times[i] % DAY < 0);
        if (its != day) month = ev_month_of(times[i]), day = its;
        if (month < 0 || month >= EV_MONTHS) goto done;
        months[i] = month;
        if (range < first_range) first_range = range;
        if (range > last_range) last_range = range;
        if (month < first_month) first_month = month;
        if (month > last_month) last_month = month;
    }
    for (size_t i = 0; i < n; i++) a[i].row = (uint32_t)i;
    if (!in_order(times, events, lines, n)) {
        sort_by(&a, &b, n, lines);
        sort_by(&a, &b, n, events);
        sort_by(&a, &b, n, times);
    }
    unsigned month_bits = bits_of((uint64_t)(last_month - first_month));
    for (size_t i = 0; i < n; i++) {
        uint32_t row = a[i].row;
        uint64_t range = (uint64_t)(contacts[row] / CONTACTS - first_range), m = (uint64_t)(months[row] - first_month);
        a[i].key = (range << month_bits | m) * CONTACTS + (uint64_t)contacts[row] % CONTACTS;
    }
    sort_keyed(&a, &b, n, bits_of((uint64_t)(last_range - first_range)) + month_bits + 14);
    g = 0;
    for (size_t i = 0; i < n; i++) {
        order[i] = a[i].row;
        int64_t group = contacts[order[i]] / CONTACTS << 16 | months[order[i]];
        if (g && groups[g - 1] == group) continue;
        groups[g] = group;
        starts[g++] = (int64_t)i;
    }
    starts[g] = (int64_t)n;
done:
    free(a);
    free(b);
    free(months);
    return g;
}

/* --- rewriting a group ------------------------------------------------------------------------------------- */

void ev_parts_free(ev_parts *p) {
    free(p->data);
    free(p->ends);
    memset(p, 0, sizeof *p);
}

/* The rows that the new blocks have, column by column. */
typedef struct {
    uint32_t ncolumns;
    size_t n;
    int64_t *values;  /* n of each column */
    uint8_t *present;
} merged;

static const int64_t *values_of(const merged *m, uint32_t column) { return m->values + column * m->n; }
static const uint8_t *present_of(const merged *m, uint32_t column) { return m->present + column * m->n; }

static uint32_t checksum(const uint8_t *p, size_t n) { return st_crc32(st_crc32(0, p, 8), p + 12, n - 12); }

static bool room(ev_parts *p, size_t bytes) {
    if (p->size + bytes > p->room) {
        size_t wanted = p->size + bytes + p->room / 2;
        uint8_t *data = realloc(p->data, wanted);
        if (!data) return false;
        p->data = data;
        p->room = wanted;
    }
    if (p->n == p->ends_room) {
        size_t wanted = 2 * p->ends_room + 4, *ends = realloc(p->ends, wanted * sizeof *ends);
        if (!ends) return false;
        p->ends = ends;
        p->ends_room = wanted;
    }
    return true;
}

/* Adds the rows first .. last - 1 as a block of the planned columns, `size` bytes. */
static const char *add_block(const merged *m, size_t first, size_t last, const bm_chunk *plans, size_t size, ev_parts *out) {
    if (!room(out, size)) return EV_NO_ROOM;
    uint8_t *block = out->data + out->size;
    size_t head = EV_HEADER + 4 * (size_t)m->ncolumns, at = head;
    memset(block, 0, head);
    block[0] = EV_VERSION;
    block[1] = (uint8_t)m->ncolumns;
    st_store32(block + 4, (uint32_t)(last - first));
    for (uint32_t c = 0; c < m->ncolumns; c++) {
        size_t bytes = bm_chunk_size(&plans[c]);
        bm_chunk_write(&plans[c], values_of(m, c) + first, present_of(m, c) + first, block + at);
        st_store32(block + at + 8, checksum(block + at, bytes));
        at += bytes;
        st_store32(block + EV_HEADER + 4 * (size_t)c, (uint32_t)at);
    }
    st_store32(block + 8, checksum(block, head));
    ev_block opened;
    int column;
    const char *reason = ev_block_open(&opened, block, size, &column);
    if (reason) return reason;
    out->size += size;
    out->ends[out->n++] = out->size;
    return NULL;
}

/* Where rows are cut in two: between contacts, as near the middle as can be; in the middle if all are of one. */
static size_t border(const int64_t *contacts, size_t first, size_t last) {
    size_t middle = first + (last - first) / 2, below = middle, above = middle;
    while (below > first && contacts[below] == contacts[below - 1]) below--;
    while (above < last && contacts[above] == contacts[above - 1]) above++;
    if (below == first && above == last) return middle;
    if (below == first) return above;
    if (above == last) return below;
    return middle - below <= above - middle ? below : above;
}

static const char *add_rows(const merged *m, size_t first, size_t last, ev_parts *out) {
    size_t rows = last - first;
    if (rows <= BM_CHUNK_ROWS) {
        bm_chunk plans[EV_MAX_COLUMNS];
        size_t size = EV_HEADER + 4 * (size_t)m->ncolumns;
        for (uint32_t c = 0; c < m->ncolumns; c++) {
            const char *reason = bm_chunk_plan(&plans[c], values_of(m, c) + first, present_of(m, c) + first, (uint32_t)rows);
            if (reason) return reason;
            size += bm_chunk_size(&plans[c]);
        }
        if (size <= EV_BLOCK_BYTES || rows == 1) return add_block(m, first, last, plans, size, out);
    }
    size_t middle = border(values_of(m, EV_CONTACT), first, last);
    const char *reason = add_rows(m, first, middle, out);
    return reason ? reason : add_rows(m, middle, last, out);
}

/* What a row is ordered by, within its group. */
typedef struct {
    int64_t of[EV_LINE + 1];
} row_key;

static int compare(const row_key *a, const row_key *b) {
    for (int i = 0; i <= EV_LINE; i++)
        if (a->of[i] != b->of[i]) return a->of[i] < b->of[i] ? -1 : 1;
    return 0;
}

/* The rows of the present blocks, in order. */
typedef struct {
    merged rows;
    size_t at;
    const uint8_t *gone;
} reader;

static bool make_room(merged *m) {
    m->values = malloc((m->n * m->ncolumns + 1) * sizeof *m->values);
    m->present = malloc(m->n * m->ncolumns + 1);
    return m->values && m->present;
}

static bool read_blocks(reader *r, const ev_block *const *blocks, size_t nblocks) {
    for (size_t b = 0; b < nblocks; b++) r->rows.n += blocks[b]->rows;
    if (!make_room(&r->rows)) return false;
    for (uint32_t c = 0; c < r->rows.ncolumns; c++) {
        size_t at = c * r->rows.n;
        for (size_t b = 0; b < nblocks; at += blocks[b++]->rows)
            ev_block_read(blocks[b], c, r->rows.values + at, r->rows.present + at);
    }
    return true;
}

/* Moves to the first row from here on that stays; false behind the last. */
static bool settle(reader *r) {
    while (r->gone && r->at < r->rows.n && r->gone[r->at]) r->at++;
    return r->at < r->rows.n;
}

static void key_of_old(const reader *r, row_key *key) {
    for (uint32_t i = 0; i <= EV_LINE; i++) key->of[i] = values_of(&r->rows, i)[r->at];
}

static void key_of_new(const ev_cells *columns, uint32_t row, row_key *key) {
    for (uint32_t i = 0; i <= EV_LINE; i++) key->of[i] = columns[i].values[row];
    key->of[EV_CONTACT] &= CONTACTS - 1;
}

/* Where each row of the result comes from: a row of the blocks, or, with this bit, one of the columns. */
#define NEW ((uint64_t)1 << 63)
typedef uint64_t source;

static const char *merge(reader *old, const ev_cells *columns, const uint32_t *order, size_t n, source *from, size_t *total) {
    row_key before, mine = {{0}}, theirs = {{0}};
    size_t i = 0, at = 0;
    bool more = settle(old);
    if (more) key_of_old(old, &theirs);
    if (n) key_of_new(columns, order[0], &mine);
    while (more || i < n) {
        bool is_new = i < n && (!more || compare(&mine, &theirs) < 0);
        row_key now = is_new ? mine : theirs;
        if (at && compare(&before, &now) >= 0) return EV_TWICE;
        before = now;
        if (is_new) {
            from[at++] = NEW | order[i++];
            if (i < n) key_of_new(columns, order[i], &mine);
        } else {
            from[at++] = old->at++;
            more = settle(old);
            if (more) key_of_old(old, &theirs);
        }
    }
    *total = at;
    return NULL;
}

const char *ev_group_write(const ev_block *const *blocks, size_t nblocks, const uint8_t *gone, const ev_cells *columns,
                           uint32_t ncolumns, const uint32_t *order, size_t n, ev_parts *out) {
    reader old = {{ncolumns, 0, NULL, NULL}, 0, gone};
    merged m = {ncolumns, 0, NULL, NULL};
    source *from = NULL;
    const char *reason = EV_NO_ROOM;
    if (!read_blocks(&old, blocks, nblocks)) goto done;
    from = malloc((n + old.rows.n + 1) * sizeof *from);
    if (!from) goto done;
    reason = merge(&old, columns, order, n, from, &m.n);
    if (reason || !m.n) goto done;
    reason = EV_NO_ROOM;
    if (!make_room(&m)) goto done;
    for (uint32_t c = 0; c < ncolumns; c++) {
        int64_t *values = m.values + c * m.n, mask = c == EV_CONTACT ? (int64_t)CONTACTS - 1 : -(int64_t)1;
        uint8_t *present = m.present + c * m.n;
        const int64_t *held = values_of(&old.rows, c), *given = columns[c].values;
        const uint8_t *is_held = present_of(&old.rows, c), *is_given = columns[c].present;
        for (size_t i = 0; i < m.n; i++) {
            if (from[i] & NEW) {
                uint64_t row = from[i] & ~NEW;
                present[i] = !is_given || is_given[row] != 0;
                values[i] = present[i] ? given[row] & mask : 0;
            } else {
                present[i] = is_held[from[i]];
                values[i] = held[from[i]];
            }
        }
    }
    reason = add_rows(&m, 0, m.n, out);
done:
    free(from);
    free(m.values);
    free(m.present);
    free(old.rows.values);
    free(old.rows.present);
    return reason;
}
