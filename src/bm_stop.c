/* Whether an evaluation should end: looked at by whatever may run for long. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime under -std=c11 */
#include <time.h>

#include "bm.h"

void bm_stop_cancel(bm_stop *stop) { __atomic_store_n(&stop->cancelled, 1, __ATOMIC_RELAXED); }

int bm_stop_look(const bm_stop *stop) {
    if (__atomic_load_n(&stop->cancelled, __ATOMIC_RELAXED)) return BM_CANCELLED;
    if (stop->deadline_ns) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        if ((int64_t)t.tv_sec * 1000000000 + t.tv_nsec >= stop->deadline_ns) return BM_DEADLINE;
    }
    return BM_OK;
}
