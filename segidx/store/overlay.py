"""The overlay: the log's records newer than the merge point, as a process holds them to read through.

A `View` is immutable: what one generation adds to the base. `Overlay` catches up by reading the log's tail and hands
views out; each process has its own. Deltas of one segment are merged as they come (each at least twice the next, so
there are few of them and each change is copied a few times only), and never across segments, so that a merged segment
is dropped without a look. Layers of events are merged in the same way, type by type.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import lmdb

from segidx.kernels.deltas import Delta, Fold, fold_key
from segidx.kernels.events import EventLayer, merge_layers
from segidx.model.errors import Closed, CorruptData
from segidx.store.catalog import State
from segidx.store.fresh import FreshStrings
from segidx.store.layout import Handle
from segidx.store.log import Record, read_log

# What a reader is told whose databases are those of an older format than what it finds now.
NEWER_MEANWHILE = "the data was brought to a newer format by its writer meanwhile; open it again"

# Older views that a reader may still ask for by the generation of its transaction.
_RECENT = 16

# How much larger each delta of a segment is than the next, at least: while it grows, and once it does not any more.
_TWICE, _ONE = 2.0, math.inf


@dataclass(frozen=True, slots=True)
class Segment:
    """The records of one segment up to a view's generation. `deltas` are oldest first, `ends` the last generation of
    each; `layers` are those of events by number of their type, oldest first."""

    number: int
    last: int
    deltas: tuple[Delta, ...] = ()
    ends: tuple[int, ...] = ()
    fresh: Mapping[int, FreshStrings] = field(default_factory=dict)
    log_bytes: int = 0
    first_time: int = 0  # of its first commit, milliseconds since 1970
    layers: Mapping[int, tuple[EventLayer, ...]] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(map(len, self.deltas)) + sum(len(layer) for each in self.layers.values() for layer in each)


@dataclass(frozen=True, slots=True)
class View:
    """What lies above the base at `generation`, given that the base holds all up to `merged`."""

    generation: int
    merged: int
    segments: tuple[Segment, ...] = ()
    sizes: Mapping[int, int] = field(default_factory=dict)  # of string tables with new strings
    deltas: tuple[Delta, ...] = ()  # of all segments, oldest first
    ends: tuple[int, ...] = ()

    @property
    def bytes(self) -> int:
        """Of the deltas and the layers of events in memory."""
        return sum(s.bytes for s in self.segments)

    @property
    def log_bytes(self) -> int:
        return sum(s.log_bytes for s in self.segments)

    def fresh(self, table: int) -> list[FreshStrings]:
        """New strings of a table, oldest first."""
        return [s.fresh[table] for s in self.segments if table in s.fresh]

    def layers(self, number: int) -> tuple[EventLayer, ...]:
        """Those of the events of a type, by its number; oldest first."""
        return tuple(layer for s in self.segments for layer in s.layers.get(number, ()))

    def with_segments(
        self, generation: int, merged: int, segments: tuple[Segment, ...], sizes: Mapping[int, int]
    ) -> View:
        return View(
            generation,
            merged,
            segments,
            sizes,
            tuple(d for s in segments for d in s.deltas),
            tuple(e for s in segments for e in s.ends),
        )


class Overlay:
    """This process's overlay of one account. Safe for threads."""

    def __init__(self, hash_key: bytes) -> None:
        self._hash_key = hash_key
        self._lock = threading.Lock()
        self._view = View(0, 0)
        self._recent: deque[View] = deque(maxlen=_RECENT)
        # By key, with the merge point and the generation they were folded at.
        self._folds: dict[int, tuple[int, int, Fold]] = {}

    def view(self, txn: lmdb.Transaction, log: Handle | None, state: State) -> View:
        """The view of a transaction with that state; reads the tail of the log that is new. Raises CorruptData."""
        with self._lock:
            view = self._view
            if view.generation == state.generation and view.merged == state.merged:
                return view
            if state.generation < view.generation or state.merged < view.merged:
                for old in self._recent:
                    if old.generation == state.generation and old.merged == state.merged:
                        return old
                return self._read(View(state.merged, state.merged), txn, log, state)
            if state.merged > view.generation:  # all that is here is in the base
                view = View(state.merged, state.merged)
            elif state.merged > view.merged:
                view = self._dropped(view, state.merged)
            return self._adopt(self._read(view, txn, log, state))

    def settled(self, view: View) -> View:
        """What says the same as the view, and may be quicker to read by now: few deltas and layers."""
        newest = self._view
        return newest if (newest.generation, newest.merged) == (view.generation, view.merged) else view

    def publish(self, record: Record, log_bytes: int, state: State) -> None:
        """Take the record of a commit of this process, as `view` would read it from the log."""
        with self._lock:
            if self._view.generation != record.generation - 1 or self._view.merged != state.merged:
                return
            view = self._adopt(self._with(self._view, record, log_bytes))
        # Evaluations take the view as it is meanwhile: settling may be the merging of megabytes.
        settled = _settled(view)
        with self._lock:
            if self._view is view:
                self._view = settled

    def bitmaps(self, view: View, key: int) -> tuple[bytes | None, bytes | None]:
        """(A, R) of a key in a view: portable Roaring bitmaps, None for none."""
        if not view.deltas:
            return None, None
        # A fold of another merge point does not know what that merge has put into the base.
        found = self._folds.get(key)
        if found is not None and (found[0] != view.merged or found[1] > view.generation):
            found = None
        deltas = view.deltas
        if found is not None:
            # Only what is newer, and what was merged with it: else each count between two commits would fold all.
            since = found[1]
            deltas = tuple(d for d, end in zip(view.deltas, view.ends, strict=True) if end > since and d.has_key(key))
            if not deltas:
                return found[2].bitmaps
        fold = fold_key(deltas, key, found[2] if found is not None else None)
        if view is self._view:
            self._folds[key] = (view.merged, view.generation, fold)
        return fold.bitmaps

    def clear(self) -> None:
        """Forget everything; the next view reads the log again."""
        with self._lock:
            self._adopt(View(0, 0))
            self._recent.clear()

    def _adopt(self, view: View) -> View:
        if view is not self._view:
            self._recent.append(self._view)
            if view.merged != self._view.merged:
                self._folds = {}
            self._view = view
        return view

    def _dropped(self, view: View, merged: int) -> View:
        segments = tuple(s for s in view.segments if s.last > merged)
        if any(s.number <= merged and s.layers for s in segments):
            # No merge leaves one; deltas may set again what is in the base, but events must not be there twice.
            return View(merged, merged)
        kept = {table for s in segments for table in s.fresh}
        sizes = {table: size for table, size in view.sizes.items() if table in kept}
        return view.with_segments(view.generation, merged, segments, sizes)

    def _read(self, view: View, txn: lmdb.Transaction, log: Handle | None, state: State) -> View:
        if log is None:
            if state.generation > view.generation:
                raise Closed(NEWER_MEANWHILE)
        else:
            for record, size in read_log(txn, log, view.generation, state.generation):
                view = _settled(self._with(view, record, size))
        return replace(view, generation=state.generation)

    def _with(self, view: View, record: Record, log_bytes: int) -> View:
        """The view after one more record, not settled yet."""
        segments = view.segments
        if segments and segments[-1].number == record.segment:
            last = segments[-1]
            segments = segments[:-1]
        else:
            last = Segment(record.segment, record.generation, first_time=record.time)
        fresh = dict(last.fresh)
        sizes = dict(view.sizes)
        for table, new in record.strings.items():
            if table not in fresh:
                fresh[table] = FreshStrings(new.first, self._hash_key)
            if new.first + len(new.strings) > fresh[table].end:  # a view of old may have read it before
                fresh[table].extend(new)
            sizes[table] = new.first + len(new.strings)
        deltas, ends = list(last.deltas), list(last.ends)
        if any(record.delta.shape):
            deltas.append(record.delta)
            ends.append(record.generation)
        layers = dict(last.layers)
        for number, layer in record.events.items():
            layers[number] = (*layers.get(number, ()), EventLayer(layer))
        last = replace(
            last,
            last=record.generation,
            deltas=tuple(deltas),
            ends=tuple(ends),
            fresh=fresh,
            log_bytes=last.log_bytes + log_bytes,
            layers=layers,
        )
        return view.with_segments(record.generation, view.merged, (*segments, last), sizes)


def _settled(view: View) -> View:
    """The same view with few deltas and layers: one of each segment but the last, and of the last so few that each
    change was copied a few times only."""
    segments = tuple(
        _compacted(s, _ONE if number < len(view.segments) - 1 else _TWICE) for number, s in enumerate(view.segments)
    )
    if all(new is old for new, old in zip(segments, view.segments, strict=True)):
        return view
    return view.with_segments(view.generation, view.merged, segments, view.sizes)


def _compacted(segment: Segment, ratio: float) -> Segment:
    deltas = list(segment.deltas)
    settle(deltas, ratio)
    layers = {number: settled_layers(each, ratio) for number, each in segment.layers.items()}
    if len(deltas) == len(segment.deltas) and all(len(layers[n]) == len(segment.layers[n]) for n in layers):
        return segment
    ends = (*segment.ends[: len(deltas) - 1], segment.ends[-1]) if deltas else ()
    return replace(segment, deltas=tuple(deltas), ends=ends, layers=layers)


def settle(deltas: list[Delta], ratio: float = _TWICE) -> None:
    """Merge the newest until each delta is at least `ratio` times as large as the next."""
    while len(deltas) > 1 and ratio * len(deltas[-1]) >= len(deltas[-2]):
        newest = deltas.pop()
        deltas[-1] = deltas[-1].merged(newest)


def settled_layers(layers: Iterable[EventLayer], ratio: float = _TWICE) -> tuple[EventLayer, ...]:
    """Layers of one type, oldest first, the newest merged until each is at least `ratio` times as large as the next."""
    found = list(layers)
    while len(found) > 1 and ratio * len(found[-1]) >= len(found[-2]):
        newest = found.pop()
        found[-1] = _joined(found[-1], newest)
    return tuple(found)


def merged_layer(layers: Sequence[EventLayer]) -> EventLayer:
    """One layer that says what all of them say, oldest first; there is one at least. Raises CorruptData."""
    parts = list(layers)
    while len(parts) > 1:  # neighbours, so that a row is copied a few times only
        pairs = [parts[at : at + 2] for at in range(0, len(parts), 2)]
        parts = [_joined(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return parts[0]


def _joined(older: EventLayer, newer: EventLayer) -> EventLayer:
    try:
        return EventLayer(merge_layers(older, newer))
    except ValueError as error:
        raise CorruptData(f"events of the log contradict one another ({error}); restore from a backup") from error


def merged_delta(deltas: tuple[Delta, ...]) -> Delta:
    """One delta that sets what all of them set, oldest first; there is one at least."""
    parts = list(deltas)
    while len(parts) > 1:
        newest = parts.pop()
        parts[-1] = parts[-1].merged(newest)
    return parts[0]
