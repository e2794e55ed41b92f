"""Sequences and gaps of rows against their definitions: every chain, and the variance as a fraction."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from segidx.kernels._bitmaps import Stopped
from segidx.kernels.bitmaps import Stop
from segidx.kernels.events import follow, spreads

Rows = list[tuple[int, int]]  # contact, time


def arrays(rows: Rows, rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """The rows with contacts ascending, in any order within one."""
    mixed = sorted(rows, key=lambda row: (row[0], rng.random()))
    return np.array([c for c, _ in mixed], np.uint32), np.array([t for _, t in mixed], np.int64)


def ends(steps: list[tuple[list[int], int | None]]) -> set[int]:
    """Every time at which a chain of all the steps can end."""
    found = set(steps[0][0])
    for times, within in steps[1:]:
        found = {t for t in times if any(e < t and (within is None or t - e <= within) for e in found)}
    return found


def holds(steps: list[tuple[list[int], int | None]], none: tuple[list[int], int] | None, end: int) -> bool:
    found = ends(steps)
    if none is None:
        return bool(found)
    times, within = none
    return any(e + within < end and not any(e < t <= e + within for t in times) for e in found)


@pytest.mark.parametrize("seed", range(300))
def test_sequences_are_every_chain(seed: int) -> None:
    rng = random.Random(seed)
    contacts, span = rng.choice((1, 5, 40)), rng.choice((4, 12, 60, 1 << 50))
    at_most = rng.choice((3, 8, 120))

    def rows() -> Rows:
        return [(c, rng.randrange(span)) for c in range(contacts) for _ in range(rng.randrange(at_most))]

    def within() -> int:
        return rng.choice((0, 1, 2, span // 3, span))

    steps = [(rows(), None if not i else rng.choice((None, within()))) for i in range(rng.randint(1, 5))]
    none = rng.choice((None, (rows(), within())))
    found = follow(
        [(*arrays(each, rng), w) for each, w in steps],
        None if none is None else (*arrays(none[0], rng), none[1]),
        span,
    )

    def of(each: Rows, contact: int) -> list[int]:
        return [t for c, t in each if c == contact]

    wanted = [
        c
        for c in range(contacts)
        if holds([(of(each, c), w) for each, w in steps], None if none is None else (of(none[0], c), none[1]), span)
    ]
    assert found.tolist() == wanted
    assert found.dtype == np.uint32


def test_most_steps_and_none() -> None:
    one = (np.zeros(16, np.uint32), np.arange(16, dtype=np.int64), 1)
    assert follow([one] * 16, None, 16).tolist() == [0]
    short = (one[0][:15], one[1][:15], 1)
    assert follow([short] * 16, None, 16).tolist() == []
    never = (np.zeros(0, np.uint32), np.zeros(0, np.int64), 5)
    assert follow([short] * 15, never, 20).tolist() == [0]
    assert follow([short] * 15, never, 19).tolist() == []  # 14 and 5 are 19, which is not before it


def test_contacts_far_apart_are_found() -> None:
    """Contacts are sought in steps that double."""
    rng = random.Random(4)
    sets = [sorted(rng.sample(range(5000), n)) for n in (4000, 30, 900)]
    steps = [
        (np.array(each, np.uint32), np.full(len(each), i, np.int64), None) for i, each in enumerate(map(list, sets))
    ]
    assert follow(steps, None, 9).tolist() == sorted(set(sets[0]) & set(sets[1]) & set(sets[2]))


def test_times_at_both_ends_of_64_bits() -> None:
    low, high = -(2**63), 2**63 - 1
    first = (np.zeros(1, np.uint32), np.array([low], np.int64), None)
    second = (np.zeros(1, np.uint32), np.array([high], np.int64), 2**63 - 1)
    assert follow([first, second], None, high).tolist() == []  # farther apart than 2^63
    assert follow([first, (*second[:2], None)], None, high).tolist() == [0]


@pytest.mark.parametrize("seed", range(60))
def test_spreads_are_the_variance(seed: int) -> None:
    rng = random.Random(seed)
    span = rng.choice((2, 1000, 253_402_300_799_999))
    rows = [
        (c, rng.randrange(span)) for c in range(rng.choice((1, 30))) for _ in range(rng.choice((0, 1, 2, 3, 40, 300)))
    ]
    contacts, gaps, spread = spreads(*arrays(rows, rng))
    wanted = {}
    for contact in sorted({c for c, _ in rows}):
        times = sorted(t for c, t in rows if c == contact)
        if len(times) > 1:
            apart = [b - a for a, b in pairwise(times)]
            mean = Fraction(sum(apart), len(apart))
            wanted[contact] = (len(apart), sum((d - mean) ** 2 for d in apart) / len(apart))
    assert contacts.tolist() == list(wanted)
    for n, (high, low), (gap_count, variance) in zip(gaps.tolist(), spread.tolist(), wanted.values(), strict=True):
        assert n == gap_count
        assert Fraction(high << 64 | low, n * n) == variance


def test_no_rows() -> None:
    nothing = (np.zeros(0, np.uint32), np.zeros(0, np.int64))
    assert [len(each) for each in spreads(*nothing)] == [0, 0, 0]
    assert follow([(*nothing, None)], None, 5).tolist() == []


def test_what_cannot_be_is_refused() -> None:
    rows = (np.array([1, 0], np.uint32), np.array([1, 2], np.int64))
    good = (np.array([0, 1], np.uint32), rows[1], None)
    for steps, none, what in (
        ([(*rows, None)], None, "contacts ascend"),
        ([(rows[0][:1], rows[1], None)], None, "1 contacts have 2 times"),
        ([], None, "1 to 16 steps"),
        ([good] * 17, None, "1 to 16 steps"),
        ([(*good[:2], -1)], None, "within 0 to"),
        ([good], good, "for how long"),
    ):
        with pytest.raises(ValueError, match=what):
            follow(steps, none, 5)


def test_both_stop() -> None:
    rows = (np.repeat(np.arange(1 << 17, dtype=np.uint32), 2), np.arange(1 << 18, dtype=np.int64))
    stop = Stop()
    stop.cancel()
    with pytest.raises(Stopped):
        follow([(*rows, None), (*rows, None)], None, 1 << 20, stop)
    with pytest.raises(Stopped):
        spreads(*rows, stop)
