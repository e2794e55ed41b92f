/* Rows of few candidates, by the ledger of months: what it tells of a range's candidates is added, and those about whom it
 * leaves something open are left to the blocks: who has rows in a step of time in which the window begins or ends, or of whom
 * the log voids something. */
#include "ev_scan.h"

/* What it takes to sweep the presence of a month for the candidates of a range, and to look at the ledger for these, in
 * nanoseconds of one core (AMD EPYC with AVX-512, rows not in its cache, a row a contact and year): of the range, and of each
 * candidate, of a month no more in all than it takes to look at its rows one after the other. A sum reads the value of each row
 * too; where one row is not enough, who has fewer is passed over. */
#define SWEEP 130u
#define SWEPT 1.35
#define SWEPT_VALUE 1.9
#define MOST_SWEPT 1100.0
#define LOOK 200u
#define LOOKED_UP 16.5
#define LOOKED_UP_SOME 10.0

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
    x->steps.counting = false;
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
            if (ev_asks_for(f, part, l->counts)) x->steps.counting = true;
            else if (ev_conjunct_zone(f, part, h->months[m]->bounds, x->room.zones) != BM_ZONE_ALL) return;
        }
    }
    if (!x->ncovered) return;
    /* The steps that are all within the window, and those that only begin or end there. */
    const uint64_t ends = (1ull << l->shift) - 1;
    const bool before = q->first <= l->since, behind = q->last >= l->until;
    if (q->first > l->until || q->last < l->since) return;
    const uint64_t first = (uint64_t)q->first - (uint64_t)l->since, last = (uint64_t)q->last - (uint64_t)l->since;
    x->steps.lo = before ? 0 : (uint32_t)(first >> l->shift);
    x->steps.hi = behind ? EV_STEPS - 1 : (uint32_t)(last >> l->shift);
    const uint32_t open_lo = !before && (first & ends), open_hi = !behind && (last & ends) != ends;
    x->steps.sure_lo = x->steps.lo + open_lo;
    x->steps.sure_hi = x->steps.hi - open_hi;
    if (x->steps.hi < open_hi) x->steps.sure_lo = 1, x->steps.sure_hi = 0;
    x->ends_open = open_lo | open_hi;
    x->told_whole = x->ncovered == h->nmonths;
    x->ledger = l;
}

bool ev_ledger_pays(const ev_call *x) {
    if (!x->ledger || !ev_ledger_sheet(x->ledger, x->number)) return false;
    const double candidates = x->nchosen, swept = (x->kind == EV_SUM ? SWEPT_VALUE : SWEPT) * candidates;
    const double month = SWEEP + (swept < MOST_SWEPT ? swept : MOST_SWEPT);
    const bool some = x->kind == EV_COUNT && x->q->low > 1;
    return x->nchosen <= EV_FOUND_OF && LOOK + (some ? LOOKED_UP_SOME : LOOKED_UP) * candidates < x->ncovered * month;
}

/* Whether no row of the range's candidates is elsewhere. */
static bool tells_all(const ev_call *x, const ev_source *from) {
    return x->told_whole && !x->nruns && !from->nabove && !x->picked.n;
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

/* Of the contacts whose rows are found, those that are open are left so. */
static uint32_t keep_settled(ev_call *x, bm_stretch *found, bm_total *totals, uint32_t n) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (totals[i].open) {
            leave_open(x, found[i].contact);
        } else {
            found[kept] = found[i];
            totals[kept++] = totals[i];
        }
    }
    return kept;
}

/* Adds what the rows of n contacts come to. `all`: no other row of theirs is added. */
static void add(ev_call *x, const bm_stretch *of, const bm_total *totals, uint32_t n, bool all) {
    const ev_query *q = x->q;
    const bool sums = x->kind == EV_SUM;
    const uint64_t base = (uint64_t)x->ledger->base - 1;
    if (all && (x->by_number || x->kind == EV_SEEN)) { /* whether one passes is anyone's guess: no branch */
        uint64_t *passing = x->passing + x->number % BM_CHUNKS * BM_CHUNK_WORDS;
        const uint64_t low = sums ? (uint64_t)q->low : q->low < 1 ? 1 : (uint64_t)q->low, span = (uint64_t)q->high - low;
        for (uint32_t i = 0; i < n; i++) {
            const uint64_t number = sums ? totals[i].sum + totals[i].valued * base : totals[i].rows;
            passing[of[i].contact >> 6] |= (uint64_t)(number - low <= span) << (of[i].contact & 63);
        }
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        const bm_total *t = &totals[i];
        if (sums ? t->valued : t->rows) ev_add_number(x, of[i].contact, (int64_t)(sums ? t->sum + t->valued * base : t->rows));
    }
}

/* Sends for the sheet of the range behind this one. */
static void send_for_next(const ev_ledger *l, uint32_t number) {
    const uint32_t i = number - l->first + 1;
    if (i >= l->n) return;
    for (uint32_t line = l->lines[i]; line < l->lines[i + 1]; line++) __builtin_prefetch(l->sheets + (size_t)line * EV_LINE_BYTES);
}

int ev_ledger_add(ev_call *x, const ev_source *from) {
    const ev_ledger *l = x->ledger;
    const ev_sheet *s = ev_ledger_sheet(l, x->number);
    const bm_sheet of = {s->has, s->before, s->firsts};
    const bm_entry *entries = l->entries + l->rows[x->number - l->first];
    const bool all = tells_all(x, from);
    /* Of one with fewer rows than are asked for, none is looked at. */
    const uint32_t least = all && x->kind == EV_COUNT && x->q->low > 1 ? (uint32_t)x->q->low : 1;
    bm_stretch found[AT_ONCE];
    bm_total totals[AT_ONCE];
    uint64_t others[BM_CHUNK_WORDS];
    const uint64_t *chosen = x->chosen;
    memset(x->open, 0, sizeof x->open);
    x->nopen = 0;
    if (from->stale) {
        open_stale(x, from);
        for (uint32_t w = 0; w < BM_CHUNK_WORDS; w++) others[w] = x->chosen[w] & ~x->open[w];
        chosen = others;
    }
    send_for_next(l, x->number);
    for (uint32_t word = 0; word < BM_CHUNK_WORDS;) {
        uint32_t n = bm_ops.stretches(&of, chosen, &word, found, AT_ONCE), wanted = 0;
        uint64_t rows = 0;
        for (uint32_t i = 0; i < n; i++) {
            const bm_stretch its = found[i];
            found[wanted] = its;
            if (its.n < least) continue;
            rows += its.n;
            wanted++;
        }
        if (x->kind == EV_SUM && !ev_in_reach(x, l->base, l->most, rows)) {
            for (uint32_t i = 0; i < wanted; i++) leave_open(x, found[i].contact);
            continue;
        }
        bm_ops.totals(entries, &x->steps, found, wanted, totals);
        if (x->ends_open) wanted = keep_settled(x, found, totals, wanted);
        add(x, found, totals, wanted, all);
    }
    return BM_OK;
}

void ev_ledger_turn(ev_call *x) {
    for (uint32_t w = 0; w < BM_CHUNK_WORDS; w++) {
        const uint64_t chosen = x->chosen[w];
        x->chosen[w] = x->open[w];
        x->open[w] = chosen;
    }
    x->pages = ev_pages_of(x->chosen);
    const uint32_t nchosen = x->nchosen;
    x->nchosen = x->nopen;
    x->nopen = nchosen;
}
