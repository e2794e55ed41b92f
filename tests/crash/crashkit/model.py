"""What batches mean, in dictionaries and sets: the independent account of what a store must hold.

Imports the load only, nothing of segidx.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crashkit.events import EventRow, Retraction, key_of
from crashkit.held import EVENT_QUESTIONS, ORDER_QUESTIONS, SOURCE_QUESTIONS, Held, held, held_event, sourced
from crashkit.load import CHANNELS, CITIES, FIELDS, LABELS, TAGS, Batch, Row
from crashkit.orders import Order

TAG_FIELDS = ("tags", "labels")
SUPPRESSING = ("unsubscribed", "hard_bounced", "complained")

Fields = Mapping[str, Any]
Flags = set[tuple[str, str]]
Key = tuple[str, str]  # the type and the id of an event


@dataclass
class Contact:
    """`fields` has what is set, tags as non-empty frozensets; `flags` the (channel, flag) pairs that are set; `events`
    those by type and id that are the contact's now."""

    fields: dict[str, Any] = field(default_factory=dict)
    flags: Flags = field(default_factory=set)
    events: dict[Key, Held] = field(default_factory=dict)

    def of(self, type: str) -> list[Held]:
        return list(self.by_id(type).values())

    def by_id(self, type: str) -> dict[str, Held]:
        return {event_id: event for (name, event_id), event in self.events.items() if name == type}


@dataclass
class Answer:
    """What the acknowledgement of a batch must say."""

    accepted: int = 0  # contacts, or orders
    rows: int = 0  # accepted, those with an id that an earlier one has included
    created: int = 0
    rejects: int = 0
    events: int = 0  # that took effect and stand
    event_duplicates: int = 0
    event_rejects: int = 0


class Model:
    """The contacts with their events after some batches, and the batch keys that were used."""

    def __init__(self) -> None:
        self.contacts: dict[str, Contact] = {}
        self.padding = 0  # contacts more that hold nothing
        self.keys: set[str] = set()
        self._events: dict[Key, tuple[int, str | None]] = {}  # the revision held, and whose it is: None taken back

    def copy(self) -> Model:
        other = Model()
        other.contacts = {i: Contact(dict(c.fields), set(c.flags), dict(c.events)) for i, c in self.contacts.items()}
        other.padding = self.padding
        other.keys = set(self.keys)
        other._events = dict(self._events)
        return other

    def apply(self, batch: Batch) -> Answer | None:
        """Apply a batch; None for one whose key was used before: it changes nothing."""
        if batch.key and batch.key in self.keys:
            return None
        if batch.key:
            self.keys.add(batch.key)
        if batch.kind == "orders":
            return self._import(batch)
        if batch.padding:
            self.padding += batch.padding
            return Answer(batch.padding, batch.padding, batch.padding)
        answer = Answer()
        rows = [row for row in batch.rows if not row.bad]
        answer.rejects = len(batch.rows) - len(rows)
        if batch.kind == "upsert":
            rows = list({row.contact_id: row for row in rows}.values())
        touched = set()
        for row in rows:
            contact = self.contacts.get(row.contact_id)
            if contact is None:
                if row.must_exist:
                    answer.rejects += 1
                    continue
                contact = self.contacts[row.contact_id] = Contact()
                answer.created += 1
            touched.add(row.contact_id)
            answer.rows += 1
            _apply(contact, row)
        answer.accepted = len(touched)
        answer.event_rejects = sum(event.bad for event in batch.events)
        accepted, created = self._write(batch.events)
        answer.created += created
        answer.events = accepted
        answer.event_duplicates = len(batch.events) - accepted - answer.event_rejects
        return answer

    def buyers_missing(self, batch: Batch) -> set[str]:
        """The contacts that an import creates before it writes orders: those of orders that take effect."""
        held = dict(self._events)
        buyers = {order.contact_id for order in batch.orders if not order.bad and _take(held, order)}
        return buyers - set(self.contacts)

    def create_buyers(self, batch: Batch) -> int:
        """The first half of an import; how many it creates."""
        missing = self.buyers_missing(batch)
        self.contacts.update((id_, Contact()) for id_ in missing)
        return len(missing)

    def _import(self, batch: Batch) -> Answer:
        accepted, created = self._write(batch.orders)
        return Answer(accepted, accepted, created, sum(order.bad for order in batch.orders))

    def _write(self, rows: Iterable[EventRow]) -> tuple[int, int]:
        """Apply events one after another; of how many ids something took effect, and how many contacts are new."""
        touched: set[Key] = set()
        before = len(self.contacts)
        for row in rows:
            key = key_of(row)
            _, owner = self._events.get(key, (0, None))
            if row.bad or not _take(self._events, row):
                continue
            touched.add(key)
            if owner is not None:
                del self.contacts[owner].events[key]
            if not isinstance(row, Retraction):
                contact = self.contacts.setdefault(row.contact_id, Contact())
                contact.events[key] = held(row) if isinstance(row, Order) else held_event(row)
        return len(touched), len(self.contacts) - before

    def visible(self) -> dict[str, dict[str, Any]]:
        """Contact id to fields."""
        return {id_: contact.fields for id_, contact in self.contacts.items()}

    def events(self) -> dict[str, dict[str, Held]]:
        """Type to id to the event, of the types that there are events of."""
        found: dict[str, dict[str, Held]] = {}
        for contact in self.contacts.values():
            for (type, id_), event in contact.events.items():
                found.setdefault(type, {})[id_] = event
        return found

    def orders(self) -> dict[str, Held]:
        return self.events().get("order", {})

    def revised(self) -> dict[str, list[Any]]:
        """Type and id to [revision, whether it is taken back] of what has a revision or is taken back."""
        return {
            f"{type} {id_}": [revision, owner is None]
            for (type, id_), (revision, owner) in self._events.items()
            if revision or owner is None
        }

    def seen(self) -> tuple[Any, ...]:
        """All that can be seen of it but counts."""
        return self.visible(), self.events(), self.revised(), self.padding

    def counts(self) -> dict[str, int]:
        """The answer to each of QUESTIONS."""
        return {
            text: sum(map(holds, self.contacts.values())) + self.padding * holds(Contact())
            for text, holds in QUESTIONS.items()
        }


def _take(held: dict[Key, tuple[int, str | None]], row: EventRow) -> bool:
    """Note what a row leaves held, if it takes effect; whether it does."""
    key, revision = key_of(row), row.revision or 0
    before = held.get(key)
    if before is not None and (revision < before[0] or (revision == before[0] and before[1] is None)):
        return False
    held[key] = revision, None if isinstance(row, Retraction) else row.contact_id
    return True


def _apply(contact: Contact, row: Row) -> None:
    for name, value in row.fields.items():
        if name == "email" and contact.fields.get("email") != value:
            contact.flags.discard(("email", "hard_bounced"))  # a bounce is of an address
        if value is None or value == frozenset():
            contact.fields.pop(name, None)
        else:
            contact.fields[name] = value
    for name in TAG_FIELDS:
        tags = contact.fields.get(name, frozenset()) - row.tags_removed.get(name, frozenset())
        tags |= row.tags_added.get(name, frozenset())
        if tags:
            contact.fields[name] = tags
        else:
            contact.fields.pop(name, None)
    for channel, flags in row.channels.items():
        for flag, value in flags.items():
            (contact.flags.add if value else contact.flags.discard)((channel, flag))


def _field_questions() -> dict[str, Callable[[Fields], bool]]:
    asked: dict[str, Callable[[Fields], bool]] = {
        "everyone": lambda f: True,
        "vip = true": lambda f: f.get("vip") is True,
        "vip = false": lambda f: f.get("vip") is False,
        "n >= 50": lambda f: int(f.get("n", 0)) >= 50,
        "score > 12.34": lambda f: float(f.get("score", "-inf")) > 12.34,
        "score <= -50": lambda f: float(f.get("score", "inf")) <= -50,
        'note starts with "note 1"': lambda f: f.get("note", "").startswith("note 1"),
        'email ends with "7@example.com"': lambda f: f.get("email", "").endswith("7@example.com"),
        'tags has any ("tag-1", "tag-2") and not labels has "label-3"': lambda f: (
            bool(f.get("tags", frozenset()) & {"tag-1", "tag-2"}) and "label-3" not in f.get("labels", ())
        ),
    }
    for name in FIELDS:
        asked[f"{name} is set"] = lambda f, name=name: name in f
    for city in CITIES:
        asked[f'city = "{city}"'] = lambda f, city=city: f.get("city") == city
    for name, tags in (("tags", TAGS), ("labels", LABELS)):
        for tag in tags:
            asked[f'{name} has "{tag}"'] = lambda f, name=name, tag=tag: tag in f.get(name, ())
    return asked | _history_questions()


def _history_questions() -> dict[str, Callable[[Fields], bool]]:
    """What is tracked from the beginning has a history that leads to what is there."""
    asked: dict[str, Callable[[Fields], bool]] = {}
    for tag in LABELS:
        asked[f'labels tagged "{tag}"'] = lambda f, tag=tag: tag in f.get("labels", ())
    for name, value in (*(("city", f'"{city}"') for city in CITIES), ("vip", "true"), ("vip", "false")):
        asked[f"{name} = {value} and not {name} became {value}"] = lambda f: False
    return asked


def _channel_questions() -> dict[str, Callable[[Flags], bool]]:
    asked: dict[str, Callable[[Flags], bool]] = {}
    for channel in CHANNELS:
        consent = (channel, "consent")
        suppressing = {(channel, flag) for flag in SUPPRESSING}
        asked[f'consented("{channel}")'] = lambda f, consent=consent: consent in f
        asked[f'suppressed("{channel}")'] = lambda f, suppressing=suppressing: bool(f & suppressing)
        asked[f'reachable("{channel}")'] = lambda f, c=consent, s=suppressing: c in f and not f & s
        for _, flag in suppressing:
            asked[f'{flag}("{channel}")'] = lambda f, held=(channel, flag): held in f
    return asked


# Expression to whether it holds a contact.
QUESTIONS: Mapping[str, Callable[[Contact], bool]] = {
    **{text: lambda c, holds=holds: holds(c.fields) for text, holds in _field_questions().items()},
    **{text: lambda c, holds=holds: holds(c.flags) for text, holds in _channel_questions().items()},
    **{text: lambda c, holds=holds: holds(c.of("order")) for text, holds in ORDER_QUESTIONS.items()},
    **{
        text: lambda c, holds=holds: holds(sourced(c.by_id("order"), c.by_id("visit")))
        for text, holds in SOURCE_QUESTIONS.items()
    },
    **{text: lambda c, holds=holds: holds(c.of("visit"), c.of("task")) for text, holds in EVENT_QUESTIONS.items()},
}
