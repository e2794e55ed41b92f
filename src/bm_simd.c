/* Which kernels run: chosen once, at import, by what the processor has. Every level gives the same answers. */
#include "bm_kernels.h"

bm_simd bm_ops;

static bool has_avx2(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt") &&
           __builtin_cpu_supports("sse4.2");
#else
    return false;
#endif
}

static bool has_avx512(void) {
#if defined(__x86_64__)
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512vbmi") &&
           __builtin_cpu_supports("avx512vbmi2");
#else
    return false;
#endif
}

const char *bm_simd_choose(const char *wanted) {
    int level = has_avx512() ? 2 : has_avx2() ? 1 : 0;
    if (wanted && strcmp(wanted, "avx2") == 0 && level > 1) level = 1;
    if (wanted && strcmp(wanted, "scalar") == 0) level = 0;
    bm_ops = bm_ops_scalar;
    bm_use_scalar_arrays(&bm_ops);
    bm_use_scalar_runs(&bm_ops);
    bm_use_scalar_pages(&bm_ops);
    bm_use_scalar_sheets(&bm_ops);
#if defined(__x86_64__)
    if (level >= 1) {
        bm_use_sse_arrays(&bm_ops);
        bm_use_avx2_bits(&bm_ops);
        bm_use_avx2_scans(&bm_ops);
        bm_use_avx2_runs(&bm_ops);
        bm_use_avx2_pages(&bm_ops);
        bm_use_avx2_sheets(&bm_ops);
    }
    if (level >= 2) {
        bm_use_avx512_bits(&bm_ops);
        bm_use_avx512_scans(&bm_ops);
        bm_use_avx512_runs(&bm_ops);
        bm_use_avx512_pages(&bm_ops);
        bm_use_avx512_sheets(&bm_ops);
    }
#endif
    return level == 2 ? "avx512" : level == 1 ? "avx2" : "scalar";
}
