"""`Recent`: what was used lately, in a bounded amount of memory. Imports the standard library only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

# An object of Python's with a few fields, in bytes, about.
_OBJECT = 128


class Recent(Generic[Key, Value]):
    """Values by key. When those that were put or asked for since the last time take half of the memory, the others
    go. Safe for threads."""

    def __init__(self, most_bytes: int) -> None:
        self._half = most_bytes // 2
        self._lock = threading.Lock()
        self._young: dict[Key, tuple[Value, int]] = {}
        self._old: dict[Key, tuple[Value, int]] = {}
        self._bytes = 0  # of the young

    def get(self, key: Key) -> Value | None:
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is None:
                return None
            self.put(key, *found)
        return found[0]

    def put(self, key: Key, value: Value, size: int) -> None:
        """Remember a value of so many bytes, if that is not too much for one."""
        if size > self._half:
            return
        new = value, size
        with self._lock:
            if self._bytes + size > self._half:
                self._old, self._young, self._bytes = self._young, {}, 0
            before = self._young.setdefault(key, new)
            if before is not new:
                self._young[key] = new
                self._bytes -= before[1]
            self._bytes += size

    def clear(self) -> None:
        with self._lock:
            self._young, self._old, self._bytes = {}, {}, 0

    def __len__(self) -> int:
        return len({**self._old, **self._young})


def size_of(value: object) -> int:
    """About how many bytes a frozen value takes with all that it is made of."""
    size, left = 0, [value]
    while left:
        part: Any = left.pop()
        kind = type(part)
        if kind is str or kind is bytes:
            size += _OBJECT + len(part)
        elif kind is tuple:
            size += _OBJECT + 8 * len(part)
            left += part
        else:
            parts = _PARTS.get(kind) or _parts(kind)
            size += _OBJECT
            left += parts(part)
    return size


# What the values of a type are made of.
_PARTS: dict[type, Callable[[Any], tuple[Any, ...]]] = {}


def _parts(kind: type) -> Callable[[Any], tuple[Any, ...]]:
    names = tuple(each.name for each in fields(kind)) if is_dataclass(kind) else ()
    get: Callable[[Any], Any] = attrgetter(*names) if names else lambda _: ()
    found = (lambda value: (get(value),)) if len(names) == 1 else get
    _PARTS[kind] = found
    return found
