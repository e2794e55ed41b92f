"""Many strings that a log gives codes to, into a table of the base, in transactions that each dirty a bounded number of
pages.

The buckets of new strings lie anywhere in a table, so a transaction of 1,024 strings dirties up to as many pages, and
hundreds of such transactions dirty each page of a table again and again. Here each page is dirtied about twice:

1. the strings are appended to the forward blocks, and the state says from which code on they may not be found;
2. the buckets that are to be split are split, in the order that linear hashing has;
3. the entries are added in the order of the buckets, and the state says that all are found.

Between two transactions the table reads as whole but for those strings, which their readers find in the log that they
are still in. Cut short anywhere, it is gone on with. Imports nothing above the string table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segidx.kernels import strings as kernel
from segidx.kernels.strings import BLOCK, CorruptStrings
from segidx.store.strings import BUCKET, FORWARD, LOAD, StringTable, cut_values, in_steps

# Strings of one transaction that appends, at most so many times as many as those of one that dirties a page a string.
_APPENDED = 64
# Buckets in a leaf page, at least, as random insertions fill them.
_BUCKETS_A_PAGE = 6
_PAGE = 4096


class Bounds(NamedTuple):
    """What one transaction takes at most: pages of buckets that it dirties, bytes of strings that it appends."""

    pages: int
    size: int


class Changed(NamedTuple):
    """Buckets with the values that they are to have, by ascending places."""

    places: NDArray[np.uint32]
    values: list[bytes]


class MergedTable(StringTable):
    """A table with the steps of which a merge is made. At most one step a transaction."""

    __slots__ = ()

    def append(self, strings: pa.Array) -> None:
        """Give strings, of which the table has none, the next codes. They are not found until all that lacks entries is
        indexed. A table without any string takes its first by `insert`. Needs a write transaction."""
        assert self._buckets
        batch = kernel.Batch.of(strings)
        fresh = np.arange(len(batch), dtype=np.uint32)
        self._check_fresh(batch, fresh)
        first = self._count
        try:
            last = self._get(self._keys(FORWARD, np.array([first // BLOCK], np.uint32))[0], None, self._db)
            packed, ends = kernel.pack_blocks(last if first % BLOCK else None, first, batch, fresh)
            del last  # borrowed, and good until something is written
        except CorruptStrings as problem:
            self._damaged(problem)
        blocks = np.arange(first // BLOCK, first // BLOCK + len(ends), dtype=np.uint32)
        self._save_state(first + len(batch), self._live + len(batch), self._buckets, self.indexed)
        self._store(FORWARD, blocks, cut_values(packed, ends))

    def split(self, most: int) -> bool:
        """Make at most so many of the buckets that its strings ask for; whether there are enough now. Needs a write
        transaction."""
        old, wanted = self._buckets, -(-self._live // LOAD)
        new = min(old + most, wanted)
        if old < new:
            grown = np.sort(kernel.place_range(old, new))
            halved = np.unique(kernel.places_of(grown, old))
            try:
                entries = kernel.gather(self._fetch(BUCKET, halved), halved, old, self._count)
                places = np.union1d(halved, grown)
                values, ends = kernel.build_buckets(entries, places, new)
            except CorruptStrings as problem:
                self._damaged(problem)
            self._store(BUCKET, places, cut_values(values, ends))
            self._save_state(self._count, self._live, new, self._unindexed)
        return new >= wanted

    def lacking(self) -> NDArray[np.uint64]:
        """The entries, ascending, of all strings that may lack theirs."""
        found = [np.empty(0, np.uint64)]
        try:
            for places in in_steps(kernel.by_code(np.arange(self.indexed, self._count, dtype=np.uint32))):
                blocks = self._fetch(FORWARD, places.ids)
                found.append(kernel.entries_of(blocks, places, self._count, self._key, self._mask))
        except CorruptStrings as problem:
            self._damaged(problem)
        entries = np.concatenate(found)
        return np.sort(entries[entries != kernel.NO_ENTRY])

    def slices(self, entries: NDArray[np.uint64], pages: int) -> Iterator[NDArray[np.uint64]]:
        """Ascending entries cut where a bucket ends, so that the buckets of each lie in about so many pages."""
        places, at = np.unique(kernel.places_of((entries >> np.uint64(32)).astype(np.uint32), self._buckets), True)
        at = np.append(at, len(entries))
        # How many buckets of the table lie before each: they divide the fingerprints about evenly.
        before = places.astype(np.float64) * (self._buckets / 2**32)
        start = 0
        while start < len(places):
            near = int(np.searchsorted(before, before[start] + pages * _BUCKETS_A_PAGE))
            end = max(start + pages, near)
            yield entries[at[start] : at[min(end, len(places))]]
            start = end

    def with_entries(self, entries: NDArray[np.uint64]) -> Changed:
        """The buckets of ascending entries with these in them; those that are there already do no harm. Raises
        CorruptData for a string that has a code already."""
        fingerprints = (entries >> np.uint64(32)).astype(np.uint32)
        places = np.unique(kernel.places_of(fingerprints, self._buckets))
        try:
            held = kernel.gather(self._fetch(BUCKET, places), places, self._buckets, self._count)
            merged = np.union1d(held, entries)
            self._check_distinct(merged)
            values, ends = kernel.build_buckets(merged, places, self._buckets)
        except CorruptStrings as problem:
            self._damaged(problem)
        return Changed(places, [bytes(value) for value in cut_values(values, ends)])

    def _check_distinct(self, entries: NDArray[np.uint64]) -> None:
        """Ascending entries of one fingerprint are those of different strings."""
        prints = entries >> np.uint64(32)
        again = prints[1:] == prints[:-1]
        if not again.any():
            return
        alike = np.flatnonzero(np.append(again, False) | np.append(False, again))
        codes = (entries[alike] & np.uint64(0xFFFFFFFF)).astype(np.int64)
        strings = self.get(codes).to_pylist()
        known: dict[tuple[int, str], int] = {}
        for code, fingerprint, text in zip(codes.tolist(), prints[alike].tolist(), strings, strict=True):
            other = known.setdefault((fingerprint, text), code)
            if other != code:
                self._damaged(f"one string of the log has other codes, {other} and {code}")

    def refuse(self, first: int) -> NoReturn:
        """Strings of the log, of the codes from `first` on, are not those that the table has."""
        self._damaged(f"it gives other codes to strings of the log than {first} and on")

    def put(self, changed: Changed, *, last: bool) -> None:
        """Store buckets; with the `last` all strings are found. Needs a write transaction."""
        self._store(BUCKET, changed.places, changed.values)
        if last:
            self._save_state(self._count, self._live, self._buckets)


# The table in a transaction: a short one that sees all that was written, or one that writes and is committed.
Within = Callable[[], AbstractContextManager[MergedTable]]


def merge_strings(reading: Within, writing: Within, first: int, strings: pa.Array, bounds: Bounds) -> int:
    """Put strings that have the codes `first` and on into a table, as far as they are not there. Returns about how many
    bytes of pages that wrote. Raises CorruptData where the table has other strings under these codes, or these under
    others; and what transactions raise."""
    with reading() as table:
        known = min(len(table) - first, len(strings))
        if known < 0 or not table.slice(first, first + known).equals(strings.slice(0, known)):
            table.refuse(first)
        begun, empty = table.indexed < len(table), not len(table)
    rest = strings.slice(known)
    offsets = kernel.Batch.of(rest).offsets
    written = int(offsets[-1] - offsets[0])
    if len(rest) and not begun and (empty or len(rest) <= bounds.pages):
        some = rest.slice(0, bounds.pages)
        with writing() as table:
            codes, _ = table.insert(some)
            if not np.array_equal(codes, np.arange(first + known, first + known + len(some))):
                table.refuse(first)
        rest = rest.slice(len(some))
        written += len(some) * _PAGE
    for some in _appended(rest, bounds):
        with writing() as table:
            table.append(some)
    with reading() as table:
        if table.indexed == len(table):
            return written
    done = False
    while not done:
        with writing() as table:
            done = table.split(bounds.pages)
        written += bounds.pages * _PAGE
    with reading() as table:
        slices = list(table.slices(table.lacking(), bounds.pages))
    for number, entries in enumerate(slices, 1):
        with reading() as table:
            changed = table.with_entries(entries)
        with writing() as table:
            table.put(changed, last=number == len(slices))
        written += min(len(changed.values), bounds.pages) * _PAGE
    return written


def _appended(strings: pa.Array, bounds: Bounds) -> Iterator[pa.Array]:
    """The strings in pieces of one transaction each."""
    offsets = kernel.Batch.of(strings).offsets
    start = 0
    while start < len(strings):
        fits = int(np.searchsorted(offsets, offsets[start] + bounds.size, "right")) - 1
        end = min(max(fits, start + 1), start + bounds.pages * _APPENDED, len(strings))
        yield strings.slice(start, end - start)
        start = end
