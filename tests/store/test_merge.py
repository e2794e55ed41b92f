"""Merges at the level of an account: cut short at every transaction, then read, changed, reopened and done again; while
others read; texts promoted; the feed, receipts and log trimmed."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pyroaring import BitMap

from segidx.database import Account, Database
from segidx.exec.fetch import fetch_contacts
from segidx.ingest import merger, writer
from segidx.model.errors import GenerationExpired, InvalidArgument
from segidx.model.expression import ChannelState, OnChannel
from segidx.model.schema import Field, FieldType, Schema
from segidx.model.writes import Channel, ChannelFlag, ContactWrite
from segidx.store import base, merge
from segidx.store.environment import WriteTransaction
from segidx.store.snapshot import Snapshot
from segidx.testing import oracle_writes
from segidx.testing.checks import check_suggestions
from segidx.testing.oracle import Oracle
from segidx.testing.places import quick_directory

SCHEMA = Schema(
    (
        Field("city", FieldType.TEXT),
        Field("country", FieldType.CATEGORY),
        Field("tags", FieldType.TAGS),
        Field("score", FieldType.NUMBER),
        Field("vip", FieldType.BOOL),
        Field("email", FieldType.TEXT),
    )
)
AT = datetime(2024, 1, 1, tzinfo=UTC)
CONTACTS = 40
HOUR = 3_600_000


@pytest.fixture
def place() -> Iterator[Path]:
    with quick_directory() as directory:
        yield directory


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "TEXT_POSTING_MIN", 4)
        patch.setattr(base, "SLICE_BYTES", 2000)
        patch.setattr(base, "SLICE_STRINGS", 20)
        patch.setattr(merger, "MERGE_SECONDS", 1000.0)  # merges come when they are asked for
        yield


class Cut(Exception):
    """The process is killed here."""


@contextmanager
def cut_behind(account: Account, transactions: int) -> Iterator[None]:
    """Every write transaction behind so many raises before it begins."""
    store = account._store
    write, done = store.write, 0

    @contextmanager
    def counted() -> Iterator[WriteTransaction]:
        nonlocal done
        if done == transactions:
            raise Cut
        done += 1
        with write() as transaction:
            yield transaction

    store.write = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        store.write = write  # type: ignore[method-assign]


class Shop:
    """An account and the oracle, told the same."""

    def __init__(self, directory: Path, oracle: Oracle | None = None) -> None:
        self.now = 100 * HOUR
        self.directory = directory
        self.database = Database.open(directory, create=True, clock=lambda: self.now)
        self.account = self.database.account()
        if oracle is None:
            oracle = Oracle(SCHEMA, "UTC")
            self.account.update_schema(SCHEMA.fields)
        self.oracle = oracle

    def write(self, rows: list[ContactWrite]) -> None:
        oracle_writes.write(self.oracle, rows)
        assert self.account.write(rows).rejects == ()

    def reopen(self) -> None:
        self.database.close()
        self.database = Database.open(self.directory, clock=lambda: self.now)
        self.account = self.database.account()

    def check(self) -> None:
        check(self.account, self.oracle)


def check(account: Account, oracle: Oracle) -> None:
    """Columns, dictionaries, postings of tags, texts and flags, and all counts."""
    shown = account.preview("everyone", limit=1000).contacts
    assert [c.contact_id for c in shown] == list(oracle.contacts), "in order of their making"
    assert [dict(c.fields) for c in shown] == list(oracle.contacts.values())
    for field in ("city", "country", "tags", "email"):
        check_suggestions(account, oracle, field, "")
    for name in ("city", "country"):
        for value in ("a", "b", "c", "d", "e", "nowhere"):
            wanted = sum(fields.get(name) == value for fields in oracle.contacts.values())
            assert account.count(f'{name} = "{value}"').count == wanted, (name, value)
            assert account.count(f'not {name} = "{value}"').count == len(oracle.contacts) - wanted, (name, value)
    for node in (OnChannel(Channel.EMAIL, state) for state in ChannelState):
        assert account.count(node).count == oracle.count(node, AT)
    for field in SCHEMA:
        wanted = sum(field.name in fields for fields in oracle.contacts.values())
        assert account.count(f"{field.name} is set").count == wanted


def build(directory: Path) -> Oracle:
    """A base, and a log above it that makes texts frequent and rare, clears values, and creates contacts."""
    shop = Shop(directory)
    bounced = {Channel.EMAIL: {ChannelFlag.HARD_BOUNCED: True}}
    consented = {Channel.EMAIL: {ChannelFlag.CONSENT: True}}
    # In the base: a is kept, b rare, d kept.
    cities = ["a"] * 12 + ["b"] * 3 + ["d"] * 5
    shop.write(
        [
            ContactWrite(
                f"c{i}",
                {"city": cities[i], "country": "ab"[i % 2], "score": i, "email": f"e{i}", "vip": i % 3 == 0},
                {"tags": ["x", f"t{i % 4}"]},
                channels=consented if i % 2 else bounced,
            )
            for i in range(20)
        ]
    )
    shop.account.merge()
    # In the log: b is to be promoted, c is new and to be promoted, d falls to nothing, e stays rare.
    shop.write([ContactWrite(f"c{i}", {"city": "b", "score": None}) for i in range(8, 12)])
    shop.write([ContactWrite(f"c{i}", {"city": "c"}, {"tags": ["y"]}, {"tags": ["x"]}) for i in range(15, 20)])
    shop.write(
        [
            ContactWrite(f"c{i}", {"city": "ecac"[i % 4], "country": "c", "email": f"new {i}"}, {"tags": ["z"]})
            for i in range(20, CONTACTS)
        ]
    )
    shop.write([ContactWrite(f"c{i}", {"email": f"other {i}", "country": None}) for i in range(0, 20, 2)])
    shop.check()
    shop.database.close()
    return shop.oracle


def copy_of(oracle: Oracle) -> Oracle:
    copy = Oracle(oracle.schema, "UTC")
    copy.contacts = {name: dict(fields) for name, fields in oracle.contacts.items()}
    copy.flags = {name: set(flags) for name, flags in oracle.flags.items()}
    return copy


CHANGES = {
    "nothing": [],
    "other holders": [ContactWrite(f"c{i}", {"city": "abcde"[(i + 1) % 5]}) for i in range(0, CONTACTS, 2)],
    "rare again": [ContactWrite(f"c{i}", {"city": "a"}, {"tags": ["x"]}) for i in range(5, CONTACTS - 2)],
    "all gone": [ContactWrite(f"c{i}", {"city": None, "country": "d"}, {}, {"tags": ["z"]}) for i in range(CONTACTS)],
}


@pytest.fixture(scope="module")
def built(tiny: None) -> Iterator[tuple[Path, Oracle]]:
    with quick_directory() as directory:
        yield directory / "built", build(directory / "built")


def copy_to(to: Path, built: tuple[Path, Oracle]) -> Shop:
    shutil.copytree(built[0], to)
    return Shop(to, copy_of(built[1]))


def transactions_of_a_merge(place: Path, built: tuple[Path, Oracle]) -> int:
    shop = copy_to(place, built)
    write, done = shop.account._store.write, []

    @contextmanager
    def counted() -> Iterator[WriteTransaction]:
        done.append(1)
        with write() as transaction:
            yield transaction

    shop.account._store.write = counted  # type: ignore[method-assign]
    shop.account.merge()
    shop.check()
    shop.database.close()
    return len(done)


def test_a_merge_cut_short_at_every_transaction(place: Path, built: tuple[Path, Oracle]) -> None:
    """Reads exact, reopened exact, changed exact, merged exact; and sound throughout."""
    total = transactions_of_a_merge(place / "counted", built)
    assert total > 12
    for number in range(total):
        change = CHANGES[sorted(CHANGES)[number % len(CHANGES)]]
        shop = copy_to(place / f"cut {number}", built)
        with cut_behind(shop.account, number), pytest.raises(Cut):
            shop.account.merge()
        shop.check()
        if number % 2:
            shop.reopen()
            shop.check()
        if change:
            shop.write(change)
            shop.check()
        if number % 3 == 0:  # cut short again, elsewhere
            with cut_behind(shop.account, total - 1 - number), suppress(Cut):
                shop.account.merge()
            shop.check()
        assert list(shop.account.verify()) == []
        shop.account.merge()
        shop.check()
        assert shop.account.stats().log_bytes == 0
        assert list(shop.account.verify()) == []
        shop.reopen()
        shop.check()
        shop.database.close()
        shutil.rmtree(place / f"cut {number}")


def test_a_bulk_batch_behind_a_merge_that_was_cut_short(
    place: Path, built: tuple[Path, Oracle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "BULK_CONTACTS", 30)
    monkeypatch.setattr(writer, "GROUP_CONTACTS", 29)
    for number in (1, 5, 9):
        shop = copy_to(place / f"bulk {number}", built)
        with cut_behind(shop.account, number), pytest.raises(Cut):
            shop.account.merge()
        shop.write(CHANGES["rare again"])
        assert shop.account.stats().log_bytes == 0
        shop.check()
        shop.write(CHANGES["other holders"])
        shop.check()
        assert list(shop.account.verify()) == []
        shop.database.close()


def test_a_text_crosses_the_threshold_again_and_again(place: Path) -> None:
    """From rare to kept to none and back, with merges between, or none."""
    shop = Shop(place / "d")
    for step, holders in enumerate((3, 4, 9, 2, 0, 1, 5, 0, 4)):
        shop.write([ContactWrite(f"c{i}", {"city": "a" if i < holders else "b"}) for i in range(12)])
        shop.check()
        if step % 2:
            shop.account.merge()
            shop.check()
            assert list(shop.account.verify()) == []
    shop.database.close()


def test_snapshots_opened_before_a_merge_and_within_it(place: Path, built: tuple[Path, Oracle]) -> None:
    """Each reads what it saw when it was opened, while transactions go by."""
    shop = copy_to(place / "d", built)
    store = shop.account._store
    city = SCHEMA["city"]

    def seen(snapshot: Snapshot) -> object:
        contacts = fetch_contacts(snapshot, np.arange(len(snapshot.ids), dtype=np.uint32), SCHEMA.fields)
        for text in "abcde":
            code = snapshot.code_of(city, text)
            holders = BitMap(o for o, contact in enumerate(contacts) if contact.fields.get("city") == text)
            assert (0 if code is None else snapshot.value_count(1, code)) == len(holders)
            if code is not None and snapshot.has_posting(city, code):
                posting = snapshot.posting(1, code)
                assert BitMap(o for o in range(len(contacts)) if o in posting) == holders
        bounds = snapshot.column_bounds(snapshot.field_id(SCHEMA["score"]))
        return snapshot.generation, contacts, bounds, snapshot.live_count()

    held: list[tuple[Snapshot, object]] = []
    write = store.write

    @contextmanager
    def watched() -> Iterator[WriteTransaction]:
        snapshot = store.snapshot()
        held.append((snapshot, seen(snapshot)))
        with write() as transaction:
            yield transaction

    store.write = watched  # type: ignore[method-assign]
    shop.account.merge()
    shop.write(CHANGES["other holders"])
    shop.account.merge()
    store.write = write  # type: ignore[method-assign]
    assert len(held) > 12
    generations = {snapshot.generation for snapshot, _ in held}
    assert len(generations) == 2
    first: dict[int, object] = {}
    for snapshot, then in held:
        assert seen(snapshot) == then
        assert first.setdefault(snapshot.generation, then) == then, "a merge changes no answer"
        snapshot.close()
    shop.database.close()


def test_readers_in_threads_while_merging(place: Path, built: tuple[Path, Oracle]) -> None:
    shop = copy_to(place / "d", built)
    stop, failures = threading.Event(), []

    def read() -> None:
        try:
            while not stop.is_set():
                total = shop.account.count("everyone").count
                assert total == CONTACTS
                parts = [shop.account.count(f'city = "{c}"').count for c in "abcde"]
                with shop.account._store.snapshot() as snapshot:
                    generation = snapshot.generation
                if generation == shop.account.generation() == first:
                    assert parts == wanted
        except BaseException as error:
            failures.append(error)

    first = shop.account.generation()
    wanted = [sum(f.get("city") == c for f in shop.oracle.contacts.values()) for c in "abcde"]
    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    shop.account.merge()
    for change in list(CHANGES.values()) * 2:
        shop.write(change)
        shop.account.merge()
        shop.check()
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures
    shop.database.close()


def test_a_commit_that_races_with_a_merge(place: Path, built: tuple[Path, Oracle]) -> None:
    """Commits between the transactions of a merge: none in a segment that is being merged."""
    shop = copy_to(place / "d", built)
    store = shop.account._store
    write, number, busy = store.write, 0, False

    @contextmanager
    def racing() -> Iterator[WriteTransaction]:
        nonlocal number, busy
        if not busy and number < 12:
            busy = True
            number += 1
            shop.write([ContactWrite(f"race {number}", {"city": "c", "score": number}, {"tags": [f"r{number}"]})])
            shop.write([ContactWrite(f"c{number}", {"city": f"own {number}", "score": None}, {}, {"tags": ["x"]})])
            busy = False
        with write() as transaction:
            yield transaction

    store.write = racing  # type: ignore[method-assign]
    shop.account.merge()
    store.write = write  # type: ignore[method-assign]
    assert number > 5
    shop.check()
    assert list(shop.account.verify()) == []
    assert shop.account.stats().merged_generation < shop.account.generation()
    shop.reopen()
    shop.check()
    shop.account.merge()
    shop.check()
    assert list(shop.account.verify()) == []
    shop.database.close()


# --- what is kept, and for how long ------------------------------------------------------------------------------


def test_the_log_is_trimmed_in_small_transactions(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "_TRIM_MOST", 3)
    shop = Shop(place / "d")
    for number in range(10):
        shop.write([ContactWrite(f"c{number}", {"score": number})])
    assert shop.account.stats().log_records == 10
    shop.account.merge()
    stats = shop.account.stats()
    assert (stats.log_bytes, stats.log_records, stats.merged_generation, stats.generation) == (0, 0, 10, 10)
    with shop.account._store.snapshot() as snapshot:
        assert snapshot.txn.stat(snapshot.dbs[b"log"])["entries"] == 0
    shop.check()
    shop.database.close()


def test_the_feed_and_receipts_are_kept_for_their_time_only(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many commits there are between two merges."""
    monkeypatch.setattr(merge, "_TRIM_MOST", 3)
    shop = Shop(place / "d")
    begun = shop.now
    for number in range(10):
        shop.now = begun + number * HOUR
        shop.account.write([ContactWrite(f"c{number}")], batch_key=f"key {number}")
    assert len(shop.account.changes(0)) == 10
    shop.now = begun + 28 * HOUR + HOUR // 2  # generations 1 to 5 are older than a day
    shop.account.merge()
    with pytest.raises(GenerationExpired) as caught:
        shop.account.changes(0)
    assert caught.value.metadata["oldest"] in (5, "5")
    with pytest.raises(GenerationExpired):
        shop.account.changes(4)
    assert [part.generation for part in shop.account.changes(5)] == [6, 7, 8, 9, 10]
    assert shop.account.changes(10) == []
    with pytest.raises(InvalidArgument):
        shop.account.changes(11)
    with pytest.raises(InvalidArgument):
        shop.account.changes(-1)
    assert shop.account.write([ContactWrite("new")], batch_key="key 0").replayed
    shop.now = begun + 52 * HOUR + HOUR // 2  # the receipts of 1 to 5 are older than two days
    shop.account.merge()
    assert not shop.account.write([ContactWrite("new")], batch_key="key 4").replayed
    assert shop.account.write([ContactWrite("none")], batch_key="key 5").replayed
    shop.now = begun + 1000 * HOUR
    shop.account.merge()
    with shop.account._store.snapshot() as snapshot:
        assert snapshot.txn.stat(snapshot.dbs[b"receipts"])["entries"] == 0
    with pytest.raises(GenerationExpired):
        shop.account.changes(10)
    assert shop.account.changes(11) == []
    shop.database.close()
