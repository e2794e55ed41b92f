"""Bands and crossings: the oracle, the plan with and without rules, text and a server agree on lives in which numbers
rise and fall: returns, many events of one time, events that are replaced, moved to another contact and retracted, in
layers and in blocks, and as of many instants."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from segidx.client import connect
from segidx.database import Account, Database
from segidx.exec import crossings
from segidx.ingest import merger
from segidx.model.events import Event, EventProperty, EventRow, EventType, Order, OrderLine, Retraction
from segidx.model.expression import And, BandIs, Crossed, Expression, Not, field
from segidx.model.products import ProductWrite
from segidx.model.schema import AccountInfo, Field, FieldType, Schema
from segidx.model.syntax import format_expression
from segidx.model.windows import (
    Absolute,
    Ago,
    AllTime,
    Calendar,
    CalendarPosition,
    Direction,
    OlderThan,
    Rolling,
    Unit,
    Window,
    to_millis,
)
from segidx.service.server import start
from segidx.store import base
from segidx.testing.checks import check_expression
from segidx.testing.effort import seeds
from segidx.testing.event_questions import random_bands
from segidx.testing.oracle import Oracle

AT = datetime(2025, 3, 31, 12, 0, tzinfo=UTC)
ZONE = "Europe/Warsaw"
SCHEMA = Schema((Field("n", FieldType.NUMBER),))
POINT = EventType("point", (EventProperty("worth", FieldType.NUMBER, 1), EventProperty("kind", FieldType.CATEGORY)))
# Months apart, hours apart, milliseconds apart, and some of them often: what is at one time counts together.
TIMES = [
    *(AT - timedelta(days=days) for days in (400, 300, 95, 40, 31, 8, 7, 6, 3, 2)),
    *(AT - timedelta(hours=hours) for hours in (25, 24, 23, 12, 3)),
    *(AT - timedelta(milliseconds=milliseconds) for milliseconds in (86_400_001, 86_399_999, 2, 1)),
    AT,
    AT + timedelta(milliseconds=1),
]
AMOUNTS = ("100", "50", "49.99", "0.01", "-50", "-100", "150", "400", "-0.01", "0")
CONTACTS = [f"c{n}" for n in range(14)]
WINDOWS: list[Window] = [
    AllTime(),
    *(Rolling(Direction.LAST, count, Unit.DAY) for count in (1, 7, 31, 90)),
    Rolling(Direction.LAST, 24, Unit.HOUR),
    Rolling(Direction.NEXT, 1, Unit.DAY),
    Ago(31, 1, Unit.DAY),
    OlderThan(1, Unit.DAY),
    OlderThan(1, Unit.MONTH),
    Calendar(CalendarPosition.THIS, Unit.MONTH),
    Absolute(AT - timedelta(days=7), AT - timedelta(days=2)),
    Absolute(AT - timedelta(milliseconds=1), None),
]
INSTANTS = [
    AT + timedelta(hours=1),
    AT + timedelta(milliseconds=1),
    AT,
    AT - timedelta(days=1),
    AT - timedelta(days=30, hours=5),
]


class Killed(Exception):
    """A merge that ends here."""


class Told:
    """An account and an oracle that are told the same."""

    def __init__(self, account: Account, seed: int) -> None:
        self.rng = random.Random(seed)
        self.account = account
        self.oracle = Oracle(SCHEMA, ZONE)
        account.update_schema(SCHEMA.fields)
        account.declare_event_types([POINT])
        self.oracle.declare_event_types([POINT])
        contacts = [(contact_id, {"n": Decimal(n)}) for n, contact_id in enumerate([*CONTACTS, "nobody"])]
        account.upsert(contacts)
        self.oracle.upsert(contacts)
        for name, value, thresholds in (
            ("spend", "sum(order.amount)", (100, 500)),
            ("credit", 'sum(point.worth where kind = "a")', ("-10", "0", "0.5", "10")),
            ("lines", "count(line where quantity > 0)", (1, 2, 5)),
            ("orders", "count(order)", (2, 3)),
            ("recent", "sum(order.amount during last 1 month)", (0, 100)),
            ("visits", "count(point during last 7 days)", (1, 3)),
        ):
            self.declare(name, value, [Decimal(each) for each in thresholds])

    def declare(self, name: str, value: str, thresholds: list[Decimal]) -> None:
        of = self.account.declare_bands(name, value, thresholds)
        self.oracle.declare_bands(name, of.value, of.thresholds, of.labels)
        assert self.account.bands == self.oracle.bands

    def declare_more(self) -> None:
        of = random_bands(self.rng, self.rng.choice(("more", "most")))
        self.oracle.declare_bands(of.name, of.value, of.thresholds, of.labels)
        assert self.account.declare_bands(of.name, of.value, of.thresholds, of.labels) == of
        assert self.account.bands == self.oracle.bands

    def row(self) -> EventRow:
        number, contact_id, time = self.rng.randrange(60), self.rng.choice(CONTACTS), self.rng.choice(TIMES)
        shape = self.rng.randrange(8)
        if shape == 0:
            return Retraction(self.rng.choice(("order", "point")), f"e{number}")
        if shape <= 2:
            worth = None if self.rng.randrange(6) == 0 else Decimal(self.rng.choice(("0.5", "5", "-5", "10", "-0.5")))
            return Event("point", f"e{number}", contact_id, time, {"worth": worth, "kind": self.rng.choice("aab")})
        if shape <= 4:
            quantity = Decimal(self.rng.choice((1, 1, 2, -1)))
            line = OrderLine("p", quantity=quantity, unit_price=Decimal(self.rng.choice(AMOUNTS)))
            return Order(f"e{number}", contact_id, time, lines=[line] * self.rng.randrange(1, 4))
        amount = None if self.rng.randrange(10) == 0 else Decimal(self.rng.choice(AMOUNTS))
        return Order(f"e{number}", contact_id, time, amount=amount)

    def write(self, count: int) -> None:
        rows = [self.row() for _ in range(count)]
        wanted, got = self.oracle.write_events(rows, to_millis(AT)), self.account.write_events(rows)
        assert (got.events_accepted, got.event_rejects, wanted.rejects) == (wanted.accepted, (), ())

    def questions(self) -> list[Expression]:
        found: list[Expression] = []
        for of in self.oracle.bands.values():
            found += [BandIs(of.name, (label,)) for label in of.labels]
            found.append(BandIs(of.name, tuple(self.rng.choice(of.labels) for _ in range(self.rng.randrange(2, 5)))))
            found.append(BandIs(of.name, of.labels[1:]))
            if not of.is_windowed:
                for window in self.rng.sample(WINDOWS, 4):
                    found.append(Crossed(of.name, self.rng.choice(of.thresholds), window))
        some, other = self.rng.sample(found, 2)
        return [*found, Not(some), And((field("n") < 7, some)), And((other, Not(some))), ~(some | other)]

    def check(self) -> None:
        at = self.rng.choice(INSTANTS)
        for question in self.questions():
            check_expression(self.account, self.oracle, question, at)


@pytest.mark.parametrize("seed", seeds(3))
def test_lives(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merged and not, reopened, and in a database that is open for reading only."""
    monkeypatch.setattr(merger, "MERGE_SECONDS", 100_000.0)
    if seed % 2:
        monkeypatch.setattr(crossings, "_STEP", 3)
    told: Told | None = None
    for round in range(3):
        with Database.open(tmp_path / "data", create=not round, clock=lambda: to_millis(AT)) as database:
            if told is None:
                told = Told(database.create_account(AccountInfo("shop", ZONE)), seed)
                told.check()
            told.account = database.account("shop")
            assert told.account.bands == told.oracle.bands
            for count in (40, 1, 25):
                told.write(count)
                told.check()
                if told.rng.randrange(2):
                    told.declare_more()
                if told.rng.randrange(3) == 0:
                    told.account.merge()
                    told.check()
            assert list(told.account.verify()) == []
    assert told is not None
    with Database.open(tmp_path / "data", read_only=True, clock=lambda: to_millis(AT)) as reading:
        told.account = reading.account("shop")
        told.check()


def test_half_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked before each transaction of merges, some of which are cut short."""
    monkeypatch.setattr(merger, "MERGE_SECONDS", 100_000.0)
    monkeypatch.setattr(base, "SLICE_BYTES", 6000)
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database:
        told = Told(database.create_account(AccountInfo("shop", ZONE)), 31)
        begin = told.account._store.write
        for cut in (1, 3, 0):
            told.write(60)
            told.write(30)
            begun = []

            def write(*arguments: object, begun: list[int] = begun, cut: int = cut, **named: object) -> object:
                begun.append(1)
                told.check()
                if len(begun) == cut:
                    raise Killed
                return begin(*arguments, **named)  # type: ignore[arg-type]

            with monkeypatch.context() as patch, suppress(Killed):
                patch.setattr(told.account._store, "write", write)
                told.account.merge()
            assert len(begun) >= max(cut, 1)
            told.check()
        assert list(told.account.verify()) == []


def test_products_of_the_catalogue_part_the_events(tmp_path: Path) -> None:
    """A filter of the value may reach the catalogue; what that says now is asked of old events too."""
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()
        account.write_products(
            [ProductWrite("wine", {"category": "drinks"}), ProductWrite("rope", {"category": "tools"})]
        )
        lines = [OrderLine(product, amount=Decimal(60)) for product in ("wine", "rope", "wine")]
        account.write_events([Order("1", "anna", AT - timedelta(days=2), lines=lines)])
        account.declare_bands("drinks", 'sum(line.amount where product.category = "drinks")', [100, 150])
        for _ in range(2):
            assert account.count('band(drinks) = "100-150" and crossed(drinks, 100)').count == 1
            assert account.count("crossed(drinks, 150)").count == 0
            account.merge()
        account.write_products([ProductWrite("rope", {"category": "drinks"})])
        assert account.count('band(drinks) = "150+" and crossed(drinks, 150) during last 3 days').count == 1


def test_over_grpc(tmp_path: Path) -> None:
    with (
        Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database,
        start(database, port=0) as server,
        connect(server.address) as client,
    ):
        told = Told(database.create_account(AccountInfo("shop", ZONE)), 99)
        remote = client.account("shop")
        at = told.oracle.default_instant(to_millis(AT))
        for _ in range(3):
            told.write(60)
            told.declare_more()
            assert remote.bands == told.oracle.bands
            at = told.oracle.default_instant(to_millis(AT))
            asked = told.questions()
            wanted = [told.oracle.count(each, at) for each in asked]
            for given in (asked, [format_expression(each) for each in asked]):
                assert [answer.count for answer in remote.count_many(given)] == wanted  # type: ignore[union-attr]
            told.account.merge()


def test_the_bands_part_the_contacts(tmp_path: Path) -> None:
    """Whatever happens, everybody is in one band of each name, and who is above a threshold has crossed it."""
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database:
        told = Told(database.create_account(AccountInfo("shop", ZONE)), 5)
        told.write(150)
        crossed = 0
        for of in told.account.bands.values():
            parts = [told.account.count(BandIs(of.name, (label,))).count for label in of.labels]
            assert sum(parts) == told.account.count("everyone").count
            assert told.account.count(BandIs(of.name, of.labels)).count == sum(parts)
            for place, threshold in enumerate(of.thresholds):
                above = BandIs(of.name, of.labels[place + 2 :])
                if not of.is_windowed:
                    assert told.account.count(And((above, Not(Crossed(of.name, threshold))))).count == 0
                    crossed += told.account.count(And((Crossed(of.name, threshold), Not(above)))).count
        assert crossed > 0, "some have fallen again"
