"""`distinct(order.source) is set` was refused as soon as some order had its source from a visit: the number was then
made of two parts, which were taken for an average."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from segidx.database import Database
from segidx.model.events import Event, Order
from segidx.model.windows import to_millis

AT = datetime(2025, 6, 15, 12, tzinfo=UTC)


def test_a_count_of_sources_is_never_missing(tmp_path: Path) -> None:
    with Database.open(tmp_path / "data", create=True, clock=lambda: to_millis(AT)) as database:
        account = database.account()
        account.upsert([("ann", {}), ("bob", {})])
        before = AT - timedelta(hours=1)
        account.write_events([Event("visit", "1", "ann", before, {"source": "email"}), Order("1", "ann", before)])
        assert account.count("distinct(order.source) = 1").count == 1
        assert account.count("distinct(order.source) is set").count == 2
        assert account.count("distinct(order.source) is not set").count == 0
