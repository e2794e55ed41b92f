"""The threads that evaluate: one for each core, shared by the whole process. Imports nothing of segidx."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Part = TypeVar("Part")
Answer = TypeVar("Answer")


@cache
def threads() -> int:
    return os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads(), thread_name_prefix="segidx-eval")


def over_threads(work: Callable[[Part], Answer], parts: Iterable[Part]) -> list[Answer]:
    """The answers of the parts, in their order, worked on by all threads; a sole part by this one.

    Not to be called from within such work.
    """
    listed = list(parts)
    return list(_pool().map(work, listed)) if len(listed) > 1 else [work(part) for part in listed]
