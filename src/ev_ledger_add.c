/* Rows of few candidates, by the ledger of months: what it tells of a range's candidates is added, and those about whom it
 * leaves something open are left to the blocks: who has rows in a step of time in which the window begins or ends, or of whom
 * the log voids something. */
#include "ev_scan.h"

/* Of fewer months a sweep of their presence costs less: so many make up for what a ledger reads of a contact whatever the
 * window. Per range of 16,384 contacts, with a row a contact and year: a month's sweep takes 0.12 microseconds and 2.7
 * nanoseconds for each candidate while these are few, 1 where they are many; the ledger takes 0.7 and 11 to 13. */
#define FEW_MONTHS 6u
#define MANY_MONTHS 12u
#define FEW_CHOSEN (BM_CHUNK_ROWS / 32)

#define AT_ONCE 256u /* contacts whose rows are sent for before any is looked at */

/* Whether no month of the ledger is in the window but those that are asked about. */
static bool all_asked(const ev_ledger *l, const ev_held *h, const ev_query *q) {
    for (size_t i = 0; i < l->nmembers; i++) {
        if (l->members[i].until < q->first || l->members[i].since > q->last) continue;
        size_t m = 0;
        while (m < h->nmonths && h->months[m]->serial != l->members[i].serial) m++;
        if (m == h->nmonths) return false;
    }
    return true;
}

void ev_ledger_choose(ev_call *x, const ev_held *h) {
    const ev_query *q = x->q;
    const ev_filter *f = q->filter;
    const ev_ledger *l = h->ledger;
    x->ledger = NULL;
    x->only_counting = false;
    if (!x->narrowed || !l || (x->kind != EV_SEEN && x->kind != EV_COUNT && x->kind != EV_SUM)) return;
    if ((x->kind == EV_SUM && (uint32_t)q->measure != l->column) || !all_asked(l, h, q)) return;
    x->ncovered = 0;
    for (size_t m = 0; m < h->nmonths; m++) {
        x->covered[m] = ev_ledger_has(l, h->months[m]);
        if (!x->covered[m]) continue;
        if (h->orders && h->orders[m]) return;
        x->ncovered++;
        for (uint32_t i = 0; f && i < f->nconjuncts; i++) {
            const ev_conjunct *part = &f->conjuncts[i];
            if (ev_asks_for(f, part, l->counts)) x->only_counting = true;
            else if (ev_conjunct_zone(f, part, h->months[m]->bounds, x->room.zones) != BM_ZONE_ALL) return;
        }
    }
    if (x->ncovered < FEW_MONTHS) return;
    /* The steps that are all within the window, and those that only begin or end there. */
    const uint64_t ends = (1ull << l->shift) - 1;
    const bool before = q->first <= l->since, behind = q->last >= l->until;
    if (q->first > l->until || q->last < l->since) return;
    const uint64_t first = (uint64_t)q->first - (uint64_t)l->since, last = (uint64_t)q->last - (uint64_t)l->since;
    x->step_lo = before ? 0 : (uint32_t)(first >> l->shift);
    x->step_hi = behind ? EV_STEPS - 1 : (uint32_t)(last >> l->shift);
    x->open_lo = !before && (first & ends);
    x->open_hi = !behind && (last & ends) != ends;
    x->ledger = l;
}

bool ev_ledger_pays(const ev_call *x) {
    if (!x->ledger || !ev_ledger_sheet(x->ledger, x->number)) return false;
    return x->nchosen <= FEW_CHOSEN || (x->nchosen <= EV_FOUND_OF && x->ncovered >= MANY_MONTHS);
}

static void leave_open(ev_call *x, uint32_t contact) {
    x->open[contact >> 6] |= 1ull << (contact & 63);
    x->nopen++; /* of one with several stale places too often, which only has its rows found otherwise */
}

/* The candidates of whom a layer voids something. */
static void open_stale(ev_call *x, const ev_source *from) {
    for (uint32_t i = 0; from->stale && i < from->nabove; i++) {
        const ev_above *a = &x->above[i];
        for (uint32_t at = a->stale; at < a->stale_end; at++) {
            const uint32_t contact = a->layer->contacts[at] & (BM_CHUNK_ROWS - 1);
            if (x->chosen[contact >> 6] >> (contact & 63) & 1) leave_open(x, contact);
        }
    }
}

/* Adds one contact's rows, or leaves it open. */
static void add(ev_call *x, uint32_t contact, const ev_entry *entries, uint32_t n) {
    const uint32_t lo = x->step_lo, hi = x->step_hi, any = !x->only_counting;
    const int64_t base = x->ledger->base - 1;
    int64_t sum = 0;
    uint32_t rows = 0, valued = 0, open = 0;
    for (uint32_t i = 0; i < n; i++) {
        const ev_entry e = entries[i];
        const uint32_t step = e.when >> 1, in = (step >= lo) & (step <= hi) & (e.when | any);
        open |= in & ((x->open_lo & (step == lo)) | (x->open_hi & (step == hi)));
        const uint32_t has = in & (e.code != 0);
        rows += in;
        valued += has;
        sum += has ? (int64_t)((uint64_t)base + e.code) : 0;
    }
    if (open) {
        leave_open(x, contact);
    } else if (x->kind == EV_SUM ? valued : rows) {
        ev_add_number(x, contact, x->kind == EV_SUM ? sum : (int64_t)rows);
    }
}

int ev_ledger_add(ev_call *x, const ev_source *from) {
    const ev_ledger *l = x->ledger;
    const ev_sheet *s = ev_ledger_sheet(l, x->number);
    const bm_sheet of = {s->has, s->before, s->firsts};
    const ev_entry *entries = l->entries + l->rows[x->number - l->first];
    bm_stretch stretches[AT_ONCE];
    uint64_t chosen[BM_CHUNK_WORDS];
    memset(x->open, 0, sizeof x->open);
    x->nopen = 0;
    open_stale(x, from);
    for (uint32_t w = 0; w < BM_CHUNK_WORDS; w++) chosen[w] = x->chosen[w] & ~x->open[w];
    for (uint32_t word = 0; word < BM_CHUNK_WORDS;) {
        const uint32_t n = bm_ops.stretches(&of, chosen, &word, stretches, AT_ONCE);
        uint64_t rows = 0;
        for (uint32_t i = 0; i < n; i++) {
            const ev_entry *its = entries + stretches[i].row;
            __builtin_prefetch(its);
            __builtin_prefetch(its + stretches[i].n - 1);
            rows += stretches[i].n;
        }
        const bool fits = x->kind != EV_SUM || ev_in_reach(x, l->base, l->most, rows);
        for (uint32_t i = 0; i < n; i++) {
            if (fits) add(x, stretches[i].contact, entries + stretches[i].row, stretches[i].n);
            else leave_open(x, stretches[i].contact);
        }
    }
    return BM_OK;
}

void ev_ledger_turn(ev_call *x) {
    for (uint32_t w = 0; w < BM_CHUNK_WORDS; w++) {
        const uint64_t chosen = x->chosen[w];
        x->chosen[w] = x->open[w];
        x->open[w] = chosen;
    }
    const uint32_t nchosen = x->nchosen;
    x->nchosen = x->nopen;
    x->nopen = nchosen;
}
