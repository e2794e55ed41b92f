"""The load of the crash tests: what batch number N writes, the same for the writer and for the model.

Nothing here knows segidx: values are plain, so that the model stays independent of what it judges.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from crashkit.events import EventRow, draw_events
from crashkit.orders import CONTACTS, Order, draw_orders

CITIES = tuple(f"city-{i}" for i in range(7))
TAGS = (*(f"tag-{i}" for i in range(7)), "all")
LABELS = tuple(f"label-{i}" for i in range(10))
CHANNELS = ("email", "sms", "web_push", "ads")
FLAGS = ("consent", "unsubscribed", "hard_bounced", "complained")

# Field name to (type, scale), declared before the first batch.
FIELDS: Mapping[str, tuple[str, int]] = {
    "n": ("number", 0),  # the last batch that set fields of the contact
    "score": ("number", 2),
    "city": ("category", 0),
    "note": ("text", 0),
    "email": ("text", 0),
    "vip": ("bool", 0),
    "tags": ("tags", 0),
    "labels": ("tags", 0),
}
# Those whose changes are kept, from the first batch on.
TRACKED = ("city", "vip", "labels")


@dataclass(frozen=True)
class Row:
    """A row of a batch, in plain values: numbers as decimal text, None clears."""

    contact_id: str
    fields: Mapping[str, object] = field(default_factory=dict)
    tags_added: Mapping[str, frozenset[str]] = field(default_factory=dict)
    tags_removed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    channels: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    must_exist: bool = False
    bad: bool = False  # a value that every writer refuses


@dataclass(frozen=True)
class Batch:
    """`kind` says by which call it is written: "upsert" (of rows with one id the last counts), "tag" (one edit of the
    tags of many contacts that exist), "write" (rows apply in their order, then the `events` in theirs), "orders" (an
    import of `orders`), or "padding" (that many contacts with nothing set)."""

    number: int
    kind: str
    rows: tuple[Row, ...]
    key: str  # "" for none
    orders: tuple[Order, ...] = ()
    events: tuple[EventRow, ...] = ()
    padding: int = 0


# What is handed in before the load's own batches, where contacts and their events are to lie in several ranges (of
# 16,384 ordinals): padding as many as a range, through the log, and more, straight into the base.
PADDING = {-1: 16_384, -2: 20_000}
SPREAD = (1, 2, 3, -1, 4, 5, 6, -2)


@lru_cache(maxsize=1000)
def batch(number: int, seed: int) -> Batch:
    """Batch `number` of a load; the same one at every call."""
    if number in PADDING:
        return Batch(number, "padding", (), "", padding=PADDING[number])
    rng = random.Random(seed * 1_000_003 + number)
    kind = rng.choices(("upsert", "tag", "write", "events", "orders"), (3, 1, 6, 4, 3))[0]
    if kind == "events":
        return Batch(number, "write", (), f"batch {number}" if rng.random() < 0.3 else "", (), draw_events(rng, number))
    if kind == "orders":
        return Batch(number, kind, (), "", draw_orders(rng, number))
    if kind == "tag":
        add, remove = frozenset(rng.sample(TAGS, 2)), frozenset(rng.sample(LABELS, 1))
        name, edit = rng.choice((("tags", add), ("labels", remove)))
        given, taken = ({name: edit}, {}) if rng.random() < 0.5 else ({}, {name: edit})
        ids = _ids(rng, rng.randrange(1, 80))
        rows = [Row(id_, tags_added=given, tags_removed=taken, must_exist=True) for id_ in ids]
        return Batch(number, kind, tuple(rows), "")
    size = rng.choice((1, 5, 40, 40, 150))
    make = _upserted if kind == "upsert" else _written
    rows = [make(rng, id_, number) for id_ in _ids(rng, size)]
    # Something of every such batch can be seen: "n" changes.
    rows[0] = Row(rows[0].contact_id, _fields(rng, number))
    if size > 1:  # one contact twice
        rows.append(make(rng, rows[1].contact_id, number))
    key = f"batch {number}" if kind == "write" and rng.random() < 0.5 else ""
    events = draw_events(rng, number) if kind == "write" and rng.random() < 0.5 else ()
    return Batch(number, kind, tuple(rows), key, (), events)


def _ids(rng: random.Random, size: int) -> list[str]:
    return [f"c{i}" for i in rng.sample(range(CONTACTS), size)]


def _fields(rng: random.Random, number: int) -> dict[str, object]:
    fields: dict[str, object] = {"n": str(number)}
    if rng.random() < 0.7:
        fields["score"] = rng.choice((None, f"{rng.randrange(-10_000, 10_000) / 100:.2f}"))
    if rng.random() < 0.7:
        fields["city"] = rng.choice((None, *CITIES))
    if rng.random() < 0.5:
        fields["note"] = rng.choice((None, f"note {number} " + "x" * rng.randrange(300)))
    if rng.random() < 0.3:
        fields["email"] = f"{rng.randrange(50)}@example.com"
    if rng.random() < 0.4:
        fields["vip"] = rng.choice((None, True, False))
    if rng.random() < 0.5:
        fields["tags"] = frozenset(rng.sample(TAGS, rng.randrange(4)))  # none clears
    return fields


def _upserted(rng: random.Random, contact_id: str, number: int) -> Row:
    if rng.random() < 0.02:
        return Row(contact_id, {"score": "not a number"}, bad=True)
    return Row(contact_id, _fields(rng, number))


def _written(rng: random.Random, contact_id: str, number: int) -> Row:
    chance = rng.random()
    if chance < 0.02:
        return Row(contact_id, {"score": "not a number"}, bad=True)
    if chance < 0.04:
        return Row(f"nobody-{number}", {"n": str(number)}, must_exist=True)
    labels = rng.sample(LABELS, 8)
    return Row(
        contact_id,
        _fields(rng, number) if rng.random() < 0.7 else {},
        tags_added={"labels": frozenset(labels[:3])} if rng.random() < 0.4 else {},
        tags_removed={"labels": frozenset(labels[3:])} if rng.random() < 0.3 else {},
        channels=_channels(rng) if rng.random() < 0.4 else {},
        must_exist=rng.random() < 0.1,
    )


def _channels(rng: random.Random) -> dict[str, dict[str, bool]]:
    return {
        channel: {flag: rng.random() < 0.5 for flag in rng.sample(FLAGS, 2)}
        for channel in rng.sample(CHANNELS, rng.randrange(1, 3))
    }
