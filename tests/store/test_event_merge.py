"""Events in the log, and merges of them: cut short at every transaction, read between any two, gone on with after more
commits, raced by others. What is counted is compared with a model throughout."""

from __future__ import annotations

import random
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.ingest import merger, writer
from segidx.model.errors import CorruptData
from segidx.model.events import ORDER, VISIT, Order
from segidx.model.writes import ContactWrite
from segidx.store import base, merge
from segidx.store.caches import Caches
from segidx.store.catalog import EventsMerged, read_events_merged, write_events_merged
from segidx.store.environment import AccountStore, WriteTransaction
from segidx.store.layout import DB_META
from segidx.store.overlay import Overlay
from segidx.store.snapshot import Snapshot
from segidx.testing.places import quick_directory

sys.path.insert(0, str(Path(__file__).parent))
from live_events import CONTACTS, TASK, Held, Totals, Write, check, seen, some_writes, wanted


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "SLICE_BYTES", 1)
        patch.setattr(base, "SLICE_STRINGS", 1000)
        patch.setattr(merger, "MERGE_SECONDS", 1000.0)  # merges come when they are asked for
        yield


class Shop:
    def __init__(self, directory: Path, held: Held) -> None:
        self.directory, self.held = directory, held
        self.open()

    def open(self) -> None:
        self.database = Database.open(self.directory, create=True)
        self.account = self.database.account()

    def reopen(self) -> None:
        self.database.close()
        self.open()

    def write(self, rows: Sequence[Write]) -> None:
        assert self.account.write_events(rows).event_rejects == ()
        self.held.write(rows)

    def check(self) -> None:
        check(self.account, self.held)


@pytest.fixture(scope="module")
def built(tiny: None) -> Iterator[tuple[Path, Held]]:
    """Events in the base, in a closed segment and in an open one."""
    with quick_directory() as directory, pytest.MonkeyPatch.context() as patch:
        shop = Shop(directory / "built", Held())
        shop.account.upsert((f"c{i}", {}) for i in range(CONTACTS))
        shop.account.declare_event_types([TASK])
        rng = random.Random(1)
        shop.write(some_writes(rng, 150))
        shop.account.merge()
        shop.check()
        for _ in range(4):
            shop.write(some_writes(rng, 20))
        patch.setattr(merger, "SEGMENT_BYTES", 1)
        shop.write(some_writes(rng, 20))
        patch.undo()
        shop.write(some_writes(rng, 20))
        with shop.account._store.snapshot() as snapshot:
            assert len(snapshot.view.segments) == 2
        shop.check()
        shop.database.close()
        yield directory / "built", shop.held


@pytest.fixture
def place() -> Iterator[Path]:
    with quick_directory() as directory:
        yield directory


def copy_to(to: Path, built: tuple[Path, Held]) -> Shop:
    shutil.copytree(built[0], to)
    return Shop(to, built[1].copy())


# --- transactions ----------------------------------------------------------------------------------------------------


class Cut(Exception):
    """The process is killed here."""


@contextmanager
def before_each(store: AccountStore, step: Callable[[int], None]) -> Iterator[None]:
    """Something is done before each write transaction of the store; `step` may write too."""
    write, number, busy = store.write, 0, False

    @contextmanager
    def watched() -> Iterator[WriteTransaction]:
        nonlocal number, busy
        if not busy and threading.current_thread() is threading.main_thread():
            busy = True
            try:
                step(number)
            finally:
                busy = False
            number += 1
        with write() as transaction:
            yield transaction

    store.write = watched  # type: ignore[method-assign]
    try:
        yield
    finally:
        store.write = write  # type: ignore[method-assign]


@contextmanager
def cut_before(account: Account, transaction: int) -> Iterator[None]:
    def step(number: int) -> None:
        if number == transaction:
            raise Cut

    with before_each(account._store, step):
        yield


def cursor_of(account: Account) -> EventsMerged | None:
    with account._store.begin() as txn:
        return read_events_merged(txn, account._store.databases[DB_META])


def transactions_of_a_merge(place: Path, built: tuple[Path, Held]) -> int:
    shop, numbers = copy_to(place, built), []
    with before_each(shop.account._store, numbers.append):
        shop.account.merge()
    shop.check()
    assert cursor_of(shop.account) is None
    assert shop.account.stats().overlay_bytes == 0
    assert list(shop.account.verify()) == []
    shop.database.close()
    return len(numbers)


def test_a_merge_cut_short_at_every_transaction(place: Path, built: tuple[Path, Held]) -> None:
    """Reads exact, reopened exact, written to exact, merged exact, and sound throughout."""
    total = transactions_of_a_merge(place / "counted", built)
    assert total > 15
    rng, cursors = random.Random(2), set()
    for number in range(total):
        shop = copy_to(place / f"cut {number}", built)
        with cut_before(shop.account, number), pytest.raises(Cut):
            shop.account.merge()
        cursor = cursor_of(shop.account)
        cursors.add(cursor)
        shop.check()
        assert list(shop.account.verify()) == []
        if number % 3 == 0:
            shop.reopen()
            shop.check()
        if number % 4 != 1:
            for _ in range(rng.choice((1, 2))):
                shop.write(some_writes(rng, 15))
                shop.check()
            assert list(shop.account.verify()) == []
        if number % 2:  # cut short again, elsewhere
            with cut_before(shop.account, rng.randrange(total)), suppress(Cut):
                shop.account.merge()
            if cursor is not None and cursor_of(shop.account) is not None:
                assert cursor_of(shop.account).generation >= cursor.generation  # type: ignore[union-attr]
            shop.check()
            shop.write(some_writes(rng, 15))
            if number % 4 == 3:
                shop.reopen()
            shop.check()
            assert list(shop.account.verify()) == []
        shop.account.merge()
        shop.check()
        assert cursor_of(shop.account) is None
        assert shop.account.stats().log_bytes == 0
        assert list(shop.account.verify()) == []
        shop.reopen()
        shop.check()
        shop.database.close()
        shutil.rmtree(place / f"cut {number}")
    assert len(cursors) > 8


def test_a_reader_between_any_two_transactions(place: Path, built: tuple[Path, Held]) -> None:
    """Snapshots stay what they were; and one that reads the log anew, as another process, sees the same."""
    shop = copy_to(place / "d", built)
    store = shop.account._store
    due = wanted(shop.held, shop.account)
    held: list[Snapshot] = []

    def step(number: int) -> None:
        snapshot = store.snapshot()
        held.append(snapshot)
        assert seen(snapshot) == due
        if number % 3 == 1:
            store.overlay.clear()  # as a process that reads the log anew
        with store.snapshot() as again:
            assert seen(again) == due

    with before_each(store, step):
        shop.account.merge()
    assert len(held) > 15
    assert len({s.first_event_layer(VISIT, 0) for s in held if s.event_layers(VISIT)}) > 1
    for snapshot in held:
        assert seen(snapshot) == due
        snapshot.close()
    shop.check()
    shop.database.close()


def test_processes_that_read_only_now_and_then(place: Path, built: tuple[Path, Held]) -> None:
    """Each has an overlay of its own, and looks at every second, third, ... transaction of commits and merges only."""
    shop, rng = copy_to(place / "d", built), random.Random(6)
    store = shop.account._store
    readers = [Caches(Overlay(store.snapshot().catalog.hash_key)) for _ in range(6)]
    looked: set[tuple[int, int]] = set()

    def look(number: int) -> None:
        due = wanted(shop.held, shop.account)
        for every, caches in enumerate(readers, 1):
            if number % every == 0:
                with Snapshot(store._env.begin(buffers=True), store.databases, caches) as snapshot:
                    assert seen(snapshot) == due, (number, every)
                    looked.add((snapshot.state.merged, snapshot.first_event_layer(ORDER, 0)))

    number = 0
    for cut in range(3):

        def step(_: int) -> None:
            nonlocal number
            number += 1
            look(number)
            if number % 5 == 0:
                shop.write(some_writes(rng, 8))
                look(number)

        with before_each(store, step):
            with suppress(Cut), cut_before(shop.account, 9 + 3 * cut):
                shop.account.merge()
            look(number)
            shop.write(some_writes(rng, 8))
            shop.account.merge()
    assert len({merged for merged, _ in looked}) > 3
    assert len(looked) > 6
    shop.check()
    shop.database.close()


def test_commits_between_the_transactions_of_a_merge(place: Path, built: tuple[Path, Held]) -> None:
    shop, rng = copy_to(place / "d", built), random.Random(3)
    held: list[tuple[Snapshot, list[Totals]]] = []

    def step(number: int) -> None:
        if number < 14:
            shop.write(some_writes(rng, 12))
        if number % 4 == 2:
            shop.account._store.overlay.clear()
        shop.check()
        held.append((shop.account._store.snapshot(), wanted(shop.held, shop.account)))
        if number == 9:
            assert list(shop.account.verify()) == []

    before = shop.account.generation()
    with before_each(shop.account._store, step):
        shop.account.merge()
    stats = shop.account.stats()
    assert (stats.merged_generation, stats.generation) == (before, before + 14)
    shop.check()
    for snapshot, due in held:
        assert seen(snapshot) == due
        snapshot.close()
    assert list(shop.account.verify()) == []
    shop.reopen()
    shop.check()
    shop.account.merge()
    shop.check()
    assert list(shop.account.verify()) == []
    shop.database.close()


def test_no_commit_joins_a_segment_that_a_merge_has_chosen(place: Path, built: tuple[Path, Held]) -> None:
    """The snapshot of a merge waits for the commit that has chosen its segment."""
    shop, rng = copy_to(place / "d", built), random.Random(4)
    store, mine = shop.account._store, shop.account._writer.merger
    chosen, closing = threading.Event(), threading.Event()
    segment_of_next = mine.segment_of_next

    def slow(view: object) -> int:
        found = segment_of_next(view)  # type: ignore[arg-type]
        chosen.set()
        assert not closing.wait(0.2), "the merge has not closed meanwhile"
        return found

    mine.segment_of_next = slow  # type: ignore[method-assign]
    close = mine._close

    def closed() -> Snapshot:
        snapshot = close()
        closing.set()
        return snapshot

    mine._close = closed  # type: ignore[method-assign]
    rows = some_writes(rng, 10)
    done = shop.account.submit(events=rows)
    assert chosen.wait(10)
    shop.account.merge()
    done.result()
    shop.held.write(rows)
    mine.segment_of_next = segment_of_next  # type: ignore[method-assign]
    assert store.state().merged == store.state().generation, "what was chosen before was merged too"
    shop.check()
    shop.write(some_writes(rng, 10))
    with store.snapshot() as snapshot:
        assert snapshot.view.segments[-1].number == snapshot.generation
    shop.check()
    shop.database.close()


def test_a_bulk_commit_behind_a_merge_that_was_cut_short(
    place: Path, built: tuple[Path, Held], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contacts and orders that go straight into the base go behind all that the log holds."""
    monkeypatch.setattr(writer, "BULK_CONTACTS", 30)
    monkeypatch.setattr(writer, "GROUP_CONTACTS", 29)
    total = transactions_of_a_merge(place / "counted", built)
    for number in range(1, total, 3):
        shop, rng = copy_to(place / f"bulk {number}", built), random.Random(number)
        with cut_before(shop.account, number), pytest.raises(Cut):
            shop.account.merge()
        if number % 2:
            shop.write(some_writes(rng, 10))
        if number % 4 < 2:
            shop.account.write([ContactWrite(f"bulk {i}") for i in range(40)])
        orders = [replace(x, revision=9) for x in some_writes(rng, 60) if isinstance(x, Order)]
        last = list({order.order_id: order for order in orders}.values())
        assert shop.account.import_orders(last).rejects == ()
        shop.held.write(last)
        shop.check()
        assert shop.account.stats().log_bytes == 0
        assert list(shop.account.verify()) == []
        shop.write(some_writes(rng, 10))
        shop.check()
        shop.database.close()


def test_what_does_not_fit_in_one_layer_is_merged_in_several_rounds(
    place: Path, built: tuple[Path, Held], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merger, "SEGMENT_BYTES", 1)
    monkeypatch.setattr(merge, "LAYER_ROWS", 30)
    shop, rng, points = copy_to(place / "d", built), random.Random(7), set()
    for _ in range(8):
        shop.write(some_writes(rng, 60))

    def step(_: int) -> None:
        points.add(shop.account._store.state().merged)
        with shop.account._store.snapshot() as snapshot:
            assert seen(snapshot) == due

    due = wanted(shop.held, shop.account)
    with before_each(shop.account._store, step):
        shop.account.merge()
    assert len(points) > 4
    assert shop.account.stats().log_bytes == 0
    shop.check()
    assert list(shop.account.verify()) == []
    shop.database.close()


def test_readers_in_threads(place: Path, built: tuple[Path, Held]) -> None:
    """Counts of one generation are one number, whatever merges and commits do meanwhile."""
    shop, rng = copy_to(place / "d", built), random.Random(5)
    store = shop.account._store
    stop, failures = threading.Event(), list[BaseException]()
    due: dict[int, list[Totals]] = {shop.account.generation(): wanted(shop.held, shop.account)}
    noted: list[tuple[int, list[Totals]]] = []

    def read() -> None:
        try:
            while not stop.is_set():
                with store.snapshot() as snapshot:
                    noted.append((snapshot.generation, seen(snapshot)))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        shop.account.merge()
        for _ in range(3):
            shop.write(some_writes(rng, 15))
            due[shop.account.generation()] = wanted(shop.held, shop.account)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert len(noted) > 20
    for generation, found in noted:
        assert found == due[generation]
    shop.check()
    shop.database.close()


# --- damage ----------------------------------------------------------------------------------------------------------


def test_a_cursor_that_nothing_leads_to_is_refused(place: Path, built: tuple[Path, Held]) -> None:
    shop = copy_to(place / "d", built)
    with shop.account._store.snapshot() as snapshot:
        first = snapshot.view.segments[0]
    with shop.account._store.write() as write:
        write_events_merged(write.txn, write.dbs[DB_META], EventsMerged(first.last - 1, 1, 0))
        write.changed_base()
    with pytest.raises(CorruptData, match="at which no segment of the log ends"):
        shop.account.merge()
    assert any("no segment of the log ends" in problem for problem in shop.account.verify())
    shop.database.close()


def test_a_row_that_is_there_already_is_not_written_twice(place: Path, built: tuple[Path, Held]) -> None:
    """As when a merge forgot how far it had come."""
    shop = copy_to(place / "d", built)
    total = transactions_of_a_merge(place / "counted", built)
    with cut_before(shop.account, total - 3), pytest.raises(Cut):
        shop.account.merge()
    assert cursor_of(shop.account) is not None
    with shop.account._store.write() as write:
        write_events_merged(write.txn, write.dbs[DB_META], None)
        write.changed_base()
    assert list(shop.account.verify()) != []
    with pytest.raises(CorruptData, match="is there already"):
        shop.account.merge()
    shop.database.close()
