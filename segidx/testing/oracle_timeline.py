"""A contact's timeline, by the oracle: the events that are kept of it, and what became of its tracked fields. It must
not import anything but the model and the oracle.

Events of one instant stand in an order that callers are not told, so that instants are compared with what is in them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from segidx.model.events import HISTORY, OrderLine
from segidx.model.results import ContactEvent
from segidx.model.schema import FieldType
from segidx.testing.oracle import Oracle
from segidx.testing.pools import from_millis

_HISTORY = frozenset(type.name for type in HISTORY)


def events_of(oracle: Oracle, contact_id: str) -> list[ContactEvent]:
    """All of them but the history, in order of time, types and ids."""
    found = []
    for (type, event_id), held in oracle.held.items():
        kept = held.kept
        if kept is not None and kept.contact_id == contact_id:
            lines = tuple(OrderLine(**line.properties) for line in kept.lines)  # type: ignore[arg-type]
            properties: dict[str, Any] = dict(kept.event.properties)
            time = from_millis(kept.event.time)
            found.append(ContactEvent(type, event_id, time, properties, held.revision or None, lines))
    return in_order(found)


def in_order(events: Iterable[ContactEvent]) -> list[ContactEvent]:
    return sorted(events, key=lambda event: (event.time, event.type, event.event_id))


def without_history(events: Iterable[ContactEvent]) -> list[ContactEvent]:
    return in_order(event for event in events if event.type not in _HISTORY)


Became = dict[tuple[str, object], list[object]]
"""By field and tag, or field and None: what the tag, or the field, became one after another."""


def history_of(oracle: Oracle, contact_id: str) -> Became:
    found: Became = {}
    for change in oracle.history.get(contact_id, ()):
        if oracle.schema[change.field].type is FieldType.TAGS:
            found.setdefault((change.field, change.value), []).append(change.held)
        else:
            value = str(change.value).lower() if isinstance(change.value, bool) else change.value
            found.setdefault((change.field, None), []).append(value)
    return found


def history_in(events: Iterable[ContactEvent]) -> Became:
    """The same, as a timeline has it, oldest first."""
    found: Became = {}
    for event in events:
        told = event.properties
        if event.type == "change":
            found.setdefault((str(told["field"]), None), []).append(told.get("value"))
        elif event.type == "tagging":
            found.setdefault((str(told["field"]), told["tag"]), []).append(told["added"])
    return found
