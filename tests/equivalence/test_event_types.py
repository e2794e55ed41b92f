"""Events of every type, built in and declared, and the catalogue of their products: the oracle, the plan with and
without rules, and text agree on what was imported in bulk, on what was written live and not merged, on both merged,
between any two transactions of a merge, after one that was killed and the reopening, and in a database that is open for
reading only."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from segidx.database import Account, Database
from segidx.ingest import merger
from segidx.model.events import Event, EventType, Retraction
from segidx.model.expression import Expression
from segidx.model.results import Reject
from segidx.model.schema import AccountInfo
from segidx.model.windows import to_millis
from segidx.store import base
from segidx.testing.bulk import random_contacts
from segidx.testing.checks import check_expression
from segidx.testing.event_files import write_events_file
from segidx.testing.event_lives import SeededChooser
from segidx.testing.event_pools import ALL_TYPES, DECLARED, PRODUCT_PROPERTIES
from segidx.testing.event_questions import random_event_expression, random_event_group
from segidx.testing.generator_events import EventRow, EventRowGenerator
from segidx.testing.generator_products import random_product_writes
from segidx.testing.oracle import Oracle
from segidx.testing.pools import ZONES, pools_for
from segidx.testing.strategies import EVERY_TYPE

# About a leap day, the autumn change of clocks and the end of a month.
INSTANTS = ("2024-02-29T11:30:00+00:00", "2025-10-26T00:30:00+00:00", "2026-03-31T22:30:00+00:00")
FORMATS = (".parquet", ".csv", ".arrow")
TYPES = tuple(ALL_TYPES)


class Killed(Exception):
    """The process is said to end here."""


def told_apart(rejects: Sequence[Reject]) -> list[tuple[int, str, str]]:
    """Each by its index, field and reason. The API does not tell values of another type from others that cannot be."""
    return [(r.index, r.field, r.reason.replace("TYPE_MISMATCH", "INVALID_VALUE")) for r in rejects]


class Told:
    """An account and the oracle, told the same."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.number = seed
        self.rng = random.Random(seed)
        self.directory = directory
        self.zone = ZONES[seed % len(ZONES)]
        self.at = datetime.fromisoformat(INSTANTS[seed % len(INSTANTS)])
        self.now = to_millis(self.at)
        self.scale = (2, 0, 4)[seed % 3]
        self.pools = pools_for(self.at, self.zone)
        self.oracle = Oracle(EVERY_TYPE, self.zone, money_scale=self.scale)
        contacts = random_contacts(np.random.default_rng(seed), EVERY_TYPE, 40, self.pools)
        self.ids = [contact_id for contact_id, _ in contacts]
        self.rows = EventRowGenerator(
            SeededChooser(self.rng),
            [*self.ids, "new-1", "new-2", "new-3"],
            self.at,
            self.zone,
            types=TYPES,
            money_scale=self.scale,
        )
        self.database = Database.open(directory / "data", create=True, clock=lambda: self.now)
        self.account = self.database.create_account(AccountInfo("shop", self.zone, money_scale=self.scale))
        self.account.update_schema(EVERY_TYPE.fields)
        assert self.account.declare_event_types(DECLARED) == self.account.event_types == ALL_TYPES
        self.oracle.declare_event_types(DECLARED)
        self.oracle.catalogue.declare(PRODUCT_PROPERTIES)
        assert self.account.update_product_schema(PRODUCT_PROPERTIES) == self.oracle.catalogue.schema
        self.account.upsert(contacts)
        self.oracle.upsert(contacts)
        self._files = 0

    def close(self) -> None:
        self.database.close()

    # --- writing ---

    def write(self, count: int, *, bad_rows: bool = True) -> None:
        """One live commit."""
        rows = [
            self.rows.bad_row() if bad_rows and self.rng.randrange(12) == 0 else self.rows.row() for _ in range(count)
        ]
        # The API rounds instants down to milliseconds where the oracle refuses them.
        self.write_rows([row for row in rows if isinstance(row, Retraction) or not row.time.microsecond % 1000])
        if self.rng.randrange(4) == 0:
            self.set_group()
        if self.rng.randrange(2) == 0:
            self.write_products(self.rng.choice((1, 6, 30)))

    def write_products(self, count: int) -> None:
        """One commit of the catalogue."""
        rows = random_product_writes(self.rng, self.oracle.catalogue.schema, count)
        wanted, got = self.oracle.catalogue.write(rows), self.account.write_products(rows)
        assert told_apart(got.rejects) == told_apart(wanted.rejects)
        assert (got.accepted, got.created, got.deleted, got.duplicates) == (
            wanted.accepted,
            wanted.created,
            wanted.deleted,
            wanted.duplicates,
        )

    def write_rows(self, rows: Sequence[EventRow]) -> None:
        wanted, got = self.oracle.write_events(rows, self.now), self.account.write_events(rows)
        assert told_apart(got.event_rejects) == told_apart(wanted.rejects)
        assert (got.events_accepted, got.events_duplicates, got.created) == (
            wanted.accepted,
            wanted.duplicates,
            wanted.created,
        )

    def set_group(self) -> None:
        group = random_event_group(self.rng, self.pools, types=TYPES)
        self.oracle.set_event_group(group.name, group.members)
        assert self.account.set_event_group(group.name, group.members) == group
        assert self.account.event_groups == self.oracle.event_groups

    def import_type(self, type: EventType, count: int) -> None:
        """A file of events of one type; of orders, the orders."""
        if type.name == "order":
            orders = self.rows.imported_orders(count)
            wanted, result = self.oracle.write_events(orders, self.now), self.account.import_orders(orders)
            assert (result.accepted, result.created, result.duplicates) == (
                wanted.accepted,
                wanted.created,
                wanted.duplicates,
            )
            assert (wanted.rejects, result.rejects) == ((), ())
            return
        self._files += 1
        path = self.directory / f"{self._files}{FORMATS[self._files % 3]}"
        events = self.rows.imported(type, count)
        if path.suffix == ".csv":
            # Text has no empty strings.
            events = [
                Event(
                    e.type, e.event_id, e.contact_id, e.time, {n: v or None for n, v in e.properties.items() if v != ""}
                )
                if "" in e.properties.values()
                else e
                for e in events
            ]
        write_events_file(path, type, events, self.scale)
        wanted, report = self.oracle.write_events(events, self.now), self.account.import_events(type.name, path)
        assert (wanted.rejects, report.rejects) == ((), ())
        assert (report.rows, report.events, report.unchanged, report.contacts_created) == (
            count,
            wanted.accepted,
            wanted.duplicates,
            wanted.created,
        )

    def import_all(self, count: int) -> None:
        for type in TYPES:
            if type.name != "line":
                self.import_type(type, count)

    def change_contacts(self) -> None:
        changed = [(self.rng.choice(self.ids), {"score": Decimal(self.rng.randrange(5))}) for _ in range(3)]
        self.oracle.upsert(changed)
        self.account.upsert(changed)

    # --- asking ---

    def questions(self, count: int) -> list[Expression]:
        return [self._question() for _ in range(count)]

    def _question(self) -> Expression:
        products = self.oracle.catalogue.schema if self.rng.randrange(2) else None
        return random_event_expression(self.rng, EVERY_TYPE, self.pools, types=TYPES, products=products)

    def check(self, count: int = 25, account: Account | None = None) -> None:
        for question in self.questions(count):
            check_expression(account or self.account, self.oracle, question, self.at)

    def check_all(self) -> None:
        """And what is asked at the instant that is used when none is given, behind the newest event; and verify."""
        self.check()
        for question in self.questions(5):
            wanted = self.oracle.count(question, self.oracle.default_instant(self.now))
            assert self.account.count(question).count == wanted
        assert list(self.account.verify()) == []
        held = {product.product_id: product.properties for product in self.account.products(limit=1000)}
        assert held == self.oracle.catalogue.held
        assert list(held) == sorted(held, key=str.encode)

    def reopen(self) -> None:
        self.database.close()
        self.database = Database.open(self.directory / "data", clock=lambda: self.now)
        self.account = self.database.account("shop")
        assert self.account.event_types == ALL_TYPES
        assert self.account.event_groups == self.oracle.event_groups

    def check_read_only(self) -> None:
        """Closes the account for it."""
        self.database.close()
        with Database.open(self.directory / "data", read_only=True, clock=lambda: self.now) as reading:
            self.check(15, reading.account("shop"))
        self.reopen()


@contextmanager
def between_transactions(told: Told, *, kill_at: int = 0, questions: int = 2) -> Iterator[list[int]]:
    """While it lasts, some questions are asked before each transaction of a merge; that of the number `kill_at` does
    not come about. Gives the list of those that were begun."""
    store = told.account._store
    begin = store.write
    begun: list[int] = []

    def write(*arguments: object, **named: object) -> object:
        begun.append(len(begun) + 1)
        told.check(questions)
        if len(begun) == kill_at:
            raise Killed
        return begin(*arguments, **named)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "write", write)
        yield begun


@pytest.fixture
def told(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Told]:
    made = Told(tmp_path, getattr(request, "param", 0))
    try:
        yield made
    finally:
        made.close()


# Each has a zone and an instant of its own.
LIVES = pytest.mark.parametrize("told", range(2), indirect=True)
OTHER_LIVES = pytest.mark.parametrize("told", range(2, 4), indirect=True)
ALL_LIVES = pytest.mark.parametrize("told", range(4), indirect=True)


@LIVES
def test_imported(told: Told) -> None:
    told.import_all(40)
    told.check_all()
    told.write_products(40)
    told.check_all()
    told.import_all(15)
    told.check_all()
    told.check_read_only()
    told.check_all()


@OTHER_LIVES
def test_written_live(told: Told) -> None:
    """Nothing is merged but by `reopen` at most."""
    for size in (150, 1, 60, 60):
        told.write(size)
        told.check(12)
    told.change_contacts()
    told.write(40)
    told.check_all()
    told.reopen()
    told.check_all()
    told.check_read_only()
    told.account.merge()
    told.check_all()


@LIVES
def test_imported_then_written_then_merged(told: Told) -> None:
    told.import_all(25)
    for _ in range(3):
        for size in (60, 5):
            told.write(size)
        told.change_contacts()
        told.check_all()
        told.account.merge()
        told.check_all()
    told.write(60)
    told.import_all(8)  # over what is not merged, and over what is retracted
    told.check_all()
    told.write(40)
    told.reopen()
    told.check_all()


@OTHER_LIVES
def test_half_merged(told: Told) -> None:
    told.import_all(15)
    for _ in range(3):
        told.write(50)
    with between_transactions(told) as begun:
        told.account.merge()
    assert begun
    told.check_all()


@ALL_LIVES
def test_a_merge_that_was_killed(told: Told) -> None:
    """At each transaction: in the process that goes on or in one that opens it, with writes and imports on top."""
    told.import_all(15)
    told.write_products(30)
    for kill_at in range(1 + told.number, 30, 6):  # a sixth of all transactions; each of the six lives has another
        for _ in range(2):
            told.write(40)
        with between_transactions(told, kill_at=kill_at), suppress(Killed):
            told.account.merge()
        told.check(8)
        if told.rng.randrange(3):
            told.reopen()
            told.check(8)
        told.write(40)
        if told.rng.randrange(3) == 0:
            told.import_all(4)
        told.check_all()
    told.account.merge()
    told.check_all()


def test_ranges_that_are_merged_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contacts in three ranges of 16,384, events that move between them, and merges that are killed in between."""
    monkeypatch.setattr(base, "SLICE_BYTES", 6000)
    # Merges are only those that are asked for.
    monkeypatch.setattr(merger, "MERGE_BYTES", 1 << 24)
    monkeypatch.setattr(merger, "MERGE_SECONDS", 1000.0)
    contacts = [f"r{n}" for n in range(33_000)]
    with closing(Told(tmp_path, 1)) as told:
        told.account.upsert([(contact_id, {}) for contact_id in contacts])
        told.oracle.upsert([(contact_id, {}) for contact_id in contacts])
        # Numbers of contacts begin behind those of the life.
        edges = [edge - len(told.ids) + n for edge in (16_384, 32_768) for n in range(-3, 3)]
        told.rows.orders.contact_ids = [contacts[n] for n in (*edges, 0, 1, 32_999)] + told.ids[:3]
        told.import_all(10)
        told.account.merge()
        for kill_at in (2, 9, 16, 23, 30, 0):
            for _ in range(2):
                told.write(60)
            with between_transactions(told, kill_at=kill_at, questions=1) as begun, suppress(Killed):
                told.account.merge()
            if kill_at % 2:
                told.reopen()
                told.write(20)
            told.check(4)
        assert len(begun) > 30
        told.check_all()
