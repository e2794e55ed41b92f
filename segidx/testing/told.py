"""An account and the oracle that were told the same events, of all types, and products of theirs: written, imported,
merged whole, in part and in vain, and read again. Assertions: for tests only.

It may import anything below the service.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np

from segidx.database import Account, Database
from segidx.ingest.importing import SHOWN_REJECTS
from segidx.model.errors import TooManyRejects
from segidx.model.events import Event, EventType, Retraction
from segidx.model.expression import Expression
from segidx.model.results import Reject
from segidx.model.schema import AccountInfo
from segidx.model.windows import from_millis, to_millis
from segidx.store.environment import WriteTransaction
from segidx.testing.bulk import random_contacts
from segidx.testing.checks import check_expression
from segidx.testing.event_files import write_events_file
from segidx.testing.event_lives import SeededChooser
from segidx.testing.event_pools import ALL_TYPES, DECLARED, PRODUCT_PROPERTIES
from segidx.testing.event_questions import random_event_expression, random_event_group
from segidx.testing.generator_events import EventRow, EventRowGenerator
from segidx.testing.generator_products import random_product_writes
from segidx.testing.oracle import Oracle
from segidx.testing.pools import ZONES, pools_for
from segidx.testing.strategies import EVERY_TYPE

# About a leap day, the autumn change of clocks and the end of a month.
INSTANTS = ("2024-02-29T11:30:00+00:00", "2025-10-26T00:30:00+00:00", "2026-03-31T22:30:00+00:00")
FORMATS = (".parquet", ".csv", ".arrow")
TYPES = tuple(ALL_TYPES)
Ask = Callable[..., Expression]  # of a random.Random, a schema, pools, `types` and `products`


class Killed(Exception):
    """The process is said to end here."""


def _told_apart(rejects: Sequence[Reject]) -> list[tuple[int, str, str]]:
    """Each by its index, field and reason. The API does not tell values of another type from others that cannot be."""
    return [(r.index, r.field, r.reason.replace("TYPE_MISMATCH", "INVALID_VALUE")) for r in rejects]


class Told:
    """An account and the oracle, told the same. `ask` makes the questions, and `rows` the events of which types."""

    def __init__(
        self,
        directory: Path,
        seed: int,
        *,
        ask: Ask = random_event_expression,
        rows: type[EventRowGenerator] = EventRowGenerator,
        types: Sequence[EventType] = TYPES,
        contacts: int = 40,
    ) -> None:
        self.number = seed
        self.rng = random.Random(seed)
        self.ask = ask
        self.types = tuple(types)
        self.directory = directory
        self.zone = ZONES[seed % len(ZONES)]
        self.at = datetime.fromisoformat(INSTANTS[seed % len(INSTANTS)])
        self.now = to_millis(self.at)
        self.scale = (2, 0, 4)[seed % 3]
        self.pools = pools_for(self.at, self.zone)
        self.oracle = Oracle(EVERY_TYPE, self.zone, money_scale=self.scale)
        made = random_contacts(np.random.default_rng(seed), EVERY_TYPE, contacts, self.pools)
        self.ids = [contact_id for contact_id, _ in made]
        self.rows = rows(
            SeededChooser(self.rng),
            [*self.ids, "new-1", "new-2", "new-3"],
            self.at,
            self.zone,
            types=self.types,
            money_scale=self.scale,
        )
        self.database = Database.open(directory / "data", create=True, clock=lambda: self.now)
        self.account = self.database.create_account(AccountInfo("shop", self.zone, money_scale=self.scale))
        self.account.update_schema(EVERY_TYPE.fields)
        assert self.account.declare_event_types(DECLARED) == self.account.event_types == ALL_TYPES
        self.oracle.declare_event_types(DECLARED)
        self.oracle.catalogue.declare(PRODUCT_PROPERTIES)
        assert self.account.update_product_schema(PRODUCT_PROPERTIES) == self.oracle.catalogue.schema
        self.account.upsert(made)
        self.oracle.upsert(made)
        self._files = 0

    def close(self) -> None:
        self.database.close()

    # --- writing ---

    def write(self, count: int, *, bad_rows: bool = True) -> None:
        """One live commit."""
        rows = [
            self.rows.bad_row() if bad_rows and self.rng.randrange(12) == 0 else self.rows.row() for _ in range(count)
        ]
        # The API rounds instants down to milliseconds where the oracle refuses them.
        self.write_rows([row for row in rows if isinstance(row, Retraction) or not row.time.microsecond % 1000])
        if self.rng.randrange(4) == 0:
            self.set_group()
        if self.rng.randrange(2) == 0:
            self.write_products(self.rng.choice((1, 6, 30)))

    def write_products(self, count: int) -> None:
        """One commit of the catalogue."""
        rows = random_product_writes(self.rng, self.oracle.catalogue.schema, count)
        wanted, got = self.oracle.catalogue.write(rows), self.account.write_products(rows)
        assert _told_apart(got.rejects) == _told_apart(wanted.rejects)
        assert (got.accepted, got.created, got.deleted, got.duplicates) == (
            wanted.accepted,
            wanted.created,
            wanted.deleted,
            wanted.duplicates,
        )

    def write_rows(self, rows: Sequence[EventRow]) -> None:
        wanted, got = self.oracle.write_events(rows, self.now), self.account.write_events(rows)
        assert _told_apart(got.event_rejects) == _told_apart(wanted.rejects)
        assert (got.events_accepted, got.events_duplicates, got.created) == (
            wanted.accepted,
            wanted.duplicates,
            wanted.created,
        )

    def set_group(self) -> None:
        group = random_event_group(self.rng, self.pools, types=self.types)
        self.oracle.set_event_group(group.name, group.members)
        assert self.account.set_event_group(group.name, group.members) == group
        assert self.account.event_groups == self.oracle.event_groups

    def import_type(self, type: EventType, count: int) -> None:
        """A file of events of one type; of orders, the orders."""
        if type.name == "order":
            orders = self.rows.imported_orders(count)
            wanted, result = self.oracle.write_events(orders, self.now), self.account.import_orders(orders)
            assert (result.accepted, result.created, result.duplicates) == (
                wanted.accepted,
                wanted.created,
                wanted.duplicates,
            )
            self._check_refused(wanted.rejects, result.rejects)
            return
        self._files += 1
        path = self.directory / f"{self._files}{FORMATS[self._files % 3]}"
        events = self.rows.imported(type, count)
        if path.suffix == ".csv":
            # Text has no empty strings.
            events = [
                Event(
                    e.type, e.event_id, e.contact_id, e.time, {n: v or None for n, v in e.properties.items() if v != ""}
                )
                if "" in e.properties.values()
                else e
                for e in events
            ]
        write_events_file(path, type, events, self.scale)
        wanted = self.oracle.write_events(events, self.now)
        try:
            report = self.account.import_events(type.name, path)
        except TooManyRejects:  # all of them are earlier than what is kept
            assert {reject.field for reject in wanted.rejects} == {"time"}
            assert len(wanted.rejects) == count
            return
        self._check_refused(wanted.rejects, report.rejects)
        assert report.rejected == len(wanted.rejects)
        assert (report.rows, report.events, report.unchanged, report.contacts_created) == (
            count,
            wanted.accepted,
            wanted.duplicates,
            wanted.created,
        )

    def _check_refused(self, wanted: Sequence[Reject], found: Sequence[Reject]) -> None:
        """Of good rows those alone that are pruned. A report tells the first ones."""
        assert {reject.reason for reject in wanted} <= {"PRUNED_HISTORY"}
        assert _told_apart(found) == _told_apart(wanted)[: len(found)]
        assert len(found) >= min(len(wanted), SHOWN_REJECTS)

    def import_all(self, count: int) -> None:
        for type in self.types:
            if type.name != "line":
                self.import_type(type, count)

    def prune(self, types: Sequence[str], before: datetime) -> None:
        """Drop what is earlier, and tell how many events it was by what the oracle keeps."""
        time, old = to_millis(before), dict(self.oracle.horizons.times)
        names = list(types) or [each.name for each in self.types if each.name != "line"]
        wanted = {}
        for name in names:
            first, last = old.get(name, 0), max(time, old.get(name, 0))
            gone = [kept for kept in self.oracle.kept(name).values() if first <= kept.event.time < last]
            wanted[name] = (from_millis(last), len(gone), sum(len(kept.lines) for kept in gone))
        for dry_run in (True, False):
            found = self.account.prune(before, types, dry_run=dry_run)
            assert {each.type: (each.horizon, each.events, each.lines) for each in found} == wanted
        self.oracle.prune(names, time)
        horizons = {name: to_millis(each.time) for name, each in self.account.horizons.items()}
        assert horizons == self.oracle.horizons.times

    def change_contacts(self) -> None:
        changed = [(self.rng.choice(self.ids), {"score": Decimal(self.rng.randrange(5))}) for _ in range(3)]
        self.oracle.upsert(changed)
        self.account.upsert(changed)

    # --- asking ---

    def questions(self, count: int) -> list[Expression]:
        return [self._question() for _ in range(count)]

    def _question(self) -> Expression:
        products = self.oracle.catalogue.schema if self.rng.randrange(2) else None
        groups = self.oracle.event_groups
        return self.ask(self.rng, EVERY_TYPE, self.pools, types=self.types, products=products, groups=groups)

    def check(self, count: int = 25, account: Account | None = None, at: datetime | None = None) -> None:
        for question in self.questions(count):
            check_expression(account or self.account, self.oracle, question, at or self.at)

    def check_all(self) -> None:
        """And what is asked at the instant that is used when none is given, behind the newest event; and verify."""
        self.check()
        for question in self.questions(5):
            wanted = self.oracle.count(question, self.oracle.default_instant(self.now))
            assert self.account.count(question).count == wanted
        assert list(self.account.verify()) == []
        held = {product.product_id: product.properties for product in self.account.products(limit=1000)}
        assert held == self.oracle.catalogue.held
        assert list(held) == sorted(held, key=str.encode)

    def reopen(self) -> None:
        self.database.close()
        self.database = Database.open(self.directory / "data", clock=lambda: self.now)
        self.account = self.database.account("shop")
        assert self.account.event_types == ALL_TYPES
        assert self.account.event_groups == self.oracle.event_groups

    def check_read_only(self) -> None:
        """Closes the account for it."""
        self.database.close()
        with Database.open(self.directory / "data", read_only=True, clock=lambda: self.now) as reading:
            self.check(15, reading.account("shop"))
        self.reopen()


@contextmanager
def between_transactions(told: Told, *, kill_at: int = 0, questions: int = 2) -> Iterator[list[int]]:
    """While it lasts, some questions are asked before each transaction of a merge; that of the number `kill_at` does
    not come about. Gives the list of those that were begun."""
    store = told.account._store
    begin = store.write
    begun: list[int] = []

    def write() -> AbstractContextManager[WriteTransaction]:
        begun.append(len(begun) + 1)
        told.check(questions)
        if len(begun) == kill_at:
            raise Killed
        return begin()

    store.write = write  # type: ignore[method-assign,assignment]
    try:
        yield begun
    finally:
        del store.write  # what the class says is seen again
