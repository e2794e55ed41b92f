/* Where the rows of few contacts are among rows that stand by contact: of 64 contacts a word says which have rows, and a bit a
 * row which is its contact's first. The n-th contact that has rows begins at the n-th of these bits. */
#include "bm_kernels.h"

#define INLINE static inline __attribute__((always_inline))

/* Where the n-th set bit of a word is, from 0; it has more than n. */
typedef uint32_t nth_of(uint64_t word, uint32_t n);

INLINE uint32_t stretches_by(const bm_sheet *s, const uint64_t *chosen, uint32_t *word, bm_stretch *out, uint32_t most,
                             nth_of *nth) {
    uint32_t n = 0, w = *word;
    for (; w < BM_CHUNK_WORDS && n + 64 <= most; w++) {
        const uint64_t has = s->has[w];
        uint64_t wanted = chosen[w] & has;
        if (!wanted) continue;
        uint32_t at = s->before[w] >> 6, passed = 0; /* so many contacts of the word begin before this word of firsts */
        uint64_t firsts = s->firsts[at] & ~0ull << (s->before[w] & 63);
        uint32_t here = (uint32_t)__builtin_popcountll(firsts);
        for (; wanted; wanted &= wanted - 1) {
            const uint32_t bit = (uint32_t)__builtin_ctzll(wanted);
            const uint32_t rank = (uint32_t)__builtin_popcountll(has & bm_ones(bit));
            while (rank - passed >= here) {
                passed += here;
                firsts = s->firsts[++at];
                here = (uint32_t)__builtin_popcountll(firsts);
            }
            const uint32_t from = nth(firsts, rank - passed);
            uint32_t last = at;
            uint64_t behind = firsts & ~1ull << from;
            while (!behind) behind = s->firsts[++last];
            const uint32_t row = at * 64 + from;
            out[n++] = (bm_stretch){row, last * 64 + (uint32_t)__builtin_ctzll(behind) - row, (uint16_t)(w * 64 + bit)};
        }
    }
    *word = w;
    return n;
}

INLINE uint32_t nth(uint64_t word, uint32_t n) {
    while (n--) word &= word - 1;
    return (uint32_t)__builtin_ctzll(word);
}

static uint32_t stretches(const bm_sheet *s, const uint64_t *chosen, uint32_t *word, bm_stretch *out, uint32_t most) {
    return stretches_by(s, chosen, word, out, most, nth);
}

void bm_use_scalar_sheets(bm_simd *ops) { ops->stretches = stretches; }

#if defined(__x86_64__)
#include <immintrin.h>

#define BMI2 __attribute__((target("bmi,bmi2,popcnt")))

BMI2 INLINE uint32_t nth_bmi2(uint64_t word, uint32_t n) { return (uint32_t)__builtin_ctzll(_pdep_u64(1ull << n, word)); }

BMI2 static uint32_t stretches_bmi2(const bm_sheet *s, const uint64_t *chosen, uint32_t *word, bm_stretch *out,
                                    uint32_t most) {
    return stretches_by(s, chosen, word, out, most, nth_bmi2);
}

void bm_use_avx2_sheets(bm_simd *ops) { ops->stretches = stretches_bmi2; }
#endif
