"""Events: what contacts did, of types with typed properties. Imports the schema's types only.

Some types every account has; others it declares. An order has lines: both are events of their contact at the order's
time, and a line's conditions are on one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from segidx.model.errors import InvalidSchema, SchemaConflict, UnknownEventType, UnknownProperty
from segidx.model.schema import MAX_SCALE, FieldType

MAX_EVENT_ID_BYTES = 255
MAX_LINES = 5_000  # of one order
MAX_PROPERTIES = 27  # of one event type
MAX_DECLARED_TYPES = 200
FIRST_DECLARED = 16  # the number of the first type that an account declares
QUANTITY_SCALE = 3
SECONDS_SCALE = 3  # of durations
MAX_REVISION = (1 << 61) - 1  # of an event; 0 stands for none
# Events may be so far ahead of the clock, for clocks that differ.
MAX_AHEAD_MILLIS = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class EventProperty:
    """A property of an event type. `scale` is the decimals of a NUMBER; None: those of the account's money."""

    name: str
    type: FieldType
    scale: int | None = 0

    def decimals(self, money_scale: int) -> int:
        return money_scale if self.scale is None else self.scale


HOUR = EventProperty("hour", FieldType.NUMBER)
WEEKDAY = EventProperty("weekday", FieldType.NUMBER)
MONTH = EventProperty("month", FieldType.NUMBER)
CLOCK_PROPERTIES = {each.name: each for each in (HOUR, WEEKDAY, MONTH)}
"""What filters see of an event of any type by its time alone, in the account's zone: the hour of the day, 0 to 23, the
day of the week, 1 for Monday to 7, and the month of the year, 1 to 12. They are not given with events, and no property
may have these names. A type that was declared with a `month` before these had one keeps its own."""


@dataclass(frozen=True, slots=True)
class EventType:
    """A type of events: the word of the text syntax, and typed properties. `number` stands for it in the store; the
    account gives one to each type that is declared."""

    name: str
    properties: tuple[EventProperty, ...] = ()
    number: int = 0

    def __hash__(self) -> int:
        return hash(
            (self.name, self.number)
        )  # types are found and compared for each question, and have many properties

    def property(self, name: str) -> EventProperty:
        """The property of that name. Raises UnknownProperty with the nearest names."""
        return self.properties[self.index(name)]

    def index(self, name: str) -> int:
        """Its place among the properties. Raises UnknownProperty."""
        for place, found in enumerate(self.properties):
            if found.name == name:
                return place
        raise UnknownProperty(self.name, name, [p.name for p in self.properties])


def clock_of(type: EventType, name: str) -> EventProperty | None:
    """What filters see under that name by the time alone, where the type has no property of its own of that name."""
    return None if any(each.name == name for each in type.properties) else CLOCK_PROPERTIES.get(name)


def _strings(*names: str) -> tuple[EventProperty, ...]:
    return tuple(EventProperty(name, FieldType.CATEGORY) for name in names)


ORDER = EventType(
    "order",
    (
        EventProperty("source", FieldType.CATEGORY),
        EventProperty("paid", FieldType.BOOL),
        EventProperty("amount", FieldType.NUMBER, None),
    ),
    1,
)
LINE = EventType(
    "line",
    (
        *_strings("product", "producer", "category"),
        EventProperty("quantity", FieldType.NUMBER, QUANTITY_SCALE),
        EventProperty("unit_price", FieldType.NUMBER, None),
        EventProperty("amount", FieldType.NUMBER, None),
    ),
    2,
)
VISIT = EventType(
    "visit",
    (
        EventProperty("source", FieldType.CATEGORY),
        EventProperty("paid", FieldType.BOOL),
        *_strings("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"),
        *_strings("referrer", "search_phrase", "url"),
        EventProperty("dwell", FieldType.NUMBER, SECONDS_SCALE),
    ),
    3,
)
MESSAGE = EventType("message", _strings("channel", "kind", "campaign", "message_type", "link", "topic"), 4)
CART = EventType(
    "cart",
    (
        *_strings("kind", "product", "producer", "category"),
        EventProperty("quantity", FieldType.NUMBER, QUANTITY_SCALE),
        EventProperty("amount", FieldType.NUMBER, None),
    ),
    5,
)
ACTIVITY = EventType(
    "activity",
    (
        *_strings("kind", "subject", "rep"),
        EventProperty("due", FieldType.TIMESTAMP),
        EventProperty("done", FieldType.TIMESTAMP),
    ),
    6,
)
BUILT_IN = (ORDER, LINE, VISIT, MESSAGE, CART, ACTIVITY)

# History: what became of tracked fields. The writer keeps it, beside the changes that it is of. Nobody else writes it,
# and `became` and `tagged` alone ask for it. Its events have no ids, since none is ever replaced or retracted.
CHANGE = EventType("change", _strings("field", "value"), 7)
"""A tracked category or yes/no field got another value ("true" and "false" of the latter), or lost it: none."""
TAGGING = EventType("tagging", (*_strings("field", "tag"), EventProperty("added", FieldType.BOOL)), 8)
"""A tag was added to a tracked tags field, or removed from it."""
HISTORY = (CHANGE, TAGGING)


class EventTypes:
    """The event types of an account, by name: those that every account has, then those declared in it. Those of history
    have a number, and are none of them."""

    def __init__(self, declared: Iterable[EventType] = ()) -> None:
        self.declared = tuple(declared)
        self._by_name = {each.name: each for each in (*BUILT_IN, *self.declared)}
        self._by_number = {each.number: each for each in (*self, *HISTORY)}

    def __iter__(self) -> Iterator[EventType]:
        return iter(self._by_name.values())

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EventTypes) and self.declared == other.declared

    def __hash__(self) -> int:
        return hash(self.declared)

    def __getitem__(self, name: str) -> EventType:
        """The type of that name. Raises UnknownEventType with the nearest names."""
        found = self._by_name.get(name)
        if found is None:
            raise UnknownEventType(name, self._by_name)
        return found

    def numbered(self, number: int) -> EventType | None:
        """The type that has the number in the store, of history too."""
        return self._by_number.get(number)

    def extended(self, types: Iterable[EventType]) -> EventTypes:
        """These with more types. Declaring a type again as it is changes nothing; otherwise it is a SchemaConflict,
        since events of it are stored. Raises InvalidSchema for a type that cannot be declared."""
        declared = list(self.declared)
        known = dict(self._by_name)
        for new in types:
            old = known.get(new.name)
            if old is not None:
                if old.properties != new.properties:
                    raise SchemaConflict(
                        f"event type {new.name!r} has other properties already; declare a type of another name",
                        event_type=new.name,
                    )
                continue
            check_event_type(new)
            if len(declared) >= MAX_DECLARED_TYPES:
                raise InvalidSchema(f"an account declares at most {MAX_DECLARED_TYPES} event types")
            known[new.name] = replace(new, number=FIRST_DECLARED + len(declared))
            declared.append(known[new.name])
        return EventTypes(declared) if len(declared) > len(self.declared) else self


EVENT_TYPE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
# Words that the text syntax has a meaning for where an event type may stand; names of properties may be quoted there.
_RESERVED = frozenset(
    (
        *("a", "above", "after", "ago", "all", "among", "and", "anniversary", "any", "are", "at", "became", "before"),
        *("below", "between", "by", "ci", "contains", "date", "days", "during", "ends", "everyone"),
        *("false", "first", "from", "has", "hour", "in", "is", "last", "like", "matches", "never", "next"),
        *("nobody", "none", "not", "of", "older", "only", "or", "segment", "set", "since", "starts"),
        *("tagged", "than", "then", "this", "time", "timestamp", "to", "today", "top", "true", "until"),
        *("month", "weekday", "where", "with", "within"),
        *("interaction", "touch"),  # groups
        *("change", "tagging"),  # history
    )
)
_RESERVED_PROPERTIES = frozenset(("time", *CLOCK_PROPERTIES))  # every event has these
_PROPERTY_TYPES = (FieldType.CATEGORY, FieldType.BOOL, FieldType.NUMBER, FieldType.TIMESTAMP)


def check_event_type(new: EventType) -> None:
    """Whether the type may be declared. Raises InvalidSchema."""
    for name, what, reserved, but in (
        (
            new.name,
            "event type",
            _RESERVED,
            "no word of the text syntax, and not 'interaction', 'touch', 'change' or 'tagging'",
        ),
        *(
            (
                p.name,
                f"event type {new.name}: property",
                _RESERVED_PROPERTIES,
                "not 'time', 'hour', 'weekday' or 'month'",
            )
            for p in new.properties
        ),
    ):
        if not EVENT_TYPE_NAME.fullmatch(name) or name in reserved:
            raise InvalidSchema(
                f"{what} {name!r} must be 1 to 64 of a-z, 0-9 and '_', beginning with a letter, and {but}",
                event_type=new.name,
            )
    names = [p.name for p in new.properties]
    if len(names) > MAX_PROPERTIES:
        raise InvalidSchema(
            f"event type {new.name!r} has {len(names)} properties; {MAX_PROPERTIES} are the most", event_type=new.name
        )
    if len(set(names)) < len(names):
        raise InvalidSchema(f"event type {new.name!r} declares a property twice", event_type=new.name)
    for each in new.properties:
        if each.type not in _PROPERTY_TYPES:
            raise InvalidSchema(
                f"event type {new.name!r}: property {each.name!r} is a {each.type.value}; properties are"
                f" {', '.join(t.value for t in _PROPERTY_TYPES)}",
                event_type=new.name,
            )
        number = each.type is FieldType.NUMBER
        if not (number and each.scale is None) and not 0 <= (each.scale or 0) <= (MAX_SCALE if number else 0):
            raise InvalidSchema(
                f"event type {new.name!r}: property {each.name!r}: scale is the decimals of a number, 0 to {MAX_SCALE}",
                event_type=new.name,
            )


@dataclass(frozen=True, slots=True)
class OrderLine:
    """One line. Without a quantity it is 1; without an amount, quantity x unit price where there is a unit price,
    rounded to the account's money scale, half a unit away from zero."""

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
    negative. Its time is rounded down to milliseconds.
    """

    order_id: str
    contact_id: str
    time: datetime
    source: str | None = None
    paid: bool | None = None
    amount: Decimal | None = None
    lines: Sequence[OrderLine] = ()
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One event of any type but `order` and `line`. Sending an id again replaces the event.

    `properties` holds values by name: str, bool, numbers (int, Decimal) and datetime; None is as good as absent. With
    a `revision` the event of the greatest revision stands, whichever comes last. Instants are rounded down to
    milliseconds.
    """

    type: str
    event_id: str
    contact_id: str
    time: datetime
    properties: Mapping[str, str | bool | int | Decimal | datetime | None] = field(default_factory=dict)
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class Retraction:
    """Takes an event back, with an order its lines. One that comes before its event is remembered: the event is then no
    error, and stays away, unless it has a greater `revision`."""

    type: str
    event_id: str
    revision: int | None = None


EventRow = Order | Event | Retraction
"""What is written of events, row by row."""
