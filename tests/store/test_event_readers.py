"""Other processes count events while this one writes, merges and writes in bulk: each count is exact for its
generation."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from segidx.database import Database
from segidx.ingest import merger
from segidx.model.events import LINE, ORDER, VISIT, Order
from segidx.model.syntax import parse
from segidx.store import base, log
from segidx.testing.places import quick_directory
from segidx.testing.reader import Reader, Seen, look

sys.path.insert(0, str(Path(__file__).parent))
from live_events import CONTACTS, TASK, Held, some_writes

AT = datetime(2025, 1, 1, tzinfo=UTC)
ASKED = (
    "did(visit)",
    "count(line) >= 2",
    "sum(order.amount) > 100",
    "never(order) and did(visit)",
    "sum(task.effort) > 5",
)
SECONDS = 4.0


@pytest.fixture
def place() -> Iterator[Path]:
    with quick_directory() as directory:
        yield directory


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (merger, "SEGMENT_BYTES", 4000),
        (merger, "MERGE_BYTES", 12_000),
        (merger, "MERGE_SECONDS", 0.05),
        (base, "SLICE_BYTES", 200),
        (log, "PART_BYTES", 1500),
    ):
        monkeypatch.setattr(module, name, value)


def counts_of(held: Held) -> tuple[int, ...]:
    orders, lines, visits, tasks = (held.totals(type) for type in (ORDER, LINE, VISIT, TASK))
    return (
        len(visits),
        sum(rows >= 2 for rows, _ in lines.values()),
        sum(total > 100 for _, total in orders.values()),
        len(visits.keys() - orders.keys()),
        sum(total > 5 for _, total in tasks.values()),
    )


def test_counts_of_events_in_other_processes(place: Path) -> None:
    expressions = [parse(text) for text in ASKED]
    rng, held = random.Random(8), Held()
    with Database.open(place / "data", create=True) as database:
        account = database.account()
        account.upsert((f"c{i}", {}) for i in range(CONTACTS))
        account.declare_event_types([TASK])
        due = {account.generation(): counts_of(held)}
        until = place / "until"
        with Reader(place / "data", "default") as one, Reader(place / "data", "default") as other:
            for reader in (one, other):
                reader.members(expressions[0], AT)  # when it can, it has begun
            for reader in (one, other):
                reader.send("record", expressions, AT, str(until))
            end, merged = time.monotonic() + SECONDS, set()
            seen: set[Seen] = set()
            rounds = 0
            # Slow machines take longer to come so far.
            while time.monotonic() < end or ((len(merged) <= 3 or rounds < 40) and time.monotonic() < end + 60):
                rounds += 1
                rows = some_writes(rng, rng.choice((3, 20, 60)))
                if rounds % 15:
                    account.write_events(rows)
                else:  # straight into the base
                    rows = list({r.order_id: replace(r, revision=None) for r in rows if isinstance(r, Order)}.values())
                    before = account.generation()
                    account.import_orders(rows)  # contacts that are new come in a generation of their own
                    due |= dict.fromkeys(range(before + 1, account.generation()), counts_of(held))
                held.write(rows)
                due[account.generation()] = counts_of(held)
                seen.add(look(account, expressions, AT))
                merged.add(account.stats().merged_generation)
            until.touch()
            looks = [reader.receive() for reader in (one, other)]
        for generation, found in seen.union(*(each for _, each in looks)):
            assert found == due[generation], generation
        assert all(count for count, _ in looks)
        assert len(merged) > 3
        assert len(set(due.values())) > 20
        assert list(account.verify()) == []
