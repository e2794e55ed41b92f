"""Running values: rows of one time, numbers beyond 64 bits, many contacts, and stopping."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from segidx.database import Database
from segidx.exec import crossings
from segidx.exec import events as exec_events
from segidx.kernels.bitmaps import Stop
from segidx.model.errors import Cancelled, SumTooLarge
from segidx.model.events import Order
from segidx.model.windows import to_millis

AT = datetime(2025, 6, 15, 12, tzinfo=UTC)


def risen(rows: list[tuple[int, int, int]], start: dict[int, int], threshold: int) -> list[int]:
    """Of rows (contact, time, number), by contact and time, and values before them."""
    owners, times, numbers = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    last = np.r_[(owners[1:] != owners[:-1]) | (times[1:] != times[:-1]), True]
    had = np.array([contact in start for contact in range(10)])
    before = np.array([start.get(contact, 0) for contact in range(10)], np.int64)
    return [int(each) for each in crossings._rises(owners.astype(np.intp), numbers, last, before, had, threshold)]


def risen_slowly(rows: list[tuple[int, int, int]], start: dict[int, int], threshold: int) -> list[int]:
    found = []
    for contact in sorted({row[0] for row in rows}):
        value = start.get(contact)
        for time in sorted({row[1] for row in rows if row[0] == contact}):
            was = value
            value = (was or 0) + sum(number for owner, when, number in rows if (owner, when) == (contact, time))
            if (was is None or was < threshold) and value >= threshold:
                found.append(contact)
    return found


@pytest.mark.parametrize("largest", [3, 100, 2**61, 2**62 - 1])
def test_rises_are_those_of_the_definition(largest: int) -> None:
    """Also where the running value, or the total over all contacts, is beyond 64 bits."""
    rng = random.Random(largest)
    found = 0
    for _ in range(200):
        rows = sorted(
            ((rng.randrange(10), rng.randrange(5), rng.randint(-largest, largest)) for _ in range(rng.randint(1, 40))),
            key=lambda row: row[:2],
        )
        start = {contact: rng.randint(-largest, largest) for contact in range(10) if rng.randrange(2)}
        threshold = rng.randint(-largest, largest)
        wanted = risen_slowly(rows, start, threshold)
        assert risen(rows, start, threshold) == wanted
        found += len(wanted)
    assert found > 200


def test_running_values_beyond_64_bits(tmp_path: Path) -> None:
    most = Decimal(2**62 - 1).scaleb(-2)
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()
        account.declare_bands("spend", "sum(order.amount)", [100, most])
        months = [datetime(2025, month, 1, tzinfo=UTC) for month in (1, 2, 3, 4, 5)]
        account.write_events(Order(f"rich {when}", "rich", when, amount=most) for when in months[:3])
        account.write_events([Order("late", "rich", months[4], amount=Decimal(1))])
        account.write_events(Order(f"poor {when}", "poor", when, amount=Decimal(-1)) for when in months)
        for _ in range(2):
            # In the window they are added up one by one, of any size; before it by the sum that is refused elsewhere.
            assert account.count("crossed(spend, 100)").count == 1
            assert account.count("crossed(spend, 100) from 2025-01-02 to 2025-04-01").count == 0
            with pytest.raises(SumTooLarge, match="beyond 2\\^63"):
                account.count("crossed(spend, 100) from 2025-05-01")
            account.merge()


@pytest.mark.parametrize("step", [1, 7, 1 << 16])
def test_many_contacts_in_steps(tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contacts in several ranges of 16,384, in blocks and in layers, asked for all and narrowed by a field."""
    monkeypatch.setattr(crossings, "_STEP", step)
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()
        account.declare_bands("spend", "sum(order.amount)", [100])
        account.upsert((f"c{i}", {}) for i in range(40_000))
        rising = [Order(f"r{i}", f"c{i}", AT - timedelta(hours=3), amount=Decimal(100)) for i in range(0, 40_000, 400)]
        account.import_orders([Order("early", "c400", AT - timedelta(days=3), amount=Decimal(100)), *rising])
        account.write_events([Order("late", "c39999", AT - timedelta(hours=1), amount=Decimal("100.01"))])
        for _ in range(2):
            assert account.count("crossed(spend, 100)").count == 101
            assert account.count("crossed(spend, 100) during last 1 day").count == 100
            assert account.count("not crossed(spend, 100) during last 1 day and did(order)").count == 1
            assert account.count("crossed(spend, 100) during last 2 hours and sum(order.amount) > 100").count == 1
            account.merge()


def test_it_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()
        account.declare_bands("spend", "sum(order.amount)", [100])
        account.write_events([Order(f"o{i}", f"c{i}", AT - timedelta(days=1), amount=Decimal(100)) for i in range(9)])
        stop, steps = Stop(), []

        def cancelling(*arguments: object) -> object:
            steps.append(arguments)
            stop.cancel()
            return exec_events.aggregate(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(crossings, "_STEP", 2)
        monkeypatch.setattr(crossings, "aggregate", cancelling)
        with pytest.raises(Cancelled):
            account.count("crossed(spend, 100)", stop=stop)
        assert len(steps) == 1
