/* Local time of events: which rows lie in some hours of the week, and what local day a row was on.
 *
 * A zone is where its offset changes, and the offset from each of these instants on. Times of damaged blocks may be any:
 * all is computed without sign, so that they give wrong bits and never a wild access. */
#include "ev_block.h"

#define HOUR 3600000ull
#define WEEK (7 * 24 * HOUR)
/* So many rows pay for a table of the chunk's times: on a machine with AVX2 it costs as much as 700 of them. */
#define EV_CLOCK_MANY 1024
/* Makes any time of a column positive, and 0 a Monday's midnight: 1970-01-01 was a Thursday. */
#define BIAS (7700000000ull * WEEK + 3 * 24 * HOUR)

/* Between two changes: the times `lo` to `lo + span - 1`, and what makes local time of them. */
typedef struct {
    uint64_t lo, span, shift;
} stretch;

static stretch stretch_of(const ev_zone *z, int64_t time) {
    uint32_t lo = 1, hi = z->n; /* the first change behind the time; before the first one its offset holds too */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (z->starts[mid] <= time) lo = mid + 1;
        else hi = mid;
    }
    int64_t first = lo == 1 ? INT64_MIN : z->starts[lo - 1], end = lo < z->n ? z->starts[lo] : INT64_MAX;
    return (stretch){(uint64_t)first, (uint64_t)end - (uint64_t)first, (uint64_t)z->offsets[lo - 1] + BIAS};
}

/* Rows ascend by contact and time, so that most lie in the stretch of the row before. */
static inline uint64_t local_time(const ev_zone *z, stretch *s, uint64_t time) {
    if (time - s->lo >= s->span) *s = stretch_of(z, (int64_t)time);
    return time + s->shift;
}

static inline uint64_t bit_of(const ev_clock *k, stretch *s, uint64_t time) {
    uint32_t hour = (uint32_t)(local_time(&k->zone, s, time) / HOUR % 168);
    return k->week[hour >> 6] >> (hour & 63) & 1;
}

static inline __attribute__((always_inline)) void bits_of(const ev_clock *k, const bm_chunk *c, uint32_t rows,
                                                          uint64_t *out, uint8_t width) {
    bm_chunk as = *c;
    as.width = width; /* a constant where this is inlined */
    const uint64_t before = (uint64_t)c->base - 1;
    stretch s = {0, 0, 0};
    for (uint32_t first = 0; first < rows; first += 64) {
        const uint32_t n = rows - first < 64 ? rows - first : 64;
        uint64_t word = 0;
        for (uint32_t i = 0; i < n; i++) word |= bit_of(k, &s, before + bm_code(&as, first + i)) << i;
        out[first >> 6] = word;
    }
}

/* What the high half of a code, some 65 seconds, says of the row: the bits of those in which all times pass, and of
 * those in which some do. Times are base to max, and their codes are of 4 bytes. */
static void tabulate(const ev_clock *k, const bm_chunk *c, const ev_clock_room *room) {
    const uint64_t before = (uint64_t)c->base - 1;
    uint64_t code = 1, last = (uint64_t)c->max - before, begun = 0; /* a run of passing codes, 0 for none */
    stretch s = {0, 0, 0};
    memset(room->passing, 0, BM_BUF);
    memset(room->unsure, 0, BM_BUF);
    while (code <= last + 1) {
        uint64_t time = before + code, local = local_time(&k->zone, &s, time);
        bool passes = code <= last && bit_of(k, &s, time);
        if (passes && !begun) {
            begun = code;
        } else if (!passes && begun) {
            uint64_t first = (begun + 0xffff) >> 16, end = code >> 16; /* buckets wholly within */
            if (first < end) bm_bits_set_range((uint8_t *)room->passing, (uint32_t)first, (uint32_t)end - 1);
            if (begun & 0xffff) room->unsure[begun >> 22] |= 1ull << (begun >> 16 & 63);
            if (code & 0xffff) room->unsure[code >> 22] |= 1ull << (code >> 16 & 63);
            begun = 0;
        }
        uint64_t hour = HOUR - local % HOUR, left = s.lo + s.span - time; /* to the next hour, or the next change */
        code += hour < left ? hour : left;
        if (code > last + 1 && begun) code = last + 1;
    }
}

/* The same as bits_of for many codes of 4 bytes: most rows are told by the high half of their code. */
static void bits_by_halves(const ev_clock *k, const bm_chunk *c, uint64_t *out, const ev_clock_room *room) {
    const bm_u32 *codes = (const bm_u32 *)c->codes;
    const uint64_t before = (uint64_t)c->base - 1;
    stretch s = {0, 0, 0};
    tabulate(k, c, room);
    for (uint32_t i = 0; i < c->rows; i++) room->highs[i] = (uint16_t)(codes[i] >> 16);
    bm_ops.lookup[1]((const uint8_t *)room->highs, c->rows, room->passing, out);
    bm_ops.lookup[1]((const uint8_t *)room->highs, c->rows, room->unsure, room->bits);
    for (uint32_t w = 0; w < (c->rows + 63) / 64; w++) {
        for (uint64_t left = room->bits[w]; left; left &= left - 1) {
            uint32_t bit = (uint32_t)__builtin_ctzll(left);
            out[w] = (out[w] & ~(1ull << bit)) | bit_of(k, &s, before + codes[w * 64 + bit]) << bit;
        }
    }
}

void ev_clock_bits(const ev_clock *k, const bm_chunk *c, uint32_t rows, uint64_t *out, const ev_clock_room *room) {
    if (rows > c->rows) {
        memset(out, 0, ((size_t)rows + 63) / 64 * 8);
        rows = c->rows;
    }
    bool narrow = c->width == 4 && (uint64_t)c->max - (uint64_t)c->base < UINT32_MAX;
    if (narrow && rows >= EV_CLOCK_MANY && rows == c->rows) bits_by_halves(k, c, out, room);
    else if (c->width == 4) bits_of(k, c, rows, out, 4);
    else bits_of(k, c, rows, out, c->width);
}

void ev_clock_test(const ev_clock *k, const bm_chunk *c, const uint16_t *rows, uint32_t n, uint64_t *out) {
    stretch s = {0, 0, 0};
    memset(out, 0, ((size_t)n + 63) / 64 * 8);
    for (uint32_t i = 0; i < n; i++)
        out[i >> 6] |= bit_of(k, &s, (uint64_t)ev_value(c, ev_code(c, rows[i]))) << (i & 63);
}

void ev_clock_days(const ev_zone *z, const bm_chunk *c, const uint16_t *rows, uint32_t n, int64_t *days) {
    stretch s = {0, 0, 0};
    for (uint32_t i = 0; i < n; i++)
        days[i] = (int64_t)(local_time(z, &s, (uint64_t)ev_value(c, ev_code(c, rows[i]))) / (24 * HOUR));
}

int ev_clock_zone(const ev_clock *k) {
    bool none = !(k->week[0] | k->week[1] | k->week[2]);
    bool all = k->week[0] == ~0ull && k->week[1] == ~0ull && k->week[2] == bm_ones(40);
    return none ? BM_ZONE_NONE : all ? BM_ZONE_ALL : BM_ZONE_SOME;
}
