"""Events written live, and a model of what is held of them by the rule of revisions: for the tests of the store."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np

from segidx.database import Account
from segidx.kernels.events import collect
from segidx.model.events import LINE, ORDER, VISIT, Event, EventProperty, EventType, Order, OrderLine, Retraction
from segidx.model.schema import FieldType
from segidx.model.windows import to_millis
from segidx.store.event_blocks import FIRST_PROPERTY, LAST_MONTH
from segidx.store.layout import RANGE_BITS, event_ids_table
from segidx.store.snapshot import Snapshot

RANGE = 1 << RANGE_BITS
CONTACTS = 2 * RANGE + 100
# Of three ranges, so that each is a transaction of its own.
NAMES = [f"c{first + i}" for first in (0, RANGE, 2 * RANGE) for i in range(4)] + [f"c{RANGE - 1}"]
AT = datetime(2024, 3, 1, tzinfo=UTC)
TASK = EventType("task", (EventProperty("effort", FieldType.NUMBER), EventProperty("kind", FieldType.CATEGORY)))
Write = Order | Event | Retraction
Totals = dict[str, tuple[int, int]]  # by contact: rows, and the sum of a property


# --- what is held, by the rule --------------------------------------------------------------------------------------


@dataclass
class Held:
    """What of each (type, id) is held: its revision, and the event unless it was taken back."""

    events: dict[tuple[str, str], tuple[int, Order | Event | None]] = field(default_factory=dict)

    def write(self, rows: Sequence[Write]) -> None:
        for row in rows:
            name, event_id = ("order", row.order_id) if isinstance(row, Order) else (row.type, row.event_id)
            revision = row.revision or 0
            held = self.events.get((name, event_id))
            if held is None or revision > held[0] or (revision == held[0] and held[1] is not None):
                self.events[name, event_id] = (revision, None if isinstance(row, Retraction) else row)

    def copy(self) -> Held:
        return Held(dict(self.events))

    def totals(self, type: EventType) -> Totals:
        found: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        for (name, _), (_, event) in self.events.items():
            if event is None or name != (ORDER.name if type == LINE else type.name):
                continue
            mine = found[event.contact_id]
            if isinstance(event, Event):
                mine[0] += 1
                mine[1] += int(event.properties["dwell" if type == VISIT else "effort"])  # type: ignore[arg-type]
            elif type == LINE:
                mine[0] += len(event.lines)
                mine[1] += sum(int(line.amount or 0) for line in event.lines)
            elif event.amount is not None:
                mine[0] += 1
                mine[1] += int(event.amount)
        return {contact: (rows, total) for contact, (rows, total) in found.items() if rows}


MEASURES = {ORDER: ("amount", 100), LINE: ("amount", 100), VISIT: ("dwell", 1000)}


def totals_in(snapshot: Snapshot, type: EventType) -> Totals:
    """The same as readers see it."""
    layers = snapshot.event_layers(type)
    months, folded = snapshot.event_months(type, 0, LAST_MONTH), snapshot.events_folded(type)
    name, unit = MEASURES.get(type, ("effort", 1))
    measure = FIRST_PROPERTY + type.index(name)
    rows = dict(
        zip(*(a.tolist() for a in collect(months, None, 0, 2**60, -1, layers=layers, folded=folded)), strict=True)
    )
    sums = dict(
        zip(*(a.tolist() for a in collect(months, None, 0, 2**60, measure, layers=layers, folded=folded)), strict=True)
    )
    assert rows.keys() == sums.keys()
    return {str(snapshot.ids.get_one(o)): (n, sums[o] // unit) for o, n in rows.items()}


def seen(snapshot: Snapshot) -> list[Totals]:
    types = snapshot.catalog.event_types
    return [totals_in(snapshot, type) for type in (ORDER, LINE, VISIT, types["task"])]


def wanted(held: Held, account: Account) -> list[Totals]:
    return [held.totals(type) for type in (ORDER, LINE, VISIT, account.event_types["task"])]


def check(account: Account, held: Held) -> None:
    due = wanted(held, account)
    with account._store.snapshot() as snapshot:
        assert seen(snapshot) == due
        for (name, event_id), (revision, event) in held.events.items():
            type = snapshot.catalog.event_types[name]
            number = np.array([snapshot.table(event_ids_table(type)).find_one(event_id)])
            places = snapshot.event_places(type, number)
            assert (bool(places.there[0]), int(places.revisions[0]), bool(places.retracted[0])) == (
                event is not None,
                revision,
                event is None,
            )
            if event is not None:
                assert int(places.times[0]) == to_millis(event.time)
                assert snapshot.ids.get_one(int(places.contacts[0])) == event.contact_id
    # By the way of conditions: whoever has visits, and whoever has bought much.
    assert account.count("did(visit)").count == len(due[2])
    assert account.count("sum(order.amount) > 100").count == sum(total > 100 for _, total in due[0].values())
    assert account.count("count(line) >= 2").count == sum(rows >= 2 for rows, _ in due[1].values())


# --- writes ----------------------------------------------------------------------------------------------------------


def some_writes(rng: random.Random, count: int) -> list[Write]:
    """New, sent again, moved, retracted and revised; of few ids."""
    rows: list[Write] = []
    for _ in range(count):
        event_id = f"e{rng.randrange(40)}"
        contact = rng.choice(NAMES) if rng.random() < 0.95 else f"new {rng.randrange(9)}"
        time = AT + timedelta(days=rng.choice((0, 0, 1, 33, 70)), minutes=rng.randrange(3))
        revision = rng.choice((None, None, None, 1, 2, 5))
        kind = rng.choice(("order", "order", "visit", "task"))
        if rng.random() < 0.2:
            rows.append(Retraction(kind, event_id, revision))
        elif kind == "order":
            lines = [
                OrderLine(f"p{rng.randrange(5)}", quantity=Decimal(1), amount=Decimal(rng.randrange(1, 50)))
                for _ in range(rng.randrange(4))
            ]
            rows.append(Order(event_id, contact, time, "shop", None, Decimal(rng.randrange(1, 90)), lines, revision))
        elif kind == "visit":
            rows.append(Event("visit", event_id, contact, time, {"dwell": rng.randrange(100)}, revision))
        else:
            properties = {"effort": rng.randrange(9), "kind": rng.choice("abc")}
            rows.append(Event("task", event_id, contact, time, properties, revision))
    return rows
