"""Events through `serve --workers`: streamed beside contacts, replaced and taken back, counted on every worker, and
counted again after the processes were killed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from segidx.client import Batch, Client, RemoteAccount
from segidx.database import Account, Database
from segidx.model.errors import ServerUnavailable, UnknownEventType, WriterUnavailable
from segidx.model.events import Event, EventProperty, EventType, Order, OrderLine, Retraction
from segidx.model.results import WriteResult
from segidx.model.schema import Field, FieldType
from segidx.model.writes import ChangeKind, ContactWrite
from segidx.testing.served import WAIT_SECONDS, Served, until

pytestmark = pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="looks into Linux's /proc")

EventRow = Order | Event | Retraction

DOWNLOAD = EventType(
    "download",
    (EventProperty("file", FieldType.CATEGORY), EventProperty("price", FieldType.NUMBER, None)),
)
CONTACTS = 900
ROUNDS = 12
START = datetime(2025, 1, 1, tzinfo=UTC)


def batches(stream: int) -> Iterator[tuple[list[ContactWrite], list[EventRow]]]:
    """What one of the streams writes: contacts, events, their corrections. The streams share contacts, no events."""
    for r in range(ROUNDS):
        rows: list[EventRow] = []
        for i in range(60):
            number = r * 60 + i
            contact, at = f"c{number * 7 % (CONTACTS - stream)}", START + timedelta(hours=number)
            name = f"{stream}-{number}"
            rows.append(Event("visit", name, contact, at, {"source": ["email", "direct"][i % 2], "dwell": i}))
            if i % 3 == 0:
                lines = [OrderLine(f"P{i % 4}", quantity=Decimal(1 + i % 2), unit_price=Decimal("2.50"))] * (i % 5)
                rows.append(Order(name, contact, at, paid=i % 2 == 0, lines=lines, revision=1 + i % 2))
            if i % 4 == 0:
                rows.append(Event("download", name, contact, at, {"file": f"{i % 3}.pdf", "price": Decimal(i) / 4}))
            # Corrections of earlier ones, and retractions that come before their events.
            earlier = f"{stream}-{number * 5 % (number + 1)}"
            if i % 7 == 0:
                rows.append(Retraction("visit", earlier))
            if i % 9 == 0:
                rows.append(Event("visit", earlier, f"late{i}", at, {"source": "social"}, revision=number % 3 or None))
            if i % 11 == 0:
                rows.append(Retraction("order", f"{stream}-{number + i * 3}", revision=1))
            if i % 13 == 0:
                rows.append(Order(earlier, contact, at, lines=[OrderLine("Q", amount=Decimal(9))], revision=2))
            if i % 10 == 0:
                rows.append(Retraction("download", f"{stream}-{number // 2}", revision=number % 2 or None))
        yield [ContactWrite(f"c{(r * 60 + i) % CONTACTS}", {"score": r}) for i in range(20)], rows


class Held:
    """What the account must hold in the end, by the rule of revisions."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], tuple[int, EventRow]] = {}
        self.contacts: set[str] = set()

    def write(self, row: EventRow) -> None:
        key = ("order", row.order_id) if isinstance(row, Order) else (row.type, row.event_id)
        revision = row.revision or 0
        if key in self._held:
            held, before = self._held[key]
            if revision < held or (revision == held and isinstance(before, Retraction)):
                return
        self._held[key] = revision, row
        if not isinstance(row, Retraction):
            self.contacts.add(str(row.contact_id))

    def events(self, type: str) -> list[Event]:
        return [row for (of, _), (_, row) in self._held.items() if of == type and isinstance(row, Event)]

    def orders(self) -> list[Order]:
        return [row for _, row in self._held.values() if isinstance(row, Order)]

    def counts(self) -> dict[str, int]:
        visits, downloads, orders = self.events("visit"), self.events("download"), self.orders()
        visited = [v.contact_id for v in visits]
        spent: dict[str, Decimal] = {}
        for order in orders:
            for line in order.lines:
                amount = line.amount if line.amount is not None else (line.quantity or 1) * (line.unit_price or 0)
                spent[order.contact_id] = spent.get(order.contact_id, Decimal(0)) + Decimal(amount)
        return {
            "everyone": len(self.contacts),
            "did(visit)": len(set(visited)),
            "count(visit) >= 2": sum(visited.count(c) >= 2 for c in set(visited)),
            'did(visit where source = "social" and dwell is not set)': len(
                {v.contact_id for v in visits if v.properties["source"] == "social"}
            ),
            'did(visit where source = "email" and dwell >= 40)': len(
                {v.contact_id for v in visits if v.properties["source"] == "email" and v.properties["dwell"] >= 40}  # type: ignore[operator]
            ),
            "did(download where price > 7)": len(
                {d.contact_id for d in downloads if d.properties["price"] > 7}  # type: ignore[operator]
            ),
            "did(order)": len({o.contact_id for o in orders}),
            "did(order where paid)": len({o.contact_id for o in orders if o.paid}),
            'did(line where product = "Q")': len(
                {o.contact_id for o in orders if any(line.product == "Q" for line in o.lines)}
            ),
            "sum(line.amount) > 8": sum(total > 8 for total in spent.values()),
        }


def write(client: Client, stream: int, results: dict[int, list[WriteResult]]) -> None:
    account = client.account("default")
    keys = (f"{stream}/{i}" for i in range(ROUNDS))
    whole = (Batch(rows, events) for rows, events in batches(stream))
    results[stream] = list(account.write_stream(whole, batch_keys=keys, timeout=WAIT_SECONDS))


def check(account: Account | RemoteAccount, wanted: dict[str, int], **how: int) -> None:
    assert {text: account.count(text, **how).count for text in wanted} == wanted  # type: ignore[arg-type]


def wanted_counts() -> dict[str, int]:
    """The counts when both streams are written, whichever way they were mixed: none is trivial."""
    held = Held()
    held.contacts.update(f"c{i}" for i in range(CONTACTS))
    for stream in (0, 1):
        for _, events in batches(stream):
            for event in events:
                held.write(event)
    wanted = held.counts()
    assert all(0 < count < wanted["everyone"] for text, count in wanted.items() if text != "everyone"), wanted
    return wanted


def test_events_are_streamed_counted_and_counted_again(tmp_path: Path) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    wanted = wanted_counts()
    with Served(data, log, "--create") as served:
        clients = [served.client() for _ in range(6)]
        accounts = [client.account("default") for client in clients]
        accounts[0].update_schema([Field("score", FieldType.NUMBER)])
        for account in accounts:
            with pytest.raises(UnknownEventType):
                account.count("did(download)")
        types = accounts[1].declare_event_types([DOWNLOAD])
        for account in accounts:
            assert account.event_types == types
            assert account.count("did(download)").count == 0
        group = accounts[1].set_event_group("interaction", ["download"])
        for account in accounts:
            assert account.event_groups["interaction"] == group
            assert account.count("did(interaction)").count == 0
        spend = accounts[2].declare_bands("downloads", "count(download)", [1, 3])
        for account in accounts:
            assert account.bands == {"downloads": spend}
            assert account.count('band(downloads) != "none" or crossed(downloads, 3)').count == 0
        accounts[0].write([ContactWrite(f"c{i}") for i in range(CONTACTS)])
        results: dict[int, list[WriteResult]] = {}
        streams = [threading.Thread(target=write, args=(clients[n], n, results)) for n in (0, 1)]
        for thread in streams:
            thread.start()
        for thread in streams:
            thread.join(WAIT_SECONDS)
        assert [len(found) for found in results.values()] == [ROUNDS] * 2
        assert not any(r.rejects or r.event_rejects for found in results.values() for r in found)
        newest = max(found[-1].generation for found in results.values())
        for account in accounts:
            check(account, wanted, min_generation=newest)
        # A stream sent again with its keys changes nothing, and gets its answers.
        first = results[1]
        write(clients[2], 1, results)
        assert [(r.replayed, r.generation, r.events_accepted) for r in results[1]] == [
            (True, r.generation, r.events_accepted) for r in first
        ]
        kinds = {kind for changes in accounts[3].changes(0) for each in changes.contacts for kind in each.kinds}
        assert kinds == {ChangeKind.CREATED, ChangeKind.FIELDS, ChangeKind.EVENTS}
        for client in clients:
            client.close()
        served.end()  # kills every process
        until(served.all_gone)

    with Served(data, log) as served, served.client() as client:
        account = client.account("default")
        assert account.event_types == types
        check(account, wanted)
        account.write_events([Event("visit", "after", "c0", START, {"source": "fax"})])
        assert account.count('did(visit where source = "fax")').count == 1
        account.write_events([Retraction("visit", "after")])
        served.tell(signal.SIGTERM)
        assert served.wait() == 0

    with Database.open(data) as database:
        local = database.account("default")
        check(local, wanted)
        local.merge()
        check(local, wanted)
        assert list(local.verify()) == []


def test_a_killed_writer_loses_no_event_and_doubles_none(tmp_path: Path) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    wanted = wanted_counts()
    with Served(data, log, "--create") as served, served.client() as client:
        account = client.account("default")
        account.declare_event_types([DOWNLOAD])
        account.update_schema([Field("score", FieldType.NUMBER)])
        account.write([ContactWrite(f"c{i}") for i in range(CONTACTS)])
        killed = 0
        for stream in (0, 1):
            keys = [f"{stream}/{i}" for i in range(ROUNDS)]
            while True:
                whole = [Batch(rows, events) for rows, events in batches(stream)]
                results = account.write_stream(whole, batch_keys=keys, window=3, timeout=WAIT_SECONDS)
                try:
                    for place, _ in enumerate(results):
                        if place == 4 + killed and killed < 2:
                            os.kill(served.writer(), signal.SIGKILL)
                            killed += 1
                except (ServerUnavailable, WriterUnavailable):
                    continue
                break
        assert killed == 2
        check(account, wanted)
        served.tell(signal.SIGTERM)
        assert served.wait() == 0
    with Database.open(data) as database:
        local = database.account("default")
        check(local, wanted)
        local.merge()
        check(local, wanted)
        assert list(local.verify()) == []
