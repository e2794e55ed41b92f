/* Array containers: ascending u16, 1 to 4,096 of them. */
#include "bm_kernels.h"

bool bm_array_has(const bm_u16 *a, uint32_t n, uint16_t v) {
    uint32_t lo = 0, hi = n;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (a[mid] < v) lo = mid + 1;
        else hi = mid;
    }
    return lo < n && a[lo] == v;
}

/* The first index >= from with b[index] >= v, by doubling steps and then halving. */
static uint32_t gallop(const bm_u16 *b, uint32_t from, uint32_t nb, uint16_t v) {
    uint32_t step = 1, lo = from, hi = from;
    while (hi < nb && b[hi] < v) {
        lo = hi + 1;
        hi += step;
        step *= 2;
    }
    if (hi > nb) hi = nb;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (b[mid] < v) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

static uint32_t gallop_and(const bm_u16 *a, uint32_t na, const bm_u16 *b, uint32_t nb, uint16_t *out, uint32_t cap) {
    uint32_t j = 0, k = 0;
    for (uint32_t i = 0; i < na && j < nb; i++) {
        j = gallop(b, j, nb, a[i]);
        if (j < nb && b[j] == a[i]) {
            if (out) {
                if (k == cap) break;
                out[k] = a[i];
            }
            k++;
        }
    }
    return k;
}

uint32_t bm_array_and_scalar(const bm_u16 *a, uint32_t na, const bm_u16 *b, uint32_t nb, uint16_t *out, uint32_t cap) {
    if (na * BM_GALLOP_RATIO < nb) return gallop_and(a, na, b, nb, out, cap);
    if (nb * BM_GALLOP_RATIO < na) return gallop_and(b, nb, a, na, out, cap);
    uint32_t i = 0, j = 0, k = 0;
    while (i < na && j < nb && k < cap) { /* no branch on the data: about 8 cycles a step */
        uint16_t u = a[i], v = b[j];
        out[k] = u;
        k += u == v;
        i += u <= v;
        j += v <= u;
    }
    return k;
}

uint32_t bm_array_and_count_scalar(const bm_u16 *a, uint32_t na, const bm_u16 *b, uint32_t nb) {
    if (na * BM_GALLOP_RATIO < nb) return gallop_and(a, na, b, nb, NULL, 0);
    if (nb * BM_GALLOP_RATIO < na) return gallop_and(b, nb, a, na, NULL, 0);
    uint32_t i = 0, j = 0, k = 0;
    while (i < na && j < nb) {
        uint16_t u = a[i], v = b[j];
        k += u == v;
        i += u <= v;
        j += v <= u;
    }
    return k;
}

uint32_t bm_array_or(const bm_u16 *a, uint32_t na, const bm_u16 *b, uint32_t nb, uint16_t *out, uint32_t cap) {
    uint32_t i = 0, j = 0, k = 0;
    while (i < na && j < nb && k < cap) {
        uint16_t u = a[i], v = b[j];
        out[k++] = u < v ? u : v;
        i += u <= v;
        j += v <= u;
    }
    while (i < na && k < cap) out[k++] = a[i++];
    while (j < nb && k < cap) out[k++] = b[j++];
    return k;
}

uint32_t bm_array_andnot(const bm_u16 *a, uint32_t na, const bm_u16 *b, uint32_t nb, uint16_t *out, uint32_t cap) {
    uint32_t i = 0, j = 0, k = 0;
    while (i < na && j < nb && k < cap) {
        uint16_t u = a[i], v = b[j];
        out[k] = u;
        k += u < v;
        i += u <= v;
        j += v <= u;
    }
    while (i < na && k < cap) out[k++] = a[i++];
    return k;
}

/* Neighbours in an array mostly share a word, so that a plain loop waits for its own store each time (5 cycles).
 * Four quarters at once, byte by byte, keep the read-modify-writes independent: about 1.2 cycles an element. */
#define FOUR_QUARTERS(op)                                                                    \
    uint32_t q = n / 4;                                                                      \
    const bm_u16 *b = a + q, *c = b + q, *d = c + q;                                         \
    for (uint32_t i = 0; i < q; i++) {                                                       \
        uint32_t u = a[i], v = b[i], w = c[i], x = d[i];                                     \
        bits[u >> 3] op(1u << (u & 7));                                                      \
        bits[v >> 3] op(1u << (v & 7));                                                      \
        bits[w >> 3] op(1u << (w & 7));                                                      \
        bits[x >> 3] op(1u << (x & 7));                                                      \
    }                                                                                        \
    for (uint32_t i = 4 * q; i < n; i++) bits[a[i] >> 3] op(1u << (a[i] & 7));

#define SET_BIT |= (uint8_t)
#define CLEAR_BIT &= (uint8_t) ~

void bm_array_set(const bm_u16 *a, uint32_t n, uint8_t *bits) { FOUR_QUARTERS(SET_BIT) }

void bm_array_clear(const bm_u16 *a, uint32_t n, uint8_t *bits) { FOUR_QUARTERS(CLEAR_BIT) }

uint32_t bm_array_count_in_bits(const bm_u16 *a, uint32_t n, const uint8_t *bits) {
    uint32_t k = 0, l = 0, i = 0;
    for (; i + 2 <= n; i += 2) {
        k += (bits[a[i] >> 3] >> (a[i] & 7)) & 1u;
        l += (bits[a[i + 1] >> 3] >> (a[i + 1] & 7)) & 1u;
    }
    if (i < n) k += (bits[a[i] >> 3] >> (a[i] & 7)) & 1u;
    return k + l;
}

void bm_array_test_bits(const bm_u16 *a, uint32_t n, const uint8_t *bits, uint64_t *mask) {
    for (uint32_t w = 0; w * 64 < n; w++, a += 64) {
        uint32_t m = n - w * 64 < 64 ? n - w * 64 : 64;
        uint64_t got = 0;
        for (uint32_t i = 0; i < m; i++) got |= (uint64_t)((bits[a[i] >> 3] >> (a[i] & 7)) & 1u) << i;
        mask[w] = got;
    }
}

void bm_array_test_gallop(const bm_u16 *a, uint32_t n, const bm_u16 *b, uint32_t nb, uint64_t *mask) {
    uint32_t j = 0;
    memset(mask, 0, (n + 63) / 64 * 8);
    for (uint32_t i = 0; i < n && j < nb; i++) {
        j = gallop(b, j, nb, a[i]);
        if (j < nb && b[j] == a[i]) mask[i >> 6] |= 1ull << (i & 63);
    }
}

#if defined(__x86_64__)
#include <immintrin.h>

/* Eight against eight with pcmpistrm, after B. Schlegel, T. Willhalm, W. Lehner, "Fast Sorted-Set Intersection using
 * SIMD Instructions" (ADMS 2011). The implicit-length form stops at a zero, which an ascending array can hold in its
 * first place only, so that place is compared apart. */
#define SSE __attribute__((target("sse4.2,popcnt")))

static uint8_t packs[256][16]; /* shuffles that move the lanes of a mask to the front */

SSE static inline uint32_t matches(__m128i b, __m128i a) {
    return (uint32_t)_mm_cvtsi128_si32(
        _mm_cmpistrm(b, a, _SIDD_UWORD_OPS | _SIDD_CMP_EQUAL_ANY | _SIDD_BIT_MASK));
}

SSE static uint32_t and_sse(const bm_u16 *a, uint32_t na, const bm_u16 *b, uint32_t nb, uint16_t *out, uint32_t cap) {
    if (na * BM_GALLOP_RATIO < nb) return gallop_and(a, na, b, nb, out, cap);
    if (nb * BM_GALLOP_RATIO < na) return gallop_and(b, nb, a, na, out, cap);
    uint32_t i = 0, j = 0, k = 0;
    if (na && nb && cap && a[0] == 0 && b[0] == 0) out[k++] = 0;
    if (na && a[0] == 0) i = 1;
    if (nb && b[0] == 0) j = 1;
    while (i + 8 <= na && j + 8 <= nb && k + 8 <= cap) {
        __m128i va = _mm_loadu_si128((const __m128i *)(a + i)), vb = _mm_loadu_si128((const __m128i *)(b + j));
        uint16_t amax = a[i + 7], bmax = b[j + 7];
        uint32_t m = matches(vb, va);
        _mm_storeu_si128((__m128i *)(out + k), _mm_shuffle_epi8(va, _mm_loadu_si128((const __m128i *)packs[m & 255])));
        k += (uint32_t)_mm_popcnt_u32(m);
        i += (uint32_t)(amax <= bmax) << 3;
        j += (uint32_t)(bmax <= amax) << 3;
    }
    return k + bm_array_and_scalar(a + i, na - i, b + j, nb - j, out + k, cap - k);
}

SSE static uint32_t and_count_sse(const bm_u16 *a, uint32_t na, const bm_u16 *b, uint32_t nb) {
    if (na * BM_GALLOP_RATIO < nb) return gallop_and(a, na, b, nb, NULL, 0);
    if (nb * BM_GALLOP_RATIO < na) return gallop_and(b, nb, a, na, NULL, 0);
    uint32_t i = 0, j = 0, k = 0;
    if (na && nb && a[0] == 0 && b[0] == 0) k = 1;
    if (na && a[0] == 0) i = 1;
    if (nb && b[0] == 0) j = 1;
    while (i + 8 <= na && j + 8 <= nb) {
        __m128i va = _mm_loadu_si128((const __m128i *)(a + i)), vb = _mm_loadu_si128((const __m128i *)(b + j));
        uint16_t amax = a[i + 7], bmax = b[j + 7];
        k += (uint32_t)_mm_popcnt_u32(matches(vb, va));
        i += (uint32_t)(amax <= bmax) << 3;
        j += (uint32_t)(bmax <= amax) << 3;
    }
    return k + bm_array_and_count_scalar(a + i, na - i, b + j, nb - j);
}

void bm_use_sse_arrays(bm_simd *ops) {
    for (uint32_t m = 0; m < 256; m++) {
        uint32_t k = 0;
        memset(packs[m], 0x80, 16);
        for (uint32_t lane = 0; lane < 8; lane++)
            if (m >> lane & 1) {
                packs[m][2 * k] = (uint8_t)(2 * lane);
                packs[m][2 * k + 1] = (uint8_t)(2 * lane + 1);
                k++;
            }
    }
    ops->array_and = and_sse;
    ops->array_and_count = and_count_sse;
}
#endif
