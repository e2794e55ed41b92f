"""Both ways of grouping give the pairs in the same order."""

from __future__ import annotations

import numpy as np
import pytest

from segidx.kernels import grouping


@pytest.mark.parametrize("kinds", [1, 7, 5000])
@pytest.mark.parametrize("ascending", [True, False])
def test_group_pairs_orders_by_code_then_ordinal(monkeypatch: pytest.MonkeyPatch, kinds: int, ascending: bool) -> None:
    rng = np.random.default_rng(kinds)
    codes = rng.integers(0, kinds, 20_000)
    ordinals = rng.permutation(2**32 - np.arange(1, 20_001, dtype=np.int64)).astype(np.uint32)
    if ascending:
        ordinals.sort()
    expected = sorted(zip(codes.tolist(), ordinals.tolist(), strict=True))
    for least in (1, 1 << 30):  # the counting sort wherever it may run, and never
        monkeypatch.setattr(grouping, "COUNTING_SORT_PAIRS", least)
        found = grouping.group_pairs(codes, ordinals)
        assert list(zip(*(a.tolist() for a in found), strict=True)) == expected
        assert found[0].dtype == np.int64
        assert found[1].dtype == np.uint32


def test_no_pairs() -> None:
    codes, ordinals = grouping.group_pairs(np.zeros(0, np.int64), np.zeros(0, np.uint32))
    assert len(codes) == len(ordinals) == 0
