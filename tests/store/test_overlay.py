"""Views of the log against dicts: catching up, old readers, segments dropped, folds remembered, several processes.

A view is right when the model's state at the merge point, under the view, is the model's state at its generation.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pyarrow as pa
import pytest
from pyroaring import BitMap

from segidx.kernels.deltas import Delta, overlay_bitmaps, overlay_counts
from segidx.kernels.events import CONTACT, EVENT, TIME, EventLayer, encode_layer
from segidx.model.errors import Closed, CorruptData
from segidx.store import overlay as module
from segidx.store.catalog import State
from segidx.store.log import NewStrings, Record, append_record, trim_log
from segidx.store.overlay import Overlay, View, merged_delta, settle
from segidx.testing.deltas import Layer, Members, Values, delta_of, joined, layer_of

HASH_KEY = bytes(16)
KEYS = (1, 2, 3, 2**33)
FIELD = 4
TABLE = 9
TYPE = 3

Event = tuple[int, int, int]  # contact, time, value


@dataclass(frozen=True)
class Moment:
    """All that the model holds at one generation."""

    held: dict[int, frozenset[int]] = field(default_factory=lambda: dict.fromkeys(KEYS, frozenset()))
    counts: dict[int, int] = field(default_factory=lambda: dict.fromkeys(KEYS, 0))
    values: dict[int, int] = field(default_factory=dict)
    strings: tuple[str, ...] = ()
    events: dict[int, Event] = field(default_factory=dict)


def layer_above(below: dict[int, Event], changed: dict[int, Event | None]) -> bytes:
    """What makes of the events `below` those after a change: events set, or taken away."""
    rows = sorted((*event[:2], number, event[2]) for number, event in changed.items() if event is not None)
    stale = sorted((*below[number][:2], number) for number in changed if number in below)
    columns = [[row[at] for row in rows] for at in range(3)] + [[0] * len(rows), [r[3] for r in rows], [1] * len(rows)]
    places = [[place[at] for place in stale] for at in range(3)]
    kinds = (np.uint32, np.int64, np.uint32)
    return encode_layer(
        [(np.array(each, np.int64), np.ones(len(rows), np.uint8)) for each in columns],
        *(np.array(each, kind) for each, kind in zip(places, kinds, strict=True)),
    )


def events_under(below: dict[int, Event], layers: Iterable[EventLayer]) -> dict[int, Event]:
    held = dict(below)
    for layer in layers:
        for contact, at, number in zip(*(each.tolist() for each in layer.stale_places()), strict=True):
            if held.get(number, ())[:2] == (contact, at):
                del held[number]
        columns = layer.decode()
        for contact, at, number, value in zip(
            *(columns[c][0].tolist() for c in (CONTACT, TIME, EVENT, 4)), strict=True
        ):
            assert number not in held, "an event twice"
            held[number] = (contact, at, value)
    return held


class Log:
    """A log in LMDB, with the moments that it leads through, and the merge point."""

    def __init__(self, env: lmdb.Environment, seed: int) -> None:
        self.env = env
        self.db = env.open_db(b"log")
        self.rng = random.Random(seed)
        self.moments = [Moment()]
        self.state = State(0, 0, 0, 0)
        self.segment = 1
        self.last_bytes = 0

    def commit(self) -> Record:
        """One more generation; at times one that changes nothing."""
        rng, now = self.rng, self.moments[-1]
        held, keys = dict(now.held), {}
        for key in rng.sample(KEYS, rng.randint(0, len(KEYS))):
            added = frozenset(rng.sample(range(90), rng.choice((0, 1, 5)))) - held[key]
            removed = frozenset(rng.sample(sorted(held[key]), min(len(held[key]), rng.choice((0, 1, 4)))))
            held[key] = (held[key] - removed) | added
            keys[key] = Members(len(held[key]), added, removed)
        changed: Values = {rng.randrange(90): rng.choice((None, rng.randrange(99))) for _ in range(rng.randint(0, 4))}
        new = [f"s{len(now.strings) + i}" for i in range(rng.choice((0, 0, 1, 7)))]
        values = {o: v for o, v in (now.values | changed).items() if v is not None}
        moved: dict[int, Event | None] = {}
        for number in rng.sample(range(40), rng.choice((0, 0, 1, 6))):
            event = (rng.randrange(2**15), rng.randrange(9), rng.randrange(99))
            moved[number] = event if number not in now.events or rng.random() < 0.7 else None
        events = {n: e for n, e in (now.events | moved).items() if e is not None}
        generation = self.state.generation + 1
        strings = {TABLE: NewStrings(len(now.strings), pa.array(new))} if new else {}
        delta = delta_of(Layer(keys, {FIELD: changed} if changed else {}))
        if rng.random() < 0.2:
            self.segment = generation
        layers = {TYPE: layer_above(now.events, moved)} if moved else {}
        record = Record(generation, self.segment, 1000 + generation, strings, delta, layers)
        counts = {k: len(h) for k, h in held.items()}
        self.moments.append(Moment(held, counts, values, now.strings + tuple(new), events))
        self.state = State(generation, self.state.merged, self.state.base, 0)
        with self.env.begin(write=True) as txn:
            self.last_bytes = append_record(txn, self.db, record)
        return record

    def merge(self, *, trim: bool = True, new_segment: bool = True) -> None:
        """Everything is in the base now; the log loses it, sooner or later."""
        self.state = State(self.state.generation, self.state.generation, self.state.base + 1, 0)
        if new_segment:
            self.segment = self.state.generation + 1
        if trim:
            with self.env.begin(write=True) as txn:
                while not trim_log(txn, self.db, self.state.merged, 3):
                    pass

    def open(self) -> tuple[lmdb.Transaction, State]:
        return self.env.begin(buffers=True), self.state


def check_view(log: Log, overlay: Overlay, view: View, state: State, *, settled: bool = True) -> None:
    assert (view.generation, view.merged) == (state.generation, state.merged)
    below, now = log.moments[state.merged], log.moments[state.generation]
    for key in KEYS:
        added, removed = (BitMap.deserialize(b) if b else BitMap() for b in overlay.bitmaps(view, key))
        assert BitMap(below.held[key]) - removed | added == BitMap(now.held[key])
    counts = np.array([below.counts[key] for key in KEYS], np.int64)
    overlay_counts(view.deltas, np.array(KEYS, np.uint64), counts)
    assert counts.tolist() == [now.counts[key] for key in KEYS]
    values: Values = dict(below.values) | joined([layer_of(d) for d in view.deltas]).fields.get(FIELD, {})
    assert {o: v for o, v in values.items() if v is not None} == now.values
    size = view.sizes.get(TABLE, len(below.strings))
    assert size == len(now.strings)
    found = dict(enumerate(below.strings))
    for fresh in view.fresh(TABLE):
        codes = np.arange(fresh.first, min(fresh.end, size))
        found |= dict(zip(codes.tolist(), fresh.get(codes).to_pylist(), strict=True))
    assert found == dict(enumerate(now.strings))
    assert events_under(below.events, view.layers(TYPE)) == now.events
    assert view.layers(TYPE + 1) == ()
    if settled:
        check_shape(view)


def check_shape(view: View) -> None:
    """Few deltas and layers: each is at least twice the next within its segment, and a closed segment has one."""
    assert view.deltas == tuple(d for s in view.segments for d in s.deltas)
    assert view.ends == tuple(e for s in view.segments for e in s.ends)
    assert view.bytes == sum(map(len, (*view.deltas, *view.layers(TYPE))))
    assert view.log_bytes == sum(s.log_bytes for s in view.segments)
    assert list(view.ends) == sorted(view.ends)
    for segment in view.segments[:-1]:
        assert len(segment.deltas) <= 1
        assert len(segment.layers.get(TYPE, ())) <= 1
    for segment in view.segments:
        layers = [len(layer) for layer in segment.layers.get(TYPE, ())]
        assert all(older > 2 * newer for older, newer in itertools.pairwise(layers))
        assert len(segment.deltas) == len(segment.ends)
        sizes = [len(d) for d in segment.deltas]
        assert all(older > 2 * newer for older, newer in itertools.pairwise(sizes))


@pytest.fixture
def env(tmp_path: Path) -> Iterator[lmdb.Environment]:
    with lmdb.open(str(tmp_path), map_size=1 << 28, max_dbs=1, sync=False) as env:
        yield env


@pytest.mark.parametrize("seed", range(10))
def test_a_random_history(env: lmdb.Environment, seed: int) -> None:
    """The writer's overlay, which is told of commits; a reader's, which looks now and then; transactions held open."""
    log = Log(env, seed)
    rng = random.Random(seed + 1000)
    writer, reader = Overlay(HASH_KEY), Overlay(HASH_KEY)
    held: list[tuple[lmdb.Transaction, State, View, tuple[Any, ...]]] = []
    for _ in range(120):
        if rng.random() < 0.12:
            # Half of the merges race with a commit that goes on in the segment that is being merged.
            log.merge(trim=rng.random() < 0.7, new_segment=rng.random() < 0.5)
        else:
            record = log.commit()
            if rng.random() < 0.8:
                writer.publish(record, log.last_bytes, log.state)
        if rng.random() < 0.5:
            txn, state = log.open()
            view = writer.view(txn, log.db, state)
            check_view(log, writer, view, state)
            if rng.random() < 0.3:
                held.append((txn, state, view, _frozen(view)))
            else:
                txn.abort()
        if rng.random() < 0.2:
            txn, state = log.open()
            check_view(log, reader, reader.view(txn, log.db, state), state)
            txn.abort()
        for txn, state, view, frozen in rng.sample(held, min(3, len(held))):
            assert _frozen(view) == frozen, "a view never changes"
            check_view(log, writer, view, state)
            for overlay in (writer, reader):  # for which the transaction is old, by then
                check_view(log, overlay, overlay.view(txn, log.db, state), state)
    for txn, *_ in held:
        txn.abort()


def _frozen(view: View) -> tuple[Any, ...]:
    return view.segments, dict(view.sizes), tuple(d.data for d in view.deltas), view.ends, view.generation, view.merged


def test_a_view_is_shared_until_there_is_something_new(env: lmdb.Environment) -> None:
    log, overlay = Log(env, 1), Overlay(HASH_KEY)
    for _ in range(3):
        log.commit()
    with env.begin() as txn:
        view = overlay.view(txn, log.db, log.state)
        assert overlay.view(txn, log.db, log.state) is view
        overlay.clear()
        again = overlay.view(txn, log.db, log.state)
        assert again is not view
        assert [d.data for d in again.deltas] == [d.data for d in view.deltas]


def test_what_is_published_out_of_turn_is_read_from_the_log(env: lmdb.Environment) -> None:
    log, overlay = Log(env, 2), Overlay(HASH_KEY)
    records = [log.commit() for _ in range(3)]
    for record in reversed(records):
        overlay.publish(record, 10, log.state)
    txn, state = log.open()
    check_view(log, overlay, overlay.view(txn, log.db, state), state)
    overlay.publish(records[1], 10, log.state)  # known long since
    check_view(log, overlay, overlay.view(txn, log.db, state), state)
    txn.abort()


def test_a_merge_of_all_leaves_nothing(env: lmdb.Environment) -> None:
    log, overlay = Log(env, 3), Overlay(HASH_KEY)
    for _ in range(10):
        overlay.publish(log.commit(), log.last_bytes, log.state)
    txn, state = log.open()
    assert overlay.view(txn, log.db, state).segments
    log.merge()
    with env.begin() as later:
        view = overlay.view(later, log.db, log.state)
        assert (view.segments, view.deltas, view.sizes, view.bytes, view.log_bytes) == ((), (), {}, 0, 0)
    check_view(log, overlay, overlay.view(txn, log.db, state), state)
    txn.abort()


def test_a_log_that_lacks_a_record_is_corrupt_and_changes_nothing(env: lmdb.Environment) -> None:
    log, overlay = Log(env, 4), Overlay(HASH_KEY)
    for _ in range(3):
        log.commit()
    with env.begin() as txn:
        before = overlay.view(txn, log.db, log.state)
        with pytest.raises(CorruptData, match="generation 4"):
            overlay.view(txn, log.db, State(5, 0, 0, 0))
        assert overlay.view(txn, log.db, log.state) is before
        # An account of format 1 has no log, until its writer brings it to a newer format.
        assert Overlay(HASH_KEY).view(txn, None, State(7, 7, 0, 0)).generation == 7
        with pytest.raises(Closed, match="newer format"):
            Overlay(HASH_KEY).view(txn, None, State(8, 7, 0, 0))


@pytest.mark.parametrize("seed", range(5))
def test_settling_keeps_what_is_set(seed: int) -> None:
    rng = random.Random(seed)
    deltas: list[Delta] = []
    layers: list[Layer] = []
    for _ in range(80):
        members = Members(rng.randrange(9), frozenset(rng.sample(range(500), rng.choice((1, 3, 60)))))
        layers.append(Layer({rng.choice(KEYS): members}))
        deltas.append(delta_of(layers[-1]))
        settle(deltas)
        assert layer_of(merged_delta(tuple(deltas))) == joined(layers)
        assert len(deltas) <= 12
    for key in KEYS:
        members = joined(layers).keys.get(key, Members())
        added, _ = overlay_bitmaps(tuple(deltas), key)
        assert (BitMap.deserialize(added) if added else BitMap()) == BitMap(members.added)


def test_a_view_that_is_not_settled_yet_reads_the_same(env: lmdb.Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reader gets while the writer settles, and that settling makes few of many deltas."""
    log, overlay = Log(env, 11), Overlay(HASH_KEY)
    seen: list[View] = []
    settled = module._settled

    def watched(view: View) -> View:
        txn, state = log.open()
        seen.append(overlay.view(txn, log.db, state))  # the overlay's lock is free
        check_view(log, overlay, seen[-1], state, settled=False)
        txn.abort()
        return settled(view)

    monkeypatch.setattr(module, "_settled", watched)
    for _ in range(60):
        record = log.commit()
        overlay.publish(record, log.last_bytes, log.state)
        txn, state = log.open()
        view = overlay.view(txn, log.db, state)
        check_view(log, overlay, view, state)
        txn.abort()
        assert view.generation == seen[-1].generation
        assert len(view.deltas) <= len(seen[-1].deltas)
        for segment in view.segments[:-1]:
            assert len(segment.deltas) <= 1
    assert any(len(a.deltas) < len(b.deltas) for a, b in zip(seen[1:], seen[:-1], strict=True))


def test_settling_does_not_go_back_behind_a_newer_view(env: lmdb.Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader takes the next record from the log, or a merge, while the writer settles the one before."""
    log, overlay = Log(env, 12), Overlay(HASH_KEY)
    settled = module._settled
    publishing = False

    def overtaken(view: View) -> View:
        nonlocal publishing
        if publishing:  # and so without the overlay's lock
            publishing = False
            if view.generation % 5 == 0:
                log.merge(new_segment=view.generation % 2 == 0)
            log.commit()
            txn, state = log.open()
            check_view(log, overlay, overlay.view(txn, log.db, state), state, settled=False)
            txn.abort()
        return settled(view)

    monkeypatch.setattr(module, "_settled", overtaken)
    held: list[tuple[lmdb.Transaction, State]] = []
    for number in range(40):
        record = log.commit()
        published = log.state
        publishing = True
        overlay.publish(record, log.last_bytes, published)
        assert not publishing
        assert overlay._view.generation == log.state.generation == published.generation + 1, "the newer one stays"
        txn, state = log.open()
        check_view(log, overlay, overlay.view(txn, log.db, state), state, settled=False)
        if number % 8 == 0:
            held.append((txn, state))
        else:
            txn.abort()
    for txn, state in held:
        check_view(log, overlay, overlay.view(txn, log.db, state), state)
        txn.abort()
    overlay.publish(log.commit(), log.last_bytes, log.state)
    txn, state = log.open()
    check_view(log, overlay, overlay.view(txn, log.db, state), state)
    txn.abort()


def test_views_taken_while_a_commit_is_published(env: lmdb.Environment) -> None:
    """Both begin together, again and again: all see the same, and few deltas are left."""
    log, overlay = Log(env, 13), Overlay(HASH_KEY)
    rounds, readers = 60, 3
    begin, end = threading.Barrier(readers + 1, timeout=60), threading.Barrier(readers + 1, timeout=60)
    failures: list[BaseException] = []

    def read() -> None:
        for _ in range(rounds):
            begin.wait()
            txn, state = log.open()
            try:
                check_view(log, overlay, overlay.view(txn, log.db, state), state, settled=False)
            except BaseException as error:
                failures.append(error)
            txn.abort()
            end.wait()

    threads = [threading.Thread(target=read) for _ in range(readers)]
    for thread in threads:
        thread.start()
    for _ in range(rounds):
        record = log.commit()
        begin.wait()
        overlay.publish(record, log.last_bytes, log.state)
        end.wait()
    for thread in threads:
        thread.join()
    assert not failures, failures
    txn, state = log.open()
    view = overlay.view(txn, log.db, state)
    check_view(log, overlay, view, state)
    txn.abort()
    assert len(view.deltas) <= len(view.segments) + 12


def test_many_readers_of_one_overlay(env: lmdb.Environment) -> None:
    """Threads ask for views and folds of the same keys while commits and merges go on."""
    log = Log(env, 6)
    overlay = Overlay(HASH_KEY)
    lock = threading.Lock()  # of the model, and so that a transaction and its state belong together
    stop = threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not stop.is_set():
                with lock:
                    txn, state = log.open()
                check_view(log, overlay, overlay.view(txn, log.db, state), state)
                txn.abort()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(250):
        with lock:
            if number % 40 == 39:
                log.merge()
                continue
            record = log.commit()
            if number % 3:
                overlay.publish(record, log.last_bytes, log.state)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures
