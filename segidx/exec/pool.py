"""The threads that evaluate: the one that asks and, for each further core, one that is shared by the whole process.
Imports nothing of segidx."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Part = TypeVar("Part")
Answer = TypeVar("Answer")


@cache
def threads() -> int:
    return os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, threads() - 1), thread_name_prefix="segidx-eval")


def over_threads(work: Callable[[Part], Answer], parts: Iterable[Part]) -> list[Answer]:
    """The answers of the parts, in their order, worked on by this thread and by as many others as are free.

    This one never waits for a thread that has not begun: where the cores are busy it does all of it alone. The first
    error ends the others with the part they are at.
    """
    listed = parts if isinstance(parts, list) else list(parts)
    if len(listed) < 2 or threads() == 1:
        return [work(part) for part in listed]
    left = deque(enumerate(listed))
    answers: dict[int, Answer] = {}

    def share() -> None:
        try:
            while True:
                try:
                    number, part = left.popleft()
                except IndexError:
                    return
                answers[number] = work(part)
        except BaseException:
            left.clear()
            raise

    others: list[Future[None]] = []
    try:
        for _ in range(min(threads(), len(listed)) - 1):
            others.append(_pool().submit(share))
        share()
    finally:
        begun = [other for other in others if not other.cancel()]
        failures = [error for other in begun if (error := other.exception()) is not None]
    if failures:
        raise failures[0]
    return [answers[number] for number in range(len(listed))]
