"""Random writes of events, live and in bulk, several batches a commit, merged and opened anew in between, against a
model that applies them one after another."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.model.events import Event, EventProperty, EventType, Order, OrderLine, Retraction
from segidx.model.schema import FieldType
from segidx.model.writes import ContactWrite
from segidx.store import base
from segidx.testing.places import quick_directory

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
STEP = EventType(
    "step",
    (
        EventProperty("name", FieldType.CATEGORY),
        EventProperty("done", FieldType.BOOL),
        EventProperty("points", FieldType.NUMBER, 1),
        EventProperty("due", FieldType.TIMESTAMP),
    ),
)
TYPES = ("order", "visit", "step")
SOURCES = ("email", "ads", "shop")
PRODUCTS = ("tea", "mug", "jug")


class EventModel:
    """Applies writes one after another."""

    def __init__(self):
        self.held = {}  # (type, id): (revision, row or None where it is retracted)
        self.contacts = set()

    def write(self, rows):
        """(those that stand, contacts created): what a batch is answered with."""
        stand, created = {}, set()
        for row in rows:
            type_ = "order" if isinstance(row, Order) else row.type
            key = type_, row.order_id if isinstance(row, Order) else row.event_id
            revision = row.revision or 0
            before = self.held.get(key)
            if before is None or revision > before[0] or (revision == before[0] and before[1] is not None):
                retracts = isinstance(row, Retraction)
                self.held[key] = revision, None if retracts else row
                stand[key] = True
                if not retracts:
                    created |= {row.contact_id} - self.contacts
                    self.contacts.add(row.contact_id)
        return len(stand), len(created)

    def rows(self, type_):
        return [row for (of, _), (_, row) in self.held.items() if of == type_ and row is not None]

    def answers(self):
        """Expressions with the contacts that each holds."""
        found = {"everyone": set(self.contacts)}
        orders, visits, steps = (self.rows(type_) for type_ in TYPES)
        found["did(order)"] = {o.contact_id for o in orders}
        found["did(visit)"] = {v.contact_id for v in visits}
        found["never(step)"] = self.contacts - {s.contact_id for s in steps}
        for source in SOURCES:
            found[f'did(order where source = "{source}")'] = {o.contact_id for o in orders if o.source == source}
            sent = [v.contact_id for v in visits if v.properties.get("source") == source]
            found[f'count(visit where source = "{source}") >= 2'] = {c for c in sent if sent.count(c) >= 2}
        for product in PRODUCTS:
            buyers = {o.contact_id for o in orders if any(line.product == product for line in o.lines)}
            found[f'did(line where product = "{product}")'] = buyers
        spent, points = defaultdict(int), defaultdict(int)
        for order in orders:
            for line in order.lines:
                spent[order.contact_id] += line.amount
        for step in steps:
            if step.properties.get("points") is not None:
                points[step.contact_id] += step.properties["points"]
        found["sum(line.amount) > 12"] = {c for c, amount in spent.items() if amount > 12}
        found["sum(step.points) >= 5"] = {c for c, total in points.items() if total >= 5}
        found["did(step where done)"] = {s.contact_id for s in steps if s.properties.get("done")}
        return found

    def check(self, account):
        for text, wanted in self.answers().items():
            got = account.preview(text, limit=1000)
            assert {contact.contact_id for contact in got.contacts} == wanted, text
            assert account.count(text).count == len(wanted), text


def random_row(rng: random.Random, ids: int = 12):
    type_ = rng.choice(TYPES)
    event_id = f"{type_[0]}{rng.randrange(ids)}"
    revision = rng.choice([None, None, None, 1, 2, 3, 4])
    if rng.random() < 0.2:
        return Retraction(type_, event_id, revision)
    contact = f"c{rng.randrange(15)}"
    time = NOON - timedelta(days=rng.randrange(70), milliseconds=rng.randrange(3))
    if type_ == "order":
        lines = [OrderLine(rng.choice(PRODUCTS), amount=rng.randrange(1, 9)) for _ in range(rng.choice([0, 1, 3]))]
        return Order(event_id, contact, time, rng.choice(SOURCES), lines=lines, revision=revision)
    if type_ == "visit":
        return Event(type_, event_id, contact, time, {"source": rng.choice([*SOURCES, None])}, revision)
    properties = {"name": rng.choice("xyz"), "done": rng.random() < 0.5, "points": rng.randrange(4), "due": NOON}
    return Event(type_, event_id, contact, time, {n: v for n, v in properties.items() if rng.random() < 0.8}, revision)


CLOCK = int(NOON.timestamp() * 1000)


def opened(place: Path) -> Database:
    return Database.open(place, create=True, clock=lambda: CLOCK)


@contextmanager
def held_up(account: Account) -> Iterator[None]:
    """What is submitted within waits, and is then one group behind a first, empty commit."""
    queue = account._writer._queue
    with account._store.write():
        account.submit([ContactWrite("first")])
        while queue:
            time.sleep(0.001)
        yield


@pytest.mark.parametrize("seed", range(6))
def test_random_writes(seed: int) -> None:
    with quick_directory() as directory:
        write_at_random(directory / "d", random.Random(seed))


def test_a_merge_that_goes_on_meanwhile_changes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "SLICE_BYTES", 300)
    rng, model, ended = random.Random(7), EventModel(), threading.Event()
    with quick_directory() as directory, opened(directory / "d") as database, ThreadPoolExecutor(1) as pool:
        account = database.account()
        account.declare_event_types([STEP])

        def merge() -> None:
            while not ended.is_set():
                account.merge()

        merging = pool.submit(merge)
        try:
            for _ in range(60):
                batch = [random_row(rng, 40) for _ in range(rng.choice([1, 3, 20]))]
                result = account.write_events(batch)
                assert (result.events_accepted, result.created) == model.write(batch)
                model.check(account)
        finally:
            ended.set()
        merging.result()
        model.check(account)
        assert list(account.verify()) == []


def write_at_random(place: Path, rng: random.Random) -> None:
    model = EventModel()
    database = opened(place)
    try:
        account = database.account()
        account.declare_event_types([STEP])
        for _ in range(25):
            batches = [[random_row(rng) for _ in range(rng.choice([1, 3, 20]))] for _ in range(rng.choice([1, 1, 4]))]
            if rng.random() < 0.2 and not any(isinstance(row, Retraction) for row in batches[0]):
                orders = [row for row in batches[0] if isinstance(row, Order)]
                result = account.import_orders(orders)
                assert (result.accepted, result.created) == model.write(orders)
                continue
            with held_up(account):
                futures = [account.submit(events=batch) for batch in batches]
            model.contacts.add("first")
            for batch, future in zip(batches, futures, strict=True):
                result = future.result(20)
                assert (result.events_accepted, result.created) == model.write(batch)
                assert result.events_accepted + result.events_duplicates == len(batch)
            if rng.random() < 0.3:
                model.check(account)
            match rng.randrange(8):
                case 0 | 1:
                    account.merge()
                case 2:
                    database.close()
                    database = opened(place)
                    account = database.account()
        model.check(account)
        assert list(account.verify()) == []
        account.merge()
        model.check(account)
        assert list(account.verify()) == []
    finally:
        database.close()
    with Database.open(place, read_only=True, clock=lambda: CLOCK) as database:
        model.check(database.account())
