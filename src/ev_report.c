/* From numbers of contacts to what is reported of a range, and of a container. */
#include "ev_scan.h"

/* How many pairs each contact has, into its count; none is left. */
static void count_pairs(ev_call *x) {
    ev_pairs_settle(&x->pairs);
    for (size_t i = 0; i < x->pairs.n; i++) {
        uint16_t contact = x->pairs.contacts[i];
        x->counts[contact]++;
        if (x->nrows < x->most_few) x->few[x->nrows] = contact;
        x->nrows += x->nrows <= x->most_few;
    }
    x->pairs.n = 0;
}

static bool counted(const ev_call *x) { return x->kind == EV_COUNT || x->kind == EV_PAIRS; }

/* Whether a contact is to be reported. */
static bool passes(const ev_call *x, uint32_t contact) {
    if (x->kind == EV_SEEN) return x->seen[contact];
    const int64_t number = counted(x) ? (int64_t)x->counts[contact] : x->numbers[contact];
    return (counted(x) ? number != 0 : x->seen[contact]) && x->q->low <= number && number <= x->q->high;
}

/* Adds the contacts that pass, among all, to BM_CHUNK_WORDS words. */
static void pass_all(const ev_call *x, uint64_t *passing) {
    uint64_t out[BM_CHUNK_WORDS], seen[BM_CHUNK_WORDS];
    int64_t low = x->q->low, high = x->q->high;
    if (counted(x)) {
        if (low < 1) low = 1;
        if (high > UINT32_MAX) high = UINT32_MAX;
        if (low > high) return;
        bm_ops.range[2]((const uint8_t *)x->counts, BM_CHUNK_ROWS, (uint64_t)low, (uint64_t)(high - low), out);
    } else {
        if (low > high) return;
        const bool sums = x->kind == EV_SUM || x->kind == EV_PICK;
        if (sums) bm_ops.range[3]((const uint8_t *)x->numbers, BM_CHUNK_ROWS, (uint64_t)low, (uint64_t)high - (uint64_t)low, out);
        if (!x->by_number) bm_ops.range[0](x->seen, BM_CHUNK_ROWS, 1, 0, sums ? seen : out);
        for (uint32_t w = 0; sums && !x->by_number && w < BM_CHUNK_WORDS; w++) out[w] &= seen[w];
    }
    for (uint32_t w = 0; w < BM_CHUNK_WORDS; w++) passing[w] |= out[w];
}

/* Adds those of the few that pass, and leaves their numbers clear: of a contact with several rows the first one says it, and
 * then 0 does not pass. Without a branch, since whether one passes is anyone's guess. */
static void pass_few(ev_call *x, uint64_t *passing) {
    const uint64_t low = counted(x) && x->q->low < 1 ? 1 : (uint64_t)x->q->low, span = (uint64_t)x->q->high - low;
    const uint32_t n = x->nrows;
    if (counted(x)) {
        for (uint32_t i = 0; i < n; i++) {
            const uint32_t contact = x->few[i];
            passing[contact >> 6] |= (uint64_t)(x->counts[contact] - low <= span) << (contact & 63);
            x->counts[contact] = 0;
        }
    } else {
        for (uint32_t i = 0; i < n; i++) {
            const uint32_t contact = x->few[i];
            passing[contact >> 6] |= (uint64_t)((uint64_t)x->numbers[contact] - low <= span) << (contact & 63);
            x->numbers[contact] = 0;
        }
    }
    x->nrows = 0;
    x->reach = 0;
}

bool ev_by_number(const ev_query *q, ev_kind kind) {
    if (!q->as_set || q->low > q->high) return false;
    if (kind == EV_COUNT || kind == EV_PAIRS) return q->high >= 1;
    return kind == EV_SUM && (q->low > 0 || q->high < 0);
}

static bool report_numbers(ev_call *x, const uint64_t *passing) {
    ev_found *f = x->found;
    for (uint32_t w = 0; w < BM_CHUNK_WORDS; w++) {
        if (!passing[w]) continue;
        if (!ev_grow(f, 64)) return false;
        for (uint64_t left = passing[w]; left; left &= left - 1) {
            uint32_t contact = w * 64 + (uint32_t)__builtin_ctzll(left);
            f->ordinals[f->n] = x->number * BM_CHUNK_ROWS + contact;
            f->numbers[f->n++] = counted(x) ? (int64_t)x->counts[contact] : x->numbers[contact];
        }
    }
    return true;
}

static bool many(const ev_call *x) { return x->nrows > x->most_few; }

static void clear(ev_call *x) {
    if (many(x)) {
        if (!counted(x) && !x->by_number) memset(x->seen, 0, sizeof x->seen);
        if (counted(x)) memset(x->counts, 0, sizeof x->counts);
        else if (x->kind != EV_SEEN) memset(x->numbers, 0, sizeof x->numbers);
    } else {
        for (uint32_t i = 0; i < x->nrows; i++) {
            x->seen[x->few[i]] = 0;
            if (counted(x)) x->counts[x->few[i]] = 0;
            else x->numbers[x->few[i]] = 0;
        }
    }
    x->nrows = 0;
    x->reach = 0;
}

bool ev_report(ev_call *x) {
    uint64_t *passing = x->passing + x->number % BM_CHUNKS * BM_CHUNK_WORDS;
    if (x->kind == EV_LIST) return true;
    if (x->kind == EV_PAIRS) count_pairs(x);
    if (!x->nrows) {
        x->reach = 0; /* also of what was looked at and not added */
        return true;
    }
    if (x->by_number && !many(x)) {
        pass_few(x, passing);
        return true;
    }
    if (many(x)) {
        pass_all(x, passing);
    } else {
        for (uint32_t i = 0; i < x->nrows; i++) {
            uint32_t contact = x->few[i];
            if (passes(x, contact)) passing[contact >> 6] |= 1ull << (contact & 63);
        }
    }
    bool enough = true;
    if (!x->q->as_set) {
        enough = report_numbers(x, passing);
        memset(passing, 0, BM_CHUNK_WORDS * 8);
    }
    clear(x);
    return enough;
}

/* How many of the contacts to report are in the container of `within`. */
static uint32_t count_within(const ev_call *x, uint32_t key) {
    const bm_dir *within = x->q->within;
    const uint8_t *passing = (const uint8_t *)x->passing;
    const uint32_t i = bm_dir_seek(within, key);
    if (i == within->n || within->at[i].key != key) return 0;
    const bm_container *c = &within->at[i];
    if (c->type == BM_ARRAY) return bm_ops.array_count_in_bits((const bm_u16 *)c->data, c->card, passing);
    if (c->type == BM_RUNS) return bm_runs_count_in_bits((const bm_u16 *)c->data, c->runs, passing);
    const bm_src both[] = {{passing, 0}, {c->data, 0}};
    return bm_ops.all(both, 2, NULL);
}

bool ev_report_set(ev_call *x, uint32_t key) {
    const bm_src src = {(const uint8_t *)x->passing, 0};
    const uint32_t card = bm_ops.all(&src, 1, NULL);
    if (!card) return true;
    if (x->q->as_count) {
        x->found->count += x->q->within ? count_within(x, key) : card;
        memset(x->passing, 0, sizeof x->passing);
        return true;
    }
    uint8_t *to = bm_output_add(&x->found->set, key, card, card > BM_ARRAY_MAX ? BM_BITS_BYTES : 2 * card);
    if (!to) return false;
    if (card > BM_ARRAY_MAX) {
        memcpy(to, x->passing, BM_BITS_BYTES);
    } else {
        bm_ops.extract((const uint8_t *)x->passing, 0, x->listed, card);
        memcpy(to, x->listed, 2 * (size_t)card);
    }
    memset(x->passing, 0, sizeof x->passing);
    return true;
}
