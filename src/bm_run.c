/* Run containers: (start, length - 1) pairs. Lengths are clamped to the container, so bytes that lie about them
 * cannot lead outside. Expanding into a bitset in L1 costs about 6 cycles a run and needs no branch on the data
 * unless runs are longer than two words; walking two run lists costs about 8 cycles a step. */
#include "bm_kernels.h"

void bm_runs_set(const bm_u16 *runs, uint32_t n, uint8_t *bits) {
    for (uint32_t i = 0; i < n; i++) bm_bits_set_range(bits, runs[2 * i], bm_run_last(runs, i));
}

void bm_runs_clear(const bm_u16 *runs, uint32_t n, uint8_t *bits) {
    for (uint32_t i = 0; i < n; i++) bm_bits_clear_range(bits, runs[2 * i], bm_run_last(runs, i));
}

void bm_runs_keep(const bm_u16 *runs, uint32_t n, uint8_t *bits) {
    uint32_t from = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t start = runs[2 * i];
        if (start > from) bm_bits_clear_range(bits, from, start - 1);
        from = bm_run_last(runs, i) + 1;
    }
    if (from < BM_ROWS) bm_bits_clear_range(bits, from, BM_ROWS - 1);
}

uint32_t bm_runs_and_count(const bm_u16 *a, uint32_t na, const bm_u16 *b, uint32_t nb) {
    uint32_t i = 0, j = 0, count = 0;
    while (i < na && j < nb) {
        uint32_t as = a[2 * i], bs = b[2 * j], ae = bm_run_last(a, i), be = bm_run_last(b, j);
        uint32_t s = as > bs ? as : bs, e = (ae < be ? ae : be) + 1;
        count += e > s ? e - s : 0;
        i += ae <= be;
        j += be <= ae;
    }
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

void bm_runs_test(const bm_u16 *cand, uint32_t n, const bm_u16 *runs, uint32_t nruns, uint64_t *mask) {
    uint32_t j = 0;
    memset(mask, 0, (n + 63) / 64 * 8);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t v = cand[i];
        while (j < nruns && bm_run_last(runs, j) < v) j++;
        if (j == nruns) break;
        mask[i >> 6] |= (uint64_t)(runs[2 * j] <= v) << (i & 63);
    }
}

bool bm_runs_has(const bm_u16 *runs, uint32_t n, uint16_t v) {
    uint32_t lo = 0, hi = n;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (bm_run_last(runs, mid) < v) lo = mid + 1;
        else hi = mid;
    }
    return lo < n && runs[2 * lo] <= v;
}
