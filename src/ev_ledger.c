/* Making ledgers: rows are counted by contact, and then each is put where its contact's are, month by month. */
#include <stdlib.h>

#include "ev_ledger.h"
#include "ev_memory.h"
#include "ev_order.h"

#define LINE EV_LINE_BYTES

static uint32_t contact_of(const bm_chunk *contacts, uint32_t row) {
    return ((uint32_t)contacts->base + (uint32_t)ev_code(contacts, row) - 1) & (BM_CHUNK_ROWS - 1);
}

static size_t sheet_bytes(size_t rows) { return sizeof(ev_sheet) + (rows / 64 + 1) * 8; }

/* What bounds say of all months: false where codes do not do. */
static bool bound(ev_ledger *l, const ev_month *const *months, size_t nmonths) {
    bool times = false, values = false;
    for (size_t m = 0; m < nmonths; m++) {
        const bm_chunk *t = &months[m]->bounds->columns[EV_TIME], *v = &months[m]->bounds->columns[l->column];
        if (t->present) {
            if (!times || t->base < l->since) l->since = t->base;
            if (!times || t->max > l->until) l->until = t->max;
            times = true;
        }
        if (v->present) {
            if (!values || v->base < l->base) l->base = v->base;
            if (!values || v->max > l->most) l->most = v->max;
            values = true;
        }
    }
    while (((uint64_t)l->until - (uint64_t)l->since) >> l->shift >= EV_STEPS) l->shift++;
    return (uint64_t)l->most - (uint64_t)l->base < UINT32_MAX;
}

int ev_ledger_begin(ev_ledger *l, const ev_month *const *months, size_t nmonths, uint32_t column) {
    memset(l, 0, sizeof *l);
    l->column = column;
    if (!nmonths) return EV_UNORDERED;
    l->members = malloc(nmonths * sizeof *l->members);
    if (!l->members) return BM_NO_MEMORY;
    for (size_t m = 0; m < nmonths; m++) {
        const bm_chunk *times = &months[m]->bounds->columns[EV_TIME];
        if (times->present) l->members[l->nmembers++] = (ev_member){months[m]->serial, times->base, times->max};
    }
    l->counts = months[0]->bounds->ncolumns - 1;
    uint32_t end = 0;
    l->first = UINT32_MAX;
    for (size_t m = 0; m < nmonths; m++) {
        const ev_month *month = months[m];
        if (!month->n) continue;
        if (month->bounds->ncolumns != l->counts + 1) return EV_UNORDERED;
        if (month->first < l->first) l->first = month->first;
        if (month->first + month->n > end) end = month->first + month->n;
    }
    if (!end || column > l->counts || !bound(l, months, nmonths)) return EV_UNORDERED;
    l->n = end - l->first;
    l->rows = calloc((size_t)l->n + 1, sizeof *l->rows);
    l->lines = calloc((size_t)l->n + 1, sizeof *l->lines);
    l->made = calloc((size_t)l->n, 1);
    if (!l->rows || !l->lines || !l->made) return BM_NO_MEMORY;
    uint64_t rows = 0, lines = 0;
    for (uint32_t i = 0; i < l->n; i++) {
        uint64_t its = 0;
        for (size_t m = 0; m < nmonths; m++) {
            const uint32_t at = l->first + i - months[m]->first;
            if (at >= months[m]->n) continue;
            for (uint32_t b = months[m]->starts[at]; b < months[m]->starts[at + 1]; b++) its += months[m]->blocks[b]->rows;
        }
        rows += its;
        lines += (sheet_bytes(its) + LINE - 1) / LINE;
        if (rows > UINT32_MAX || lines > UINT32_MAX) return EV_UNORDERED;
        l->rows[i + 1] = (uint32_t)rows;
        l->lines[i + 1] = (uint32_t)lines;
    }
    const size_t entries = rows * sizeof *l->entries + LINE, sheets = lines * LINE;
    l->size = ev_memory_bytes(entries) + ev_memory_bytes(sheets);
    l->entries = ev_memory(entries);
    l->sheets = ev_memory(sheets);
    return l->entries && l->sheets ? BM_OK : BM_NO_MEMORY;
}

/* Puts a block's rows where `next` says, by contact. False where codes are beyond what the bounds say, as damaged ones may be. */
static bool put(const ev_ledger *l, const ev_block *b, uint32_t *next, bm_entry *to) {
    const bm_chunk *contacts = &b->columns[EV_CONTACT], *times = &b->columns[EV_TIME];
    const bm_chunk *values = &b->columns[l->column], *counts = &b->columns[l->counts];
    const uint64_t span = (uint64_t)l->most - (uint64_t)l->base, lasts = (uint64_t)l->until - (uint64_t)l->since;
    for (uint32_t row = 0; row < b->rows; row++) {
        const uint64_t code = ev_code(values, row), counting = ev_code(counts, row);
        const uint64_t value = (uint64_t)ev_value(values, code) - (uint64_t)l->base;
        const uint64_t time = (uint64_t)ev_value(times, ev_code(times, row)) - (uint64_t)l->since;
        if ((code && value > span) || time > lasts) return false;
        to[next[contact_of(contacts, row)]++] = (bm_entry){
            code ? (uint32_t)value + 1 : 0,
            (uint32_t)(time >> l->shift) << 1 | (uint32_t)(counting && ev_value(counts, counting) == 1),
        };
    }
    return true;
}

/* The sheet of range i; `next` is room for a number a contact and one more. */
static bool make(ev_ledger *l, const ev_month *const *months, size_t nmonths, uint32_t i, uint32_t *next) {
    ev_sheet *s = (ev_sheet *)(l->sheets + (size_t)l->lines[i] * LINE);
    bm_entry *to = l->entries + l->rows[i];
    const uint32_t rows = l->rows[i + 1] - l->rows[i];
    memset(next, 0, (BM_CHUNK_ROWS + 1) * sizeof *next);
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (size_t m = 0; m < nmonths; m++) {
            const uint32_t at = l->first + i - months[m]->first;
            if (at >= months[m]->n) continue;
            for (uint32_t j = months[m]->starts[at]; j < months[m]->starts[at + 1]; j++) {
                const ev_block *b = months[m]->blocks[j];
                if (pass && !put(l, b, next, to)) return false;
                if (pass) continue;
                for (uint32_t row = 0; row < b->rows; row++) next[contact_of(&b->columns[EV_CONTACT], row)]++;
            }
        }
        if (pass) break;
        uint32_t before = 0;
        memset(s, 0, sheet_bytes(rows));
        for (uint32_t contact = 0; contact < BM_CHUNK_ROWS; contact++) {
            const uint32_t its = next[contact];
            if (contact % 64 == 0) s->before[contact / 64] = before;
            next[contact] = before;
            if (!its) continue;
            s->has[contact / 64] |= 1ull << (contact & 63);
            s->firsts[before >> 6] |= 1ull << (before & 63);
            before += its;
        }
        if (before != rows) return false; /* of other months */
        s->firsts[rows >> 6] |= 1ull << (rows & 63);
    }
    return true;
}

int ev_ledger_fill(ev_ledger *l, const ev_month *const *months, size_t nmonths, uint32_t from, uint32_t to) {
    uint32_t *next = malloc((BM_CHUNK_ROWS + 1) * sizeof *next);
    if (!next) return BM_NO_MEMORY;
    if (from < l->first) from = l->first;
    for (uint32_t i = from - l->first; i < l->n && l->first + i < to; i++) {
        if (l->made[i] != EV_UNMADE) continue;
        const uint8_t made = make(l, months, nmonths, i, next) ? EV_MADE : EV_UNFIT;
        __atomic_store_n(&l->made[i], made, __ATOMIC_RELEASE);
    }
    free(next);
    return BM_OK;
}

const ev_sheet *ev_ledger_sheet(const ev_ledger *l, uint32_t number) {
    const uint32_t i = number - l->first;
    if (i >= l->n || __atomic_load_n(&l->made[i], __ATOMIC_ACQUIRE) != EV_MADE) return NULL;
    return (const ev_sheet *)(l->sheets + (size_t)l->lines[i] * LINE);
}

bool ev_ledger_has(const ev_ledger *l, const ev_month *month) {
    for (size_t i = 0; i < l->nmembers; i++)
        if (l->members[i].serial == month->serial) return true;
    return false;
}

void ev_ledger_clear(ev_ledger *l) {
    free(l->members);
    free(l->rows);
    free(l->lines);
    free(l->made);
    free(l->sheets);
    free(l->entries);
    memset(l, 0, sizeof *l);
}

size_t ev_ledger_bytes(const ev_ledger *l) { return l->size + (size_t)l->n * 9 + 8; }
