/* Of some megabytes of which lines are read here and there, to look up where a page is takes longer than to read: they are in
 * huge pages, where the system gives any. */
#define _DEFAULT_SOURCE /* madvise */
#include <stdlib.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "ev_memory.h"

#define HUGE_PAGE ((size_t)1 << 21)

static size_t unit_of(size_t size) { return size >= HUGE_PAGE / 2 ? HUGE_PAGE : EV_LINE_BYTES; }

size_t ev_memory_bytes(size_t size) { return (size + unit_of(size) - 1) / unit_of(size) * unit_of(size); }

void *ev_memory(size_t size) {
    const size_t unit = unit_of(size);
    void *p = aligned_alloc(unit, ev_memory_bytes(size));
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (p && unit == HUGE_PAGE) (void)madvise(p, ev_memory_bytes(size), MADV_HUGEPAGE);
#endif
    return p;
}
