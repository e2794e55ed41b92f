"""How orders and visits are put into one order, whatever their times are."""

from itertools import pairwise

import numpy as np
import pytest

from segidx.plan.attribution import _sorted


@pytest.mark.parametrize("far", [0, 1 << 43, 1 << 44, 253_402_300_799_999])
def test_rows_by_contact_time_and_kind(far: int) -> None:
    rng = np.random.default_rng(far % 1000)
    contacts = rng.integers(0, 4, 200) * 87_381  # to the last that a piece has
    at = rng.choice([0, 1, 2, far], 200)
    is_order = np.arange(200) >= 120
    order, same = _sorted(contacts, at, is_order)
    assert sorted(order.tolist()) == list(range(200))
    rows = list(zip(contacts[order].tolist(), at[order].tolist(), is_order[order].tolist(), strict=True))
    assert rows == sorted(rows)
    assert same.tolist() == [False, *(one == other for one, other in pairwise(rows))]


def test_no_rows() -> None:
    nothing = np.zeros(0, np.int64)
    order, same = _sorted(nothing, nothing, nothing.astype(np.bool_))
    assert (len(order), len(same)) == (0, 0)
