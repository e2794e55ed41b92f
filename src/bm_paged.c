/* The rows of few contacts among rows that ascend by contact: a page of 256 contacts at a time, whose rows say the low byte of
 * theirs. Which of a page's contacts are wanted fits one or two registers, and so do the bytes of its rows. */
#include "bm_kernels.h"

#define INLINE static inline __attribute__((always_inline))

/* Which of 64 rows are meant. */
INLINE uint64_t meant(const bm_paged *p, uint32_t row) {
    if (!p->some) return ~0ull;
    const uint8_t *at = p->some + (row >> 3);
    const uint32_t shift = row & 7;
    return *(const bm_u64 *)at >> shift | (uint64_t)at[8] << 1 << (63 - shift);
}

/* The rows of a page, of those up to 64 from `from` on whose bit is set in `its`, if any. */
INLINE uint32_t list(const bm_paged *p, uint32_t page, uint32_t from, uint64_t its, uint16_t *rows, uint16_t *contacts) {
    uint32_t n = 0;
    while (its) {
        /* Two at a time without asking whether there are two, which no branch can foretell. */
        for (uint32_t i = 0; i < 2; i++) {
            const uint32_t row = from + (uint32_t)__builtin_ctzll(its | 1ull << 63);
            rows[n] = (uint16_t)row;
            contacts[n] = (uint16_t)(page * BM_PAGE + p->lows[row]);
            n += its != 0;
            its &= its - 1;
        }
    }
    return n;
}

static uint32_t rows_of(const bm_paged *p, const uint64_t *chosen, uint64_t pages, uint16_t *rows, uint16_t *contacts) {
    uint32_t n = 0;
    for (; pages; pages &= pages - 1) {
        const uint32_t page = (uint32_t)__builtin_ctzll(pages);
        const uint64_t *wanted = chosen + page * (BM_PAGE / 64);
        for (uint32_t row = p->first[page]; row < p->first[page + 1]; row++) {
            const uint32_t low = p->lows[row];
            rows[n] = (uint16_t)row;
            contacts[n] = (uint16_t)(page * BM_PAGE + low);
            n += wanted[low >> 6] >> (low & 63) & (!p->some || p->some[row >> 3] >> (row & 7) & 1) & 1;
        }
    }
    return n;
}

void bm_use_scalar_pages(bm_simd *ops) { ops->rows_of = rows_of; }

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define AVX512                                                                                                       \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vpopcntdq,avx512vbmi,avx512vbmi2,bmi,bmi2,popcnt")))

/* The rows of up to 64 of a page, as bits, whose contact is wanted. */
typedef uint64_t wanted_of(const uint8_t *lows, const uint64_t *wanted);

/* First the bits of each page, then the rows of those that have some: mostly there are none. */
INLINE uint32_t by_pages(const bm_paged *p, const uint64_t *chosen, uint64_t pages, uint16_t *rows, uint16_t *contacts,
                         wanted_of *found) {
    uint64_t its[BM_PAGES], some = 0;
    uint32_t n = 0;
    for (uint64_t left = pages; left; left &= left - 1) {
        const uint32_t page = (uint32_t)__builtin_ctzll(left), from = p->first[page], to = p->first[page + 1];
        const uint32_t more = to - from < 64 ? to - from : 64;
        its[page] = found(p->lows + from, chosen + page * (BM_PAGE / 64)) & bm_ones(more);
        some |= (uint64_t)(its[page] != 0 || to - from > 64) << page;
    }
    for (; some; some &= some - 1) {
        const uint32_t page = (uint32_t)__builtin_ctzll(some), end = p->first[page + 1];
        uint32_t from = p->first[page];
        n += list(p, page, from, its[page] & meant(p, from), rows + n, contacts + n);
        for (from += 64; from < end; from += 64) {
            const uint32_t more = end - from < 64 ? end - from : 64;
            const uint64_t others = found(p->lows + from, chosen + page * (BM_PAGE / 64)) & bm_ones(more);
            n += list(p, page, from, others & meant(p, from), rows + n, contacts + n);
        }
    }
    return n;
}

/* 256 bits as 32 bytes: the byte by two shuffles on the contact >> 3, the bit within it by one on the contact & 7. */
AVX2 INLINE uint64_t wanted_avx2(const uint8_t *lows, const uint64_t *wanted) {
    const __m256i low = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)wanted));
    const __m256i high = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)wanted + 1));
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    uint64_t found = 0;
    for (uint32_t h = 0; h < 2; h++) {
        const __m256i v = _mm256_loadu_si256((const __m256i *)(lows + 32 * h));
        const __m256i at = _mm256_and_si256(_mm256_srli_epi16(v, 3), _mm256_set1_epi8(15));
        const __m256i bytes = _mm256_blendv_epi8(_mm256_shuffle_epi8(low, at), _mm256_shuffle_epi8(high, at), v);
        const __m256i want = _mm256_shuffle_epi8(bit, _mm256_and_si256(v, _mm256_set1_epi8(7)));
        const __m256i in = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, want), want);
        found |= (uint64_t)(uint32_t)_mm256_movemask_epi8(in) << (32 * h);
    }
    return found;
}

AVX2 static uint32_t rows_of_avx2(const bm_paged *p, const uint64_t *chosen, uint64_t pages, uint16_t *rows,
                                  uint16_t *contacts) {
    return by_pages(p, chosen, pages, rows, contacts, wanted_avx2);
}

void bm_use_avx2_pages(bm_simd *ops) { ops->rows_of = rows_of_avx2; }

/* The rows, of those up to 64 from `from` on, that are set in `its`: 32 at a time, which is mostly all of them. */
AVX512 INLINE uint32_t list_avx512(__m512i lows, uint32_t from, uint32_t page, __mmask64 its, uint16_t *rows,
                                   uint16_t *contacts) {
    const __m512i numbers = _mm512_set_epi64(0x3f3e3d3c3b3a3938, 0x3736353433323130, 0x2f2e2d2c2b2a2928, 0x2726252423222120,
                                             0x1f1e1d1c1b1a1918, 0x1716151413121110, 0x0f0e0d0c0b0a0908, 0x0706050403020100);
    const __m512i its_numbers = _mm512_maskz_compress_epi8(its, numbers);
    const __m512i its_lows = _mm512_maskz_compress_epi8(its, lows);
    const __m512i first = _mm512_set1_epi16((short)from), base = _mm512_set1_epi16((short)(page * BM_PAGE));
    const uint32_t n = (uint32_t)__builtin_popcountll(_cvtmask64_u64(its));
    _mm512_storeu_si512(rows, _mm512_add_epi16(_mm512_cvtepu8_epi16(_mm512_castsi512_si256(its_numbers)), first));
    _mm512_storeu_si512(contacts, _mm512_add_epi16(_mm512_cvtepu8_epi16(_mm512_castsi512_si256(its_lows)), base));
    if (n > 32) {
        const __m256i more_numbers = _mm512_extracti64x4_epi64(its_numbers, 1);
        const __m256i more_lows = _mm512_extracti64x4_epi64(its_lows, 1);
        _mm512_storeu_si512(rows + 32, _mm512_add_epi16(_mm512_cvtepu8_epi16(more_numbers), first));
        _mm512_storeu_si512(contacts + 32, _mm512_add_epi16(_mm512_cvtepu8_epi16(more_lows), base));
    }
    return n;
}

AVX512 INLINE __mmask64 wanted_avx512(__m512i lows, const uint64_t *wanted, uint32_t n) {
    const __m512i bit = _mm512_set1_epi64((long long)0x8040201008040201);
    const __m512i table = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)wanted));
    const __m512i at = _mm512_and_si512(_mm512_srli_epi16(lows, 3), _mm512_set1_epi8(31));
    const __m512i want = _mm512_shuffle_epi8(bit, _mm512_and_si512(lows, _mm512_set1_epi8(7)));
    return _mm512_mask_test_epi8_mask(_cvtu64_mask64(bm_ones(n)), _mm512_permutexvar_epi8(at, table), want);
}

AVX512 static uint32_t rows_of_avx512(const bm_paged *p, const uint64_t *chosen, uint64_t pages, uint16_t *rows,
                                      uint16_t *contacts) {
    uint64_t its[BM_PAGES] = {0}, some = 0;
    uint32_t n = 0;
    for (uint64_t left = pages; left; left &= left - 1) {
        const uint32_t page = (uint32_t)__builtin_ctzll(left), from = p->first[page], rest = p->first[page + 1] - from;
        its[page] = _cvtmask64_u64(wanted_avx512(_mm512_loadu_si512(p->lows + from), chosen + page * (BM_PAGE / 64), rest));
        if (rest > 64) some |= 1ull << page;
    }
    for (uint32_t i = 0; i < BM_PAGES; i += 8) {
        const __m512i v = _mm512_loadu_si512(its + i);
        some |= (uint64_t)_mm512_test_epi64_mask(v, v) << i;
    }
    for (; some; some &= some - 1) {
        const uint32_t page = (uint32_t)__builtin_ctzll(some), end = p->first[page + 1];
        uint32_t from = p->first[page];
        n += list_avx512(_mm512_loadu_si512(p->lows + from), from, page, _cvtu64_mask64(its[page] & meant(p, from)), rows + n,
                         contacts + n);
        for (from += 64; from < end; from += 64) {
            const __m512i lows = _mm512_loadu_si512(p->lows + from);
            const __mmask64 others = wanted_avx512(lows, chosen + page * (BM_PAGE / 64), end - from);
            n += list_avx512(lows, from, page, others & meant(p, from), rows + n, contacts + n);
        }
    }
    return n;
}

void bm_use_avx512_pages(bm_simd *ops) { ops->rows_of = rows_of_avx512; }
#endif
