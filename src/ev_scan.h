/* One call of ev_collect, as its files see it: rows that are left of a block (ev_scan.c, ev_filter.c) become numbers of
 * contacts (ev_add.c), range by range (ev_collect.c). Nothing else includes this. */
#ifndef EV_SCAN_H
#define EV_SCAN_H

#include "ev_layer.h"
#include "ev_ledger.h"
#include "ev_order.h"
#include "ev_presence.h"

/* So many rows or fewer are listed, and looked at one by one; the figure of a container, for one of its chunks. */
#define EV_LISTED (BM_SWITCH_BEFORE_SCAN / BM_CHUNKS)
/* While a range has so many rows or fewer, its contacts are listed, and only these are looked at and cleared: 1 to 1.5
 * nanoseconds each where its number alone decides, else twice that, and so only half as many are few; the whole range takes
 * 5 microseconds. */
#define EV_FEW 3072u

/* What a conjunct costs: a comparison of each row, a look-up, more. */
enum { EV_COMPARED, EV_LOOKED_UP, EV_DEAR };

/* Room to work in, which all blocks of a call share. */
typedef struct {
    uint64_t mask[BM_WORDS]; /* as long as a container, for bm_ops.extract; of the block's words alone it means something */
    uint64_t other[BM_CHUNK_WORDS];
    uint64_t lut[BM_BUF / 8], unsure[BM_BUF / 8];
    uint16_t rows[BM_CHUNK_ROWS + BM_PAD / 2];
    uint16_t contacts[BM_CHUNK_ROWS + BM_PAD / 2]; /* of the listed rows, where that is known */
    uint8_t *zones;  /* depth of the filter */
    uint64_t *masks; /* BM_CHUNK_WORDS for each */
} ev_room;

/* The rows of one value in one month, in the month's order: those from `at` on are of ranges to come. */
typedef struct {
    const ev_order *order;
    const ev_measure *measure; /* or NULL */
    const ev_month *month;
    const uint32_t *firsts; /* its first row of each range of the month, and its end; or NULL where it has few */
    uint32_t at, end;
    uint16_t from, to; /* the coarse times that the window's bounds fall in: rows between these are in the window */
    bool inside; /* whether all of the month is in the window */
    bool plain;  /* whether all of it passes the conjuncts that remain */
} ev_run;

/* A month whose blocks' presence is known. */
typedef struct {
    const ev_month *month;
    const ev_presence *presence;
    const ev_measure *measure; /* or NULL */
    const ev_conjunct *counted; /* that of the filter which asks whether rows count, where it has one; or NULL */
    uint32_t at;                /* which of the call's months it is */
    bool inside;                /* whether all of the month is in the window */
    bool plain;                 /* whether all of it passes the rest of the filter */
} ev_known;

/* So many blocks and rows are found before any is looked at. */
#define EV_FOUND_BLOCKS 32u
#define EV_FOUND_ROWS 1024u

/* Of more candidates in a range the rows are not found one by one: it costs as much as to look at the contacts of all. */
#define EV_FOUND_OF (BM_CHUNK_ROWS / 3)

/* A block with rows of candidates, x->rows_found[at] and the n - 1 behind it. */
typedef struct {
    const ev_known *known;
    const ev_block *block;
    const uint32_t *codes; /* of the block's rows in the known measure, where that is all that is asked of them; or NULL */
    uint32_t at, n;
} ev_hit;

/* How a layer's rows are looked at: in slices by range; by bits that say which of them pass; or those alone that were
 * picked, of all layers together. */
typedef enum { EV_PICKED, EV_MASKED, EV_SLICED } ev_way;

/* Where a call is in a layer. */
typedef struct ev_reading {
    const ev_layer *layer;
    uint32_t index; /* among all layers, the oldest first */
    uint32_t part;  /* the first part that may be of ranges to come */
    ev_way way;
    const uint64_t *bits; /* EV_MASKED: of the rows from `row` on, those that pass; NULL where all do */
    uint32_t row;
} ev_reading;

/* A layer of which rows are picked: `passing` of the n from `row` on, which begins a part, those of `bits` (NULL: all). The
 * first of them picked. */
typedef struct {
    const ev_layer *layer;
    uint32_t part, first, passing, row, n;
    const uint64_t *bits;
} ev_picked_of;

/* Rows of layers that pass all that is asked of a row but whether it is void and its contact a candidate: those of a layer
 * together, ascending. Where there is a measure, only rows that have it, and `values` of it. */
typedef struct {
    uint32_t *rows, *contacts;
    int64_t *values;
    uint32_t n, cap;
    double reach; /* how far from 0 a value may be */
    ev_picked_of *layers; /* all, the oldest first */
    uint32_t nlayers;
    /* By range from `first` on, when all are picked: those of the i-th are starts[i] to starts[i + 1] - 1. */
    uint32_t first, nranges;
    uint32_t *starts;
    uint16_t *lows; /* contacts within the range */
    uint32_t *at;   /* which of the rows */
} ev_picked;

/* What numbers of contacts are made of. */
typedef enum { EV_SEEN, EV_COUNT, EV_SUM, EV_PICK, EV_PAIRS, EV_LIST } ev_kind;

/* The months whose rows are added: of a ledger, or not. */
typedef enum { EV_EVERY, EV_COVERED, EV_OTHERS } ev_which;

typedef struct {
    const ev_query *q;
    ev_kind kind;
    ev_room room;
    bool narrowed;                         /* whether there are candidates */
    uint64_t chosen[BM_CHUNK_WORDS + 1];   /* those of the range, nchosen of them or about so many */
    uint64_t pages;                        /* a bit for each BM_PAGE contacts of it that have some */
    uint32_t nchosen;
    size_t among;                          /* where the candidates of ranges to come begin: in the list, or which container */
    uint32_t number;                       /* of the range */
    /* of the range's contacts */
    uint8_t seen[BM_CHUNK_ROWS];           /* 1 where a row was added; not kept by EV_COUNT, nor by_number */
    union {
        int64_t numbers[BM_CHUNK_ROWS];    /* 0 where nothing was added */
        uint32_t counts[BM_CHUNK_ROWS];    /* of EV_COUNT and EV_PAIRS */
    };
    uint16_t few[EV_FEW];                  /* the contacts of the rows, while these are few */
    uint32_t most_few;                     /* so many rows are few; see EV_FEW */
    uint32_t nrows;                        /* added; most_few + 1 for any more */
    bool by_number;                        /* see ev_by_number */
    double reach;                          /* how far from 0 a sum may be */
    ev_pairs pairs;                        /* contacts and values, where distinct ones are counted */
    int64_t *days;                         /* of BM_CHUNK_ROWS rows, where days are */
    ev_above *above;                       /* the layers that have rows or stale places in the range, the newest first */
    uint32_t nbatch;                       /* rows of layers on their way: room.contacts, and with a measure these values */
    int64_t batch[BM_CHUNK_ROWS];
    uint64_t stale[BM_CHUNK_WORDS + 1];    /* the contacts of the range that have stale places, where some have */
    ev_block slice;
    ev_reading *readings;                  /* of layers that have more than picked rows, nreadings, the oldest first */
    uint32_t nreadings;
    uint64_t *bits;                        /* of readings; room for nbits words */
    size_t nbits;
    ev_picked picked;
    ev_run *runs;                          /* by month */
    uint32_t nruns;
    const ev_conjunct *by;                 /* what runs have answered */
    ev_known *known;                       /* nknown of them */
    uint32_t nknown;
    const ev_ledger *ledger;               /* that answers for the months that are covered; or NULL */
    bool *covered;                         /* by month: whether it is, ncovered of them */
    uint32_t ncovered;
    bm_steps steps;                        /* of the ledger: those of the window */
    bool ends_open;                        /* whether the window begins or ends within one */
    bool told_whole;                       /* whether the ledger covers all months */
    uint64_t open[BM_CHUNK_WORDS];         /* candidates about whom the ledger leaves something open, nopen of them */
    uint32_t nopen;
    uint8_t columns[EV_MAX_COLUMNS];       /* those that the filter and the measure look at, ncolumns of them */
    uint32_t ncolumns;
    ev_hit hits[EV_FOUND_BLOCKS];
    uint32_t nhits, nfound;                /* so far: of blocks, and of rows */
    uint16_t rows_found[EV_FOUND_ROWS + BM_CHUNK_ROWS + BM_PAD / 2];
    uint16_t contacts_found[EV_FOUND_ROWS + BM_CHUNK_ROWS + BM_PAD / 2];
    uint64_t passing[BM_WORDS];            /* the contacts to report, of a container */
    uint16_t listed[BM_ARRAY_MAX + BM_PAD / 2];
    ev_found *found;
} ev_call;

/* A block to be read. */
typedef struct {
    const ev_block *block;
    int64_t first;   /* of the range, as the column of contacts has it */
    uint32_t lo, hi; /* its contacts within the range lie between these, both included */
    uint32_t nabove; /* so many of the layers lie above it */
    bool stale;      /* whether these have places where the block's rows are void */
} ev_source;

/* ev_filter.c */
/* What zone maps say of a conjunct: BM_ZONE_NONE or BM_ZONE_ALL of the block's rows, or some. `zones` is scratch. */
int ev_conjunct_zone(const ev_filter *f, const ev_conjunct *part, const ev_block *b, uint8_t *zones);
/* The mask of the block's rows, or of the first `listed` of room->rows. Bits behind these mean nothing. */
const uint64_t *ev_conjunct_mask(const ev_filter *f, const ev_conjunct *part, const ev_block *b, ev_room *room,
                                 uint32_t listed);

/* ev_scan.c: one block; a status. */
int ev_add_block(ev_call *x, const ev_source *from);
/* The first n of the rows in x->room.rows, ascending, which are in the window, of the candidates, and pass x->by. */
int ev_add_listed(ev_call *x, const ev_source *from, uint32_t n);

/* The same, of rows that may be outside the window, whose contacts are x->room.contacts, and which pass `answered` (or NULL). */
int ev_add_chosen(ev_call *x, const ev_source *from, uint32_t n, const ev_conjunct *answered);

/* ev_among.c */
/* The first range from `number` on with a candidate, which are put among x->chosen; EV_NUMBERS without one. Numbers ascend
 * from call to call. */
uint32_t ev_among_next(ev_call *x, uint32_t number);
/* The pages of such bits. */
uint64_t ev_pages_of(const uint64_t *chosen);
/* How many candidates there are, by what the set's containers say. */
uint64_t ev_among_count(const ev_call *x);

/* ev_chosen.c */
/* Finds the months of the call whose presence is known, in x->known, which has room for them. */
void ev_chosen_begin(ev_call *x, const ev_held *h);
/* Whether the candidates of the range are so few that this pays: then their rows in the months known are for ev_chosen_add,
 * which adds them, of the months that are said; a status. */
bool ev_chosen_few(const ev_call *x);
int ev_chosen_add(ev_call *x, ev_source *from, ev_which which);
/* Whether the conjunct is that the column is 1. */
bool ev_asks_for(const ev_filter *f, const ev_conjunct *part, uint32_t column);

/* ev_ledger_add.c */
/* Sets x->ledger where the call's ledger answers what is asked. */
void ev_ledger_choose(ev_call *x, const ev_held *h);
/* Whether it has the range, and reading it costs less than reading the blocks. */
bool ev_ledger_pays(const ev_call *x);
/* Adds what it says of the range's candidates in the months that it covers, but of those who are left in x->open; a status. */
int ev_ledger_add(ev_call *x, const ev_source *from);
/* Makes candidates of those who are left open, and the other way round. */
void ev_ledger_turn(ev_call *x);

/* Sets a bit of `out` for each row of a slice of a layer that is in the window and passes the filter: how many are. */
uint32_t ev_pass_rows(ev_call *x, const ev_block *b, uint64_t *out);

/* ev_pick.c */
/* Begins to read the layers, in x->readings and x->picked.layers, which have room for them; a status. Ended, whatever it is. */
int ev_layers_begin(ev_call *x, const ev_held *h, const bm_stop *stop);
void ev_layers_end(ev_call *x);
/* Frees what was kept for the next call. */
void ev_picked_clear(ev_picked *p);

/* ev_above.c */
/* The first range from `number` on where layers may have rows; EV_NUMBERS without one. */
uint32_t ev_layers_next(ev_call *x, uint32_t number);
/* Finds what layers have in the range, but for picked rows, in x->above: how many layers have something. */
uint32_t ev_layers_above(ev_call *x);
/* Adds the rows of layers in the range, under the newer ones of x->above; a status. */
int ev_layers_add(ev_call *x, uint32_t nabove, const bm_stop *stop);

/* ev_run.c */
/* Finds the runs of the call, from the range h->first on, in x->runs, which has room for them. */
void ev_runs_begin(ev_call *x, const ev_held *h);
/* The first range from `number` on where a run goes on; EV_NUMBERS when all are at their end. */
uint32_t ev_runs_next(const ev_call *x, uint32_t number);
/* Adds what the runs have in the range; a status. */
int ev_add_runs(ev_call *x, ev_source *from);

/* ev_add.c */
/* Makes room for so many more; false without memory. */
bool ev_grow(ev_found *f, size_t more);
/* Adds n rows, of which only the contacts matter. For EV_SEEN and EV_COUNT. */
void ev_add_contacts(ev_call *x, const bm_u16 *contacts, uint32_t n);
/* Adds to one contact what several rows come to. For EV_SEEN, EV_COUNT and EV_SUM, where the sum must be in reach. */
void ev_add_number(ev_call *x, uint32_t contact, int64_t number);
/* Whether no sum can leave 64 bits when n more rows are added, of values within the bounds; they are counted as added then. */
bool ev_in_reach(ev_call *x, int64_t base, int64_t greatest, uint64_t n);
/* Adds n rows with the codes of their measure: those of the mask, or for NULL all. For EV_SUM. False where the sums may
 * leave 64 bits: then nothing is added. */
bool ev_add_codes(ev_call *x, const ev_measure *v, const bm_u16 *contacts, const uint32_t *codes, uint32_t n,
                  const uint64_t *mask);
/* The same of the n rows listed, whose codes are codes[row]. */
bool ev_add_valued(ev_call *x, const ev_measure *v, const uint16_t *contacts, const uint16_t *rows, const uint32_t *codes,
                   uint32_t n);
/* Adds n rows with their values, none of them beyond `reach` from 0. For EV_SUM, EV_PICK, and EV_PAIRS of a
 * measure; a status. */
int ev_add_values(ev_call *x, const bm_u16 *contacts, const int64_t *values, uint32_t n, double reach);
/* Adds the n rows listed, ascending, or for NULL the first n of the block; `contacts` are theirs where that is known; a
 * status. */
int ev_add_rows(ev_call *x, const ev_block *b, const uint16_t *rows, const uint16_t *contacts, uint32_t n);

/* ev_report.c */
/* Whether its number alone says of a contact whether it is reported, since a number of 0, which one without rows has, is not. */
bool ev_by_number(const ev_query *q, ev_kind kind);
/* Ends a range: reports what it has touched and leaves the buffers clear. False without memory. */
bool ev_report(ev_call *x);
/* Ends a container of a set, or of what is counted; false without memory. */
bool ev_report_set(ev_call *x, uint32_t key);

#endif
