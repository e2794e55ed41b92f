"""Random histories of orders.

Orders lie where windows begin and end at an instant, at the ends of months and where clocks are set, and all over the
two years before; ids are sent again with another contact, time and lines. `random_life` takes a `random.Random`;
hypothesis drives the same generator in `strategies`. It must import nothing but `segidx/model`, the other generators
and the oracle's calendar.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from segidx.model.events import MAX_AHEAD_MILLIS, MAX_EVENT_ID_BYTES, QUANTITY_SCALE, Order, OrderLine
from segidx.model.schema import MAX_CONTACT_ID_BYTES, MAX_MINOR_UNITS, MAX_STRING_BYTES
from segidx.testing import oracle_time
from segidx.testing.event_pools import AMOUNTS, PRICES, QUANTITIES, fitting, strings_of
from segidx.testing.generator import Chooser
from segidx.testing.pools import NOTABLE_INSTANTS, from_millis, pools_for

_DAY_MS = 86_400_000
# How many days before the instant an order may lie, where it lies anywhere.
SPANS = (1, 7, 30, 90, 200, 400, 800)


class SeededChooser:
    """Choices of a seeded `random.Random`."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def integer(self, low: int, high: int) -> int:
        return self.rng.randint(low, high)


# --- orders ------------------------------------------------------------------------------------------------


class OrderGenerator:
    """Random orders of some contacts around an instant, in an account of that zone and money scale.

    No order is later than `latest`, by default the last instant that is taken when the clock shows `at`.
    """

    def __init__(
        self,
        chooser: Chooser,
        contact_ids: Sequence[str],
        at: datetime,
        zone: str = "UTC",
        *,
        money_scale: int = 2,
        latest: datetime | None = None,
        prefix: str = "o",
    ) -> None:
        self.chooser = chooser
        self.at = oracle_time.millis(at)
        self.latest = self.at + MAX_AHEAD_MILLIS if latest is None else oracle_time.millis(latest)
        # Every seventh contact orders nothing.
        self.contact_ids = [c for n, c in enumerate(contact_ids) if n % 7 != 6]
        self.prefix = prefix
        self.money_scale = money_scale
        self.sent: dict[str, Order] = {}
        self.last_time = min(self.latest, max(0, self.at - 1))
        self.times = self._times(at, zone)
        self.amounts = fitting(AMOUNTS, money_scale)
        self.prices = fitting(PRICES, money_scale)
        self.quantities = fitting(QUANTITIES, QUANTITY_SCALE)

    def _times(self, at: datetime, zone: str) -> list[int]:
        """Instants that matter: edges of windows, of UTC months and of daylight saving."""
        found = [self.at - 1, self.at, self.at + 1, self.at - 1000, self.at + MAX_AHEAD_MILLIS]
        first = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        day = oracle_time.ordinal(first.year, first.month, 1)
        epoch = oracle_time.ordinal(1970, 1, 1)
        for back in range(5):
            month = (oracle_time.add_months(day, -back) - epoch) * _DAY_MS
            found += [month, month - 1]
        found += [oracle_time.millis(instant) for instant in pools_for(at, zone).instants]
        found += [oracle_time.millis(instant) for instant in NOTABLE_INSTANTS]
        return [time for time in dict.fromkeys(found) if 0 <= time <= self.latest] or [0]

    def one_in(self, n: int) -> bool:
        return self.chooser.integer(0, n - 1) == n - 1

    def skewed(self, size: int) -> int:
        """An index below `size`, the first ones more often."""
        return min(self.chooser.integer(0, size - 1), self.chooser.integer(0, size - 1))

    def orders(self, count: int) -> list[Order]:
        """So many orders. One in eight sends an id again, of this call or of an earlier one."""
        return [self.order() for _ in range(count)]

    def order(self) -> Order:
        if self.sent and self.one_in(8):
            sent = list(self.sent)
            # Often one of the last, so that ids come twice in one import too.
            again = sent[self.chooser.integer(max(0, len(sent) - 20) if self.one_in(2) else 0, len(sent) - 1)]
            order = self.again(self.sent[again])
        else:
            order = self.new(f"{self.prefix}{len(self.sent)}")
        self.sent[order.order_id] = order
        self.last_time = oracle_time.millis(order.time)
        return order

    def again(self, old: Order) -> Order:
        """An order that replaces another: in everything, or with the same contact, time or lines."""
        new = self.new(old.order_id)
        shape = self.chooser.integer(0, 3)
        if shape == 1:
            return replace(new, contact_id=old.contact_id)
        if shape == 2:
            return replace(new, contact_id=old.contact_id, time=old.time)
        return replace(old, contact_id=new.contact_id, time=new.time) if shape == 3 else new

    def new(self, order_id: str) -> Order:
        """An order of that id, whatever there was before."""
        return Order(
            order_id,
            self.contact(),
            from_millis(self.time()),
            source=self._string("source"),
            paid=None if self.one_in(5) else not self.one_in(3),
            amount=self._number(self.amounts) if self.one_in(3) else None,
            lines=tuple(self._line() for _ in range(self.skewed(5))),
        )

    def contact(self) -> str:
        return self.contact_ids[self.skewed(len(self.contact_ids))]

    def time(self) -> int:
        """When an event was, in milliseconds since 1970: of this order or of another event."""
        shape = self.chooser.integer(0, 9)
        if shape == 0:
            return self.last_time  # a tie with the order before
        if shape <= 3:
            return self.times[self.chooser.integer(0, len(self.times) - 1)]
        span = SPANS[self.chooser.integer(0, len(SPANS) - 1)] * _DAY_MS
        return min(self.latest, max(0, self.at - self.chooser.integer(0, span)))

    def _line(self) -> OrderLine:
        return OrderLine(
            product=self._string("product"),
            producer=self._string("producer"),
            category=self._string("category"),
            quantity=None if self.one_in(4) else self._number(self.quantities),
            unit_price=None if self.one_in(4) else self._number(self.prices),
            amount=self._number(self.amounts) if self.one_in(3) else None,
        )

    def _string(self, name: str) -> str | None:
        pool = strings_of(name)
        return None if self.one_in(5) else pool[self.skewed(len(pool))]

    def _number(self, pool: Sequence[Decimal]) -> Decimal:
        return pool[self.skewed(len(pool))]

    def bad_order(self) -> Order:
        """An order that is to be refused, for one thing or another. Its id may be one that is known."""
        good = replace(self.order(), order_id=f"{self.prefix}{self.chooser.integer(0, len(self.sent))}")
        too_fine = Decimal(1).scaleb(-self.money_scale - 1)
        too_large = Decimal(MAX_MINOR_UNITS + 1).scaleb(-self.money_scale)
        largest = Decimal(MAX_MINOR_UNITS).scaleb(-self.money_scale)
        bad: list[Order] = [
            replace(good, order_id=""),
            replace(good, order_id="o" * (MAX_EVENT_ID_BYTES + 1)),
            replace(good, contact_id=""),
            replace(good, contact_id="é" * (MAX_CONTACT_ID_BYTES // 2 + 1)),
            replace(good, time=datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
            replace(good, time=datetime(9999, 1, 1, tzinfo=UTC)),
            replace(good, time=datetime(2020, 1, 1)),  # no zone
            replace(good, time=datetime(2020, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
            replace(good, source="x" * (MAX_STRING_BYTES + 1)),
            replace(good, source=Decimal(1)),  # type: ignore[arg-type]
            replace(good, paid="yes"),  # type: ignore[arg-type]
            replace(good, amount=too_fine),
            replace(good, amount=too_large),
            replace(good, amount=Decimal("NaN")),
            replace(good, lines=(*good.lines, OrderLine(quantity=Decimal("0.0001")))),
            replace(good, lines=(*good.lines, OrderLine(product=True))),  # type: ignore[arg-type]
            replace(good, lines=(OrderLine(amount=-too_large), *good.lines)),
            replace(good, lines=(OrderLine(quantity=Decimal(2), unit_price=largest),)),
            replace(good, amount=None, lines=(OrderLine(amount=largest), OrderLine(amount=largest))),
        ]
        return bad[self.chooser.integer(0, len(bad) - 1)]


def random_life(
    rng: random.Random,
    contact_ids: Sequence[str],
    sizes: Sequence[int],
    *,
    at: datetime,
    zone: str = "UTC",
    money_scale: int = 2,
    latest: datetime | None = None,
    bad_orders: bool = False,
) -> list[list[Order]]:
    """Imports of so many orders each, to be made one after another. With `bad_orders`, about one in ten is to be
    refused."""
    chooser = SeededChooser(rng)
    generator = OrderGenerator(chooser, contact_ids, at, zone, money_scale=money_scale, latest=latest)
    return [
        [generator.bad_order() if bad_orders and rng.randrange(10) == 0 else generator.order() for _ in range(size)]
        for size in sizes
    ]
