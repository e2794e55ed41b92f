/* Comparing a chunk's codes with a range or a lookup table, 64 rows to a word. A range is code - lo <= span, unsigned.
 *
 * The scalar kernels also finish the last rows % 64 of the others, but for ranges and members under AVX-512: few rows of one
 * value are asked about at a time (ev_run.c), and one after the other they take most of the time. */
#include "bm_kernels.h"

#define RANGE_TAIL(type)                                                                          \
    for (uint32_t r = done; r < rows; r++) {                                                      \
        if (!(r & 63)) out[r >> 6] = 0;                                                           \
        out[r >> 6] |= (uint64_t)((type)(((const bm_##type *)codes)[r] - lo) <= span) << (r & 63); \
    }

typedef uint8_t u8, bm_u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define SCALAR_RANGE(type)                                                                             \
    static void range_##type(const uint8_t *codes, uint32_t rows, uint64_t lo, uint64_t span, uint64_t *out) { \
        const uint32_t done = 0;                                                                       \
        RANGE_TAIL(type)                                                                               \
    }
SCALAR_RANGE(u8)
SCALAR_RANGE(u16)
SCALAR_RANGE(u32)
SCALAR_RANGE(u64)

static inline void lookup_tail(const uint8_t *codes, uint32_t width, uint32_t from, uint32_t rows, const uint64_t *lut,
                               uint64_t *out) {
    for (uint32_t r = from; r < rows; r++) {
        uint32_t code = width == 1 ? codes[r] : ((const bm_u16 *)codes)[r];
        if (!(r & 63)) out[r >> 6] = 0;
        out[r >> 6] |= ((lut[code >> 6] >> (code & 63)) & 1) << (r & 63);
    }
}

static void lookup_1(const uint8_t *codes, uint32_t rows, const uint64_t *lut, uint64_t *out) {
    lookup_tail(codes, 1, 0, rows, lut, out);
}

static void lookup_2(const uint8_t *codes, uint32_t rows, const uint64_t *lut, uint64_t *out) {
    lookup_tail(codes, 2, 0, rows, lut, out);
}

static inline void wide_tail(const uint8_t *codes, uint32_t from, uint32_t rows, uint32_t lo, uint32_t span,
                             const uint64_t *bits, uint32_t at, uint64_t *out) {
    for (uint32_t r = from; r < rows; r++) {
        uint32_t d = ((const bm_u32 *)codes)[r] - lo, bit = d <= span ? d + at : at;
        if (!(r & 63)) out[r >> 6] = 0;
        out[r >> 6] |= (uint64_t)(d <= span && ((bits[bit >> 6] >> (bit & 63)) & 1)) << (r & 63);
    }
}

static void lookup_wide(const uint8_t *codes, uint32_t rows, uint32_t lo, uint32_t span, const uint64_t *bits,
                        uint32_t at, uint64_t *out) {
    wide_tail(codes, 0, rows, lo, span, bits, at, out);
}

static inline void member_tail(const uint8_t *codes, uint32_t from, uint32_t rows, uint32_t shift, const uint64_t *bits,
                               uint64_t *out) {
    for (uint32_t r = from; r < rows; r++) {
        uint32_t bit = (((const bm_u16 *)codes)[r] + shift) & (BM_CHUNK_ROWS - 1);
        if (!(r & 63)) out[r >> 6] = 0;
        out[r >> 6] |= (bits[bit >> 6] >> (bit & 63) & 1) << (r & 63);
    }
}

static void member(const uint8_t *codes, uint32_t rows, uint32_t shift, const uint64_t *bits, uint64_t *out) {
    member_tail(codes, 0, rows, shift, bits, out);
}

/* The n bits of packed from bit `at` on. */
static inline uint64_t bits_at(const uint64_t *packed, uint32_t at, uint32_t n) {
    const uint64_t low = packed[at >> 6] >> (at & 63);
    return (at & 63 ? low | packed[(at >> 6) + 1] << (64 - (at & 63)) : low) & bm_ones(n);
}

static void spread(const uint64_t *packed, const bm_group *groups, uint32_t n, uint64_t *out) {
    for (uint32_t g = 0, at = 0; g < n; g++) {
        const uint32_t some = (uint32_t)__builtin_popcountll(groups[g].rows);
        uint64_t bits = some ? bits_at(packed, at, some) : 0, word = 0;
        for (uint64_t left = groups[g].rows; bits; bits >>= 1, left &= left - 1) word |= left & -left & -(bits & 1);
        out[g] = word;
        at += some;
    }
}

static void places(const bm_group *groups, const bm_u16 *cand, uint32_t m, uint32_t present, uint16_t *at) {
    for (uint32_t i = 0; i < m; i++) at[i] = (uint16_t)bm_group_place(groups, cand[i] & (BM_CHUNK_ROWS - 1), present);
}

const bm_simd bm_ops_scalar = {
    .all = bm_bits_all_scalar,
    .count = bm_bits_count_scalar,
    .extract = bm_bits_extract_scalar,
    .compact = bm_compact_scalar,
    .range = {range_u8, range_u16, range_u32, range_u64},
    .lookup = {lookup_1, lookup_2},
    .lookup_wide = lookup_wide,
    .member = member,
    .spread = spread,
    .places = places,
};

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,bmi,popcnt")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vpopcntdq,avx512vbmi2,bmi,popcnt")))

#define BMI2 __attribute__((target("avx2,bmi,bmi2,popcnt")))

BMI2 static void spread_bmi2(const uint64_t *packed, const bm_group *groups, uint32_t n, uint64_t *out) {
    for (uint32_t g = 0, at = 0; g < n; g++) {
        const uint32_t some = (uint32_t)__builtin_popcountll(groups[g].rows);
        out[g] = some ? _pdep_u64(bits_at(packed, at, some), groups[g].rows) : 0;
        at += some;
    }
}

BMI2 static void places_bmi2(const bm_group *groups, const bm_u16 *cand, uint32_t m, uint32_t present, uint16_t *at) {
    for (uint32_t i = 0; i < m; i++) at[i] = (uint16_t)bm_group_place(groups, cand[i] & (BM_CHUNK_ROWS - 1), present);
}

AVX2 static inline __m256i load256(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }

AVX2 static void range_1_avx2(const uint8_t *codes, uint32_t rows, uint64_t lo, uint64_t span, uint64_t *out) {
    const __m256i l = _mm256_set1_epi8((char)lo), s = _mm256_set1_epi8((char)span);
    uint32_t done = rows & ~63u;
    for (uint32_t r = 0; r < done; r += 64) {
        uint64_t word = 0;
        for (uint32_t h = 0; h < 2; h++) {
            __m256i v = _mm256_sub_epi8(load256(codes + r + 32 * h), l);
            __m256i m = _mm256_cmpeq_epi8(_mm256_min_epu8(v, s), v);
            word |= (uint64_t)(uint32_t)_mm256_movemask_epi8(m) << (32 * h);
        }
        out[r >> 6] = word;
    }
    RANGE_TAIL(u8)
}

AVX2 static void range_2_avx2(const uint8_t *codes, uint32_t rows, uint64_t lo, uint64_t span, uint64_t *out) {
    const __m256i l = _mm256_set1_epi16((short)lo), s = _mm256_set1_epi16((short)span);
    uint32_t done = rows & ~63u;
    for (uint32_t r = 0; r < done; r += 64) {
        uint64_t word = 0;
        for (uint32_t h = 0; h < 2; h++) {
            const uint8_t *p = codes + 2 * (size_t)(r + 32 * h);
            __m256i a = _mm256_sub_epi16(load256(p), l), b = _mm256_sub_epi16(load256(p + 32), l);
            a = _mm256_cmpeq_epi16(_mm256_min_epu16(a, s), a);
            b = _mm256_cmpeq_epi16(_mm256_min_epu16(b, s), b);
            /* packing works within 128-bit lanes, so the quarters are put in order again */
            __m256i m = _mm256_permute4x64_epi64(_mm256_packs_epi16(a, b), 0xd8);
            word |= (uint64_t)(uint32_t)_mm256_movemask_epi8(m) << (32 * h);
        }
        out[r >> 6] = word;
    }
    RANGE_TAIL(u16)
}

AVX2 static void range_4_avx2(const uint8_t *codes, uint32_t rows, uint64_t lo, uint64_t span, uint64_t *out) {
    const __m256i l = _mm256_set1_epi32((int)lo), s = _mm256_set1_epi32((int)span);
    uint32_t done = rows & ~63u;
    for (uint32_t r = 0; r < done; r += 64) {
        uint64_t word = 0;
        for (uint32_t h = 0; h < 8; h++) {
            __m256i v = _mm256_sub_epi32(load256(codes + 4 * (size_t)(r + 8 * h)), l);
            __m256i m = _mm256_cmpeq_epi32(_mm256_min_epu32(v, s), v);
            word |= (uint64_t)(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(m)) << (8 * h);
        }
        out[r >> 6] = word;
    }
    RANGE_TAIL(u32)
}

AVX2 static void range_8_avx2(const uint8_t *codes, uint32_t rows, uint64_t lo, uint64_t span, uint64_t *out) {
    const __m256i l = _mm256_set1_epi64x((long long)lo), sign = _mm256_set1_epi64x((long long)(1ull << 63));
    const __m256i s = _mm256_set1_epi64x((long long)(span ^ (1ull << 63))); /* signed compare, signs flipped */
    uint32_t done = rows & ~63u;
    for (uint32_t r = 0; r < done; r += 64) {
        uint64_t word = 0;
        for (uint32_t h = 0; h < 16; h++) {
            __m256i v = _mm256_xor_si256(_mm256_sub_epi64(load256(codes + 8 * (size_t)(r + 4 * h)), l), sign);
            __m256i above = _mm256_cmpgt_epi64(v, s);
            word |= (uint64_t)(uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(above)) << (4 * h);
        }
        out[r >> 6] = ~word;
    }
    RANGE_TAIL(u64)
}

/* 256 bits as 32 bytes: the byte by two shuffles on code >> 3, the bit within it by one on code & 7. */
AVX2 static void lookup_1_avx2(const uint8_t *codes, uint32_t rows, const uint64_t *lut, uint64_t *out) {
    const __m256i low = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)lut));
    const __m256i high = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)lut + 1));
    const __m256i bit = _mm256_setr_epi8(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32,
                                         64, -128, 1, 2, 4, 8, 16, 32, 64, -128);
    uint32_t done = rows & ~63u;
    for (uint32_t r = 0; r < done; r += 64) {
        uint64_t word = 0;
        for (uint32_t h = 0; h < 2; h++) {
            __m256i v = load256(codes + r + 32 * h);
            __m256i at = _mm256_and_si256(_mm256_srli_epi16(v, 3), _mm256_set1_epi8(15));
            __m256i bytes = _mm256_blendv_epi8(_mm256_shuffle_epi8(low, at), _mm256_shuffle_epi8(high, at), v);
            __m256i want = _mm256_shuffle_epi8(bit, _mm256_and_si256(v, _mm256_set1_epi8(7)));
            __m256i m = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, want), want);
            word |= (uint64_t)(uint32_t)_mm256_movemask_epi8(m) << (32 * h);
        }
        out[r >> 6] = word;
    }
    lookup_tail(codes, 1, done, rows, lut, out);
}

AVX2 static void lookup_2_avx2(const uint8_t *codes, uint32_t rows, const uint64_t *lut, uint64_t *out) {
    uint32_t done = rows & ~63u;
    for (uint32_t r = 0; r < done; r += 64) {
        uint64_t word = 0;
        for (uint32_t h = 0; h < 8; h++) {
            __m256i v = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(codes + 2 * (size_t)(r + 8 * h))));
            __m256i got = _mm256_i32gather_epi32((const int *)lut, _mm256_srli_epi32(v, 5), 4);
            __m256i left = _mm256_sub_epi32(_mm256_set1_epi32(31), _mm256_and_si256(v, _mm256_set1_epi32(31)));
            __m256i top = _mm256_sllv_epi32(got, left); /* the wanted bit becomes the sign */
            word |= (uint64_t)(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(top)) << (8 * h);
        }
        out[r >> 6] = word;
    }
    lookup_tail(codes, 2, done, rows, lut, out);
}

AVX2 static void lookup_wide_avx2(const uint8_t *codes, uint32_t rows, uint32_t lo, uint32_t span, const uint64_t *bits,
                                  uint32_t at, uint64_t *out) {
    const __m256i l = _mm256_set1_epi32((int)lo), s = _mm256_set1_epi32((int)span), a = _mm256_set1_epi32((int)at);
    const __m256i low = _mm256_set1_epi32(31);
    uint32_t done = rows & ~63u;
    for (uint32_t r = 0; r < done; r += 64) {
        uint64_t word = 0;
        for (uint32_t h = 0; h < 8; h++) {
            __m256i v = _mm256_sub_epi32(load256(codes + 4 * (size_t)(r + 8 * h)), l);
            __m256i in = _mm256_cmpeq_epi32(_mm256_min_epu32(v, s), v), bit = _mm256_add_epi32(v, a);
            __m256i got = _mm256_mask_i32gather_epi32(_mm256_setzero_si256(), (const int *)bits, _mm256_srli_epi32(bit, 5), in, 4);
            __m256i top = _mm256_sllv_epi32(got, _mm256_sub_epi32(low, _mm256_and_si256(bit, low)));
            word |= (uint64_t)(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(top)) << (8 * h);
        }
        out[r >> 6] = word;
    }
    wide_tail(codes, done, rows, lo, span, bits, at, out);
}

AVX2 static void member_avx2(const uint8_t *codes, uint32_t rows, uint32_t shift, const uint64_t *bits, uint64_t *out) {
    const __m256i s = _mm256_set1_epi32((int)shift), within = _mm256_set1_epi32(BM_CHUNK_ROWS - 1), low = _mm256_set1_epi32(31);
    uint32_t done = rows & ~63u;
    for (uint32_t r = 0; r < done; r += 64) {
        uint64_t word = 0;
        for (uint32_t h = 0; h < 8; h++) {
            __m256i v = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(codes + 2 * (size_t)(r + 8 * h))));
            __m256i bit = _mm256_and_si256(_mm256_add_epi32(v, s), within);
            __m256i got = _mm256_i32gather_epi32((const int *)bits, _mm256_srli_epi32(bit, 5), 4);
            __m256i top = _mm256_sllv_epi32(got, _mm256_sub_epi32(low, _mm256_and_si256(bit, low)));
            word |= (uint64_t)(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(top)) << (8 * h);
        }
        out[r >> 6] = word;
    }
    member_tail(codes, done, rows, shift, bits, out);
}

void bm_use_avx2_scans(bm_simd *ops) {
    ops->spread = spread_bmi2;
    ops->places = places_bmi2;
    ops->member = member_avx2;
    ops->range[0] = range_1_avx2;
    ops->range[1] = range_2_avx2;
    ops->range[2] = range_4_avx2;
    ops->range[3] = range_8_avx2;
    ops->lookup[0] = lookup_1_avx2;
    ops->lookup[1] = lookup_2_avx2;
    ops->lookup_wide = lookup_wide_avx2;
}

/* Of 64 rows at p those `live` whose code is within; what lies behind the live ones is not read. A mask of 32 bits is widened
 * through _cvtmask32_u32: from __mmask32 itself, gcc 12 may leave the upper half undefined. */
AVX512 static inline uint64_t within_1(const uint8_t *p, uint64_t live, __m512i l, __m512i s) {
    return _mm512_mask_cmple_epu8_mask(live, _mm512_sub_epi8(_mm512_maskz_loadu_epi8(live, p), l), s);
}

AVX512 static inline uint64_t within_2(const uint8_t *p, uint64_t live, __m512i l, __m512i s) {
    uint64_t word = 0;
    for (uint32_t h = 0; h < 2; h++) {
        const __mmask32 m = (__mmask32)(live >> (32 * h));
        __m512i v = _mm512_sub_epi16(_mm512_maskz_loadu_epi16(m, p + 64 * h), l);
        word |= (uint64_t)_cvtmask32_u32(_mm512_mask_cmple_epu16_mask(m, v, s)) << (32 * h);
    }
    return word;
}

AVX512 static inline uint64_t within_4(const uint8_t *p, uint64_t live, __m512i l, __m512i s) {
    uint64_t word = 0;
    for (uint32_t h = 0; h < 4; h++) {
        const __mmask16 m = (__mmask16)(live >> (16 * h));
        __m512i v = _mm512_sub_epi32(_mm512_maskz_loadu_epi32(m, p + 64 * h), l);
        word |= (uint64_t)_cvtmask16_u32(_mm512_mask_cmple_epu32_mask(m, v, s)) << (16 * h);
    }
    return word;
}

AVX512 static inline uint64_t within_8(const uint8_t *p, uint64_t live, __m512i l, __m512i s) {
    uint64_t word = 0;
    for (uint32_t h = 0; h < 8; h++) {
        const __mmask8 m = (__mmask8)(live >> (8 * h));
        __m512i v = _mm512_sub_epi64(_mm512_maskz_loadu_epi64(m, p + 64 * h), l);
        word |= (uint64_t)_cvtmask8_u32(_mm512_mask_cmple_epu64_mask(m, v, s)) << (8 * h);
    }
    return word;
}

#define AVX512_RANGE(width, set)                                                                                             \
    AVX512 static void range_##width##_avx512(const uint8_t *codes, uint32_t rows, uint64_t lo, uint64_t span,               \
                                              uint64_t *out) {                                                               \
        const __m512i l = set(lo), s = set(span);                                                                            \
        uint32_t r = 0;                                                                                                      \
        for (; r + 64 <= rows; r += 64) out[r >> 6] = within_##width(codes + width * (size_t)r, ~0ull, l, s);                \
        if (r < rows) out[r >> 6] = within_##width(codes + width * (size_t)r, bm_ones(rows - r), l, s);                      \
    }
#define SET_1(v) _mm512_set1_epi8((char)(v))
#define SET_2(v) _mm512_set1_epi16((short)(v))
#define SET_4(v) _mm512_set1_epi32((int)(v))
#define SET_8(v) _mm512_set1_epi64((long long)(v))
AVX512_RANGE(1, SET_1)
AVX512_RANGE(2, SET_2)
AVX512_RANGE(4, SET_4)
AVX512_RANGE(8, SET_8)

AVX512 static void lookup_2_avx512(const uint8_t *codes, uint32_t rows, const uint64_t *lut, uint64_t *out) {
    const __m512i one = _mm512_set1_epi32(1), low = _mm512_set1_epi32(31);
    uint32_t done = rows & ~63u;
    for (uint32_t r = 0; r < done; r += 64) {
        uint64_t word = 0;
        for (uint32_t h = 0; h < 4; h++) {
            const uint8_t *p = codes + 2 * (size_t)(r + 16 * h);
            __m512i v = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
            __m512i got = _mm512_i32gather_epi32(_mm512_srli_epi32(v, 5), (const int *)lut, 4);
            __m512i want = _mm512_sllv_epi32(one, _mm512_and_si512(v, low));
            word |= (uint64_t)_cvtmask16_u32(_mm512_test_epi32_mask(got, want)) << (16 * h);
        }
        out[r >> 6] = word;
    }
    lookup_tail(codes, 2, done, rows, lut, out);
}

AVX512 static void lookup_wide_avx512(const uint8_t *codes, uint32_t rows, uint32_t lo, uint32_t span,
                                      const uint64_t *bits, uint32_t at, uint64_t *out) {
    const __m512i l = _mm512_set1_epi32((int)lo), s = _mm512_set1_epi32((int)span), a = _mm512_set1_epi32((int)at);
    const __m512i one = _mm512_set1_epi32(1), low = _mm512_set1_epi32(31);
    uint32_t done = rows & ~63u;
    for (uint32_t r = 0; r < done; r += 64) {
        uint64_t word = 0;
        for (uint32_t h = 0; h < 4; h++) {
            __m512i v = _mm512_sub_epi32(_mm512_loadu_si512(codes + 4 * (size_t)(r + 16 * h)), l);
            __mmask16 in = _mm512_cmple_epu32_mask(v, s);
            __m512i bit = _mm512_add_epi32(v, a);
            __m512i got = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), in, _mm512_srli_epi32(bit, 5), bits, 4);
            __m512i want = _mm512_sllv_epi32(one, _mm512_and_si512(bit, low));
            word |= (uint64_t)_cvtmask16_u32(_mm512_test_epi32_mask(got, want)) << (16 * h);
        }
        out[r >> 6] = word;
    }
    wide_tail(codes, done, rows, lo, span, bits, at, out);
}

/* Of the first `live` of 16 rows at p those whose contact's bit is set. */
AVX512 static inline uint32_t members(const uint8_t *p, __mmask16 live, __m512i s, const uint64_t *bits) {
    const __m512i within = _mm512_set1_epi32(BM_CHUNK_ROWS - 1), one = _mm512_set1_epi32(1), low = _mm512_set1_epi32(31);
    __m512i v = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(live, p));
    __m512i bit = _mm512_and_si512(_mm512_add_epi32(v, s), within);
    __m512i got = _mm512_i32gather_epi32(_mm512_srli_epi32(bit, 5), (const int *)bits, 4);
    __m512i want = _mm512_sllv_epi32(one, _mm512_and_si512(bit, low));
    return _cvtmask16_u32(_mm512_mask_test_epi32_mask(live, got, want));
}

AVX512 static void member_avx512(const uint8_t *codes, uint32_t rows, uint32_t shift, const uint64_t *bits, uint64_t *out) {
    const __m512i s = _mm512_set1_epi32((int)shift);
    for (uint32_t r = 0; r < rows; r += 64) {
        uint64_t word = 0;
        for (uint32_t h = 0; h < 4 && r + 16 * h < rows; h++) {
            const uint32_t left = rows - r - 16 * h;
            const __mmask16 live = (__mmask16)(left < 16 ? (1u << left) - 1 : 0xffffu);
            word |= (uint64_t)members(codes + 2 * (size_t)(r + 16 * h), live, s, bits) << (16 * h);
        }
        out[r >> 6] = word;
    }
}

void bm_use_avx512_scans(bm_simd *ops) {
    ops->member = member_avx512;
    ops->lookup_wide = lookup_wide_avx512;
    ops->range[0] = range_1_avx512;
    ops->range[1] = range_2_avx512;
    ops->range[2] = range_4_avx512;
    ops->range[3] = range_8_avx512;
    ops->lookup[1] = lookup_2_avx512; /* the AVX2 lookup of bytes is bound by reading already */
}
#endif
