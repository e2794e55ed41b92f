"""Work over threads: all parts once and in order, errors, and callers that find the threads busy."""

from __future__ import annotations

import threading

import pytest

from segidx.exec import pool
from segidx.exec.pool import over_threads


@pytest.fixture(autouse=True)
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine of three cores."""
    monkeypatch.setattr(pool, "threads", lambda: 3)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 50])
def test_answers_are_in_the_order_of_the_parts(n: int) -> None:
    done: list[int] = []

    def square(part: int) -> int:
        done.append(part)
        return part * part

    assert over_threads(square, range(n)) == [part * part for part in range(n)]
    assert sorted(done) == list(range(n))


def test_the_caller_does_all_of_it_where_no_thread_is_free() -> None:
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        release.wait()

    busy = [pool._pool().submit(hold) for _ in range(pool._pool()._max_workers)]
    assert held.wait(60)
    try:
        names = over_threads(lambda part: threading.current_thread().name, range(20))
        assert set(names) == {threading.current_thread().name}
    finally:
        release.set()
        for each in busy:
            each.result()


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
