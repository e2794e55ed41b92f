/* From rows to numbers of contacts.
 *
 * The loops over rows are compiled once for each width of the codes that matter: a switch a row costs more than the row.
 * Whatever codes say, a contact is cut to the range's size. */
#include <stdlib.h>

#include "ev_scan.h"

#define INLINE static inline __attribute__((always_inline))

INLINE uint64_t code_of(const bm_chunk *c, uint32_t width, uint32_t row) { /* of width 3 the chunk's own */
    switch (width) {
    case 1: return c->codes[row];
    case 2: return ((const bm_u16 *)c->codes)[row];
    case 4: return ((const bm_u32 *)c->codes)[row];
    default: return bm_code(c, row);
    }
}

/* The number of a row, and its contact. */
INLINE uint32_t row_of(const uint16_t *rows, uint32_t i) { return rows ? rows[i] : i; }
INLINE uint32_t contact_in(const bm_chunk *c, uint32_t width, uint32_t row) {
    return ((uint32_t)c->base + (uint32_t)code_of(c, width, row) - 1) & (BM_CHUNK_ROWS - 1);
}

INLINE void see_in(ev_call *x, const bm_chunk *contacts, const uint16_t *rows, uint32_t n, uint32_t width) {
    for (uint32_t i = 0; i < n; i++) x->seen[contact_in(contacts, width, row_of(rows, i))] = 1;
}

INLINE void count_in(ev_call *x, const bm_chunk *contacts, const uint16_t *rows, uint32_t n, uint32_t width) {
    for (uint32_t i = 0; i < n; i++) x->counts[contact_in(contacts, width, row_of(rows, i))]++;
}

/* `whole`: no value is missing, and no sum can leave 64 bits. */
INLINE bool sum_in(ev_call *x, const bm_chunk *contacts, const bm_chunk *measure, const uint16_t *rows, uint32_t n,
                   uint32_t width, uint32_t wide, bool whole) {
    const bool seen = !x->by_number; /* kept here: for all that is known, what the loop writes may be this */
    bool overflow = false;
    const int64_t base = measure->base;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = row_of(rows, i), contact = contact_in(contacts, width, row);
        uint64_t code = code_of(measure, wide, row);
        if (whole) {
            if (seen) x->seen[contact] = 1;
            x->numbers[contact] += (int64_t)((uint64_t)base + code - 1);
        } else {
            int64_t value = code ? (int64_t)((uint64_t)base + code - 1) : 0;
            if (seen) x->seen[contact] |= code != 0;
            overflow |= __builtin_add_overflow(x->numbers[contact], value, &x->numbers[contact]);
        }
    }
    return overflow;
}

/* A loop for each width of the contacts that blocks (2) and layers (4) have; NULL rows are worth a loop of their own. */
#define BY_CONTACTS(each)                                            \
    do {                                                             \
        if (contacts->width == 2 && !rows) { each(NULL, 2); }        \
        else if (contacts->width == 2) { each(rows, 2); }            \
        else if (contacts->width == 4) { each(rows, 4); }            \
        else { each(rows, 3); }                                      \
    } while (0)

static void see_rows(ev_call *x, const bm_chunk *contacts, const uint16_t *rows, uint32_t n) {
#define SEE(rows, width) see_in(x, contacts, rows, n, width)
    BY_CONTACTS(SEE);
}

static void count_rows(ev_call *x, const bm_chunk *contacts, const uint16_t *rows, uint32_t n) {
#define COUNT(rows, width) count_in(x, contacts, rows, n, width)
    BY_CONTACTS(COUNT);
}

/* How far from 0 the sums of a range may be by now; rows and values are below 2^32 and 2^62 in number, so that a double has
 * more room than it takes. Damaged codes of a narrow column stay within the column's own bounds of them. */
static bool may_overflow(ev_call *x, const bm_chunk *measure, uint32_t n) {
    const double most = measure->width > 4 ? 0x1p62 : 0x1p32;
    const double least = (double)measure->base, greatest = least + most;
    x->reach += n * (greatest > -least ? greatest : -least);
    return x->reach >= 0x1p62;
}

static bool sum_rows(ev_call *x, const bm_chunk *contacts, const bm_chunk *measure, const uint16_t *rows, uint32_t n) {
    const bool safe = !may_overflow(x, measure, n), whole = safe && measure->present == measure->rows;
    bool overflow = false;
#define SUM_2(rows, width) overflow = sum_in(x, contacts, measure, rows, n, width, 2, true)
#define SUM_4(rows, width) overflow = sum_in(x, contacts, measure, rows, n, width, 4, true)
#define SUM_ANY(rows, width) overflow = sum_in(x, contacts, measure, rows, n, width, 3, false)
    if (whole && measure->width == 2) BY_CONTACTS(SUM_2);
    else if (whole && measure->width == 4) BY_CONTACTS(SUM_4);
    else BY_CONTACTS(SUM_ANY);
    return overflow;
}

static void pick_rows(ev_call *x, const bm_chunk *contacts, const bm_chunk *measure, const uint16_t *rows, uint32_t n) {
    const bool least = x->q->how == EV_LEAST;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = row_of(rows, i), contact = contact_in(contacts, 3, row);
        uint64_t code = bm_code(measure, row);
        if (!code) continue;
        int64_t value = ev_value(measure, code), *number = &x->numbers[contact];
        if (!x->seen[contact] || (least ? value < *number : value > *number)) *number = value;
        x->seen[contact] = 1;
    }
}

bool ev_grow(ev_found *f, size_t more) {
    if (f->cap - f->n >= more) return true;
    size_t cap = 2 * f->cap + more;
    uint32_t *ordinals = realloc(f->ordinals, cap * sizeof *ordinals);
    if (ordinals) f->ordinals = ordinals;
    int64_t *numbers = ordinals ? realloc(f->numbers, cap * f->width * sizeof *numbers) : NULL;
    if (!numbers) return false;
    f->numbers = numbers;
    f->cap = cap;
    return true;
}

/* The rows themselves, the columns of each side by side; false without memory. */
static bool list_rows(ev_call *x, const ev_block *b, const uint16_t *rows, uint32_t n) {
    const ev_query *q = x->q;
    ev_found *f = x->found;
    if (!ev_grow(f, n)) return false;
    for (uint32_t i = 0; i < n; i++)
        f->ordinals[f->n + i] = x->number * BM_CHUNK_ROWS + contact_in(&b->columns[EV_CONTACT], 3, row_of(rows, i));
    for (uint32_t j = 0; j < q->nlisted; j++) {
        const bm_chunk *c = &b->columns[q->listed[j]];
        int64_t *to = f->numbers + f->n * q->nlisted + j;
        for (uint32_t i = 0; i < n; i++, to += q->nlisted) {
            uint64_t code = ev_code(c, row_of(rows, i));
            *to = code ? ev_value(c, code) : EV_MISSING;
        }
    }
    f->n += n;
    return true;
}

/* Values of contacts, each once, or days; false without memory. */
static bool pair_rows(ev_call *x, const ev_block *b, const uint16_t *rows, uint32_t n) {
    const ev_query *q = x->q;
    if (!ev_pairs_room(&x->pairs, n)) return false;
    if (q->how == EV_DAYS) {
        if (!rows) {
            for (uint32_t i = 0; i < n; i++) x->room.rows[i] = (uint16_t)i;
            rows = x->room.rows;
        }
        ev_clock_days(q->zone, &b->columns[EV_TIME], rows, n, x->days);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = row_of(rows, i);
        int64_t value;
        if (q->how == EV_DAYS) {
            value = x->days[i];
        } else {
            const bm_chunk *measure = &b->columns[q->measure];
            uint64_t code = ev_code(measure, row);
            if (!code) continue;
            value = ev_value(measure, code);
        }
        ev_pairs_add(&x->pairs, contact_in(&b->columns[EV_CONTACT], 3, row), value);
    }
    return true;
}

/* Notes whose rows are added, while they are few. */
static void note(ev_call *x, const bm_chunk *contacts, const uint16_t *rows, uint32_t n) {
    if (x->nrows > x->most_few || n > x->most_few - x->nrows) {
        x->nrows = x->most_few + 1;
        return;
    }
    for (uint32_t i = 0; i < n; i++) x->few[x->nrows++] = (uint16_t)contact_in(contacts, 3, row_of(rows, i));
}

void ev_add_contacts(ev_call *x, const bm_u16 *contacts, uint32_t n) {
    if (x->kind == EV_SEEN) {
        bm_ops.array_set(contacts, n, (uint8_t *)(x->passing + x->number % BM_CHUNKS * BM_CHUNK_WORDS));
        return;
    }
    const bool few = x->nrows <= x->most_few && n <= x->most_few - x->nrows;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t contact = contacts[i] & (BM_CHUNK_ROWS - 1);
        x->counts[contact]++;
        if (few) x->few[x->nrows++] = (uint16_t)contact;
    }
    if (!few) x->nrows = x->most_few + 1;
}

INLINE void add_code(ev_call *x, uint64_t base, uint32_t contact, uint32_t code, bool seen) {
    contact &= BM_CHUNK_ROWS - 1;
    if (seen) x->seen[contact] |= code != 0;
    x->numbers[contact] += code ? (int64_t)(base + code - 1) : 0;
}

/* Notes the contacts of n rows, while these are few. */
static void note_contacts(ev_call *x, const bm_u16 *contacts, uint32_t n) {
    const bool few = x->nrows <= x->most_few && n <= x->most_few - x->nrows;
    uint16_t *to = x->few + x->nrows;
    for (uint32_t i = 0; few && i < n; i++) to[i] = contacts[i] & (BM_CHUNK_ROWS - 1);
    x->nrows = few ? x->nrows + n : x->most_few + 1;
}

bool ev_in_reach(ev_call *x, int64_t base, int64_t greatest, uint64_t n) {
    const double least = (double)base, most = (double)greatest;
    const double reach = x->reach + (double)n * (most > -least ? most : -least);
    if (reach >= 0x1p62) return false;
    x->reach = reach;
    return true;
}

void ev_add_number(ev_call *x, uint32_t contact, int64_t number) {
    if (x->kind == EV_SEEN) {
        x->passing[x->number % BM_CHUNKS * BM_CHUNK_WORDS + (contact >> 6)] |= 1ull << (contact & 63);
        return;
    }
    if (x->nrows < x->most_few) x->few[x->nrows] = (uint16_t)contact;
    x->nrows += x->nrows <= x->most_few;
    if (x->kind == EV_COUNT) {
        x->counts[contact] += (uint32_t)number;
    } else {
        if (!x->by_number) x->seen[contact] = 1;
        x->numbers[contact] += number;
    }
}

bool ev_add_valued(ev_call *x, const ev_measure *v, const uint16_t *contacts, const uint16_t *rows, const uint32_t *codes,
                   uint32_t n) {
    if (!ev_in_reach(x, v->base, v->most, n)) return false;
    const bool seen = !x->by_number;
    const uint64_t base = (uint64_t)v->base;
    for (uint32_t i = 0; i < n; i++) add_code(x, base, contacts[i], codes[rows[i]], seen);
    note_contacts(x, (const bm_u16 *)contacts, n);
    return true;
}

/* Of more rows than one in so many, all are added, with nothing for those outside the mask: that is no branch. */
#define ALL_OF 4u

bool ev_add_codes(ev_call *x, const ev_measure *v, const bm_u16 *contacts, const uint32_t *codes, uint32_t n,
                  const uint64_t *mask) {
    if (!ev_in_reach(x, v->base, v->most, n)) return false;
    const bool seen = !x->by_number;
    const uint64_t base = (uint64_t)v->base;
    if (!mask || bm_ops.count(mask, (n + 63) / 64) * ALL_OF > n) {
        if (!mask && v->whole && !seen) {
            for (uint32_t i = 0; i < n; i++)
                x->numbers[contacts[i] & (BM_CHUNK_ROWS - 1)] += (int64_t)(base + codes[i] - 1);
        } else if (v->whole && !seen) {
            for (uint32_t i = 0; i < n; i++) {
                const uint64_t there = 0 - (mask[i >> 6] >> (i & 63) & 1);
                x->numbers[contacts[i] & (BM_CHUNK_ROWS - 1)] += (int64_t)((base + codes[i] - 1) & there);
            }
        } else if (!mask) {
            for (uint32_t i = 0; i < n; i++) add_code(x, base, contacts[i], codes[i], seen);
        } else {
            for (uint32_t i = 0; i < n; i++)
                add_code(x, base, contacts[i], mask[i >> 6] >> (i & 63) & 1 ? codes[i] : 0, seen);
        }
        note_contacts(x, contacts, n);
        return true;
    }
    for (uint32_t w = 0; w < (n + 63) / 64; w++) {
        for (uint64_t left = mask[w]; left; left &= left - 1) {
            const uint32_t i = w * 64 + (uint32_t)__builtin_ctzll(left);
            add_code(x, base, contacts[i], codes[i], seen);
            if (x->nrows < x->most_few) x->few[x->nrows] = contacts[i] & (BM_CHUNK_ROWS - 1);
            x->nrows += x->nrows <= x->most_few;
        }
    }
    return true;
}

int ev_add_values(ev_call *x, const bm_u16 *contacts, const int64_t *values, uint32_t n, double reach) {
    if (x->kind == EV_PAIRS) {
        if (!ev_pairs_room(&x->pairs, n)) return BM_NO_MEMORY;
        for (uint32_t i = 0; i < n; i++) ev_pairs_add(&x->pairs, contacts[i], values[i]);
        return BM_OK;
    }
    x->reach += n * reach;
    if (x->nrows <= x->most_few && n <= x->most_few - x->nrows) {
        memcpy(x->few + x->nrows, contacts, n * sizeof *contacts);
        x->nrows += n;
    } else {
        x->nrows = x->most_few + 1;
    }
    bool overflow = false;
    if (x->kind == EV_SUM) {
        const bool seen = !x->by_number;
        for (uint32_t i = 0; i < n; i++) {
            int64_t *number = &x->numbers[contacts[i]];
            if (seen) x->seen[contacts[i]] = 1;
            overflow |= __builtin_add_overflow(*number, values[i], number);
        }
        return overflow ? EV_OVERFLOW : BM_OK;
    }
    const bool least = x->q->how == EV_LEAST;
    for (uint32_t i = 0; i < n; i++) {
        const int64_t value = values[i];
        int64_t *number = &x->numbers[contacts[i]];
        if (!x->seen[contacts[i]] || (least ? value < *number : value > *number)) *number = value;
        x->seen[contacts[i]] = 1;
    }
    return BM_OK;
}

/* The same for rows whose contacts are known. */
static int add_known(ev_call *x, const bm_chunk *measure, const uint16_t *rows, const uint16_t *contacts, uint32_t n) {
    if (x->kind == EV_SEEN || x->kind == EV_COUNT) {
        ev_add_contacts(x, (const bm_u16 *)contacts, n);
        return BM_OK;
    }
    const bool few = x->nrows <= x->most_few && n <= x->most_few - x->nrows, safe = !may_overflow(x, measure, n);
    const bool seen = !x->by_number;
    bool overflow = false;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t contact = contacts[i];
        const uint64_t code = bm_code(measure, rows[i]);
        const int64_t value = code ? ev_value(measure, code) : 0;
        if (seen) x->seen[contact] |= code != 0;
        if (safe) x->numbers[contact] += value;
        else overflow |= __builtin_add_overflow(x->numbers[contact], value, &x->numbers[contact]);
        if (few) x->few[x->nrows++] = (uint16_t)contact;
    }
    if (!few) x->nrows = x->most_few + 1;
    return overflow ? EV_OVERFLOW : BM_OK;
}

int ev_add_rows(ev_call *x, const ev_block *b, const uint16_t *rows, const uint16_t *known, uint32_t n) {
    const bm_chunk *contacts = &b->columns[EV_CONTACT], *measure = NULL;
    if (x->kind == EV_LIST) return list_rows(x, b, rows, n) ? BM_OK : BM_NO_MEMORY;
    if (x->kind == EV_PAIRS) return pair_rows(x, b, rows, n) ? BM_OK : BM_NO_MEMORY;
    if (x->q->measure != EV_NO_COLUMN) { /* behind the last row that a column keeps there is no value */
        measure = &b->columns[x->q->measure];
        if (!rows) n = n < measure->rows ? n : measure->rows;
        else while (n && rows[n - 1] >= measure->rows) n--;
    }
    if (known && x->kind != EV_PICK) return add_known(x, measure, rows, known, n);
    note(x, contacts, rows, n);
    switch (x->kind) {
    case EV_SEEN: see_rows(x, contacts, rows, n); break;
    case EV_COUNT: count_rows(x, contacts, rows, n); break;
    case EV_SUM: return sum_rows(x, contacts, measure, rows, n) ? EV_OVERFLOW : BM_OK;
    default: pick_rows(x, contacts, measure, rows, n);
    }
    return BM_OK;
}
