"""Work over threads: all parts once and in order, errors, and callers that find the threads busy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from segidx.exec import pool
from segidx.exec.pool import over_threads


@pytest.fixture(autouse=True)
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine of three cores."""
    monkeypatch.setattr(pool, "threads", lambda: 3)


@contextmanager
def no_free_thread() -> Iterator[None]:
    """All threads of the pool are at work while the block lasts."""
    workers = pool._pool()._max_workers
    held, release = threading.Barrier(workers + 1, timeout=60), threading.Event()

    def hold() -> None:
        held.wait()
        release.wait()

    busy = [pool._pool().submit(hold) for _ in range(workers)]
    held.wait()
    try:
        yield
    finally:
        release.set()
        for each in busy:
            each.result()


@pytest.mark.parametrize("n", [0, 1, 2, 3, 50])
def test_answers_are_in_the_order_of_the_parts(n: int) -> None:
    done: list[int] = []

    def square(part: int) -> int:
        done.append(part)
        return part * part

    assert over_threads(square, range(n)) == [part * part for part in range(n)]
    assert sorted(done) == list(range(n))


def test_the_caller_does_all_of_it_where_no_thread_is_free() -> None:
    with no_free_thread():
        names = over_threads(lambda part: threading.current_thread().name, range(20))
    assert set(names) == {threading.current_thread().name}


def test_other_threads_take_part() -> None:
    """Two parts that wait for one another end only if two threads work."""
    barrier = threading.Barrier(2, timeout=60)
    assert len(over_threads(lambda part: barrier.wait(), range(2))) == 2


@pytest.mark.parametrize("bad", [0, 1, 19])
def test_an_error_ends_the_work(bad: int) -> None:
    def work(part: int) -> int:
        if part == bad:
            raise ValueError(f"part {part}")
        return part

    with pytest.raises(ValueError, match=f"^part {bad}$"):
        over_threads(work, range(20))


def test_an_error_of_another_thread_is_raised_here() -> None:
    """The caller's own part waits until the other thread has failed."""
    me, failed = threading.current_thread(), threading.Event()

    def work(part: int) -> int:
        if threading.current_thread() is me:
            assert failed.wait(60)
            return part
        failed.set()
        raise ValueError("elsewhere")

    with pytest.raises(ValueError, match="elsewhere"):
        over_threads(work, range(50))


def test_an_error_of_the_caller_waits_for_the_parts_that_others_are_at() -> None:
    """What they work on is closed behind it."""
    me, begun, failing = threading.current_thread(), threading.Event(), threading.Event()
    ended: list[int] = []

    def work(part: int) -> None:
        if threading.current_thread() is me:
            assert begun.wait(60)
            failing.set()
            raise ValueError("here")
        begun.set()
        assert failing.wait(60)
        ended.append(part)

    with pytest.raises(ValueError, match="here"):
        over_threads(work, range(50))
    at_once = list(ended)
    assert at_once
    assert len(at_once) <= 4, "an error leaves the parts that nobody has begun"
    for _ in range(pool._pool()._max_workers):  # nothing is done later either
        pool._pool().submit(int).result()
    assert ended == at_once


def test_what_was_given_up_is_not_done_later() -> None:
    done: list[int] = []
    with no_free_thread():
        over_threads(done.append, range(20))
    for _ in range(pool._pool()._max_workers):
        pool._pool().submit(int).result()
    assert done == list(range(20))


def test_work_may_ask_for_threads_of_its_own() -> None:
    def outer(part: int) -> int:
        return sum(over_threads(lambda inner: part * inner, range(10)))

    assert over_threads(outer, range(10)) == [45 * part for part in range(10)]


def test_many_callers_at_once() -> None:
    barrier = threading.Barrier(4, timeout=60)
    wrong: list[object] = []

    def call(number: int) -> None:
        barrier.wait()
        for _ in range(50):
            found = over_threads(lambda part: (number, part), range(7))
            if found != [(number, part) for part in range(7)]:
                wrong.append(found)

    callers = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong
