"""The account as the batches of one group leave it, before they are committed: what the next batch is compared with.

Reads go through a snapshot's base and overlay and then through the deltas and strings of the group. Nothing is written
here, and nothing that the snapshot shares with others is changed. Before each read the comparison makes way for
evaluations: it holds nothing then that they wait for, and a commit takes tens of such reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segidx.kernels.columns import CHUNK_ROWS
from segidx.kernels.deltas import (
    ColumnChanges,
    Delta,
    DeltaArrays,
    PostingChanges,
    build_delta,
    overlay_counts,
)
from segidx.kernels.events import EventLayer, merge_layers
from segidx.kernels.grouping import group_pairs
from segidx.model.events import EventType
from segidx.model.schema import Field
from segidx.store import counts
from segidx.store.courtesy import COURTESY
from segidx.store.event_places import EventPlaces
from segidx.store.fresh import LayeredStrings
from segidx.store.layout import DB_COLUMNS, DB_COUNTS, IDS_TABLE, SHARD_BITS, event_ids_table
from segidx.store.log import NewStrings
from segidx.store.overlay import settle
from segidx.store.snapshot import Snapshot

Clock = Callable[[], int]  # milliseconds since 1970
Codes = npt.NDArray[np.int64]
Ordinals = npt.NDArray[np.uint32]
Pairs = tuple[Codes, Ordinals]
NO_PAIRS: Pairs = (np.zeros(0, np.int64), np.zeros(0, np.uint32))

# Strings of one dictionary that are remembered; then it is begun anew.
REMEMBERED = 1 << 18
# New strings at once that are not kept by string until somebody asks.
MANY = 10_000


class CodeMemory:
    """Codes of strings that were looked up before, by table: a stream of writes repeats its categories and tags, and
    a string's code never changes. Ids are not remembered: there are too many, each seldom seen twice."""

    def __init__(self) -> None:
        self._tables: dict[int, dict[str, int]] = {}

    def of(self, table: int) -> dict[str, int]:
        found = self._tables.get(table)
        if found is None or len(found) > REMEMBERED:
            found = self._tables[table] = {}
        return found


class PendingStrings:
    """A string table with the strings that the group has given codes to."""

    def __init__(self, stored: LayeredStrings, memory: dict[str, int] | None) -> None:
        self._stored = stored
        self._first = len(stored)
        self._new: dict[str, int] = {}
        # A large batch's new strings, which come before those of `_new`: mostly nobody asks for them again.
        self._many: pa.Array | None = None
        self._memory = memory

    def __len__(self) -> int:
        return self._first + self.mark()

    def _by_string(self) -> dict[str, int]:
        """The new strings with their codes."""
        if self._many is not None:
            assert not self._new
            self._new = {text: code for code, text in enumerate(self._many.to_pylist(), self._first)}
            self._many = None
        return self._new

    def _committed(self, strings: pa.Array) -> Codes:
        COURTESY.make_way()
        memory = self._memory
        if memory is None:
            return self._stored.find(strings)
        texts = strings.to_pylist()
        codes = np.array([memory.get(text, -1) for text in texts], np.int64)
        unknown = np.flatnonzero(codes < 0)
        if len(unknown):
            found = self._stored.find(strings.take(pa.array(unknown)))
            codes[unknown] = found
            for row, code in zip(unknown.tolist(), found.tolist(), strict=True):
                if code >= 0:
                    memory[texts[row]] = code
        return codes

    def find(self, strings: pa.Array) -> Codes:
        """The code of each string, -1 where it is absent; int64[n]."""
        codes = self._committed(strings)
        if self.mark():
            new = self._by_string()
            for row in np.flatnonzero(codes < 0).tolist():
                codes[row] = new.get(strings[row].as_py(), -1)
        return codes

    def get(self, codes: Codes) -> pa.Array:
        """The string of each code that was given out."""
        new = codes >= self._first
        if not new.any():
            return self._stored.get(codes)
        texts = np.empty(len(codes), object)
        texts[~new] = self._stored.get(codes[~new]).to_pylist()
        texts[new] = np.array([*self._by_string(), None], object)[codes[new] - self._first]
        return pa.array(texts.tolist(), pa.string())

    def insert(self, strings: pa.Array) -> Codes:
        """The code of each string; those that are new get the next codes, in order of first appearance."""
        codes = self._committed(strings)
        missing = np.flatnonzero(codes < 0)
        if len(missing) >= MANY and not self.mark():
            encoded = strings.take(pa.array(missing)).cast(pa.string()).dictionary_encode()
            codes[missing] = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64) + self._first
            self._many = encoded.dictionary
        elif len(missing):
            new, size = self._by_string(), len(self)
            for row, text in zip(missing.tolist(), strings.take(pa.array(missing)).to_pylist(), strict=True):
                code = new.get(text)
                if code is None:
                    code = new[text] = size
                    size += 1
                codes[row] = code
        return codes

    def mark(self) -> int:
        """The size, to go back to with `forget`."""
        return len(self._new) + (0 if self._many is None else len(self._many))

    def forget(self, mark: int) -> None:
        """Take back what was inserted since `mark`."""
        if mark == 0:
            self._many = None
        new = self._by_string() if self.mark() > mark else self._new
        while len(new) > mark:
            new.popitem()

    def new_strings(self) -> NewStrings | None:
        if self._many is not None:
            return NewStrings(self._first, self._many)
        return NewStrings(self._first, pa.array(list(self._new), pa.string())) if self._new else None


@dataclass(frozen=True, slots=True)
class Marks:
    """A state of a group."""

    strings: dict[int, int]
    deltas: tuple[Delta, ...]
    layers: dict[int, tuple[EventLayer, ...]]
    newest_change: int | None


class Pending:
    """One group of batches over one snapshot. `add` takes what a batch changes; the next one sees it.

    `newest_change` is the time of the newest history of the group, None where it has none."""

    def __init__(self, snapshot: Snapshot, memory: CodeMemory, clock: Clock) -> None:
        self.snapshot = snapshot
        self._memory = memory
        self._clock = clock
        self.newest_change: int | None = None
        self.catalog = snapshot.catalog
        self.deltas: tuple[Delta, ...] = ()
        # Of events, by the number of their type, oldest first.
        self.layers: dict[int, tuple[EventLayer, ...]] = {}
        self._tables: dict[int, PendingStrings] = {}

    @property
    def ids(self) -> PendingStrings:
        return self.table(IDS_TABLE, remembered=False)

    def event_ids(self, type: EventType) -> PendingStrings:
        return self.table(event_ids_table(type), remembered=False)

    def table(self, table: int, *, remembered: bool = True) -> PendingStrings:
        found = self._tables.get(table)
        if found is None:
            memory = self._memory.of(table) if remembered else None
            found = self._tables[table] = PendingStrings(self.snapshot.table(table), memory)
        return found

    def marks(self) -> Marks:
        """What the group has come to, to go back to with `forget`."""
        strings = {table: strings.mark() for table, strings in self._tables.items()}
        return Marks(strings, self.deltas, dict(self.layers), self.newest_change)

    def forget(self, marks: Marks) -> None:
        """Take back what a batch that failed has left."""
        for table, strings in self._tables.items():
            strings.forget(marks.strings.get(table, 0))
        self.deltas, self.layers, self.newest_change = marks.deltas, marks.layers, marks.newest_change

    def new_strings(self) -> dict[int, NewStrings]:
        found = ((table, strings.new_strings()) for table, strings in self._tables.items())
        return {table: new for table, new in found if new is not None}

    def add(self, delta: Delta, layers: Mapping[int, bytes] | None = None) -> None:
        if any(delta.shape):
            deltas = [*self.deltas, delta]
            settle(deltas)
            self.deltas = tuple(deltas)
        for number, layer in (layers or {}).items():
            self.add_layers(number, [layer])

    def add_layers(self, number: int, layers: Sequence[bytes]) -> None:
        """Take layers of events, by the number of their type."""
        self.layers[number] = (*self.layers.get(number, ()), *map(EventLayer, layers))

    def next_instant(self) -> int:
        """The time for what changes of tracked fields now, later than all that was given out before, ms since 1970."""
        last = self.snapshot.newest_change if self.newest_change is None else self.newest_change
        now = self._clock()
        self.newest_change = now if last is None else max(now, last + 1)
        return self.newest_change

    def new_layers(self) -> dict[int, bytes]:
        """The layers of the group, one a type."""
        return {number: _merged(layers) for number, layers in sorted(self.layers.items())}

    def _layers(self) -> tuple[Delta, ...]:
        return self.snapshot.view.deltas + self.deltas

    # --- what is held now ---

    def values(self, field_id: int, ordinals: Ordinals) -> tuple[Codes, npt.NDArray[np.bool_]]:
        """(stored values, present) of a field."""
        COURTESY.make_way()
        self.snapshot.verify_blocks(DB_COLUMNS, field_id, (ordinals // CHUNK_ROWS).astype(np.int64))
        column = self.snapshot.base_column(field_id).overlaid(field_id, self._layers())
        values, present = column.take(ordinals)
        return np.asarray(values), np.asarray(present) != 0

    def event_places(self, type: EventType, events: Codes) -> EventPlaces:
        """Where events lie, and what revision is held of them."""
        COURTESY.make_way()
        return self.snapshot.event_places(type, events, self.deltas)

    def held(self, field_id: int, codes: Codes, ordinals: Ordinals) -> npt.NDArray[np.bool_]:
        """Which pairs are held; pairs of one code should lie together."""
        COURTESY.make_way()
        self.snapshot.verify_shards(field_id, codes, (ordinals >> SHARD_BITS).astype(np.int64))
        return self.snapshot.held(field_id, codes, ordinals, self.deltas)

    def all_held(self, field: Field, field_id: int, ordinals: Ordinals) -> Pairs:
        """Every (code, ordinal) pair that the ascending ordinals hold in a tags field, ordered by code."""
        if not len(ordinals):
            return NO_PAIRS
        stored = self.snapshot.base_size
        old = ordinals[ordinals < stored]
        pairs: list[Pairs] = []
        in_use = counts.read_entries(
            self.snapshot.txn, self.snapshot.dbs[DB_COUNTS], field_id, len(self.snapshot.dictionary(field).base)
        )[0]
        shards = np.unique(old >> SHARD_BITS).astype(np.int64)
        for code in np.flatnonzero(in_use).tolist() if len(old) else ():
            self.snapshot.verify_shards(field_id, np.full_like(shards, code), shards)
            mine = old[np.asarray(self.snapshot.base_posting(field_id, code).contains_many(old)) != 0]
            if len(mine):
                pairs.append((np.full(len(mine), code, np.int64), mine))
        have = _keys(pairs)
        for delta in self._layers():
            arrays = DeltaArrays(delta)
            here = arrays.keys_of(field_id)
            if here.start == here.stop:
                continue
            gained = _touching(arrays, here, arrays.add_ends, arrays.adds, ordinals)
            lost = _touching(arrays, here, arrays.remove_ends, arrays.removes, ordinals)
            have = np.union1d(np.setdiff1d(have, lost, assume_unique=True), gained)
        return (have >> np.uint64(32)).astype(np.int64), have.astype(np.uint32)

    def counts(self, field_id: int, codes: Codes) -> npt.NDArray[np.int64]:
        """Contacts that hold each of the ascending codes."""
        COURTESY.make_way()
        self.snapshot.verify_blocks(DB_COUNTS, field_id, codes // counts.BLOCK_CODES)
        found, _ = counts.read_many(self.snapshot.txn, self.snapshot.dbs[DB_COUNTS], field_id, codes)
        overlay_counts(self._layers(), codes.astype(np.uint64) | np.uint64(field_id << 32), found)
        return found

    # --- what changes ---

    def changes(self, field_id: int, gained: Pairs, lost: Pairs) -> PostingChanges:
        """Effective pairs of a field as memberships, with the counts afterwards. No pair is in both."""
        add_codes, adds = group_pairs(*gained) if len(gained[0]) else NO_PAIRS
        remove_codes, removes = group_pairs(*lost) if len(lost[0]) else NO_PAIRS
        codes = np.union1d(add_codes, remove_codes)
        add_ends = np.searchsorted(add_codes, codes, "right")
        remove_ends = np.searchsorted(remove_codes, codes, "right")
        held = self.counts(field_id, codes) + np.diff(add_ends, prepend=0) - np.diff(remove_ends, prepend=0)
        assert (held >= 0).all(), f"a count of field {field_id} fell below zero"
        keys = codes.astype(np.uint64) | np.uint64(field_id << 32)
        return PostingChanges(keys, held, add_ends.astype(np.uint32), adds, remove_ends.astype(np.uint32), removes)

    def delta(self, postings: dict[int, tuple[Pairs, Pairs]], columns: list[ColumnChanges]) -> Delta:
        """The delta of effective pairs by field (gained, lost) and of changed values."""
        changes = [
            self.changes(field_id, gained, lost)
            for field_id, (gained, lost) in sorted(postings.items())
            if len(gained[0]) or len(lost[0])
        ]
        return build_delta(changes, sorted((c for c in columns if len(c.ordinals)), key=lambda c: c.field))


def _merged(layers: tuple[EventLayer, ...]) -> bytes:
    """The layers as one, the neighbours first, so that each row is copied a few times only."""
    while len(layers) > 1:
        pairs = [layers[at : at + 2] for at in range(0, len(layers), 2)]
        layers = tuple(EventLayer(merge_layers(*pair)) if len(pair) == 2 else pair[0] for pair in pairs)
    return bytes(layers[0].data)


def _keys(pairs: list[Pairs]) -> npt.NDArray[np.uint64]:
    """code << 32 | ordinal of each pair, ascending as the pairs are."""
    if not pairs:
        return np.zeros(0, np.uint64)
    codes = np.concatenate([p[0] for p in pairs]).astype(np.uint64)
    return codes << np.uint64(32) | np.concatenate([p[1] for p in pairs]).astype(np.uint64)


def _touching(
    arrays: DeltaArrays, here: slice, ends: npt.NDArray[np.uint32], listed: Ordinals, ordinals: Ordinals
) -> npt.NDArray[np.uint64]:
    """code << 32 | ordinal of the pairs of some keys of a delta whose ordinal is among the ascending ones."""
    first = int(ends[here.start - 1]) if here.start else 0
    some = listed[first : int(ends[here.stop - 1])]
    hits = np.flatnonzero(np.isin(some, ordinals))
    owner = np.searchsorted(ends[here], hits + first, "right")
    codes = arrays.keys[here][owner] & np.uint64(0xFFFFFFFF)
    return codes << np.uint64(32) | some[hits].astype(np.uint64)
