"""Events of every type, built in and declared, and the catalogue of their products: the oracle, the plan with and
without rules, and text agree on what was imported in bulk, on what was written live and not merged, on both merged,
between any two transactions of a merge, after one that was killed and the reopening, and in a database that is open for
reading only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from segidx.ingest import merger
from segidx.store import base
from segidx.testing.told import Killed, Told, between_transactions


@pytest.fixture
def told(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Told]:
    made = Told(tmp_path, getattr(request, "param", 0))
    try:
        yield made
    finally:
        made.close()


# Each has a zone and an instant of its own.
LIVES = pytest.mark.parametrize("told", range(2), indirect=True)
OTHER_LIVES = pytest.mark.parametrize("told", range(2, 4), indirect=True)
ALL_LIVES = pytest.mark.parametrize("told", range(4), indirect=True)


@LIVES
def test_imported(told: Told) -> None:
    told.import_all(40)
    told.check_all()
    told.write_products(40)
    told.check_all()
    told.import_all(15)
    told.check_all()
    told.check_read_only()
    told.check_all()


@OTHER_LIVES
def test_written_live(told: Told) -> None:
    """Nothing is merged but by `reopen` at most."""
    for size in (150, 1, 60, 60):
        told.write(size)
        told.check(12)
    told.change_contacts()
    told.write(40)
    told.check_all()
    told.reopen()
    told.check_all()
    told.check_read_only()
    told.account.merge()
    told.check_all()


@LIVES
def test_imported_then_written_then_merged(told: Told) -> None:
    told.import_all(25)
    for _ in range(3):
        for size in (60, 5):
            told.write(size)
        told.change_contacts()
        told.check_all()
        told.account.merge()
        told.check_all()
    told.write(60)
    told.import_all(8)  # over what is not merged, and over what is retracted
    told.check_all()
    told.write(40)
    told.reopen()
    told.check_all()


@OTHER_LIVES
def test_half_merged(told: Told) -> None:
    told.import_all(15)
    for _ in range(3):
        told.write(50)
    with between_transactions(told) as begun:
        told.account.merge()
    assert begun
    told.check_all()


@ALL_LIVES
def test_a_merge_that_was_killed(told: Told) -> None:
    """At each transaction: in the process that goes on or in one that opens it, with writes and imports on top."""
    told.import_all(15)
    told.write_products(30)
    for kill_at in range(1 + told.number, 30, 6):  # a sixth of all transactions; each of the six lives has another
        for _ in range(2):
            told.write(40)
        with between_transactions(told, kill_at=kill_at), suppress(Killed):
            told.account.merge()
        told.check(8)
        if told.rng.randrange(3):
            told.reopen()
            told.check(8)
        told.write(40)
        if told.rng.randrange(3) == 0:
            told.import_all(4)
        told.check_all()
    told.account.merge()
    told.check_all()


def test_ranges_that_are_merged_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contacts in three ranges of 16,384, events that move between them, and merges that are killed in between."""
    monkeypatch.setattr(base, "SLICE_BYTES", 6000)
    # Merges are only those that are asked for.
    monkeypatch.setattr(merger, "MERGE_BYTES", 1 << 24)
    monkeypatch.setattr(merger, "MERGE_SECONDS", 1000.0)
    contacts = [f"r{n}" for n in range(33_000)]
    with closing(Told(tmp_path, 1)) as told:
        told.account.upsert([(contact_id, {}) for contact_id in contacts])
        told.oracle.upsert([(contact_id, {}) for contact_id in contacts])
        # Numbers of contacts begin behind those of the life.
        edges = [edge - len(told.ids) + n for edge in (16_384, 32_768) for n in range(-3, 3)]
        told.rows.orders.contact_ids = [contacts[n] for n in (*edges, 0, 1, 32_999)] + told.ids[:3]
        told.import_all(10)
        told.account.merge()
        for kill_at in (2, 9, 16, 23, 30, 0):
            for _ in range(2):
                told.write(60)
            with between_transactions(told, kill_at=kill_at, questions=1) as begun, suppress(Killed):
                told.account.merge()
            if kill_at % 2:
                told.reopen()
                told.write(20)
            told.check(4)
        assert len(begun) > 30
        told.check_all()
