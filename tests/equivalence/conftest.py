"""Months of events are put in order at the second question by a column, so that the small accounts of these tests are
asked both ways: the first question scans, those after it look rows up. In half of the tests candidates are looked for
whatever that costs: in small accounts it costs more than to look at all."""

from __future__ import annotations

from zlib import crc32

import pytest

from segidx.exec import asked
from segidx.store import event_orders


@pytest.fixture(autouse=True)
def _orders_soon(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if crc32(request.node.nodeid.encode()) % 2:
        monkeypatch.setattr(asked, "_FINDING", -1e18)
    monkeypatch.setattr(event_orders, "SCANS", 2)
    monkeypatch.setattr(event_orders, "NARROWED", 1)
    monkeypatch.setattr(event_orders, "SUMMED", 1)
    monkeypatch.setattr(event_orders, "LEAST_ROWS", 1)
    monkeypatch.setattr(event_orders, "LEDGER_SUMS", 1)
    monkeypatch.setattr(event_orders, "LEAST_VALUES", 1)
