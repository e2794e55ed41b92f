"""Pruned accounts: the oracle keeps all events. Whatever does not reach behind a horizon, and every number of which an
opening balance is kept, is answered as it says; everything else is refused. On random events, pruned several times, of
some types and of all, imported, written live and not merged, merged whole and half, and opened again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, suppress
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from segidx.ingest import merger
from segidx.kernels.events import TIME
from segidx.model.bands import band_value, bands
from segidx.model.derived import BUILT_IN, derived_number, derived_value
from segidx.model.errors import PrunedHistory
from segidx.model.events import Order
from segidx.model.expression import (
    Aggregate,
    AggregateFunction,
    BandIs,
    Comparison,
    Crossed,
    DaysSinceEvent,
    Did,
    Events,
    Expression,
    HasValue,
    Never,
    Not,
    Operator,
)
from segidx.model.schema import MAX_MINOR_UNITS
from segidx.model.values import Constant
from segidx.model.windows import Absolute, to_millis
from segidx.store import base
from segidx.store.environment import WriteTransaction
from segidx.store.event_blocks import month_of
from segidx.testing.checks import check_expression
from segidx.testing.event_questions import random_bands
from segidx.testing.told import Killed, Told

DAY = timedelta(days=1)


@pytest.fixture
def told(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Told]:
    made = Told(tmp_path, request.param, contacts=25)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def told_alone(tmp_path: Path) -> Iterator[Told]:
    with closing(Told(tmp_path, 2)) as made:
        yield made


LIVES = pytest.mark.parametrize("told", range(4), indirect=True)


def declare_bands(told: Told) -> None:
    """Some that can be kept for certain, and some that may be or not."""
    sure = {"visits": ("count(visit)", (1, 3)), "lines": ("sum(line.amount where quantity > 0)", (0, 100))}
    declared = [bands(name, band_value(text), thresholds) for name, (text, thresholds) in sure.items()]
    declared += [random_bands(told.rng, f"random_{n}", told.pools, types=told.types) for n in range(2)]
    for of in declared:
        told.oracle.declare_bands(of.name, of.value, of.thresholds, of.labels)
        told.account.declare_bands(of.name, of.value, of.thresholds, of.labels)
    numbers = {
        "clicks": 'count(message where kind = "clicked")',
        "largest": "max(order.amount)",
        "least_line": "min(line.amount where quantity > 1)",
        "touched": "last(touch).time",
        "first_visit": "first(visit where dwell > 1 or url is set).time",
        "everything": "count(interaction)",
    }
    for name in told.rng.sample(list(numbers), 4):
        number = derived_number(name, derived_value(numbers[name]))
        assert told.account.declare_derived(name, number.value) == number
        told.oracle.derived[name] = number
    if told.rng.randrange(3) == 0 and told.oracle.derived:
        name = told.rng.choice(list(told.oracle.derived))
        told.account.remove_derived(name)
        del told.oracle.derived[name]


def a_time(told: Told) -> datetime:
    """Before most events, or before half of them; at a month's begin, or in a month; or when an event was."""
    shape = told.rng.randrange(4)
    if shape == 0:
        kept = [kept.event.time for name in ("order", "visit") for kept in told.oracle.kept(name).values()]
        times = [time for time in kept if time <= told.now]
        return datetime.fromtimestamp(told.rng.choice(times) / 1000, told.at.tzinfo) if times else told.at
    back = told.at - told.rng.choice((1, 7, 30, 100, 200, 350, 500, 700)) * DAY
    if shape == 1:
        back = back.replace(day=1, hour=0, minute=0)
    return min(back, told.at)


def prune(told: Told) -> None:
    names = [each.name for each in told.types if each.name != "line"]
    told.prune(told.rng.choice(([], told.rng.sample(names, 2), ["order"])), a_time(told))


def kept_numbers(told: Told) -> list[Expression]:
    """Questions about every number that is kept, and about others beside them."""
    found: list[Expression] = []
    values = [of.value for of in (*BUILT_IN.values(), *told.oracle.derived.values(), *told.oracle.bands.values())]
    for value in values:
        number = value.function not in (AggregateFunction.FIRST, AggregateFunction.LAST)
        operator = told.rng.choice((Operator.GE, Operator.LT, Operator.EQ))
        if number:  # those of min and max are of properties that are numbers
            constant = Constant(Decimal(told.rng.choice((0, 1, 2, 3, 50, 200, 1000))))
        else:
            constant = Constant(told.at - told.rng.choice((0, 1, 30, 200, 400, 700)) * DAY)
            found.append(Comparison(DaysSinceEvent(value), operator, Constant(Decimal(told.rng.choice((0, 30, 300))))))
        found += [Comparison(value, operator, constant), HasValue(value)]
        if value.function is AggregateFunction.COUNT:
            found += [Did(value.events), Never(value.events)]
    last, first = (
        Aggregate(function, Events("order")) for function in (AggregateFunction.LAST, AggregateFunction.FIRST)
    )
    found.append(Comparison(last, Operator.GT, first))
    for of in told.oracle.bands.values():
        found.append(BandIs(of.name, tuple(told.rng.sample(of.labels, 2))))
        since = told.at - told.rng.choice((1, 30, 100, 400)) * DAY
        found += [Crossed(of.name, of.thresholds[0], Absolute(since, None)), Not(Crossed(of.name, of.thresholds[-1]))]
    return found


def check(told: Told, count: int = 25) -> None:
    told.check(count)
    for question in kept_numbers(told):
        check_expression(told.account, told.oracle, question, told.at)


def check_all(told: Told) -> None:
    check(told)
    # At an instant before, at the horizons, around them, and behind all events.
    for horizon in told.oracle.horizons.times.values():
        for offset in (-DAY, timedelta(0), DAY, timedelta(days=2)):
            at = datetime.fromtimestamp(horizon / 1000, told.at.tzinfo) + offset
            for question in told.rng.sample(kept_numbers(told), 5):
                check_expression(told.account, told.oracle, question, at)
    at = told.oracle.default_instant(told.now)
    for question in kept_numbers(told):
        check_expression(told.account, told.oracle, question, at)
    assert list(told.account.verify()) == []


@LIVES
def test_lives(told: Told) -> None:
    declare_bands(told)
    told.import_all(25)
    for step in range(4):
        for size in (40, 5):
            told.write(size)
        if told.rng.randrange(2):
            told.account.merge()
        if told.rng.randrange(3) == 0:
            declare_bands(told)
        if step:
            prune(told)
        check(told)
        told.write(30)  # some of it behind horizons, some of events that are pruned
        check_all(told)
        if told.rng.randrange(2):
            told.reopen()
            check(told, 8)
    told.account.merge()
    check_all(told)
    told.check_read_only()


def prune_and_kill(told: Told, types: list[str], before: datetime, kill_at: int) -> int:
    """A prune whose transaction of that number does not come about; some questions before each. How many were begun."""
    store = told.account._store
    begin = store.write
    begun = 0
    names = types or [each.name for each in told.types if each.name != "line"]

    def write() -> AbstractContextManager[WriteTransaction]:
        nonlocal begun
        begun += 1
        if begun == 2:  # the first one moves the horizons
            told.oracle.prune(names, to_millis(before))
        told.check(2)
        for question in told.rng.sample(kept_numbers(told), 3):
            check_expression(told.account, told.oracle, question, told.at)
        if begun == kill_at:
            raise Killed
        return begin()

    store.write = write  # type: ignore[method-assign,assignment]
    try:
        told.account.prune(before, types)
    finally:
        del store.write
    return begun


@LIVES
def test_prunes_that_are_killed(told: Told) -> None:
    """At each transaction, that of the horizons, those of the merge and those that drop; with writes on top, in the
    process that goes on or in one that opens it. The next prune finishes what was begun."""
    declare_bands(told)
    told.import_all(20)
    told.write(60)
    for kill_at in range(1 + told.number % 2, 16, 2):
        before = a_time(told)
        with suppress(Killed):
            prune_and_kill(told, [], before, kill_at)
        assert list(told.account.verify()) == []
        told.write(20)
        check(told, 6)
        if told.rng.randrange(3) == 0:
            told.reopen()
            check(told, 6)
        if told.rng.randrange(3) == 0:
            told.account.merge()
        told.import_all(3)
    horizons = told.oracle.horizons.times
    told.account.prune(datetime.fromtimestamp(max(horizons.values()) / 1000, told.at.tzinfo))
    told.oracle.prune(horizons, max(horizons.values()))
    check_all(told)
    # Nothing that is dropped is there any more.
    with told.account._store.snapshot() as snapshot:
        for type in snapshot.catalog.event_types:
            horizon = snapshot.catalog.horizon(type)
            assert horizon is not None
            for month in snapshot.event_months(type, 0, month_of(horizon)):
                for ordinals in snapshot.event_ranges(type):
                    for block in month.of(ordinals):
                        assert block.decode()[TIME][0].min() >= horizon


def test_ranges_that_are_pruned_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contacts in three ranges of 16,384, one a transaction; prunes that are killed in between, and merges."""
    monkeypatch.setattr(base, "SLICE_BYTES", 1)
    # Merges are only those that are asked for.
    monkeypatch.setattr(merger, "MERGE_BYTES", 1 << 24)
    monkeypatch.setattr(merger, "MERGE_SECONDS", 1000.0)
    contacts = [f"r{n}" for n in range(33_000)]
    with closing(Told(tmp_path, 1)) as told:
        told.account.upsert([(contact_id, {}) for contact_id in contacts])
        told.oracle.upsert([(contact_id, {}) for contact_id in contacts])
        # Numbers of contacts begin behind those of the life.
        edges = [edge - len(told.ids) + n for edge in (16_384, 32_768) for n in range(-3, 3)]
        told.rows.orders.contact_ids = [contacts[n] for n in (*edges, 0, 1, 32_999)] + told.ids[:3]
        told.import_all(30)
        told.write(60)
        begun = 0
        for days, kill_at in ((300, 30), (200, 40), (100, 0)):
            with suppress(Killed):
                begun = prune_and_kill(told, [], told.at - days * DAY, kill_at)
            told.write(30)
            check(told, 4)
            assert list(told.account.verify()) == []
            if days == 200:
                told.reopen()
        assert begun > 20
        check_all(told)


def test_numbers_too_large_for_a_balance(tmp_path: Path) -> None:
    """Their balance ends, and they are refused; other numbers are exact as before."""
    with closing(Told(tmp_path, 0)) as told:
        largest = Decimal(MAX_MINOR_UNITS).scaleb(-told.scale)
        long_ago = told.at - 400 * DAY
        rows = [Order(f"big{n}", "whale", long_ago + n * DAY, amount=largest) for n in range(9)]
        rows.append(Order("small", "shrimp", long_ago, amount=Decimal(5)))
        told.write_rows(rows)
        pruned = told.account.prune(told.at - 300 * DAY, ["order"])
        assert [each.ended for each in pruned] == [("sum(order.amount)",)]
        assert told.account.count("count(order) = 9").count == 1
        with pytest.raises(PrunedHistory):
            told.account.count("sum(order.amount) = 5")
        assert "sum(order.amount)" not in told.account.horizons["order"].balances
        assert list(told.account.verify()) == []


def test_pruned_beside_writes_and_merges(told_alone: Told) -> None:
    """A prune while others write and merge: what is asked meanwhile is exact, and every write is taken."""
    told = told_alone
    told.import_all(40)
    told.account.merge()
    started = threading.Event()
    wrong: list[object] = []

    def write() -> None:
        started.set()
        for n in range(60):
            result = told.account.write_events([Order(f"beside{n}", "busy", told.at - DAY, amount=Decimal(1))])
            if result.events_accepted != 1:
                wrong.append(result)
            count = told.account.count(f"sum(order.amount) >= {n + 1}").count
            if not told.account.count("sum(order.amount) >= 1 and count(order) >= 1").count or not count:
                wrong.append((n, count))
            if n % 10 == 5:
                told.account.merge()

    thread = threading.Thread(target=write)
    thread.start()
    started.wait()
    for days in (500, 300, 200, 100, 30):
        told.account.prune(told.at - days * DAY)
    thread.join()
    assert not wrong
    rows = [Order(f"beside{n}", "busy", told.at - DAY, amount=Decimal(1)) for n in range(60)]
    told.oracle.write_events(rows, told.now)
    told.oracle.prune([each.name for each in told.types if each.name != "line"], to_millis(told.at - 30 * DAY))
    check_all(told)
