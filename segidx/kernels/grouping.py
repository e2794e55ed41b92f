"""Grouping (code, ordinal) pairs by code: what turns a batch's values into postings.

Large batches of few codes take a stable counting sort compiled by Numba; everything else one sort of 64-bit keys. Numba
is imported and compiles (about half a second) only for batches that repay it: bulk imports, never a single upsert.
Measured on 2 cores, median: 6M pairs of 140 codes 37 ms against 130 ms; 1M of 1,000 codes 4.5 against 9.7; 1M of 50,000
codes 10 against 9. Arrays in, arrays out; no I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

# From here on the counting sort repays its compilation within one import.
COUNTING_SORT_PAIRS = 1 << 18
# Beyond, its tables of starts no longer stay in the cache and the sort is as fast.
COUNTING_SORT_CODES = 1 << 14

Codes = npt.NDArray[np.int64]
Ordinals = npt.NDArray[np.uint32]


def group_pairs(codes: Codes, ordinals: Ordinals) -> tuple[Codes, Ordinals]:
    """The pairs ordered by code, then by ordinal. `codes` int64[n] >= 0, `ordinals` uint32[n]; copies."""
    n = len(codes)
    if n >= COUNTING_SORT_PAIRS and codes.max() < COUNTING_SORT_CODES and bool((ordinals[1:] >= ordinals[:-1]).all()):
        return _counting_sort()(codes, ordinals, int(codes.max()) + 1)
    keys = (codes.astype(np.uint64) << np.uint64(32)) | ordinals.astype(np.uint64)
    keys.sort()
    return (keys >> np.uint64(32)).astype(np.int64), keys.astype(np.uint32)


@cache
def _counting_sort() -> Callable[[Codes, Ordinals, int], tuple[Codes, Ordinals]]:
    import numba

    @numba.njit(nogil=True)
    def sort(codes: Any, ordinals: Any, kinds: int) -> Any:
        # Stable, so ascending ordinals stay ascending within a code (Knuth, TAOCP vol. 3, 5.2, Algorithm D).
        starts = np.zeros(kinds + 1, np.int64)
        for code in codes:
            starts[code + 1] += 1
        for kind in range(kinds):
            starts[kind + 1] += starts[kind]
        sorted_codes = np.empty(len(codes), np.int64)
        sorted_ordinals = np.empty(len(codes), np.uint32)
        for i in range(len(codes)):
            at = starts[codes[i]]
            sorted_codes[at] = codes[i]
            sorted_ordinals[at] = ordinals[i]
            starts[codes[i]] = at + 1
        return sorted_codes, sorted_ordinals

    return sort
