"""The events of the load, as the live stream has them: visits, orders with lines and tasks, a type that is declared,
each new, sent again, revised or taken back. Knows nothing of segidx.

Orders share their ids with those that imports send, so that each takes effect over what the other has left.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from crashkit.orders import BUYERS, CONTACTS, DAY, DAYS, FIRST_TIME, MIDDLE, SOURCES, Order, draw_order, draw_revision

# The type that is declared: property to (type, scale); a scale of None is that of the account's money.
DECLARED: Mapping[str, Mapping[str, tuple[str, int | None]]] = {
    "task": {
        "kind": ("category", 0),
        "done": ("bool", 0),
        "effort": ("number", 1),
        "cost": ("number", None),
        "due": ("timestamp", 0),
    }
}
# How many decimals the numbers have that are given here as whole ones.
DECIMALS: Mapping[str, int] = {"dwell": 3, "effort": 1, "cost": 2}
TIMES = ("due",)
VISITS, TASKS = 150, 60  # ids of each in use at one time

Value = str | bool | int


@dataclass(frozen=True)
class Event:
    """A visit or a task. Properties that are absent are left out."""

    type: str
    event_id: str
    contact_id: str
    time: int  # ms since 1970
    properties: Mapping[str, Value]
    revision: int | None = None
    bad: bool = False  # refused by every writer: its contact has no id, or its type cannot be written


@dataclass(frozen=True)
class Retraction:
    type: str
    event_id: str
    revision: int | None = None
    bad: bool = False


EventRow = Order | Event | Retraction


def key_of(row: EventRow) -> tuple[str, str]:
    """What an account holds one of: a type and an id."""
    return ("order", row.order_id) if isinstance(row, Order) else (row.type, row.event_id)


def draw_events(rng: random.Random, number: int) -> tuple[EventRow, ...]:
    """The events of batch `number`. Something of each batch can be seen: its first is a visit with an id of its own."""
    rows = [_row(rng, number) for _ in range(rng.choice((3, 15, 15, 40)))]
    for row in rng.sample(rows, len(rows) // 8):  # some ids more than once, in any order
        rows.insert(rng.randrange(len(rows) + 1), _sent_again(rng, row, number))
    first = replace(_visit(rng, f"only {number}", number), bad=False, contact_id=_contact(rng, number))
    return (first, *rows)


def _row(rng: random.Random, number: int) -> EventRow:
    type = rng.choices(("order", "visit", "task"), (4, 5, 3))[0]
    if type == "order":
        event_id = f"o{number // 20 + rng.randrange(120)}"
    else:
        event_id = f"{type[0]}{number // 2 + rng.randrange(VISITS if type == 'visit' else TASKS)}"
    if rng.random() < 0.01:
        return Event("line", event_id, "c1", FIRST_TIME, {}, bad=True)
    return _of(rng, type, event_id, number)


def _sent_again(rng: random.Random, row: EventRow, number: int) -> EventRow:
    type, event_id = key_of(row)
    return row if row.bad else _of(rng, type, event_id, number)


def _of(rng: random.Random, type: str, event_id: str, number: int) -> EventRow:
    if rng.random() < 0.15:
        return Retraction(type, event_id, draw_revision(rng, number))
    if type == "order":
        return draw_order(rng, event_id, number)
    return (_visit if type == "visit" else _task)(rng, event_id, number)


def _visit(rng: random.Random, event_id: str, number: int) -> Event:
    drawn = {
        "source": rng.choice(SOURCES),  # always, since it is worked out where it is not given
        "paid": rng.choice((None, True, False)),
        "utm_campaign": rng.choice((None, "spring", f"campaign {number}")),
        "url": rng.choice((None, "/", f"/page/{rng.randrange(50)}")),
        "dwell": rng.choice((None, rng.randrange(600_000))),
    }
    return _event(rng, "visit", event_id, number, drawn)


def _task(rng: random.Random, event_id: str, number: int) -> Event:
    drawn = {
        "kind": rng.choice((None, "call", "mail", f"novelty {number}")),
        "done": rng.choice((None, True, False)),
        "effort": rng.choice((None, rng.randrange(-50, 200))),
        "cost": rng.choice((None, rng.randrange(10_000))),
        "due": rng.choice((None, FIRST_TIME + rng.randrange(DAYS * DAY))),
    }
    return _event(rng, "task", event_id, number, drawn)


def _event(rng: random.Random, type: str, event_id: str, number: int, drawn: Mapping[str, Value | None]) -> Event:
    bad = rng.random() < 0.02
    properties = {name: value for name, value in drawn.items() if value is not None}
    # Few days, so that events of a contact share their time; several months, so that groups differ.
    time = rng.choice((MIDDLE - 1, MIDDLE, FIRST_TIME + rng.randrange(9) * DAY, FIRST_TIME + rng.randrange(DAYS * DAY)))
    contact = "" if bad else _contact(rng, number)
    return Event(type, event_id, contact, time, properties, draw_revision(rng, number), bad)


def _contact(rng: random.Random, number: int) -> str:
    if rng.random() < 0.9:
        return f"c{rng.randrange(CONTACTS)}"
    return f"b{(number // 6 + rng.randrange(30)) % BUYERS}"
