"""What the first and the last event is like, favourites, gaps, months and sequences: the oracle, the plan with and
without rules, and text agree on events that lie close together and tie, imported in bulk, written live and not merged,
merged whole and half, replaced and retracted, reopened, read only, and as of earlier instants.

Each test is of one feature.
"""

from __future__ import annotations

from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from segidx.testing.event_language import CloseEventGenerator, asking_for
from segidx.testing.told import Killed, Told, between_transactions

MS = timedelta(milliseconds=1)
DAY = timedelta(days=1)


def told_of(feature: str, directory: Path, seed: int) -> Told:
    return Told(directory, seed, ask=asking_for(feature), rows=CloseEventGenerator, contacts=20)


def check_earlier(told: Told, count: int = 6) -> None:
    """As of instants before, where events that lie there begin to be seen; what is ahead of the clock is hidden."""
    for back in (MS, DAY, DAY - MS, 7 * DAY, 40 * DAY):
        told.check(count, at=told.at - back)


def live(feature: str, directory: Path, seed: int) -> None:
    """All that may happen to events, with questions of one feature after each."""
    with closing(told_of(feature, directory, seed)) as told:
        told.import_all(30)
        told.check_all()
        for size in (150, 1, 60):
            told.write(size)
            told.check(12)
        told.check_all()
        check_earlier(told)
        with between_transactions(told, kill_at=5 + 3 * seed), suppress(Killed):
            told.account.merge()
        told.check(12)
        told.write(40)
        told.reopen()
        told.check_all()
        with between_transactions(told) as begun:
            told.account.merge()
        assert begun
        told.check_all()
        check_earlier(told)
        told.import_all(8)  # over what is merged
        told.write(80)
        told.check_all()
        told.check_read_only()


# Each has a zone and an instant of its own.
LIVES = pytest.mark.parametrize("seed", range(3))


@LIVES
def test_has(tmp_path: Path, seed: int) -> None:
    live("has", tmp_path, seed)


@LIVES
def test_favourite(tmp_path: Path, seed: int) -> None:
    live("favourite", tmp_path, seed)


@LIVES
def test_gaps(tmp_path: Path, seed: int) -> None:
    live("gaps", tmp_path, seed)


@LIVES
def test_month(tmp_path: Path, seed: int) -> None:
    live("month", tmp_path, seed)


@LIVES
def test_sequence(tmp_path: Path, seed: int) -> None:
    live("sequence", tmp_path, seed)
