"""Hours, weekdays, days and different values of events in zones whose clocks change in odd ways: the oracle, the plan
with and without rules, and text agree on events around the changes, imported, written, merged and above one another."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.model.events import VISIT, Event, Order
from segidx.model.expression import Expression
from segidx.model.schema import AccountInfo, Schema
from segidx.model.syntax import format_expression, parse
from segidx.model.windows import to_millis
from segidx.testing.checks import check_expression
from segidx.testing.event_lives import SeededChooser
from segidx.testing.event_pools import ALL_TYPES, DECLARED
from segidx.testing.event_questions import EventGenerator
from segidx.testing.generator_events import EventRow, EventRowGenerator
from segidx.testing.oracle import Oracle
from segidx.testing.pools import pools_for

# An instant behind the changes, and those: clocks that are set, that go back over midnight, a day that is left out,
# Ramadan, and another offset for good.
CHANGES = {
    "Europe/Warsaw": ("2025-11-03T10:00:00Z", "2025-03-30T01:00:00Z", "2025-10-26T01:00:00Z"),
    "America/St_Johns": ("2009-11-20T10:00:00Z", "2009-03-08T03:31:00Z", "2009-11-01T02:31:00Z"),
    "Asia/Kathmandu": ("1986-02-03T10:00:00Z", "1985-12-31T18:30:00Z"),
    "Pacific/Apia": ("2012-01-03T12:00:00Z", "2011-12-30T10:00:00Z", "2011-09-24T14:00:00Z"),
    "Africa/Casablanca": ("2025-05-03T12:00:00Z", "2025-02-23T02:00:00Z", "2025-04-06T02:00:00Z"),
}
BY_HAND = (
    "did(visit where hour = {h})",
    "count(order where hour between {h} and {k}) >= 2",
    "never(line where weekday = {d} and hour != {h})",
    "count(visit where not (weekday in ({d}, 7) or hour < {h}) during last 90 days) >= 1",
    "only(visit where weekday >= {d} among hour > {h})",
    "distinct_days(visit) >= {n}",
    "distinct_days(order where hour < {k}) = {n}",
    "distinct_days(visit where weekday != {d} during last 60 days) < {n}",
    "distinct(line.product) >= {n}",
    "distinct(line.amount where weekday <= {d}) < {n}",
    "distinct(visit.dwell where hour >= {h}) between 1 and {n}",
    "distinct(order.paid) = 2 or distinct(order.source during last 200 days) > {n}",
    "distinct(download.published) != {n}",
    "count(visit) = distinct_days(visit) and did(visit)",
    "distinct(visit.source) * 2 > distinct_days(visit) + 1",
    "at least 2 of (distinct_days(in_app) > 0, distinct(cart.product) < 2, count(in_app where hour = {h}) = 0)",
)


class Clocked:
    """An account in a zone, and the oracle, told the same."""

    def __init__(self, directory: Path, zone: str) -> None:
        self.rng = random.Random(zone)
        self.at, *self.changes = (datetime.fromisoformat(each) for each in CHANGES[zone])
        self.pools = pools_for(self.at, zone)
        self.oracle = Oracle(Schema(()), zone)
        self.database = Database.open(directory / "data", create=True, clock=lambda: to_millis(self.at))
        self.account: Account = self.database.create_account(AccountInfo("shop", zone))
        self.account.declare_event_types(DECLARED)
        self.oracle.declare_event_types(DECLARED)
        contacts = [f"c{n}" for n in range(30)]
        self.rows = EventRowGenerator(SeededChooser(self.rng), contacts, self.at, zone, types=tuple(ALL_TYPES))
        self.questions = EventGenerator(SeededChooser(self.rng), Schema(()), self.pools, tuple(ALL_TYPES))

    def near(self, row: EventRow) -> EventRow:
        """The row, most of the time within some hours of a change."""
        if not isinstance(row, Event | Order) or self.rng.random() < 0.2:
            return row
        change = self.rng.choice(self.changes).astimezone(UTC)
        by = self.rng.choice(
            (0, -1, 1, 3_600_000, -3_600_000, self.rng.randint(-4, 4) * 3_600_000, self.rng.randint(-(10**8), 10**8))
        )
        return replace(row, time=min(change + timedelta(milliseconds=by), self.at))

    def write(self, count: int) -> None:
        rows = [self.near(self.rows.row()) for _ in range(count)]
        wanted, got = self.oracle.write_events(rows, to_millis(self.at)), self.account.write_events(rows)
        assert (got.events_accepted, got.event_rejects) == (wanted.accepted, wanted.rejects) == (wanted.accepted, ())

    def import_orders(self, count: int) -> None:
        orders = [order for order in map(self.near, self.rows.imported_orders(count)) if isinstance(order, Order)]
        wanted, got = self.oracle.write_events(orders, to_millis(self.at)), self.account.import_orders(orders)
        assert got.accepted == wanted.accepted

    def check(self) -> None:
        found = 0
        for text in BY_HAND:
            for _ in range(3):
                h, k = sorted((self.rng.randrange(24), self.rng.randrange(24)))
                asked = text.format(h=h, k=k, d=self.rng.randint(1, 7), n=self.rng.randint(1, 6))
                check_expression(self.account, self.oracle, parse(asked), self.at)
                found += 0 < len(self.oracle.members(parse(asked), self.at)) < len(self.oracle.contacts)
        assert found > len(BY_HAND), "most questions should tell contacts apart"
        for asked in self.random_questions():
            check_expression(self.account, self.oracle, asked, self.at)
        assert list(self.account.verify()) == []

    def random_questions(self) -> Iterator[Expression]:
        for _ in range(60):
            asked = self.questions.expression(2)
            if any(word in format_expression(asked) for word in ("hour", "weekday", "distinct")):
                yield asked


@pytest.mark.parametrize("zone", CHANGES)
def test_around_changes_of_clocks(tmp_path: Path, zone: str) -> None:
    made = Clocked(tmp_path, zone)
    try:
        made.import_orders(60)
        made.write(200)
        made.check()
        made.account.merge()
        made.check()
        made.write(150)
        made.import_orders(20)
        made.check()
        made.account.merge()
        made.check()
    finally:
        made.database.close()


def test_years_of_one_contact(tmp_path: Path) -> None:
    """Every six hours for two years: more rows than a block, over months, and above them in the log."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    oracle = Oracle(Schema(()), "Europe/Warsaw")
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(at)) as database:
        account = database.create_account(AccountInfo("shop", "Europe/Warsaw"))
        for part in range(3):
            rows = [
                Event(VISIT.name, f"{part}-{n}", "anna", at - timedelta(hours=6 * n + part), {"dwell": n % 700})
                for n in range(part, 2900)
            ]
            oracle.write_events(rows, to_millis(at))
            account.write_events(rows)
            if part == 1:
                account.merge()
            for asked in (
                *(f"distinct_days(visit) = {n}" for n in (724, 725, 726)),
                *(f"distinct_days(visit during last 1 whole year) = {n}" for n in (364, 365, 366)),
                *(f"distinct(visit.dwell) = {n}" for n in (699, 700)),
                *(f"count(visit where hour = {h}) > {n}" for h in (0, 1, 7) for n in (0, 500, 1000)),
            ):
                check_expression(account, oracle, parse(asked), at)
