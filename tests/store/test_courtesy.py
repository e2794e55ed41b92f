"""Who makes way for whom, by events alone: no test here asserts how long anything takes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from segidx.database import Database
from segidx.model.schema import Field, FieldType
from segidx.store import courtesy as module
from segidx.store.courtesy import Courtesy


@pytest.fixture
def courtesy(monkeypatch: pytest.MonkeyPatch) -> Courtesy:
    """One before which every stretch of work is long, and whose patience is."""
    monkeypatch.setattr(module, "_STRETCH_SECONDS", 0.0)
    monkeypatch.setattr(module, "_MOST_SECONDS", 600.0)
    return Courtesy()


def test_nobody_waits_where_nothing_runs(courtesy: Courtesy) -> None:
    courtesy.make_way()
    with courtesy:
        pass
    courtesy.make_way()


def test_a_merge_waits_for_the_last_evaluation(courtesy: Courtesy) -> None:
    done, waiting = threading.Event(), threading.Event()

    def merge() -> None:
        waiting.set()
        courtesy.make_way()
        done.set()

    with courtesy:
        with courtesy:
            thread = threading.Thread(target=merge)
            thread.start()
            assert waiting.wait(60)
            assert not done.wait(0.05)
        assert not done.wait(0.05)  # one is left
    assert done.wait(60)
    thread.join()


def test_a_merge_waits_no_longer_than_it_has_worked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations that never end do not stop it."""
    monkeypatch.setattr(module, "_MOST_SECONDS", 0.01)
    courtesy = Courtesy()
    with courtesy:
        for _ in range(3):
            courtesy.make_way()


def test_what_can_wait_makes_way_for_a_question_on_its_way(courtesy: Courtesy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is evaluated, and no longer where it never is."""
    monkeypatch.setattr(module, "_ON_ITS_WAY_SECONDS", 600.0)
    done = threading.Event()

    def merge() -> None:
        courtesy.make_way()
        done.set()

    courtesy.expect()
    thread = threading.Thread(target=merge)
    thread.start()
    assert not done.wait(0.05)
    with courtesy:
        assert not done.wait(0.05)
    assert done.wait(60)
    thread.join()
    monkeypatch.setattr(module, "_ON_ITS_WAY_SECONDS", 0.01)
    courtesy.expect()
    courtesy.make_way()  # ends by itself


def test_an_evaluation_counts_until_its_call_is_answered(courtesy: Courtesy) -> None:
    with courtesy.until_answered():
        assert not courtesy._running  # a call that waits for something keeps nobody waiting
        with courtesy:
            pass
        with courtesy:
            pass
        assert courtesy._running
    assert not courtesy._running
    with courtesy:
        pass
    assert not courtesy._running
    with pytest.raises(ZeroDivisionError), courtesy.until_answered(), courtesy:
        raise ZeroDivisionError
    assert not courtesy._running


def test_each_thread_has_worked_for_as_long_as_it_has(courtesy: Courtesy) -> None:
    """One that has just waited does not spare another."""
    done = threading.Event()

    def merge() -> None:
        courtesy.make_way()
        done.set()

    courtesy._thread.since = float("inf")  # this thread has worked for no time at all
    with courtesy:
        courtesy.make_way()
        thread = threading.Thread(target=merge)
        thread.start()
        assert not done.wait(0.05)
    assert done.wait(60)
    thread.join()


def test_rows_are_all_there_whoever_goes_first(courtesy: Courtesy) -> None:
    for count in (0, 1, 7, 8, 9, 100):
        assert list(courtesy.between(range(count))) == list(range(count))


def test_an_evaluation_that_fails_is_over(courtesy: Courtesy) -> None:
    with pytest.raises(ZeroDivisionError), courtesy:
        raise ZeroDivisionError
    courtesy.make_way()


def test_a_merge_ends_while_an_evaluation_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And both read what they should: the evaluation what it began with, later ones all of it."""
    monkeypatch.setattr(module, "_STRETCH_SECONDS", 0.0)
    with Database.open(tmp_path / "data", create=True) as database:
        account = database.account()
        account.update_schema([Field("city", FieldType.CATEGORY)])
        account.upsert([(f"c{i}", {"city": f"city-{i % 3}"}) for i in range(30)])
        courtesy = account._store.courtesy
        with account._evaluation(None) as run:
            assert courtesy._running
            account.merge()
            assert account.stats().merged_generation == account.generation()
            account.upsert([("c1", {"city": "city-0"})])
            account.merge()
            snapshot = run.context.snapshot
            city = snapshot.catalog.schema["city"]
            code = snapshot.code_of(city, "city-0")
            assert code is not None
            assert snapshot.value_count(snapshot.field_id(city), code) == 10
            assert account.count('city = "city-0"').count == 11
            assert courtesy._running
        assert not courtesy._running
