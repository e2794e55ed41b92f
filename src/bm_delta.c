/* Deltas: opening, looking up, merging two, folding the layers of one key. See bm_delta.h. */
#include "bm_delta.h"

size_t bm_delta_bytes(uint32_t nkeys, uint32_t nadds, uint32_t nremoves, uint32_t nfields, uint32_t nvalues) {
    return BM_DELTA_HEADER + (size_t)nkeys * 20 + (size_t)nvalues * 13 + (size_t)nfields * 24 + (size_t)nadds * 4 +
           (size_t)nremoves * 4;
}

/* The pointers of a delta whose counts are set, over its buffer. */
static void point(bm_delta *d, const uint8_t *buf) {
    const uint8_t *p = buf + BM_DELTA_HEADER;
#define TAKE(name, type, n)          \
    d->name = (const type *)p;       \
    p += (size_t)(n) * sizeof(type)
    TAKE(keys, bm_u64, d->nkeys);
    TAKE(values, bm_i64, d->nvalues);
    TAKE(least, bm_i64, d->nfields);
    TAKE(most, bm_i64, d->nfields);
    TAKE(counts, bm_u32, d->nkeys);
    TAKE(add_ends, bm_u32, d->nkeys);
    TAKE(remove_ends, bm_u32, d->nkeys);
    TAKE(adds, bm_u32, d->nadds);
    TAKE(removes, bm_u32, d->nremoves);
    TAKE(fields, bm_u32, d->nfields);
    TAKE(field_ends, bm_u32, d->nfields);
    TAKE(ordinals, bm_u32, d->nvalues);
    d->present = p;
#undef TAKE
}

/* Whether the groups that `ends` cuts `list` into cover it and each ascends strictly. */
static bool groups_ascend(const bm_u32 *ends, uint32_t groups, const bm_u32 *list, uint32_t n) {
    uint32_t at = 0;
    for (uint32_t g = 0; g < groups; g++) {
        if (ends[g] < at || ends[g] > n) return false;
        for (uint32_t i = at + 1; i < ends[g]; i++)
            if (list[i] <= list[i - 1]) return false;
        at = ends[g];
    }
    return at == n;
}

const char *bm_delta_open(bm_delta *d, const uint8_t *buf, size_t len) {
    memset(d, 0, sizeof *d);
    if (len < BM_DELTA_HEADER) return "shorter than its header";
    const bm_u32 *head = (const bm_u32 *)buf;
    if (head[0] != BM_DELTA_VERSION || head[6] || head[7]) return "unknown version";
    d->nkeys = head[1];
    d->nadds = head[2];
    d->nremoves = head[3];
    d->nfields = head[4];
    d->nvalues = head[5];
    if (len != bm_delta_bytes(d->nkeys, d->nadds, d->nremoves, d->nfields, d->nvalues))
        return "the length does not match the header";
    point(d, buf);
    for (uint32_t i = 1; i < d->nkeys; i++)
        if (d->keys[i] <= d->keys[i - 1]) return "the keys do not ascend";
    for (uint32_t i = 1; i < d->nfields; i++)
        if (d->fields[i] <= d->fields[i - 1]) return "the fields do not ascend";
    for (uint32_t i = 0; i < d->nkeys; i++)
        if (d->counts[i] >> 31) return "a count is too large";
    for (uint32_t i = 0; i < d->nvalues; i++)
        if (d->values[i] <= -BM_VALUE_LIMIT || d->values[i] >= BM_VALUE_LIMIT) return "a value is out of range";
    if (!groups_ascend(d->add_ends, d->nkeys, d->adds, d->nadds)) return "added ordinals do not ascend";
    if (!groups_ascend(d->remove_ends, d->nkeys, d->removes, d->nremoves)) return "removed ordinals do not ascend";
    if (!groups_ascend(d->field_ends, d->nfields, d->ordinals, d->nvalues)) return "ordinals of values do not ascend";
    return NULL;
}

/* --- looking up --------------------------------------------------------------------------------------------- */

/* A group of a list: [from, to). */
typedef struct {
    const bm_u32 *at;
    uint32_t n;
} part;

static part group(const bm_u32 *list, const bm_u32 *ends, uint32_t i) {
    uint32_t from = i ? ends[i - 1] : 0;
    return (part){list + from, ends[i] - from};
}

static bool in_part(part p, uint32_t ordinal) {
    uint32_t lo = 0, hi = p.n;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (p.at[mid] < ordinal) lo = mid + 1;
        else hi = mid;
    }
    return lo < p.n && p.at[lo] == ordinal;
}

int64_t bm_delta_key(const bm_delta *d, uint64_t key) {
    uint32_t lo = 0, hi = d->nkeys;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (d->keys[mid] < key) lo = mid + 1;
        else hi = mid;
    }
    return lo < d->nkeys && d->keys[lo] == key ? (int64_t)lo : -1;
}

int64_t bm_delta_field(const bm_delta *d, uint32_t field) {
    for (uint32_t i = 0; i < d->nfields; i++)
        if (d->fields[i] == field) return i;
    return -1;
}

void bm_delta_held(const bm_delta *const *layers, uint32_t n, const uint64_t *keys, const uint32_t *ordinals, size_t pairs,
                   uint8_t *held) {
    for (uint32_t l = 0; l < n; l++) { /* oldest first, so that the newest has the last word */
        const bm_delta *d = layers[l];
        int64_t at = -1;
        for (size_t i = 0; i < pairs; i++) {
            if (i == 0 || keys[i] != keys[i - 1]) at = bm_delta_key(d, keys[i]);
            if (at < 0) continue;
            if (in_part(group(d->adds, d->add_ends, (uint32_t)at), ordinals[i])) held[i] = 1;
            else if (in_part(group(d->removes, d->remove_ends, (uint32_t)at), ordinals[i])) held[i] = 0;
        }
    }
}

size_t bm_delta_counts(const bm_delta *const *layers, uint32_t n, const uint64_t *keys, size_t nkeys, int64_t *counts) {
    size_t set = 0;
    for (size_t i = 0; i < nkeys; i++) {
        for (uint32_t l = n; l-- > 0;) {
            int64_t at = bm_delta_key(layers[l], keys[i]);
            if (at < 0) continue;
            counts[i] = layers[l]->counts[at];
            set++;
            break;
        }
    }
    return set;
}

/* --- merging ------------------------------------------------------------------------------------------------ */

/* (older without taken) and newer, ascending; `to` may be NULL to count only. `newer` and `taken` are disjoint. */
static uint32_t settle(part older, part taken, part newer, uint32_t *to) {
    uint32_t i = 0, t = 0, j = 0, n = 0;
    while (i < older.n || j < newer.n) {
        if (i == older.n || (j < newer.n && newer.at[j] <= older.at[i])) {
            if (i < older.n && newer.at[j] == older.at[i]) i++;
            if (to) to[n] = newer.at[j];
            n++;
            j++;
            continue;
        }
        uint32_t x = older.at[i++];
        while (t < taken.n && taken.at[t] < x) t++;
        if (t < taken.n && taken.at[t] == x) continue;
        if (to) to[n] = x;
        n++;
    }
    return n;
}

uint32_t bm_delta_settle(const bm_u32 *older, uint32_t nolder, const bm_u32 *taken, uint32_t ntaken, const bm_u32 *newer,
                         uint32_t nnewer, uint32_t *to) {
    return settle((part){older, nolder}, (part){taken, ntaken}, (part){newer, nnewer}, to);
}

typedef struct {
    uint64_t *keys;
    int64_t *values, *least, *most;
    uint32_t *counts, *add_ends, *remove_ends, *adds, *removes, *fields, *field_ends, *ordinals;
    uint8_t *present;
} outputs;

static const part NOTHING = {NULL, 0};

static void merge_keys(const bm_delta *a, const bm_delta *b, bm_delta *n, const outputs *to) {
    for (uint32_t i = 0, j = 0; i < a->nkeys || j < b->nkeys; n->nkeys++) {
        bool old = j == b->nkeys || (i < a->nkeys && a->keys[i] <= b->keys[j]);
        bool new = i == a->nkeys || (j < b->nkeys && b->keys[j] <= a->keys[i]);
        part adds = old ? group(a->adds, a->add_ends, i) : NOTHING, more = new ? group(b->adds, b->add_ends, j) : NOTHING;
        part removes = old ? group(a->removes, a->remove_ends, i) : NOTHING;
        part fewer = new ? group(b->removes, b->remove_ends, j) : NOTHING;
        if (to) {
            to->keys[n->nkeys] = old ? a->keys[i] : b->keys[j];
            to->counts[n->nkeys] = new ? b->counts[j] : a->counts[i];
        }
        n->nadds += settle(adds, fewer, more, to ? to->adds + n->nadds : NULL);
        n->nremoves += settle(removes, more, fewer, to ? to->removes + n->nremoves : NULL);
        if (to) {
            to->add_ends[n->nkeys] = n->nadds;
            to->remove_ends[n->nkeys] = n->nremoves;
        }
        i += old;
        j += new;
    }
}

static void put_value(const bm_delta *from, uint32_t at, bm_delta *n, const outputs *to, bool *any) {
    if (to) {
        int64_t v = from->values[at];
        to->ordinals[n->nvalues] = from->ordinals[at];
        to->values[n->nvalues] = v;
        to->present[n->nvalues] = from->present[at];
        if (from->present[at]) {
            if (!*any || v < to->least[n->nfields]) to->least[n->nfields] = v;
            if (!*any || v > to->most[n->nfields]) to->most[n->nfields] = v;
            *any = true;
        }
    }
    n->nvalues++;
}

static void merge_fields(const bm_delta *a, const bm_delta *b, bm_delta *n, const outputs *to) {
    for (uint32_t f = 0, g = 0; f < a->nfields || g < b->nfields; n->nfields++) {
        bool old = g == b->nfields || (f < a->nfields && a->fields[f] <= b->fields[g]);
        bool new = f == a->nfields || (g < b->nfields && b->fields[g] <= a->fields[f]);
        uint32_t i = old && f ? a->field_ends[f - 1] : 0, iend = old ? a->field_ends[f] : 0;
        uint32_t j = new && g ? b->field_ends[g - 1] : 0, jend = new ? b->field_ends[g] : 0;
        bool any = false;
        if (to) to->least[n->nfields] = to->most[n->nfields] = 0;
        while (i < iend || j < jend) {
            if (i == iend || (j < jend && b->ordinals[j] <= a->ordinals[i])) {
                if (i < iend && a->ordinals[i] == b->ordinals[j]) i++;
                put_value(b, j++, n, to, &any);
            } else put_value(a, i++, n, to, &any);
        }
        if (to) {
            to->fields[n->nfields] = old ? a->fields[f] : b->fields[g];
            to->field_ends[n->nfields] = n->nvalues;
        }
        f += old;
        g += new;
    }
}

void bm_delta_merge_size(const bm_delta *older, const bm_delta *newer, bm_delta *out) {
    memset(out, 0, sizeof *out);
    merge_keys(older, newer, out, NULL);
    merge_fields(older, newer, out, NULL);
}

void bm_delta_merge(const bm_delta *older, const bm_delta *newer, const bm_delta *sizes, uint8_t *buf) {
    bm_delta d = *sizes, n;
    const bm_u32 head[8] = {BM_DELTA_VERSION, d.nkeys, d.nadds, d.nremoves, d.nfields, d.nvalues, 0, 0};
    memcpy(buf, head, sizeof head);
    point(&d, buf);
    memset(&n, 0, sizeof n);
    /* The same places, now to be written: `buf` is the caller's. */
    outputs to = {(uint64_t *)d.keys,      (int64_t *)d.values,       (int64_t *)d.least,     (int64_t *)d.most,
                  (uint32_t *)d.counts,    (uint32_t *)d.add_ends,    (uint32_t *)d.remove_ends, (uint32_t *)d.adds,
                  (uint32_t *)d.removes,   (uint32_t *)d.fields,      (uint32_t *)d.field_ends,  (uint32_t *)d.ordinals,
                  (uint8_t *)d.present};
    merge_keys(older, newer, &n, &to);
    merge_fields(older, newer, &n, &to);
}

/* --- folding ------------------------------------------------------------------------------------------------ */

size_t bm_delta_room(const bm_delta *const *layers, uint32_t n, uint64_t key) {
    size_t room = 0;
    for (uint32_t l = 0; l < n; l++) {
        int64_t at = bm_delta_key(layers[l], key);
        if (at >= 0)
            room += group(layers[l]->adds, layers[l]->add_ends, (uint32_t)at).n +
                    group(layers[l]->removes, layers[l]->remove_ends, (uint32_t)at).n;
    }
    return room;
}

int bm_delta_fold(const bm_delta *const *layers, uint32_t n, uint64_t key, uint32_t *added, uint32_t *removed,
                  uint32_t *added2, uint32_t *removed2, size_t *nadded, size_t *nremoved) {
    int which = 0;
    uint32_t *adds[2] = {added, added2}, *removes[2] = {removed, removed2};
    for (uint32_t l = 0; l < n; l++) {
        int64_t at = bm_delta_key(layers[l], key);
        if (at < 0) continue;
        part more = group(layers[l]->adds, layers[l]->add_ends, (uint32_t)at);
        part fewer = group(layers[l]->removes, layers[l]->remove_ends, (uint32_t)at);
        part a = {adds[which], (uint32_t)*nadded}, r = {removes[which], (uint32_t)*nremoved};
        *nadded = settle(a, fewer, more, adds[!which]);
        *nremoved = settle(r, more, fewer, removes[!which]);
        which = !which;
    }
    return which;
}
