"""Scans of events: what they read, sums beyond 64 bits, and stopping."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from segidx.database import Account, Database
from segidx.exec import events as exec_events
from segidx.kernels.bitmaps import Stop
from segidx.model.errors import Cancelled, SumTooLarge
from segidx.model.events import Order
from segidx.model.schema import Field, FieldType
from segidx.model.windows import to_millis
from segidx.store.snapshot import Snapshot

AT = datetime(2025, 6, 15, 12, tzinfo=UTC)
FAR = 40_000  # in the third range of contacts


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()
        account.update_schema([Field("n", FieldType.NUMBER)])
        account.upsert((f"c{i}", {"n": i}) for i in range(FAR + 1))
        account.import_orders(
            Order(f"o{i}", f"c{i}", datetime(2025, 1 + i // 100 % 5, 3, tzinfo=UTC), amount=Decimal(i))
            for i in range(0, FAR + 1, 100)
        )
        yield account


def test_only_the_candidates_ranges_and_the_windows_months_are_read(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, int, int]] = []
    blocks = Snapshot.event_blocks

    def noted(self: Snapshot, kind: object, number: int, first: int, last: int) -> object:
        read.append((number, first, last))
        return blocks(self, kind, number, first, last)  # type: ignore[arg-type]

    monkeypatch.setattr(Snapshot, "event_blocks", noted)
    assert account.count("did(order)").count == FAR // 100 + 1
    assert sorted({number for number, *_ in read}) == [0, 1, 2]
    read.clear()
    assert account.count("did(order from 2025-02-01 to 2025-03-01) and n >= 33000").count == 14
    february = (2025 - 1970) * 12 + 1
    assert read == [(2, february, february)]
    read.clear()
    assert account.count("did(order during next 3 days)").count == 0
    assert read == []


def test_sums_beyond_64_bits_are_refused(tmp_path: Path) -> None:
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()
        most = Decimal(2**62 - 1).scaleb(-2)
        account.import_orders([Order(str(i), "rich", datetime(2025, i, 1, tzinfo=UTC), amount=most) for i in (1, 2, 3)])
        assert account.count("sum(order.amount during last 5 months) > 0").count == 1
        for asked in ("sum(order.amount) > 0", "sum(order.amount) > count(order)"):
            with pytest.raises(SumTooLarge, match="beyond 2\\^63"):
                account.count(asked)
        assert account.count("count(order) = 3").count == 1


def test_a_scan_stops(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop()
    ranges = exec_events._ranges

    def cancelling(*arguments: object) -> Iterator[object]:
        for each in ranges(*arguments):  # type: ignore[arg-type]
            yield each
            stop.cancel()

    monkeypatch.setattr(exec_events, "_ranges", cancelling)
    for asked in ("did(order)", "count(order) > sum(order.amount)"):
        with pytest.raises(Cancelled):
            account.count(asked, stop=stop)
