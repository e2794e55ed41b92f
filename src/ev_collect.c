/* How many rows a contact has, on how many days, or the sum, the least, the greatest or the number of distinct values of
 * a measure (or the rows themselves), over the rows of event blocks, and of layers above them, that lie in a window of
 * time and pass a filter: range by range, in buffers that all ranges of a call share. */
#include <stdatomic.h>
#include <stdlib.h>

#include "ev_scan.h"

/* Blocks between two looks at the clock. */
#define LOOK_EVERY 16u

/* Adds the rows of blocks in the range, of those months; a status. */
static int add_blocks(ev_call *x, const ev_held *h, ev_source *from, ev_which which, const bm_stop *stop, uint32_t *ticks) {
    const bool few = ev_chosen_few(x);
    int status = few ? ev_chosen_add(x, from, which) : BM_OK;
    for (size_t m = 0; m < h->nmonths && status == BM_OK; m++) {
        const ev_month *month = h->months[m];
        const ev_presence *known = few ? h->presences[m] : NULL;
        if (h->orders && h->orders[m]) continue;
        if (which != EV_EVERY && x->covered[m] != (which == EV_COVERED)) continue;
        const uint32_t at = x->number - month->first;
        if (at >= month->n) continue;
        for (uint32_t i = month->starts[at]; i < month->starts[at + 1]; i++) {
            status = stop && ++*ticks % LOOK_EVERY == 0 ? bm_stop_look(stop) : BM_OK;
            if (status != BM_OK) return status;
            if (known && known->at[i] != EV_NOT_THERE) continue;
            from->block = month->blocks[i];
            from->lo = (uint32_t)from->block->columns[EV_CONTACT].base;
            from->hi = (uint32_t)from->block->columns[EV_CONTACT].max;
            if ((status = ev_add_block(x, from)) != BM_OK) return status;
        }
    }
    return status;
}

static int add_range(ev_call *x, const ev_held *h, const bm_stop *stop, uint32_t *ticks) {
    ev_source from = {NULL, 0, 0, 0, 0, false};
    from.nabove = ev_layers_above(x);
    for (uint32_t i = 0; i < from.nabove; i++) from.stale |= x->above[i].stale < x->above[i].stale_end;
    int status = stop && ++*ticks % LOOK_EVERY == 0 ? bm_stop_look(stop) : BM_OK;
    if (status == BM_OK && x->nruns) status = ev_add_runs(x, &from);
    const bool paid = status == BM_OK && ev_ledger_pays(x);
    if (paid) {
        status = ev_ledger_add(x, &from);
        if (status == BM_OK && x->nopen) {
            ev_ledger_turn(x);
            status = add_blocks(x, h, &from, EV_COVERED, stop, ticks);
            ev_ledger_turn(x);
        }
    }
    if (status == BM_OK && !(paid && x->told_whole)) status = add_blocks(x, h, &from, paid ? EV_OTHERS : EV_EVERY, stop, ticks);
    return status == BM_OK ? ev_layers_add(x, from.nabove, stop) : status;
}

static ev_kind kind_of(const ev_query *q) {
    switch (q->how) {
    case EV_ROWS: return EV_LIST;
    case EV_DISTINCT: case EV_DAYS: return EV_PAIRS;
    case EV_LEAST: case EV_MOST: return EV_PICK;
    default:
        if (q->measure != EV_NO_COLUMN) return EV_SUM;
        return q->as_set && q->low <= 1 && q->high == INT64_MAX ? EV_SEEN : EV_COUNT;
    }
}

/* The first range from `number` on that may have rows; EV_NUMBERS without one. */
static uint32_t next_of(ev_call *x, const ev_held *h, uint32_t number) {
    uint32_t next = x->nruns ? ev_runs_next(x, number) : EV_NUMBERS;
    for (size_t m = 0; m < h->nmonths && next > number; m++) {
        const ev_month *month = h->months[m];
        if ((h->orders && h->orders[m]) || number >= month->first + month->n) continue;
        const uint32_t its = number < month->first ? month->first : number;
        if (its < next) next = its;
    }
    if (next > number && h->nlayers) {
        const uint32_t its = ev_layers_next(x, number);
        if (its < next) next = its;
    }
    return next;
}

uint32_t ev_end(const ev_held *h) {
    uint32_t end = 0;
    for (size_t m = 0; m < h->nmonths; m++)
        if (h->months[m]->first + h->months[m]->n > end) end = h->months[m]->first + h->months[m]->n;
    for (uint32_t i = 0; i < h->nlayers; i++) {
        const ev_layer *l = h->layers[i];
        if (l->nparts && l->parts[l->nparts - 1].number + 1 > end) end = l->parts[l->nparts - 1].number + 1;
    }
    return end < h->end ? end : h->end;
}

/* Calls' buffers that are kept for the next ones, clear as a call leaves them: to get them from the system each time costs
 * as much as a question about few blocks. */
#define SPARE 4u
static _Atomic(ev_call *) spare[SPARE];

static ev_call *take(void) {
    for (uint32_t i = 0; i < SPARE; i++) {
        ev_call *x = atomic_exchange(&spare[i], NULL);
        if (x) return x;
    }
    return calloc(1, sizeof(ev_call));
}

static void drop(ev_call *x) {
    if (!x) return;
    ev_picked_clear(&x->picked);
    free(x->bits);
    free(x);
}

static void give_back(ev_call *x) {
    ev_call *none = NULL;
    for (uint32_t i = 0; i < SPARE; i++, none = NULL)
        if (atomic_compare_exchange_strong(&spare[i], &none, x)) return;
    drop(x);
}

int ev_collect(const ev_held *h, const ev_query *q, const bm_stop *stop, ev_found *found) {
    const uint32_t depth = q->filter ? q->filter->depth : 0, end = ev_end(h);
    uint32_t ticks = 0, key = 0;
    int status = stop ? bm_stop_look(stop) : BM_OK;
    if (status != BM_OK || h->first >= end || q->first > q->last) return status;
    ev_call *x = take();
    uint64_t *masks = malloc((size_t)depth * (BM_CHUNK_WORDS * 8 + 1) + 1);
    ev_above *above = malloc((size_t)h->nlayers * sizeof *above + 1);
    ev_reading *readings = malloc((size_t)h->nlayers * sizeof *readings + 1);
    ev_picked_of *layers = malloc((size_t)h->nlayers * sizeof *layers + 1);
    int64_t *days = q->how == EV_DAYS ? malloc(BM_CHUNK_ROWS * sizeof *days) : NULL;
    ev_run *runs = malloc(h->nmonths * h->nvalues * sizeof *runs + 1);
    ev_known *known = malloc(h->nmonths * sizeof *known + 1);
    bool *covered = malloc(h->nmonths + 1);
    if (!x || !masks || !above || !readings || !layers || !runs || !known || !covered || (q->how == EV_DAYS && !days))
        status = BM_NO_MEMORY;
    else {
        x->q = q;
        x->kind = kind_of(q);
        x->by_number = ev_by_number(q, x->kind);
        x->most_few = x->by_number ? EV_FEW : EV_FEW / 2;
        x->room.masks = masks;
        x->room.zones = (uint8_t *)(masks + (size_t)depth * BM_CHUNK_WORDS);
        x->above = above;
        x->readings = readings;
        x->picked.layers = layers;
        x->days = days;
        x->narrowed = q->among || q->set;
        x->among = 0;
        x->runs = runs;
        x->known = known;
        x->covered = covered;
        x->found = found;
        found->width = q->how == EV_ROWS ? q->nlisted : 1;
        ev_runs_begin(x, h);
        ev_chosen_begin(x, h);
        ev_ledger_choose(x, h);
        status = ev_layers_begin(x, h, stop);
    }
    for (uint32_t number = h->first; status == BM_OK; number++) {
        const uint32_t next = next_of(x, h, number);
        if (next > number) number = next; /* never back: candidates are found in order */
        if (number >= end) break;
        if (x->narrowed && (number = ev_among_next(x, number)) >= end) break;
        x->number = number;
        if (number / BM_CHUNKS != key) {
            if (q->as_set && !ev_report_set(x, key)) status = BM_NO_MEMORY;
            key = number / BM_CHUNKS;
        }
        if (status == BM_OK) status = add_range(x, h, stop, &ticks);
        if (status == BM_OK && !ev_report(x)) status = BM_NO_MEMORY;
    }
    if (status == BM_OK && q->as_set && !ev_report_set(x, key)) status = BM_NO_MEMORY;
    if (x) {
        ev_pairs_free(&x->pairs);
        ev_layers_end(x);
    }
    if (x && status == BM_OK) give_back(x);
    else drop(x);
    free(days);
    free(masks);
    free(above);
    free(readings);
    free(layers);
    free(runs);
    free(known);
    free(covered);
    return status;
}

void ev_found_free(ev_found *f) {
    free(f->ordinals);
    free(f->numbers);
    bm_output_free(&f->set);
    memset(f, 0, sizeof *f);
}
