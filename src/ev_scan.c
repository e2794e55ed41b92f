/* How many rows a contact has, on how many days, or the sum, the least, the greatest or the number of distinct values of
 * a measure (or the rows themselves), over the rows of event blocks, and of layers above them, that lie in a window of time and pass a filter:
 * range by range, in buffers that all ranges of a call share. Only what a range has touched is looked at and cleared. A
 * layer's rows of the range are read as blocks.
 *
 * A set of rows is a mask of one bit a row. Where few rows are left after the window and the candidates, they are
 * listed, and the filter looks at these alone: bit i of a mask then speaks of row i of the list. */
#include <stdlib.h>

#include "ev_layer.h"

/* So many rows or fewer are listed; the figure of a container, for one of its chunks. */
#define EV_LISTED (BM_SWITCH_BEFORE_SCAN / BM_CHUNKS)

typedef struct {
    const ev_query *q;
    bool narrowed;   /* whether there are candidates */
    bm_table chosen; /* those of the range, as a table over a block's column of contacts */
    bm_table named;  /* the same over a layer's, where ordinals are whole */
    uint64_t chosen_words[BM_CHUNK_WORDS + 1];
    int64_t numbers[BM_CHUNK_ROWS];    /* of the range's contacts; 0 where not touched */
    uint64_t touched[BM_CHUNK_WORDS];
    uint64_t mask[BM_WORDS]; /* as long as a container, for bm_ops.extract; 0 behind the block's words */
    uint64_t other[BM_CHUNK_WORDS];
    uint64_t lut[BM_BUF / 8], unsure[BM_BUF / 8];
    uint16_t rows[BM_CHUNK_ROWS + BM_PAD / 2];
    uint8_t *zones;  /* depth of the filter */
    uint64_t *masks; /* BM_CHUNK_WORDS for each */
    ev_pairs pairs;  /* contacts and values, where distinct ones are counted */
    int64_t *days;   /* of BM_CHUNK_ROWS rows, where days are */
    ev_above *above; /* the layers that have rows or stale places in the range, the newest first */
    ev_block slice;
    ev_found *found;
    uint32_t number; /* of the range */
} ev_call;

/* A block to be read. */
typedef struct {
    const ev_block *block;
    const bm_table *chosen;
    int64_t first;   /* of the range, as the column of contacts has it */
    uint32_t lo, hi; /* its contacts within the range lie between these, both included */
    uint32_t nabove; /* so many of the layers lie above it */
} ev_source;

/* What zone maps say of a filter: BM_ZONE_NONE or BM_ZONE_ALL of the block's rows, or some. */
static int filter_zone(const ev_call *x, const ev_block *b) {
    const ev_filter *f = x->q->filter;
    uint8_t *top = x->zones; /* behind the topmost */
    uint64_t lo, hi;
    for (uint32_t i = 0; i < f->n; i++) {
        const ev_op *op = &f->ops[i];
        uint32_t sure = 0, possible = 0, need = op->kind == EV_ALL ? op->n : op->kind == EV_ANY ? 1 : op->k;
        switch (op->kind) {
        case EV_SCAN: {
            const bm_chunk *c = &b->columns[op->column];
            int z = bm_chunk_zone(&op->scan, c, &lo, &hi);
            *top++ = (uint8_t)(z == BM_ZONE_ALL && c->present != b->rows ? BM_ZONE_SOME : z);
            break;
        }
        case EV_CLOCK: *top++ = (uint8_t)ev_clock_zone(op->clock); break;
        case EV_CONSTANT: *top++ = op->value ? BM_ZONE_ALL : BM_ZONE_NONE; break;
        case EV_NOT: top[-1] = (uint8_t)(BM_ZONE_ALL - top[-1]); break;
        default:
            top -= op->n;
            for (uint32_t j = 0; j < op->n; j++) {
                sure += top[j] == BM_ZONE_ALL;
                possible += top[j] != BM_ZONE_NONE;
            }
            *top++ = sure >= need ? BM_ZONE_ALL : possible < need ? BM_ZONE_NONE : BM_ZONE_SOME;
        }
    }
    return x->zones[0];
}

/* Rows in at least k of the n masks, into the first: a counter a row in bit planes, begun so that k more overflow. */
static void at_least(uint64_t *masks, uint32_t n, uint32_t k, uint32_t words) {
    uint32_t nplanes = 0;
    while (nplanes < 31 && (1u << nplanes) < k) nplanes++;
    for (uint32_t w = 0; w < words; w++) {
        uint64_t planes[32], over = 0;
        for (uint32_t p = 0; p < nplanes; p++) planes[p] = ((1u << nplanes) - k) >> p & 1 ? ~0ull : 0;
        for (uint32_t i = 0; i < n; i++) {
            uint64_t carry = masks[i * (size_t)BM_CHUNK_WORDS + w];
            for (uint32_t p = 0; p < nplanes && carry; p++) {
                uint64_t both = planes[p] & carry;
                planes[p] ^= carry;
                carry = both;
            }
            over |= carry;
        }
        masks[w] = over;
    }
}

/* The filter's mask of the block's rows, or of the first `listed` of x->rows. Bits behind these mean nothing. */
static const uint64_t *filter_mask(ev_call *x, const ev_block *b, uint32_t listed) {
    const ev_filter *f = x->q->filter;
    const uint32_t words = ((listed ? listed : b->rows) + 63) / 64;
    const ev_clock_room room = {x->lut, x->unsure, x->rows, x->other}; /* which is free while rows are not listed */
    uint64_t *top = x->masks; /* behind the topmost */
    for (uint32_t i = 0; i < f->n; i++) {
        const ev_op *op = &f->ops[i];
        const bm_chunk *c = &b->columns[op->column];
        switch (op->kind) {
        case EV_SCAN:
            if (listed) {
                memset(top, 0, words * 8);
                bm_chunk_test(&op->scan, c, (const bm_u16 *)x->rows, 0, listed, top);
            } else {
                bm_chunk_bits(&op->scan, c, top, x->lut);
            }
            top += BM_CHUNK_WORDS;
            break;
        case EV_CLOCK:
            if (listed) ev_clock_test(op->clock, &b->columns[EV_TIME], x->rows, listed, top);
            else ev_clock_bits(op->clock, &b->columns[EV_TIME], b->rows, top, &room);
            top += BM_CHUNK_WORDS;
            break;
        case EV_CONSTANT:
            memset(top, op->value ? 0xff : 0, words * 8);
            top += BM_CHUNK_WORDS;
            break;
        case EV_NOT:
            top -= BM_CHUNK_WORDS;
            for (uint32_t w = 0; w < words; w++) top[w] = ~top[w];
            top += BM_CHUNK_WORDS;
            break;
        default:
            top -= op->n * (size_t)BM_CHUNK_WORDS;
            if (op->n == 0 || (op->kind == EV_AT_LEAST && op->k == 0)) {
                bool all = op->kind == EV_ALL || (op->kind == EV_AT_LEAST && op->k == 0);
                memset(top, all ? 0xff : 0, words * 8);
            } else if (op->kind == EV_AT_LEAST) {
                at_least(top, op->n, op->k, words);
            } else {
                for (uint32_t j = 1; j < op->n; j++) {
                    const uint64_t *with = top + j * (size_t)BM_CHUNK_WORDS;
                    if (op->kind == EV_ALL) for (uint32_t w = 0; w < words; w++) top[w] &= with[w];
                    else for (uint32_t w = 0; w < words; w++) top[w] |= with[w];
                }
            }
            top += BM_CHUNK_WORDS;
        }
    }
    return x->masks;
}

/* Adds the first n of x->rows; true when a sum overflowed. Codes may be damaged, so that ordinals are cut to size. */
static bool add_rows(ev_call *x, const ev_block *b, uint32_t n) {
    const ev_query *q = x->q;
    const bm_chunk *contacts = &b->columns[EV_CONTACT];
    const bm_chunk *measure = q->measure == EV_NO_COLUMN ? NULL : &b->columns[q->measure];
    bool overflow = false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = x->rows[i];
        uint32_t contact = (uint32_t)ev_value(contacts, bm_code(contacts, row)) & (BM_CHUNK_ROWS - 1);
        int64_t value = 1;
        if (measure) {
            uint64_t code = ev_code(measure, row);
            if (!code) continue;
            value = ev_value(measure, code);
        }
        overflow |= __builtin_add_overflow(x->numbers[contact], value, &x->numbers[contact]);
        x->touched[contact >> 6] |= 1ull << (contact & 63);
    }
    return overflow;
}

/* The same for the least or the greatest, which never overflow. */
static void pick_rows(ev_call *x, const ev_block *b, uint32_t n) {
    const bm_chunk *contacts = &b->columns[EV_CONTACT], *measure = &b->columns[x->q->measure];
    const bool least = x->q->how == EV_LEAST;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = x->rows[i];
        uint64_t code = ev_code(measure, row);
        if (!code) continue;
        uint32_t contact = (uint32_t)ev_value(contacts, bm_code(contacts, row)) & (BM_CHUNK_ROWS - 1);
        int64_t value = ev_value(measure, code), *number = &x->numbers[contact];
        uint64_t bit = 1ull << (contact & 63);
        if (!(x->touched[contact >> 6] & bit) || (least ? value < *number : value > *number)) *number = value;
        x->touched[contact >> 6] |= bit;
    }
}

/* The same for distinct values or days; false without memory. */
static bool pair_rows(ev_call *x, const ev_block *b, uint32_t n) {
    const ev_query *q = x->q;
    const bm_chunk *contacts = &b->columns[EV_CONTACT];
    if (!ev_pairs_room(&x->pairs, n)) return false;
    if (q->how == EV_DAYS) ev_clock_days(q->zone, &b->columns[EV_TIME], x->rows, n, x->days);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = x->rows[i];
        int64_t value;
        if (q->how == EV_DAYS) {
            value = x->days[i];
        } else {
            const bm_chunk *measure = &b->columns[q->measure];
            uint64_t code = ev_code(measure, row);
            if (!code) continue;
            value = ev_value(measure, code);
        }
        ev_pairs_add(&x->pairs, (uint32_t)ev_value(contacts, bm_code(contacts, row)) & (BM_CHUNK_ROWS - 1), value);
    }
    return true;
}

static bool grow(ev_found *f, size_t more) {
    if (f->cap - f->n >= more) return true;
    size_t cap = 2 * f->cap + more;
    uint32_t *ordinals = realloc(f->ordinals, cap * sizeof *ordinals);
    if (ordinals) f->ordinals = ordinals;
    int64_t *numbers = ordinals ? realloc(f->numbers, cap * (f->width ? f->width : 1) * sizeof *numbers) : NULL;
    if (!numbers) return false;
    f->numbers = numbers;
    f->cap = cap;
    return true;
}

/* The rows themselves, the columns of each side by side; false without memory. */
static bool list_rows(ev_call *x, const ev_block *b, uint32_t n) {
    const ev_query *q = x->q;
    const bm_chunk *contacts = &b->columns[EV_CONTACT];
    ev_found *f = x->found;
    if (!grow(f, n)) return false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t contact = (uint32_t)ev_value(contacts, bm_code(contacts, x->rows[i])) & (BM_CHUNK_ROWS - 1);
        f->ordinals[f->n + i] = x->number * BM_CHUNK_ROWS + contact;
    }
    for (uint32_t j = 0; j < q->nlisted; j++) {
        const bm_chunk *c = &b->columns[q->listed[j]];
        int64_t *to = f->numbers + f->n * q->nlisted + j;
        for (uint32_t i = 0; i < n; i++, to += q->nlisted) {
            uint64_t code = ev_code(c, x->rows[i]);
            *to = code ? ev_value(c, code) : EV_MISSING;
        }
    }
    f->n += n;
    return true;
}

/* How many pairs each contact has, into its number; none is left. */
static void count_pairs(ev_call *x) {
    ev_pairs_settle(&x->pairs);
    for (size_t i = 0; i < x->pairs.n; i++) {
        uint32_t contact = x->pairs.contacts[i];
        x->numbers[contact]++;
        x->touched[contact >> 6] |= 1ull << (contact & 63);
    }
    x->pairs.n = 0;
}

/* Whether there is a candidate from lo to hi, both inside the range. */
static bool any_between(const uint64_t *bits, uint32_t lo, uint32_t hi) {
    for (uint32_t w = lo >> 6; w <= hi >> 6; w++) {
        uint64_t some = bits[w];
        if (w == lo >> 6) some &= ~0ull << (lo & 63);
        if (w == hi >> 6) some &= ~0ull >> (63 - (hi & 63));
        if (some) return true;
    }
    return false;
}

/* One block; a status. */
static int add_block(ev_call *x, const ev_source *from) {
    const ev_query *q = x->q;
    const ev_block *b = from->block;
    const bm_chunk *contacts = &b->columns[EV_CONTACT], *times = &b->columns[EV_TIME];
    const bm_scan window = {NULL, NULL, q->first, q->last}, chosen = {NULL, from->chosen, 0, 0};
    const uint32_t words = (b->rows + 63) / 64;
    uint64_t lo, hi;
    if (bm_chunk_zone(&window, times, &lo, &hi) == BM_ZONE_NONE) return BM_OK; /* also a block without rows */
    if (x->narrowed && !any_between(x->chosen_words, from->lo, from->hi)) return BM_OK;
    int zone = q->filter ? filter_zone(x, b) : BM_ZONE_ALL;
    if (zone == BM_ZONE_NONE) return BM_OK;

    bm_chunk_bits(&window, times, x->mask, x->lut);
    if (x->narrowed) {
        bm_chunk_bits(&chosen, contacts, x->other, x->lut);
        for (uint32_t w = 0; w < words; w++) x->mask[w] &= x->other[w];
    }
    ev_void_rows(x->mask, b, from->first, from->lo, from->hi, x->above, from->nabove, q->first, q->last,
                 x->narrowed ? x->chosen_words : NULL);
    uint32_t left = 0;
    for (uint32_t w = 0; w < words; w++) left += (uint32_t)__builtin_popcountll(x->mask[w]);
    if (!left) return BM_OK;
    if (zone != BM_ZONE_ALL && left > EV_LISTED) {
        const uint64_t *pass = filter_mask(x, b, 0);
        for (uint32_t w = 0; w < words; w++) x->mask[w] &= pass[w];
    }
    uint32_t n = bm_ops.extract((const uint8_t *)x->mask, 0, x->rows, BM_CHUNK_ROWS);
    if (zone != BM_ZONE_ALL && left <= EV_LISTED)
        n = bm_ops.compact((const bm_u16 *)x->rows, n, filter_mask(x, b, n), x->rows);
    if (q->how == EV_ADD) return add_rows(x, b, n) ? EV_OVERFLOW : BM_OK;
    if (q->how == EV_ROWS) return list_rows(x, b, n) ? BM_OK : BM_NO_MEMORY;
    if (q->how == EV_DISTINCT || q->how == EV_DAYS) return pair_rows(x, b, n) ? BM_OK : BM_NO_MEMORY;
    pick_rows(x, b, n);
    return BM_OK;
}

/* The candidates of a range, from the ascending ordinals of them all; whether there is any. */
static bool choose(ev_call *x, uint32_t number) {
    const ev_query *q = x->q;
    size_t lo = 0, hi = q->namong;
    uint64_t first = (uint64_t)number * BM_CHUNK_ROWS;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (q->among[mid] < first) lo = mid + 1;
        else hi = mid;
    }
    memset(x->chosen_words, 0, sizeof x->chosen_words);
    size_t begin = lo;
    for (; lo < q->namong && q->among[lo] < first + BM_CHUNK_ROWS; lo++) {
        uint32_t contact = q->among[lo] & (BM_CHUNK_ROWS - 1);
        x->chosen_words[contact >> 6] |= 1ull << (contact & 63);
    }
    return lo > begin;
}

/* Reports what the range has touched and leaves the buffers clear; false without memory. */
static bool report(ev_call *x, uint32_t number, ev_found *f) {
    for (uint32_t w = 0; w < BM_CHUNK_WORDS; w++) {
        uint64_t left = x->touched[w];
        if (!left) continue;
        if (!grow(f, 64)) return false;
        x->touched[w] = 0;
        for (; left; left &= left - 1) {
            uint32_t contact = w * 64 + (uint32_t)__builtin_ctzll(left);
            int64_t value = x->numbers[contact];
            x->numbers[contact] = 0;
            f->ordinals[f->n] = number * BM_CHUNK_ROWS + contact;
            f->numbers[f->n] = value;
            f->n += x->q->low <= value && value <= x->q->high;
        }
    }
    return true;
}

/* The rows of the layers in the range, under those layers that are newer; a status. */
static int add_layers(ev_call *x, uint32_t number, uint32_t n, const bm_stop *stop) {
    ev_source from = {&x->slice, &x->named, (int64_t)number * BM_CHUNK_ROWS, 0, 0, 0};
    for (; from.nabove < n; from.nabove++) {
        const ev_above *a = &x->above[from.nabove];
        const bm_chunk *contacts = &x->slice.columns[EV_CONTACT];
        for (uint32_t row = a->row, rows; row < a->row_end; row += rows) {
            int status = stop ? bm_stop_look(stop) : BM_OK;
            if (status != BM_OK) return status;
            rows = a->row_end - row < BM_CHUNK_ROWS ? a->row_end - row : BM_CHUNK_ROWS;
            ev_layer_slice(a->layer, row, rows, &x->slice);
            from.lo = (uint32_t)ev_value(contacts, bm_code(contacts, 0)) & (BM_CHUNK_ROWS - 1);
            from.hi = (uint32_t)ev_value(contacts, bm_code(contacts, rows - 1)) & (BM_CHUNK_ROWS - 1);
            if ((status = add_block(x, &from)) != BM_OK) return status;
        }
    }
    return BM_OK;
}

static int add_range(ev_call *x, const ev_range *r, const ev_layer *const *layers, uint32_t nlayers, const bm_stop *stop) {
    ev_source from = {NULL, &x->chosen, 0, 0, 0, 0};
    for (uint32_t i = nlayers; i-- > r->first_layer;) {
        const ev_part *part = ev_layer_part(layers[i], r->number);
        if (part) x->above[from.nabove++] = (ev_above){layers[i], part[0].row, part[1].row, part[0].stale, part[1].stale};
    }
    for (size_t i = 0; i < r->n; i++) {
        int status = stop ? bm_stop_look(stop) : BM_OK;
        if (status != BM_OK) return status;
        from.block = r->blocks[i];
        from.lo = (uint32_t)from.block->columns[EV_CONTACT].base;
        from.hi = (uint32_t)from.block->columns[EV_CONTACT].max;
        if ((status = add_block(x, &from)) != BM_OK) return status;
    }
    return add_layers(x, r->number, from.nabove, stop);
}

int ev_collect(const ev_range *ranges, size_t n, const ev_layer *const *layers, uint32_t nlayers, const ev_query *q,
               const bm_stop *stop, ev_found *found) {
    const uint32_t depth = q->filter ? q->filter->depth : 0;
    int status = stop ? bm_stop_look(stop) : BM_OK;
    if (status != BM_OK || !n || q->first > q->last) return status;
    ev_call *x = calloc(1, sizeof *x);
    uint64_t *masks = malloc((size_t)depth * (BM_CHUNK_WORDS * 8 + 1) + 1);
    ev_above *above = malloc((size_t)nlayers * sizeof *above + 1);
    int64_t *days = q->how == EV_DAYS ? malloc(BM_CHUNK_ROWS * sizeof *days) : NULL;
    if (!x || !masks || !above || (q->how == EV_DAYS && !days)) status = BM_NO_MEMORY;
    else {
        x->q = q;
        x->masks = masks;
        x->zones = (uint8_t *)(masks + (size_t)depth * BM_CHUNK_WORDS);
        x->above = above;
        x->days = days;
        x->narrowed = q->among != NULL;
        x->found = found;
        found->width = q->how == EV_ROWS ? q->nlisted : 1;
        x->chosen = x->named = (bm_table){0, BM_CHUNK_ROWS, false, x->chosen_words};
    }
    for (size_t r = 0; r < n && status == BM_OK; r++) {
        if (x->narrowed && !choose(x, ranges[r].number)) continue;
        x->number = ranges[r].number;
        x->named.base = (int64_t)ranges[r].number * BM_CHUNK_ROWS;
        status = add_range(x, &ranges[r], layers, nlayers, stop);
        if (status == BM_OK && (q->how == EV_DISTINCT || q->how == EV_DAYS)) count_pairs(x);
        if (status == BM_OK && !report(x, ranges[r].number, found)) status = BM_NO_MEMORY;
    }
    if (x) ev_pairs_free(&x->pairs);
    free(x);
    free(days);
    free(masks);
    free(above);
    return status;
}

void ev_found_free(ev_found *f) {
    free(f->ordinals);
    free(f->numbers);
    memset(f, 0, sizeof *f);
}
