/* Run containers: (start, length - 1) pairs. Lengths are clamped to the container, so bytes that lie about them
 * cannot lead outside.
 *
 * Expanding runs word by word costs 8 ns a run, mostly mispredictions. The vector levels flip two bits a run, at its
 * start and behind its end, and then take the running XOR over all bits: 1.1 ns a run and 600 ns a container. */
#include "bm_kernels.h"

static void set_scalar(const bm_u16 *runs, uint32_t n, uint8_t *bits) {
    for (uint32_t i = 0; i < n; i++) bm_bits_set_range(bits, runs[2 * i], bm_run_last(runs, i));
}

static void write_scalar(const bm_u16 *runs, uint32_t n, uint8_t *bits) {
    memset(bits, 0, BM_BITS_BYTES);
    set_scalar(runs, n, bits);
}

static void clear_scalar(const bm_u16 *runs, uint32_t n, uint8_t *bits) {
    for (uint32_t i = 0; i < n; i++) bm_bits_clear_range(bits, runs[2 * i], bm_run_last(runs, i));
}

static void keep_scalar(const bm_u16 *runs, uint32_t n, uint8_t *bits) {
    uint32_t from = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t start = runs[2 * i];
        if (start > from) bm_bits_clear_range(bits, from, start - 1);
        from = bm_run_last(runs, i) + 1;
    }
    if (from < BM_ROWS) bm_bits_clear_range(bits, from, BM_ROWS - 1);
}

void bm_use_scalar_runs(bm_simd *ops) {
    ops->runs_write = write_scalar;
    ops->runs_set = set_scalar;
    ops->runs_clear = clear_scalar;
    ops->runs_keep = keep_scalar;
}

/* The first run at or behind index `from` that ends at v or later. */
static uint32_t seek_run(const bm_u16 *runs, uint32_t n, uint32_t v) {
    uint32_t lo = 0, hi = n;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (bm_run_last(runs, mid) < v) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

/* One step of a merge: the overlap of two runs, then past the one that ends first. No branch on the data. */
#define MERGE_STEP(i, j)                                                                       \
    do {                                                                                       \
        uint32_t as = a[2 * (i)], bs = b[2 * (j)], ae = bm_run_last(a, i), be = bm_run_last(b, j); \
        uint32_t s = as > bs ? as : bs, e = (ae < be ? ae : be) + 1;                           \
        count += e > s ? e - s : 0;                                                            \
        i += ae <= be;                                                                         \
        j += be <= ae;                                                                         \
    } while (0)

/* Each step waits for the one before (5.6 ns), so a is cut into four parts that are merged with b side by side. */
uint32_t bm_runs_and_count(const bm_u16 *a, uint32_t na, const bm_u16 *b, uint32_t nb) {
    uint32_t count = 0, q = na / 4, i[4], j[4], end[4];
    for (uint32_t p = 0; p < 4; p++) {
        i[p] = p * q;
        end[p] = p < 3 ? (p + 1) * q : na;
        j[p] = i[p] < na ? seek_run(b, nb, a[2 * i[p]]) : nb;
    }
    uint32_t i0 = i[0], i1 = i[1], i2 = i[2], i3 = i[3], j0 = j[0], j1 = j[1], j2 = j[2], j3 = j[3];
    while (i0 < end[0] && j0 < nb && i1 < end[1] && j1 < nb && i2 < end[2] && j2 < nb && i3 < end[3] && j3 < nb) {
        MERGE_STEP(i0, j0);
        MERGE_STEP(i1, j1);
        MERGE_STEP(i2, j2);
        MERGE_STEP(i3, j3);
    }
    while (i0 < end[0] && j0 < nb) MERGE_STEP(i0, j0);
    while (i1 < end[1] && j1 < nb) MERGE_STEP(i1, j1);
    while (i2 < end[2] && j2 < nb) MERGE_STEP(i2, j2);
    while (i3 < end[3] && j3 < nb) MERGE_STEP(i3, j3);
    return count;
}

uint32_t bm_runs_count_in_bits(const bm_u16 *runs, uint32_t n, const uint8_t *bits) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) count += bm_bits_count_range(bits, runs[2 * i], bm_run_last(runs, i));
    return count;
}

uint32_t bm_runs_to_array(const bm_u16 *runs, uint32_t n, uint16_t *out, uint32_t cap) {
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t v = runs[2 * i], m = bm_run_last(runs, i) - v + 1;
        if (m > cap - k) m = cap - k;
        for (uint32_t l = 0; l < m; l++) out[k + l] = (uint16_t)(v + l);
        k += m;
    }
    return k;
}

uint32_t bm_runs_count_in_array(const bm_u16 *runs, uint32_t n, const bm_u16 *a, uint32_t na) {
    uint32_t at = 0, count = 0;
    for (uint32_t i = 0; i < n && at < na; i++) {
        uint32_t last = bm_run_last(runs, i), from = bm_array_seek(a, at, na, runs[2 * i]);
        at = last == 65535 ? na : bm_array_seek(a, from, na, (uint16_t)(last + 1));
        count += at - from;
    }
    return count;
}

void bm_runs_test(const bm_u16 *cand, uint32_t n, const bm_u16 *runs, uint32_t nruns, uint64_t *mask) {
    uint32_t at = 0;
    memset(mask, 0, (n + 63) / 64 * 8);
    for (uint32_t i = 0; i < nruns && at < n; i++) {
        uint32_t last = bm_run_last(runs, i), from = bm_array_seek(cand, at, n, runs[2 * i]);
        at = last == 65535 ? n : bm_array_seek(cand, from, n, (uint16_t)(last + 1));
        for (uint32_t w = from >> 6; from < at && w <= (at - 1) >> 6; w++) {
            uint64_t bits = ~0ull;
            if (w == from >> 6) bits &= ~0ull << (from & 63);
            if (w == (at - 1) >> 6) bits &= ~0ull >> (63 - ((at - 1) & 63));
            mask[w] |= bits;
        }
    }
}

bool bm_runs_has(const bm_u16 *runs, uint32_t n, uint16_t v) {
    uint32_t i = seek_run(runs, n, v);
    return i < n && runs[2 * i] <= v;
}

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vpopcntdq,avx512vbmi2,bmi,bmi2,popcnt")))
#define INLINE static inline __attribute__((always_inline))

enum { WRITE, SET, CLEAR, KEEP };

/* The bits where membership changes; position 65,536 is the slack word. Overlapping runs (corrupt) give nonsense. */
INLINE void flip_ends(const bm_u16 *runs, uint32_t n, uint64_t *flips) {
    uint32_t q = n / 4;
    for (uint32_t i = 0; i < q; i++)
        for (uint32_t p = 0; p < 4; p++) { /* four parts at once keep the read-modify-writes apart */
            uint64_t s = runs[2 * (i + p * q)], e = bm_run_last(runs, i + p * q) + 1;
            flips[s >> 6] ^= 1ull << (s & 63);
            flips[e >> 6] ^= 1ull << (e & 63);
        }
    for (uint32_t i = 4 * q; i < n; i++) {
        uint64_t s = runs[2 * i], e = bm_run_last(runs, i) + 1;
        flips[s >> 6] ^= 1ull << (s & 63);
        flips[e >> 6] ^= 1ull << (e & 63);
    }
}

/* Bit i = the XOR of bits 0..i, of up to 8 bits, begun with `carry` (0 or all ones). */
INLINE uint32_t running_xor(uint32_t m, uint32_t carry) {
    m ^= m << 1;
    m ^= m << 2;
    m ^= m << 4;
    return m ^ carry;
}

AVX512 static inline __attribute__((always_inline)) void expand_avx512(const bm_u16 *runs, uint32_t n, uint8_t *dst, int how) {
    _Alignas(64) uint64_t flips[BM_WORDS + 8];
    memset(flips, 0, sizeof flips);
    flip_ends(runs, n, flips);
    uint32_t carry = 0;
    for (uint32_t w = 0; w < BM_WORDS; w += 8) {
        __m512i v = _mm512_load_si512(flips + w);
        v = _mm512_xor_si512(v, _mm512_slli_epi64(v, 1));
        v = _mm512_xor_si512(v, _mm512_slli_epi64(v, 2));
        v = _mm512_xor_si512(v, _mm512_slli_epi64(v, 4));
        v = _mm512_xor_si512(v, _mm512_slli_epi64(v, 8));
        v = _mm512_xor_si512(v, _mm512_slli_epi64(v, 16));
        v = _mm512_xor_si512(v, _mm512_slli_epi64(v, 32));
        uint32_t odd = running_xor(_cvtmask8_u32(_mm512_movepi64_mask(v)) & 0xff, carry);
        __mmask8 flipped = (__mmask8)((odd << 1) | (carry & 1)); /* words that an odd number of flips precede */
        carry = odd & 0x80 ? ~0u : 0;
        v = _mm512_xor_si512(v, _mm512_movm_epi64(flipped));
        uint8_t *p = dst + 8 * (size_t)w;
        if (how == SET) v = _mm512_or_si512(v, _mm512_loadu_si512(p));
        if (how == CLEAR) v = _mm512_andnot_si512(v, _mm512_loadu_si512(p));
        if (how == KEEP) v = _mm512_and_si512(v, _mm512_loadu_si512(p));
        _mm512_storeu_si512(p, v);
    }
}

AVX2 static inline __attribute__((always_inline)) void expand_avx2(const bm_u16 *runs, uint32_t n, uint8_t *dst, int how) {
    _Alignas(64) uint64_t flips[BM_WORDS + 8];
    memset(flips, 0, sizeof flips);
    flip_ends(runs, n, flips);
    const __m256i lane = _mm256_setr_epi64x(1, 2, 4, 8);
    uint32_t carry = 0;
    for (uint32_t w = 0; w < BM_WORDS; w += 4) {
        __m256i v = _mm256_load_si256((const __m256i *)(flips + w));
        v = _mm256_xor_si256(v, _mm256_slli_epi64(v, 1));
        v = _mm256_xor_si256(v, _mm256_slli_epi64(v, 2));
        v = _mm256_xor_si256(v, _mm256_slli_epi64(v, 4));
        v = _mm256_xor_si256(v, _mm256_slli_epi64(v, 8));
        v = _mm256_xor_si256(v, _mm256_slli_epi64(v, 16));
        v = _mm256_xor_si256(v, _mm256_slli_epi64(v, 32));
        uint32_t odd = running_xor((uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(v)), carry);
        uint32_t flipped = (odd << 1) | (carry & 1);
        carry = odd & 8 ? ~0u : 0;
        __m256i which = _mm256_and_si256(_mm256_set1_epi64x((long long)flipped), lane);
        v = _mm256_xor_si256(v, _mm256_cmpeq_epi64(which, lane));
        __m256i *p = (__m256i *)(dst + 8 * (size_t)w);
        if (how == SET) v = _mm256_or_si256(v, _mm256_loadu_si256(p));
        if (how == CLEAR) v = _mm256_andnot_si256(v, _mm256_loadu_si256(p));
        if (how == KEEP) v = _mm256_and_si256(v, _mm256_loadu_si256(p));
        _mm256_storeu_si256(p, v);
    }
}

/* Few runs are quicker range by range. */
#define LEVEL(name, target)                                                                       \
    target static void write_##name(const bm_u16 *r, uint32_t n, uint8_t *d) {                    \
        if (n <= BM_WALK_RUNS) write_scalar(r, n, d);                                             \
        else expand_##name(r, n, d, WRITE);                                                       \
    }                                                                                             \
    target static void set_##name(const bm_u16 *r, uint32_t n, uint8_t *d) {                      \
        if (n <= BM_WALK_RUNS) set_scalar(r, n, d);                                               \
        else expand_##name(r, n, d, SET);                                                         \
    }                                                                                             \
    target static void clear_##name(const bm_u16 *r, uint32_t n, uint8_t *d) {                    \
        if (n <= BM_WALK_RUNS) clear_scalar(r, n, d);                                             \
        else expand_##name(r, n, d, CLEAR);                                                       \
    }                                                                                             \
    target static void keep_##name(const bm_u16 *r, uint32_t n, uint8_t *d) {                     \
        if (n <= BM_WALK_RUNS) keep_scalar(r, n, d);                                              \
        else expand_##name(r, n, d, KEEP);                                                        \
    }                                                                                             \
    void bm_use_##name##_runs(bm_simd *ops) {                                                     \
        ops->runs_write = write_##name;                                                           \
        ops->runs_set = set_##name;                                                               \
        ops->runs_clear = clear_##name;                                                           \
        ops->runs_keep = keep_##name;                                                             \
    }

LEVEL(avx2, AVX2)
LEVEL(avx512, AVX512)
#endif
