/* The rows of a block that a query is about: those in the window, of the candidates, not void, that pass the filter.
 *
 * The conditions are taken in the order of what they cost, over all rows of the block; where few rows are left, they are
 * listed, and what is still to be asked looks at these alone. What zone maps answer for the whole block is not asked. */
#include "ev_scan.h"

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

/* Rows that are left: all of them, those of a mask, or those listed. */
typedef struct {
    ev_call *x;
    const ev_block *b;
    uint32_t n; /* rows */
    enum { ALL, MASKED, LISTED } as;
    bool known; /* listed with their contacts */
} left_rows;

static uint32_t words_of(const left_rows *l) { return ((l->as == LISTED ? l->n : l->b->rows) + 63) / 64; }

/* Keeps those of the mask, which speaks of the block's rows or of the listed ones. Few are listed from now on, if they may
 * be. */
static void keep(left_rows *l, const uint64_t *mask, bool may_list) {
    ev_room *room = &l->x->room;
    if (l->as == LISTED) {
        if (l->known) bm_ops.compact((const bm_u16 *)room->contacts, l->n, mask, room->contacts);
        l->n = bm_ops.compact((const bm_u16 *)room->rows, l->n, mask, room->rows);
        return;
    }
    const uint32_t words = words_of(l);
    if (l->as == ALL) {
        memcpy(room->mask, mask, words * 8);
        if (l->b->rows & 63) room->mask[words - 1] &= bm_ones(l->b->rows & 63);
        l->as = MASKED;
    } else {
        for (uint32_t w = 0; w < words; w++) room->mask[w] &= mask[w];
    }
    l->n = bm_ops.count(room->mask, words);
    if (may_list && l->n && l->n <= EV_LISTED) {
        bm_ops.extract((const uint8_t *)room->mask, 0, room->rows, l->n);
        l->as = LISTED;
    }
}

static void keep_window(left_rows *l, const bm_scan *window, bool may_list) {
    const bm_chunk *times = &l->b->columns[EV_TIME];
    ev_room *room = &l->x->room;
    if (l->as == LISTED) {
        memset(room->other, 0, words_of(l) * 8);
        bm_chunk_test(window, times, (const bm_u16 *)room->rows, 0, l->n, room->other);
    } else {
        bm_chunk_bits(window, times, room->other, room->lut);
    }
    keep(l, room->other, may_list);
}

static void keep_chosen(left_rows *l, bool may_list) {
    const bm_chunk *contacts = &l->b->columns[EV_CONTACT];
    const uint32_t shift = (uint32_t)contacts->base - 1; /* code + shift is the contact, but for the range's number */
    const uint64_t *chosen = l->x->chosen;
    ev_room *room = &l->x->room;
    if (l->as != LISTED && contacts->width == 2) {
        bm_ops.member(contacts->codes, l->b->rows, shift, chosen, room->other);
    } else {
        const uint32_t n = l->as == LISTED ? l->n : l->b->rows;
        memset(room->other, 0, words_of(l) * 8);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t row = l->as == LISTED ? room->rows[i] : i;
            uint32_t contact = ((uint32_t)bm_code(contacts, row) + shift) & (BM_CHUNK_ROWS - 1);
            room->other[i >> 6] |= (chosen[contact >> 6] >> (contact & 63) & 1) << (i & 63);
        }
    }
    keep(l, room->other, may_list);
}

/* Takes out what stale places void. */
static void keep_current(left_rows *l, const ev_source *from, bool may_list) {
    ev_call *x = l->x;
    ev_room *room = &x->room;
    uint64_t *current = l->as == LISTED ? room->mask : room->other; /* of the block's rows */
    memset(current, 0xff, (l->b->rows + 63) / 64 * 8);
    ev_void_rows(current, l->b, from->first, from->lo, from->hi, x->above, from->nabove, x->q->first, x->q->last,
                 x->narrowed ? x->chosen : NULL);
    if (l->as == LISTED) bm_ops.array_test_bits((const bm_u16 *)room->rows, l->n, (const uint8_t *)current, room->other);
    keep(l, room->other, may_list);
}

static void keep_conjunct(left_rows *l, const ev_conjunct *part, bool may_list) {
    ev_room *room = &l->x->room;
    keep(l, ev_conjunct_mask(l->x->q->filter, part, l->b, room, l->as == LISTED ? l->n : 0), may_list);
}

int ev_add_block(ev_call *x, const ev_source *from) {
    const ev_query *q = x->q;
    const ev_filter *f = q->filter;
    const ev_block *b = from->block;
    const bm_scan window = {NULL, NULL, q->first, q->last};
    uint64_t lo, hi;
    const int inside = bm_chunk_zone(&window, &b->columns[EV_TIME], &lo, &hi);
    if (inside == BM_ZONE_NONE) return BM_OK; /* also a block without rows */
    if (x->narrowed && !any_between(x->chosen, from->lo, from->hi)) return BM_OK;
    uint32_t asked = 0; /* conjuncts that zone maps leave open; of too many, all those behind are */
    uint64_t open = 0;
    for (uint32_t i = 0; f && i < f->nconjuncts; i++) {
        const int zone = ev_conjunct_zone(f, &f->conjuncts[i], b, x->room.zones);
        if (zone == BM_ZONE_NONE) return BM_OK;
        if (zone == BM_ZONE_ALL && i < 64) continue;
        asked++;
        if (i < 64) open |= 1ull << i;
    }

    left_rows left = {x, b, b->rows, ALL, false};
    bool void_left = from->stale;
    uint32_t at = 0;
    for (; asked && at < f->nconjuncts && f->conjuncts[at].cost == EV_COMPARED; at++) {
        if (at < 64 && !(open >> at & 1)) continue;
        keep_conjunct(&left, &f->conjuncts[at], !void_left);
        if (!left.n) return BM_OK;
        asked--;
    }
    if (void_left) {
        keep_current(&left, from, true);
        if (!left.n) return BM_OK;
    }
    if (inside == BM_ZONE_SOME) {
        keep_window(&left, &window, true);
        if (!left.n) return BM_OK;
    }
    if (x->narrowed) {
        keep_chosen(&left, true);
        if (!left.n) return BM_OK;
    }
    for (; asked && at < f->nconjuncts; at++) {
        if (at < 64 && !(open >> at & 1)) continue;
        keep_conjunct(&left, &f->conjuncts[at], true);
        if (!left.n) return BM_OK;
        asked--;
    }
    if (left.as == MASKED) {
        bm_ops.extract((const uint8_t *)x->room.mask, 0, x->room.rows, left.n);
        left.as = LISTED;
    }
    return ev_add_rows(x, b, left.as == LISTED ? x->room.rows : NULL, NULL, left.n);
}

int ev_add_listed(ev_call *x, const ev_source *from, uint32_t n) {
    const ev_filter *f = x->q->filter;
    left_rows left = {x, from->block, n, LISTED, false};
    if (from->stale) keep_current(&left, from, true);
    for (uint32_t i = 0; left.n && i < f->nconjuncts; i++) {
        if (&f->conjuncts[i] == x->by) continue;
        const int zone = ev_conjunct_zone(f, &f->conjuncts[i], from->block, x->room.zones);
        if (zone == BM_ZONE_NONE) return BM_OK;
        if (zone == BM_ZONE_SOME) keep_conjunct(&left, &f->conjuncts[i], true);
    }
    return left.n ? ev_add_rows(x, from->block, x->room.rows, NULL, left.n) : BM_OK;
}

int ev_add_chosen(ev_call *x, const ev_source *from, uint32_t n, const ev_conjunct *answered) {
    const ev_query *q = x->q;
    const ev_filter *f = q->filter;
    const bm_scan window = {NULL, NULL, q->first, q->last};
    uint64_t lo, hi;
    left_rows left = {x, from->block, n, LISTED, true};
    if (from->stale) keep_current(&left, from, true);
    if (left.n && bm_chunk_zone(&window, &from->block->columns[EV_TIME], &lo, &hi) != BM_ZONE_ALL)
        keep_window(&left, &window, true);
    for (uint32_t i = 0; f && left.n && i < f->nconjuncts; i++) {
        if (&f->conjuncts[i] == answered) continue;
        const int zone = ev_conjunct_zone(f, &f->conjuncts[i], from->block, x->room.zones);
        if (zone == BM_ZONE_NONE) return BM_OK;
        if (zone == BM_ZONE_SOME) keep_conjunct(&left, &f->conjuncts[i], true);
    }
    return left.n ? ev_add_rows(x, from->block, x->room.rows, x->room.contacts, left.n) : BM_OK;
}

uint32_t ev_pass_rows(ev_call *x, const ev_block *b, uint64_t *out) {
    const ev_query *q = x->q;
    const ev_filter *f = q->filter;
    const bm_scan window = {NULL, NULL, q->first, q->last};
    const uint32_t nconjuncts = f ? f->nconjuncts : 0, words = (b->rows + 63) / 64;
    uint64_t lo, hi;
    left_rows left = {x, b, b->rows, ALL, false};
    const int inside = bm_chunk_zone(&window, &b->columns[EV_TIME], &lo, &hi);
    int zone = inside;
    bool compared = true; /* so far: what is dearer than the window stands behind */
    for (uint32_t i = 0; zone != BM_ZONE_NONE && left.n && i <= nconjuncts; i++) {
        const ev_conjunct *part = i < nconjuncts ? &f->conjuncts[i] : NULL;
        if (compared && (!part || part->cost != EV_COMPARED)) {
            compared = false;
            if (inside == BM_ZONE_SOME) keep_window(&left, &window, part != NULL);
        }
        if (!part || !left.n) break;
        zone = ev_conjunct_zone(f, part, b, x->room.zones);
        if (zone == BM_ZONE_SOME) keep_conjunct(&left, part, i + 1 < nconjuncts || (compared && inside == BM_ZONE_SOME));
    }
    if (zone == BM_ZONE_NONE || !left.n) {
        memset(out, 0, words * 8);
        return 0;
    }
    if (left.as == MASKED) memcpy(out, x->room.mask, words * 8);
    else memset(out, left.as == ALL ? 0xff : 0, words * 8);
    if (left.as == ALL && (b->rows & 63)) out[words - 1] = bm_ones(b->rows & 63);
    for (uint32_t i = 0; left.as == LISTED && i < left.n; i++) out[x->room.rows[i] >> 6] |= 1ull << (x->room.rows[i] & 63);
    return left.n;
}
