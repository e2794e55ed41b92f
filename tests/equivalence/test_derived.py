"""Derived numbers: the oracle, the plan with and without rules, text and a server agree in lives in which events come
late, are replaced, moved to another contact, retracted and stamped ahead, with columns and bands that are declared
before and after them, taken away and declared otherwise, as of instants before, at and behind the newest event."""

from __future__ import annotations

import random
import threading
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from segidx.client import connect
from segidx.database import Account, Database
from segidx.exec.evaluate import count
from segidx.exec.query import prepare
from segidx.ingest import derived as building
from segidx.ingest import merger, writer
from segidx.model.derived import BUILT_IN
from segidx.model.events import Event, EventRow, Order, OrderLine, Retraction
from segidx.model.schema import AccountInfo, Field, FieldType, Schema
from segidx.model.syntax import parse
from segidx.model.windows import to_millis
from segidx.plan import derived as choosing
from segidx.plan.context import BindContext
from segidx.plan.nodes import DerivedScan, Plan
from segidx.service.server import start
from segidx.store import base
from segidx.store.columns import changed_chunk
from segidx.store.derived import kept_numbers
from segidx.store.layout import DB_COLUMNS, block_key, derived_column
from segidx.store.snapshot import Snapshot
from segidx.testing.checks import check_expression
from segidx.testing.oracle import Oracle

AT = datetime(2025, 3, 31, 12, 0, tzinfo=UTC)
ZONE = "Europe/Warsaw"
SCHEMA = Schema((Field("n", FieldType.NUMBER),))
TIMES = [
    *(AT - timedelta(days=days) for days in (400, 300, 95, 40, 31, 8, 7, 3)),
    *(AT - timedelta(milliseconds=milliseconds) for milliseconds in (86_400_001, 2, 1)),
    AT,
    AT + timedelta(milliseconds=1),
    AT + timedelta(hours=3),
]
INSTANTS = [
    AT + timedelta(hours=3, milliseconds=1),
    AT + timedelta(hours=3),
    AT + timedelta(milliseconds=1),
    AT,
    AT - timedelta(days=1),
    AT - timedelta(days=30, hours=5),
]
CONTACTS = [f"c{n}" for n in range(14)]
DECLARED = [
    "sum(line.quantity where quantity > 0)",
    'count(message where kind = "clicked")',
    "max(visit.dwell)",
    "min(order.amount where amount > 10)",
    'first(visit where url contains "a").time',
    "count(interaction)",
    "first(touch).time",
]
ASKED = [
    "sum(order.amount) > 100",
    "sum(order.amount) <= 50",
    "sum(order.amount) between 0 and 200",
    "count(order) >= 2",
    "count(order) < 2",
    "count(order) = 1",
    "did(order)",
    "never(order)",
    "first(order).time before 2025-03-01",
    "last(order).time after 2025-03-24",
    "days_since(last(order)) > 6",
    "days_since(last(interaction)) <= 3",
    "last(interaction).time after 2025-03-28",
    "sum(line.quantity where quantity > 0) >= 3",
    "sum(line.quantity) >= 3",
    'count(message where kind = "clicked") >= 1',
    'count(message where kind = "clicked") = 0',
    "max(visit.dwell) >= 20",
    "min(order.amount where amount > 10) < 60",
    'first(visit where url contains "a").time before 2025-03-25',
    'first(visit where url contains "b").time before 2025-03-25',
    "count(interaction) >= 4",
    "count(interaction) between 1 and 3",
    "did(interaction)",
    "days_since(first(touch)) > 7",
    "sum(order.amount during last 1 month) > 50",
    "sum(order.amount) > 2 * count(order)",
    'band(spend) = "none"',
    'band(spend) in ("<50", "200+")',
    'band(spend) = "50-200" and n < 9',
    'not band(spend) = "<50" and n >= 3',
    'band(spend) in ("<50", "50-200")',
    "sum(order.amount) >= 50",
    "sum(order.amount) < 200",
    "count(order) between 2 and 3",
    'band(often) in ("few", "some", "many")',
    'band(often) = "some" or band(spend) = "200+"',
    'band(clicks) = "1-2" and n < 9',
    "sum(order.amount) > 100 and not days_since(last(order)) > 6 or count(interaction) > 5",
]


class Killed(Exception):
    """A merge that ends here."""


@pytest.fixture(autouse=True)
def all_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns are asked although all ranges are late; merges begin when they are told to."""
    monkeypatch.setattr(choosing, "_MOST_LATE", 1e9)
    monkeypatch.setattr(merger, "MERGE_SECONDS", 100_000.0)


class Told:
    """An account and an oracle that are told the same."""

    def __init__(self, account: Account, seed: int) -> None:
        self.rng = random.Random(seed)
        self.account = account
        self.oracle = Oracle(SCHEMA, ZONE)
        account.update_schema(SCHEMA.fields)
        contacts = [(contact_id, {"n": Decimal(n)}) for n, contact_id in enumerate([*CONTACTS, "nobody"])]
        account.upsert(contacts)
        self.oracle.upsert(contacts)
        self.band("spend", "sum(order.amount)", (50, 200))
        self.band("clicks", 'count(message where kind = "clicked")', (1, 2))
        self.band("often", "count(order)", (2, 4), ("none", "few", "some", "many"))

    def band(self, name: str, value: str, thresholds: tuple[int, ...], labels: tuple[str, ...] | None = None) -> None:
        of = self.account.declare_bands(name, value, thresholds, labels)
        self.oracle.declare_bands(name, of.value, of.thresholds, of.labels)

    def declare(self) -> None:
        """Other numbers than before, under the same few names, and other bands."""
        self.band("often", "count(order)", self.rng.choice(((2, 4), (1, 3))), ("none", "few", "some", "many"))
        if "more" in self.account.bands:
            self.account.remove_bands("more")
        elif self.rng.randrange(2):
            self.account.declare_bands("more", "sum(order.amount)", self.rng.choice(((-20, 50, 60), (100,), (50, 200))))
        for name in ("one", "two", "three"):
            if self.rng.randrange(4) == 0 and name in self.account.derived:
                self.account.remove_derived(name)
            else:
                self.account.declare_derived(name, self.rng.choice(DECLARED))

    def row(self) -> EventRow:
        number, contact_id, time = self.rng.randrange(60), self.rng.choice(CONTACTS), self.rng.choice(TIMES)
        kind = self.rng.randrange(9)
        if kind == 0:
            return Retraction(self.rng.choice(("order", "visit", "message")), f"e{number}")
        if kind <= 2:
            dwell = None if self.rng.randrange(4) == 0 else Decimal(self.rng.choice((5, 20, 40)))
            url = self.rng.choice(("/a", "/b", f"/a{number}"))
            return Event("visit", f"e{number}", contact_id, time, {"dwell": dwell, "url": url})
        if kind <= 4:
            sent = self.rng.choice(("sent", "clicked", "opened"))
            return Event("message", f"e{number}", contact_id, time, {"channel": "email", "kind": sent})
        if kind <= 6:
            quantity = Decimal(self.rng.choice((1, 1, 2, -1)))
            line = OrderLine("p", quantity=quantity, unit_price=Decimal(self.rng.choice(("9.99", "60"))))
            return Order(f"e{number}", contact_id, time, lines=[line] * self.rng.randrange(1, 4))
        return Order(f"e{number}", contact_id, time, amount=Decimal(self.rng.choice(("100", "-50", "0.01", "49.99"))))

    def rows(self, count: int) -> list[EventRow]:
        return [self.row() for _ in range(count)]

    def write(self, count: int) -> None:
        rows = self.rows(count)
        wanted, got = self.oracle.write_events(rows, to_millis(AT)), self.account.write_events(rows)
        assert (got.events_accepted, got.event_rejects, wanted.rejects) == (wanted.accepted, (), ())

    def import_orders(self, count: int) -> None:
        """Straight into the base, in place of orders that are there."""
        rows = {row.order_id: row for row in self.rows(6 * count) if isinstance(row, Order)}
        orders = list(rows.values())[:count]
        self.oracle.write_events(orders, to_millis(AT))
        self.account.import_orders(orders)

    def check(self, count: int = 8) -> None:
        at = self.rng.choice(INSTANTS)
        for text in self.rng.sample(ASKED, count):
            check_expression(self.account, self.oracle, parse(text), at)


def scans(plan: Plan) -> int:
    return isinstance(plan, DerivedScan) + sum(map(scans, plan.children))


def derived_scans(account: Account, text: str, at: datetime) -> int:
    """How many parts of a question columns answer."""
    with account._store.snapshot() as snapshot:
        return scans(prepare(text, BindContext(snapshot, to_millis(at), account.info.tz)).plan)


def differing(account: Account, text: str, at: datetime) -> tuple[int, int]:
    """The count with and without rules."""
    with account._store.snapshot() as snapshot:
        return differing_in(snapshot, text, at)


def differing_in(snapshot: Snapshot, text: str, at: datetime) -> tuple[int, int]:
    found = []
    for optimised in (True, False):
        context = BindContext(snapshot, to_millis(at), snapshot.catalog.account.tz)
        found.append(count(prepare(text, context, optimised=optimised).plan, context))
    return found[0], found[1]


@pytest.mark.parametrize("seed", range(4))
def test_lives(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if seed % 2:  # imports are large: columns are built behind them, and do not follow
        monkeypatch.setattr(writer, "BULK_EVENTS", 5)
        monkeypatch.setattr(merger, "QUIET_SECONDS", 0.0)
    if seed >= 2:
        monkeypatch.setattr(merger, "SEGMENT_BYTES", 2000)
    told: Told | None = None
    for round in range(3):
        with Database.open(tmp_path / "data", create=not round, clock=lambda: to_millis(AT)) as database:
            if told is None:
                told = Told(database.create_account(AccountInfo("shop", ZONE)), seed)
                told.check()
            told.account = database.account("shop")
            for count in (40, 1, 25):
                if told.rng.randrange(2):
                    told.declare()
                told.write(count)
                told.check()
                step = told.rng.randrange(3)
                if step == 0:
                    told.account.merge()
                elif step == 1:
                    told.import_orders(20)
                told.check()
            assert list(told.account.verify()) == []
    assert told is not None
    with Database.open(tmp_path / "data", read_only=True, clock=lambda: to_millis(AT)) as reading:
        told.account = reading.account("shop")
        told.check(len(ASKED))


def test_half_merged_and_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked before each transaction of merges and of building, some of which are cut short; columns and events are in
    step wherever that is."""
    monkeypatch.setattr(base, "SLICE_BYTES", 6000)
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database:
        told = Told(database.create_account(AccountInfo("shop", ZONE)), 31)
        begin = told.account._store.write
        for cut in (1, 3, 5, 8, 0):
            told.write(60)
            told.declare()
            told.write(30)
            begun: list[int] = []

            def write(*arguments: object, begun: list[int] = begun, cut: int = cut, **named: object) -> object:
                begun.append(1)
                told.check(3)
                assert list(told.account.verify()) == []
                if len(begun) == cut:
                    raise Killed
                return begin(*arguments, **named)  # type: ignore[arg-type]

            with monkeypatch.context() as patch, suppress(Killed):
                patch.setattr(told.account._store, "write", write)
                told.account.merge()
            told.check(len(ASKED))
            assert list(told.account.verify()) == []


@pytest.mark.parametrize("seed", range(3))
def test_snapshots_of_any_moment(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one snapshot has made of layers serves others, be they older or newer, before, while and after these are
    merged: they are asked in any order, and more than once."""
    monkeypatch.setattr(base, "SLICE_BYTES", 3000)
    monkeypatch.setattr(merger, "SEGMENT_BYTES", (1 << 30, 4000, 1)[seed])
    rng = random.Random(seed)
    with (
        Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database,
        ExitStack() as held,
    ):
        account = database.account()
        account.upsert([(f"c{n}", {}) for n in range(70_000)])
        account.merge()
        account.import_orders(many(seed, 70_000))
        account.declare_derived("large", "max(order.amount)")
        account.merge()
        begin = account._store.write
        snapshots: list[Snapshot] = []
        texts = "sum(order.amount) > 150", "count(order) >= 2", "max(order.amount) >= 200"

        def ask(snapshot: Snapshot, text: str) -> None:
            with_columns, without = differing_in(snapshot, text, AT + timedelta(days=1))
            assert with_columns == without > 0, text

        def look() -> None:
            for snapshot in rng.sample(snapshots, min(3, len(snapshots))):
                ask(snapshot, rng.choice(texts))

        def write_some() -> None:
            rows: list[EventRow] = [Retraction("order", f"o{rng.randrange(3000)}")]
            for _ in range(rng.choice((1, 20, 60))):
                number, contact, amount = rng.randrange(4000), rng.randrange(70_000), rng.randrange(400)
                rows.append(Order(f"o{number}", f"c{contact}", AT, amount=Decimal(amount)))
            account.write_events(rows)

        merging: list[threading.Thread] = []  # as often as it has begun a transaction

        def write(*arguments: object, **named: object) -> object:
            thread = threading.current_thread()
            if thread in merging:
                merging.append(thread)
                if len(merging) < 5:  # so that there is what this merge leaves, and most that it takes is still there
                    write_some()
                snapshots.append(held.enter_context(account._store.snapshot()))
                if rng.randrange(2):
                    look()
            return begin(*arguments, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(account._store, "write", write)
        for round in range(3):
            for n in range(6):
                write_some()
                snapshots.append(held.enter_context(account._store.snapshot()))
                if n % 2 or round:
                    look()
            merging.append(threading.current_thread())
            account.merge()
            merging.clear()
            snapshots.append(held.enter_context(account._store.snapshot()))
            for text in texts:  # the newest makes what it lacks before the older ones do
                ask(snapshots[-1], text)
                for snapshot in rng.sample(snapshots, 12):
                    ask(snapshot, text)


def test_over_grpc(tmp_path: Path) -> None:
    with (
        Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database,
        start(database, port=0) as server,
        connect(server.address) as client,
    ):
        told = Told(database.create_account(AccountInfo("shop", ZONE)), 99)
        remote = client.account("shop")
        for name, value in zip(("a", "b", "c"), DECLARED, strict=False):
            remote.declare_derived(name, value)
        for _ in range(3):
            told.write(60)
            at = told.oracle.default_instant(to_millis(AT))
            wanted = [told.oracle.count(parse(text), at) for text in ASKED]
            assert [answer.count for answer in remote.count_many(ASKED)] == wanted  # type: ignore[union-attr]
            told.account.merge()
        remote.remove_derived("a")
        assert set(remote.derived) == {*BUILT_IN, "b", "c"}


def many(seed: int, contacts: int = 40_000) -> list[Order]:
    """Events of so many contacts, of three ranges or more."""
    rng = np.random.default_rng(seed)
    orders: list[Order] = []
    for n, contact in enumerate(rng.integers(0, contacts, 3000).tolist()):
        time = AT - timedelta(minutes=int(rng.integers(1, 500_000)))
        orders.append(Order(f"o{n}", f"c{contact}", time, amount=Decimal(int(rng.integers(-20, 300)))))
    return orders


def test_several_ranges_of_which_some_are_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "_TOGETHER", 1)
    orders = many(3)
    asked = ["sum(order.amount) > 150", "count(order) >= 2", "days_since(last(interaction)) > 60", "never(order)"]
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()
        account.upsert([(f"c{n}", {}) for n in range(40_000)])
        account.merge()
        account.import_orders(orders)
        # Ahead of the instant that is asked about, in the middle range alone; and unmerged, of any.
        ahead = [Order(f"late{n}", f"c{20_000 + n}", AT + timedelta(minutes=n), amount=Decimal(500)) for n in range(40)]
        account.write_events(ahead)
        account.merge()
        account.declare_derived("large", "max(order.amount)")
        account.merge()
        unmerged = [Order(f"o{n}", f"c{n}", AT - timedelta(days=n), amount=Decimal(170)) for n in range(300)]
        unmerged += [Order("new", "c-new", AT - timedelta(days=3), amount=Decimal(170))]
        for _ in range(2):
            for at in (AT + timedelta(days=1), AT + timedelta(minutes=20), AT, AT - timedelta(days=40)):
                for text in (*asked, "max(order.amount) >= 200"):
                    assert derived_scans(account, text, at) == 1
                    with_columns, without = differing(account, text, at)
                    assert with_columns == without > 0, (text, at)
            account.write_events(unmerged)
        assert derived_scans(account, "sum(order.amount) > 150", AT - timedelta(days=200)) == 0
        assert list(account.verify()) == []


def test_a_column_is_asked_when_it_is_whole(tmp_path: Path) -> None:
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()
        account.write_events([Order("1", "ann", AT - timedelta(days=1), amount=Decimal(5))])
        assert derived_scans(account, "sum(order.amount) > 1", AT) == 0
        account.merge()
        assert derived_scans(account, "sum(order.amount) > 1", AT) == 1
        assert derived_scans(account, "sum(order.amount during last 1 year) > 1", AT) == 0
        assert derived_scans(account, "max(order.amount) > 1", AT) == 0
        explained = account.explain("sum(order.amount) > 1", counts=True)
        assert (explained.plan.operation, explained.plan.count) == ("derived", 1)
        account.declare_derived("most", "max(order.amount)")
        account.merge()
        assert derived_scans(account, "max(order.amount) > 1", AT) == 1
        account.remove_derived("most")
        account.merge()
        assert derived_scans(account, "max(order.amount) > 1", AT) == 0
        assert list(account.verify()) == []


def test_too_large_a_number_is_left_to_the_events(tmp_path: Path) -> None:
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()
        most = Decimal(2**61).scaleb(-2)
        for n in range(3):
            account.write_events([Order(f"{n}", "ann", AT - timedelta(days=1), amount=most)])
            if n < 2:
                assert account.count(f"sum(order.amount) = {(n + 1) * most}").count == 1
            account.merge()
            assert account.count("sum(order.amount) > 1").count == 1
            assert derived_scans(account, "sum(order.amount) > 1", AT) == (n < 1)
            assert derived_scans(account, "count(order) > 0", AT) == 1
            assert list(account.verify()) == []
        account.write_events([Retraction("order", "1"), Retraction("order", "2")])
        account.merge()
        assert account.count(f"sum(order.amount) = {most}").count == 1
        assert list(account.verify()) == []


def test_damage_is_found(tmp_path: Path) -> None:
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()
        account.write_events([Order("1", "ann", AT - timedelta(days=1), amount=Decimal(5))])
        account.merge()
        with account._store.snapshot() as snapshot:
            spend = next(each for each in kept_numbers(snapshot) if each.value == BUILT_IN["lifetime_spend"].value)
        with account._store.write() as write:
            field = derived_column(spend.number)
            rows, values = np.array([0]), np.array([501])
            value = changed_chunk(write.txn, write.dbs[DB_COLUMNS], field, 0, rows, values, np.ones(1, np.bool_))
            assert value is not None
            write.txn.put(block_key(field, 0), value, db=write.dbs[DB_COLUMNS])
            write.changed_base()
        assert list(account.verify()) == [
            "sum(order.amount), chunk 0 differs from the events of 1 contacts (ordinal 0: says 501, and they come to"
            " 500)"
        ]
