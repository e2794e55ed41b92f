"""Random lives of an account with events in its stream of writes: contacts and events in one commit and in waves, types
declared on the way, imports among them, merges behind them, reopening and a second process, against the oracle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from segidx.database import Database
from segidx.ingest import merger
from segidx.model.events import MAX_AHEAD_MILLIS, EventProperty, EventType, Order, OrderLine, Retraction
from segidx.model.expression import (
    Aggregate,
    AggregateFunction,
    Anniversary,
    Comparison,
    Did,
    Events,
    Expression,
    Operator,
    walk,
)
from segidx.model.results import Reject, WriteResult
from segidx.model.schema import FieldType
from segidx.model.values import Constant
from segidx.model.windows import AllTime, OlderThan, Unit, from_millis, to_millis
from segidx.model.writes import ChangeKind
from segidx.testing import oracle_writes
from segidx.testing.account_lives import AT, EVERYTHING, Life, leave_unmerged, live, shrink
from segidx.testing.checks import check_expression
from segidx.testing.event_files import write_events_file
from segidx.testing.event_pools import DECLARED
from segidx.testing.event_questions import EventGenerator
from segidx.testing.generator import RandomChooser
from segidx.testing.generator_events import EventRow, EventRowGenerator
from segidx.testing.oracle_writes import Step, Written
from segidx.testing.places import quick_directory
from segidx.testing.reader import Reader


@pytest.fixture
def place() -> Iterator[Path]:
    with quick_directory() as directory:
        yield directory


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch.setattr)


def told_apart(rejects: Sequence[Reject]) -> list[tuple[int, str]]:
    return [(reject.index, reject.field) for reject in rejects]


class EventLife(Life):
    """A life in which events happen."""

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory, seed)
        self.now = to_millis(AT) - 3_600_000
        self.types = list(self.account.declare_event_types(DECLARED))
        self.oracle.declare_event_types(DECLARED)
        self.chooser = RandomChooser(self.rng)
        self.event_rows = EventRowGenerator(
            self.chooser,
            self.ids[:25],
            AT,
            self.zone,
            types=self.types,
            latest=from_millis(self.now + MAX_AHEAD_MILLIS),
        )
        self.files = 0
        self.fixed: list[Expression] = []  # what is asked too, now and then

    def events(self, most: int, *, bad: bool = True) -> list[EventRow]:
        found = []
        for _ in range(int(self.rng.integers(1, most + 1))):
            bad_row = bad and self.rng.integers(15) == 0
            found.append(self.event_rows.bad_row() if bad_row else self.event_rows.row())
        # The API rounds instants down to milliseconds where the oracle refuses them.
        return [row for row in found if isinstance(row, Retraction) or not row.time.microsecond % 1000]

    # --- writes ---

    def write_events(self) -> None:
        events = self.events(15)
        result = self.account.write_events(events)
        self.compare_events(result, None, 0, oracle_writes.write_events(self.oracle, events, self.now))

    def write_single_events(self) -> None:
        """Each alone in its commit."""
        for _ in range(6):
            events = [self.event_rows.row()]
            result = self.account.write_events(events)
            self.compare_events(result, None, 0, oracle_writes.write_events(self.oracle, events, self.now))

    def write_both(self) -> None:
        rows, events = self.rows(8), self.events(8)
        result = self.account.write(rows, events=events)
        wanted = oracle_writes.write(self.oracle, rows)
        self.compare_events(result, wanted, len(rows), oracle_writes.write_events(self.oracle, events, self.now))

    def write_waves_of_both(self) -> None:
        waves = [
            (self.rows(5) if self.rng.integers(2) else [], self.events(6)) for _ in range(self.rng.integers(2, 12))
        ]
        futures = [self.account.submit(rows, events=events) for rows, events in waves]
        for (rows, events), future in zip(waves, futures, strict=True):
            wanted = oracle_writes.write(self.oracle, rows)
            told = oracle_writes.write_events(self.oracle, events, self.now)
            self.compare_events(future.result(20), wanted, len(rows), told, alone=False)

    def write_events_with_a_key(self) -> None:
        rows, events, key = self.rows(3), self.events(6), f"events {len(self.receipts)}"
        result = self.account.write(rows, events=events, batch_key=key)
        assert not result.replayed
        wanted = oracle_writes.write(self.oracle, rows)
        told = oracle_writes.write_events(self.oracle, events, self.now)
        self.compare_events(result, wanted, len(rows), told, alone=False)
        self.receipts[key] = result
        again = self.account.write(self.rows(2), events=self.events(2, bad=False), batch_key=key)
        assert again.replayed
        assert (again.events_accepted, again.events_duplicates, told_apart(again.event_rejects)) == (
            result.events_accepted,
            result.events_duplicates,
            told_apart(result.event_rejects),
        )

    def bulk_of_both(self) -> None:
        """Enough contacts for a batch that goes straight into the base, with events behind them, and many events."""
        first, events, last = self.events(4), self.events(50), self.events(4)
        rows = [row for row in self.rows(40) if row.contact_id != ""]
        waves = [([], first), (rows, events), ([], last)]
        futures = [self.account.submit(contacts, events=behind) for contacts, behind in waves]
        for (contacts, behind), future in zip(waves, futures, strict=True):
            wanted = oracle_writes.write(self.oracle, contacts)
            told = oracle_writes.write_events(self.oracle, behind, self.now)
            self.compare_events(future.result(20), wanted, len(contacts), told, alone=False)

    def import_events(self) -> None:
        """A file of one type, or orders: straight into the base, in generations of their own."""
        choice = [type for type in self.types if type.name != "line"]
        type = choice[int(self.rng.integers(len(choice)))]
        if type.name == "order":
            rows: Sequence[EventRow] = self.event_rows.imported_orders(12)
            told = oracle_writes.write_events(self.oracle, rows, self.now)
            self.account.import_orders(row for row in rows if isinstance(row, Order))
        else:
            events = self.event_rows.imported(type, 12)
            self.files += 1
            path = self.directory.parent / f"{self.files}.parquet"
            write_events_file(path, type, events, self.oracle.money_scale)
            told = oracle_writes.write_events(self.oracle, events, self.now)
            report = self.account.import_events(type.name, path)
            assert (report.events, report.unchanged) == (told.result.accepted, told.result.duplicates)
        before, self.generation = self.generation, self.account.generation()
        changed = frozenset({ChangeKind.EVENTS, ChangeKind.CREATED})
        for generation in range(before + 1, self.generation + 1):
            steps = [Step(step.contact_id, step.after, step.after, changed) for step in told.steps]
            self.steps.setdefault(generation, []).extend(steps)

    def declare_type(self) -> None:
        number = len(self.types)
        properties = (
            EventProperty("title", FieldType.CATEGORY),
            EventProperty("published", FieldType.TIMESTAMP),
            EventProperty("price", FieldType.NUMBER, None),
        )
        new = EventType(f"type_{number}", properties[: number % 4])
        self.types[:] = self.account.declare_event_types([new, *DECLARED])
        self.oracle.declare_event_types([new])
        assert self.types == list(self.oracle.event_types)
        self.event_rows.types = [type for type in self.types if type.name != "line"]
        assert self.account.generation() == self.generation

    def set_group(self) -> None:
        group = EventGenerator(self.chooser, self.oracle.schema, self.pools, self.types).group()
        self.account.set_event_group(group.name, group.members)
        self.oracle.set_event_group(group.name, group.members)
        assert self.account.event_groups == self.oracle.event_groups
        assert self.account.generation() == self.generation

    def reopen(self) -> None:
        super().reopen()
        assert self.account.event_groups == self.oracle.event_groups
        assert self.account.event_types == self.oracle.event_types

    # --- comparisons ---

    def compare_events(
        self, result: WriteResult, contacts: Written | None, rows: int, events: Written, *, alone: bool = True
    ) -> None:
        """One answer to contacts and the events behind them."""
        contacts = contacts or oracle_writes.write(self.oracle, [])
        assert told_apart(result.event_rejects) == told_apart(events.result.rejects)
        assert (result.events_accepted, result.events_duplicates, result.created) == (
            events.result.accepted,
            events.result.duplicates,
            events.result.created + contacts.result.created,
        )
        assert [r.index for r in result.rejects] == [r.index for r in contacts.result.rejects]
        assert result.accepted + result.duplicates + len(result.rejects) == rows
        steps = [step for step in contacts.steps if step.before != step.after]
        steps += events.steps if events.result.accepted else ()
        if alone:
            assert result.generation in (self.generation, self.generation + 1)
            if any(least for least, _ in oracle_writes.changes_of(self.oracle, steps).values()):
                assert result.generation == self.generation + 1
            if not steps and not events.result.accepted:
                assert result.generation == self.generation
        assert result.generation >= self.generation
        self.generation = result.generation
        self.steps.setdefault(result.generation, []).extend(steps)

    def expressions(self, n: int) -> list[Expression]:
        generator = EventGenerator(self.chooser, self.oracle.schema, self.pools, self.types)
        found = [self.fixed[int(self.rng.integers(len(self.fixed)))] for _ in range(3 * n)] if self.fixed else []
        for _ in range(2 * n):
            expression = generator.expression(generator.chooser.integer(1, 4))
            if not any(isinstance(node, Anniversary) for node, _, _ in walk(expression)):
                found.append(expression)
        return found


WITH_EVENTS: tuple[tuple[str, int], ...] = (
    *((name, 1) for name, _ in EVERYTHING),
    ("write_events", 6),
    ("write_single_events", 2),
    ("write_both", 4),
    ("write_waves_of_both", 5),
    ("write_events_with_a_key", 1),
    ("bulk_of_both", 1),
    ("import_events", 2),
    ("declare_type", 1),
    ("set_group", 1),
    ("merge", 2),
)


@pytest.mark.parametrize("seed", range(2))
def test_a_random_life(place: Path, seed: int) -> None:
    with closing(EventLife(place / "d", seed)) as life:
        live(life, 60, WITH_EVENTS)


def test_a_life_that_another_process_reads(place: Path) -> None:
    with closing(EventLife(place / "d", 51)) as life, Reader(place / "d", "test") as life.reader:
        live(life, 30, WITH_EVENTS)


def test_a_life_in_one_segment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small commits over a few contacts, nothing merged: the overlay has it all."""
    leave_unmerged(monkeypatch.setattr)
    with closing(EventLife(place / "d", 61)) as life:
        life.event_rows.orders.contact_ids = life.event_rows.orders.contact_ids[:5]
        weighted = (("write_events", 5), ("write_single_events", 3), ("write_both", 2), ("write_waves_of_both", 2))
        live(life, 45, (*weighted, ("set_group", 1), ("reopen", 1)))
        assert life.account.stats().merged_generation == 0
        life.merge()
        life.check_all()


class FewRows(EventRowGenerator):
    """Rows of four ids a type, of three contacts at three times in two months."""

    def few(self, contact_ids: Sequence[str], times: Sequence[int]) -> None:
        self.orders.contact_ids = list(contact_ids)
        self.orders.times = list(times)
        self.orders.time = lambda: times[self.chooser.integer(0, 2)]  # type: ignore[method-assign]

    def _new_id(self, type: EventType) -> str:
        return f"e{self.chooser.integer(0, 3)}"


@pytest.mark.parametrize("seed", range(2))
def test_few_events_moved_again_and_again(place: Path, seed: int) -> None:
    """There and back, so that what a layer voids comes again in a later one and goes once more."""
    with closing(EventLife(place / "d", 70 + seed)) as life:
        life.types = [life.account.event_types[name] for name in ("visit", "order", "in_app")]
        life.event_rows = FewRows(life.chooser, life.ids[:3], AT, life.zone, types=life.types)
        life.event_rows.few(life.ids[:3], [life.now - 40 * 86_400_000, life.now - 86_400_000, life.now - 1])
        life.fixed = [
            Comparison(Aggregate(AggregateFunction.COUNT, Events(name, None, window)), Operator.EQ, Constant(number))
            for name in ("visit", "order", "line", "in_app", "interaction")
            for window in (AllTime(), OlderThan(30, Unit.DAY))
            for number in map(Decimal, range(4))
        ]
        weighted = (("write_single_events", 6), ("write_events", 2), ("write_waves_of_both", 1), ("import_events", 1))
        live(life, 45, (*weighted, ("merge", 1), ("reopen", 1)))


def test_a_contact_with_more_live_events_than_a_block_holds(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """40,000 lines of one contact at one instant, beside others, and no merge."""
    monkeypatch.setattr(merger, "MERGE_BYTES", 1 << 30)
    monkeypatch.setattr(merger, "MERGE_SECONDS", 1000.0)
    at = AT - timedelta(days=1)
    line = OrderLine("p", amount=Decimal(1))
    with Database.open(place / "d", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()

        def holds(text: str) -> int:
            return account.count(text).count

        for first in range(0, 50, 10):
            account.write_events(
                Order(f"o{i}", "big" if i % 5 else "small", at, lines=[line] * 1000) for i in range(first, first + 10)
            )
        for merged in (False, True):
            assert holds("sum(line.amount) = 40000 and count(line) = 40000 and count(order) = 40") == 1
            assert holds("sum(line.amount) = 10000 and count(line) = 10000 and count(order) = 10") == 1
            if not merged:
                account.merge()
        account.write_events(Order(f"o{i}", "other", at, lines=[line]) for i in range(0, 50, 2))
        account.write_events(Retraction("order", f"o{i}") for i in range(1, 50, 10))
        for merged in (False, True):
            assert holds("count(line) = 15000 and sum(line.amount) = 15000") == 1
            assert holds("count(line) = 5000") == 1
            assert holds("count(line) = 25 and sum(line.amount) = 25") == 1
            assert holds("did(line)") == holds("did(order)") == 3
            assert list(account.verify()) == []
            if not merged:
                account.merge()


def test_what_another_process_sees_of_merges_is_what_was_committed(place: Path) -> None:
    """It counts without a pause while events are written, replaced, retracted and merged: of each generation that it
    sees, what the oracle says of it."""
    until = place / "until"
    with closing(EventLife(place / "d", 80)) as life, Reader(place / "d", "test") as reader:
        life.write_events()
        asked: list[Expression] = [Did(Events(type.name)) for type in life.types]
        many = Comparison(Aggregate(AggregateFunction.COUNT, Events("visit")), Operator.GT, Constant(Decimal(1)))
        spent = Comparison(
            Aggregate(AggregateFunction.SUM, Events("line"), "amount"), Operator.GT, Constant(Decimal(10))
        )
        asked += [many, spent]
        wanted = {life.generation: tuple(life.oracle.count(each, AT) for each in asked)}
        reader.members(asked[0], AT)  # when it can, it has begun
        reader.send("record", asked, AT, str(until))
        for step in range(120):
            events = life.events(6, bad=False)
            told = oracle_writes.write_events(life.oracle, events, life.now)
            life.compare_events(life.account.write_events(events), None, 0, told)
            wanted[life.generation] = tuple(life.oracle.count(each, AT) for each in asked)
            if step % 10 == 9:
                life.merge()
        until.touch()
        looks, seen = reader.receive()
        assert looks
        assert seen <= set(wanted.items())


def test_writers_in_threads(place: Path) -> None:
    """Each has contacts and types of its own: its batches are committed in its order, whatever the others do."""
    with closing(EventLife(place / "d", 90)) as life:
        histories: list[list[tuple[list[EventRow], Future[WriteResult]]]] = [[] for _ in range(3)]

        def work(number: int) -> None:
            chooser = RandomChooser(np.random.default_rng(number))
            ids = [f"thread {number} contact {i}" for i in range(6)]
            latest = from_millis(life.now)
            rows = EventRowGenerator(
                chooser, ids, AT, life.zone, types=life.types[2 * number : 2 * number + 2], latest=latest
            )
            for _ in range(40):
                events = rows.rows(5)
                histories[number].append((events, life.account.submit(events=events)))

        threads = [Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(8):
            life.account.merge()
        for thread in threads:
            thread.join()
        for history in histories:
            generations = [future.result(20).generation for _, future in history]
            assert generations == sorted(generations)
            for events, future in history:
                wanted = life.oracle.write_events(events, life.now)
                told = future.result()
                assert (told.events_accepted, told.events_duplicates, told.created, told.event_rejects) == (
                    wanted.accepted,
                    wanted.duplicates,
                    wanted.created,
                    (),
                )
        for _ in range(2):
            for expression in life.expressions(12):
                check_expression(life.account, life.oracle, expression, AT)
            assert list(life.account.verify()) == []
            life.account.merge()
