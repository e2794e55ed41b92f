"""New strings that are not in the base yet, and string tables as a snapshot sees them: the base's, then the new ones.

A `FreshStrings` is a string table of its own in memory, packed like those on disk, whose codes go on where an older
one ends. Knows nothing of LMDB beyond what `segidx.store.strings` asks of a transaction.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segidx.model.errors import CorruptData, InvalidArgument
from segidx.store.log import NewStrings
from segidx.store.strings import StringTable, UnknownCode

Codes = npt.NDArray[np.int64]


class _Memory:
    """What a string table needs of a transaction, over a dictionary."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}

    def get(self, key: bytes, default: Any = None, db: Any = None) -> Any:
        return self.values.get(key, default)

    def put(self, key: bytes, value: Any, *, db: Any = None) -> bool:
        self.values[key] = bytes(value)
        return True


class FreshStrings:
    """Strings with the codes `first` and on. Safe for threads: it only grows, and readers say how far they see."""

    def __init__(self, first: int, hash_key: bytes) -> None:
        self.first = first
        self._table = StringTable(_Memory(), None, 0, hash_key)
        self._lock = threading.Lock()

    @property
    def end(self) -> int:
        """The first code behind."""
        return self.first + len(self._table)

    def extend(self, new: NewStrings) -> None:
        """Append strings. Raises CorruptData if they do not go on where the table ends, or are in it already."""
        with self._lock:
            end = self.first + len(self._table)
            _, first = self._table.insert(new.strings)
            if new.first != end or len(self._table) != first + len(new.strings):
                raise CorruptData(
                    f"the log gives codes {new.first} to {new.first + len(new.strings)} out,"
                    f" where a table ends at {end}; restore from a backup"
                )

    def find(self, strings: pa.Array, limit: int) -> Codes:
        """The code of each string, -1 where it is not among those below `limit`."""
        with self._lock:
            codes = self._table.find(strings)
        return np.where((codes >= 0) & (codes + self.first < limit), codes + self.first, -1)

    def find_one(self, text: str, limit: int) -> int | None:
        with self._lock:
            code = self._table.find_one(text)
        return None if code is None or code + self.first >= limit else code + self.first

    def get(self, codes: Codes) -> pa.StringArray:
        with self._lock:
            return self._table.get(codes - self.first)


class LayeredStrings:
    """A string table of one snapshot: strings to codes and back. Its methods are those of `StringTable` that read."""

    def __init__(self, base: StringTable, fresh: Sequence[FreshStrings], size: int) -> None:
        self.base = base
        self._fresh = fresh
        self._size = size

    def __len__(self) -> int:
        """Codes given out as this snapshot sees it."""
        return self._size

    def find(self, strings: pa.Array | pa.ChunkedArray) -> Codes:
        """The code of each string, -1 where it is absent; int64[n]."""
        if isinstance(strings, pa.ChunkedArray):
            strings = strings.combine_chunks()
        codes = self.base.find(strings)
        for layer in self._fresh:
            missing = np.flatnonzero(codes < 0)
            if not len(missing):
                break
            codes[missing] = layer.find(strings.take(pa.array(missing)), self._size)
        return codes

    def find_one(self, text: str) -> int | None:
        """The code of one string, or None."""
        code = self.base.find_one(text)
        for layer in self._fresh:
            if code is not None:
                break
            code = layer.find_one(text, self._size)
        return code

    def get(self, codes: npt.NDArray[Any]) -> pa.StringArray:
        """The string of each code, in the order given; "" for blanked codes. Raises UnknownCode."""
        wanted = np.asarray(codes).astype(np.int64)
        if wanted.size and (int(wanted.max()) >= self._size or int(wanted.min()) < 0):
            raise UnknownCode(f"codes are 0 to {self._size - 1}, and not {int(wanted.max())}")
        stored = len(self.base)
        if not self._fresh or not wanted.size or int(wanted.max()) < stored:
            return self.base.get(wanted.astype(np.uint32))
        places, parts = [], []
        inside = np.flatnonzero(wanted < stored)
        if len(inside):
            places.append(inside)
            parts.append(self.base.get(wanted[inside].astype(np.uint32)))
        low = stored
        for layer in self._fresh:
            here = np.flatnonzero((wanted >= max(low, layer.first)) & (wanted < layer.end))
            low = max(low, layer.end)
            if len(here):
                places.append(here)
                parts.append(layer.get(wanted[here]))
        back = np.argsort(np.concatenate(places))
        if len(back) != len(wanted):
            raise CorruptData("codes lie between the base and the log; restore from a backup")
        return pa.concat_arrays(parts).take(pa.array(back))

    def get_one(self, code: int) -> str:
        """The string of one code; "" when it is blanked."""
        if code < len(self.base):
            return self.base.get_one(code)
        return str(self.get(np.array([code], np.int64))[0].as_py())

    def slice(self, first: int, last: int) -> pa.StringArray:
        """The strings of codes [first, last); "" for blanked ones."""
        if not 0 <= first <= last <= self._size:
            raise InvalidArgument(f"codes {first} to {last} leave a table that ends at {self._size}")
        stored = len(self.base)
        if last <= stored:
            return self.base.slice(first, last)
        low = self.base.slice(first, stored) if first < stored else pa.array([], pa.string())
        return pa.concat_arrays([low, self.get(np.arange(max(first, stored), last))])
