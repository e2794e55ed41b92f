/* Bitset containers: 1,024 words. One n-ary AND with optional complements serves AND, OR and NOT alike, because
 * a | b = ~(~a & ~b); it reads every operand once and counts on the way.
 *
 * Figures, operands in L1: 1,024 words of two operands, counted, AVX-512 about 113 ns. */
#include "bm_kernels.h"

static inline uint32_t popcount_portable(uint64_t x) {
    x -= (x >> 1) & 0x5555555555555555ull;
    x = (x & 0x3333333333333333ull) + ((x >> 2) & 0x3333333333333333ull);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0full;
    return (uint32_t)((x * 0x0101010101010101ull) >> 56);
}

uint32_t bm_bits_all_scalar(const bm_src *src, uint32_t n, uint8_t *dst) {
    uint32_t count = 0;
    for (uint32_t w = 0; w < BM_WORDS; w++) {
        uint64_t v = ((const bm_u64 *)src[0].bits)[w] ^ src[0].flip;
        for (uint32_t i = 1; i < n; i++) v &= ((const bm_u64 *)src[i].bits)[w] ^ src[i].flip;
        if (dst) ((bm_u64 *)dst)[w] = v;
        count += popcount_portable(v);
    }
    return count;
}

uint32_t bm_bits_count_scalar(const uint64_t *words, uint32_t n) {
    uint32_t count = 0;
    for (uint32_t w = 0; w < n; w++) count += popcount_portable(words[w]);
    return count;
}

/* One body, compiled for each level: the wider ones get tzcnt and blsr. */
static inline __attribute__((always_inline)) uint32_t extract_body(const uint8_t *bits, uint64_t flip, uint16_t *out,
                                                                   uint32_t cap) {
    uint32_t k = 0;
    for (uint32_t w = 0; w < BM_WORDS; w++) {
        uint64_t v = ((const bm_u64 *)bits)[w] ^ flip;
        while (v) {
            if (k == cap) return k;
            out[k++] = (uint16_t)(w * 64 + (uint32_t)__builtin_ctzll(v));
            v &= v - 1;
        }
    }
    return k;
}

uint32_t bm_bits_extract_scalar(const uint8_t *bits, uint64_t flip, uint16_t *out, uint32_t cap) {
    return extract_body(bits, flip, out, cap);
}

uint32_t bm_compact_scalar(const bm_u16 *cand, uint32_t n, const uint64_t *mask, uint16_t *out) {
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++) {
        out[k] = cand[i];
        k += (uint32_t)(mask[i >> 6] >> (i & 63)) & 1u;
    }
    return k;
}

uint32_t bm_bits_count_range(const uint8_t *bits, uint32_t first, uint32_t last) {
    const bm_u64 *w = (const bm_u64 *)bits;
    uint32_t i = first >> 6, end = last >> 6;
    uint64_t head = ~0ull << (first & 63), tail = ~0ull >> (63 - (last & 63));
    if (i == end) return popcount_portable(w[i] & head & tail);
    uint32_t count = popcount_portable(w[i] & head) + popcount_portable(w[end] & tail);
    for (i++; i < end; i++) count += popcount_portable(w[i]);
    return count;
}

void bm_bits_set_range(uint8_t *bits, uint32_t first, uint32_t last) {
    bm_u64 *w = (bm_u64 *)bits;
    uint32_t i = first >> 6, end = last >> 6;
    uint64_t head = ~0ull << (first & 63), tail = ~0ull >> (63 - (last & 63));
    uint64_t same = i == end ? tail : ~0ull;
    w[i] |= head & same; /* one word or two: no branch on which */
    w[end] |= tail & (i == end ? head : ~0ull);
    for (i++; i < end; i++) w[i] = ~0ull;
}

void bm_bits_clear_range(uint8_t *bits, uint32_t first, uint32_t last) {
    bm_u64 *w = (bm_u64 *)bits;
    uint32_t i = first >> 6, end = last >> 6;
    uint64_t head = ~0ull << (first & 63), tail = ~0ull >> (63 - (last & 63));
    uint64_t same = i == end ? tail : ~0ull;
    w[i] &= ~(head & same);
    w[end] &= ~(tail & (i == end ? head : ~0ull));
    for (i++; i < end; i++) w[i] = 0;
}

void bm_bits_carry(const uint8_t *add, uint64_t flip, uint64_t *planes, uint32_t nplanes, uint64_t *over,
                   uint32_t words) {
    for (uint32_t w = 0; w < words; w++) {
        uint64_t carry = ((const bm_u64 *)add)[w] ^ flip;
        for (uint32_t p = 0; p < nplanes; p++) {
            uint64_t *plane = planes + (size_t)p * words;
            uint64_t next = plane[w] & carry;
            plane[w] ^= carry;
            carry = next;
        }
        over[w] |= carry;
    }
}

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,bmi,popcnt")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vpopcntdq,avx512vbmi2,bmi,popcnt")))

/* W. Mula, N. Kurz, D. Lemire, "Faster Population Counts Using AVX2 Instructions" (2018): nibbles by shuffle. */
AVX2 static inline __m256i popcount_bytes(__m256i v) {
    const __m256i lut = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2,
                                         2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_set1_epi8(15);
    __m256i a = _mm256_shuffle_epi8(lut, _mm256_and_si256(v, low));
    __m256i b = _mm256_shuffle_epi8(lut, _mm256_and_si256(_mm256_srli_epi16(v, 4), low));
    return _mm256_add_epi8(a, b);
}

AVX2 static uint32_t all_avx2(const bm_src *src, uint32_t n, uint8_t *dst) {
    __m256i total = _mm256_setzero_si256();
    for (size_t at = 0; at < BM_BITS_BYTES; at += 128) {
        __m256i f = _mm256_set1_epi64x((long long)src[0].flip);
        const __m256i *p = (const __m256i *)(src[0].bits + at);
        __m256i v0 = _mm256_xor_si256(_mm256_loadu_si256(p), f), v1 = _mm256_xor_si256(_mm256_loadu_si256(p + 1), f);
        __m256i v2 = _mm256_xor_si256(_mm256_loadu_si256(p + 2), f), v3 = _mm256_xor_si256(_mm256_loadu_si256(p + 3), f);
        for (uint32_t i = 1; i < n; i++) {
            p = (const __m256i *)(src[i].bits + at);
            f = _mm256_set1_epi64x((long long)src[i].flip);
            v0 = _mm256_and_si256(v0, _mm256_xor_si256(_mm256_loadu_si256(p), f));
            v1 = _mm256_and_si256(v1, _mm256_xor_si256(_mm256_loadu_si256(p + 1), f));
            v2 = _mm256_and_si256(v2, _mm256_xor_si256(_mm256_loadu_si256(p + 2), f));
            v3 = _mm256_and_si256(v3, _mm256_xor_si256(_mm256_loadu_si256(p + 3), f));
        }
        if (dst) {
            __m256i *q = (__m256i *)(dst + at);
            _mm256_storeu_si256(q, v0);
            _mm256_storeu_si256(q + 1, v1);
            _mm256_storeu_si256(q + 2, v2);
            _mm256_storeu_si256(q + 3, v3);
        }
        __m256i s = _mm256_add_epi8(_mm256_add_epi8(popcount_bytes(v0), popcount_bytes(v1)),
                                    _mm256_add_epi8(popcount_bytes(v2), popcount_bytes(v3)));
        total = _mm256_add_epi64(total, _mm256_sad_epu8(s, _mm256_setzero_si256()));
    }
    __m128i h = _mm_add_epi64(_mm256_castsi256_si128(total), _mm256_extracti128_si256(total, 1));
    return (uint32_t)(_mm_cvtsi128_si64(h) + _mm_extract_epi64(h, 1));
}

AVX512 static uint32_t all_avx512(const bm_src *src, uint32_t n, uint8_t *dst) {
    __m512i total = _mm512_setzero_si512();
    for (size_t at = 0; at < BM_BITS_BYTES; at += 256) {
        __m512i f = _mm512_set1_epi64((long long)src[0].flip);
        const uint8_t *p = src[0].bits + at;
        __m512i v0 = _mm512_xor_si512(_mm512_loadu_si512(p), f), v1 = _mm512_xor_si512(_mm512_loadu_si512(p + 64), f);
        __m512i v2 = _mm512_xor_si512(_mm512_loadu_si512(p + 128), f);
        __m512i v3 = _mm512_xor_si512(_mm512_loadu_si512(p + 192), f);
        for (uint32_t i = 1; i < n; i++) { /* ternary logic 0x60: a & (b ^ c) */
            p = src[i].bits + at;
            f = _mm512_set1_epi64((long long)src[i].flip);
            v0 = _mm512_ternarylogic_epi64(v0, _mm512_loadu_si512(p), f, 0x60);
            v1 = _mm512_ternarylogic_epi64(v1, _mm512_loadu_si512(p + 64), f, 0x60);
            v2 = _mm512_ternarylogic_epi64(v2, _mm512_loadu_si512(p + 128), f, 0x60);
            v3 = _mm512_ternarylogic_epi64(v3, _mm512_loadu_si512(p + 192), f, 0x60);
        }
        if (dst) {
            _mm512_storeu_si512(dst + at, v0);
            _mm512_storeu_si512(dst + at + 64, v1);
            _mm512_storeu_si512(dst + at + 128, v2);
            _mm512_storeu_si512(dst + at + 192, v3);
        }
        __m512i s = _mm512_add_epi64(_mm512_popcnt_epi64(v0), _mm512_popcnt_epi64(v1));
        total = _mm512_add_epi64(total, _mm512_add_epi64(s, _mm512_add_epi64(_mm512_popcnt_epi64(v2), _mm512_popcnt_epi64(v3))));
    }
    return (uint32_t)_mm512_reduce_add_epi64(total);
}

AVX2 static uint32_t count_popcnt(const uint64_t *words, uint32_t n) {
    uint32_t count = 0;
    for (uint32_t w = 0; w < n; w++) count += (uint32_t)_mm_popcnt_u64(words[w]);
    return count;
}

AVX512 static uint32_t count_avx512(const uint64_t *words, uint32_t n) {
    __m512i total = _mm512_setzero_si512();
    for (uint32_t w = 0; w < n; w += 8) {
        const __mmask8 live = n - w < 8 ? (__mmask8)bm_ones(n - w) : 0xff;
        total = _mm512_add_epi64(total, _mm512_popcnt_epi64(_mm512_maskz_loadu_epi64(live, words + w)));
    }
    return (uint32_t)_mm512_reduce_add_epi64(total);
}

AVX2 static uint32_t extract_avx2(const uint8_t *bits, uint64_t flip, uint16_t *out, uint32_t cap) {
    return extract_body(bits, flip, out, cap);
}

static const uint8_t lanes_of_bytes[64] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                     22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
                                     44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};

/* The positions of a word, as bytes, compressed to the front of a register and widened; 32 are stored whole: BM_PAD bytes of
 * overhang. Empty words are skipped 64 at a time, since a branch on each, or on each eight, would be mispredicted half the
 * time in a sparse bitset; so few words have more than 32 bits there that a branch on that is not. */
AVX512 static uint32_t extract_avx512(const uint8_t *bits, uint64_t flip, uint16_t *out, uint32_t cap) {
    const __m512i f = _mm512_set1_epi64((long long)flip), lanes = _mm512_loadu_si512(lanes_of_bytes);
    uint32_t k = 0;
    for (uint32_t group = 0; group < BM_WORDS; group += 64) {
        uint64_t some = 0;
        for (uint32_t i = 0; i < 64; i += 8) {
            __m512i v = _mm512_xor_si512(_mm512_loadu_si512(bits + 8 * (size_t)(group + i)), f);
            some |= (uint64_t)(_cvtmask8_u32(_mm512_test_epi64_mask(v, v)) & 0xff) << i;
        }
        for (; some; some &= some - 1) {
            const uint32_t w = group + (uint32_t)__builtin_ctzll(some);
            const uint64_t word = ((const bm_u64 *)bits)[w] ^ flip;
            const uint32_t got = (uint32_t)_mm_popcnt_u64(word);
            const __m512i at = _mm512_maskz_compress_epi8(word, lanes), base = _mm512_set1_epi16((short)(w * 64));
            _mm512_storeu_si512(out + k, _mm512_add_epi16(_mm512_cvtepu8_epi16(_mm512_castsi512_si256(at)), base));
            if (got > 32 && k + 32 < cap)
                _mm512_storeu_si512(out + k + 32, _mm512_add_epi16(_mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(at, 1)), base));
            k += got;
            if (k >= cap) return cap;
        }
    }
    return k;
}

AVX512 static uint32_t compact_avx512(const bm_u16 *cand, uint32_t n, const uint64_t *mask, uint16_t *out) {
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i += 32) {
        uint32_t m = (uint32_t)(mask[i >> 6] >> (i & 63)); /* bits past n are zero */
        __mmask32 live = n - i >= 32 ? ~0u : (1u << (n - i)) - 1;
        if (!(m & live)) continue;
        __m512i v = _mm512_maskz_loadu_epi16(live, cand + i);
        uint32_t got = (uint32_t)_mm_popcnt_u32(m & live);
        /* masked to what is kept: in place, the rest of this store would hit candidates still to be read */
        _mm512_mask_storeu_epi16(out + k, (__mmask32)bm_ones(got), _mm512_maskz_compress_epi16(m & live, v));
        k += got;
    }
    return k;
}

void bm_use_avx2_bits(bm_simd *ops) {
    ops->all = all_avx2;
    ops->count = count_popcnt;
    ops->extract = extract_avx2;
}

void bm_use_avx512_bits(bm_simd *ops) {
    ops->all = all_avx512;
    ops->count = count_avx512;
    ops->extract = extract_avx512;
    ops->compact = compact_avx512;
}
#endif
