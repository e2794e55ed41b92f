/* Rows that stand by contact. Of 64 contacts a word says which have rows, and a bit a row which is its contact's first: the
 * n-th contact that has rows begins at the n-th of these bits. */
#include "bm_kernels.h"

#define INLINE static inline __attribute__((always_inline))

/* Lines of the cache that a core waits for at a time. */
#define AHEAD 24u

/* Where the n-th set bit of a word is, from 0; it has more than n. */
typedef uint32_t nth_of(uint64_t word, uint32_t n);
/* A bit a word that the 64 words of both have in common. */
typedef uint64_t meet_of(const uint64_t *a, const uint64_t *b);

/* Words in which nothing is wanted are passed over 64 at a time: whether one is, is anyone's guess, and so is a branch on it. */
INLINE uint32_t stretches_by(const bm_sheet *s, const uint64_t *chosen, uint32_t *word, bm_stretch *out, uint32_t most,
                             nth_of *nth, meet_of *meet) {
    uint32_t n = 0;
    for (; *word < BM_CHUNK_WORDS; *word = (*word | 63) + 1) {
        const uint32_t group = *word & ~63u;
        uint64_t some = meet(chosen + group, s->has + group) & ~0ull << (*word & 63);
        for (; some; some &= some - 1) {
            const uint32_t w = group + (uint32_t)__builtin_ctzll(some);
            if (n + 64 > most) {
                *word = w;
                return n;
            }
            const uint64_t has = s->has[w];
            uint32_t begin = s->before[w] >> 6;
            /* How many bits of `firsts` from `begin` on stand before that of the word's first contact. */
            uint32_t passed = (uint32_t)__builtin_popcountll(s->firsts[begin] & bm_ones(s->before[w] & 63));
            uint64_t wanted = chosen[w] & has;
            do {
                const uint32_t bit = (uint32_t)__builtin_ctzll(wanted);
                const uint32_t nth_from_begin = passed + (uint32_t)__builtin_popcountll(has & bm_ones(bit));
                uint32_t rank = nth_from_begin, at = begin, here;
                for (uint32_t i = 0; i < 2; i++) { /* in which of three words, mostly, is anyone's guess too */
                    here = (uint32_t)__builtin_popcountll(s->firsts[at]);
                    const uint32_t over = rank >= here;
                    rank -= here & (0 - over);
                    at += over;
                }
                while (rank >= (here = (uint32_t)__builtin_popcountll(s->firsts[at]))) {
                    rank -= here;
                    at++;
                }
                if (at - begin > 2) { /* behind one with many rows: the next ones need not pass these again */
                    passed -= nth_from_begin - rank;
                    begin = at;
                }
                const uint64_t firsts = s->firsts[at];
                const uint32_t from = nth(firsts, rank), row = at * 64 + from;
                uint64_t behind = firsts & ~1ull << from;
                while (!behind) behind = s->firsts[++at];
                out[n++] = (bm_stretch){row, at * 64 + (uint32_t)__builtin_ctzll(behind) - row, (uint16_t)(w * 64 + bit)};
                wanted &= wanted - 1;
            } while (wanted);
        }
    }
    return n;
}

INLINE uint32_t nth(uint64_t word, uint32_t n) {
    while (n--) word &= word - 1;
    return (uint32_t)__builtin_ctzll(word);
}

INLINE uint64_t meet(const uint64_t *a, const uint64_t *b) {
    uint64_t some = 0;
    for (uint32_t i = 0; i < 64; i++) some |= (uint64_t)((a[i] & b[i]) != 0) << i;
    return some;
}

static uint32_t stretches(const bm_sheet *s, const uint64_t *chosen, uint32_t *word, bm_stretch *out, uint32_t most) {
    return stretches_by(s, chosen, word, out, most, nth, meet);
}

/* Sends for the rows of a contact some places behind the i-th: what a core can wait for at a time is always on its way, and
 * no more. */
INLINE void send_for(const bm_entry *entries, const bm_stretch *of, uint32_t i, uint32_t n) {
    const bm_stretch *next = of + (i + AHEAD < n ? i + AHEAD : n - 1);
    __builtin_prefetch(entries + next->row);
    __builtin_prefetch(entries + next->row + next->n - 1);
}

static void totals(const bm_entry *entries, const bm_steps *steps, const bm_stretch *of, uint32_t n, bm_total *out) {
    const uint32_t any = !steps->counting;
    for (uint32_t i = 0; i < n; i++) {
        bm_total t = {0, 0, 0, false};
        send_for(entries, of, i, n);
        for (uint32_t row = of[i].row, end = row + of[i].n; row < end; row++) {
            const bm_entry e = entries[row];
            const uint32_t step = e.when >> 1, in = (step >= steps->lo) & (step <= steps->hi) & (e.when | any);
            const uint32_t sure = in & (step >= steps->sure_lo) & (step <= steps->sure_hi);
            t.open |= in != sure;
            t.rows += sure;
            t.valued += sure & (e.code != 0);
            t.sum += sure ? e.code : 0;
        }
        out[i] = t;
    }
}

void bm_use_scalar_sheets(bm_simd *ops) {
    ops->stretches = stretches;
    ops->totals = totals;
}

#if defined(__x86_64__)
#include <immintrin.h>

#define BMI2 __attribute__((target("bmi,bmi2,popcnt")))
#define AVX512 \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vpopcntdq,avx512vbmi,avx512vbmi2,bmi,bmi2,popcnt")))

BMI2 INLINE uint32_t nth_bmi2(uint64_t word, uint32_t n) { return (uint32_t)__builtin_ctzll(_pdep_u64(1ull << n, word)); }

BMI2 static uint32_t stretches_bmi2(const bm_sheet *s, const uint64_t *chosen, uint32_t *word, bm_stretch *out,
                                    uint32_t most) {
    return stretches_by(s, chosen, word, out, most, nth_bmi2, meet);
}

void bm_use_avx2_sheets(bm_simd *ops) { ops->stretches = stretches_bmi2; }

AVX512 INLINE uint32_t nth_avx512(uint64_t word, uint32_t n) { return (uint32_t)__builtin_ctzll(_pdep_u64(1ull << n, word)); }

AVX512 INLINE uint64_t meet_avx512(const uint64_t *a, const uint64_t *b) {
    uint64_t some = 0;
    for (uint32_t i = 0; i < 64; i += 8)
        some |= (uint64_t)_mm512_test_epi64_mask(_mm512_loadu_si512(a + i), _mm512_loadu_si512(b + i)) << i;
    return some;
}

AVX512 static uint32_t stretches_avx512(const bm_sheet *s, const uint64_t *chosen, uint32_t *word, bm_stretch *out,
                                        uint32_t most) {
    return stretches_by(s, chosen, word, out, most, nth_avx512, meet_avx512);
}

/* Eight rows at a time, which is all that most contacts have: how many is anyone's guess, and so is when a loop over them
 * ends. */
AVX512 static void totals_avx512(const bm_entry *entries, const bm_steps *steps, const bm_stretch *of, uint32_t n,
                                 bm_total *out) {
    const __m512i lo = _mm512_set1_epi64(steps->lo), hi = _mm512_set1_epi64(steps->hi);
    const __m512i sure_lo = _mm512_set1_epi64(steps->sure_lo), sure_hi = _mm512_set1_epi64(steps->sure_hi);
    const __m512i codes = _mm512_set1_epi64(UINT32_MAX);
    const __m512i counts = _mm512_set1_epi64(1ll << 32);
    for (uint32_t i = 0; i < n; i++) {
        const bm_entry *at = entries + of[i].row;
        send_for(entries, of, i, n);
        __m512i sum = _mm512_setzero_si512();
        uint32_t valued = 0, rows = 0, open = 0;
        for (uint32_t left = of[i].n;; left -= 8, at += 8) {
            const __mmask8 there = (__mmask8)_bzhi_u32(0xff, left < 8 ? left : 8);
            const __m512i e = _mm512_maskz_loadu_epi64(there, at), step = _mm512_srli_epi64(e, 33);
            __mmask8 in = steps->counting ? _mm512_mask_test_epi64_mask(there, e, counts) : there;
            in = _mm512_mask_cmp_epu64_mask(in, step, lo, _MM_CMPINT_NLT);
            in = _mm512_mask_cmp_epu64_mask(in, step, hi, _MM_CMPINT_LE);
            __mmask8 sure = _mm512_mask_cmp_epu64_mask(in, step, sure_lo, _MM_CMPINT_NLT);
            sure = _mm512_mask_cmp_epu64_mask(sure, step, sure_hi, _MM_CMPINT_LE);
            sum = _mm512_mask_add_epi64(sum, sure, sum, _mm512_and_si512(e, codes));
            rows += (uint32_t)_mm_popcnt_u32(sure);
            valued += (uint32_t)_mm_popcnt_u32(_mm512_mask_test_epi64_mask(sure, e, codes));
            open |= (uint32_t)(in ^ sure);
            if (left <= 8) break;
        }
        out[i] = (bm_total){(uint64_t)_mm512_reduce_add_epi64(sum), valued, rows, open != 0};
    }
}

void bm_use_avx512_sheets(bm_simd *ops) {
    ops->stretches = stretches_avx512;
    ops->totals = totals_avx512;
}
#endif
