"""Events: what contacts did, as rows with typed properties. Imports the schema's types only.

An order has lines. Both are events of their contact at the order's time; a line's conditions are on one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum

from segidx.model.errors import UnknownProperty
from segidx.model.schema import FieldType

MAX_EVENT_ID_BYTES = 255
MAX_LINES = 5_000  # of one order
QUANTITY_SCALE = 3
# Events may be so far ahead of the clock, for clocks that differ.
MAX_AHEAD_MILLIS = 24 * 3_600_000


class EventKind(Enum):
    """The event types. The value is the word of the text syntax."""

    ORDER = "order"
    LINE = "line"


@dataclass(frozen=True, slots=True)
class EventProperty:
    """A property of an event type. `scale` is the decimals of a NUMBER; None: those of the account's money."""

    name: str
    type: FieldType
    scale: int | None = 0

    def decimals(self, money_scale: int) -> int:
        return money_scale if self.scale is None else self.scale


EVENT_PROPERTIES: dict[EventKind, tuple[EventProperty, ...]] = {
    EventKind.ORDER: (
        EventProperty("source", FieldType.CATEGORY),
        EventProperty("paid", FieldType.BOOL),
        EventProperty("amount", FieldType.NUMBER, None),
    ),
    EventKind.LINE: (
        EventProperty("product", FieldType.CATEGORY),
        EventProperty("producer", FieldType.CATEGORY),
        EventProperty("category", FieldType.CATEGORY),
        EventProperty("quantity", FieldType.NUMBER, QUANTITY_SCALE),
        EventProperty("unit_price", FieldType.NUMBER, None),
        EventProperty("amount", FieldType.NUMBER, None),
    ),
}


def event_property(kind: EventKind, name: str) -> EventProperty:
    """The property of that name. Raises UnknownProperty with the nearest names."""
    for found in EVENT_PROPERTIES[kind]:
        if found.name == name:
            return found
    raise UnknownProperty(kind.value, name, [p.name for p in EVENT_PROPERTIES[kind]])


@dataclass(frozen=True, slots=True)
class OrderLine:
    """One line. Without a quantity it is 1; without an amount, quantity x unit price where there is a unit price,
    rounded half up to the account's money scale."""

    product: str | None = None
    producer: str | None = None
    category: str | None = None
    quantity: Decimal | None = None
    unit_price: Decimal | None = None
    amount: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """One order. Sending an id again replaces the order and all its lines. Without an amount, the amount is the sum of
    its lines' amounts.

    An order counts when one of its lines has a positive quantity; one without lines counts unless its amount is
    negative.
    """

    order_id: str
    contact_id: str
    time: datetime
    source: str | None = None
    paid: bool | None = None
    amount: Decimal | None = None
    lines: Sequence[OrderLine] = ()
