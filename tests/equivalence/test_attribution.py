"""Orders that say no source take a visit's: random lives of orders and visits close together, against the oracle."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segidx.client import connect
from segidx.database import Account, Database
from segidx.exec import attribution
from segidx.model.events import Event, EventRow, Order, OrderLine, Retraction
from segidx.model.schema import AccountInfo, Field, FieldType, Schema
from segidx.model.source_settings import SourceSettings
from segidx.model.syntax import parse
from segidx.service.server import start
from segidx.testing.account_lives import shrink
from segidx.testing.checks import check_expression
from segidx.testing.effort import seeds
from segidx.testing.oracle import Oracle
from segidx.testing.places import quick_directory

T = datetime(2026, 2, 28, 23, 0, tzinfo=UTC)  # an hour before a new month, in UTC
AT = T + timedelta(days=2)
MINUTE = timedelta(minutes=1)
CONTACTS = [f"c{n}" for n in range(8)]
SOURCES = ("email", "direct", "paid_search", "own")
QUESTIONS = (
    'did(order where source = "email")',
    'did(order where source != "email")',
    "never(order where direct)",
    "did(order where search)",
    "did(order where advert)",
    "did(order where not paid)",
    "did(order where paid = false)",
    "did(order where source is set)",
    "did(order where source is not set and paid is set)",
    'did(order where source in ("own", "direct"))',
    'did(order where source >= "e")',
    'did(order where source contains ci "PAID" and amount > 10)',
    'count(order where source = "own" from 2026-03-01) >= 1',
    'count(order where source = "email" until 2026-03-01) = 1',
    "sum(order.amount where paid) > 20",
    "average(order.amount where email) > 10",
    "last(order where email).time > 2026-02-28T22:30:00Z",
    "only(order where paid)",
    "only(order where email or direct among amount > 5)",
    "only(order where source is set)",
    'favourite(order.source) = "email"',
    'favourite(order.source) = ci "DIRECT"',
    'favourite(order.source) in ("own", "paid_search")',
    'favourite(order.source by amount where amount > 5) in ("direct", "email")',
    "favourite(order.source) is set",
    "favourite(order.source by amount) is set",
    "distinct(order.source) = 1",
    "distinct(order.source) >= 2",
    'distinct(order.source where paid is set and not source = "own" from 2026-02-28T22:40:00Z) = 2',
    "distinct(order.paid) = 2",
    "distinct(order.paid where source is set) = 1",
    "did(order where at least 2 of (paid, email, amount > 10))",
    "count(order where email) = count(visit where email)",
    "did(line where amount > 5) and did(order where email)",
    "did(interaction) and not did(order where source is set)",
    'tier = "gold" and did(order where email)',
    'tier = "gold" and not only(order where source is set among amount > 5)',
    'tier = "gold" and last(order) has direct',
    'tier = "gold" and favourite(order.source) in ("email", "own")',
    'tier = "base" and distinct(order.source) = 2',
    'not tier = "base" and first(order where amount > 5) has paid',
    "sequence(order where email then order where paid within 1 hour)",
    "distinct(order.source where email or direct) = distinct(order.source)",
    'distinct(order.source) >= 2 and favourite(order.source) = "direct"',
)
ASKED = tuple(map(parse, QUESTIONS))


class Life:
    def __init__(self, directory: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.directory = directory
        self.now = AT
        fields = [Field("tier", FieldType.CATEGORY)]
        self.oracle = Oracle(Schema(tuple(fields)), "Europe/Warsaw")
        self.open(create=True)
        self.account: Account
        self.database.create_account(AccountInfo("shop", "Europe/Warsaw"))
        self.account = self.database.account("shop")
        self.account.update_schema(fields)

    def add(self, contacts: int) -> None:
        """Contacts, few of which are gold."""
        rows = [(f"c{n}", {"tier": "base" if n % 5 else "gold"}) for n in range(contacts)]
        self.account.upsert(rows)
        self.oracle.upsert(rows)

    def open(self, *, create: bool = False) -> None:
        self.database = Database.open(self.directory, create=create, clock=lambda: int(self.now.timestamp() * 1000))
        if not create:
            self.account = self.database.account("shop")

    def row(self) -> EventRow:
        rng = self.rng
        event_id, contact = f"{rng.choice('aZé')}{rng.randrange(12)}", rng.choice(CONTACTS)
        # Close together, and over the ends of a month and of the setting's minutes.
        time = T + rng.choice((-60, -31, -30, -29, -10, 0, 0, 1, 30, 59, 60, 61, 89, 90)) * MINUTE
        time += timedelta(milliseconds=rng.choice((-1, 0, 0, 0, 1)))
        revision = rng.choice((None, None, None, 1, 2))
        type = rng.choice(("order", "visit"))
        if rng.randrange(6) == 0:
            return Retraction(type, event_id, revision)
        source = rng.choice((*SOURCES, None))
        if type == "visit":
            return Event(
                "visit", event_id, contact, time, {"source": source, "paid": rng.choice((True, False, None))}, revision
            )
        source = source if rng.randrange(4) == 0 else None
        paid = rng.choice((True, False)) if rng.randrange(6) == 0 else None
        quantity = rng.choice((1, 1, 1, -1))
        line = OrderLine(quantity=quantity, unit_price=rng.choice((3, 8, 20)))  # type: ignore[arg-type]
        return Order(event_id, contact, time, source=source, paid=paid, lines=(line,), revision=revision)

    def write(self, count: int) -> None:
        rows = [self.row() for _ in range(count)]
        wanted, got = self.oracle.write_events(rows, int(self.now.timestamp() * 1000)), self.account.write_events(rows)
        assert (got.events_accepted, got.event_rejects) == (wanted.accepted, wanted.rejects) == (wanted.accepted, ())

    def bulk(self) -> None:
        """Visits and orders that go straight into the base."""
        for name in ("visit", "order"):
            rows = [self.row() for _ in range(40)]
            events = [r for r in rows if not isinstance(r, Retraction) and getattr(r, "type", "order") == name]
            if name == "order":
                orders = [Order(r.order_id, r.contact_id, r.time, r.source, r.paid, r.amount, r.lines) for r in events]  # type: ignore[union-attr]
                self.oracle.write_events(orders, int(self.now.timestamp() * 1000))
                self.account.import_orders(orders)
            else:
                visits = [Event("visit", r.event_id, r.contact_id, r.time, r.properties) for r in events]  # type: ignore[union-attr]
                table = {
                    "event_id": [v.event_id for v in visits],
                    "contact_id": [v.contact_id for v in visits],
                    "time": [v.time for v in visits],
                    "source": [v.properties["source"] for v in visits],
                    "paid": [v.properties["paid"] for v in visits],
                }
                path = self.directory.parent / f"{self.rng.randrange(1 << 40)}.parquet"
                pq.write_table(pa.table({**table, "source": pa.array(table["source"], pa.string())}), path)
                self.oracle.write_events(visits, int(self.now.timestamp() * 1000))
                self.account.import_events("visit", path)

    def set_minutes(self) -> None:
        settings = SourceSettings(self.rng.choice((0, 1, 30, 30, 61)))
        assert self.account.set_source_settings(settings) == settings
        self.oracle.source_settings = settings

    def reopen(self) -> None:
        self.database.close()
        self.open()
        assert self.account.source_settings == self.oracle.source_settings

    def compare(self) -> None:
        for at in (AT, T + 30 * MINUTE, T):
            for asked in ASKED:
                check_expression(self.account, self.oracle, asked, at)


@pytest.fixture
def place() -> Iterator[Path]:
    with quick_directory() as directory:
        yield directory


@pytest.mark.parametrize("seed", seeds(3))
def test_random_lives(place: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch.setattr)
    life = Life(place / "data", seed)
    # Candidates alone are looked at where they are few, always, or never; pieces are kept for the evaluation, or not.
    monkeypatch.setattr(attribution, "_FEW", life.rng.choice((0, 2, 8, 1 << 40)))
    monkeypatch.setattr(attribution, "_KEPT_BYTES", life.rng.choice((0, 100, 1 << 20)))
    try:
        life.add(len(CONTACTS))
        for number in range(12):
            life.write(life.rng.choice((1, 6, 15)))
            match life.rng.randrange(5):
                case 0:
                    life.account.merge()
                case 1:
                    life.reopen()
                case 2:
                    life.set_minutes()
                case 3 if number > 3:
                    life.bulk()
            life.compare()
    finally:
        life.database.close()


def test_over_grpc(place: Path) -> None:
    life = Life(place / "data", 100)
    with life.database, start(life.database, port=0) as server, connect(server.address) as client:
        remote = client.account("shop")
        at = life.oracle.default_instant(int(AT.timestamp() * 1000))
        for minutes in (30, 0, 61):
            life.write(40)
            settings = SourceSettings(minutes, ("shop.example", ".pay.example"))
            assert remote.set_source_settings(settings) == remote.source_settings == settings
            assert life.account.source_settings == settings
            life.oracle.source_settings = settings
            wanted = [life.oracle.count(asked, at) for asked in ASKED]
            for questions in (QUESTIONS, ASKED):
                assert [answer.count for answer in remote.count_many(questions)] == wanted  # type: ignore[union-attr]


def test_contacts_of_many_pieces(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders and visits in five ranges of contacts, four of which are looked at together and one alone."""
    monkeypatch.setattr(attribution, "_PARALLEL_ROWS", 0)
    life = Life(place / "data", 200)
    with life.database:
        life.add(70_000)
        monkeypatch.setattr(f"{__name__}.CONTACTS", [f"c{n}" for n in (0, 16_383, 16_384, 40_000, 69_999)])
        for merged in (False, True):
            life.write(40)
            if merged:
                life.account.merge()
            for asked in ASKED:
                check_expression(life.account, life.oracle, asked, AT)
