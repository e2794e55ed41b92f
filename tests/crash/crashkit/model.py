"""What batches mean, in dictionaries and sets: the independent account of what a store must hold.

Imports the load only, nothing of segidx.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crashkit.held import ORDER_QUESTIONS, Held, held
from crashkit.load import CHANNELS, CITIES, FIELDS, LABELS, TAGS, Batch, Row

TAG_FIELDS = ("tags", "labels")
SUPPRESSING = ("unsubscribed", "hard_bounced", "complained")

Fields = Mapping[str, Any]
Flags = set[tuple[str, str]]


@dataclass
class Contact:
    """`fields` has what is set, tags as non-empty frozensets; `flags` the (channel, flag) pairs that are set; `orders`
    those by id that are the contact's now."""

    fields: dict[str, Any] = field(default_factory=dict)
    flags: Flags = field(default_factory=set)
    orders: dict[str, Held] = field(default_factory=dict)


@dataclass
class Answer:
    """What the acknowledgement of a batch must say."""

    accepted: int = 0  # contacts, or orders
    rows: int = 0  # accepted, those with an id that an earlier one has included
    created: int = 0
    rejects: int = 0


class Model:
    """The contacts with their orders after some batches, and the batch keys that were used."""

    def __init__(self) -> None:
        self.contacts: dict[str, Contact] = {}
        self.keys: set[str] = set()

    def copy(self) -> Model:
        other = Model()
        other.contacts = {i: Contact(dict(c.fields), set(c.flags), dict(c.orders)) for i, c in self.contacts.items()}
        other.keys = set(self.keys)
        return other

    def apply(self, batch: Batch) -> Answer | None:
        """Apply a batch; None for one whose key was used before: it changes nothing."""
        if batch.key and batch.key in self.keys:
            return None
        if batch.key:
            self.keys.add(batch.key)
        if batch.kind == "orders":
            return self._import(batch)
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
        return answer

    def buyers_missing(self, batch: Batch) -> set[str]:
        """The contacts that an import creates before it writes orders."""
        return {order.contact_id for order in batch.orders if not order.bad} - set(self.contacts)

    def create_buyers(self, batch: Batch) -> int:
        """The first half of an import; how many it creates."""
        missing = self.buyers_missing(batch)
        self.contacts.update((id_, Contact()) for id_ in missing)
        return len(missing)

    def _import(self, batch: Batch) -> Answer:
        created = self.create_buyers(batch)
        valid = {order.order_id: order for order in batch.orders if not order.bad}
        for contact in self.contacts.values():
            for id_ in valid.keys() & contact.orders.keys():
                del contact.orders[id_]
        for id_, order in valid.items():
            self.contacts[order.contact_id].orders[id_] = held(order)
        return Answer(len(valid), len(valid), created, sum(order.bad for order in batch.orders))

    def visible(self) -> dict[str, dict[str, Any]]:
        """Contact id to fields."""
        return {id_: contact.fields for id_, contact in self.contacts.items()}

    def orders(self) -> dict[str, Held]:
        """Order id to the order."""
        return {id_: order for contact in self.contacts.values() for id_, order in contact.orders.items()}

    def counts(self) -> dict[str, int]:
        """The answer to each of QUESTIONS."""
        return {text: sum(map(holds, self.contacts.values())) for text, holds in QUESTIONS.items()}


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
    **{text: lambda c, holds=holds: holds(list(c.orders.values())) for text, holds in ORDER_QUESTIONS.items()},
}
