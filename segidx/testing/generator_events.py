"""Random rows that write and retract events of any type: late and ahead of the clock, sent again, replaced in one thing
or in all, moved to another contact, retracted before and after they came, with and without revisions; and rows that are
to be refused.

Ids are few and the same for all types, for they are unique in a type only. It must import nothing but `segidx/model`
and `segidx/testing`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from segidx.model.events import (
    LINE,
    MAX_EVENT_ID_BYTES,
    MAX_REVISION,
    ORDER,
    Event,
    EventProperty,
    EventType,
    Order,
    OrderLine,
    Retraction,
)
from segidx.model.schema import MAX_CONTACT_ID_BYTES, MAX_MINOR_UNITS, MAX_STRING_BYTES, FieldType
from segidx.testing.event_lives import OrderGenerator, SeededChooser
from segidx.testing.event_pools import fitting, numbers_of, strings_of
from segidx.testing.generator import Chooser
from segidx.testing.oracle_time import millis
from segidx.testing.pools import from_millis, pools_for

EventRow = Order | Event | Retraction
Property = str | bool | int | Decimal | datetime | None


class EventRowGenerator:
    """Random rows of some contacts around an instant, in an account of that zone and money scale.

    No event is later than `latest`, by default the last instant that is taken when the clock shows `at`.
    """

    def __init__(
        self,
        chooser: Chooser,
        contact_ids: Sequence[str],
        at: datetime,
        zone: str = "UTC",
        *,
        types: Sequence[EventType],
        money_scale: int = 2,
        latest: datetime | None = None,
    ) -> None:
        self.chooser = chooser
        self.orders = OrderGenerator(chooser, contact_ids, at, zone, money_scale=money_scale, latest=latest, prefix="e")
        self.money_scale = money_scale
        self.types = [type for type in types if type.name != LINE.name]
        self.instants = pools_for(at, zone).instants
        self.sent: dict[tuple[str, str], EventRow] = {}  # what was sent of each type and id last
        self._newest: dict[tuple[str, str], int] = {}  # the greatest revision of each

    def one_in(self, n: int) -> bool:
        return self.chooser.integer(0, n - 1) == n - 1

    # --- rows that stand ---

    def imported(self, type: EventType, count: int) -> list[Event]:
        """Events of a type as a file has them: without revisions; one in eight sends an id again."""
        found = []
        for _ in range(count):
            known = [event_id for of, event_id in self.sent if of == type.name]
            event_id = (
                known[self.chooser.integer(0, len(known) - 1)] if known and self.one_in(8) else self._new_id(type)
            )
            found.append(replace(self._event(type, event_id), revision=None))
            self._note(found[-1])
        return found

    def imported_orders(self, count: int) -> list[Order]:
        """Orders as a file has them."""
        found = self.orders.orders(count)
        for order in found:
            self._note(order)
        return found

    def rows(self, count: int) -> list[EventRow]:
        return [self.row() for _ in range(count)]

    def row(self) -> EventRow:
        """A new event, one of an id that is known, or a retraction of either."""
        shape = self.chooser.integer(0, 9)
        if shape >= 6 and self.sent:
            row = self._again(shape)
        else:
            type = self.types[self.chooser.integer(0, len(self.types) - 1)]
            event_id = self._new_id(type)
            row = Retraction(type.name, event_id) if self.one_in(12) else self._written(type, event_id)
            row = replace(row, revision=self._revision(type.name, event_id))
        self._note(row)
        return row

    def _again(self, shape: int) -> EventRow:
        known = list(self.sent)
        # Often one of the last, so that ids come again in one batch too.
        first = max(0, len(known) - 12) if self.one_in(2) else 0
        name, event_id = known[self.chooser.integer(first, len(known) - 1)]
        revision = self._revision(name, event_id)
        if shape == 9:
            return Retraction(name, event_id, revision)
        type = next(type for type in self.types if type.name == name)
        old = self.sent[name, event_id]
        new = self._written(type, event_id)
        if not isinstance(old, Retraction) and not isinstance(new, Retraction):
            shape = self.chooser.integer(0, 5)
            if shape == 1:  # the same once more
                new = old
            elif shape == 2:
                new = replace(new, contact_id=old.contact_id)
            elif shape == 3:
                new = replace(new, contact_id=old.contact_id, time=old.time)
            elif shape == 4:  # moved to another contact
                new = replace(old, contact_id=new.contact_id)
            elif shape == 5:
                new = replace(old, time=new.time)
        return replace(new, revision=revision)

    def _new_id(self, type: EventType) -> str:
        return f"e{sum(of == type.name for of, _ in self.sent)}"

    def _written(self, type: EventType, event_id: str) -> Order | Event:
        return self.orders.new(event_id) if type.name == ORDER.name else self._event(type, event_id)

    def _event(self, type: EventType, event_id: str) -> Event:
        time = from_millis(self.orders.time())
        properties = {each.name: self._property(each) for each in type.properties if not self.one_in(6)}
        return Event(type.name, event_id, self.orders.contact(), time, properties)

    def _property(self, declared: EventProperty) -> Property:
        if self.one_in(10):
            return None
        match declared.type:
            case FieldType.BOOL:
                return not self.one_in(3)
            case FieldType.TIMESTAMP:
                return self.instants[self.orders.skewed(len(self.instants))]
            case FieldType.NUMBER:
                pool = fitting(numbers_of(declared.name), declared.decimals(self.money_scale))
                number = pool[self.orders.skewed(len(pool))]
                return int(number) if number == int(number) and self.one_in(3) else number
        strings = strings_of(declared.name)
        return strings[self.orders.skewed(len(strings))]

    def _revision(self, name: str, event_id: str) -> int | None:
        """None for most ids; else one that is as great as the greatest so far, or greater or smaller."""
        newest = self._newest.get((name, event_id), 0)
        if not newest:
            return None if not self.one_in(4) else (1, 3, 10, 1 << 40)[self.chooser.integer(0, 3)]
        shape = self.chooser.integer(0, 7)
        if shape <= 2:
            return min(newest + 1, MAX_REVISION)
        if shape <= 4:
            return newest
        return (None, max(1, newest - 1), MAX_REVISION if self.one_in(8) else newest)[shape - 5]

    def _note(self, row: EventRow) -> None:
        key = ("order", row.order_id) if isinstance(row, Order) else (row.type, row.event_id)
        self.sent[key] = row
        self._newest[key] = max(self._newest.get(key, 0), row.revision or 0)
        if not isinstance(row, Retraction):
            self.orders.last_time = millis(row.time)

    # --- rows that are to be refused ---

    def bad_row(self) -> EventRow:
        """A row that is to be refused, for one thing. Its id may be one that is known."""
        plain = [type for type in self.types if type.name != ORDER.name]
        type = plain[self.chooser.integer(0, len(plain) - 1)]
        event_id = f"e{self.chooser.integer(0, len(self.sent))}"
        if self.one_in(5):
            return self.orders.bad_order()
        good, back = self._event(type, event_id), Retraction(type.name, event_id)
        bad: list[EventRow] = [
            replace(good, type="no_such_type"),
            replace(back, type="no_such_type"),
            replace(good, type="line", properties={}),
            replace(back, type="line"),
            replace(good, type="order", properties={}),
            replace(good, event_id=""),
            replace(back, event_id=""),
            replace(good, event_id="é" * (MAX_EVENT_ID_BYTES // 2 + 1)),
            replace(back, event_id="e" * (MAX_EVENT_ID_BYTES + 1)),
            replace(good, contact_id=""),
            replace(good, contact_id="c" * (MAX_CONTACT_ID_BYTES + 1)),
            replace(good, time=datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
            replace(good, time=datetime(9999, 1, 1, tzinfo=UTC)),
            replace(good, time=datetime(2020, 1, 1)),  # no zone
            replace(good, properties={**good.properties, "no_such_property": "x"}),
            replace(good, revision=0),
            replace(good, revision=-1),
            replace(back, revision=0),
            replace(back, revision=1 << 62),
            replace(self.orders.new(event_id), revision=0),
            Order(event_id, good.contact_id, good.time, lines=(OrderLine(quantity=Decimal("0.0001")),)),
        ]
        bad += [
            replace(good, properties={**good.properties, each.name: value})  # type: ignore[dict-item]
            for each in type.properties
            for value in self._bad_values(each)
        ]
        return bad[self.chooser.integer(0, len(bad) - 1)]

    def _bad_values(self, declared: EventProperty) -> Sequence[object]:
        match declared.type:
            case FieldType.BOOL:
                return ("yes", Decimal(1))
            case FieldType.TIMESTAMP:
                return ("2024-01-01", Decimal(1), datetime(2024, 1, 1), datetime(2024, 1, 1).date())
            case FieldType.NUMBER:
                scale = declared.decimals(self.money_scale)
                too_large = Decimal(MAX_MINOR_UNITS + 1).scaleb(-scale)
                return ("one", True, Decimal("NaN"), Decimal(1).scaleb(-scale - 1), too_large, -too_large)
        return (Decimal(1), True, "x" * (MAX_STRING_BYTES + 1))


def random_event_rows(
    rng: random.Random,
    contact_ids: Sequence[str],
    sizes: Sequence[int],
    *,
    at: datetime,
    types: Sequence[EventType],
    zone: str = "UTC",
    bad_rows: bool = False,
) -> list[list[EventRow]]:
    """Batches of so many rows each, to be written one after another. With `bad_rows`, about one in ten is to be
    refused."""
    generator = EventRowGenerator(SeededChooser(rng), contact_ids, at, zone, types=types)
    return [
        [generator.bad_row() if bad_rows and rng.randrange(10) == 0 else generator.row() for _ in range(size)]
        for size in sizes
    ]
