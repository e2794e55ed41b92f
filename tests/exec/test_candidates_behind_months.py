"""Candidates in ranges of contacts that a month in order does not reach: those who came later than it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from segidx.database import Database
from segidx.exec import asked
from segidx.kernels.bitmaps import Stop
from segidx.model.events import Order, OrderLine
from segidx.model.schema import Field, FieldType
from segidx.model.windows import to_millis
from segidx.store import event_orders

AT = datetime(2025, 6, 15, 12, tzinfo=UTC)


def test_they_are_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SCANS", "LEAST_ROWS", "LEAST_VALUES"):
        monkeypatch.setattr(event_orders, name, 1)
    monkeypatch.setattr(asked, "_FINDING", -1e18)  # candidates are always looked for
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()
        account.update_schema([Field("n", FieldType.NUMBER)])
        account.upsert((f"c{i}", {"n": i}) for i in range(40_001))
        lines = [OrderLine(f"P{k}", amount=Decimal(1)) for k in range(40)]
        account.import_orders(
            Order(f"{month} {i}", f"c{i}", datetime(2025, month, 3, tzinfo=UTC), lines=lines)
            for month, last in ((1, 30_000), (2, 40_001))
            for i in range(0, last, 1000)
        )
        for _ in range(5):
            stop = Stop(time.monotonic_ns() + 20_000_000_000)  # where it is looked for over and over, it never ends
            assert account.count('did(line where product = "P3") and n in (0, 40000)', stop=stop).count == 2
