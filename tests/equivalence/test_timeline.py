"""Timelines of random lives against the oracle: from layers, from blocks, half merged, imported, in bulk, reopened, and
in pages of every size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from segidx.database import Account, Database
from segidx.ingest import merger, writer
from segidx.model.errors import ContactNotFound
from segidx.model.events import Order
from segidx.model.results import ContactEvent
from segidx.model.schema import AccountInfo, Field, FieldType, Schema
from segidx.model.windows import from_millis, to_millis
from segidx.store.environment import WriteTransaction
from segidx.testing import oracle_writes
from segidx.testing.account_lives import AT, BULK
from segidx.testing.effort import seeds
from segidx.testing.event_files import write_events_file
from segidx.testing.event_pools import DECLARED
from segidx.testing.generator import RandomChooser
from segidx.testing.generator_events import EventRowGenerator
from segidx.testing.oracle import Oracle
from segidx.testing.oracle_timeline import events_of, history_in, history_of, in_order, without_history
from segidx.testing.places import quick_directory

SCHEMA = Schema(
    (
        Field("stage", FieldType.CATEGORY, tracked=True),
        Field("vip", FieldType.BOOL, tracked=True),
        Field("tags", FieldType.TAGS, tracked=True),
        Field("city", FieldType.CATEGORY),
    )
)
STAGES = ("lead", "mql", "won", None)
TAGS = ("a", "b", "łódź")


@pytest.fixture
def place() -> Iterator[Path]:
    with quick_directory() as directory:
        yield directory


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merges when the tests say so; small batches that go straight into the base; segments of a few commits."""
    monkeypatch.setattr(writer, "BULK_CONTACTS", BULK)
    monkeypatch.setattr(merger, "SEGMENT_BYTES", 3000)
    monkeypatch.setattr(merger, "MERGE_BYTES", 1 << 30)
    monkeypatch.setattr(merger, "MERGE_SECONDS", 1000.0)


def pages(account: Account, contact_id: str, size: int, *, oldest_first: bool = False) -> list[ContactEvent]:
    """The whole timeline, page by page."""
    found: list[ContactEvent] = []
    token = ""
    while True:
        page = account.contact_events(contact_id, page_size=size, page_token=token, oldest_first=oldest_first)
        assert page.evaluation.generation == account.generation()
        assert len(page.events) == size if page.next_page_token else len(page.events) <= size
        found += page.events
        token = page.next_page_token
        if not token:
            return found


class TimelineLife:
    def __init__(self, directory: Path, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.directory = directory
        self.now = to_millis(AT) - 3_600_000
        self.ids = [f"c{i}" for i in range(8)]
        self.oracle = Oracle(SCHEMA, "UTC", clock=lambda: self.now)
        self.database = Database.open(directory, create=True, clock=lambda: self.now)
        self.account = self.database.create_account(AccountInfo("test"))
        self.account.update_schema(SCHEMA.fields)
        self.types = list(self.account.declare_event_types(DECLARED))
        self.oracle.declare_event_types(DECLARED)
        self.generator = EventRowGenerator(
            RandomChooser(self.rng), self.ids, AT, types=self.types, latest=from_millis(self.now)
        )
        self.compared = 0
        self.half_merged = 0  # looks at what a merge had folded in part

    def close(self) -> None:
        self.database.close()

    # --- writes ---

    def write(self) -> None:
        rows = self.generator.rows(int(self.rng.integers(1, 15)))
        rows = [row for row in rows if not hasattr(row, "time") or not row.time.microsecond % 1000]
        told = oracle_writes.write_events(self.oracle, rows, self.now)
        assert self.account.write_events(rows).events_accepted == told.result.accepted

    def import_events(self) -> None:
        choice = [type for type in self.types if type.name != "line"]
        type = choice[int(self.rng.integers(len(choice)))]
        if type.name == "order":
            orders = self.generator.imported_orders(8)
            oracle_writes.write_events(self.oracle, orders, self.now)
            self.account.import_orders(row for row in orders if isinstance(row, Order))
        else:
            events = self.generator.imported(type, 8)
            path = self.directory.parent / f"{self.rng.integers(1 << 40)}.parquet"
            write_events_file(path, type, events, self.oracle.money_scale)
            oracle_writes.write_events(self.oracle, events, self.now)
            self.account.import_events(type.name, path)

    def change_fields(self, contacts: int = 4) -> None:
        self.now += int(self.rng.integers(0, 50))
        ids = [self.ids[int(i)] for i in self.rng.permutation(len(self.ids))[:contacts]]
        rows = [
            (
                contact_id,
                {
                    "stage": STAGES[int(self.rng.integers(4))],
                    "vip": (True, False, None)[int(self.rng.integers(3))],
                    "tags": frozenset(tag for tag in TAGS if self.rng.integers(2)),
                    "city": "x",
                },
            )
            for contact_id in ids
        ]
        self.oracle.upsert(rows)
        self.account.upsert(rows)

    def change_in_bulk(self) -> None:
        extra = [(f"extra {i}", {"stage": "lead"}) for i in range(BULK)]
        rows = [(contact_id, {"stage": STAGES[int(self.rng.integers(3))]}) for contact_id in self.ids]
        self.oracle.upsert([*extra, *rows])
        self.account.upsert([*extra, *rows])

    def merge(self) -> None:
        with self._looked_at_between():
            self.account.merge()

    def reopen(self) -> None:
        self.database.close()
        self.database = Database.open(self.directory, clock=lambda: self.now)
        self.account = self.database.account("test")

    @contextmanager
    def _looked_at_between(self) -> Iterator[None]:
        """What a merge has half done is looked at before each of its transactions."""
        store = self.account._store
        write = store.write

        @contextmanager
        def watched() -> Iterator[WriteTransaction]:
            with store.snapshot() as snapshot:
                half = snapshot.events_merged is not None
            self.half_merged += half
            for contact_id in self.ids if half else self.ids[:1]:
                self.check_one(contact_id)
            with write() as transaction:
                yield transaction

        store.write = watched  # type: ignore[method-assign]
        try:
            yield
        finally:
            store.write = write  # type: ignore[method-assign]

    # --- comparisons ---

    def check_one(self, contact_id: str) -> None:
        if contact_id not in self.oracle.contacts:
            with pytest.raises(ContactNotFound):
                self.account.contact_events(contact_id)
            return
        whole = pages(self.account, contact_id, 1000)
        assert [event.time for event in whole] == sorted((event.time for event in whole), reverse=True)
        assert without_history(whole) == events_of(self.oracle, contact_id)
        assert history_in(reversed(whole)) == history_of(self.oracle, contact_id)
        self.compared += len(whole)
        size = int(self.rng.integers(1, 12))
        assert pages(self.account, contact_id, size) == whole
        assert pages(self.account, contact_id, size, oldest_first=True) == whole[::-1]

    def check_filtered(self) -> None:
        contact_id = next(iter(self.oracle.contacts.keys() & set(self.ids)))
        whole = self.account.contact_events(contact_id, page_size=1000).events
        names = sorted({self.types[int(self.rng.integers(len(self.types)))].name for _ in range(3)} - {"line"})
        low, high = sorted(int(self.rng.integers(to_millis(AT) - 400 * 86_400_000, self.now)) for _ in range(2))
        if whole and self.rng.integers(2):
            low = to_millis(whole[-1].time)
            high = max(low + 1, to_millis(whole[len(whole) // 2].time))
        start, end = from_millis(low), from_millis(high)
        found = self.account.contact_events(contact_id, types=names, start_time=start, end_time=end, page_size=1000)
        wanted = [event for event in whole if start <= event.time < end and (event.type in names or not names)]
        assert in_order(found.events) == in_order(wanted)


STEPS = (
    *("write",) * 8,
    *("import_events",) * 2,
    *("change_fields",) * 4,
    "change_in_bulk",
    "merge",
    "merge",
    "reopen",
)


@pytest.mark.parametrize("seed", seeds(2))
def test_a_random_life(place: Path, seed: int) -> None:
    with closing(TimelineLife(place / "d", seed)) as life:
        for step in range(40):
            getattr(life, STEPS[int(life.rng.integers(len(STEPS)))])()
            if step % 2:
                life.check_one(life.ids[int(life.rng.integers(len(life.ids)))])
            if step % 4 == 3 and life.oracle.contacts.keys() & set(life.ids):
                life.check_filtered()
        for _ in range(2):
            for contact_id in life.ids:
                life.check_one(contact_id)
            life.merge()
        assert life.compared > 500
        assert life.half_merged > 0


def test_every_size_of_pages(place: Path) -> None:
    """Of a contact with ties, in layers above blocks."""
    with closing(TimelineLife(place / "d", 9)) as life:
        life.generator.orders.contact_ids = life.ids[:2]
        for _ in range(5):
            life.write()
            life.change_fields(8)
        life.merge()
        for _ in range(3):
            life.write()
        whole = pages(life.account, "c0", 1000)
        assert len({event.time for event in whole}) < len(whole) > 20
        for size in range(1, len(whole) + 2):
            assert pages(life.account, "c0", size) == whole
            assert pages(life.account, "c0", size, oldest_first=True) == whole[::-1]
