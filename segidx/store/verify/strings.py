"""The string tables of the base: contact and order ids and every dictionary, strings to codes and back."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from segidx.kernels import strings as kernel
from segidx.kernels.strings import BLOCK, CorruptStrings, place_range
from segidx.model.errors import CorruptData
from segidx.store.layout import DB_STRINGS, IDS_TABLE
from segidx.store.strings import BUCKET, FORWARD, KEY, STATE, StringTable
from segidx.store.verify.context import CODED, Context

_STEP = 1 << 20  # codes looked up at a time


class VerifiedTable(StringTable):
    """A table of which every invariant can be checked."""

    __slots__ = ()

    def verify(self) -> Iterator[str]:
        """Every problem of the table, as a sentence; nothing when it is sound.

        Checks all checksums and layouts; that each live string is found by its hash, at its own code, and so is
        in the table once; that each entry belongs to its bucket, that there are as many entries as strings that are
        found, and so that no entry is stray; and that nothing is stored past the table's end. Strings from `indexed` on
        need not be found.
        Reads everything once; stop iterating to stop early.
        """
        name = f"string table {self._table}"
        bad_buckets: set[int] = set()
        entries = 0
        for number in np.sort(kernel.place_range(0, self._buckets)).tolist():
            try:
                value = self._get(KEY.pack(self._table, BUCKET, 0, number), None, self._db)
                entries += kernel.check_bucket(value, number, self._buckets, self._count)
            except CorruptStrings as problem:
                bad_buckets.add(number)
                yield f"{name}: {problem}"
        if not bad_buckets and not self._unindexed and entries != self._live:
            yield f"{name}: buckets hold {entries} entries, and the state says {self._live}"
        blanked = own = 0
        sound = True
        for first in range(0, self._count, _STEP):
            last = min(first + _STEP, self._count)
            live, problems = self._check_blocks(first, last)
            yield from (f"{name}: {problem}" for problem in problems)
            if problems or bad_buckets:
                sound = False
                continue
            blanked += int((~live).sum())
            try:
                found = self.find(self.slice(first, last))
            except CorruptData as problem:
                yield problem.message
                continue
            right = found == np.arange(first, last)
            own += int((live & right).sum())
            right[max(0, self.indexed - first) :] |= found[max(0, self.indexed - first) :] < 0
            for code in np.flatnonzero(live & ~right).tolist():
                yield f"{name}: the string of code {first + code} is found at code {found[code]}"
        if sound and self._count - blanked != self._live:
            yield f"{name}: {self._count - blanked} strings are live, and the state says {self._live}"
        if sound and self._unindexed and entries != own:
            yield f"{name}: buckets hold {entries} entries, and {own} strings are found"
        beyond = -(-self._count // BLOCK)
        for kind, number, what in (
            (FORWARD, beyond, "string block"),
            (BUCKET, int(kernel.place_range(self._buckets, self._buckets + 1)[0]), "hash bucket"),
        ):
            if self._get(KEY.pack(self._table, kind, 0, number), None, self._db) is not None:
                yield f"{name}: {what} {number} is past its end"

    def _check_blocks(self, first: int, last: int) -> tuple[NDArray[np.bool_], list[str]]:
        """Which codes of [first, last) are live, and what is wrong with their blocks; first is a block's start."""
        masks, problems = [], []
        for number in range(first // BLOCK, -(-last // BLOCK)):
            value = self._get(KEY.pack(self._table, FORWARD, 0, number), None, self._db)
            try:
                masks.append(kernel.check_block(value, number, self._count))
            except CorruptStrings as problem:
                problems.append(str(problem))
                masks.append(0)
        bits = np.unpackbits(np.array(masks, "<u4").view(np.uint8).reshape(-1, 4), axis=1, bitorder="little")
        bits = bits[:, :BLOCK].ravel()
        return ~bits[: last - first].astype(np.bool_), problems


def check_strings(c: Context) -> Iterator[str]:
    """The tables of contact and order ids and of every dictionary, strings to codes and back; no others."""
    coded = [field_id for field_id, field in c.fields.items() if field.type in CODED]
    tables = {IDS_TABLE: "of contact ids"} | {f: f"of {c.name(f)}" for f in coded}
    tables |= c.event_tables
    sound = set()
    for table, meaning in tables.items():
        c.tick()
        found = False
        try:
            for problem in VerifiedTable(c.txn, c.dbs[DB_STRINGS], table, c.catalog.hash_key).verify():
                found = True
                yield f"{problem} ({meaning})"
        except CorruptData as error:
            found = True
            yield f"{error.message} ({meaning})"
        if found:
            c.lose(DB_STRINGS, table)
        else:
            sound.add(table)
    keys = c.keys(DB_STRINGS)
    whole = (key if len(key) == KEY.size else b"" for key in keys)
    for table, group in groupby(whole, lambda key: int.from_bytes(key[:2], "big") if key else -1):
        if table < 0:
            yield f"strings: {len(list(group))} keys do not have {KEY.size} bytes"
        elif table not in tables:
            yield f"string table {table} is stored, and no field has it"
        else:
            yield from _stray_keys(c, table, group, sound=table in sound)


def _stray_keys(c: Context, table: int, keys: Iterator[bytes], *, sound: bool) -> Iterator[str]:
    """Keys where the table keeps nothing."""
    blocks = -(-c.base_size(table) // BLOCK)
    buckets = array("I")
    for key in keys:
        _, kind, zero, number = KEY.unpack(key)
        c.checked += 1
        if zero or kind > FORWARD or (kind == STATE and number):
            yield f"string table {table}: its key {key.hex()} means nothing"
        elif kind == BUCKET:
            buckets.append(number)
        elif kind == FORWARD and number >= blocks:
            yield f"string table {table}: string block {number} is past its end at {blocks}"
    if sound:  # all buckets that belong there are there; are there others?
        for number in np.setdiff1d(np.array(buckets), place_range(0, len(buckets))).tolist():
            yield f"string table {table}: hash bucket {number} is none of its own"
