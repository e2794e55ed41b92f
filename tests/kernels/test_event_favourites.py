"""The codes of each contact that weigh the most: against sums in dictionaries, at sizes of the table, and stopping."""

from __future__ import annotations

import time
from collections import defaultdict

import numpy as np
import pytest

from segidx.kernels.bitmaps import Stop, Stopped
from segidx.kernels.events import MISSING, favourites

Rows = list[tuple[int, int, int]]


def of(rows: Rows, weighed: bool = True, stop: Stop | None = None) -> list[tuple[int, int]]:
    contacts, codes, weights = (np.array([row[i] for row in rows], np.int64) for i in range(3))
    owners, found = favourites(contacts.astype(np.uint32), codes, weights if weighed else None, stop)
    return list(zip(owners.tolist(), found.tolist(), strict=True))


def slowly(rows: Rows, weighed: bool) -> dict[int, set[int]]:
    sums: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for contact, code, weight in rows:
        sums[contact][code] += (0 if weight == MISSING else weight) if weighed else 1
    most = {contact: max(held.values()) for contact, held in sums.items()}
    return {c: {code for code, n in held.items() if n == most[c]} for c, held in sums.items() if most[c] > 0}


def test_nothing_and_little() -> None:
    assert of([]) == []
    assert of([(7, 3, 1)]) == [(7, 3)]
    assert of([(7, 3, 0), (7, 4, MISSING), (7, 5, -2), (9, 0, 1)]) == [(9, 0)]
    assert of([(7, 3, 0), (7, 4, MISSING), (7, 5, -2), (7, 3, 9)], weighed=False) == [(7, 3)]
    assert of([(2**32 - 1, 2**62, 5), (2**32 - 1, -(2**62), 5)]) == [(2**32 - 1, 2**62), (2**32 - 1, -(2**62))]


@pytest.mark.parametrize("codes", [1, 2, 31, 32, 33, 63, 64, 65, 4096, 4097])
@pytest.mark.parametrize("weighed", [True, False])
def test_as_many_different_codes_as_the_table_holds_and_more(codes: int, weighed: bool) -> None:
    """One contact with so many, between others with few, each code twice."""
    rng = np.random.default_rng(codes)
    spread = np.unique(rng.integers(0, 2**40, codes * 2))[:codes].tolist()
    rows = [(3, code, int(rng.integers(-3, 4))) for code in [*spread, *reversed(spread)]]
    rows = [(1, 5, 1), (1, 6, 1), *rows, (4, 5, 2), (8, 9, 1)]
    found = of(rows, weighed)
    assert len(set(found)) == len(found)
    assert [owner for owner, _ in found] == sorted(owner for owner, _ in found)
    wanted = slowly(rows, weighed)
    assert {c: {code for owner, code in found if owner == c} for c in wanted} == wanted
    assert {owner for owner, _ in found} == set(wanted)


@pytest.mark.parametrize("seed", range(20))
def test_random_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 3000))
    contacts = np.sort(rng.integers(0, max(1, n // int(rng.integers(1, 40))), n)).tolist()
    codes = rng.integers(0, int(rng.integers(1, 50)), n).tolist()
    weights = np.where(rng.random(n) < 0.2, MISSING, rng.integers(-5, 6, n)).tolist()
    rows = list(zip(contacts, codes, weights, strict=True))
    for weighed in (True, False):
        found = of(rows, weighed)
        wanted = slowly(rows, weighed)
        assert sorted(found) == sorted((c, code) for c, held in wanted.items() for code in held)


def test_sums_beyond_64_bits_are_refused() -> None:
    most = 2**62 - 1
    assert of([(1, 1, most), (1, 1, most), (1, 2, most), (2, 1, most)]) == [(1, 1), (2, 1)]
    for sign in (1, -1):
        with pytest.raises(OverflowError, match="64 bits"):
            of([(1, 1, sign * most), (1, 2, 1), *[(1, 1, sign * most)] * 2])


def test_rows_that_do_not_match_are_refused() -> None:
    two, three = np.zeros(2, np.int64), np.zeros(3, np.int64)
    contacts = np.zeros(2, np.uint32)
    with pytest.raises(ValueError, match="a code a row"):
        favourites(contacts, three)
    with pytest.raises(ValueError, match="a weight a row"):
        favourites(contacts, two, three)


def test_it_stops() -> None:
    rows = [(i // 5, i % 3, 1) for i in range(200_000)]
    gone = Stop()
    gone.cancel()
    for stop, reason in ((gone, "cancelled"), (Stop(time.monotonic_ns() - 1), "deadline")):
        with pytest.raises(Stopped) as caught:
            of(rows, stop=stop)
        assert caught.value.reason == reason
    assert of(rows, stop=Stop()) == of(rows)
