/* Local time of events: which rows lie in some hours of the week or months of the year, and what local day a row was on.
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

#define DAY (24 * HOUR)
/* Days of local time with its bias, from the first of March of a year that 400 divides, but for whole 400 years. */
#define ERA 146097ull
#define TO_ERA (719468 + ERA - (7 * 7700000000ull + 3) % ERA)

/* Between two changes: the times `lo` to `lo + span - 1`, and what makes local time of them. Where months are asked for, a
 * stretch is within one, and `passes` says whether it is wanted. */
typedef struct {
    uint64_t lo, span, shift;
    bool passes;
} stretch;

static stretch stretch_of(const ev_zone *z, int64_t time) {
    uint32_t lo = 1, hi = z->n; /* the first change behind the time; before the first one its offset holds too */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (z->starts[mid] <= time) lo = mid + 1;
        else hi = mid;
    }
    int64_t first = lo == 1 ? INT64_MIN : z->starts[lo - 1], end = lo < z->n ? z->starts[lo] : INT64_MAX;
    return (stretch){(uint64_t)first, (uint64_t)end - (uint64_t)first, (uint64_t)z->offsets[lo - 1] + BIAS, false};
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* The part of the stretch that is of the local month of the time; of a leap year's February one of its two parts. The
 * calendar is that of Howard Hinnant's "chrono-compatible low-level date algorithms": years begin with March, so that
 * leap days are at their ends, and all months but the last have lengths of one formula. */
static stretch month_of(const ev_clock *k, uint64_t time) {
    const stretch s = stretch_of(&k->zone, (int64_t)time);
    const uint64_t local = time + s.shift, day = (local / DAY + TO_ERA) % ERA;
    const uint64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    const uint64_t of_year = day - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153;
    const uint64_t first = (153 * month + 2) / 5, leap = first + 28;
    const uint64_t end = month < 11 ? (153 * month + 155) / 5 : of_year < leap ? leap : of_year + 1;
    const uint64_t back = least(time - s.lo, (of_year - first) * DAY + local % DAY);
    const uint64_t ahead = least(s.lo + s.span - time, (end - of_year) * DAY - local % DAY);
    return (stretch){time - back, back + ahead, s.shift, k->week[0] >> (month < 10 ? month + 2 : month - 10) & 1};
}

static inline void reach(const ev_clock *k, stretch *s, uint64_t time) {
    if (time - s->lo >= s->span) *s = k->months ? month_of(k, time) : stretch_of(&k->zone, (int64_t)time);
}

/* Rows ascend by contact and time, so that most lie in the stretch of the row before. */
static inline uint64_t local_time(const ev_zone *z, stretch *s, uint64_t time) {
    if (time - s->lo >= s->span) *s = stretch_of(z, (int64_t)time);
    return time + s->shift;
}

static inline uint64_t bit_of(const ev_clock *k, stretch *s, uint64_t time) {
    reach(k, s, time);
    if (k->months) return s->passes;
    uint32_t hour = (uint32_t)((time + s->shift) / HOUR % 168);
    return k->week[hour >> 6] >> (hour & 63) & 1;
}

static inline __attribute__((always_inline)) void bits_of(const ev_clock *k, const bm_chunk *c, uint32_t rows,
                                                          uint64_t *out, uint8_t width) {
    bm_chunk as = *c;
    as.width = width; /* a constant where this is inlined */
    const uint64_t before = (uint64_t)c->base - 1;
    stretch s = {0, 0, 0, false};
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
    stretch s = {0, 0, 0, false};
    memset(room->passing, 0, BM_BUF);
    memset(room->unsure, 0, BM_BUF);
    while (code <= last + 1) {
        uint64_t time = before + code;
        reach(k, &s, time);
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
        uint64_t left = s.lo + s.span - time; /* to the next change; of hours, to the next one at most */
        code += k->months ? left : least(left, HOUR - (time + s.shift) % HOUR);
        if (code > last + 1 && begun) code = last + 1;
    }
}

/* The same as bits_of for many codes of 4 bytes: most rows are told by the high half of their code. */
static void bits_by_halves(const ev_clock *k, const bm_chunk *c, uint64_t *out, const ev_clock_room *room) {
    const bm_u32 *codes = (const bm_u32 *)c->codes;
    const uint64_t before = (uint64_t)c->base - 1;
    stretch s = {0, 0, 0, false};
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
    stretch s = {0, 0, 0, false};
    memset(out, 0, ((size_t)n + 63) / 64 * 8);
    for (uint32_t i = 0; i < n; i++)
        out[i >> 6] |= bit_of(k, &s, (uint64_t)ev_value(c, ev_code(c, rows[i]))) << (i & 63);
}

void ev_clock_days(const ev_zone *z, const bm_chunk *c, const uint16_t *rows, uint32_t n, int64_t *days) {
    stretch s = {0, 0, 0, false};
    for (uint32_t i = 0; i < n; i++)
        days[i] = (int64_t)(local_time(z, &s, (uint64_t)ev_value(c, ev_code(c, rows[i]))) / DAY);
}

int ev_clock_zone(const ev_clock *k) {
    if (k->months) return !k->week[0] ? BM_ZONE_NONE : k->week[0] == bm_ones(12) ? BM_ZONE_ALL : BM_ZONE_SOME;
    bool none = !(k->week[0] | k->week[1] | k->week[2]);
    bool all = k->week[0] == ~0ull && k->week[1] == ~0ull && k->week[2] == bm_ones(40);
    return none ? BM_ZONE_NONE : all ? BM_ZONE_ALL : BM_ZONE_SOME;
}
